package forward

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/httpapi"
)

func TestARequestArrivesAsItWasSent(t *testing.T) {
	w := to(t, echo)
	got := w.send(w.request("POST", "/v1/x/a%2Fb/c%20d;v=1/", "q=1&q=2&z=a b&plus=1+1&e=%&u=€", "caf\xe9\x00{}",
		"Content-Type: application/octet-stream", "X-Many: one", "X-Many: two", "Accept: */*", "Accept-Encoding: br", "User-Agent: curl/8", "Cookie: a=b; c=d"))
	want := strings.Join([]string{
		"POST /base/v1/x/a%2Fb/c%20d;v=1/?e=%25&plus=1%2B1&q=1&q=2&u=%E2%82%AC&z=a%20b HTTP/1.1",
		"Host: " + strings.TrimPrefix(strings.TrimSuffix(upstreamURL(w), "/base"), "http://"),
		"Accept: */*\r", "Accept-Encoding: br\r", "Content-Length: 7\r", "Content-Type: application/octet-stream\r", "Cookie: a=b; c=d\r",
		"User-Agent: curl/8\r", "X-Amzn-Requestid: req-1\r", "X-Amzn-Trace-Id: Root=1-2-3\r", "X-Forwarded-For: 192.0.2.1\r",
		"X-Forwarded-Host: api.example.com\r", "X-Forwarded-Proto: https\r", "X-Keyreeve-Account-Id: acct_1\r",
		"X-Keyreeve-Environment: staging\r", "X-Keyreeve-Key-Id: " + httpapi.KeyID(w.key.ID) + "\r", "X-Many: one\r", "X-Many: two\r",
		"", "caf\xe9\x00{}",
	}, "\n")
	if d := cmp.Diff(want, got.body); d != "" || got.status != 200 {
		t.Errorf("status %d, what the upstream got (-want +got)\n%s", got.status, d)
	}
}

func upstreamURL(w *world) string {
	rt, _ := w.table.Lookup("GET", "/v1/x")
	return rt.Upstream.URL
}

// A client that says nothing of these has nothing said for it.
func TestNothingIsSaidForTheClient(t *testing.T) {
	w := to(t, echo)
	got := w.get("/v1/x").body
	for _, name := range []string{"Accept", "Accept-Encoding", "User-Agent", "Content-Length", "Content-Type", "Transfer-Encoding", "Connection"} {
		if strings.Contains(got, "\n"+name+":") {
			t.Errorf("the upstream got %s:\n%s", name, got)
		}
	}
}

// The order of the event's members is the query's; where AWS puts them in the order that
// they were sent in, so does this.
func TestTheQueryKeepsTheEventsOrder(t *testing.T) {
	w := to(t, echo)
	ev := w.request("GET", "/v1/x", "a=1", "")
	payload, err := json.Marshal(ev)
	if err != nil {
		t.Fatal(err)
	}
	changed := bytes.Replace(payload, []byte(`"multiValueQueryStringParameters":{"a":["1"]}`),
		[]byte(`"multiValueQueryStringParameters":{"z":["1"],"a":["2","1"],"m":[""]}`), 1)
	if bytes.Equal(payload, changed) {
		t.Fatal("the event has no query")
	}
	out, err := w.start().Invoke(t.Context(), changed)
	if err != nil || !bytes.Contains(out, []byte("GET /base/v1/x?z=1&a=2&a=1&m= HTTP/1.1")) {
		t.Errorf("the upstream got %.200s, %v", out, err)
	}
}

func TestEveryMethodArrives(t *testing.T) {
	var got []string
	w := to(t, func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = append(got, r.Method+" "+string(body))
	})
	var want []string
	for _, m := range []string{"DELETE", "GET", "HEAD", "PATCH", "POST", "PUT"} {
		for _, body := range []string{"", "x"} {
			if res := w.send(w.request(m, "/v1/x", "", body)); res.status != 200 {
				t.Errorf("%s with %q: %v", m, body, res)
			}
			want = append(want, m+" "+body)
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestAnAnswerComesBackAsItIs(t *testing.T) {
	w := to(t, func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Add("Set-Cookie", "a=1; Path=/, odd")
		h.Add("Set-Cookie", "b=2")
		h.Add("Set-Cookie", "c=3; Expires=Wed, 21 Oct 2065 07:28:00 GMT")
		h.Set("Content-Type", "application/problem+json")
		h.Set("Location", "/elsewhere")
		h.Set("Cache-Control", "private")
		h.Set("Connection", "X-Hop, keep-alive")
		h.Set("Keep-Alive", "timeout=5")
		h.Set("Proxy-Authenticate", "Basic")
		h.Set("Upgrade", "h2c")
		h.Set("X-Hop", "1")
		h.Set("X-Stays", "1")
		h.Set("X-Ratelimit-Limit", "7")
		h["Date"] = []string{"Sun, 06 Nov 1994 08:49:37 GMT"}
		w.WriteHeader(418)
		_, _ = io.WriteString(w, "<p>\u2028&amp; \xff\x00")
	})
	got := w.get("/v1/x")
	limit := got.header.Get("X-Ratelimit-Limit")
	for name := range got.header {
		if strings.Contains(strings.ToLower(name), "ratelimit") {
			got.header.Del(name)
		}
	}
	want := http.Header{
		"Set-Cookie":   {"a=1; Path=/, odd", "b=2", "c=3; Expires=Wed, 21 Oct 2065 07:28:00 GMT"},
		"Content-Type": {"application/problem+json"}, "Location": {"/elsewhere"}, "Cache-Control": {"private"},
		"X-Stays": {"1"}, "Date": {"Sun, 06 Nov 1994 08:49:37 GMT"},
	}
	if d := cmp.Diff(want, got.header); d != "" || got.status != 418 || got.body != "<p>\u2028&amp; \xff\x00" {
		t.Errorf("%v, headers (-want +got)\n%s", got, d)
	}
	if limit != "10000" {
		t.Errorf("X-RateLimit-Limit is %q, want the key's own", limit)
	}
}

func TestEveryStatusComesBack(t *testing.T) {
	var status int
	w := to(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "http://192.0.2.7/never")
		w.Header().Set("X-Seen", "1")
		w.WriteHeader(status)
	})
	for status = 200; status < 600; status++ {
		if got := w.get("/v1/x"); got.status != status || got.header.Get("X-Seen") != "1" || got.problem() != "" {
			t.Errorf("status %d came back as %v", status, got)
		}
	}
	for status = 600; status <= 999; status += 133 {
		w.wants(fmt.Sprint(status), w.get("/v1/x"), 502, "upstream_failure", "a status that API Gateway does not pass on")
	}
}

func TestNoRedirectIsFollowed(t *testing.T) {
	var elsewhere atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	defer other.Close()
	w := to(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL+"/?stolen", 307) })
	for _, method := range []string{"GET", "POST"} {
		got := w.send(w.request(method, "/v1/x", "", ""))
		if got.status != 307 || got.header.Get("Location") != other.URL+"/?stolen" {
			t.Errorf("%s: %v, want the redirect", method, got)
		}
	}
	if n := elsewhere.Load(); n != 0 {
		t.Errorf("%d requests went where the redirect points", n)
	}
}

func TestNoProxyOfTheEnvironmentIsAsked(t *testing.T) {
	var asked atomic.Int32
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer proxy.Close()
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"} {
		t.Setenv(name, proxy.URL)
	}
	// Names that end in .invalid are nobody's (RFC 6761); loopback is never proxied.
	w := newWorld(t, row("GET", "/v1/x", "http://upstream.invalid", ""))
	w.wants("a name that is nobody's", w.get("/v1/x"), 502, "upstream_failure", "looking up the host")
	if asked.Load() != 0 {
		t.Error("the environment's proxy was asked")
	}
	if NewTransport().Proxy != nil { // net/http reads the environment once for all tests
		t.Error("the transport has a proxy")
	}
}

func TestBodiesAreNotUnpacked(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = io.WriteString(z, strings.Repeat("text ", 1000))
	_ = z.Close()
	var accepted string
	w := to(t, func(w http.ResponseWriter, r *http.Request) {
		accepted = r.Header.Get("Accept-Encoding")
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(packed.Bytes())
	})
	got := w.send(w.request("GET", "/v1/x", "", "", "Accept-Encoding: gzip, br;q=0.5"))
	if got.body != packed.String() || got.header.Get("Content-Encoding") != "gzip" || accepted != "gzip, br;q=0.5" {
		t.Errorf("Accept-Encoding %q was answered with %d bytes, %v; want the %d as they were sent", accepted, len(got.body), got.header, packed.Len())
	}
	if got := w.get("/v1/x"); got.body != packed.String() || accepted != "" {
		t.Errorf("without Accept-Encoding the upstream got %q, and %d bytes came back", accepted, len(got.body))
	}
}

func TestChunkedAnswersAndTrailers(t *testing.T) {
	w := to(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "X-Sum, X-Keyreeve-Key-Id")
		for i := range 5 {
			fmt.Fprintf(w, "piece %d,", i)
			w.(http.Flusher).Flush()
			time.Sleep(5 * time.Millisecond)
		}
		w.Header().Set("X-Sum", "5")
	})
	got := w.get("/v1/x")
	if got.body != "piece 0,piece 1,piece 2,piece 3,piece 4," || got.header.Get("Transfer-Encoding")+got.header.Get("Trailer")+got.header.Get("X-Sum") != "" {
		t.Errorf("%v", got)
	}
}

func TestInterimAnswersAreNotTheAnswer(t *testing.T) {
	w := to(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</x.css>; rel=preload")
		for range 4 {
			w.WriteHeader(http.StatusEarlyHints)
		}
		w.Header().Del("Link")
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, "done")
	})
	if got := w.get("/v1/x"); got.status != 201 || got.body != "done" || got.header.Get("Link") != "" {
		t.Errorf("%v", got)
	}
}

func TestAnswersWithoutABody(t *testing.T) {
	status := 204
	w := to(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Etag", `"7"`)
		if r.Method == "HEAD" {
			w.Header().Set("Content-Length", "123456789") // more than any answer may have
		}
		w.WriteHeader(status)
	})
	for _, c := range []struct {
		method string
		status int
		length string
	}{{"GET", 204, ""}, {"GET", 304, ""}, {"GET", 205, ""}, {"HEAD", 200, "123456789"}, {"HEAD", 404, "123456789"}} {
		status = c.status
		got := w.send(w.request(c.method, "/v1/x", "", ""))
		if got.status != c.status || got.body != "" || got.header.Get("Etag") != `"7"` || got.header.Get("Content-Length") != c.length {
			t.Errorf("%s %d: %v", c.method, c.status, got)
		}
	}
}

func TestConnectionsAreUsedAgain(t *testing.T) {
	var opened atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(echo))
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			opened.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	w := newWorld(t, row("ANY", "/v1/x", server.URL, ""))
	for i := range 20 {
		if got := w.send(w.request([]string{"GET", "POST"}[i%2], "/v1/x", "", "body")); got.status != 200 {
			t.Fatal(got)
		}
	}
	if n := opened.Load(); n != 1 {
		t.Errorf("20 requests opened %d connections, want 1", n)
	}
}

// What is neither text nor whole in any way comes back the same.
func TestRandomBodiesThereAndBack(t *testing.T) {
	w := to(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		slices.Reverse(body)
		_, _ = w.Write(body)
	})
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		body := make([]byte, 1+rnd.IntN(3000))
		for i := range body {
			if body[i] = byte(rnd.UintN(256)); rnd.IntN(2) == 0 {
				body[i] &= 0x7f
			}
		}
		sent := string(body)
		slices.Reverse(body)
		if got := w.send(w.request("PUT", "/v1/x/y", "", sent)); got.status != 200 || got.body != string(body) {
			t.Fatalf("a body of %d bytes came back as %v", len(sent), got)
		}
	}
}

func TestBrowsersHearTheInstallationsRules(t *testing.T) {
	w := to(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "https://evil.example")
		w.Header().Set("Access-Control-Expose-Headers", "X-Own")
		w.Header().Set("Vary", "Accept")
	})
	w.origins = []string{"https://a.example"}
	for origin, want := range map[string]string{"https://a.example": "https://a.example", "https://evil.example": ""} {
		got := w.send(w.request("GET", "/v1/x", "", "", "Origin: "+origin))
		exposes := strings.Join(got.header.Values("Access-Control-Expose-Headers"), ", ")
		if d := cmp.Diff(want, got.header.Get("Access-Control-Allow-Origin")); d != "" || !strings.Contains(exposes, "X-Own") ||
			!strings.Contains(exposes, "RateLimit") || strings.Join(got.header.Values("Vary"), ", ") != "Accept, Origin" {
			t.Errorf("%s: %v", origin, got)
		}
	}
}
