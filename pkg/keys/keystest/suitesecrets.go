package keystest

import (
	"fmt"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/limit"
)

// Digests, which a re-digest may change beside everything else, and meters.

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
	windows, err := f.Windows(f.ctx, ids)
	if err != nil {
		t.Fatalf("Windows: %v", err)
	}
	last := f.base.Add(2 * time.Second)
	var want keys.Windows
	for i := range 3 {
		at := f.base.Add(time.Duration(i) * time.Second)
		want.Minute = want.Minute.Count(want.Minute.SlotAt(limit.Minute, at), 1)
		want.Hour = want.Hour.Count(want.Hour.SlotAt(limit.Hour, at), 1)
		want.Day = want.Day.Count(want.Day.SlotAt(limit.Day, at), 1)
		want.Month = want.Month.Count(want.Month.PeriodAt(at, used.Quota.RefillDay), 1)
	}
	same(t, "Windows", windows, map[apikey.ID]keys.Usage{
		used.ID: {LastUsed: last, Requests: 3, Windows: want}, unused.ID: {},
	})
	same(t, "the key", f.key(t, used.ID), used)
}
