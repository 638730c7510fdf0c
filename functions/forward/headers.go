package forward

import (
	"net/http"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/functions/proxy"
	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/httpapi"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/verify"
)

// What an upstream learns of the caller.
const (
	keyIDHeader       = "X-Keyreeve-Key-Id"
	accountIDHeader   = "X-Keyreeve-Account-Id"
	environmentHeader = "X-Keyreeve-Environment"
)

// call is one request on its way.
type call struct {
	*http.Request
	arrival proxy.Arrival
	path    string // to put behind the base URL, escaped
	caller  keys.Caller
	known   bool   // caller is somebody: the route is not public
	secret  string // the credential's text
}

// identity is what an upstream learns of the caller, by header.
func (c *call) identity() map[string]string {
	if !c.known {
		return nil
	}
	return map[string]string{
		keyIDHeader:       httpapi.KeyID(c.caller.KeyID),
		accountIDHeader:   c.caller.AccountID,
		environmentHeader: string(c.caller.Environment),
	}
}

// scrub takes the credential out of a text: it may have been sent a second time where it
// counts for nothing.
func (c *call) scrub(text string) string {
	if c.secret == "" {
		return text
	}
	return strings.ReplaceAll(text, c.secret, "")
}

// Headers by which some servers take another method or path than the request line's, on
// which the guard has decided.
var overriding = []string{
	"x-http-method", "x-http-method-override", "x-method-override",
	"x-original-uri", "x-original-url", "x-rewrite-url",
}

// withheld reports whether a client's header is kept from every upstream: what would speak
// for us, or against what was decided, and the credential. "_" is taken for "-", as CGI and
// all that came after it does (RFC 3875 section 4.1.18).
func (c *call) withheld(name string, values []string) bool {
	name = strings.ReplaceAll(strings.ToLower(name), "_", "-")
	switch {
	case strings.HasPrefix(name, "x-keyreeve-"), slices.Contains(overriding, name):
		return true
	case name != "x-api-key" && name != "authorization":
		return false
	case c.known:
		return true // the one that carried the key: another beside it was refused
	}
	// On a public route either may be the upstream's own; a key of ours is not for it.
	return slices.ContainsFunc(values, func(v string) bool {
		if credential, ok := verify.ParseAuthorization(v); ok {
			v = credential
		}
		_, err := apikey.Parse(v)
		return err == nil
	})
}

// replaced reports whether a client's header gives way to ours, or to what net/http makes
// of the request. Where a request came from is what API Gateway says, in the headers that
// servers look for it.
func replaced(name string) bool {
	name = strings.ReplaceAll(strings.ToLower(name), "_", "-")
	switch name {
	case "host", "content-length", "expect", "forwarded", "x-real-ip", "true-client-ip":
		return true
	}
	return strings.HasPrefix(name, "x-forwarded-")
}

// onward is the header of the request to a server.
func (c *call) onward() http.Header {
	h := http.Header{}
	hop := hopByHop(c.Header)
	for name, values := range c.Header {
		if hop(name) || replaced(name) || c.withheld(name, values) {
			continue
		}
		for _, v := range values {
			if validHeader(name, v) { // API Gateway delivers no other; net/http sends no other
				h.Add(name, c.scrub(v))
			}
		}
	}
	for name, value := range c.identity() {
		h.Set(name, value)
	}
	h.Set("X-Forwarded-For", c.RemoteAddr)
	h.Set("X-Forwarded-Proto", c.scheme())
	h.Set("X-Forwarded-Host", c.Host)
	if _, ok := h["User-Agent"]; !ok {
		h.Set("User-Agent", "") // or net/http sends its own
	}
	return h
}

// scheme is what the client used. API Gateway says so in the last value, and speaks HTTPS
// alone; the local gateway speaks HTTP.
func (c *call) scheme() string {
	values := c.Header.Values("X-Forwarded-Proto")
	if len(values) > 0 && values[len(values)-1] == "http" {
		return "http"
	}
	return "https"
}

// hopByHop tells the headers that concern one connection (RFC 9110 section 7.6.1): the
// known ones, and those that Connection names.
func hopByHop(h http.Header) func(name string) bool {
	var named []string
	for _, v := range h.Values("Connection") {
		for name := range strings.SplitSeq(v, ",") {
			named = append(named, http.CanonicalHeaderKey(strings.TrimSpace(name)))
		}
	}
	return func(name string) bool {
		name = http.CanonicalHeaderKey(name)
		switch name {
		case "Connection", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Http2-Settings":
			return true
		}
		return strings.HasPrefix(name, "Proxy-") || slices.Contains(named, name)
	}
}
