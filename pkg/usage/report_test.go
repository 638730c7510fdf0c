package usage_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/keys/keystest"
	"github.com/keyreeve/keyreeve/pkg/route"
	"github.com/keyreeve/keyreeve/pkg/usage"
	"github.com/keyreeve/keyreeve/pkg/usage/usagetest"
)

// reported is an account in memory with what its keys did. It is 10:30 there.
type reported struct {
	*keystest.World
	t       *testing.T
	keys    *keystest.Memory
	store   *usagetest.Memory
	reports *usage.Reports
	root    keys.Caller
	batches int
}

func newReported(t *testing.T) *reported {
	t.Helper()
	w := &reported{t: t, keys: keystest.NewMemory(), store: usagetest.NewMemory()}
	w.World = keystest.NewWorld(w.keys, func(c *keys.Config) { c.Known = route.Default().KnownPermission })
	now := w.Clock.Now()
	w.Clock.Advance(now.Truncate(24 * time.Hour).Add(34*time.Hour + 30*time.Minute).Sub(now))
	w.reports = usage.NewReports(usage.ReportsConfig{Store: w.store, Keys: w.Service, Table: route.Default(), Clock: w.Clock.Now})
	_, w.root = w.Account(t, "enterprise")
	return w
}

// key makes a key in an environment.
func (w *reported) key(e keys.Environment, permissions ...string) keys.Caller {
	w.t.Helper()
	out, err := w.Service.Create(w.t.Context(), w.root, keys.CreateInput{Name: "a key", Environment: &e, Permissions: &permissions}, keys.Idempotency{})
	if err != nil {
		w.t.Fatalf("Create: %v", err)
	}
	return w.MustLogin(w.t, out.Plaintext)
}

func (w *reported) delete(c keys.Caller) {
	w.t.Helper()
	if _, err := w.Service.Delete(w.t.Context(), w.root, keys.Ref{ID: c.KeyID}, keys.Conditions{}); err != nil {
		w.t.Fatalf("Delete: %v", err)
	}
}

func (w *reported) batch() usage.Batch {
	w.batches++
	return usage.Batch(strconv.Itoa(w.batches))
}

// count adds requests of a key in the hour that was ago.
func (w *reported) count(c keys.Caller, ago time.Duration, generation int64, statuses map[int]int64, permissions map[string]int64) {
	w.t.Helper()
	at := w.Clock.Now().Add(-ago)
	n := usage.Count{AccountID: c.AccountID, KeyID: c.KeyID, Day: usage.DayOf(at), Permissions: permissions}
	h := &n.Hours[at.UTC().Hour()]
	h.Generations = map[int64]int64{}
	for class, requests := range statuses {
		h.Status[class] += requests
		h.Requests += requests
	}
	h.Generations[generation] = h.Requests
	err := w.store.Count(w.t.Context(), w.batch(), []usage.Count{n}, map[apikey.ID]usage.Totals{c.KeyID: {Requests: h.Requests, Admitted: h.Requests}})
	if err != nil {
		w.t.Fatalf("Count: %v", err)
	}
}

// used puts the profile of a key.
func (w *reported) used(c keys.Caller, p usage.Profile) {
	w.t.Helper()
	p.KeyID, p.AccountID = c.KeyID, c.AccountID
	if err := w.store.SaveProfile(w.t.Context(), p); err != nil {
		w.t.Fatalf("SaveProfile: %v", err)
	}
}

// request puts a row.
func (w *reported) request(c keys.Caller, id string, ago time.Duration, edit func(*usage.Request)) {
	w.t.Helper()
	r := usage.Request{
		ID: id, RequestID: "req-" + id, Time: w.Clock.Now().Add(-ago), KeyID: c.KeyID, AccountID: c.AccountID, Environment: c.Environment,
		Generation: 1, Method: "GET", Route: "/v1/customers", Permission: "customers:read", Status: 200,
		Latency: 12 * time.Millisecond, SourceIP: "192.0.2.1", UserAgent: "curl/8",
	}
	if edit != nil {
		edit(&r)
	}
	rows := []usage.Row{{Half: usage.AccessHalf, Request: r}}
	if r.Refused != "" {
		rows = append(rows, usage.Row{Half: usage.RefusalHalf, Request: r})
	}
	if _, err := w.store.Record(w.t.Context(), w.batch(), rows); err != nil {
		w.t.Fatalf("Record: %v", err)
	}
}

func (w *reported) of(c keys.Caller) keys.Ref { return keys.Ref{ID: c.KeyID} }

// fields are those that an error finds at fault, with what it says of them.
func fields(t testing.TB, err error) string {
	t.Helper()
	var e *keys.ValidationError
	switch {
	case err == nil:
		return ""
	case !errors.As(err, &e):
		t.Fatalf("error = %v, want a *keys.ValidationError", err)
	}
	var out []string
	for _, f := range e.Fields {
		out = append(out, f.Field+" "+f.Message)
	}
	return strings.Join(out, "; ")
}

func TestAKeysUsageHasABucketForEveryHour(t *testing.T) {
	w := newReported(t)
	k := w.key(keys.Production, "customers:*")
	now := w.Clock.Now()
	w.count(k, 0, 2, map[int]int64{2: 5, 4: 1}, map[string]int64{"customers:read": 6, "": 3})
	w.count(k, time.Hour, 1, map[int]int64{5: 2}, map[string]int64{"customers:write": 2})
	w.count(k, 35*time.Hour, 1, map[int]int64{2: 7}, nil)
	w.count(k, 36*time.Hour, 1, map[int]int64{2: 1000}, nil) // before the range
	w.used(k, usage.Profile{
		First: now.Add(-40 * 24 * time.Hour), LastUsed: now.Add(-time.Minute), LastRefused: now.Add(-time.Hour),
		Permissions: map[string]time.Time{"customers:read": now.Add(-time.Minute), "invoices:read": now.Add(-50 * time.Hour), "": now},
		Generations: map[int64]time.Time{1: now.Add(-time.Hour), 2: now.Add(-time.Minute)},
	})
	for range 1020 { // the guard saw five more than the logs
		if err := w.keys.Use(t.Context(), k.KeyID, now.Add(-2*time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	u, err := w.reports.Key(t.Context(), w.root, w.of(k), usage.Range{})
	if err != nil {
		t.Fatal(err)
	}
	end := now.Truncate(time.Hour).Add(time.Hour)
	if want := (usage.Range{From: end.Add(-36 * time.Hour), To: end, Granularity: usage.Hourly}); u.Range != want {
		t.Errorf("range %v, want %v", u.Range, want)
	}
	if len(u.Buckets) != 36 {
		t.Fatalf("%d buckets, want 36", len(u.Buckets))
	}
	for i, b := range u.Buckets {
		want := usage.Bucket{Start: end.Add(time.Duration(i-36) * time.Hour)}
		switch i {
		case 35:
			want.Requests, want.Status, want.Generations = 6, [6]int64{2: 5, 4: 1}, map[int64]int64{2: 6}
		case 34:
			want.Requests, want.Status, want.Generations = 2, [6]int64{5: 2}, map[int64]int64{1: 2}
		case 0:
			want.Requests, want.Status, want.Generations = 7, [6]int64{2: 7}, map[int64]int64{1: 7}
		}
		if d := cmp.Diff(want, b, cmpopts.EquateEmpty()); d != "" {
			t.Errorf("bucket %d (-want +got):\n%s", i, d)
		}
	}
	total := usage.Bucket{Start: u.Range.From, Requests: 15, Status: [6]int64{2: 12, 4: 1, 5: 2}, Generations: map[int64]int64{1: 9, 2: 6}}
	if d := cmp.Diff(total, u.Total); d != "" {
		t.Errorf("total (-want +got):\n%s", d)
	}
	permissions := []usage.PermissionUse{
		{Permission: "customers:read", Requests: 6, LastUsed: now.Add(-time.Minute)},
		{Permission: "customers:write", Requests: 2},
		{Permission: "invoices:read", LastUsed: now.Add(-50 * time.Hour)},
	}
	if d := cmp.Diff(permissions, u.Permissions); d != "" {
		t.Errorf("permissions (-want +got):\n%s", d)
	}
	today := now.Truncate(24 * time.Hour)
	if !u.PermissionsFrom.Equal(today.Add(-48*time.Hour)) || !u.PermissionsTo.Equal(today.Add(24*time.Hour)) {
		t.Errorf("permissions of %v to %v, want those of the three days that the range touches", u.PermissionsFrom, u.PermissionsTo)
	}
	if !u.LastUsed.Equal(now.Add(-time.Minute)) || !u.LastRefused.Equal(now.Add(-time.Hour)) || !u.FirstUsed.Equal(now.Add(-40*24*time.Hour)) {
		t.Errorf("first used %v, last used %v, last refused %v", u.FirstUsed, u.LastUsed, u.LastRefused)
	}
	if want := (usage.Drift{Counted: 1015, Guard: 1020, Difference: 5}); u.Drift != want {
		t.Errorf("drift %+v, want %+v", u.Drift, want)
	}
	// By days, the same requests are in two buckets and the one before them in its own.
	u, err = w.reports.Key(t.Context(), w.root, w.of(k), usage.Range{Granularity: usage.Daily})
	if err != nil {
		t.Fatal(err)
	}
	var got []int64
	for _, b := range u.Buckets {
		got = append(got, b.Requests)
	}
	want := make([]int64, 30)
	want[29], want[27] = 8, 1007 // 35 and 36 hours before 10:30 are the day before yesterday
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("days (-want +got):\n%s", d)
	}
}

func TestLastUsedIsTheLaterOfTheTwoWitnesses(t *testing.T) {
	w := newReported(t)
	now := w.Clock.Now()
	for _, c := range []struct{ guard, log, want time.Duration }{
		{time.Hour, 2 * time.Hour, time.Hour},
		{2 * time.Hour, time.Hour, time.Hour},
	} {
		k := w.key(keys.Production, "customers:read")
		if err := w.keys.Use(t.Context(), k.KeyID, now.Add(-c.guard)); err != nil {
			t.Fatal(err)
		}
		w.used(k, usage.Profile{First: now.Add(-c.log), LastUsed: now.Add(-c.log)})
		u, err := w.reports.Key(t.Context(), w.root, w.of(k), usage.Range{})
		if err != nil || !u.LastUsed.Equal(now.Add(-c.want)) {
			t.Errorf("guard %v ago, log %v ago: last used %v, %v, want %v ago", c.guard, c.log, u.LastUsed, err, c.want)
		}
	}
}

func TestARotationShowsWhoStillUsesTheOldSecret(t *testing.T) {
	w := newReported(t)
	k := w.key(keys.Production, "customers:read")
	rotate := func(grace time.Duration) {
		if _, err := w.Service.Regenerate(t.Context(), w.root, w.of(k), grace, keys.Idempotency{}, keys.Conditions{}); err != nil {
			t.Fatal(err)
		}
	}
	rotate(0)
	w.Clock.Advance(time.Second)
	rotate(time.Hour)
	now := w.Clock.Now()
	w.count(k, 0, 1, map[int]int64{4: 1}, nil) // long gone, and still tried
	w.count(k, 0, 2, map[int]int64{2: 3}, nil)
	w.count(k, 0, 3, map[int]int64{2: 4}, nil)
	w.used(k, usage.Profile{First: now, LastUsed: now, Generations: map[int64]time.Time{2: now, 3: now.Add(-time.Minute)}})
	secrets := func() []usage.SecretUse {
		u, err := w.reports.Key(t.Context(), w.root, w.of(k), usage.Range{})
		if err != nil {
			t.Fatal(err)
		}
		return u.Secrets
	}
	want := []usage.SecretUse{
		{Generation: 3, Requests: 4, LastUsed: now.Add(-time.Minute), Live: true},
		{Generation: 2, Requests: 3, LastUsed: now, Until: now.Add(time.Hour)},
		{Generation: 1, Requests: 1},
	}
	if d := cmp.Diff(want, secrets()); d != "" {
		t.Errorf("in the grace (-want +got):\n%s", d)
	}
	w.Clock.Advance(time.Hour)
	want[1].Until = time.Time{}
	if d := cmp.Diff(want, secrets()); d != "" {
		t.Errorf("after it (-want +got):\n%s", d)
	}
}

func TestARangeSaysItsBound(t *testing.T) {
	w := newReported(t)
	now := w.Clock.Now()
	hour, day := now.Truncate(time.Hour), now.Truncate(24*time.Hour)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	const d = 24 * time.Hour
	for _, c := range []struct {
		what                  string
		q                     usage.Range
		from, to              time.Time
		keyError, accountFail string
	}{
		{what: "nothing", from: hour.Add(-35 * time.Hour), to: hour.Add(time.Hour)},
		{what: "days", q: usage.Range{Granularity: usage.Daily}, from: day.Add(-29 * d), to: day.Add(d)},
		{what: "inside buckets", q: usage.Range{From: ago(90 * time.Minute), To: ago(time.Minute)}, from: hour.Add(-time.Hour), to: hour.Add(time.Hour)},
		{what: "on their edges", q: usage.Range{From: hour.Add(-2 * time.Hour), To: hour}, from: hour.Add(-2 * time.Hour), to: hour},
		{what: "one bucket", q: usage.Range{From: hour, To: hour.Add(time.Millisecond)}, from: hour, to: hour.Add(time.Hour)},
		{what: "from alone", q: usage.Range{From: ago(3 * time.Hour)}, from: hour.Add(-3 * time.Hour), to: hour.Add(time.Hour)},
		{what: "to alone", q: usage.Range{To: hour.Add(-5 * time.Hour)}, from: hour.Add(-41 * time.Hour), to: hour.Add(-5 * time.Hour)},
		{what: "a future end", q: usage.Range{From: hour, To: now.Add(1000 * time.Hour)}, from: hour, to: hour.Add(time.Hour)},
		{what: "48 hours", q: usage.Range{From: hour.Add(-47 * time.Hour)}, from: hour.Add(-47 * time.Hour), to: hour.Add(time.Hour)},
		{what: "49 hours", q: usage.Range{From: hour.Add(-48 * time.Hour)}, from: hour.Add(-48 * time.Hour), to: hour.Add(time.Hour), accountFail: "from must be at most 48 hours before to"},
		{what: "31 days of hours", q: usage.Range{From: hour.Add(time.Hour - 31*d)}, from: hour.Add(time.Hour - 31*d), to: hour.Add(time.Hour), accountFail: "from must be at most 48 hours before to"},
		{what: "and an hour", q: usage.Range{From: hour.Add(-31 * d)}, keyError: "from must be at most 744 hours before to", accountFail: "from must be at most 48 hours before to"},
		{what: "31 days", q: usage.Range{From: day.Add(-30 * d), Granularity: usage.Daily}, from: day.Add(-30 * d), to: day.Add(d)},
		{what: "400 days", q: usage.Range{From: day.Add(-399 * d), Granularity: usage.Daily}, from: day.Add(-399 * d), to: day.Add(d), accountFail: "from must be at most 31 days before to"},
		{what: "401 days", q: usage.Range{From: day.Add(-400 * d), Granularity: usage.Daily},
			keyError: "from must be at most 399 days ago: older counts are not kept", accountFail: "from must be at most 399 days ago: older counts are not kept"},
		{what: "an old hour", q: usage.Range{From: day.Add(-399 * d).Add(-time.Hour), To: day.Add(-398 * d)},
			keyError: "from must be at most 399 days ago: older counts are not kept", accountFail: "from must be at most 399 days ago: older counts are not kept"},
		{what: "backwards", q: usage.Range{From: hour, To: hour}, keyError: "from must be before to, and not in the future", accountFail: "from must be before to, and not in the future"},
		{what: "tomorrow", q: usage.Range{From: now.Add(d)}, keyError: "from must be before to, and not in the future", accountFail: "from must be before to, and not in the future"},
		{what: "weeks", q: usage.Range{Granularity: "week"}, keyError: "granularity must be hour or day", accountFail: "granularity must be hour or day"},
	} {
		u, err := w.reports.Key(t.Context(), w.root, w.of(w.root), c.q)
		if got := fields(t, err); got != c.keyError {
			t.Errorf("%s: of a key %q, want %q", c.what, got, c.keyError)
		} else if err == nil && (!u.Range.From.Equal(c.from) || !u.Range.To.Equal(c.to)) {
			t.Errorf("%s: %v to %v, want %v to %v", c.what, u.Range.From, u.Range.To, c.from, c.to)
		}
		a, err := w.reports.Account(t.Context(), w.root, c.q)
		if got := fields(t, err); got != c.accountFail {
			t.Errorf("%s: of the account %q, want %q", c.what, got, c.accountFail)
		} else if err == nil && (!a.Range.From.Equal(c.from) || !a.Range.To.Equal(c.to) || len(a.Buckets) != len(u.Buckets)) {
			t.Errorf("%s: %v to %v in %d buckets, want %v to %v", c.what, a.Range.From, a.Range.To, len(a.Buckets), c.from, c.to)
		}
	}
}

func TestAnAccountsUsageIsOfTheKeysThatTheCallerSees(t *testing.T) {
	w := newReported(t)
	_, stranger := w.Account(t, "enterprise")
	staging := w.key(keys.Staging, "api_keys:read")
	other := w.key(keys.Staging, "customers:read")
	production := w.key(keys.Production, "customers:read")
	gone, goneIdle := w.key(keys.Staging, "customers:read"), w.key(keys.Staging, "customers:read")
	w.count(other, 0, 1, map[int]int64{2: 3}, nil)
	w.count(other, 2*time.Hour, 1, map[int]int64{4: 2}, nil)
	w.count(production, 0, 1, map[int]int64{2: 40}, nil)
	w.count(gone, time.Hour, 1, map[int]int64{2: 7}, nil)
	w.count(stranger, 0, 1, map[int]int64{2: 900}, nil)
	w.delete(gone)
	w.delete(goneIdle)
	hour := w.Clock.Now().Truncate(time.Hour)
	read := func(c keys.Caller) (rows string, buckets []int64) {
		u, err := w.reports.Account(t.Context(), c, usage.Range{From: hour.Add(-2 * time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		var sum int64
		for _, k := range u.Keys {
			rows += fmt.Sprintf("%d:%v=%d ", k.Key.Number, k.Buckets, k.Requests)
		}
		for _, n := range u.Buckets {
			sum += n
		}
		if sum != u.Requests {
			t.Errorf("%d requests in all, the buckets hold %d", u.Requests, sum)
		}
		return strings.TrimSpace(rows), u.Buckets
	}
	for _, c := range []struct {
		caller  keys.Caller
		rows    string
		buckets []int64
	}{
		{w.root, "1:[0 0 0]=0 2:[0 0 0]=0 3:[2 0 3]=5 4:[0 0 40]=40 5:[0 7 0]=7", []int64{2, 7, 43}},
		{staging, "2:[0 0 0]=0 3:[2 0 3]=5 5:[0 7 0]=7", []int64{2, 7, 3}},
		{stranger, "1:[0 0 900]=900", []int64{0, 0, 900}},
	} {
		rows, buckets := read(c.caller)
		if d := cmp.Diff(c.rows, rows); d != "" {
			t.Errorf("%s: rows (-want +got):\n%s", c.caller.Environment, d)
		}
		if d := cmp.Diff(c.buckets, buckets); d != "" {
			t.Errorf("%s: buckets (-want +got):\n%s", c.caller.Environment, d)
		}
	}
}

func TestWhatACallerDoesNotSeeIsAbsent(t *testing.T) {
	w := newReported(t)
	_, stranger := w.Account(t, "enterprise")
	staging := w.key(keys.Staging, "api_keys:read")
	production := w.key(keys.Production, "customers:read")
	deleted := w.key(keys.Staging, "customers:read")
	w.delete(deleted)
	reads := map[string]func(keys.Caller, apikey.ID) error{
		"Key": func(c keys.Caller, id apikey.ID) error {
			_, err := w.reports.Key(t.Context(), c, keys.Ref{ID: id}, usage.Range{})
			return err
		},
		"Advice": func(c keys.Caller, id apikey.ID) error {
			_, err := w.reports.Advice(t.Context(), c, keys.Ref{ID: id})
			return err
		},
		"Requests": func(c keys.Caller, id apikey.ID) error {
			_, err := w.reports.Requests(t.Context(), c, usage.LogQuery{KeyID: id})
			return err
		},
		"badly": func(c keys.Caller, id apikey.ID) error {
			_, err := w.reports.Key(t.Context(), c, keys.Ref{ID: id}, usage.Range{Granularity: "x"})
			return err
		},
	}
	for name, read := range reads {
		for _, c := range []struct {
			caller keys.Caller
			id     apikey.ID
			absent bool
		}{
			{w.root, production.KeyID, false},
			{w.root, deleted.KeyID, false},
			{staging, staging.KeyID, false},
			{staging, deleted.KeyID, false},
			{staging, production.KeyID, true},
			{staging, stranger.KeyID, true},
			{stranger, staging.KeyID, true},
			{w.root, "00000000", true},
			{w.root, "nonsense", true},
		} {
			err := read(c.caller, c.id)
			if c.absent != errors.Is(err, keys.ErrNotFound) {
				t.Errorf("%s of key %s by %s: %v, absent %t", name, c.id, c.caller.Environment, err, c.absent)
			}
		}
	}
	var e *keys.EscalationError
	gone := w.root
	gone.ExpiresAt = w.Clock.Now()
	for name, read := range reads {
		if err := read(production, production.KeyID); !errors.As(err, &e) {
			t.Errorf("%s without api_keys:read: %v", name, err)
		}
		if err := read(gone, production.KeyID); !errors.Is(err, keys.ErrCallerGone) {
			t.Errorf("%s by a key that has expired meanwhile: %v", name, err)
		}
	}
	if _, err := w.reports.Account(t.Context(), production, usage.Range{}); !errors.As(err, &e) {
		t.Errorf("Account without api_keys:read: %v", err)
	}
	if _, err := w.reports.Requests(t.Context(), production, usage.LogQuery{}); !errors.As(err, &e) {
		t.Errorf("Requests without api_keys:read: %v", err)
	}
	if _, err := w.reports.Requests(t.Context(), gone, usage.LogQuery{}); !errors.Is(err, keys.ErrCallerGone) {
		t.Errorf("Requests by a key that has expired meanwhile: %v", err)
	}
}

func ids(list []usage.Request) string {
	var out []string
	for _, r := range list {
		out = append(out, r.ID)
	}
	return strings.Join(out, " ")
}

func TestTheLogIsOfTheKeysThatTheCallerSees(t *testing.T) {
	w := newReported(t)
	_, stranger := w.Account(t, "enterprise")
	staging := w.key(keys.Staging, "api_keys:read")
	dev := w.key(keys.Development, "customers:read")
	w.request(w.root, "a", 5*time.Minute, nil)
	w.request(staging, "b", 4*time.Minute, func(r *usage.Request) { r.Status, r.Route, r.Method = 404, "/v1/customers/{customerId}", "DELETE" })
	w.request(dev, "c", 3*time.Minute, func(r *usage.Request) { r.Status, r.Refused = 401, "expired" })
	w.request(stranger, "d", 2*time.Minute, nil)
	w.request(staging, "e", time.Minute, func(r *usage.Request) { r.Status = 503 })
	w.request(w.root, "f", 29*24*time.Hour, nil)
	w.request(w.root, "g", -30*time.Second, nil) // API Gateway's clock is ahead
	now := w.Clock.Now()
	for _, c := range []struct {
		caller keys.Caller
		q      usage.LogQuery
		want   string
	}{
		{w.root, usage.LogQuery{}, "g e c b a f"},
		{staging, usage.LogQuery{}, "e b"},
		{stranger, usage.LogQuery{}, "d"},
		{staging, usage.LogQuery{Environment: keys.Production}, ""},
		{staging, usage.LogQuery{Environment: keys.Staging}, "e b"},
		{w.root, usage.LogQuery{Environment: keys.Development}, "c"},
		{w.root, usage.LogQuery{KeyID: staging.KeyID}, "e b"},
		{w.root, usage.LogQuery{KeyID: staging.KeyID, Class: 4}, "b"},
		{w.root, usage.LogQuery{Status: 401}, "c"},
		{w.root, usage.LogQuery{Class: 2}, "g a f"},
		{w.root, usage.LogQuery{Refused: true}, "c"},
		{w.root, usage.LogQuery{Route: "/v1/customers/{customerId}"}, "b"},
		{w.root, usage.LogQuery{Method: "DELETE"}, "b"},
		{w.root, usage.LogQuery{From: now.Add(-4 * time.Minute), To: now.Add(-time.Minute)}, "c b"},
		{w.root, usage.LogQuery{To: now.Add(-time.Hour)}, "f"},
	} {
		log, err := w.reports.Requests(t.Context(), c.caller, c.q)
		if got := ids(log.Requests); err != nil || got != c.want || log.Next != "" {
			t.Errorf("Requests(%s, %+v) = %q, next %t, %v, want %q", c.caller.Environment, c.q, got, log.Next != "", err, c.want)
		}
	}
	for _, c := range []struct {
		q    usage.LogQuery
		want string
	}{
		{usage.LogQuery{From: now.Add(-31 * 24 * time.Hour)}, ""},
		{usage.LogQuery{From: now.Add(-31*24*time.Hour - 1)}, "from must be at most 31 days ago: requests are kept for 30 days"},
		{usage.LogQuery{From: now, To: now}, "from must be before to"},
		{usage.LogQuery{Limit: 1001}, "limit must be 1 to 1000"},
		{usage.LogQuery{Limit: -1, Status: 99, Environment: "shared"}, "environment must be production, staging or development; status must be 100 to 599, or 1xx to 5xx; limit must be 1 to 1000"},
		{usage.LogQuery{Class: 6}, "status must be 100 to 599, or 1xx to 5xx"},
		{usage.LogQuery{Class: 4, Status: 404}, "status must be 100 to 599, or 1xx to 5xx"},
	} {
		_, err := w.reports.Requests(t.Context(), w.root, c.q)
		if got := fields(t, err); got != c.want {
			t.Errorf("Requests(%+v) = %q, want %q", c.q, got, c.want)
		}
	}
}

func TestTheLogPagesEachRowOnceWhileMoreCome(t *testing.T) {
	w := newReported(t)
	var want []string
	for i := range 23 {
		id := fmt.Sprintf("r%02d", i)
		w.request(w.root, id, time.Duration(i/3)*time.Second, nil) // three at a time
		want = append(want, id)
	}
	seen := map[string]int{}
	q := usage.LogQuery{Limit: 4}
	for pages := 0; ; pages++ {
		if pages > 10 {
			t.Fatal("the log has no end")
		}
		log, err := w.reports.Requests(t.Context(), w.root, q)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range log.Requests {
			seen[r.ID]++
		}
		w.request(w.root, fmt.Sprintf("new%d", pages), -time.Second, nil)
		w.Clock.Advance(time.Second)
		if q.Cursor = log.Next; q.Cursor == "" {
			break
		}
	}
	for _, id := range want {
		if seen[id] != 1 {
			t.Errorf("%s was listed %d times", id, seen[id])
		}
	}
	if len(seen) != len(want) {
		t.Errorf("%d rows, want the %d that were there at the beginning", len(seen), len(want))
	}
}

func TestALogsCursorIsGoodForItsOwnQueryAlone(t *testing.T) {
	w := newReported(t)
	_, stranger := w.Account(t, "enterprise")
	staging := w.key(keys.Staging, "api_keys:read")
	for i := range 5 {
		w.request(w.root, strconv.Itoa(i), time.Duration(i)*time.Second, nil)
	}
	from := w.Clock.Now().Add(-time.Hour)
	log, err := w.reports.Requests(t.Context(), w.root, usage.LogQuery{Limit: 2, From: from, Class: 2})
	if err != nil || log.Next == "" {
		t.Fatalf("Requests: next %t, %v", log.Next != "", err)
	}
	good := usage.LogQuery{Limit: 3, From: from, Class: 2, Cursor: log.Next}
	if rest, err := w.reports.Requests(t.Context(), w.root, good); err != nil || ids(rest.Requests) != "2 3 4" {
		t.Errorf("the next page = %q, %v", ids(rest.Requests), err)
	}
	for what, c := range map[string]struct {
		caller keys.Caller
		edit   func(*usage.LogQuery)
	}{
		"another account":  {stranger, nil},
		"who sees less":    {staging, nil},
		"another from":     {w.root, func(q *usage.LogQuery) { q.From = from.Add(time.Millisecond) }},
		"a to":             {w.root, func(q *usage.LogQuery) { q.To = w.Clock.Now() }},
		"another class":    {w.root, func(q *usage.LogQuery) { q.Class = 4 }},
		"a status":         {w.root, func(q *usage.LogQuery) { q.Class, q.Status = 0, 2 }},
		"a key":            {w.root, func(q *usage.LogQuery) { q.KeyID = w.root.KeyID }},
		"a route":          {w.root, func(q *usage.LogQuery) { q.Route = "/v1/customers" }},
		"a method":         {w.root, func(q *usage.LogQuery) { q.Method = "GET" }},
		"refused ones":     {w.root, func(q *usage.LogQuery) { q.Refused = true }},
		"an environment":   {w.root, func(q *usage.LogQuery) { q.Environment = keys.Production }},
		"a changed cursor": {w.root, func(q *usage.LogQuery) { q.Cursor = "A" + q.Cursor }},
	} {
		q := good
		if c.edit != nil {
			c.edit(&q)
		}
		if q.Status == 2 {
			q.Status = 200
		}
		if _, err := w.reports.Requests(t.Context(), c.caller, q); !errors.Is(err, keys.ErrInvalidCursor) {
			t.Errorf("with %s: %v, want %v", what, err, keys.ErrInvalidCursor)
		}
	}
}

// shortPages is a store that reads only so much at a time, as DynamoDB does.
type shortPages struct {
	usage.Store
	calls int
}

func (s *shortPages) Requests(ctx context.Context, q usage.Query) (usage.Page, error) {
	s.calls++
	all, limit := q, q.Limit
	all.Status, all.Limit = 0, min(3, limit)
	page, err := s.Store.Requests(ctx, all)
	out := usage.Page{Next: page.Next}
	for _, r := range page.Requests {
		if q.Status == 0 || r.Status == q.Status {
			out.Requests = append(out.Requests, r)
		}
	}
	return out, err
}

func TestALogPageIsFilledFromSeveralReadsButNotFromAnyNumber(t *testing.T) {
	w := newReported(t)
	for i := range 60 {
		w.request(w.root, fmt.Sprintf("%02d", i), time.Duration(i)*time.Second, func(r *usage.Request) {
			if i%10 == 0 {
				r.Status = 404
			}
		})
	}
	store := &shortPages{Store: w.store}
	reports := usage.NewReports(usage.ReportsConfig{Store: store, Keys: w.Service, Table: route.Default(), Clock: w.Clock.Now})
	var got []string
	q := usage.LogQuery{Status: 404, Limit: 4}
	for {
		before := store.calls
		log, err := reports.Requests(t.Context(), w.root, q)
		if err != nil {
			t.Fatal(err)
		}
		if n := store.calls - before; n < 2 || n > 8 {
			t.Errorf("%d reads for a page", n)
		}
		got = append(got, ids(log.Requests))
		if q.Cursor = log.Next; q.Cursor == "" {
			break
		}
	}
	if all := strings.Join(strings.Fields(strings.Join(got, " ")), " "); all != "00 10 20 30 40 50" {
		t.Errorf("pages %q", got)
	}
}

func TestAFailingUsageStoreIsUnavailable(t *testing.T) {
	w := newReported(t)
	for _, op := range []string{"Days", "Profiles", "Totals", "AccountDays", "Requests"} {
		w.store.OnCall(func(_ context.Context, c usagetest.Call) error {
			if c.Op == op && !c.Done {
				return keys.ErrUnavailable
			}
			return nil
		})
		failed := 0
		for _, read := range []func() error{
			func() error { _, err := w.reports.Key(t.Context(), w.root, w.of(w.root), usage.Range{}); return err },
			func() error { _, err := w.reports.Advice(t.Context(), w.root, w.of(w.root)); return err },
			func() error { _, err := w.reports.Account(t.Context(), w.root, usage.Range{}); return err },
			func() error { _, err := w.reports.Requests(t.Context(), w.root, usage.LogQuery{}); return err },
		} {
			if err := read(); errors.Is(err, keys.ErrUnavailable) {
				failed++
			} else if err != nil {
				t.Errorf("%s fails: %v", op, err)
			}
		}
		if failed == 0 {
			t.Errorf("%s fails and nobody is told", op)
		}
	}
}
