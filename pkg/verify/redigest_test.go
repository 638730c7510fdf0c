package verify

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

// rotated is a world whose key was digested before the pepper was changed.
func rotated(t testing.TB) *world {
	w := newWorld(t)
	w.peppers.ring = ring(t, "p2", "p1", "p2")
	return w
}

func TestKeyUnderAnOldPepperIsRedigested(t *testing.T) {
	w := rotated(t)
	type call struct {
		ID       apikey.ID
		Was, Now keys.Secret
	}
	calls := make(chan call, 1)
	w.store.redigest = func(ctx context.Context, id apikey.ID, was, now keys.Secret) error {
		if d, ok := ctx.Deadline(); !ok || time.Until(d) > redigestTimeout {
			t.Errorf("Redigest's context ends at %v, want a deadline within %v", d, redigestTimeout)
		}
		if ctx.Err() != nil {
			t.Errorf("Redigest's context is over with the request's: %v", ctx.Err())
		}
		calls <- call{id, was, now}
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	got, err := w.v.Verify(ctx, w.key.Plaintext(), "production")
	cancel()
	if err != nil || got.Reason != keys.OK {
		t.Fatalf("Verify: %+v, %v", got, err)
	}
	want := call{ID: w.key.ID(), Was: w.stored.Secret, Now: w.stored.Secret}
	want.Now.Pepper, want.Now.Digest = "p2", digest(t, w.peppers.ring, "p2", w.key)
	if d := cmp.Diff(want, <-calls); d != "" {
		t.Errorf("Redigest (-want +got):\n%s", d)
	}
}

func TestVerdictNeitherWaitsForARedigestNorHearsOfItsFailure(t *testing.T) {
	for name, end := range map[string]func() error{
		"fails":  func() error { return errors.New("boom") },
		"panics": func() error { panic("boom") },
	} {
		synctest.Test(t, func(t *testing.T) {
			w := rotated(t)
			release, calls := make(chan struct{}), 0
			w.store.redigest = func(context.Context, apikey.ID, keys.Secret, keys.Secret) error {
				calls++
				<-release
				return end()
			}
			// The first starts one; the others neither wait nor start more.
			for i := range 5 {
				if got, _, matches := w.verify(t, w.key.Plaintext(), "production"); got.Reason != keys.OK || matches != 1 {
					t.Errorf("%s: verdict %d while a re-digest hangs: %q after %d digests, want OK after 1", name, i, got.Reason, matches)
				}
			}
			synctest.Wait()
			if calls != 1 {
				t.Errorf("%s: %d re-digests at once, want 1", name, calls)
			}
			close(release)
			synctest.Wait()
			w.verify(t, w.key.Plaintext(), "production")
			synctest.Wait()
			if calls != 2 {
				t.Errorf("%s: %d re-digests in all, want the next request to try again", name, calls)
			}
		})
	}
}

func TestRedigestIsOnlyForTheLiveSecretOfAGoodKeyAndOnlyForward(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(*world) apikey.Key // returns what to present
		want    keys.Reason
	}{
		"old secret in its grace": {func(w *world) apikey.Key {
			w.peppers.ring = ring(t, "p1", "p1", "p2") // regenerated before the promotion
			w.regenerate(t, time.Hour)
			w.peppers.ring = ring(t, "p2", "p1", "p2")
			return w.key
		}, keys.OK},
		"wrong secret": {func(w *world) apikey.Key { return generate(t, w.key.ID()) }, keys.ReasonSecret},
		"inactive key": {func(w *world) apikey.Key { w.put(func(k *keys.Key) { k.Active = false }); return w.key }, keys.ReasonInactive},
		"current pepper": {func(w *world) apikey.Key {
			w.peppers.ring = ring(t, "p1", "p1", "p2")
			return w.key
		}, keys.OK},
		"pepper newer than what this process calls current": {func(w *world) apikey.Key {
			w.put(func(k *keys.Key) {
				k.Secret.Pepper, k.Secret.Digest = "p2", digest(t, w.peppers.ring, "p2", w.key)
			})
			w.peppers.ring = ring(t, "p1", "p1", "p2")
			return w.key
		}, keys.OK},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := rotated(t)
			calls := 0
			w.store.redigest = func(context.Context, apikey.ID, keys.Secret, keys.Secret) error { calls++; return nil }
			got, _, _ := w.verify(t, c.prepare(w).Plaintext(), "production")
			synctest.Wait()
			if got.Reason != c.want || calls != 0 {
				t.Errorf("%s: reason %q and %d re-digests, want %q and none", name, got.Reason, calls, c.want)
			}
		})
	}
}
