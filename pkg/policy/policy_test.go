package policy

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/route"
)

// mustCompile prepares routes alone, without the management routes that are in every table.
func mustCompile(t testing.TB, routes ...route.Route) *Policies {
	t.Helper()
	p, err := compile(routes)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func shipped(t testing.TB) *Policies {
	t.Helper()
	p, err := New(route.Default())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func document(t testing.TB, p *Policies, id keys.Identity) []byte {
	t.Helper()
	doc, dropped, err := p.AppendDocument(nil, id, base)
	if err != nil || dropped != 0 {
		t.Fatalf("AppendDocument(%+v): dropped %d, error %v", id, dropped, err)
	}
	return doc
}

// asker asks a policy about requests.
type asker struct {
	t   *testing.T
	doc []byte
	now time.Time
}

func (a asker) ask(requests []string, want bool) {
	a.t.Helper()
	for _, request := range requests {
		method, path, _ := strings.Cut(request, " ")
		d, err := Evaluate(a.doc, "execute-api:Invoke", base+method+path, map[string]string{CurrentTime: a.now.Format(time.RFC3339)})
		if err != nil || d.Allowed != want {
			a.t.Errorf("%s: decision %+v, error %v; want allowed %t\n%s", request, d, err, want, a.doc)
		}
	}
}
func (a asker) allow(requests ...string) { a.t.Helper(); a.ask(requests, true) }
func (a asker) deny(requests ...string)  { a.t.Helper(); a.ask(requests, false) }

var now = time.Date(2026, 1, 15, 10, 30, 0, 0, time.UTC)

func TestShippedTableReadAsPolicy(t *testing.T) {
	p := shipped(t)
	with := func(id keys.Identity, permissions ...string) asker {
		id.Permissions = permissions
		return asker{t, document(t, p, id), now}
	}
	everybody := []string{"GET /v1/api-keys/self", "GET /v1/permissions", "GET /v1/permissions/", "GET /v1/routes", "DELETE /v1/sessions/self"}

	reader := with(keys.Identity{}, "customers:read")
	reader.allow(append(everybody, "GET /v1/customers", "GET /v1/customers/", "GET /v1/customers/cus_1", "GET /v1/customers/cus_1/")...)
	reader.deny("POST /v1/customers", "PUT /v1/customers/cus_1", "DELETE /v1/customers/cus_1",
		"GET /v1/customers/cus_1/invoices", "GET /v1/customers/cus_1/invoices/", // the overlap trap
		"GET /v1/licenses", "GET /v1/api-keys", "GET /v1/api-keys/8fQ2mZ0a", "POST /v1/telemetry", "get /v1/customers", "GET /v1/customersx")

	invoices := with(keys.Identity{}, "invoices:read")
	invoices.allow("GET /v1/customers/cus_1/invoices", "GET /v1/customers/cus_1/invoices/")
	invoices.deny("GET /v1/customers/cus_1", "GET /v1/customers", "GET /v1/customers/")

	both := with(keys.Identity{}, "customers:*", "invoices:read")
	both.allow("GET /v1/customers/cus_1", "GET /v1/customers/cus_1/invoices", "DELETE /v1/customers/cus_1")

	star := with(keys.Identity{}, "*")
	star.allow("GET /v1/workspaces/", "POST /v1/telemetry", "GET /v1/licenses", "GET /v1/customers/cus_1/invoices")
	star.deny("GET /v1/api-keys", "POST /v1/api-keys", "DELETE /v1/api-keys/8fQ2mZ0a", "GET /v1/account/api-keys/", "POST /v1/api-keys/8fQ2mZ0a/revoke")

	root := with(keys.Identity{}, "*", "api_keys:*")
	root.allow("GET /v1/api-keys", "PATCH /v1/account/api-keys/2/", "POST /v1/api-keys/8fQ2mZ0a/regenerate", "GET /v1/licenses")
	root.deny("PUT /v1/licenses", "OPTIONS /v1/licenses", "GET /v2/licenses")

	// What is counted, logged and alerted is read by who may read keys, and changed by who
	// may manage them.
	reads := []string{"GET /v1/api-keys/8fQ2mZ0a/usage", "GET /v1/api-keys/8fQ2mZ0a/requests", "GET /v1/api-keys/8fQ2mZ0a/advice/", "GET /v1/usage", "GET /v1/logs",
		"GET /v1/alerts", "GET /v1/webhooks/", "GET /v1/webhooks/whk_1", "GET /v1/webhooks/whk_1/deliveries",
		"POST /v1/sessions", "GET /v1/sessions", "GET /v1/audit-events/", "GET /v1/api-keys/customers", "GET /v1/account"}
	changes := []string{"DELETE /v1/sessions/key_8fQ2mZ0a", "POST /v1/alerts/x/acknowledge", "POST /v1/webhooks", "PATCH /v1/webhooks/whk_1", "DELETE /v1/webhooks/whk_1",
		"POST /v1/webhooks/whk_1/test", "POST /v1/deliveries/dlv_1/redeliver"}
	star.deny(append(slices.Clone(reads), changes...)...)
	root.allow(append(slices.Clone(reads), changes...)...)
	readers := with(keys.Identity{}, "api_keys:read")
	readers.allow(reads...)
	readers.deny(changes...)
	writers := with(keys.Identity{}, "api_keys:write")
	writers.allow(changes...)
	writers.deny(reads...)

	nobody := with(keys.Identity{})
	nobody.allow(everybody...)
	nobody.deny("GET /v1/api-keys/8fQ2mZ0a", "GET /v1/customers")

	session := with(keys.Identity{Parent: "8fQ2mZ0a", ParentVerdict: 1}, "*", "api_keys:*")
	session.allow(append(slices.Concat(everybody, reads, changes), "GET /v1/api-keys", "POST /v1/api-keys/8fQ2mZ0a/regenerate", "PATCH /v1/account/api-keys/2")...)
	session.deny("GET /v1/customers", "GET /v1/customers/cus_1", "POST /v1/telemetry", "GET /v1/licenses", "GET /v1/workspaces/")

	scoped := with(keys.Identity{Customers: []string{"cus_1", "cus-2"}}, "customers:*", "invoices:read")
	scoped.allow("GET /v1/customers/cus_1", "GET /v1/customers/cus_1/", "PUT /v1/customers/cus-2", "GET /v1/customers/cus_1/invoices/", "GET /v1/customers")
	scoped.deny("GET /v1/customers/cus_2", "GET /v1/customers/cus_11", "GET /v1/customers/cus_2/invoices", "GET /v1/customers/x/cus_1",
		"GET /v1/customers/x%2Fcus_1", "GET /v1/customers/*", "GET /v1/customers/cus_?", "GET /v1/customers/cus_1%2F..%2Fcus_2")
}

// Under target nothing is shortened: a policy names each route that is allowed, but for
// those that another one's wildcard opens anyway.
func TestPoliciesOfTheShippedTableStayUnder8KB(t *testing.T) {
	const long = "arn:aws-us-gov:execute-api:us-gov-west-1:123456789012:abcdefghij/development/"
	for name, id := range map[string]keys.Identity{
		"*":                {Permissions: []string{"*"}},
		"api_keys:*":       {Permissions: []string{"api_keys:*"}},
		"* and api_keys:*": {Permissions: []string{"*", "api_keys:*"}},
	} {
		var all []string
		for _, r := range route.Default().Routes() {
			if r.Public || r.Permission != "" && !keys.Holds(id.Permissions, r.Permission) {
				continue
			}
			resource := r.Method + regexp.MustCompile(`{[^}]*}`).ReplaceAllString(r.Path, "?*")
			if all = append(all, resource); !strings.HasSuffix(resource, "*") { // that is the trailing slash too
				all = append(all, resource+"/")
			}
		}
		var want []string
		for _, resource := range all {
			if !slices.ContainsFunc(all, func(other string) bool {
				prefix, wild := strings.CutSuffix(other, "?*")
				return wild && other != resource && strings.HasPrefix(resource, prefix) && resource != prefix
			}) {
				want = append(want, long+resource)
			}
		}
		doc, dropped, err := shipped(t).AppendDocument(nil, id, long)
		if err != nil || dropped != 0 || len(doc) > target {
			t.Errorf("%s: %d bytes, %d resources left out, %v; want at most %d bytes and all", name, len(doc), dropped, err, target)
		}
		got := resources(t, doc)
		slices.Sort(want)
		slices.Sort(got)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: resources (-want +got):\n%s", name, d)
		}
		t.Logf("%s: %d resources for %d, %d bytes; %d where names are of the usual length", name, len(got), len(all), len(doc), len(document(t, shipped(t), id)))
	}
}

// A root key of as many networks as there may be, in the longest spelling: the whole table
// fits, and every Allow keeps the networks or is of routes that have a guard.
func TestFiftyNetworksLeaveNoUnguardedRouteOpen(t *testing.T) {
	id := keys.Identity{Permissions: []string{"*", "api_keys:*"}, ExpiresAt: now.Add(time.Hour)}
	for i := range keys.MaxNetworks {
		id.Networks = append(id.Networks, fmt.Sprintf("2001:db8:1111:2222:3333:4444:5555:%04x/128", 0xa000+i))
	}
	table := []route.Route{{Method: "GET", Path: "/hook", Permission: "customers:read", Unguarded: true}}
	p := mustCompile(t, append(route.Default().Routes(), table...)...)
	doc, dropped, err := p.AppendDocument(nil, id, base)
	if err != nil || dropped != 0 || len(doc) > target {
		t.Fatalf("%d bytes, %d resources left out, %v; want at most %d bytes and all", len(doc), dropped, err, target)
	}
	t.Logf("%d bytes, %d resources", len(doc), len(resources(t, doc)))
	ask := func(resource, ip string, want bool) {
		t.Helper()
		d, err := Evaluate(doc, "execute-api:Invoke", base+resource, map[string]string{CurrentTime: now.Format(time.RFC3339), SourceIP: ip})
		if err != nil || d.Allowed != want {
			t.Errorf("%s from %s: allowed %t, %v, want %t", resource, ip, d.Allowed, err, want)
		}
	}
	const inside, outside = "2001:db8:1111:2222:3333:4444:5555:a031", "2001:db8:1111:2222:3333:4444:5555:a032"
	for _, resource := range []string{"GET/hook", "GET/hook/", "GET/v1/customers", "POST/v1/api-keys", "DELETE/v1/account/api-keys/7"} {
		ask(resource, inside, true)
	}
	ask("GET/hook", outside, false)
	ask("GET/hook/", outside, false)

	// A key that may do less keeps them everywhere.
	id.Permissions = []string{"customers:read"}
	if doc, _, err = p.AppendDocument(nil, id, base); err != nil {
		t.Fatal(err)
	}
	for _, resource := range []string{"GET/hook", "GET/v1/customers", "GET/v1/permissions"} {
		ask(resource, inside, true)
		ask(resource, outside, false)
	}
}

func TestMalformedNetworkIsAnErrorAndNeverAnywhere(t *testing.T) {
	p := mustCompile(t, small...)
	for _, n := range []string{"", "*", "10.0.0.1", "10.0.0.1/8", `10.0.0.0/8"`, "::ffff:10.0.0.0/104", "FE80::/10"} {
		doc, _, err := p.AppendDocument([]byte("x"), keys.Identity{Permissions: []string{"*"}, Networks: []string{"10.0.0.0/8", n}}, base)
		if err == nil || string(doc) != "x" {
			t.Errorf("network %q: wrote %d bytes, error %v; want none and an error", n, len(doc), err)
		}
	}
}

func TestPolicyIsOneStageOnly(t *testing.T) {
	doc := document(t, shipped(t), keys.Identity{Permissions: []string{"*", "api_keys:*"}})
	for _, resource := range []string{
		strings.Replace(base, "production", "staging", 1) + "GET/v1/licenses",
		strings.Replace(base, "abcdef1234", "zzzzzz1234", 1) + "GET/v1/licenses",
		strings.Replace(base, "123456789012", "210987654321", 1) + "GET/v1/licenses",
	} {
		if d, err := Evaluate(doc, "execute-api:Invoke", resource, nil); err != nil || d.Allowed {
			t.Errorf("%s: %+v, %v; want denied", resource, d, err)
		}
	}
}

var small = []route.Route{
	{Method: "GET", Path: "/items", Permission: "items:read"},
	{Method: "GET", Path: "/items/{id}", Permission: "items:read", Customer: "id"},
	{Method: "GET", Path: "/items/{id}/log", Permission: "log:read"},
	{Method: "POST", Path: "/hooks/{name}", Permission: "hooks:write", Unguarded: true},
	{Method: "GET", Path: "/", Permission: "items:read"},
	{Method: "GET", Path: "/sites/{id}/{page}", Permission: "sites:read", Customer: "id"},
	{Method: "GET", Path: "/sites/{id}/{page}/log", Permission: "log:read", Customer: "id"},
	{Method: "GET", Path: "/health", Public: true},
}

func TestDocumentShape(t *testing.T) {
	p := mustCompile(t, small...)
	const b = base
	for name, c := range map[string]struct {
		id   keys.Identity
		want string
	}{
		"wildcard's surplus denied again": {
			keys.Identity{Permissions: []string{"items:read"}},
			`{"Version":"2012-10-17","Statement":[` +
				`{"Effect":"Allow","Action":"execute-api:Invoke","Resource":["` + b + `GET/items","` + b + `GET/items/","` + b + `GET/items/?*","` + b + `GET/"]},` +
				`{"Effect":"Deny","Action":"execute-api:Invoke","Resource":["` + b + `GET/items/?*/log","` + b + `GET/items/?*/log/"]}]}`,
		},
		"confined: filled in, nothing to deny": {
			keys.Identity{Permissions: []string{"items:read"}, Customers: []string{"c1", "c2"}},
			`{"Version":"2012-10-17","Statement":[` +
				`{"Effect":"Allow","Action":"execute-api:Invoke","Resource":["` + b + `GET/items","` + b + `GET/items/","` + b + `GET/items/c1","` + b + `GET/items/c1/","` + b + `GET/items/c2","` + b + `GET/items/c2/","` + b + `GET/"]}]}`,
		},
		"confined: a wildcard behind the customer denied again": {
			keys.Identity{Permissions: []string{"sites:read"}, Customers: []string{"c1"}},
			`{"Version":"2012-10-17","Statement":[` +
				`{"Effect":"Allow","Action":"execute-api:Invoke","Resource":["` + b + `GET/sites/c1/?*"]},` +
				`{"Effect":"Deny","Action":"execute-api:Invoke","Resource":["` + b + `GET/sites/?*/?*/log","` + b + `GET/sites/?*/?*/log/"]}]}`,
		},
		"what another's wildcard opens is not said again": {
			keys.Identity{Permissions: []string{"items:read", "log:read"}},
			`{"Version":"2012-10-17","Statement":[` +
				`{"Effect":"Allow","Action":"execute-api:Invoke","Resource":["` + b + `GET/items","` + b + `GET/items/","` + b + `GET/items/?*","` + b + `GET/","` + b + `GET/sites/?*/?*/log","` + b + `GET/sites/?*/?*/log/"]}]}`,
		},
		"time limit on unguarded routes": {
			keys.Identity{Permissions: []string{"items:read", "log:read", "hooks:write"}, Customers: []string{"c1"}, ExpiresAt: time.Date(2026, 2, 1, 12, 0, 0, 999e6, time.FixedZone("", 3600))},
			`{"Version":"2012-10-17","Statement":[` +
				`{"Effect":"Allow","Action":"execute-api:Invoke","Resource":["` + b + `GET/items","` + b + `GET/items/","` + b + `GET/items/c1","` + b + `GET/items/c1/","` + b + `GET/items/?*/log","` + b + `GET/items/?*/log/","` + b + `GET/","` + b + `GET/sites/c1/?*/log","` + b + `GET/sites/c1/?*/log/"]},` +
				`{"Effect":"Allow","Action":"execute-api:Invoke","Resource":["` + b + `POST/hooks/?*"],"Condition":{"DateLessThan":{"aws:CurrentTime":"2026-02-01T11:00:00Z"}}}]}`,
		},
		"no time limit: one statement": {
			keys.Identity{Permissions: []string{"log:read", "hooks:*"}},
			`{"Version":"2012-10-17","Statement":[` +
				`{"Effect":"Allow","Action":"execute-api:Invoke","Resource":["` + b + `GET/items/?*/log","` + b + `GET/items/?*/log/","` + b + `GET/sites/?*/?*/log","` + b + `GET/sites/?*/?*/log/","` + b + `POST/hooks/?*"]}]}`,
		},
		"may use nothing": {
			keys.Identity{Permissions: []string{"other:read"}},
			`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"execute-api:Invoke","Resource":["` + b + `*"]}]}`,
		},
	} {
		if d := cmp.Diff(c.want, string(document(t, p, c.id))); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

func TestDenyIsLeftOutWhereItWouldHitWhatIsAllowed(t *testing.T) {
	p := mustCompile(t,
		route.Route{Method: "GET", Path: "/c/{id}", Permission: "c:read"},
		route.Route{Method: "GET", Path: "/c/{id}/{part}", Permission: "secret:read"},
		route.Route{Method: "GET", Path: "/c/{id}/{part}/name", Permission: "c:read"},
	)
	a := asker{t, document(t, p, keys.Identity{Permissions: []string{"c:read"}}), now}
	a.allow("GET /c/1", "GET /c/1/x/name", "GET /c/1/x/name/")
	if strings.Contains(string(a.doc), "Deny") {
		t.Errorf("a Deny of /c/{id}/{part} would deny /c/{id}/{part}/name:\n%s", a.doc)
	}
}

// A wildcard takes one character at least.
func TestTheRootIsWithinNoWildcard(t *testing.T) {
	p := mustCompile(t, route.Route{Method: "GET", Path: "/"}, route.Route{Method: "GET", Path: "/{id}"})
	asker{t, document(t, p, keys.Identity{}), now}.allow("GET /", "GET /a", "GET /a/")
}

func TestUnguardedRoutesEndWithTheCredential(t *testing.T) {
	p := mustCompile(t, small...)
	hour := now.Add(time.Hour)
	for name, id := range map[string]keys.Identity{
		"expiry":                  {ExpiresAt: hour},
		"grace of the old secret": {GraceUntil: hour},
		"grace before the expiry": {GraceUntil: hour, ExpiresAt: hour.Add(time.Hour)},
		"expiry before the grace": {GraceUntil: hour.Add(time.Hour), ExpiresAt: hour},
	} {
		id.Permissions = []string{"*"}
		doc := document(t, p, id)
		asker{t, doc, hour.Add(-time.Second)}.allow("POST /hooks/a", "GET /items")
		asker{t, doc, hour}.deny("POST /hooks/a", "POST /hooks/a/")
		asker{t, doc, hour}.allow("GET /items") // the guard answers 401 here
		if n := strings.Count(string(doc), "DateLessThan"); n != 1 {
			t.Errorf("%s: %d time limits, want 1", name, n)
		}
	}
}

// long is a table of n pairs of routes, /first/a…/{id} for a:read and /first/b…/{id} for
// b:read, whose exact policy is too long from n = 40 on.
func long(n int, unguarded bool) []route.Route {
	var table []route.Route
	for i := range n {
		for j, permission := range []string{"a:read", "b:read"} {
			table = append(table, route.Route{
				Method: "GET", Path: longPath(i, permission[:1], "{id}"),
				Permission: permission, Customer: "id", Unguarded: unguarded && j == 1,
			})
		}
	}
	return table
}

func longPath(i int, which, id string) string {
	return fmt.Sprintf("/%s%d/%s/%s", strings.Repeat("x", 30), i, strings.Repeat(which, 100), id)
}

func TestTooLongPolicyKeepsGuardedRoutesOpenAndUnguardedOnesExact(t *testing.T) {
	var customers []string
	for i := range 50 {
		customers = append(customers, fmt.Sprintf("cus_%d", i))
	}
	with := func(n int, id keys.Identity, more ...route.Route) asker {
		t.Helper()
		id.Permissions = []string{"a:read"}
		a := asker{t, document(t, mustCompile(t, append(long(n, false), more...)...), id), now}
		a.allow("GET "+longPath(0, "a", "cus_1"), "GET "+longPath(n-1, "a", "cus_4/"))
		return a
	}
	with(40, keys.Identity{})
	with(400, keys.Identity{Customers: customers})

	// The wildcards of guarded routes would open unguarded ones: denied.
	a := with(100, keys.Identity{Customers: customers, ExpiresAt: now.Add(time.Hour)},
		route.Route{Method: "GET", Path: "/hook/in", Permission: "b:read", Unguarded: true},
		route.Route{Method: "GET", Path: "/feed/in", Permission: "a:read", Unguarded: true})
	a.allow("GET /feed/in", "GET /feed/in/")
	a.deny("GET /hook/in", "GET /hook/in/", "POST /feed/in")
	a.now = now.Add(2 * time.Hour)
	a.deny("GET /feed/in", "GET /feed/in/")

	// A Deny that would hit what is allowed is no way: no wildcard spans it.
	a = with(40, keys.Identity{},
		route.Route{Method: "GET", Path: "/ext/{id}", Permission: "b:read", Unguarded: true},
		route.Route{Method: "GET", Path: "/ext/{id}/{part}", Permission: "a:read"})
	a.allow("GET /ext/1/2", "GET /ext/1/2/")
	a.deny("GET /ext/1")

	// Nor may one span a confined key's own unguarded route.
	a = with(40, keys.Identity{Customers: customers[:5]},
		route.Route{Method: "GET", Path: "/hook/{id}", Permission: "a:read", Customer: "id", Unguarded: true})
	a.allow("GET /hook/cus_1", "GET /hook/cus_4/")
	a.deny("GET /hook/cus_20", "GET /hook/x/")
}

func TestPolicyWhoseDeniesDoNotFitIsCutOffAndNeverOpened(t *testing.T) {
	p := mustCompile(t, long(60, true)...)
	doc, dropped, err := p.AppendDocument(nil, keys.Identity{Permissions: []string{"a:read"}}, base)
	if err != nil || dropped == 0 || len(doc) > target {
		t.Fatalf("dropped %d, %d bytes, error %v; want some left out", dropped, len(doc), err)
	}
	a := asker{t, doc, now}
	a.allow("GET " + longPath(0, "a", "1"))
	for i := range 60 {
		a.deny("GET " + longPath(i, "b", "1"))
	}
}

func TestWhatMustBeExactAndDoesNotFitIsLeftOutAndCounted(t *testing.T) {
	var customers []string
	for i := range 200 {
		customers = append(customers, fmt.Sprintf("%s%03d", strings.Repeat("c", 61), i))
	}
	p := mustCompile(t, route.Route{Method: "GET", Path: "/items/{id}", Unguarded: true, Customer: "id"}, route.Route{Method: "GET", Path: "/list"})
	doc, dropped, err := p.AppendDocument(nil, keys.Identity{Customers: customers}, base)
	if err != nil || dropped < 300 || dropped >= 400 || len(doc) > target || len(doc) < target*3/4 {
		t.Fatalf("dropped %d of 400 resources, %d bytes, error %v; want most of what fits", dropped, len(doc), err)
	}
	a := asker{t, doc, now}
	a.allow("GET /list", "GET /items/"+customers[0])
	a.deny("GET /items/"+customers[199], "GET /items/x")
	if got := len(resources(t, doc)) + dropped; got != 402 {
		t.Errorf("%d resources written or counted as dropped, want 402", got)
	}
}

func TestNoResourceIsTooLong(t *testing.T) {
	path := "/{id}/" + strings.Repeat("p", 250)
	table, err := route.Load([]byte(`{"routes":[{"method":"DELETE","path":"` + path + `","customer":"id","function":"sample"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := route.Load([]byte(`{"routes":[{"method":"DELETE","path":"` + path + `p","customer":"id","function":"sample"}]}`)); err == nil {
		t.Fatal("there may be longer paths than this test knows")
	}
	p, err := New(table)
	if err != nil {
		t.Fatal(err)
	}
	far := "arn:aws-us-gov:execute-api:us-gov-east-1:123456789012:abcdef1234/" + strings.Repeat("s", 94) + "/"
	if got, err := Base(far + "GET/x"); err != nil || len(got) != maxBase {
		t.Fatalf("Base: %d characters, %v; want the longest there may be, %d", len(got), err, maxBase)
	}
	doc, _, err := p.AppendDocument(nil, keys.Identity{Customers: []string{strings.Repeat("c", 64)}}, far)
	if err != nil {
		t.Fatal(err)
	}
	longest := 0
	for _, r := range resources(t, doc) {
		longest = max(longest, len(r))
	}
	if longest > MaxResource || longest < MaxResource-40 {
		t.Errorf("longest resource has %d characters, want just under %d", longest, MaxResource)
	}
}

func TestCustomerOfAnUnguardedRouteIsRefusedBetweenParameters(t *testing.T) {
	for path, ok := range map[string]bool{
		"/a/{id}": true, "/{x}/{id}": true, "/{id}/{y}": true, "/{id}/{y}/{z}": true, "/{id}/{rest+}": true, "/{x}/b/{id}/c": true,
		"/{x}/{id}/{y}": false, "/{x}/b/{id}/c/{y}": false, "/{x}/{id}/{rest+}": false,
	} {
		r := route.Route{Method: "GET", Path: path, Customer: "id", Unguarded: true}
		if _, err := compile([]route.Route{r}); (err == nil) != ok || err != nil && !strings.Contains(err.Error(), path) {
			t.Errorf("%s: error %v; want taken: %t, or an error that names it", path, err, ok)
		}
		r.Unguarded = false
		if _, err := compile([]route.Route{r}); err != nil {
			t.Errorf("%s, guarded: %v", path, err)
		}
	}
}

// Whoever may use a route whose wildcard opens an unguarded one may use that one too, or
// route.Load would have refused them. What is left is the time limit and the customer.
func TestRouteThatOpensAnUnguardedOneEndsWithTheCredentialToo(t *testing.T) {
	table := []route.Route{
		{Method: "GET", Path: "/c/{id}", Permission: "c:read", Customer: "id"},
		{Method: "GET", Path: "/c/{id}/raw", Permission: "c:read", Customer: "id", Unguarded: true},
		{Method: "GET", Path: "/c/{id}/log", Permission: "c:read"}, // within /c/{id}, but the guard ends it
		{Method: "GET", Path: "/d", Permission: "c:read"},
	}
	id := keys.Identity{Permissions: []string{"c:read"}, ExpiresAt: now.Add(time.Hour)}
	for name, p := range map[string]*Policies{
		"exact":     mustCompile(t, table...),
		"shortened": mustCompile(t, append(long(40, false), table...)...),
	} {
		id := id
		if name == "shortened" {
			id.Permissions = []string{"c:read", "a:read", "b:read"}
		}
		a := asker{t, document(t, p, id), now}
		a.allow("GET /c/1", "GET /c/1/raw", "GET /d")
		a.now = now.Add(time.Hour)
		a.deny("GET /c/1/raw", "GET /c/1/raw/")
		a.allow("GET /d")
		if name == "exact" {
			a.allow("GET /c/1/log")
		}

		id.Customers = []string{"c1"}
		a = asker{t, document(t, p, id), now}
		a.allow("GET /c/c1", "GET /c/c1/raw")
		a.deny("GET /c/c2/raw")
	}
}

func TestMalformedCustomerIsAnErrorAndNeverEveryCustomer(t *testing.T) {
	p := mustCompile(t, small...)
	for _, c := range []string{"", "*", "cus_?", "a/b", `a"`, "ä", strings.Repeat("c", 65)} {
		doc, _, err := p.AppendDocument([]byte("x"), keys.Identity{Permissions: []string{"*"}, Customers: []string{"c1", c}}, base)
		if err == nil || string(doc) != "x" {
			t.Errorf("customer %q: wrote %d bytes, error %v; want none and an error", c, len(doc), err)
		}
	}
}

func TestAppendDocumentAppends(t *testing.T) {
	p := mustCompile(t, append(slices.Clone(small), long(40, false)...)...)
	for _, id := range []keys.Identity{{}, {Permissions: []string{"*"}}} {
		doc := document(t, p, id)
		got, _, err := p.AppendDocument([]byte(`{"policyDocument":`), id, base)
		if want := `{"policyDocument":` + string(doc); err != nil || string(got) != want {
			t.Errorf("AppendDocument after something (-want +got):\n%s", cmp.Diff(want, string(got)))
		}
	}
}

func TestBaseIsThePartOfTheMethodARNUpToTheStage(t *testing.T) {
	for arn, want := range map[string]string{
		"arn:aws:execute-api:eu-central-1:123456789012:abcdef1234/production/GET/v1/customers/a:b/c": base,
		"arn:aws:execute-api:eu-central-1:123456789012:abcdef1234/production/GET/":                   base,
		"arn:aws-cn:execute-api:cn-north-1:123456789012:abc/test-invoke-stage/GET/x":                 "arn:aws-cn:execute-api:cn-north-1:123456789012:abc/test-invoke-stage/",
		"arn:aws:execute-api:us-east-1:000000000000:abc/s_1/GET/*?\"":                                "arn:aws:execute-api:us-east-1:000000000000:abc/s_1/",
	} {
		if got, err := Base(arn); err != nil || got != want {
			t.Errorf("Base(%q) = %q, %v; want %q", arn, got, err, want)
		}
	}
	for _, arn := range []string{
		"", "arn", "arn:aws:execute-api:r:1:abc", "arn:aws:execute-api:r:1:abc/prod", "arn:aws:execute-api:r:1:/prod/GET/", "arn:aws:execute-api:r:1:abc//GET/",
		"arn:aws:lambda:r:1:abc/prod/GET/", "xrn:aws:execute-api:r:1:abc/prod/GET/", "arn:aws:execute-api:*:1:abc/prod/GET/", "arn:aws:execute-api:r:1:abc/*/GET/",
		"arn:aws:execute-api:r:1:a?c/prod/GET/", "arn:aws:execute-api:r:1:a\"c/prod/GET/", "arn:aws:execute-api:r:1:a\\c/prod/GET/",
		"arn:aws:execute-api:r:1:abc/" + strings.Repeat("s", 200) + "/GET/",
	} {
		if got, err := Base(arn); err == nil {
			t.Errorf("Base(%q) = %q, want an error", arn, got)
		}
	}
}
