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

// appliedThenFailed is a store whose writes are applied, and whose answers are lost.
type appliedThenFailed struct{ *world }

func (s appliedThenFailed) Hit(ctx context.Context, id apikey.ID, h guard.Hit) (guard.Meter, error) {
	_, err := s.world.Hit(ctx, id, h)
	return guard.Meter{}, lost(err)
}

func (s appliedThenFailed) Roll(ctx context.Context, id apikey.ID, r guard.Roll) (guard.Meter, error) {
	_, err := s.world.Roll(ctx, id, r)
	return guard.Meter{}, lost(err)
}

func lost(err error) error {
	if err != nil {
		return err
	}
	return fmt.Errorf("the answer was lost: %w", keys.ErrOutcomeUnknown)
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

func TestALostAnswerLetsNothingPassAndIsCountedOnce(t *testing.T) {
	w := newWorld(t)
	id := w.create(limited(3))
	g := guard.New(guard.Config{Meters: appliedThenFailed{w}, Keys: w, Clock: w.clock})
	request := customers(w.context(id, 1))
	for range 3 {
		_, err := g.Check(w.ctx(), request)
		// Unknown is only whether it was counted. The request itself was not carried out.
		if outcome(err) != "503" || errors.Is(err, keys.ErrOutcomeUnknown) {
			t.Errorf("Check: %v, want it unavailable", err)
		}
	}
	if m, _ := w.meters.Meter(id); m.Requests != 3 {
		t.Errorf("%d counted, want each lost request once, 3", m.Requests)
	}
	w.try(g, request, "429")
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

func (s *slow) Hit(ctx context.Context, id apikey.ID, h guard.Hit) (guard.Meter, error) {
	s.wait(&s.before)
	defer s.wait(&s.after)
	return s.world.Hit(ctx, id, h)
}

func (s *slow) Roll(ctx context.Context, id apikey.ID, r guard.Roll) (guard.Meter, error) {
	s.wait(&s.before)
	defer s.wait(&s.after)
	return s.world.Roll(ctx, id, r)
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
			if c.want == "pass" && m.Window.Slot < limit.SlotOf(w.clock().Add(-budget)) {
				t.Errorf("counted in slot %d, passed in slot %d", m.Window.Slot, limit.SlotOf(w.clock()))
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
