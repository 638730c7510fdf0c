// Package guardtest has a memory implementation of guard.Meters, for tests and for
// trying things out, and the suite that every implementation passes.
package guardtest

import (
	"context"
	"sync"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/guard"
	"github.com/keyreeve/keyreeve/pkg/limit"
)

// Meters keeps meters in memory. It is safe for concurrent use.
type Meters struct {
	mu sync.Mutex
	of map[apikey.ID]guard.Meter
}

var _ guard.Meters = (*Meters)(nil)

// NewMeters returns a store without meters. Settle makes them.
func NewMeters() *Meters { return &Meters{of: map[apikey.ID]guard.Meter{}} }

// Count is guard.Meters.
func (s *Meters) Count(ctx context.Context, id apikey.ID, w guard.Write) (guard.Meter, error) {
	if err := ctx.Err(); err != nil {
		return guard.Meter{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m, found := s.of[id]
	after, may := next(m, &w)
	if w.Missing == found || !w.Missing && m.State != w.If || !may {
		return guard.Meter{}, &guard.Refused{Found: found, Meter: m}
	}
	s.of[id] = after
	return after, nil
}

// State is guard.Meters.
func (s *Meters) State(ctx context.Context, id apikey.ID) (guard.State, bool, error) {
	if err := ctx.Err(); err != nil {
		return guard.State{}, false, err
	}
	m, found := s.Meter(id)
	return m.State, found, nil
}

// next is m after a write, and whether every window that counts it has room and is where
// the write takes it to be.
func next(m guard.Meter, w *guard.Write) (guard.Meter, bool) {
	may := counted(&m.Window, &w.Minute, w.N)
	var longer guard.Longer
	if m.Longer != nil {
		longer = *m.Longer
	}
	if w.Hour.Limit > 0 {
		may = counted(&longer.Hour, &w.Hour, w.N) && may
	}
	if w.Day.Limit > 0 {
		may = counted(&longer.Day, &w.Day, w.N) && may
	}
	if c := w.Month; c.Limit > 0 {
		may = longer.Month.Began == c.From && longer.Month.Left(c.To)+w.N <= c.Limit && may
		longer.Month = longer.Month.Count(c.To, w.N)
	}
	if longer != (guard.Longer{}) {
		m.Longer = &longer
	}
	m.State, m.Requests, m.LastUsed = w.Then, m.Requests+w.Passed, w.At.UTC().Truncate(time.Millisecond)
	return m, may
}

func counted(window *limit.Window, c *guard.Count, n int64) (may bool) {
	may = window.Slot == c.From.Slot && window.Left(c.To)+n <= c.Limit
	*window = window.Count(c.To, n)
	return may
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
