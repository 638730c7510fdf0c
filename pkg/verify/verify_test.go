package verify

import (
	"context"
	"errors"
	"fmt"
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

var now = time.Date(2026, 1, 15, 10, 30, 0, 0, time.UTC)

// fakeStore holds keys by id and counts reads.
type fakeStore struct {
	mu       sync.Mutex
	keys     map[apikey.ID]keys.Key
	err      error // of Key
	reads    int
	redigest func(ctx context.Context, id apikey.ID, was, now keys.Secret) error
}

func (s *fakeStore) Key(_ context.Context, id apikey.ID) (keys.Key, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	if s.err != nil {
		return keys.Key{}, s.err
	}
	k, ok := s.keys[id]
	if !ok {
		return keys.Key{}, fmt.Errorf("getting key: %w", keys.ErrNotFound)
	}
	return k, nil
}

func (s *fakeStore) Redigest(ctx context.Context, id apikey.ID, was, now keys.Secret) error {
	if s.redigest == nil {
		return nil
	}
	return s.redigest(ctx, id, was, now)
}

// fakePeppers has a ring, and a newer one that a reload brings.
type fakePeppers struct {
	ring, reloaded *apikey.Ring
	err            error
	rings, reloads int
}

func (p *fakePeppers) Ring(context.Context) (*apikey.Ring, error) {
	p.rings++
	return p.ring, p.err
}

func (p *fakePeppers) With(_ context.Context, version string) (*apikey.Ring, error) {
	p.reloads++
	if p.reloaded != nil {
		p.ring = p.reloaded
	}
	if !p.ring.Has(version) {
		return nil, fmt.Errorf("pepper %q: %w", version, apikey.ErrUnknownPepper)
	}
	return p.ring, nil
}

func ring(t testing.TB, current string, versions ...string) *apikey.Ring {
	t.Helper()
	peppers := map[string]string{}
	for _, v := range versions {
		peppers[v] = strings.Repeat(v+".", 20)
	}
	r, err := apikey.NewRing(current, peppers)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// world is a verifier with what is around it, and one production key.
type world struct {
	store   *fakeStore
	peppers *fakePeppers
	now     time.Time
	v       *Verifier
	matches int // digests with comparison
	key     apikey.Key
	stored  keys.Key
}

func newWorld(t testing.TB) *world {
	w := &world{
		store:   &fakeStore{keys: map[apikey.ID]keys.Key{}},
		peppers: &fakePeppers{ring: ring(t, "p1", "p1")},
		now:     now,
	}
	w.v = New(Config{
		Store: w.store, Peppers: w.peppers,
		Prefixes: apikey.Prefixes{"kr_live": true, "kr_dev": true},
		Clock:    func() time.Time { return w.now },
	})
	count := w.v.match
	w.v.match = func(r *apikey.Ring, k apikey.Key, s keys.Secret) (bool, error) {
		w.matches++
		return count(r, k, s)
	}
	w.key = generate(t, apikey.NewID())
	w.stored = keys.Key{
		ID: w.key.ID(), Number: 1, AccountID: "acc_1", Name: "Production API", Environment: keys.Production,
		Permissions: []string{"customers:*", "telemetry:write"}, Customers: []string{"cus_1", "cus_2"},
		RateLimit: 100, Active: true, Version: 7, Verdict: 5,
		Secret: keys.Secret{Generation: 3, Digest: digest(t, w.peppers.ring, "p1", w.key), Pepper: "p1", Prefix: "kr_live"},
	}
	w.put(nil)
	return w
}

// put stores the key, changed.
func (w *world) put(change func(*keys.Key)) {
	if change != nil {
		change(&w.stored)
	}
	w.store.keys[w.stored.ID] = w.stored
}

// verify verifies and reports what it cost.
func (w *world) verify(t testing.TB, credential, stage string) (v Verdict, reads, matches int) {
	t.Helper()
	r, m := w.store.reads, w.matches
	v, err := w.v.Verify(context.Background(), credential, stage)
	if err != nil {
		t.Fatalf("Verify: %v", err)
	}
	return v, w.store.reads - r, w.matches - m
}

func generate(t testing.TB, id apikey.ID) apikey.Key {
	t.Helper()
	k, err := apikey.Generate("kr_live", id)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func digest(t testing.TB, r *apikey.Ring, version string, k apikey.Key) apikey.Digest {
	t.Helper()
	d, err := r.Digest(version, k)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestGoodKeyCostsOneReadAndGivesItsIdentity(t *testing.T) {
	w := newWorld(t)
	w.put(func(k *keys.Key) { k.ExpiresAt = now.Add(time.Hour) })
	want := Verdict{KeyID: w.key.ID(), Identity: keys.Identity{
		KeyID: w.key.ID(), AccountID: "acc_1", Environment: keys.Production,
		Permissions: []string{"customers:*", "telemetry:write"}, Customers: []string{"cus_1", "cus_2"},
		Verdict: 5, Generation: 3, Limit: 100, ExpiresAt: now.Add(time.Hour),
	}}
	for _, stage := range []string{"production", keys.SharedStage} {
		got, reads, _ := w.verify(t, w.key.Plaintext(), stage)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("Verify on %s (-want +got):\n%s", stage, d)
		}
		if reads != 1 {
			t.Errorf("Verify on %s read the store %d times, want 1", stage, reads)
		}
	}
}

func TestJunkIsRefusedWithoutIO(t *testing.T) {
	w := newWorld(t)
	good := w.key.Plaintext()
	foreign, err := apikey.Generate("ml_live", w.key.ID())
	if err != nil {
		t.Fatal(err)
	}
	last := good[len(good)-1]
	flipped := good[:len(good)-1] + string(rune('0'+(last-'0'+1)%10))
	for name, credential := range map[string]string{
		"empty":            "",
		"one character":    "k",
		"prefix alone":     "kr_live_",
		"foreign prefix":   foreign.Plaintext(),
		"wrong checksum":   flipped,
		"cut short":        good[:len(good)-1],
		"one too many":     good + "0",
		"twice, comma":     good + "," + good,
		"twice, comma, sp": good + ", " + good,
		"leading space":    " " + good,
		"trailing space":   good + " ",
		"inner space":      good[:10] + " " + good[11:],
		"newline":          good + "\n",
		"NUL":              good[:12] + "\x00" + good[13:],
		"quoted":           `"` + good + `"`,
		"upper case":       strings.ToUpper(good),
		"with scheme":      "Bearer " + good,
		"Cyrillic e":       strings.Replace(good, "live", "liv\u0435", 1),
		"fullwidth":        good[:len(good)-1] + "\uff10",
		"invalid UTF-8":    good[:len(good)-1] + "\xff",
		"129 characters":   strings.Repeat("a", 129-len(good)) + good,
		"10,000":           strings.Repeat("x", 10_000),
		"wildcard":         strings.Repeat("*", len(good)),
	} {
		got, reads, matches := w.verify(t, credential, "production")
		if want := (Verdict{Reason: keys.ReasonMalformed}); !cmp.Equal(want, got) {
			t.Errorf("%s: got verdict %+v, want %+v", name, got, want)
		}
		if reads != 0 || matches != 0 || w.peppers.rings != 0 {
			t.Errorf("%s: took %d reads, %d digests and %d ring loads, want none", name, reads, matches, w.peppers.rings)
		}
	}
}

func TestEveryRefusalTakesOneReadAndTwoDigests(t *testing.T) {
	expired := func(k *keys.Key) { k.ExpiresAt = now }
	for _, c := range []struct {
		name   string
		change func(*world, *keys.Key)
		stage  string
		other  bool // present another secret of the same id
		want   keys.Reason
	}{
		{name: "unknown id", want: keys.ReasonUnknown},
		{name: "wrong secret", other: true, want: keys.ReasonSecret},
		{name: "wrong secret, grace lasts", other: true, want: keys.ReasonSecret, change: func(w *world, k *keys.Key) {
			k.Previous = keys.Secret{Generation: 2, Pepper: "p1", Until: now.Add(time.Hour)}
		}},
		{name: "wrong secret, grace lasts under another pepper", other: true, want: keys.ReasonSecret, change: func(w *world, k *keys.Key) {
			w.peppers.ring = ring(t, "p1", "p0", "p1")
			k.Previous = keys.Secret{Generation: 2, Pepper: "p0", Until: now.Add(time.Hour)}
		}},
		{name: "wrong secret of a revoked key", other: true, want: keys.ReasonSecret, change: func(_ *world, k *keys.Key) { k.Deleted = true }},
		{name: "revoked", want: keys.ReasonDeleted, change: func(_ *world, k *keys.Key) { k.Deleted = true }},
		{name: "inactive", want: keys.ReasonInactive, change: func(_ *world, k *keys.Key) { k.Active = false }},
		{name: "expired", want: keys.ReasonExpired, change: func(_ *world, k *keys.Key) { expired(k) }},
		{name: "canary", want: keys.ReasonCanary, change: func(_ *world, k *keys.Key) { k.Canary = true }},
		{name: "canary, switched off, elsewhere", stage: "staging", want: keys.ReasonCanary, change: func(_ *world, k *keys.Key) { k.Canary, k.Active = true, false }},
		{name: "canary in a grace", want: keys.ReasonCanary, change: func(_ *world, k *keys.Key) {
			k.Canary, k.Previous, k.Secret = true, k.Secret, keys.Secret{Generation: 4, Pepper: "p1"}
			k.Previous.Until = now.Add(time.Hour)
		}},
		{name: "canary, wrong secret", other: true, want: keys.ReasonSecret, change: func(_ *world, k *keys.Key) { k.Canary = true }},
		{name: "staging", stage: "staging", want: keys.ReasonEnvironment},
		{name: "development", stage: "development", want: keys.ReasonEnvironment},
		{name: "no stage", stage: "-", want: keys.ReasonEnvironment},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.put(func(k *keys.Key) {
				if c.change != nil {
					c.change(w, k)
				}
			})
			if c.want == keys.ReasonUnknown {
				w.store.keys = nil
			}
			presented := w.key
			if c.other {
				presented = generate(t, w.key.ID())
			}
			stage := c.stage
			if stage == "" {
				stage = "production"
			}
			got, reads, matches := w.verify(t, presented.Plaintext(), stage)
			if d := cmp.Diff(Verdict{Reason: c.want, KeyID: w.key.ID()}, got); d != "" {
				t.Errorf("Verify (-want +got):\n%s", d)
			}
			if reads != 1 || matches != 2 {
				t.Errorf("Verify took %d reads and %d digests, want 1 and 2", reads, matches)
			}
		})
	}
}

func TestExpiryIsCheckedToTheMillisecond(t *testing.T) {
	w := newWorld(t)
	w.put(func(k *keys.Key) { k.ExpiresAt = now.Add(time.Minute) })
	w.now = now.Add(time.Minute - time.Millisecond)
	if got, _, _ := w.verify(t, w.key.Plaintext(), "production"); got.Reason != keys.OK {
		t.Errorf("a millisecond before the expiry: refused as %q", got.Reason)
	}
	w.now = now.Add(time.Minute)
	if got, _, _ := w.verify(t, w.key.Plaintext(), "production"); got.Reason != keys.ReasonExpired {
		t.Errorf("at the expiry: reason %q, want %q", got.Reason, keys.ReasonExpired)
	}
}

// regenerate gives the stored key a new secret with a grace for the old one.
func (w *world) regenerate(t testing.TB, grace time.Duration) apikey.Key {
	t.Helper()
	next := generate(t, w.key.ID())
	w.put(func(k *keys.Key) {
		k.Previous, k.Secret.Generation = k.Secret, k.Secret.Generation+1
		k.Previous.Until = w.now.Add(grace)
		k.Secret.Digest = digest(t, w.peppers.ring, k.Secret.Pepper, next)
		k.Verdict++
	})
	return next
}

func TestOldSecretWorksUntilItsGraceEnds(t *testing.T) {
	w := newWorld(t)
	first := w.key
	second := w.regenerate(t, time.Hour)

	got, reads, _ := w.verify(t, first.Plaintext(), "production")
	if got.Reason != keys.OK || got.Identity.Generation != 3 || !got.Identity.GraceUntil.Equal(now.Add(time.Hour)) || reads != 1 {
		t.Errorf("old secret in its grace: %+v after %d reads, want generation 3 until the grace's end", got, reads)
	}
	got, _, _ = w.verify(t, second.Plaintext(), "production")
	if got.Reason != keys.OK || got.Identity.Generation != 4 || !got.Identity.GraceUntil.IsZero() {
		t.Errorf("new secret: %+v, want generation 4 without a grace", got)
	}

	w.now = now.Add(time.Hour)
	if got, _, _ = w.verify(t, first.Plaintext(), "production"); got.Reason != keys.ReasonSecret {
		t.Errorf("old secret at the end of its grace: reason %q, want %q", got.Reason, keys.ReasonSecret)
	}
	w.now = now
	third := w.regenerate(t, time.Hour)
	for name, c := range map[string]struct {
		key  apikey.Key
		want keys.Reason
	}{
		"two generations back": {first, keys.ReasonSecret},
		"one generation back":  {second, keys.OK},
		"live":                 {third, keys.OK},
	} {
		if got, _, _ := w.verify(t, c.key.Plaintext(), "production"); got.Reason != c.want {
			t.Errorf("%s: reason %q, want %q", name, got.Reason, c.want)
		}
	}
}

func TestOldSecretFailsAtOnceWithoutAGrace(t *testing.T) {
	w := newWorld(t)
	w.regenerate(t, 0)
	if got, _, _ := w.verify(t, w.key.Plaintext(), "production"); got.Reason != keys.ReasonSecret {
		t.Errorf("reason %q, want %q", got.Reason, keys.ReasonSecret)
	}
}

func TestGraceNeverOutlivesTheKey(t *testing.T) {
	w := newWorld(t)
	w.regenerate(t, time.Hour)
	for want, change := range map[keys.Reason]func(*keys.Key){
		keys.ReasonInactive: func(k *keys.Key) { k.Active = false },
		keys.ReasonExpired:  func(k *keys.Key) { k.ExpiresAt = now },
		keys.ReasonDeleted:  func(k *keys.Key) { k.Deleted = true },
	} {
		was := w.stored
		w.put(change)
		if got, _, matches := w.verify(t, w.key.Plaintext(), "production"); got.Reason != want || matches != 2 {
			t.Errorf("old secret: reason %q after %d digests, want %q after 2", got.Reason, matches, want)
		}
		w.stored = was
	}
}

func TestUnknownPepperIsReloadedOnceThenAnErrorAndNeverARefusal(t *testing.T) {
	w := newWorld(t)
	newer := ring(t, "p2", "p1", "p2")
	w.put(func(k *keys.Key) { k.Secret.Pepper, k.Secret.Digest = "p2", digest(t, newer, "p2", w.key) })

	_, err := w.v.Verify(context.Background(), w.key.Plaintext(), "production")
	if !errors.Is(err, apikey.ErrUnknownPepper) || w.peppers.reloads != 1 {
		t.Errorf("pepper that stays unknown: error %v after %d reloads, want ErrUnknownPepper after 1", err, w.peppers.reloads)
	}
	w.peppers.reloaded = newer
	if got, _, _ := w.verify(t, w.key.Plaintext(), "production"); got.Reason != keys.OK {
		t.Errorf("after the reload: refused as %q", got.Reason)
	}
	// A previous secret's pepper counts only while its grace lasts.
	w.put(func(k *keys.Key) { k.Previous = keys.Secret{Generation: 2, Pepper: "p9", Until: now.Add(time.Hour)} })
	other := generate(t, w.key.ID()).Plaintext()
	if _, err := w.v.Verify(context.Background(), other, "production"); !errors.Is(err, apikey.ErrUnknownPepper) {
		t.Errorf("wrong secret while the previous one's pepper is unknown: error %v, want ErrUnknownPepper", err)
	}
	w.now = now.Add(time.Hour)
	if got, _, _ := w.verify(t, other, "production"); got.Reason != keys.ReasonSecret {
		t.Errorf("after the grace: reason %q, want %q", got.Reason, keys.ReasonSecret)
	}
}

func TestWhatCannotBeConcludedIsAnError(t *testing.T) {
	boom := errors.New("boom")
	for name, fail := range map[string]func(*world){
		"store":                     func(w *world) { w.store.err = fmt.Errorf("reading: %w", boom) },
		"peppers":                   func(w *world) { w.peppers.ring, w.peppers.err = nil, boom },
		"peppers, and unknown id":   func(w *world) { w.peppers.ring, w.peppers.err, w.store.keys = nil, boom, nil },
		"peppers, and inactive key": func(w *world) { w.peppers.err = boom; w.put(func(k *keys.Key) { k.Active = false }) },
	} {
		w := newWorld(t)
		fail(w)
		got, err := w.v.Verify(context.Background(), w.key.Plaintext(), "production")
		if !errors.Is(err, boom) || !cmp.Equal(got, Verdict{}) {
			t.Errorf("%s unavailable: verdict %+v, error %v; want none and the cause", name, got, err)
		}
		if err != nil {
			noSecret(t, w.key, err.Error())
		}
	}
}

// noSecret fails if text holds any 12-character piece of the secret.
func noSecret(t testing.TB, k apikey.Key, text string) {
	t.Helper()
	s := k.Plaintext()[len(k.Plaintext())-apikey.SecretLen:]
	for i := 0; i+12 <= len(s); i++ {
		if strings.Contains(text, s[i:i+12]) {
			t.Fatal("the text holds a piece of the secret")
		}
	}
}

func TestManyAtOnceAgree(t *testing.T) {
	w := newWorld(t)
	w.v.match = match // the counter is not made for this
	peppers := w.peppers.ring
	w.v.cfg.Peppers = constantPeppers{peppers}
	wrong := generate(t, w.key.ID())
	var wg sync.WaitGroup
	var bad atomic.Int64
	for range 8 {
		wg.Go(func() {
			for range 200 {
				good, err1 := w.v.Verify(context.Background(), w.key.Plaintext(), "production")
				no, err2 := w.v.Verify(context.Background(), wrong.Plaintext(), "production")
				if err1 != nil || err2 != nil || good.Reason != keys.OK || no.Reason != keys.ReasonSecret {
					bad.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if bad.Load() != 0 {
		t.Errorf("%d of 1600 rounds went wrong", bad.Load())
	}
}

type constantPeppers struct{ ring *apikey.Ring }

func (p constantPeppers) Ring(context.Context) (*apikey.Ring, error)         { return p.ring, nil }
func (p constantPeppers) With(context.Context, string) (*apikey.Ring, error) { return p.ring, nil }

var equateEmpty = cmpopts.EquateEmpty()
