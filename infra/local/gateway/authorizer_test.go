package gateway_test

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/infra/local/gateway"
	"github.com/keyreeve/keyreeve/infra/local/lambda"
	"github.com/keyreeve/keyreeve/pkg/logline"
)

func answerWith(output string) func(context.Context) ([]byte, error) {
	return func(context.Context) ([]byte, error) { return []byte(output), nil }
}

// "If a specified identity source is missing, null, or empty, API Gateway returns a 401
// Unauthorized response without calling the authorizer Lambda function"
// (configure-api-gateway-lambda-authorization.html).
func TestAMissingIdentitySourceIsA401WithoutTheAuthorizer(t *testing.T) {
	a := newAPI(t, nil)
	for _, tt := range []struct {
		name, target string
		header       []string
		status       int
	}{
		{"no header", "/things", nil, 401},
		{"empty header", "/things", []string{"X-API-Key: "}, 401},
		{"the other authorizer's header", "/things", []string{"Authorization: Bearer k1"}, 401},
		{"the other authorizer's header, the other way", "/bearer", []string{"X-API-Key: k1"}, 401},
		{"in the query", "/things?X-API-Key=k1&api_key=k1", nil, 401},
		{"there", "/things", []string{"X-API-Key: k1"}, 200},
		{"in another letter case", "/things", []string{"x-aPI-kEY: k1"}, 200},
		{"there, on the other authorizer", "/bearer", []string{"authorization: Bearer k1"}, 200},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before, handled := a.calls("authorizer"), a.calls("things")
			got := a.send("GET", tt.target, "", tt.header...)
			if got.status != tt.status {
				t.Fatalf("status %d, want %d", got.status, tt.status)
			}
			if tt.status == 401 {
				if got.code() != "unauthorized" || got.header.Get("WWW-Authenticate") == "" || got.header.Get("Access-Control-Allow-Origin") != "*" {
					t.Errorf("code %q, headers %v", got.code(), got.header)
				}
				if a.calls("authorizer") != before || a.calls("things") != handled {
					t.Error("a function was called")
				}
			}
		})
	}
}

// apigateway-use-lambda-authorizer.html, api-gateway-lambda-authorizer-output.html,
// supported-gateway-response-types.html.
func TestAuthorizerOutcomes(t *testing.T) {
	const statement = `{"Effect":"Allow","Action":"execute-api:Invoke","Resource":"*"}`
	doc := func(statements string) string { return `{"Version":"2012-10-17","Statement":[` + statements + `]}` }
	out := func(policy, context string) string {
		return `{"principalId":"p","policyDocument":` + policy + `,"context":` + context + `}`
	}
	for _, tt := range []struct {
		name   string
		out    func() ([]byte, error)
		status int
		code   string
		cached bool // the second request does not ask again
	}{
		{"allow", text(out(doc(statement), `{}`)), 200, "", true},
		{"allow without context", text(`{"principalId":"p","policyDocument":` + doc(statement) + `}`), 200, "", true},
		{"the error Unauthorized", functionError("errorString", "Unauthorized"), 401, "unauthorized", false},
		{"another error", functionError("errorString", "unauthorized"), 500, "authorizer_failure", false},
		{"an error that begins so", functionError("errorString", "Unauthorized: no such key"), 500, "authorizer_failure", false},
		{"a panic", functionError("runtimeError", "nil pointer"), 500, "authorizer_failure", false},
		{"the function's timeout", functionError(lambda.TypeTimedOut, "Task timed out"), 500, "authorizer_failure", false},
		{"Lambda fails", func() ([]byte, error) { return nil, lambda.ErrClosed }, 500, "authorizer_failure", false},
		{"too late", func() ([]byte, error) { return nil, context.DeadlineExceeded }, 500, "authorizer_failure", false},

		{"an explicit deny is kept", func() ([]byte, error) { return grant("Deny", "*"), nil }, 403, "insufficient_scope", true},
		{"nothing allows", func() ([]byte, error) { return grant("Allow", "production/GET/other"), nil }, 403, "insufficient_scope", true},
		{"another stage", func() ([]byte, error) { return grant("Allow", "staging/GET/things"), nil }, 403, "insufficient_scope", true},
		{"a deny beside an allow", func() ([]byte, error) {
			return output(
				map[string]any{"Effect": "Allow", "Action": "execute-api:Invoke", "Resource": "*"},
				map[string]any{"Effect": "Deny", "Action": "execute-api:Invoke", "Resource": arnPrefix + "production/GET/thing?"},
			), nil
		}, 403, "insufficient_scope", true},

		{"no output", text(``), 500, "authorizer_failure", false},
		{"null", text(`null`), 500, "authorizer_failure", false},
		{"no policy", text(`{"principalId":"p"}`), 500, "authorizer_failure", false},
		{"no principal", text(`{"policyDocument":` + doc(statement) + `}`), 500, "authorizer_failure", false},
		{"no statement", text(out(doc(``), `{}`)), 500, "authorizer_failure", false},
		{"a broken effect", text(out(doc(`{"Effect":"allow","Action":"*","Resource":"*"}`), `{}`)), 500, "authorizer_failure", false},
		{"a list in the context", text(out(doc(statement), `{"permissions":["a"]}`)), 500, "authorizer_failure", false},
		{"an object in the context", text(out(doc(statement), `{"permissions":{}}`)), 500, "authorizer_failure", false},
		{"a resource over 512 characters", text(out(doc(`{"Effect":"Allow","Action":"*","Resource":"arn:aws:execute-api:::`+strings.Repeat("a", 512)+`"}`), `{}`)), 500, "authorizer_failure", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := newAPI(t, nil)
			a.authorizer = tt.out
			var got answer
			for range 2 {
				got = a.send("GET", "/things", "", key)
				if got.status != tt.status || tt.code != "" && got.code() != tt.code {
					t.Fatalf("%d %s, want %d %s", got.status, got.code(), tt.status, tt.code)
				}
			}
			want := 2
			if tt.cached {
				want = 1
			}
			if n := a.calls("authorizer"); n != want || a.gateway.AuthorizerInvocations() != int64(want) {
				t.Errorf("asked %d times in two requests, want %d", n, want)
			}
			if handled := a.calls("things"); tt.status != 200 && handled != 0 {
				t.Errorf("the function was called %d times", handled)
			}
			if strings.Contains(got.body, "$") {
				t.Errorf("a variable is left in %s", got.body)
			}
		})
	}
}

func text(s string) func() ([]byte, error) { return func() ([]byte, error) { return []byte(s), nil } }

func TestADenialNamesMethodAndPath(t *testing.T) {
	a := newAPI(t, nil)
	a.authorizer = func() ([]byte, error) { return grant("Allow", "production/POST/things"), nil }
	got := a.send("GET", "/things/secretvalue", "", key)
	if !strings.Contains(got.body, "GET /things/{id}") || strings.Contains(got.body, "secretvalue") {
		t.Errorf("body %s, want the route's own path in it", got.body)
	}
}

// The cached policy is evaluated for each request: it must hold for all methods that the
// key may call ("your authorizer must return a policy that is applicable to all methods
// across an API").
func TestACachedPolicyDecidesEachRequestAnew(t *testing.T) {
	a := newAPI(t, nil)
	a.authorizer = func() ([]byte, error) {
		return grant("Allow", "production/GET/things", "production/PATCH/things/*"), nil
	}
	for _, tt := range []struct {
		method, target string
		status         int
	}{
		{"GET", "/things", 200}, {"POST", "/things", 403}, {"PATCH", "/things/1", 200}, {"GET", "/things/1", 403},
		{"GET", "/things/", 403}, // a trailing slash is another resource to IAM
	} {
		if got := a.send(tt.method, tt.target, "", key); got.status != tt.status {
			t.Errorf("%s %s: %d, want %d", tt.method, tt.target, got.status, tt.status)
		}
	}
	if n := a.calls("authorizer"); n != 1 {
		t.Errorf("asked %d times, want once", n)
	}
}

func TestConditionsAreEvaluatedAtTheTimeOfTheRequest(t *testing.T) {
	a := newAPI(t, func(o *gateway.Options) { o.AuthorizerTTL = time.Hour })
	a.authorizer = func() ([]byte, error) {
		return output(map[string]any{
			"Effect": "Allow", "Action": "execute-api:Invoke", "Resource": "*",
			"Condition": map[string]any{"DateLessThan": map[string]any{"aws:CurrentTime": "2026-03-04T19:20:00Z"}},
		}), nil
	}
	if got := a.send("GET", "/things", "", key); got.status != 200 {
		t.Fatalf("before the date: %d", got.status)
	}
	a.advance(5 * time.Minute)
	if got := a.send("GET", "/things", "", key); got.status != 403 {
		t.Errorf("after the date: %d, want 403", got.status)
	}
	if n := a.calls("authorizer"); n != 1 {
		t.Errorf("asked %d times, want once", n)
	}
}

// Results are kept by stage, authorizer and the identity source's value, for the time to
// live (apigateway-use-lambda-authorizer.html; FlushStageAuthorizersCache is per stage).
func TestTheResultCache(t *testing.T) {
	type step struct {
		what    string
		do      func(*api)
		asked   int // times in all afterwards
		refused bool
	}
	get := func(target string, header ...string) func(*api) {
		return func(a *api) { a.send("GET", target, "", header...) }
	}
	for _, tt := range []struct {
		name  string
		ttl   time.Duration
		steps []step
	}{
		{"kept for its time", time.Minute, []step{
			{"first", get("/things", key), 1, false},
			{"again", get("/things", key), 1, false},
			{"another route", get("/things/1", key), 1, false},
			{"59.999 s later", func(a *api) { a.advance(time.Minute - time.Millisecond); get("/things", key)(a) }, 1, false},
			{"60 s later", func(a *api) { a.advance(time.Millisecond); get("/things", key)(a) }, 2, false},
		}},
		{"apart by credential, stage and authorizer", time.Minute, []step{
			{"first", get("/things", key), 1, false},
			{"another key", get("/things", "X-API-Key: k2"), 2, false},
			{"another letter case of the key", get("/things", "X-API-Key: K1"), 3, false},
			{"another stage", get("/staging/things", key), 4, false},
			{"the stage by its name", get("/production/things", key), 4, false},
			{"the other authorizer", get("/bearer", "Authorization: k1"), 5, false},
			{"the other authorizer again", get("/bearer", "Authorization: k1"), 5, false},
			{"a second header beside it", get("/things", key, "Authorization: Bearer other"), 5, false},
			{"the last of two is the value", get("/things", "X-API-Key: k9", key), 5, false},
		}},
		{"off", 0, []step{
			{"first", get("/things", key), 1, false},
			{"again", get("/things", key), 2, false},
		}},
		{"flushed by stage", time.Minute, []step{
			{"production", get("/things", key), 1, false},
			{"staging", get("/staging/things", key), 2, false},
			{"flush staging", func(a *api) { a.gateway.FlushAuthorizerCache("staging") }, 2, false},
			{"production", get("/things", key), 2, false},
			{"staging", get("/staging/things", key), 3, false},
			{"flush all", func(a *api) { a.gateway.FlushAuthorizerCache("") }, 3, false},
			{"production", get("/things", key), 4, false},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := newAPI(t, func(o *gateway.Options) { o.AuthorizerTTL = tt.ttl })
			for i, s := range tt.steps {
				s.do(a)
				if n := a.calls("authorizer"); n != s.asked {
					t.Fatalf("step %d, %s: asked %d times, want %d", i, s.what, n, s.asked)
				}
			}
		})
	}
}

func TestTheCacheForgetsWhatIsTooOld(t *testing.T) {
	a := newAPI(t, nil)
	for i := range 3000 {
		a.advance(time.Second)
		if got := a.send("GET", "/things", "", "X-API-Key: k"+strconv.Itoa(i)); got.status != 200 {
			t.Fatal(got)
		}
	}
	if n := a.gateway.CachedResults(); n > 2*1024 {
		t.Errorf("%d results are kept, although at most 60 are live", n)
	}
}

func TestAccessLogHasOneLinePerRequestAndNoCredential(t *testing.T) {
	a := newAPI(t, nil)
	const secret = "kr_live_abcdefgh_SECRETSECRETSECRETSECRET"
	a.send("GET", "/things/"+secret+"?key="+secret, "", "X-API-Key: "+secret, "Authorization: Bearer "+secret, "Referer: https://x/?"+secret)
	a.send("POST", "/nothing/"+secret, secret, "X-API-Key: "+secret)
	a.send("GET", "/things?"+secret, secret)
	a.authorizer = functionError("errorString", "broken by "+secret)
	a.send("GET", "/staging/things", "", "X-API-Key: "+secret)
	a.authorizer = text(`{"principalId":"p","policyDocument":{"` + secret + `":1}}`)
	a.send("GET", "/staging/things", "", "X-API-Key: "+secret)
	a.authorizer = func() ([]byte, error) { return grant("Allow", "*"), nil }
	a.things = func(context.Context) ([]byte, error) { return functionError("errorString", secret)() }
	a.send("GET", "/development/things", "", "X-API-Key: "+secret)

	log := a.entries()
	type row struct {
		Method, Path, Stage, KeyID, Type string
		Status                           int
	}
	var got []row
	for _, e := range log {
		line, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		for i := range len(secret) - 12 {
			if strings.Contains(string(line), secret[i:i+12]) {
				t.Fatalf("%s %s: the line holds a piece of the credential", e.HTTPMethod, e.ResourcePath)
			}
		}
		// What is delivered is the same, in API Gateway's form.
		access, err := logline.ParseAccess(e.Access().Line())
		if err != nil {
			t.Errorf("%s %s: %v", e.HTTPMethod, e.ResourcePath, err)
		}
		if d := cmp.Diff(e.Access(), access); d != "" {
			t.Errorf("%s %s: what the line says differs from the entry (-entry +line):\n%s", e.HTTPMethod, e.ResourcePath, d)
		}
		got = append(got, row{e.HTTPMethod, e.ResourcePath, e.Stage, e.KeyID, e.ResponseType, e.Status})
	}
	want := []row{
		{"GET", "/things/{id}", "production", "key_abc", "", 200},
		{"POST", "", "production", "", "MISSING_AUTHENTICATION_TOKEN", 404},
		{"GET", "/things", "production", "", "UNAUTHORIZED", 401},
		{"GET", "/things", "staging", "", "AUTHORIZER_FAILURE", 500},
		{"GET", "/things", "staging", "", "AUTHORIZER_CONFIGURATION_ERROR", 500},
		{"GET", "/things", "development", "key_abc", "DEFAULT_5XX", 502},
	}
	for i := range max(len(want), len(got)) {
		if i >= len(want) || i >= len(got) || want[i] != got[i] {
			t.Fatalf("line %d:\n got %+v\nwant %+v", i, got, want)
		}
	}
	e := log[0]
	if e.RequestTime != "04/Mar/2026:19:15:17 +0000" || e.RequestTimeEpoch != 1772651717135 || e.SourceIP != "127.0.0.1" ||
		e.UserAgent != "Go-http-client/1.1" || e.ResponseLength != 2 || e.RequestID == "" || e.AccountID != "acct_1" || e.Environment != "production" || e.Generation != 3 || e.Parent != "AbCd1234" {
		t.Errorf("line %+v", e)
	}
}
