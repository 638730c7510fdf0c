package alert

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/usage"
)

// Late accepts. On an unguarded route a policy may be believed that was made before a key's
// change, but only until a time that the change's answer has promised ([Config].Bound after
// it). A request that succeeds later than that says that the promise was broken: that
// policies are kept for longer than this installation believes, or that something else lets
// requests in.
//
// The rule goes by the key as it is after the request, so it needs no history: had its
// verdict not moved since a bound before the request, and does it refuse the request, and
// did it a bound before too, then no policy from a better time could still be believed. A
// key that was changed since is given the benefit of the doubt, and so is a session whose
// item is gone: it may go as soon as the session has expired, and lines may come later.

// lateSlack is for clocks that differ, and for the time from VerdictAt, when a change is
// decided, to its commit.
const lateSlack = 5 * time.Second

// look is a key as it was read at a time.
type look struct {
	key  keys.Key
	gone bool // there was none
	at   time.Time
}

// lateAccepts are the alerts of requests that were let in too late.
func (w *Watcher) lateAccepts(ctx context.Context, f *usage.Facts) (list []Alert, err error) {
	newest := map[apikey.ID]time.Time{}
	for i := range f.Unguarded {
		newest[f.Unguarded[i].KeyID] = f.Unguarded[i].Time // in order of time
	}
	for i := range f.Unguarded {
		r := &f.Unguarded[i]
		l, err := w.look(ctx, r.KeyID, newest[r.KeyID])
		if err != nil {
			return nil, err
		}
		if l.gone && r.Parent == "" || late(&l.key, r, w.cfg.Bound+lateSlack) {
			data := map[string]string{"at": shownTime(r.Time), "requestId": r.RequestID}
			if !l.gone {
				data["changedAt"] = shownTime(l.key.VerdictAt)
			}
			list = append(list, ofRequest(r, LateAccept, hourOf(r.Time), "was let in on an unguarded route when it had to be refused there too.", data))
		}
	}
	if len(list) > 0 {
		w.cfg.Late(ctx, len(list))
	}
	return list, nil
}

// late reports whether the key as it is refuses a request, and did so for that long before
// it. Of the route's permission it knows; of customers, which are in the path, it does not.
func late(k *keys.Key, r *usage.Request, bound time.Duration) bool {
	before := r.Time.Add(-bound)
	return !k.VerdictAt.IsZero() && !k.VerdictAt.After(before) && refuses(k, r, before) && refuses(k, r, r.Time)
}

func refuses(k *keys.Key, r *usage.Request, at time.Time) bool {
	_, reason := keys.Identify(k, r.Generation, string(k.Environment), at)
	return reason != keys.OK || r.Permission != "" && !keys.Holds(k.Permissions, r.Permission)
}

// look reads a key later than a time, or remembers that it did.
func (w *Watcher) look(ctx context.Context, id apikey.ID, after time.Time) (look, error) {
	w.mu.Lock()
	l, ok := w.looks[id]
	w.mu.Unlock()
	if ok && l.at.After(after.Add(lateSlack)) {
		return l, nil
	}
	l = look{at: w.now()}
	var err error
	l.key, err = w.cfg.Keys.Key(ctx, id)
	if l.gone = errors.Is(err, keys.ErrNotFound); err != nil && !l.gone {
		return look{}, fmt.Errorf("looking at key %s: %w", id, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.looks) >= maxKnown {
		clear(w.looks)
	}
	w.looks[id] = l
	return l, nil
}
