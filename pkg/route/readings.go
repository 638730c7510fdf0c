package route

import (
	"net/url"
	"strings"
)

// Why one path is read in several ways
//
// The permission that a request needs was found by Match, which reads a path as API
// Gateway does: byte for byte. A server behind may read it otherwise. It may decode "%61"
// before it looks for a route, or "%2F", as everything on WSGI does; take "\" for "/"; drop
// what follows a ";", as servlet containers do; fold letter case, as Express does; resolve
// "..". So with the rows
//
//	GET /v1/orders/{rest+}         orders:read
//	GET /v1/orders/admin/{rest+}   orders:admin
//
// GET /v1/orders/ADMIN/x, /v1/orders/%61dmin/x, /v1/orders/admin;/x and
// /v1/orders/a/..%2Fadmin/x are all the first row here, and at some server what the second
// row is for. And where a row has {id}, "7%2Fdelete" is one segment here.
//
// Hence: what goes to a server that is not ours must be the same row in every reading. An
// API that has "%2F" in its paths says so with a greedy parameter.

// ReadAlike reports whether the path of a request, escaped as it was sent, is r in every
// reading, r being what Match found for it. A segment that is, or may be read as, empty, "."
// or ".." never passes.
func (t *Table) ReadAlike(r Route, path string) bool {
	var segments []string
	separated := false
	if path = strings.TrimSuffix(path, "/"); path != "" {
		for raw := range strings.SplitSeq(path[1:], "/") {
			s, err := url.PathUnescape(raw)
			if err != nil {
				return false
			}
			segments = append(segments, s)
			separated = separated || strings.ContainsAny(s, `/\`)
		}
	}
	if !separated {
		return t.isRead(r, segments)
	}
	for _, separators := range []string{"", "/", `\`, `/\`} {
		var parts []string
		for _, s := range segments {
			parts = append(parts, split(s, separators)...)
		}
		if !t.isRead(r, parts) {
			return false
		}
	}
	return true
}

// split is strings.Split at any character of separators.
func split(s, separators string) []string {
	var parts []string
	for {
		i := strings.IndexAny(s, separators)
		if i < 0 {
			return append(parts, s)
		}
		parts, s = append(parts, s[:i]), s[i+1:]
	}
}

// isRead reports whether a server that is lenient with each segment comes to r.
func (t *Table) isRead(r Route, segments []string) bool {
	for _, s := range segments {
		switch bare(s) {
		case "", ".", "..":
			return false
		}
	}
	n := t.root.read(r.Method, segments)
	return n != nil && t.routes[n.routes[r.Method]] == r
}

// bare is a segment without its parameters (RFC 3986 section 3.3).
func bare(segment string) string {
	name, _, _ := strings.Cut(segment, ";")
	return name
}

// read is find for decoded segments that are taken leniently. A static segment in its own
// spelling goes first, so that rows which differ in case alone can both be reached.
func (n *node) read(method string, segments []string) *node {
	if len(segments) == 0 {
		if _, ok := n.routes[method]; ok {
			return n
		}
		return nil
	}
	name, rest := bare(segments[0]), segments[1:]
	if child := n.static[name]; child != nil {
		if hit := child.read(method, rest); hit != nil {
			return hit
		}
	}
	for text, child := range n.static {
		if text != name && strings.EqualFold(text, name) {
			if hit := child.read(method, rest); hit != nil {
				return hit
			}
		}
	}
	switch v := n.variable; {
	case v == nil:
		return nil
	case v.segment.greedy:
		return v.read(method, nil)
	default:
		return v.read(method, rest)
	}
}
