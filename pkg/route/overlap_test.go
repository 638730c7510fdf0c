package route_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/pkg/route"
)

const opened = "would open it to keys that may not use it"

func TestUnguardedRoutesThatAnotherPolicyOpensAreRefused(t *testing.T) {
	type rows = []string
	for name, r := range map[string]rows{
		"star spans a slash":           {get("/v1/c/{id}", `, "permission": "a:r"`), get("/v1/c/{id}/invoices", `, "permission": "b:r", "unguarded": true`)},
		"star spans two":               {get("/v1/{x}", `, "permission": "a:r"`), get("/v1/a/b/c", `, "permission": "b:r", "unguarded": true`)},
		"star in the middle":           {get("/v1/{x}/end", `, "permission": "a:r"`), get("/v1/a/b/end", `, "permission": "b:r", "unguarded": true`)},
		"greedy":                       {get("/v1/{rest+}", `, "permission": "a:r"`), get("/v1/a", `, "permission": "b:r", "unguarded": true`)},
		"star takes nothing":           {get("/v1/c/{id}", `, "permission": "a:r"`), get("/v1/c", `, "permission": "b:r", "unguarded": true`)},
		"static beside a parameter":    {get("/v1/u/{id}", `, "permission": "a:r"`), get("/v1/u/me", `, "permission": "b:r", "unguarded": true`)},
		"a parameter opened by text":   {get("/v1/u/me", `, "permission": "a:r"`), get("/v1/u/{id}", `, "permission": "b:r", "unguarded": true`)},
		"escaped slash in a parameter": {get("/v1/c/{id}/invoices", `, "permission": "b:r"`), get("/v1/c/{id}", `, "permission": "a:r", "unguarded": true`)},
		"trailing slash of the other":  {get("/v1/{x}/{y}", `, "permission": "a:r"`), get("/v1/a/b/c", `, "permission": "b:r", "unguarded": true`)},
		"no permission against one":    {get("/v1/{x}", ""), get("/v1/a/b", `, "permission": "b:r", "unguarded": true`)},
		"other's customer is free":     {get("/v1/c/{id}", `, "permission": "a:r"`), get("/v1/c/{id}/x", `, "permission": "a:r", "customer": "id", "unguarded": true`)},
		"customer in another place": {
			`{"method": "GET", "path": "/v1/{t}/{id}", "permission": "a:r", "customer": "id", "function": "sample"}`,
			get("/v1/c/{id}/{n}", `, "permission": "a:r", "customer": "id", "unguarded": true`),
		},
		"ANY against GET":       {`{"method": "ANY", "path": "/v1/{x}", "permission": "a:r", "function": "sample"}`, get("/v1/a/b", `, "permission": "b:r", "unguarded": true`)},
		"GET against ANY":       {get("/v1/{x}", `, "permission": "a:r"`), `{"method": "ANY", "path": "/v1/a/b", "permission": "b:r", "unguarded": true, "function": "sample"}`},
		"both unguarded":        {get("/v1/{x}", `, "permission": "a:r", "unguarded": true`), get("/v1/a/b", `, "permission": "b:r", "unguarded": true`)},
		"management's policies": {get("/{rest+}", `, "permission": "a:r", "unguarded": true`)},
		"unguarded row first":   {get("/v1/a/b", `, "permission": "b:r", "unguarded": true`), get("/v1/{x}", `, "permission": "a:r"`)},
	} {
		_, err := route.Load(table(r...))
		if err == nil || !strings.Contains(err.Error(), "unguarded: the IAM policy of ") || !strings.Contains(err.Error(), opened) {
			t.Errorf("%s: want a refusal for the overlap, got %v", name, err)
		}
	}
	_, err := route.Load(table(get("/v1/c/{id}", `, "permission": "a:r"`), get("/v1/c/{id}/invoices", `, "permission": "b:r", "unguarded": true`)))
	if want := "route table: routes[1] (GET /v1/c/{id}/invoices): unguarded: the IAM policy of routes[0] (GET /v1/c/{id}) would open it"; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("the error is %v, want it to begin with %q", err, want)
	}
}

func TestUnguardedRoutesThatNoOtherPolicyOpensAreAccepted(t *testing.T) {
	type rows = []string
	for name, r := range map[string]rows{
		"alone":                       {get("/v1/u/{id}", `, "permission": "a:r", "unguarded": true`)},
		"all guarded":                 {get("/v1/c/{id}", `, "permission": "a:r"`), get("/v1/c/{id}/invoices", `, "permission": "b:r"`)},
		"the same permission":         {get("/v1/c/{id}", `, "permission": "a:r"`), get("/v1/c/{id}/invoices", `, "permission": "a:r", "unguarded": true`)},
		"any live key may":            {get("/v1/c/{id}", `, "permission": "a:r"`), get("/v1/c/{id}/invoices", `, "unguarded": true`)},
		"another method":              {`{"method": "POST", "path": "/v1/{x}", "permission": "a:w", "function": "sample"}`, get("/v1/a/b", `, "permission": "b:r", "unguarded": true`)},
		"ANY's other methods":         {`{"method": "ANY", "path": "/v1/u/me", "permission": "a:w", "function": "sample"}`, get("/v1/u/me", `, "permission": "b:r", "unguarded": true`)},
		"public has no policy":        {get("/v1/{x}", `, "public": true`), get("/v1/a/b", `, "permission": "b:r", "unguarded": true`)},
		"list beside its items":       {get("/v1/u", `, "permission": "a:r"`), get("/v1/u/{id}", `, "permission": "b:r", "unguarded": true`)},
		"a prefix is no path":         {get("/v1/u", `, "permission": "a:r"`), get("/v1/users", `, "permission": "b:r", "unguarded": true`)},
		"another static end":          {get("/v1/{x}/end", `, "permission": "a:r"`), get("/v1/a/begin", `, "permission": "b:r", "unguarded": true`)},
		"the same customer":           {get("/v1/c/{id}", `, "permission": "a:r", "customer": "id"`), get("/v1/c/{id}/x", `, "permission": "a:r", "customer": "id", "unguarded": true`)},
		"customer against none":       {get("/v1/c/{id}", `, "permission": "a:r", "customer": "id"`), get("/v1/c/{id}/x", `, "permission": "a:r", "unguarded": true`)},
		"far from management's paths": {get("/v2/{rest+}", `, "permission": "a:r", "unguarded": true`)},
	} {
		if _, err := route.Load(table(r...)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// iamMatches is IAM's matching of a resource with "*", written for this test alone.
func iamMatches(pattern, s string) bool {
	first, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == s
	}
	if !strings.HasPrefix(s, first) {
		return false
	}
	for i := len(first); i <= len(s); i++ {
		if iamMatches(rest, s[i:]) {
			return true
		}
	}
	return false
}

// arnPath is what a policy holds of a route: its path with a star for each parameter.
func arnPath(r route.Route) string {
	parts := strings.Split(r.Path, "/")
	for i, p := range parts {
		if strings.HasPrefix(p, "{") {
			parts[i] = "*"
		}
	}
	return r.Method + strings.Join(parts, "/")
}

// Whatever table is accepted: a request that reaches an unguarded route is not allowed
// by the ARN of a route that asks for another permission.
func TestNoAcceptedTableOpensAnUnguardedRoute(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	options := []string{"", `, "permission": "a:r"`, `, "permission": "b:r"`}
	segments := []string{"a", "b", "x", "a%2Fb", "%2Fa"}
	checked, refusedForIt := 0, 0
	for range 2_500 {
		tab, err := route.Load(table(randomRows(rnd, func() string {
			more := options[rnd.IntN(len(options))]
			if rnd.IntN(4) == 0 {
				more += `, "unguarded": true`
			}
			return more
		})...))
		if err != nil {
			if strings.Contains(err.Error(), opened) {
				refusedForIt++
			}
			continue
		}
		for range 100 {
			path := ""
			for range 1 + rnd.IntN(4) {
				path += "/" + segments[rnd.IntN(len(segments))]
			}
			if rnd.IntN(3) == 0 {
				path += "/"
			}
			u, _, found := tab.Match("GET", path)
			if found != route.Matched || !u.Unguarded {
				continue
			}
			checked++
			for _, r := range tab.Routes() {
				if r == u || r.Public || u.Permission == "" || r.Permission == u.Permission {
					continue
				}
				for _, seen := range []string{path, strings.ReplaceAll(path, "%2F", "/")} {
					for _, arn := range []string{arnPath(r), arnPath(r) + "/"} {
						if iamMatches(arn, "GET"+seen) {
							t.Fatalf("GET %s reaches %s (%s, unguarded), which the ARN %s of %s allows", path, u.Path, u.Permission, arn, r.Permission)
						}
					}
				}
			}
		}
	}
	if checked < 800 || refusedForIt < 300 {
		t.Errorf("%d requests checked and %d tables refused: too few to mean anything", checked, refusedForIt)
	}
}
