package route_test

import (
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/pkg/route"
)

// Each path is found in the table as the row behind it; what a lenient server may take for
// another row, or for none, does not pass.
func TestAPathThatMayBeReadAsAnotherRowDoesNotPass(t *testing.T) {
	tab := load(t,
		get("/v1/orders/{rest+}", `, "permission": "a:r"`),
		get("/v1/orders/admin/{rest+}", `, "permission": "a:w"`),
		get("/v1/orders/export/{id}", `, "permission": "a:w"`),
		get("/v1/customers/{id}", ""), get("/v1/customers/{id}/notes", ""), get("/v1/customers/search", ""),
		get("/v1/Things", ""), get("/v1/things", ""),
		`{"method": "POST", "path": "/v1/orders/close", "function": "sample"}`,
		get("/", ""),
	)
	const orders, admin, customer = "/v1/orders/{rest+}", "/v1/orders/admin/{rest+}", "/v1/customers/{id}"
	for _, c := range []struct {
		row, path string
		pass      bool
	}{
		{orders, "/v1/orders/7", true},
		{orders, "/v1/orders/7/", true},
		{orders, "/v1/orders/7/items/a%20b;v=1/%E2%82%AC", true},
		{orders, "/v1/orders/7%2Fitems", true},
		{orders, "/v1/orders/a%5Cb", true},
		{orders, "/v1/orders/%252e%252e", true},
		{orders, "/v1/orders/administration/x", true},
		{orders, "/v1/orders/x/admin/y", true},
		{orders, "/v1/orders/close", true}, // another method's row
		{orders, "/v1/orders/..a/...", true},
		{admin, "/v1/orders/admin/x", true},
		{admin, "/v1/orders/admin/%78/ADMIN", true},
		{customer, "/v1/customers/cus_1", true},
		{customer, "/v1/customers/a;b=c", true},
		{"/v1/customers/{id}/notes", "/v1/customers/search/notes", true},
		{"/v1/Things", "/v1/Things", true},
		{"/v1/things", "/v1/things/", true},
		{"/", "/", true},

		{orders, "/v1/orders/%61dmin/x", false},
		{orders, "/v1/orders/ADMIN/x", false},
		{orders, "/v1/orders/Admin;x=1/y", false},
		{orders, "/v1/orders/admin;/y", false},
		{orders, "/v1/orders/admin%3B/y", false},
		{orders, "/v1/orders/admin%2Fx", false},
		{orders, "/v1/orders/admin%2fx/y", false},
		{orders, "/v1/orders/admin%5Cx", false},
		{orders, "/v1/orders/admin\\x", false},
		{orders, "/v1/orders/%65xport/a%2Fb", false}, // decoded but not split: the row of {id}
		{orders, "/v1/orders/%65xport/a%5Cb%2Fc", false},
		{orders, "/v1/orders/EXPORT%2Fb%5Cc", false}, // split at one of the two
		{orders, "/v1/orders/..", false},
		{orders, "/v1/orders/../customers/x", false},
		{orders, "/v1/orders/./x", false},
		{orders, "/v1/orders/%2e%2E/x", false},
		{orders, "/v1/orders/.%2e", false},
		{orders, "/v1/orders/a%2F..%2Fadmin%2Fx", false},
		{orders, "/v1/orders/a%5C..%5Cadmin", false},
		{orders, "/v1/orders/..;/x", false},
		{orders, "/v1/orders/..%3Bx/y", false},
		{orders, "/v1/orders/;x/y", false},
		{orders, "/v1/orders/a%2F%2Fb", false},
		{orders, "/v1/orders/a%2F", false},
		{customer, "/v1/customers/1%2Fnotes", false},
		{customer, "/v1/customers/1%2Fdelete", false}, // no row at all
		{customer, "/v1/customers/1%5Cnotes", false},
		{customer, "/v1/customers/SEARCH", false},
		{customer, "/v1/customers/sear%63h", false},
		{customer, "/v1/customers/..", false},
		{customer, "/v1/customers/%2e", false},
	} {
		r, _, found := tab.Match("GET", c.path)
		if found != route.Matched || r.Path != c.row {
			t.Fatalf("Match(GET %s) = %s, %d; the case is about %s", c.path, r.Path, found, c.row)
		}
		if got := tab.ReadAlike(r, c.path); got != c.pass {
			t.Errorf("ReadAlike(%s, %s) = %t, want %t", c.row, c.path, got, c.pass)
		}
	}
	r, _ := tab.Lookup("GET", customer)
	for _, path := range []string{"/v1/customers/%zz", "/v1/customers/", "/v1/customers//x", "/v1/other/x", "/v1/customers/search", "//"} {
		if tab.ReadAlike(r, path) {
			t.Errorf("ReadAlike(%s, %s) = true, want false", customer, path)
		}
	}
}

// FuzzReadAlike: whatever passes is the row for Match too, also when it is decoded, cut at
// its parameters and put in another case.
func FuzzReadAlike(f *testing.F) {
	tab := load(f,
		get("/a/{rest+}", `, "permission": "a:r"`), get("/a/x/{rest+}", `, "permission": "a:w"`),
		get("/a/y/{id}", `, "permission": "a:w"`), get("/b/{id}", ""), get("/b/{id}/z", ""),
	)
	for _, s := range []string{"/a/1", "/a/x/1", "/a/%78/1", "/a/y/%2f", "/b/1%2Fz", "/b/1;z/z", "/a/..%5cx", "/A/x"} {
		f.Add(s)
	}
	lenient := strings.NewReplacer("%2F", "/", "%2f", "/", "%5C", "/", "%5c", "/", `\`, "/", "%2E", ".", "%2e", ".", "%78", "x", "%58", "x", "X", "x")
	f.Fuzz(func(t *testing.T, path string) {
		r, _, found := tab.Match("GET", path)
		if found != route.Matched || !tab.ReadAlike(r, path) {
			return
		}
		var parts []string
		for part := range strings.SplitSeq(lenient.Replace(path), "/") {
			part, _, _ = strings.Cut(part, ";")
			parts = append(parts, part)
		}
		again, _, found := tab.Match("GET", strings.Join(parts, "/"))
		if found != route.Matched || again != r {
			t.Errorf("%q passes as %s, and read leniently it is %s (%d)", path, r.Path, again.Path, found)
		}
	})
}
