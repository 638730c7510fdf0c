package route

import (
	"net/url"
	"strings"
)

// Found says how far a request matched the table. API Gateway's REST APIs answer the
// first two alike (403 MISSING_AUTHENTICATION_TOKEN, which our gateway response turns
// into 404).
type Found int

// The outcomes of a match.
const (
	NoPath      Found = iota // no route has such a path
	OtherMethod              // the path exists, but not with this method
	Matched
)

// node is one resource of the tree that API Gateway makes of the paths.
type node struct {
	static map[string]*node
	// variable is the one child that is a parameter: API Gateway allows no second one
	// beside it, whatever its name.
	variable *node
	segment  segment
	by       string         // the row that brought the node in, for errors
	params   []string       // names of the parameters from the root to here
	routes   map[string]int // index in Table.routes by method; nil: only a step to others
}

// Match finds the route of a concrete request, as a REST API of API Gateway does. path
// is the escaped path as sent (URL.EscapedPath), without the stage and the query; one
// trailing slash is accepted. params holds the decoded path parameters, nil if none.
//
// A segment counts as it is written: "%2F" does not separate, "..", ";" and escaped
// letters are no other spelling of anything, and an empty segment matches nothing.
// Static segments win over parameters and these over greedy ones, segment by segment
// from the left; a resource that lacks the method does not hide a less specific one that
// has it. (Measured on API Gateway by others: github.com/ministackorg/ministack pull
// 1423 and github.com/floci-io/floci pull 3399, where GET of a static resource that has
// only PATCH goes to its sibling {userId}.)
func (t *Table) Match(method, path string) (r Route, params map[string]string, found Found) {
	if !strings.HasPrefix(path, "/") {
		return Route{}, nil, NoPath
	}
	n, values := t.root.find(method, false, path, nil)
	if n == nil {
		if n, values = t.root.find(method, true, path, nil); n == nil || decode(n, values) == nil {
			return Route{}, nil, NoPath
		}
		return Route{}, nil, OtherMethod
	}
	params = decode(n, values)
	if params == nil {
		return Route{}, nil, NoPath
	}
	if len(params) == 0 {
		params = nil
	}
	return t.routes[n.routes[method]], params, Matched
}

// MethodsFor lists, sorted, the methods that a concrete path can be requested with: the
// answer to OPTIONS, which is itself not among them. It is nil where no route has such a
// path.
func (t *Table) MethodsFor(path string) []string {
	var out []string
	for _, m := range Methods() {
		if _, _, found := t.Match(m, path); found == Matched {
			out = append(out, m)
		}
	}
	return out
}

// find descends along rest, which is empty, "/", or "/segment…". It returns the most
// specific node with the method, or with any, and the raw values of its parameters.
func (n *node) find(method string, anyMethod bool, rest string, values []string) (*node, []string) {
	if rest == "" || rest == "/" {
		if _, ok := n.routes[method]; ok || anyMethod && len(n.routes) > 0 {
			return n, values
		}
		return nil, nil
	}
	s, more := rest[1:], ""
	if i := strings.IndexByte(s, '/'); i >= 0 {
		s, more = s[:i], s[i:]
	}
	if s == "" {
		return nil, nil
	}
	if child := n.static[s]; child != nil {
		if hit, v := child.find(method, anyMethod, more, values); hit != nil {
			return hit, v
		}
	}
	v := n.variable
	switch {
	case v == nil:
		return nil, nil
	case v.segment.greedy:
		all := strings.TrimSuffix(rest[1:], "/")
		if strings.Contains(all, "//") || strings.HasSuffix(all, "/") {
			return nil, nil
		}
		return v.find(method, anyMethod, "", append(values, all))
	}
	return v.find(method, anyMethod, more, append(values, s))
}

// decode gives the parameters their names and undoes their percent-encoding. It returns
// nil if that is broken, and an empty map where there are none.
func decode(n *node, values []string) map[string]string {
	params := make(map[string]string, len(values))
	for i, raw := range values {
		v, err := url.PathUnescape(raw)
		if err != nil {
			return nil
		}
		params[n.params[i]] = v
	}
	return params
}
