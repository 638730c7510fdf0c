package guard_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/guard"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/limit"
)

var errStore = errors.New("the store is down")

// forgetful is a store whose writes are applied, and whose first answers are lost.
type forgetful struct {
	*world
	lost int
}

func (s *forgetful) Count(ctx context.Context, id apikey.ID, w guard.Write) (guard.Meter, error) {
	m, err := s.world.Count(ctx, id, w)
	if err != nil || s.lost == 0 {
		return m, err
	}
	s.lost--
	return guard.Meter{}, fmt.Errorf("the answer was lost: %w", keys.ErrOutcomeUnknown)
}

func TestAStoreThatFailsLetsNothingPass(t *testing.T) {
	for _, call := range []string{"Hit", "Roll", "Key"} {
		for _, warm := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, warm %t", call, warm), func(t *testing.T) {
				w := newWorld(t)
				id, g := w.create(), w.process()
				request := customers(w.context(id, 1))
				if warm {
					w.try(g, request, "pass")
				}
				switch {
				case call == "Key":
					w.change(id, limited(50))
				case call == "Roll":
					w.advance(limit.Slot)
				case !warm:
					w.try(w.process(), request, "pass") // others have reached the slot
				}
				w.fault = func(c string) error {
					if c == call {
						return errStore
					}
					return nil
				}
				before, _ := w.meters.Meter(id)
				_, err := g.Check(w.ctx(), request)
				if outcome(err) != "503" || errors.Is(err, keys.ErrOutcomeUnknown) {
					t.Errorf("Check: %v, want it unavailable", err)
				}
				if after, _ := w.meters.Meter(id); after.Requests != before.Requests {
					t.Errorf("%d requests counted by a failed %s", after.Requests-before.Requests, call)
				}
				w.fault = nil
				w.try(g, request, "pass")
			})
		}
	}
}

func TestLostAnswersLetNothingPass(t *testing.T) {
	w := newWorld(t)
	id := w.create(limited(6))
	g := guard.New(guard.Config{Meters: &forgetful{w, 100}, Keys: w, Clock: w.clock})
	request := customers(w.context(id, 1))
	for range 3 {
		_, err := g.Check(w.ctx(), request)
		// Unknown is only whether it was counted. The request itself was not carried out.
		if outcome(err) != "503" || errors.Is(err, keys.ErrOutcomeUnknown) {
			t.Errorf("Check: %v, want it unavailable", err)
		}
	}
	if m, _ := w.meters.Meter(id); m.Requests != 6 {
		t.Errorf("%d counted, want each request twice, 6", m.Requests)
	}
	w.try(g, request, "429")
}

// A function's connection may have died while its process was frozen.
func TestOneFailureIsNoOutage(t *testing.T) {
	w := newWorld(t)
	id := w.create()
	request := customers(w.context(id, 1))
	w.try(w.process(), request, "pass") // the slot is reached

	g := w.process()
	once := errStore
	w.fault = func(string) error { defer func() { once = nil }(); return once }
	w.try(g, request, "pass")
	w.fault = nil
	if m, _ := w.meters.Meter(id); m.Requests != 2 {
		t.Errorf("%d counted after a write that failed, want 2", m.Requests)
	}

	g = guard.New(guard.Config{Meters: &forgetful{w, 1}, Keys: w, Clock: w.clock})
	w.try(g, request, "pass")
	if m, _ := w.meters.Meter(id); m.Requests != 4 {
		t.Errorf("%d counted after a lost answer, want that one too, 4", m.Requests)
	}
}

// slow is a store that takes its time, by the world's clock.
type slow struct {
	*world
	before, after []time.Duration // of the first writes
}

func (s *slow) wait(all *[]time.Duration) {
	if len(*all) > 0 {
		s.advance((*all)[0])
		*all = (*all)[1:]
	}
}

func (s *slow) Count(ctx context.Context, id apikey.ID, w guard.Write) (guard.Meter, error) {
	s.wait(&s.before)
	defer s.wait(&s.after)
	return s.world.Count(ctx, id, w)
}

func TestALateAnswerDoesNotSpeakForNow(t *testing.T) {
	const budget = time.Second
	long, short := []time.Duration{budget + 1}, []time.Duration{budget}
	for name, c := range map[string]struct {
		before, after []time.Duration
		want          string
		counted       int64
	}{
		"just in time":            {nil, short, "pass", 1},
		"landed late":             {long, nil, "pass", 2},
		"answered late":           {nil, long, "pass", 2},
		"late twice":              {nil, []time.Duration{budget + 1, 3 * limit.Slot}, "503", 2},
		"late, and then in time":  {nil, []time.Duration{2 * limit.Slot, budget}, "pass", 2},
		"each half within budget": {[]time.Duration{600 * time.Millisecond}, []time.Duration{600 * time.Millisecond}, "pass", 2},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			id := w.create()
			request := customers(w.context(id, 1))
			w.try(w.process(), request, "pass") // the slot is reached
			g := guard.New(guard.Config{Meters: &slow{w, c.before, c.after}, Keys: w, Clock: w.clock, Budget: budget})
			w.try(g, request, c.want)
			m, _ := w.meters.Meter(id)
			if got := m.Requests - 1; got != c.counted {
				t.Errorf("%d counted, want %d", got, c.counted)
			}
			// What passes is counted in the slot of its own time.
			if c.want == "pass" && m.Window.Slot < limit.Minute.SlotOf(w.clock().Add(-budget)) {
				t.Errorf("counted in slot %d, passed in slot %d", m.Window.Slot, limit.Minute.SlotOf(w.clock()))
			}
		})
	}
}

// A late answer that used up the limit must not let its own request pass either.
func TestALateAnswerAtTheLimitIsARefusal(t *testing.T) {
	w := newWorld(t)
	id := w.create(limited(2))
	request := customers(w.context(id, 1))
	w.try(w.process(), request, "pass") // the slot is reached
	g := guard.New(guard.Config{Meters: &slow{world: w, after: []time.Duration{2 * time.Second}}, Keys: w, Clock: w.clock})
	w.try(g, request, "429")
}

// meddled is a store with something happening before each write; before[0] before the
// first.
type meddled struct {
	*world
	before []func()
}

func (s *meddled) Count(ctx context.Context, id apikey.ID, w guard.Write) (guard.Meter, error) {
	if len(s.before) > 0 {
		f := s.before[0]
		s.before = s.before[1:]
		f()
	}
	return s.world.Count(ctx, id, w)
}

func TestWhatChangesDuringARequestIsSeen(t *testing.T) {
	w := newWorld(t)
	var id apikey.ID
	change := func(f func(*keys.Key)) func() { return func() { w.change(id, f) } }
	other := func() { w.try(w.process(), customers(w.context(id, 1)), "pass") }
	for name, c := range map[string]struct {
		before []func()
		want   string
	}{
		"revoked before the write":                {[]func(){change(revoke)}, "401 inactive"},
		"revoked between the read and the write":  {[]func(){change(limited(9)), change(revoke)}, "401 inactive"},
		"narrowed between the read and the write": {[]func(){change(limited(9)), change(narrow)}, "403 customers:read"},
		"changed each time, and then no more":     {[]func(){change(limited(9)), change(limited(8)), change(limited(7))}, "pass"},
		"rolled by another":                       {[]func(){other}, "pass"},
		"its last place taken by another":         {[]func(){func() { change(limited(2))(); other() }}, "429"},
		"its meter lost":                          {[]func(){func() { w.meters.Remove(id) }}, "pass"},
		"its meter lost, and made by another":     {[]func(){func() { w.meters.Remove(id) }, other}, "pass"},
		"its meter lost, made, and lost again":    {[]func(){func() { w.meters.Remove(id) }, other, func() { w.meters.Remove(id) }}, "pass"},
		"the edge of a slot":                      {[]func(){func() { w.advance(limit.Slot) }, other}, "pass"},
		"revoked and activated":                   {[]func(){func() { change(revoke)(); change(activate)() }}, "pass"},
	} {
		t.Run(name, func(t *testing.T) {
			id = w.create()
			other() // the slot is reached
			call := customers(w.context(id, 1))
			g := guard.New(guard.Config{Meters: &meddled{w, c.before}, Keys: w, Clock: w.clock, Budget: limit.Slot - 1})
			w.try(g, call, c.want)
		})
	}

	// The meter is behind, and being put right, when the key is revoked.
	id = w.create()
	w.crash(id, limited(50))
	call := customers(w.context(id, 1))
	w.try(guard.New(guard.Config{
		Meters: &meddled{w, []func(){func() {}, change(revoke)}}, Keys: w, Clock: w.clock,
	}), call, "401 inactive")
	if m, _ := w.meters.Meter(id); m.State != (guard.State{Verdict: 3}) {
		t.Errorf("meter %+v, want it inactive at verdict 3", m.State)
	}

	// Without end, it is given up.
	id = w.create()
	call = customers(w.context(id, 1))
	var endless []func()
	for range 100 {
		endless = append(endless, change(limited(50)))
	}
	w.spent()
	w.try(guard.New(guard.Config{Meters: &meddled{w, endless}, Keys: w, Clock: w.clock}), call, "503")
	if got := w.spent(); got.sum() > 25 {
		t.Errorf("a request among endless changes cost %+v", got)
	}
}
