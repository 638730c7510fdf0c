package guard_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/guard"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/limit"
)

func TestWhatARequestCosts(t *testing.T) {
	w := newWorld(t)
	id, g, other := w.create(), w.process(), w.process()
	call := customers(w.context(id, 1))
	for _, step := range []struct {
		what   string
		before func()
		by     *guard.Guard
		want   calls
	}{
		{"the key's first request", func() {}, g, calls{Hits: 1, Rolls: 1}},
		{"the next in the same slot", func() {}, g, calls{Hits: 1}},
		{"later in the same slot", func() { w.advance(limit.Slot - 1) }, g, calls{Hits: 1}},
		{"the first of the next slot", func() { w.advance(limit.Slot) }, g, calls{Rolls: 1}},
		{"after an hour", func() { w.advance(time.Hour) }, g, calls{Rolls: 1}},
		{"a cold process in a slot that others have reached", func() {}, other, calls{Hits: 1}},
		{"a cold process in a slot that nobody has", func() { w.advance(limit.Slot); other = nil }, other, calls{Hits: 1, Rolls: 1}},
		{"a process that others have overtaken", func() {}, g, calls{Hits: 1, Rolls: 1}},
		{"a stale context", func() { w.change(id, limited(200)) }, g, calls{Hits: 2, Reads: 1}},
		{"a stale context that is known", func() {}, g, calls{Hits: 1}},
		{"a stale context that is known, in the next slot", func() { w.advance(limit.Slot) }, g, calls{Rolls: 1}},
		{"a stale context and a new slot", func() { w.advance(limit.Slot); w.change(id, limited(300)) }, g, calls{Hits: 0, Rolls: 2, Reads: 1}},
		{"a stale context, a new slot, a cold process", func() { w.advance(limit.Slot); w.change(id, limited(400)); other = nil }, other, calls{Hits: 1, Rolls: 1, Reads: 1}},
	} {
		step.before()
		if step.by == nil || other == nil {
			other = w.process()
			step.by = other
		}
		w.spent()
		w.try(step.by, call, "pass")
		if diff := cmp.Diff(step.want, w.spent()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step.what, diff)
		}
	}
}

func TestADeadContextCostsAReadAndNoWrite(t *testing.T) {
	w := newWorld(t)
	id, g := w.create(), w.process()
	call := customers(w.context(id, 1))
	w.try(g, call, "pass")
	w.change(id, revoke)
	w.try(g, call, "401 inactive")
	w.spent()
	for range 10 {
		w.try(g, call, "401 inactive")
	}
	if diff := cmp.Diff(calls{Reads: 10}, w.spent()); diff != "" {
		t.Errorf("ten requests of a revoked key (-want +got):\n%s", diff)
	}
}

func TestAFloodOverTheLimitCostsOneTryPerSlot(t *testing.T) {
	w := newWorld(t)
	id, g := w.create(limited(5)), w.process()
	call := customers(w.context(id, 1))
	passed := 0
	for range 26 {
		w.spent()
		for range 500 {
			if _, err := g.Check(w.ctx(), call); err == nil {
				passed++
			} else if outcome(err) != "429" {
				t.Fatal(err)
			}
			w.advance(limit.Slot / 500)
		}
		if got := w.spent(); got.Reads != 0 || got.sum() > 1+5+1 {
			t.Errorf("500 requests in a slot cost %+v, want one refusal and what passes", got)
		}
	}
	if passed != 5 {
		t.Errorf("%d passed in 65 s, want 5", passed)
	}
	w.try(g, call, "pass")
}

func TestRetryAfterIsNeitherTooLongNorTooShort(t *testing.T) {
	w := newWorld(t)
	id, g := w.create(limited(3)), w.process()
	call := customers(w.context(id, 1))
	retry := func(want time.Duration) {
		t.Helper()
		_, err := g.Check(w.ctx(), call)
		var over *guard.LimitError
		if !errors.As(err, &over) || over.RetryAfter != want {
			t.Fatalf("Check: %+v, want a limit that ends in %v", err, want)
		}
	}
	w.try(g, call, "pass")
	w.advance(7 * time.Second) // in the third slot now, 0.5 s before its end
	w.try(g, call, "pass")
	w.try(g, call, "pass")
	retry(58 * time.Second) // slot 0 expires at 65 s
	w.advance(10 * time.Second)
	retry(48 * time.Second)
	retry(48 * time.Second) // out of memory
	w.advance(48*time.Second - 1)
	retry(1)
	w.advance(1)
	w.try(g, call, "pass")
	retry(5 * time.Second) // slot 2 expires at 70 s
}

func TestADenialIsForgottenWithTheLimit(t *testing.T) {
	w := newWorld(t)
	id, g := w.create(limited(1)), w.process()
	old := customers(w.context(id, 1))
	w.try(g, old, "pass")
	w.try(g, old, "429")
	w.change(id, limited(3))
	w.try(g, customers(w.context(id, 1)), "pass") // a context that knows of the change
	w.try(w.process(), old, "pass")               // a process that has refused nothing
	w.try(g, old, "429")                          // all three are used now

	w.change(id, limited(1))
	w.try(g, customers(w.context(id, 1)), "429")
	w.change(id, limited(4))
	w.advance(limit.Slot) // the longest that a denial out of memory lasts
	w.try(g, old, "pass")
}

func TestALimitOfNothingLetsNothingPass(t *testing.T) {
	w := newWorld(t)
	id := w.create(limited(0))
	for range 3 {
		w.try(w.process(), customers(w.context(id, 1)), "429")
		w.advance(time.Minute)
	}
	w.meters.Remove(id)
	w.try(w.process(), customers(w.context(id, 1)), "429")
}

func TestAForbiddenRequestIsNotRefusedForTheLimit(t *testing.T) {
	w := newWorld(t)
	id, g := w.create(limited(1)), w.process()
	call := customers(w.context(id, 1))
	w.try(g, call, "pass")
	w.try(g, call, "429")
	call.Route.Permission = "api_keys:write"
	w.try(g, call, "403 api_keys:write")
}

func TestNoMoreKeysAreRememberedThanAsked(t *testing.T) {
	w := newWorld(t)
	g := guard.New(guard.Config{Meters: w, Keys: w, Clock: w.clock, Remembered: 10})
	var all []guard.Call
	for range 11 {
		all = append(all, customers(w.context(w.create(), 1)))
	}
	for _, call := range all {
		w.try(g, call, "pass")
	}
	w.advance(limit.Slot)
	w.spent()
	for _, call := range all[1:] { // the ten used last are remembered: they roll at once
		w.try(g, call, "pass")
	}
	if diff := cmp.Diff(calls{Rolls: 10}, w.spent()); diff != "" {
		t.Errorf("ten remembered keys (-want +got):\n%s", diff)
	}
	w.try(g, all[0], "pass") // the one unused for longest was forgotten
	if diff := cmp.Diff(calls{Hits: 1, Rolls: 1}, w.spent()); diff != "" {
		t.Errorf("a forgotten key (-want +got):\n%s", diff)
	}
}

// The contexts of one key are bounded too, and being forgotten only costs calls.
func TestMoreContextsThanAreRememberedAreStillJudgedRight(t *testing.T) {
	w := newWorld(t)
	id, g := w.create(), w.process()
	var old []guard.Call
	for generation := range int64(12) {
		old = append(old, customers(w.context(id, generation+1)))
		w.change(id, regenerate)
	}
	last := customers(w.context(id, 13))
	for range 3 {
		for _, call := range old {
			w.try(g, call, "401 "+string(keys.ReasonSecret))
		}
		w.try(g, last, "pass")
	}
}
