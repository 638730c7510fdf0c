package keys_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/keys/keystest"
)

// session makes a session that must be allowed, and logs in with it.
func (w *world) session(by keys.Caller) keys.Caller {
	w.Helper()
	out, err := w.Service.CreateSession(ctx, by)
	if err != nil {
		w.Fatalf("CreateSession: %v", err)
	}
	return w.MustLogin(w.T, out.Plaintext)
}

// live are the ids of the live sessions that a caller sees.
func (w *world) live(c keys.Caller) (ids []apikey.ID) {
	w.Helper()
	list, err := w.Service.Sessions(ctx, c)
	if err != nil {
		w.Fatalf("Sessions: %v", err)
	}
	for _, s := range list {
		ids = append(ids, s.ID)
	}
	return ids
}

// ended checks that no session of the list works, or may be proved by its meter.
func (w *world) ended(what string, want keys.Reason, sessions ...keys.Caller) {
	w.Helper()
	for _, s := range sessions {
		if _, reason, err := w.Login(ctx, s.Credential); err != nil || reason != want {
			w.Errorf("%s: Login with the session = %q, %v, want %q", what, reason, err, want)
		}
		if m := w.meter(s.KeyID); m.Active {
			w.Errorf("%s: the session's meter is still active", what)
		}
		if keys.Holds(s.Permissions, "api_keys:write") {
			_, err := w.Service.Create(ctx, s, keys.CreateInput{Name: "from beyond", Permissions: &[]string{}}, plain)
			is(w, what+": Create by the session", err, keys.ErrCallerGone)
		}
	}
}

func TestASessionHoldsExactlyWhatItsParentHeld(t *testing.T) {
	w := newWorld(t, "enterprise")
	permissions := []string{"api_keys:*", "customers:read"}
	staging := keys.Staging
	parent := w.create(w.root, keys.CreateInput{
		Name: "Ops", Owner: "Zoë", Environment: &staging, Permissions: &permissions, Customers: []string{"cus_1", "cus_2"},
		Networks: []string{"10.0.0.0/8"}, RateLimit: new(77), Limits: []keys.NamedLimit{{Window: "day", Requests: 9}}, Quota: &keys.Quota{Requests: 5, RefillDay: 3},
	})
	k := w.key(parent.KeyID)
	out, err := w.Service.CreateSession(ctx, parent)
	if err != nil {
		t.Fatal(err)
	}
	now := w.Clock.Now()
	same(t, "the session", out.Key, keys.Key{
		ID: out.Plaintext.ID(), AccountID: k.AccountID, Name: "Ops", Owner: "Zoë", Environment: keys.Staging,
		Permissions: k.Permissions, Customers: k.Customers, Networks: k.Networks, Plan: k.Plan, RateLimit: 77, LimitNamed: true,
		Limits: k.Limits, Quota: k.Quota, Active: true, Face: keys.Canonical, CreatedBy: k.ID, Parent: k.ID, ParentVerdict: k.Verdict,
		CreatedAt: now, UpdatedAt: now, VerdictAt: now, ExpiresAt: now.Add(12 * time.Hour),
		Version: 1, Verdict: 1, Generation: 1, Secret: keys.Secret{Generation: 1, Prefix: "kr_stage"},
	})
	s := w.MustLogin(t, out.Plaintext)
	want := parent.Identity
	want.KeyID, want.Parent, want.ParentVerdict, want.ExpiresAt = s.KeyID, parent.KeyID, 1, now.Add(12*time.Hour)
	same(t, "its identity", s.Identity, want)
	if s.Holder() != parent.KeyID || parent.Holder() != parent.KeyID {
		t.Error("the holder is not the parent")
	}

	// It is in no list of keys and counts for no plan.
	page, err := w.Service.List(ctx, w.root, keys.Query{})
	view, err1 := w.Service.AccountOf(ctx, w.root)
	if err := errors.Join(err, err1); err != nil || page.Total != 2 || view.Keys != 2 {
		t.Errorf("%d keys are listed and %d counted, %v, want 2 and 2", page.Total, view.Keys, err)
	}
	if a := w.account(); a.NextNumber != 3 || a.KeyCount != 2 {
		t.Errorf("account %+v: a session took a number or a place", a)
	}
}

func TestASessionEndsWithItsParentsSecretOrKey(t *testing.T) {
	w := newWorld(t, "enterprise")
	soon := w.Clock.Now().Add(3 * time.Hour)
	short := w.create(w.root, keys.CreateInput{ExpiresAt: &soon, Permissions: &[]string{"api_keys:read"}})
	s := w.session(short)
	if !s.ExpiresAt.Equal(soon) {
		t.Errorf("the session ends at %v, want its parent's end %v", s.ExpiresAt, soon)
	}
	old := w.manager(keys.Production, "api_keys:*")
	if _, err := w.Service.Regenerate(ctx, w.root, ref(old), time.Hour, plain, anyVersion); err != nil {
		t.Fatal(err)
	}
	byOld := w.session(w.MustLogin(t, old.Credential))
	if want := w.Clock.Now().Add(time.Hour); !byOld.ExpiresAt.Equal(want) {
		t.Errorf("the session of an old secret ends at %v, want the end of the grace %v", byOld.ExpiresAt, want)
	}
	w.Clock.Advance(time.Hour)
	w.refused(byOld.Credential, keys.ReasonExpired)
	long := w.session(w.root)
	w.Clock.Advance(2 * time.Hour)
	w.refused(s.Credential, keys.ReasonExpired)
	w.Clock.Advance(10*time.Hour - time.Millisecond)
	w.MustLogin(t, long.Credential)
	w.Clock.Advance(time.Millisecond)
	w.refused(long.Credential, keys.ReasonExpired)
}

// What ends a session at once, and what leaves it alone.
func TestASessionDiesWithAnyChangeOfItsParentsVerdict(t *testing.T) {
	parentOf := func(w *world) keys.Caller {
		return w.create(w.root, keys.CreateInput{
			Permissions: &[]string{"api_keys:*", "customers:read"}, Customers: []string{"a", "b"}, Networks: []string{"10.0.0.0/8"}, ExpirationDays: new(9),
		})
	}
	patch := func(p keys.Patch) func(w *world, c, parent keys.Caller) error {
		return func(w *world, c, parent keys.Caller) error {
			_, err := w.Service.Update(ctx, c, ref(parent), p, keys.Conditions{Force: true})
			return err
		}
	}
	for name, tt := range map[string]struct {
		do    func(w *world, c, parent keys.Caller) error
		lives bool
	}{
		"revoke": {do: func(w *world, c, p keys.Caller) error {
			_, _, err := w.Service.Revoke(ctx, c, ref(p), false, keys.Conditions{Force: true})
			return err
		}},
		"revoke with descendants": {do: func(w *world, c, p keys.Caller) error {
			_, _, err := w.Service.Revoke(ctx, c, ref(p), true, keys.Conditions{Force: true})
			return err
		}},
		"delete": {do: func(w *world, c, p keys.Caller) error {
			_, err := w.Service.Delete(ctx, c, ref(p), keys.Conditions{Force: true})
			return err
		}},
		"regenerate": {do: func(w *world, c, p keys.Caller) error {
			_, err := w.Service.Regenerate(ctx, c, ref(p), 0, plain, anyVersion)
			return err
		}},
		"regenerate with a grace": {do: func(w *world, c, p keys.Caller) error {
			_, err := w.Service.Regenerate(ctx, c, ref(p), time.Hour, plain, anyVersion)
			return err
		}},
		"narrow":          {do: patch(keys.Patch{Permissions: &[]string{"api_keys:*"}})},
		"fewer customers": {do: patch(keys.Patch{Customers: &[]string{"a"}})},
		"fewer networks":  {do: patch(keys.Patch{Networks: &[]string{"10.1.0.0/16"}})},
		"a limit":         {do: patch(keys.Patch{RateLimit: new(3)})},
		"a longer limit":  {do: patch(keys.Patch{Limits: &[]keys.NamedLimit{{Window: "hour", Requests: 3}}})},
		"a quota":         {do: patch(keys.Patch{Quota: new(&keys.Quota{Requests: 3, RefillDay: 1})})},
		"a plan":          {do: patch(keys.Patch{Plan: new("enterprise")})},
		"expiry":          {do: patch(keys.Patch{ExpirationDays: new(1)})},
		"rename":          {do: patch(keys.Patch{Name: new("else"), Owner: new("else")}), lives: true},
		"make primary":    {do: patch(keys.Patch{Primary: new(true)}), lives: true},
		"nothing":         {do: patch(keys.Patch{Active: new(true)}), lives: true},
	} {
		for _, by := range []string{"root", "the parent", "the session", "a session of the root"} {
			t.Run(name+" by "+by, func(t *testing.T) {
				var moved []apikey.ID
				w := newWorld(t, "enterprise", func(c *keys.Config) {
					c.Changed = func(_ context.Context, list []keys.Key) {
						for _, k := range list {
							moved = append(moved, k.ID)
						}
					}
				})
				parent := parentOf(w)
				one, two, other := w.session(parent), w.session(parent), w.session(w.root)
				c := map[string]keys.Caller{"root": w.root, "the parent": parent, "the session": one, "a session of the root": other}[by]
				if err := tt.do(w, c, parent); err != nil {
					t.Fatal(err)
				}
				w.MustLogin(t, other.Credential)
				if tt.lives {
					w.MustLogin(t, one.Credential)
					w.MustLogin(t, two.Credential)
					same(t, "moved", moved, []apikey.ID{})
					return
				}
				w.ended("after the answer", keys.ReasonDeleted, one, two)
				w.settled(parent.KeyID)
				for _, id := range []apikey.ID{parent.KeyID, one.KeyID, two.KeyID} {
					if !slices.Contains(moved, id) {
						t.Errorf("nobody was told of %s", id)
					}
				}
				if e := w.lastEvent(); e.Action != "session.end" || e.KeyID != parent.KeyID || e.Actor != c.Holder() || e.Environment != keys.Production ||
					len(strings.Fields(e.Before["session"])) != 2 {
					t.Errorf("the last event is %+v, want the end of two sessions", e)
				}
				same(t, "live sessions", w.live(w.root), []apikey.ID{other.KeyID})
			})
		}
	}
}

func TestASessionActsInItsParentsName(t *testing.T) {
	w := newWorld(t, "enterprise")
	parent := w.manager(keys.Production, "api_keys:*", "customers:read")
	s := w.session(parent)
	out, err := w.Service.Create(ctx, s, keys.CreateInput{Name: "child", Permissions: &[]string{"customers:read"}}, keys.Idempotency{Key: "k", Route: "POST"})
	if err != nil {
		t.Fatal(err)
	}
	again, err := w.Service.Create(ctx, s, keys.CreateInput{Name: "child", Permissions: &[]string{"customers:read"}}, keys.Idempotency{Key: "k", Route: "POST"})
	if err != nil || !again.Replayed || !again.Plaintext.Equal(out.Plaintext) {
		t.Errorf("the session's retry = %v, replayed %t", err, again.Replayed)
	}
	other, err := w.Service.Create(ctx, w.session(parent), keys.CreateInput{Name: "child", Permissions: &[]string{"customers:read"}}, keys.Idempotency{Key: "k", Route: "POST"})
	if err != nil || other.Replayed || other.Plaintext.Equal(out.Plaintext) {
		t.Errorf("another session's request with the same Idempotency-Key = %v, replayed %t, want a create of its own", err, other.Replayed)
	}
	if out.Key.CreatedBy != parent.KeyID {
		t.Errorf("created by %s, want the parent", out.Key.CreatedBy)
	}
	for _, e := range w.events() {
		if e.KeyID == out.Key.ID && (e.Actor != parent.KeyID || e.Session != s.KeyID) {
			t.Errorf("event %+v, want the parent and the session", e)
		}
	}
	_, more, err := w.Service.Revoke(ctx, s, ref(parent), true, keys.Conditions{Force: true})
	if err != nil || more != 2 {
		t.Fatalf("Revoke of the parent with descendants, by its session = %d more, %v, want 2", more, err)
	}
	w.refused(out.Plaintext, keys.ReasonInactive)
	w.ended("the session that did it", keys.ReasonDeleted, s)
	for _, e := range w.events()[len(w.events())-3:] {
		if e.Actor != parent.KeyID || e.Session != s.KeyID {
			t.Errorf("%s: actor %s, session %s", e.Action, e.Actor, e.Session)
		}
	}
}

func TestASessionMayNeverMoreThanItsParent(t *testing.T) {
	w := newWorld(t, "enterprise")
	staging := keys.Staging
	parent := w.create(w.root, keys.CreateInput{
		Environment: &staging, Permissions: &[]string{"api_keys:*", "customers:read"}, Customers: []string{"a"}, Networks: []string{"10.0.0.0/8"},
	})
	s := w.session(parent)
	create := func(in keys.CreateInput) error {
		in.Name = "wider"
		_, err := w.Service.Create(ctx, s, in, plain)
		return err
	}
	production := keys.Production
	escalates(t, "a permission", create(keys.CreateInput{Permissions: &[]string{"invoices:read"}}), "permissions")
	escalates(t, "every permission", create(keys.CreateInput{Permissions: &[]string{"*"}}), "permissions")
	escalates(t, "another customer", create(keys.CreateInput{Customers: []string{"b"}}), "customers")
	escalates(t, "every customer", create(keys.CreateInput{Customers: []string{}}), "customers")
	escalates(t, "anywhere", create(keys.CreateInput{Networks: []string{}}), "networks")
	escalates(t, "another environment", create(keys.CreateInput{Environment: &production}), "environment")
	if err := create(keys.CreateInput{}); err != nil {
		t.Errorf("a key of its own rights = %v", err)
	}
	_, err := w.Service.CreateSession(ctx, s)
	escalates(t, "a session of a session", err, "sessionOf")
	_, err = w.Service.CreateSession(ctx, w.manager(keys.Production, "api_keys:write"))
	escalates(t, "a session of a key that may not read keys", err, "permissions")

	// A reader's session manages nothing.
	reader := w.session(w.manager(keys.Production, "api_keys:read"))
	_, err = w.Service.Create(ctx, reader, keys.CreateInput{Name: "x", Permissions: &[]string{}}, plain)
	escalates(t, "Create by a reader's session", err, "permissions")
	_, err = w.Service.EndSession(ctx, reader, s.KeyID)
	escalates(t, "the end of another's session by a reader's", err, "permissions")
}

func TestNothingButItsEndChangesASession(t *testing.T) {
	w := newWorld(t, "enterprise")
	parent := w.manager(keys.Production, "api_keys:*")
	s := w.session(parent)
	before := w.key(s.KeyID)
	for name, err := range map[string]error{
		"update":     second(w.Service.Update(ctx, w.root, ref(s), keys.Patch{Name: new("x")}, anyVersion)),
		"itself":     second(w.Service.Update(ctx, s, ref(s), keys.Patch{ExpiresAt: new((*time.Time)(nil))}, anyVersion)),
		"activate":   second(w.Service.Activate(ctx, w.root, ref(s), anyVersion)),
		"regenerate": second(w.Service.Regenerate(ctx, s, ref(s), 0, plain, anyVersion)),
		"delete":     second(w.Service.Delete(ctx, w.root, ref(s), anyVersion)),
		"get":        second(w.Service.Get(ctx, w.root, ref(s))),
		"find":       second(w.Service.Find(ctx, w.root, ref(s))),
		"audit":      second(w.Service.AuditEvents(ctx, w.root, keys.AuditQuery{KeyID: s.KeyID})),
	} {
		is(t, name+" of a session", err, keys.ErrNotFound)
	}
	_, _, err := w.Service.Revoke(ctx, w.root, ref(s), true, anyVersion)
	is(t, "revoke of a session", err, keys.ErrNotFound)
	same(t, "the session", w.key(s.KeyID), before)
	if k, err := w.Service.Get(ctx, s, ref(s)); err != nil || k.Parent != parent.KeyID {
		t.Errorf("Get of itself = %v, session of %s", err, k.Parent)
	}
	is(t, "a key as a session", second(w.Service.EndSession(ctx, w.root, parent.KeyID)), keys.ErrNotFound)
	is(t, "oneself that is none", second(w.Service.EndSession(ctx, parent, parent.KeyID)), keys.ErrNotFound)
}

func second[T any](_ T, err error) error { return err }

func TestEndingASession(t *testing.T) {
	w := newWorld(t, "enterprise")
	reader := w.manager(keys.Production, "api_keys:read")
	own, other := w.session(reader), w.session(reader)
	events := len(w.events())
	k, err := w.Service.EndSession(ctx, own, own.KeyID) // it may not write keys
	if err != nil || k.Status(w.Clock.Now()) != keys.Revoked || k.Secret.Digest != (apikey.Digest{}) {
		t.Fatalf("EndSession of itself = %v, status %s", err, k.Status(w.Clock.Now()))
	}
	w.ended("ended by itself", keys.ReasonDeleted, own)
	is(t, "itself again, past a guard that was late", second(w.Service.EndSession(ctx, own, own.KeyID)), keys.ErrNotFound)
	w.MustLogin(t, other.Credential)

	if _, err := w.Service.EndSession(ctx, w.session(w.root), other.KeyID); err != nil {
		t.Fatal(err)
	}
	w.ended("ended by another", keys.ReasonDeleted, other)
	is(t, "again", second(w.Service.EndSession(ctx, w.root, other.KeyID)), keys.ErrNotFound)
	if e := w.lastEvent(); len(w.events()) != events+3 || e.Action != "session.end" || e.KeyID != reader.KeyID || e.Actor != w.root.KeyID || e.Before["session"] != string(other.KeyID) {
		t.Errorf("%d events more, the last %+v", len(w.events())-events, e)
	}

	// A crash between the end and its meter is repaired by asking again.
	third := w.session(reader)
	w.memory.OnCall(func(_ context.Context, c keystest.Call) error {
		if c.Op == "Settle" {
			return keys.ErrUnavailable
		}
		return nil
	})
	is(t, "EndSession while meters are down", second(w.Service.EndSession(ctx, w.root, third.KeyID)), keys.ErrNotSettled)
	w.memory.OnCall(nil)
	if !w.meter(third.KeyID).Active {
		t.Fatal("the meter is settled already: the test shows nothing")
	}
	is(t, "again", second(w.Service.EndSession(ctx, w.root, third.KeyID)), keys.ErrNotFound)
	w.ended("after the repeat", keys.ReasonDeleted, third)
}

// An id of what is not for the caller to see answers as one that does not exist.
func TestSessionsOfOthersAreAbsent(t *testing.T) {
	w := newWorld(t, "enterprise")
	_, foreign := w.Account(t, "enterprise")
	production, staging := w.session(w.root), w.session(w.manager(keys.Staging, "api_keys:*"))
	for name, tt := range map[string]struct {
		by keys.Caller
		id apikey.ID
	}{
		"another account's":     {foreign, production.KeyID},
		"another environment's": {staging, production.KeyID},
		"none":                  {w.root, "absent00"},
		"no id":                 {w.root, "%%%"},
		"empty":                 {w.root, ""},
	} {
		if _, err := w.Service.EndSession(ctx, tt.by, tt.id); err == nil || err.Error() != "ending a session: not found" {
			t.Errorf("%s: EndSession = %v, want the bare ErrNotFound", name, err)
		}
	}
	both := w.live(w.root)
	if len(both) != 2 || !slices.Contains(both, production.KeyID) || !slices.Contains(both, staging.KeyID) {
		t.Errorf("root sees %v, want both", both)
	}
	same(t, "staging sees", w.live(staging), []apikey.ID{staging.KeyID})
	same(t, "the other account sees", w.live(foreign), []apikey.ID{})
	w.MustLogin(t, production.Credential)
	names, err := w.Service.Names(ctx, foreign, []apikey.ID{production.KeyID, w.root.KeyID})
	if err != nil || len(names) != 0 {
		t.Errorf("Names for another account = %v, %v, want none", names, err)
	}
}

func TestSessionsAreListedWithWhatAPersonNeeds(t *testing.T) {
	w := newWorld(t, "enterprise")
	parent := w.create(w.root, keys.CreateInput{Name: "Laptop", Permissions: &[]string{"api_keys:*"}})
	first := w.session(parent)
	w.Clock.Advance(time.Minute)
	second := w.session(parent)
	if err := w.memory.Use(ctx, first.KeyID, w.Clock.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Service.Update(ctx, w.root, ref(parent), keys.Patch{Name: new("Desktop")}, anyVersion); err != nil {
		t.Fatal(err)
	}
	list, err := w.Service.Sessions(ctx, second)
	if err != nil || len(list) != 2 {
		t.Fatalf("Sessions = %d, %v, want 2", len(list), err)
	}
	for i, want := range []keys.Caller{second, first} {
		s := list[i]
		if s.ID != want.KeyID || s.Parent != parent.KeyID || s.ParentName != "Desktop" || s.Current != (i == 0) ||
			!s.ExpiresAt.Equal(want.ExpiresAt) || s.LastUsed.IsZero() != (i == 0) || s.Secret.Digest != (apikey.Digest{}) {
			t.Errorf("session %d: %+v", i, s)
		}
	}
	names, err := w.Service.Names(ctx, w.root, []apikey.ID{first.KeyID, parent.KeyID, "absent00", "%%"})
	if err != nil {
		t.Fatal(err)
	}
	same(t, "Names", names, map[apikey.ID]string{first.KeyID: "Desktop (session)", parent.KeyID: "Desktop"})
	_, err = w.Service.Sessions(ctx, w.manager(keys.Production, "customers:read"))
	escalates(t, "Sessions without a permission", err, "permissions")
}

func TestTheTwentyFirstSessionEndsTheOldest(t *testing.T) {
	w := newWorld(t, "enterprise")
	parent := w.manager(keys.Production, "api_keys:*")
	var all []keys.Caller
	for range 23 {
		all = append(all, w.session(parent))
		w.Clock.Advance(time.Minute)
	}
	w.ended("the three oldest", keys.ReasonDeleted, all[:3]...)
	if n := len(w.live(w.root)); n != 20 {
		t.Errorf("%d live sessions, want 20", n)
	}
	if e := w.lastEvent(); e.Action != "session.create" || e.After["ended"] != string(all[2].KeyID) || e.After["session"] != string(all[22].KeyID) {
		t.Errorf("the last event is %+v", e)
	}
	w.session(w.root) // another key's do not count
	w.MustLogin(t, all[3].Credential)
	w.Clock.Advance(12*time.Hour - 20*time.Minute) // nor do expired ones
	w.session(parent)
	w.MustLogin(t, all[21].Credential)
}

// Whoever changes a key looks through all its sessions, so a key that may only read must
// not be able to leave any number of them.
func TestAKeyCannotBeBuriedInSessions(t *testing.T) {
	w := newWorld(t, "enterprise")
	reader := w.create(w.root, keys.CreateInput{Permissions: &[]string{"api_keys:read"}})
	for range 500 {
		w.session(reader)
	}
	_, err := w.Service.CreateSession(ctx, reader)
	is(w, "the 501st", err, keys.ErrSessionLimit)
	w.session(w.root) // another key's do not count
	w.Clock.Advance(12 * time.Hour)
	w.session(reader) // nor do those that have expired
	for range 499 {
		w.session(reader)
	}
	_, err = w.Service.CreateSession(ctx, reader)
	is(w, "the 501st after that", err, keys.ErrSessionLimit)
	issued, err := w.Service.Regenerate(ctx, w.root, ref(reader), 0, plain, anyVersion)
	if err != nil {
		t.Fatal(err)
	}
	w.session(w.MustLogin(t, issued.Plaintext)) // nor do those of its old self: the holder is let in again
}

func TestSessionsMadeAtOnceAreNeverMoreThanTwenty(t *testing.T) {
	w := newWorld(t, "enterprise", realWaits)
	parent := w.manager(keys.Production, "api_keys:*")
	for range 18 {
		w.session(parent)
	}
	var wg sync.WaitGroup
	made := make(chan error, 12)
	for range 12 {
		wg.Go(func() {
			_, err := w.Service.CreateSession(ctx, parent)
			made <- err
		})
	}
	wg.Wait()
	close(made)
	for err := range made {
		if err != nil && !errors.Is(err, keys.ErrConflict) {
			t.Errorf("CreateSession = %v", err)
		}
	}
	if n := len(w.live(w.root)); n != 20 {
		t.Errorf("%d live sessions, want 20", n)
	}
}

// One that is made between another's count and its commit counts.
func TestASessionMadeBehindAnothersCountCounts(t *testing.T) {
	w := newWorld(t, "enterprise")
	parent := w.manager(keys.Production, "api_keys:*")
	for range 19 {
		w.session(parent)
	}
	inside := false
	w.memory.OnCall(func(_ context.Context, c keystest.Call) error {
		if c.Op == "Sessions" && c.Done && !inside {
			inside = true
			if _, err := w.Service.CreateSession(ctx, parent); err != nil {
				t.Errorf("the session in between: %v", err)
			}
		}
		return nil
	})
	_, err := w.Service.CreateSession(ctx, parent)
	w.memory.OnCall(nil)
	if n := len(w.live(w.root)); err != nil || n != 20 {
		t.Errorf("%d live sessions, %v, want 20", n, err)
	}
}

// However a session's making and its parent's change come together, after both answers no
// session of the old verdict works.
func TestASessionInFlightNeverOutlivesItsParentsChange(t *testing.T) {
	// The change is put before and after each call of the making, and the other way round.
	for _, first := range []string{"session", "change"} {
		for nth := 1; ; nth++ {
			w := newWorld(t, "enterprise")
			parent := w.manager(keys.Production, "api_keys:*")
			var made keys.Issued
			var madeErr, changeErr error
			create := func() { made, madeErr = w.Service.CreateSession(ctx, parent) }
			change := func() { _, _, changeErr = w.Service.Revoke(ctx, w.root, ref(parent), false, anyVersion) }
			outer, inner := create, change
			if first == "change" {
				outer, inner = change, create
			}
			calls, met := 0, ""
			w.memory.OnCall(func(_ context.Context, c keystest.Call) error {
				if calls++; calls == nth {
					met = fmt.Sprint(c.Op, " ", c.Done)
					inner()
				}
				return nil
			})
			outer()
			w.memory.OnCall(nil)
			if met == "" {
				break
			}
			what := fmt.Sprintf("at call %d (%s) of the %s", nth, met, first)
			if changeErr != nil {
				t.Errorf("%s: Revoke = %v", what, changeErr)
			}
			switch {
			case madeErr == nil:
				w.refused(made.Plaintext, keys.ReasonDeleted)
				if w.meter(made.Key.ID).Active {
					t.Errorf("%s: the session's meter is active", what)
				}
			default:
				is(t, what+": CreateSession", madeErr, keys.ErrCallerGone)
			}
			same(t, what+": live sessions", w.live(w.root), []apikey.ID{})
		}
	}
}

// The process ends after the parent's change is committed, before anything is settled.
func TestACrashAfterTheCommitLeavesASessionThatIsRefusedAndCommitsNothing(t *testing.T) {
	w := newWorld(t, "enterprise")
	parent := w.manager(keys.Production, "api_keys:*", "customers:read")
	s, victim := w.session(parent), w.manager(keys.Production)
	crash := errors.New("crash")
	w.memory.OnCall(func(_ context.Context, c keystest.Call) error {
		if c.Op != "Key" && (c.Op != "Commit" || c.Done) {
			return crash
		}
		return nil
	})
	_, _, err := w.Service.Revoke(ctx, w.root, ref(parent), false, anyVersion)
	w.memory.OnCall(nil)
	if err == nil || w.key(parent.KeyID).Active || w.key(s.KeyID).Deleted {
		t.Fatal("the crash did not come between: the test shows nothing")
	}
	w.refused(s.Credential, keys.ReasonSession)
	same(t, "live sessions", w.live(w.root), []apikey.ID{})
	events := len(w.events())
	for name, err := range map[string]error{
		"create":      second(w.Service.Create(ctx, s, keys.CreateInput{Name: "x", Permissions: &[]string{}}, plain)),
		"update":      second(w.Service.Update(ctx, s, ref(victim), keys.Patch{Permissions: &[]string{"customers:read"}}, anyVersion)),
		"delete":      second(w.Service.Delete(ctx, s, ref(victim), anyVersion)),
		"end itself":  second(w.Service.EndSession(ctx, s, s.KeyID)),
		"its parent":  second(w.Service.Activate(ctx, s, ref(parent), anyVersion)),
		"the regrant": second(w.Service.Regenerate(ctx, s, ref(victim), 0, plain, anyVersion)),
	} {
		is(t, name+" by the session", err, keys.ErrCallerGone)
	}
	same(t, "events of the session", len(w.events()), events)

	if _, _, err := w.Service.Revoke(ctx, w.root, ref(parent), false, anyVersion); err != nil {
		t.Fatal(err)
	}
	w.ended("after the repeat", keys.ReasonDeleted, s)
}

// Every change of a parent, every fault at each of its calls: what is committed stands at
// once, and the repeat leaves no session that a guard or a commit would let through.
func TestEveryFaultLeavesSessionsThatAreRefusedAndEndedByTheRepeat(t *testing.T) {
	for _, name := range []string{"revoke", "revoke with descendants", "regenerate", "delete"} {
		for _, applied := range []bool{false, true} {
			for nth := 1; ; nth++ {
				w := newWorld(t, "enterprise")
				parent := w.manager(keys.Production, "api_keys:*")
				s := w.session(parent)
				calls, failedOp := 0, ""
				w.memory.OnCall(func(_ context.Context, call keystest.Call) error {
					if call.Done == applied {
						if calls++; calls >= nth { // and all from there on
							failedOp = call.Op
							return keys.ErrOutcomeUnknown
						}
					}
					return nil
				})
				err := mutations(w, w.root, ref(parent))[name]()
				w.memory.OnCall(nil)
				if failedOp == "" {
					break
				}
				what := fmt.Sprintf("%s, from %s call %d on, applied %t", name, failedOp, nth, applied)
				if w.key(parent.KeyID).Verdict > 1 {
					if _, reason, _ := w.Login(ctx, s.Credential); reason == keys.OK {
						t.Errorf("%s: the session works after the commit", what)
					}
				}
				if err == nil {
					t.Errorf("%s: no error", what)
				}
				if err := mutations(w, w.root, ref(parent))[name](); err != nil && !errors.Is(err, keys.ErrNotFound) {
					t.Fatalf("%s: the repeat = %v", what, err)
				}
				w.ended(what, keys.ReasonDeleted, s)
				w.settled(parent.KeyID)
			}
		}
	}
}

// The making itself under faults: no half session, and one that nobody has the secret of is
// in the list, where it can be ended.
func TestAFaultWhileASessionIsMadeLeavesAWholeOneOrNone(t *testing.T) {
	for _, applied := range []bool{false, true} {
		for nth := 1; ; nth++ {
			w := newWorld(t, "enterprise")
			calls, failedOp := 0, ""
			w.memory.OnCall(func(_ context.Context, call keystest.Call) error {
				if call.Done == applied {
					if calls++; calls == nth {
						failedOp = call.Op
						return keys.ErrOutcomeUnknown
					}
				}
				return nil
			})
			_, err := w.Service.CreateSession(ctx, w.root)
			w.memory.OnCall(nil)
			if failedOp == "" {
				if err != nil {
					t.Fatal(err)
				}
				break
			}
			is(t, fmt.Sprintf("%s fails, applied %t", failedOp, applied), err, keys.ErrOutcomeUnknown)
			want := 0
			if failedOp == "Commit" && applied {
				want = 1
			}
			left := w.live(w.root)
			if len(left) != want {
				t.Errorf("%s fails, applied %t: %d sessions, want %d", failedOp, applied, len(left), want)
			}
			for _, id := range left {
				if _, err := w.Service.EndSession(ctx, w.root, id); err != nil {
					t.Error(err)
				}
			}
			if n := w.account().Version; n != int64(1+want) {
				t.Errorf("the account is at version %d", n)
			}
		}
	}
}

func TestTheLastManagerIsTheHolderAndNotItsSession(t *testing.T) {
	w := newWorld(t, "enterprise")
	s := w.session(w.root)
	w.manager(keys.Production) // manages nothing
	_, _, err := w.Service.Revoke(ctx, s, ref(w.root), false, anyVersion)
	is(t, "the last manager by its session", err, keys.ErrLastManager)
	_, err = w.Service.Update(ctx, s, ref(w.root), keys.Patch{Permissions: &[]string{"*"}}, anyVersion)
	is(t, "the last manager's permissions by its session", err, keys.ErrLastManager)
	w.MustLogin(t, s.Credential)
	w.manager(keys.Production, "api_keys:*")
	if _, _, err := w.Service.Revoke(ctx, s, ref(w.root), false, anyVersion); err != nil {
		t.Errorf("with another manager left: %v", err)
	}
	w.ended("the session", keys.ReasonDeleted, s)
}

func TestADeletedAndForgottenParentUpholdsNoSession(t *testing.T) {
	w := newWorld(t, "enterprise")
	parent := w.manager(keys.Production, "api_keys:*")
	s := w.session(parent)
	w.memory.Forget(parent.KeyID) // as if somebody had taken it out of the table
	w.refused(s.Credential, keys.ReasonSession)
	same(t, "live sessions", w.live(w.root), []apikey.ID{})
	_, err := w.Service.Create(ctx, s, keys.CreateInput{Name: "x", Permissions: &[]string{}}, plain)
	is(t, "Create by it", err, keys.ErrCallerGone)
}

func TestUpholdsIsNarrow(t *testing.T) {
	now := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	parent := keys.Key{ID: "parent00", AccountID: "a", Active: true, Verdict: 4}
	session := keys.Key{ID: "session0", AccountID: "a", Active: true, Parent: "parent00", ParentVerdict: 4}
	if !parent.Upholds(&session, now) {
		t.Fatal("a parent does not uphold its session")
	}
	for name, change := range map[string]func(p, s *keys.Key){
		"another key":      func(p, s *keys.Key) { p.ID = "another0" },
		"no key":           func(p, s *keys.Key) { *p, s.Parent = keys.Key{Active: true, AccountID: "a", Verdict: 4}, "" },
		"another account":  func(p, s *keys.Key) { p.AccountID = "b" },
		"a session itself": func(p, s *keys.Key) { p.Parent = "another0" },
		"an older verdict": func(p, s *keys.Key) { p.Verdict = 3 },
		"a newer verdict":  func(p, s *keys.Key) { p.Verdict = 5 },
		"inactive":         func(p, s *keys.Key) { p.Active = false },
		"deleted":          func(p, s *keys.Key) { p.Deleted = true },
		"expired":          func(p, s *keys.Key) { p.ExpiresAt = now },
		"not yet":          func(p, s *keys.Key) { p.NotBefore = now.Add(1) },
		"a canary":         func(p, s *keys.Key) { p.Canary = true },
	} {
		p, s := parent, session
		if change(&p, &s); p.Upholds(&s, now) {
			t.Errorf("%s upholds the session", name)
		}
	}
}
