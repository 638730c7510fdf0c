//go:build sam

// The tests of `make test-sam`: SAM with what `cdk synth` made, beside this package's
// program, in a container engine. engine.sh gives them the engine; the Makefile the rest.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/infra/local/ddb"
	"github.com/keyreeve/keyreeve/pkg/config"
	"github.com/keyreeve/keyreeve/pkg/dynamo"
)

// What the Makefile lays out, from the repository's root.
const (
	program  = "dist/sam"
	samCLI   = ".local/sam/venv/bin/sam"
	template = ".local/sam/cdk.out/Keyreeve.template.json"
)

// bridge is this machine's address on podman's default network. Docker would put it in
// the place of the name host-gateway; podman 4.3 does not know that name.
const bridge = "10.88.0.1"

const (
	invokeTimeout = 60 * time.Second // 3 s on an idle machine
	startTimeout  = 90 * time.Second // of start-api with its containers: 7 s
)

var root string // of the repository

func TestMain(m *testing.M) {
	var err error
	if root, err = ddb.FindRoot(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// The order counts: each part works with what the ones before have left.
func TestSAMRunsWhatCDKMade(t *testing.T) {
	if os.Getenv("DOCKER_HOST") == "" {
		t.Fatal("no DOCKER_HOST: run make test-sam")
	}
	s := start(t)
	t.Run("an account is made once and its key shown once", s.accounts)
	t.Run("every sample event is taken", s.events)
	t.Run("a stream batch repairs a meter", s.stream)
	t.Run("log lines are counted, once", s.counted)
	s.serve(t)
	t.Run("requests are answered as AWS answers them", s.requests)
	t.Run("limits and revocation hold", s.guard)
	t.Run("what SAM does otherwise", s.differences)
	if strings.Contains(s.api.text(), s.secret) {
		t.Error("a log line of start-api holds the root key's secret")
	}
}

// sam is SAM with the program beside it.
type sam struct {
	env      []string
	template string // that the program wrote
	values   string // for --env-vars
	client   *dynamodb.Client

	key, id, secret string // the root key, its public id, its last part

	url string
	api *log
}

// start starts the program.
func start(t *testing.T) *sam {
	t.Helper()
	s := &sam{env: append(os.Environ(), "AWS_ACCESS_KEY_ID=local", "AWS_SECRET_ACCESS_KEY=local",
		"AWS_REGION=eu-central-1", "AWS_DEFAULT_REGION=eu-central-1", "AWS_EC2_METADATA_DISABLED=true", "SAM_CLI_TELEMETRY=0",
		"AWS_MAX_ATTEMPTS=1")} // SAM asks STS for the account's number, whom nobody reaches here
	// All addresses of a network that these tests have for themselves.
	out := s.run(t, program, "-template", template, "-listen", "0.0.0.0")
	line := out.await(t, "ready ", startTimeout)
	if _, err := fmt.Sscanf(line, "ready %s %s", &s.template, &s.values); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	text, err := os.ReadFile(filepath.Join(root, s.values))
	if err != nil {
		t.Fatal(err)
	}
	var values struct{ Parameters map[string]string }
	if err := json.Unmarshal(text, &values); err != nil {
		t.Fatal(err)
	}
	seen, err := url.Parse(values.Parameters["AWS_ENDPOINT_URL_DYNAMODB"])
	if err != nil {
		t.Fatal(err)
	}
	s.client = dynamo.NewClient(config.Config{
		Region: "eu-central-1", AccessKeyID: "local", SecretAccessKey: "local", StoreTimeout: 20 * time.Second,
		DynamoDBEndpoint: "http://127.0.0.1:" + seen.Port(),
	})
	return s
}

// run starts a command that lasts until the test ends, and then ends in order.
func (s *sam) run(t *testing.T, name string, args ...string) *log {
	t.Helper()
	l := &log{lines: make(chan string, 10_000)}
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = root, s.env
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	go l.read(r)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait(); _ = w.Close() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("%s: %v\n%s", name, err, l.tail())
			}
		case <-time.After(30 * time.Second):
			_ = cmd.Process.Kill()
			t.Errorf("%s does not end on SIGTERM", name)
		}
	})
	return l
}

// log is what a command prints.
type log struct {
	mu    sync.Mutex
	all   bytes.Buffer
	lines chan string
}

func (l *log) read(r io.Reader) {
	defer close(l.lines)
	for scan := bufio.NewScanner(r); scan.Scan(); {
		l.mu.Lock()
		l.all.WriteString(scan.Text() + "\n")
		l.mu.Unlock()
		select {
		case l.lines <- scan.Text():
		default: // nobody awaits a line any more
		}
	}
}

func (l *log) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

func (l *log) tail() string {
	text := l.text()
	return text[max(0, len(text)-2000):]
}

// await returns the first line that begins so.
func (l *log) await(t *testing.T, prefix string, patience time.Duration) string {
	t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case line, ok := <-l.lines:
			if !ok {
				t.Fatalf("the command has ended\n%s", l.tail())
			}
			if strings.HasPrefix(line, prefix) {
				return line
			}
		case <-timeout:
			t.Fatalf("no line %q in %v\n%s", prefix, patience, l.tail())
		}
	}
}

// local is a sam local command with what it needs here.
func (s *sam) local(args ...string) []string {
	return append(append([]string{"local"}, args...), "-t", s.template, "--env-vars", s.values,
		"--skip-pull-image", "--add-host", "host.docker.internal:"+bridge)
}

// invoke is sam local invoke: what the function answers. failed is the text of its error.
func (s *sam) invoke(t *testing.T, function string, event []byte) (answer []byte, failed string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "event.json")
	if err := os.WriteFile(file, event, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), invokeTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, samCLI, s.local("invoke", function, "-e", file)...)
	cmd.Dir, cmd.Env = root, s.env
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	begun := time.Now()
	out, err := cmd.Output()
	t.Logf("sam local invoke %s: %.1f s", function, time.Since(begun).Seconds())
	if err != nil {
		t.Fatalf("sam local invoke %s: %v\n%s", function, err, stderr.Bytes())
	}
	if s.secret != "" && strings.Contains(stderr.String(), s.secret) {
		t.Errorf("the log of %s holds the key's secret", function)
	}
	out = bytes.TrimSpace(out)
	var e struct{ ErrorMessage string }
	if err := json.Unmarshal(out, &e); err != nil {
		t.Fatalf("sam local invoke %s answered no JSON: %v\n%s", function, err, stderr.Bytes())
	}
	return out, e.ErrorMessage
}

// event reads a sample event and puts the root key in its place.
func (s *sam) event(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "events", name))
	if err != nil {
		t.Fatal(err)
	}
	if s.key == "" {
		return text
	}
	text = bytes.ReplaceAll(text, []byte("REPLACE-WITH-YOUR-KEY"), []byte(s.key))
	return bytes.ReplaceAll(text, []byte("EXAMPLE1"), []byte(s.id))
}

func (s *sam) accounts(t *testing.T) {
	out, failed := s.invoke(t, "admin", s.event(t, "admin-create-account.json"))
	var answer struct{ AccountID, KeyID, RootKey string }
	if err := json.Unmarshal(out, &answer); err != nil || failed != "" || answer.AccountID != "first" || answer.RootKey == "" {
		t.Fatalf("create-account: %v, error %q, account %q", err, failed, answer.AccountID)
	}
	if out, failed := s.invoke(t, "admin", s.event(t, "admin-create-account.json")); !strings.Contains(failed, "the account exists already") || bytes.Contains(out, []byte("kr_live")) {
		t.Errorf("a second create-account: error %q", failed)
	}
	s.key, s.id = answer.RootKey, strings.TrimPrefix(answer.KeyID, "key_")
	s.secret = s.key[strings.LastIndexByte(s.key, '_')+1:]
}

// proxyAnswer is what a function behind API Gateway answers.
type proxyAnswer struct {
	StatusCode int
	Body       string
}

func (s *sam) events(t *testing.T) {
	for _, name := range []string{"authorizer-x-api-key.json", "authorizer-authorization.json"} {
		out, failed := s.invoke(t, "authorizer", s.event(t, name))
		var answer struct {
			PrincipalID    string
			PolicyDocument struct{ Statement []struct{ Effect string } }
			Context        map[string]string
		}
		if err := json.Unmarshal(out, &answer); err != nil || failed != "" {
			t.Errorf("%s: %v, error %q", name, err, failed)
			continue
		}
		if len(answer.PolicyDocument.Statement) == 0 || answer.PolicyDocument.Statement[0].Effect != "Allow" || answer.Context["keyId"] != s.id || answer.Context["accountId"] != "first" {
			t.Errorf("%s: %+v", name, answer)
		}
	}
	key := s.key
	s.key = ""
	if _, failed := s.invoke(t, "authorizer", s.event(t, "authorizer-x-api-key.json")); failed != "Unauthorized" {
		t.Errorf("authorizer-x-api-key.json as it is: error %q, want Unauthorized", failed)
	}
	s.key = key

	for name, want := range map[string]struct {
		function string
		status   int
		body     string
	}{
		"keys-x-api-key.json":     {"keys", http.StatusCreated, `"name":"Production App"`},
		"keys-authorization.json": {"keys", http.StatusOK, `"api_keys":[{"id":1,"name":"Root key"`},
		"sample-x-api-key.json":   {"sample", http.StatusOK, `"data":[]`},
		"console.json":            {"console", http.StatusOK, "<!doctype html>"},
	} {
		out, failed := s.invoke(t, want.function, s.event(t, name))
		var answer proxyAnswer
		if err := json.Unmarshal(out, &answer); err != nil || failed != "" || answer.StatusCode != want.status || !strings.Contains(answer.Body, want.body) {
			t.Errorf("%s: %v, error %q, status %d, want %d and %s in\n%s", name, err, failed, answer.StatusCode, want.status, want.body, s.redact(answer.Body))
		}
	}

	out, failed := s.invoke(t, "admin", s.event(t, "admin-add-root-key.json"))
	if failed != "" || !bytes.Contains(out, []byte(`"rootKey"`)) || bytes.Contains(out, []byte(s.secret)) {
		t.Errorf("add-root-key: error %q, or the first root key again", failed)
	}
	if out, failed = s.invoke(t, "admin", s.event(t, "admin-add-pepper.json")); failed != "" || !bytes.Contains(out, []byte(`"p2"`)) {
		t.Errorf("add-pepper: error %q, %s", failed, out)
	}
	if _, failed = s.invoke(t, "admin", s.event(t, "admin-promote-pepper.json")); !strings.Contains(failed, "too early") {
		t.Errorf("promote-pepper at once: error %q, want too early", failed)
	}
}

// stream takes the verdict out of the root key's meter, as a crash would leave it, and
// has the function put it back.
func (s *sam) stream(t *testing.T) {
	table := metersTable
	key := map[string]types.AttributeValue{dynamo.MeterKey: &types.AttributeValueMemberS{Value: s.id}}
	behind := "SET v = :v"
	if _, err := s.client.UpdateItem(t.Context(), &dynamodb.UpdateItemInput{
		TableName: &table, Key: key, UpdateExpression: &behind,
		ExpressionAttributeValues: map[string]types.AttributeValue{":v": &types.AttributeValueMemberN{Value: "0"}},
	}); err != nil {
		t.Fatal(err)
	}
	if out, failed := s.invoke(t, "stream", s.event(t, "stream-batch.json")); failed != "" || !strings.Contains(string(out), `"batchItemFailures": []`) {
		t.Errorf("stream-batch.json: error %q, %s", failed, out)
	}
	got, err := s.client.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: &table, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	if v, ok := got.Item["v"].(*types.AttributeValueMemberN); !ok || v.Value != "1" {
		t.Errorf("the meter's verdict is %v, want 1", got.Item["v"])
	}
}

// counted has the usage function count log lines, which come twice; and gives both
// functions what else they take.
func (s *sam) counted(t *testing.T) {
	const none, noFailures = "null", `{"batchItemFailures":[]}`
	for _, c := range []struct{ function, event, answer string }{
		{"usage", "usage-access-log.json", none},
		{"usage", "usage-access-log.json", none},
		{"usage", "usage-redrive.json", noFailures},
		{"usage", "usage-schedule.json", none},
		{"notify", "notify-stream.json", noFailures},
		{"notify", "notify-schedule.json", none},
	} {
		out, failed := s.invoke(t, c.function, s.event(t, c.event))
		var text bytes.Buffer
		if err := json.Compact(&text, out); err != nil || failed != "" || text.String() != c.answer {
			t.Errorf("%s: error %q, %s; want %s", c.event, failed, out, c.answer)
		}
	}
	table := usageTable
	got, err := s.client.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: &table, Key: map[string]types.AttributeValue{
		dynamo.PartitionKey: &types.AttributeValueMemberS{Value: "K#EXAMPLE1"}, dynamo.SortKey: &types.AttributeValueMemberS{Value: "T"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if n, ok := got.Item["n"].(*types.AttributeValueMemberN); !ok || n.Value != "2" {
		t.Errorf("the totals of the lines' key: %v, want 2 requests", got.Item)
	}
}

// serve starts start-api.
func (s *sam) serve(t *testing.T) {
	t.Helper()
	port := freePort(t)
	begun := time.Now()
	s.api = s.run(t, samCLI, s.local("start-api", "--port", port, "--warm-containers", "EAGER")...)
	s.url = "http://127.0.0.1:" + port
	for deadline := time.Now().Add(startTimeout); ; time.Sleep(100 * time.Millisecond) {
		c, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			_ = c.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("sam local start-api does not listen: %v\n%s", err, s.api.tail())
		}
	}
	t.Logf("sam local start-api: %.1f s", time.Since(begun).Seconds())
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// request is one HTTP request: "POST /v1/customers", headers as "Name: value", a body.
type request struct {
	line    string
	headers []string
	body    string
}

type answer struct {
	status int
	header http.Header
	body   string
}

func (s *sam) do(t *testing.T, r request) answer {
	t.Helper()
	method, path, _ := strings.Cut(r.line, " ")
	ctx, cancel := context.WithTimeout(t.Context(), invokeTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, s.url+path, strings.NewReader(r.body))
	if err != nil {
		t.Fatal(err)
	}
	if r.body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, h := range r.headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatalf("%s: %v\n%s", r.line, err, s.api.tail())
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("%s: %v", r.line, err)
	}
	return answer{res.StatusCode, res.Header, strings.TrimSpace(string(body))}
}

// redact takes the root key's secret out of what a message shows.
func (s *sam) redact(text string) string { return strings.ReplaceAll(text, s.secret, "REDACTED") }

func (s *sam) expect(t *testing.T, r request, status int, body string) answer {
	t.Helper()
	got := s.do(t, r)
	if got.status != status || !strings.Contains(got.body, body) {
		t.Errorf("%s: status %d, want %d and %s in\n%s", r.line, got.status, status, body, s.redact(got.body))
	}
	return got
}

func (s *sam) requests(t *testing.T) {
	apiKey := []string{"X-API-Key: " + s.key}
	for _, r := range []struct {
		request
		status int
		body   string
	}{
		{request{"GET /v1/api-keys", apiKey, ""}, 200, `"keyId":"key_` + s.id},
		{request{"GET /v1/account/api-keys/", []string{"Authorization: Api-Key " + s.key}, ""}, 200, `"is_primary":true`},
		{request{"GET /v1/account/api-keys", []string{"Authorization: Bearer " + s.key}, ""}, 200, `"is_primary":true`},
		{request{"POST /v1/customers", apiKey, `{"name":"A"}`}, 201, `"name":"A"`},
		{request{"GET /v1/customers", apiKey, ""}, 200, `"name":"A"`},
		{request{"POST /v1/customers", apiKey, `{"nmae":"A"}`}, 400, `nmae`},
		{request{"GET /v1/customers/none", apiKey, ""}, 404, `"success":false`},
		{request{"GET /health", nil, ""}, 200, ""},
	} {
		got := s.expect(t, r.request, r.status, r.body)
		if got.header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s: no Access-Control-Allow-Origin", r.line)
		}
	}
}

// created is an answer to the creation of a key.
type created struct {
	Data struct{ KeyID, APIKey string }
}

func (s *sam) create(t *testing.T, body string) created {
	t.Helper()
	var c created
	got := s.do(t, request{"POST /v1/api-keys", []string{"X-API-Key: " + s.key}, body})
	if err := json.Unmarshal([]byte(got.body), &c); err != nil || got.status != http.StatusCreated || c.Data.APIKey == "" {
		t.Fatalf("creating a key: status %d, %v, key of %d characters", got.status, err, len(c.Data.APIKey))
	}
	return c
}

func (s *sam) guard(t *testing.T) {
	c := s.create(t, `{"name":"limited","permissions":["customers:read"],"rateLimit":2}`)
	key := []string{"X-API-Key: " + c.Data.APIKey}
	for _, remaining := range []string{"1", "0"} {
		got := s.expect(t, request{"GET /v1/customers", key, ""}, 200, "")
		if r := got.header.Get("X-RateLimit-Remaining"); r != remaining {
			t.Errorf("%s requests remain, want %s", r, remaining)
		}
	}
	if got := s.expect(t, request{"GET /v1/customers", key, ""}, 429, `"code":"rate_limit`); got.header.Get("Retry-After") == "" {
		t.Error("429 without Retry-After")
	}
	root := []string{"X-API-Key: " + s.key}
	s.expect(t, request{"DELETE /v1/api-keys/" + c.Data.KeyID, root, ""}, 200, `"revoked":true`)
	s.expect(t, request{"GET /v1/customers", key, ""}, 502, "") // AWS: 401
}

// differences is the README's table of what SAM does otherwise. Each row is here so that a
// new version of SAM cannot change it unnoticed.
func (s *sam) differences(t *testing.T) {
	root := []string{"X-API-Key: " + s.key}
	// AWS: the gateway responses of the template, each with its CORS headers.
	for _, r := range []struct {
		request
		status int
		body   string
	}{
		{request{"GET /v1/api-keys", nil, ""}, 401, `{"message":"Unauthorized"}`},
		{request{"GET /v1/api-keys", []string{"X-API-Key: no-key"}, ""}, 502, `{"message":"Internal server error"}`},
		{request{"GET /v1/nowhere", root, ""}, 403, `{"message":"Missing Authentication Token"}`},
		{request{"GET /production/v1/api-keys", root, ""}, 403, `{"message":"Missing Authentication Token"}`},
	} {
		got := s.expect(t, r.request, r.status, r.body)
		for _, name := range []string{"Access-Control-Allow-Origin", "WWW-Authenticate"} {
			if v := got.header.Get(name); v != "" {
				t.Errorf("%s: %s: %s, but SAM knew no gateway responses", r.line, name, v)
			}
		}
	}

	// SAM answers OPTIONS itself; AWS by the template's mock integration.
	before := strings.Count(s.api.text(), "Invoking ")
	s.expect(t, request{"OPTIONS /v1/api-keys", []string{"Origin: https://a.example", "Access-Control-Request-Method: GET"}, ""}, 200, "")
	if after := strings.Count(s.api.text(), "Invoking "); after != before {
		t.Errorf("OPTIONS invoked %d functions", after-before)
	}

	// No authorizer cache, and one request id for all. AWS: one call a minute.
	calls := strings.Count(s.api.text(), "Invoking authorizer")
	var ids []string
	for range 3 {
		var e struct {
			Error struct{ RequestID string }
		}
		got := s.expect(t, request{"GET /v1/customers/none", root, ""}, 404, "")
		if err := json.Unmarshal([]byte(got.body), &e); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, e.Error.RequestID)
	}
	if got := strings.Count(s.api.text(), "Invoking authorizer") - calls; got != 3 {
		t.Errorf("3 requests with one key called the authorizer %d times, want 3", got)
	}
	if diff := cmp.Diff([]string{ids[0], ids[0], ids[0]}, ids); diff != "" || ids[0] == "" {
		t.Errorf("request ids (-one +got)\n%s", diff)
	}

	// A missing permission is refused by SAM too, in words of its own.
	c := s.create(t, `{"name":"reader","permissions":["customers:read"]}`)
	got := s.do(t, request{"POST /v1/customers", []string{"X-API-Key: " + c.Data.APIKey}, `{"name":"B"}`})
	t.Logf("without the permission: %d %s", got.status, got.body)
	if got.status != http.StatusForbidden {
		t.Errorf("without the permission: status %d, want 403", got.status)
	}
}
