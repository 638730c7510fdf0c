package verify

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

// parent makes the world's key a session of another key, and returns that one's id.
func (w *world) parent(change func(*keys.Key)) apikey.ID {
	parent := keys.Key{ID: apikey.NewID(), Number: 1, AccountID: w.stored.AccountID, Environment: keys.Production, Active: true, Version: 9, Verdict: 4, Generation: 1}
	w.put(func(k *keys.Key) {
		k.Number, k.Parent, k.ParentVerdict, k.ExpiresAt = 0, parent.ID, 4, now.Add(time.Hour)
	})
	if change != nil {
		change(&parent)
	}
	w.store.keys[parent.ID] = parent
	return parent.ID
}

func TestASessionCostsTwoReadsAndGivesItsParent(t *testing.T) {
	w := newWorld(t)
	parent := w.parent(nil)
	got, reads, _ := w.verify(t, w.key.Plaintext(), "production")
	if got.Reason != keys.OK || got.Identity.Parent != parent || got.Identity.ParentVerdict != 4 || got.Identity.KeyID != w.key.ID() || got.Identity.Holder() != parent {
		t.Errorf("Verify = %+v, want the session of %s", got, parent)
	}
	if reads != 2 {
		t.Errorf("%d reads, want 2", reads)
	}
}

// Whoever does not hold a session's secret learns nothing of it, and costs what any other
// refusal costs; its parent is read for its holder alone.
func TestASessionIsRefusedUnlessItsParentIsLiveAndAtItsVerdict(t *testing.T) {
	for _, c := range []struct {
		name   string
		parent func(*keys.Key)
		change func(*world)
		other  bool // present another secret of the same id
		want   keys.Reason
		reads  int
	}{
		{name: "revoked parent", parent: func(k *keys.Key) { k.Active = false }, want: keys.ReasonSession, reads: 2},
		{name: "deleted parent", parent: func(k *keys.Key) { k.Deleted = true }, want: keys.ReasonSession, reads: 2},
		{name: "expired parent", parent: func(k *keys.Key) { k.ExpiresAt = now }, want: keys.ReasonSession, reads: 2},
		{name: "parent that is to come", parent: func(k *keys.Key) { k.NotBefore = now.Add(1) }, want: keys.ReasonSession, reads: 2},
		{name: "changed parent", parent: func(k *keys.Key) { k.Verdict = 5 }, want: keys.ReasonSession, reads: 2},
		{name: "parent of an older table", parent: func(k *keys.Key) { k.Verdict = 3 }, want: keys.ReasonSession, reads: 2},
		{name: "canary parent", parent: func(k *keys.Key) { k.Canary = true }, want: keys.ReasonSession, reads: 2},
		{name: "parent of another account", parent: func(k *keys.Key) { k.AccountID = "acc_2" }, want: keys.ReasonSession, reads: 2},
		{name: "absent parent", change: func(w *world) { delete(w.store.keys, w.stored.Parent) }, want: keys.ReasonSession, reads: 2},
		{name: "itself", change: func(w *world) { w.put(func(k *keys.Key) { k.Parent = k.ID }) }, want: keys.ReasonSession, reads: 2},
		{name: "ended", change: func(w *world) { w.put(func(k *keys.Key) { k.Deleted = true }) }, want: keys.ReasonDeleted, reads: 1},
		{name: "expired", change: func(w *world) { w.now = now.Add(time.Hour) }, want: keys.ReasonExpired, reads: 1},
		{name: "wrong secret", other: true, want: keys.ReasonSecret, reads: 1},
		{name: "wrong secret, changed parent", other: true, parent: func(k *keys.Key) { k.Verdict = 5 }, want: keys.ReasonSecret, reads: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.parent(c.parent)
			if c.change != nil {
				c.change(w)
			}
			presented := w.key
			if c.other {
				presented = generate(t, w.key.ID())
			}
			got, reads, matches := w.verify(t, presented.Plaintext(), "production")
			if got.Reason != c.want || got.KeyID != w.key.ID() || got.Identity.KeyID != "" {
				t.Errorf("Verify = %+v, want %q and no identity", got, c.want)
			}
			if reads != c.reads || matches != 2 {
				t.Errorf("%d reads and %d digests, want %d and 2", reads, matches, c.reads)
			}
		})
	}
}

func TestASessionWhoseParentCannotBeReadIsAnErrorAndNoVerdict(t *testing.T) {
	w := newWorld(t)
	parent := w.parent(nil)
	store := &failingParent{w.store, parent}
	v := New(Config{Store: store, Peppers: w.peppers, Prefixes: w.v.cfg.Prefixes, Clock: w.v.cfg.Clock})
	got, err := v.Verify(context.Background(), w.key.Plaintext(), "production")
	if !errors.Is(err, keys.ErrUnavailable) || got.Reason != "" || got.Identity.KeyID != "" {
		t.Errorf("Verify = %+v, %v, want ErrUnavailable and nothing else", got, err)
	}
}

type failingParent struct {
	*fakeStore
	id apikey.ID
}

func (s *failingParent) Key(ctx context.Context, id apikey.ID) (keys.Key, error) {
	if id == s.id {
		return keys.Key{}, keys.ErrUnavailable
	}
	return s.fakeStore.Key(ctx, id)
}
