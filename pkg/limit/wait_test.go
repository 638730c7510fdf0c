package limit

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestTheWaitEndsAtTheEdgeWhereAPlaceIsFree(t *testing.T) {
	w := at(2, 1000, 1001)
	for _, c := range []struct {
		now   time.Duration // after the start of slot 1000
		limit int64
		want  time.Duration
	}{
		{Slot, 5, 0},
		{Slot, 4, 25 * Slot},
		{Slot + time.Millisecond, 4, 25*Slot - time.Millisecond},
		{Slot, 2, 26 * Slot},
		{0, 2, 26 * Slot}, // a clock that is a slot behind waits for its own edge, 27 slots off, but not beyond the bound
		{26*Slot - 1, 4, 1},
		{26 * Slot, 4, 0},
		{26 * Slot, 2, Slot},
		{27 * Slot, 1, 0},
		{27 * Slot, 0, 26 * Slot},
		{27 * Slot, -3, 26 * Slot},
	} {
		if got := w.RetryAfter(Minute, epoch.Add(c.now), c.limit); got != c.want {
			t.Errorf("RetryAfter(epoch%+v, %d) = %v, want %v", c.now, c.limit, got, c.want)
		}
	}
}

func TestNobodyWaitsLongerThanNeededNorShorter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := windows(t)
		scale := scales(t)
		now := scale.Start(w.Slot).Add(time.Duration(rapid.Int64Range(0, int64(30*scale.Slot())).Draw(t, "now")))
		limit := rapid.Int64Range(1, 45).Draw(t, "limit")
		wait := w.RetryAfter(scale, now, limit)
		if after := now.Add(wait); !w.Admits(w.SlotAt(scale, after), limit) {
			t.Fatalf("RetryAfter = %v, but nothing is free then", wait)
		}
		if before := now.Add(wait - 1); wait > 0 && w.Admits(w.SlotAt(scale, before), limit) {
			t.Fatalf("RetryAfter = %v, but a place is free 1 ns earlier", wait)
		}
	})
}

func TestRemainingIsWhatCanStillPass(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := windows(t)
		scale := scales(t)
		now := scale.Start(w.Slot).Add(time.Duration(rapid.Int64Range(0, int64(30*scale.Slot())).Draw(t, "now")))
		limit := rapid.Int64Range(0, 60).Draw(t, "limit")
		want := w.Remaining(scale, now, limit)
		var got int64
		for next, slot := w, w.SlotAt(scale, now); next.Admits(slot, limit); next = next.Count(slot, 1) {
			got++
		}
		if got != want {
			t.Fatalf("Remaining = %d, but %d can pass", want, got)
		}
	})
}

func TestResetIsWhenEverythingHasExpired(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := windows(t)
		if rapid.Bool().Draw(t, "rolled without counting") {
			if p := w.Roll(w.Slot + 2); !p.Whole {
				w.Past[p.Moved] = w.Used
				for _, at := range p.Clear {
					w.Past[at] = 0
				}
				w.Total, w.Used, w.Slot = w.Total-p.Expired, 0, p.To
			}
		}
		scale := scales(t)
		now := scale.Start(w.Slot).Add(time.Duration(rapid.Int64Range(0, int64(30*scale.Slot())).Draw(t, "now")))
		reset := w.Reset(scale, now)
		if left := w.Left(w.SlotAt(scale, now.Add(reset))); left != 0 {
			t.Fatalf("Reset = %v, but %d requests count then", reset, left)
		}
		if reset > 0 && w.Left(w.SlotAt(scale, now.Add(reset-1))) == 0 {
			t.Fatalf("Reset = %v, but nothing counts 1 ns earlier", reset)
		}
	})
	if got := (&Window{Slot: 1000}).Reset(Minute, epoch); got != 0 {
		t.Errorf("Reset of a window that counted nothing = %v, want 0", got)
	}
}
