package keystest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

// Sessions, keys by their ids, and the events of an account and of a key.

// session is a session of a key; it is not committed.
func (f *fixture) session(parent keys.Key) keys.Key {
	k := f.newKey(0)
	k.Parent, k.ParentVerdict, k.CreatedBy, k.Canary = parent.ID, parent.Verdict, parent.ID, false
	k.Previous, k.ExpiresAt = keys.Secret{}, f.base.Add(12*time.Hour)
	return k
}

func sessions(t *testing.T, f *fixture) {
	one, two := f.newKey(2), f.newKey(3)
	first, second, other := f.session(one), f.session(one), f.session(two)
	f.add(t, one, two, first, second, other)
	same(t, "Key", f.key(t, first.ID), first)
	f.meterIs(t, "a session's", first.ID, Meter{Verdict: 1, Active: true})

	check := func(what string, parent apikey.ID, want ...keys.Key) {
		t.Helper()
		got, err := f.Sessions(f.ctx, f.account.ID, parent)
		if err != nil {
			t.Fatalf("Sessions: %v", err)
		}
		byID := func(a, b keys.Key) int { return strings.Compare(string(a.ID), string(b.ID)) }
		slices.SortFunc(got, byID)
		for i := range want {
			want[i] = row(want[i])
		}
		slices.SortFunc(want, byID)
		same(t, what, got, want)
	}
	check("sessions of one key", one.ID, first, second)
	check("sessions of another", two.ID, other)
	check("sessions of all", "", first, second, other)
	check("sessions of a key without one", f.root.ID)
	if list, err := f.Sessions(f.ctx, "t-nobody", one.ID); err != nil || len(list) != 0 {
		t.Errorf("Sessions of another account = %d, %v, want none", len(list), err)
	}
	list, err := f.Keys(f.ctx, f.account.ID)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "Keys", list, []keys.Key{row(f.root), row(one), row(two)})
	if _, err := f.KeyByNumber(f.ctx, f.account.ID, 0); !errors.Is(err, keys.ErrNotFound) {
		t.Errorf("KeyByNumber(0) = %v, want ErrNotFound", err)
	}

	// Ended by what a list said of it, without digests.
	ended := keys.KeyWrite{New: row(first), Was: 1}
	ended.New.Version, ended.New.Verdict, ended.New.Deleted, ended.New.DeletedAt = 2, 2, true, f.base
	f.mustCommit(t, keys.Change{Keys: []keys.KeyWrite{ended}})
	first.Version, first.Verdict, first.Deleted, first.DeletedAt = 2, 2, true, f.base
	same(t, "the ended session", f.key(t, first.ID), first)
	check("sessions of one key", one.ID, first, second)
}

func parentChanged(t *testing.T, f *fixture) {
	parent, target := f.newKey(2), f.newKey(3)
	f.add(t, parent, target)
	caller := f.session(parent)
	f.add(t, caller)
	by := func(c keys.Change) keys.Change {
		c.Caller, c.Parent = f.check(caller), f.check(parent)
		return c
	}
	f.mustCommit(t, by(keys.Change{Keys: []keys.KeyWrite{write(target, "by a session")}}))
	target = f.key(t, target.ID)

	// The parent itself: the condition is part of its write.
	renamed := write(parent, "by its session")
	f.mustCommit(t, by(keys.Change{Keys: []keys.KeyWrite{renamed}}))
	// And the caller.
	f.mustCommit(t, by(keys.Change{Keys: []keys.KeyWrite{write(caller, "by itself")}}))

	revoked := write(f.key(t, parent.ID), "revoked")
	revoked.New.Active, revoked.New.Verdict = false, 2
	f.mustCommit(t, keys.Change{Keys: []keys.KeyWrite{revoked}})
	fresh := f.newKey(4)
	for name, c := range map[string]keys.Change{
		"changed": by(keys.Change{Keys: []keys.KeyWrite{write(target, "late"), {New: fresh, SecretChanged: true}}}),
		"itself":  by(keys.Change{Keys: []keys.KeyWrite{write(revoked.New, "late")}}),
		"absent":  {Caller: f.check(caller), Parent: f.check(f.newKey(9)), Keys: []keys.KeyWrite{write(target, "late")}},
	} {
		same(t, "conflict with a parent "+name, *asConflict(t, f.commit(c)), keys.ConflictError{Caller: true})
	}
	same(t, "the target", f.key(t, target.ID), target)
	same(t, "the parent", f.key(t, parent.ID), revoked.New)
	if _, err := f.Key(f.ctx, fresh.ID); !errors.Is(err, keys.ErrNotFound) {
		t.Errorf("a key made by a session whose parent is revoked: %v, want ErrNotFound", err)
	}
}

func byID(t *testing.T, f *fixture) {
	// More than one batch of DynamoDB, with repeats and strangers in it.
	want := map[apikey.ID]keys.Key{f.root.ID: row(f.root)}
	ids := []apikey.ID{f.root.ID, f.root.ID}
	for n := int64(2); n < 130; n++ {
		k := f.newKey(n)
		switch n % 3 {
		case 0:
			k = f.plainKey(n)
			k.Deleted, k.DeletedAt = true, f.base
		case 1:
			k = f.session(f.root)
		}
		f.add(t, k)
		want[k.ID] = row(k)
		ids = append(ids, k.ID, apikey.NewID())
	}
	got, err := f.KeysByID(f.ctx, ids)
	if err != nil {
		t.Fatalf("KeysByID: %v", err)
	}
	same(t, "KeysByID", got, want)
	if got, err = f.KeysByID(f.ctx, nil); err != nil || len(got) != 0 {
		t.Errorf("KeysByID of nothing = %d, %v, want none", len(got), err)
	}
}

func previousGone(t *testing.T, f *fixture) {
	k := f.newKey(2)
	f.add(t, k)
	redone := keys.Secret{Generation: 2, Digest: randomDigest(), Pepper: "p3", Prefix: k.Secret.Prefix}
	if err := f.Redigest(f.ctx, k.ID, k.Secret, redone); err != nil {
		t.Fatal(err)
	}
	w := write(k, k.Name) // read before the re-digest
	w.New.Previous = keys.Secret{}
	f.mustCommit(t, keys.Change{Keys: []keys.KeyWrite{w}})
	want := w.New
	want.Secret = redone
	same(t, "a key whose grace was ended", f.key(t, k.ID), want)
}

func events(t *testing.T, f *fixture) {
	a, b := f.newKey(2), f.newKey(3)
	f.add(t, a, b)
	place := func(n int) string { return fmt.Sprintf("%020d", n) } // before those of the fixture, which start with the time
	var ids []string
	for n := range 8 {
		e := f.event("key.update")
		e.ID, e.KeyID, e.Environment, e.Actor, e.Session = place(n), a.ID, keys.Staging, f.root.ID, "session0"
		e.Before = map[string]string{"name": "é"}
		c := keys.Change{Audit: e}
		if n%2 == 0 {
			other := e
			other.KeyID, other.Environment, other.Before, other.After = b.ID, keys.Production, nil, map[string]string{"primary": "false"}
			c.Trails = []keys.AuditEvent{other}
		}
		f.mustCommit(t, c)
		ids = append(ids, e.ID)
	}
	read := func(r keys.AuditRange) (out []string) {
		t.Helper()
		r.AccountID = f.account.ID
		if r.Before == "" {
			r.Before = place(99)
		}
		list, err := f.AuditEvents(f.ctx, r)
		if err != nil {
			t.Fatalf("AuditEvents: %v", err)
		}
		for _, e := range list {
			out = append(out, e.ID)
		}
		return out
	}
	newest := slices.Clone(ids)
	slices.Reverse(newest)
	same(t, "all", read(keys.AuditRange{Limit: 100}), newest)
	same(t, "as many as there are", read(keys.AuditRange{Limit: 8}), newest)
	same(t, "fewer", read(keys.AuditRange{Limit: 3}), newest[:3])
	same(t, "before one", read(keys.AuditRange{Before: place(5), Limit: 100}), newest[3:])
	same(t, "before one, as many as are left", read(keys.AuditRange{Before: place(5), Limit: 5}), newest[3:])
	same(t, "before a place of none", read(keys.AuditRange{Before: place(5) + "x", Limit: 2}), newest[2:4])
	same(t, "from one", read(keys.AuditRange{From: place(6), Limit: 100}), newest[:2])
	same(t, "from one before another", read(keys.AuditRange{From: place(2), Before: place(4), Limit: 100}), newest[4:6])
	same(t, "from one before itself", read(keys.AuditRange{From: place(2), Before: place(2), Limit: 100}), []string(nil))
	same(t, "from one before an earlier one", read(keys.AuditRange{From: place(3), Before: place(2), Limit: 100}), []string(nil))
	same(t, "a trail", read(keys.AuditRange{KeyID: a.ID, Limit: 100}), newest)
	same(t, "another key's", read(keys.AuditRange{KeyID: b.ID, Limit: 100}), []string{place(6), place(4), place(2), place(0)})
	same(t, "a part of it", read(keys.AuditRange{KeyID: b.ID, Before: place(5), Limit: 2}), []string{place(4), place(2)})
	same(t, "the trail of no key", read(keys.AuditRange{KeyID: "absent00", Limit: 100}), []string(nil))

	list, err := f.AuditEvents(f.ctx, keys.AuditRange{AccountID: f.account.ID, KeyID: b.ID, Before: place(1), Limit: 1})
	if err != nil || len(list) != 1 {
		t.Fatalf("AuditEvents = %d, %v", len(list), err)
	}
	same(t, "an event in another key's trail", list[0], keys.AuditEvent{
		ID: place(0), AccountID: f.account.ID, At: f.base, Action: "key.update", Actor: f.root.ID, Session: "session0",
		KeyID: b.ID, Environment: keys.Production, After: map[string]string{"primary": "false"},
	})
	if list, err := f.AuditEvents(f.ctx, keys.AuditRange{AccountID: "t-nobody", KeyID: a.ID, Limit: 10}); err != nil || len(list) != 0 {
		t.Errorf("the trail of another account's key = %d, %v, want none", len(list), err)
	}

	refused := keys.Change{Caller: f.check(f.newKey(9)), Audit: f.event("refused")}
	refused.Audit.KeyID = b.ID
	other := refused.Audit
	other.KeyID = a.ID
	refused.Trails = []keys.AuditEvent{other}
	asConflict(t, f.commit(refused))
	for _, id := range []apikey.ID{a.ID, b.ID} {
		list, err := f.AuditEvents(f.ctx, keys.AuditRange{AccountID: f.account.ID, KeyID: id, Limit: 1})
		if err != nil || len(list) != 1 || list[0].Action == "refused" {
			t.Errorf("a refused change is in the trail of %s: %v", id, err)
		}
	}
}
