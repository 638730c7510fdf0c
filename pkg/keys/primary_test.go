package keys_test

import (
	"errors"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/keys/keystest"
)

// onePrimary checks that this key, and no other, is primary.
func (w *world) onePrimary(want apikey.ID) {
	w.Helper()
	list, err := w.memory.Keys(ctx, w.root.AccountID)
	if err != nil {
		w.Fatal(err)
	}
	for _, k := range list {
		if k.Primary != (k.ID == want) {
			w.Errorf("key %d: primary %t", k.Number, k.Primary)
		}
	}
	if got := w.account().Primary; got != want {
		w.Errorf("the account's primary key is %s, want %s", got, want)
	}
}

func TestTheDocumentedWayToReplaceThePrimaryKey(t *testing.T) {
	w := newWorld(t, "enterprise")
	w.onePrimary(w.root.KeyID)
	_, err := w.Service.Delete(ctx, w.root, ref(w.root), keys.Conditions{Force: true})
	is(t, "delete of the primary key", err, keys.ErrPrimaryKey)

	// Create a new key, set it as primary, delete the old one, with the new one.
	next := w.create(w.root, keys.CreateInput{Name: "New", FullAccess: true, Face: keys.AccountFace})
	k, err := w.Service.Update(ctx, next, ref(next), keys.Patch{Primary: new(true)}, anyVersion)
	if err != nil || !k.Primary {
		t.Fatalf("set as primary: %v", err)
	}
	w.onePrimary(next.KeyID)
	if old := w.key(w.root.KeyID); old.Version != 3-1 || old.Verdict != 1 {
		t.Errorf("the old primary key: version %d, verdict %d, want 2 and 1", old.Version, old.Verdict)
	}
	if _, err := w.Service.Delete(ctx, next, ref(w.root), anyVersion); err != nil {
		t.Fatalf("delete the old one: %v", err)
	}
	w.onePrimary(next.KeyID)
	w.refused(w.root.Credential, keys.ReasonDeleted)
}

func TestOnlyAnActiveProductionKeyBecomesPrimary(t *testing.T) {
	w := newWorld(t, "enterprise")
	inactive, expired := w.manager(keys.Production), w.create(w.root, keys.CreateInput{ExpirationDays: new(1)})
	if _, _, err := w.Service.Revoke(ctx, w.root, ref(inactive), false, anyVersion); err != nil {
		t.Fatal(err)
	}
	w.Clock.Advance(24 * time.Hour)
	mark := func(r keys.Ref, p keys.Patch) error {
		p.Primary = new(true)
		_, err := w.Service.Update(ctx, w.root, r, p, anyVersion)
		return err
	}
	for _, e := range []keys.Environment{keys.Staging, keys.Development} {
		if got := invalidFields(t, mark(ref(w.manager(e)), keys.Patch{})); got != "isPrimary" {
			t.Errorf("%s key: fields at fault %q, want isPrimary", e, got)
		}
	}
	is(t, "inactive", mark(ref(inactive), keys.Patch{}), keys.ErrNotActive)
	is(t, "expired", mark(ref(expired), keys.Patch{}), keys.ErrNotActive)
	is(t, "switched off by the same request", mark(ref(w.manager(keys.Production)), keys.Patch{Active: new(false)}), keys.ErrNotActive)
	w.onePrimary(w.root.KeyID)
	if err := mark(ref(inactive), keys.Patch{Active: new(true)}); err != nil {
		t.Errorf("switched on by the same request: %v", err)
	}
	w.onePrimary(inactive.KeyID)
	if err := mark(ref(expired), keys.Patch{ExpirationDays: new(30)}); err != nil {
		t.Errorf("prolonged by the same request: %v", err)
	}
	w.onePrimary(expired.KeyID)
}

func TestThePrimaryMarkIsNotPutDown(t *testing.T) {
	w := newWorld(t, "enterprise")
	other := w.manager(keys.Production)
	_, err := w.Service.Update(ctx, w.root, ref(w.root), keys.Patch{Primary: new(false)}, anyVersion)
	is(t, "primary: false on the primary key", err, keys.ErrPrimaryKey)
	if _, err := w.Service.Update(ctx, w.root, ref(other), keys.Patch{Primary: new(false)}, anyVersion); err != nil {
		t.Errorf("primary: false on another key = %v, want no change", err)
	}
	w.onePrimary(w.root.KeyID)
}

func TestACreateCanTakeTheMark(t *testing.T) {
	w := newWorld(t, "enterprise")
	c := w.create(w.root, keys.CreateInput{Primary: new(true), Permissions: &[]string{"*", "api_keys:*"}})
	w.onePrimary(c.KeyID)
	same(t, "number", w.key(c.KeyID).Number, int64(2))
}

func TestThePrimaryKeyCanBeRevokedAndRegeneratedWithoutTheAccountItem(t *testing.T) {
	w := newWorld(t, "enterprise")
	c := w.manager(keys.Production, "*", "api_keys:*")
	before := w.account()
	if _, _, err := w.Service.Revoke(ctx, c, ref(w.root), false, anyVersion); err != nil {
		t.Errorf("revoke: %v", err)
	}
	if _, err := w.Service.Regenerate(ctx, c, ref(w.root), 0, plain, anyVersion); err != nil {
		t.Errorf("regenerate: %v", err)
	}
	if _, err := w.Service.Activate(ctx, c, ref(w.root), anyVersion); err != nil {
		t.Errorf("activate: %v", err)
	}
	same(t, "the account item", w.account(), before)
	w.onePrimary(w.root.KeyID)
}

func TestMakingPrimaryAndDeletingAtOnceLeavesOnePrimary(t *testing.T) {
	w := newWorld(t, "enterprise")
	a := w.manager(keys.Production)
	w.beforeCommit(func() {
		if _, err := w.Service.Delete(ctx, w.root, ref(a), anyVersion); err != nil {
			t.Fatal(err)
		}
	})
	_, err := w.Service.Update(ctx, w.root, ref(a), keys.Patch{Primary: new(true)}, anyVersion)
	is(t, "primary of a key that is deleted meanwhile", err, keys.ErrNotFound)
	w.onePrimary(w.root.KeyID)

	b := w.manager(keys.Production)
	w.beforeCommit(func() {
		if _, err := w.Service.Update(ctx, w.root, ref(b), keys.Patch{Primary: new(true)}, anyVersion); err != nil {
			t.Fatal(err)
		}
	})
	_, err = w.Service.Delete(ctx, w.root, ref(b), anyVersion)
	is(t, "delete of a key that is made primary meanwhile", err, keys.ErrPrimaryKey)
	w.onePrimary(b.KeyID)

	// The mark moves on while it is being moved.
	d := w.manager(keys.Production)
	w.beforeCommit(func() {
		if _, err := w.Service.Update(ctx, w.root, ref(w.root), keys.Patch{Primary: new(true)}, anyVersion); err != nil {
			t.Fatal(err)
		}
	})
	if _, err := w.Service.Update(ctx, w.root, ref(d), keys.Patch{Primary: new(true)}, anyVersion); err != nil {
		t.Error(err)
	}
	w.onePrimary(d.KeyID)
}

func TestAMarkThatPointsAtAForgottenKeyCanBeTaken(t *testing.T) {
	w := newWorld(t, "enterprise")
	c := w.manager(keys.Production, "*", "api_keys:*")
	w.memory.Forget(w.root.KeyID)
	if _, err := w.Service.Update(ctx, c, ref(c), keys.Patch{Primary: new(true)}, anyVersion); err != nil {
		t.Fatal(err)
	}
	w.onePrimary(c.KeyID)
}

func TestAddRootKeyBringsBackAnAccountAndTakesTheMarkOnlyIfNobodyHasIt(t *testing.T) {
	w := newWorld(t, "free")
	out, err := w.Service.AddRootKey(ctx, w.root.AccountID)
	if err != nil {
		t.Fatal(err)
	}
	w.onePrimary(w.root.KeyID)
	same(t, "number", out.Key.Number, int64(2))

	// Even where the plan allows no more keys, and everything is off.
	for range 98 {
		w.create(w.root, keys.CreateInput{})
	}
	_, err = w.Service.Create(ctx, w.root, keys.CreateInput{Name: "x"}, plain)
	is(t, "a key over the plan", err, keys.ErrKeyLimit)
	second := w.MustLogin(t, out.Plaintext)
	if _, _, err := w.Service.Revoke(ctx, second, ref(w.root), false, anyVersion); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.Service.Revoke(ctx, second, ref(second), false, keys.Conditions{Force: true}); err != nil {
		t.Fatal(err)
	}
	out, err = w.Service.AddRootKey(ctx, w.root.AccountID)
	if err != nil {
		t.Fatal(err)
	}
	w.onePrimary(w.root.KeyID)
	third := w.MustLogin(t, out.Plaintext)
	same(t, "permissions", third.Permissions, []string{"*", "api_keys:*"})
	if _, err := w.Service.Activate(ctx, third, ref(w.root), anyVersion); err != nil {
		t.Errorf("the new root key manages the old one: %v", err)
	}

	w.memory.Forget(w.root.KeyID)
	out, err = w.Service.AddRootKey(ctx, w.root.AccountID)
	if err != nil || !out.Key.Primary {
		t.Fatalf("AddRootKey without a primary key = primary %t, %v", out.Key.Primary, err)
	}
	w.onePrimary(out.Key.ID)
	_, err = w.Service.AddRootKey(ctx, "t-nobody")
	is(t, "AddRootKey of no account", err, keys.ErrNotFound)
}

func TestCreateAccountMakesAnAccountWithItsRootKey(t *testing.T) {
	w := newWorld(t, "enterprise")
	now := w.Clock.Now()
	a, root, err := w.Service.CreateAccount(ctx, keys.CreateAccountInput{ID: "acme-1", Name: "Ácme", Plan: "pro"})
	if err != nil {
		t.Fatal(err)
	}
	want := keys.Account{ID: "acme-1", Name: "Ácme", Plan: "pro", Primary: root.Key.ID, NextNumber: 2, KeyCount: 1, CreatedAt: now, Version: 1}
	same(t, "account", a, want)
	stored, err := w.memory.Account(ctx, "acme-1")
	if err != nil {
		t.Fatal(err)
	}
	same(t, "stored account", stored, want)
	same(t, "root key", root.Key, keys.Key{
		ID: root.Plaintext.ID(), Number: 1, AccountID: "acme-1", Name: "Root key", Environment: keys.Production,
		Permissions: []string{"*", "api_keys:*"}, Plan: "pro", RateLimit: 100, Active: true, Primary: true,
		Face: keys.Canonical, CreatedAt: now, UpdatedAt: now, VerdictAt: now, Version: 1, Verdict: 1, Generation: 1,
		Secret: keys.Secret{Generation: 1, Prefix: "kr_live"},
	})
	c := w.MustLogin(t, root.Plaintext)
	if _, err := w.Service.List(ctx, c, keys.Query{}); err != nil {
		t.Error(err)
	}
	events, err := keystest.Events(ctx, w.memory, "acme-1")
	if err != nil || len(events) != 1 || events[0].Action != "account.create" || events[0].Actor != "" ||
		events[0].KeyID != root.Key.ID || events[0].After["accountPlan"] != "pro" {
		t.Errorf("events = %+v, %v", events, err)
	}

	_, _, err = w.Service.CreateAccount(ctx, keys.CreateAccountInput{ID: "acme-1"})
	is(t, "the same account again", err, keys.ErrAccountExists)
	drawn, _, err1 := w.Service.CreateAccount(ctx, keys.CreateAccountInput{})
	other, _, err2 := w.Service.CreateAccount(ctx, keys.CreateAccountInput{})
	if err := errors.Join(err1, err2); err != nil || drawn.ID == other.ID || drawn.Name != drawn.ID || drawn.Plan != "enterprise" {
		t.Errorf("accounts without a name: %+v, %+v, %v", drawn, other, err)
	}
	_, _, err = w.Service.CreateAccount(ctx, keys.CreateAccountInput{ID: "a b", Name: " ", Plan: "gold"})
	if got := invalidFields(t, err); got != "id name plan" {
		t.Errorf("fields at fault = %q", got)
	}
}

func TestTwoThatCreateOneAccountAtOnceMakeOne(t *testing.T) {
	w := newWorld(t, "enterprise")
	w.beforeCommit(func() {
		if _, _, err := w.Service.CreateAccount(ctx, keys.CreateAccountInput{ID: "acme"}); err != nil {
			t.Fatal(err)
		}
	})
	_, _, err := w.Service.CreateAccount(ctx, keys.CreateAccountInput{ID: "acme"})
	is(t, "the second", err, keys.ErrAccountExists)
	list, err := w.memory.Keys(ctx, "acme")
	if err != nil || len(list) != 1 {
		t.Errorf("%d keys, %v, want 1", len(list), err)
	}
}
