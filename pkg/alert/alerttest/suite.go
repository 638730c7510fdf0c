package alerttest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/keyreeve/keyreeve/pkg/alert"
	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

// Suite checks the contract of alert.Store. newStore may return the same store each time.
func Suite(t *testing.T, newStore func(t *testing.T) alert.Store) {
	for _, tt := range []struct {
		name string
		test func(*testing.T, *fixture)
	}{
		{"an alert is read as it was raised", readsBack},
		{"what is there is not raised again", raisedOnce},
		{"of many that raise the same one does", oneRaises},
		{"accounts are apart", accountsApart},
		{"absent is ErrNotFound", absent},
		{"a figure is noted once", notes},
		{"the first acknowledgement stays", acknowledges},
		{"lists are newest first and paged without gaps", pages},
		{"filters", filters},
		{"failures are a set", failuresAreASet},
		{"failures of neighbouring spans are known", failuresOfNeighbours},
		{"a span is bounded", failuresAreBounded},
		{"one of two at the same time knows both", failuresMeet},
		{"nothing is shared with the caller", noSharing},
		{"a cancelled context is ErrUnavailable", cancelled},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.test(t, &fixture{T: t, Store: newStore(t), ctx: t.Context(), account: "t-" + rand.Text(), now: inStore(time.Now())})
		})
	}
}

// fixture is an account in a store. Its times are about now, so that no store drops what
// it is given.
type fixture struct {
	*testing.T
	alert.Store
	ctx     context.Context
	account string
	now     time.Time
}

// alert is a whole alert, the n-th newest.
func (f *fixture) alert(n int) alert.Alert {
	window := f.now.Truncate(time.Hour).Add(-time.Duration(n) * time.Hour)
	return alert.Alert{
		ID: fmt.Sprintf("%012x-near_limit-%016x", window.UnixMilli(), n), AccountID: f.account, Environment: keys.Staging,
		KeyID: "AAAAAAAA", Kind: alert.NearLimit, Severity: alert.Info, Subject: "AAAAAAAA", Window: window, RaisedAt: f.now,
		Text: "Zoë & 東京 <b>", Data: map[string]string{"limit": "20", "name": "attribute"},
	}
}

func (f *fixture) raise(list ...alert.Alert) {
	f.Helper()
	for _, a := range list {
		if raised, err := f.Raise(f.ctx, a); err != nil || !raised {
			f.Fatalf("Raise(%s) = %t, %v, want it raised", a.ID, raised, err)
		}
	}
}

func (f *fixture) want(want alert.Alert) {
	f.Helper()
	got, err := f.Alert(f.ctx, want.AccountID, want.ID)
	if err != nil {
		f.Fatalf("Alert(%s): %v", want.ID, err)
	}
	f.same("Alert", want, got)
}

func (f *fixture) same(call string, want, got any) {
	f.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		f.Errorf("%s (-want +got):\n%s", call, diff)
	}
}

func (f *fixture) notFound(call string, err error) {
	f.Helper()
	if !errors.Is(err, keys.ErrNotFound) {
		f.Errorf("%s = %v, want ErrNotFound", call, err)
	}
}

func readsBack(_ *testing.T, f *fixture) {
	whole := f.alert(0)
	bare := alert.Alert{
		ID: f.alert(1).ID, AccountID: f.account, Kind: alert.SourceFailures, Severity: alert.Warning, Subject: "2001:db8::/64",
		Window: f.alert(1).Window, RaisedAt: f.now, Text: "t",
	}
	f.raise(whole, bare)
	f.want(whole)
	f.want(bare)
	page, err := f.Alerts(f.ctx, alert.Query{AccountID: f.account, Limit: 10})
	if err != nil {
		f.Fatal(err)
	}
	f.same("Alerts", alert.Page{Alerts: []alert.Alert{whole, bare}}, page)
}

func raisedOnce(_ *testing.T, f *fixture) {
	a := f.alert(0)
	f.raise(a)
	if _, err := f.Acknowledge(f.ctx, f.account, a.ID, "BBBBBBBB", f.now); err != nil {
		f.Fatal(err)
	}
	again := a
	again.Text, again.Data, again.RaisedAt = "other", nil, f.now.Add(time.Minute)
	if raised, err := f.Raise(f.ctx, again); err != nil || raised {
		f.Errorf("Raise of one that is there = %t, %v, want false", raised, err)
	}
	a.AcknowledgedAt, a.AcknowledgedBy = f.now, "BBBBBBBB"
	f.want(a)
}

func oneRaises(_ *testing.T, f *fixture) {
	var raised atomic.Int64
	f.all(16, func(i int) {
		a := f.alert(0)
		a.Text = fmt.Sprint(i)
		ok, err := f.Raise(f.ctx, a)
		if err != nil {
			f.Error(err)
		}
		if ok {
			raised.Add(1)
		}
	})
	if raised.Load() != 1 {
		f.Errorf("%d of 16 have raised the alert, want 1", raised.Load())
	}
}

// all runs f n times at once.
func (f *fixture) all(n int, do func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { do(i) })
	}
	wg.Wait()
}

func accountsApart(_ *testing.T, f *fixture) {
	mine, theirs := f.alert(0), f.alert(0)
	theirs.AccountID, theirs.Text = f.account+"x", "theirs"
	f.raise(mine, theirs)
	if _, err := f.Acknowledge(f.ctx, mine.AccountID, mine.ID, "BBBBBBBB", f.now); err != nil {
		f.Fatal(err)
	}
	f.want(theirs)
	page, err := f.Alerts(f.ctx, alert.Query{AccountID: theirs.AccountID, Limit: 10})
	if err != nil {
		f.Fatal(err)
	}
	f.same("Alerts", alert.Page{Alerts: []alert.Alert{theirs}}, page)
}

func absent(_ *testing.T, f *fixture) {
	f.raise(f.alert(0))
	there, missing := f.alert(0).ID, f.alert(1).ID
	for name, at := range map[string][2]string{"absent": {f.account, missing}, "another account's": {f.account + "x", there}} {
		_, err := f.Alert(f.ctx, at[0], at[1])
		f.notFound("Alert of one that is "+name, err)
		_, err = f.Acknowledge(f.ctx, at[0], at[1], "BBBBBBBB", f.now)
		f.notFound("Acknowledge of one that is "+name, err)
		_, err = f.Note(f.ctx, at[0], at[1], "sourceIp", "192.0.2.1")
		f.notFound("Note of one that is "+name, err)
		_, err = f.Alert(f.ctx, at[0], at[1])
		f.notFound("Alert after that", err)
	}
	if page, err := f.Alerts(f.ctx, alert.Query{AccountID: f.account + "x", Limit: 10}); err != nil || len(page.Alerts) > 0 || page.Next != "" {
		f.Errorf("Alerts of an account without any = %v, %v", page, err)
	}
}

func notes(_ *testing.T, f *fixture) {
	a, bare := f.alert(0), f.alert(1)
	bare.Data = nil
	f.raise(a, bare)
	for _, tt := range []struct{ value, want string }{{"192.0.2.1", "192.0.2.1"}, {"192.0.2.2", "192.0.2.1"}} {
		for _, id := range []string{a.ID, bare.ID} {
			if kept, err := f.Note(f.ctx, f.account, id, "sourceIp", tt.value); err != nil || kept != tt.want {
				f.Errorf("Note(%s) = %q, %v, want %q", tt.value, kept, err, tt.want)
			}
		}
	}
	if kept, err := f.Note(f.ctx, f.account, a.ID, "name", "x"); err != nil || kept != "attribute" {
		f.Errorf("Note of a figure that the alert was raised with = %q, %v", kept, err)
	}
	a.Data["sourceIp"] = "192.0.2.1"
	bare.Data = map[string]string{"sourceIp": "192.0.2.1"}
	f.want(a)
	f.want(bare)
}

func acknowledges(_ *testing.T, f *fixture) {
	a := f.alert(0)
	f.raise(a)
	var answers sync.Map
	f.all(8, func(i int) {
		got, err := f.Acknowledge(f.ctx, f.account, a.ID, apikey.ID(fmt.Sprintf("%08d", i)), f.now.Add(time.Duration(i)*time.Second))
		if err != nil {
			f.Error(err)
		}
		answers.Store(got.AcknowledgedBy, got)
	})
	n := 0
	answers.Range(func(_, got any) bool {
		n++
		first := got.(alert.Alert)
		a.AcknowledgedAt, a.AcknowledgedBy = first.AcknowledgedAt, first.AcknowledgedBy
		f.same("Acknowledge", a, first)
		if _, err := fmt.Sscanf(string(first.AcknowledgedBy), "%d", new(int)); err != nil {
			f.Errorf("acknowledged by %q", first.AcknowledgedBy)
		}
		return true
	})
	if n != 1 {
		f.Errorf("8 at once were answered %d acknowledgements, want one", n)
	}
	f.want(a)
}

// walk reads all pages of a list.
func (f *fixture) walk(q alert.Query) (all []alert.Alert) {
	f.Helper()
	for range 100 {
		page, err := f.Alerts(f.ctx, q)
		if err != nil {
			f.Fatal(err)
		}
		if len(page.Alerts) > q.Limit {
			f.Fatalf("a page of %d alerts, limit %d", len(page.Alerts), q.Limit)
		}
		all = append(all, page.Alerts...)
		if page.Next == "" {
			return all
		}
		q.After = page.Next
	}
	f.Fatal("100 pages and no end")
	return nil
}

func pages(_ *testing.T, f *fixture) {
	var want []alert.Alert
	for n := range 11 {
		want = append(want, f.alert(n))
	}
	for _, n := range []int{3, 9, 0, 10, 1, 5, 8, 2, 7, 4, 6} {
		f.raise(want[n])
	}
	for _, limit := range []int{1, 2, 3, 10, 11, 12, 1000} {
		f.same(fmt.Sprintf("Alerts by %d", limit), want, f.walk(alert.Query{AccountID: f.account, Limit: limit}))
	}
	// Alerts of one window have their order too, and an alert that comes in front moves none.
	twin := want[4]
	twin.ID += "z"
	f.raise(twin)
	want = slices.Insert(want, 4, twin)
	page, err := f.Alerts(f.ctx, alert.Query{AccountID: f.account, Limit: 5})
	if err != nil {
		f.Fatal(err)
	}
	f.raise(f.alert(-1))
	f.same("the pages after the first", want[5:], f.walk(alert.Query{AccountID: f.account, Limit: 2, After: page.Next}))
}

func filters(_ *testing.T, f *fixture) {
	var all []alert.Alert
	kinds := []alert.Kind{alert.NearLimit, alert.OverLimit, alert.CanaryUsed}
	environments := []keys.Environment{keys.Production, keys.Staging, keys.Development, ""}
	for n := range 24 {
		a := f.alert(n)
		a.Kind, a.Environment, a.KeyID = kinds[n%3], environments[n%4], apikey.ID(fmt.Sprintf("%08d", n%5))
		all = append(all, a)
		f.raise(a)
		if n%2 == 0 {
			got, err := f.Acknowledge(f.ctx, f.account, a.ID, "BBBBBBBB", f.now)
			if err != nil {
				f.Fatal(err)
			}
			all[n] = got
		}
	}
	yes, no := true, false
	for _, q := range []alert.Query{
		{},
		{Environments: []keys.Environment{keys.Staging}},
		{Environments: []keys.Environment{keys.Staging, ""}},
		{Kind: alert.CanaryUsed},
		{KeyID: "00000003"},
		{Open: &yes},
		{Open: &no},
		{Kind: alert.NearLimit, KeyID: "00000001", Open: &no, Environments: []keys.Environment{keys.Development}},
		{Kind: alert.NewNetwork},
	} {
		want := slices.DeleteFunc(slices.Clone(all), func(a alert.Alert) bool {
			return q.Kind != "" && q.Kind != a.Kind || q.KeyID != "" && q.KeyID != a.KeyID ||
				q.Environments != nil && !slices.Contains(q.Environments, a.Environment) ||
				q.Open != nil && *q.Open == (a.AcknowledgedBy != "")
		})
		for _, limit := range []int{1, 5, 1000} {
			q.AccountID, q.Limit = f.account, limit
			f.same(fmt.Sprintf("Alerts(%+v)", q), want, f.walk(q))
		}
	}
}

// span is the start of a FailureSpan.
func (f *fixture) span() time.Time { return f.now.Truncate(alert.FailureSpan) }

func (f *fixture) failures(from, to int, window time.Time) (list []alert.Failure) {
	for i := from; i < to; i++ {
		list = append(list, alert.Failure{ID: fmt.Sprintf("JKJaXmPLvHcESHA=-%d.x/+", i), Time: window.Add(time.Duration(i) * time.Millisecond)})
	}
	return list
}

func (f *fixture) fail(account, cause string, window time.Time, failures, want []alert.Failure) {
	f.Helper()
	got, err := f.Fail(f.ctx, account, cause, window, failures)
	if err != nil {
		f.Fatal(err)
	}
	f.same(fmt.Sprintf("Fail(%s, %s, %d failures)", account, cause, len(failures)), sorted(want), sorted(got))
}

func sorted(list []alert.Failure) []alert.Failure {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b alert.Failure) int {
		if c := a.Time.Compare(b.Time); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return list
}

func failuresAreASet(_ *testing.T, f *fixture) {
	w := f.span()
	few := f.failures(0, 3, w)
	f.fail(f.account, "key#A", w, few, few)
	f.fail(f.account, "key#A", w, few, few)
	f.fail(f.account, "key#A", w, slices.Concat(few[1:2], few[1:2], f.failures(3, 5, w)), f.failures(0, 5, w))
	f.fail(f.account, "key#B", w, few[:1], few[:1])
	f.fail(f.account+"x", "key#A", w, few[:1], few[:1])
	f.fail(alert.Installation, "source#"+f.account, w, few[:1], few[:1])
}

func failuresOfNeighbours(_ *testing.T, f *fixture) {
	before, at, after := f.span().Add(-alert.FailureSpan), f.span(), f.span().Add(alert.FailureSpan)
	far := f.failures(0, 1, after.Add(alert.FailureSpan))
	f.fail(f.account, "source#2001:db8::/64", after.Add(alert.FailureSpan), far, far)
	f.fail(f.account, "source#2001:db8::/64", before, f.failures(0, 2, before), f.failures(0, 2, before))
	f.fail(f.account, "source#2001:db8::/64", after, f.failures(0, 3, after), slices.Concat(far, f.failures(0, 3, after)))
	f.fail(f.account, "source#2001:db8::/64", at, f.failures(0, 1, at), slices.Concat(f.failures(0, 2, before), f.failures(0, 1, at), f.failures(0, 3, after)))
}

func failuresAreBounded(_ *testing.T, f *fixture) {
	w := f.span()
	one := alert.FailureThreshold - 1
	f.fail(f.account, "key#A", w, f.failures(0, one, w), f.failures(0, one, w))
	for n := range 5 {
		got, err := f.Fail(f.ctx, f.account, "key#A", w, f.failures(one+1000*n, one+1000*(n+1), w))
		if err != nil {
			f.Fatal(err)
		}
		if len(got) < alert.FailureThreshold || len(got) > 2*alert.FailureThreshold {
			f.Errorf("a span that was given %d failures has %d", one+1000*(n+1), len(got))
		}
		for _, had := range f.failures(0, one, w) {
			if !slices.Contains(got, had) {
				f.Errorf("a span that is full has lost %s", had.ID)
			}
		}
	}
}

func failuresMeet(_ *testing.T, f *fixture) {
	for round := range 20 {
		cause := fmt.Sprintf("key#%d", round)
		var most atomic.Int64
		f.all(2, func(i int) {
			w := f.span().Add(time.Duration(i) * alert.FailureSpan)
			got, err := f.Fail(f.ctx, f.account, cause, w, f.failures(0, 1, w))
			if err != nil {
				f.Error(err)
			}
			if len(got) == 2 {
				most.Add(1)
			}
		})
		if most.Load() == 0 {
			f.Errorf("round %d: neither of two at the same time knows both", round)
		}
	}
}

func noSharing(_ *testing.T, f *fixture) {
	a := f.alert(0)
	f.raise(a)
	a.Data["limit"] = "changed"
	got, err := f.Alert(f.ctx, f.account, a.ID)
	if err != nil {
		f.Fatal(err)
	}
	got.Data["limit"] = "changed"
	f.want(f.alert(0))
}

func cancelled(_ *testing.T, f *fixture) {
	a := f.alert(0)
	f.raise(a)
	ctx, cancel := context.WithCancel(f.ctx)
	cancel()
	other := f.alert(1)
	_, raise := f.Raise(ctx, other)
	_, note := f.Note(ctx, f.account, a.ID, "x", "y")
	_, list := f.Alerts(ctx, alert.Query{AccountID: f.account, Limit: 1})
	_, read := f.Alert(ctx, f.account, a.ID)
	_, acknowledge := f.Acknowledge(ctx, f.account, a.ID, "BBBBBBBB", f.now)
	_, fail := f.Fail(ctx, f.account, "key#A", f.span(), f.failures(0, 1, f.span()))
	for call, err := range map[string]error{"Raise": raise, "Note": note, "Alerts": list, "Alert": read, "Acknowledge": acknowledge, "Fail": fail} {
		if !errors.Is(err, keys.ErrUnavailable) {
			f.Errorf("%s with a cancelled context = %v, want ErrUnavailable", call, err)
		}
	}
	f.want(a)
	_, err := f.Alert(f.ctx, f.account, other.ID)
	f.notFound("the alert that was not raised", err)
}
