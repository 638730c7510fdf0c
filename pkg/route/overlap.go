package route

import "slices"

// Why routes may not overlap
//
// The authorizer's policy allows a key the routes that it may use, as ARNs that end in
// METHOD/path with "*" for each parameter, with and without a trailing slash. In IAM "*"
// also matches "/" and nothing at all. So the ARN of
//
//	GET /v1/customers/{customerId}/invoices      GET/v1/customers/*/invoices
//
// opens GET /v1/customers/{id}/contracts/{name} too, for a name "…/invoices", and
//
//	GET /v1/customers/{customerId}               GET/v1/customers/*
//
// opens GET /v1/customers/ as well. On a guarded route that costs nothing: the guard asks
// again by the exact route. On an unguarded one it would be a grant that nobody made.
// Hence: no ARN of another route may match any path of an unguarded route, unless whoever
// may use the other may use this one anyway.
//
// The path of an unguarded route is taken as widely as it can be: a parameter may hold
// any text, "/" included, because AWS does not say whether the ARN that it checks has
// "%2F" decoded.

// opens reports whether the policy for r may allow requests of u, by path alone.
func opens(r, u []segment) bool {
	for _, rSlash := range []bool{false, true} {
		for _, uSlash := range []bool{false, true} {
			if intersect(granted(r, rSlash), asked(u, uSlash)) {
				return true
			}
		}
	}
	return false
}

// entitled reports whether everyone whom r's policy admits may also use u, wherever the
// two overlap.
func entitled(r, u *row) bool {
	if u.Permission != "" && u.Permission != r.Permission {
		return false
	}
	if u.Customer == "" {
		return true
	}
	// r's policy names the customer only if r has that parameter too; in the same place
	// after the same static segments it is surely the same customer.
	for i, s := range u.segments {
		if i >= len(r.segments) || r.segments[i].text != s.text {
			return false
		}
		if s.name != "" {
			return s.name == u.Customer && r.Customer == u.Customer
		}
	}
	return false
}

// Bytes that stand for something else in a pattern; no resource path holds them.
const (
	anyText = 0 // any text, or none: IAM's "*"
	oneChar = 1 // any one character
)

// granted is a path as the policy has it, asked one as requests may have it: there a
// parameter is never empty.
func granted(path []segment, slash bool) []byte { return pattern(path, slash, anyText) }
func asked(path []segment, slash bool) []byte   { return pattern(path, slash, oneChar, anyText) }

func pattern(path []segment, slash bool, parameter ...byte) []byte {
	var out []byte
	for _, s := range path {
		out = append(out, '/')
		if s.name != "" {
			out = append(out, parameter...)
		} else {
			out = append(out, s.text...)
		}
	}
	if slash || len(path) == 0 {
		out = append(out, '/')
	}
	return out
}

// intersect reports whether some text matches both patterns. It walks the pairs of
// positions that can be reached together.
func intersect(a, b []byte) bool {
	seen := make([]bool, (len(a)+1)*(len(b)+1))
	todo := [][2]int{{0, 0}}
	for len(todo) > 0 {
		i, j := todo[len(todo)-1][0], todo[len(todo)-1][1]
		todo = todo[:len(todo)-1]
		if seen[i*(len(b)+1)+j] {
			continue
		}
		seen[i*(len(b)+1)+j] = true
		if i == len(a) && j == len(b) {
			return true
		}
		aAny, bAny := i < len(a) && a[i] == anyText, j < len(b) && b[j] == anyText
		if aAny { // ends here, or takes what b has next
			todo = append(todo, [2]int{i + 1, j})
			if j < len(b) {
				todo = append(todo, [2]int{i, j + 1})
			}
		}
		if bAny {
			todo = append(todo, [2]int{i, j + 1})
			if i < len(a) {
				todo = append(todo, [2]int{i + 1, j})
			}
		}
		if !aAny && !bAny && i < len(a) && j < len(b) && (a[i] == b[j] || a[i] == oneChar || b[j] == oneChar) {
			todo = append(todo, [2]int{i + 1, j + 1})
		}
	}
	return false
}

// checkOverlaps refuses unguarded routes that another route's policy opens.
func (l *loader) checkOverlaps() {
	for i := range l.rows {
		u := &l.rows[i]
		if !u.Unguarded {
			continue
		}
		for j := range l.rows {
			r := &l.rows[j]
			if i == j || r.Public || entitled(r, u) || !opens(r.segments, u.segments) {
				continue
			}
			if slices.ContainsFunc(u.methods, func(m string) bool { return slices.Contains(r.methods, m) }) {
				l.fail(u.label, "unguarded", "the IAM policy of %s would open it to keys that may not use it: guard it, or ask for the same permission and customer", r.label)
			}
		}
	}
}
