package httpapi

import (
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const momail = `{"prefixes":{"canonical":{"production":{"issue":"mk"},"staging":{"issue":"mk"},"development":{"issue":"mk"}}}}`

// millis is the documented form of a time: "2024-01-15T10:30:00.000Z".
var millis = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`)

func TestMoMailCreateAsDocumented(t *testing.T) {
	w := newWorld(t, momail)
	a := w.root.do("POST", "/v1/api-keys", `{"name": "Production API", "expirationDays": 365}`, "Content-Type: application/json").want(http.StatusCreated)
	body := a.object()
	if body["success"] != true {
		t.Errorf("success is %v", body["success"])
	}
	if got := body["meta"]; !cmp.Equal(got, map[string]any{"warning": "This API key will only be shown once. Please store it securely."}) {
		t.Errorf("meta is %v", got)
	}
	data := a.data()
	if key := parseKey(t, data["apiKey"]); key.Prefix() != "mk" || data["keyId"] != "key_"+string(key.ID()) || data["keyPrefix"] != "mk_"+string(key.ID())[:3]+"****" {
		t.Errorf("keyId %v and keyPrefix %v do not fit the key", data["keyId"], data["keyPrefix"])
	}
	want := map[string]any{"name": "Production API", "plan": "free", "rateLimit": 20.0,
		"createdAt": "2026-01-15T10:30:00.000Z", "expirationTs": "2027-01-15T10:30:00.000Z"}
	for field, v := range want {
		if data[field] != v {
			t.Errorf("%s is %v, want %v", field, data[field], v)
		}
	}
	if a.Header().Get("ETag") != `"1"` {
		t.Errorf("ETag %s", a.Header().Get("ETag"))
	}
}

func TestMoMailListAsDocumented(t *testing.T) {
	w := newWorld(t, momail)
	created, key := w.root.create(`{"name":"Production API","plan":"pro"}`)
	if err := w.store.Use(t.Context(), key.key.ID(), w.clock().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	a := w.root.do("GET", "/v1/api-keys", "").want(http.StatusOK)
	body := a.object()
	if body["success"] != true || !cmp.Equal(body["meta"], map[string]any{"total": 2.0}) {
		t.Errorf("success %v, meta %v", body["success"], body["meta"])
	}
	rows := body["data"].([]any)
	if len(rows) != 2 {
		t.Fatalf("%d rows, want the root key and the new one", len(rows))
	}
	row := rows[1].(map[string]any)
	want := map[string]any{
		"keyId": created["keyId"], "name": "Production API", "keyPrefix": created["keyPrefix"], "plan": "pro", "rateLimit": 100.0, "limits": []any{}, "quota": nil,
		"lastUsed": "2026-01-15T11:30:00.000Z", "createdAt": "2026-01-15T10:30:00.000Z", "expirationTs": nil,
		"number": 2.0, "environment": "production", "status": "active",
		"permissions": []any{"*"}, "permissionLabels": []any{"Full Access"}, "customers": []any{}, "networks": []any{}, "notBefore": nil, "owner": "",
		"isActive": true, "isPrimary": false, "canary": false, "version": 1.0, "requestCount": 1.0, "updatedAt": "2026-01-15T10:30:00.000Z",
		"rotatedAt": nil, "previousSecretUntil": nil, "deletedAt": nil, "createdBy": "key_" + string(w.root.key.ID()),
		"rateUsed": 1.0, "sessionOf": nil,
	}
	if d := cmp.Diff(want, row); d != "" {
		t.Errorf("row (-want +got):\n%s", d)
	}
	if first := rows[0].(map[string]any); first["lastUsed"] != nil || first["number"] != 1.0 || first["isPrimary"] != true || first["plan"] != "enterprise" {
		t.Errorf("the root key is listed as %v", first)
	}
}

func TestMoMailDeleteAsDocumented(t *testing.T) {
	w := newWorld(t, momail)
	created, _ := w.root.create(`{"name":"Production API"}`)
	a := w.root.do("DELETE", "/v1/api-keys/"+created["keyId"].(string), "").want(http.StatusOK)
	want := map[string]any{
		"success": true, "data": map[string]any{"keyId": created["keyId"], "revoked": true}, "meta": map[string]any{"effective": atOnce},
	}
	if d := cmp.Diff(want, a.object()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	w.root.do("GET", "/v1/api-keys/"+created["keyId"].(string), "").refused(404, "not_found")
	w.root.do("DELETE", "/v1/api-keys/"+created["keyId"].(string), "").refused(404, "not_found")
	rows := w.root.do("GET", "/v1/api-keys?status=revoked", "").want(200).object()["data"].([]any)
	if len(rows) != 1 || rows[0].(map[string]any)["status"] != "revoked" || rows[0].(map[string]any)["deletedAt"] == nil {
		t.Errorf("status=revoked lists %v", rows)
	}
}

func TestEveryFieldOfACreateIsKept(t *testing.T) {
	w := newWorld(t, "{}")
	data, _ := w.root.create(`{"name":"=HYPERLINK(\"x\") <img onerror=1>","environment":"staging","permissions":["customers:read","invoices:read"],
		"customers":["cus_1"],"owner":"Zoë","networks":["10.1.2.3/8","::1"],"plan":"pro","rateLimit":7,"notBefore":"2026-01-20T01:00:00+01:00","expirationTs":"2026-02-01T00:00:00+01:00","isActive":false,"isPrimary":false}`)
	want := map[string]any{"name": `=HYPERLINK("x") <img onerror=1>`, "environment": "staging", "owner": "Zoë", "plan": "pro", "rateLimit": 7.0,
		"notBefore": "2026-01-20T00:00:00.000Z", "expirationTs": "2026-01-31T23:00:00.000Z", "isActive": false, "status": "inactive", "isPrimary": false}
	for field, v := range want {
		if data[field] != v {
			t.Errorf("%s is %v, want %v", field, data[field], v)
		}
	}
	if d := cmp.Diff([]any{"customers:read", "invoices:read"}, data["permissions"]); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]any{"Customer Read", "Invoice Read"}, data["permissionLabels"]); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]any{"cus_1"}, data["customers"]); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]any{"10.0.0.0/8", "::1/128"}, data["networks"]); d != "" {
		t.Error(d)
	}
}

func TestAPatchChangesWhatItNames(t *testing.T) {
	w := newWorld(t, "{}")
	created, _ := w.root.create(`{"name":"a","expirationDays":30,"customers":["cus_1"]}`)
	path := "/v1/api-keys/" + created["keyId"].(string)
	for _, step := range []struct {
		body  string
		field string
		want  any
	}{
		{`{"name":"b"}`, "name", "b"},
		{`{"owner":"ops"}`, "owner", "ops"},
		{`{"plan":"pro"}`, "rateLimit", 100.0},
		{`{"rateLimit":5}`, "rateLimit", 5.0},
		{`{"notBefore":"2026-01-20T10:30:00Z"}`, "notBefore", "2026-01-20T10:30:00.000Z"},
		{`{"owner":"ops"}`, "status", "scheduled"},
		{`{"notBefore":null}`, "notBefore", nil},
		{`{"networks":["2001:DB8::/32","10.1.2.3"]}`, "networks", []any{"10.1.2.3/32", "2001:db8::/32"}},
		{`{"networks":[]}`, "networks", []any{}},
		{`{"expirationDays":1}`, "expirationTs", "2026-01-16T10:30:00.000Z"},
		{`{"expirationTs":null}`, "expirationTs", nil},
		{`{"expirationTs":"2026-03-01T00:00:00Z"}`, "expirationTs", "2026-03-01T00:00:00.000Z"},
		{`{"expirationDays":null}`, "expirationTs", nil},
		{`{"isActive":false}`, "status", "inactive"},
		{`{"isActive":true}`, "status", "active"},
		{`{"isPrimary":true}`, "isPrimary", true},
	} {
		if got := w.root.do("PATCH", path, step.body).want(200).data()[step.field]; !cmp.Equal(got, step.want) {
			t.Errorf("PATCH %s: %s is %v, want %v", step.body, step.field, got, step.want)
		}
	}
	got := w.root.do("PATCH", path, `{"permissions":["licenses:manage"],"customers":[]}`).want(200).data()
	if !cmp.Equal(got["permissions"], []any{"licenses:manage"}) || !cmp.Equal(got["customers"], []any{}) {
		t.Errorf("permissions %v, customers %v", got["permissions"], got["customers"])
	}
	if got["name"] != "b" || got["owner"] != "ops" {
		t.Errorf("what was not named has changed: %v", got)
	}
	w.root.do("PATCH", path, `{"isPrimary":false}`).refused(409, "primary_key")
	w.root.do("DELETE", path, "").refused(409, "primary_key")
	for _, blank := range []string{"", "  ", "{}"} {
		w.root.do("PATCH", path, blank).refused(400, "validation_failed")
	}
	both := w.root.do("PATCH", path, `{"expirationDays":1,"expirationTs":"2026-03-01T00:00:00Z"}`).refused(400, "validation_failed")
	if len(both.Fields) != 1 {
		t.Errorf("fields %v", both.Fields)
	}
}

func TestRevokeActivateRegenerate(t *testing.T) {
	w := newWorld(t, "{}")
	created, old := w.root.create(`{"name":"a","permissions":["customers:read"],"owner":"ops","rateLimit":9}`)
	path := "/v1/api-keys/" + created["keyId"].(string)

	if got := w.root.do("POST", path+"/revoke", "").want(200).data(); got["status"] != "inactive" || got["isActive"] != false {
		t.Errorf("after revoke: %v", got["status"])
	}
	if got := w.root.do("POST", path+"/activate", "{}").want(200).data(); got["status"] != "active" {
		t.Errorf("after activate: %v", got["status"])
	}

	a := w.root.do("POST", path+"/regenerate", "").want(200)
	got := a.data()
	if !cmp.Equal(a.object()["meta"], map[string]any{"warning": shownOnce, "effective": atOnce}) {
		t.Errorf("meta %v", a.object()["meta"])
	}
	fresh := parseKey(t, got["apiKey"])
	if fresh.Plaintext() == old.key.Plaintext() || fresh.ID() != old.key.ID() {
		t.Error("regenerate did not give a new secret for the same id")
	}
	for _, field := range slices.Sorted(maps.Keys(created)) {
		switch field {
		case "apiKey", "version", "rotatedAt", "updatedAt":
		default:
			if !cmp.Equal(got[field], created[field]) {
				t.Errorf("regenerate changed %s: %v, was %v", field, got[field], created[field])
			}
		}
	}
	if got["rotatedAt"] != "2026-01-15T10:30:00.000Z" || got["previousSecretUntil"] != nil {
		t.Errorf("rotatedAt %v, previousSecretUntil %v", got["rotatedAt"], got["previousSecretUntil"])
	}

	if got := w.root.do("POST", path+"/regenerate", `{"graceSeconds":3600}`).want(200).data(); got["previousSecretUntil"] != "2026-01-15T11:30:00.000Z" {
		t.Errorf("previousSecretUntil %v", got["previousSecretUntil"])
	}
	w.advance(time.Hour)
	if got := w.root.do("GET", path, "").want(200).data(); got["previousSecretUntil"] != nil {
		t.Errorf("previousSecretUntil %v after it ended", got["previousSecretUntil"])
	}
	for _, grace := range []string{"86401", "-1", "9007199254740992", "1e18"} {
		f := w.root.do("POST", path+"/regenerate", `{"graceSeconds":`+grace+`}`).refused(400, "validation_failed")
		if len(f.Fields) != 1 || f.Fields[0].Field != "graceSeconds" {
			t.Errorf("graceSeconds %s: fields %v", grace, f.Fields)
		}
	}
	w.root.do("POST", path+"/revoke", `{"force":true}`).refused(400, "unknown_field")
}

func TestRevokeMayIncludeDescendants(t *testing.T) {
	w := newWorld(t, "{}")
	manager, asManager := w.root.create(`{"name":"manager","permissions":["api_keys:*","customers:read"]}`)
	child, _ := asManager.create(`{"name":"child"}`)
	path := "/v1/api-keys/" + manager["keyId"].(string)
	a := w.root.do("POST", path+"/revoke?descendants=true", "").want(200)
	if d := cmp.Diff(map[string]any{"descendants": 1.0, "effective": atOnce}, a.object()["meta"]); d != "" {
		t.Error(d)
	}
	if got := w.root.do("GET", "/v1/api-keys/"+child["keyId"].(string), "").want(200).data(); got["status"] != "inactive" {
		t.Errorf("the descendant is %v", got["status"])
	}
	if d := cmp.Diff(map[string]any{"effective": atOnce}, w.root.do("POST", path+"/revoke", "").want(200).object()["meta"]); d != "" {
		t.Errorf("without descendants (-want +got):\n%s", d)
	}
}

func TestTheLastManagerGoesByForceOnly(t *testing.T) {
	w := newWorld(t, "{}")
	path := "/v1/api-keys/key_" + string(w.root.key.ID())
	w.root.do("POST", path+"/revoke", "").refused(409, "last_manager")
	w.root.do("PATCH", path, `{"isActive":false}`).refused(409, "last_manager")
	w.root.do("POST", path+"/revoke?force=false", "").refused(409, "last_manager")
	w.root.do("POST", path+"/revoke?force=true", "").want(200)
}

func TestIdempotencyKeyRepeatsTheAnswer(t *testing.T) {
	w := newWorld(t, "{}")
	body := `{"name":"a"}`
	first := w.root.do("POST", "/v1/api-keys", body, "Idempotency-Key: k-1").want(201)
	again := w.root.do("POST", "/v1/api-keys/", body, "Idempotency-Key: k-1").want(201)
	if first.Body.String() != again.Body.String() {
		t.Error("the repeated answer differs")
	}
	if first.Header().Get("Idempotency-Replayed") != "" || again.Header().Get("Idempotency-Replayed") != "true" {
		t.Errorf("Idempotency-Replayed is %q, then %q", first.Header().Get("Idempotency-Replayed"), again.Header().Get("Idempotency-Replayed"))
	}
	w.root.do("POST", "/v1/api-keys", `{"name":"b"}`, "Idempotency-Key: k-1").refused(422, "idempotency_mismatch")
	if n := w.root.do("GET", "/v1/api-keys", "").want(200).object()["meta"].(map[string]any)["total"]; n != 2.0 {
		t.Errorf("%v keys, want the root key and one", n)
	}

	path := "/v1/api-keys/" + first.data()["keyId"].(string) + "/regenerate"
	one := w.root.do("POST", path, "", "Idempotency-Key: k-1").want(200)
	two := w.root.do("POST", path, "", "Idempotency-Key: k-1").want(200)
	if one.Body.String() != two.Body.String() || two.Header().Get("Idempotency-Replayed") != "true" {
		t.Error("a repeated regenerate gives another answer")
	}
	// The first answer's secret is dead by now: it is not given again, nor another key made.
	w.root.do("POST", "/v1/api-keys", body, "Idempotency-Key: k-1").refused(409, "idempotency_unusable")

	w.root.do("POST", "/v1/api-keys", body, "Idempotency-Key: k-2", "Idempotency-Key: k-2").refused(400, "validation_failed")
	w.root.do("POST", "/v1/api-keys", body, "Idempotency-Key: ").refused(400, "validation_failed")
	w.root.do("POST", "/v1/api-keys", body, "Idempotency-Key: two words").refused(400, "validation_failed")
}

func TestChangesCanBeConditional(t *testing.T) {
	w := newWorld(t, "{}")
	created, _ := w.root.create(`{"name":"a"}`)
	path := "/v1/api-keys/" + created["keyId"].(string)
	if got := w.root.do("GET", path, "").want(200).Header().Get("ETag"); got != `"1"` {
		t.Fatalf("ETag %s, want \"1\"", got)
	}
	rename := func(match ...string) answer {
		return w.root.do("PATCH", path, `{"name":"`+fmt.Sprint(len(match))+match[0]+`"}`, match[1:]...)
	}
	if got := rename("x", `If-Match: "1"`).want(200).Header().Get("ETag"); got != `"2"` {
		t.Errorf("ETag %s after a change, want \"2\"", got)
	}
	rename("y", "If-Match: *").want(200)
	for _, stale := range []string{`"1"`, `W/"3"`, `"03"`, `"three"`, `"99999999999999999999"`, `""`, `"-1"`} {
		rename("z", "If-Match: "+stale).refused(412, "precondition_failed")
	}
	for _, malformed := range []string{`3`, `"3`, `3"`, `"3", "4"`, `"3" ` + "x", `w/"3"`, `**`, `"a"b"`, ``} {
		f := rename("z", "If-Match: "+malformed).refused(400, "validation_failed")
		if f.Fields[0].Field != "If-Match" {
			t.Errorf("If-Match %s: fields %v", malformed, f.Fields)
		}
	}
	rename("z", `If-Match: "3"`, `If-Match: "3"`).refused(400, "validation_failed")
	w.root.do("POST", path+"/revoke", "", `If-Match: "1"`).refused(412, "precondition_failed")
	w.root.do("POST", path+"/activate", "", `If-Match: "1"`).refused(412, "precondition_failed")
	w.root.do("POST", path+"/regenerate", "", `If-Match: "1"`).refused(412, "precondition_failed")
	w.root.do("DELETE", path, "", `If-Match: "1"`).refused(412, "precondition_failed")
	w.root.do("DELETE", "/v1/api-keys/key_00000000", "", `If-Match: "1"`).refused(404, "not_found")
	w.root.do("DELETE", path, "", `If-Match: "3"`).want(200)
}

func TestListFiltersSortsAndPages(t *testing.T) {
	w := newWorld(t, "{}")
	for i := range 5 {
		w.root.create(fmt.Sprintf(`{"name":"key %c","environment":"%s","expirationDays":%d}`, 'e'-i, []string{"staging", "development"}[i%2], i+1))
	}
	names := func(query string) (out []string) {
		for _, row := range w.root.do("GET", "/v1/api-keys"+query, "").want(200).object()["data"].([]any) {
			out = append(out, row.(map[string]any)["name"].(string))
		}
		return out
	}
	for query, want := range map[string][]string{
		"?environment=staging":              {"key e", "key c", "key a"},
		"?sort=name&environment=staging":    {"key a", "key c", "key e"},
		"?sort=-name&environment=staging":   {"key e", "key c", "key a"},
		"?sort=-expirationTs&search=KEY%20": {"key a", "key b", "key c", "key d", "key e"},
		"?search=key%20B":                   {"key b"},
		"?status=inactive":                  nil,
		"?environment=production&limit=1":   {"Root key"},
		"/?environment=development&limit=1": {"key d"},
	} {
		if d := cmp.Diff(want, names(query)); d != "" {
			t.Errorf("GET /v1/api-keys%s (-want +got):\n%s", query, d)
		}
	}

	root := w.root.do("GET", "/v1/api-keys?environment=production", "").want(200).object()["data"].([]any)[0].(map[string]any)["keyId"].(string)
	for search, want := range map[string][]string{
		root: {"Root key"}, "KEY_" + strings.ToLower(root[4:8]): {"Root key"}, root[4:]: {"Root key"}, "key_" + root[5:]: nil, "key_": nil,
	} {
		if d := cmp.Diff(want, names("?search="+search)); d != "" {
			t.Errorf("a search for an id (-want +got):\n%s", d)
		}
	}

	var seen []string
	cursor := ""
	for page := range 4 {
		body := w.root.do("GET", "/v1/api-keys?sort=name&limit=2"+cursor, "").want(200).object()
		meta := body["meta"].(map[string]any)
		if meta["total"] != 6.0 {
			t.Errorf("total %v on page %d, want 6", meta["total"], page)
		}
		for _, row := range body["data"].([]any) {
			seen = append(seen, row.(map[string]any)["name"].(string))
		}
		next, more := meta["next"].(string)
		if !more {
			break
		}
		cursor = "&cursor=" + next
	}
	if d := cmp.Diff([]string{"key a", "key b", "key c", "key d", "key e", "Root key"}, seen); d != "" {
		t.Errorf("paged (-want +got):\n%s", d)
	}
	w.root.do("GET", "/v1/api-keys?sort=-name&limit=2"+cursor, "").refused(400, "invalid_cursor")
	w.root.do("GET", "/v1/api-keys?sort=name&limit=2&cursor=x", "").refused(400, "invalid_cursor")
	w.stranger().do("GET", "/v1/api-keys?sort=name&limit=2"+cursor, "").refused(400, "invalid_cursor")
}

func TestAForeignKeyIsAnAbsentOne(t *testing.T) {
	w := newWorld(t, "{}")
	stranger := w.stranger()
	created, _ := w.root.create(`{"name":"a"}`)
	foreign, absent := created["keyId"].(string), "key_00000000"
	for _, c := range [][3]string{
		{"GET", "/v1/api-keys/%s", ""},
		{"PATCH", "/v1/api-keys/%s", `{"name":"b"}`},
		{"DELETE", "/v1/api-keys/%s", ""},
		{"POST", "/v1/api-keys/%s/revoke", ""},
		{"POST", "/v1/api-keys/%s/activate", ""},
		{"POST", "/v1/api-keys/%s/regenerate", ""},
	} {
		f := stranger.do(c[0], fmt.Sprintf(c[1], foreign), c[2])
		f.refused(404, "not_found")
		if g := stranger.do(c[0], fmt.Sprintf(c[1], absent), c[2]); g.Body.String() != f.Body.String() {
			t.Errorf("%s %s: a foreign key gives\n%s\nan absent one\n%s", c[0], c[1], f.Body, g.Body)
		}
	}
	if got := w.root.do("GET", "/v1/api-keys/"+foreign, "").want(200).data(); got["name"] != "a" || got["status"] != "active" {
		t.Errorf("the stranger changed it: %v", got)
	}
}

func TestOnlyIdsOfTheFaceNameAKey(t *testing.T) {
	w := newWorld(t, "{}")
	id := string(w.root.key.ID())
	w.root.do("GET", "/v1/api-keys/key_"+id+"/", "").want(200)
	for _, bad := range []string{id, "KEY_" + id, "key_" + id + "0", "key_", "1", "key_" + id[:7] + "%2F", "..", "%2E%2E", ";", "key_" + id + ";x=1", "key_" + id + "%00", "*", "key_" + id[:7] + "?"} {
		r := "/v1/api-keys/" + strings.ReplaceAll(bad, "?", "%3F")
		w.root.do("GET", r, "").refused(404, "not_found")
	}
	for _, path := range []string{"/v1/api-keys//", "/v1/api-keys//revoke", "/v1//api-keys", "/v1/api-keys/key_" + id + "/revoke/x", "/v1/api-keys/a%2Frevoke"} {
		w.root.do("POST", path, "").refused(404, "not_found")
	}
	w.root.do("PUT", "/v1/api-keys", "").refused(404, "not_found")
}

func TestNobodyGrantsWhatItDoesNotHold(t *testing.T) {
	w := newWorld(t, "{}")
	_, manager := w.root.create(`{"name":"m","environment":"staging","permissions":["api_keys:*","customers:read"],"customers":["cus_1"]}`)
	for body, field := range map[string]string{
		`{"name":"x","permissions":["licenses:manage"]}`: "permissions",
		`{"name":"x","customers":["cus_2"]}`:             "customers",
		`{"name":"x","environment":"production"}`:        "environment",
		`{"name":"x","rateLimit":1000000}`:               "rateLimit",
	} {
		f := manager.do("POST", "/v1/api-keys", body).refused(403, "permission_escalation")
		if len(f.Fields) != 1 || f.Fields[0].Field != field {
			t.Errorf("%s: fields %v, want %s", body, f.Fields, field)
		}
	}
	rich, _ := w.root.create(`{"name":"rich","environment":"staging","permissions":["licenses:manage"]}`)
	path := "/v1/api-keys/" + rich["keyId"].(string)
	own := "/v1/api-keys/key_" + string(manager.key.ID())
	manager.do("PATCH", own, `{"permissions":["api_keys:*","*"]}`).refused(403, "permission_escalation")
	manager.do("PATCH", own, `{"customers":[]}`).refused(403, "permission_escalation")
	manager.do("POST", path+"/regenerate", "").refused(403, "permission_escalation")
	manager.do("POST", path+"/revoke", "").want(200) // taking away needs no more
	manager.do("POST", path+"/activate", "").refused(403, "permission_escalation")
	if got, _ := manager.create(`{"name":"x"}`); got["environment"] != "staging" || !cmp.Equal(got["permissions"], []any{"customers:read"}) || !cmp.Equal(got["customers"], []any{"cus_1"}) {
		t.Errorf("the defaults are %v, %v, %v", got["environment"], got["permissions"], got["customers"])
	}
}

func TestTimesHaveMilliseconds(t *testing.T) {
	w := newWorld(t, "{}")
	w.advance(1500 * time.Microsecond)
	got, _ := w.root.create(`{"name":"a","expirationDays":1}`)
	for _, field := range []string{"createdAt", "expirationTs", "updatedAt"} {
		if s, _ := got[field].(string); !millis.MatchString(s) {
			t.Errorf("%s is %v", field, got[field])
		}
	}
}
