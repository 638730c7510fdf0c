package keys_test

import (
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

// canary makes a canary key that must be allowed.
func (w *world) canary(by keys.Caller, in keys.CreateInput) keys.Issued {
	w.Helper()
	in.Name, in.Canary = "backup", true
	out, err := w.Service.Create(ctx, by, in, plain)
	if err != nil {
		w.Fatalf("Create: %v", err)
	}
	return out
}

func TestACanaryKeyLooksLikeAKeyAndHoldsNothing(t *testing.T) {
	w := newWorld(t, "enterprise")
	out := w.canary(w.root, keys.CreateInput{Environment: new(keys.Staging), Owner: "Zoë", ExpirationDays: new(30)})
	now := w.Clock.Now()
	same(t, "answer", out.Key, keys.Key{
		ID: out.Plaintext.ID(), Number: 2, AccountID: w.root.AccountID, Name: "backup", Environment: keys.Staging, Owner: "Zoë",
		Plan: "free", RateLimit: 20, Active: true, Canary: true, Face: keys.Canonical, CreatedBy: w.root.KeyID,
		CreatedAt: now, UpdatedAt: now, VerdictAt: now, ExpiresAt: now.Add(30 * 24 * time.Hour), Version: 1, Verdict: 1, Generation: 1,
		Secret: keys.Secret{Generation: 1, Prefix: "kr_stage"},
	})
	if stored := w.key(out.Key.ID); !stored.Canary || len(stored.Permissions)+len(stored.Customers) > 0 {
		t.Errorf("stored as canary %t, with %v and %v", stored.Canary, stored.Permissions, stored.Customers)
	}
	if e := w.lastEvent(); e.Action != "key.create" || e.After["canary"] != "true" {
		t.Errorf("audit: %s, canary %q", e.Action, e.After["canary"])
	}
}

func TestACanaryKeyIsRefusedAsOneWhateverElseIsWrongWithIt(t *testing.T) {
	w := newWorld(t, "enterprise")
	long := 200 * 24 * time.Hour
	out := w.canary(w.root, keys.CreateInput{ExpirationDays: new(30)})
	r := keys.Ref{ID: out.Key.ID}
	w.refused(out.Plaintext, keys.ReasonCanary)
	if _, _, err := w.Service.Revoke(ctx, w.root, r, false, anyVersion); err != nil {
		t.Fatal(err)
	}
	w.refused(out.Plaintext, keys.ReasonCanary)
	w.Clock.Advance(long) // expired as well
	w.refused(out.Plaintext, keys.ReasonCanary)
	k := w.key(out.Key.ID)
	for _, stage := range []string{"production", "staging", keys.SharedStage, ""} {
		if id, reason := keys.Identify(&k, 1, stage, w.Clock.Now()); reason != keys.ReasonCanary || id.KeyID != "" {
			t.Errorf("stage %q: %q, identity %+v", stage, reason, id)
		}
	}

	// Only who has the secret has found anything.
	wrong, err := apikey.Generate("kr_live", out.Key.ID)
	if err != nil {
		t.Fatal(err)
	}
	w.refused(wrong, keys.ReasonSecret)

	if _, err := w.Service.Activate(ctx, w.root, r, anyVersion); err != nil {
		t.Fatal(err)
	}
	again, err := w.Service.Regenerate(ctx, w.root, r, 0, plain, anyVersion)
	if err != nil {
		t.Fatal(err)
	}
	w.refused(again.Plaintext, keys.ReasonCanary)
	w.refused(out.Plaintext, keys.ReasonSecret)

	if _, err := w.Service.Delete(ctx, w.root, r, anyVersion); err != nil {
		t.Fatal(err)
	}
	w.refused(again.Plaintext, keys.ReasonDeleted)
}

// A secret that is in its grace has been put somewhere too.
func TestBothSecretsOfACanaryKeyRaiseItsAlertDuringAGrace(t *testing.T) {
	w := newWorld(t, "enterprise")
	out := w.canary(w.root, keys.CreateInput{})
	again, err := w.Service.Regenerate(ctx, w.root, keys.Ref{ID: out.Key.ID}, time.Hour, plain, anyVersion)
	if err != nil {
		t.Fatal(err)
	}
	w.refused(out.Plaintext, keys.ReasonCanary)
	w.refused(again.Plaintext, keys.ReasonCanary)
	w.Clock.Advance(time.Hour)
	w.refused(out.Plaintext, keys.ReasonSecret)
	w.refused(again.Plaintext, keys.ReasonCanary)
}

func TestWhatACanaryKeyCannotHaveIsRefusedByName(t *testing.T) {
	w := newWorld(t, "enterprise")
	r := keys.Ref{ID: w.canary(w.root, keys.CreateInput{}).Key.ID}
	before := w.key(r.ID)
	hourly := []keys.NamedLimit{{Window: keys.WindowHour, Requests: 5}}
	for _, tt := range []struct {
		in   keys.CreateInput
		p    keys.Patch
		want string
	}{
		{keys.CreateInput{Permissions: &[]string{}}, keys.Patch{Permissions: &[]string{}}, "permissions"},
		{keys.CreateInput{Permissions: &[]string{"customers:read"}}, keys.Patch{Permissions: &[]string{"customers:read"}}, "permissions"},
		{keys.CreateInput{Customers: []string{}}, keys.Patch{Customers: &[]string{}}, "customers"},
		{keys.CreateInput{Networks: []string{}}, keys.Patch{Networks: &[]string{}}, "networks"},
		{keys.CreateInput{NotBefore: new(w.Clock.Now())}, keys.Patch{NotBefore: new((*time.Time)(nil))}, "notBefore"},
		{keys.CreateInput{Plan: new("pro")}, keys.Patch{Plan: new("pro")}, "plan"},
		{keys.CreateInput{RateLimit: new(5)}, keys.Patch{RateLimit: new(5)}, "rateLimit"},
		{keys.CreateInput{Limits: hourly}, keys.Patch{Limits: &hourly}, "limits"},
		{keys.CreateInput{Quota: &keys.Quota{Requests: 1, RefillDay: 1}}, keys.Patch{Quota: new((*keys.Quota)(nil))}, "quota"},
		{keys.CreateInput{Primary: new(true)}, keys.Patch{Primary: new(true)}, "isPrimary"},
		{keys.CreateInput{Permissions: &[]string{"*"}, RateLimit: new(5)}, keys.Patch{Permissions: &[]string{"*"}, RateLimit: new(5)}, "permissions rateLimit"},
	} {
		tt.in.Name, tt.in.Canary = "x", true
		_, err := w.Service.Create(ctx, w.root, tt.in, plain)
		if got := invalidFields(t, err); got != tt.want {
			t.Errorf("Create: fields %q at fault, want %q", got, tt.want)
		}
		_, err = w.Service.Update(ctx, w.root, r, tt.p, anyVersion)
		if got := invalidFields(t, err); got != tt.want {
			t.Errorf("Update: fields %q at fault, want %q", got, tt.want)
		}
	}
	same(t, "the canary key", w.key(r.ID), before)

	expires := new(w.Clock.Now().Add(time.Hour))
	k, err := w.Service.Update(ctx, w.root, r, keys.Patch{
		Name: new("old backup"), Owner: new("Zoë"), ExpiresAt: &expires, Active: new(false), Primary: new(false),
	}, anyVersion)
	if err != nil || k.Name != "old backup" || k.Owner != "Zoë" || !k.ExpiresAt.Equal(*expires) || k.Active || !k.Canary {
		t.Errorf("Update of what it can have: %+v, %v", k, err)
	}
}

// It holds nothing, so whoever may manage keys there may lay one out, and switch it on.
func TestAConfinedManagerMayMakeACanaryKeyOfItsEnvironment(t *testing.T) {
	w := newWorld(t, "enterprise")
	by := w.create(w.root, keys.CreateInput{
		Environment: new(keys.Staging), Permissions: &[]string{"api_keys:write"}, Customers: []string{"cus_1"},
	})
	r := keys.Ref{ID: w.canary(by, keys.CreateInput{Active: new(false)}).Key.ID}
	if _, err := w.Service.Activate(ctx, by, r, anyVersion); err != nil {
		t.Errorf("Activate: %v", err)
	}
	if _, err := w.Service.Regenerate(ctx, by, r, 0, plain, anyVersion); err != nil {
		t.Errorf("Regenerate: %v", err)
	}
	_, err := w.Service.Create(ctx, by, keys.CreateInput{Name: "x", Canary: true, Environment: new(keys.Production)}, plain)
	escalates(t, "a canary of an environment that it does not reach", err, "environment")
}

// Not even one whose item says that it may: nobody can ever use it.
func TestACanaryKeyIsNoManagerThatIsLeft(t *testing.T) {
	w := newWorld(t, "enterprise")
	c := w.canary(w.root, keys.CreateInput{})
	k := w.key(c.Key.ID)
	k.Permissions, k.Version = []string{"api_keys:*"}, k.Version+1
	if err := w.memory.Commit(ctx, keys.Change{
		Keys: []keys.KeyWrite{{New: k, Was: k.Version - 1}}, Audit: keys.AuditEvent{ID: "test", AccountID: k.AccountID},
	}); err != nil {
		t.Fatal(err)
	}
	_, _, err := w.Service.Revoke(ctx, w.root, ref(w.root), false, anyVersion)
	is(t, "Revoke of the last manager beside a canary", err, keys.ErrLastManager)
}

func TestARetryOfACanaryKeyGetsTheSameSecret(t *testing.T) {
	w := newWorld(t, "enterprise")
	in := keys.CreateInput{Name: "backup", Canary: true}
	idem := keys.Idempotency{Key: "once", Route: "POST /v1/api-keys", Request: []byte("a body")}
	first, err := w.Service.Create(ctx, w.root, in, idem)
	if err != nil {
		t.Fatal(err)
	}
	again, err := w.Service.Create(ctx, w.root, in, idem)
	if err != nil || !again.Replayed || !again.Plaintext.Equal(first.Plaintext) || !again.Key.Canary {
		t.Fatalf("the retry: replayed %t, the same secret %t, canary %t, %v",
			again.Replayed, again.Plaintext.Equal(first.Plaintext), again.Key.Canary, err)
	}
	w.refused(again.Plaintext, keys.ReasonCanary)
}
