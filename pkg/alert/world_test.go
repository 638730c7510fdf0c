package alert_test

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/alert"
	"github.com/keyreeve/keyreeve/pkg/alert/alerttest"
	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/usage"
)

const (
	account = "acct"
	keyA    = apikey.ID("AAAAAAAA")
	keyB    = apikey.ID("BBBBBBBB")

	home  = "192.0.2.10"
	other = "198.51.100.7"
)

// bound is how long after a change unguarded routes may still not know of it.
const bound = 70 * time.Second

// start is in the middle of an hour, of a span and of a day.
var start = time.Date(2026, 3, 10, 12, 32, 30, 0, time.UTC)

// world is a Watcher on stores in memory, with a clock that a test moves.
type world struct {
	*testing.T
	store *alerttest.Memory
	usage *counts
	keys  keyring
	meter meters
	now   time.Time
	late  int // accepts that were told of
	*alert.Watcher
}

func newWorld(t *testing.T) *world {
	w := &world{T: t, store: alerttest.NewMemory(), usage: &counts{}, meter: meters{}, now: start}
	w.restart()
	return w
}

// restart is a new process on the same stores.
func (w *world) restart() {
	w.Watcher = alert.New(alert.Config{
		Store: w.store, Usage: w.usage, Keys: &w.keys, Meters: w.meter, Clock: func() time.Time { return w.now },
		Bound: bound, Late: func(_ context.Context, n int) { w.late += n },
	})
}

func (w *world) observe(list ...usage.Facts) {
	w.Helper()
	for _, f := range list {
		if err := w.Observe(w.Context(), f); err != nil {
			w.Fatal(err)
		}
	}
}

func (w *world) sweep() alert.Swept {
	w.Helper()
	swept, err := w.Sweep(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	return swept
}

// alerts are what was raised in an account, oldest window first.
func (w *world) alerts(account string) []alert.Alert {
	w.Helper()
	page, err := w.store.Alerts(w.Context(), alert.Query{AccountID: account, Limit: 1000})
	if err != nil || page.Next != "" {
		w.Fatal(err, page.Next)
	}
	slices.Reverse(page.Alerts)
	return page.Alerts
}

// raised are the alerts of both accounts that a test may raise, as "kind subject window".
func (w *world) raised() (list []string) {
	w.Helper()
	for _, of := range []string{account, alert.Installation} {
		for _, a := range w.alerts(of) {
			line := fmt.Sprintf("%s %s %s", a.Kind, a.Subject, a.Window.Format("01-02T15:04"))
			if of != account {
				line += " " + of
			}
			list = append(list, line)
		}
	}
	slices.Sort(list)
	return list
}

func (w *world) want(want ...string) {
	w.Helper()
	slices.Sort(want)
	if diff := cmp.Diff(want, w.raised()); diff != "" {
		w.Errorf("raised (-want +got):\n%s", diff)
	}
}

// counts is the part of a usage.Store that a Watcher reads.
type counts struct {
	days     []usage.Count
	profiles map[apikey.ID]usage.Profile
	totals   map[apikey.ID]usage.Totals
	calls    []string
	fault    func(call string) error
}

func (c *counts) call(name string) error {
	c.calls = append(c.calls, name)
	if c.fault != nil {
		return c.fault(name)
	}
	return nil
}

func (c *counts) Days(_ context.Context, accountID string, ids []apikey.ID, from, to usage.Day) (list []usage.Count, err error) {
	for _, d := range c.days {
		if d.AccountID == accountID && slices.Contains(ids, d.KeyID) && d.Day >= from && d.Day <= to {
			list = append(list, d)
		}
	}
	return list, c.call("Days")
}

func (c *counts) Profiles(_ context.Context, ids []apikey.ID) (map[apikey.ID]usage.Profile, error) {
	return pick(c.profiles, ids), c.call("Profiles")
}

func (c *counts) Totals(_ context.Context, ids []apikey.ID) (map[apikey.ID]usage.Totals, error) {
	return pick(c.totals, ids), c.call("Totals")
}

func pick[V any](m map[apikey.ID]V, ids []apikey.ID) map[apikey.ID]V {
	out := map[apikey.ID]V{}
	for _, id := range ids {
		if v, ok := m[id]; ok {
			out[id] = v
		}
	}
	return out
}

// add counts n requests of a key in the hour of t.
func (c *counts) add(id apikey.ID, t time.Time, n int64) {
	day := usage.DayOf(t)
	i := slices.IndexFunc(c.days, func(d usage.Count) bool { return d.KeyID == id && d.Day == day })
	if i < 0 {
		i = len(c.days)
		c.days = append(c.days, usage.Count{AccountID: account, KeyID: id, Day: day})
	}
	c.days[i].Hours[t.UTC().Hour()].Requests += n
}

// keyring is every key there is; err is what ends reading them.
type keyring struct {
	list  []keys.Key
	err   error
	looks int
}

func (k *keyring) Key(_ context.Context, id apikey.ID) (keys.Key, error) {
	k.looks++
	if k.err != nil {
		return keys.Key{}, k.err
	}
	for _, key := range k.list {
		if key.ID == id {
			return key, nil
		}
	}
	return keys.Key{}, keys.ErrNotFound
}

func (k *keyring) All(context.Context) iter.Seq2[keys.Key, error] {
	return func(yield func(keys.Key, error) bool) {
		for _, key := range k.list {
			if !yield(key, nil) {
				return
			}
		}
		if k.err != nil {
			yield(keys.Key{}, k.err)
		}
	}
}

type meters map[apikey.ID]keys.Usage

func (m meters) Usage(_ context.Context, ids []apikey.ID) (map[apikey.ID]keys.Usage, error) {
	return pick(m, ids), nil
}

var serial int

// request is one of keyA with a valid secret that was answered 200.
func request(at time.Time, change ...func(*usage.Request)) usage.Request {
	serial++
	r := usage.Request{
		ID: fmt.Sprintf("JKJaXm%06d=", serial), Time: at, KeyID: keyA, AccountID: account, Environment: keys.Production,
		Generation: 1, Method: "GET", Route: "/v1/x", Status: 200, SourceIP: home,
	}
	for _, f := range change {
		f(&r)
	}
	return r
}

func status(code int) func(*usage.Request) { return func(r *usage.Request) { r.Status = code } }
func from(ip string) func(*usage.Request)  { return func(r *usage.Request) { r.SourceIP = ip } }
func by(id apikey.ID) func(*usage.Request) { return func(r *usage.Request) { r.KeyID = id } }

// guardRefused is the guard's half of a request.
func guardRefused(reason string) func(*usage.Request) {
	return func(r *usage.Request) {
		r.Refused, r.Status, r.Method, r.Route, r.SourceIP = reason, 0, "", "", ""
	}
}

// authorizerRefused is the authorizer's half.
func authorizerRefused(reason keys.Reason) func(*usage.Request) {
	return func(r *usage.Request) {
		r.Refused, r.Status, r.Method, r.Route, r.SourceIP, r.Generation = string(reason), 401, "", "", "", 0
	}
}

// unknown is the access log's half of what the authorizer refused.
func unknown(r *usage.Request) {
	r.Status, r.KeyID, r.AccountID, r.Environment, r.Generation = 401, "", "", "", 0
}

func requests(n int, at time.Time, change ...func(*usage.Request)) (list []usage.Request) {
	for range n {
		list = append(list, request(at, change...))
	}
	return list
}

func facts(list ...usage.Request) usage.Facts { return usage.Facts{Requests: list} }

// known is Before of keyA: in use since first, from home.
func known(f usage.Facts, first time.Time, change ...func(*usage.Profile)) usage.Facts {
	p := usage.Profile{
		KeyID: keyA, AccountID: account, First: first, LastUsed: start.Add(-time.Hour),
		Networks: map[string]time.Time{usage.Network(home): start.Add(-time.Hour)},
	}
	for _, c := range change {
		c(&p)
	}
	f.Before = map[apikey.ID]usage.Profile{keyA: p}
	return f
}

func clone(f usage.Facts) usage.Facts {
	return usage.Facts{
		Requests: slices.Clone(f.Requests), Joined: slices.Clone(f.Joined), Unknown: slices.Clone(f.Unknown),
		Near: slices.Clone(f.Near), Before: maps.Clone(f.Before),
	}
}
