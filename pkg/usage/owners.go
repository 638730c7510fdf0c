package usage

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/logline"
)

// maxOwners bounds what a process remembers of keys, in each direction; about 1 MB.
const maxOwners = 10_000

// owners finds whose the keys are that events name, and remembers it. Whose a key is never
// changes; that there is no such key holds for requests from before the look, and a
// request from after it is a reason to look again: a key that was made meanwhile must not
// pass for unknown.
type owners struct {
	keys  Keys
	clock func() time.Time
	most  int // that are remembered, in each direction

	mu     sync.Mutex
	known  map[apikey.ID]owner
	absent map[apikey.ID]time.Time // when it was looked for
}

func newOwners(k Keys, clock func() time.Time) *owners {
	return &owners{keys: k, clock: clock, most: maxOwners, known: map[apikey.ID]owner{}, absent: map[apikey.ID]time.Time{}}
}

// of returns the owners of the keys that events name; those of unknown keys are missing.
func (o *owners) of(ctx context.Context, events []logline.Event) (map[apikey.ID]owner, error) {
	newest := map[apikey.ID]time.Time{} // by key, of its events
	for _, e := range events {
		if e.KeyID != "" {
			newest[e.KeyID] = later(newest[e.KeyID], e.Time)
		}
	}
	found := map[apikey.ID]owner{}
	var ask []apikey.ID
	o.mu.Lock()
	for id, at := range newest {
		if known, ok := o.known[id]; ok {
			found[id] = known
		} else if looked, ok := o.absent[id]; !ok || !at.Before(looked) {
			ask = append(ask, id)
		}
	}
	o.mu.Unlock()
	var mu sync.Mutex
	err := each(ctx, ask, func(ctx context.Context, id apikey.ID) error {
		known, ok, err := o.look(ctx, id)
		if ok {
			mu.Lock()
			found[id] = known
			mu.Unlock()
		}
		return err
	})
	return found, err
}

func (o *owners) look(ctx context.Context, id apikey.ID) (known owner, ok bool, err error) {
	now := o.clock()
	k, err := o.keys.Key(ctx, id)
	if err != nil && !errors.Is(err, keys.ErrNotFound) {
		return owner{}, false, fmt.Errorf("looking for the owner of key %s: %w", id, err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if err != nil {
		remember(o.absent, o.most, id, now)
		return owner{}, false, nil
	}
	delete(o.absent, id)
	known = owner{k.AccountID, k.Environment, k.Parent}
	remember(o.known, o.most, id, known)
	return known, true, nil
}

// remember forgets some other one where there is no room.
func remember[V any](m map[apikey.ID]V, most int, id apikey.ID, v V) {
	if len(m) >= most {
		for other := range m {
			delete(m, other)
			break
		}
	}
	m[id] = v
}
