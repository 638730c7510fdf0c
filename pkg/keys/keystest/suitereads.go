package keystest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

// What a store reads back, and in which order.

func readsBack(t *testing.T, f *fixture) {
	full, plain := f.newKey(2), f.plainKey(3)
	record := keys.IdempotencyRecord{
		Name: "n-" + string(apikey.NewID()), Fingerprint: []byte{0, 1, 255}, KeyID: full.ID, Generation: 2,
		Pepper: "p2", Salt: []byte("salt"), Box: []byte{9, 0, 8}, CreatedAt: f.base, ExpiresAt: f.base.Add(24 * time.Hour),
	}
	event := f.event("key.create")
	event.Actor, event.KeyID, event.Session, event.Environment = f.root.ID, full.ID, "session0", keys.Staging
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
	events, err := Events(f.ctx, f, f.account.ID)
	if err != nil || len(events) != 3 {
		t.Fatalf("AuditEvents: %d events, %v, want 3", len(events), err)
	}
	same(t, "AuditEvents", events[1], event)

	// Every field can go back to nothing.
	bare := full
	bare.Customers, bare.Permissions, bare.Owner, bare.CreatedBy = nil, nil, "", ""
	bare.RotatedAt, bare.ExpiresAt, bare.Previous = time.Time{}, time.Time{}, keys.Secret{}
	bare.Version, bare.Deleted, bare.DeletedAt, bare.Active, bare.Canary = 2, true, f.base, false, false
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
	if list, err := Events(f.ctx, f, "t-nobody"); err != nil || len(list) != 0 {
		t.Errorf("AuditEvents of an unknown account = %d, %v, want none", len(list), err)
	}
	if use, err := f.Usage(f.ctx, []apikey.ID{apikey.NewID()}); err != nil || len(use) != 0 {
		t.Errorf("Usage of an unknown key = %v, %v, want no entry", use, err)
	}
	if use, err := f.Usage(f.ctx, nil); err != nil || len(use) != 0 {
		t.Errorf("Usage of no key = %v, %v, want no entry", use, err)
	}
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
	events, err := Events(f.ctx, f, f.account.ID)
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
