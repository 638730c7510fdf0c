package keys_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/keys/keystest"
)

const createRoute = "POST /v1/api-keys"

func once(key, body string) keys.Idempotency {
	return keys.Idempotency{Key: key, Route: createRoute, Request: []byte(body)}
}

// ask is a retry-safe create.
func (w *world) ask(c keys.Caller, idem keys.Idempotency) (keys.Issued, error) {
	return w.Service.Create(ctx, c, keys.CreateInput{Name: "retry-safe", Permissions: &[]string{"customers:read"}}, idem)
}

func (w *world) mustAsk(c keys.Caller, idem keys.Idempotency) keys.Issued {
	w.Helper()
	out, err := w.ask(c, idem)
	if err != nil {
		w.Fatalf("Create: %v", err)
	}
	w.Canary.Saw(out.Plaintext)
	return out
}

// count is how many keys there are, and audit events.
func (w *world) count() string {
	list, events := w.state()
	return fmt.Sprintf("%d keys, %d events", len(list), events)
}

func TestARetryGetsTheSameAnswerSecretIncluded(t *testing.T) {
	w := newWorld(t, "enterprise")
	first := w.mustAsk(w.root, once("k1", "{}"))
	if first.Replayed {
		t.Error("the first answer is marked as a replay")
	}
	before := w.count()
	// The answer is as it was, whatever became of the key since, as long as it lives.
	if _, err := w.Service.Update(ctx, w.root, keys.Ref{ID: first.Key.ID}, keys.Patch{Name: new("renamed")}, anyVersion); err != nil {
		t.Fatal(err)
	}
	w.Clock.Advance(24*time.Hour - time.Millisecond)
	again := w.mustAsk(w.root, once("k1", "{}"))
	if !again.Replayed || !again.Plaintext.Equal(first.Plaintext) {
		t.Error("the retry's answer is not the first one's")
	}
	same(t, "the key in the answer", again.Key, first.Key)
	if list, _ := w.state(); before != fmt.Sprintf("%d keys, %d events", len(list), len(w.events())-1) {
		t.Errorf("%s before, %s after", before, w.count())
	}
	w.MustLogin(t, again.Plaintext)
}

func TestARegenerateIsRetrySafeToo(t *testing.T) {
	w := newWorld(t, "enterprise")
	target := w.manager(keys.Production)
	idem := keys.Idempotency{Key: "k", Route: "POST /v1/api-keys/x/regenerate"}
	first, err := w.Service.Regenerate(ctx, w.root, ref(target), 0, idem, keys.Conditions{IfMatch: 1})
	if err != nil {
		t.Fatal(err)
	}
	// If-Match was right the first time: a retry is not held against what itself did.
	again, err := w.Service.Regenerate(ctx, w.root, ref(target), 0, idem, keys.Conditions{IfMatch: 1})
	if err != nil || !again.Replayed || !again.Plaintext.Equal(first.Plaintext) || again.Key.Generation != 2 {
		t.Errorf("retry: replayed %t, generation %d, %v", again.Replayed, again.Key.Generation, err)
	}
	same(t, "the key", w.key(target.KeyID).Generation, int64(2))

	// A later secret ends it.
	if _, err := w.Service.Regenerate(ctx, w.root, ref(target), 0, plain, anyVersion); err != nil {
		t.Fatal(err)
	}
	_, err = w.Service.Regenerate(ctx, w.root, ref(target), 0, idem, anyVersion)
	is(t, "retry after another regenerate", err, keys.ErrIdempotencyUnusable)
	same(t, "the key", w.key(target.KeyID).Generation, int64(3))
}

func TestOtherRequestsAreOtherRequests(t *testing.T) {
	w := newWorld(t, "enterprise")
	first := w.mustAsk(w.root, once("k1", "{}"))
	_, err := w.ask(w.root, once("k1", "{ }"))
	is(t, "another body", err, keys.ErrIdempotencyMismatch)
	if list, _ := w.state(); len(list) != 2 {
		t.Errorf("%d keys, want 2", len(list))
	}
	colleague := w.manager(keys.Production, "*", "api_keys:*")
	_, stranger := w.World.Account(t, "enterprise")
	elsewhere := once("k1", "{}")
	elsewhere.Route = "POST /v1/account/api-keys"
	for name, out := range map[string]keys.Issued{
		"another key":               w.mustAsk(w.root, once("k2", "{}")),
		"another route":             w.mustAsk(w.root, elsewhere),
		"another caller":            w.mustAsk(colleague, once("k1", "{}")),
		"another account's caller":  w.mustAsk(stranger, once("k1", "{}")),
		"another caller's own body": w.mustAsk(colleague, once("k3", "x")),
	} {
		if out.Replayed || out.Plaintext.Equal(first.Plaintext) {
			t.Errorf("%s: the answer is another request's", name)
		}
	}
}

func TestARecordIsOverAfter24HoursByItsOwnClock(t *testing.T) {
	w := newWorld(t, "enterprise")
	first := w.mustAsk(w.root, once("k1", "{}"))
	w.Clock.Advance(24 * time.Hour)
	second := w.mustAsk(w.root, once("k1", "another body, even"))
	if second.Replayed || second.Plaintext.Equal(first.Plaintext) {
		t.Error("a record of the day before was used")
	}
	third := w.mustAsk(w.root, once("k1", "another body, even"))
	if !third.Replayed || !third.Plaintext.Equal(second.Plaintext) {
		t.Error("the record that took its place was not")
	}
}

func TestWhatCannotBeGivenAgainIsRefusedAndNeverMadeASecondTime(t *testing.T) {
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, tt := range map[string]struct {
		after func(w *world, c keys.Caller, made keys.Issued) keys.Caller
		want  error
	}{
		"the key was deleted": {func(w *world, c keys.Caller, made keys.Issued) keys.Caller {
			_, err := w.Service.Delete(ctx, w.root, keys.Ref{ID: made.Key.ID}, anyVersion)
			must(err)
			return c
		}, keys.ErrIdempotencyUnusable},
		"the key was revoked": {func(w *world, c keys.Caller, made keys.Issued) keys.Caller {
			_, _, err := w.Service.Revoke(ctx, w.root, keys.Ref{ID: made.Key.ID}, false, anyVersion)
			must(err)
			return c
		}, keys.ErrIdempotencyUnusable},
		"the key was regenerated": {func(w *world, c keys.Caller, made keys.Issued) keys.Caller {
			_, err := w.Service.Regenerate(ctx, w.root, keys.Ref{ID: made.Key.ID}, 0, plain, anyVersion)
			must(err)
			return c
		}, keys.ErrIdempotencyUnusable},
		"the key was regenerated with a grace": {func(w *world, c keys.Caller, made keys.Issued) keys.Caller {
			_, err := w.Service.Regenerate(ctx, w.root, keys.Ref{ID: made.Key.ID}, time.Hour, plain, anyVersion)
			must(err)
			return c
		}, nil},
		"the key has expired": {func(w *world, c keys.Caller, made keys.Issued) keys.Caller {
			end := w.Clock.Now().Add(time.Hour)
			at := &end
			_, err := w.Service.Update(ctx, w.root, keys.Ref{ID: made.Key.ID}, keys.Patch{ExpiresAt: &at}, anyVersion)
			must(err)
			w.Clock.Advance(time.Hour)
			return c
		}, keys.ErrIdempotencyUnusable},
		"the key was forgotten": {func(w *world, c keys.Caller, made keys.Issued) keys.Caller {
			w.memory.Forget(made.Key.ID)
			return c
		}, keys.ErrIdempotencyUnusable},
		"the caller has another secret": {func(w *world, c keys.Caller, _ keys.Issued) keys.Caller {
			out, err := w.Service.Regenerate(ctx, w.root, ref(c), 0, plain, anyVersion)
			must(err)
			return w.MustLogin(t, out.Plaintext)
		}, keys.ErrIdempotencyUnusable},
		"the caller has another secret, but asks with the old one in its grace": {func(w *world, c keys.Caller, _ keys.Issued) keys.Caller {
			_, err := w.Service.Regenerate(ctx, w.root, ref(c), time.Hour, plain, anyVersion)
			must(err)
			return w.MustLogin(t, c.Credential)
		}, nil},
		"the caller was revoked": {func(w *world, c keys.Caller, _ keys.Issued) keys.Caller {
			_, _, err := w.Service.Revoke(ctx, w.root, ref(c), false, anyVersion)
			must(err)
			return c
		}, keys.ErrCallerGone},
		"the caller's secret is an old one": {func(w *world, c keys.Caller, _ keys.Issued) keys.Caller {
			_, err := w.Service.Regenerate(ctx, w.root, ref(c), 0, plain, anyVersion)
			must(err)
			return c
		}, keys.ErrCallerGone},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "enterprise")
			c := w.manager(keys.Production, "*", "api_keys:*")
			made := w.mustAsk(c, once("k1", "{}"))
			c = tt.after(w, c, made)
			before := w.count()
			out, err := w.ask(c, once("k1", "{}"))
			if !errors.Is(err, tt.want) || (err == nil) != out.Plaintext.Equal(made.Plaintext) {
				t.Errorf("retry = %v, want %v", err, tt.want)
			}
			if !out.Plaintext.IsZero() && err != nil {
				t.Error("an error came with a secret")
			}
			same(t, "what there is", w.count(), before)
		})
	}
}

func TestANarrowedCallerGetsNoSecretThatHoldsMoreThanIt(t *testing.T) {
	w := newWorld(t, "enterprise")
	c := w.manager(keys.Production, "customers:read", "api_keys:*")
	w.mustAsk(c, once("k1", "{}"))
	narrow := func(p ...string) {
		t.Helper()
		if _, err := w.Service.Update(ctx, w.root, ref(c), keys.Patch{Permissions: &p}, anyVersion); err != nil {
			t.Fatal(err)
		}
	}
	narrow("api_keys:*")
	_, err := w.ask(c, once("k1", "{}")) // the guard's proof is from before
	escalates(t, "retry", err, "permissions")
	narrow("customers:read")
	_, err = w.ask(c, once("k1", "{}"))
	escalates(t, "retry without api_keys:write", err, "permissions")
	narrow("customers:read", "api_keys:write")
	if out, err := w.ask(c, once("k1", "{}")); err != nil || !out.Replayed {
		t.Errorf("retry as wide as before: %v", err)
	}
}

func TestAReplayIsNotHeldAgainstTheClock(t *testing.T) {
	w := newWorld(t, "enterprise")
	in := keys.CreateInput{Name: "x", ExpiresAt: new(w.Clock.Now().Add(48 * time.Hour))}
	if _, err := w.Service.Create(ctx, w.root, in, once("k", "{}")); err != nil {
		t.Fatal(err)
	}
	// As when what was valid then is not any more: the body is the same, to the byte.
	in.ExpiresAt = new(w.Clock.Now().Add(-time.Hour))
	if out, err := w.Service.Create(ctx, w.root, in, once("k", "{}")); err != nil || !out.Replayed {
		t.Errorf("retry = %v, want the answer of then", err)
	}
}

func TestARetryIsAnsweredThroughAChangeOfPepper(t *testing.T) {
	w := newWorld(t, "enterprise")
	first := w.mustAsk(w.root, once("k1", "{}"))
	w.Peppers.Rotate()
	again := w.mustAsk(w.root, once("k1", "{}"))
	if !again.Replayed || !again.Plaintext.Equal(first.Plaintext) {
		t.Error("after a change of pepper the retry made another key")
	}
	second := w.mustAsk(w.root, once("k2", "{}"))
	w.Peppers.Rotate()
	if again := w.mustAsk(w.root, once("k2", "{}")); !again.Plaintext.Equal(second.Plaintext) {
		t.Error("after a second change of pepper the retry made another key")
	}
}

func TestEqualRequestsAtOnceMakeOneKey(t *testing.T) {
	for name, rotate := range map[string]bool{"one pepper": false, "pepper changes meanwhile": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "enterprise")
			var other keys.Issued
			w.beforeCommit(func() {
				if rotate {
					w.Peppers.Rotate() // the other one names its record under a new pepper
				}
				other = w.mustAsk(w.root, once("k1", "{}"))
			})
			out := w.mustAsk(w.root, once("k1", "{}"))
			if !out.Replayed || !out.Plaintext.Equal(other.Plaintext) {
				t.Error("two equal requests got two keys")
			}
			same(t, "what there is", w.count(), "2 keys, 2 events")

			target := w.manager(keys.Production)
			idem := keys.Idempotency{Key: "k", Route: "regenerate"}
			w.beforeCommit(func() {
				if rotate {
					w.Peppers.Rotate()
				}
				var err error
				if other, err = w.Service.Regenerate(ctx, w.root, ref(target), 0, idem, anyVersion); err != nil {
					t.Fatal(err)
				}
			})
			out, err := w.Service.Regenerate(ctx, w.root, ref(target), 0, idem, anyVersion)
			if err != nil || !out.Plaintext.Equal(other.Plaintext) || w.key(target.KeyID).Generation != 2 {
				t.Errorf("two equal regenerates: %v, generation %d, want one answer and 2", err, w.key(target.KeyID).Generation)
			}
		})
	}
}

// An equal request is answered between any two calls of the store, by a process in which
// the next pepper is current already. It names its record otherwise, so that only the
// order of reading prevents a second key.
func TestAnEqualRequestOfAnotherProcessAtAnyMomentMakesOneKey(t *testing.T) {
	idem := keys.Idempotency{Key: "k", Route: "regenerate"}
	for nth := 1; ; nth++ {
		w := newWorld(t, "enterprise")
		w.Peppers.Add()
		ahead := keystest.NewPeppers()
		ahead.Rotate()
		process := keystest.NewWorld(w.memory, func(c *keys.Config) { c.Peppers, c.Clock = ahead, w.Clock.Now })
		rival := &world{World: process, T: t, memory: w.memory}

		target := w.manager(keys.Production)
		var other keys.Issued
		result := w.atCall(nth, func() { other = rival.mustAsk(w.root, once("k1", "{}")) })
		out, err := w.ask(w.root, once("k1", "{}"))
		createDone, _ := result()
		if list, _ := w.state(); err != nil || len(list) != 3 || createDone && !out.Plaintext.Equal(other.Plaintext) {
			t.Errorf("another create at call %d: %d keys, %v, want 3 and one answer", nth, len(list), err)
		}

		result = w.atCall(nth, func() {
			var err error
			if other, err = rival.Service.Regenerate(ctx, w.root, ref(target), 0, idem, anyVersion); err != nil {
				t.Fatal(err)
			}
		})
		out, err = w.Service.Regenerate(ctx, w.root, ref(target), 0, idem, anyVersion)
		regenerateDone, _ := result()
		if k := w.key(target.KeyID); err != nil || k.Generation != 2 || regenerateDone && !out.Plaintext.Equal(other.Plaintext) {
			t.Errorf("another regenerate at call %d: generation %d, %v, want 2 and one answer", nth, k.Generation, err)
		}
		if !createDone && !regenerateDone {
			break
		}
	}
}

func TestManyEqualRequestsAtOnceMakeOneKey(t *testing.T) {
	w := newWorld(t, "enterprise", realWaits)
	w.slow(2 * time.Millisecond)
	var (
		wg      sync.WaitGroup
		mu      sync.Mutex
		answers []keys.Issued
	)
	for range 32 {
		wg.Go(func() {
			out, err := w.ask(w.root, once("k1", "{}"))
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				answers = append(answers, out)
			} else if !errors.Is(err, keys.ErrIdempotencyInFlight) {
				t.Errorf("Create = %v, want the answer or ErrIdempotencyInFlight", err)
			}
		})
	}
	wg.Wait()
	same(t, "what there is", w.count(), "2 keys, 2 events")
	fresh := 0
	for _, a := range answers {
		if !a.Plaintext.Equal(answers[0].Plaintext) {
			t.Fatal("two answers differ")
		}
		if !a.Replayed {
			fresh++
		}
	}
	if fresh != 1 {
		t.Errorf("%d of %d answers are not replays, want 1", fresh, len(answers))
	}
}

func TestALostAnswerIsFoundByTheRetry(t *testing.T) {
	w := newWorld(t, "enterprise")
	failed := false
	w.memory.OnCall(func(_ context.Context, c keystest.Call) error {
		if c.Op == "Commit" && c.Done && !failed {
			failed = true
			return fmt.Errorf("committing: %w", keys.ErrOutcomeUnknown)
		}
		return nil
	})
	_, err := w.ask(w.root, once("k1", "{}"))
	is(t, "create with a lost answer", err, keys.ErrOutcomeUnknown)
	out, err := w.ask(w.root, once("k1", "{}"))
	if err != nil || !out.Replayed {
		t.Fatalf("retry = replayed %t, %v", out.Replayed, err)
	}
	w.MustLogin(t, out.Plaintext)
	same(t, "what there is", w.count(), "2 keys, 2 events")
}

func TestARecordThatStaysInTheWayIsInFlight(t *testing.T) {
	w := newWorld(t, "enterprise")
	w.memory.OnCall(func(_ context.Context, c keystest.Call) error {
		if c.Op == "Commit" {
			return &keys.ConflictError{Record: true}
		}
		return nil
	})
	_, err := w.ask(w.root, once("k1", "{}"))
	w.memory.OnCall(nil)
	is(t, "create", err, keys.ErrIdempotencyInFlight)
	same(t, "what there is", w.count(), "1 keys, 1 events")
}

func TestARecordThatWasTamperedWithDoesNotOpen(t *testing.T) {
	flip := func(b []byte) { b[len(b)-1] ^= 1 }
	for name, tamper := range map[string]func(r *keys.IdempotencyRecord, other apikey.ID){
		"box":         func(r *keys.IdempotencyRecord, _ apikey.ID) { flip(r.Box) },
		"nonce":       func(r *keys.IdempotencyRecord, _ apikey.ID) { r.Box[0] ^= 1 },
		"no box":      func(r *keys.IdempotencyRecord, _ apikey.ID) { r.Box = nil },
		"salt":        func(r *keys.IdempotencyRecord, _ apikey.ID) { flip(r.Salt) },
		"another key": func(r *keys.IdempotencyRecord, other apikey.ID) { r.KeyID = other },
		"pepper":      func(r *keys.IdempotencyRecord, _ apikey.ID) { r.Pepper = "p9" },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "enterprise")
			other := w.manager(keys.Production, "customers:read")
			var record *keys.IdempotencyRecord
			w.memory.OnCall(func(_ context.Context, c keystest.Call) error {
				if c.Op == "Commit" && !c.Done && c.Change.Record != nil {
					record = c.Change.Record
					tamper(record, other.KeyID)
				}
				return nil
			})
			w.mustAsk(w.root, once("k1", "{}"))
			w.memory.OnCall(nil)
			if record == nil {
				t.Fatal("no record was written")
			}
			_, err := w.ask(w.root, once("k1", "{}"))
			is(t, "retry", err, keys.ErrIdempotencyUnusable)
		})
	}
}

// Whoever has the table, the pepper and the Idempotency-Key, and a key of the account,
// but not the caller's own: it does not open.
func TestAnotherCredentialDoesNotOpenTheBox(t *testing.T) {
	w := newWorld(t, "enterprise")
	w.mustAsk(w.root, once("k1", "{}"))
	impostor := w.root // a forged context, as if the guard could be fooled
	impostor.Credential = w.manager(keys.Production).Credential
	_, err := w.ask(impostor, once("k1", "{}"))
	is(t, "retry with another credential", err, keys.ErrIdempotencyUnusable)

	a := w.mustAsk(w.root, once("k2", "{}"))
	b := w.mustAsk(w.root, once("k3", "{}"))
	if a.Plaintext.Equal(b.Plaintext) {
		t.Error("two requests got one secret")
	}
}

func TestAnIdempotencyKeyIsVisibleASCII(t *testing.T) {
	w := newWorld(t, "enterprise")
	for _, key := range []string{"a b", "a\n", "é", "\x7f", strings.Repeat("a", 256)} {
		_, err := w.ask(w.root, once(key, "{}"))
		if got := invalidFields(t, err); got != "Idempotency-Key" {
			t.Errorf("fields at fault = %q, want Idempotency-Key", got)
		}
	}
	for _, key := range []string{"!", "~", strings.Repeat("a", 255), `"8e03978e-40d5-43dd-bc93-6894a57f9324"`} {
		w.mustAsk(w.root, once(key, "{}"))
	}
	nobody := w.root
	nobody.Credential = apikey.Key{}
	if _, err := w.ask(nobody, once("new", "{}")); err == nil {
		t.Error("a retry-safe create without a credential to seal to was made")
	}
}
