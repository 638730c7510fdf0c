package webhooktest

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
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
	"github.com/keyreeve/keyreeve/pkg/webhook"
)

// Suite checks what webhook.Store promises. The store may hold other accounts' data, but
// nobody else may use it meanwhile.
func Suite(t *testing.T, store webhook.Store) {
	for _, test := range []struct {
		name string
		run  func(*suite)
	}{
		{"an endpoint comes back as it was put", (*suite).endpoints},
		{"an update is of the version it says, or refused", (*suite).updates},
		{"an account has at most MaxEndpoints, also at the same time", (*suite).tooMany},
		{"accounts do not see each other's", (*suite).accounts},
		{"a delivery is enqueued once, in whatever state it is", (*suite).enqueuesOnce},
		{"one of many takers gets it, and nobody before the lease ends", (*suite).leases},
		{"due are the pending ones whose time has come, oldest first", (*suite).due},
		{"a failure puts it off, an end takes it out of what is due", (*suite).finishes},
		{"a taker that was overtaken changes nothing", (*suite).overtaken},
		{"a success counts whoever has it", (*suite).lateSuccess},
		{"what has ended can be opened again", (*suite).reopens},
		{"deliveries are listed newest first, page by page", (*suite).pages},
		{"takers and finishers at the same time lose nothing", (*suite).storm},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.run(&suite{T: t, store: store, account: "s-" + string(apikey.NewID()), now: time.Now().UTC().Truncate(time.Millisecond)})
		})
	}
}

type suite struct {
	*testing.T
	store   webhook.Store
	account string
	now     time.Time
}

var ctx = context.Background()

func (s *suite) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *suite) want(what string, got, want any) {
	s.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		s.Errorf("%s (-want +got)\n%s", what, diff)
	}
}

func (s *suite) wantErr(what string, err, want error) {
	s.Helper()
	if !errors.Is(err, want) {
		s.Errorf("%s: %v, want %v", what, err, want)
	}
}

func (s *suite) endpoint(n int) webhook.Endpoint {
	return webhook.Endpoint{
		ID: EndpointID(n), AccountID: s.account, Version: 1, URL: "https://hooks.example.com/a?b=c&d", Description: "Öps <b>",
		Kinds: []alert.Kind{alert.OverLimit, alert.CanaryUsed}, Active: true, Pepper: "p1", Box: []byte{0, 1, 255},
		CreatedBy: "AAAAAAAA", CreatedAt: s.now.Add(time.Duration(n) * time.Second), UpdatedAt: s.now.Add(time.Minute),
	}
}

// EndpointID is an endpoint's id, for tests.
func EndpointID(n int) string { return fmt.Sprintf("E%015d", n) }

// DeliveryID is the id of a delivery of an endpoint, for tests.
func DeliveryID(endpoint string, at time.Time, n int) string {
	return fmt.Sprintf("%s_%012x_%s", endpoint, at.UnixMilli(), base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%016d", n)))
}

// delivery is one that was raised n seconds after the start and is due then.
func (s *suite) delivery(n int) webhook.Delivery {
	at := s.now.Add(time.Duration(n) * time.Second)
	return webhook.Delivery{
		ID: DeliveryID(EndpointID(1), at, n), AccountID: s.account, EndpointID: EndpointID(1), AlertID: fmt.Sprintf("alert:%d/é", n),
		State: webhook.Pending, NextAt: at, CreatedAt: at,
	}
}

func refTo(d webhook.Delivery) webhook.Ref {
	return webhook.Ref{AccountID: d.AccountID, ID: d.ID}
}

func (s *suite) enqueue(d webhook.Delivery) webhook.Delivery {
	s.Helper()
	s.must(s.store.Enqueue(ctx, d))
	return d
}

func (s *suite) take(d webhook.Delivery, at time.Time) webhook.Delivery {
	s.Helper()
	got, ok, err := s.store.Take(ctx, refTo(d), at, time.Minute)
	if err != nil || !ok {
		s.Fatalf("Take = %t, %v, want it", ok, err)
	}
	return got
}

func (s *suite) notTaken(d webhook.Delivery, at time.Time) {
	s.Helper()
	if _, ok, err := s.store.Take(ctx, refTo(d), at, time.Minute); err != nil || ok {
		s.Errorf("Take at +%v = %t, %v, want nothing", at.Sub(s.now), ok, err)
	}
}

func (s *suite) stored(d webhook.Delivery) webhook.Delivery {
	s.Helper()
	got, err := s.store.Delivery(ctx, refTo(d))
	s.must(err)
	return got
}

// dueAt lists the account's deliveries that are due.
func (s *suite) dueAt(at time.Time) (ids []string) {
	s.Helper()
	due, err := s.store.Due(ctx, at, 1000)
	s.must(err)
	for _, r := range due {
		if r.AccountID == s.account {
			ids = append(ids, r.ID)
		}
	}
	return ids
}

func (s *suite) endpoints() {
	full, bare := s.endpoint(1), webhook.Endpoint{
		ID: EndpointID(2), AccountID: s.account, Version: 1, URL: "https://x.example", Pepper: "p", Box: []byte{1},
		CreatedAt: s.now.Add(-time.Hour), UpdatedAt: s.now,
	}
	s.must(s.store.CreateEndpoint(ctx, full))
	s.must(s.store.CreateEndpoint(ctx, bare))
	list, err := s.store.Endpoints(ctx, s.account)
	s.must(err)
	s.want("Endpoints by CreatedAt", list, []webhook.Endpoint{bare, full})
	got, err := s.store.Endpoint(ctx, s.account, full.ID)
	s.must(err)
	s.want("Endpoint", got, full)

	s.must(s.store.DeleteEndpoint(ctx, s.account, full.ID))
	_, err = s.store.Endpoint(ctx, s.account, full.ID)
	s.wantErr("Endpoint that was deleted", err, keys.ErrNotFound)
	s.wantErr("DeleteEndpoint twice", s.store.DeleteEndpoint(ctx, s.account, full.ID), keys.ErrNotFound)
	full.Version++
	s.wantErr("UpdateEndpoint of a deleted one", s.store.UpdateEndpoint(ctx, full), keys.ErrNotFound)
	list, err = s.store.Endpoints(ctx, s.account)
	s.must(err)
	s.want("Endpoints after it", list, []webhook.Endpoint{bare})
}

func (s *suite) updates() {
	e := s.endpoint(1)
	s.must(s.store.CreateEndpoint(ctx, e))
	changed := e
	changed.Version, changed.URL, changed.Description, changed.Kinds, changed.Active = 2, "https://other.example", "", nil, false
	s.must(s.store.UpdateEndpoint(ctx, changed))
	got, err := s.store.Endpoint(ctx, s.account, e.ID)
	s.must(err)
	s.want("after the update", got, changed)

	late := e
	late.Version, late.URL = 2, "https://late.example"
	s.wantErr("an update of a version that has passed", s.store.UpdateEndpoint(ctx, late), webhook.ErrChanged)
	var won atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			third := changed
			third.Version = 3
			switch err := s.store.UpdateEndpoint(ctx, third); {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, webhook.ErrChanged) && !errors.Is(err, keys.ErrConflict):
				s.Error(err)
			}
		})
	}
	wg.Wait()
	s.want("updates of one version that were made", won.Load(), int64(1))
}

func (s *suite) tooMany() {
	var made, refused atomic.Int64
	create := func(n int) {
		for {
			switch err := s.store.CreateEndpoint(ctx, s.endpoint(n)); {
			case err == nil:
				made.Add(1)
			case errors.Is(err, webhook.ErrTooMany):
				refused.Add(1)
			case errors.Is(err, keys.ErrConflict):
				continue
			default:
				s.Error(err)
			}
			return
		}
	}
	var wg sync.WaitGroup
	for n := range webhook.MaxEndpoints - 3 {
		create(n)
	}
	for n := range 8 {
		wg.Go(func() { create(100 + n) })
	}
	wg.Wait()
	s.want("made", made.Load(), int64(webhook.MaxEndpoints))
	s.want("refused", refused.Load(), int64(5))
	list, err := s.store.Endpoints(ctx, s.account)
	s.must(err)
	s.want("Endpoints", len(list), webhook.MaxEndpoints)
	s.must(s.store.DeleteEndpoint(ctx, s.account, list[0].ID))
	s.must(s.store.CreateEndpoint(ctx, s.endpoint(200)))
	s.wantErr("one more", s.store.CreateEndpoint(ctx, s.endpoint(201)), webhook.ErrTooMany)
}

func (s *suite) accounts() {
	e := s.endpoint(1)
	s.must(s.store.CreateEndpoint(ctx, e))
	d := s.enqueue(s.delivery(0))
	other := s.account + "x" // of which ours is a prefix
	list, err := s.store.Endpoints(ctx, other)
	s.must(err)
	s.want("another account's Endpoints", list, []webhook.Endpoint(nil))
	_, err = s.store.Endpoint(ctx, other, e.ID)
	s.wantErr("Endpoint", err, keys.ErrNotFound)
	s.wantErr("DeleteEndpoint", s.store.DeleteEndpoint(ctx, other, e.ID), keys.ErrNotFound)
	foreign := e
	foreign.AccountID, foreign.Version = other, 2
	s.wantErr("UpdateEndpoint", s.store.UpdateEndpoint(ctx, foreign), keys.ErrNotFound)
	deliveries, _, err := s.store.Deliveries(ctx, other, e.ID, 10, "")
	s.must(err)
	s.want("Deliveries", deliveries, []webhook.Delivery(nil))
	r := webhook.Ref{AccountID: other, ID: d.ID}
	_, err = s.store.Delivery(ctx, r)
	s.wantErr("Delivery", err, keys.ErrNotFound)
	_, err = s.store.Reopen(ctx, r, s.now)
	s.wantErr("Reopen", err, keys.ErrNotFound)
	d.AccountID = other
	s.notTaken(d, s.now)
	deliveries, _, err = s.store.Deliveries(ctx, s.account, EndpointID(2), 10, "")
	s.must(err)
	s.want("another endpoint's Deliveries", deliveries, []webhook.Delivery(nil))
}

func (s *suite) enqueuesOnce() {
	d := s.enqueue(s.delivery(0))
	s.want("as it is stored", s.stored(d), d)
	again := d
	again.NextAt, again.CreatedAt = s.now.Add(time.Hour), s.now.Add(time.Hour)
	s.enqueue(again)
	s.want("after a second one", s.stored(d), d)
	s.want("due once", s.dueAt(s.now.Add(2*time.Hour)), []string{d.ID})

	taken := s.take(d, s.now)
	s.enqueue(again)
	s.want("due while it is taken", s.dueAt(s.now), []string(nil))
	for i, state := range []webhook.State{webhook.Delivered, webhook.Dead} {
		if i > 0 {
			d = s.enqueue(s.delivery(i))
			taken = s.take(d, d.NextAt)
		}
		taken.State = state
		s.must(s.store.Finish(ctx, taken))
		s.enqueue(d)
		s.want("state of an ended one that came again", s.stored(d).State, state)
		s.notTaken(d, s.now.Add(time.Hour))
	}
	s.want("due in the end", s.dueAt(s.now.Add(2*time.Hour)), []string(nil))
}

func (s *suite) leases() {
	d := s.enqueue(s.delivery(0))
	s.notTaken(d, s.now.Add(-time.Millisecond))
	s.notTaken(s.delivery(7), s.now.Add(time.Hour)) // is not there
	var got atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			taken, ok, err := s.store.Take(ctx, refTo(d), s.now, time.Minute)
			if err != nil {
				s.Error(err)
			}
			if ok {
				got.Add(1)
				end := d
				end.NextAt, end.Lease = s.now.Add(time.Minute), s.now.Add(time.Minute)
				s.want("what Take gives", taken, end)
			}
		})
	}
	wg.Wait()
	s.want("takers that got it", got.Load(), int64(1))
	s.want("due while it is taken", s.dueAt(s.now.Add(time.Minute-time.Millisecond)), []string(nil))
	s.notTaken(d, s.now.Add(time.Minute-time.Millisecond))
	s.want("due when the lease has ended", s.dueAt(s.now.Add(time.Minute)), []string{d.ID})
	s.take(d, s.now.Add(time.Minute))
}

func (s *suite) due() {
	order := []int{40, 10, 30, 0, 20}
	ids := map[int]string{}
	for _, n := range order {
		ids[n] = s.enqueue(s.delivery(n)).ID
	}
	s.want("before the first", s.dueAt(s.now.Add(-time.Millisecond)), []string(nil))
	s.want("at 20 s", s.dueAt(s.now.Add(20*time.Second)), []string{ids[0], ids[10], ids[20]})
	s.want("at an hour", s.dueAt(s.now.Add(time.Hour)), []string{ids[0], ids[10], ids[20], ids[30], ids[40]})
	all, err := s.store.Due(ctx, s.now.Add(time.Hour), 1000)
	s.must(err)
	two, err := s.store.Due(ctx, s.now.Add(time.Hour), 2)
	s.must(err)
	s.want("the first two", two, all[:2])
}

func (s *suite) finishes() {
	d := s.enqueue(s.delivery(0))
	taken := s.take(d, s.now)
	taken.Attempts, taken.NextAt = 1, s.now.Add(5*time.Second)
	taken.Log = []webhook.Attempt{{At: s.now, Status: 503, Latency: 120 * time.Millisecond}}
	s.must(s.store.Finish(ctx, taken))
	want := taken
	want.Lease = time.Time{}
	s.want("after a failure", s.stored(d), want)
	s.want("due before its wait is over", s.dueAt(s.now.Add(5*time.Second-time.Millisecond)), []string(nil))
	s.notTaken(d, s.now.Add(5*time.Second-time.Millisecond))
	s.want("due after", s.dueAt(s.now.Add(5*time.Second)), []string{d.ID})
	s.must(s.store.Finish(ctx, taken)) // its answer was lost, and it is repeated
	s.want("after the same again", s.stored(d), want)

	taken = s.take(d, s.now.Add(5*time.Second))
	s.want("log while it is taken", taken.Log, want.Log)
	taken.State, taken.Attempts = webhook.Delivered, 2
	taken.Log = append(taken.Log, webhook.Attempt{At: s.now.Add(5 * time.Second), Status: 204})
	s.must(s.store.Finish(ctx, taken))
	want = taken
	want.Lease, want.NextAt = time.Time{}, time.Time{}
	s.want("after the success", s.stored(d), want)
	s.want("due in the end", s.dueAt(s.now.Add(time.Hour)), []string(nil))
	s.notTaken(d, s.now.Add(time.Hour))

	other := s.enqueue(s.delivery(1))
	taken = s.take(other, s.now.Add(time.Second))
	taken.State, taken.Attempts = webhook.Dead, 1
	taken.Log = []webhook.Attempt{{At: s.now.Add(time.Second), Error: webhook.ErrorTimeout, Latency: 10 * time.Second}}
	s.must(s.store.Finish(ctx, taken))
	got := s.stored(other)
	s.want("a dead one", []any{got.State, got.Attempts, got.Log, got.NextAt}, []any{webhook.Dead, 1, taken.Log, time.Time{}})
	s.want("due in the end", s.dueAt(s.now.Add(time.Hour)), []string(nil))
}

func (s *suite) overtaken() {
	d := s.enqueue(s.delivery(0))
	slow := s.take(d, s.now)
	fast := s.take(d, s.now.Add(time.Minute))
	slow.State, slow.Attempts = webhook.Dead, 9
	s.must(s.store.Finish(ctx, slow))
	got := s.stored(d)
	s.want("while the second taker has it", []any{got.State, got.Attempts}, []any{webhook.Pending, 0})
	s.notTaken(d, s.now.Add(2*time.Minute-time.Millisecond))
	fast.Attempts, fast.NextAt = 1, s.now.Add(3*time.Minute)
	s.must(s.store.Finish(ctx, fast))
	slow.State, slow.NextAt = webhook.Pending, s.now
	s.must(s.store.Finish(ctx, slow))
	got = s.stored(d)
	s.want("after both", []any{got.State, got.Attempts, got.NextAt}, []any{webhook.Pending, 1, s.now.Add(3 * time.Minute)})
	s.want("due before", s.dueAt(s.now.Add(3*time.Minute-time.Millisecond)), []string(nil))
	s.want("due then", s.dueAt(s.now.Add(3*time.Minute)), []string{d.ID})
}

func (s *suite) lateSuccess() {
	d := s.enqueue(s.delivery(0))
	slow := s.take(d, s.now)
	fast := s.take(d, s.now.Add(time.Minute))
	slow.State, slow.Attempts = webhook.Delivered, 1
	s.must(s.store.Finish(ctx, slow))
	s.want("after the late success", s.stored(d).State, webhook.Delivered)
	fast.Attempts, fast.NextAt = 1, s.now.Add(2*time.Minute)
	s.must(s.store.Finish(ctx, fast))
	s.want("after the other one's failure", s.stored(d).State, webhook.Delivered)
	s.want("due", s.dueAt(s.now.Add(time.Hour)), []string(nil))
	s.notTaken(d, s.now.Add(time.Hour))
}

func (s *suite) reopens() {
	for i, state := range []webhook.State{webhook.Delivered, webhook.Dead} {
		d := s.enqueue(s.delivery(i))
		taken := s.take(d, d.NextAt)
		taken.State, taken.Attempts, taken.Log = state, 3, []webhook.Attempt{{At: s.now, Status: 500}}
		s.must(s.store.Finish(ctx, taken))
		at := s.now.Add(time.Hour)
		got, err := s.store.Reopen(ctx, refTo(d), at)
		s.must(err)
		want := d
		want.NextAt, want.Log = at, taken.Log
		s.want("a "+string(state)+" one, reopened", got, want)
		s.want("as it is stored", s.stored(d), want)
		s.want("due", s.dueAt(at), []string{d.ID})
		taken = s.take(d, at)
		held, err := s.store.Reopen(ctx, refTo(d), at.Add(time.Second))
		s.must(err)
		s.want("reopening a pending one leaves it", held.NextAt, at.Add(time.Minute))
		taken.State, taken.Attempts = webhook.Delivered, 1
		s.must(s.store.Finish(ctx, taken))
		s.want("due in the end", s.dueAt(s.now.Add(24*time.Hour)), []string(nil))
	}
	_, err := s.store.Reopen(ctx, refTo(s.delivery(9)), s.now)
	s.wantErr("Reopen of one that is not there", err, keys.ErrNotFound)
	_, err = s.store.Delivery(ctx, refTo(s.delivery(9)))
	s.wantErr("Delivery of one that is not there", err, keys.ErrNotFound)
}

func (s *suite) pages() {
	var want []string
	for _, n := range []int{3, 1, 4, 0, 2} {
		s.enqueue(s.delivery(n))
	}
	for n := range 5 {
		want = append(want, s.delivery(4-n).ID)
	}
	foreign := s.delivery(2)
	foreign.EndpointID = EndpointID(2)
	foreign.ID = strings.Replace(foreign.ID, EndpointID(1), EndpointID(2), 1)
	s.enqueue(foreign)
	for _, limit := range []int{1, 2, 5, 100} {
		var got []string
		after := ""
		for page := 0; ; page++ {
			list, next, err := s.store.Deliveries(ctx, s.account, EndpointID(1), limit, after)
			s.must(err)
			for _, d := range list {
				got = append(got, d.ID)
			}
			if next == "" {
				break
			}
			if len(list) != limit || next != list[len(list)-1].ID || page > 5 {
				s.Fatalf("page %d of %d has %d, next %q", page, limit, len(list), next)
			}
			after = next
		}
		s.want(fmt.Sprintf("pages of %d", limit), got, want)
	}
	list, _, err := s.store.Deliveries(ctx, s.account, EndpointID(1), 1, "")
	s.must(err)
	s.want("the newest", list, []webhook.Delivery{s.delivery(4)})
}

// storm lets several workers go through what is due until nothing is. Each finishes what
// it takes, the first time as a failure that is due at once.
func (s *suite) storm() {
	const deliveries, workers = 10, 4
	for n := range deliveries {
		s.enqueue(s.delivery(n))
	}
	at := s.now.Add(time.Minute)
	var mu sync.Mutex
	taken := map[string]int{}
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range 100 * deliveries {
				ids := s.dueAt(at)
				if len(ids) == 0 {
					return
				}
				for _, id := range ids {
					d, ok, err := s.store.Take(ctx, webhook.Ref{AccountID: s.account, ID: id}, at, time.Hour)
					if err != nil {
						s.Error(err)
						return
					}
					if !ok {
						continue
					}
					mu.Lock()
					taken[id]++
					mu.Unlock()
					d.Attempts++
					d.State, d.NextAt = webhook.Delivered, time.Time{}
					if d.Attempts == 1 {
						d.State, d.NextAt = webhook.Pending, at
					}
					if err := s.store.Finish(ctx, d); err != nil {
						s.Error(err)
						return
					}
				}
			}
			s.Error("something is due without end")
		})
	}
	wg.Wait()
	for n := range deliveries {
		d := s.stored(s.delivery(n))
		s.want(fmt.Sprintf("delivery %d: takes, state, attempts", n), []any{taken[d.ID], d.State, d.Attempts}, []any{2, webhook.Delivered, 2})
	}
	s.want("due after it", s.dueAt(s.now.Add(24*time.Hour)), []string(nil))
}
