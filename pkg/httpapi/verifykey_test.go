package httpapi

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/apikey"
)

// ask asks for a verdict on a key, and returns its data.
func (c client) ask(key, method, path, environment string) map[string]any {
	c.w.t.Helper()
	q := map[string]string{"apiKey": key, "method": method, "path": path}
	if environment != "" {
		q["environment"] = environment
	}
	body, err := json.Marshal(q)
	if err != nil {
		c.w.t.Fatal(err)
	}
	return c.do("POST", "/v1/api-keys/verify", string(body)).want(200).data()
}

func TestVerifyNamesTheRuleThatDecides(t *testing.T) {
	w := newWorld(t, "{}")
	_, reader := w.root.create(`{"name":"reader","permissions":["customers:*"],"customers":["cus_1"]}`)
	_, staging := w.root.create(`{"name":"staging","environment":"staging","permissions":["*"]}`)
	_, off := w.root.create(`{"name":"off","isActive":false}`)
	_, brief := w.root.create(`{"name":"brief","expirationDays":1}`)
	_, gone := w.root.create(`{"name":"gone"}`)
	w.root.do("DELETE", "/v1/api-keys/key_"+string(gone.key.ID()), "").want(200)
	_, turned := w.root.create(`{"name":"turned"}`)
	w.root.do("POST", "/v1/api-keys/key_"+string(turned.key.ID())+"/regenerate", "").want(200)
	w.advance(25 * time.Hour)

	const none = "<nil>"
	for _, c := range []struct {
		what                                          string
		key                                           client
		method, path, env                             string
		valid                                         bool
		code, rule, permission, grantedBy, credential string
	}{
		{"granted by a wildcard", reader, "GET", "/v1/customers/cus_1", "", true, "ok", "GET /v1/customers/{customerId}", "customers:read", "customers:*", "X-API-Key"},
		{"with a trailing slash", reader, "GET", "/v1/customers/", "", true, "ok", "GET /v1/customers", "customers:read", "customers:*", "X-API-Key"},
		{"another customer", reader, "GET", "/v1/customers/cus_2", "", false, "customer_scope", "GET /v1/customers/{customerId}", "customers:read", none, "X-API-Key"},
		{"the overlap trap", reader, "GET", "/v1/customers/cus_1/invoices", "", false, "insufficient_scope", "GET /v1/customers/{customerId}/invoices", "invoices:read", none, "X-API-Key"},
		{"an encoded slash is one segment", reader, "GET", "/v1/customers/cus_1%2Finvoices", "", false, "customer_scope", "GET /v1/customers/{customerId}", "customers:read", none, "X-API-Key"},
		{"another header", w.root, "GET", "/v1/workspaces/", "", true, "ok", "GET /v1/workspaces", "workspaces:read", "*", "Authorization"},
		{"no permission needed", reader, "GET", "/v1/permissions", "", true, "ok", "GET /v1/permissions", none, none, "X-API-Key"},
		{"a public route", reader, "GET", "/health", "", true, "ok", "GET /health", none, none, "none"},
		{"* does not manage keys", staging, "GET", "/v1/api-keys", "staging", false, "insufficient_scope", "GET /v1/api-keys", "api_keys:read", none, "X-API-Key"},
		{"no such route", reader, "GET", "/v1/nothing", "", false, "no_route", none, none, none, none},
		{"no such method", reader, "DELETE", "/v1/customers", "", false, "no_route", none, none, none, none},
		{"another environment", staging, "GET", "/v1/licenses", "", false, "wrong_environment", "GET /v1/licenses", "licenses:manage", none, "X-API-Key"},
		{"its own environment", staging, "GET", "/v1/licenses", "staging", true, "ok", "GET /v1/licenses", "licenses:manage", "*", "X-API-Key"},
		{"switched off", off, "GET", "/v1/licenses", "", false, "inactive", "GET /v1/licenses", "licenses:manage", none, "X-API-Key"},
		{"expired", brief, "GET", "/v1/licenses", "", false, "expired", "GET /v1/licenses", "licenses:manage", none, "X-API-Key"},
		{"regenerated", turned, "GET", "/v1/licenses", "", false, "wrong_secret", "GET /v1/licenses", "licenses:manage", none, "X-API-Key"},
		{"deleted", gone, "GET", "/v1/licenses", "", false, "unknown_key", "GET /v1/licenses", "licenses:manage", none, "X-API-Key"},
	} {
		got := w.root.ask(c.key.key.Plaintext(), c.method, c.path, c.env)
		want := map[string]any{"valid": c.valid, "code": c.code, "keyId": "key_" + string(c.key.key.ID()), "permission": c.permission, "grantedBy": c.grantedBy}
		if c.rule != none {
			method, path, _ := strings.Cut(c.rule, " ")
			want["rule"] = map[string]any{"method": method, "path": path, "credential": c.credential}
		}
		for _, field := range []string{"permission", "grantedBy"} {
			if want[field] == none {
				want[field] = nil
			}
		}
		if c.code == "unknown_key" {
			want["keyId"] = nil
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.what, d)
		}
	}
}

func TestVerifyAnswersForeignAndUnknownKeysAlike(t *testing.T) {
	w := newWorld(t, "{}")
	foreign := w.stranger()
	_, foreignOff := foreign.create(`{"name":"x","isActive":false}`)
	unknown, err := apikey.Generate("kr_live", "00000000")
	if err != nil {
		t.Fatal(err)
	}
	forged, err := apikey.Generate("kr_live", foreign.key.ID()) // right id, wrong secret
	if err != nil {
		t.Fatal(err)
	}
	_, manager := w.root.create(`{"name":"m","environment":"staging","permissions":["api_keys:read"]}`)
	body := func(key apikey.Key) string {
		return `{"apiKey":"` + key.Plaintext() + `","method":"GET","path":"/v1/licenses"}`
	}
	want := w.root.do("POST", "/v1/api-keys/verify", body(unknown)).want(200)
	if want.data()["code"] != "unknown_key" || want.data()["valid"] != false {
		t.Fatalf("an unknown key: %s", want.Body)
	}
	for what, got := range map[string]answer{
		"foreign":                    w.root.do("POST", "/v1/api-keys/verify", body(foreign.key)),
		"foreign, inactive":          w.root.do("POST", "/v1/api-keys/verify", body(foreignOff.key)),
		"foreign id, wrong secret":   w.root.do("POST", "/v1/api-keys/verify", body(forged)),
		"of an environment not ours": manager.do("POST", "/v1/api-keys/verify", body(w.root.key)),
	} {
		if got.Code != 200 || got.Body.String() != want.Body.String() {
			t.Errorf("%s: %d %s\nunknown: %s", what, got.Code, redact(got.Body.String()), want.Body)
		}
	}
	if got := w.root.ask("not a key", "GET", "/v1/licenses", ""); got["code"] != "malformed" || got["keyId"] != nil {
		t.Errorf("malformed: %v", got)
	}
	if got := w.root.ask(foreign.key.Plaintext()+" ", "GET", "/v1/licenses", ""); got["code"] != "malformed" {
		t.Errorf("with a space: %v", got)
	}
}

func TestVerifyCountsNothing(t *testing.T) {
	w := newWorld(t, "{}")
	_, key := w.root.create(`{"name":"x"}`)
	for range 3 {
		w.root.ask(key.key.Plaintext(), "GET", "/v1/licenses", "")
	}
	got := w.root.do("GET", "/v1/api-keys/key_"+string(key.key.ID()), "").want(200).data()
	if got["requestCount"] != 0.0 || got["lastUsed"] != nil {
		t.Errorf("requestCount %v, lastUsed %v after verify alone", got["requestCount"], got["lastUsed"])
	}
}

func TestVerifyNeedsAWholeQuestion(t *testing.T) {
	w := newWorld(t, "{}")
	for body, fields := range map[string]int{
		``: 3, `{}`: 3,
		`{"apiKey":"x","method":"get","path":"v1"}`:                             2,
		`{"apiKey":"x","method":"OPTIONS","path":"/v1/licenses"}`:               1,
		`{"apiKey":"x","method":"GET","path":"/v1/licenses?x=1"}`:               1,
		`{"apiKey":"x","method":"GET","path":"/","environment":"shared"}`:       1,
		`{"apiKey":"x","method":"GET","path":"/v1/licenses","environment":"x"}`: 1,
	} {
		if f := w.root.do("POST", "/v1/api-keys/verify", body).refused(400, "validation_failed"); len(f.Fields) != fields {
			t.Errorf("%s: fields %v, want %d", body, f.Fields, fields)
		}
	}
}

func TestVerifyJudgesNetworksWhereItHearsOfTheAddress(t *testing.T) {
	w := newWorld(t, "{}")
	_, key := w.root.create(`{"name":"a","permissions":["customers:read"],"networks":["10.0.0.0/8"]}`)
	ask := func(more string) any {
		t.Helper()
		return w.root.do("POST", "/v1/api-keys/verify", `{"apiKey":"`+key.key.Plaintext()+`","method":"GET"`+more+`}`).want(200).data()["code"]
	}
	for more, want := range map[string]string{
		`,"path":"/v1/customers"`:                              "ok",
		`,"path":"/v1/customers","sourceIp":"10.1.2.3"`:        "ok",
		`,"path":"/v1/customers","sourceIp":"::ffff:10.1.2.3"`: "ok",
		`,"path":"/v1/customers","sourceIp":"192.0.2.1"`:       "network_scope",
		`,"path":"/v1/licenses","sourceIp":"192.0.2.1"`:        "network_scope",
		`,"path":"/v1/licenses","sourceIp":"10.1.2.3"`:         "insufficient_scope",
		`,"path":"/health","sourceIp":"192.0.2.1"`:             "ok",
		`,"path":"/v1/nothing","sourceIp":"192.0.2.1"`:         "no_route",
	} {
		if got := ask(more); got != want {
			t.Errorf("%s: %v, want %s", more, got, want)
		}
	}
	f := w.root.do("POST", "/v1/api-keys/verify", `{"apiKey":"x","method":"GET","path":"/","sourceIp":"10.0.0.0/8"}`).refused(400, "validation_failed")
	if len(f.Fields) != 1 || f.Fields[0].Field != "sourceIp" {
		t.Errorf("fields %v, want sourceIp", f.Fields)
	}
	later, _ := w.root.create(`{"name":"b","notBefore":"2026-02-01T00:00:00Z"}`)
	body, _ := json.Marshal(map[string]any{"apiKey": later["apiKey"], "method": "GET", "path": "/v1/customers"})
	if got := w.root.do("POST", "/v1/api-keys/verify", string(body)).want(200).data()["code"]; got != "not_yet_valid" {
		t.Errorf("before its start: %v", got)
	}
}

func TestSelfShowsTheHolderItsOwnKey(t *testing.T) {
	w := newWorld(t, momail)
	created, key := w.root.create(`{"name":"a","permissions":["customers:read"],"owner":"secret project","expirationDays":30}`)
	if err := w.store.Use(t.Context(), key.key.ID(), w.clock()); err != nil {
		t.Fatal(err)
	}
	got := key.do("GET", "/v1/api-keys/self", "").want(200).data()
	want := map[string]any{
		"keyId": created["keyId"], "name": "a", "keyPrefix": created["keyPrefix"], "environment": "production", "status": "active",
		"permissions": []any{"customers:read"}, "permissionLabels": []any{"Customer Read"}, "customers": []any{}, "networks": []any{},
		"plan": "free", "rateLimit": 20.0, "limits": []any{}, "quota": nil, "requestCount": 1.0, "lastUsed": "2026-01-15T10:30:00.000Z",
		"createdAt": "2026-01-15T10:30:00.000Z", "rotatedAt": nil, "expirationTs": "2026-02-14T10:30:00.000Z", "secretUntil": nil,
		"rateUsed": 1.0, "sessionOf": nil,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	// The holder of a secret that was replaced learns until when it works.
	w.root.do("POST", "/v1/api-keys/"+created["keyId"].(string)+"/regenerate", `{"graceSeconds":60}`).want(200)
	if got := key.do("GET", "/v1/api-keys/self", "").want(200).data(); got["secretUntil"] != "2026-01-15T10:31:00.000Z" {
		t.Errorf("secretUntil %v", got["secretUntil"])
	}
}

func TestPermissionsAreListedWithLabels(t *testing.T) {
	w := newWorld(t, "{}")
	_, holder := w.root.create(`{"name":"a","permissions":["telemetry:write"]}`)
	body := holder.do("GET", "/v1/permissions", "").want(200).object()
	labels := map[any]any{}
	for _, row := range body["data"].([]any) {
		r := row.(map[string]any)
		labels[r["name"]] = r["label"]
	}
	for name, label := range map[string]string{
		"*": "Full Access", "licenses:manage": "License Management", "customers:read": "Customer Read",
		"telemetry:write": "Telemetry Write", "api_keys:write": "API Key Management",
	} {
		if labels[name] != label {
			t.Errorf("%s is %v, want %s", name, labels[name], label)
		}
	}
	if n := body["meta"].(map[string]any)["total"]; n != float64(len(labels)) {
		t.Errorf("total %v, want %d", n, len(labels))
	}
	for name := range labels { // whatever the catalogue lists can be granted
		w.root.do("POST", "/v1/api-keys", `{"name":"a","permissions":["`+name.(string)+`"]}`).want(201)
	}
}
