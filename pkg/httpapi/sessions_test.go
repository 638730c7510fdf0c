package httpapi

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// session exchanges the client's key for a session.
func (c client) session() (map[string]any, client) {
	c.w.t.Helper()
	data := c.do("POST", "/v1/sessions", "").want(201).data()
	return data, client{c.w, parseKey(c.w.t, data["apiKey"])}
}

func TestASessionIsItsKeyForTwelveHours(t *testing.T) {
	w := newWorld(t, "{}")
	_, parent := w.root.create(`{"name":"console","environment":"staging","permissions":["api_keys:*","customers:read"],"customers":["cus_1"],
		"networks":["192.0.2.0/24"],"rateLimit":7,"owner":"ops","limits":[{"window":"day","requests":50}]}`)
	a := parent.do("POST", "/v1/sessions", "{}").want(201)
	got := a.data()
	s := client{w, parseKey(t, got["apiKey"])}
	want := map[string]any{
		"keyId": keyID(s.key.ID()), "apiKey": got["apiKey"], "name": "console", "keyPrefix": got["keyPrefix"], "plan": "free", "rateLimit": 7.0, "rateUsed": 0.0,
		"limits": []any{map[string]any{"window": "day", "requests": 50.0, "used": 0.0}}, "quota": nil, "lastUsed": nil,
		"createdAt": "2026-01-15T10:30:00.000Z", "expirationTs": "2026-01-15T22:30:00.000Z", "number": 0.0, "environment": "staging", "status": "active",
		"permissions": []any{"api_keys:*", "customers:read"}, "permissionLabels": []any{"API Key Read, API Key Management", "Customer Read"},
		"customers": []any{"cus_1"}, "networks": []any{"192.0.2.0/24"}, "notBefore": nil, "owner": "ops", "isActive": true, "isPrimary": false, "canary": false,
		"version": 1.0, "requestCount": 0.0, "updatedAt": "2026-01-15T10:30:00.000Z", "rotatedAt": nil, "previousSecretUntil": nil, "deletedAt": nil,
		"createdBy": keyID(parent.key.ID()), "sessionOf": keyID(parent.key.ID()),
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("session (-want +got):\n%s", d)
	}
	if warning := a.object()["meta"].(map[string]any)["warning"]; warning != shownOnce {
		t.Errorf("warning %v", warning)
	}
	// It is in no list of keys, and counts for no plan.
	if got := w.root.do("GET", "/v1/api-keys?environment=staging", "").listed("keyId"); got != keyID(parent.key.ID()) {
		t.Errorf("keys of staging: %s", got)
	}
	w.root.do("GET", s.path(""), "").refused(404, "not_found")
	w.root.do("DELETE", s.path(""), "").refused(404, "not_found")
	if got := w.root.do("GET", "/v1/account", "").want(200).data()["keyCount"]; got != 2.0 {
		t.Errorf("%v keys, want the root key and the session's", got)
	}
	// It sees itself, and manages keys as its key does.
	if got := s.do("GET", "/v1/api-keys/self", "").want(200).data()["sessionOf"]; got != keyID(parent.key.ID()) {
		t.Errorf("self: sessionOf %v", got)
	}
	if got := parent.do("GET", "/v1/api-keys/self", "").want(200).data()["sessionOf"]; got != nil {
		t.Errorf("a key's own self: sessionOf %v", got)
	}
	made, _ := s.create(`{"name":"by session","permissions":["customers:read"]}`)
	if made["createdBy"] != keyID(parent.key.ID()) || made["environment"] != "staging" {
		t.Errorf("made by a session: createdBy %v, environment %v", made["createdBy"], made["environment"])
	}
	s.do("POST", "/v1/api-keys", `{"name":"more","permissions":["licenses:manage"]}`).refused(403, "permission_escalation")
	if f := s.do("POST", "/v1/sessions", "").refused(403, "permission_escalation"); len(f.Fields) != 1 {
		t.Errorf("fields %v, want one", f.Fields)
	}
}

func TestLiveSessionsAreListedOfTheKeysThatTheCallerSees(t *testing.T) {
	w := newWorld(t, "{}")
	_, staging := w.root.create(`{"name":"a","environment":"staging","permissions":["api_keys:*"]}`)
	_, short := w.root.create(`{"name":"b","environment":"staging","permissions":["api_keys:*"],"expirationTs":"2026-01-15T10:40:00Z"}`)
	_, first := w.root.session()
	w.advance(time.Minute)
	_, second := staging.session()
	w.advance(time.Minute)
	_, third := short.session()
	if err := w.store.Use(t.Context(), second.key.ID(), w.clock()); err != nil {
		t.Fatal(err)
	}
	golden(t, "to a session of staging", second.do("GET", "/v1/sessions", ""), `{"success":true,"meta":{"total":2},"data":[
		{"keyId":"S3","sessionOf":"B","keyName":"b","environment":"staging","createdAt":"2026-01-15T10:32:00.000Z","expirationTs":"2026-01-15T10:40:00.000Z","lastUsed":null,"current":false},
		{"keyId":"S2","sessionOf":"A","keyName":"a","environment":"staging","createdAt":"2026-01-15T10:31:00.000Z","expirationTs":"2026-01-15T22:31:00.000Z","lastUsed":"2026-01-15T10:32:00.000Z","current":true}]}`,
		names{"A": staging, "B": short, "S2": second, "S3": third})
	list := func(c client) string { return c.do("GET", "/v1/sessions", "").listed("keyId") }
	if got, want := list(w.root), keyID(third.key.ID())+" "+keyID(second.key.ID())+" "+keyID(first.key.ID()); got != want {
		t.Errorf("to the root key: %s, want %s", got, want)
	}
	if got := list(w.stranger()); got != "" {
		t.Errorf("to another account: %s", got)
	}
	w.advance(8 * time.Minute) // the short one's expiry
	w.root.do("PATCH", staging.path(""), `{"rateLimit":3}`).want(200)
	if got := list(w.root); got != keyID(first.key.ID()) {
		t.Errorf("after one expired and one key was changed: %s, want the root key's alone", got)
	}
}

func TestASessionIsEndedByWhoMay(t *testing.T) {
	w := newWorld(t, "{}")
	_, staging := w.root.create(`{"name":"a","environment":"staging","permissions":["api_keys:*"]}`)
	_, reader := w.root.create(`{"name":"b","permissions":["api_keys:read"]}`)
	_, s := w.root.session()
	path := "/v1/sessions/" + keyID(s.key.ID())
	absent := staging.do("DELETE", "/v1/sessions/key_00000000", "").want(404)
	for what, got := range map[string]answer{
		"another environment's":    staging.do("DELETE", path, ""),
		"another account's":        w.stranger().do("DELETE", path, ""),
		"a key that is no session": staging.do("DELETE", "/v1/sessions/"+keyID(staging.key.ID()), ""),
		"its own, being none":      staging.do("DELETE", "/v1/sessions/self", ""),
		"no id at all":             staging.do("DELETE", "/v1/sessions/x", ""),
	} {
		if got.Code != 404 || got.Body.String() != absent.Body.String() {
			t.Errorf("%s: %d %s, want %s", what, got.Code, got.Body, absent.Body)
		}
	}
	got := w.root.do("DELETE", path, "").want(200).object()
	want := map[string]any{"success": true, "data": map[string]any{"keyId": keyID(s.key.ID()), "revoked": true}, "meta": map[string]any{"effective": atOnce}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("ended (-want +got):\n%s", d)
	}
	w.root.do("DELETE", path, "").refused(404, "not_found")
	// Of its own a session needs no permission, by either name of it.
	_, own := reader.session()
	if got := own.do("DELETE", "/v1/sessions/self", "").want(200).data()["keyId"]; got != keyID(own.key.ID()) {
		t.Errorf("ended %v, want %s", got, keyID(own.key.ID()))
	}
	_, own = reader.session()
	own.do("DELETE", "/v1/sessions/"+keyID(own.key.ID()), "").want(200)
	if got := w.root.do("GET", "/v1/sessions", "").listed("keyId"); got != "" {
		t.Errorf("left: %s", got)
	}
}

func TestSessionsAreAskedForAsDocumented(t *testing.T) {
	w := newWorld(t, "{}")
	w.root.do("POST", "/v1/sessions", `{"hours":24}`).refused(400, "unknown_field")
	w.root.do("POST", "/v1/sessions?ttl=1", "").refused(400, "unknown_parameter")
	w.root.do("GET", "/v1/sessions?keyId=x", "").refused(400, "unknown_parameter")
	w.root.do("DELETE", "/v1/sessions/self?force=true", "").refused(400, "unknown_parameter")
	if got := w.root.do("GET", "/v1/sessions", "").listed("keyId"); got != "" {
		t.Errorf("made by what was refused: %s", got)
	}
	// The secret is in the one answer and nowhere else.
	_, s := w.root.session()
	for _, path := range []string{"/v1/sessions", "/v1/audit-events", "/v1/api-keys/self"} {
		body := s.do("GET", path, "").want(200).Body.String()
		noSecretIn(t, body, s.key)
		if strings.Contains(body, `"apiKey"`) {
			t.Errorf("%s shows a key", path)
		}
	}
	noSecretIn(t, string(w.store.Dump()), s.key)
}

// What a session makes is its key's, and what it asks about its key is by that key.
func TestWhatASessionDoesIsDoneInItsKeysName(t *testing.T) {
	w := newWorld(t, "{}")
	_, s := w.root.session()
	hook, _ := s.hook(`{"url":"https://example.com/"}`)
	if got := w.root.do("GET", "/v1/webhooks/"+hook, "").want(200).data()["createdBy"]; got != keyID(w.root.key.ID()) {
		t.Errorf("a session's webhook is createdBy %v, want its key", got)
	}
	// The advice about a key that asks for it counts that it asks, whose own line is still to
	// come: by itself or by a session.
	_, k := w.root.create(`{"name":"a","permissions":["customers:read","api_keys:*"]}`)
	w.profile(k, map[string]time.Duration{"customers:read": time.Minute})
	_, own := k.session()
	for who, c := range map[string]struct {
		client
		patch any
	}{
		"itself":    {k, nil},
		"a session": {own, nil},
		"the root":  {w.root, map[string]any{"permissions": []any{"customers:read"}}},
	} {
		if d := cmp.Diff(c.patch, c.do("GET", k.path("/advice"), "").want(200).data()["patch"]); d != "" {
			t.Errorf("advice for %s: patch (-want +got):\n%s", who, d)
		}
	}
}

// A service that has its callers' keys checked here takes a session for what it is.
func TestASessionIsVerifiedForWhoSeesItsKey(t *testing.T) {
	w := newWorld(t, "{}")
	_, staging := w.root.create(`{"name":"staging","environment":"staging","permissions":["api_keys:read"]}`)
	_, s := w.root.session()
	plain := s.key.Plaintext()
	for what, c := range map[string]struct {
		by   client
		want any
	}{"its key": {w.root, "ok"}, "itself": {s, "ok"}, "a manager of another environment": {staging, "unknown_key"}} {
		got := c.by.ask(plain, "GET", "/v1/api-keys", "production")
		if got["code"] != c.want || (got["keyId"] == keyID(s.key.ID())) != (c.want == "ok") {
			t.Errorf("to %s: %v, want %v", what, got, c.want)
		}
	}
	if got := w.root.ask(plain, "GET", "/v1/customers", ""); got["code"] != "session_scope" || got["valid"] != false {
		t.Errorf("on a route of the protected API: %v, want session_scope", got)
	}
	s.do("DELETE", "/v1/sessions/self", "").want(200)
	if got := w.root.ask(plain, "GET", "/v1/customers", ""); got["code"] != "unknown_key" || got["keyId"] != nil {
		t.Errorf("when it has ended: %v, want unknown_key as of a deleted key", got)
	}
}
