package limit

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// epoch is the edge at which slot 1000 begins.
var epoch = time.UnixMilli(1000 * 2500)

func TestSlotsBeginOnWholeMultiplesOfTheirLength(t *testing.T) {
	for _, c := range []struct {
		at   time.Duration
		want int64
	}{
		{0, 1000},
		{Slot - time.Nanosecond, 1000},
		{Slot, 1001},
		{-time.Nanosecond, 999},
		{-1000 * Slot, 0},
		{-1000*Slot - time.Nanosecond, -1},
		{-1001 * Slot, -1},
	} {
		at := epoch.Add(c.at)
		if got := Minute.SlotOf(at); got != c.want {
			t.Errorf("SlotOf(epoch%+v) = %d, want %d", c.at, got, c.want)
		}
		if start := Minute.Start(c.want); at.Before(start) || !at.Before(start.Add(Slot)) {
			t.Errorf("epoch%+v is not in slot %d, which starts at %v", c.at, c.want, start)
		}
	}
}

func TestEveryScaleIsA24thOfItsSpan(t *testing.T) {
	for s, want := range map[Scale]struct {
		name       string
		slot, span time.Duration
	}{
		Minute: {"minute", Slot, Span},
		Hour:   {"hour", 150 * time.Second, time.Hour},
		Day:    {"day", time.Hour, 24 * time.Hour},
	} {
		if s.String() != want.name || s.Slot() != want.slot || s.Span() != want.span || s.Span() != 24*s.Slot() {
			t.Errorf("%s: slots of %v, a span of %v; want %+v", s, s.Slot(), s.Span(), want)
		}
		for _, at := range []int64{-1, 0, 1000} {
			if start := s.Start(at); s.SlotOf(start) != at || s.SlotOf(start.Add(-1)) != at-1 || s.SlotOf(start.Add(s.Slot()-1)) != at {
				t.Errorf("%s: slot %d does not begin at %v", s, at, start)
			}
			if start := s.Start(at); !Minute.Start(Minute.SlotOf(start)).Equal(start) {
				t.Errorf("%s: slot %d begins inside a slot of the minute", s, at)
			}
		}
	}
}

// at counts n requests in each of slots, in that order.
func at(n int, slots ...int64) Window {
	var w Window
	for _, s := range slots {
		for range n {
			w = w.Count(s, 1)
		}
	}
	return w
}

func TestARollTakesOutExactlyWhatIsOutOfReach(t *testing.T) {
	w := at(2, 1000, 1001, 1010, 1020) // at 1020 everything from 995 on counts
	for _, c := range []struct {
		to   int64
		want RollPlan
		left int64
	}{
		{1021, RollPlan{To: 1021, Moved: 1020 % 26}, 8},
		{1025, RollPlan{To: 1025, Moved: 1020 % 26}, 8},
		{1026, RollPlan{To: 1026, Moved: 1020 % 26, Clear: []int{1000 % 26}, Expired: 2}, 6},
		{1027, RollPlan{To: 1027, Moved: 1020 % 26, Clear: []int{1000 % 26, 1001 % 26}, Expired: 4}, 4},
		{1036, RollPlan{To: 1036, Moved: 1020 % 26, Clear: []int{1000 % 26, 1001 % 26, 1010 % 26}, Expired: 6}, 2},
		{1045, RollPlan{To: 1045, Moved: 1020 % 26, Clear: []int{1000 % 26, 1001 % 26, 1010 % 26}, Expired: 6}, 2},
		{1046, RollPlan{To: 1046, Moved: -1, Clear: []int{1000 % 26, 1001 % 26, 1010 % 26}, Expired: 6, Whole: true}, 0},
		{9999, RollPlan{To: 9999, Moved: -1, Clear: []int{1000 % 26, 1001 % 26, 1010 % 26}, Expired: 6, Whole: true}, 0},
	} {
		if diff := cmp.Diff(c.want, w.Roll(c.to)); diff != "" {
			t.Errorf("Roll(%d) (-want +got):\n%s", c.to, diff)
		}
		if got := w.Left(c.to); got != c.left {
			t.Errorf("Left(%d) = %d, want %d", c.to, got, c.left)
		}
	}
}

func TestARollIsTheSameWhateverWasCountedSince(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := windows(t)
		to := w.Slot + rapid.Int64Range(1, 60).Draw(t, "to")
		later := w
		for range rapid.IntRange(1, 5).Draw(t, "hits") {
			later = later.Count(w.Slot, 1)
		}
		if diff := cmp.Diff(w.Roll(to), later.Roll(to)); diff != "" {
			t.Fatalf("Roll(%d) before and after more hits (-before +after):\n%s", to, diff)
		}
	})
}

func TestAWindowHoldsWhatTheLast26SlotsCounted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		counted := map[int64]int64{} // the model: everything ever counted, by slot
		var w Window
		var r ring = newRing(Slots, Slot)
		start := rapid.Int64Range(-100, 1<<33).Draw(t, "start")
		w.Slot, r.slot = start, start
		for range rapid.IntRange(1, 120).Draw(t, "steps") {
			slot := w.Slot + rapid.OneOf(rapid.Int64Range(-3, 3), rapid.Int64Range(20, 55)).Draw(t, "slot")
			wantSlot := max(slot, w.Slot)
			counted[wantSlot]++
			w = w.Count(slot, 1)
			r.count(slot, 1<<40)

			var want int64
			for s, n := range counted {
				if s > wantSlot-Slots {
					want += n
				}
			}
			if w.Slot != wantSlot || w.Used != counted[wantSlot] || w.Total != want {
				t.Fatalf("Count(%d): slot %d, used %d, total %d; want %d, %d, %d", slot, w.Slot, w.Used, w.Total, wantSlot, counted[wantSlot], want)
			}
			for back := range int64(Slots) {
				got, want := w.Past[position(wantSlot-back, Slots)], counted[wantSlot-back]
				if back == 0 {
					want = 0
				}
				if got != want {
					t.Fatalf("Count(%d): slot %d back holds %d, want %d", slot, back, got, want)
				}
			}
			// A store that follows the plan ends where Count does.
			if r.slot != w.Slot || r.used != w.Used || r.total != w.Total || !cmp.Equal(r.past, w.Past[:]) {
				t.Fatalf("Count(%d): by the plan %+v, want %+v", slot, r, w)
			}
		}
	})
}

func TestAWindowAdmitsBelowTheLimitOnly(t *testing.T) {
	w := at(2, 1000, 1001)
	for _, c := range []struct {
		to, limit int64
		want      bool
	}{
		{1001, 4, false}, {1001, 5, true},
		{1025, 4, false}, {1026, 4, true}, {1026, 2, false}, {1026, 3, true},
		{1027, 1, true}, {1027, 0, false}, {1027, -1, false},
	} {
		if got := w.Admits(c.to, c.limit); got != c.want {
			t.Errorf("Admits(%d, %d) = %t, want %t", c.to, c.limit, got, c.want)
		}
	}
}

func TestASlowClockDoesNotTurnTimeBack(t *testing.T) {
	w := at(1, 1010)
	for _, c := range []struct {
		now  time.Duration
		want int64
	}{{0, 1010}, {11*Slot - 1, 1010}, {11 * Slot, 1011}} {
		if got := w.SlotAt(Minute, epoch.Add(c.now)); got != c.want {
			t.Errorf("SlotAt(epoch%+v) = %d, want %d", c.now, got, c.want)
		}
	}
}

// windows draws a window as some sequence of requests leaves it.
func windows(t *rapid.T) Window {
	w := Window{Slot: rapid.Int64Range(1, 1<<33).Draw(t, "first")}
	for range rapid.IntRange(1, 40).Draw(t, "requests") {
		w = w.Count(w.Slot+rapid.SampledFrom([]int64{0, 0, 1, 3, 24, 30}).Draw(t, "later"), rapid.SampledFrom([]int64{1, 1, 1, 5}).Draw(t, "at once"))
	}
	return w
}

func scales(t *rapid.T) Scale {
	return rapid.SampledFrom([]Scale{Minute, Hour, Day}).Draw(t, "scale")
}
