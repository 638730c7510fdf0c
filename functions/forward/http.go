package forward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/keyreeve/keyreeve/pkg/httpapi"
)

// maxAnswer is the most that is read of an answer's body, in bytes: what is longer does not
// fit into the 6 MB of JSON in any way. Whether a shorter one does, package proxy finds out.
const maxAnswer = 6 << 20

// Of a connection to an upstream. A Lambda process serves one request at a time and is
// frozen in between, so connections are few, and old ones dead.
const (
	connectTimeout = 5 * time.Second // to an address; and then for TLS
	idleTimeout    = 30 * time.Second
	maxIdle        = 8
	// maxHeader of an answer: API Gateway takes 10,240 bytes of values.
	maxHeader = 64 << 10
)

// NewTransport returns what requests go to servers with: HTTP/1.1, connections kept, no
// proxy whatever the environment says, and bodies left as they are.
func NewTransport() *http.Transport {
	return &http.Transport{
		DialContext:            (&net.Dialer{Timeout: connectTimeout}).DialContext,
		TLSHandshakeTimeout:    connectTimeout,
		DisableCompression:     true, // it would ask for gzip, and unpack it
		IdleConnTimeout:        idleTimeout,
		MaxIdleConns:           maxIdle,
		MaxIdleConnsPerHost:    maxIdle,
		MaxResponseHeaderBytes: maxHeader,
	}
}

var errStatus = errors.New("a status that API Gateway does not pass on")

// send asks a server. One round trip: what the server says is the answer, redirects
// included.
func (f *forwarder) send(ctx context.Context, c *call) (*answer, error) {
	target := c.arrival.Route.Upstream.URL + c.path
	if q := c.scrub(c.URL.RawQuery); q != "" {
		target += "?" + q
	}
	req, err := http.NewRequestWithContext(ctx, c.Method, target, nil)
	if err != nil {
		return nil, fmt.Errorf("%s %s: no request can be made of it", c.arrival.Route.Method, c.arrival.Route.Path)
	}
	req.Header = c.onward()
	req.Body, req.GetBody, req.ContentLength = c.Body, c.GetBody, c.ContentLength
	res, err := f.Transport.RoundTrip(req)
	if err != nil {
		return nil, failure(ctx, c, err)
	}
	defer res.Body.Close()
	if res.StatusCode < 200 || res.StatusCode > 599 {
		return nil, failure(ctx, c, errStatus)
	}
	bodiless := c.Method == http.MethodHead || res.StatusCode == http.StatusNotModified
	if !bodiless && res.ContentLength > maxAnswer {
		return nil, tooLarge(c)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, failure(ctx, c, err)
	case len(body) > maxAnswer:
		return nil, tooLarge(c)
	}
	hop := hopByHop(res.Header)
	for name := range res.Header {
		if hop(name) || name == "Content-Length" && !bodiless {
			delete(res.Header, name)
		}
	}
	return &answer{res.StatusCode, res.Header, body}, nil
}

func tooLarge(c *call) error {
	return fmt.Errorf("%s %s: %w", c.arrival.Route.Method, c.arrival.Route.Path, httpapi.ErrUpstreamTooLarge)
}
