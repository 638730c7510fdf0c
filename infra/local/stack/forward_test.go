package stack_test

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/infra/local/stack"
	"github.com/keyreeve/keyreeve/infra/local/stacktest"
)

const quotes = "arn:aws:lambda:eu-central-1:123456789012:function:quotes"

// ownTable writes a route table and returns its file.
func ownTable(t *testing.T, rows string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "my.json")
	text := `{"permissions": [{"name": "orders:read", "label": "Order Read"}, {"name": "orders:write", "label": "Order Write"}], "routes": [` + rows + `]}`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// exchange is one request through the gateway with all that comes back.
func exchange(t *testing.T, s *stacktest.Stack, method, path string, body []byte, headers ...string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-API-Key", s.RootKey)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Add(name, value)
	}
	client := &http.Client{Timeout: time.Minute, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	out, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, out
}

func code(body []byte) string {
	var v struct{ Error struct{ Code string } }
	_ = json.Unmarshal(body, &v)
	return v.Error.Code
}

// An HTTP server that knows nothing of Keyreeve, protected by a file.
func TestAnHTTPServerIsProtectedByAFile(t *testing.T) {
	var reached []string
	var arrived http.Header
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reached, arrived = append(reached, r.Method+" "+r.RequestURI), r.Header
		body, _ := io.ReadAll(r.Body)
		switch {
		case strings.HasSuffix(r.URL.Path, "/slow"):
			<-r.Context().Done()
		case strings.HasSuffix(r.URL.Path, "/huge"):
			_, _ = w.Write(make([]byte, 5<<20)) // no text: base64 makes over 6 MB of it
		case strings.HasSuffix(r.URL.Path, "/gone"):
			panic(http.ErrAbortHandler)
		default:
			w.Header().Add("Set-Cookie", "a=1")
			w.Header().Add("Set-Cookie", "b=2")
			w.Header().Set("Content-Type", "application/octet-stream")
			w.WriteHeader(http.StatusAccepted)
			_, _ = w.Write(body)
		}
	}))
	defer upstream.Close()
	s := stacktest.Start(t, stack.Options{RoutesFile: ownTable(t, fmt.Sprintf(`
		{"method": "ANY", "path": "/v1/orders/{rest+}", "permission": "orders:write", "upstream": {"url": %q, "timeoutSeconds": 2}},
		{"method": "GET", "path": "/v1/health", "public": true, "upstream": {"url": %q}}`, upstream.URL+"/shop", upstream.URL))})

	binary := make([]byte, 100_000)
	_, _ = rand.Read(binary)
	res, body := exchange(t, s, "PUT", "/v1/orders/7%2F8/x/?q=a%20b&q=2", binary, "Content-Type: application/octet-stream", "X-Keyreeve-Key-Id: evil", "X-Mine: 1")
	if res.StatusCode != 202 || !bytes.Equal(body, binary) {
		t.Errorf("%s, %d bytes came back of %d: %.200s", res.Status, len(body), len(binary), body)
	}
	if d := cmp.Diff([]string{"a=1", "b=2"}, res.Header.Values("Set-Cookie")); d != "" {
		t.Errorf("cookies (-want +got)\n%s", d)
	}
	if d := cmp.Diff([]string{"PUT /shop/v1/orders/7%2F8/x/?q=a%20b&q=2"}, reached); d != "" {
		t.Errorf("the server was asked (-want +got)\n%s", d)
	}
	for name, want := range map[string]string{
		"X-Keyreeve-Environment": "production", "X-Forwarded-Host": strings.TrimPrefix(s.URL, "http://"), "X-Forwarded-Proto": "http", "X-Mine": "1", "X-Api-Key": "",
	} {
		if got := strings.Join(arrived.Values(name), "|"); got != want {
			t.Errorf("the server got %s %q, want %q", name, got, want)
		}
	}
	if id := arrived.Get("X-Keyreeve-Key-Id"); !strings.HasPrefix(id, "key_") || arrived.Get("X-Keyreeve-Account-Id") == "" || res.Header.Get("X-Ratelimit-Limit") == "" {
		t.Errorf("the server heard of key %q, account %q; limit %q", id, arrived.Get("X-Keyreeve-Account-Id"), res.Header.Get("X-Ratelimit-Limit"))
	}

	before := len(reached)
	if status, _ := get(t, s, "/v1/orders/7", ""); status != 401 {
		t.Errorf("without a key: %d", status)
	}
	res, body = exchange(t, s, "GET", "/v1/orders/a/..%2F..%2Fadmin", nil)
	if res.StatusCode != 400 || code(body) != "ambiguous_path" {
		t.Errorf("out of the base path: %s %s", res.Status, body)
	}
	res, body = exchange(t, s, "POST", "/v1/orders/7", make([]byte, 5<<20), "Content-Type: application/octet-stream")
	if res.StatusCode != 413 || code(body) != "body_too_large" {
		t.Errorf("a request of 5 MB that is no text: %s %.200s", res.Status, body)
	}
	if len(reached) != before {
		t.Errorf("refused requests reached the server: %v", reached[before:])
	}
	for path, want := range map[string]string{"/v1/orders/slow": "504 upstream_timeout", "/v1/orders/huge": "502 upstream_too_large", "/v1/orders/gone": "502 upstream_failure"} {
		res, body := exchange(t, s, "GET", path, nil)
		if got := fmt.Sprint(res.StatusCode, " ", code(body)); got != want {
			t.Errorf("GET %s: %s, want %s", path, got, want)
		}
	}
	if status, _ := get(t, s, "/v1/health", ""); status != 202 || arrived.Get("X-Keyreeve-Key-Id") != "" {
		t.Errorf("the public route: %d", status)
	}
	if strings.Contains(s.Log.String(), s.RootKey[len(s.RootKey)-20:]) {
		t.Error("the log holds a piece of the key")
	}
}

// A Lambda function in another language, which needs no change: it runs as it is deployed.
func TestALambdaFunctionInPythonIsProtectedByAFile(t *testing.T) {
	if _, err := exec.LookPath("/usr/bin/python3"); err != nil {
		t.Skip("SKIPPED: there is no /usr/bin/python3 to run a function in Python with")
	}
	s := stacktest.Start(t, stack.Options{LambdaDir: "testdata/lambdas", RoutesFile: ownTable(t, `
		{"method": "ANY", "path": "/v1/quotes/{what}", "permission": "orders:read", "upstream": {"lambda": "`+quotes+`", "timeoutSeconds": 3}},
		{"method": "GET", "path": "/v1/quotes", "permission": "orders:read", "upstream": {"lambda": "`+quotes+`:live"}}`)})
	res, body := exchange(t, s, "POST", "/v1/quotes/a%20b/?n=1&n=2", []byte(`{"text": "é"}`), "Content-Type: application/json", "X-Keyreeve-Account-Id: evil")
	if res.StatusCode != 203 || res.Header.Get("X-Language") != "Python" || len(res.Header.Values("Set-Cookie")) != 2 {
		t.Fatalf("%s %v %s\n%s", res.Status, res.Header, body, s.Log)
	}
	var event struct {
		Resource, Path, HTTPMethod, Body string
		IsBase64Encoded                  bool
		Headers                          map[string]string
		MultiValueHeaders                map[string][]string
		PathParameters                   map[string]string
		MultiValueQuery                  map[string][]string `json:"multiValueQueryStringParameters"`
		RequestContext                   struct{ Authorizer map[string]any }
	}
	if err := json.Unmarshal(body, &event); err != nil {
		t.Fatal(err)
	}
	authorizer := event.RequestContext.Authorizer
	if event.Resource != "/v1/quotes/{what}" || event.Path != "/v1/quotes/a%20b/" || event.HTTPMethod != "POST" || event.Body != `{"text": "é"}` || event.IsBase64Encoded ||
		event.PathParameters["what"] != "a%20b" || strings.Join(event.MultiValueQuery["n"], "") != "12" || authorizer["accountId"] == nil {
		t.Errorf("the function got %s", body)
	}
	if event.Headers["X-Keyreeve-Account-Id"] != authorizer["accountId"] || event.Headers["X-Keyreeve-Key-Id"] != fmt.Sprint("key_", authorizer["keyId"]) ||
		len(event.MultiValueHeaders["X-Keyreeve-Environment"]) != 1 || bytes.Contains(body, []byte(s.RootKey)) || event.Headers["X-Api-Key"] != "" {
		t.Errorf("the function got headers %v", event.Headers)
	}
	if res, _ := exchange(t, s, "GET", "/v1/quotes", nil); res.StatusCode != 203 {
		t.Errorf("by its alias: %s", res.Status)
	}
	res, body = exchange(t, s, "GET", "/v1/quotes/bytes", nil)
	want := make([]byte, 256)
	for i := range want {
		want[i] = byte(i)
	}
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "image/png" || !bytes.Equal(body, want) {
		t.Errorf("bytes: %s %v %x", res.Status, res.Header, body)
	}
	for path, want := range map[string]string{
		"/v1/quotes/fail": "502 upstream_failure", "/v1/quotes/sleep": "504 upstream_timeout", "/v1/quotes/huge": "502 upstream_too_large", "/v1/quotes/a%2Fb": "400 ambiguous_path",
	} {
		res, body := exchange(t, s, "GET", path, nil)
		if got := fmt.Sprint(res.StatusCode, " ", code(body)); got != want {
			t.Errorf("GET %s: %s, want %s", path, got, want)
		}
	}
	if status, _ := get(t, s, "/v1/quotes", ""); status != 401 {
		t.Errorf("without a key: %d", status)
	}
}

func TestFunctionsOfATableWithoutTheirCode(t *testing.T) {
	file := ownTable(t, `{"method": "GET", "path": "/v1/quotes", "upstream": {"lambda": "`+quotes+`"}}`)
	var said []string
	s := stacktest.Start(t, stack.Options{RoutesFile: file, Progress: func(format string, a ...any) { said = append(said, fmt.Sprintf(format, a...)) }})
	res, body := exchange(t, s, "GET", "/v1/quotes", nil)
	if res.StatusCode != 502 || code(body) != "upstream_failure" || !strings.Contains(s.Log.String(), "ResourceNotFoundException") {
		t.Errorf("%s %s\n%s", res.Status, body, s.Log)
	}
	if !strings.Contains(strings.Join(said, "\n"), "there is no code for function quotes here") {
		t.Errorf("nobody is told: %q", said)
	}
	_, err := stack.Start(t.Context(), stack.Options{Bootstrap: stacktest.Bootstrap(t), Dir: t.TempDir(), DynamoDB: s.Config.DynamoDBEndpoint, TablePrefix: rand.Text(),
		RoutesFile: file, LambdaDir: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), filepath.Join("quotes", "bootstrap")) || !strings.Contains(err.Error(), quotes) {
		t.Errorf("with a directory that has no quotes/bootstrap: %v", err)
	}
	// What stands in for Lambda elsewhere is asked instead, such as sam local start-lambda.
	var asked string
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.Path
		_, _ = io.WriteString(w, `{"statusCode": 204}`)
	}))
	defer elsewhere.Close()
	s = stacktest.Start(t, stack.Options{RoutesFile: file, LambdaEndpoint: elsewhere.URL})
	if res, _ := exchange(t, s, "GET", "/v1/quotes", nil); res.StatusCode != 204 || asked != "/2015-03-31/functions/"+quotes+"/invocations" {
		t.Errorf("%s, asked for %s", res.Status, asked)
	}
}
