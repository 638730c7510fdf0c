package limit

import (
	"math/rand/v2"
	"testing"
	"time"
)

// Processes with clocks up to 2.4 s apart ask for forty spans: one always, with the even
// clock, the others in bursts that a fast or a slow clock puts on either side of an edge.
func TestAnHourAndADayKeepTheirLimitAndGiveNearlyAllOfIt(t *testing.T) {
	for _, s := range []Scale{Hour, Day} {
		for _, limit := range []int64{1, 20, 1000} {
			random := rand.New(rand.NewPCG(uint64(limit), uint64(s)))
			start := time.UnixMilli(1_777_777_777_000).Add(time.Duration(random.Int64N(int64(s.Slot()))))
			var w Window
			var passed []time.Duration
			for now := time.Duration(0); now < 40*s.Span(); now += s.Span() / time.Duration(4*limit+200) {
				for _, offset := range []time.Duration{0, -1200 * time.Millisecond, 1200 * time.Millisecond}[:1+random.IntN(3)] {
					if slot := w.SlotAt(s, start.Add(now+offset)); w.Admits(slot, limit) {
						w = w.Count(slot, 1)
						passed = append(passed, now)
					}
				}
			}
			first, worst := 0, 0
			for last := range passed {
				for passed[last]-passed[first] > s.Span() {
					first++
				}
				worst = max(worst, last-first+1)
			}
			share := float64(len(passed)) / float64(40*limit)
			t.Logf("%d a %s: at most %d in a span, %.1f %% in forty of them", limit, s, worst, 100*share)
			if worst > int(limit) || share < 0.92 {
				t.Errorf("%d a %s: %d in a span, and %.1f %% of the limit in all; want no more than the limit, and 92 %%", limit, s, worst, 100*share)
			}
		}
	}
}
