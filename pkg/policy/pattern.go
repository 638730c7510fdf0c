package policy

import (
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/pkg/route"
)

// anySegment is what a path parameter becomes in a resource: one character at least,
// where "*" alone would also match none. So the pattern of /customers/{id} does not match
// the list route's "/customers/", and a request has no empty segment at its end by which
// a pattern with a filled-in customer could slip sideways.
const anySegment = "?*"

// segment is one segment of a resource path.
type segment struct {
	text   string // of a literal
	param  string // name of a parameter, without "+"
	greedy bool   // the parameter takes the rest of the path
}

// segments takes a resource path apart. [route.Load] has checked its form: literals are
// letters, digits and . _ - : alone, so none needs an escape in JSON or is a wildcard.
func segments(path string) []segment {
	if path == "/" {
		return nil
	}
	var out []segment
	for part := range strings.SplitSeq(path[1:], "/") {
		s := segment{text: part}
		if strings.HasPrefix(part, "{") {
			s.text = ""
			s.param, s.greedy = strings.CutSuffix(strings.Trim(part, "{}"), "+")
		}
		out = append(out, s)
	}
	return out
}

// element is one segment of a pattern, for asking whether patterns have a text in common.
type element struct {
	kind elementKind
	text string // of a literal
}

type elementKind int

const (
	literal elementKind = iota
	single              // one segment, not empty
	wild                // one segment or more
)

// pattern is what a route's resource matches. Every parameter is wild, as IAM's wildcards
// know no "/", but for the customer's where it is filled in.
func pattern(path []segment, customer string) []element {
	return elements(path, func(s segment) elementKind {
		if s.param == customer {
			return single
		}
		return wild
	})
}

// requests is which resources the requests of a route have. A parameter is one segment.
// On an unguarded route, where the answer must never be too small, it may hold any text:
// AWS does not say whether "%2F" is decoded in the ARN that it checks.
func requests(path []segment, unguarded bool) []element {
	return elements(path, func(s segment) elementKind {
		if s.greedy || unguarded {
			return wild
		}
		return single
	})
}

func elements(path []segment, parameter func(segment) elementKind) []element {
	out := make([]element, len(path))
	for i, s := range path {
		if out[i] = (element{literal, s.text}); s.param != "" {
			out[i] = element{kind: parameter(s)}
		}
	}
	return out
}

// overlap reports whether pattern p matches a resource of q. It may say yes too often (a
// parameter's name tells nothing of its values), never no too often. A trailing slash on
// either side changes nothing: no wildcard of p is satisfied by it alone, and what matches
// with it has a match without.
func overlap(p, q []element) bool {
	if len(p) == 0 || len(q) == 0 {
		return len(p) == len(q)
	}
	if p[0].kind == literal && q[0].kind == literal && p[0].text != q[0].text {
		return false
	}
	return overlap(p[1:], q[1:]) ||
		p[0].kind == wild && overlap(p, q[1:]) ||
		q[0].kind == wild && overlap(p[1:], q)
}

// row is a route prepared for writing resources.
type row struct {
	route      route.Route
	segments   []segment
	permission int // index into Policies.permissions; -1: any live key

	// The resource after the base with its closing quote: one, or two where the last
	// segment is literal and a trailing slash makes another resource of it.
	plain []string
	// The same where customer ids are filled in: before + id + after. after is nil for a
	// route that names no customer.
	before string
	after  []string

	// Rows of the same method, as indexes.
	grantedBy       []int // their patterns match requests of this (guarded) one, a different route
	grantedByScoped []int // so they do even with a customer filled in
	covers          []int // this one's pattern matches their requests, so its Deny would deny them
	opens           []int // those of covers that are unguarded
	within          []int // their patterns match all that this one's resources match
}

const quote = `"`

func newRow(r route.Route) row {
	path := segments(r.Path)
	out := row{route: r, segments: path, plain: endings(suffix(r.Method, path), path, "")}
	if r.Customer != "" {
		at := slices.IndexFunc(path, func(s segment) bool { return s.param == r.Customer })
		out.before = suffix(r.Method, path[:at]) + "/"
		out.after = endings(suffix("", path[at+1:]), path, r.Customer)
	}
	return out
}

// suffix is the resource after the base: GET/v1/customers/?*/invoices.
func suffix(method string, path []segment) string {
	var b strings.Builder
	b.WriteString(method)
	for _, s := range path {
		b.WriteByte('/')
		if b.WriteString(s.text); s.param != "" {
			b.WriteString(anySegment)
		}
	}
	return b.String()
}

// endings closes a resource's text, and adds one with a trailing slash unless the wildcard
// of a last parameter matches that already. filled is the parameter that is no wildcard.
func endings(text string, path []segment, filled string) []string {
	if len(path) == 0 {
		return []string{text + "/" + quote}
	}
	if last := path[len(path)-1]; last.param != filled && last.param != "" {
		return []string{text + quote}
	}
	return []string{text + quote, text + "/" + quote}
}

// confinable reports whether a customer can be filled in so that no request for another
// one matches. Between two wildcards it cannot: /{a}/{customer}/{b} as "/?*/c1/?*" also
// matches /x/c2/c1%2Fy, where "%2F" is decoded.
func (r *row) confinable() bool {
	before, after := false, false
	seen := false
	for _, s := range r.segments {
		switch {
		case s.param == r.route.Customer:
			seen = true
		case s.param != "" && seen:
			after = true
		case s.param != "":
			before = true
		}
	}
	return !before || !after
}
