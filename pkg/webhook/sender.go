package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"
)

// What an attempt may take of time and memory. A receiver answers first and works then.
const (
	connectTimeout = 3 * time.Second
	attemptTimeout = 10 * time.Second // connecting, sending and the answer's headers
	drainTimeout   = time.Second      // for the start of the answer's body, which is thrown away
	drainBytes     = 4 << 10
	headerBytes    = 16 << 10
)

// Why an attempt got no answer, in an [Attempt]'s Error.
const (
	ErrorTimeout    = "timeout"
	ErrorRefused    = "connection refused"
	ErrorAddress    = "address not allowed" // not public, or not HTTPS
	ErrorDNS        = "dns"                 // the name does not resolve
	ErrorTLS        = "tls"                 // no common version, or a certificate that is not valid for the name
	ErrorConnection = "connection"          // broken or not to be had, for any other reason
	ErrorAnswer     = "no http answer"
)

// Why nothing was sent at all.
const (
	ErrorDeleted   = "webhook deleted"
	ErrorOff       = "webhook switched off"
	ErrorAlertGone = "alert gone"
	ErrorSecret    = "secret not readable"
	ErrorHeldUp    = "held up: the webhook did not answer just before"
)

// SenderConfig is what a Sender works with. The zero value is what AWS needs.
type SenderConfig struct {
	// Anywhere lets it send by plain HTTP and to every address: for a developer's own
	// machine only.
	Anywhere bool
	// Resolver, Roots and Timeout are for tests; nil and 0: the system's, and 10 s.
	Resolver *net.Resolver
	Roots    *x509.CertPool
	Timeout  time.Duration
}

// Sender sends messages. It is safe for concurrent use.
//
// A connection serves one message: a Lambda process is frozen between two, and what a peer
// closed meanwhile would fail the next one.
type Sender struct {
	anywhere bool
	timeout  time.Duration
	client   *http.Client
}

// NewSender returns a Sender.
func NewSender(c SenderConfig) *Sender { return newSender(c, Public) }

// newSender lets tests say which addresses are public.
func newSender(c SenderConfig, public func(netip.Addr) bool) *Sender {
	timeout := c.Timeout
	if timeout <= 0 {
		timeout = attemptTimeout
	}
	dialer := &net.Dialer{Timeout: min(connectTimeout, timeout), Resolver: c.Resolver}
	if !c.Anywhere {
		dialer.ControlContext = refuse(public)
	}
	transport := &http.Transport{
		Proxy:                  nil, // the environment's would be asked to connect in our place, to where we would not
		DialContext:            dialer.DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.Roots},
		TLSHandshakeTimeout:    min(connectTimeout, timeout),
		ForceAttemptHTTP2:      true, // a dialer of one's own switches it off
		DisableKeepAlives:      true,
		DisableCompression:     true, // nobody reads the answer
		MaxResponseHeaderBytes: headerBytes,
	}
	return &Sender{anywhere: c.Anywhere, timeout: timeout, client: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

var errAddress = errors.New(ErrorAddress)

// refuse is called with each address that a name resolved to, after the socket is made and
// before it connects: there is no later look-up that could give another one.
func refuse(public func(netip.Addr) bool) func(context.Context, string, string, syscall.RawConn) error {
	return func(_ context.Context, _, address string, _ syscall.RawConn) error {
		a, err := netip.ParseAddrPort(address)
		if err != nil || !public(a.Addr()) {
			return errAddress
		}
		return nil
	}
}

// send makes one attempt at now. It never fails: what went wrong is in the Attempt.
func (s *Sender) send(ctx context.Context, url string, m message, secret signingSecret, now time.Time) Attempt {
	start := time.Now()
	a := Attempt{At: now}
	a.Status, a.Error = s.post(ctx, url, m, secret, now)
	a.Latency = time.Since(start).Round(time.Millisecond)
	return a
}

func (s *Sender) post(ctx context.Context, url string, m message, secret signingSecret, now time.Time) (status int, fault string) {
	if checkURL(url, s.anywhere) != "" { // it was set up under another rule
		return 0, ErrorAddress
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(m.body))
	if err != nil {
		return 0, ErrorAddress
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "Keyreeve")
	m.sign(r.Header, secret, now)
	answer, err := s.client.Do(r)
	if err != nil {
		return 0, faultOf(err)
	}
	defer answer.Body.Close()
	// A receiver that is cut off before its answer is out may note that as an error; one
	// that sends without end is cut off all the same.
	stop := time.AfterFunc(drainTimeout, cancel)
	_, _ = io.CopyN(io.Discard, answer.Body, drainBytes)
	stop.Stop()
	return answer.StatusCode, ""
}

// faultOf names an error in our own words: those of the net packages hold URLs and
// addresses.
func faultOf(err error) string {
	var (
		dns         *net.DNSError
		certificate *tls.CertificateVerificationError
		alert       tls.AlertError
		record      tls.RecordHeaderError
		op          *net.OpError
		timeout     interface{ Timeout() bool }
	)
	switch {
	case errors.Is(err, errAddress):
		return ErrorAddress
	case errors.As(err, &dns) && !dns.IsTimeout:
		return ErrorDNS
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return ErrorTimeout
	case errors.Is(err, syscall.ECONNREFUSED):
		return ErrorRefused
	case errors.As(err, &certificate), errors.As(err, &alert), errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return ErrorTLS
	case errors.As(err, &op), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, context.Canceled):
		return ErrorConnection
	}
	return ErrorAnswer
}

// succeeded reports whether the receiver took it.
func (a *Attempt) succeeded() bool { return a.Status/100 == 2 }
