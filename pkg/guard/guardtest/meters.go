// Package guardtest has a memory implementation of guard.Meters, for tests and for
// trying things out, and the suite that every implementation passes.
package guardtest

import (
	"context"
	"sync"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/guard"
)

// Meters keeps meters in memory. It is safe for concurrent use.
type Meters struct {
	mu sync.Mutex
	of map[apikey.ID]guard.Meter
}

var _ guard.Meters = (*Meters)(nil)

// NewMeters returns a store without meters. Settle makes them.
func NewMeters() *Meters { return &Meters{of: map[apikey.ID]guard.Meter{}} }

// Hit is guard.Meters.
func (s *Meters) Hit(ctx context.Context, id apikey.ID, h guard.Hit) (guard.Meter, error) {
	return s.count(ctx, id, h.Then, h.Slot, h.At, func(m guard.Meter, found bool) bool {
		return found && m.State == h.If && m.Window.Slot == h.Slot && m.Window.Total < h.Limit
	})
}

// Roll is guard.Meters.
func (s *Meters) Roll(ctx context.Context, id apikey.ID, r guard.Roll) (guard.Meter, error) {
	return s.count(ctx, id, r.Then, r.To, r.At, func(m guard.Meter, found bool) bool {
		if r.Missing {
			return !found && r.Limit > 0
		}
		return found && m.State == r.If && m.Window.Slot == r.From.Slot && m.Window.Admits(r.To, r.Limit)
	})
}

func (s *Meters) count(ctx context.Context, id apikey.ID, then guard.State, slot int64, at time.Time, may func(m guard.Meter, found bool) bool) (guard.Meter, error) {
	if err := ctx.Err(); err != nil {
		return guard.Meter{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m, found := s.of[id]
	if !may(m, found) {
		return guard.Meter{}, &guard.Refused{Found: found, Meter: m}
	}
	m = guard.Meter{
		State: then, Window: m.Window.Count(slot),
		Requests: m.Requests + 1, LastUsed: at.UTC().Truncate(time.Millisecond),
	}
	s.of[id] = m
	return m, nil
}

// Settle is keys.Store's: it writes the state read off a key, unless the meter holds a
// newer one, and makes a missing meter.
func (s *Meters) Settle(_ context.Context, id apikey.ID, verdict int64, active bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.of[id]; m.Verdict <= verdict {
		m.State = guard.State{Verdict: verdict, Active: active}
		s.of[id] = m
	}
	return nil
}

// Meter returns the meter of a key, and whether there is one.
func (s *Meters) Meter(id apikey.ID) (guard.Meter, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, ok := s.of[id]
	return m, ok
}

// Remove takes a meter away, as a restored table may.
func (s *Meters) Remove(id apikey.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.of, id)
}
