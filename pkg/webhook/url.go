package webhook

import (
	"net/netip"
	"net/url"
	"strings"

	"github.com/keyreeve/keyreeve/pkg/apikey"
)

// maxURL is how long a URL may be, in bytes.
const maxURL = 2048

// checkURL says what is wrong with a URL to send to; empty: nothing. It never quotes it.
// What a host's name resolves to is asked when the connection is made, and at no other
// time: an answer of now says nothing about then.
func checkURL(raw string, anywhere bool) string {
	if len(raw) < 1 || len(raw) > maxURL {
		return "must be a URL of 1 to 2048 characters"
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil, u.Opaque != "", u.Hostname() == "":
		return "must be a URL such as https://example.com/alerts"
	case u.Scheme != "https" && !(anywhere && u.Scheme == "http"):
		return "must begin with https://"
	case u.User != nil:
		return "must hold no user name or password"
	case u.Fragment != "" || strings.HasSuffix(raw, "#"):
		return "must have no fragment"
	case holdsKey(raw):
		return "must not hold an API key"
	}
	if a, err := netip.ParseAddr(u.Hostname()); err == nil && !anywhere && !Public(a) {
		return "must lead to a public address"
	}
	return ""
}

// holdsKey reports whether an API key was pasted into s.
func holdsKey(s string) bool {
	for _, word := range strings.FieldsFunc(s, func(r rune) bool {
		return !(r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || r == '_')
	}) {
		if _, err := apikey.Parse(word); err == nil {
			return true
		}
	}
	return false
}
