package gateway_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/infra/local/gateway"
	"github.com/keyreeve/keyreeve/infra/local/lambda"
	"github.com/keyreeve/keyreeve/pkg/route"
)

// routes of the tests, beside the management ones.
const routes = `{
  "permissions": [{"name": "things:read", "label": "Thing Read"}],
  "routes": [
    {"method": "GET", "path": "/things", "permission": "things:read", "function": "things"},
    {"method": "POST", "path": "/things", "permission": "things:read", "function": "things"},
    {"method": "PATCH", "path": "/things/{id}", "permission": "things:read", "function": "things"},
    {"method": "GET", "path": "/things/{id}", "permission": "things:read", "function": "things"},
    {"method": "GET", "path": "/things/{id}/parts/{part}", "permission": "things:read", "function": "things"},
    {"method": "GET", "path": "/files/{path+}", "permission": "things:read", "function": "things"},
    {"method": "GET", "path": "/bearer", "credential": "Authorization", "function": "things"},
    {"method": "ANY", "path": "/open", "public": true, "function": "things"}
  ]
}`

const arnPrefix = "arn:aws:execute-api:us-east-1:000000000000:local/"

// event is what a function was given.
type event struct {
	function string
	text     string
	json     map[string]any
}

// api is a gateway with functions that a test makes up.
type api struct {
	t       *testing.T
	gateway *gateway.Gateway
	url     string

	mu         sync.Mutex
	now        time.Time
	events     []event
	log        []gateway.Entry
	authorizer func() ([]byte, error)
	things     func(ctx context.Context) ([]byte, error)
}

func newAPI(t *testing.T, change func(*gateway.Options)) *api {
	t.Helper()
	table, err := route.Load([]byte(routes))
	if err != nil {
		t.Fatal(err)
	}
	a := &api{t: t, now: time.Date(2026, 3, 4, 19, 15, 17, 135e6, time.UTC)}
	a.authorizer = func() ([]byte, error) { return grant("Allow", "*"), nil }
	a.things = func(context.Context) ([]byte, error) { return []byte(`{"statusCode":200,"body":"{}"}`), nil }
	o := gateway.Options{
		Table: table, Stages: []string{"production", "staging", "development"}, DefaultStage: "production",
		AuthorizerTTL: time.Minute, CORSOrigins: []string{"*"}, Port: "8787", Invoke: a.invoke,
		AccessLog: func(e gateway.Entry) {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.log = append(a.log, e)
		},
		Clock: func() time.Time {
			a.mu.Lock()
			defer a.mu.Unlock()
			return a.now
		},
	}
	if change != nil {
		change(&o)
	}
	a.gateway = gateway.New(o)
	srv := httptest.NewUnstartedServer(nil)
	srv.Config = gateway.NewServer(a.gateway)
	srv.Start()
	t.Cleanup(srv.Close)
	a.url = srv.URL
	return a
}

func (a *api) invoke(ctx context.Context, function string, payload []byte) ([]byte, error) {
	ev := event{function: function, text: string(payload)}
	if err := json.Unmarshal(payload, &ev.json); err != nil {
		return nil, err
	}
	a.mu.Lock()
	a.events = append(a.events, ev)
	authorizer, things := a.authorizer, a.things
	a.mu.Unlock()
	if function == "authorizer" {
		return authorizer()
	}
	return things(ctx)
}

// grant is an authorizer's output with one statement on the resources after the API's id.
func grant(effect string, resources ...string) []byte {
	for i, r := range resources {
		if resources[i] = arnPrefix + r; r == "*" {
			resources[i] = r
		}
	}
	return output(map[string]any{"Effect": effect, "Action": "execute-api:Invoke", "Resource": resources})
}

func output(statements ...map[string]any) []byte {
	out, err := json.Marshal(map[string]any{
		"principalId":    "key_abc",
		"policyDocument": map[string]any{"Version": "2012-10-17", "Statement": statements},
		"context":        map[string]any{"keyId": "key_abc", "accountId": "acct_1", "environment": "production", "generation": 3, "parent": "AbCd1234@7", "limit": 100, "live": true, "customers": ""},
	})
	if err != nil {
		panic(err)
	}
	return out
}

// answer is what a client gets.
type answer struct {
	status int
	header http.Header
	body   string
}

// send makes a request; header has "Name: value" lines. The credential of the tests'
// default is there unless header names one.
func (a *api) send(method, target, body string, header ...string) answer {
	a.t.Helper()
	req, err := http.NewRequestWithContext(a.t.Context(), method, a.url+target, strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Add(name, value)
	}
	return a.do(req)
}

func (a *api) do(req *http.Request) answer {
	a.t.Helper()
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(body)}
}

const key = "X-API-Key: k1"

// code is the error code in the common error shape.
func (x answer) code() string {
	var e struct{ Error struct{ Code string } }
	if json.Unmarshal([]byte(x.body), &e) != nil {
		return "no JSON: " + x.body
	}
	return e.Error.Code
}

// calls counts the calls of a function.
func (a *api) calls(function string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for _, ev := range a.events {
		if ev.function == function {
			n++
		}
	}
	return n
}

// last is the last event of a function.
func (a *api) last(function string) event {
	a.t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := len(a.events) - 1; i >= 0; i-- {
		if a.events[i].function == function {
			return a.events[i]
		}
	}
	a.t.Fatalf("%s was not called", function)
	return event{}
}

func (a *api) advance(d time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.now = a.now.Add(d)
}

func (a *api) entries() []gateway.Entry {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]gateway.Entry(nil), a.log...)
}

func functionError(kind, message string) func() ([]byte, error) {
	return func() ([]byte, error) { return nil, &lambda.FunctionError{Type: kind, Message: message} }
}

func TestRoutesAndStages(t *testing.T) {
	a := newAPI(t, nil)
	for _, tt := range []struct {
		method, target string
		status         int
		stage          string // that the function saw
	}{
		{"GET", "/production/things", 200, "production"},
		{"GET", "/staging/things", 200, "staging"},
		{"GET", "/development/things", 200, "development"},
		{"GET", "/things", 200, "production"}, // as behind a custom domain
		{"GET", "/production/things/", 200, "production"},
		{"GET", "//production/things", 200, "production"},
		{"GET", "/production//things", 200, "production"},
		{"GET", "/shared/things", 404, ""}, // a stage that is not switched on
		{"GET", "/production/production/things", 404, ""},
		{"GET", "/production", 404, ""},
		{"GET", "/", 404, ""},
		{"GET", "/production/nothing", 404, ""},
		{"DELETE", "/production/things", 404, ""}, // the path is there, the method is not
		{"HEAD", "/production/things", 404, ""},   // HEAD is a method of its own
		{"TRACE", "/production/things", 404, ""},
		{"GET", "/production/things/..", 200, "production"}, // ".." is an id like any other
		{"GET", "/production/THINGS", 404, ""},
		{"GET", "/production/things%2F1", 404, ""},
		{"GET", "/production/%74hings", 404, ""},
	} {
		t.Run(tt.method+" "+tt.target, func(t *testing.T) {
			got := a.send(tt.method, tt.target, "", key)
			if got.status != tt.status {
				t.Fatalf("status %d, want %d", got.status, tt.status)
			}
			if tt.status == 404 {
				if tt.method != "HEAD" && got.code() != "not_found" {
					t.Errorf("code %q, want not_found", got.code())
				}
				return
			}
			ev := a.last("things").json
			if got := ev["stageVariables"].(map[string]any)["environment"]; got != tt.stage {
				t.Errorf("environment %v, want %s", got, tt.stage)
			}
			if got := ev["requestContext"].(map[string]any)["stage"]; got != tt.stage {
				t.Errorf("stage %v, want %s", got, tt.stage)
			}
		})
	}
}

// "When sending requests to an API by passing the X-HTTP-Method-Override header, API
// Gateway overrides the method" (api-gateway-known-issues.html).
func TestMethodOverride(t *testing.T) {
	a := newAPI(t, nil)
	for _, tt := range []struct {
		method, override string
		status           int
		want             string // method of the event
	}{
		{"POST", "PATCH", 200, "PATCH"},
		{"GET", "PATCH", 200, "PATCH"},
		{"DELETE", "get", 200, "GET"},
		{"GET", "", 200, "GET"},
		{"GET", "DELETE", 404, ""},
		{"GET", "BREW", 404, ""},
		{"GET", "OPTIONS", 204, ""},
		{"OPTIONS", "GET", 200, "GET"},
	} {
		t.Run(tt.method+" as "+tt.override, func(t *testing.T) {
			before := a.calls("things")
			got := a.send(tt.method, "/things/7", "", key, "X-HTTP-Method-Override: "+tt.override)
			if got.status != tt.status {
				t.Fatalf("status %d, want %d", got.status, tt.status)
			}
			if tt.want == "" {
				if a.calls("things") != before {
					t.Error("the function was called")
				}
				return
			}
			for _, function := range []string{"things", "authorizer"} {
				ev := a.last(function).json
				if ev["httpMethod"] != tt.want && function == "things" {
					t.Errorf("%s: httpMethod %v, want %s", function, ev["httpMethod"], tt.want)
				}
			}
			if got := a.last("things").json["requestContext"].(map[string]any)["httpMethod"]; got != tt.want {
				t.Errorf("requestContext.httpMethod %v, want %s", got, tt.want)
			}
		})
	}
}

func TestAnOverriddenMethodIsTheOneThatPoliciesAreAskedAbout(t *testing.T) {
	a := newAPI(t, nil)
	a.authorizer = func() ([]byte, error) { return grant("Allow", "production/GET/things"), nil }
	if got := a.send("GET", "/things", "", key); got.status != 200 {
		t.Fatalf("GET: %d", got.status)
	}
	if got := a.send("GET", "/things", "", key, "X-HTTP-Method-Override: POST"); got.status != 403 {
		t.Errorf("GET as POST: %d, want 403", got.status)
	}
	if got := a.send("POST", "/things", "", key, "X-HTTP-Method-Override: GET"); got.status != 200 {
		t.Errorf("POST as GET: %d, want 200", got.status)
	}
}

func TestLimits(t *testing.T) {
	a := newAPI(t, nil)
	// What Go's client adds: the host, User-Agent and Accept-Encoding.
	own := len(strings.TrimPrefix(a.url, "http://")) + len("Go-http-client/1.1") + len("gzip") + len("k1")
	body := strings.Repeat("b", 10<<20)
	for _, tt := range []struct {
		name, method, target, body string
		header                     []string
		status                     int
		code                       string
	}{
		{"header values of 10,240 bytes", "GET", "/things", "", []string{"X-Long: " + strings.Repeat("h", 10_240-own)}, 200, ""},
		{"one byte more", "GET", "/things", "", []string{"X-Long: " + strings.Repeat("h", 10_240-own+1)}, 431, "bad_request"},
		{"spread over many headers", "GET", "/things", "", []string{
			"X-A: " + strings.Repeat("h", 4000), "X-B: " + strings.Repeat("h", 4000), "X-C: " + strings.Repeat("h", 4000)}, 431, "bad_request"},
		{"a URL of 10,240 bytes", "GET", "/things?q=" + strings.Repeat("u", 10_240-len("/things?q=")), "", nil, 200, ""},
		{"one byte more", "GET", "/things?q=" + strings.Repeat("u", 10_240-len("/things?q=")+1), "", nil, 414, "bad_request"},
		{"a method ARN of 1,600 bytes", "GET", "/things/" + strings.Repeat("i", 1600-len(arnPrefix+"production/GET/things/")), "", nil, 200, ""},
		{"one byte more", "GET", "/things/" + strings.Repeat("i", 1600-len(arnPrefix+"production/GET/things/")+1), "", nil, 414, "bad_request"},
		{"a body of 10 MB", "POST", "/things", body, nil, 200, ""},
		{"one byte more", "POST", "/things", body + "b", nil, 413, "body_too_large"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := a.send(tt.method, tt.target, tt.body, append(tt.header, key)...)
			if got.status != tt.status {
				t.Fatalf("status %d, want %d: %.200s", got.status, tt.status, got.body)
			}
			if tt.code != "" && got.code() != tt.code {
				t.Errorf("code %q, want %q", got.code(), tt.code)
			}
		})
	}
	t.Run("a body of unknown length over 10 MB", func(t *testing.T) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, a.url+"/things", io.NopCloser(strings.NewReader(body+"b")))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-API-Key", "k1")
		if got := a.do(req); got.status != 413 {
			t.Errorf("status %d, want 413", got.status)
		}
	})
}

func TestHTTP2AndHTTP1GetTheSameAnswer(t *testing.T) {
	a := newAPI(t, nil)
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: protocols}
	defer tr.CloseIdleConnections()
	for _, h := range []string{"k1", ""} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, a.url+"/things", nil)
		if err != nil {
			t.Fatal(err)
		}
		header := []string{}
		if h != "" {
			req.Header.Set("X-API-Key", h)
			header = append(header, "X-API-Key: "+h)
		}
		res, err := (&http.Client{Transport: tr}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.ProtoMajor != 2 {
			t.Fatalf("answered over %s", res.Proto)
		}
		if one := a.send("GET", "/things", "", header...); one.status != res.StatusCode {
			t.Errorf("key %q: %d over HTTP/2, %d over HTTP/1.1", h, res.StatusCode, one.status)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, ev := range a.events {
		if ev.function != "things" {
			continue
		}
		header := ev.json["headers"].(map[string]any)
		if header["x-api-key"] == "k1" {
			if ev.json["requestContext"].(map[string]any)["protocol"] != "HTTP/1.1" {
				t.Error("$context.protocol is not HTTP/1.1")
			}
			return
		}
	}
	t.Error("no event has the header's name in lower case, as HTTP/2 sends it")
}

func TestTimeoutsAndCrashes(t *testing.T) {
	a := newAPI(t, func(o *gateway.Options) { o.IntegrationTimeout = 200 * time.Millisecond })
	for _, tt := range []struct {
		name   string
		things func(context.Context) ([]byte, error)
		status int
		code   string
	}{
		// INTEGRATION_TIMEOUT (supported-gateway-response-types.html).
		{"no answer in the integration's time", func(ctx context.Context) ([]byte, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}, 504, "integration_timeout"},
		// A function that runs out of its own, shorter time is a function error to the
		// gateway, and that is a malformed proxy response: 502 (observed at AWS by several,
		// such as https://rasp.hateblo.jp/entry/2021/05/13/222835).
		{"the function's own timeout", func(context.Context) ([]byte, error) {
			return functionError(lambda.TypeTimedOut, "Task timed out after 3.00 seconds")()
		}, 502, "internal_error"},
		{"the process died", func(context.Context) ([]byte, error) {
			return functionError(lambda.TypeExited, "exit status 1")()
		}, 502, "internal_error"},
		{"the function failed", func(context.Context) ([]byte, error) {
			return functionError("errorString", "Unauthorized")()
		}, 502, "internal_error"},
		{"the event is over Lambda's 6 MB", func(context.Context) ([]byte, error) {
			return nil, lambda.ErrRequestTooLarge
		}, 413, "body_too_large"},
		{"Lambda itself fails", func(context.Context) ([]byte, error) { return nil, lambda.ErrClosed }, 502, "integration_failure"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a.things = tt.things
			got := a.send("GET", "/things", "", key)
			if got.status != tt.status || got.code() != tt.code {
				t.Errorf("%d %s, want %d %s", got.status, got.code(), tt.status, tt.code)
			}
			if strings.Contains(got.body, "Task timed out") || strings.Contains(got.body, "exit status") {
				t.Errorf("the body tells the function's error: %s", got.body)
			}
		})
	}
}

func TestPreflightWorksOnEveryRouteWithoutACredential(t *testing.T) {
	a := newAPI(t, nil)
	table, err := route.Load([]byte(routes))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range table.Routes() {
		target := strings.NewReplacer("{", "", "}", "", "+", "").Replace(r.Path)
		for _, path := range []string{target, "/staging" + target, target + "/"} {
			got := a.send("OPTIONS", path, "", "Origin: https://app.example", "Access-Control-Request-Method: "+r.Method)
			if got.status != 204 || got.header.Get("Access-Control-Allow-Origin") != "*" {
				t.Errorf("OPTIONS %s: %d, origin %q", path, got.status, got.header.Get("Access-Control-Allow-Origin"))
			}
			if allow := got.header.Get("Access-Control-Allow-Methods"); !strings.Contains(","+allow+",", ","+r.Method+",") {
				t.Errorf("OPTIONS %s: %s is not among %q", path, r.Method, allow)
			}
		}
	}
	if n := len(a.events); n != 0 {
		t.Errorf("%d functions were called", n)
	}
	if got := a.send("OPTIONS", "/nothing", ""); got.status != 404 {
		t.Errorf("OPTIONS of an unknown path: %d, want 404", got.status)
	}
	got := a.send("OPTIONS", "/things", "", "Origin: https://app.example")
	for _, name := range []string{"X-API-Key", "Authorization", "Content-Type", "If-Match", "Idempotency-Key"} {
		if !strings.Contains(got.header.Get("Access-Control-Allow-Headers"), name) {
			t.Errorf("a script may not send %s", name)
		}
	}
}

func TestPreflightNamesTheOriginIfItMayCall(t *testing.T) {
	a := newAPI(t, func(o *gateway.Options) { o.CORSOrigins = []string{"https://one.example", "https://two.example"} })
	for _, tt := range []struct{ origin, want string }{
		{"https://one.example", "https://one.example"},
		{"https://two.example", "https://two.example"},
		{"https://evil.example", "https://one.example"},
		{"", "https://one.example"},
	} {
		got := a.send("OPTIONS", "/things", "", "Origin: "+tt.origin)
		if o := got.header.Get("Access-Control-Allow-Origin"); o != tt.want || got.header.Get("Vary") != "Origin" {
			t.Errorf("origin %q: allowed %q (Vary %q), want %q", tt.origin, o, got.header.Get("Vary"), tt.want)
		}
	}
}

func TestWithoutOriginsNoBrowserMayCall(t *testing.T) {
	a := newAPI(t, func(o *gateway.Options) { o.CORSOrigins = nil })
	for _, got := range []answer{a.send("OPTIONS", "/things", "", "Origin: https://one.example"), a.send("GET", "/things", "")} {
		if o := got.header.Get("Access-Control-Allow-Origin"); o != "" || got.status < 400 {
			t.Errorf("status %d, allowed %q; want a refusal that allows nobody", got.status, o)
		}
	}
}

func TestEveryAnswerNamesItsRequest(t *testing.T) {
	a := newAPI(t, nil)
	seen := map[string]bool{}
	for _, got := range []answer{
		a.send("GET", "/things", "", key), a.send("GET", "/things", ""), a.send("GET", "/nothing", ""), a.send("OPTIONS", "/things", ""),
	} {
		id := got.header.Get("X-Amzn-Requestid")
		if len(id) != 36 || seen[id] {
			t.Errorf("status %d: request id %q", got.status, id)
		}
		seen[id] = true
		if got.status >= 400 && !strings.Contains(got.body, fmt.Sprintf("%q", id)) {
			t.Errorf("status %d: the body does not hold its id: %s", got.status, got.body)
		}
	}
}
