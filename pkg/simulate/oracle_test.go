package simulate_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/authorizer"
	"github.com/keyreeve/keyreeve/functions/proxy"
	"github.com/keyreeve/keyreeve/infra/local/gateway"
	runtime "github.com/keyreeve/keyreeve/infra/local/lambda"
	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/config"
	"github.com/keyreeve/keyreeve/pkg/guard"
	"github.com/keyreeve/keyreeve/pkg/guard/guardtest"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/keys/keystest"
	"github.com/keyreeve/keyreeve/pkg/logline"
	"github.com/keyreeve/keyreeve/pkg/route"
	"github.com/keyreeve/keyreeve/pkg/simulate"
	"github.com/keyreeve/keyreeve/pkg/verify"
)

const tableJSON = `{
  "permissions": [
    {"name": "customers:read", "label": "r"}, {"name": "customers:write", "label": "w"}, {"name": "invoices:read", "label": "i"},
    {"name": "licenses:manage", "label": "l"}, {"name": "files:read", "label": "f"}
  ],
  "routes": [
    {"method": "GET", "path": "/api/customers", "permission": "customers:read", "function": "sample"},
    {"method": "POST", "path": "/api/customers", "permission": "customers:write", "function": "sample"},
    {"method": "GET", "path": "/api/customers/{customerId}", "permission": "customers:read", "customer": "customerId", "function": "sample"},
    {"method": "DELETE", "path": "/api/customers/{customerId}", "permission": "customers:write", "customer": "customerId", "function": "sample"},
    {"method": "GET", "path": "/api/customers/{customerId}/invoices", "permission": "invoices:read", "customer": "customerId", "function": "sample"},
    {"method": "GET", "path": "/api/files/{proxy+}", "permission": "files:read", "function": "sample"},
    {"method": "ANY", "path": "/api/any", "permission": "licenses:manage", "function": "sample"},
    {"method": "GET", "path": "/api/self", "function": "sample"},
    {"method": "POST", "path": "/api/bearer", "permission": "licenses:manage", "credential": "Authorization", "function": "sample"},
    {"method": "GET", "path": "/api/raw", "permission": "customers:read", "function": "sample", "unguarded": true},
    {"method": "GET", "path": "/api/raw/{customerId}", "permission": "customers:read", "customer": "customerId", "function": "sample", "unguarded": true},
    {"method": "GET", "path": "/api/open", "function": "sample", "public": true}
  ]
}`

// chain is everything that a request meets, in one process: the local gateway, the
// authorizer, the proxies with their guards, and handlers that answer 200.
type chain struct {
	*testing.T
	*keystest.World
	memory    *keystest.Memory
	meters    *guardtest.Meters
	gateway   *gateway.Gateway
	simulator *simulate.Simulator
	root      keys.Caller
	refusals  bytes.Buffer // the functions' logs
	rng       *rand.Rand
}

// Settle writes both: the memory store has a meter of its own, which no guard counts on.
func (c *chain) settle(ctx context.Context, id apikey.ID, verdict int64, active bool) error {
	return errors.Join(c.memory.Settle(ctx, id, verdict, active), c.meters.Settle(ctx, id, verdict, active))
}

type store struct {
	*keystest.Memory
	chain *chain
}

func (s store) Settle(ctx context.Context, id apikey.ID, verdict int64, active bool) error {
	return s.chain.settle(ctx, id, verdict, active)
}

func (c *chain) Meter(_ context.Context, id apikey.ID) (guard.Meter, bool, error) {
	m, found := c.meters.Meter(id)
	return m, found, nil
}

func newChain(t *testing.T, seed uint64, ttl time.Duration) *chain {
	t.Helper()
	c := &chain{T: t, memory: keystest.NewMemory(), meters: guardtest.NewMeters(), rng: rand.New(rand.NewPCG(6, seed))}
	table, err := route.Load([]byte(tableJSON))
	if err != nil {
		t.Fatal(err)
	}
	c.World = keystest.NewWorld(store{c.memory, c}, func(cfg *keys.Config) {
		cfg.Known = table.KnownPermission
		cfg.Settings.Plans["enterprise"] = config.Plan{RateLimit: 1000, Keys: 100_000}
	})
	c.World.Clock.Advance(-c.World.Clock.Now().Sub(time.Date(2026, 1, 15, 10, 30, 0, 0, time.UTC))) // the same in every run
	_, c.root = c.Account(t, "enterprise")

	log := slog.New(slog.NewJSONHandler(&c.refusals, nil))
	auth, err := authorizer.New(authorizer.Config{
		Verifier: verify.New(verify.Config{
			Store: c.memory, Peppers: c.Peppers, Prefixes: apikey.NewPrefixes(c.Settings.AcceptedPrefixes()), Clock: c.Clock.Now,
		}),
		Table: table, Log: log, Clock: c.Clock.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	functions := map[string]lambda.Handler{"authorizer": auth}
	for _, f := range table.Functions() {
		functions[f] = proxy.New(proxy.Config{
			Function: f, Table: table, Log: log, Clock: c.Clock.Now,
			Guard:   guard.New(guard.Config{Meters: c.meters, Keys: c.memory, Clock: c.Clock.Now}),
			Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") }),
		})
	}
	c.gateway = gateway.New(gateway.Options{
		Table: table, Stages: []string{"production", "staging", "development"}, DefaultStage: "production", AuthorizerTTL: ttl, Clock: c.Clock.Now,
		APIID: "abcdef1234", // as long as AWS's are: what a policy has room for depends on that
		Invoke: func(ctx context.Context, function string, payload []byte) ([]byte, error) {
			answer, err := functions[function].Invoke(ctx, payload)
			if err != nil {
				err = &runtime.FunctionError{Type: "errorString", Message: err.Error()}
			}
			return answer, err
		},
	})
	if c.simulator, err = simulate.New(simulate.Config{Keys: c.Service, Meters: c, Table: table, Clock: c.Clock.Now}); err != nil {
		t.Fatal(err)
	}
	return c
}

// fate is what became of a request.
type fate struct {
	Status int
	By     simulate.By
	Reason string // empty: a policy gives none
}

// send makes a real request.
func (c *chain) send(key apikey.Key, rt *route.Route, r simulate.Request) fate {
	c.Helper()
	target := "/" + string(r.Environment) + r.Path
	u, err := url.ParseRequestURI(target)
	if err != nil {
		c.Fatalf("%s: %v", target, err)
	}
	req := &http.Request{
		Method: r.Method, URL: u, RequestURI: target, Host: "api.example.com", Header: http.Header{}, Body: http.NoBody,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, RemoteAddr: net.JoinHostPort(r.SourceIP, "4711"),
	}
	req.Header.Set("X-Forwarded-For", "10.1.2.3") // says nothing
	if rt != nil && rt.Credential == route.Authorization {
		req.Header.Set("Authorization", "Bearer "+key.Plaintext())
	} else {
		req.Header.Set("X-API-Key", key.Plaintext())
	}
	c.refusals.Reset()
	rec := httptest.NewRecorder()
	c.gateway.ServeHTTP(rec, req.WithContext(context.Background()))
	f := fate{Status: rec.Code}
	refused := false
	for line := range strings.Lines(c.refusals.String()) {
		if e, ok := logline.ParseEvent(line); ok && e.What == logline.Refused {
			refused, f.Reason, f.By = true, e.Reason, simulate.By(e.By)
		}
	}
	switch {
	case refused:
	case f.Status == 404:
		f.By, f.Reason = simulate.ByGateway, simulate.ReasonNoRoute
	case f.Status == 403:
		f.By = simulate.ByPolicy
	case f.Status == 200 && rt != nil:
		f.Reason = simulate.ReasonOK
		if f.By = simulate.ByGuard; rt.Public {
			f.By = simulate.ByGateway
		} else if rt.Unguarded {
			f.By = simulate.ByPolicy
		}
	}
	return f
}

func pick[T any](c *chain, from ...T) T { return from[c.rng.IntN(len(from))] }

func (c *chain) permissions() []string {
	return pick(c, []string{"*"}, []string{"customers:*"}, []string{"customers:read"}, []string{"customers:read", "customers:write", "invoices:read"},
		[]string{"licenses:manage", "files:read"}, []string{"*", "api_keys:*"}, []string{"api_keys:read"}, []string{})
}

func (c *chain) customers() []string {
	return pick(c, []string{}, []string{}, []string{"cus_1"}, []string{"cus_1", "cus_2"})
}

func (c *chain) networks() []string {
	return pick(c, []string{}, []string{}, []string{"10.0.0.0/8"}, []string{"10.1.2.3", "2001:db8::/32"}, []string{"0.0.0.0/0"}, []string{"::/0"},
		[]string{"::ffff:10.0.0.0/104"}, []string{"0.0.0.0/0", "::/0"}, []string{"203.0.113.128/25"})
}

func (c *chain) soon() *time.Time {
	return new(c.Clock.Now().Add(pick(c, time.Millisecond, 500*time.Millisecond, time.Second, 1500*time.Millisecond, time.Minute, time.Hour, 30*time.Hour)))
}

// key makes a key in some state.
func (c *chain) key() keys.Issued {
	c.Helper()
	in := keys.CreateInput{
		Name: "a", Environment: new(pick(c, keys.Production, keys.Production, keys.Staging, keys.Development)),
		Customers: c.customers(), Networks: c.networks(), RateLimit: new(pick(c, 1, 2, 5, 1000)), Canary: c.rng.IntN(20) == 0,
	}
	in.Permissions = new(c.permissions())
	if in.Canary {
		in.Permissions, in.Customers, in.Networks, in.RateLimit = nil, nil, nil, nil
	} else if c.rng.IntN(4) == 0 {
		in.NotBefore = c.soon()
	}
	if c.rng.IntN(3) == 0 {
		in.ExpiresAt = c.soon()
	}
	if !in.Canary && c.rng.IntN(6) == 0 {
		in.Limits = []keys.NamedLimit{{Window: keys.WindowHour, Requests: pick(c, 1, 3)}, {Window: keys.WindowDay, Requests: 4}}
	}
	if !in.Canary && c.rng.IntN(6) == 0 {
		in.Quota = &keys.Quota{Requests: pick(c, 1, 4), RefillDay: pick(c, 1, 16)}
	}
	out, err := c.Service.Create(context.Background(), c.root, in, keys.Idempotency{})
	var invalid *keys.ValidationError
	if errors.As(err, &invalid) { // it would end before it begins
		return c.key()
	}
	if err != nil {
		c.Fatal(err)
	}
	return out
}

// change changes a key in some way, if that is possible.
func (c *chain) change(k *keys.Issued) {
	c.Helper()
	ctx, ref, any := context.Background(), keys.Ref{ID: k.Key.ID}, keys.Conditions{}
	var p keys.Patch
	switch c.rng.IntN(12) {
	case 0:
		p.Permissions = new(c.permissions())
	case 1:
		p.Customers = new(c.customers())
	case 2, 3:
		p.Networks = new(c.networks())
	case 4:
		p.NotBefore = new(c.soon())
	case 5:
		p.NotBefore = new((*time.Time)(nil))
	case 6:
		p.ExpiresAt = new(c.soon())
	case 7:
		p.ExpiresAt = new((*time.Time)(nil))
	case 8:
		p.Active = new(c.rng.IntN(3) > 0)
	case 9:
		p.RateLimit = new(pick(c, 1, 3, 1000))
	case 10:
		if out, err := c.Service.Regenerate(ctx, c.root, ref, time.Minute, keys.Idempotency{}, any); err == nil {
			*k = out
		}
		return
	case 11:
		if c.rng.IntN(10) == 0 {
			_, _ = c.Service.Delete(ctx, c.root, ref, any)
		}
		return
	}
	var invalid *keys.ValidationError
	if _, err := c.Service.Update(ctx, c.root, ref, p, any); err != nil && !errors.As(err, &invalid) && !errors.Is(err, keys.ErrNotFound) {
		c.Fatal(err)
	}
}

// request draws a request, often one that tries something.
func (c *chain) request(k *keys.Issued) simulate.Request {
	method, path, _ := strings.Cut(pick(c, "GET /api/customers", "POST /api/customers", "GET /api/customers/ID", "GET /api/customers/ID", "DELETE /api/customers/ID",
		"GET /api/customers/ID/invoices", "GET /api/files/ID", "GET /api/files/a/ID", "PUT /api/any", "HEAD /api/any", "GET /api/self", "GET /api/self", "POST /api/bearer",
		"GET /api/raw", "GET /api/raw/ID", "GET /api/raw/ID", "GET /api/open", "GET /v1/api-keys", "GET /v1/permissions", "GET /nowhere", "GET /"), " ")
	if c.rng.IntN(12) == 0 {
		method = pick(c, "GET", "POST", "DELETE", "PUT", "HEAD", "PATCH")
	}
	path = strings.ReplaceAll(path, "ID", pick(c, "cus_1", "cus_1", "cus_1", "cus_1", "cus_1", "cus_1", "cus_1", "cus_2", "cus_2", "cus_3", "cus_3", "..", "..%2Fcus_1", "%63us_1", "cus_1%2F", "cus_1;a", "*", "%2A", "a%2Fb",
		"", "cus_1%00", "?*"[1:], "cus_1%2f..%2fcus_2", "%2E%2E", "a:b", "ünïcode", "a\"b", "{x}"))
	switch c.rng.IntN(20) {
	case 0, 1:
		path += "/"
	case 2:
		path = "/" + path
	case 3:
		path += "//"
	case 4:
		path = strings.Replace(path, "/api/", "/api//", 1)
	case 5:
		path = strings.Replace(path, "customers", "raw/../customers", 1)
	}
	return simulate.Request{
		Method:      method,
		Path:        path,
		SourceIP:    pick(c, "10.1.2.3", "10.1.2.3", "10.200.0.1", "::ffff:10.1.2.3", "203.0.113.127", "203.0.113.128", "2001:db8::1", "2001:db9::1", "::1"),
		Environment: pick(c, k.Key.Environment, k.Key.Environment, k.Key.Environment, k.Key.Environment, keys.Production, keys.Staging),
	}
}

// predict simulates a request, and sees to it that nothing is counted.
func (c *chain) predict(k *keys.Issued, r simulate.Request) simulate.Verdict {
	c.Helper()
	before, _ := c.meters.Meter(k.Key.ID)
	v, err := c.simulator.Simulate(context.Background(), c.root, keys.Ref{ID: k.Key.ID}, r)
	if err != nil {
		c.Fatalf("Simulate(%+v): %v", r, err)
	}
	if after, _ := c.meters.Meter(k.Key.ID); !cmp.Equal(before, after) {
		c.Fatalf("simulating %+v changed the meter: %s", r, cmp.Diff(before, after))
	}
	return v
}

// TestSimulationsComeTrue: 10,000 random requests with keys in random states, each first
// simulated and then made, through the local gateway, the authorizer, the policy and the
// guard. Half of them are asked for at a time to come, and made then.
func TestSimulationsComeTrue(t *testing.T) {
	c := newChain(t, 1, 0)
	seen := map[string]int{}
	for n := 0; n < 10_000; {
		k := c.key()
		for range 20 {
			n++
			if c.rng.IntN(2) == 0 {
				c.change(&k)
			}
			r := c.request(&k)
			ahead := time.Duration(0)
			if c.rng.IntN(2) == 0 {
				ahead = pick(c, time.Millisecond, 400*time.Millisecond, time.Second, 20*time.Second, time.Hour)
				r.At = c.Clock.Now().Add(ahead)
			}
			v := c.predict(&k, r)
			c.Clock.Advance(ahead)
			got := c.send(k.Plaintext, v.Route, r)
			want := fate{v.Status, v.By, v.Reason}
			if v.By == simulate.ByPolicy && v.Status == 403 {
				want.Reason = ""
			}
			if v.Status == 429 && ahead > 0 && got.Status == 200 {
				seen["a place came free"]++
				continue
			}
			if got != want {
				stored, _ := c.memory.Key(context.Background(), k.Key.ID)
				t.Fatalf("case %d: %+v, %v ahead: %+v, simulated %+v, policy %+v, guard %+v\nkey %+v\nlog %s", n, r, ahead, got, want, v.Policy, v.Guard, stored, c.refusals.String())
			}
			seen[fmt.Sprintf("%d %s %s", v.Status, v.By, v.Reason)]++
			if v.Status == 429 {
				seen["429 by "+string(v.Rule)]++
			}
		}
		if _, err := c.Service.Delete(context.Background(), c.root, keys.Ref{ID: k.Key.ID}, keys.Conditions{}); err != nil && !errors.Is(err, keys.ErrNotFound) {
			t.Fatal(err)
		}
	}
	t.Log(seen)
	for what, least := range map[string]int{
		"200 guard ok": 500, "200 policy ok": 50, "200 gateway ok": 100, "404 gateway no_route": 1000,
		"401 authorizer expired": 50, "401 authorizer not_yet_valid": 100, "401 authorizer inactive": 50, "401 authorizer revoked": 20,
		"401 authorizer wrong_environment": 100, "401 authorizer canary": 50,
		"403 policy other_network": 300, "403 policy missing_permission": 300, "403 policy other_customer": 50, "403 guard other_customer": 1,
		"403 policy denied_by_policy": 1, "429 guard rate_limited": 100, "429 by rateLimit": 50, "429 by limits": 10, "429 by quota": 10,
	} {
		if seen[what] < least {
			t.Errorf("the draw tested too little: %s %d, want at least %d", what, seen[what], least)
		}
	}
}

// TestNoCachedPolicyLetsMoreThroughThanASimulation: with policies a minute old, what a guard
// lets through a simulation allows, and what it does not, that the policy denies.
func TestNoCachedPolicyLetsMoreThroughThanASimulation(t *testing.T) {
	c := newChain(t, 2, time.Minute)
	seen := map[string]int{}
	for n := 0; n < 4000; {
		k := c.key()
		for range 20 {
			n++
			if c.rng.IntN(2) == 0 {
				c.change(&k)
			}
			r := c.request(&k)
			v := c.predict(&k, r)
			got := c.send(k.Plaintext, v.Route, r)
			c.Clock.Advance(pick(c, 0, 0, time.Second, 5*time.Second))
			switch guarded := v.Route != nil && !v.Route.Public && !v.Route.Unguarded; {
			case got.Status == v.Status:
				seen["same"]++
			case !guarded:
				seen["stale, unguarded"]++
			case got.Status == 403 && got.By == simulate.ByPolicy:
				seen["stale policy denies"]++
			case got.Status == 429 && v.Status >= 400:
				seen["a refusal for the limit, remembered"]++ // see package guard
				continue
			default:
				t.Fatalf("case %d: %+v: %+v, simulated %d %s %s", n, r, got, v.Status, v.By, v.Reason)
			}
			if got.By == simulate.ByGuard && got.Status >= 400 && got.Reason != v.Reason {
				t.Fatalf("case %d: %+v: the guard says %s, simulated %s", n, r, got.Reason, v.Reason)
			}
			if got.By == simulate.ByGuard && v.By != simulate.ByGuard {
				seen["the guard knew better: "+v.Reason]++
			}
		}
	}
	t.Log(seen)
	for _, what := range []string{
		"stale, unguarded", "stale policy denies", "the guard knew better: other_network", "the guard knew better: not_yet_valid",
		"the guard knew better: inactive", "the guard knew better: missing_permission",
	} {
		if seen[what] == 0 {
			t.Errorf("the draw never met: %s", what)
		}
	}
}
