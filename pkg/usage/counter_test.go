package usage_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/logline"
	"github.com/keyreeve/keyreeve/pkg/usage"
	"github.com/keyreeve/keyreeve/pkg/usage/usagetest"
)

func seeded(t *testing.T, seed uint64) *rand.Rand {
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

func TestEachRequestIsCountedOnce(t *testing.T) {
	r := seeded(t, rand.Uint64())
	list, owners := traffic(r, 10_000, 50)
	c := newCounted(t, owners)
	batches := deliveries(r, list, 200)
	lines := 0
	for _, d := range batches {
		lines += len(d.Lines)
	}
	t.Logf("%d lines of %d requests in %d batches", lines, len(list), len(batches))
	if lines < 10_000 {
		t.Fatalf("%d lines, want 10,000", lines)
	}

	// Each batch comes three times, in any order, four processes at a time; the first time
	// it fails somewhere.
	var todo []usage.Delivery
	for _, d := range batches {
		todo = append(todo, d, d, d)
	}
	r.Shuffle(len(todo), func(i, j int) { todo[i], todo[j] = todo[j], todo[i] })
	failed := map[usage.Batch]bool{}
	var again []usage.Delivery
	var wg sync.WaitGroup
	queue := make(chan func())
	for range 4 {
		wg.Go(func() {
			for f := range queue {
				f()
			}
		})
	}
	for _, d := range todo {
		if name := d.Batch(); !failed[name] {
			failed[name] = true
			again = append(again, d) // Lambda repeats it some time later
			own := rand.New(rand.NewPCG(r.Uint64(), 1))
			queue <- func() { c.once(own, d) }
			continue
		}
		queue <- func() { c.must(d) }
	}
	for _, d := range again {
		queue <- func() { c.must(d) }
	}
	close(queue)
	wg.Wait()
	c.holds(list)

	// Nothing was kept from whoever watches either.
	wantRequests, wantJoined := map[string]bool{}, map[string]bool{}
	for _, s := range list {
		switch s.fate {
		case strange, public, accessOnly:
		case refused:
			wantJoined[s.id()] = true
			fallthrough
		default:
			wantRequests[s.id()] = true
		}
	}
	gotRequests, gotJoined := map[string]bool{}, map[string]bool{}
	for _, f := range c.facts {
		for _, q := range f.Requests {
			gotRequests[q.ID] = true
		}
		for _, q := range f.Joined {
			gotJoined[q.ID] = true
			if q.SourceIP == "" || q.KeyID == "" || q.Refused == "" {
				t.Fatalf("joined, but not whole: %+v", q)
			}
		}
	}
	same(t, "requests that were watched", gotRequests, wantRequests)
	same(t, "joined requests that were watched", gotJoined, wantJoined)

	// The same lines in other batches are the same lines.
	stats := c.must(deliveries(r, list, 500)...)
	c.holds(list)
	if stats.Counted != 0 || stats.Duplicate == 0 {
		t.Errorf("lines in other batches: %+v, want all of them duplicate", stats)
	}
}

func same(t testing.TB, what string, got, want any) {
	t.Helper()
	if diff := gocmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s (-want +got)\n%.4000s", what, diff)
	}
}

func TestLinesInTwoGroupingsAtOnceAreCountedOnce(t *testing.T) {
	r := seeded(t, rand.Uint64())
	for range 8 {
		list, owners := traffic(r, 200, 5)
		c := newCounted(t, owners)
		both := append(deliveries(r, list, 40), deliveries(r, list, 25)...)
		r.Shuffle(len(both), func(i, j int) { both[i], both[j] = both[j], both[i] })
		// A batch that failed keeps the rows that it put, and counts them when it comes back.
		for _, d := range both {
			c.once(r, d)
		}
		var wg sync.WaitGroup
		for _, d := range both {
			wg.Go(func() { c.must(d) })
		}
		wg.Wait()
		c.holds(list)
	}
}

// mixed is a batch with every kind of line, which no single log has.
func mixed(r *rand.Rand, list []sent) usage.Delivery {
	var all usage.Delivery
	for _, d := range deliveries(r, list, 1000) {
		all.Lines = append(all.Lines, d.Lines...)
	}
	return all
}

// TestABatchMayFailAnywhere has a process end before and after every step of every call
// that a batch makes, and the batch come back.
func TestABatchMayFailAnywhere(t *testing.T) {
	r := seeded(t, 1) // steps must be the same each time, as far as they are in order at all
	list, owners := traffic(r, 36, 3)
	before, batch := mixed(r, list[:10]), mixed(r, list[10:])
	overlapping := usage.Delivery{LogGroup: "other", Lines: append(slices.Clone(batch.Lines[:len(batch.Lines)/2]), before.Lines...)}

	plain := newCounted(t, owners)
	plain.must(before)
	ctx, clean := withFault(t.Context(), 1<<30)
	if _, err := plain.process(ctx, batch); err != nil {
		t.Fatal(err)
	}
	plain.holds(list)
	want := plain.facts[1]
	if len(want.Requests) == 0 || len(want.Joined) == 0 || len(want.Unknown) == 0 || len(want.Before) == 0 {
		t.Fatalf("the batch says too little: %+v", want)
	}

	met := map[string]bool{}
	for n := range clean.seen {
		for _, meanwhile := range [][]usage.Delivery{nil, {overlapping}} {
			c := newCounted(t, owners)
			c.must(before)
			ctx, f := withFault(t.Context(), n)
			if _, err := c.process(ctx, batch); !errors.Is(err, errFault) {
				t.Fatalf("failing at point %d, %s: %v", n, f.at, err)
			}
			met[f.at] = true
			c.must(meanwhile...)
			// Lambda may start another process for it.
			if _, err := c.counter(owners).Process(t.Context(), batch, c.watch); err != nil {
				t.Fatal(err)
			}
			c.holds(list)
			// What is told again is what was told, or would have been: also of requests that
			// another batch has counted since, for that one may have told nobody.
			last := c.facts[len(c.facts)-1]
			where := "facts after a failure at " + f.at
			switch {
			case meanwhile != nil:
				same(t, where+" and another batch", last.Requests, want.Requests)
			case strings.HasPrefix(f.at, "SaveProfile"): // all was told by then, with the profiles as they were
				same(t, where, c.facts[len(c.facts)-2], want)
			default:
				same(t, where, last, want)
			}
			// And once more, as if the answer to Lambda had been lost.
			c.must(batch)
			c.holds(list)
		}
	}
	var points []string
	for _, op := range []string{"Key", "Record", "Join", "Complete", "Count", "Profiles", "watch", "SaveProfile"} {
		points = append(points, op+", done: false", op+", done: true")
	}
	same(t, "steps that failed", sorted(met), slices.Sorted(slices.Values(points)))
	t.Logf("%d points", clean.seen)
}

func sorted[K cmp.Ordered](m map[K]bool) (out []K) {
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

func TestTheTwoLinesOfARefusedRequestComeInAnyOrder(t *testing.T) {
	list, owners := traffic(seeded(t, 2), 40, 2)
	list = slices.DeleteFunc(list, func(s sent) bool { return s.fate != refused })
	s := list[0]
	access := usage.Delivery{LogGroup: "access", Lines: []usage.Line{{ID: "1", Text: s.access()}}}
	refusal := usage.Delivery{LogGroup: "authorizer", Lines: []usage.Line{{ID: "2", Text: s.event()}}}
	joined := reference([]sent{s}).Requests[s.id()]
	bare := usage.Request{
		ID: joined.ID, RequestID: joined.RequestID, Time: joined.Time, KeyID: joined.KeyID, AccountID: joined.AccountID,
		Environment: joined.Environment, Status: 401, Refused: joined.Refused,
	}
	unknown := joined
	unknown.KeyID, unknown.AccountID, unknown.Environment, unknown.Refused = "", "", "", ""
	none := map[apikey.ID]usage.Profile{}

	c := newCounted(t, owners)
	c.must(access)
	c.same(reference([]sent{{n: s.n, at: s.at, to: s.to, fate: accessOnly, status: 401, ip: s.ip}}))
	c.must(refusal)
	c.holds([]sent{s})
	same(t, "facts, access line first", c.facts, []usage.Facts{
		{Unknown: []usage.Request{unknown}},
		{Requests: []usage.Request{bare}, Joined: []usage.Request{joined}, Before: none},
	})

	c = newCounted(t, owners)
	c.must(refusal)
	s.fate = refusalOnly
	c.holds([]sent{s})
	c.must(access)
	s.fate = refused
	c.holds([]sent{s})
	same(t, "facts, refusal first", c.facts, []usage.Facts{
		{Requests: []usage.Request{bare}, Before: none},
		{Joined: []usage.Request{joined}},
	})
}

// one processes lines of one request and returns what was counted of the key, in words.
func one(t *testing.T, lines ...string) string {
	t.Helper()
	c := newCounted(t, keyring{"AbCd1234": {ID: "AbCd1234", AccountID: "acct_1", Environment: keys.Staging}})
	var d usage.Delivery
	for i, l := range lines {
		d.Lines = append(d.Lines, usage.Line{ID: fmt.Sprint(i), Timestamp: moment, Text: l})
	}
	stats := c.must(d)
	tables := c.store.Tables()
	totals := tables.Totals["AbCd1234"]
	out := fmt.Sprintf("%d requests %+d admitted", totals.Requests, totals.Admitted)
	for _, days := range tables.Counts {
		for _, count := range days {
			for hour, h := range count.Hours {
				if h.Requests != 0 {
					out += fmt.Sprintf(", %v %02dh %v of %v for %v", count.Day.Start().Format("Jan 2"), hour, h.Status[1:], h.Generations, count.Permissions)
				}
			}
		}
	}
	if stats.Unreadable+stats.Unattributed > 0 {
		out += fmt.Sprintf(", unreadable %d, unattributed %d", stats.Unreadable, stats.Unattributed)
	}
	return out
}

var moment = time.Date(2026, 1, 15, 10, 30, 0, 0, time.UTC)

func TestWhatEachLineCounts(t *testing.T) {
	access := func(change func(*logline.Access)) string {
		a := logline.Access{
			ExtendedRequestID: "x=", Time: moment, Stage: "staging", Method: "GET", Route: "/v1/customers/{customerId}", Status: 200,
			KeyID: "AbCd1234", AccountID: "acct_1", Environment: "staging", Generation: 2, SourceIP: "192.0.2.1",
		}
		if change != nil {
			change(&a)
		}
		return a.Line()
	}
	event := func(by logline.By, reason string, change func(*logline.Event)) string {
		e := logline.Event{What: logline.Refused, By: by, ExtendedRequestID: "x=", Time: moment, KeyID: "AbCd1234", Reason: reason}
		if change != nil {
			change(&e)
		}
		return eventLine(e)
	}
	const normal = "1 requests +1 admitted, Jan 15 10h [0 1 0 0 0] of map[2:1] for map[customers:read:1]"
	for _, tt := range []struct {
		name  string
		lines []string
		want  string
	}{
		{"a request", []string{access(nil)}, normal},
		{"the same line twice", []string{access(nil), access(nil)}, normal},
		{"the last moment of a day", []string{access(func(a *logline.Access) { a.Time = time.Date(2026, 1, 14, 23, 59, 59, 999_000_000, time.UTC) })},
			"1 requests +1 admitted, Jan 14 23h [0 1 0 0 0] of map[2:1] for map[customers:read:1]"},
		{"the first moment of a day", []string{access(func(a *logline.Access) { a.Time = time.Date(2026, 1, 16, 0, 0, 0, 0, time.UTC) })},
			"1 requests +1 admitted, Jan 16 00h [0 1 0 0 0] of map[2:1] for map[customers:read:1]"},
		{"on the shared stage, by the key's own environment", []string{access(func(a *logline.Access) { a.Stage = "shared" })}, normal},
		{"on an unguarded route", []string{access(func(a *logline.Access) { a.Route = "/v1/feeds" })},
			"1 requests +0 admitted, Jan 15 10h [0 1 0 0 0] of map[2:1] for map[feeds:read:1]"},
		{"on a route that needs no permission", []string{access(func(a *logline.Access) { a.Route = "/v1/me" })},
			"1 requests +1 admitted, Jan 15 10h [0 1 0 0 0] of map[2:1] for map[]"},
		{"on a route that is gone", []string{access(func(a *logline.Access) { a.Route = "/v1/gone" })},
			"1 requests +1 admitted, Jan 15 10h [0 1 0 0 0] of map[2:1] for map[]"},
		{"refused by the cached policy", []string{access(func(a *logline.Access) { a.Status, a.ResponseType = 403, "ACCESS_DENIED" })},
			"1 requests +0 admitted, Jan 15 10h [0 0 0 1 0] of map[2:1] for map[customers:read:1]"},
		{"refused by the stage's throttle", []string{access(func(a *logline.Access) { a.Status, a.ResponseType = 429, "THROTTLED" })},
			"1 requests +0 admitted, Jan 15 10h [0 0 0 1 0] of map[2:1] for map[customers:read:1]"},
		{"the function was too slow", []string{access(func(a *logline.Access) { a.Status, a.ResponseType = 504, "INTEGRATION_TIMEOUT" })},
			"1 requests +1 admitted, Jan 15 10h [0 0 0 0 1] of map[2:1] for map[customers:read:1]"},
		{"refused by the guard", []string{access(func(a *logline.Access) { a.Status = 429 }), event(logline.ByGuard, logline.ReasonLimit, nil)},
			"1 requests +0 admitted, Jan 15 10h [0 0 0 1 0] of map[2:1] for map[customers:read:1]"},
		{"the guard's line alone", []string{event(logline.ByGuard, logline.ReasonLimit, nil)}, "0 requests -1 admitted"},
		{"refused by the authorizer", []string{event(logline.ByAuthorizer, "expired", nil)},
			"1 requests +0 admitted, Jan 15 10h [0 0 0 1 0] of map[] for map[]"},
		{"a key that nobody knows", []string{event(logline.ByAuthorizer, "unknown", func(e *logline.Event) { e.KeyID = "Nobodys0" })},
			"0 requests +0 admitted, unreadable 0, unattributed 1"},
		{"no key at all", []string{event(logline.ByAuthorizer, "malformed", func(e *logline.Event) { e.KeyID = "" })},
			"0 requests +0 admitted, unreadable 0, unattributed 1"},
		{"near its limit", []string{event(logline.ByGuard, "", func(e *logline.Event) { e.What = logline.NearLimit })}, "0 requests +0 admitted"},
		{"of a public route", []string{access(func(a *logline.Access) { a.KeyID, a.AccountID, a.Environment, a.Generation = "", "", "", 0 })},
			"0 requests +0 admitted"},
		{"something else", []string{"START RequestId: 1", "", `{"msg":"served"}`}, "0 requests +0 admitted, unreadable 3, unattributed 0"},
		{"a malformed key id", []string{access(func(a *logline.Access) { a.KeyID = "a key" })}, "0 requests +0 admitted, unreadable 1, unattributed 0"},
		{"a malformed account", []string{access(func(a *logline.Access) { a.AccountID = "a#b" })}, "0 requests +0 admitted, unreadable 1, unattributed 0"},
		{"an unknown environment", []string{access(func(a *logline.Access) { a.Environment = "shared" })}, "0 requests +0 admitted, unreadable 1, unattributed 0"},
		{"a key without a generation", []string{access(func(a *logline.Access) { a.Generation = 0 })}, "0 requests +0 admitted, unreadable 1, unattributed 0"},
		{"a time that cannot be", []string{access(func(a *logline.Access) { a.Time = moment.AddDate(1, 0, 0) })}, "0 requests +0 admitted, unreadable 1, unattributed 0"},
		{"a clock that is a little off", []string{access(func(a *logline.Access) { a.Time = moment.Add(5 * time.Minute) })}, normal},
		{"one good line among bad ones", []string{"{", access(nil), "}"}, normal + ", unreadable 2, unattributed 0"},
	} {
		if got := one(t, tt.lines...); got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.name, got, tt.want)
		}
	}
}

func TestOnlySuccessOnUnguardedRoutesIsToldAsSuch(t *testing.T) {
	c := newCounted(t, keyring{})
	line := func(n int, route string, status int, response string) string {
		a := logline.Access{
			ExtendedRequestID: fmt.Sprint(n, "="), Time: moment.Add(-time.Duration(n) * time.Second), Stage: "staging", Method: "GET", Route: route, Status: status,
			ResponseType: response, KeyID: "AbCd1234", AccountID: "acct_1", Environment: "staging", Generation: 2,
		}
		return a.Line()
	}
	d := usage.Delivery{LogGroup: "access"}
	for i, text := range []string{
		line(1, "/v1/feeds", 200, ""), line(2, "/v1/feeds", 304, ""), line(3, "/v1/feeds", 403, "ACCESS_DENIED"), line(4, "/v1/feeds", 500, ""),
		line(5, "/v1/me", 200, ""), line(6, "/v1/gone", 200, ""),
	} {
		d.Lines = append(d.Lines, usage.Line{ID: fmt.Sprint(i), Text: text})
	}
	if _, err := c.process(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range c.facts[0].Unguarded {
		got = append(got, fmt.Sprint(r.ID, r.Status))
	}
	same(t, "unguarded", got, []string{"2=304", "1=200"}) // in order of time
}

func TestNearLimitIsToldWithTheKeysAccount(t *testing.T) {
	c := newCounted(t, keyring{"AbCd1234": {ID: "AbCd1234", AccountID: "acct_1", Environment: keys.Staging}})
	near := func(id apikey.ID) string {
		return eventLine(logline.Event{What: logline.NearLimit, By: logline.ByGuard, ExtendedRequestID: "x=", Time: moment, KeyID: id, Limit: 100})
	}
	c.must(usage.Delivery{Lines: []usage.Line{{ID: "1", Text: near("AbCd1234")}, {ID: "2", Text: near("Nobodys0")}}})
	same(t, "facts", c.facts, []usage.Facts{{Near: []usage.Near{{KeyID: "AbCd1234", AccountID: "acct_1", Environment: keys.Staging, Time: moment, Limit: 100}}}})
}

func TestABatchIsNamedByTheSetOfItsLines(t *testing.T) {
	d := func(group, stream string, lines ...usage.Line) usage.Batch {
		return usage.Delivery{LogGroup: group, LogStream: stream, Lines: lines}.Batch()
	}
	a, b := usage.Line{ID: "1", Text: "a"}, usage.Line{ID: "2", Text: "b"}
	name := d("g", "s", a, b)
	for what, other := range map[string]usage.Batch{"another order": d("g", "s", b, a), "a line twice": d("g", "s", a, b, a)} {
		if other != name {
			t.Errorf("%s: another name", what)
		}
	}
	for what, other := range map[string]usage.Batch{
		"fewer lines": d("g", "s", a), "no lines": d("g", "s"), "another group": d("h", "s", a, b), "another stream": d("g", "t", a, b),
		"another text": d("g", "s", a, usage.Line{ID: "2", Text: "c"}), "another id": d("g", "s", a, usage.Line{ID: "3", Text: "b"}),
		"a border moved":    d("gs", "", a, b),
		"two lines in one":  d("g", "s", usage.Line{ID: "1", Text: "a2b"}),
		"an id in the text": d("g", "s", usage.Line{ID: "1a", Text: ""}, b),
	} {
		if other == name {
			t.Errorf("%s: the same name", what)
		}
	}
	if len(name) != 64 {
		t.Errorf("name %q, want 64 hexadecimal digits", name)
	}
}

// asked counts the questions of a keyring.
type asked struct {
	keyring
	mu   sync.Mutex
	list []apikey.ID
}

func (a *asked) Key(ctx context.Context, id apikey.ID) (keys.Key, error) {
	a.mu.Lock()
	a.list = append(a.list, id)
	a.mu.Unlock()
	return a.keyring.Key(ctx, id)
}

func TestAKeyIsLookedUpOnceAndAnUnknownOneAgainForLaterRequests(t *testing.T) {
	now := moment
	owners := &asked{keyring: keyring{"AbCd1234": {ID: "AbCd1234", AccountID: "acct_1", Environment: keys.Staging}}}
	store := usagetest.NewMemory()
	c := usage.New(usage.Config{Store: store, Table: table(t), Keys: owners, Clock: func() time.Time { return now }})
	n := 0
	process := func(at time.Time, ids ...apikey.ID) (unattributed int) {
		t.Helper()
		var d usage.Delivery
		for _, id := range ids {
			n++
			d.Lines = append(d.Lines, usage.Line{ID: fmt.Sprint(n), Text: eventLine(logline.Event{
				What: logline.Refused, By: logline.ByAuthorizer, ExtendedRequestID: fmt.Sprint("x", n), Time: at, KeyID: id, Reason: "x"})})
		}
		stats, err := c.Process(t.Context(), d, func(context.Context, usage.Facts) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		return stats.Unattributed
	}
	process(moment.Add(-time.Second), "AbCd1234", "AbCd1234", "Nobodys0", "Nobodys0", "")
	process(moment.Add(time.Hour), "AbCd1234")
	slices.Sort(owners.list)
	same(t, "asked", owners.list, []apikey.ID{"AbCd1234", "Nobodys0"})

	// The id was free at moment. A request from before that is nobody's, whatever comes.
	owners.list, now = nil, moment.Add(time.Minute)
	owners.keyring["Nobodys0"] = keys.Key{ID: "Nobodys0", AccountID: "acct_2", Environment: keys.Staging}
	if got := process(moment.Add(-time.Minute), "Nobodys0"); got != 1 || len(owners.list) != 0 {
		t.Errorf("an older request: %d unattributed, asked %v; want 1 and nobody asked", got, owners.list)
	}
	if got := process(moment, "Nobodys0"); got != 0 {
		t.Error("a request since then goes by what was known before it")
	}
	same(t, "asked", owners.list, []apikey.ID{"Nobodys0"})
	if sum := store.Tables().Totals["Nobodys0"]; sum.Requests != 1 {
		t.Errorf("%d requests of the new key, want 1", sum.Requests)
	}
}

func TestWhatAProcessRemembersOfKeysIsBounded(t *testing.T) {
	all := keyring{}
	for i := range 300 {
		id := apikey.ID(fmt.Sprintf("Key%05d", i))
		all[id] = keys.Key{ID: id, AccountID: "acct_1", Environment: keys.Staging}
	}
	c := usage.New(usage.Config{Store: usagetest.NewMemory(), Table: table(t), Keys: all})
	usage.Remember(c, 100)
	for round := range 3 {
		var d usage.Delivery
		for i := range 600 { // every other one unknown
			id := apikey.ID(fmt.Sprintf("Key%05d", i))
			d.Lines = append(d.Lines, usage.Line{ID: fmt.Sprint(round, i), Text: eventLine(logline.Event{
				What: logline.NearLimit, By: logline.ByGuard, ExtendedRequestID: fmt.Sprint(i), Time: moment, KeyID: id})})
		}
		near := 0
		if _, err := c.Process(t.Context(), d, func(_ context.Context, f usage.Facts) error { near = len(f.Near); return nil }); err != nil {
			t.Fatal(err)
		}
		if near != 300 {
			t.Errorf("%d keys found, want 300", near)
		}
		if known, absent := usage.Remembered(c); known > 100 || absent > 100 {
			t.Errorf("%d known and %d unknown keys are remembered, want at most 100", known, absent)
		}
	}
}

func TestAProfileThatChangedMeanwhileIsJoinedAnew(t *testing.T) {
	list, owners := traffic(seeded(t, 3), 30, 1)
	r := rand.New(rand.NewPCG(3, 3))
	first, second := mixed(r, list[:15]), mixed(r, list[15:])
	c := newCounted(t, owners)
	raced := false
	c.store.OnCall(func(ctx context.Context, call usagetest.Call) error {
		if call.Op == "SaveProfile" && !call.Done && !raced {
			raced = true
			c.must(second)
		}
		return nil
	})
	c.must(first)
	if !raced {
		t.Fatal("nobody came in between")
	}
	c.holds(list)
}

func TestAProfileThatOthersAlwaysChangeIsLeftWhenTimeIsOver(t *testing.T) {
	list, owners := traffic(seeded(t, 4), 10, 1)
	synctest.Test(t, func(t *testing.T) {
		c := newCounted(t, owners)
		tries := 0
		c.store.OnCall(func(_ context.Context, call usagetest.Call) error {
			if call.Op == "SaveProfile" {
				tries++
				return usage.ErrStale
			}
			return nil
		})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := c.process(ctx, mixed(rand.New(rand.NewPCG(4, 4)), list))
		if !errors.Is(err, keys.ErrUnavailable) {
			t.Errorf("error %v, want ErrUnavailable", err)
		}
		if tries < 5 || tries > 200 {
			t.Errorf("%d tries in 5 seconds", tries)
		}
	})
}

func TestAProfileThatKnowsItAllIsNotSaved(t *testing.T) {
	r := seeded(t, 5)
	list, owners := traffic(r, 50, 3)
	c := newCounted(t, owners)
	c.must(mixed(r, list))
	c.store.OnCall(func(_ context.Context, call usagetest.Call) error {
		if call.Op == "SaveProfile" {
			t.Error("a profile is saved again")
		}
		return nil
	})
	c.must(mixed(r, list))
}

func TestNothingOfALineIsInLogsAndErrors(t *testing.T) {
	const secret = "kr_live_AbCd1234SECRETSECRET"
	var out strings.Builder
	c := newCounted(t, keyring{})
	counter := usage.New(usage.Config{Store: c.store, Table: table(t), Keys: keyring{}, Log: slog.New(slog.NewTextHandler(&out, nil))})
	access := logline.Access{ExtendedRequestID: "x=", Time: moment, Status: 401, UserAgent: secret}.Line()
	d := usage.Delivery{LogGroup: "g", Lines: []usage.Line{{ID: "1", Text: "unreadable " + secret}, {ID: "2", Text: access}}}
	ctx, _ := withFault(t.Context(), 0)
	_, err := counter.Process(ctx, d, c.watch)
	if err == nil {
		t.Fatal("no error")
	}
	if !strings.Contains(out.String(), "lines=1") {
		t.Errorf("the log does not say how many lines were not readable: %s", out.String())
	}
	if strings.Contains(out.String()+err.Error(), "SECRET") {
		t.Errorf("log or error quote a line")
	}
}
