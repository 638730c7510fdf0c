package route_test

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/route"
)

func TestMatchAsAPIGatewayDoes(t *testing.T) {
	tab := load(t,
		get("/v1/files/{name}", ""),
		`{"method": "PATCH", "path": "/v1/files/me", "function": "sample"}`,
		get("/v1/files/{name}/meta", ""),
		get("/v1/tree/{rest+}", ""),
		get("/v1/tree/top", ""),
		`{"method": "POST", "path": "/v1/tree", "function": "sample"}`,
		get("/v1/deep/a/c", ""),
		get("/v1/deep/{x}/b", ""),
	)
	type params = map[string]string
	for _, c := range []struct {
		method, path string
		found        route.Found
		resource     string
		params       params
	}{
		{"GET", "/v1/files/a", route.Matched, "/v1/files/{name}", params{"name": "a"}},
		{"GET", "/v1/files/a/", route.Matched, "/v1/files/{name}", params{"name": "a"}},
		{"GET", "/v1/files/a/meta", route.Matched, "/v1/files/{name}/meta", params{"name": "a"}},
		{"GET", "/v1/files/a//", route.NoPath, "", nil},
		{"GET", "/v1/files//a", route.NoPath, "", nil},
		{"GET", "//v1/files/a", route.NoPath, "", nil},
		{"GET", "/v1/files/", route.NoPath, "", nil},
		{"GET", "/v1/files", route.NoPath, "", nil},
		{"GET", "/v1", route.NoPath, "", nil},
		{"GET", "/", route.NoPath, "", nil},
		{"GET", "", route.NoPath, "", nil},
		{"GET", "v1/files/a", route.NoPath, "", nil},
		{"GET", "/V1/files/a", route.NoPath, "", nil},
		// Escapes separate nothing, and spell no static segment.
		{"GET", "/v1/files/a%2Fmeta", route.Matched, "/v1/files/{name}", params{"name": "a/meta"}},
		{"GET", "/v1/files/a%2fmeta", route.Matched, "/v1/files/{name}", params{"name": "a/meta"}},
		{"GET", "/v1/files/a%2F", route.Matched, "/v1/files/{name}", params{"name": "a/"}},
		{"GET", "/v1/files%2Fa", route.NoPath, "", nil},
		{"GET", "/%761/files/a", route.NoPath, "", nil},
		{"GET", "/v1/files/%C3%A9%20b", route.Matched, "/v1/files/{name}", params{"name": "é b"}},
		{"GET", "/v1/files/a+b", route.Matched, "/v1/files/{name}", params{"name": "a+b"}},
		{"GET", "/v1/files/%zz", route.NoPath, "", nil},
		{"PUT", "/v1/files/%zz", route.NoPath, "", nil},
		// "..", ";" and wildcards are segments like others.
		{"GET", "/v1/files/..", route.Matched, "/v1/files/{name}", params{"name": ".."}},
		{"GET", "/v1/files/../tree", route.NoPath, "", nil},
		{"GET", "/v1/files/a;b=c", route.Matched, "/v1/files/{name}", params{"name": "a;b=c"}},
		{"GET", "/v1/files/*", route.Matched, "/v1/files/{name}", params{"name": "*"}},
		{"GET", "/v1/files/{name}", route.Matched, "/v1/files/{name}", params{"name": "{name}"}},
		// The method is part of the match: GET goes past the static resource without one.
		{"PATCH", "/v1/files/me", route.Matched, "/v1/files/me", nil},
		{"GET", "/v1/files/me", route.Matched, "/v1/files/{name}", params{"name": "me"}},
		{"POST", "/v1/files/me", route.OtherMethod, "", nil},
		{"OPTIONS", "/v1/files/me", route.OtherMethod, "", nil},
		{"", "/v1/files/me", route.OtherMethod, "", nil},
		{"get", "/v1/files/me", route.OtherMethod, "", nil},
		// Greedy parameters.
		{"GET", "/v1/tree/a", route.Matched, "/v1/tree/{rest+}", params{"rest": "a"}},
		{"GET", "/v1/tree/a/b%2Fc/d/", route.Matched, "/v1/tree/{rest+}", params{"rest": "a/b/c/d"}},
		{"GET", "/v1/tree/top", route.Matched, "/v1/tree/top", nil},
		{"GET", "/v1/tree/top/x", route.Matched, "/v1/tree/{rest+}", params{"rest": "top/x"}},
		{"GET", "/v1/tree/a//b", route.NoPath, "", nil},
		{"GET", "/v1/tree/a//", route.NoPath, "", nil},
		{"GET", "/v1/tree//", route.NoPath, "", nil},
		{"GET", "/v1/tree/", route.OtherMethod, "", nil},
		{"POST", "/v1/tree/", route.Matched, "/v1/tree", nil},
		{"POST", "/v1/tree/a", route.OtherMethod, "", nil},
		// A static segment that leads nowhere does not hide a parameter that does.
		{"GET", "/v1/deep/a/b", route.Matched, "/v1/deep/{x}/b", params{"x": "a"}},
		{"GET", "/v1/deep/a/c", route.Matched, "/v1/deep/a/c", nil},
		{"GET", "/v1/deep/b/c", route.NoPath, "", nil},
	} {
		r, p, found := tab.Match(c.method, c.path)
		if found != c.found || r.Path != c.resource || cmp.Diff(c.params, p) != "" {
			t.Errorf("Match(%q, %q) = %q, %v, %d; want %q, %v, %d", c.method, c.path, r.Path, p, found, c.resource, c.params, c.found)
		}
		if found == route.Matched && r.Method != c.method {
			t.Errorf("Match(%q, %q) is a route of %q", c.method, c.path, r.Method)
		}
	}
}

func TestMethodsForAPath(t *testing.T) {
	tab := route.Default()
	for path, want := range map[string][]string{
		"/v1/customers":             {"GET", "POST"},
		"/v1/customers/":            {"GET", "POST"},
		"/v1/customers/cus_1":       {"DELETE", "GET", "PUT"},
		"/v1/api-keys/a1b2c3d4":     {"DELETE", "GET", "PATCH"},
		"/v1/api-keys/verify":       {"DELETE", "GET", "PATCH", "POST"},
		"/health":                   {"GET"},
		"/v1/nothing":               nil,
		"/v1/customers//":           nil,
		"/v1/customers/{a}/b/c/d/e": nil,
	} {
		if diff := cmp.Diff(want, tab.MethodsFor(path)); diff != "" {
			t.Errorf("MethodsFor(%q) (-want +got)\n%s", path, diff)
		}
	}
}

// randomRows draws rows of a tiny alphabet, so that they meet often.
func randomRows(r *rand.Rand, more func() string) []string {
	parts := []string{"a", "b", "{x}", "{y}", "{g+}"}
	var rows []string
	for range 1 + r.IntN(6) {
		path := ""
		for range 1 + r.IntN(3) {
			path += "/" + parts[r.IntN(len(parts))]
		}
		rows = append(rows, fmt.Sprintf(`{"method": %q, "path": %q, "function": "sample"%s}`, []string{"GET", "POST", "ANY"}[r.IntN(3)], path, more()))
	}
	return rows
}

// naiveMatch is Match by trying every row: of those that fit, the one whose segments are
// of the lower kinds, from the left.
func naiveMatch(rs []route.Route, method, path string) (best string, params map[string]string, pathExists bool) {
	given := strings.Split(strings.TrimSuffix(path[1:], "/"), "/")
	bestRank := ""
	for _, r := range rs {
		rank, p, fits, got := "", map[string]string{}, true, given
		want := strings.Split(r.Path[1:], "/")
		for i, w := range want {
			if i >= len(got) || got[i] == "" {
				fits = false
				break
			}
			v, err := url.PathUnescape(got[i])
			switch {
			case strings.HasSuffix(w, "+}"):
				rank += "3"
				if slices.Contains(got[i:], "") {
					fits = false
				}
				v, err = url.PathUnescape(strings.Join(got[i:], "/"))
				p[w[1:len(w)-2]] = v
				got, want = append(slices.Clone(got[:i]), "all"), want[:i+1]
			case w[0] == '{':
				rank += "2"
				p[w[1:len(w)-1]] = v
			default:
				rank += "1"
				fits = fits && w == got[i]
			}
			fits = fits && err == nil
		}
		fits = fits && len(want) == len(got)
		if !fits {
			continue
		}
		pathExists = true
		if r.Method == method && (bestRank == "" || rank < bestRank) {
			best, bestRank, params = r.Path, rank, p
		}
	}
	return best, params, pathExists
}

func TestMatchAgreesWithTryingEveryRow(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	segments := []string{"a", "b", "c", "a%2Fb", "", "..", "%61"}
	tables, matches := 0, map[route.Found]int{}
	for tables < 400 {
		tab, err := route.Load(table(randomRows(rnd, func() string { return "" })...))
		if err != nil {
			continue // rows that API Gateway would refuse as well
		}
		tables++
		rs := tab.Routes()
		for range 100 {
			path := ""
			for range 1 + rnd.IntN(4) {
				path += "/" + segments[rnd.IntN(len(segments))]
			}
			if rnd.IntN(4) == 0 {
				path += "/"
			}
			method := []string{"GET", "POST", "PUT"}[rnd.IntN(3)]
			want, wantParams, exists := naiveMatch(rs, method, path)
			r, params, found := tab.Match(method, path)
			matches[found]++
			wantFound := route.NoPath
			if want != "" {
				wantFound = route.Matched
			} else if exists {
				wantFound = route.OtherMethod
			}
			if len(wantParams) == 0 {
				wantParams = nil
			}
			if found != wantFound || r.Path != want || cmp.Diff(wantParams, params) != "" {
				t.Fatalf("Match(%s, %q) = %q, %v, %d; want %q, %v, %d in %v", method, path, r.Path, params, found, want, wantParams, wantFound, rs[17:])
			}
		}
	}
	for _, f := range []route.Found{route.NoPath, route.OtherMethod, route.Matched} {
		if matches[f] < 1_000 {
			t.Errorf("outcome %d came up %d times, want 1,000 or more", f, matches[f])
		}
	}
}

func FuzzMatch(f *testing.F) {
	tab := route.Default()
	for _, p := range []string{"/v1/customers/cus_1", "/v1//customers", "/%2F", "/v1/customers/%", "", "/", "//", "/v1/customers/cus_1/invoices/"} {
		f.Add("GET", p)
	}
	f.Fuzz(func(t *testing.T, method, path string) {
		r, params, found := tab.Match(method, path)
		if found != route.Matched {
			if r != (route.Route{}) || params != nil {
				t.Fatal("a route without a match")
			}
			return
		}
		// The parameters, escaped and put back, are the path again.
		back := r.Path
		for name, v := range params {
			if v == "" {
				t.Fatal("an empty parameter")
			}
			back = strings.Replace(back, "{"+name+"}", url.PathEscape(v), 1)
		}
		if again, p, f := tab.Match(method, back); f != route.Matched || again != r || cmp.Diff(params, p) != "" {
			t.Fatalf("%q matches %s, and %q does not", path, r.Path, back)
		}
	})
}
