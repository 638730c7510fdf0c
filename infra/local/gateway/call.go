package gateway

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/infra/local/ids"
	"github.com/keyreeve/keyreeve/pkg/route"
)

// call is one request on its way.
type call struct {
	request           *http.Request
	begun             time.Time
	requestID         string
	extendedRequestID string
	traceID           string
	sourceIP          string

	method   string // after X-HTTP-Method-Override
	fullPath string // as the client sent it, escaped
	path     string // without the stage
	stage    string
	header   http.Header // as functions get it
	query    url.Values
	body     []byte

	route      route.Route
	params     map[string]string
	principal  string         // that the authorizer named
	authorizer map[string]any // nil on a public route

	entry Entry
}

func (g *Gateway) newCall(r *http.Request) *call {
	var id [9]byte
	_, _ = rand.Read(id[:])
	now := g.o.Clock()
	c := &call{
		request: r, begun: time.Now(), method: r.Method,
		requestID: ids.UUID(), extendedRequestID: base64.RawURLEncoding.EncodeToString(id[:]) + "=",
		traceID: "Root=1-" + strconv.FormatInt(now.Unix(), 16) + "-" + ids.Hex(12),
	}
	// The client's own X-Forwarded-For says nothing: this is the address of the connection.
	c.sourceIP, _, _ = net.SplitHostPort(r.RemoteAddr)
	c.entry = Entry{
		RequestTime: now.UTC().Format("02/Jan/2006:15:04:05 -0700"), RequestTimeEpoch: now.UnixMilli(),
		RequestID: c.requestID, ExtendedRequestID: c.extendedRequestID,
		SourceIP: c.sourceIP, UserAgent: r.UserAgent(), Protocol: "HTTP/1.1",
	}
	return c
}

// read checks the limits and takes the request apart.
func (c *call) read(w http.ResponseWriter, g *Gateway) error {
	r := c.request
	size := len(r.Host)
	for _, values := range r.Header {
		for _, v := range values {
			size += len(v)
		}
	}
	if size > maxHeaderBytes {
		return errHeaders
	}
	if len(r.RequestURI) > maxURLBytes {
		return errURI
	}
	c.stage, c.fullPath, c.path = g.split(r.URL.EscapedPath())
	c.entry.Stage = c.stage
	// "When sending requests to an API by passing the X-HTTP-Method-Override header, API
	// Gateway overrides the method" (notes). It names no method that this would not hold for.
	if m := lastOf(r.Header, "X-Http-Method-Override"); m != "" {
		c.method = strings.ToUpper(m)
	}
	if !slices.Contains(methods, c.method) {
		return errNoRoute
	}
	c.entry.HTTPMethod = c.method
	c.query = parseQuery(r.URL.RawQuery)

	var tooLong *http.MaxBytesError
	if r.ContentLength > maxBodyBytes {
		return errTooLarge
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	if errors.As(err, &tooLong) {
		return errTooLarge
	}
	if err != nil {
		return errBody
	}
	c.body = body
	c.header = c.forwarded(g)
	return nil
}

// methods of HTTP that a REST API has ("$context.httpMethod").
var methods = []string{"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"}

// split takes the stage off an escaped path. Slashes in front, and between stage and path,
// are one (observed at AWS; requestContext.path keeps the second kind).
func (g *Gateway) split(escaped string) (stage, full, path string) {
	full = route.Sent(escaped)
	first, rest, more := strings.Cut(full[1:], "/")
	if !slices.Contains(g.o.Stages, first) {
		return g.o.DefaultStage, full, full
	}
	if !more {
		return first, full, "/"
	}
	return first, full, route.Sent(rest)
}

// parseQuery is url.ParseQuery, but for ";", which splits too (notes), and for what does
// not unescape, which stays as it is.
func parseQuery(raw string) url.Values {
	out := url.Values{}
	for pair := range strings.FieldsFuncSeq(raw, func(c rune) bool { return c == '&' || c == ';' }) {
		name, value, _ := strings.Cut(pair, "=")
		unescape := func(s string) string {
			if u, err := url.QueryUnescape(s); err == nil {
				return u
			}
			return s
		}
		out.Add(unescape(name), unescape(value))
	}
	return out
}

// dropped are the request headers that no integration gets (notes, table of headers).
var dropped = []string{
	"Connection", "Content-Length", "Content-Md5", "Expect", "Max-Forwards", "Proxy-Authenticate",
	"Proxy-Connection", "Server", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Www-Authenticate",
}

// forwarded is the request's header as functions get it.
func (c *call) forwarded(g *Gateway) http.Header {
	r := c.request
	out := r.Header.Clone()
	for _, name := range dropped {
		out.Del(name)
	}
	out.Set("Host", r.Host)
	out.Set("X-Forwarded-For", strings.Join(append(r.Header.Values("X-Forwarded-For"), c.sourceIP), ", "))
	out.Set("X-Forwarded-Port", g.o.Port)
	out.Set("X-Forwarded-Proto", "http")
	if out.Get("X-Amzn-Trace-Id") == "" {
		out.Set("X-Amzn-Trace-Id", c.traceID)
	}
	if r.ProtoMajor >= 2 {
		lower := make(http.Header, len(out))
		for name, values := range out {
			lower[strings.ToLower(name)] = values
		}
		return lower
	}
	return out
}

// lastOf is what API Gateway takes for the value of a header that came several times.
func lastOf(h http.Header, name string) string {
	values := h.Values(name)
	if len(values) == 0 {
		return ""
	}
	return values[len(values)-1]
}
