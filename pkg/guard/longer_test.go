package guard_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/guard"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/limit"
)

func perHour(n int) func(*keys.Key) { return func(k *keys.Key) { k.Limits.Hour = n } }
func perDay(n int) func(*keys.Key)  { return func(k *keys.Key) { k.Limits.Day = n } }
func perMonth(n int) func(*keys.Key) {
	return func(k *keys.Key) { k.Quota = keys.Quota{Requests: n, RefillDay: 1} }
}

func TestAKeyWithEveryLimitHearsWhereItStandsWithEach(t *testing.T) {
	w := newWorld(t)
	id, g := w.create(limited(3), perHour(4), perDay(5), perMonth(6)), w.process()
	call := customers(w.context(id, 1))
	refill := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC).Sub(noon) // noon is 4 May
	got := w.try(g, call, "pass")
	want := []guard.Standing{
		{Window: "hour", Limit: 4, Remaining: 3, Reset: 65 * time.Minute},
		{Window: "day", Limit: 5, Remaining: 4, Reset: 26 * time.Hour},
		{Window: "month", Limit: 6, Remaining: 5, Reset: refill},
	}
	if diff := cmp.Diff(want, got.Longer); diff != "" || got.Remaining != 2 {
		t.Errorf("%d left of the minute; longer (-want +got):\n%s", got.Remaining, diff)
	}
}

// The limit that refuses for longest is the one that is told.
func TestARefusalTellsWhichLimitSaidNo(t *testing.T) {
	w := newWorld(t)
	id, g := w.create(limited(2), perHour(3), perDay(4), perMonth(5)), w.process()
	call := customers(w.context(id, 1))
	refused := func(window string, most int, wait time.Duration) {
		t.Helper()
		for _, by := range []*guard.Guard{g, g, w.process()} { // by the store, out of memory, by another's look
			_, err := by.Check(w.ctx(), call)
			var no *guard.LimitError
			if !errors.As(err, &no) || no.Window != window || no.Limit != most || no.RetryAfter != wait || len(no.All) != 4 {
				t.Fatalf("Check: %v, %+v; want %d a %s, free in %v", err, no, most, window, wait)
			}
		}
	}
	pass := func(n int) {
		t.Helper()
		for range n {
			w.try(g, call, "pass")
		}
	}
	pass(2)
	refused("minute", 2, 65*time.Second)
	w.advance(65 * time.Second)
	pass(1)
	refused("hour", 3, 64*time.Minute-5*time.Second)
	w.advance(64*time.Minute - 5*time.Second)
	pass(1)
	refused("day", 4, 26*time.Hour-65*time.Minute)
	w.advance(26*time.Hour - 65*time.Minute)
	pass(1)
	refill := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC).Sub(w.clock())
	refused("month", 5, refill)
	m, _ := w.meters.Meter(id)
	if m.Requests != 5 || m.Longer.Month.Used != 5 || m.Longer.Day.Total != 2 || m.Longer.Hour.Total != 1 {
		t.Errorf("meter %+v, longer %+v: want nothing counted by refusals", m, m.Longer)
	}
	w.advance(refill - 1)
	w.try(g, call, "429")
	w.advance(1)
	pass(2)
}

func TestLongerLimitsCostNoFurtherCalls(t *testing.T) {
	w := newWorld(t)
	id, g := w.create(perHour(1000), perDay(2000), perMonth(3000)), w.process()
	call := customers(w.context(id, 1))
	for _, step := range []struct {
		what   string
		before func()
		cold   bool
		want   calls
	}{
		{"the key's first request", func() {}, false, calls{Hits: 1, Rolls: 1}},
		{"the next in the same slots", func() {}, false, calls{Hits: 1}},
		{"the next slot of the minute", func() { w.advance(limit.Slot) }, false, calls{Rolls: 1}},
		{"the next slot of the hour", func() { w.advance(limit.Hour.Slot()) }, false, calls{Rolls: 1}},
		{"the next slot of the day", func() { w.advance(limit.Day.Slot()) }, false, calls{Rolls: 1}},
		{"after two months", func() { w.advance(62 * 24 * time.Hour) }, false, calls{Rolls: 1}},
		{"a cold process in slots that others have reached", func() {}, true, calls{Hits: 1}},
		{"a cold process in a slot that nobody has", func() { w.advance(limit.Day.Slot()) }, true, calls{Hits: 1, Rolls: 1}},
		{"a process that others have overtaken", func() {}, false, calls{Hits: 1, Rolls: 1}},
		{"a limit taken away", func() { w.change(id, perHour(0)) }, false, calls{Hits: 2, Reads: 1}},
		{"and without it", func() {}, false, calls{Hits: 1}},
		{"and named again", func() { w.change(id, perHour(9)) }, false, calls{Hits: 2, Reads: 1}},
	} {
		step.before()
		by := g
		if step.cold {
			by = w.process()
		}
		w.spent()
		w.try(by, call, "pass")
		if diff := cmp.Diff(step.want, w.spent()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step.what, diff)
		}
	}
}

// A limit named later counts from then on.
func TestALimitThatIsNamedLaterBeginsWithNothingCounted(t *testing.T) {
	w := newWorld(t)
	id, g := w.create(), w.process()
	old := customers(w.context(id, 1))
	for range 5 {
		w.try(g, old, "pass")
	}
	w.change(id, perHour(2))
	w.try(g, old, "pass")
	w.try(w.process(), old, "pass")
	w.try(g, old, "429")
	w.change(id, perHour(0))
	w.try(g, customers(w.context(id, 1)), "pass")
	w.change(id, perHour(3)) // what the hour had counted while it was limited is still there
	w.try(g, customers(w.context(id, 1)), "pass")
	w.try(g, customers(w.context(id, 1)), "429")
}

func TestAFloodOverTheQuotaCostsOneTryAMinute(t *testing.T) {
	w := newWorld(t)
	id, g := w.create(perMonth(5)), w.process()
	call := customers(w.context(id, 1))
	for range 5 {
		w.try(g, call, "pass")
	}
	w.spent()
	for range 1200 { // ten minutes
		w.try(g, call, "429")
		w.advance(500 * time.Millisecond)
	}
	if got := w.spent(); got.sum() > 11 {
		t.Errorf("ten minutes over the quota cost %+v, want a call a minute", got)
	}
	// A change of the limits is heard at once by a context that knows of it, and within a
	// minute by one that does not.
	w.try(g, call, "429")
	w.change(id, perMonth(7))
	w.try(g, customers(w.context(id, 1)), "pass")
	w.advance(time.Minute)
	w.try(g, call, "pass")
	w.try(g, call, "429")
}
