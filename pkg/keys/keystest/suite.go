package keystest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

// Suite checks the contract of keys.Store. newStore may return the same store each time.
func Suite(t *testing.T, newStore func(t *testing.T) Store) {
	for _, tt := range []struct {
		name string
		test func(*testing.T, *fixture)
	}{
		{"reads back what was committed", readsBack},
		{"absent is ErrNotFound", absent},
		{"a new key or account refuses an old one", newRefusesOld},
		{"a stale version commits nothing", staleVersion},
		{"a caller that changed commits nothing", callerChanged},
		{"a caller that changes itself is checked as well", callerIsTarget},
		{"a record is taken until it expires", recordExpiry},
		{"only a change of secret writes digests", digests},
		{"a re-digest touches the live secret alone", redigest},
		{"a new key has its meter, and no change moves it", meterMade},
		{"a meter never goes back", settle},
		{"usage comes from meters", usage},
		{"keys come in order of number", listing},
		{"as many keys as a change may hold", largestChange},
		{"audit events come oldest first", auditOrder},
		{"one winner per version", oneWinner},
		{"two that check each other never both win", noWriteSkew},
		{"nothing is shared with the caller", noSharing},
		{"a cancelled context changes nothing", cancelled},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, newFixture(t, newStore(t))) })
	}
}

// fixture is an account with a root key in a store.
type fixture struct {
	Store
	ctx     context.Context
	base    time.Time // now, as stores keep it
	account keys.Account
	root    keys.Key
}

func newFixture(t *testing.T, s Store) *fixture {
	t.Helper()
	f := &fixture{Store: s, ctx: t.Context(), base: stored(time.Now())}
	f.account = keys.Account{
		ID: "t-" + string(apikey.NewID()), Name: "Zoë & 東京 🗼", Plan: "enterprise",
		NextNumber: 2, KeyCount: 1, CreatedAt: f.base, Version: 1,
	}
	f.root = f.newKey(1)
	f.account.Primary, f.root.Primary = f.root.ID, true
	f.mustCommit(t, keys.Change{
		Account: &keys.AccountWrite{New: f.account},
		Keys:    []keys.KeyWrite{{New: f.root, SecretChanged: true}},
	})
	return f
}

// newKey is a key with every field set to something of its own; it is not committed.
func (f *fixture) newKey(number int64) keys.Key {
	at := func(minutes int) time.Time {
		return f.base.Add(time.Duration(minutes)*time.Minute + time.Duration(number)*time.Millisecond)
	}
	return keys.Key{
		ID: apikey.NewID(), Number: number, AccountID: f.account.ID,
		Name: "Ключ №" + fmt.Sprint(number) + " 👩‍🚀 =HYPERLINK(\"x\")", Environment: keys.Production,
		Permissions: []string{"*", "api_keys:*"}, Customers: []string{"cus_1", "cus_2"},
		Owner: "Ärger & Söhne", Plan: "pro", RateLimit: 123, LimitNamed: true, Active: true,
		Face: keys.AccountFace, CreatedBy: "createdX",
		CreatedAt: at(1), UpdatedAt: at(2), RotatedAt: at(3), ExpiresAt: at(60 * 24),
		Version: 1, Verdict: 1, Generation: 2,
		Secret:   keys.Secret{Generation: 2, Digest: randomDigest(), Pepper: "p2", Prefix: "kr_live"},
		Previous: keys.Secret{Generation: 1, Digest: randomDigest(), Pepper: "p1", Prefix: "kr_old", Until: at(90)},
	}
}

// plainKey is a key with every optional field empty; it is not committed.
func (f *fixture) plainKey(number int64) keys.Key {
	return keys.Key{
		ID: apikey.NewID(), Number: number, AccountID: f.account.ID, Name: "x",
		Environment: keys.Development, Plan: "free", RateLimit: 1, Face: keys.Canonical, CreatedAt: f.base,
		Version: 1, Verdict: 1, Generation: 1,
		Secret: keys.Secret{Generation: 1, Digest: randomDigest(), Pepper: "p1", Prefix: "kr_dev"},
	}
}

func randomDigest() (d apikey.Digest) {
	for i := range d {
		d[i] = byte(rand.Uint32())
	}
	return d
}

// commit gives the change an audit event of its own if it has none.
func (f *fixture) commit(c keys.Change) error {
	if c.Audit.ID == "" {
		c.Audit = f.event("test")
	}
	return f.Commit(f.ctx, c)
}

func (f *fixture) event(action string) keys.AuditEvent {
	return keys.AuditEvent{
		ID:        fmt.Sprintf("%016x%s", time.Now().UnixNano(), apikey.NewID()),
		AccountID: f.account.ID, At: f.base, Action: action,
	}
}

func (f *fixture) mustCommit(t *testing.T, c keys.Change) {
	t.Helper()
	if err := f.commit(c); err != nil {
		t.Fatalf("Commit: %v", err)
	}
}

// add commits new keys, one change each, without touching the account item.
func (f *fixture) add(t *testing.T, list ...keys.Key) {
	t.Helper()
	for _, k := range list {
		f.mustCommit(t, keys.Change{Keys: []keys.KeyWrite{{New: k, SecretChanged: true}}})
	}
}

// key reads a key that must be there.
func (f *fixture) key(t *testing.T, id apikey.ID) keys.Key {
	t.Helper()
	k, err := f.Key(f.ctx, id)
	if err != nil {
		t.Fatalf("Key: %v", err)
	}
	return k
}

func (f *fixture) check(k keys.Key) *keys.CallerCheck {
	return &keys.CallerCheck{ID: k.ID, Verdict: k.Verdict}
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

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func readsBack(t *testing.T, f *fixture) {
	full, plain := f.newKey(2), f.plainKey(3)
	record := keys.IdempotencyRecord{
		Name: "n-" + string(apikey.NewID()), Fingerprint: []byte{0, 1, 255}, KeyID: full.ID, Generation: 2,
		Pepper: "p2", Salt: []byte("salt"), Box: []byte{9, 0, 8}, CreatedAt: f.base, ExpiresAt: f.base.Add(24 * time.Hour),
	}
	event := f.event("key.create")
	event.Actor, event.KeyID = f.root.ID, full.ID
	event.Before, event.After = map[string]string{"name": ""}, map[string]string{"name": "東京 \"é\"", "rateLimit": "5"}
	f.mustCommit(t, keys.Change{
		Caller: f.check(f.root), Keys: []keys.KeyWrite{{New: full, SecretChanged: true}}, Record: &record, Audit: event,
	})
	f.add(t, plain)

	for _, want := range []keys.Key{f.root, full, plain} {
		got := f.key(t, want.ID)
		same(t, "Key", got, want)
		for name, at := range map[string]time.Time{"CreatedAt": got.CreatedAt, "Until": got.Previous.Until, "ExpiresAt": got.ExpiresAt} {
			if at.Location() != time.UTC {
				t.Errorf("%s is not in UTC", name)
			}
		}
		got, err := f.KeyByNumber(f.ctx, f.account.ID, want.Number)
		if err != nil {
			t.Fatalf("KeyByNumber(%d): %v", want.Number, err)
		}
		same(t, "KeyByNumber", got, row(want))
	}
	account, err := f.Account(f.ctx, f.account.ID)
	if err != nil {
		t.Fatalf("Account: %v", err)
	}
	same(t, "Account", account, f.account)
	gotRecord, err := f.Idempotent(f.ctx, record.Name)
	if err != nil {
		t.Fatalf("Idempotent: %v", err)
	}
	same(t, "Idempotent", gotRecord, record)
	events, err := f.AuditEvents(f.ctx, f.account.ID, 100)
	if err != nil || len(events) != 3 {
		t.Fatalf("AuditEvents: %d events, %v, want 3", len(events), err)
	}
	same(t, "AuditEvents", events[1], event)

	// Every field can go back to nothing.
	bare := full
	bare.Customers, bare.Permissions, bare.Owner, bare.CreatedBy = nil, nil, "", ""
	bare.RotatedAt, bare.ExpiresAt, bare.Previous = time.Time{}, time.Time{}, keys.Secret{}
	bare.Version, bare.Deleted, bare.DeletedAt, bare.Active = 2, true, f.base, false
	f.mustCommit(t, keys.Change{Keys: []keys.KeyWrite{{New: bare, Was: 1, SecretChanged: true}}})
	same(t, "Key after fields were emptied", f.key(t, full.ID), bare)

	// To the millisecond.
	fine := f.plainKey(4)
	fine.CreatedAt = f.base.Add(987_654 * time.Nanosecond)
	f.add(t, fine)
	fine.CreatedAt = f.base
	same(t, "Key made at a fraction of a millisecond", f.key(t, fine.ID), fine)
}

func absent(t *testing.T, f *fixture) {
	for name, read := range map[string]func() error{
		"Key":                            func() error { _, err := f.Key(f.ctx, apikey.NewID()); return err },
		"KeyByNumber":                    func() error { _, err := f.KeyByNumber(f.ctx, f.account.ID, 99); return err },
		"KeyByNumber of no number":       func() error { _, err := f.KeyByNumber(f.ctx, f.account.ID, -1); return err },
		"KeyByNumber of another account": func() error { _, err := f.KeyByNumber(f.ctx, "t-nobody", 1); return err },
		"Account":                        func() error { _, err := f.Account(f.ctx, "t-nobody"); return err },
		"Idempotent":                     func() error { _, err := f.Idempotent(f.ctx, string(apikey.NewID())); return err },
	} {
		if err := read(); !errors.Is(err, keys.ErrNotFound) {
			t.Errorf("%s = %v, want ErrNotFound", name, err)
		}
	}
	if list, err := f.Keys(f.ctx, "t-nobody"); err != nil || len(list) != 0 {
		t.Errorf("Keys of an unknown account = %d keys, %v, want none", len(list), err)
	}
	if list, err := f.AuditEvents(f.ctx, "t-nobody", 10); err != nil || len(list) != 0 {
		t.Errorf("AuditEvents of an unknown account = %d, %v, want none", len(list), err)
	}
	if use, err := f.Usage(f.ctx, []apikey.ID{apikey.NewID()}); err != nil || len(use) != 0 {
		t.Errorf("Usage of an unknown key = %v, %v, want no entry", use, err)
	}
	if use, err := f.Usage(f.ctx, nil); err != nil || len(use) != 0 {
		t.Errorf("Usage of no key = %v, %v, want no entry", use, err)
	}
}

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
	events, err := f.AuditEvents(f.ctx, f.account.ID, 100)
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

func digests(t *testing.T, f *fixture) {
	k := f.newKey(2)
	f.add(t, k)

	// A change that was read before a re-digest does not undo it.
	redone := k.Secret
	redone.Digest, redone.Pepper = randomDigest(), "p3"
	if err := f.Redigest(f.ctx, k.ID, k.Secret, redone); err != nil {
		t.Fatalf("Redigest: %v", err)
	}
	w := write(k, "renamed")
	w.New.Secret.Prefix, w.New.Previous.Until = "kr_new", k.Previous.Until.Add(-time.Minute)
	f.mustCommit(t, keys.Change{Keys: []keys.KeyWrite{w}})
	want := w.New
	want.Secret.Digest, want.Secret.Pepper = redone.Digest, redone.Pepper
	same(t, "a change of anything else", f.key(t, k.ID), want)

	// Nor does one that was read off a list, without digests.
	listed, err := f.KeyByNumber(f.ctx, f.account.ID, 2)
	if err != nil {
		t.Fatal(err)
	}
	w = write(listed, "off a list")
	f.mustCommit(t, keys.Change{Keys: []keys.KeyWrite{w}})
	want.Name, want.Version = "off a list", 3
	same(t, "a change without digests", f.key(t, k.ID), want)

	// A change of secret writes both.
	want.Version, want.Generation, want.Verdict = 4, 3, 2
	want.Previous, want.Secret = want.Secret, keys.Secret{Generation: 3, Digest: randomDigest(), Pepper: "p3", Prefix: "kr_live"}
	want.Previous.Until = f.base.Add(time.Hour)
	f.mustCommit(t, keys.Change{Keys: []keys.KeyWrite{{New: want, Was: 3, SecretChanged: true}}})
	same(t, "a change of secret", f.key(t, k.ID), want)
	listed, err = f.KeyByNumber(f.ctx, f.account.ID, 2)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "its row", listed, row(want))
}

func redigest(t *testing.T, f *fixture) {
	k := f.newKey(2)
	f.add(t, k)
	now := keys.Secret{Generation: k.Secret.Generation, Digest: randomDigest(), Pepper: "p9", Prefix: "not to be written"}
	for name, was := range map[string]keys.Secret{
		"digest": {Digest: randomDigest(), Pepper: k.Secret.Pepper},
		"pepper": {Digest: k.Secret.Digest, Pepper: "p1"},
		"old":    k.Previous,
	} {
		if err := f.Redigest(f.ctx, k.ID, was, now); err != nil {
			t.Errorf("Redigest that lost on %s = %v, want no error", name, err)
		}
	}
	if err := f.Redigest(f.ctx, apikey.NewID(), k.Secret, now); err != nil {
		t.Errorf("Redigest of no key = %v, want no error", err)
	}
	same(t, "the key after lost races", f.key(t, k.ID), k)
	if err := f.Redigest(f.ctx, k.ID, k.Secret, now); err != nil {
		t.Fatalf("Redigest: %v", err)
	}
	k.Secret.Digest, k.Secret.Pepper = now.Digest, now.Pepper
	same(t, "the key", f.key(t, k.ID), k)
}

func (f *fixture) meterIs(t *testing.T, what string, id apikey.ID, want Meter) {
	t.Helper()
	got, found, err := f.Meter(f.ctx, id)
	if err != nil || !found || got != want {
		t.Errorf("%s: meter %+v, found %t, %v, want %+v", what, got, found, err, want)
	}
}

func meterMade(t *testing.T, f *fixture) {
	on, off := f.newKey(2), f.newKey(3)
	on.Verdict, off.Verdict, off.Active = 4, 5, false
	f.add(t, on, off)
	f.meterIs(t, "a new active key", on.ID, Meter{4, true})
	f.meterIs(t, "a new inactive key", off.ID, Meter{5, false})
	w := write(on, "revoked")
	w.New.Active, w.New.Verdict = false, 5
	f.mustCommit(t, keys.Change{Keys: []keys.KeyWrite{w}})
	f.meterIs(t, "a changed key", on.ID, Meter{4, true})
}

func settle(t *testing.T, f *fixture) {
	k := f.newKey(2)
	f.add(t, k)
	for _, step := range []struct {
		verdict int64
		active  bool
		want    Meter
	}{
		{2, false, Meter{2, false}},
		{2, false, Meter{2, false}}, // again
		{1, true, Meter{2, false}},  // late
		{5, true, Meter{5, true}},   // one was skipped
		{4, false, Meter{5, true}},
		{5, false, Meter{5, false}}, // the same verdict, read off the key: corrects it
	} {
		if err := f.Settle(f.ctx, k.ID, step.verdict, step.active); err != nil {
			t.Fatalf("Settle(%d, %t): %v", step.verdict, step.active, err)
		}
		f.meterIs(t, fmt.Sprintf("after Settle(%d, %t)", step.verdict, step.active), k.ID, step.want)
	}
	id := apikey.NewID()
	if err := f.Settle(f.ctx, id, 3, true); err != nil {
		t.Fatalf("Settle without a meter: %v", err)
	}
	f.meterIs(t, "a meter that was missing", id, Meter{3, true})
	same(t, "the key", f.key(t, k.ID), k)
}

func usage(t *testing.T, f *fixture) {
	used, unused := f.newKey(2), f.newKey(3)
	f.add(t, used, unused)
	for i := range 3 {
		if err := f.Use(f.ctx, used.ID, f.base.Add(time.Duration(i)*time.Second)); err != nil {
			t.Fatalf("Use: %v", err)
		}
	}
	if err := f.Settle(f.ctx, used.ID, 2, true); err != nil {
		t.Fatal(err)
	}
	// More than one batch of DynamoDB, with repeats and strangers in it.
	ids := []apikey.ID{used.ID, unused.ID, used.ID}
	for range 250 {
		ids = append(ids, apikey.NewID())
	}
	got, err := f.Usage(f.ctx, ids)
	if err != nil {
		t.Fatalf("Usage: %v", err)
	}
	same(t, "Usage", got, map[apikey.ID]keys.Usage{
		used.ID: {LastUsed: f.base.Add(2 * time.Second), Requests: 3}, unused.ID: {},
	})
	same(t, "the key", f.key(t, used.ID), used)
}

func listing(t *testing.T, f *fixture) {
	want := []keys.Key{row(f.root)}
	for n := int64(2); n <= 300; n++ {
		k := f.newKey(n)
		k.Name += strings.Repeat(" 長い名前", 15) // so that 300 rows are more than one page of a query
		if n%7 == 0 {
			k = f.plainKey(n)
			k.Deleted, k.DeletedAt = true, f.base
		}
		f.add(t, k)
		want = append(want, row(k))
	}
	// Accounts whose ids begin alike are apart.
	for _, id := range []string{f.account.ID + "0", f.account.ID[:len(f.account.ID)-1]} {
		k := f.newKey(1)
		k.AccountID = id
		f.mustCommit(t, keys.Change{
			Account: &keys.AccountWrite{New: keys.Account{ID: id, Name: "x", Plan: "free", Version: 1}},
			Keys:    []keys.KeyWrite{{New: k, SecretChanged: true}},
		})
	}
	got, err := f.Keys(f.ctx, f.account.ID)
	if err != nil {
		t.Fatalf("Keys: %v", err)
	}
	same(t, "Keys", got, want)
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
	change := keys.Change{
		Caller: f.check(f.root), Account: &keys.AccountWrite{New: next, Was: 1}, Keys: writes, Record: &record,
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
}

func auditOrder(t *testing.T, f *fixture) {
	want := []string{"step 0", "step 1", "step 2", "step 3", "step 4"}
	for i := 4; i >= 0; i-- {
		e := f.event(want[i])
		e.ID = fmt.Sprintf("%020d", i) // before the fixture's own, which starts with the time
		f.mustCommit(t, keys.Change{Audit: e})
	}
	events, err := f.AuditEvents(f.ctx, f.account.ID, 3)
	if err != nil {
		t.Fatalf("AuditEvents: %v", err)
	}
	var got []string
	for _, e := range events {
		got = append(got, e.Action)
	}
	same(t, "the three oldest events", got, want[:3])
	all, err := f.AuditEvents(f.ctx, f.account.ID, 1000)
	if err != nil || len(all) != 6 {
		t.Errorf("AuditEvents = %d events, %v, want 6", len(all), err)
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

func noSharing(t *testing.T, f *fixture) {
	k := f.newKey(2)
	want := cloneKey(k)
	event := f.event("shared")
	event.After = map[string]string{"a": "b"}
	f.mustCommit(t, keys.Change{Keys: []keys.KeyWrite{{New: k, SecretChanged: true}}, Audit: event})
	k.Permissions[0], k.Customers[0], event.After["a"] = "changed", "changed", "changed"
	got := f.key(t, k.ID)
	same(t, "a key after its writer changed its own copy", got, want)
	got.Permissions[0] = "changed"
	list, err := f.Keys(f.ctx, f.account.ID)
	if err != nil {
		t.Fatal(err)
	}
	list[1].Customers[0] = "changed"
	same(t, "a key after its reader changed its own copy", f.key(t, k.ID), want)
	events, err := f.AuditEvents(f.ctx, f.account.ID, 10)
	if err != nil {
		t.Fatal(err)
	}
	if last := events[len(events)-1]; last.After["a"] != "b" {
		t.Error("an audit event changed with its writer's copy")
	}
}

func cancelled(t *testing.T, f *fixture) {
	ctx, cancel := context.WithCancel(f.ctx)
	cancel()
	w := write(f.root, "late")
	if err := f.Commit(ctx, keys.Change{Keys: []keys.KeyWrite{w}, Audit: f.event("late")}); err == nil {
		t.Error("Commit with a cancelled context reported success")
	}
	if _, err := f.Key(ctx, f.root.ID); err == nil || errors.Is(err, keys.ErrNotFound) {
		t.Errorf("Key with a cancelled context = %v, want an error other than ErrNotFound", err)
	}
	same(t, "the key", f.key(t, f.root.ID), f.root)
}
