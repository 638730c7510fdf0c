package stack_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/infra/local/lambda"
	"github.com/keyreeve/keyreeve/infra/local/stack"
	"github.com/keyreeve/keyreeve/infra/local/stacktest"
)

// unguarded is a table with one route that has its guard and one that has none, where only
// the cached policy stands in front of the function.
const unguarded = `{"permissions": [{"name": "customers:read", "label": "Customer Read"}, {"name": "licenses:manage", "label": "License Management"},
  {"name": "telemetry:write", "label": "Telemetry Write"}], "routes": [
  {"method": "GET", "path": "/v1/customers", "permission": "customers:read", "function": "sample"},
  {"method": "GET", "path": "/v1/licenses", "permission": "licenses:manage", "function": "sample", "unguarded": true}]}`

const (
	guardedPath   = "/v1/customers"
	unguardedPath = "/v1/licenses"
	permissions   = `{"permissions":["customers:read","licenses:manage"]}`
)

// revocation is a stack with that table, and its root key.
type revocation struct {
	*testing.T
	s *stacktest.Stack
}

func newRevocation(t *testing.T, o stack.Options) *revocation {
	t.Helper()
	o.RoutesFile = filepath.Join(t.TempDir(), "routes.json")
	if err := os.WriteFile(o.RoutesFile, []byte(unguarded), 0o600); err != nil {
		t.Fatal(err)
	}
	return &revocation{t, stacktest.Start(t, o)}
}

// manage is a request of the root key that must succeed; it returns the answer's data and
// when its change is in force.
func (r *revocation) manage(method, path, body string) (data map[string]any, guarded string, unguardedBy time.Time) {
	r.Helper()
	req, err := http.NewRequestWithContext(r.Context(), method, r.s.URL+path, bytes.NewReader([]byte(body)))
	if err != nil {
		r.Fatal(err)
	}
	req.Header.Set("X-API-Key", r.s.RootKey)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		r.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	var answer struct {
		Data map[string]any
		Meta struct {
			Effective struct {
				Guarded     string
				UnguardedBy time.Time
			}
		}
	}
	if err == nil {
		err = json.Unmarshal(text, &answer)
	}
	if err != nil || res.StatusCode/100 != 2 {
		r.Fatalf("%s %s: %d %s, %v", method, path, res.StatusCode, text, err)
	}
	return answer.Data, answer.Meta.Effective.Guarded, answer.Meta.Effective.UnguardedBy
}

// key makes a key and uses it on both routes, so that its policy is cached.
func (r *revocation) key() (path, secret string) {
	r.Helper()
	data, _, _ := r.manage("POST", "/v1/api-keys", `{"name":"Doomed",`+permissions[1:])
	path, secret = "/v1/api-keys/"+data["keyId"].(string), data["apiKey"].(string)
	for _, route := range []string{guardedPath, unguardedPath} {
		r.want(route, secret, true)
	}
	return path, secret
}

// allowed reports whether a route lets a key in.
func (r *revocation) allowed(route, secret string) bool {
	r.Helper()
	status, _ := get(r.T, r.s, route, secret)
	if status != 200 && status != 401 && status != 403 {
		r.Fatalf("%s: %d", route, status)
	}
	return status == 200
}

func (r *revocation) want(route, secret string, allowed bool) {
	r.Helper()
	if got := r.allowed(route, secret); got != allowed {
		r.Fatalf("%s: allowed %t, want %t", route, got, allowed)
	}
}

// refusedAfter is how long after now the unguarded route still lets a key in.
func (r *revocation) refusedAfter(secret string, most time.Duration) time.Duration {
	r.Helper()
	begun := time.Now()
	for r.allowed(unguardedPath, secret) {
		if time.Since(begun) > most {
			r.Fatalf("the unguarded route lets the key in %s after the change was answered", time.Since(begun))
		}
		time.Sleep(50 * time.Millisecond)
	}
	return time.Since(begun)
}

// The changes after which a key is refused.
var endings = []struct{ method, path, body string }{
	{"POST", "/revoke", ""},
	{"PATCH", "", `{"permissions":["telemetry:write"]}`},
	{"POST", "/regenerate", ""},
	{"DELETE", "", ""},
}

func TestWithTheFlushWorkingUnguardedRoutesRefuseWithinTwoSeconds(t *testing.T) {
	r := newRevocation(t, stack.Options{})
	for _, e := range endings {
		path, secret := r.key()
		_, guarded, by := r.manage(e.method, path+e.path, e.body)
		answered := time.Now()
		r.want(guardedPath, secret, false)
		after := r.refusedAfter(secret, 2*time.Second)
		if guarded != "now" || by.Before(answered.Add(after)) || by.Before(answered.Add(69*time.Second)) || by.After(answered.Add(71*time.Second)) {
			t.Errorf("%s %s: effective %q, unguarded by %s, answered at %s", e.method, e.path, guarded, by, answered)
		}
		t.Logf("%s %s: refused on the unguarded route %s after the answer", e.method, e.path, after.Round(time.Millisecond))
	}
	// What is wider is flushed too: else the cached policy would go on refusing.
	path, secret := r.key()
	r.manage("PATCH", path, `{"permissions":["telemetry:write"]}`)
	r.want(guardedPath, secret, false)
	r.manage("PATCH", path, permissions)
	waitUntil(t, "the wider verdict", func() bool { return r.allowed(guardedPath, secret) && r.allowed(unguardedPath, secret) })
}

func TestManyChangesAtATimeAreFlushedAndTheThrottleCannotStopThat(t *testing.T) {
	r := newRevocation(t, stack.Options{AuthorizerTimeout: 2 * time.Second})
	var paths, secrets []string
	for range 12 {
		path, secret := r.key()
		paths, secrets = append(paths, path), append(secrets, secret)
	}
	before, begun := r.s.Management.Flushed("production"), time.Now()
	for _, path := range paths {
		r.s.Management.Exhaust() // somebody deploys
		r.manage("POST", path+"/revoke", "")
	}
	for _, secret := range secrets {
		r.want(guardedPath, secret, false)
	}
	for _, secret := range secrets {
		r.refusedAfter(secret, 2*time.Second)
	}
	took := time.Since(begun)
	flushes := r.s.Management.Flushed("production") - before
	if most := 3 * (int(took/time.Second) + 2); flushes == 0 || flushes > most {
		t.Errorf("%d flushes for %d changes in %s, want 1 to %d: one a second of each of the three", flushes, len(paths), took, most)
	}
	t.Logf("%d changes in %s: %d flushes", len(paths), took.Round(time.Millisecond), flushes)
}

func TestWithTheFlushBrokenUnguardedRoutesRefuseByTheTimeThatTheAnswerSays(t *testing.T) {
	for _, broken := range []string{"none", "in the handler alone"} {
		t.Run(broken, func(t *testing.T) {
			const kept, timeout = 3, 2 * time.Second
			r := newRevocation(t, stack.Options{
				Settings:          fmt.Appendf(nil, `{"authorizerCacheSeconds":%d}`, kept),
				AuthorizerTimeout: timeout,
				Function: func(f *lambda.Function) {
					if broken == "none" || f.Name == "keys" {
						f.Env["AWS_ENDPOINT_URL_API_GATEWAY"] = "http://127.0.0.1:1" // where nobody listens
					}
				},
			})
			path, secret := r.key()
			sent := time.Now()
			_, guarded, by := r.manage("POST", path+"/revoke", "")
			answered := time.Now()
			if answered.Sub(sent) > 3*time.Second {
				t.Errorf("the answer waited %s for a flush that fails", answered.Sub(sent))
			}
			r.want(guardedPath, secret, false)
			most := 2 * time.Second // the stream function's flush
			if broken == "none" {
				most = time.Until(by)
				if !r.allowed(unguardedPath, secret) {
					t.Error("refused at once: the flush was not broken, and this shows nothing")
				}
			}
			after := r.refusedAfter(secret, most)
			if guarded != "now" || by.Before(sent.Add(timeout+kept*time.Second)) || by.After(answered.Add(timeout+kept*time.Second+time.Millisecond)) {
				t.Errorf("effective %q, unguarded by %s, answered at %s", guarded, by, answered)
			}
			t.Logf("refused on the unguarded route %s after the answer, which said %s", after.Round(time.Millisecond), by.Sub(answered).Round(time.Millisecond))
		})
	}
}

// The promise broken on purpose: policies are kept for longer than the functions are told.
func TestAnAcceptAfterTheTimeThatTheAnswerSaysRaisesAnAlert(t *testing.T) {
	kept := time.Hour
	r := newRevocation(t, stack.Options{
		Settings: []byte(`{"authorizerCacheSeconds":1}`), AuthorizerTTL: &kept, AuthorizerTimeout: time.Second, WithoutFlush: true,
	})
	path, secret := r.key()
	_, _, by := r.manage("POST", path+"/revoke", "")
	alerts := func() (subjects []any) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := r.s.Drain(ctx); err != nil {
			t.Fatal(err)
		}
		_, body := get(t, r.s, "/v1/alerts?kind=late_accept", r.s.RootKey)
		var list struct{ Data []map[string]any }
		if err := json.Unmarshal(body, &list); err != nil {
			t.Fatal(err)
		}
		for _, a := range list.Data {
			subjects = append(subjects, fmt.Sprint(a["severity"], " ", a["keyId"]))
		}
		return subjects
	}
	r.want(guardedPath, secret, false)
	r.want(unguardedPath, secret, true)
	if got := alerts(); len(got) != 0 {
		t.Errorf("alerts before the time that was promised: %v", got)
	}
	time.Sleep(time.Until(by.Add(6 * time.Second))) // and what clocks may differ by
	r.want(guardedPath, secret, false)
	r.want(unguardedPath, secret, true)
	if d := cmp.Diff([]any{"critical " + path[len("/v1/api-keys/"):]}, alerts()); d != "" {
		t.Errorf("alerts (-want +got):\n%s", d)
	}
	if metrics, err := os.ReadFile(r.s.MetricsFile()); err != nil || !strings.Contains(string(metrics), `"LateAccepts":1`) {
		t.Errorf("%v; metrics without one late accept:\n%s", err, metrics)
	}
}
