package forward

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/events"
	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/httpapi"
)

func TestTheCredentialNeverReachesTheUpstream(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(echo))
	defer server.Close()
	w := newWorld(t,
		row("ANY", "/v1/x/{rest+}", server.URL, ""),
		row("ANY", "/v1/bearer", server.URL, `, "credential": "Authorization"`),
	)
	k := w.secret.Plaintext()
	for name, c := range map[string]struct {
		path, query string
		headers     []string
	}{
		"X-API-Key":                  {"/v1/x/y", "", nil},
		"beside other spellings":     {"/v1/x/y", "", []string{"X_API_KEY: " + k, "X-Api_Key: " + k}},
		"in headers of other names":  {"/v1/x/y", "", []string{"Cookie: a=b; key=" + k, "X-Forwarded-Authorization: " + k, "Referer: https://a/?k=" + k}},
		"in the query":               {"/v1/x/y", "api_key=" + k + "&" + k + "=1&q=x" + k + "y", nil},
		"in the path":                {"/v1/x/keys-" + k + "/y", "", nil},
		"Authorization, with Bearer": {"/v1/bearer", "", []string{"Authorization: Bearer " + k}},
		"Authorization, Api-Key":     {"/v1/bearer", "", []string{"authorization: api-key " + k}},
	} {
		ev := w.request("GET", c.path, c.query, "", c.headers...)
		if c.path == "/v1/bearer" {
			delete(ev.MultiValueHeaders, "X-API-Key")
		}
		got := w.send(ev)
		if got.status != 200 {
			t.Errorf("%s: %v", name, got)
		}
		w.clean(name, got.body)
		for _, header := range []string{"X-Api-Key", "X_api_key", "Authorization"} {
			if strings.Contains(got.body, "\n"+header) {
				t.Errorf("%s: the upstream got %s:\n%s", name, header, got.body)
			}
		}
	}
}

// On a public route there is no caller, and X-API-Key may be the upstream's own.
func TestOnAPublicRouteKeysOfOursAreKeptBack(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(echo))
	defer server.Close()
	w := newWorld(t, row("GET", "/v1/open", server.URL, `, "public": true`))
	other, err := apikey.Generate("mk", apikey.NewID())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		header string
		passes bool
	}{
		{"X-API-Key: " + w.secret.Plaintext(), false},
		{"X-API-Key: " + other.Plaintext(), false},
		{"Authorization: Bearer " + w.secret.Plaintext(), false},
		{"Authorization: Api-Key " + w.secret.Plaintext(), false},
		{"Authorization: " + w.secret.Plaintext(), false},
		{"X-API-Key: something-else", true},
		{"Authorization: Basic dXNlcjpwYXNz", true},
		{"Authorization: Bearer eyJhbGciOiJub25lIn0.e30.", true},
	} {
		name, value, _ := strings.Cut(c.header, ": ")
		got := w.send(w.request("GET", "/v1/open", "", "", c.header))
		if passes := strings.Contains(got.body, value); got.status != 200 || passes != c.passes {
			t.Errorf("%s: passes %t, want %t: %v", name, passes, c.passes, got)
		}
		if strings.Contains(got.body, "X-Keyreeve") {
			t.Errorf("the upstream got an identity that nobody proved: %s", got.body)
		}
	}
}

func TestWhoCallsIsSaidByUsAlone(t *testing.T) {
	w := to(t, echo)
	want := []string{"X-Keyreeve-Account-Id: acct_1", "X-Keyreeve-Environment: staging", "X-Keyreeve-Key-Id: " + httpapi.KeyID(w.key.ID)}
	for name, headers := range map[string][]string{
		"nothing":               nil,
		"sent by the client":    {"X-Keyreeve-Key-Id: key_evilevil", "x-keyreeve-account-id: acct_evil", "X-KEYREEVE-ENVIRONMENT: production", "X-Keyreeve-Admin: evil"},
		"in CGI's spelling":     {"X_Keyreeve_Key_Id: key_evilevil", "x_keyreeve-account_id: acct_evil", "X-Keyreeve_Environment: evil"},
		"removed by Connection": {"Connection: X-Keyreeve-Key-Id, x-keyreeve-account-id,X-Keyreeve-Environment", "X-Keyreeve-Key-Id: evil"},
		"split":                 {"X-A: 1\r\nX-Keyreeve-Key-Id: evil", "X-B\r\nX-Keyreeve-Key-Id: evil", "X-C\r\nX-Keyreeve-Evil: : evil", "X-D: 1\nX-Keyreeve-Key-Id: evil", "X-E: 1\rX-Keyreeve-Key-Id: evil"},
		"with blanks":           {"X-Keyreeve-Key-Id : evil", " X-Keyreeve-Key-Id: evil"},
	} {
		got := w.send(w.request("GET", "/v1/x", "", "", headers...))
		var saw []string
		for line := range strings.SplitSeq(got.body, "\r\n") {
			if _, after, ok := strings.Cut(line, "\n"); ok && strings.HasPrefix(after, "X-") {
				line = after
			}
			if strings.Contains(strings.ReplaceAll(strings.ToLower(line), "_", "-"), "x-keyreeve-") {
				saw = append(saw, line)
			}
		}
		slices.Sort(saw)
		if d := cmp.Diff(want, saw); d != "" || strings.Contains(got.body, "evil") {
			t.Errorf("%s: the upstream saw (-want +got)\n%s\nof\n%s", name, d, got.body)
		}
	}
}

func TestHopByHopHeadersEndHere(t *testing.T) {
	w := to(t, echo)
	got := w.send(w.request("POST", "/v1/x", "", "body", "Connection: close, X-Hop , upgrade", "Connection: x-other", "X-Hop: 1", "X-Other: 1",
		"Keep-Alive: timeout=5", "Proxy-Authorization: Basic x", "Proxy-Connection: keep-alive", "Proxy-Authentication-Info: x", "TE: trailers",
		"Trailer: X-Sum", "Transfer-Encoding: chunked", "Upgrade: websocket", "HTTP2-Settings: AAMAAABkAAQAAP__", "Expect: 100-continue",
		"Content-Length: 99", "X-Stays: 1"))
	for _, name := range []string{
		"Connection", "X-Hop", "X-Other", "Keep-Alive", "Proxy-Authorization", "Proxy-Connection", "Proxy-Authentication-Info", "Te", "Trailer",
		"Transfer-Encoding", "Upgrade", "Http2-Settings", "Expect",
	} {
		if strings.Contains(got.body, "\n"+name+":") {
			t.Errorf("the upstream got %s", name)
		}
	}
	if got.status != 200 || !strings.Contains(got.body, "\nX-Stays: 1\r") || !strings.Contains(got.body, "\nContent-Length: 4\r") || !strings.HasSuffix(got.body, "\n\nbody") {
		t.Errorf("%v", got)
	}
}

func TestWhereARequestCameFromIsSaidByUsAlone(t *testing.T) {
	w := to(t, echo)
	ev := w.request("GET", "/v1/x", "", "", "Forwarded: for=10.0.0.1;proto=http", "X-Forwarded-Server: evil", "X-Forwarded-Prefix: /evil",
		"X_Forwarded_For: 10.0.0.1", "X-Real-IP: 10.0.0.1", "True-Client-IP: 10.0.0.1", "x-forwarded-proto: https")
	got := w.send(ev)
	var saw []string
	for line := range strings.SplitSeq(strings.ReplaceAll(got.body, "\r", ""), "\n") {
		if strings.Contains(strings.ToLower(line), "forwarded") {
			saw = append(saw, line)
		}
	}
	want := []string{"X-Forwarded-For: 192.0.2.1", "X-Forwarded-Host: api.example.com", "X-Forwarded-Proto: https"}
	if d := cmp.Diff(want, saw); d != "" || strings.Contains(got.body, "10.0.0.1") || strings.Contains(got.body, "evil") {
		t.Errorf("the upstream saw (-want +got)\n%s\nof\n%s", d, got.body)
	}
	// The local gateway says http, after whatever the client said.
	ev.MultiValueHeaders["X-Forwarded-Proto"] = []string{"https", "http"}
	delete(ev.MultiValueHeaders, "x-forwarded-proto")
	if got := w.send(ev); !strings.Contains(got.body, "\nX-Forwarded-Proto: http\r") {
		t.Errorf("by the local gateway: %s", got.body)
	}
}

// The guard has decided on a method and a path; no header makes another of them.
func TestNoHeaderChangesMethodOrPath(t *testing.T) {
	w := to(t, echo)
	names := []string{
		"X-HTTP-Method-Override", "x-http-method", "X-Method-Override", "X_HTTP_METHOD_OVERRIDE", "X-Original-URL", "X-Rewrite-URL", "X-Original-URI", "X_Original_URL",
	}
	var headers []string
	for _, n := range names {
		headers = append(headers, n+": /evil")
	}
	if got := w.send(w.request("GET", "/v1/x", "", "", headers...)); got.status != 200 || strings.Contains(got.body, "evil") {
		t.Errorf("%v", got)
	}
}

// An event in the form of payload 1.0 without its multi-value members has the same outcome.
func TestEventsWithSingleValuesAlone(t *testing.T) {
	w := to(t, echo)
	ev := w.request("GET", "/v1/x", "", "", "X-One: 1", "X-Keyreeve-Key-Id: evil")
	ev.MultiValueHeaders, ev.QueryStringParameters = nil, map[string]string{"b": "2 3", "a": "1"}
	got := w.send(ev)
	if !strings.HasPrefix(got.body, "GET /base/v1/x?a=1&b=2%203 HTTP/1.1\n") || !strings.Contains(got.body, "X-One: 1") || strings.Contains(got.body, "evil") {
		t.Errorf("%v", got)
	}
	w.clean("the request", got.body)
}

func TestNothingIsForwardedUnproved(t *testing.T) {
	asked := 0
	w := to(t, func(http.ResponseWriter, *http.Request) { asked++ })
	for name, change := range map[string]func(ev *events.APIGatewayProxyRequest){
		"no context":      func(ev *events.APIGatewayProxyRequest) { ev.RequestContext.Authorizer = nil },
		"no credential":   func(ev *events.APIGatewayProxyRequest) { delete(ev.MultiValueHeaders, "X-API-Key") },
		"two credentials": func(ev *events.APIGatewayProxyRequest) { ev.MultiValueHeaders["Authorization"] = []string{"Basic x"} },
		"another stage":   func(ev *events.APIGatewayProxyRequest) { ev.StageVariables["environment"] = "production" },
	} {
		ev := w.request("GET", "/v1/x", "", "")
		change(ev)
		if got := w.send(ev); got.status < 400 {
			t.Errorf("%s: %v", name, got)
		}
	}
	ev := w.request("GET", "/v1/x", "", "")
	w.key.Active, w.key.Verdict = false, 2
	if got := w.send(ev); got.status != 401 {
		t.Errorf("revoked: %v", got)
	}
	// Without the proxy, or on a row that has no upstream, the handler itself refuses.
	h := New(Config{Table: w.table})
	res := httptest.NewRecorder()
	h.ServeHTTP(res, httptest.NewRequest("GET", "/v1/x", nil))
	var body struct{ Error struct{ Code string } }
	if err := json.Unmarshal(res.Body.Bytes(), &body); err != nil || res.Code != 500 || body.Error.Code != "internal_error" {
		t.Errorf("without the proxy: %d %s", res.Code, res.Body)
	}
	if asked != 0 {
		t.Errorf("the upstream was asked %d times", asked)
	}
}

func FuzzHeadersOfTheClient(f *testing.F) {
	for _, s := range [][2]string{{"X-Keyreeve-Key-Id", "x"}, {"Connection", "X-Keyreeve-Key-Id"}, {"X_Keyreeve_Key_Id", "x"}, {"A\r\nB", "c"}, {"A", "b\r\nX-Keyreeve-X: y"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, name, value string) {
		c := &call{Request: &http.Request{Header: http.Header{name: {value}}}, known: true}
		c.caller.AccountID = "acct_1"
		h := c.onward()
		for n, values := range h {
			folded := strings.ReplaceAll(strings.ToLower(n), "_", "-")
			if strings.HasPrefix(folded, "x-keyreeve-") && (len(values) != 1 || !slices.Contains([]string{keyIDHeader, accountIDHeader, environmentHeader}, n)) {
				t.Errorf("%q: %q passes as %q: %q", name, value, n, values)
			}
			for _, v := range values {
				if strings.ContainsAny(n+v, "\r\n") {
					t.Errorf("a line break passes in %q: %q", n, v)
				}
			}
		}
		if h.Get(accountIDHeader) != "acct_1" {
			t.Errorf("%q: %q removes the account: %s", name, value, fmt.Sprint(h))
		}
	})
}
