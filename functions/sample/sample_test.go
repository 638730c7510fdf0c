package sample_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/functions/sample"
	"github.com/keyreeve/keyreeve/functions/sample/document"
	"github.com/keyreeve/keyreeve/functions/sample/sampletest"
	"github.com/keyreeve/keyreeve/pkg/guard"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

const now = "2026-03-04T05:06:07.089Z"

// client calls the API as one key does.
type client struct {
	t       *testing.T
	handler http.Handler
	caller  keys.Caller
}

func newClient(t *testing.T, store document.Store) *client {
	n := 0
	h := sample.New(sample.Config{
		Store: store,
		Clock: func() time.Time {
			at, err := time.Parse(time.RFC3339Nano, now)
			if err != nil {
				t.Fatal(err)
			}
			return at.Add(999 * time.Microsecond)
		},
		NewID: func() string { n++; return fmt.Sprintf("%03d", n) },
	})
	return &client{t, h, keys.Caller{Identity: keys.Identity{AccountID: "acct", Environment: keys.Production}}}
}

func (c *client) as(account string, env keys.Environment, customers ...string) *client {
	d := *c
	d.caller.AccountID, d.caller.Environment, d.caller.Customers = account, env, customers
	return &d
}

func (c *client) do(method, target, body string) (status int, answer map[string]any) {
	c.t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Header.Set("X-Amzn-Requestid", "req-1")
	r = r.WithContext(guard.WithIdentity(r.Context(), c.caller))
	w := httptest.NewRecorder()
	c.handler.ServeHTTP(w, r)
	if got := w.Header().Get("Content-Type"); got != "application/json" {
		c.t.Errorf("%s %s: Content-Type = %q", method, target, got)
	}
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
		c.t.Fatalf("%s %s: body is no JSON object: %v", method, target, err)
	}
	return w.Code, answer
}

// must is a call that succeeds with want as its status; it returns data and meta.
func (c *client) must(want int, method, target, body string) (data any, meta map[string]any) {
	c.t.Helper()
	status, answer := c.do(method, target, body)
	if status != want || answer["success"] != true {
		c.t.Fatalf("%s %s %s = %d %v, want %d", method, target, body, status, answer, want)
	}
	return answer["data"], answer["meta"].(map[string]any)
}

// refused is a call that fails with that status and code; it returns the fields named.
func (c *client) refused(status int, code, method, target, body string) (fields []string) {
	c.t.Helper()
	got, answer := c.do(method, target, body)
	problem, _ := answer["error"].(map[string]any)
	if got != status || answer["success"] != false || problem["code"] != code || problem["requestId"] != "req-1" {
		c.t.Errorf("%s %s %s = %d %v, want %d %s", method, target, body, got, answer, status, code)
	}
	list, _ := problem["fields"].([]any)
	for _, f := range list {
		fields = append(fields, f.(map[string]any)["field"].(string))
	}
	return fields
}

type object = map[string]any

func diff(t *testing.T, what string, want, got any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func TestEveryRouteAnswersItsShape(t *testing.T) {
	c := newClient(t, &sampletest.Memory{})

	ws := object{"workspaceId": "ws_001", "name": "Blog", "createdAt": now}
	data, meta := c.must(201, "POST", "/v1/workspaces", `{"name":"Blog"}`)
	diff(t, "created workspace", any(ws), data)
	diff(t, "its meta", object{}, meta)
	data, meta = c.must(200, "GET", "/v1/workspaces", "")
	diff(t, "workspaces", any([]any{ws}), data)
	diff(t, "their meta", object{"count": 1.}, meta)

	cus := object{"customerId": "cus_002", "name": "Ada", "email": "ada@example.com", "monthlyAmount": 4900., "currency": "EUR", "createdAt": now, "updatedAt": now}
	data, _ = c.must(201, "POST", "/v1/customers", `{"name":"Ada","email":"ada@example.com","monthlyAmount":4900,"currency":"EUR"}`)
	diff(t, "created customer", any(cus), data)
	data, meta = c.must(200, "GET", "/v1/customers", "")
	diff(t, "customers", any([]any{cus}), data)
	diff(t, "their meta", object{"count": 1.}, meta)
	data, _ = c.must(200, "GET", "/v1/customers/cus_002", "")
	diff(t, "customer", any(cus), data)

	inv := object{"invoiceId": "inv_003", "customerId": "cus_002", "amount": 4900., "currency": "EUR", "issuedAt": now, "dueAt": "2026-04-03T05:06:07.089Z"}
	data, meta = c.must(200, "GET", "/v1/customers/cus_002/invoices", "")
	diff(t, "invoices", any([]any{inv}), data)
	diff(t, "their meta", object{"count": 1.}, meta)

	data, _ = c.must(200, "PUT", "/v1/customers/cus_002", `{"name":"Ada L."}`)
	diff(t, "replaced customer", any(object{"customerId": "cus_002", "name": "Ada L.", "monthlyAmount": 0., "currency": "USD", "createdAt": now, "updatedAt": now}), data)
	data, _ = c.must(200, "GET", "/v1/customers/cus_002/invoices", "")
	diff(t, "invoices after it", any([]any{inv}), data)

	lic := object{"licenseId": "lic_004", "product": "Editor", "seats": 5., "customerId": "cus_002", "createdAt": now}
	data, _ = c.must(201, "POST", "/v1/licenses", `{"product":"Editor","seats":5,"customerId":"cus_002"}`)
	diff(t, "created licence", any(lic), data)
	data, _ = c.must(200, "GET", "/v1/licenses", "")
	diff(t, "licences", any([]any{lic}), data)

	data, _ = c.must(202, "POST", "/v1/telemetry", `{"events":[{"name":"opened"},{"name":"closed","at":"2026-01-02T03:04:05+01:00","attributes":{"ms":12,"ok":true}}]}`)
	diff(t, "telemetry", any(object{"accepted": 2.}), data)

	data, _ = c.must(200, "DELETE", "/v1/customers/cus_002", "")
	diff(t, "deleted customer", any(object{"customerId": "cus_002", "deleted": true}), data)
	for _, path := range []string{"/v1/customers/cus_002", "/v1/customers/cus_002/invoices"} {
		c.refused(404, "not_found", "GET", path, "")
	}
	data, _ = c.must(200, "GET", "/v1/customers", "")
	diff(t, "customers after it", any([]any{}), data)
	c.refused(404, "not_found", "DELETE", "/v1/customers/cus_002", "")
	c.refused(404, "not_found", "PUT", "/v1/customers/cus_002", `{"name":"Ada"}`)
}

func TestTelemetryIsStoredUntilItExpires(t *testing.T) {
	store := &sampletest.Memory{}
	newClient(t, store).must(202, "POST", "/v1/telemetry", `{"events":[{"name":"closed","customerId":"c1","at":"2026-01-02T03:04:05+01:00","attributes":{"b":null,"a":"x"}}]}`)
	got, err := store.List(t.Context(), document.Scope{AccountID: "acct", Environment: keys.Production}, document.Events, document.Filter{Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	diff(t, "stored events", []document.Doc{{
		Kind: document.Events, ID: "ev_001", Version: 1, Customer: "c1",
		JSON:      []byte(`{"eventId":"ev_001","name":"closed","customerId":"c1","at":"2026-01-02T02:04:05.000Z","attributes":{"a":"x","b":null}}`),
		ExpiresAt: time.Date(2026, 4, 3, 5, 6, 7, 89e6, time.UTC),
	}}, got)
}

func TestACustomerThatPaysNothingHasNoInvoice(t *testing.T) {
	c := newClient(t, &sampletest.Memory{})
	c.must(201, "POST", "/v1/customers", `{"customerId":"free","name":"Free"}`)
	data, meta := c.must(200, "GET", "/v1/customers/free/invoices", "")
	diff(t, "invoices", any([]any{}), data)
	diff(t, "meta", object{"count": 0.}, meta)
}

func TestAnIdIsTakenOnce(t *testing.T) {
	c := newClient(t, &sampletest.Memory{})
	c.must(201, "POST", "/v1/customers", `{"customerId":"c1","name":"First"}`)
	c.refused(409, "already_exists", "POST", "/v1/customers", `{"customerId":"c1","name":"Second"}`)
	data, _ := c.must(200, "GET", "/v1/customers/c1", "")
	if got := data.(object)["name"]; got != "First" {
		t.Errorf("name = %v, want First", got)
	}
}

func TestAccountsAndEnvironmentsAreApart(t *testing.T) {
	c := newClient(t, &sampletest.Memory{})
	c.must(201, "POST", "/v1/workspaces", `{"name":"Blog"}`)
	c.must(201, "POST", "/v1/customers", `{"customerId":"c1","name":"Ada","monthlyAmount":1}`)
	c.must(201, "POST", "/v1/licenses", `{"product":"Editor"}`)
	for _, other := range []*client{
		c.as("acct", keys.Staging), c.as("acct", keys.Development), c.as("other", keys.Production),
	} {
		for _, list := range []string{"/v1/workspaces", "/v1/customers", "/v1/licenses"} {
			data, _ := other.must(200, "GET", list, "")
			diff(t, list+" of another scope", any([]any{}), data)
		}
		other.refused(404, "not_found", "GET", "/v1/customers/c1", "")
		other.refused(404, "not_found", "GET", "/v1/customers/c1/invoices", "")
		other.refused(404, "not_found", "PUT", "/v1/customers/c1", `{"name":"Mine"}`)
		other.refused(404, "not_found", "DELETE", "/v1/customers/c1", "")
		other.must(201, "POST", "/v1/customers", `{"customerId":"c1","name":"Another"}`)
	}
	data, _ := c.must(200, "GET", "/v1/customers/c1", "")
	if got := data.(object)["name"]; got != "Ada" {
		t.Errorf("name = %v, want Ada", got)
	}
}

func TestAConfinedKeyReachesItsCustomersAlone(t *testing.T) {
	free := newClient(t, &sampletest.Memory{})
	free.must(201, "POST", "/v1/workspaces", `{"name":"Blog"}`)
	for _, id := range []string{"c1", "c2", "c3"} {
		free.must(201, "POST", "/v1/customers", `{"customerId":"`+id+`","name":"N"}`)
		free.must(201, "POST", "/v1/licenses", `{"product":"`+id+`","customerId":"`+id+`"}`)
	}
	free.must(201, "POST", "/v1/licenses", `{"product":"everybody's"}`)
	c := free.as("acct", keys.Production, "c1", "c3", "c9")

	names := func(list, field string) (out []string) {
		t.Helper()
		data, _ := c.must(200, "GET", list, "")
		for _, v := range data.([]any) {
			out = append(out, v.(object)[field].(string))
		}
		slices.Sort(out)
		return out
	}
	diff(t, "customers", []string{"c1", "c3"}, names("/v1/customers", "customerId"))
	diff(t, "licences", []string{"c1", "c3"}, names("/v1/licenses", "product"))
	diff(t, "workspaces", []string(nil), names("/v1/workspaces", "name"))

	for _, r := range []struct{ method, path, body string }{
		{"GET", "/v1/customers/c2", ""},
		{"GET", "/v1/customers/c2/invoices", ""},
		{"PUT", "/v1/customers/c2", `{"name":"Mine"}`},
		{"DELETE", "/v1/customers/c2", ""},
		{"GET", "/v1/customers/absent", ""}, // the same as a foreign one
		{"POST", "/v1/customers", `{"customerId":"c4","name":"N"}`},
		{"POST", "/v1/customers", `{"customerId":"c2","name":"N"}`},
		{"POST", "/v1/customers", `{"name":"N"}`},
		{"POST", "/v1/licenses", `{"product":"P","customerId":"c2"}`},
		{"POST", "/v1/licenses", `{"product":"P","customerId":"absent"}`},
		{"POST", "/v1/licenses", `{"product":"P"}`},
		{"POST", "/v1/telemetry", `{"events":[{"name":"E","customerId":"c1"},{"name":"E","customerId":"c2"}]}`},
		{"POST", "/v1/telemetry", `{"events":[{"name":"E"}]}`},
		{"POST", "/v1/workspaces", `{"name":"Mine"}`},
	} {
		c.refused(403, "insufficient_scope", r.method, r.path, r.body)
	}
	c.must(200, "GET", "/v1/customers/c1", "")
	c.must(200, "PUT", "/v1/customers/c1", `{"name":"Mine"}`)
	c.must(201, "POST", "/v1/customers", `{"customerId":"c9","name":"N"}`)
	c.must(201, "POST", "/v1/licenses", `{"product":"P","customerId":"c9"}`)
	c.must(202, "POST", "/v1/telemetry", `{"events":[{"name":"E","customerId":"c9"}]}`)
	c.must(200, "DELETE", "/v1/customers/c3", "")
}

func TestListsArePaged(t *testing.T) {
	c := newClient(t, &sampletest.Memory{})
	for _, id := range []string{"a", "b", "c"} {
		c.must(201, "POST", "/v1/customers", `{"customerId":"`+id+`","name":"N"}`)
	}
	var pages []string
	for after := ""; ; {
		data, meta := c.must(200, "GET", "/v1/customers?limit=2&after="+after, "")
		var ids string
		for _, v := range data.([]any) {
			ids += v.(object)["customerId"].(string)
		}
		pages = append(pages, ids)
		if meta["next"] == nil {
			break
		}
		after = meta["next"].(string)
	}
	diff(t, "pages", []string{"ab", "c"}, pages)
	for _, q := range []string{"limit=0", "limit=1001", "limit=x", "limit=-1"} {
		diff(t, q, []string{"limit"}, c.refused(400, "validation_failed", "GET", "/v1/customers?"+q, ""))
	}
	diff(t, "after", []string{"after"}, c.refused(400, "validation_failed", "GET", "/v1/customers?after=a%23b", ""))
}

func TestWhatIsNoRouteIsNotFound(t *testing.T) {
	c := newClient(t, &sampletest.Memory{})
	c.must(201, "POST", "/v1/customers", `{"customerId":"c1","name":"N"}`)
	c.must(200, "GET", "/v1/workspaces/", "")
	c.must(200, "GET", "/v1/customers/c1/", "")
	for _, r := range [][2]string{
		{"GET", "/"}, {"GET", "/v1"}, {"GET", "/v1/"}, {"GET", "/v1/absent"}, {"GET", "/v1/telemetry"},
		{"DELETE", "/v1/customers"}, {"POST", "/v1/customers/c1"}, {"GET", "/v1/customers/c1/absent"},
		{"GET", "/v1/customers/c1/invoices/1"}, {"POST", "/v1/customers/c1/invoices"},
		{"GET", "/v1/customers/c1%2Finvoices"}, {"GET", "/v1/customers//c1"}, {"GET", "/v1//customers"},
		{"GET", "/v1/customers/.."}, {"GET", "/v1/customers/c1;x"}, {"GET", "/v1/customers/*"}, {"GET", "/v1/workspaces/x"},
		{"GET", "/v1/customers/" + strings.Repeat("x", 65)}, {"PATCH", "/v1/customers/c1"},
	} {
		c.refused(404, "not_found", r[0], r[1], "")
	}
}

func TestBodiesAreReadStrictly(t *testing.T) {
	c := newClient(t, &sampletest.Memory{})
	deep := strings.Repeat(`{"a":`, 20) + "1" + strings.Repeat("}", 20)
	for _, b := range []struct {
		path, body string
		status     int
		code       string
	}{
		{"/v1/customers", ``, 400, "validation_failed"},
		{"/v1/customers", `null`, 400, "invalid_json"},
		{"/v1/customers", `[]`, 400, "invalid_json"},
		{"/v1/customers", `{"name":"N"`, 400, "invalid_json"},
		{"/v1/customers", `{"name":"N"}{}`, 400, "invalid_json"},
		{"/v1/customers", `{"name":"N","name":"M"}`, 400, "invalid_json"},
		{"/v1/customers", "{\"name\":\"N\xff\"}", 400, "invalid_json"},
		{"/v1/customers", `{"name":"N","Name":"M"}`, 400, "unknown_field"},
		{"/v1/customers", `{"name":"N","accountId":"other"}`, 400, "unknown_field"},
		{"/v1/customers", `{"name":"N","invoices":[]}`, 400, "unknown_field"},
		{"/v1/customers", `{"name":1}`, 400, "validation_failed"},
		{"/v1/customers", `{"name":"N","monthlyAmount":1e400}`, 400, "validation_failed"},
		{"/v1/customers", `{"name":"N","monthlyAmount":1.5}`, 400, "validation_failed"},
		{"/v1/telemetry", `{"events":[{"name":"E","attributes":{"x":1e400}}]}`, 400, "validation_failed"},
		{"/v1/telemetry", `{"events":[{"name":"E","attributes":{"x":` + deep + `}}]}`, 400, "validation_failed"},
		{"/v1/telemetry", `{"events":[{"name":"E","attributes":{"x":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}}]}`, 400, "invalid_json"},
		{"/v1/workspaces", `{"name":"` + strings.Repeat("x", 64<<10) + `"}`, 413, "body_too_large"},
	} {
		fields := c.refused(b.status, b.code, "POST", b.path, b.body)
		if (b.code == "validation_failed" || b.code == "unknown_field") && len(fields) != 1 {
			t.Errorf("POST %s: fields = %v, want one", b.path, fields)
		}
	}
	for _, list := range []string{"/v1/customers", "/v1/workspaces"} {
		data, _ := c.must(200, "GET", list, "")
		diff(t, list+" after refused creates", any([]any{}), data)
	}
}

func TestAnUnknownFieldIsNamedUnlessItMayBeAKey(t *testing.T) {
	c := newClient(t, &sampletest.Memory{})
	for name, want := range map[string]string{
		"accountId":                   "accountId",
		strings.Repeat("x", 32):       "(unknown)",
		"a key in the wrong place":    "(unknown)",
		strings.Repeat("x", 31) + "é": "(unknown)",
	} {
		got := c.refused(400, "unknown_field", "POST", "/v1/customers", `{"name":"N","`+name+`":1}`)
		diff(t, name, []string{want}, got)
	}
}

func TestEveryFieldAtFaultIsNamed(t *testing.T) {
	c := newClient(t, &sampletest.Memory{})
	long := strings.Repeat("é", 101)
	for _, b := range []struct {
		method, path, body string
		fields             []string
	}{
		{"POST", "/v1/workspaces", `{}`, []string{"name"}},
		{"POST", "/v1/workspaces", `{"name":" \t"}`, []string{"name"}},
		{"POST", "/v1/workspaces", `{"name":"` + long + `"}`, []string{"name"}},
		{"POST", "/v1/customers", `{"customerId":"a/b","email":"x","monthlyAmount":-1,"currency":"usd"}`,
			[]string{"customerId", "name", "email", "monthlyAmount", "currency"}},
		{"POST", "/v1/customers", `{"customerId":"","name":"N"}`, []string{"customerId"}},
		{"PUT", "/v1/customers/c1", `{"customerId":"c2","name":"N"}`, []string{"customerId"}},
		{"POST", "/v1/licenses", `{"seats":0}`, []string{"product", "seats"}},
		{"POST", "/v1/licenses", `{"product":"P","customerId":"absent"}`, []string{"customerId"}},
		{"POST", "/v1/licenses", `{"product":"P","customerId":"no id"}`, []string{"customerId"}},
		{"POST", "/v1/telemetry", `{}`, []string{"events"}},
		{"POST", "/v1/telemetry", `{"events":[` + strings.Repeat(`{"name":"E"},`, 100) + `{"name":"E"}]}`, []string{"events"}},
		{"POST", "/v1/telemetry", `{"events":[{"name":"E"},{"customerId":"/"}]}`, []string{"events[1].name", "events[1].customerId"}},
		{"POST", "/v1/telemetry", `{"events":[{"name":"E","at":"yesterday"}]}`, []string{"events[0].at"}},
		{"POST", "/v1/telemetry", `{"events":[{"name":"E","attributes":{"x":[]}}]}`, []string{"events[0].attributes"}},
	} {
		diff(t, b.body, b.fields, c.refused(400, "validation_failed", b.method, b.path, b.body))
	}
	// A hundred characters, not bytes.
	c.must(201, "POST", "/v1/workspaces", `{"name":"`+strings.Repeat("é", 100)+`"}`)
}

// failing is a store that fails.
type failing struct{ document.Store }

func (failing) List(context.Context, document.Scope, document.Kind, document.Filter) ([]document.Doc, error) {
	return nil, errors.New("reading: a secret of the store")
}

func TestAFailureIsNoAnswer(t *testing.T) {
	newClient(t, failing{}).refused(500, "internal_error", "GET", "/v1/customers", "")
}

func TestNoCallerNoAnswer(t *testing.T) {
	w := httptest.NewRecorder()
	sample.New(sample.Config{Store: &sampletest.Memory{}}).ServeHTTP(w, httptest.NewRequest("GET", "/v1/workspaces", nil))
	if w.Code != 500 || !strings.Contains(w.Body.String(), `"missing_context"`) {
		t.Errorf("without a caller = %d %s, want 500 missing_context", w.Code, w.Body)
	}
}

func TestTextIsAnsweredAsItWasGiven(t *testing.T) {
	c := newClient(t, &sampletest.Memory{})
	for _, name := range []string{`=HYPERLINK("http://x")`, `<img onerror=1>`, "a\u2028b"} {
		body, err := json.Marshal(object{"name": name})
		if err != nil {
			t.Fatal(err)
		}
		data, _ := c.must(201, "POST", "/v1/workspaces", string(body))
		if got := data.(object)["name"]; got != name {
			t.Errorf("name = %q, want %q", got, name)
		}
	}
}
