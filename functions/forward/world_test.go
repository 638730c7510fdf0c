package forward

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-lambda-go/events"

	"github.com/keyreeve/keyreeve/functions/proxy"
	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/guard"
	"github.com/keyreeve/keyreeve/pkg/guard/guardtest"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/route"
	"github.com/keyreeve/keyreeve/pkg/verify"
)

// world is the way of a request from API Gateway's event to an upstream: proxy, guard,
// forwarder, and a key that may do everything.
type world struct {
	t         *testing.T
	key       keys.Key
	secret    apikey.Key
	table     *route.Table
	log       lockedBuffer
	invoker   Invoker
	transport http.RoundTripper
	origins   []string
	proxy     *proxy.Proxy
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// newWorld has the rows of a table, given in JSON.
func newWorld(t *testing.T, rows ...string) *world {
	t.Helper()
	w := &world{t: t}
	file := `{"permissions": [{"name": "a:r", "label": "A"}, {"name": "a:w", "label": "B"}], "routes": [` + strings.Join(rows, ",") + `]}`
	var err error
	if w.table, err = route.Load([]byte(file)); err != nil {
		t.Fatal(err)
	}
	id := apikey.NewID()
	if w.secret, err = apikey.Generate("kr_live", id); err != nil {
		t.Fatal(err)
	}
	w.key = keys.Key{
		ID: id, AccountID: "acct_1", Environment: keys.Staging, Permissions: []string{"*"},
		Active: true, RateLimit: 10_000, Version: 1, Verdict: 1, Generation: 1, Secret: keys.Secret{Generation: 1},
	}
	return w
}

// to is a world with one server behind /v1/x and every path below.
func to(t *testing.T, upstream http.HandlerFunc) *world {
	t.Helper()
	server := httptest.NewServer(upstream)
	t.Cleanup(server.Close)
	return newWorld(t, row("ANY", "/v1/x/{rest+}", server.URL+"/base", ""), row("ANY", "/v1/x", server.URL+"/base", ""))
}

func row(method, path, url, more string) string {
	return fmt.Sprintf(`{"method": %q, "path": %q, "upstream": {"url": %q, "timeoutSeconds": 2}%s}`, method, path, url, more)
}

func (w *world) Key(_ context.Context, id apikey.ID) (keys.Key, error) {
	if id != w.key.ID {
		return keys.Key{}, keys.ErrNotFound
	}
	return w.key, nil
}

func (w *world) start() *proxy.Proxy {
	if w.proxy == nil {
		log := slog.New(slog.NewJSONHandler(&w.log, nil))
		w.proxy = proxy.New(proxy.Config{
			Function: route.Forward, Table: w.table, Origins: w.origins, Log: log,
			Guard:   guard.New(guard.Config{Meters: guardtest.NewMeters(), Keys: w}),
			Handler: New(Config{Table: w.table, Invoker: w.invoker, Transport: w.transport, Log: log}),
		})
	}
	return w.proxy
}

// request makes API Gateway's event of a request as it does: the path as it was sent,
// parameters out of it undecoded, the query decoded, every body binary. It has the key in
// X-API-Key, unless the route is public.
func (w *world) request(method, path, query, body string, headers ...string) *events.APIGatewayProxyRequest {
	w.t.Helper()
	rt, _, found := w.table.Match(method, path)
	if found != route.Matched {
		w.t.Fatalf("%s %s is no route", method, path)
	}
	ev := &events.APIGatewayProxyRequest{
		Resource: rt.Path, Path: path, HTTPMethod: method, PathParameters: map[string]string{},
		MultiValueHeaders: map[string][]string{
			"Host": {"api.example.com"}, "X-Forwarded-For": {"198.51.100.66, 192.0.2.1"}, "X-Forwarded-Port": {"443"},
			"X-Forwarded-Proto": {"https"}, "X-Amzn-Trace-Id": {"Root=1-2-3"},
		},
		StageVariables: map[string]string{"environment": "staging"},
	}
	rest := strings.TrimSuffix(strings.TrimPrefix(path, "/"), "/")
	for _, part := range strings.Split(rt.Path[1:], "/") {
		value, more, _ := strings.Cut(rest, "/")
		if name, ok := strings.CutPrefix(part, "{"); ok {
			if greedy, is := strings.CutSuffix(name, "+}"); is {
				ev.PathParameters[greedy] = rest
				break
			}
			ev.PathParameters[strings.TrimSuffix(name, "}")] = value
		}
		rest = more
	}
	for pair := range strings.FieldsFuncSeq(query, func(c rune) bool { return c == '&' }) {
		if ev.MultiValueQueryStringParameters == nil {
			ev.MultiValueQueryStringParameters = map[string][]string{}
		}
		name, value, _ := strings.Cut(pair, "=")
		ev.MultiValueQueryStringParameters[name] = append(ev.MultiValueQueryStringParameters[name], value)
	}
	if body != "" {
		ev.Body, ev.IsBase64Encoded = base64.StdEncoding.EncodeToString([]byte(body)), true
	}
	if !rt.Public {
		ev.MultiValueHeaders["X-API-Key"] = []string{w.secret.Plaintext()}
		id, reason := keys.Identify(&w.key, 1, "staging", time.Now())
		if reason != keys.OK {
			w.t.Fatal(reason)
		}
		text, err := verify.AppendContext(nil, id)
		if err != nil {
			w.t.Fatal(err)
		}
		if err := json.Unmarshal(text, &ev.RequestContext.Authorizer); err != nil {
			w.t.Fatal(err)
		}
	}
	ev.RequestContext.RequestID, ev.RequestContext.Identity.SourceIP = "req-1", "192.0.2.1"
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		ev.MultiValueHeaders[name] = append(ev.MultiValueHeaders[name], value)
	}
	ev.Headers = map[string]string{}
	for name, values := range ev.MultiValueHeaders {
		ev.Headers[name] = values[len(values)-1]
	}
	return ev
}

// result is what API Gateway gets.
type result struct {
	status int
	header http.Header
	body   string
	size   int // of the output, in bytes
}

func (r result) String() string { return fmt.Sprintf("%d %v %.300q", r.status, r.header, r.body) }

// problem is the error's code and request id, if the answer is one in the common shape.
func (r result) problem() string {
	var body struct {
		Success *bool
		Error   struct{ Code, RequestID string }
	}
	if json.Unmarshal([]byte(r.body), &body) != nil || body.Success == nil || *body.Success {
		return ""
	}
	return body.Error.Code + " " + body.Error.RequestID
}

func (w *world) send(ev *events.APIGatewayProxyRequest) result {
	w.t.Helper()
	return w.sendWithin(w.t.Context(), ev)
}

func (w *world) sendWithin(ctx context.Context, ev *events.APIGatewayProxyRequest) result {
	w.t.Helper()
	payload, err := json.Marshal(ev)
	if err != nil {
		w.t.Fatal(err)
	}
	out, err := w.start().Invoke(ctx, payload)
	if err != nil {
		w.t.Fatalf("Invoke: %v", err)
	}
	var res events.APIGatewayProxyResponse
	if err := json.Unmarshal(out, &res); err != nil {
		w.t.Fatal(err)
	}
	body := []byte(res.Body)
	if res.IsBase64Encoded {
		if body, err = base64.StdEncoding.DecodeString(res.Body); err != nil {
			w.t.Fatal(err)
		}
	} else if !utf8.Valid(body) {
		w.t.Error("a body that is no text went out as text")
	}
	return result{res.StatusCode, res.MultiValueHeaders, string(body), len(out)}
}

func (w *world) get(path string) result {
	w.t.Helper()
	return w.send(w.request("GET", path, "", ""))
}

// wants asserts on a refusal: status, code, a line in the log with the cause, and that
// neither holds a piece of the secret or what the upstream sent.
func (w *world) wants(what string, got result, status int, code, cause string) {
	w.t.Helper()
	if got.status != status || got.problem() != code+" req-1" {
		w.t.Errorf("%s: got %v, want %d %s", what, got, status, code)
	}
	log := w.log.String()
	if !strings.Contains(log, `"requestId":"req-1"`) || !strings.Contains(log, cause) {
		w.t.Errorf("%s: the log does not say %q of req-1:\n%s", what, cause, log)
	}
	w.clean(what, log+got.body)
}

// clean asserts that a text holds no 12 characters of the secret, and nothing that tests
// mark as what must not be told.
func (w *world) clean(what, text string) {
	w.t.Helper()
	s := w.secret.Plaintext()[len(w.secret.Plaintext())-apikey.SecretLen:]
	for i := 0; i+12 <= len(s); i++ {
		if strings.Contains(text, s[i:i+12]) {
			w.t.Errorf("%s: a piece of the secret is told", what)
			return
		}
	}
	if strings.Contains(text, "hunter2") {
		w.t.Errorf("%s: what nobody may hear is told:\n%.600s", what, text)
	}
}

// echo answers with the request as it came over the wire, in HTTP's own form.
func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	fmt.Fprintf(w, "%s %s %s\nHost: %s\n", r.Method, r.RequestURI, r.Proto, r.Host)
	_ = r.Header.WriteSubset(w, nil)
	fmt.Fprintf(w, "\n%s", body)
}
