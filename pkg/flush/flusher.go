package flush

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/wait"
)

// Back-off of calls that were throttled: at random up to a bound that doubles.
const (
	firstWait   = 200 * time.Millisecond
	longestWait = 5 * time.Second
)

// atOnce bounds what a change's answer waits for. A call takes some 50 ms.
const atOnce = time.Second

// Config is what a Flusher works with.
type Config struct {
	Cache  Cache               // nil: nothing is flushed
	Shared bool                // there is the stage keys.SharedStage
	Random func(n int64) int64 // draws jitter from [0,n); default math/rand/v2
	Log    *slog.Logger        // default discards
}

// Flusher empties caches. It is safe for concurrent use.
type Flusher struct {
	cfg    Config
	mu     sync.Mutex
	stages map[string]*stage
}

// stage is one cache.
type stage struct {
	turn  chan struct{} // holds one token: whoever has it may call
	begun time.Time     // of the last call that succeeded; for who has the turn
}

// New returns a Flusher.
func New(c Config) *Flusher {
	if c.Random == nil {
		c.Random = rand.Int64N
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Flusher{cfg: c, stages: map[string]*stage{}}
}

// AtOnce empties the caches that changed keys touch, as far as that can be done within a
// second. It waits for no turn: what comes sooner after another flush, or fails, is left to
// the stream function. It is a keys.Config's Changed.
func (f *Flusher) AtOnce(ctx context.Context, moved []keys.Key) {
	ctx, cancel := context.WithTimeout(ctx, atOnce)
	defer cancel()
	var environments []keys.Environment
	for i := range moved {
		environments = append(environments, moved[i].Environment)
	}
	err := f.each(f.StagesOf(environments), func(name string) error { return f.flush(ctx, name, false) })
	if err != nil {
		f.cfg.Log.WarnContext(ctx, "not flushed at once: left to the stream function", "error", err.Error())
	}
}

// StagesOf are the stages that keys of these environments work on, each once, sorted.
func (f *Flusher) StagesOf(environments []keys.Environment) []string {
	var list []string
	for _, e := range environments {
		list = append(list, Stages(e, f.cfg.Shared)...)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// Flush empties these stages' caches, each by a call that begins after this one, and waits
// for its turn and for calls that are throttled. The error is of all that failed; then all
// of it may be repeated.
func (f *Flusher) Flush(ctx context.Context, stages []string) error {
	return f.each(stages, func(name string) error { return f.flush(ctx, name, true) })
}

func (f *Flusher) each(stages []string, do func(string) error) error {
	if f.cfg.Cache == nil {
		return nil
	}
	errs := make([]error, len(stages))
	var wg sync.WaitGroup
	for i, name := range stages {
		wg.Go(func() {
			if err := do(name); err != nil {
				errs[i] = fmt.Errorf("flushing the authorizers' cache of stage %s: %w", name, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

var errTurn = errors.New("it was flushed less than a second ago")

// flush empties one stage's cache. patient: when its turn comes; else now or not at all.
func (f *Flusher) flush(ctx context.Context, name string, patient bool) error {
	asked := time.Now()
	s := f.stage(name)
	select {
	case <-s.turn:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { s.turn <- struct{}{} }()
	if s.begun.After(asked) {
		return nil // somebody's call that began since
	}
	if left := time.Until(s.begun.Add(Every)); left > 0 {
		if !patient {
			return errTurn
		}
		if err := wait.For(ctx, left); err != nil {
			return err
		}
	}
	for bound := firstWait; ; bound = min(2*bound, longestWait) {
		begun := time.Now()
		err := f.cfg.Cache.Flush(ctx, name)
		if err == nil {
			s.begun = begun
			return nil
		}
		if !errors.Is(err, ErrThrottled) {
			return err
		}
		if wait.For(ctx, time.Duration(f.cfg.Random(int64(bound)))) != nil {
			return err
		}
	}
}

func (f *Flusher) stage(name string) *stage {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.stages[name]
	if s == nil {
		s = &stage{turn: make(chan struct{}, 1)}
		s.turn <- struct{}{}
		f.stages[name] = s
	}
	return s
}
