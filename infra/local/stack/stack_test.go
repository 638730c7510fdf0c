package stack_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/keyreeve/keyreeve/infra/local/ddb/ddbtest"
	"github.com/keyreeve/keyreeve/infra/local/gateway"
	"github.com/keyreeve/keyreeve/infra/local/lambda"
	"github.com/keyreeve/keyreeve/infra/local/logs"
	"github.com/keyreeve/keyreeve/infra/local/stack"
	"github.com/keyreeve/keyreeve/infra/local/stacktest"
	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/logline"
)

func TestMain(m *testing.M) { ddbtest.Main(m) }

// get asks a stack with a key; an empty key sends none.
func get(t *testing.T, s *stacktest.Stack, path, key string) (status int, body []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if key != "" {
		req.Header.Set("X-API-Key", key)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if body, err = io.ReadAll(res.Body); err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, body
}

func mustGet(t *testing.T, s *stacktest.Stack, path, key string, want int) []byte {
	t.Helper()
	status, body := get(t, s, path, key)
	if status != want {
		t.Fatalf("GET %s: %d, want %d\n%s", path, status, want, s.Log)
	}
	return body
}

func TestTheFirstRootKeyIsListedAsTheAccountsFirstKey(t *testing.T) {
	s := stacktest.Start(t, stack.Options{})
	var list struct {
		Data []struct {
			Environment, Status, Plan string
			Permissions               []string
			IsPrimary                 bool
		}
	}
	if err := json.Unmarshal(mustGet(t, s, "/v1/api-keys", s.RootKey, 200), &list); err != nil {
		t.Fatal(err)
	}
	if len(list.Data) != 1 {
		t.Fatalf("%d keys, want the root key alone", len(list.Data))
	}
	k := list.Data[0]
	if k.Environment != "production" || !strings.EqualFold(k.Status, "active") || !k.IsPrimary || k.Plan != "enterprise" {
		t.Errorf("the root key is %+v", k)
	}
	if d := cmp.Diff([]string{"*", "api_keys:*"}, k.Permissions); d != "" {
		t.Errorf("its permissions: %s", d)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/v1/account/api-keys/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.RootKey)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var rows struct {
		Keys []struct{ ID int } `json:"api_keys"`
	}
	if err := json.NewDecoder(res.Body).Decode(&rows); err != nil {
		t.Fatal(err)
	}
	if len(rows.Keys) != 1 || rows.Keys[0].ID != 1 {
		t.Errorf("the account face lists %+v, want id 1", rows.Keys)
	}
}

func TestTheRootKeySurvivesARestartAndIsReplacedOnlyIfItMustBe(t *testing.T) {
	o := stack.Options{Dir: t.TempDir(), TablePrefix: "restart-" + filepath.Base(t.TempDir()) + "-"}
	momail, err := stack.Preset("../../..", "momail")
	if err != nil {
		t.Fatal(err)
	}
	run := func(change func()) (key string, made bool) {
		t.Helper()
		if change != nil {
			change()
		}
		s := stacktest.Start(t, o)
		mustGet(t, s, "/v1/api-keys/self", s.RootKey, 200)
		text, err := os.ReadFile(s.RootKeyFile())
		if err != nil {
			t.Fatal(err)
		}
		if string(text) != s.RootKey+"\n" {
			t.Error("the file holds another key")
		}
		for _, file := range []string{s.RootKeyFile(), s.PeppersFile(), s.AccessLogFile()} {
			info, err := os.Stat(file)
			if err != nil {
				t.Fatal(err)
			}
			if info.Mode().Perm() != 0o600 {
				t.Errorf("%s has mode %v, want 0600", file, info.Mode().Perm())
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		return s.RootKey, s.NewRoot
	}
	first, made := run(nil)
	if !made {
		t.Error("the first start made no root key")
	}
	if key, made := run(nil); made || key != first {
		t.Error("the second start replaced a root key that works")
	}
	file := filepath.Join(o.Dir, "root-key")
	second, made := run(func() { _ = os.Remove(file) })
	if !made || second == first {
		t.Error("no new key, although the file was gone")
	}
	third, made := run(func() { o.Settings = momail })
	if !made || !strings.HasPrefix(third, "mk_") {
		t.Error("no new key, although the prefix is another one")
	}
	back, made := run(func() { o.Settings = nil; _ = os.WriteFile(file, []byte(first+"\n"), 0o600) })
	if made || back != first {
		t.Error("the first key does not work any more: another start has replaced it")
	}
}

func TestPresetsServeTheirStagesAndPrefixes(t *testing.T) {
	for name, want := range map[string]struct{ prefix, stage string }{
		"default": {"kr_live_", "production"}, "missinglettr": {"ml_live_", "shared"}, "momail": {"mk_", "production"},
	} {
		t.Run(name, func(t *testing.T) {
			settings, err := stack.Preset("../../..", name)
			if err != nil {
				t.Fatal(err)
			}
			s := stacktest.Start(t, stack.Options{Settings: settings})
			if !strings.HasPrefix(s.RootKey, want.prefix) {
				t.Errorf("the root key does not begin with %s", want.prefix)
			}
			if got := s.DefaultStage(); got != want.stage {
				t.Errorf("default stage %s, want %s", got, want.stage)
			}
			mustGet(t, s, "/v1/api-keys/self", s.RootKey, 200)
			status := 404
			if want.stage == "shared" {
				status = 200
			}
			mustGet(t, s, "/shared/v1/api-keys/self", s.RootKey, status)
		})
	}
	if _, err := stack.Preset("../../..", "nothing"); err == nil || !strings.Contains(err.Error(), "missinglettr") {
		t.Errorf("an unknown preset: %v, want an error that names those there are", err)
	}
}

func TestTheStreamReachesItsFunction(t *testing.T) {
	s := stacktest.Start(t, stack.Options{})
	checkpoint := filepath.Join(filepath.Dir(s.RootKeyFile()), "stream.json")
	waitUntil(t, "a batch delivered", func() bool {
		text, err := os.ReadFile(checkpoint)
		return err == nil && strings.Contains(string(text), `"sequence"`)
	})
	if got := s.Lambda.PIDs("stream"); len(got) != 1 {
		t.Errorf("processes %v of function stream, want one", got)
	}
}

func TestFunctionsThatDieOrHangAreReplaced(t *testing.T) {
	off := time.Duration(0)
	s := stacktest.Start(t, stack.Options{AuthorizerTTL: &off})
	for _, function := range []string{"authorizer", "keys"} {
		for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSEGV} {
			pids := s.Lambda.PIDs(function)
			for _, pid := range pids {
				if err := syscall.Kill(pid, sig); err != nil {
					t.Fatal(err)
				}
			}
			waitUntil(t, "the processes gone", func() bool {
				for _, pid := range s.Lambda.PIDs(function) {
					for _, old := range pids {
						if pid == old {
							return false
						}
					}
				}
				return true
			})
			mustGet(t, s, "/v1/api-keys/self", s.RootKey, 200)
		}
	}
	// A process that is stopped hangs: in the next request, or, if it had not asked for one
	// yet, after the last one.
	s = stacktest.Start(t, stack.Options{AuthorizerTTL: &off, Function: func(f *lambda.Function) { f.Timeout = time.Second; f.MaxProcesses = 1 }})
	for function, hung := range map[string]int{"keys": 502, "authorizer": 500} {
		pid := s.Lambda.PIDs(function)[0]
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		if status, _ := get(t, s, "/v1/api-keys/self", s.RootKey); status != hung && status != 200 {
			t.Errorf("%s hangs: %d, want %d", function, status, hung)
		}
		mustGet(t, s, "/v1/api-keys/self", s.RootKey, 200)
		if now := s.Lambda.PIDs(function); len(now) != 1 || now[0] == pid {
			t.Errorf("processes %v of %s, want another one than %d", now, function, pid)
		}
	}
}

func TestAUsersRouteTableIsServed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "my.json")
	if err := os.WriteFile(file, []byte(`{
	  "permissions": [{"name": "licenses:manage", "label": "License Management"}],
	  "routes": [{"method": "GET", "path": "/v1/licenses", "permission": "licenses:manage", "function": "sample"}]
	}`), 0o600); err != nil {
		t.Fatal(err)
	}
	s := stacktest.Start(t, stack.Options{RoutesFile: file})
	mustGet(t, s, "/v1/licenses", s.RootKey, 200)
	mustGet(t, s, "/v1/customers", s.RootKey, 404)
	mustGet(t, s, "/v1/licenses", "", 401)
}

func TestEachFunctionGetsItsOwnSettingsAlone(t *testing.T) {
	var mu sync.Mutex
	got := map[string]map[string]string{}
	s := stacktest.Start(t, stack.Options{Function: func(f *lambda.Function) {
		mu.Lock()
		defer mu.Unlock()
		got[f.Name] = f.Env
	}})
	for name, env := range got {
		want := map[string]string{
			"KEYS_TABLE": s.Config.KeysTable, "METERS_TABLE": s.Config.MetersTable, "PEPPER_SECRET": "keyreeve/peppers",
			"KEYREEVE_SETTINGS": "{}", "AWS_ENDPOINT_URL_DYNAMODB": s.Config.DynamoDBEndpoint,
			"AWS_ENDPOINT_URL_SECRETS_MANAGER": s.Config.SecretsManagerEndpoint, "STORE_TIMEOUT": "5s",
		}
		switch name {
		case "admin":
			want["STORE_TIMEOUT"] = "20s"
		case "keys", "stream", "flush":
			want["REST_API_ID"], want["AWS_ENDPOINT_URL_API_GATEWAY"] = "local", s.Config.APIGatewayEndpoint
		}
		switch name {
		case "console":
			want = map[string]string{}
		case "sample":
			want["SAMPLE_TABLE"] = s.Config.SampleTable
		case "keys":
			want["USAGE_TABLE"], want["ALERTS_TABLE"] = s.Config.UsageTable, s.Config.AlertsTable
			want["WEBHOOKS_ANYWHERE"] = "true"
		case "usage":
			want["USAGE_TABLE"], want["ALERTS_TABLE"] = s.Config.UsageTable, s.Config.AlertsTable
			want["METRICS_NAMESPACE"] = "Keyreeve/Local"
		case "notify":
			want["ALERTS_TABLE"], want["WEBHOOKS_ANYWHERE"] = s.Config.AlertsTable, "true"
			want["METRICS_NAMESPACE"] = "Keyreeve/Local"
		}
		if d := cmp.Diff(want, env); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
	for _, name := range []string{"authorizer", "keys", "sample", "console", "stream", "flush", "admin", "usage", "notify"} {
		if got[name] == nil {
			t.Errorf("there is no function %s", name)
		}
	}
}

func TestTheAccessLogIsAFileOfJSONLines(t *testing.T) {
	s := stacktest.Start(t, stack.Options{})
	mustGet(t, s, "/v1/api-keys", s.RootKey, 200)
	mustGet(t, s, "/v1/api-keys", "", 401)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(s.AccessLogFile())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var got []gateway.Entry
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if strings.Contains(lines.Text(), s.RootKey[len(s.RootKey)-12:]) {
			t.Error("a line holds a piece of the root key")
		}
		var e gateway.Entry
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		got = append(got, e)
	}
	if d := cmp.Diff(s.AccessLog(), got); d != "" {
		t.Errorf("the file differs from what OnAccess was told:\n%s", d)
	}
	last := got[len(got)-1]
	if last.Status != 401 || last.ResourcePath != "/v1/api-keys" || got[len(got)-2].KeyID == "" {
		t.Errorf("the last lines: %+v", got[len(got)-2:])
	}
}

// subscriber takes the place of the function usage.
type subscriber struct {
	mu     sync.Mutex
	groups map[string][]string // lines by log group
}

func (s *subscriber) deliver(logs.Invoke) logs.Invoke {
	return func(_ context.Context, payload []byte) error {
		var e events.CloudwatchLogsEvent
		if err := json.Unmarshal(payload, &e); err != nil {
			return err
		}
		d, err := e.AWSLogs.Parse()
		if err != nil {
			return err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, l := range d.LogEvents {
			s.groups[d.LogGroup] = append(s.groups[d.LogGroup], l.Message)
		}
		return nil
	}
}

func TestUsageGetsEveryRequestAndWhyItWasRefused(t *testing.T) {
	sub := &subscriber{groups: map[string][]string{}}
	s := stacktest.Start(t, stack.Options{Deliver: sub.deliver})
	wrong, err := apikey.Generate("kr_live", apikey.NewID())
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		mustGet(t, s, "/v1/api-keys", s.RootKey, 200)
		mustGet(t, s, "/v1/api-keys", wrong.Plaintext(), 401)
		mustGet(t, s, "/v1/api-keys", "junk", 401)
		mustGet(t, s, "/nowhere", s.RootKey, 404)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := s.Drain(ctx); err != nil {
		t.Fatal(err)
	}
	sub.mu.Lock()
	defer sub.mu.Unlock()

	var want, got []logline.Access
	for _, e := range s.AccessLog() {
		want = append(want, e.Access())
	}
	for _, line := range sub.groups["keyreeve/access"] {
		a, err := logline.ParseAccess(line)
		if err != nil {
			t.Fatalf("a line of the access log: %v", err)
		}
		got = append(got, a)
	}
	byID := cmpopts.SortSlices(func(a, b logline.Access) bool { return a.ExtendedRequestID < b.ExtendedRequestID })
	if d := cmp.Diff(want, got, byID); d != "" {
		t.Errorf("the access log (-requests +delivered):\n%s", d)
	}

	// A refusal names the request that the access log shows without a key.
	refusals := map[string]logline.Event{}
	for _, line := range sub.groups["/aws/lambda/authorizer"] {
		e, ok := logline.ParseEvent(line)
		if !ok {
			t.Errorf("a line that the filter should not let through: %s", line)
		}
		refusals[e.ID()] = e
	}
	if len(refusals) != 40 {
		t.Errorf("%d refusals of the authorizer, want 40", len(refusals))
	}
	keyed := 0
	for _, a := range got {
		e, refused := refusals[a.ExtendedRequestID]
		if refused != (a.Status == 401) || refused && (a.KeyID != "" || e.Reason == "") {
			t.Errorf("request with status %d: refused %t for %q", a.Status, refused, e.Reason)
		}
		if e.KeyID == wrong.ID() {
			keyed++
		}
	}
	if keyed != 20 {
		t.Errorf("%d refusals name the key that was presented, want 20", keyed)
	}
	for group := range sub.groups {
		if group != "keyreeve/access" && group != "/aws/lambda/authorizer" {
			t.Errorf("lines of %s, of which nothing was refused", group)
		}
	}
}

func TestNothingIsLeftAfterClose(t *testing.T) {
	s := stacktest.Start(t, stack.Options{InMemory: true})
	mustGet(t, s, "/v1/customers", s.RootKey, 200)
	var pids []int
	for _, f := range []string{"authorizer", "keys", "sample", "stream", "admin", "usage", "notify"} {
		pids = append(pids, s.Lambda.PIDs(f)...)
	}
	if len(pids) < 3 {
		t.Fatalf("processes %v", pids)
	}
	begun := time.Now()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("Close took %v", took)
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("process %d: %v", pid, err)
		}
	}
	for _, url := range []string{s.URL, s.Config.DynamoDBEndpoint, s.Config.SecretsManagerEndpoint} {
		address := strings.TrimPrefix(url, "http://")
		if c, err := net.DialTimeout("tcp", address, time.Second); err == nil {
			_ = c.Close()
			t.Errorf("something listens on %s", address)
		}
	}
}

// On Linux a socket on 0.0.0.0 answers on every address of 127.0.0.0/8, one on 127.0.0.1
// on that one alone; so this works on a machine without a network, too.
func TestItListensOnLoopbackAlone(t *testing.T) {
	s := stacktest.Start(t, stack.Options{})
	for _, url := range []string{s.URL, s.Config.SecretsManagerEndpoint, s.Config.APIGatewayEndpoint} {
		port := url[strings.LastIndex(url, ":")+1:]
		for host, want := range map[string]bool{"127.0.0.1": true, "127.0.0.2": false} {
			c, err := net.DialTimeout("tcp", net.JoinHostPort(host, port), time.Second)
			if err == nil {
				_ = c.Close()
			}
			if (err == nil) != want {
				t.Errorf("%s on %s: connected %v, want %v", url, host, err == nil, want)
			}
		}
	}
}

func TestFailedStartsAreClearAndLeaveNothing(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	inexact := filepath.Join(t.TempDir(), "routes.json")
	if err := os.WriteFile(inexact, []byte(`{"permissions": [{"name": "things:read", "label": "Thing Read"}], "routes": [{"method": "GET",
	  "path": "/things/{a}/{customer}/{b}", "permission": "things:read", "customer": "customer", "function": "sample", "unguarded": true}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	broken := filepath.Join(t.TempDir(), "routes.json")
	if err := os.WriteFile(broken, []byte(`{"routes":[{"method":"GET"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		o    stack.Options
		want string
	}{
		{"port in use", stack.Options{Port: taken.Addr().(*net.TCPAddr).Port}, "is in use by another program: stop that one, or choose another port with PORT="},
		{"broken settings", stack.Options{Settings: []byte(`{"plans":1}`)}, "settings"},
		{"no route table", stack.Options{RoutesFile: "/nowhere.json"}, "the route table"},
		{"broken route table", stack.Options{RoutesFile: broken}, "route table: routes[0]: path"},
		{"table that no policy can hold", stack.Options{RoutesFile: inexact}, "a policy cannot hold {customer} to one customer"},
		{"no bootstrap", stack.Options{Bootstrap: "/nowhere/bootstrap", DynamoDB: ddbtest.Endpoint(t)}, "no such file"},
		{"a bootstrap that ends", stack.Options{Bootstrap: "/bin/false", DynamoDB: ddbtest.Endpoint(t)}, "before it asked for an invocation"},
		{"no DynamoDB", stack.Options{DynamoDB: "http://127.0.0.1:1"}, "keyreeve-keys"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.o.Dir = t.TempDir()
			if tt.o.Bootstrap == "" {
				tt.o.Bootstrap = "/bin/false"
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			s, err := stack.Start(ctx, tt.o)
			if err == nil {
				_ = s.Close()
				t.Fatal("it started")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q, want %q in it", err, tt.want)
			}
		})
	}
}

func TestAnEndOfDynamoDBIsReported(t *testing.T) {
	s := stacktest.Start(t, stack.Options{InMemory: true})
	// Its process is the one that listens there; ended as it would be by the system.
	killListener(t, s.Config.DynamoDBEndpoint)
	select {
	case err := <-s.Failed():
		if !strings.Contains(err.Error(), "DynamoDB Local has ended") {
			t.Errorf("reported: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("nothing was reported")
	}
}

// killListener kills the child of this process whose command line holds the URL's port.
func killListener(t *testing.T, url string) {
	t.Helper()
	port := url[strings.LastIndex(url, ":")+1:]
	entries, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range entries {
		text, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(text), "-port\x00"+port+"\x00") {
			continue
		}
		var pid int
		if _, err := fmt.Sscanf(file, "/proc/%d/cmdline", &pid); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatalf("no process for port %s", port)
}

func waitUntil(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 1000 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("not seen in 10 s: %s", what)
}
