// Package e2e tests Keyreeve from the outside: HTTP requests to the local gateway, which
// runs the real bootstrap binary on a real DynamoDB Local. It holds tests only.
//
// A test of what one client sees shares one gateway (shared); a test of a configuration,
// of a failure or of a restart starts its own. When all have run, everything that they
// have left is searched for pieces of the secrets that were handed out (canary).
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"github.com/keyreeve/keyreeve/infra/local/ddb"
	"github.com/keyreeve/keyreeve/infra/local/gateway"
	"github.com/keyreeve/keyreeve/infra/local/lambda"
	"github.com/keyreeve/keyreeve/infra/local/logs"
	"github.com/keyreeve/keyreeve/infra/local/stack"
)

var (
	repository string // root of the module
	scratch    string // ends with the tests
	bootstrap  string // the binary, built once

	worlds struct {
		sync.Mutex
		all    []*world
		shared map[string]*world // by the preset's name; "" is the generous one
	}
)

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	fail := func(err error) int {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	var err error
	if repository, err = ddb.FindRoot(); err != nil {
		return fail(err)
	}
	if scratch, err = os.MkdirTemp("", "keyreeve-e2e-"); err != nil {
		return fail(err)
	}
	defer os.RemoveAll(scratch)
	bootstrap = filepath.Join(scratch, "bootstrap")
	if err := stack.Build(context.Background(), repository, bootstrap); err != nil {
		return fail(err)
	}
	code := m.Run()
	for _, w := range worlds.all {
		if err := w.end(); err != nil {
			code = fail(err)
		}
	}
	return code
}

// world is a local gateway with everything behind it, and what it has said.
type world struct {
	*stack.Stack
	url    string
	root   string // the root key
	http   *http.Client
	db     *database
	canary *canary
	log    *buffer // of functions and parts
	lines  *buffer // that were delivered to the function usage

	mu      sync.Mutex
	entries map[string]gateway.Entry // of the access log, by request id
	serial  *atomic.Int64

	calls, repeated *atomic.Int64 // see call
}

type options struct {
	config    string                        // a preset's name; default "default"
	settings  map[string]any                // more settings, over the preset's
	routes    string                        // file of a route table; default the sample's
	deliver   func(logs.Invoke) logs.Invoke // what goes wrong between the logs and the function usage
	processes int                           // of the function usage at most; default 1
}

// generous lets a run that makes thousands of requests do so with one root key. Everything
// else is the default configuration.
var generous = map[string]any{"plans": map[string]any{
	"free":       map[string]int{"rateLimit": 20, "keys": 100},
	"pro":        map[string]int{"rateLimit": 100, "keys": 1_000},
	"enterprise": map[string]int{"rateLimit": 100_000, "keys": 10_000},
}}

// shared is the gateway that tests use together. They keep out of each other's way by
// names of their own (unique), and by accounts of their own where an account's state counts.
func shared(t testing.TB) *world {
	t.Helper()
	return sharedBy(t, "", options{settings: generous})
}

// uncounted is the gateway of tests that make tens of thousands of requests about something
// else than usage: their lines are delivered, to nobody, since counting them all would be
// most of the run's work.
func uncounted(t testing.TB) *world {
	t.Helper()
	return sharedBy(t, "uncounted", options{settings: generous, deliver: func(logs.Invoke) logs.Invoke {
		return func(context.Context, []byte) error { return nil }
	}})
}

// preset is the gateway that the tests of one configuration use together.
func preset(t testing.TB, name string) *world {
	t.Helper()
	return sharedBy(t, name, options{config: name})
}

func sharedBy(t testing.TB, name string, o options) *world {
	t.Helper()
	worlds.Lock()
	w := worlds.shared[name]
	worlds.Unlock()
	if w == nil {
		w = start(t, o)
		worlds.Lock()
		if worlds.shared == nil {
			worlds.shared = map[string]*world{}
		}
		worlds.shared[name] = w
		worlds.Unlock()
	}
	return w
}

// start starts a gateway, which ends when all tests have run.
func start(t testing.TB, o options) *world {
	t.Helper()
	text, err := stack.Preset(repository, o.config)
	if err != nil {
		t.Fatal(err)
	}
	var settings map[string]any
	if err := json.Unmarshal(text, &settings); err != nil {
		t.Fatal(err)
	}
	for name, value := range o.settings {
		settings[name] = value
	}
	if text, err = json.Marshal(settings); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(scratch, "world-")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	db, err := startDatabase(ctx)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{db: db, canary: &canary{}, log: &buffer{}, lines: &buffer{}, entries: map[string]gateway.Entry{}, serial: &atomic.Int64{}, calls: &atomic.Int64{}, repeated: &atomic.Int64{}}
	w.Stack, err = stack.Start(ctx, stack.Options{
		Bootstrap: bootstrap, Dir: dir, Settings: text, RoutesFile: o.routes, DynamoDB: db.endpoint, Log: w.log,
		// These tests are of what holds although policies are cached, which a flush would hide.
		// The flush has its own (infra/local/stack).
		WithoutFlush: true,
		Function: func(f *lambda.Function) {
			if f.Name == "usage" && o.processes > 0 {
				f.MaxProcesses = o.processes
			}
		},
		Deliver: func(next logs.Invoke) logs.Invoke {
			if o.deliver != nil {
				next = o.deliver(next)
			}
			return w.overhear(next)
		},
		OnAccess: func(e gateway.Entry) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.entries[e.RequestID] = e
		},
	})
	if err != nil {
		_ = db.stop()
		t.Fatal(err)
	}
	w.url, w.root = w.URL, w.RootKey
	w.http = &http.Client{
		Timeout:       time.Minute,
		Transport:     &http.Transport{MaxIdleConnsPerHost: 64},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	w.knows(w.root)
	worlds.Lock()
	worlds.all = append(worlds.all, w)
	worlds.Unlock()
	return w
}

// end stops a gateway and looks for secrets in all that it leaves.
func (w *world) end() error {
	dump, err := w.db.dump(context.Background())
	if err != nil {
		return fmt.Errorf("dumping the tables: %w", err)
	}
	peppers, err := os.ReadFile(w.PeppersFile())
	if err != nil {
		return err
	}
	w.http.CloseIdleConnections()
	if err := w.Close(); err != nil {
		return err
	}
	access, err := os.ReadFile(w.AccessLogFile())
	if err != nil {
		return err
	}
	metrics, err := os.ReadFile(w.MetricsFile())
	if err != nil {
		return err
	}
	spool, err := w.spooled()
	if err != nil {
		return err
	}
	if err := w.db.stop(); err != nil {
		return err
	}
	if calls, repeated := w.calls.Load(), w.repeated.Load(); repeated > 5+calls/100 {
		return fmt.Errorf("%d of %d calls found the store too slow", repeated, calls)
	}
	return w.canary.report(os.Stdout, map[string][]byte{
		"the tables": dump, "the access log": access, "the functions' log": w.log.bytes(), "answers": w.canary.answers(),
		"the delivered lines": w.lines.bytes(), "the metrics": metrics, "the spool": spool,
	}, peppers)
}

// overhear keeps the lines that are delivered to the function usage.
func (w *world) overhear(next logs.Invoke) logs.Invoke {
	return func(ctx context.Context, payload []byte) error {
		var e events.CloudwatchLogsEvent
		err := json.Unmarshal(payload, &e)
		var d events.CloudwatchLogsData
		if err == nil {
			d, err = e.AWSLogs.Parse()
		}
		if err != nil {
			return err
		}
		for _, l := range d.LogEvents {
			_, _ = w.lines.Write([]byte(l.Message + "\n"))
		}
		return next(ctx, payload)
	}
}

// spooled is what was still to be delivered when the gateway ended.
func (w *world) spooled() (all []byte, err error) {
	files, err := filepath.Glob(filepath.Join(w.SpoolDir(), "*"))
	for _, name := range files {
		text, e := os.ReadFile(name)
		all, err = append(all, text...), errors.Join(err, e)
	}
	return all, err
}

// drain waits until every request that was answered so far is counted.
func (w *world) drain(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute) // a machine that is busy with other tests
	defer cancel()
	if err := w.Drain(ctx); err != nil {
		t.Fatalf("draining the logs: %v\n%s", err, w.log)
	}
}

// knows tells the canary of a key that was handed out.
func (w *world) knows(key string) { w.canary.add(key) }

// issuedQuietly is issued for goroutines.
func (w *world) issuedQuietly(a answer) {
	var v struct{ Data struct{ APIKey string } }
	if err := json.Unmarshal(a.body, &v); err == nil && v.Data.APIKey != "" {
		w.knows(v.Data.APIKey)
	}
}

// unique is a name that nobody else has, and an id that a customer may have.
func (w *world) unique(prefix string) string {
	return fmt.Sprintf("%s-%d", prefix, w.serial.Add(1))
}

// account makes another account and returns its root key.
func (w *world) account(t testing.TB) string {
	t.Helper()
	a, err := w.CreateAccount(t.Context(), w.unique("account"), "")
	if err != nil {
		t.Fatal(err)
	}
	w.knows(a.RootKey)
	return a.RootKey
}

// entry is the access log's line of an answer.
func (w *world) entry(t testing.TB, a answer) gateway.Entry {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	e, ok := w.entries[a.header.Get("X-Amzn-Requestid")]
	if !ok {
		t.Fatalf("answer %s has no line in the access log", a)
	}
	return e
}

// policyWasCached reports whether the gateway decided about the answer's request by a
// policy that it had, without asking the authorizer.
func (w *world) policyWasCached(t testing.TB, a answer) bool {
	t.Helper()
	return w.entry(t, a).AuthorizerCached
}

// buffer is a bytes.Buffer for several writers.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) bytes() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Clone(b.b.Bytes())
}

func (b *buffer) String() string { return strings.TrimSpace(string(b.bytes())) }
