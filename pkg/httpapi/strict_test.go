package httpapi

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/pkg/alert/alerttest"
	"github.com/keyreeve/keyreeve/pkg/guard"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/keys/keystest"
	"github.com/keyreeve/keyreeve/pkg/usage/usagetest"
	"github.com/keyreeve/keyreeve/pkg/webhook/webhooktest"
)

func TestBodiesAreStrictJSON(t *testing.T) {
	w := newWorld(t, "{}")
	for _, c := range []struct {
		body, code, field string
	}{
		{``, "validation_failed", "name"},
		{` ` + "\n", "validation_failed", "name"},
		{`{}`, "validation_failed", "name"},
		{`{"name":""}`, "validation_failed", "name"},
		{`{"name":"  "}`, "validation_failed", "name"},
		{`{"name":"` + strings.Repeat("ü", 101) + `"}`, "validation_failed", "name"},
		{`{"name":5}`, "validation_failed", "name"},
		{`{"name":null}`, "validation_failed", "name"},
		{`{"name":["a"]}`, "validation_failed", "name"},
		{`{"name":"a","expirationDays":0}`, "validation_failed", "expirationDays"},
		{`{"name":"a","expirationDays":366}`, "validation_failed", "expirationDays"},
		{`{"name":"a","expirationDays":1.5}`, "validation_failed", "expirationDays"},
		{`{"name":"a","expirationDays":"30"}`, "validation_failed", "expirationDays"},
		{`{"name":"a","expirationDays":1e400}`, "validation_failed", "expirationDays"},
		{`{"name":"a","expirationDays":-9223372036854775808}`, "validation_failed", "expirationDays"},
		{`{"name":"a","rateLimit":1e400}`, "validation_failed", "rateLimit"},
		{`{"name":"a","rateLimit":null}`, "validation_failed", "rateLimit"},
		{`{"name":"a","expirationTs":"tomorrow"}`, "validation_failed", "expirationTs"},
		{`{"name":"a","expirationTs":1767225600}`, "validation_failed", "expirationTs"},
		{`{"name":"a","permissions":"*"}`, "validation_failed", "permissions"},
		{`{"name":"a","permissions":["*",5]}`, "validation_failed", "permissions[1]"},
		{`{"name":"a","permissions":["nonsense"]}`, "validation_failed", "permissions[0]"},
		{`{"name":"a","isActive":"true"}`, "validation_failed", "isActive"},
		{`{"name":"a","environment":"Production"}`, "validation_failed", "environment"},
		{`{"name":"a","plan":"gold"}`, "validation_failed", "plan"},
		{`{"name":"a","accountId":"acme"}`, "unknown_field", "accountId"},
		{`{"name":"a","hash":"x"}`, "unknown_field", "hash"},
		{`{"name":"a","version":7}`, "unknown_field", "version"},
		{`{"name":"a","Name":"b"}`, "invalid_json", "Name"},
		{`{"NAME":"a"}`, "invalid_json", "NAME"},
		{`{"name":"a","permiſſions":["*"]}`, "invalid_json", "permiſſions"},
		{`{"name":"a","x":1e400}`, "unknown_field", "x"},
		{`{"name":"a","name":"b"}`, "invalid_json", "name"},
		{`{"name":"a","n\u0061me":"b"}`, "invalid_json", "name"},
		{`{"name":"a","x":{"y":1,"y":2}}`, "invalid_json", "y"},
		{`{"name":"a"} {}`, "invalid_json", ""},
		{`{"name":"a"}x`, "invalid_json", ""},
		{`{"name":"a"}]`, "invalid_json", ""},
		{`{"name":"a",}`, "invalid_json", ""},
		{`{"name":"a"`, "invalid_json", ""},
		{`{'name':'a'}`, "invalid_json", ""},
		{`{"name":"a" /* c */}`, "invalid_json", ""},
		{`{"name":NaN}`, "invalid_json", ""},
		{`{"name":"` + "\xff" + `"}`, "invalid_json", ""},
		{`{"name":"\ud800"}`, "invalid_json", ""},
		{"{\"name\":\"a\x01\"}", "invalid_json", ""},
		{"\ufeff" + `{"name":"a"}`, "invalid_json", ""},
		{`[]`, "invalid_json", ""},
		{`"a"`, "invalid_json", ""},
		{`null`, "invalid_json", ""},
		{`{"name":"a","x":` + strings.Repeat("[", 32) + strings.Repeat("]", 32) + `}`, "invalid_json", ""},
		{strings.Repeat(`{"a":`, 5000), "invalid_json", ""},
	} {
		a := w.root.do("POST", "/v1/api-keys", c.body)
		f := a.refused(400, c.code)
		got := ""
		if len(f.Fields) > 0 {
			got = f.Fields[0].Field
		}
		if len(f.Fields) > 1 || got != c.field {
			t.Errorf("%.80s: fields %v, want %q", c.body, f.Fields, c.field)
		}
	}
	if n := w.root.do("GET", "/v1/api-keys", "").want(200).object()["meta"].(map[string]any)["total"]; n != 1.0 {
		t.Errorf("%v keys: one of these was made", n)
	}
	// What is just within the bounds is taken.
	deep := `{"name":"a","x":` + strings.Repeat("[", 31) + strings.Repeat("]", 31) + `}`
	w.root.do("POST", "/v1/api-keys", deep).refused(400, "unknown_field")
	for _, days := range []string{"30", "30.0", "3e1"} {
		if got, _ := w.root.create(`{"name":"a","expirationDays":` + days + `}`); got["expirationTs"] != "2026-02-14T10:30:00.000Z" {
			t.Errorf("expirationDays %s: %v", days, got["expirationTs"])
		}
	}
	w.root.create(`{"name":"` + strings.Repeat("ü", 100) + `","expirationTs":null,"expirationDays":null}`)
}

func TestAllFieldsAtFaultAreNamedTogether(t *testing.T) {
	w := newWorld(t, "{}")
	f := w.root.do("POST", "/v1/api-keys", `{"name":5,"isActive":1,"rateLimit":"x","owner":null}`).refused(400, "validation_failed")
	if len(f.Fields) != 4 {
		t.Errorf("fields %v, want all four", f.Fields)
	}
	f = w.root.do("POST", "/v1/api-keys", `{"hash":1,"version":2}`).refused(400, "unknown_field")
	if len(f.Fields) != 2 {
		t.Errorf("fields %v, want both", f.Fields)
	}
	f = w.root.do("POST", "/v1/api-keys", `{"name":"","expirationDays":0,"plan":"x"}`).refused(400, "validation_failed")
	if len(f.Fields) != 3 {
		t.Errorf("fields %v, want all three", f.Fields)
	}
}

func TestBodySizeAndKind(t *testing.T) {
	w := newWorld(t, "{}")
	pad := func(n int) string { return `{"name":"a"` + strings.Repeat(" ", n-len(`{"name":"a"}`)) + `}` }
	w.root.do("POST", "/v1/api-keys", pad(64<<10)).want(201)
	w.root.do("POST", "/v1/api-keys", pad(64<<10+1)).refused(413, "body_too_large")
	for kind, status := range map[string]int{
		"application/json": 201, "application/json; charset=utf-8": 201, "Application/JSON;charset=UTF-8": 201,
		"application/json; charset=utf-16": 415, "text/plain": 415, "application/x-www-form-urlencoded": 415,
		"application/problem+json": 415, "application/json;": 201, "application/json, text/plain": 415, "": 415,
	} {
		if a := w.root.do("POST", "/v1/api-keys", `{"name":"a"}`, "Content-Type: "+kind); a.Code != status {
			t.Errorf("Content-Type %q: %d, want %d", kind, a.Code, status)
		}
	}
	w.root.do("POST", "/v1/api-keys", `{"name":"a"}`, "Content-Encoding: gzip").refused(415, "unsupported_media_type")
	w.root.do("POST", "/v1/api-keys", `{"name":"a"}`, "Content-Type: application/json", "Content-Type: application/json").refused(415, "unsupported_media_type")
	// Nothing in the body, so what it is said to be does not matter.
	w.root.do("POST", "/v1/api-keys", ``, "Content-Type: text/plain").refused(400, "validation_failed")
}

func TestQueryParametersAreThoseDocumented(t *testing.T) {
	w := newWorld(t, "{}")
	for query, want := range map[string][2]string{
		"?enviroment=staging":                 {"unknown_parameter", "enviroment"},
		"?Sort=name":                          {"unknown_parameter", "Sort"},
		"?api_key=x":                          {"unknown_parameter", "api_key"},
		"?force=true":                         {"unknown_parameter", "force"},
		"?sort=name&sort=-name":               {"validation_failed", "sort"},
		"?sort=secret":                        {"validation_failed", "sort"},
		"?environment=":                       {"validation_failed", "environment"},
		"?environment=prod":                   {"validation_failed", "environment"},
		"?status=Active":                      {"validation_failed", "status"},
		"?limit=0":                            {"validation_failed", "limit"},
		"?limit=1001":                         {"validation_failed", "limit"},
		"?limit=ten":                          {"validation_failed", "limit"},
		"?limit=99999999999999999999":         {"validation_failed", "limit"},
		"?search=%FF":                         {"validation_failed", "search"},
		"?search=" + strings.Repeat("a", 101): {"validation_failed", "search"},
	} {
		f := w.root.do("GET", "/v1/api-keys"+query, "").refused(400, want[0])
		if len(f.Fields) != 1 || f.Fields[0].Field != want[1] {
			t.Errorf("%s: fields %v, want %s", query, f.Fields, want[1])
		}
	}
	w.root.do("GET", "/v1/api-keys?a=%zz", "").refused(400, "bad_request")
	w.root.do("GET", "/v1/permissions?x=1", "").refused(400, "unknown_parameter")
	w.root.do("DELETE", "/v1/api-keys/key_00000000?force=yes", "").refused(400, "validation_failed")
	w.root.do("DELETE", "/v1/api-keys/key_00000000?descendants=true", "").refused(400, "unknown_parameter")
	w.root.do("POST", "/v1/api-keys?force=true", `{"name":"a"}`).refused(400, "unknown_parameter")
}

// A key may end up anywhere in a request by mistake. No answer repeats it, and no log.
func TestWhatWasRefusedIsNotEchoed(t *testing.T) {
	w := newWorld(t, "{}")
	_, victim := w.root.create(`{"name":"victim"}`)
	key := victim.key.Plaintext()
	secret := key[len(key)-32:]
	for _, text := range []string{key, secret, secret[:24] + "x"} {
		for _, c := range [][3]string{
			{"POST", "/v1/api-keys", `{"name":"` + key + `"}`},
			{"POST", "/v1/api-keys", `{"name":"a","owner":"` + key + `"}`},
			{"POST", "/v1/api-keys", `{"` + text + `":1}`},
			{"POST", "/v1/api-keys", `{"` + text + `":1,"` + text + `":1}`},
			{"POST", "/v1/api-keys", `{"name":"a","environment":"` + text + `"}`},
			{"POST", "/v1/api-keys", `{"name":"a","permissions":["` + text + `"]}`},
			{"POST", "/v1/api-keys", `{"name":"a","customers":["` + text + `/"]}`},
			{"POST", "/v1/api-keys", `{"name":"a","plan":"` + text + `"}`},
			{"POST", "/v1/api-keys", `{"name":"a","expirationTs":"` + text + `"}`},
			{"POST", "/v1/api-keys", `{"name":"a","expirationDays":"` + text + `"}`},
			{"POST", "/v1/api-keys", text},
			{"GET", "/v1/api-keys?" + text + "=1", ""},
			{"GET", "/v1/api-keys?sort=" + text, ""},
			{"GET", "/v1/api-keys?cursor=" + text, ""},
			{"GET", "/v1/api-keys/" + text, ""},
			{"POST", "/v1/api-keys/" + text + "/revoke", ""},
			{"POST", "/v1/account/api-keys/", `{"name":"a","key_type":"` + text + `"}`},
			{"POST", "/v1/api-keys/verify", `{"apiKey":"` + key + `","method":"` + text + `","path":"/"}`},
			{"POST", "/v1/api-keys/verify", `{"apiKey":"` + key + `","method":"GET","path":"` + text + `"}`},
			{"POST", "/v1/api-keys/verify", `{"apiKey":"` + key + `","method":"GET","path":"/v1/customers"}`},
			{"POST", "/v1/api-keys/key_" + string(w.root.key.ID()) + "/simulate", `{"method":"GET","path":"` + text + `"}`},
			{"POST", "/v1/api-keys/key_" + string(w.root.key.ID()) + "/simulate", `{"method":"` + text + `","path":"/x","sourceIp":"` + text + `","environment":"` + text + `","at":"` + text + `"}`},
			{"POST", "/v1/api-keys", `{"name":"a","networks":["` + text + `"]}`},
		} {
			a := w.root.do(c[0], c[1], c[2], "If-Match: "+`"1"`)
			noSecretIn(t, a.Body.String(), victim.key)
			for _, values := range a.Header() {
				noSecretIn(t, strings.Join(values, "\n"), victim.key)
			}
			if a.Code < 400 && c[1] != "/v1/api-keys/verify" {
				t.Errorf("%s %.20s was let through with %d", c[0], c[1], a.Code)
			}
		}
	}
	noSecretIn(t, w.log.String(), victim.key)
}

func TestWithoutACallerNothingIsServed(t *testing.T) {
	w := newWorld(t, "{}")
	for _, op := range w.handler.(*api).operations {
		r := httptest.NewRequest(op.method, strings.ReplaceAll(op.path, "{id}", "key_00000000"), nil)
		r.Header.Set("X-Account-Id", "acme") // says nothing
		a := w.serve(r)
		if op.public {
			a.want(200)
		} else {
			a.refused(500, "missing_context")
		}
	}
	// A caller that belongs to no account is none.
	r := httptest.NewRequest("GET", "/v1/api-keys", nil)
	w.serve(r.WithContext(guard.WithIdentity(r.Context(), keys.Caller{}))).refused(401, "unauthorized")
}

func TestAFailingStoreIsA503ThatSaysSo(t *testing.T) {
	w := newWorld(t, "{}")
	caller := keys.Caller{Credential: w.root.key}
	k, err := w.store.Key(t.Context(), w.root.key.ID())
	if err != nil {
		t.Fatal(err)
	}
	caller.Identity, _ = keys.Identify(&k, 1, "production", w.clock())
	w.store.OnCall(failing)
	w.usage.OnCall(func(context.Context, usagetest.Call) error { return keys.ErrUnavailable })
	w.alerts.OnCall(func(alerttest.Call) error { return keys.ErrUnavailable })
	w.webhooks.down = true
	for _, op := range w.handler.(*api).operations {
		if op.public || op.path == "/v1/permissions" || op.path == "/v1/routes" {
			continue
		}
		id := "key_" + string(w.root.key.ID())
		switch { // of a form that makes it worth asking the store
		case strings.HasPrefix(op.path, "/v1/account"):
			id = "1"
		case strings.HasPrefix(op.path, "/v1/alerts"):
			id = "019a00000000-near_limit-0123456789abcdef"
		case strings.HasPrefix(op.path, "/v1/webhooks"):
			id = webhooktest.EndpointID(1)
		case strings.HasPrefix(op.path, "/v1/deliveries"):
			id = webhooktest.DeliveryID(webhooktest.EndpointID(1), w.clock(), 1)
		}
		body := map[string]string{
			"createKey": `{"name":"a"}`, "updateKey": `{"name":"a"}`, "createAccountKey": `{"name":"a","key_type":"sandbox"}`,
			"createWebhook": `{"url":"https://example.com/"}`, "updateWebhook": `{"isActive":false}`,
			"simulateRequest":  `{"method":"GET","path":"/v1/licenses","sourceIp":"192.0.2.1"}`,
			"updateAccountKey": `{"name":"a"}`, "verifyKey": `{"apiKey":"` + w.root.key.Plaintext() + `","method":"GET","path":"/v1/licenses"}`,
		}[op.id]
		r := httptest.NewRequest(op.method, strings.ReplaceAll(op.path, "{id}", id), strings.NewReader(body))
		r.Header.Set(RequestIDHeader, "req-503")
		a := w.serve(r.WithContext(guard.WithIdentity(r.Context(), caller)))
		a.refused(503, "unavailable")
		if a.Header().Get("Retry-After") == "" {
			t.Errorf("%s: no Retry-After", op.id)
		}
	}
	if !strings.Contains(w.log.String(), "req-503") {
		t.Error("the cause is not in the log")
	}
}

func failing(_ context.Context, call keystest.Call) error {
	return fmt.Errorf("%s: %w", call.Op, keys.ErrUnavailable)
}
