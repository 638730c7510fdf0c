package alert

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/usage"
)

// Usage is what a Watcher reads of a usage.Store.
type Usage interface {
	Days(ctx context.Context, accountID string, ids []apikey.ID, from, to usage.Day) ([]usage.Count, error)
	Profiles(ctx context.Context, ids []apikey.ID) (map[apikey.ID]usage.Profile, error)
	Totals(ctx context.Context, ids []apikey.ID) (map[apikey.ID]usage.Totals, error)
}

// Keys is every key there is.
type Keys interface {
	// Key reads one, strongly consistent: at least what All gives, Permissions, VerdictAt and
	// all that keys.Identify looks at; keys.ErrNotFound.
	Key(ctx context.Context, id apikey.ID) (keys.Key, error)
	// All gives the keys of all accounts, deleted ones included, each once, in no order:
	// of each at least ID, AccountID, Environment, Active, Deleted, Canary, CreatedAt,
	// RotatedAt and ExpiresAt. An error is the last that it gives.
	All(ctx context.Context) iter.Seq2[keys.Key, error]
}

// Meters is the guard's count of keys; a key without a meter has no entry.
type Meters interface {
	Usage(ctx context.Context, ids []apikey.ID) (map[apikey.ID]keys.Usage, error)
}

// Config is what a Watcher works with. Meters is needed by Sweep alone.
type Config struct {
	Store  Store
	Usage  Usage
	Keys   Keys
	Meters Meters
	// Bound is how long after a change of a key it is in force on unguarded routes too
	// (flush.Bound).
	Bound time.Duration
	// Late is told how many requests of a batch were accepted too late; each time that the
	// batch is observed.
	Late  func(ctx context.Context, requests int)
	Clock func() time.Time // time.Now by default
	Log   *slog.Logger     // nil: nothing is logged
}

// Watcher raises alerts. It is safe for concurrent use.
//
// The rules decide purely, by facts, what there is to tell; only then is anything written.
// A Watcher remembers which alerts it knows to be in the store, so that a cause that lasts
// costs one write and not one with every batch. It relies on nothing that it remembers.
type Watcher struct {
	cfg     Config
	mu      sync.Mutex
	known   map[string]bool
	volumes map[keyHour]volume
	looks   map[apikey.ID]look
}

// maxKnown bounds each thing that a Watcher remembers; when it is full, it forgets all.
const maxKnown = 10_000

// New returns a Watcher.
func New(c Config) *Watcher {
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Late == nil {
		c.Late = func(context.Context, int) {}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Watcher{cfg: c, known: map[string]bool{}, volumes: map[keyHour]volume{}, looks: map[apikey.ID]look{}}
}

// now is the time as stores keep it.
func (w *Watcher) now() time.Time { return w.cfg.Clock().UTC().Truncate(time.Millisecond) }

// Observe raises what a batch of log lines says. It stops at the first error, the store's;
// the same facts again raise what is missing, and nothing twice. The order in which
// batches come makes no difference to what is raised, except
//
//   - at the edge of an hour, for a spike of failures that goes on over it (failures.go);
//   - for unusual volume, which goes by the hours' counts as they are then: a line that
//     comes late may change the baseline that an hour was compared with.
func (w *Watcher) Observe(ctx context.Context, f usage.Facts) error {
	for _, u := range canaryUses(&f) {
		if err := w.tell(ctx, u); err != nil {
			return err
		}
	}
	late, err := w.lateAccepts(ctx, &f)
	if err != nil {
		return err
	}
	for _, a := range slices.Concat(late, limits(&f), newNetworks(&f)) {
		if _, err := w.raise(ctx, a); err != nil {
			return err
		}
	}
	for _, s := range spates(&f) {
		if err := w.follow(ctx, s); err != nil {
			return err
		}
	}
	return w.weigh(ctx, &f)
}

// follow raises the alerts of the spikes that a spate makes with what came before it.
func (w *Watcher) follow(ctx context.Context, s spate) error {
	known, err := w.cfg.Store.Fail(ctx, s.of.AccountID, s.cause, s.window, s.failures)
	if err != nil {
		return fmt.Errorf("adding the failures of a %s: %w", s.of.Kind, err)
	}
	for _, hour := range spikes(known) {
		a := s.of
		a.Window = hour
		if _, err := w.raise(ctx, a); err != nil {
			return err
		}
	}
	return nil
}

// raise puts an alert, whose ID, Severity and RaisedAt it fills in, unless it is there.
func (w *Watcher) raise(ctx context.Context, a Alert) (raised bool, err error) {
	a.ID, a.Severity, a.RaisedAt = a.id(), severities[a.Kind], w.now()
	if w.knows(a.ID) {
		return false, nil
	}
	if raised, err = w.cfg.Store.Raise(ctx, a); err != nil {
		return false, fmt.Errorf("raising a %s: %w", a.Kind, err)
	}
	w.learn(a.ID)
	if raised {
		w.cfg.Log.LogAttrs(ctx, slog.LevelInfo, "alert", slog.String("alertId", a.ID), slog.String("kind", string(a.Kind)),
			slog.String("accountId", a.AccountID), slog.String("keyId", string(a.KeyID)))
	}
	return raised, nil
}

// knows reports whether name is in the store for certain.
func (w *Watcher) knows(name string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.known[name]
}

func (w *Watcher) learn(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.known) >= maxKnown {
		clear(w.known)
	}
	w.known[name] = true
}
