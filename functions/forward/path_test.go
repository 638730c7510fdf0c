package forward

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// first is the request line that an echo has got.
func first(r result) string {
	line, _, _ := strings.Cut(r.body, "\n")
	return strings.TrimSuffix(line, " HTTP/1.1")
}

func TestPathsArriveAsTheyWereSpelled(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(echo))
	defer server.Close()
	w := newWorld(t,
		row("GET", "/v1/orders/{rest+}", server.URL+"/base/", ""), row("GET", "/v1/orders", server.URL, ""),
		row("GET", "/v1/users/{id}/notes/{note}", server.URL, ""), row("GET", "/{all+}", server.URL+"/a%20b", ""), row("GET", "/", server.URL, ""),
	)
	for path, want := range map[string]string{
		"/v1/orders":                       "/v1/orders",
		"/v1/orders/":                      "/v1/orders/",
		"/v1/orders/7":                     "/base/v1/orders/7",
		"/v1/orders/7/":                    "/base/v1/orders/7/",
		"/v1/orders/7/items/x":             "/base/v1/orders/7/items/x",
		"/v1/orders/a%2Fb/c":               "/base/v1/orders/a%2Fb/c",
		"/v1/orders/a%2fb":                 "/base/v1/orders/a%2fb",
		"/v1/orders/%61%20+%2B%25":         "/base/v1/orders/%61%20+%2B%25",
		"/v1/orders/%E2%82%AC":             "/base/v1/orders/%E2%82%AC",
		"/v1/orders/a:b@c!$&'()*+,;=-._~":  "/base/v1/orders/a:b@c!$&'()*+,;=-._~",
		"/v1/orders/a%3Fb%23c":             "/base/v1/orders/a%3Fb%23c",
		"/v1/orders/%0d%0aX-Evil:%201":     "/base/v1/orders/%0d%0aX-Evil:%201",
		"/v1/orders/{x}":                   "/base/v1/orders/%7Bx%7D",
		"/v1/users/a%40b/notes/%7Bid%7D":   "/v1/users/a%40b/notes/%7Bid%7D",
		"/v1/users/{note}/notes/x%3Bid=1/": "/v1/users/%7Bnote%7D/notes/x%3Bid=1/",
		"/":                                "/",
		"/other":                           "/a%20b/other",
	} {
		if got := w.get(path); got.status != 200 || first(got) != "GET "+want {
			t.Errorf("GET %s: %d %s, want GET %s", path, got.status, first(got), want)
		}
	}
	// A custom domain's base path is in the event's path, and goes no further.
	ev := w.request("GET", "/v1/orders/7/", "", "")
	ev.Path = "/mapped/v1/orders/7/"
	if got := w.send(ev); first(got) != "GET /base/v1/orders/7/" {
		t.Errorf("behind a base path: %s", first(got))
	}
}

// Somebody who decodes on the way, and whatever a parameter then holds: one request of one
// line comes of it, to the row's host, below the row's path, or none.
func TestParametersStayInTheirPlace(t *testing.T) {
	reached := ""
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { reached = r.RequestURI + " " + r.Host }))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	w := newWorld(t, row("GET", "/v1/o/{id}", server.URL+"/base", ""), row("GET", "/v1/g/{rest+}", server.URL+"/base", ""), row("GET", "/{all+}", server.URL, ""))
	for _, value := range []string{
		"a b", "x HTTP/1.1\r\nHost: evil\r\n\r\nGET /", "x\nY: z", "x?admin=1", "x#y", "é", "\x00", "\x7f", "%", "%2", "%zz", "a%2", "\xff", "a\tb",
		"@evil.example", "evil.example:80", "//evil.example/x", "/evil", "http://evil.example/", "..", ".", "a/../../x", "..%2f", `..\x`, `a\b`, "..;/x", "%2e%2e/x", "", "/", "//",
		"a/", "{rest+}", "{id}", "%0d%0a", "\u2028", "a%00b",
	} {
		for _, path := range []string{"/v1/o/id", "/v1/g/rest", "/all"} {
			ev := w.request("GET", path, "", "")
			for name := range ev.PathParameters {
				ev.PathParameters[name] = value
			}
			reached = ""
			got := w.send(ev)
			if reached == "" {
				if got.problem() != "ambiguous_path req-1" || got.status != 400 {
					t.Errorf("%s with %q: %v", path, value, got)
				}
				continue
			}
			below := map[string]string{"/v1/o/id": "/base/v1/o/", "/v1/g/rest": "/base/v1/g/", "/all": "/"}[path]
			uri, to, _ := strings.Cut(reached, " ")
			if !strings.HasPrefix(uri, below) || uri == below || to != host || strings.ContainsAny(uri, "?#\\ ") || strings.Contains(uri, "/../") || strings.Contains(uri, "//") {
				t.Errorf("%s with %q reached %q", path, value, reached)
			}
		}
	}
}

func TestAPathThatMayBeReadAsAnotherRowIsRefused(t *testing.T) {
	asked := ""
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked = r.RequestURI }))
	defer server.Close()
	w := newWorld(t,
		row("GET", "/v1/orders/{rest+}", server.URL, `, "permission": "a:r"`),
		row("GET", "/v1/orders/admin/{rest+}", server.URL, `, "permission": "a:w"`),
		row("GET", "/v1/users/{id}", server.URL, `, "permission": "a:r"`),
		row("GET", "/v1/users/{id}/secrets", server.URL, `, "permission": "a:w"`),
	)
	w.key.Permissions = []string{"a:r"}
	for _, path := range []string{
		"/v1/orders/%61dmin/x", "/v1/orders/ADMIN/x", "/v1/orders/admin;/x", "/v1/orders/admin%2Fx", "/v1/orders/a/../admin/x", "/v1/orders/a/..%2Fadmin/x",
		"/v1/orders/a/%2e%2e/admin/x", "/v1/orders/a/..;/admin/x", `/v1/orders/admin%5Cx`, "/v1/orders/..", "/v1/orders/%2e", "/v1/users/1%2Fsecrets", "/v1/users/1%2fdelete", "/v1/users/..",
	} {
		if got := w.get(path); got.status != 400 || got.problem() != "ambiguous_path req-1" {
			t.Errorf("GET %s: %v, want 400 ambiguous_path", path, got)
		}
	}
	if asked != "" {
		t.Errorf("the upstream was asked for %s", asked)
	}
	w.wants("one of them", w.get("/v1/orders/.."), 400, "ambiguous_path", "GET /v1/orders/{rest+}")
	if got := w.get("/v1/orders/a%2Fb"); got.status != 200 || asked != "/v1/orders/a%2Fb" {
		t.Errorf("a path that every server reads alike: %v", got)
	}
	if got := w.get("/v1/orders/admin/x"); got.status != 403 {
		t.Errorf("the row itself: %v", got)
	}
}
