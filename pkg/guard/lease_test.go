package guard_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/guard"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/limit"
)

// perMinute is a limit whose requests are leased.
const perMinute = 60_000

// lessor is a world with a key of that limit, and a process that is asked so often that it
// leases. It is at the beginning of a slot, and holds some 30 requests on a lease.
func lessor(t *testing.T, change ...func(*keys.Key)) (w *world, id apikey.ID, g *guard.Guard, call guard.Call) {
	t.Helper()
	w = newWorld(t)
	id = w.create(append([]func(*keys.Key){limited(perMinute)}, change...)...)
	g, call = w.process(), customers(w.context(id, 1))
	for range 300 {
		w.try(g, call, "pass")
	}
	w.advance(limit.Slot)
	w.try(g, call, "pass")
	w.spent()
	w.try(g, call, "pass")
	if got := w.spent(); got != (calls{Looks: 1}) {
		t.Fatalf("a request of a process that was asked for 300 in the slot before cost %+v, want a read of the meter's state", got)
	}
	return w, id, g, call
}

func TestAChangeEndsALeaseWithTheNextRequest(t *testing.T) {
	for name, end := range endings {
		t.Run(name, func(t *testing.T) {
			for range 50 {
				w, id, g, call := lessor(t)
				now := w.clock()
				w.change(id, func(k *keys.Key) {
					end.change(k)
					if !k.ExpiresAt.IsZero() {
						k.ExpiresAt = now
					}
				})
				for range 3 {
					w.spent()
					w.try(g, call, end.want)
					if got := w.spent(); got.sum() > 3 {
						t.Errorf("a request after the change cost %+v, want at most 3 calls", got)
					}
				}
				if end.undo != nil {
					w.change(id, end.undo)
					w.try(g, call, "pass")
				}
			}
		})
	}
}

// The read that proves a leased request begins after it: a change while it is under way is
// seen or is later, and one before it is seen.
func TestALeasedRequestIsProvedByAReadOfItsOwn(t *testing.T) {
	w, id, g, call := lessor(t)
	w.fault = func(name string) error {
		if name == "State" {
			w.fault = nil
			k := w.keys[id]
			k.Active, k.Verdict = false, k.Verdict+1
			w.keys[id] = k
			return w.meters.Settle(w.ctx(), id, k.Verdict, false)
		}
		return nil
	}
	w.try(g, call, "401 inactive")
}

func TestALeaseDiesWithItsSlot(t *testing.T) {
	for after, want := range map[time.Duration]calls{limit.Slot - 1: {Looks: 1}, limit.Slot: {Rolls: 1}, time.Hour: {Rolls: 1}} {
		w, id, g, call := lessor(t)
		was, _ := w.meters.Meter(id)
		w.advance(after)
		w.try(g, call, "pass")
		if got := w.spent(); got != want {
			t.Errorf("after %v: a request cost %+v, want %+v", after, got, want)
		}
		if m, _ := w.meters.Meter(id); want.Rolls > 0 && m.Window.Slot <= was.Window.Slot {
			t.Errorf("after %v: counted in slot %d", after, m.Window.Slot)
		}
	}
}

// A meter's Requests are what was let through: at once without a lease, with the next
// write where there was one.
func TestRequestsAreWhatWasLetThrough(t *testing.T) {
	w, id, g, call := lessor(t)
	passed := int64(302)
	for slot := range 8 {
		for range 100 + 10*slot {
			w.try(g, call, "pass")
			passed++
		}
		m, _ := w.meters.Meter(id)
		if m.Requests > passed || m.Requests < passed-64 || m.Window.Total < passed {
			t.Errorf("%d let through, %d on the meter, %d counted", passed, m.Requests, m.Window.Total)
		}
		w.advance(limit.Slot)
		w.try(g, call, "pass")
		passed++
		if m, _ = w.meters.Meter(id); m.Requests != passed || !m.LastUsed.Equal(w.clock()) {
			t.Errorf("%d let through, %d on the meter after a write; last used %v", passed, m.Requests, m.LastUsed)
		}
	}
	// Also when the limit is no longer one that is leased, and when a write fails.
	for range 10 {
		w.try(g, call, "pass")
		passed++
	}
	w.change(id, limited(100_000))
	failures := 0
	w.fault = func(name string) error {
		if failures++; failures == 1 && name == "Hit" {
			return errStore
		}
		return nil
	}
	w.change(id, limited(500))
	w.try(w.process(), customers(w.context(id, 1)), "429") // far more are counted
	w.advance(65 * time.Second)
	w.try(g, customers(w.context(id, 1)), "pass")
	passed++
	if m, _ := w.meters.Meter(id); m.Requests != passed {
		t.Errorf("%d let through, %d on the meter", passed, m.Requests)
	}
}

func TestAMeterThatCannotBeReadLeavesTheRequestToBeCounted(t *testing.T) {
	w, id, g, call := lessor(t)
	w.fault = func(name string) error {
		if name == "State" {
			return errStore
		}
		return nil
	}
	before, _ := w.meters.Meter(id)
	w.try(g, call, "pass")
	if got := w.spent(); got != (calls{Looks: 1, Hits: 1}) {
		t.Errorf("the request cost %+v, want a read and a count", got)
	}
	if m, _ := w.meters.Meter(id); m.Window.Used != before.Window.Used+1 {
		t.Errorf("%d counted, want one more than %d", m.Window.Used, before.Window.Used)
	}
	w.meters.Remove(id)
	w.fault = nil
	w.try(g, call, "pass") // and a meter that is gone is made by the key
	if m, found := w.meters.Meter(id); !found || m.Window.Used != 1 {
		t.Errorf("meter %+v, found %t", m, found)
	}
}

// Near the limit of any window, nothing is left in leases.
func TestTheLastPlacesAreNotLeased(t *testing.T) {
	for name, change := range map[string]func(*keys.Key){"hour": perHour(400), "day": perDay(400), "month": perMonth(400)} {
		w, id, g, call := lessor(t, change)
		for range 98 {
			w.try(g, call, "pass")
		}
		w.try(g, call, "429")
		if m, _ := w.meters.Meter(id); m.Requests > 400 {
			t.Errorf("%s: %d passed, limit 400", name, m.Requests)
		}
	}
}

// steadily asks every so often on average, for ever.
func steadily(every time.Duration) func(*dice, int, func(), func() bool) {
	return func(d *dice, _ int, request func(), over func() bool) {
		for !over() {
			request()
			time.Sleep(d.upTo(2 * every))
		}
	}
}

func TestLeasesNeverExceedTheLimitAndGiveNearlyAllOfIt(t *testing.T) {
	const skew = 1490 * time.Millisecond
	for name, s := range map[string]scene{
		"60,000 a minute, asked for twice that":               {limit: 60_000, ask: steadily(40 * time.Millisecond)},
		"60,000 a minute, asked for a little more":            {limit: 60_000, ask: steadily(50 * time.Millisecond)},
		"60,000 a minute in bursts":                           {limit: 60_000, ask: burstsOf(20 * time.Millisecond)},
		"100 a minute":                                        {limit: 100, ask: steadily(2 * time.Second)},
		"30,000 a minute, and writes that take half a second": {limit: 30_000, ask: steadily(60 * time.Millisecond), way: evenlyUpTo(500 * time.Millisecond)},
	} {
		t.Run(name, func(t *testing.T) {
			s.offsets, s.clients, s.length, s.killed = spread(8, skew), 10, 150*time.Second, 71*time.Second
			if s.way == nil {
				s.way = mostlyFast(300 * time.Millisecond)
			}
			r := s.play(t, 7)
			share := float64(len(r.passed)) / (float64(s.limit) * s.length.Minutes())
			t.Logf("%d passed (%.1f %% of the limit), %d refused, %d failed; at most %d in 60 s; %+v; %d on the meter",
				len(r.passed), 100*share, r.refused, r.failed, most(r.passed), r.calls, r.onMeter)
			if got := most(r.passed); got > s.limit {
				t.Errorf("%d in 60 s, limit %d", got, s.limit)
			}
			if len(r.passed)-r.onMeter > 64*9 || r.onMeter > len(r.passed)+r.failed {
				t.Errorf("%d passed, %d on the meter; want it behind by 64 for each of 9 processes at most", len(r.passed), r.onMeter)
			}
			if share < 0.9 && r.refused > len(r.passed)/8 {
				t.Errorf("%.1f %% of the limit, want 90", 100*share)
			}
			if s.limit >= 30_000 && r.calls.Looks < len(r.passed)/8 {
				t.Errorf("%d of %d requests were leased: little is shown", r.calls.Looks, len(r.passed))
			}
		})
	}
}

// burstsOf asks so often for some seconds, and then not for some.
func burstsOf(every time.Duration) func(*dice, int, func(), func() bool) {
	return func(d *dice, _ int, request func(), over func() bool) {
		for !over() {
			for until := time.Now().Add(d.upTo(40 * time.Second)); time.Now().Before(until) && !over(); time.Sleep(d.upTo(2 * every)) {
				request()
			}
			time.Sleep(d.upTo(40 * time.Second))
		}
	}
}

// partition is a store with the throughput of one partition, 1,000 writes and 3,000
// strongly consistent reads a second
// (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html),
// which serves one after the other.
type partition struct {
	*world
	writes, reads chan struct{} // of one place: in a bubble, time stands still while a mutex is waited for
}

func (p *partition) Count(ctx context.Context, id apikey.ID, w guard.Write) (guard.Meter, error) {
	p.writes <- struct{}{}
	defer func() { <-p.writes }()
	time.Sleep(time.Millisecond)
	return p.world.Count(ctx, id, w)
}

func (p *partition) State(ctx context.Context, id apikey.ID) (guard.State, bool, error) {
	p.reads <- struct{}{}
	defer func() { <-p.reads }()
	time.Sleep(time.Second / 3000)
	return p.world.State(ctx, id)
}

// without is a store whose leases cannot be proved, so that every request is counted.
type without struct{ *partition }

func (without) State(context.Context, apikey.ID) (guard.State, bool, error) {
	return guard.State{}, false, errStore
}

func TestLeasesServeMoreThanAPartitionCanCount(t *testing.T) {
	rate := func(store func(*partition) guard.Meters) (perSecond float64, spent calls) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.now = time.Now()
			meters := store(&partition{w, make(chan struct{}, 1), make(chan struct{}, 1)})
			call := customers(w.context(w.create(limited(100_000_000)), 1))
			const length = 15 * time.Second
			start := time.Now()
			var passed atomic.Int64
			var all sync.WaitGroup
			for range 64 {
				g := guard.New(guard.Config{Meters: meters, Keys: w})
				all.Go(func() {
					for time.Since(start) < length {
						if _, err := g.Check(t.Context(), call); err == nil {
							passed.Add(1)
						}
						time.Sleep(5 * time.Millisecond)
					}
				})
			}
			all.Wait()
			perSecond, spent = float64(passed.Load())/length.Seconds(), w.spent()
		})
		return perSecond, spent
	}
	unleased, _ := rate(func(p *partition) guard.Meters { return without{p} })
	leased, spent := rate(func(p *partition) guard.Meters { return p })
	t.Logf("one partition, 64 processes that ask: %.0f requests a second counted one by one, %.0f with leases (%+v)", unleased, leased, spent)
	if leased < 2*unleased {
		t.Errorf("%.0f requests a second with leases, %.0f without; want twice as many", leased, unleased)
	}
}
