package guard_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/guard"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/limit"
)

// told makes n requests, every so often, and lists which of them said that the limit is
// near, from 1.
func (w *world) told(g *guard.Guard, c guard.Call, n int, every time.Duration) (list []int) {
	w.Helper()
	for i := range n {
		if w.try(g, c, "pass").Near {
			list = append(list, i+1)
		}
		w.advance(every)
	}
	return list
}

func TestNearTheLimitIsToldOnceAt80Percent(t *testing.T) {
	for name, c := range map[string]struct {
		limit, requests int
		every           time.Duration
		want            []int
	}{
		"79 of 100 at once":                 {100, 79, 0, nil},
		"80 of 100 at once":                 {100, 80, 0, []int{80}},
		"all 100 at once":                   {100, 100, 0, []int{80}},
		"79 of 100, spread over the window": {100, 79, 700 * time.Millisecond, nil},
		"80 of 100, spread over the window": {100, 80, 700 * time.Millisecond, []int{80}},
		// 65 s hold 78 of these at most.
		"always a little less": {100, 600, 840 * time.Millisecond, nil},
		"99 of 124":            {124, 99, 0, nil}, // 79.8 %
		"100 of 125":           {125, 100, 0, []int{100}},
		"4 of 5":               {5, 5, 0, []int{4}},
		"3 of 4":               {4, 3, 0, nil},
		"4 of 4":               {4, 4, 0, []int{4}},
		"the one of 1":         {1, 1, 0, []int{1}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			call := customers(w.context(w.create(limited(c.limit)), 1))
			if diff := cmp.Diff(c.want, w.told(w.process(), call, c.requests, c.every)); diff != "" {
				t.Errorf("told by requests (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNearTheLimitIsToldAgainAfterAMinute(t *testing.T) {
	w := newWorld(t)
	id, g := w.create(), w.process()
	call := customers(w.context(id, 1))
	// One each 0.7 s keeps the window near 90 % full: 600 of them are seven minutes.
	var at []time.Duration
	for _, i := range w.told(g, call, 600, 700*time.Millisecond) {
		at = append(at, time.Duration(i-1)*700*time.Millisecond)
	}
	if len(at) != 7 || at[0] != 79*700*time.Millisecond {
		t.Fatalf("told at %v, want seven times, first by the 80th", at)
	}
	for i := range at[1:] {
		if gap := at[i+1] - at[i]; gap < time.Minute || gap > time.Minute+700*time.Millisecond {
			t.Errorf("told at %v and at %v, want a minute between them", at[i], at[i+1])
		}
	}
}

// The minute is exact, and counts from when it was said, not from the last request.
func TestTheMinuteOfSilenceEndsOnTheDot(t *testing.T) {
	for after, want := range map[time.Duration]bool{time.Minute - 1: false, time.Minute: true} {
		w := newWorld(t)
		g, call := w.process(), customers(w.context(w.create(), 1))
		if got := w.told(g, call, 85, 0); !cmp.Equal(got, []int{80}) {
			t.Fatalf("told by %v", got)
		}
		w.advance(after) // 85 are in the window until 65 s
		if got := w.try(g, call, "pass").Near; got != want {
			t.Errorf("after %v: told %t, want %t", after, got, want)
		}
	}
}

func TestAChangeOfTheLimitIsToldAnew(t *testing.T) {
	w := newWorld(t)
	id, g := w.create(), w.process()
	call := customers(w.context(id, 1))
	if got := w.told(g, call, 90, 0); !cmp.Equal(got, []int{80}) {
		t.Fatalf("limit 100: told by %v", got)
	}
	w.change(id, limited(200))
	if got := w.told(g, call, 75, 0); !cmp.Equal(got, []int{70}) { // 160 in all
		t.Errorf("limit 200: told by %v, want the 160th in all", got)
	}
	w.change(id, func(k *keys.Key) { k.Permissions = []string{"customers:read"} })
	if got := w.told(g, call, 5, 0); got != nil {
		t.Errorf("another change: told by %v, want silence", got)
	}
}

// What others counted is in the meter too, and each process speaks for itself.
func TestEachProcessTellsOfWhatAllHaveCounted(t *testing.T) {
	w := newWorld(t)
	call := customers(w.context(w.create(), 1))
	one, other := w.process(), w.process()
	if got := w.told(one, call, 50, 0); got != nil {
		t.Fatalf("50: told by %v", got)
	}
	if got := w.told(other, call, 35, 0); !cmp.Equal(got, []int{30}) {
		t.Errorf("35 more: told by %v, want the 80th in all", got)
	}
	if got := w.told(one, call, 5, 0); !cmp.Equal(got, []int{1}) {
		t.Errorf("the first process: told by %v", got)
	}
}

func TestOneOfManyAtTheSameTimeTells(t *testing.T) {
	w := newWorld(t)
	g, call := w.process(), customers(w.context(w.create(), 1))
	var told, passed atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 15 {
				pass, err := g.Check(w.ctx(), call)
				if err == nil {
					passed.Add(1)
				}
				if pass.Near {
					told.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if passed.Load() != 100 || told.Load() != 1 {
		t.Errorf("%d passed and %d told, want 100 and 1", passed.Load(), told.Load())
	}
}

// What does not pass tells nothing, and is not taken for having told.
func TestARefusalTellsNothingOfTheLimit(t *testing.T) {
	w := newWorld(t)
	id := w.create(limited(5))
	call := customers(w.context(id, 1))
	w.told(w.process(), call, 3, 0)
	g := guard.New(guard.Config{Meters: &slow{world: w, after: []time.Duration{2 * time.Second}}, Keys: w, Clock: w.clock})
	// The fourth is counted, and its answer comes too late; the fifth stands for it.
	if !w.try(g, call, "pass").Near {
		t.Error("the request that passed with the fifth place did not tell")
	}
	pass, err := g.Check(w.ctx(), call)
	if outcome(err) != "429" || pass.Near {
		t.Errorf("%v, told %t; want a 429 that tells nothing", err, pass.Near)
	}
	forbidden := call
	forbidden.Route.Permission = "api_keys:write"
	if pass, err := g.Check(w.ctx(), forbidden); outcome(err) != "403 api_keys:write" || pass.Near {
		t.Errorf("%v, told %t", err, pass.Near)
	}
}

func TestTellingCostsNoCallOfTheStoreAndNoAllocation(t *testing.T) {
	costs := func(used int64) (allocations float64) {
		w := newWorld(t)
		store := &instant{world: w, meter: guard.Meter{State: guard.State{Verdict: 1, Active: true}, Window: limit.Window{Used: used, Total: used}}, full: true}
		g, call := guard.New(guard.Config{Meters: store, Keys: w, Clock: w.clock}), customers(w.context(w.create(), 1))
		checks := 0
		allocations = testing.AllocsPerRun(200, func() {
			w.advance(limit.Span) // so that each one tells
			checks++
			if pass, err := g.Check(w.ctx(), call); err != nil || pass.Near != (used >= 80) {
				t.Fatalf("%d used: told %t, %v", used, pass.Near, err)
			}
		})
		if got := w.spent().sum() + int(store.meter.Requests); got != checks {
			t.Errorf("%d used: %d calls of a store for %d requests", used, got, checks)
		}
		return allocations
	}
	if plenty, near := costs(1), costs(90); near != plenty {
		t.Errorf("%v allocations near the limit, %v far from it", near, plenty)
	}
}
