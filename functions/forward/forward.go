// Package forward serves the routes whose row names an upstream: a server by URL, or any
// Lambda function. It is a handler behind the guard: what gets here was proved and counted.
//
// The model: a request goes on to its row's upstream without what is between the client and
// us (the credential, hop-by-hop headers), with what we know (the key, its account and
// environment, where the request came from), and the answer comes back as it is.
//
//	X-Keyreeve-Key-Id       key_…; these three are absent on a public route
//	X-Keyreeve-Account-Id
//	X-Keyreeve-Environment  production, staging or development
//
// Promises:
//
//   - The upstream never sees the credential: not in its header, nor copied into another
//     header, the query or the path. Bodies are not looked into.
//   - X-Keyreeve-… headers that it sees are ours, whatever a client sends or has removed.
//   - No request reaches a host or function but the row's own: no redirect is followed, no
//     proxy asked, and a path that the upstream may read as another row's is refused (400
//     ambiguous_path; package route, readings.go).
//   - Status, header and body of the answer are the upstream's, byte by byte: nothing is
//     decompressed, Set-Cookie stays apart. Not so hop-by-hop headers and trailers, which
//     end here; Content-Length, which the gateway makes (but for HEAD and 304); and what
//     stands in the answer already: RateLimit… and X-RateLimit…, which tell of the key's
//     limit here.
//   - A whole answer or an error: 504 upstream_timeout, 502 upstream_failure, 502
//     upstream_too_large, in the common shape. Causes are in the log by request id, without
//     queries, headers or bodies.
//   - Nothing is sent twice that has reached the upstream, but what HTTP calls idempotent,
//     over a connection that turns out to be closed (RFC 9110 section 9.2.2).
//
// What it cannot do: a Lambda proxy integration has the whole request and the whole answer
// in memory, so nothing streams, there are no 1xx answers and no upgrades, and 6 MB are the
// most that either may have, in JSON: about 4.5 MB of what is no text. A larger request is
// refused before it gets here (413). The query's spelling is not in the event: names and
// values arrive the same, escapes are ours.
package forward

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/keyreeve/keyreeve/functions/proxy"
	"github.com/keyreeve/keyreeve/pkg/guard"
	"github.com/keyreeve/keyreeve/pkg/httpapi"
	"github.com/keyreeve/keyreeve/pkg/route"
)

// Invoker invokes Lambda functions. It is safe for concurrent use.
type Invoker interface {
	// Invoke runs a function once and waits for its output. failed says that the function
	// did not return it: output then describes an error, as Lambda does. The error, if it is
	// not an *InvokeError, is one of the connection to Lambda.
	Invoke(ctx context.Context, arn string, event []byte) (output []byte, failed bool, err error)
}

// InvokeError is a refusal of Lambda's: nothing ran.
type InvokeError struct{ Code string } // AccessDeniedException, TooManyRequestsException, …

func (e *InvokeError) Error() string { return "Lambda: " + e.Code }

// Config is what the forwarder works with. Table and Invoker are needed.
type Config struct {
	Table     *route.Table
	Invoker   Invoker
	Transport http.RoundTripper // default NewTransport's
	Log       *slog.Logger      // default discards
}

type forwarder struct{ Config }

// New returns the handler. It needs a request that package proxy has made.
func New(c Config) http.Handler {
	if c.Transport == nil {
		c.Transport = NewTransport()
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &forwarder{c}
}

// answer is an upstream's.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// timeToTell is what is left of the function's own time when an upstream's has run out.
const timeToTell = 500 * time.Millisecond

func (f *forwarder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	out, err := f.serve(r)
	if err != nil {
		p, id := httpapi.FromError(err), r.Header.Get(httpapi.RequestIDHeader)
		level := slog.LevelInfo
		if p.Status >= 500 {
			level = slog.LevelError
		}
		f.Log.Log(r.Context(), level, "not forwarded", "requestId", id, "code", p.Code, "error", err.Error())
		httpapi.Write(w, id, p)
		return
	}
	h := w.Header()
	for name, values := range out.header {
		if _, guards := h[name]; !guards {
			h[name] = values
		}
	}
	w.WriteHeader(out.status)
	_, _ = w.Write(out.body)
}

func (f *forwarder) serve(r *http.Request) (*answer, error) {
	arrival, ok := proxy.ArrivalOf(r.Context())
	if !ok || arrival.Route.Upstream == (route.Upstream{}) {
		return nil, errors.New("the request's route has no upstream")
	}
	up := arrival.Route.Upstream
	c := call{Request: r, arrival: arrival}
	if c.caller, c.known = guard.Caller(r.Context()); !c.known && !arrival.Route.Public {
		return nil, httpapi.ErrMissingContext
	}
	if c.known {
		c.secret = c.caller.Credential.Plaintext()
	}
	c.path = c.scrub(arrival.Path)
	if !f.Table.ReadAlike(arrival.Route, c.path) {
		return nil, fmt.Errorf("%s %s: %w", arrival.Route.Method, arrival.Route.Path, httpapi.ErrAmbiguousPath)
	}
	limit := time.Duration(up.TimeoutSeconds) * time.Second
	if end, ok := r.Context().Deadline(); ok {
		limit = min(limit, time.Until(end)-timeToTell)
	}
	ctx, cancel := context.WithTimeout(r.Context(), limit)
	defer cancel()
	if up.Lambda != "" {
		return f.invoke(ctx, &c)
	}
	return f.send(ctx, &c)
}

// failure is an error of an upstream as the log has it, by what the client is told.
func failure(ctx context.Context, c *call, cause error) error {
	kind := httpapi.ErrUpstreamFailure
	var late interface{ Timeout() bool }
	if ctx.Err() != nil || errors.As(cause, &late) && late.Timeout() {
		kind = httpapi.ErrUpstreamTimeout
	}
	return fmt.Errorf("%s %s: %w: %s", c.arrival.Route.Method, c.arrival.Route.Path, kind, describe(cause))
}
