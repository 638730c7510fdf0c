package httpapi

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/keys/keystest"
)

func TestOnePrimaryWhoeverAsksAtTheSameTime(t *testing.T) {
	w := newWorld(t, "{}")
	var paths []string
	for i := range 8 {
		data, _ := w.root.create(fmt.Sprintf(`{"name":"%d"}`, i))
		paths = append(paths, "/v1/api-keys/"+data["keyId"].(string))
	}
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			path := paths[i%len(paths)]
			var a answer
			if i%4 == 3 {
				a = w.root.do("DELETE", path, "")
			} else {
				a = w.root.do("PATCH", path, `{"isPrimary":true}`)
			}
			if a.Code != 200 && a.Code != 409 && a.Code != 404 {
				t.Errorf("status %d: %s", a.Code, a.Body)
			}
		})
	}
	wg.Wait()
	primaries := 0
	for _, row := range w.root.do("GET", "/v1/api-keys", "").want(200).object()["data"].([]any) {
		if row.(map[string]any)["isPrimary"] == true {
			primaries++
		}
	}
	if primaries != 1 {
		t.Errorf("%d primary keys", primaries)
	}
}

func TestOneKeyHoweverOftenTheRequestIsSent(t *testing.T) {
	w := newWorld(t, "{}")
	answers := make([]answer, 16)
	var wg sync.WaitGroup
	for i := range answers {
		wg.Go(func() {
			answers[i] = w.root.do("POST", "/v1/api-keys", `{"name":"a"}`, "Idempotency-Key: once")
		})
	}
	wg.Wait()
	var first string
	for _, a := range answers {
		switch {
		case a.Code == 409:
			a.refused(409, "idempotency_in_flight")
		case first == "":
			first = a.want(201).Body.String()
		case a.want(201).Body.String() != first:
			t.Error("the same request was answered with two keys")
		}
	}
	if n := w.root.do("GET", "/v1/api-keys", "").want(200).object()["meta"].(map[string]any)["total"]; n != 2.0 {
		t.Errorf("%v keys, want the root key and one", n)
	}
	// The same header from another caller is another request.
	other := client{w, parseKey(t, w.root.do("POST", "/v1/api-keys", `{"name":"m","permissions":["*","api_keys:*"]}`).want(201).data()["apiKey"])}
	if a := other.do("POST", "/v1/api-keys", `{"name":"a"}`, "Idempotency-Key: once").want(201); a.Body.String() == first || a.Header().Get("Idempotency-Replayed") != "" {
		t.Error("another caller got the answer of the first")
	}
}

// Whatever the store does in the middle of a change, the client is told the truth.
func TestAFaultInTheMiddleIsToldAsItIs(t *testing.T) {
	conflict := &keys.ConflictError{Retry: true}
	for _, op := range []struct{ method, path, body string }{
		{"POST", "/v1/api-keys", `{"name":"b"}`},
		{"PATCH", "/v1/api-keys/{id}", `{"permissions":["customers:read"]}`},
		{"DELETE", "/v1/api-keys/{id}", ""},
		{"POST", "/v1/api-keys/{id}/revoke", ""},
		{"POST", "/v1/api-keys/{id}/regenerate", ""},
		{"POST", "/v1/account/api-keys", `{"name":"b","key_type":"production"}`},
		{"PATCH", "/v1/account/api-keys/2", `{"is_active":false}`},
		{"DELETE", "/v1/account/api-keys/2", ""},
	} {
		for _, fault := range []struct {
			op     string
			done   bool
			err    error
			status int
			code   string
		}{
			{"Commit", false, keys.ErrUnavailable, 503, "unavailable"},
			{"Commit", true, keys.ErrOutcomeUnknown, 503, "outcome_unknown"},
			{"Commit", false, conflict, 409, "conflict"},
			{"Commit", false, errors.New("nobody knows"), 500, "internal_error"},
			{"Settle", false, keys.ErrUnavailable, 503, "not_settled"},
		} {
			w := newWorld(t, "{}")
			created, _ := w.root.create(`{"name":"a"}`)
			hit := atomic.Bool{}
			w.store.OnCall(func(_ context.Context, call keystest.Call) error {
				if call.Op == fault.op && call.Done == fault.done {
					hit.Store(true)
					return fault.err
				}
				return nil
			})
			a := w.root.do(op.method, strings.ReplaceAll(op.path, "{id}", created["keyId"].(string)), op.body)
			if !hit.Load() {
				continue // a create writes its meter in the transaction, so it settles nothing
			}
			a.refused(fault.status, fault.code)
			if strings.Contains(a.Body.String(), "nobody knows") {
				t.Errorf("%s %s tells the cause", op.method, op.path)
			}
		}
	}
}

func TestACallerThatWasRevokedMeanwhileChangesNothing(t *testing.T) {
	w := newWorld(t, "{}")
	data, manager := w.root.create(`{"name":"m","permissions":["*","api_keys:*"]}`)
	var done atomic.Bool
	w.store.OnCall(func(ctx context.Context, call keystest.Call) error {
		if call.Op == "Commit" && !call.Done && done.CompareAndSwap(false, true) {
			w.root.do("POST", "/v1/api-keys/"+data["keyId"].(string)+"/revoke", "").want(200)
		}
		return nil
	})
	manager.do("POST", "/v1/api-keys", `{"name":"x"}`).refused(401, "unauthorized")
	if n := w.root.do("GET", "/v1/api-keys", "").want(200).object()["meta"].(map[string]any)["total"]; n != 2.0 {
		t.Errorf("%v keys: the revoked manager made one", n)
	}
}
