package limit

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// ring is a stored window of any number of slots of any length. It changes only as a
// RollPlan says, as a store does.
type ring struct {
	length            time.Duration
	slot, used, total int64
	past              []int64
}

func newRing(slots int, length time.Duration) ring {
	return ring{length: length, past: make([]int64, slots)}
}

// count lets one request through, or does not. slot is what the clock of the process
// said when it sent the write.
func (r *ring) count(slot, limit int64) bool {
	if slot = max(slot, r.slot); left(r.slot, r.total, r.past, slot) >= limit {
		return false
	}
	if slot > r.slot {
		switch p := roll(r.slot, r.past, slot); {
		case p.Whole:
			clear(r.past)
			r.total = 0
		default:
			for _, at := range p.Clear {
				r.past[at] = 0
			}
			r.past[p.Moved] = r.used
			r.total -= p.Expired
		}
		r.slot, r.used = slot, 0
	}
	r.used++
	r.total++
	return true
}

// process is one process that asks. Its clock is offset fast. A write lands between 0
// and delay after the look at the clock, and the request is let through between then
// and delay.
type process struct {
	offset, delay time.Duration
	every         time.Duration // between two requests on average
	even          bool          // exactly every, with delay at random; else at random, in bursts and pauses
}

// write is a request on its way to the store.
type write struct {
	lands, answers time.Duration // since the start
	slot           int64
}

type writes []write

func (w writes) Len() int           { return len(w) }
func (w writes) Less(i, j int) bool { return w[i].lands < w[j].lands }
func (w writes) Swap(i, j int)      { w[i], w[j] = w[j], w[i] }
func (w *writes) Push(x any)        { *w = append(*w, x.(write)) }
func (w *writes) Pop() any {
	old := *w
	last := old[len(old)-1]
	*w = old[:len(old)-1]
	return last
}

// simulate runs processes against one window for that long and returns when requests
// were let through, in order, and how many were refused.
func simulate(seed uint64, r ring, limit int64, length time.Duration, all []process) (admitted []time.Duration, refused int) {
	random := rand.New(rand.NewPCG(seed, 0))
	between := func(from, to time.Duration) time.Duration {
		return from + time.Duration(random.Int64N(int64(to-from)+1))
	}
	// The start is anywhere in a slot, at a time that is in no test a special one.
	start := time.UnixMilli(1_777_777_777_000).Add(between(0, r.length))
	var queue writes
	for _, p := range all {
		silent := false
		for now, until := between(0, p.every), time.Duration(0); now < length; {
			if !p.even && now >= until {
				// Bursts and pauses of up to two windows; the others' slots are theirs meanwhile.
				silent, until = random.IntN(3) > 0, now+between(0, 130*time.Second)
			}
			if !silent || p.even {
				lands := between(0, p.delay)
				heap.Push(&queue, write{
					lands:   now + lands,
					answers: now + between(lands, p.delay),
					slot:    floorDiv(start.Add(now+p.offset).UnixNano(), int64(r.length)),
				})
			}
			if p.even {
				now += p.every
			} else {
				now += between(1, 2*p.every)
			}
		}
	}
	for len(queue) > 0 {
		w := heap.Pop(&queue).(write)
		if r.count(w.slot, limit) {
			admitted = append(admitted, w.answers)
		} else {
			refused++
		}
	}
	slices.Sort(admitted)
	return admitted, refused
}

// most returns the greatest number of the times that lie in one span of 60 s, both ends
// included. It knows nothing of slots.
func most(times []time.Duration) int {
	first, most := 0, 0
	for last := range times {
		for times[last]-times[first] > Span {
			first++
		}
		most = max(most, last-first+1)
	}
	return most
}

func TestTheCheckerCountsEveryClosedSpan(t *testing.T) {
	s := time.Second
	for _, c := range []struct {
		times []time.Duration
		want  int
	}{
		{nil, 0},
		{[]time.Duration{0}, 1},
		{[]time.Duration{0, 60 * s}, 2},
		{[]time.Duration{0, 60*s + 1}, 1},
		{[]time.Duration{0, 59 * s, 60 * s, 61 * s, 119 * s, 200 * s}, 4},
	} {
		if got := most(c.times); got != c.want {
			t.Errorf("most(%v) = %d, want %d", c.times, got, c.want)
		}
	}
}

// crowd is some processes whose clocks disagree by up to skew, each with delays up to
// delay, that together ask far more than limit.
func crowd(seed uint64, limit int64, skew, delay time.Duration) []process {
	random := rand.New(rand.NewPCG(seed, 1))
	all := make([]process, 2+random.IntN(5))
	for i := range all {
		p := &all[i]
		// The ends are the worst: a slow clock with late writes beside a fast one.
		p.offset = []time.Duration{-skew / 2, skew / 2, time.Duration(random.Int64N(int64(skew)+1)) - skew/2}[random.IntN(3)]
		p.delay = []time.Duration{0, delay, time.Duration(random.Int64N(int64(delay) + 1))}[random.IntN(3)]
		p.every = Span / time.Duration(limit*(1+random.Int64N(8)))
	}
	return all
}

// worst runs many crowds and returns by how much the limit was exceeded at most.
func worst(slots int, length, skew, delay time.Duration, runs uint64) (over int, admitted int) {
	for seed := range runs {
		limit := []int64{1, 3, 20, 100}[seed%4]
		times, _ := simulate(seed, newRing(slots, length), limit, 10*time.Minute, crowd(seed, limit, skew, delay))
		over = max(over, most(times)-int(limit))
		admitted += len(times)
	}
	return over, admitted
}

func TestNeverMoreThanTheLimitInAny60Seconds(t *testing.T) {
	for _, c := range []struct{ skew, delay time.Duration }{
		{0, 0},
		{2499 * time.Millisecond, 0},
		{0, 2499 * time.Millisecond},
		{1499 * time.Millisecond, time.Second},
		{1250 * time.Millisecond, 1249 * time.Millisecond},
	} {
		over, admitted := worst(Slots, Slot, c.skew, c.delay, 100)
		t.Logf("skew %v, delay %v: %d requests passed in 100 runs", c.skew, c.delay, admitted)
		if over > 0 {
			t.Errorf("skew %v, delay %v: %d over the limit", c.skew, c.delay, over)
		}
	}
}

// If these held too, the test above would prove nothing.
func TestFewerSlotsBreakTheLimit(t *testing.T) {
	for name, c := range map[string]struct {
		slots               int
		length, skew, delay time.Duration
	}{
		"12 of 5 s, perfect clocks":           {12, 5 * time.Second, 0, 0},
		"24 of 2.5 s, perfect clocks":         {24, Slot, 0, 0},
		"25 of 2.5 s, skew":                   {25, Slot, 2499 * time.Millisecond, 0},
		"25 of 2.5 s, late writes":            {25, Slot, 0, 2499 * time.Millisecond},
		"26 of 2.5 s, an SDK's retry later":   {26, Slot, 0, 4 * Slot},
		"26 of 2.5 s, clocks two slots apart": {26, Slot, 3 * Slot, 0},
	} {
		over, _ := worst(c.slots, c.length, c.skew, c.delay, 100)
		t.Logf("%s: %d over", name, over)
		if over <= 0 {
			t.Errorf("%s: the limit held", name)
		}
	}
}

// 25 slots hold without skew and delay, so the 26th is there for those alone.
func TestTheSlotForSkewAndDelayIsNeededForNothingElse(t *testing.T) {
	if over, _ := worst(25, Slot, 0, 0, 100); over > 0 {
		t.Errorf("25 slots and perfect clocks: %d over the limit", over)
	}
}

func TestASaturatingClientGetsNearlyItsLimit(t *testing.T) {
	const whole, ten = 40 * time.Minute, 10 * time.Minute
	for _, limit := range []int64{1, 20, 100, 1000} {
		for _, skew := range []time.Duration{0, 1500 * time.Millisecond} {
			t.Run(fmt.Sprintf("%d a minute, skew %v", limit, skew), func(t *testing.T) {
				first, any, all := 1.0, 1.0, 1.0 // least share of the limit in the first ten minutes, in any ten, in all
				for seed := range uint64(3) {
					clients := []process{{every: 200 * time.Millisecond, even: true}}
					if limit == 1000 {
						clients[0].every = 40 * time.Millisecond
					}
					if skew > 0 {
						slow, fast := clients[0], clients[0]
						slow.offset, fast.offset = -skew/2, skew/2
						clients = append(clients, slow, fast)
					}
					times, _ := simulate(seed, newRing(Slots, Slot), limit, whole, clients)
					share := func(from, length time.Duration) float64 {
						a, _ := slices.BinarySearch(times, from)
						b, _ := slices.BinarySearch(times, from+length)
						return float64(b-a) / (float64(limit) * length.Minutes())
					}
					first = min(first, share(0, ten))
					all = min(all, share(0, whole))
					for from := time.Duration(0); from <= whole-ten; from += time.Second {
						any = min(any, share(from, ten))
					}
				}
				t.Logf("at least %.1f %% in the first ten minutes, %.1f %% in any ten, %.1f %% in %v", 100*first, 100*any, 100*all, whole)
				if first < 0.92 || any < 0.9 || all < 0.92 {
					t.Errorf("a client that always asks got %.1f, %.1f and %.1f %% of its limit; want 92, 90 and 92", 100*first, 100*any, 100*all)
				}
			})
		}
	}
}

func TestASteadyTrickleUnderTheLimitIsNeverRefused(t *testing.T) {
	for _, limit := range []int64{1, 2, 7, 20, 100, 1000} {
		for _, c := range []struct {
			name        string
			skew, delay time.Duration
			percent     int64 // of the limit
		}{
			{"one clock", 0, 0, 92},
			{"disagreeing clocks", 1500 * time.Millisecond, 0, 90},
			{"disagreeing clocks and late writes", 500 * time.Millisecond, time.Second, 90},
		} {
			for seed := range uint64(20) {
				// Three processes take turns.
				gap := Span * 100 / time.Duration(limit*c.percent)
				var queue writes
				random := rand.New(rand.NewPCG(seed, 2))
				start := time.UnixMilli(1_777_777_777_000).Add(time.Duration(random.Int64N(int64(Slot))))
				for i := range 10 * limit {
					now := time.Duration(i) * gap
					offset := time.Duration(random.IntN(3)-1) * c.skew / 2
					heap.Push(&queue, write{
						lands: now + time.Duration(random.Int64N(int64(c.delay)+1)),
						slot:  Minute.SlotOf(start.Add(now + offset)),
					})
				}
				r := newRing(Slots, Slot)
				for n := 0; len(queue) > 0; n++ {
					if w := heap.Pop(&queue).(write); !r.count(w.slot, limit) {
						t.Fatalf("%s, %d a minute asked at %d %% of it: request %d refused", c.name, limit, c.percent, n)
					}
				}
			}
		}
	}
}
