package keys_test

import (
	"context"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/pkg/config"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/keys/keystest"
)

func withPrefix(s config.Settings, prefix string) config.Settings {
	s.Prefixes = maps.Clone(s.Prefixes)
	s.Prefixes["account"] = map[string]config.Prefix{"production": {Issue: prefix}}
	return s
}

func TestRevokeIsUndoneByActivate(t *testing.T) {
	w := newWorld(t, "enterprise")
	target := w.manager(keys.Production)
	k, more, err := w.Service.Revoke(ctx, w.root, ref(target), false, anyVersion)
	if err != nil || more != 0 || k.Status(w.Clock.Now()) != keys.Inactive {
		t.Fatalf("Revoke = %s, %d more, %v", k.Status(w.Clock.Now()), more, err)
	}
	w.refused(target.Credential, keys.ReasonInactive)
	same(t, "meter", w.meter(target.KeyID), keystest.Meter{Verdict: 2, Active: false})
	// Again: the same answer, nothing more in the history.
	events := len(w.events())
	again, _, err := w.Service.Revoke(ctx, w.root, ref(target), false, anyVersion)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "the answer to a repeat", again, k)
	same(t, "events", len(w.events()), events)
	if _, err := w.Service.Activate(ctx, w.root, ref(target), anyVersion); err != nil {
		t.Fatal(err)
	}
	w.MustLogin(t, target.Credential)
	same(t, "meter", w.meter(target.KeyID), keystest.Meter{Verdict: 3, Active: true})
}

func TestADeletedKeyIsGoneForGoodButForTheListOfRevokedOnes(t *testing.T) {
	w := newWorld(t, "enterprise")
	target := w.manager(keys.Production)
	if _, err := w.Service.Delete(ctx, w.root, ref(target), anyVersion); err != nil {
		t.Fatal(err)
	}
	w.refused(target.Credential, keys.ReasonDeleted)
	for name, op := range mutations(w, w.root, ref(target)) {
		if name != "create" && name != "retry-safe create" {
			is(t, name, op(), keys.ErrNotFound)
		}
	}
	_, err := w.Service.Get(ctx, w.root, ref(target))
	is(t, "get", err, keys.ErrNotFound)
	_, err = w.Service.Get(ctx, w.root, keys.Ref{Number: 2})
	is(t, "get by number", err, keys.ErrNotFound)
	page, err := w.Service.List(ctx, w.root, keys.Query{Status: keys.Revoked})
	if err != nil || page.Total != 1 || page.Keys[0].ID != target.KeyID || !page.Keys[0].DeletedAt.Equal(w.Clock.Now()) {
		t.Errorf("the list of revoked keys: %+v, %v", page, err)
	}
}

// line makes a chain and a crowd below a key: n children, each child with a child.
func (w *world) line(by keys.Caller, n int) (all []keys.Caller) {
	for range n {
		child := w.create(by, keys.CreateInput{Permissions: &[]string{"api_keys:*"}})
		all = append(all, child, w.create(child, keys.CreateInput{Environment: new(keys.Development)}))
	}
	return all
}

func TestRevokeTakesAllDescendantsAlong(t *testing.T) {
	w := newWorld(t, "enterprise")
	stranger := w.manager(keys.Production, "*", "api_keys:*")
	parent := w.manager(keys.Production, "*", "api_keys:*")
	family := w.line(parent, 60) // 120 descendants: more than one change holds
	// One is off, one is deleted but has a child that is not.
	if _, _, err := w.Service.Revoke(ctx, w.root, ref(family[0]), false, anyVersion); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Service.Delete(ctx, w.root, ref(family[2]), anyVersion); err != nil {
		t.Fatal(err)
	}
	events := len(w.events())
	_, more, err := w.Service.Revoke(ctx, w.root, ref(parent), true, anyVersion)
	if err != nil || more != 118 {
		t.Fatalf("Revoke = %d more, %v, want 118", more, err)
	}
	for i, c := range append(family, parent) {
		if k := w.key(c.KeyID); k.Active && !k.Deleted {
			t.Errorf("descendant %d is active", i)
		}
		w.settled(c.KeyID)
	}
	for _, c := range []keys.Caller{w.root, stranger} {
		w.MustLogin(t, c.Credential)
	}
	// One event for the key, and one for each change of at most 30; each key in one.
	named := 0
	for _, e := range w.events()[events+1:] {
		if e.Action != "key.revoke_descendants" || e.KeyID != parent.KeyID || e.Actor != w.root.KeyID {
			t.Errorf("event %+v", e)
		}
		named += len(strings.Fields(e.After["keys"]))
	}
	if got := len(w.events()) - events; named != 118 || got != 6 {
		t.Errorf("%d events that name %d keys, want 6 and 118", got, named)
	}
	_, more, err = w.Service.Revoke(ctx, w.root, ref(parent), true, anyVersion)
	if err != nil || more != 0 {
		t.Errorf("again: %d more, %v, want 0", more, err)
	}
}

func TestAKeyRevokesItselfAndItsDescendants(t *testing.T) {
	w := newWorld(t, "enterprise")
	parent := w.manager(keys.Production, "*", "api_keys:*")
	family := w.line(parent, 45)
	_, more, err := w.Service.Revoke(ctx, parent, ref(parent), true, anyVersion)
	if err != nil || more != 90 {
		t.Fatalf("Revoke = %d more, %v, want 90", more, err)
	}
	for _, c := range append(family, parent) {
		w.refused(c.Credential, keys.ReasonInactive)
		w.settled(c.KeyID)
	}
}

func TestADescendantRevokesTheWholeFamilyItselfLast(t *testing.T) {
	w := newWorld(t, "enterprise")
	parent := w.manager(keys.Production, "*", "api_keys:*")
	family := w.line(parent, 45)
	var last []string
	w.memory.OnCall(func(_ context.Context, c keystest.Call) error {
		if c.Op == "Commit" && c.Done {
			last = strings.Fields(c.Change.Audit.After["keys"])
		}
		return nil
	})
	self := family[10]
	_, more, err := w.Service.Revoke(ctx, self, ref(parent), true, anyVersion)
	if err != nil || more != 90 {
		t.Fatalf("Revoke = %d more, %v, want 90", more, err)
	}
	if last[len(last)-1] != string(self.KeyID) {
		t.Error("the caller's own key was not the last to go")
	}
	for _, c := range append(family, parent) {
		w.refused(c.Credential, keys.ReasonInactive)
	}
}

func TestRepeatingARevokeSettlesDescendantsThatAreOff(t *testing.T) {
	w := newWorld(t, "enterprise")
	parent := w.manager(keys.Production, "*", "api_keys:*")
	child := w.create(parent, keys.CreateInput{})
	w.memory.OnCall(func(_ context.Context, c keystest.Call) error {
		if c.Op == "Settle" && c.Key == child.KeyID && !c.Done {
			return keys.ErrUnavailable
		}
		return nil
	})
	_, more, err := w.Service.Revoke(ctx, w.root, ref(parent), true, anyVersion)
	is(t, "revoke while the child's meter is down", err, keys.ErrNotSettled)
	w.memory.OnCall(nil)
	if k := w.key(child.KeyID); k.Active || w.meter(child.KeyID).Verdict == k.Verdict {
		t.Fatal("the child is active, or settled: the test shows nothing")
	}
	_, more, err = w.Service.Revoke(ctx, w.root, ref(parent), true, anyVersion)
	if err != nil || more != 0 {
		t.Errorf("again: %d more, %v, want 0", more, err)
	}
	w.settled(child.KeyID)
}

func TestADescendantThatTheCallerMakesWhileItGoesIsFoundAfterwards(t *testing.T) {
	w := newWorld(t, "enterprise")
	parent := w.manager(keys.Production, "*", "api_keys:*")
	self := w.create(parent, keys.CreateInput{Permissions: &[]string{"api_keys:*"}})
	var late keys.Caller
	w.memory.OnCall(func(_ context.Context, c keystest.Call) error {
		if c.Op == "Commit" && !c.Done && c.Change.Audit.Action == "key.revoke_descendants" && late.KeyID == "" {
			w.memory.OnCall(nil)
			late = w.create(self, keys.CreateInput{}) // in another request of the same caller
		}
		return nil
	})
	_, more, err := w.Service.Revoke(ctx, self, ref(parent), true, anyVersion)
	if err != nil || more != 2 {
		t.Errorf("Revoke = %d more, %v, want 2", more, err)
	}
	w.refused(self.Credential, keys.ReasonInactive)
	w.refused(late.Credential, keys.ReasonInactive)
}

func TestNoDescendantEscapesByCreatingKeysMeanwhile(t *testing.T) {
	w := newWorld(t, "enterprise", realWaits)
	parent := w.manager(keys.Production, "*", "api_keys:*")
	w.slow(300 * time.Microsecond)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 8 {
		wg.Go(func() { // each makes a child, which goes on, until it is stopped
			c := parent
			for {
				select {
				case <-stop:
					return
				default:
				}
				out, err := w.Service.Create(ctx, c, keys.CreateInput{Name: "x", Permissions: &[]string{"*", "api_keys:*"}}, plain)
				if err != nil {
					return
				}
				next, reason, err := w.Login(ctx, out.Plaintext)
				if err != nil || reason != keys.OK {
					return
				}
				c = next
			}
		})
	}
	time.Sleep(20 * time.Millisecond)
	_, more, err := w.Service.Revoke(ctx, w.root, ref(parent), true, anyVersion)
	if err != nil {
		t.Fatal(err)
	}
	list, err := w.memory.Keys(ctx, w.root.AccountID)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range list {
		if k.Active && k.ID != w.root.KeyID {
			t.Errorf("key %d is active after the answer", k.Number)
		}
	}
	close(stop)
	wg.Wait()
	after, err := w.memory.Keys(ctx, w.root.AccountID)
	if err != nil || len(after) != len(list) {
		t.Errorf("%d keys, %v, but %d when the answer came", len(after), err, len(list))
	}
	t.Logf("%d descendants, %d of them switched off by the revoke", len(list)-2, more)
}
