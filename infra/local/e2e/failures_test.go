package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/bench/runtimeapi"
)

// What attacks.md asks of failures: the request is refused, and whatever is behind the
// authorizer is not called.

// refusedByAuthorizer fails the test unless a is the answer to an authorizer that failed,
// and the function was not called.
func (w *world) refusedByAuthorizer(t *testing.T, a answer) {
	t.Helper()
	a.mustRefuse(t, http.StatusInternalServerError, "authorizer_failure")
	if e := w.entry(t, a); e.IntegrationLatency != 0 || e.ResponseType != "AUTHORIZER_FAILURE" {
		t.Errorf("access log: response type %q, integration latency %d ms; want AUTHORIZER_FAILURE and no integration", e.ResponseType, e.IntegrationLatency)
	}
}

func TestNothingPassesWhileTheStoreIsDown(t *testing.T) {
	w := start(t, options{})
	cached := w.create(t, w.root, `{"name":"Cached","permissions":["customers:read"]}`)
	fresh := w.create(t, w.root, `{"name":"Fresh","permissions":["customers:read"]}`)
	w.change(t, cached.key, "GET", "/v1/customers", "")

	// The stream's function writes meters too, until it has come to the end of the changes.
	eventually(t, 20*time.Second, "the store has come to rest", func() bool {
		before := w.db.count("UpdateItem", w.Config.MetersTable)
		time.Sleep(time.Second)
		return w.db.count("UpdateItem", w.Config.MetersTable) == before
	})
	back := w.db.hangUp(t)
	for range 3 {
		counts := w.db.count("UpdateItem", w.Config.MetersTable)
		a := w.once(t, "GET", "/v1/customers", xAPIKey(fresh.key), "")
		w.refusedByAuthorizer(t, a)
		if n := w.db.count("UpdateItem", w.Config.MetersTable) - counts; n != 0 {
			t.Errorf("%d writes were tried for a request that was not authorized", n)
		}
		a = w.once(t, "GET", "/v1/customers", xAPIKey(cached.key), "")
		a.mustRefuse(t, http.StatusServiceUnavailable, "unavailable")
		if a.header.Get("Retry-After") == "" {
			t.Error("the 503 lacks Retry-After")
		}
	}
	// Junk is junk all the same: it needs no store.
	a := w.once(t, "GET", "/v1/customers", xAPIKey("junk"), "")
	a.mustRefuse(t, http.StatusUnauthorized, "unauthorized")

	back()
	for _, k := range []issued{cached, fresh} {
		if a := w.once(t, "GET", "/v1/customers", xAPIKey(k.key), ""); a.status != http.StatusOK {
			t.Errorf("once the store is back = %s, want 200", a)
		}
	}
}

func TestNothingPassesWithoutThePepperRing(t *testing.T) {
	w := start(t, options{})
	k := w.create(t, w.root, `{"name":"Peppered","permissions":["customers:read"]}`)
	ring := w.PeppersFile()
	if err := os.Rename(ring, ring+".away"); err != nil {
		t.Fatal(err)
	}
	restore := func() {
		if err := os.Rename(ring+".away", ring); err != nil {
			t.Error(err)
		}
	}
	w.killAuthorizers(t) // a process that has the ring needs no file
	for range 3 {
		w.refusedByAuthorizer(t, w.once(t, "GET", "/v1/customers", xAPIKey(k.key), ""))
	}
	restore()
	eventually(t, 10*time.Second, "the key works again", func() bool {
		return w.once(t, "GET", "/v1/customers", xAPIKey(k.key), "").status == http.StatusOK
	})
}

// killAuthorizers kills the authorizer's processes and waits until they are gone.
func (w *world) killAuthorizers(t *testing.T) {
	t.Helper()
	for _, pid := range w.Lambda.PIDs("authorizer") {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatalf("killing process %d: %v", pid, err)
		}
		eventually(t, 5*time.Second, "the process is gone", func() bool {
			for _, p := range w.Lambda.PIDs("authorizer") {
				if p == pid {
					return false
				}
			}
			return true
		})
	}
}

// An authorizer that dies in the middle costs its request, with a 500, and no more.
func TestAnAuthorizerThatDiesRefuses(t *testing.T) {
	w := start(t, options{})
	var keys []issued
	for i := range 30 {
		keys = append(keys, w.create(t, w.root, fmt.Sprintf(`{"name":"Victim %d","permissions":["customers:read"]}`, i)))
	}
	statuses := make(chan answer, len(keys))
	for _, k := range keys {
		go func() {
			a, _ := w.try("GET", "/v1/customers", xAPIKey(k.key), "") // a failure is status 0
			statuses <- a
		}()
	}
	for _, pid := range w.Lambda.PIDs("authorizer") {
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may have gone
	}
	for range keys {
		a := <-statuses
		if a.status != http.StatusOK && !(a.status == http.StatusInternalServerError && a.code() == "authorizer_failure") {
			t.Errorf("while the authorizer dies = %s, want 200 or 500 authorizer_failure", a)
		}
	}
	for _, k := range keys {
		if a := w.once(t, "GET", "/v1/customers", xAPIKey(k.key), ""); a.status != http.StatusOK {
			t.Errorf("afterwards = %s, want 200", a)
		}
	}
}

// A handler that is reached without the authorizer's context answers nobody. The event is
// one that API Gateway would send if a route had been deployed without its authorizer.
func TestNoHandlerAnswersWithoutAuthorizerContext(t *testing.T) {
	w := shared(t)
	for _, c := range []struct{ function, method, path string }{
		{"sample", "GET", "/v1/customers"},
		{"keys", "GET", "/v1/api-keys"},
		{"keys", "POST", "/v1/api-keys"},
	} {
		p, err := runtimeapi.Start(bootstrap,
			"_HANDLER="+c.function, "AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=x", "AWS_SECRET_ACCESS_KEY=x",
			"KEYS_TABLE="+w.Config.KeysTable, "METERS_TABLE="+w.Config.MetersTable, "SAMPLE_TABLE="+w.Config.SampleTable,
			"USAGE_TABLE="+w.Config.UsageTable, "ALERTS_TABLE="+w.Config.AlertsTable,
			"PEPPER_SECRET=x", "AWS_ENDPOINT_URL_DYNAMODB="+w.db.endpoint, "AWS_ENDPOINT_URL_SECRETS_MANAGER=http://127.0.0.1:1")
		if err != nil {
			t.Fatal(err)
		}
		defer p.Stop()
		for _, authorizer := range []map[string]any{
			nil, {}, {"principalId": "x"}, {"accountId": "local"}, {"accountId": "local", "keyId": "00000000", "permissions": "*"},
		} {
			event, err := json.Marshal(map[string]any{
				"resource": c.path, "path": c.path, "httpMethod": c.method, "body": `{"name":"N"}`,
				"headers":           map[string]string{"X-API-Key": w.root},
				"multiValueHeaders": map[string][]string{"X-API-Key": {w.root}},
				"stageVariables":    map[string]string{"environment": "production"},
				"requestContext":    map[string]any{"requestId": "r", "stage": "production", "authorizer": authorizer},
			})
			if err != nil {
				t.Fatal(err)
			}
			out, _, err := p.Invoke(event)
			var a struct {
				StatusCode int
				Body       string
			}
			if err != nil || json.Unmarshal(out, &a) != nil || a.StatusCode != 500 || !strings.Contains(a.Body, `"missing_context"`) {
				t.Errorf("%s %s with authorizer context %v = %d (%v), want 500 missing_context", c.method, c.path, authorizer, a.StatusCode, err)
			}
			if bytes.Contains(out, []byte(w.root)) {
				t.Error("the answer holds the key")
			}
		}
	}
}
