package usage_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/logline"
	"github.com/keyreeve/keyreeve/pkg/route"
	"github.com/keyreeve/keyreeve/pkg/usage"
	"github.com/keyreeve/keyreeve/pkg/usage/usagetest"
)

// These tests send requests and compare what was counted with a count of their own, made
// of the requests and not of their lines.

// routesFile is the sample's table with a route that has no guard.
const routesFile = `{
  "permissions": [{"name": "customers:read", "label": "r"}, {"name": "customers:write", "label": "w"}, {"name": "feeds:read", "label": "f"}],
  "routes": [
    {"method": "GET", "path": "/v1/customers/{customerId}", "permission": "customers:read", "function": "sample"},
    {"method": "ANY", "path": "/v1/customers", "permission": "customers:write", "function": "sample"},
    {"method": "GET", "path": "/v1/me", "function": "sample"},
    {"method": "GET", "path": "/v1/feeds", "permission": "feeds:read", "function": "feeds", "unguarded": true}
  ]
}`

func table(t testing.TB) *route.Table {
	t.Helper()
	tbl, err := route.Load([]byte(routesFile))
	if err != nil {
		t.Fatal(err)
	}
	return tbl
}

// target is a route that a request goes to, and what is known of it without the table.
type target struct {
	method, route, permission string
	guarded                   bool
}

var targets = []target{
	{"GET", "/v1/customers/{customerId}", "customers:read", true},
	{"POST", "/v1/customers", "customers:write", true},
	{"DELETE", "/v1/customers", "customers:write", true},
	{"GET", "/v1/me", "", true},
	{"GET", "/v1/feeds", "feeds:read", false},
	{"GET", "/v1/no-longer/{there}", "", true},
}

// fate is what becomes of a request.
type fate int

const (
	answered    fate = iota // by the function
	broken                  // the function failed or was too slow: it got there
	denied                  // by the cached policy: 403
	guarded                 // refused by the guard
	refused                 // by the authorizer, whose key is known
	strange                 // by the authorizer, whose key is not
	public                  // no key is asked for
	accessOnly              // refused by the authorizer, whose own line is lost
	refusalOnly             // refused by the authorizer; the access line is lost
	fates
)

// sent is one request.
type sent struct {
	n          int
	at         time.Time
	key        keys.Key
	generation int64
	to         target
	fate       fate
	status     int
	reason     string
	responded  string // response type
	ip         string
}

func (s sent) id() string { return fmt.Sprintf("ext-%06d=", s.n) }

// access is the request's line in the access log; empty: none.
func (s sent) access() string {
	if s.fate == refusalOnly {
		return ""
	}
	a := logline.Access{
		ExtendedRequestID: s.id(), RequestID: "same for all", Time: s.at, Stage: "shared", Method: s.to.method, Route: s.to.route,
		Protocol: "HTTP/1.1", Status: s.status, ResponseLength: 17, Latency: 40 * time.Millisecond, SourceIP: s.ip, UserAgent: `a "client"`,
		ResponseType: s.responded,
	}
	switch s.fate {
	case refused, strange, public, accessOnly:
	default:
		a.KeyID, a.AccountID, a.Environment, a.Generation = s.key.ID, s.key.AccountID, string(s.key.Environment), s.generation
		a.Parent = s.key.Parent
	}
	return a.Line()
}

// event is the line that the authorizer or the guard leaves; empty: none.
func (s sent) event() string {
	e := logline.Event{What: logline.Refused, By: logline.ByAuthorizer, RequestID: "same for all", ExtendedRequestID: s.id(), Time: s.at, KeyID: s.key.ID, Reason: s.reason}
	switch s.fate {
	case guarded:
		e.By = logline.ByGuard
	case refused, refusalOnly:
	case strange:
		e.KeyID = ""
		if s.n%2 == 0 {
			e.KeyID = "Nobodys0"
		}
	default:
		return ""
	}
	return eventLine(e)
}

func eventLine(e logline.Event) string {
	var out bytes.Buffer
	e.Log(context.Background(), slog.New(slog.NewJSONHandler(&out, nil)))
	return out.String()
}

// reference counts requests as they were sent, one by one.
func reference(list []sent) usagetest.Tables {
	t := usagetest.Tables{
		Requests: map[string]usage.Request{}, Counts: map[apikey.ID]map[usage.Day]usage.Count{}, Totals: map[apikey.ID]usage.Totals{},
		Profiles: map[apikey.ID]usage.Profile{}, Waiting: map[string]usagetest.Waiting{},
	}
	for _, s := range list {
		id := s.key.ID
		full := usage.Request{
			ID: s.id(), RequestID: "same for all", Time: s.at, KeyID: id, AccountID: s.key.AccountID, Environment: s.key.Environment,
			Generation: s.generation, Parent: s.key.Parent, Method: s.to.method, Route: s.to.route, Permission: s.to.permission, Status: s.status,
			Latency: 40 * time.Millisecond, SourceIP: s.ip, UserAgent: `a "client"`, Refused: s.reason,
		}
		fromAccess := full
		fromAccess.KeyID, fromAccess.AccountID, fromAccess.Environment, fromAccess.Generation, fromAccess.Parent, fromAccess.Refused = "", "", "", 0, "", ""
		fromRefusal := usage.Request{
			ID: full.ID, RequestID: full.RequestID, Time: full.Time, KeyID: id, Parent: full.Parent, AccountID: full.AccountID, Environment: full.Environment,
			Status: 401, Refused: s.reason,
		}
		withKey := false
		switch s.fate {
		case public:
			continue
		case strange, accessOnly:
			t.Waiting[full.ID] = usagetest.Waiting{Access: &fromAccess}
			continue
		case refused:
			full.Generation = 0
			t.Requests[full.ID] = full
			t.Waiting[full.ID] = usagetest.Waiting{Access: &fromAccess, Refusal: &fromRefusal}
		case refusalOnly:
			t.Requests[full.ID] = fromRefusal
			t.Waiting[full.ID] = usagetest.Waiting{Refusal: &fromRefusal}
		default:
			t.Requests[full.ID] = full
			withKey = true
		}
		// Counts.
		day := usage.Day(s.at.Unix() / 86400)
		if t.Counts[id] == nil {
			t.Counts[id] = map[usage.Day]usage.Count{}
		}
		c, ok := t.Counts[id][day]
		if !ok {
			c = usage.Count{AccountID: s.key.AccountID, KeyID: id, Day: day, Permissions: map[string]int64{}}
		}
		h := &c.Hours[s.at.Hour()]
		h.Requests++
		h.Status[s.status/100]++
		if withKey {
			if h.Generations == nil {
				h.Generations = map[int64]int64{}
			}
			h.Generations[s.generation]++
			if s.to.permission != "" {
				c.Permissions[s.to.permission]++
			}
		}
		t.Counts[id][day] = c
		session := s.key.Parent != ""
		if !session {
			sum := t.Totals[id]
			sum.Requests++
			if withKey && s.to.guarded && (s.fate == answered || s.fate == broken) {
				sum.Admitted++
			}
			t.Totals[id] = sum
		}
		// Profile: a session's use is its parent's, its refusals are nobody's.
		if session && s.status == 401 {
			continue
		}
		if session {
			id = s.key.Parent
		}
		p, ok := t.Profiles[id]
		if !ok {
			p = usage.Profile{
				KeyID: id, AccountID: s.key.AccountID, Permissions: map[string]time.Time{}, Generations: map[int64]time.Time{}, Networks: map[string]time.Time{},
			}
		}
		latest := func(t *time.Time) {
			if s.at.After(*t) {
				*t = s.at
			}
		}
		newest(p.Generations, s.generation, s.at, withKey && !session)
		if s.status == 401 {
			latest(&p.LastRefused)
		} else if withKey {
			latest(&p.LastUsed)
			if p.First.IsZero() || s.at.Before(p.First) {
				p.First = s.at
			}
			newest(p.Permissions, s.to.permission, s.at, s.to.permission != "" && s.status != 403)
			newest(p.Networks, s.ip[:len(s.ip)-len("7")]+"0/24", s.at, true)
		}
		t.Profiles[id] = p
	}
	return t
}

func newest[K comparable](m map[K]time.Time, k K, at time.Time, really bool) {
	if really && at.After(m[k]) {
		m[k] = at
	}
}

// traffic is n requests of so many keys over three days, with every fate.
func traffic(r *rand.Rand, n, nKeys int) (list []sent, owners keyring) {
	owners = keyring{}
	var all []keys.Key
	for i := range nKeys {
		k := keys.Key{ID: apikey.ID(fmt.Sprintf("Key%05d", i)), AccountID: fmt.Sprintf("acct_%d", i%7), Environment: keys.Environments()[i%3]}
		if i%5 == 0 {
			k.Parent = apikey.ID(fmt.Sprintf("Key%05d", i+35)) // of the same account, and perhaps among them
		}
		owners[k.ID] = k
		all = append(all, k)
	}
	start := time.Date(2026, 1, 14, 22, 0, 0, 0, time.UTC)
	for i := range n {
		s := sent{
			n: i, at: start.Add(time.Duration(r.IntN(52*3600_000)) * time.Millisecond), key: all[r.IntN(len(all))], generation: 1 + r.Int64N(3),
			to: targets[r.IntN(len(targets))], ip: fmt.Sprintf("10.1.%d.7", r.IntN(9)),
		}
		if r.IntN(2) == 0 {
			s.fate = fate(r.IntN(int(fates)))
		}
		if s.fate == guarded && !s.to.guarded { // nobody there who could
			s.fate = answered
		}
		pick := func(of ...int) int { return of[r.IntN(len(of))] }
		switch s.fate {
		case answered:
			s.status = pick(200, 200, 201, 204, 301, 400, 403, 404, 500)
		case broken:
			s.status, s.responded = 504, []string{"INTEGRATION_FAILURE", "INTEGRATION_TIMEOUT", "DEFAULT_5XX"}[r.IntN(3)]
		case denied:
			s.status, s.responded = 403, "ACCESS_DENIED"
		case guarded:
			switch s.status = pick(401, 403, 429); s.status {
			case 401:
				s.reason = "inactive"
			case 403:
				s.reason = logline.ReasonPermission
			default:
				s.reason = logline.ReasonLimit
			}
		case refused, refusalOnly, strange, accessOnly:
			s.status, s.responded, s.reason = 401, "UNAUTHORIZED", "expired"
		case public:
			s.status = 200
		}
		list = append(list, s)
	}
	return list, owners
}

// deliveries are the lines of requests as CloudWatch Logs may group them: each log by
// itself, in any order, from most on a batch.
func deliveries(r *rand.Rand, list []sent, most int) (out []usage.Delivery) {
	logs := map[string][]usage.Line{}
	for _, s := range list {
		put := func(log, text string) {
			if text != "" {
				logs[log] = append(logs[log], usage.Line{ID: fmt.Sprintf("%s-%d", log, s.n), Timestamp: s.at.Add(50 * time.Millisecond), Text: text})
			}
		}
		put("access", s.access())
		if s.fate == guarded {
			put("sample", s.event())
		} else {
			put("authorizer", s.event())
		}
	}
	for _, log := range []string{"access", "sample", "authorizer"} {
		lines := logs[log]
		r.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
		for len(lines) > 0 {
			n := min(len(lines), 1+r.IntN(most))
			out = append(out, usage.Delivery{LogGroup: log, LogStream: "s", Lines: slices.Clone(lines[:n])})
			lines = lines[n:]
		}
	}
	return out
}

// keyring is a usage.Keys.
type keyring map[apikey.ID]keys.Key

func (k keyring) Key(ctx context.Context, id apikey.ID) (keys.Key, error) {
	if err := pass(ctx, "Key", false); err != nil {
		return keys.Key{}, err
	}
	found, ok := k[id]
	if !ok {
		return keys.Key{}, fmt.Errorf("key: %w", keys.ErrNotFound)
	}
	return found, pass(ctx, "Key", true)
}

// fault is a failure that waits in a context: the nth point that a call passes fails, and
// all after it, as when a process ends there.
type fault struct {
	mu   sync.Mutex
	left int
	at   string // where it happened
	seen int
}

type faultKey struct{}

func withFault(ctx context.Context, after int) (context.Context, *fault) {
	f := &fault{left: after}
	return context.WithValue(ctx, faultKey{}, f), f
}

var errFault = fmt.Errorf("injected: %w", keys.ErrUnavailable)

func pass(ctx context.Context, op string, done bool) error {
	f, ok := ctx.Value(faultKey{}).(*fault)
	if !ok {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen++
	if f.left--; f.left >= 0 {
		return nil
	}
	if f.at == "" {
		f.at = fmt.Sprintf("%s, done: %t", op, done)
	}
	return errFault
}

// counted is a Counter on a memory store whose every step may fail.
type counted struct {
	t     testing.TB
	store *usagetest.Memory
	*usage.Counter
	mu    sync.Mutex
	facts []usage.Facts // that were watched to the end
}

func newCounted(t testing.TB, owners usage.Keys) *counted {
	t.Helper()
	c := &counted{t: t, store: usagetest.NewMemory()}
	c.store.OnCall(func(ctx context.Context, call usagetest.Call) error { return pass(ctx, call.Op, call.Done) })
	c.Counter = c.counter(owners)
	return c
}

// counter is another process on the same store.
func (c *counted) counter(owners usage.Keys) *usage.Counter {
	return usage.New(usage.Config{Store: c.store, Table: table(c.t), Keys: owners})
}

func (c *counted) watch(ctx context.Context, f usage.Facts) error {
	if err := pass(ctx, "watch", false); err != nil {
		return err
	}
	c.mu.Lock()
	c.facts = append(c.facts, f)
	c.mu.Unlock()
	return pass(ctx, "watch", true)
}

func (c *counted) process(ctx context.Context, d usage.Delivery) (usage.Stats, error) {
	return c.Process(ctx, d, c.watch)
}

func (c *counted) must(list ...usage.Delivery) (stats usage.Stats) {
	c.t.Helper()
	for _, d := range list {
		s, err := c.process(c.t.Context(), d)
		if err != nil {
			c.t.Fatalf("Process: %v", err)
		}
		stats.Counted, stats.Duplicate = stats.Counted+s.Counted, stats.Duplicate+s.Duplicate
		stats.Unreadable, stats.Unattributed = stats.Unreadable+s.Unreadable, stats.Unattributed+s.Unattributed
	}
	return stats
}

// holds compares the store with what was sent.
func (c *counted) holds(list []sent) {
	c.t.Helper()
	c.same(reference(list))
}

func (c *counted) same(want usagetest.Tables) {
	c.t.Helper()
	if diff := cmp.Diff(want, c.store.Tables(), cmpopts.EquateEmpty()); diff != "" {
		c.t.Fatalf("counted (-sent +counted)\n%.4000s", diff)
	}
}

// once fails a delivery at a random point, and gives it up.
func (c *counted) once(r *rand.Rand, d usage.Delivery) {
	for most := 3 * len(d.Lines); ; most = most/2 + 1 {
		ctx, f := withFault(c.t.Context(), r.IntN(most+1))
		_, err := c.process(ctx, d)
		if err == nil && f.at == "" {
			if f.seen == 0 { // nothing in it that anybody would be called for
				return
			}
			continue // it had fewer points
		}
		if !errors.Is(err, errFault) {
			c.t.Errorf("failing at %s: %v", f.at, err)
		}
		return
	}
}
