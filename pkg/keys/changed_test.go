package keys_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/keys/keystest"
)

// Who keeps copies of verdicts must hear of a new one when a copy that is made from then on
// is right, and of nothing else: each time costs a call.
func TestEachNewVerdictIsToldOnceItIsCommittedAndOnTheMeter(t *testing.T) {
	var w *world
	var told []apikey.ID
	w = newWorld(t, "pro", func(c *keys.Config) {
		c.Changed = func(_ context.Context, moved []keys.Key) {
			for _, k := range moved {
				stored, err := w.memory.Key(ctx, k.ID)
				meter, found, meterErr := w.memory.Meter(ctx, k.ID)
				if err := errors.Join(err, meterErr); err != nil || !found {
					t.Fatalf("key %s: meter found %t, %v", k.ID, found, err)
				}
				if stored.Verdict != k.Verdict || !stored.VerdictAt.Equal(k.VerdictAt) || meter.Verdict != k.Verdict {
					t.Errorf("told of verdict %d when the store has %d and the meter %d", k.Verdict, stored.Verdict, meter.Verdict)
				}
				told = append(told, k.ID)
			}
		}
	})
	parent := w.create(w.root, keys.CreateInput{Permissions: &[]string{"customers:read", "api_keys:write"}})
	var children []apikey.ID
	for range 3 {
		children = append(children, w.create(parent, keys.CreateInput{Permissions: &[]string{"customers:read"}}).KeyID)
	}
	other := w.create(w.root, keys.CreateInput{})
	only := []apikey.ID{other.KeyID}
	patch := func(p keys.Patch) func() error {
		return func() error {
			_, err := w.Service.Update(ctx, w.root, ref(other), p, anyVersion)
			return err
		}
	}
	name, same, limit, days := "renamed", "renamed", 7, 10
	narrow, wide := []string{"customers:read"}, []string{"customers:*", "licenses:manage"}
	for _, step := range []struct {
		name string
		do   func() error
		want []apikey.ID
	}{
		{"create", func() error {
			_, err := w.Service.Create(ctx, w.root, keys.CreateInput{Name: "new"}, plain)
			return err
		}, nil},
		{"rename", patch(keys.Patch{Name: &name}), nil},
		{"change nothing", patch(keys.Patch{Name: &same}), nil},
		{"narrow", patch(keys.Patch{Permissions: &narrow}), only},
		{"widen", patch(keys.Patch{Permissions: &wide}), only},
		{"another limit", patch(keys.Patch{RateLimit: &limit}), only},
		{"another expiry", patch(keys.Patch{ExpirationDays: &days}), only},
		{"revoke", func() error { _, _, err := w.Service.Revoke(ctx, w.root, ref(other), false, anyVersion); return err }, only},
		{"revoke again", func() error { _, _, err := w.Service.Revoke(ctx, w.root, ref(other), false, anyVersion); return err }, nil},
		{"activate", func() error { _, err := w.Service.Activate(ctx, w.root, ref(other), anyVersion); return err }, only},
		{"regenerate", func() error {
			_, err := w.Service.Regenerate(ctx, w.root, ref(other), time.Hour, plain, anyVersion)
			return err
		}, only},
		{"delete", func() error { _, err := w.Service.Delete(ctx, w.root, ref(other), anyVersion); return err }, only},
		{"revoke a family", func() error { _, _, err := w.Service.Revoke(ctx, w.root, ref(parent), true, anyVersion); return err },
			append([]apikey.ID{parent.KeyID}, children...)},
	} {
		told = nil
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		slices.Sort(told)
		slices.Sort(step.want)
		if d := cmp.Diff(step.want, told); d != "" {
			t.Errorf("%s (-want +told):\n%s", step.name, d)
		}
		w.Clock.Advance(time.Second)
	}
}

func TestANewVerdictIsToldAlthoughItsMeterCouldNotBeWritten(t *testing.T) {
	told := 0
	w := newWorld(t, "pro", func(c *keys.Config) { c.Changed = func(context.Context, []keys.Key) { told++ } })
	k := w.create(w.root, keys.CreateInput{})
	w.memory.OnCall(func(_ context.Context, c keystest.Call) error {
		if c.Op == "Settle" {
			return keys.ErrUnavailable
		}
		return nil
	})
	_, _, err := w.Service.Revoke(ctx, w.root, ref(k), false, anyVersion)
	if !errors.Is(err, keys.ErrNotSettled) || told != 1 {
		t.Errorf("Revoke: %v, told %d times; want ErrNotSettled, once", err, told)
	}
}

func TestVerdictAtStaysWhenOnlyTheNameChanges(t *testing.T) {
	w := newWorld(t, "pro")
	k := w.create(w.root, keys.CreateInput{})
	made := w.Clock.Now()
	w.Clock.Advance(time.Hour)
	name := "another"
	renamed, err := w.Service.Update(ctx, w.root, ref(k), keys.Patch{Name: &name}, anyVersion)
	if err != nil {
		t.Fatal(err)
	}
	if !renamed.VerdictAt.Equal(made.UTC().Truncate(time.Millisecond)) || renamed.UpdatedAt.Equal(renamed.VerdictAt) {
		t.Errorf("renamed: verdict of %s, updated %s; made %s", renamed.VerdictAt, renamed.UpdatedAt, made)
	}
}
