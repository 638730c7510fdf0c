package proxy

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/guard"
	"github.com/keyreeve/keyreeve/pkg/guard/guardtest"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/logline"
	"github.com/keyreeve/keyreeve/pkg/route"
	"github.com/keyreeve/keyreeve/pkg/verify"
)

// fixture is a proxy in front of a handler, with one live key.
type fixture struct {
	function string
	t        *testing.T
	key      keys.Key
	secret   apikey.Key
	handler  http.HandlerFunc
	log      bytes.Buffer
	calls    int
	table    *route.Table
	meters   *guardtest.Meters
	now      time.Time
	fault    func(call string) error // asked before every call of a store; nil: none
}

func newFixture(t *testing.T) *fixture {
	f := &fixture{t: t, function: "sample", table: route.Default(), meters: guardtest.NewMeters(), now: time.Unix(1_800_000_000, 0)}
	id := apikey.NewID()
	var err error
	if f.secret, err = apikey.Generate("kr_live", id); err != nil {
		t.Fatal(err)
	}
	f.key = keys.Key{
		ID: id, AccountID: "acct_1", Environment: keys.Production, Permissions: []string{"customers:read"},
		Active: true, RateLimit: 3, Version: 1, Verdict: 1, Generation: 1, Secret: keys.Secret{Generation: 1},
	}
	f.handler = func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") }
	return f
}

func (f *fixture) failing(call string) error {
	if f.fault == nil {
		return nil
	}
	return f.fault(call)
}

func (f *fixture) Count(ctx context.Context, id apikey.ID, w guard.Write) (guard.Meter, error) {
	if err := f.failing("Count"); err != nil {
		return guard.Meter{}, err
	}
	return f.meters.Count(ctx, id, w)
}

func (f *fixture) State(ctx context.Context, id apikey.ID) (guard.State, bool, error) {
	if err := f.failing("State"); err != nil {
		return guard.State{}, false, err
	}
	return f.meters.State(ctx, id)
}

func (f *fixture) Key(_ context.Context, id apikey.ID) (keys.Key, error) {
	if err := f.failing("Key"); err != nil {
		return keys.Key{}, err
	}
	if id != f.key.ID {
		return keys.Key{}, keys.ErrNotFound
	}
	return f.key, nil
}

func (f *fixture) clock() time.Time { return f.now }

func (f *fixture) proxy(origins ...string) *Proxy {
	return New(Config{
		Function: f.function, Table: f.table, Origins: origins, Log: slog.New(slog.NewJSONHandler(&f.log, nil)), Clock: f.clock,
		Guard: guard.New(guard.Config{Meters: f, Keys: f, Clock: f.clock}),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			f.calls++
			f.handler(w, r)
		}),
	})
}

// event is a GET of one customer with the fixture's key, as API Gateway delivers it.
func (f *fixture) event() *events.APIGatewayProxyRequest {
	f.t.Helper()
	id, reason := keys.Identify(&f.key, 1, "production", f.now)
	if reason != keys.OK {
		f.t.Fatal(reason)
	}
	text, err := verify.AppendContext(nil, id)
	if err != nil {
		f.t.Fatal(err)
	}
	ev := &events.APIGatewayProxyRequest{
		Resource: "/v1/customers/{customerId}", Path: "/v1/customers/cus_1", HTTPMethod: "GET",
		MultiValueHeaders: map[string][]string{"X-API-Key": {f.secret.Plaintext()}},
		PathParameters:    map[string]string{"customerId": "cus_1"},
		StageVariables:    map[string]string{"environment": "production"},
	}
	ev.RequestContext.RequestID, ev.RequestContext.ExtendedRequestID = "req-1", "ext-1="
	ev.RequestContext.RequestTimeEpoch = f.now.Add(-40 * time.Millisecond).UnixMilli()
	ev.RequestContext.Identity.SourceIP = "192.0.2.1"
	if err := json.Unmarshal(text, &ev.RequestContext.Authorizer); err != nil {
		f.t.Fatal(err)
	}
	return ev
}

func (f *fixture) invoke(p *Proxy, ev *events.APIGatewayProxyRequest) events.APIGatewayProxyResponse {
	f.t.Helper()
	payload, err := json.Marshal(ev)
	if err != nil {
		f.t.Fatal(err)
	}
	out, err := p.Invoke(f.t.Context(), payload)
	if err != nil {
		f.t.Fatalf("Invoke: %v", err)
	}
	var res events.APIGatewayProxyResponse
	if err := json.Unmarshal(out, &res); err != nil {
		f.t.Fatal(err)
	}
	return res
}

func header(res events.APIGatewayProxyResponse, name string) string {
	return http.Header(res.MultiValueHeaders).Get(name)
}

func code(res events.APIGatewayProxyResponse) string {
	var body struct {
		Error struct {
			Code      string `json:"code"`
			RequestID string `json:"requestId"`
		} `json:"error"`
	}
	_ = json.Unmarshal([]byte(res.Body), &body)
	return body.Error.Code + " " + body.Error.RequestID
}

func TestNothingReachesTheHandlerWithoutAProvedIdentity(t *testing.T) {
	for name, c := range map[string]struct {
		change func(f *fixture, ev *events.APIGatewayProxyRequest)
		status int
		code   string
	}{
		"no authorizer context": {func(_ *fixture, ev *events.APIGatewayProxyRequest) { ev.RequestContext.Authorizer = nil }, 500, "missing_context"},
		"a context without its account": {func(_ *fixture, ev *events.APIGatewayProxyRequest) {
			delete(ev.RequestContext.Authorizer, verify.FieldAccountID)
		}, 500, "missing_context"},
		"a context of another key": {func(_ *fixture, ev *events.APIGatewayProxyRequest) {
			ev.RequestContext.Authorizer[verify.FieldKeyID] = "AAAAAAAA"
		}, 500, "missing_context"},
		"no credential": {func(_ *fixture, ev *events.APIGatewayProxyRequest) { ev.MultiValueHeaders = map[string][]string{} }, 500, "missing_context"},
		"the credential in the other header": {func(f *fixture, ev *events.APIGatewayProxyRequest) {
			ev.MultiValueHeaders = map[string][]string{"Authorization": {"Bearer " + f.secret.Plaintext()}}
		}, 500, "missing_context"},
		"two X-API-Key": {func(f *fixture, ev *events.APIGatewayProxyRequest) {
			ev.MultiValueHeaders["x-api-key"] = []string{f.secret.Plaintext()}
		}, 400, "multiple_credentials"},
		"X-API-Key and Authorization": {func(f *fixture, ev *events.APIGatewayProxyRequest) {
			ev.MultiValueHeaders["authorization"] = []string{"Bearer " + f.secret.Plaintext()}
		}, 400, "multiple_credentials"},
		"revoked since": {func(f *fixture, _ *events.APIGatewayProxyRequest) { f.key.Active, f.key.Verdict = false, 2 }, 401, "unauthorized"},
		"another stage": {func(f *fixture, ev *events.APIGatewayProxyRequest) {
			f.key.Verdict = 2
			ev.StageVariables["environment"] = "staging"
		}, 401, "unauthorized"},
		"a permission it lacks": {func(_ *fixture, ev *events.APIGatewayProxyRequest) {
			ev.Resource = "/v1/customers/{customerId}/invoices"
		}, 403, "insufficient_scope"},
		"a method that needs another permission": {func(_ *fixture, ev *events.APIGatewayProxyRequest) { ev.HTTPMethod = "DELETE" }, 403, "insufficient_scope"},
		"a resource that is no route":            {func(_ *fixture, ev *events.APIGatewayProxyRequest) { ev.Resource = "/v1/nothing" }, 404, "not_found"},
		"a route of another function": {func(_ *fixture, ev *events.APIGatewayProxyRequest) {
			ev.Resource = "/v1/api-keys"
			ev.PathParameters = nil
		}, 404, "not_found"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			ev := f.event()
			c.change(f, ev)
			res := f.invoke(f.proxy(), ev)
			if res.StatusCode != c.status || code(res) != c.code+" req-1" {
				t.Errorf("got %d %q, want %d %q", res.StatusCode, code(res), c.status, c.code)
			}
			if f.calls != 0 {
				t.Errorf("the handler ran %d times, want never", f.calls)
			}
			if strings.Contains(f.log.String(), f.secret.Plaintext()[17:29]) {
				t.Error("the log holds a piece of the secret")
			}
		})
	}
}

func TestHandlerSeesTheRoutesOwnPathAndTheProvedCaller(t *testing.T) {
	f := newFixture(t)
	f.key.Customers = []string{"cus_1"}
	var got struct {
		Path, Query, RemoteAddr, Body, Account, RequestID string
		Caller                                            keys.Caller
	}
	f.handler = func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got.Path, got.Query, got.RemoteAddr, got.Body = r.URL.EscapedPath(), r.URL.RawQuery, r.RemoteAddr, string(body)
		got.RequestID = r.Header.Get("X-Amzn-Requestid")
		got.Caller, _ = guard.Caller(r.Context())
		w.Header().Set("Content-Type", "image/png")
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write([]byte{0xff, 0xfe})
	}
	ev := f.event()
	ev.Path = "/production/v1/customers/cus%5F1/"
	ev.PathParameters["customerId"] = "cus%5F1"
	ev.MultiValueQueryStringParameters = map[string][]string{"a": {"1", "2"}}
	ev.MultiValueHeaders["x-amzn-requestid"] = []string{"chosen by the client"}
	ev.MultiValueHeaders["X-Account-Id"] = []string{"acct_other"}
	ev.Body, ev.IsBase64Encoded = base64.StdEncoding.EncodeToString([]byte("hello")), true
	res := f.invoke(f.proxy(), ev)

	if got.Path != "/v1/customers/cus_1" || got.Query != "a=1&a=2" || got.RemoteAddr != "192.0.2.1" || got.Body != "hello" || got.RequestID != "req-1" {
		t.Errorf("the handler saw %q ?%q from %q, body %q, request id %q", got.Path, got.Query, got.RemoteAddr, got.Body, got.RequestID)
	}
	if got.Caller.AccountID != "acct_1" || got.Caller.KeyID != f.key.ID || got.Caller.Credential.Plaintext() != f.secret.Plaintext() {
		t.Errorf("caller: account %q, key %q", got.Caller.AccountID, got.Caller.KeyID)
	}
	if res.StatusCode != 201 || !res.IsBase64Encoded || res.Body != "//4=" || header(res, "Content-Type") != "image/png" {
		t.Errorf("answer: %d base64=%t %q %q", res.StatusCode, res.IsBase64Encoded, res.Body, header(res, "Content-Type"))
	}
}

func TestHandlerSeesWhoseSessionItsCallerIs(t *testing.T) {
	f := newFixture(t)
	f.key.Parent, f.key.ParentVerdict = "Par3nt00", 7
	if err := f.meters.Settle(t.Context(), f.key.ID, 1, true); err != nil {
		t.Fatal(err)
	}
	var got keys.Caller
	f.handler = func(_ http.ResponseWriter, r *http.Request) { got, _ = guard.Caller(r.Context()) }
	ev := f.event()
	f.function, ev.Resource, ev.Path, ev.PathParameters = "keys", "/v1/permissions", "/v1/permissions", nil
	ev.MultiValueHeaders["Parent"] = []string{"chosen by the client"}
	if res := f.invoke(f.proxy(), ev); res.StatusCode != 200 || got.Parent != "Par3nt00" || got.ParentVerdict != 7 || got.KeyID != f.key.ID || got.Holder() != "Par3nt00" {
		t.Errorf("%d; the caller is %s, a session of %q at %d", res.StatusCode, got.KeyID, got.Parent, got.ParentVerdict)
	}
	f.calls = 0
	for _, parent := range []any{nil, "", "Par3nt00", "Par3nt00@0"} {
		ev.RequestContext.Authorizer[verify.FieldParent] = parent
		if res := f.invoke(f.proxy(), ev); res.StatusCode != 500 || code(res) != "missing_context req-1" || f.calls != 0 {
			t.Errorf("with parent %#v: %d %q, the handler ran %d times; want 500 and never", parent, res.StatusCode, code(res), f.calls)
		}
	}
}

func TestNetworkIsWhereAPIGatewaySawTheRequest(t *testing.T) {
	f := newFixture(t)
	f.key.Networks = []string{"192.0.2.0/24"}
	p := f.proxy()
	for source, status := range map[string]int{"192.0.2.77": 200, "203.0.113.1": 403, "": 403, "192.0.2.77, 203.0.113.1": 403} {
		ev := f.event()
		ev.RequestContext.Identity.SourceIP = source
		ev.MultiValueHeaders["X-Forwarded-For"] = []string{"192.0.2.1"}
		f.log.Reset()
		if res := f.invoke(p, ev); res.StatusCode != status {
			t.Errorf("from %q: %d, want %d", source, res.StatusCode, status)
		}
		if e, refused := logline.ParseEvent(strings.TrimSpace(f.log.String())); refused != (status == 403) || refused && e.Reason != logline.ReasonNetwork {
			t.Errorf("from %q: logged %s", source, f.log.String())
		}
	}
}

func TestEncodedSlashStaysInItsSegment(t *testing.T) {
	f := newFixture(t)
	path := ""
	f.handler = func(_ http.ResponseWriter, r *http.Request) { path = r.URL.EscapedPath() }
	ev := f.event()
	ev.PathParameters["customerId"] = "a%2Finvoices"
	f.invoke(f.proxy(), ev)
	if want := "/v1/customers/a%2Finvoices"; path != want {
		t.Errorf("path %q, want %q", path, want)
	}
}

func TestAnswersSayWhereTheKeyStandsWithEveryLimit(t *testing.T) {
	f := newFixture(t)
	f.now = time.Date(2027, 2, 1, 0, 0, 0, 0, time.UTC) // the edge of every slot
	f.key.RateLimit, f.key.Limits, f.key.Quota = 5, keys.Limits{Hour: 3, Day: 90}, keys.Quota{Requests: 4, RefillDay: 1}
	const policy = `"minute";q=5;w=60, "hour";q=3;w=3600, "day";q=90;w=86400, "month";q=4`
	p := f.proxy()
	for i, want := range []struct {
		after time.Duration
		names map[string]string
	}{
		{0, map[string]string{
			"RateLimit":         `"minute";r=4;t=65, "hour";r=2;t=3900, "day";r=89;t=93600, "month";r=3;t=2419200`,
			"X-RateLimit-Limit": "3", "X-RateLimit-Remaining": "2", "X-RateLimit-Reset": "3900", "Retry-After": "",
		}},
		{0, map[string]string{"RateLimit": `"minute";r=3;t=65, "hour";r=1;t=3900, "day";r=88;t=93600, "month";r=2;t=2419200`}},
		{0, map[string]string{"X-RateLimit-Limit": "3", "X-RateLimit-Remaining": "0"}},
		{0, map[string]string{ // the hour refuses
			"RateLimit":         `"minute";r=2;t=65, "hour";r=0;t=3900, "day";r=87;t=93600, "month";r=1;t=2419200`,
			"X-RateLimit-Limit": "3", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "3900", "Retry-After": "3900",
		}},
		{65 * time.Minute, map[string]string{
			"RateLimit":         `"minute";r=4;t=65, "hour";r=2;t=3900, "day";r=86;t=93300, "month";r=0;t=2415300`,
			"X-RateLimit-Limit": "4", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "2415300", "Retry-After": "",
		}},
		{0, map[string]string{ // the month
			"RateLimit":         `"minute";r=4;t=65, "hour";r=2;t=3900, "day";r=86;t=93300, "month";r=0;t=2415300`,
			"X-RateLimit-Limit": "4", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "2415300", "Retry-After": "2415300",
		}},
	} {
		f.now = f.now.Add(want.after)
		res := f.invoke(p, f.event())
		want.names["RateLimit-Policy"] = policy
		for name, value := range want.names {
			if got := header(res, name); got != value {
				t.Errorf("request %d: %s: %s, want %s", i+1, name, got, value)
			}
		}
	}
}

func TestAnswersSayWhatIsLeftOfTheLimit(t *testing.T) {
	f := newFixture(t)
	p := f.proxy()
	var got []string
	for range 4 {
		res := f.invoke(p, f.event())
		got = append(got, strings.Join([]string{
			header(res, "X-RateLimit-Limit"), header(res, "X-RateLimit-Remaining"), header(res, "RateLimit-Policy"),
			strings.SplitAfter(header(res, "RateLimit"), ";t=")[0], header(res, "Retry-After"), http.StatusText(res.StatusCode),
		}, "|"))
	}
	retry := got[3][strings.Index(got[3], "t=|")+3 : strings.LastIndex(got[3], "|")]
	want := []string{
		`3|2|"minute";q=3;w=60|"minute";r=2;t=||OK`,
		`3|1|"minute";q=3;w=60|"minute";r=1;t=||OK`,
		`3|0|"minute";q=3;w=60|"minute";r=0;t=||OK`,
		`3|0|"minute";q=3;w=60|"minute";r=0;t=|` + retry + `|Too Many Requests`,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("headers (-want +got):\n%s", d)
	}
	if retry == "" || retry == "0" {
		t.Errorf("Retry-After is %q, want seconds", retry)
	}
}

func TestAPanicIsA500AndSaysNothing(t *testing.T) {
	f := newFixture(t)
	f.handler = func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "half an ")
		panic(r.Header.Get("X-API-Key"))
	}
	res := f.invoke(f.proxy(), f.event())
	if res.StatusCode != 500 || code(res) != "internal_error req-1" {
		t.Errorf("got %d %s", res.StatusCode, res.Body)
	}
	if strings.Contains(f.log.String()+res.Body, f.secret.Plaintext()[17:29]) {
		t.Error("log or answer holds a piece of the secret")
	}
	if !strings.Contains(f.log.String(), "proxy_test.go") {
		t.Error("the log does not say where it panicked")
	}
}

func TestOriginsThatMayCall(t *testing.T) {
	for _, c := range []struct {
		origins      []string
		origin, want string
	}{
		{nil, "https://a.example", ""},
		{[]string{"*"}, "", "*"},
		{[]string{"https://a.example", "https://b.example"}, "https://b.example", "https://b.example"},
		{[]string{"https://a.example"}, "https://evil.example", ""},
	} {
		f := newFixture(t)
		ev := f.event()
		ev.MultiValueHeaders["origin"] = []string{c.origin}
		res := f.invoke(f.proxy(c.origins...), ev)
		if got := header(res, "Access-Control-Allow-Origin"); got != c.want {
			t.Errorf("origins %v, Origin %q: allowed %q, want %q", c.origins, c.origin, got, c.want)
		}
	}
}

func TestWhatIsNoEventIsAnError(t *testing.T) {
	f := newFixture(t)
	if _, err := f.proxy().Invoke(t.Context(), []byte(`{"resource":1,"body":"`+f.secret.Plaintext()+`"}`)); err == nil || strings.Contains(err.Error(), f.secret.Plaintext()) {
		t.Errorf("Invoke = %v, want an error without the payload", err)
	}
}
