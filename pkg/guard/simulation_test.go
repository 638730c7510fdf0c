package guard_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/guard"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/limit"
)

// dice are random numbers for several goroutines.
type dice struct {
	mu sync.Mutex
	*rand.Rand
}

func newDice(seed uint64) *dice { return &dice{Rand: rand.New(rand.NewPCG(seed, 0))} }

// upTo draws from 0 to most, both included.
func (d *dice) upTo(most time.Duration) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return time.Duration(d.Int64N(int64(most) + 1))
}

// network is a way to the meters that takes time. A caller that waits no longer does
// not stop its write, which lands whenever it does.
type network struct {
	meters guard.Meters
	way    func() time.Duration // there, or back
}

func (n network) Count(ctx context.Context, id apikey.ID, w guard.Write) (guard.Meter, error) {
	return n.send(ctx, func() (guard.Meter, error) { return n.meters.Count(context.WithoutCancel(ctx), id, w) })
}

func (n network) State(ctx context.Context, id apikey.ID) (guard.State, bool, error) {
	m, err := n.send(ctx, func() (guard.Meter, error) {
		s, found, err := n.meters.State(context.WithoutCancel(ctx), id)
		if !found {
			return guard.Meter{Requests: -1}, err
		}
		return guard.Meter{State: s}, err
	})
	return m.State, m.Requests == 0, err
}

func (n network) send(ctx context.Context, write func() (guard.Meter, error)) (m guard.Meter, err error) {
	answered := make(chan struct{})
	go func() {
		time.Sleep(n.way())
		m2, err2 := write()
		time.Sleep(n.way())
		if ctx.Err() == nil {
			m, err = m2, err2
		}
		close(answered)
	}()
	select {
	case <-answered:
		return m, err
	case <-ctx.Done():
		return guard.Meter{}, ctx.Err()
	}
}

// scene is a simulation: processes with clocks of their own, and clients that ask them.
type scene struct {
	limit   int
	length  time.Duration
	budget  time.Duration   // of the guards; 0: the default
	offsets []time.Duration // one process each
	clients int             // per process
	killed  time.Duration   // the first process is killed then, and another takes its place; 0: never
	way     func(d *dice, process int) time.Duration
	// ask is the life of one client of a process: it calls request until the scene is over.
	ask func(d *dice, process int, request func(), over func() bool)
}

// result is when requests passed since the start, in order, and what else became of them.
type result struct {
	passed          []time.Duration
	refused, failed int
	calls           calls
	onMeter         int // the meter's Requests
}

// play runs the scene in a bubble whose time passes only while everybody waits.
func (s scene) play(t *testing.T, seed uint64) (r result) {
	synctest.Test(t, func(t *testing.T) {
		d := newDice(seed)
		time.Sleep(d.upTo(limit.Slot)) // to start anywhere in a slot
		start := time.Now()
		over := func() bool { return time.Since(start) >= s.length }

		w := newWorld(t)
		w.now = start
		id := w.create(limited(s.limit))
		call := customers(w.context(id, 1))
		var mu sync.Mutex
		var all sync.WaitGroup
		for process, offset := range s.offsets {
			config := guard.Config{
				Meters: network{w, func() time.Duration { return s.way(d, process) }},
				Keys:   w, Budget: s.budget,
				Clock: func() time.Time { return time.Now().Add(offset) },
			}
			g, successor := guard.New(config), guard.New(config)
			request := func() {
				g := g
				if process == 0 && s.killed > 0 && time.Since(start) >= s.killed {
					g = successor
				}
				_, err := g.Check(t.Context(), call)
				now := time.Since(start)
				mu.Lock()
				defer mu.Unlock()
				switch outcome(err) {
				case "pass":
					r.passed = append(r.passed, now)
				case "429":
					r.refused++
				case "503":
					r.failed++
				default:
					t.Errorf("Check: %v", err)
				}
			}
			for range s.clients {
				all.Go(func() { s.ask(d, process, request, over) })
			}
		}
		all.Wait()
		m, _ := w.meters.Meter(id)
		r.calls, r.onMeter = w.spent(), int(m.Requests)
	})
	slices.Sort(r.passed)
	return r
}

// most returns the greatest number of the times that lie in one span of 60 s, both ends
// included. It knows nothing of slots.
func most(times []time.Duration) int {
	first, most := 0, 0
	for last := range times {
		for times[last]-times[first] > time.Minute {
			first++
		}
		most = max(most, last-first+1)
	}
	return most
}

// inBursts asks in bursts and pauses of up to two windows: who pauses leaves the window
// to processes with other clocks.
func inBursts(d *dice, _ int, request func(), over func() bool) {
	for !over() {
		for until := time.Now().Add(d.upTo(70 * time.Second)); time.Now().Before(until) && !over(); {
			request()
			time.Sleep(d.upTo(time.Second))
		}
		time.Sleep(d.upTo(130 * time.Second))
	}
}

// slowFirst is the worst for slots: the process with the slowest clock uses up the limit
// while nobody else asks, and the others ask from shortly before the window is free again.
func slowFirst(d *dice, process int, request func(), over func() bool) {
	for ; !over(); time.Sleep(2 * time.Minute) {
		begin := time.Now()
		if process == 0 {
			time.Sleep(d.upTo(limit.Slot))
			request()
			time.Sleep(80*time.Second - time.Since(begin))
			continue
		}
		time.Sleep(50 * time.Second)
		for time.Since(begin) < 80*time.Second {
			request()
			time.Sleep(d.upTo(2 * time.Second))
		}
	}
}

// mostlyFast is a network as it is, with hiccups: one way in fifty takes up to worst.
func mostlyFast(worst time.Duration) func(*dice, int) time.Duration {
	return func(d *dice, _ int) time.Duration {
		if d.upTo(49) == 0 {
			return d.upTo(worst)
		}
		return d.upTo(20 * time.Millisecond)
	}
}

// evenlyUpTo is a network in which every way takes up to worst.
func evenlyUpTo(worst time.Duration) func(*dice, int) time.Duration {
	return func(d *dice, _ int) time.Duration { return d.upTo(worst) }
}

// slowForOne is that for the first process, and fast for the others.
func slowForOne(worst time.Duration) func(*dice, int) time.Duration {
	return func(d *dice, process int) time.Duration {
		if process > 0 {
			return d.upTo(time.Millisecond)
		}
		return d.upTo(worst)
	}
}

// spread returns n offsets of clocks that disagree by up to skew, both ends among them.
func spread(n int, skew time.Duration) []time.Duration {
	all := make([]time.Duration, n)
	for i := range all {
		all[i] = skew*time.Duration(i)/time.Duration(max(1, n-1)) - skew/2
	}
	return all
}

func TestNeverMoreThanTheLimitAcrossProcesses(t *testing.T) {
	const skew = 1490 * time.Millisecond
	for name, s := range map[string]scene{
		"perfect clocks":                      {offsets: spread(4, 0), way: mostlyFast(0)},
		"clocks 1.49 s apart":                 {offsets: spread(4, skew), way: mostlyFast(0)},
		"and writes that take up to half a s": {offsets: spread(4, skew), way: evenlyUpTo(500 * time.Millisecond)},
		"and one process waits long for them": {offsets: spread(2, skew), way: slowForOne(1200 * time.Millisecond)},
		"and writes that land slots later":    {offsets: spread(4, skew), way: mostlyFast(10 * time.Second)},
		"and most come back too late":         {offsets: spread(4, skew), way: evenlyUpTo(2 * time.Second)},
	} {
		for pattern, p := range patterns {
			t.Run(name+", "+pattern, func(t *testing.T) {
				s.length, s.clients, s.ask = 10*time.Minute, p.clients, p.ask
				var passed, refused, failed int
				for seed := range uint64(6) {
					s.limit = []int{20, 1, 60}[seed%3]
					r := s.play(t, seed)
					passed, refused, failed = passed+len(r.passed), refused+r.refused, failed+r.failed
					if got := most(r.passed); got > s.limit {
						t.Errorf("seed %d: %d in 60 s, limit %d", seed, got, s.limit)
					}
				}
				t.Logf("%d passed, %d refused, %d failed", passed, refused, failed)
				if passed == 0 || refused == 0 {
					t.Errorf("%d passed and %d were refused: nothing was shown", passed, refused)
				}
			})
		}
	}
}

var patterns = map[string]struct {
	ask     func(*dice, int, func(), func() bool)
	clients int
}{"in bursts": {inBursts, 3}, "the slow one first": {slowFirst, 25}}

// If these held too, the test above would prove nothing.
func TestClocksOrWritesOutsideTheirBoundsBreakTheLimit(t *testing.T) {
	for name, s := range map[string]scene{
		"a guard that waits a slot for a write": {budget: limit.Slot - 1, offsets: spread(2, 2400*time.Millisecond), way: slowForOne(1200 * time.Millisecond)},
		"clocks three slots apart":              {offsets: spread(2, 3*limit.Slot), way: mostlyFast(0)},
	} {
		t.Run(name, func(t *testing.T) {
			s.length, s.clients, s.ask, s.limit = 10*time.Minute, 25, slowFirst, 20
			over := 0
			for seed := range uint64(12) {
				over = max(over, most(s.play(t, seed).passed)-s.limit)
			}
			t.Logf("%d over the limit", over)
			if over <= 0 {
				t.Error("the limit held")
			}
		})
	}
}

func TestAStoreThatHangsIsGivenUpAfterTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.now = time.Now()
		call := customers(w.context(w.create(), 1))
		stale := call
		stale.Identity.Verdict = 0
		hang := func() time.Duration { return time.Hour }
		for name, c := range map[string]struct {
			config guard.Config
			call   guard.Call
			most   time.Duration
		}{
			"the meters": {guard.Config{Meters: network{w, hang}, Keys: w}, call, 2 * time.Second},
			"the keys":   {guard.Config{Meters: w, Keys: hangingKeys{}}, stale, time.Second},
		} {
			start := time.Now()
			_, err := guard.New(c.config).Check(t.Context(), c.call)
			if took := time.Since(start); outcome(err) != "503" || took > c.most {
				t.Errorf("%s hang: %v after %v, want 503 within %v", name, err, took, c.most)
			}
		}
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_, err := guard.New(guard.Config{Meters: network{w, hang}, Keys: w}).Check(ctx, call)
		if took := time.Since(start); outcome(err) != "503" || took > 100*time.Millisecond {
			t.Errorf("under a deadline of 100 ms: %v after %v, want 503 by then", err, took)
		}
		time.Sleep(3 * time.Hour) // the abandoned writes land
	})
}

// hangingKeys answers when its caller gives up.
type hangingKeys struct{}

func (hangingKeys) Key(ctx context.Context, _ apikey.ID) (keys.Key, error) {
	<-ctx.Done()
	return keys.Key{}, ctx.Err()
}

func TestFiftyGoroutinesOfTwoHundredCalls(t *testing.T) {
	const goroutines, each, perMinute = 50, 200, 100
	for name, processes := range map[string]int{"one process": 1, "five processes": 5} {
		t.Run(name, func(t *testing.T) {
			// As fast as they can, by the real clock.
			w := newWorld(t)
			id := w.create(limited(perMinute))
			call := customers(w.context(id, 1))
			begin := time.Now()
			var mu sync.Mutex
			var passed []time.Duration
			var all sync.WaitGroup
			for range processes {
				g := guard.New(guard.Config{Meters: w.meters, Keys: w})
				for range goroutines / processes {
					all.Go(func() {
						for range each {
							if _, err := g.Check(t.Context(), call); err == nil {
								mu.Lock()
								passed = append(passed, time.Since(begin))
								mu.Unlock()
							} else if outcome(err) != "429" {
								t.Errorf("Check: %v", err)
							}
						}
					})
				}
			}
			all.Wait()
			took := time.Since(begin)
			if most(passed) > perMinute || took < limit.Span && len(passed) != perMinute {
				t.Errorf("%d of %d passed in %v, want exactly %d a minute", len(passed), goroutines*each, took, perMinute)
			}

			// Over some minutes, by a fake one.
			s := scene{
				limit: perMinute, length: time.Hour, offsets: spread(processes, 1490*time.Millisecond),
				clients: goroutines / processes, way: mostlyFast(500 * time.Millisecond),
				ask: func(d *dice, _ int, request func(), _ func() bool) {
					for range each {
						request()
						time.Sleep(d.upTo(2 * time.Second))
					}
				},
			}
			r := s.play(t, 1)
			t.Logf("%d calls in %v: %d passed, at most %d in 60 s, %d failed",
				len(r.passed)+r.refused+r.failed, r.passed[len(r.passed)-1].Round(time.Second), len(r.passed), most(r.passed), r.failed)
			if got := most(r.passed); got > perMinute || got < perMinute*9/10 {
				t.Errorf("%d in 60 s, want at most %d and nearly so many", got, perMinute)
			}
		})
	}
}

func TestASaturatingClientGetsNearlyItsLimit(t *testing.T) {
	for name, offsets := range map[string][]time.Duration{"one process": {0}, "three processes": spread(3, 1490*time.Millisecond)} {
		for _, perMinute := range []int{1, 20, 100, 1000} {
			t.Run(fmt.Sprintf("%s, %d a minute", name, perMinute), func(t *testing.T) {
				s := scene{
					limit: perMinute, length: 10 * time.Minute, offsets: offsets, clients: 2, way: mostlyFast(0),
					ask: func(_ *dice, _ int, request func(), over func() bool) {
						for !over() {
							request()
							time.Sleep(30 * time.Millisecond)
						}
					},
				}
				r := s.play(t, 1)
				share := float64(len(r.passed)) / float64(10*perMinute)
				t.Logf("%.1f %% of the limit, at most %d in 60 s", 100*share, most(r.passed))
				if share < 0.92 || most(r.passed) > perMinute || r.failed > 0 {
					t.Errorf("%.1f %% of the limit, at most %d in 60 s, %d failed; want 92 %%, %d, 0", 100*share, most(r.passed), r.failed, perMinute)
				}
			})
		}
	}
}

func TestASteadyTrickleUnderTheLimitIsNeverRefused(t *testing.T) {
	for _, perMinute := range []int{1, 7, 20, 100, 1000} {
		for name, c := range map[string]struct {
			offsets []time.Duration
			percent int
		}{
			"one process, 92 %":                        {[]time.Duration{0}, 92},
			"three processes that take turns, at 90 %": {spread(3, 1490*time.Millisecond), 90},
		} {
			t.Run(fmt.Sprintf("%s of %d a minute", name, perMinute), func(t *testing.T) {
				n := len(c.offsets)
				gap := time.Minute * 100 / time.Duration(perMinute*c.percent)
				var turn sync.Mutex
				next := 0
				s := scene{
					limit: perMinute, length: 10 * time.Minute, offsets: c.offsets, clients: 1, way: mostlyFast(0),
					ask: func(d *dice, _ int, request func(), over func() bool) {
						turn.Lock()
						mine := next
						next++
						turn.Unlock()
						time.Sleep(gap * time.Duration(mine))
						for due := time.Now(); !over(); time.Sleep(time.Until(due)) {
							request()
							due = due.Add(gap * time.Duration(n))
						}
					},
				}
				r := s.play(t, 1)
				if want := perMinute * 9 * c.percent / 100; r.refused+r.failed > 0 || len(r.passed) < want {
					t.Errorf("%d passed, %d refused, %d failed; want over %d, 0 and 0", len(r.passed), r.refused, r.failed, want)
				}
			})
		}
	}
}

// Changes and requests at the same time: what holds from the answer of one change until
// the next begins must hold for every request that falls between.
func TestChangesAndRequestsInParallel(t *testing.T) {
	const rounds = 300
	w := newWorld(t)
	id := w.create(limited(1 << 30))
	first := w.context(id, 1)
	var mu sync.Mutex
	phase, at := 0, time.Now() // even: settled; alive at 0 and 4 and so on, dead at 2 and 6
	step := func() {
		mu.Lock()
		phase++
		mu.Unlock()
	}
	look := func() int {
		mu.Lock()
		defer mu.Unlock()
		return phase
	}
	var alive, dead int
	var all sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		g := guard.New(guard.Config{Meters: w.meters, Keys: w})
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				before := look()
				_, err := g.Check(t.Context(), customers(first))
				after := look()
				if before != after || before%2 == 1 {
					continue
				}
				want := "pass"
				if before%4 == 2 {
					want = "401 inactive"
				}
				mu.Lock()
				if want == "pass" {
					alive++
				} else {
					dead++
				}
				mu.Unlock()
				if got := outcome(err); got != want {
					t.Errorf("phase %d: %s (%v), want %s", before, got, err, want)
					return
				}
			}
		})
	}
	for range rounds {
		for _, change := range []func(*keys.Key){revoke, activate} {
			step()
			w.change(id, change)
			step()
			time.Sleep(20 * time.Microsecond)
		}
	}
	close(stop)
	all.Wait()
	t.Logf("%d requests of a live key passed, %d of a revoked one did not, in %v", alive, dead, time.Since(at).Round(time.Millisecond))
	if alive < rounds/10 || dead < rounds/10 {
		t.Errorf("%d live and %d revoked requests: too few to show anything", alive, dead)
	}
}

// Faults of every kind, for long: an outage must never open the limit or a dead key.
func TestRandomFaultsOpenNothing(t *testing.T) {
	for seed := range uint64(5) {
		synctest.Test(t, func(t *testing.T) {
			d := newDice(seed)
			w := newWorld(t)
			w.now = time.Now()
			id := w.create(limited(20))
			call := customers(w.context(id, 1))
			w.fault = func(string) error {
				if d.upTo(3) == 0 {
					return errors.New("throttled")
				}
				return nil
			}
			meters := network{w, func() time.Duration { return mostlyFast(4*time.Second)(d, 0) }}
			guards := make([]*guard.Guard, 3)
			for i := range guards {
				guards[i] = guard.New(guard.Config{Meters: meters, Keys: w})
			}
			start := time.Now()
			var passed []time.Duration
			tally := map[string]int{}
			for round := range 60 {
				for range 40 {
					_, err := guards[d.upTo(2)].Check(t.Context(), call)
					got := outcome(err)
					tally[got]++
					if got == "pass" {
						passed = append(passed, time.Since(start))
						if round%3 == 2 {
							t.Error("a revoked key passed")
						}
					}
					time.Sleep(d.upTo(300 * time.Millisecond))
				}
				switch round % 3 {
				case 1:
					w.change(id, revoke)
				case 2:
					w.change(id, activate)
				}
			}
			t.Logf("seed %d: %v", seed, tally)
			m, _ := w.meters.Meter(id)
			if got := most(passed); got > 20 || int64(len(passed)) > m.Requests {
				t.Errorf("seed %d: %d in 60 s, %d in all, %d counted", seed, got, len(passed), m.Requests)
			}
			if tally["pass"] == 0 || tally["401 inactive"] == 0 || tally["503"] == 0 {
				t.Errorf("seed %d shows too little: %v", seed, tally)
			}
		})
	}
}
