package alert

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/usage"
)

// Swept is what a Sweep has found.
type Swept struct {
	Keys   int // that there are, deleted ones included
	Raised int
	// Drift is the largest difference, without its sign, between what the guard has counted
	// of a key and what it must have counted by the logs. Keys that the guard let through
	// within DriftSettles are left out: their lines may be under way.
	Drift int64
}

const (
	// DriftSettles: CloudWatch Logs delivers within seconds as a rule; a batch that failed
	// comes again for some minutes.
	DriftSettles = 15 * time.Minute

	sweepBatch = 100 // keys whose use is read at a time: as many as one BatchGetItem takes
	// lately: whose last request is older had its hour weighed by a sweep before, if sweeps
	// are an hour apart.
	lately = 2 * time.Hour
)

// Sweep looks at all keys as they are: what expires, what is idle, what is old, whose
// hours are unusual, and how far the two counts of requests are apart. It may be repeated,
// and raises nothing twice. After an error, the store's or the context's, it has done a
// part, which is what it returns.
func (w *Watcher) Sweep(ctx context.Context) (swept Swept, err error) {
	batch := make([]keys.Key, 0, sweepBatch)
	for k, err := range w.cfg.Keys.All(ctx) {
		if err != nil {
			return swept, fmt.Errorf("reading the keys: %w", err)
		}
		if batch = append(batch, k); len(batch) == sweepBatch {
			if err := w.sweep(ctx, batch, &swept); err != nil {
				return swept, err
			}
			batch = batch[:0]
		}
	}
	return swept, w.sweep(ctx, batch, &swept)
}

// sweep looks at some keys.
func (w *Watcher) sweep(ctx context.Context, batch []keys.Key, swept *Swept) error {
	if len(batch) == 0 {
		return nil
	}
	ids := make([]apikey.ID, len(batch))
	for i := range batch {
		ids[i] = batch[i].ID
	}
	meters, err := w.cfg.Meters.Usage(ctx, ids)
	if err != nil {
		return fmt.Errorf("reading the meters: %w", err)
	}
	profiles, err := w.cfg.Usage.Profiles(ctx, ids)
	if err != nil {
		return fmt.Errorf("reading the profiles: %w", err)
	}
	totals, err := w.cfg.Usage.Totals(ctx, ids)
	if err != nil {
		return fmt.Errorf("reading the totals: %w", err)
	}
	now := w.now()
	for i := range batch {
		k := &batch[i]
		meter, profile := meters[k.ID], profiles[k.ID]
		swept.Keys++
		if d := drift(meter, totals[k.ID], now); d != 0 {
			w.cfg.Log.LogAttrs(ctx, slog.LevelWarn, "drift", slog.String("keyId", string(k.ID)), slog.Int64("drift", d))
			swept.Drift = max(swept.Drift, d, -d)
		}
		for _, a := range lifetime(k, latest(meter.LastUsed, profile.LastUsed), now) {
			raised, err := w.raise(ctx, a)
			if err != nil {
				return err
			}
			swept.add(raised)
		}
		if now.Sub(latest(profile.LastUsed, profile.LastRefused)) <= lately {
			hour := hourOf(now)
			n, err := w.weighHours(ctx, k, profile.First, hour.Add(-time.Hour), hour)
			if err != nil {
				return err
			}
			swept.Raised += n
		}
	}
	return nil
}

func (s *Swept) add(raised bool) {
	if raised {
		s.Raised++
	}
}

// drift is by how much the guard's count is above what the logs say; 0 while that may be
// due to lines that are under way.
func drift(m keys.Usage, t usage.Totals, now time.Time) int64 {
	if now.Sub(m.LastUsed) <= DriftSettles {
		return 0
	}
	return m.Requests - t.Admitted
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
