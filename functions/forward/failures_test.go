package forward

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// speaker is a server that reads a request and then does what it is told, byte by byte.
func speaker(t *testing.T, speak func(c net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				r, err := http.ReadRequest(bufio.NewReader(c))
				if err != nil {
					return
				}
				_, _ = io.Copy(io.Discard, r.Body)
				speak(c)
			}()
		}
	}()
	return "http://" + l.Addr().String()
}

func TestBrokenUpstreams(t *testing.T) {
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := "http://" + nobody.Addr().String()
	_ = nobody.Close()
	untrusted := httptest.NewUnstartedServer(http.HandlerFunc(echo))
	untrusted.Config.ErrorLog = log.New(io.Discard, "", 0)
	untrusted.StartTLS()
	defer untrusted.Close()
	plain := httptest.NewServer(http.HandlerFunc(echo))
	defer plain.Close()
	says := func(text string) string {
		return speaker(t, func(c net.Conn) { _, _ = io.WriteString(c, text) })
	}
	for name, c := range map[string]struct{ url, cause string }{
		"nobody listens":                {closed, "dial: connection refused"},
		"no such host":                  {"http://upstream.invalid", "looking up the host"},
		"a certificate of nobody known": {untrusted.URL, "TLS: the certificate is signed by nobody known"},
		"no TLS":                        {strings.Replace(plain.URL, "http://", "https://", 1), "TLS: "},
		"it hangs up":                   {says(""), "the connection was closed within the answer"},
		"half a status line":            {says("HTTP/1.1 20"), "no HTTP"},
		"half a header":                 {says("HTTP/1.1 200 OK\r\nX-A: hunter2"), "the connection was closed within the answer"},
		"no HTTP":                       {says("hunter2 hunter2\r\n\r\n"), "no HTTP"},
		"a header that is none":         {says("HTTP/1.1 200 OK\r\nhunter2 hunter2\r\n\r\n"), "no HTTP"},
		"a status that is none":         {says("HTTP/1.1 hunter2 OK\r\n\r\n"), "no HTTP"},
		"two lengths":                   {says("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"), "no HTTP"},
		"less than it said":             {says("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhunter2"), "the connection was closed within the answer"},
		"a chunk that is none":          {says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nhunter2\r\n"), "no HTTP"},
		"no last chunk":                 {says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhunte\r\n"), "the connection was closed within the answer"},
		"another protocol":              {says("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nhunter2"), "a status that API Gateway does not pass on"},
		"a header without an end":       {speaker(t, func(c net.Conn) { endless(c) }), "no HTTP"},
		"it resets": {speaker(t, func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhunter2")
			_ = c.(*net.TCPConn).SetLinger(0)
		}), ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, row("ANY", "/v1/x", c.url, ""))
			w.wants(name, w.send(w.request("POST", "/v1/x", "q=hunter2", "hunter2", "X-Note: hunter2")), 502, "upstream_failure", c.cause)
		})
	}
}

func endless(c net.Conn) {
	_, err := io.WriteString(c, "HTTP/1.1 200 OK\r\n")
	for i := 0; err == nil; i++ {
		_, err = fmt.Fprintf(c, "X-%d: hunter2\r\n", i)
	}
}

// A server that takes the connection and never a byte: its queue is full, or it is stopped.
func TestAnUpstreamThatHangsInTLS(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	w := newWorld(t, row("GET", "/v1/x", "https://"+l.Addr().String(), ""))
	begun := time.Now()
	w.wants("no handshake", w.get("/v1/x"), 504, "upstream_timeout", "the time is over")
	if took := time.Since(begun); took > 4*time.Second {
		t.Errorf("it took %v, want the row's 2 s", took)
	}
}

func TestTLSUpstreamsAreVerified(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(echo))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	trusting := NewTransport()
	trusting.TLSClientConfig = server.Client().Transport.(*http.Transport).TLSClientConfig
	w := newWorld(t, row("GET", "/v1/x", server.URL, ""), row("GET", "/v1/y", strings.Replace(server.URL, "127.0.0.1", "localhost", 1), ""))
	w.transport = trusting
	if got := w.get("/v1/x"); got.status != 200 || !strings.Contains(got.body, "HTTP/1.1") {
		t.Errorf("by the name of the certificate: %v", got)
	}
	w.wants("by another name", w.get("/v1/y"), 502, "upstream_failure", "TLS: the certificate does not verify")
	if c := NewTransport().TLSClientConfig; c != nil && (c.InsecureSkipVerify || c.MinVersion != 0 && c.MinVersion < tls.VersionTLS12) {
		t.Error("the transport verifies less than crypto/tls by itself")
	}
}

// A POST that may have been carried out is not sent again; what was sent on a connection
// that the server had closed before reading it was not carried out.
func TestARequestThatMayHaveHadAnEffectIsNotRepeated(t *testing.T) {
	var requests atomic.Int32
	url := speaker(t, func(net.Conn) { requests.Add(1) })
	w := newWorld(t, row("ANY", "/v1/x", url, ""))
	w.wants("POST", w.send(w.request("POST", "/v1/x", "", "body")), 502, "upstream_failure", "the connection was closed within the answer")
	if n := requests.Load(); n != 1 {
		t.Errorf("the upstream got the POST %d times", n)
	}
}

func TestAnIdleConnectionThatWasClosedCostsNoRequest(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(echo))
	defer server.Close()
	w := newWorld(t, row("ANY", "/v1/x", server.URL, ""))
	for range 5 {
		for _, method := range []string{"GET", "POST"} {
			if got := w.send(w.request(method, "/v1/x", "", "body")); got.status != 200 || !strings.HasSuffix(got.body, "body") {
				t.Fatalf("%s: %v", method, got)
			}
			server.CloseClientConnections()
			time.Sleep(20 * time.Millisecond) // for the news to arrive, as it does while a process is frozen
		}
	}
}

func TestOneUpstreamsFailureIsNoOthers(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(echo))
	defer server.Close()
	w := newWorld(t, row("GET", "/v1/x", "http://upstream.invalid", ""), row("GET", "/v1/y", server.URL, ""))
	for range 3 {
		if x, y := w.get("/v1/x"), w.get("/v1/y"); x.status != 502 || y.status != 200 {
			t.Errorf("%v, %v", x, y)
		}
	}
}
