package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/route"
)

// The oracle says by its own means what a key may do: it finds the route as a gateway
// does, segment by segment, and applies the permission and customer of that route. It
// shares no code with the package.

// oracleMatch finds the route of a request: as many segments, none empty, one trailing
// slash for nothing, a greedy parameter for the rest; literals before parameters before
// greedy ones, from the left.
func oracleMatch(table []route.Route, method, path string) (best *route.Route, params map[string]string) {
	parts := strings.Split(strings.TrimSuffix(strings.TrimPrefix(path, "/"), "/"), "/")
	if slices.Contains(parts, "") {
		return nil, nil
	}
	rank := ""
	for i := range table {
		want := strings.Split(strings.TrimPrefix(table[i].Path, "/"), "/")
		greedy := strings.HasSuffix(table[i].Path, "+}")
		if table[i].Method != method || len(want) != len(parts) && !(greedy && len(parts) > len(want)) {
			continue
		}
		r, p := "", map[string]string{}
		for j, w := range want {
			name := strings.Trim(w, "{+}")
			switch {
			case strings.HasSuffix(w, "+}"):
				r, p[name] = r+"1", strings.Join(parts[j:], "/")
			case strings.HasPrefix(w, "{"):
				r, p[name] = r+"2", parts[j]
			case w == parts[j]:
				r += "3"
			default:
				r += "0"
			}
		}
		if !strings.Contains(r, "0") && r > rank {
			rank, best, params = r, &table[i], p
		}
	}
	return best, params
}

// oracleHolds is the rule of permissions, written out.
func oracleHolds(held []string, want string) bool {
	if want == "" {
		return true
	}
	resource := want[:strings.Index(want, ":")]
	managing := resource == "api_keys"
	return slices.Contains(held, want) || slices.Contains(held, resource+":*") || !managing && slices.Contains(held, "*")
}

// oracleAllows is the guard's rule: permission and customer by the matched route.
func oracleAllows(r *route.Route, params map[string]string, id keys.Identity) bool {
	if !oracleHolds(id.Permissions, r.Permission) || id.Parent != "" && !r.Management {
		return false
	}
	if r.Customer == "" || len(id.Customers) == 0 {
		return true
	}
	customer, err := url.PathUnescape(params[r.Customer])
	return err == nil && slices.Contains(id.Customers, customer)
}

// randomTable draws a table in which routes overlap on purpose: few words, many parameters.
func randomTable(t *testing.T, rng *rand.Rand) ([]route.Route, *Policies, error) {
	words := []string{"a", "b", "c"}
	n, unguarded := 2+rng.IntN(8), 0.35
	if rng.IntN(4) == 0 { // a big one, for documents that are too long
		n, unguarded = 20+rng.IntN(40), 0.1
		for i := range words {
			words[i] = strings.Repeat(words[i], 20+rng.IntN(40))
		}
		words = append(words, "d", "e", "f", "g")
	}
	var file struct {
		Permissions []route.Permission `json:"permissions"`
		Routes      []route.Route      `json:"routes"`
	}
	for _, name := range []string{"x:read", "x:write", "y:read"} {
		file.Permissions = append(file.Permissions, route.Permission{Name: name, Label: name})
	}
	seen := map[string]bool{}
	for range n {
		r := route.Route{
			Method:     []string{"GET", "GET", "POST", "DELETE"}[rng.IntN(4)],
			Permission: []string{"", "x:read", "x:write", "y:read", "api_keys:read"}[rng.IntN(5)],
			Unguarded:  rng.Float64() < unguarded,
			Function:   "sample",
		}
		var params []string
		depth := 1 + rng.IntN(4)
		for j := range depth {
			if rng.IntN(5) < 2 {
				// The depth is the name: API Gateway takes one parameter in a place.
				params = append(params, fmt.Sprintf("p%d", j))
				r.Path += "/{" + params[len(params)-1] + "}"
				continue
			}
			r.Path += "/" + words[rng.IntN(len(words))]
		}
		if len(params) > 0 && rng.IntN(2) == 0 {
			r.Customer = params[rng.IntN(len(params))]
		}
		if rng.IntN(12) == 0 {
			r.Path += "/{rest+}"
		}
		if rng.IntN(20) == 0 {
			r.Public, r.Permission, r.Customer, r.Unguarded = true, "", "", false
		}
		if key := r.Method + r.Path; !seen[key] {
			seen[key] = true
			file.Routes = append(file.Routes, r)
		}
	}
	text, err := json.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	table, err := route.Load(text)
	if err != nil {
		return nil, nil, err
	}
	p, err := New(table)
	return table.Routes(), p, err
}

func randomIdentity(rng *rand.Rand, now time.Time) keys.Identity {
	id := keys.Identity{KeyID: "8fQ2mZ0a", AccountID: "acc_1", Environment: keys.Production, Generation: 1}
	for _, p := range []string{"x:read", "x:write", "x:*", "y:read", "api_keys:read", "api_keys:*", "*"} {
		if rng.IntN(4) == 0 {
			id.Permissions = append(id.Permissions, p)
		}
	}
	switch rng.IntN(4) {
	case 0, 1:
		for range 1 + rng.IntN(3) {
			id.Customers = append(id.Customers, []string{"cus_1", "cus_2", "a", "b"}[rng.IntN(4)])
		}
	case 2:
		if rng.IntN(3) == 0 {
			for i := range 1 + rng.IntN(120) {
				id.Customers = append(id.Customers, fmt.Sprintf("%s%d", strings.Repeat("c", rng.IntN(60)+1), i))
			}
			id.Customers = append(id.Customers, "cus_1")
		}
	}
	if rng.IntN(2) == 0 {
		id.ExpiresAt = now.Add(time.Duration(rng.IntN(200)-100)*time.Minute + time.Second)
	}
	if rng.IntN(4) == 0 {
		id.GraceUntil = now.Add(time.Duration(rng.IntN(200)-100)*time.Minute + time.Second)
	}
	switch rng.IntN(8) {
	case 0, 1:
		for range 1 + rng.IntN(3) {
			id.Networks = append(id.Networks, []string{"10.0.0.0/8", "10.1.2.3/32", "203.0.113.0/24", "2001:db8::/32", "::/0"}[rng.IntN(5)])
		}
	case 2: // as many as a key may have, in the longest spelling
		for i := range keys.MaxNetworks {
			id.Networks = append(id.Networks, fmt.Sprintf("2001:db8:1111:2222:3333:4444:5555:%04x/128", 0xa000+i))
		}
	}
	if rng.IntN(10) == 0 {
		id.Parent, id.ParentVerdict = "Ab12Cd34", 1
	}
	return id
}

// oracleFrom reports whether an address is in the networks, by package net.
func oracleFrom(networks []string, address string) bool {
	return len(networks) == 0 || slices.ContainsFunc(networks, func(n string) bool {
		_, block, err := net.ParseCIDR(n)
		return err == nil && block.Contains(net.ParseIP(address))
	})
}

// randomPath is mostly a request of a route of the table, often one that tries something.
func randomPath(rng *rand.Rand, table []route.Route, id keys.Identity) (method, path string) {
	r := table[rng.IntN(len(table))]
	for strings.HasPrefix(r.Path, "/v1/") && rng.IntN(10) > 0 {
		r = table[rng.IntN(len(table))] // the management routes are in every table
	}
	values := append([]string{
		"a", "b", "c", "d", "cus_1", "cus_2", "cus_3", "x", "..", ".", "*", "?*", "**", "%2A", "%3F", "%2F", "a%2Fb", "c%2F", "cus_1%2F", "a%2Fcus_1%2Fb",
		"cus_1%2Fa", "%2Fcus_1", "x%2Fcus_1", "%63us_1", "cus_1;a", "cus_1:a", "", "%00", "%2e%2e", "a/b", "cus_1/a", "x/cus_1",
	}, id.Customers...)
	for _, s := range strings.Split(strings.TrimPrefix(r.Path, "/"), "/") {
		switch {
		case strings.HasPrefix(s, "{"):
			s = values[rng.IntN(len(values))]
		case rng.IntN(25) == 0:
			s = values[rng.IntN(len(values))]
		}
		path += "/" + s
	}
	method = r.Method
	if rng.IntN(12) == 0 {
		method = []string{"GET", "POST", "DELETE", "PUT", "OPTIONS"}[rng.IntN(5)]
	}
	switch rng.IntN(12) {
	case 0, 1, 2:
		path += "/"
	case 3:
		path += "//"
	case 4:
		path = "/" + path
	case 5:
		path += "/" + values[rng.IntN(len(values))]
	case 6:
		path = path[:max(1, strings.LastIndexByte(path, '/'))]
	}
	return method, path
}

var customerID = regexp.MustCompile(`^[A-Za-z0-9_-]{0,64}$`)

const base = "arn:aws:execute-api:eu-central-1:123456789012:abcdef1234/production/"

// TestPolicyAndGuardTogetherGrantExactlyWhatTheKeyHolds holds more than 100,000 random requests
// against the oracle. On a guarded route the policy must let through whatever the guard
// accepts; on an unguarded one it must be exact by itself.
func TestPolicyAndGuardTogetherGrantExactlyWhatTheKeyHolds(t *testing.T) {
	const tables, identities, requests = 1000, 24, 12
	now := time.Date(2026, 1, 15, 10, 30, 0, 0, time.UTC)
	rng := rand.New(rand.NewPCG(2026, 1))
	env := map[string]string{CurrentTime: now.Format(time.RFC3339)}
	sources := []string{"10.1.2.3", "10.9.9.9", "203.0.113.200", "198.51.100.1", "2001:db8::1", "2001:db8:1111:2222:3333:4444:5555:a001", "fe80::1"}
	stats := map[string]int{}
	for stats["tables"] < tables {
		table, p, err := randomTable(t, rng)
		if err != nil {
			if stats["refused tables"]++; !strings.Contains(err.Error(), "unguarded") && !strings.Contains(err.Error(), "API Gateway allows one parameter in a place") {
				t.Fatalf("Load or New: %v", err)
			}
			continue
		}
		stats["tables"]++
		for range identities {
			id := randomIdentity(rng, now)
			doc, dropped, err := p.AppendDocument(nil, id, base)
			if err != nil {
				t.Fatalf("AppendDocument(%+v): %v", id, err)
			}
			parsed, err := Parse(doc)
			if err != nil {
				t.Fatalf("the document is no policy: %v\n%s", err, doc)
			}
			if dropped > 0 {
				stats["cut off"]++
			}
			var full writer
			full.init(nil, base, until(&id), id.Networks)
			allowed := make([]bool, len(p.rows))
			p.allow(allowed, &id)
			full.begin()
			p.exact(&full, allowed, id.Customers)
			if full.end(); full.long() {
				stats["shortened"]++
			}
			checkWildcards(t, table, doc)
			for range requests {
				method, path := randomPath(rng, table, id)
				resource := base + method + path
				env[SourceIP] = sources[rng.IntN(len(sources))]
				inside := oracleFrom(id.Networks, env[SourceIP])
				decision, err := parsed.Evaluate("execute-api:Invoke", resource, env)
				if err != nil {
					t.Fatalf("Evaluate(%s): %v\n%s", resource, err, doc)
				}
				r, params := oracleMatch(table, method, path)
				if r == nil || r.Public {
					stats["not routed"]++ // answered before anybody asks the policy
					continue
				}
				stats["routed"]++
				inTime := (id.ExpiresAt.IsZero() || now.Before(id.ExpiresAt)) && (id.GraceUntil.IsZero() || now.Before(id.GraceUntil))
				want := oracleAllows(r, params, id) && inside && inTime
				// What a session's policy may let through although it is no session's.
				of := id
				of.Parent = ""
				most := oracleAllows(r, params, of) && inside && inTime
				// A customer id in needless percent-encoding is not what the policy
				// spells. It may be refused, never granted wrongly.
				canonical := r.Customer == "" || len(id.Customers) == 0 || !strings.Contains(params[r.Customer], "%")
				fail := func(what string) {
					t.Helper()
					t.Fatalf("%s: %s %s on %+v\nidentity %+v\ndecision %+v\ntable %+v\n%s", what, method, path, *r, id, decision, table, doc)
				}
				if r.Unguarded {
					stats["unguarded"]++
					decoded, err := url.PathUnescape(path)
					if err != nil {
						t.Fatal(err)
					}
					// Should AWS decode the ARN, still no valid customer id may be
					// reached that is not the key's own.
					if d, err := parsed.Evaluate("execute-api:Invoke", base+method+decoded, env); err != nil || d.Allowed && !most && customerID.MatchString(params[r.Customer]) {
						decision = d
						fail("over-grant on an unguarded route, decoded")
					}
					if decision.Allowed && !most {
						fail("over-grant on an unguarded route")
					}
					if decision.Allowed && !want {
						stats["unguarded, by a management wildcard"]++
					} else if id.Parent != "" && most {
						stats["unguarded, kept from sessions"]++
					}
					if want {
						stats["unguarded granted"]++
					}
				} else {
					stats["guarded"]++
					if decision.Allowed && !want {
						stats["left to the guard"]++
					}
					if !inside {
						stats["guarded, from elsewhere"]++
						if decision.Allowed && !bytes.Contains(doc, []byte(`"aws:SourceIp"`)) && len(doc) < target/2 {
							fail("a foreign network got through a document with room for the condition")
						}
						if decision.Allowed {
							stats["networks spared"]++
						}
					}
					if want {
						stats["guarded granted"]++
					}
				}
				if want && !decision.Allowed && canonical && dropped == 0 {
					fail("under-grant")
				}
			}
		}
	}
	t.Log(stats)
	for what, least := range map[string]int{
		"routed": 100_000, "guarded granted": 5000, "unguarded granted": 1000, "unguarded": 3000, "shortened": 200, "cut off": 20, "left to the guard": 100,
		"guarded, from elsewhere": 5000, "networks spared": 20, "unguarded, kept from sessions": 100,
	} {
		if stats[what] < least {
			t.Errorf("the draw tested too little: %s %d, want at least %d", what, stats[what], least)
		}
	}
}

// checkWildcards holds a document's resources to the table: what is left of one without
// the wildcards of its parameters has no "*" or "?".
func checkWildcards(t *testing.T, table []route.Route, doc []byte) {
	t.Helper()
	for _, r := range resources(t, doc) {
		rest, ok := strings.CutPrefix(r, base)
		if !ok {
			t.Fatalf("a resource outside the stage: %s", r)
		}
		if rest == "*" {
			continue // the Deny of everything
		}
		if strings.ContainsAny(strings.ReplaceAll(rest, "/?*", ""), "*?") {
			t.Fatalf("a wildcard that is no parameter's: %s", r)
		}
	}
}

// resources lists every resource of a document.
func resources(t *testing.T, doc []byte) (all []string) {
	t.Helper()
	var d struct {
		Statement []struct{ Resource []string }
	}
	if err := json.Unmarshal(doc, &d); err != nil {
		t.Fatalf("%v: %s", err, doc)
	}
	for _, s := range d.Statement {
		all = append(all, s.Resource...)
	}
	return all
}
