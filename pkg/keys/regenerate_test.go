package keys_test

import (
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/pkg/keys"
)

func TestRegenerateKeepsEverythingButTheSecret(t *testing.T) {
	w := newWorld(t, "enterprise")
	target := w.create(w.root, keys.CreateInput{
		Name: "Website", Permissions: &[]string{"customers:read"}, Customers: []string{"a"}, Owner: "Zoë", Plan: new("pro"),
		RateLimit: new(7), ExpirationDays: new(30), Face: keys.AccountFace,
	})
	before := w.key(target.KeyID)
	w.Clock.Advance(time.Hour)
	out, err := w.Service.Regenerate(ctx, w.root, ref(target), 0, plain, anyVersion)
	if err != nil {
		t.Fatal(err)
	}
	if out.Plaintext.ID() != target.KeyID || out.Plaintext.Prefix() != "kr_live" {
		t.Errorf("id %s, prefix %s, want the same", out.Plaintext.ID(), out.Plaintext.Prefix())
	}
	want := before
	want.Generation, want.Version, want.Verdict = 2, 2, 2
	want.RotatedAt, want.UpdatedAt, want.VerdictAt = w.Clock.Now(), w.Clock.Now(), w.Clock.Now()
	want.Secret = keys.Secret{Generation: 2, Prefix: "kr_live"}
	same(t, "answer", out.Key, want)
	w.refused(target.Credential, keys.ReasonSecret)
	w.MustLogin(t, out.Plaintext)
	w.settled(target.KeyID)
}

func TestTheOldSecretWorksForItsGraceAndNoLonger(t *testing.T) {
	for name, tt := range map[string]struct {
		days  int // of the key; 0: no end
		grace time.Duration
		works time.Duration // how long the old secret must
	}{
		"none":                          {0, 0, 0},
		"an hour":                       {0, time.Hour, time.Hour},
		"24 hours":                      {0, 24 * time.Hour, 24 * time.Hour},
		"the key ends before":           {1, 24 * time.Hour, time.Hour},
		"a fraction of a millisecond":   {0, time.Microsecond, 0},
		"the key ends within an hour":   {1, 30 * time.Minute, 30 * time.Minute},
		"the key ends at the same time": {1, time.Hour, time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "enterprise")
			in := keys.CreateInput{}
			if tt.days > 0 {
				in.ExpirationDays = &tt.days
			}
			target := w.create(w.root, in)
			w.Clock.Advance(23 * time.Hour) // one hour before a key of one day ends
			out, err := w.Service.Regenerate(ctx, w.root, ref(target), tt.grace, plain, anyVersion)
			if err != nil {
				t.Fatal(err)
			}
			if tt.works > 0 {
				if c := w.MustLogin(t, target.Credential); !c.GraceUntil.Equal(w.Clock.Now().Add(tt.works)) {
					t.Errorf("grace until %v, want %v from now", c.GraceUntil, tt.works)
				}
				w.Clock.Advance(tt.works - time.Millisecond)
				w.MustLogin(t, target.Credential)
				w.Clock.Advance(time.Millisecond)
			}
			if k := w.key(target.KeyID); k.ExpiredAt(w.Clock.Now()) {
				w.refused(target.Credential, keys.ReasonExpired)
				w.refused(out.Plaintext, keys.ReasonExpired)
			} else {
				w.refused(target.Credential, keys.ReasonSecret)
				w.MustLogin(t, out.Plaintext)
			}
		})
	}
}

func TestAnotherRegenerateEndsTheOlderGrace(t *testing.T) {
	for name, grace := range map[string]time.Duration{"with a grace": time.Hour, "without": 0} {
		w := newWorld(t, "enterprise")
		first := w.manager(keys.Production)
		second, err := w.Service.Regenerate(ctx, w.root, ref(first), 24*time.Hour, plain, anyVersion)
		if err != nil {
			t.Fatal(err)
		}
		third, err := w.Service.Regenerate(ctx, w.root, ref(first), grace, plain, anyVersion)
		if err != nil {
			t.Fatal(err)
		}
		w.refused(first.Credential, keys.ReasonSecret)
		w.MustLogin(t, third.Plaintext)
		if grace > 0 {
			w.MustLogin(t, second.Plaintext)
		} else {
			w.refused(second.Plaintext, keys.ReasonSecret)
		}
		t.Log(name)
	}
}

func TestAGraceNeverOutlivesItsKey(t *testing.T) {
	w := newWorld(t, "enterprise")
	target := w.manager(keys.Production)
	if _, err := w.Service.Regenerate(ctx, w.root, ref(target), 24*time.Hour, plain, anyVersion); err != nil {
		t.Fatal(err)
	}
	end := w.Clock.Now().Add(time.Hour)
	at := &end
	k, err := w.Service.Update(ctx, w.root, ref(target), keys.Patch{ExpiresAt: &at}, anyVersion)
	if err != nil || !k.Previous.Until.Equal(end) {
		t.Errorf("grace until %v, %v, want the key's new end %v", k.Previous.Until, err, end)
	}
	// Prolonging the key does not bring the grace back.
	k, err = w.Service.Update(ctx, w.root, ref(target), keys.Patch{ExpirationDays: new(30)}, anyVersion)
	if err != nil || !k.Previous.Until.Equal(end) {
		t.Errorf("grace until %v, %v, want it unchanged", k.Previous.Until, err)
	}
}

func TestGraceIsAtMost24Hours(t *testing.T) {
	w := newWorld(t, "enterprise")
	for _, grace := range []time.Duration{-1, 24*time.Hour + 1, 1 << 62} {
		_, err := w.Service.Regenerate(ctx, w.root, ref(w.root), grace, plain, anyVersion)
		if got := invalidFields(t, err); got != "graceSeconds" {
			t.Errorf("grace %d: fields at fault %q, want graceSeconds", grace, got)
		}
	}
	same(t, "generation", w.key(w.root.KeyID).Generation, int64(1))
}

func TestRegenerateLeavesAnInactiveKeyInactive(t *testing.T) {
	w := newWorld(t, "enterprise")
	target := w.manager(keys.Production)
	if _, _, err := w.Service.Revoke(ctx, w.root, ref(target), false, anyVersion); err != nil {
		t.Fatal(err)
	}
	out, err := w.Service.Regenerate(ctx, w.root, ref(target), 0, plain, anyVersion)
	if err != nil {
		t.Fatal(err)
	}
	w.refused(out.Plaintext, keys.ReasonInactive)
	if _, err := w.Service.Activate(ctx, w.root, ref(target), anyVersion); err != nil {
		t.Fatal(err)
	}
	w.MustLogin(t, out.Plaintext)
	w.refused(target.Credential, keys.ReasonSecret)
}

func TestAKeyRegeneratesItself(t *testing.T) {
	w := newWorld(t, "enterprise")
	out, err := w.Service.Regenerate(ctx, w.root, ref(w.root), 0, plain, anyVersion)
	if err != nil {
		t.Fatal(err)
	}
	w.refused(w.root.Credential, keys.ReasonSecret)
	w.MustLogin(t, out.Plaintext)
}

func TestANewPrefixIsUsedFromTheNextSecretOn(t *testing.T) {
	w := newWorld(t, "enterprise", func(c *keys.Config) { c.Settings = withPrefix(c.Settings, "acme_prod") })
	out, err := w.Service.Create(ctx, w.root, keys.CreateInput{Name: "x", Face: keys.AccountFace}, plain)
	if err != nil || out.Plaintext.Prefix() != "acme_prod" {
		t.Errorf("account face: prefix %q, %v, want acme_prod", out.Plaintext.Prefix(), err)
	}
	out, err = w.Service.Regenerate(ctx, w.root, keys.Ref{ID: out.Key.ID}, 0, plain, anyVersion)
	if err != nil || out.Plaintext.Prefix() != "acme_prod" || out.Key.Secret.Prefix != "acme_prod" {
		t.Errorf("regenerated: prefix %q, %v, want that of the face that made it", out.Plaintext.Prefix(), err)
	}
	out, err = w.Service.Create(ctx, w.root, keys.CreateInput{Name: "x"}, plain)
	if err != nil || out.Plaintext.Prefix() != "kr_live" {
		t.Errorf("canonical face: prefix %q, %v, want kr_live", out.Plaintext.Prefix(), err)
	}
}
