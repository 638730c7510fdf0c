package keystest

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

// The conditions of a keys.Change, one by one and under concurrency.

func newRefusesOld(t *testing.T, f *fixture) {
	k := f.newKey(2)
	k.ID = f.root.ID
	c := asConflict(t, f.commit(keys.Change{Keys: []keys.KeyWrite{{New: k, SecretChanged: true}}}))
	if c.Key != f.root.ID || c.Account || c.Caller || c.Record || c.Retry {
		t.Errorf("new key over an old one: %v, want key=%s alone", c, f.root.ID)
	}
	same(t, "the old key", f.key(t, f.root.ID), f.root)

	k = f.newKey(2)
	c = asConflict(t, f.commit(keys.Change{
		Account: &keys.AccountWrite{New: f.account}, Keys: []keys.KeyWrite{{New: k, SecretChanged: true}},
	}))
	if !c.Account || c.Key != "" || c.Caller || c.Record || c.Retry {
		t.Errorf("new account over an old one: %v, want account alone", c)
	}
	if _, err := f.Key(f.ctx, k.ID); !errors.Is(err, keys.ErrNotFound) {
		t.Errorf("the key of a refused change: %v, want ErrNotFound", err)
	}
}

func staleVersion(t *testing.T, f *fixture) {
	other := f.newKey(2)
	f.add(t, other)
	fresh, spare := f.newKey(3), f.plainKey(4)
	stale := write(other, "stale")
	stale.Was = 7
	gone := write(spare, "of no key")
	account := f.account
	account.Version, account.Name = 9, "stale"
	next := f.account
	next.Version, next.NextNumber = 2, 3
	record := keys.IdempotencyRecord{Name: "n-" + string(apikey.NewID()), CreatedAt: f.base, ExpiresAt: f.base.Add(time.Hour)}

	for name, tt := range map[string]struct {
		change keys.Change
		want   keys.ConflictError
	}{
		"key": {keys.Change{
			Caller: f.check(f.root), Account: &keys.AccountWrite{New: next, Was: 1},
			Keys: []keys.KeyWrite{{New: fresh, SecretChanged: true}, stale},
		}, keys.ConflictError{Key: other.ID}},
		"absent key": {keys.Change{
			Account: &keys.AccountWrite{New: next, Was: 1}, Keys: []keys.KeyWrite{write(other, "first"), gone},
		}, keys.ConflictError{Key: spare.ID}},
		"account": {keys.Change{
			Caller: f.check(f.root), Account: &keys.AccountWrite{New: account, Was: 8},
			Keys: []keys.KeyWrite{write(other, "fine"), {New: fresh, SecretChanged: true}},
		}, keys.ConflictError{Account: true}},
	} {
		t.Run(name, func(t *testing.T) {
			tt.change.Record = &record
			tt.change.Audit = f.event("refused")
			same(t, "conflict", *asConflict(t, f.commit(tt.change)), tt.want)
		})
	}

	same(t, "the key", f.key(t, other.ID), other)
	if a, err := f.Account(f.ctx, f.account.ID); err != nil {
		t.Error(err)
	} else {
		same(t, "the account", a, f.account)
	}
	for _, id := range []apikey.ID{fresh.ID, spare.ID} {
		if _, err := f.Key(f.ctx, id); !errors.Is(err, keys.ErrNotFound) {
			t.Errorf("a new key of a refused change: %v, want ErrNotFound", err)
		}
		if _, found, err := f.Meter(f.ctx, id); err != nil || found {
			t.Errorf("a new key's meter of a refused change: found %t, %v", found, err)
		}
	}
	if _, err := f.Idempotent(f.ctx, record.Name); !errors.Is(err, keys.ErrNotFound) {
		t.Errorf("the record of a refused change: %v, want ErrNotFound", err)
	}
	events, err := Events(f.ctx, f, f.account.ID)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if e.Action == "refused" {
			t.Error("a refused change left an audit event")
		}
	}
}

func callerChanged(t *testing.T, f *fixture) {
	caller, target := f.newKey(2), f.newKey(3)
	f.add(t, caller, target)

	renamed := write(caller, "renamed") // a new version, the same verdict
	f.mustCommit(t, keys.Change{Keys: []keys.KeyWrite{renamed}})
	f.mustCommit(t, keys.Change{Caller: f.check(caller), Keys: []keys.KeyWrite{write(target, "by a renamed caller")}})
	target = f.key(t, target.ID)

	revoked := write(f.key(t, caller.ID), "revoked")
	revoked.New.Active, revoked.New.Verdict = false, 2
	f.mustCommit(t, keys.Change{Keys: []keys.KeyWrite{revoked}})
	fresh := f.newKey(4)
	for name, c := range map[string]keys.Change{
		"changed": {Caller: f.check(caller), Keys: []keys.KeyWrite{write(target, "late"), {New: fresh, SecretChanged: true}}},
		"absent":  {Caller: f.check(f.newKey(9)), Keys: []keys.KeyWrite{write(target, "late")}},
	} {
		conflict := asConflict(t, f.commit(c))
		same(t, "conflict with a caller "+name, *conflict, keys.ConflictError{Caller: true})
	}
	same(t, "the target", f.key(t, target.ID), target)
	if _, err := f.Key(f.ctx, fresh.ID); !errors.Is(err, keys.ErrNotFound) {
		t.Errorf("a key made by a revoked caller: %v, want ErrNotFound", err)
	}
}

func callerIsTarget(t *testing.T, f *fixture) {
	k := f.newKey(2)
	f.add(t, k)
	w := write(k, "by itself")
	w.New.Verdict = 2
	f.mustCommit(t, keys.Change{Caller: f.check(k), Keys: []keys.KeyWrite{w}})

	// The version is right, the caller was another: what the caller may do was read before.
	now := f.key(t, k.ID)
	c := asConflict(t, f.commit(keys.Change{Caller: f.check(k), Keys: []keys.KeyWrite{write(now, "late")}}))
	if !c.Caller || c.Account || c.Record || c.Retry {
		t.Errorf("stale verdict, right version: %v, want caller", c)
	}
	// The caller is right, the version is stale.
	stale := write(now, "late")
	stale.Was--
	c = asConflict(t, f.commit(keys.Change{Caller: f.check(now), Keys: []keys.KeyWrite{stale}}))
	same(t, "right verdict, stale version", *c, keys.ConflictError{Key: k.ID})
	// Both are stale.
	c = asConflict(t, f.commit(keys.Change{Caller: f.check(k), Keys: []keys.KeyWrite{stale}}))
	if !c.Caller && c.Key != k.ID {
		t.Errorf("both stale: %v, want caller or key", c)
	}
	same(t, "the key", f.key(t, k.ID), now)

	// Beside another key, in either order.
	other := f.newKey(3)
	f.add(t, other)
	f.mustCommit(t, keys.Change{Caller: f.check(now), Keys: []keys.KeyWrite{write(other, "one"), write(now, "two")}})
	if got := f.key(t, k.ID).Name + f.key(t, other.ID).Name; got != "twoone" {
		t.Errorf("names = %q, want %q", got, "twoone")
	}
}

func recordExpiry(t *testing.T, f *fixture) {
	first := keys.IdempotencyRecord{
		Name: "n-" + string(apikey.NewID()), Fingerprint: []byte("1"), KeyID: f.root.ID, Generation: 1, Pepper: "p1",
		Salt: []byte("s"), Box: []byte("b"), CreatedAt: f.base, ExpiresAt: f.base.Add(24 * time.Hour),
	}
	f.mustCommit(t, keys.Change{Record: &first})
	late, root := first, f.root
	late.Fingerprint, late.CreatedAt = []byte("2"), first.ExpiresAt.Add(-time.Millisecond)
	late.ExpiresAt = late.CreatedAt.Add(24 * time.Hour)
	c := asConflict(t, f.commit(keys.Change{Caller: f.check(root), Keys: []keys.KeyWrite{write(root, "late")}, Record: &late}))
	same(t, "a millisecond before the end", *c, keys.ConflictError{Record: true})
	same(t, "the key of a refused change", f.key(t, root.ID), root)

	late.CreatedAt = first.ExpiresAt
	late.ExpiresAt = late.CreatedAt.Add(24 * time.Hour)
	f.mustCommit(t, keys.Change{Record: &late})
	got, err := f.Idempotent(f.ctx, first.Name)
	if err != nil {
		t.Fatalf("Idempotent: %v", err)
	}
	same(t, "the record that took its place", got, late)
}

func largestChange(t *testing.T, f *fixture) {
	var writes []keys.KeyWrite
	var list []keys.Key
	for n := int64(2); n < 2+keys.MaxKeysPerChange-1; n++ {
		k := f.newKey(n)
		f.add(t, k)
		list = append(list, k)
		writes = append(writes, write(k, "all at once"))
	}
	next := f.account
	next.Version = 2
	fresh := f.newKey(99)
	writes = append(writes, keys.KeyWrite{New: fresh, SecretChanged: true})
	record := keys.IdempotencyRecord{Name: "n-" + string(apikey.NewID()), CreatedAt: f.base, ExpiresAt: f.base.Add(time.Hour)}
	session := f.session(f.root)
	f.add(t, session)
	change := keys.Change{
		Caller: f.check(session), Parent: f.check(f.root), Account: &keys.AccountWrite{New: next, Was: 1}, Keys: writes, Record: &record,
		Audit: f.event("all"),
	}
	change.Audit.KeyID = f.root.ID
	for _, w := range writes {
		e := change.Audit
		e.KeyID = w.New.ID
		change.Trails = append(change.Trails, e)
	}
	stale := slices.Clone(writes)
	stale[len(list)-1].Was = 6
	refused := change
	refused.Keys = stale
	if c := asConflict(t, f.commit(refused)); c.Key != list[len(list)-1].ID {
		t.Errorf("conflict = %v, want the last key but the new one, %s", c, list[len(list)-1].ID)
	}
	same(t, "the first key of a refused change", f.key(t, list[0].ID), list[0])
	f.mustCommit(t, change)
	for i, k := range list {
		same(t, "key", f.key(t, k.ID), writes[i].New)
	}
	same(t, "the new key", f.key(t, fresh.ID), fresh)
	for _, id := range []apikey.ID{f.root.ID, list[0].ID, fresh.ID} {
		got, err := f.AuditEvents(f.ctx, keys.AuditRange{AccountID: f.account.ID, KeyID: id, Limit: 1})
		if err != nil || len(got) != 1 || got[0].ID != change.Audit.ID {
			t.Errorf("the trail of %s lacks the change, %v", id, err)
		}
	}
}

// oneWinner counts up one account from many goroutines: every success is one step.
func oneWinner(t *testing.T, f *fixture) {
	const goroutines, steps = 8, 6
	var wins, conflicts atomic.Int64
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for done := 0; done < steps; {
				a, err := f.Account(f.ctx, f.account.ID)
				if err != nil {
					t.Errorf("Account: %v", err)
					return
				}
				was := a.Version
				a.Version++
				a.NextNumber++
				k := f.plainKey(a.NextNumber - 1)
				err = f.commit(keys.Change{
					Account: &keys.AccountWrite{New: a, Was: was}, Keys: []keys.KeyWrite{{New: k, SecretChanged: true}},
				})
				var c *keys.ConflictError
				switch {
				case err == nil:
					wins.Add(1)
					done++
				case errors.As(err, &c) && (c.Account || c.Retry):
					conflicts.Add(1)
				default:
					t.Errorf("Commit: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	a, err := f.Account(f.ctx, f.account.ID)
	if err != nil {
		t.Fatal(err)
	}
	if want := 2 + wins.Load(); a.NextNumber != want || wins.Load() != goroutines*steps {
		t.Errorf("NextNumber = %d after %d wins, want %d", a.NextNumber, wins.Load(), want)
	}
	list, err := f.Keys(f.ctx, f.account.ID)
	if err != nil {
		t.Fatal(err)
	}
	for i, k := range list {
		if k.Number != int64(i+1) {
			t.Fatalf("key %d of the list has number %d", i+1, k.Number)
		}
	}
	t.Logf("%d wins, %d conflicts", wins.Load(), conflicts.Load())
}

// noWriteSkew lets two keys revoke each other: each change writes one and checks the
// other, so both succeeding would need a store that checks what it does not lock.
func noWriteSkew(t *testing.T, f *fixture) {
	for round := range int64(25) {
		pair := [2]keys.Key{f.newKey(2*round + 2), f.newKey(2*round + 3)}
		f.add(t, pair[:]...)
		var wins atomic.Int64
		var wg sync.WaitGroup
		for i := range pair {
			wg.Go(func() {
				w := write(pair[1-i], "revoked")
				w.New.Active, w.New.Verdict = false, 2
				for range 50 {
					err := f.commit(keys.Change{Caller: f.check(pair[i]), Keys: []keys.KeyWrite{w}})
					var c *keys.ConflictError
					if errors.As(err, &c) && c.Retry && !c.Caller {
						continue
					}
					if err == nil {
						wins.Add(1)
					} else if c == nil {
						t.Errorf("Commit: %v", err)
					}
					return
				}
			})
		}
		wg.Wait()
		if n := wins.Load(); n > 1 {
			t.Fatalf("round %d: both of two keys revoked each other", round)
		}
	}
}

// write is k with a new name and the next version, over the version it has.
func write(k keys.Key, name string) keys.KeyWrite {
	w := keys.KeyWrite{New: k, Was: k.Version}
	w.New.Name = name
	w.New.Version++
	return w
}

// asConflict fails unless err is a *keys.ConflictError.
func asConflict(t *testing.T, err error) *keys.ConflictError {
	t.Helper()
	var c *keys.ConflictError
	if !errors.As(err, &c) {
		t.Fatalf("Commit = %v, want a *keys.ConflictError", err)
	}
	return c
}
