package e2e

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/pkg/route"
)

// A browser asks before it sends a request with a key: OPTIONS with the method and the
// headers that it means to use, and without the key itself.
func TestPreflightWorksOnEveryRoute(t *testing.T) {
	w := shared(t)
	table, err := route.Load(nil)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, rt := range table.Routes() {
		path := strings.NewReplacer("{id}", "key_00000000", "{customerId}", "c1").Replace(rt.Path)
		for _, spelling := range []string{path, path + "/", "/production" + path} {
			h := http.Header{
				"Origin":                         {"https://console.example.com"},
				"Access-Control-Request-Method":  {rt.Method},
				"Access-Control-Request-Headers": {"x-api-key, authorization, content-type, idempotency-key, if-match"},
			}
			a := w.call(t, "OPTIONS", spelling, h, "")
			n++
			if a.status != http.StatusOK && a.status != http.StatusNoContent {
				t.Errorf("OPTIONS %s = %s, want 200 or 204", spelling, a)
				continue
			}
			if got := a.header.Get("Access-Control-Allow-Origin"); got != "*" {
				t.Errorf("OPTIONS %s: Access-Control-Allow-Origin = %q, want *", spelling, got)
			}
			if methods := listHeader(a.header, "Access-Control-Allow-Methods"); !slices.Contains(methods, strings.ToLower(rt.Method)) {
				t.Errorf("OPTIONS %s: Access-Control-Allow-Methods = %v, want %s in it", spelling, methods, rt.Method)
			}
			allowed := listHeader(a.header, "Access-Control-Allow-Headers")
			for _, name := range []string{"x-api-key", "authorization", "content-type", "idempotency-key", "if-match"} {
				if !slices.Contains(allowed, name) {
					t.Errorf("OPTIONS %s: Access-Control-Allow-Headers lacks %s", spelling, name)
				}
			}
		}
	}
	if n < 3*len(table.Routes()) || n == 0 {
		t.Errorf("%d preflights sent", n)
	}
}

// A script may read an answer, whatever it is, only if it has the CORS header too.
func TestEveryKindOfAnswerIsReadableByScripts(t *testing.T) {
	w := shared(t)
	key := w.create(t, w.root, `{"name":"CORS","permissions":["customers:read"],"rateLimit":2}`)
	origin := func(h http.Header) http.Header {
		h.Set("Origin", "https://console.example.com")
		return h
	}
	for _, c := range []struct {
		what, path string
		header     http.Header
		status     int
	}{
		{"no key", "/v1/customers", http.Header{}, 401},
		{"the gateway's refusal", "/v1/licenses", xAPIKey(key.key), 403},
		{"no route", "/v1/absent", xAPIKey(key.key), 404},
		{"success", "/v1/customers", xAPIKey(key.key), 200},
		{"absent", "/v1/customers/absent", xAPIKey(key.key), 404},
		{"over the limit", "/v1/customers", xAPIKey(key.key), 429},
	} {
		a := w.call(t, "GET", c.path, origin(c.header), "")
		if a.status != c.status || a.header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s = %s with Access-Control-Allow-Origin %q, want %d with *", c.what, a, a.header.Get("Access-Control-Allow-Origin"), c.status)
		}
	}
}

func listHeader(h http.Header, name string) (out []string) {
	for _, v := range strings.Split(strings.Join(h.Values(name), ","), ",") {
		out = append(out, strings.ToLower(strings.TrimSpace(v)))
	}
	return out
}
