package webhook_test

import (
	"context"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/webhook"
)

// names is a DNS server on loopback. answer gives a name's addresses at its n-th look-up,
// from 0.
type names struct {
	conn   net.PacketConn
	answer func(name string, n int) []netip.Addr
	mu     sync.Mutex
	asked  map[string]int // questions by name and type
}

// resolve returns a resolver that asks it.
func resolve(t *testing.T, answer func(name string, n int) []netip.Addr) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &names{conn: conn, answer: answer, asked: map[string]int{}}
	done := make(chan struct{})
	go func() { defer close(done); d.serve() }()
	t.Cleanup(func() { conn.Close(); <-done })
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

func (d *names) serve() {
	query := make([]byte, 1500)
	for {
		n, from, err := d.conn.ReadFrom(query)
		if err != nil {
			return
		}
		_, _ = d.conn.WriteTo(d.reply(query[:n]), from)
	}
}

// reply answers one question (RFC 1035 section 4).
func (d *names) reply(query []byte) []byte {
	const header, typeA, typeAAAA = 12, 1, 28
	at, name := header, ""
	for query[at] != 0 {
		name += string(query[at+1:at+1+int(query[at])]) + "."
		at += 1 + int(query[at])
	}
	question := query[header : at+5]
	kind := binary.BigEndian.Uint16(query[at+1:])
	d.mu.Lock()
	key := fmt.Sprint(name, kind)
	list := d.answer(strings.TrimSuffix(name, "."), d.asked[key])
	d.asked[key]++
	d.mu.Unlock()
	var records []byte
	count := 0
	for _, a := range list {
		if a.Is4() != (kind == typeA) || kind != typeA && kind != typeAAAA {
			continue
		}
		count++
		data := a.AsSlice()
		records = append(records, 0xc0, header, 0, byte(kind), 0, 1, 0, 0, 0, 0, 0, byte(len(data)))
		records = append(records, data...)
	}
	code := byte(0)
	if list == nil {
		code = 3 // no such name
	}
	out := append([]byte{query[0], query[1], 0x81, 0x80 | code, 0, 1, 0, byte(count), 0, 0, 0, 0}, question...)
	return append(out, records...)
}

// always answers the same.
func always(list ...string) func(string, int) []netip.Addr {
	addrs := []netip.Addr{}
	for _, a := range list {
		addrs = append(addrs, netip.MustParseAddr(a))
	}
	return func(string, int) []netip.Addr { return addrs }
}

// Two addresses of this machine: for a sender with onlyPublic the one is of the Internet
// and the other is not.
const (
	publicAddress  = "127.0.0.2"
	privateAddress = "127.0.0.1"
)

func onlyPublic(a netip.Addr) bool { return a.String() == publicAddress }

// server is a TLS server for the name example.com on a port of an address; port 0 picks
// one.
func server(t *testing.T, address string, port int, h http.HandlerFunc) (s *httptest.Server, hits *atomic.Int64) {
	t.Helper()
	hits = &atomic.Int64{}
	l, err := net.Listen("tcp", fmt.Sprintf("%s:%d", address, port))
	if err != nil {
		t.Fatal(err)
	}
	s = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hits.Add(1)
		h(w, r)
	}))
	s.Listener.Close()
	s.Listener, s.EnableHTTP2, s.Config.ErrorLog = l, true, log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s, hits
}

func portOf(s *httptest.Server) int { return s.Listener.Addr().(*net.TCPAddr).Port }

func roots(s *httptest.Server) *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	return pool
}

func hook(s *httptest.Server) string {
	return fmt.Sprintf("https://example.com:%d/hook?x=1", portOf(s))
}

func send(t *testing.T, s *webhook.Sender, url string) webhook.Attempt {
	t.Helper()
	return s.Send(t.Context(), url, vectorID, vectorBody, vectorSecret, time.Unix(vectorTime, 0))
}

func want(t *testing.T, what string, got webhook.Attempt, status int, fault string) {
	t.Helper()
	if got.Status != status || got.Error != fault {
		t.Errorf("%s: status %d, error %q, want %d, %q", what, got.Status, got.Error, status, fault)
	}
}

func ok(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }

func TestWhatIsSentIsSignedAndSaysWhatItIs(t *testing.T) {
	var got map[string]string
	s, _ := server(t, publicAddress, 0, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got = map[string]string{
			"method": r.Method, "path": r.URL.String(), "body": string(body), "protocol": r.Proto,
			"agent": r.UserAgent(), "type": r.Header.Get("Content-Type"),
			"id": r.Header.Get("webhook-id"), "time": r.Header.Get("webhook-timestamp"), "signature": r.Header.Get("webhook-signature"),
		}
		ok(w, r)
	})
	sender := webhook.NewSenderWhere(webhook.SenderConfig{Resolver: resolve(t, always(publicAddress)), Roots: roots(s)}, onlyPublic)
	want(t, "send", send(t, sender, hook(s)), http.StatusNoContent, "")
	if diff := cmp.Diff(map[string]string{
		"method": "POST", "path": "/hook?x=1", "body": vectorBody, "protocol": "HTTP/2.0",
		"agent": "Keyreeve", "type": "application/json",
		"id": vectorID, "time": fmt.Sprint(vectorTime), "signature": "v1," + vectorWant,
	}, got); diff != "" {
		t.Errorf("what came (-want +got)\n%s", diff)
	}
}

// A name that leads to an address of each kind: no connection is made.
func TestANameThatLeadsInsideIsRefused(t *testing.T) {
	for _, a := range []string{
		"127.0.0.1", "127.9.9.9", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "169.254.170.2", "100.64.0.1", "0.0.0.0",
		"224.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "240.0.0.1",
		"::1", "::", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254",
		"64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2001:0:7f00:1::", "2001:db8::1",
	} {
		sender := webhook.NewSender(webhook.SenderConfig{Resolver: resolve(t, always(a)), Timeout: 3 * time.Second})
		got := send(t, sender, "https://hooks.example.com/x")
		want(t, a, got, 0, webhook.ErrorAddress)
	}
}

func TestALiteralOrPlainAddressIsRefusedWithoutAConnection(t *testing.T) {
	s, hits := server(t, privateAddress, 0, ok)
	port := portOf(s)
	sender := webhook.NewSender(webhook.SenderConfig{Roots: roots(s), Timeout: 3 * time.Second})
	for _, url := range []string{
		fmt.Sprintf("https://127.0.0.1:%d/", port), fmt.Sprintf("https://[::ffff:127.0.0.1]:%d/", port), fmt.Sprintf("https://[::1]:%d/", port),
		fmt.Sprintf("http://example.com:%d/", port), "https://169.254.169.254/latest/meta-data/",
	} {
		want(t, url, send(t, sender, url), 0, webhook.ErrorAddress)
	}
	// Whatever a system's resolver makes of these, it is not a connection to loopback.
	for _, host := range []string{"localhost", "2130706433", "0x7f000001", "127.1", "127.0.0.1.", "017700000001"} {
		if got := send(t, sender, fmt.Sprintf("https://%s:%d/", host, port)); got.Status != 0 || got.Error != webhook.ErrorAddress && got.Error != webhook.ErrorDNS {
			t.Errorf("%s: status %d, error %q", host, got.Status, got.Error)
		}
	}
	if n := hits.Load(); n != 0 {
		t.Errorf("%d requests came through, want none", n)
	}
}

func TestRebindingLeadsNowhere(t *testing.T) {
	outside, outsideHits := server(t, publicAddress, 0, ok)
	_, insideHits := server(t, privateAddress, portOf(outside), ok)
	first := netip.MustParseAddr(publicAddress)
	then := netip.MustParseAddr(privateAddress)
	sender := webhook.NewSenderWhere(webhook.SenderConfig{Roots: roots(outside), Resolver: resolve(t, func(name string, n int) []netip.Addr {
		switch {
		case name == "example.com" && n == 1:
			return []netip.Addr{then}
		case name == "example.com" && n == 2:
			return []netip.Addr{then, first}
		}
		return []netip.Addr{first}
	})}, onlyPublic)
	want(t, "the first look-up, public", send(t, sender, hook(outside)), http.StatusNoContent, "")
	want(t, "the second, private", send(t, sender, hook(outside)), 0, webhook.ErrorAddress)
	want(t, "the third, both", send(t, sender, hook(outside)), http.StatusNoContent, "")
	if outsideHits.Load() != 2 || insideHits.Load() != 0 {
		t.Errorf("%d requests outside, %d inside, want 2 and none", outsideHits.Load(), insideHits.Load())
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	inside, insideHits := server(t, privateAddress, 0, ok)
	for _, status := range []int{301, 302, 303, 307, 308} {
		for _, to := range []string{fmt.Sprintf("https://127.0.0.1:%d/", portOf(inside)), "/elsewhere"} {
			outside, hits := server(t, publicAddress, 0, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, status) })
			sender := webhook.NewSenderWhere(webhook.SenderConfig{Roots: roots(outside), Resolver: resolve(t, always(publicAddress))}, onlyPublic)
			want(t, fmt.Sprint(status), send(t, sender, hook(outside)), status, "")
			if hits.Load() != 1 {
				t.Errorf("%d to %s: %d requests, want 1", status, to, hits.Load())
			}
		}
	}
	if insideHits.Load() != 0 {
		t.Errorf("%d requests inside, want none", insideHits.Load())
	}
}

func TestNoProxyOfTheEnvironmentIsUsed(t *testing.T) {
	proxy, proxyHits := server(t, privateAddress, 0, ok)
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "ALL_PROXY", "HTTP_PROXY"} {
		t.Setenv(name, proxy.URL)
	}
	s, _ := server(t, publicAddress, 0, ok)
	sender := webhook.NewSenderWhere(webhook.SenderConfig{Resolver: resolve(t, always(publicAddress)), Roots: roots(s)}, onlyPublic)
	want(t, "send", send(t, sender, hook(s)), http.StatusNoContent, "")
	if proxyHits.Load() != 0 {
		t.Error("the proxy was asked")
	}
}

func TestEveryFailureHasANameAndNoQuotedText(t *testing.T) {
	closed, err := net.Listen("tcp", privateAddress+":0")
	if err != nil {
		t.Fatal(err)
	}
	gone := closed.Addr().String()
	closed.Close()
	plain := httptest.NewServer(http.HandlerFunc(ok))
	t.Cleanup(plain.Close)
	stranger, _ := server(t, privateAddress, 0, ok)
	hang := func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-time.After(5 * time.Second):
		}
	}
	slow, _ := server(t, privateAddress, 0, hang)
	cut := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			conn.Close()
		}
	}))
	t.Cleanup(cut.Close)
	babble := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			fmt.Fprint(conn, "SSH-2.0-OpenSSH_9.2\r\n")
			conn.Close()
		}
	}))
	t.Cleanup(babble.Close)
	large := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for i := range 100 {
			w.Header().Set(fmt.Sprint("X-Large-", i), strings.Repeat("x", 1<<10))
		}
	}))
	t.Cleanup(large.Close)
	config := webhook.SenderConfig{Anywhere: true, Resolver: resolve(t, func(name string, _ int) []netip.Addr {
		if name == "nowhere.example.com" {
			return nil
		}
		return []netip.Addr{netip.MustParseAddr(privateAddress)}
	})}
	trusting := config
	trusting.Roots = roots(slow)
	hurried := trusting
	hurried.Timeout = 500 * time.Millisecond
	for _, tt := range []struct {
		what, url string
		config    webhook.SenderConfig
		want      string
	}{
		{"nobody listens", "http://" + gone + "/", config, webhook.ErrorRefused},
		{"no such name", "https://nowhere.example.com/", config, webhook.ErrorDNS},
		{"no TLS", strings.Replace(plain.URL, "http:", "https:", 1), config, webhook.ErrorTLS},
		{"a stranger's certificate", hook(stranger), config, webhook.ErrorTLS},
		{"another name's certificate", strings.Replace(hook(stranger), "example.com", "other.test", 1), trusting, webhook.ErrorTLS},
		{"no answer in time", hook(slow), hurried, webhook.ErrorTimeout},
		{"cut off", cut.URL, config, webhook.ErrorConnection},
		{"no HTTP", babble.URL, config, webhook.ErrorAnswer},
		{"headers without end", large.URL, config, webhook.ErrorAnswer},
	} {
		start := time.Now()
		got := send(t, webhook.NewSender(tt.config), tt.url)
		want(t, tt.what, got, 0, tt.want)
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("%s took %v", tt.what, d)
		}
	}
}

func TestAnAnswerIsNotReadToItsEnd(t *testing.T) {
	written := make(chan int64, 1)
	endless := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var n int64
		chunk := make([]byte, 64<<10)
		for n < 1<<30 {
			m, err := w.Write(chunk)
			n += int64(m)
			if err != nil {
				break
			}
		}
		written <- n
	}))
	t.Cleanup(endless.Close)
	sender := webhook.NewSender(webhook.SenderConfig{Anywhere: true})
	want(t, "an answer without end", send(t, sender, endless.URL), http.StatusOK, "")
	if n := <-written; n > 64<<20 { // what the two sockets' buffers hold, and then the end
		t.Errorf("the receiver got rid of %d bytes", n)
	}

	trickle := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for range 100 {
			fmt.Fprint(w, "x")
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	}))
	t.Cleanup(trickle.Close)
	start := time.Now()
	want(t, "an answer that trickles", send(t, sender, trickle.URL), http.StatusOK, "")
	if d := time.Since(start); d > 4*time.Second {
		t.Errorf("an answer of 10 s held the sender for %v", d)
	}
}
