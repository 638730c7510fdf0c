package guard_test

import (
	"context"
	"testing"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/guard"
	"github.com/keyreeve/keyreeve/pkg/limit"
)

// instant is a store that answers at once: a meter that counts, or one whose window is
// always as full.
type instant struct {
	*world
	meter guard.Meter
	full  bool
}

func (s *instant) Count(_ context.Context, _ apikey.ID, w guard.Write) (guard.Meter, error) {
	s.meter.Requests++
	s.meter.Window.Slot = w.Minute.To
	if !s.full {
		s.meter.Window.Used, s.meter.Window.Total = 1, 1
	}
	return s.meter, nil
}

// BenchmarkCheck is the guard's own cost of a request that passes, without its one write.
func BenchmarkCheck(b *testing.B) {
	for name, used := range map[string]int64{"plenty left": 0, "near the limit": 95} {
		b.Run(name, func(b *testing.B) {
			w := newWorld(b)
			id := w.create()
			g := guard.New(guard.Config{Meters: &instant{w, guard.Meter{
				State:  guard.State{Verdict: 1, Active: true},
				Window: limit.Window{Slot: limit.Minute.SlotOf(w.clock()), Used: used, Total: used},
			}, used > 0}, Keys: w, Clock: w.clock})
			call := customers(w.context(id, 1))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := g.Check(b.Context(), call); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
