package usagetest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/usage"
)

// Suite checks the contract of usage.Store. newStore may return the same store each time.
func Suite(t *testing.T, newStore func(t *testing.T) usage.Store) {
	for _, tt := range []struct {
		name string
		test func(*testing.T, *fixture)
	}{
		{"a row belongs to the batch that put it", rowsHaveOneOwner},
		{"each half of a row has its own owner", halvesHaveOwners},
		{"one of many batches gets a row", oneOwner},
		{"many rows in one call", manyRows},
		{"halves make one row in any order", halvesMeet},
		{"an access half reads back whole", accessReadsBack},
		{"counts add up", countsAddUp},
		{"a batch is counted once", countedOnce},
		{"a batch at many processes is counted once", countedOnceAtOnce},
		{"batches of one key at once all count", batchesAtOnce},
		{"many keys and days in one count", manyCounts},
		{"totals need no counts and may go down", totalsAlone},
		{"two lines of a refused request find each other in any order", joins},
		{"two lines at once: one of them finds the other", joinsAtOnce},
		{"a row is completed, and again", completes},
		{"a row that is not there stays absent", completesNothing},
		{"profiles read back whole", profilesReadBack},
		{"a stale profile is refused", staleProfile},
		{"one of many profiles of a version is saved", oneProfile},
		{"absent is no entry", absent},
		{"days are a range, oldest first", days},
		{"an account's days hold every key's requests by hour", accountDays},
		{"the request log comes newest first", logOrder},
		{"the request log's filters", logFilters},
		{"pages hold each row once", logPages},
		{"a page goes on from any place", logPlaces},
		{"nothing is shared with the caller", noSharing},
		{"a cancelled context changes nothing", cancelled},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, newFixture(t, newStore(t))) })
	}
}

// fixture is an account in a store, with a key.
type fixture struct {
	usage.Store
	ctx     context.Context
	base    time.Time // an hour ago, at the start of a minute
	account string
	key     apikey.ID
}

func newFixture(t *testing.T, s usage.Store) *fixture {
	t.Helper()
	return &fixture{
		Store: s, ctx: t.Context(), base: time.Now().UTC().Truncate(time.Minute).Add(-time.Hour),
		account: "t-" + string(apikey.NewID()), key: apikey.NewID(),
	}
}

func newBatch() usage.Batch {
	return usage.Batch(fmt.Sprintf("%016x%016x%016x%016x", rand.Uint64(), rand.Uint64(), rand.Uint64(), rand.Uint64()))
}

// newID is an id as API Gateway makes them.
func newID() string { return string(apikey.NewID()+apikey.NewID()[:2]) + "_-=" }

// request is a request that the guard let through, with every field set but Refused.
func (f *fixture) request(after time.Duration) usage.Request {
	return usage.Request{
		ID: newID(), RequestID: "chosen by a client ☃ \"}", Time: f.base.Add(after),
		KeyID: f.key, AccountID: f.account, Environment: keys.Staging, Generation: 3, Parent: "p0000001",
		Method: "GET", Route: "/v1/customers/{customerId}", Permission: "customers:read", Status: 200,
		Latency: 12 * time.Millisecond, SourceIP: "2001:db8::1", UserAgent: `curl/8 "quoted" \ 東京 🗼`,
	}
}

// refused is the guard's half of r.
func refused(r usage.Request, reason string) usage.Row {
	return usage.Row{Half: usage.RefusalHalf, Request: usage.Request{
		ID: r.ID, RequestID: r.RequestID, Time: r.Time, KeyID: r.KeyID, Parent: r.Parent, AccountID: r.AccountID, Environment: r.Environment, Refused: reason,
	}}
}

// unauthorized is the authorizer's half of r: the only one that says whose the row is.
func unauthorized(r usage.Request, reason string) usage.Row {
	row := refused(r, reason)
	row.Request.Status = 401
	return row
}

// keyless is what the access log knows of r if the authorizer refused it.
func keyless(r usage.Request) usage.Request {
	r.KeyID, r.AccountID, r.Environment, r.Generation, r.Parent, r.Refused = "", "", "", 0, "", ""
	r.Status = 401
	return r
}

func access(r usage.Request) usage.Row { return usage.Row{Half: usage.AccessHalf, Request: r} }

func (f *fixture) record(t *testing.T, batch usage.Batch, rows ...usage.Row) []bool {
	t.Helper()
	mine, err := f.Record(f.ctx, batch, rows)
	if err != nil {
		t.Fatalf("Record: %v", err)
	}
	if len(mine) != len(rows) {
		t.Fatalf("Record of %d rows answers for %d", len(rows), len(mine))
	}
	return mine
}

// log reads the whole request log of the fixture's account.
func (f *fixture) log(t *testing.T, change func(*usage.Query)) []usage.Request {
	t.Helper()
	q := usage.Query{AccountID: f.account, From: f.base.AddDate(0, 0, -60), To: f.base.AddDate(0, 0, 60), Limit: 1000}
	if change != nil {
		change(&q)
	}
	var list []usage.Request
	for pages := 0; ; pages++ {
		page, err := f.Requests(f.ctx, q)
		if err != nil {
			t.Fatalf("Requests: %v", err)
		}
		if len(page.Requests) > q.Limit {
			t.Fatalf("a page has %d rows, want at most %d", len(page.Requests), q.Limit)
		}
		list = append(list, page.Requests...)
		if page.Next == nil {
			return list
		}
		if pages > 1000 {
			t.Fatal("the log has no end")
		}
		q.After = page.Next
	}
}

func (f *fixture) count(t *testing.T, batch usage.Batch, counts []usage.Count, totals map[apikey.ID]usage.Totals) {
	t.Helper()
	if err := f.Count(f.ctx, batch, counts, totals); err != nil {
		t.Fatalf("Count: %v", err)
	}
}

// oneCount is n requests of the fixture's key at one hour.
func (f *fixture) oneCount(day usage.Day, hour int, n int64) usage.Count {
	c := usage.Count{AccountID: f.account, KeyID: f.key, Day: day, Permissions: map[string]int64{"customers:read": n}}
	c.Hours[hour] = usage.Hour{Requests: n, Generations: map[int64]int64{3: n}}
	c.Hours[hour].Status[2] = n
	return c
}

func (f *fixture) days(t *testing.T, from, to usage.Day) []usage.Count {
	t.Helper()
	list, err := f.Days(f.ctx, f.account, []apikey.ID{f.key}, from, to)
	if err != nil {
		t.Fatalf("Days: %v", err)
	}
	return list
}

func (f *fixture) total(t *testing.T) usage.Totals {
	t.Helper()
	totals, err := f.Totals(f.ctx, []apikey.ID{f.key})
	if err != nil {
		t.Fatalf("Totals: %v", err)
	}
	return totals[f.key]
}

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := gocmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func rowsHaveOneOwner(t *testing.T, f *fixture) {
	a, b := newBatch(), newBatch()
	r1, r2 := f.request(0), f.request(time.Second)
	same(t, "a new row", f.record(t, a, access(r1)), []bool{true})
	same(t, "the same call again", f.record(t, a, access(r1)), []bool{true})
	same(t, "another batch with that row and a new one", f.record(t, b, access(r1), access(r2)), []bool{false, true})
	same(t, "the first batch with both, in another order", f.record(t, a, access(r2), access(r1)), []bool{false, true})
	same(t, "a row twice in one call", f.record(t, b, access(r2), access(r1), access(r2)), []bool{true, false, true})
	same(t, "no rows", len(f.record(t, a)), 0)
	same(t, "the log", f.log(t, nil), []usage.Request{r2, r1})
}

func halvesHaveOwners(t *testing.T, f *fixture) {
	a, b, c := newBatch(), newBatch(), newBatch()
	r := f.request(0)
	same(t, "access half", f.record(t, a, access(r)), []bool{true})
	same(t, "refusal half", f.record(t, b, refused(r, "rate_limited")), []bool{true})
	same(t, "both, by a third", f.record(t, c, access(r), refused(r, "rate_limited")), []bool{false, false})
	same(t, "both, by the first", f.record(t, a, access(r), refused(r, "rate_limited")), []bool{true, false})
	same(t, "both, by the second", f.record(t, b, access(r), refused(r, "rate_limited")), []bool{false, true})
}

func oneOwner(t *testing.T, f *fixture) {
	var rows []usage.Row
	for i := range 20 {
		rows = append(rows, access(f.request(time.Duration(i)*time.Second)))
	}
	batches := make([]usage.Batch, 6)
	got := make([][]bool, len(batches))
	var wg sync.WaitGroup
	for i := range batches {
		batches[i] = newBatch()
		wg.Go(func() {
			mixed := slices.Clone(rows)
			if i%2 == 1 {
				slices.Reverse(mixed)
			}
			mine, err := f.Record(f.ctx, batches[i], mixed)
			if err != nil {
				t.Errorf("Record: %v", err)
				return
			}
			if i%2 == 1 {
				slices.Reverse(mine)
			}
			got[i] = mine
		})
	}
	wg.Wait()
	for row := range rows {
		owners := 0
		for _, mine := range got {
			if mine != nil && mine[row] {
				owners++
			}
		}
		if owners != 1 {
			t.Errorf("row %d belongs to %d batches, want 1", row, owners)
		}
	}
	for i, batch := range batches {
		same(t, "asked again", f.record(t, batch, rows...), got[i])
	}
}

func manyRows(t *testing.T, f *fixture) {
	const n = 300
	batch := newBatch()
	var rows []usage.Row
	want := make([]bool, n)
	for i := range n {
		r := f.request(time.Duration(i) * time.Millisecond)
		r.KeyID = apikey.ID(fmt.Sprintf("key%05d", i%7))
		rows = append(rows, access(r))
		want[i] = i%3 != 0
	}
	var others []usage.Row
	for i := 0; i < n; i += 3 {
		others = append(others, rows[i])
	}
	f.record(t, newBatch(), others...)
	same(t, "mine", f.record(t, batch, rows...), want)
	var wantLog []usage.Request
	for _, r := range slices.Backward(rows) {
		wantLog = append(wantLog, r.Request)
	}
	same(t, "the log", f.log(t, nil), wantLog)
}

func halvesMeet(t *testing.T, f *fixture) {
	guard1, guard2, gateway := f.request(3*time.Second), f.request(2*time.Second), f.request(time.Second)
	f.record(t, newBatch(), access(guard1))
	f.record(t, newBatch(), refused(guard1, "rate_limited"))
	f.record(t, newBatch(), refused(guard2, "rate_limited"))
	alone := refused(guard2, "rate_limited").Request
	f.record(t, newBatch(), unauthorized(gateway, "inactive"))
	guard1.Refused = "rate_limited"
	refusal := unauthorized(gateway, "inactive").Request
	same(t, "before the access line", f.log(t, nil), []usage.Request{guard1, alone, refusal})
	f.record(t, newBatch(), access(guard2))
	guard2.Refused = "rate_limited"
	same(t, "after it", f.log(t, nil), []usage.Request{guard1, guard2, refusal})
}

func accessReadsBack(t *testing.T, f *fixture) {
	full, bare := f.request(time.Second), f.request(0)
	bare = usage.Request{ID: bare.ID, Time: bare.Time, KeyID: bare.KeyID, AccountID: bare.AccountID, Environment: keys.Production, Status: 204}
	local := full
	local.Time = full.Time.Add(300 * time.Microsecond).In(time.FixedZone("", 3600))
	f.record(t, newBatch(), access(local), access(bare))
	same(t, "the log", f.log(t, nil), []usage.Request{full, bare})
	for _, r := range f.log(t, nil) {
		if r.Time.Location() != time.UTC {
			t.Errorf("time in %v, want UTC", r.Time.Location())
		}
	}
}

func countsAddUp(t *testing.T, f *fixture) {
	day := usage.DayOf(f.base)
	first, second := f.oneCount(day, 0, 2), f.oneCount(day, 23, 5)
	second.Hours[0] = usage.Hour{Requests: 4, Status: [6]int64{0, 0, 1, 0, 2, 1}, Generations: map[int64]int64{3: 1, 1 << 40: 2}}
	second.Permissions = map[string]int64{"customers:read": 1, "api_keys:write": 8}
	f.count(t, newBatch(), []usage.Count{first}, map[apikey.ID]usage.Totals{f.key: {Requests: 2, Admitted: 2}})
	f.count(t, newBatch(), []usage.Count{second}, map[apikey.ID]usage.Totals{f.key: {Requests: 9, Admitted: 3}})
	want := f.oneCount(day, 23, 5)
	want.Hours[0] = usage.Hour{Requests: 6, Status: [6]int64{0, 0, 3, 0, 2, 1}, Generations: map[int64]int64{3: 3, 1 << 40: 2}}
	want.Permissions = map[string]int64{"customers:read": 3, "api_keys:write": 8}
	same(t, "days", f.days(t, day, day), []usage.Count{want})
	same(t, "totals", f.total(t), usage.Totals{Requests: 11, Admitted: 5})
}

func countedOnce(t *testing.T, f *fixture) {
	day := usage.DayOf(f.base)
	batch := newBatch()
	counts := []usage.Count{f.oneCount(day-1, 23, 1), f.oneCount(day, 0, 2)}
	totals := map[apikey.ID]usage.Totals{f.key: {Requests: 3, Admitted: 3}}
	for range 3 {
		f.count(t, batch, counts, totals)
	}
	same(t, "days", f.days(t, day-1, day), counts)
	same(t, "totals", f.total(t), usage.Totals{Requests: 3, Admitted: 3})
	f.count(t, newBatch(), nil, nil)
}

func countedOnceAtOnce(t *testing.T, f *fixture) {
	day := usage.DayOf(f.base)
	batch := newBatch()
	f.atOnce(t, 6, func(int) error {
		return f.Count(f.ctx, batch, []usage.Count{f.oneCount(day, 5, 2)}, map[apikey.ID]usage.Totals{f.key: {Requests: 2, Admitted: -1}})
	})
	same(t, "days", f.days(t, day, day), []usage.Count{f.oneCount(day, 5, 2)})
	same(t, "totals", f.total(t), usage.Totals{Requests: 2, Admitted: -1})
}

func batchesAtOnce(t *testing.T, f *fixture) {
	const n = 6
	day := usage.DayOf(f.base)
	batches := make([]usage.Batch, n)
	for i := range batches {
		batches[i] = newBatch()
	}
	f.atOnce(t, n, func(i int) error {
		return f.Count(f.ctx, batches[i], []usage.Count{f.oneCount(day, 5, 1)}, map[apikey.ID]usage.Totals{f.key: {Requests: 1, Admitted: 1}})
	})
	same(t, "days", f.days(t, day, day), []usage.Count{f.oneCount(day, 5, n)})
	same(t, "totals", f.total(t), usage.Totals{Requests: n, Admitted: n})
}

// atOnce runs f n times at once. A store may say of a collision that it is unavailable;
// then f is repeated, as who calls it must.
func (f *fixture) atOnce(t *testing.T, n int, do func(i int) error) {
	t.Helper()
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			for attempt := 1; ; attempt++ {
				err := do(i)
				if err == nil {
					return
				}
				if attempt == 20 || !errors.Is(err, keys.ErrUnavailable) {
					t.Errorf("attempt %d: %v", attempt, err)
					return
				}
				time.Sleep(time.Duration(rand.IntN(attempt*20)) * time.Millisecond)
			}
		})
	}
	wg.Wait()
}

func manyCounts(t *testing.T, f *fixture) {
	const nKeys, nDays = 40, 3
	day := usage.DayOf(f.base)
	var counts []usage.Count
	totals := map[apikey.ID]usage.Totals{}
	var ids []apikey.ID
	for range nKeys {
		id := apikey.NewID()
		ids = append(ids, id)
		for d := range usage.Day(nDays) {
			c := f.oneCount(day-d, 7, int64(d)+1)
			c.KeyID = id
			counts = append(counts, c)
		}
		totals[id] = usage.Totals{Requests: 6, Admitted: 5}
	}
	batch := newBatch()
	f.count(t, batch, counts, totals)
	f.count(t, batch, counts, totals)
	got, err := f.Totals(f.ctx, ids)
	if err != nil {
		t.Fatalf("Totals: %v", err)
	}
	same(t, "totals", got, totals)
	for _, id := range ids {
		list, err := f.Days(f.ctx, f.account, []apikey.ID{id}, day-nDays, day)
		if err != nil {
			t.Fatalf("Days: %v", err)
		}
		var want []usage.Count
		for _, c := range counts {
			if c.KeyID == id {
				want = append([]usage.Count{c}, want...)
			}
		}
		same(t, "days", list, want)
	}
}

func totalsAlone(t *testing.T, f *fixture) {
	day := usage.DayOf(f.base)
	batch := newBatch()
	for range 2 {
		f.count(t, batch, nil, map[apikey.ID]usage.Totals{f.key: {Admitted: -1}})
	}
	same(t, "totals", f.total(t), usage.Totals{Admitted: -1})
	same(t, "days", f.days(t, day-1, day+1), []usage.Count{})
	f.count(t, newBatch(), nil, map[apikey.ID]usage.Totals{f.key: {Requests: 1, Admitted: 1}})
	same(t, "totals after another batch", f.total(t), usage.Totals{Requests: 1})
}

func (f *fixture) join(t *testing.T, half usage.Half, r usage.Request) (usage.Request, bool) {
	t.Helper()
	joined, both, err := f.Join(f.ctx, half, r)
	if err != nil {
		t.Fatalf("Join: %v", err)
	}
	return joined, both
}

func joins(t *testing.T, f *fixture) {
	lines := map[usage.Half]func(usage.Request) usage.Request{
		usage.AccessHalf:  keyless,
		usage.RefusalHalf: func(r usage.Request) usage.Request { return unauthorized(r, "expired").Request },
	}
	for _, order := range [][2]usage.Half{{usage.AccessHalf, usage.RefusalHalf}, {usage.RefusalHalf, usage.AccessHalf}} {
		r, other := f.request(0), f.request(0)
		want := r
		want.Generation, want.Status, want.Refused = 0, 401, "expired"
		for range 2 {
			if _, both := f.join(t, order[0], lines[order[0]](r)); both {
				t.Errorf("%s half alone: both", order[0])
			}
		}
		if _, both := f.join(t, order[1], lines[order[1]](other)); both {
			t.Error("the lines of two requests found each other")
		}
		for _, half := range []usage.Half{order[1], order[1], order[0]} {
			joined, both := f.join(t, half, lines[half](r))
			if !both {
				t.Errorf("%s half after the other: not both", half)
			}
			same(t, "joined", joined, want)
		}
	}
}

func joinsAtOnce(t *testing.T, f *fixture) {
	for range 10 {
		r := f.request(0)
		var found [2]bool
		f.atOnce(t, 2, func(i int) (err error) {
			if i == 0 {
				_, found[0], err = f.Join(f.ctx, usage.AccessHalf, keyless(r))
			} else {
				_, found[1], err = f.Join(f.ctx, usage.RefusalHalf, unauthorized(r, "expired").Request)
			}
			return err
		})
		if !found[0] && !found[1] {
			t.Error("neither line found the other")
		}
	}
}

func completes(t *testing.T, f *fixture) {
	r := f.request(0)
	f.record(t, newBatch(), unauthorized(r, "unknown secret"))
	f.join(t, usage.RefusalHalf, unauthorized(r, "unknown secret").Request)
	joined, _ := f.join(t, usage.AccessHalf, keyless(r))
	for range 2 {
		if err := f.Complete(f.ctx, joined); err != nil {
			t.Fatalf("Complete: %v", err)
		}
	}
	want := r
	want.Generation, want.Status, want.Refused = 0, 401, "unknown secret"
	same(t, "the log", f.log(t, nil), []usage.Request{want})
	same(t, "the row's owner is who put it", f.record(t, newBatch(), unauthorized(r, "unknown secret")), []bool{false})
}

func completesNothing(t *testing.T, f *fixture) {
	if err := f.Complete(f.ctx, f.request(0)); err != nil {
		t.Fatalf("Complete: %v", err)
	}
	same(t, "the log", f.log(t, nil), []usage.Request{})
}

func (f *fixture) profile() usage.Profile {
	at := func(minutes int) time.Time { return f.base.Add(time.Duration(minutes)*time.Minute + time.Millisecond) }
	return usage.Profile{
		KeyID: f.key, AccountID: f.account, First: at(1), LastUsed: at(2), LastRefused: at(3),
		Permissions: map[string]time.Time{"customers:read": at(4), "api_keys:write": at(5)},
		Generations: map[int64]time.Time{1: at(6), 1 << 40: at(7)},
		Networks:    map[string]time.Time{"192.0.2.0/24": at(8), "2001:db8:1::/48": at(9)},
		Crowded:     true,
	}
}

func (f *fixture) profiles(t *testing.T, ids ...apikey.ID) map[apikey.ID]usage.Profile {
	t.Helper()
	found, err := f.Profiles(f.ctx, ids)
	if err != nil {
		t.Fatalf("Profiles: %v", err)
	}
	return found
}

func (f *fixture) save(t *testing.T, p usage.Profile) {
	t.Helper()
	if err := f.SaveProfile(f.ctx, p); err != nil {
		t.Fatalf("SaveProfile: %v", err)
	}
}

func profilesReadBack(t *testing.T, f *fixture) {
	want := map[apikey.ID]usage.Profile{}
	var ids []apikey.ID
	for i := range 120 {
		p := f.profile()
		p.KeyID = apikey.NewID()
		if i == 0 {
			p = usage.Profile{KeyID: p.KeyID, AccountID: p.AccountID, LastRefused: p.LastRefused}
		}
		f.save(t, p)
		p.Version = 1
		want[p.KeyID] = p
		ids = append(ids, p.KeyID, apikey.NewID())
	}
	same(t, "profiles", f.profiles(t, ids...), want)
	p := want[ids[0]]
	p.LastUsed, p.Networks = f.base, map[string]time.Time{"192.0.2.0/24": f.base}
	f.save(t, p)
	p.Version = 2
	same(t, "saved again", f.profiles(t, p.KeyID), map[apikey.ID]usage.Profile{p.KeyID: p})
}

func staleProfile(t *testing.T, f *fixture) {
	p := f.profile()
	for _, version := range []int64{1, 7} {
		p.Version = version
		if err := f.SaveProfile(f.ctx, p); !errors.Is(err, usage.ErrStale) {
			t.Errorf("saving version %d where there is none: %v, want ErrStale", version, err)
		}
	}
	same(t, "nothing is saved", f.profiles(t, f.key), map[apikey.ID]usage.Profile{})
	p.Version = 0
	f.save(t, p)
	p.Version = 1
	f.save(t, p)
	p.Crowded = false
	for _, version := range []int64{0, 1, 3} {
		p.Version = version
		if err := f.SaveProfile(f.ctx, p); !errors.Is(err, usage.ErrStale) {
			t.Errorf("saving over version 2 as %d: %v, want ErrStale", version, err)
		}
	}
	want := f.profile()
	want.Version = 2
	same(t, "unchanged", f.profiles(t, f.key), map[apikey.ID]usage.Profile{f.key: want})
}

func oneProfile(t *testing.T, f *fixture) {
	for version := range int64(2) {
		var saved [6]bool
		f.atOnce(t, len(saved), func(i int) error {
			p := f.profile()
			p.Version = version
			err := f.SaveProfile(f.ctx, p)
			saved[i] = err == nil
			if errors.Is(err, usage.ErrStale) {
				return nil
			}
			return err
		})
		n := 0
		for _, ok := range saved {
			if ok {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%d of %d were saved over version %d, want 1", n, len(saved), version)
		}
	}
}

func absent(t *testing.T, f *fixture) {
	day := usage.DayOf(f.base)
	same(t, "profiles", f.profiles(t, f.key), map[apikey.ID]usage.Profile{})
	same(t, "profiles of no keys", f.profiles(t), map[apikey.ID]usage.Profile{})
	for _, ids := range [][]apikey.ID{{f.key}, nil} {
		totals, err := f.Totals(f.ctx, ids)
		if err != nil || len(totals) != 0 {
			t.Errorf("Totals(%d keys) = %v, %v; want none", len(ids), totals, err)
		}
	}
	same(t, "days", f.days(t, day-400, day), []usage.Count{})
	list, err := f.AccountDays(f.ctx, f.account, day-2, day)
	if err != nil || len(list) != 0 {
		t.Errorf("AccountDays = %v, %v; want none", list, err)
	}
	same(t, "the log", f.log(t, nil), []usage.Request{})
}

func days(t *testing.T, f *fixture) {
	day := usage.DayOf(f.base)
	for _, d := range []usage.Day{0, -3, -1, -30} {
		f.count(t, newBatch(), []usage.Count{f.oneCount(day+d, 1, 1)}, nil)
	}
	stranger := f.oneCount(day, 1, 1)
	stranger.KeyID = apikey.NewID()
	f.count(t, newBatch(), []usage.Count{stranger}, nil)
	got := func(from, to usage.Day) (out []usage.Day) {
		for _, c := range f.days(t, day+from, day+to) {
			out = append(out, c.Day-day)
		}
		return out
	}
	same(t, "-3 to 0", got(-3, 0), []usage.Day{-3, -1, 0})
	same(t, "-3 to -1", got(-3, -1), []usage.Day{-3, -1})
	same(t, "-2 to -2", got(-2, -2), []usage.Day{})
	same(t, "-31 to 5", got(-31, 5), []usage.Day{-30, -3, -1, 0})
	same(t, "0 to -1", got(0, -1), []usage.Day{})
	list, err := f.Days(f.ctx, f.account+"x", []apikey.ID{f.key}, day-31, day)
	if err != nil || len(list) != 0 {
		t.Errorf("Days of another account = %v, %v; want none", list, err)
	}
	if list, err = f.Days(f.ctx, f.account, nil, day-31, day); err != nil || len(list) != 0 {
		t.Errorf("Days of no keys = %v, %v; want none", list, err)
	}
	list, err = f.Days(f.ctx, f.account, []apikey.ID{f.key, apikey.NewID(), stranger.KeyID}, day-1, day)
	if err != nil {
		t.Fatalf("Days: %v", err)
	}
	if !slices.IsSortedFunc(list, func(a, b usage.Count) int { return cmp.Compare(a.Day, b.Day) }) {
		t.Error("the days of several keys are not in order")
	}
	byKey := func(a, b usage.Count) int { return cmp.Or(cmp.Compare(a.Day, b.Day), cmp.Compare(a.KeyID, b.KeyID)) }
	want := []usage.Count{f.oneCount(day, 1, 1), f.oneCount(day-1, 1, 1), stranger}
	slices.SortFunc(list, byKey)
	slices.SortFunc(want, byKey)
	same(t, "of several keys", list, want)
}

func accountDays(t *testing.T, f *fixture) {
	day := usage.DayOf(f.base)
	var want []usage.Count
	for i := range 9 {
		c := f.oneCount(day-usage.Day(i%4), i, int64(i+1))
		c.KeyID = apikey.NewID()
		f.count(t, newBatch(), []usage.Count{c}, nil)
		short := usage.Count{AccountID: c.AccountID, KeyID: c.KeyID, Day: c.Day}
		short.Hours[i].Requests = int64(i + 1)
		if c.Day >= day-2 && c.Day <= day-1 {
			want = append(want, short)
		}
	}
	stranger := f.oneCount(day-1, 1, 1)
	stranger.AccountID += "x"
	f.count(t, newBatch(), []usage.Count{stranger}, nil)
	got, err := f.AccountDays(f.ctx, f.account, day-2, day-1)
	if err != nil {
		t.Fatalf("AccountDays: %v", err)
	}
	byKey := func(a, b usage.Count) int { return cmp.Compare(a.KeyID, b.KeyID) }
	slices.SortFunc(got, byKey)
	slices.SortFunc(want, byKey)
	same(t, "counts", got, want)
}

// put records requests with ids that sort as they are given.
func (f *fixture) put(t *testing.T, list ...usage.Request) {
	t.Helper()
	var rows []usage.Row
	for _, r := range list {
		rows = append(rows, access(r))
	}
	f.record(t, newBatch(), rows...)
}

func logOrder(t *testing.T, f *fixture) {
	var want []usage.Request
	for i := range 24 {
		r := f.request(-time.Duration(i/3) * 7 * time.Hour) // three at a time, over days
		r.ID = fmt.Sprintf("%s-%02d", f.key, 23-i)
		r.KeyID = apikey.ID(fmt.Sprintf("key%05d", i%5))
		want = append(want, r)
	}
	shuffled := slices.Clone(want)
	rand.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	f.put(t, shuffled...)
	stranger := f.request(0)
	stranger.AccountID += "x"
	f.put(t, stranger)
	same(t, "the log", f.log(t, nil), want)
}

func logFilters(t *testing.T, f *fixture) {
	plain := f.request(0)
	other := f.request(time.Second)
	other.KeyID = apikey.NewID()
	production := f.request(2 * time.Second)
	production.Environment = keys.Production
	created := f.request(3 * time.Second)
	created.Method, created.Route, created.Status = "POST", "/v1/customers", 201
	limited := f.request(4 * time.Second)
	limited.Status = 429
	failed := f.request(5 * time.Second)
	failed.Status, failed.Environment = 503, keys.Development
	f.put(t, plain, other, production, created, limited, failed)
	f.record(t, newBatch(), refused(limited, "rate_limited"))
	limited.Refused = "rate_limited"
	outside := unauthorized(f.request(6*time.Second), "expired").Request
	f.record(t, newBatch(), usage.Row{Half: usage.RefusalHalf, Request: outside})
	all := []usage.Request{outside, failed, limited, created, production, other, plain}
	for _, tt := range []struct {
		name   string
		filter func(*usage.Query)
		want   []usage.Request
	}{
		{"key", func(q *usage.Query) { q.KeyID = other.KeyID }, []usage.Request{other}},
		{"foreign key", func(q *usage.Query) { q.KeyID = apikey.NewID() }, nil},
		{"environment", func(q *usage.Query) { q.Environments = []keys.Environment{keys.Production} }, []usage.Request{production}},
		{"environments", func(q *usage.Query) { q.Environments = []keys.Environment{keys.Production, keys.Development} }, []usage.Request{failed, production}},
		{"status", func(q *usage.Query) { q.Status = 201 }, []usage.Request{created}},
		{"class", func(q *usage.Query) { q.Class = 4 }, []usage.Request{outside, limited}},
		{"route", func(q *usage.Query) { q.Route = "/v1/customers" }, []usage.Request{created}},
		{"method", func(q *usage.Query) { q.Method = "POST" }, []usage.Request{created}},
		{"refused", func(q *usage.Query) { q.Refused = true }, []usage.Request{outside, limited}},
		{"from", func(q *usage.Query) { q.From = created.Time }, all[:4]},
		{"to", func(q *usage.Query) { q.To = created.Time }, all[4:]},
		{"from and to", func(q *usage.Query) { q.From, q.To = other.Time, other.Time.Add(time.Millisecond) }, []usage.Request{other}},
		{"nothing", func(q *usage.Query) { q.From, q.To = plain.Time, plain.Time }, nil},
		{"key and class", func(q *usage.Query) { q.KeyID, q.Class = f.key, 5 }, []usage.Request{failed}},
		{"class and route", func(q *usage.Query) { q.Class, q.Route = 2, plain.Route }, []usage.Request{production, other, plain}},
		{"all", func(*usage.Query) {}, all},
	} {
		same(t, tt.name, f.log(t, tt.filter), tt.want)
		same(t, tt.name+", one by one", f.log(t, func(q *usage.Query) { tt.filter(q); q.Limit = 1 }), tt.want)
	}
}

func logPages(t *testing.T, f *fixture) {
	var want []usage.Request
	for i := range 60 {
		r := f.request(-time.Duration(i/4) * time.Minute)
		r.ID = fmt.Sprintf("%s-%02d", f.key, 60-i)
		r.KeyID = apikey.ID(fmt.Sprintf("key%05d", i%9))
		r.Status = 200 + i%2
		want = append(want, r)
	}
	f.put(t, want...)
	for _, limit := range []int{1, 2, 7, 59, 60, 61, 1000} {
		same(t, fmt.Sprintf("pages of %d", limit), f.log(t, func(q *usage.Query) { q.Limit = limit }), want)
	}
	var odd []usage.Request
	for _, r := range want {
		if r.Status == 201 {
			odd = append(odd, r)
		}
	}
	same(t, "filtered pages of 4", f.log(t, func(q *usage.Query) { q.Limit, q.Status = 4, 201 }), odd)
}

func logPlaces(t *testing.T, f *fixture) {
	var list []usage.Request
	for i := range 5 {
		r := f.request(-time.Duration(i) * time.Second)
		r.ID = fmt.Sprintf("%s-%d", f.key, i)
		list = append(list, r)
	}
	f.put(t, list...)
	after := func(at time.Time, id string) func(*usage.Query) {
		return func(q *usage.Query) { q.After = &usage.Place{Time: at, ID: id} }
	}
	second := list[2]
	same(t, "a row", f.log(t, after(second.Time, second.ID)), list[3:])
	same(t, "before a row, at its time", f.log(t, after(second.Time, second.ID+"x")), list[2:])
	same(t, "between two rows", f.log(t, after(second.Time.Add(500*time.Millisecond), "x")), list[2:])
	same(t, "before all", f.log(t, after(f.base.Add(time.Hour), "x")), list)
	same(t, "past the last", f.log(t, after(f.base.Add(-time.Hour), "x")), []usage.Request{})
	same(t, "past the range's start", f.log(t, func(q *usage.Query) {
		after(second.Time, second.ID)(q)
		q.From = second.Time
	}), []usage.Request{})
	same(t, "before the range's end", f.log(t, func(q *usage.Query) {
		after(f.base.Add(time.Hour), "x")(q)
		q.To = second.Time
	}), list[3:])
}

func noSharing(t *testing.T, f *fixture) {
	p := f.profile()
	f.save(t, p)
	p.Networks["198.51.100.0/24"] = f.base
	f.profiles(t, f.key)[f.key].Permissions["changed"] = f.base
	want := f.profile()
	want.Version = 1
	same(t, "profile", f.profiles(t, f.key)[f.key], want)

	day := usage.DayOf(f.base)
	c := f.oneCount(day, 2, 1)
	f.count(t, newBatch(), []usage.Count{c}, nil)
	c.Permissions["changed"], c.Hours[2].Generations[9] = 1, 1
	got := f.days(t, day, day)[0]
	got.Permissions["changed"], got.Hours[2].Generations[9] = 1, 1
	same(t, "count", f.days(t, day, day), []usage.Count{f.oneCount(day, 2, 1)})
}

func cancelled(t *testing.T, f *fixture) {
	ctx, cancel := context.WithCancel(f.ctx)
	cancel()
	day := usage.DayOf(f.base)
	r := f.request(0)
	_, recordErr := f.Record(ctx, newBatch(), []usage.Row{access(r)})
	_, _, joinErr := f.Join(ctx, usage.AccessHalf, keyless(r))
	_, profilesErr := f.Profiles(ctx, []apikey.ID{f.key})
	_, totalsErr := f.Totals(ctx, []apikey.ID{f.key})
	_, daysErr := f.Days(ctx, f.account, []apikey.ID{f.key}, day, day)
	_, accountErr := f.AccountDays(ctx, f.account, day, day)
	_, requestsErr := f.Requests(ctx, usage.Query{AccountID: f.account, From: f.base, To: f.base.Add(1), Limit: 1})
	for op, err := range map[string]error{
		"Record":      recordErr,
		"Count":       f.Count(ctx, newBatch(), []usage.Count{f.oneCount(day, 1, 1)}, map[apikey.ID]usage.Totals{f.key: {Requests: 1}}),
		"Join":        joinErr,
		"Complete":    f.Complete(ctx, r),
		"Profiles":    profilesErr,
		"SaveProfile": f.SaveProfile(ctx, f.profile()),
		"Totals":      totalsErr,
		"Days":        daysErr,
		"AccountDays": accountErr,
		"Requests":    requestsErr,
	} {
		if !errors.Is(err, keys.ErrUnavailable) {
			t.Errorf("%s: %v, want ErrUnavailable", op, err)
		}
		if err != nil && strings.Contains(err.Error(), r.UserAgent) {
			t.Errorf("%s: the error quotes what a client sent", op)
		}
	}
	same(t, "the log", f.log(t, nil), []usage.Request{})
	same(t, "days", f.days(t, day, day), []usage.Count{})
	same(t, "totals", f.total(t), usage.Totals{})
	same(t, "profiles", f.profiles(t, f.key), map[apikey.ID]usage.Profile{})
	if _, both := f.join(t, usage.RefusalHalf, unauthorized(r, "expired").Request); both {
		t.Error("a cancelled Join left its line")
	}
}
