package httpapi

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const missinglettr = `{"prefixes":{"canonical":{"production":{"issue":"ml_live"},"staging":{"issue":"ml_stage"},"development":{"issue":"ml_dev"}},
	"account":{"production":{"issue":"ml_prod"},"staging":{"issue":"ml_sand"},"development":{"issue":"ml_sand"}}},"sharedStage":true}`

// createAccount makes a key on the account face and returns the answer and a client.
func (c client) createAccount(body string) (map[string]any, client) {
	c.w.t.Helper()
	got := c.do("POST", "/v1/account/api-keys/", body, "Content-Type: application/json").want(http.StatusCreated).object()
	return got, client{c.w, parseKey(c.w.t, got["api_key"])}
}

func TestMissinglettrCreateAsDocumented(t *testing.T) {
	w := newWorld(t, missinglettr)
	w.root.create(`{"name":"second"}`)
	got, key := w.root.createAccount(`{"name": "CI/CD Pipeline", "key_type": "production"}`)
	want := map[string]any{"id": 3.0, "name": "CI/CD Pipeline", "key_type": "production",
		"api_key": key.key.Plaintext(), "message": "Save this key securely. It will not be shown again."}
	if d := cmp.Diff(want, got); d != "" {
		t.Error("the answer is not exactly as documented") // the difference may hold the key
	}
	if key.key.Prefix() != "ml_prod" {
		t.Errorf("prefix %s", key.key.Prefix())
	}
	got, key = w.root.createAccount(`{"name": "Staging Environment", "key_type": "sandbox"}`)
	if got["key_type"] != "sandbox" || key.key.Prefix() != "ml_sand" {
		t.Errorf("key_type %v with prefix %s", got["key_type"], key.key.Prefix())
	}
}

func TestMissinglettrListAsDocumented(t *testing.T) {
	w := newWorld(t, missinglettr)
	_, production := w.root.createAccount(`{"name":"Production Key","key_type":"production"}`)
	_, sandbox := w.root.createAccount(`{"name":"Development Key","key_type":"sandbox"}`)
	w.root.create(`{"name":"Staging","environment":"staging"}`)
	if err := w.store.Use(t.Context(), production.key.ID(), w.clock().Add(1500*time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/v1/account/api-keys/", "/v1/account/api-keys"} {
		got := w.root.do("GET", path, "").want(200).object()
		rows := got["api_keys"].([]any)
		if len(got) != 1 || len(rows) != 4 {
			t.Fatalf("%s: %d members, %d rows", path, len(got), len(rows))
		}
		want := []any{
			map[string]any{"id": 2.0, "name": "Production Key", "key_type": "production", "key_prefix": "ml_prod_" + string(production.key.ID())[:4],
				"is_active": true, "is_primary": false, "created_at": "2026-01-15T10:30:00Z", "last_used": "2026-01-15T10:30:01Z"},
			map[string]any{"id": 3.0, "name": "Development Key", "key_type": "sandbox", "key_prefix": "ml_sand_" + string(sandbox.key.ID())[:4],
				"is_active": true, "is_primary": false, "created_at": "2026-01-15T10:30:00Z", "last_used": nil},
		}
		if d := cmp.Diff(want, rows[1:3]); d != "" {
			t.Errorf("%s (-want +got):\n%s", path, d)
		}
		if first := rows[0].(map[string]any); first["id"] != 1.0 || first["is_primary"] != true {
			t.Errorf("the first row is %v", first)
		}
		if staging := rows[3].(map[string]any); staging["key_type"] != "sandbox" {
			t.Errorf("a staging key reads as %v", staging["key_type"])
		}
	}
}

func TestMissinglettrUpdateAndDeleteAsDocumented(t *testing.T) {
	w := newWorld(t, missinglettr)
	w.root.createAccount(`{"name":"Development Key","key_type":"sandbox"}`)
	got := w.root.do("PATCH", "/v1/account/api-keys/2/", `{"name": "Updated Key Name", "is_active": false}`).want(200)
	if row := got.object(); row["name"] != "Updated Key Name" || row["is_active"] != false || row["id"] != 2.0 || len(row) != 8 {
		t.Errorf("PATCH answers %v", row)
	}
	if got.Header().Get("ETag") != `"2"` {
		t.Errorf("ETag %s", got.Header().Get("ETag"))
	}
	w.root.do("PATCH", "/v1/account/api-keys/2/", `{"is_active": false}`, "Content-Type: application/json").want(200)
	w.root.do("PATCH", "/v1/account/api-keys/2/", `{"name":"x"}`, `If-Match: "1"`).refused(412, "precondition_failed")
	if a := w.root.do("DELETE", "/v1/account/api-keys/2/", "").want(http.StatusNoContent); a.Body.Len() != 0 {
		t.Errorf("a 204 with a body: %s", a.Body)
	}
	w.root.do("DELETE", "/v1/account/api-keys/2/", "").refused(404, "not_found")
}

func TestThePrimaryKeyIsReplacedAsDocumented(t *testing.T) {
	w := newWorld(t, missinglettr)
	f := w.root.do("DELETE", "/v1/account/api-keys/1/", "").refused(409, "primary_key")
	if !strings.Contains(f.Message, "Create a new key, set it as primary, then delete the old one.") {
		t.Errorf("message %q", f.Message)
	}
	_, fresh := w.root.createAccount(`{"name":"new","key_type":"production"}`)
	if row := w.root.do("PATCH", "/v1/account/api-keys/2/", `{"is_primary":true}`).want(200).object(); row["is_primary"] != true {
		t.Errorf("PATCH answers %v", row)
	}
	// The new key has full access, so it can carry on alone.
	fresh.do("DELETE", "/v1/account/api-keys/1/", "").want(http.StatusNoContent)
	if rows := fresh.do("GET", "/v1/account/api-keys/", "").want(200).object()["api_keys"].([]any); len(rows) != 1 {
		t.Errorf("%d rows, want 1", len(rows))
	}
}

func TestKeyTypeDecidesWhatAKeyHolds(t *testing.T) {
	w := newWorld(t, missinglettr)
	_, full := w.root.createAccount(`{"name":"p","key_type":"production"}`)
	_, limited := w.root.createAccount(`{"name":"s","key_type":"sandbox"}`)
	holds := func(c client) any {
		return w.root.do("GET", "/v1/api-keys/key_"+string(c.key.ID()), "").want(200).data()["permissions"]
	}
	if d := cmp.Diff([]any{"*", "api_keys:*"}, holds(full)); d != "" {
		t.Errorf("production (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]any{"*"}, holds(limited)); d != "" {
		t.Errorf("sandbox (-want +got):\n%s", d)
	}
	if got := limited.do("GET", "/v1/api-keys/self", "").want(200).data()["environment"]; got != "development" {
		t.Errorf("a sandbox key is of %v", got)
	}
}

func TestAccountFaceNamesItsOwnFields(t *testing.T) {
	w := newWorld(t, missinglettr)
	w.root.createAccount(`{"name":"dev","key_type":"sandbox"}`)
	for _, c := range []struct{ method, path, body, code, field string }{
		{"POST", "/v1/account/api-keys/", `{"name":"x"}`, "validation_failed", "key_type"},
		{"POST", "/v1/account/api-keys/", `{"name":"x","key_type":"staging"}`, "validation_failed", "key_type"},
		{"POST", "/v1/account/api-keys/", `{"name":"x","key_type":null}`, "validation_failed", "key_type"},
		{"POST", "/v1/account/api-keys/", `{"name":" ","key_type":"sandbox"}`, "validation_failed", "name"},
		{"POST", "/v1/account/api-keys/", `{"name":"x","key_type":"sandbox","environment":"production"}`, "unknown_field", "environment"},
		{"POST", "/v1/account/api-keys/", ``, "validation_failed", "key_type"},
		{"PATCH", "/v1/account/api-keys/2/", `{"is_primary":true}`, "validation_failed", "is_primary"},
		{"PATCH", "/v1/account/api-keys/2/", `{"is_active":"no"}`, "validation_failed", "is_active"},
		{"PATCH", "/v1/account/api-keys/2/", `{"isActive":false}`, "unknown_field", "isActive"},
		{"PATCH", "/v1/account/api-keys/2/", `{"key_type":"production"}`, "unknown_field", "key_type"},
	} {
		f := w.root.do(c.method, c.path, c.body).refused(400, c.code)
		if len(f.Fields) != 1 || f.Fields[0].Field != c.field {
			t.Errorf("%s %s: fields %v, want %s", c.method, c.body, f.Fields, c.field)
		}
	}
	_, staging := w.root.create(`{"name":"m","environment":"staging","permissions":["api_keys:*"]}`)
	f := staging.do("POST", "/v1/account/api-keys/", `{"name":"x","key_type":"production"}`).refused(403, "permission_escalation")
	if f.Fields[0].Field != "key_type" {
		t.Errorf("fields %v", f.Fields)
	}
}

func TestOnlyIntegersNameAKeyOfTheAccountFace(t *testing.T) {
	w := newWorld(t, missinglettr)
	stranger := w.stranger()
	stranger.createAccount(`{"name":"x","key_type":"production"}`)
	absent := w.root.do("PATCH", "/v1/account/api-keys/99/", `{"name":"b"}`)
	absent.refused(404, "not_found")
	// Number 2 exists in the other account alone.
	for _, id := range []string{"2", "0", "-1", "01", "+1", "1.0", "1e0", "%31x", "key_" + string(w.root.key.ID()), "99999999999999999999", "9223372036854775807"} {
		a := w.root.do("PATCH", "/v1/account/api-keys/"+id+"/", `{"name":"b"}`)
		a.refused(404, "not_found")
		if a.Body.String() != absent.Body.String() {
			t.Errorf("id %s answers otherwise than an absent one", id)
		}
	}
}

func TestAccountCreateIsRetrySafe(t *testing.T) {
	w := newWorld(t, missinglettr)
	body := `{"name":"x","key_type":"production"}`
	first := w.root.do("POST", "/v1/account/api-keys/", body, "Idempotency-Key: k").want(201)
	again := w.root.do("POST", "/v1/account/api-keys", body, "Idempotency-Key: k").want(201)
	if first.Body.String() != again.Body.String() || again.Header().Get("Idempotency-Replayed") != "true" {
		t.Error("the repeated answer differs")
	}
	// The same header on the other face is another request.
	w.root.do("POST", "/v1/api-keys", `{"name":"x"}`, "Idempotency-Key: k").want(201)
}
