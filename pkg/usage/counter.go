package usage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/order"
	"github.com/keyreeve/keyreeve/pkg/route"
	"github.com/keyreeve/keyreeve/pkg/wait"
)

// Keys reads a key; keys.ErrNotFound.
type Keys interface {
	Key(ctx context.Context, id apikey.ID) (keys.Key, error)
}

// Config is what a Counter works with. Store, Table and Keys are needed.
type Config struct {
	Store  Store
	Table  *route.Table
	Keys   Keys
	Clock  func() time.Time                           // default time.Now
	Sleep  func(context.Context, time.Duration) error // returns early with ctx's error; default waits
	Random func() float64                             // jitter in [0,1); default math/rand
	Log    *slog.Logger                               // default discards
}

// Counter processes batches of log lines. It is safe for concurrent use.
type Counter struct {
	cfg    Config
	owners *owners
}

// New returns a Counter.
func New(c Config) *Counter {
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Sleep == nil {
		c.Sleep = wait.For
	}
	if c.Random == nil {
		c.Random = rand.Float64
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Counter{cfg: c, owners: newOwners(c.Keys, c.Clock)}
}

// Stats say what became of a batch's lines.
type Stats struct {
	Counted      int       // lines that the batch counts: of requests, and of refusals by the guard
	Duplicate    int       // lines that another batch has counted
	Unreadable   int       // lines that are neither kind, or of a time that cannot be
	Unattributed int       // refusals whose key nobody knows, or that name none
	Newest       time.Time // time of the newest request; zero: no line was readable
}

// Process counts a batch, once however often it is called, and calls watch with what the
// batch says. The error is the first of a store's, of Keys' or of watch; then the call must
// be repeated, by any process and at any time.
//
// The order of the steps is what makes a crash between any two of them harmless:
//
//	rows      before counts, so that what is counted is settled first
//	joins     after the rows that they complete
//	counts    once, under the batch's mark
//	watch     with the profiles from before the batch; at each attempt, as often as it takes
//	profiles  last: a batch whose facts were not watched to the end must find them as they
//	          were, or what is new in it would be new no more
func (c *Counter) Process(ctx context.Context, d Delivery, watch func(context.Context, Facts) error) (Stats, error) {
	l := d.read()
	stats := Stats{Unreadable: l.unreadable, Newest: l.newest}
	if l.unreadable > 0 {
		c.cfg.Log.WarnContext(ctx, "lines not readable", "lines", l.unreadable, "logGroup", d.LogGroup, "logStream", d.LogStream)
	}
	owners, err := c.owners.of(ctx, l.events)
	if err != nil {
		return stats, err
	}
	p := makePlan(c.cfg.Table, l, owners)
	stats.Unattributed = p.nobodys

	batch := d.Batch()
	mine, err := c.record(ctx, batch, p.rows)
	if err != nil {
		return stats, err
	}
	for _, own := range mine {
		if own {
			stats.Counted++
		} else {
			stats.Duplicate++
		}
	}
	facts := p.facts
	if facts.Joined, err = c.join(ctx, p.joins); err != nil {
		return stats, err
	}
	facts.Unknown = without(facts.Unknown, facts.Joined)
	if counts, totals := p.count(mine); len(counts)+len(totals) > 0 {
		if err := c.cfg.Store.Count(ctx, batch, counts, totals); err != nil {
			return stats, fmt.Errorf("counting: %w", err)
		}
	}
	if facts.Before, err = c.profiles(ctx, holdersOf(facts.Requests)); err != nil {
		return stats, err
	}
	if err := watch(ctx, facts); err != nil {
		return stats, fmt.Errorf("watching: %w", err)
	}
	return stats, each(ctx, slices.Sorted(maps.Keys(p.profiles)), func(ctx context.Context, id apikey.ID) error {
		return c.save(ctx, facts.Before[id], p.profiles[id])
	})
}

func (c *Counter) record(ctx context.Context, batch Batch, rows []Row) ([]bool, error) {
	if len(rows) == 0 {
		return nil, nil
	}
	mine, err := c.cfg.Store.Record(ctx, batch, rows)
	if err != nil {
		return nil, fmt.Errorf("recording requests: %w", err)
	}
	return mine, nil
}

// join brings lines together with their other halves. It returns those that have both, in
// order of time.
func (c *Counter) join(ctx context.Context, waiting []Row) ([]Request, error) {
	var mu sync.Mutex
	found := map[string]Request{} // by id: a batch may bring both halves
	err := each(ctx, waiting, func(ctx context.Context, row Row) error {
		r, both, err := c.cfg.Store.Join(ctx, row.Half, row.Request)
		if err != nil {
			return fmt.Errorf("joining the lines of a request: %w", err)
		}
		if !both {
			return nil
		}
		if err := c.cfg.Store.Complete(ctx, r); err != nil {
			return fmt.Errorf("completing a row: %w", err)
		}
		mu.Lock()
		found[r.ID] = r
		mu.Unlock()
		return nil
	})
	if err != nil {
		return nil, err
	}
	both := slices.Collect(maps.Values(found))
	order.By(both, func(a, b Request) int { return a.Time.Compare(b.Time) })
	return both, nil
}

func holdersOf(list []Request) []apikey.ID {
	ids := map[apikey.ID]bool{}
	for _, r := range list {
		ids[r.Holder()] = true
	}
	return slices.Sorted(maps.Keys(ids))
}

// without leaves out of list what joined has.
func without(list, joined []Request) []Request {
	known := map[string]bool{}
	for _, r := range joined {
		known[r.ID] = true
	}
	return slices.DeleteFunc(list, func(r Request) bool { return known[r.ID] })
}

func (c *Counter) profiles(ctx context.Context, ids []apikey.ID) (map[apikey.ID]Profile, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	found, err := c.cfg.Store.Profiles(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("reading profiles: %w", err)
	}
	return found, nil
}

// save joins what a batch knows of a key to the stored profile, unless that knows it
// already. Where another process is first, it joins anew, until ctx ends.
func (c *Counter) save(ctx context.Context, stored, known Profile) error {
	const first, most = 10 * time.Millisecond, 500 * time.Millisecond
	for wait := first; ; wait = min(2*wait, most) {
		next := stored.Join(known)
		if next.same(stored) {
			return nil
		}
		err := c.cfg.Store.SaveProfile(ctx, next)
		if err == nil {
			return nil
		}
		if !errors.Is(err, ErrStale) {
			return fmt.Errorf("saving the profile of %s: %w", known.KeyID, err)
		}
		if err := c.cfg.Sleep(ctx, time.Duration(c.cfg.Random()*float64(wait))); err != nil {
			return fmt.Errorf("saving the profile of %s: %w: %w", known.KeyID, keys.ErrUnavailable, err)
		}
		found, err := c.profiles(ctx, []apikey.ID{known.KeyID})
		if err != nil {
			return err
		}
		stored = found[known.KeyID]
	}
}

// atOnce is how many calls of a store a batch has under way, where each is about one item.
const atOnce = 16

// each runs f for every item, several at a time. It returns the first error of f, and
// begins nothing after that or after the end of ctx.
func each[T any](ctx context.Context, items []T, f func(context.Context, T) error) error {
	running, stop := context.WithCancel(ctx)
	defer stop()
	var once sync.Once
	var first error
	next := make(chan T)
	var wg sync.WaitGroup
	for range min(atOnce, len(items)) {
		wg.Go(func() {
			for item := range next {
				err := running.Err()
				if err == nil {
					err = f(running, item)
				} else {
					err = fmt.Errorf("%w: %w", keys.ErrUnavailable, err)
				}
				if err != nil {
					once.Do(func() { first = err })
					stop()
				}
			}
		})
	}
	for _, item := range items {
		next <- item
	}
	close(next)
	wg.Wait()
	return first
}
