package dynamo_test

import (
	"errors"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/guard"
	"github.com/keyreeve/keyreeve/pkg/guard/guardtest"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/limit"
)

func TestMetersPassTheSuite(t *testing.T) {
	s := newStore(t)
	guardtest.Suite(t, func(*testing.T) guardtest.Store { return s.of })
}

// A request that was counted and is counted again a slot later is counted at the wrong
// time: so there is one attempt, whatever it met.
func TestACountIsAttemptedOnce(t *testing.T) {
	w := &wire{}
	s := newStore(t, w.option)
	id := apikey.NewID()
	if err := s.Settle(t.Context(), id, 1, true); err != nil {
		t.Fatal(err)
	}
	on, now := guard.State{Verdict: 1, Active: true}, time.Now()
	slot := limit.SlotOf(now)
	roll := guard.Roll{If: on, Then: on, To: slot, Limit: 1000, At: now}
	m, err := s.of.Roll(t.Context(), id, roll)
	if err != nil {
		t.Fatal(err)
	}
	counted := m.Requests
	for _, f := range allFaults() {
		for name, count := range map[string]func() error{
			"Hit": func() error {
				_, err := s.of.Hit(t.Context(), id, guard.Hit{If: on, Then: on, Slot: m.Window.Slot, Limit: 1000, At: now})
				return err
			},
			"Roll": func() error {
				_, err := s.of.Roll(t.Context(), id, guard.Roll{If: on, Then: on, From: m.Window, To: m.Window.Slot + 1, Limit: 1000, At: now})
				return err
			},
		} {
			w.reset(always(f, ""))
			err := count()
			if calls := short(w.seen()); calls != "U" {
				t.Errorf("%s with %s: calls %s, want one", name, f.name, calls)
			}
			want := keys.ErrOutcomeUnknown
			if f.name == throttle.name || f.name == conflictFault.name {
				want = keys.ErrUnavailable
			}
			var refused *guard.Refused
			if !errors.Is(err, want) || errors.As(err, &refused) {
				t.Errorf("%s with %s = %v, want %v", name, f.name, err, want)
			}
			if f.applied {
				counted++
			}
			w.reset(nil)
			if m, _, err = s.look(t.Context(), id); err != nil || m.Requests != counted {
				t.Errorf("%s with %s: %d requests counted, %v, want %d", name, f.name, m.Requests, err, counted)
			}
		}
	}
}

// A meter that cannot be read proves nothing, and must not pass for one that refuses.
func TestABrokenMeterIsAnError(t *testing.T) {
	s := newStore(t)
	id := apikey.NewID()
	it := item{"id": text(string(id)), "v": text("1"), "st": text("yes")}
	if err := s.put(t, s.cfg.MetersTable, it); err != nil {
		t.Fatal(err)
	}
	_, err := s.of.Hit(t.Context(), id, guard.Hit{If: guard.State{Verdict: 1, Active: true}, Limit: 10, At: time.Now()})
	var refused *guard.Refused
	if !errors.Is(err, keys.ErrUnavailable) || errors.As(err, &refused) {
		t.Errorf("Hit = %v, want ErrUnavailable", err)
	}
}
