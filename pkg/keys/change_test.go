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

// beforeCommit runs f once, between what the next operation has read and its commit.
func (w *world) beforeCommit(f func()) {
	var once sync.Once
	w.memory.OnCall(func(_ context.Context, c keystest.Call) error {
		if c.Op == "Commit" && !c.Done {
			once.Do(func() {
				w.memory.OnCall(nil) // f's own commits are not looked at
				f()
			})
		}
		return nil
	})
}

// atCall runs f once, before the nth call of the store from now on, and reports whether
// that is after a commit. done is false if there were fewer calls.
func (w *world) atCall(nth int, f func()) (result func() (done, committed bool)) {
	n, done, committed := 0, false, false
	w.memory.OnCall(func(_ context.Context, c keystest.Call) error {
		if c.Done {
			committed = committed || c.Op == "Commit"
			return nil
		}
		if n++; n == nth {
			w.memory.OnCall(nil) // f's own calls are not looked at
			done = true
			f()
		}
		return nil
	})
	return func() (bool, bool) {
		w.memory.OnCall(nil)
		return done, committed
	}
}

// mutations is every operation that changes keys, asked for by c against a target.
func mutations(w *world, c keys.Caller, target keys.Ref) map[string]func() error {
	return map[string]func() error{
		"create": func() error {
			_, err := w.Service.Create(ctx, c, keys.CreateInput{Name: "x", Permissions: &[]string{}}, plain)
			return err
		},
		"retry-safe create": func() error {
			_, err := w.Service.Create(ctx, c, keys.CreateInput{Name: "x", Permissions: &[]string{}}, keys.Idempotency{Key: "k", Route: "POST"})
			return err
		},
		"update": func() error {
			_, err := w.Service.Update(ctx, c, target, keys.Patch{Name: new("changed")}, anyVersion)
			return err
		},
		"make primary": func() error {
			_, err := w.Service.Update(ctx, c, target, keys.Patch{Primary: new(true)}, anyVersion)
			return err
		},
		"revoke": func() error { _, _, err := w.Service.Revoke(ctx, c, target, false, anyVersion); return err },
		"revoke with descendants": func() error {
			_, _, err := w.Service.Revoke(ctx, c, target, true, anyVersion)
			return err
		},
		"activate": func() error {
			if _, _, err := w.Service.Revoke(ctx, w.root, target, false, anyVersion); err != nil {
				return err
			}
			_, err := w.Service.Activate(ctx, c, target, anyVersion)
			return err
		},
		"regenerate": func() error {
			_, err := w.Service.Regenerate(ctx, c, target, time.Hour, plain, anyVersion)
			return err
		},
		"delete": func() error { _, err := w.Service.Delete(ctx, c, target, anyVersion); return err },
	}
}

// state is all that a change could have left behind.
func (w *world) state() (list []keys.Key, events int) {
	w.Helper()
	list, err := w.memory.Keys(ctx, w.root.AccountID)
	if err != nil {
		w.Fatal(err)
	}
	return list, len(w.events())
}

func TestACallerThatStopsMeanwhileCommitsNothing(t *testing.T) {
	for how, stop := range map[string]func(w *world, c keys.Caller){
		"revoked": func(w *world, c keys.Caller) {
			if _, _, err := w.Service.Revoke(ctx, w.root, ref(c), false, anyVersion); err != nil {
				t.Fatal(err)
			}
		},
		"deleted": func(w *world, c keys.Caller) {
			if _, err := w.Service.Delete(ctx, w.root, ref(c), anyVersion); err != nil {
				t.Fatal(err)
			}
		},
		"regenerated": func(w *world, c keys.Caller) {
			if _, err := w.Service.Regenerate(ctx, w.root, ref(c), 0, plain, anyVersion); err != nil {
				t.Fatal(err)
			}
		},
		"narrowed to nothing": func(w *world, c keys.Caller) {
			if _, err := w.Service.Update(ctx, w.root, ref(c), keys.Patch{Permissions: &[]string{}}, anyVersion); err != nil {
				t.Fatal(err)
			}
		},
		"put off": func(w *world, c keys.Caller) {
			later := new(w.Clock.Now().Add(time.Hour))
			if _, err := w.Service.Update(ctx, w.root, ref(c), keys.Patch{NotBefore: &later}, anyVersion); err != nil {
				t.Fatal(err)
			}
		},
		"confined to a network": func(w *world, c keys.Caller) {
			if _, err := w.Service.Update(ctx, w.root, ref(c), keys.Patch{Networks: &[]string{"10.0.0.0/8"}}, anyVersion); err != nil {
				t.Fatal(err)
			}
		},
		"forgotten": func(w *world, c keys.Caller) { w.memory.Forget(c.KeyID) },
	} {
		for name := range mutations(nil, keys.Caller{}, keys.Ref{}) {
			t.Run(how+"/"+name, func(t *testing.T) {
				w := newWorld(t, "enterprise")
				c := w.manager(keys.Production, "api_keys:*")
				target := w.manager(keys.Production)
				op := mutations(w, c, ref(target))[name]
				if name == "activate" { // its own first step is not the one to break into
					if _, _, err := w.Service.Revoke(ctx, w.root, ref(target), false, anyVersion); err != nil {
						t.Fatal(err)
					}
				}
				var before []keys.Key
				var events int
				w.beforeCommit(func() {
					stop(w, c)
					before, events = w.state()
				})
				if name == "activate" {
					op = func() error { _, err := w.Service.Activate(ctx, c, ref(target), anyVersion); return err }
				}
				err := op()
				switch how {
				case "narrowed to nothing":
					escalates(t, name, err, "permissions")
				case "confined to a network": // it may come from there: the guard must say
					is(t, name, err, keys.ErrConflict)
				default:
					is(t, name, err, keys.ErrCallerGone)
				}
				after, eventsAfter := w.state()
				same(t, "keys after "+name, after, before)
				same(t, "audit events", eventsAfter, events)
			})
		}
	}
}

func TestNoCreateCommitsAfterTheAnswerToItsCallersRevoke(t *testing.T) {
	for nth := 1; ; nth++ {
		w := newWorld(t, "enterprise")
		c := w.manager(keys.Production, "*", "api_keys:*")
		result := w.atCall(nth, func() {
			if _, _, err := w.Service.Revoke(ctx, w.root, ref(c), false, anyVersion); err != nil {
				t.Fatal(err)
			}
		})
		_, err := w.ask(c, once("k1", "{}"))
		done, committed := result()
		if !done {
			if err != nil {
				t.Errorf("Create without a revoke: %v", err)
			}
			if nth < 4 {
				t.Errorf("only %d calls of the store: the test shows nothing", nth-1)
			}
			break
		}
		if committed {
			t.Fatalf("call %d comes after the commit; a create has none there", nth)
		}
		is(t, fmt.Sprint("create, its caller revoked at call ", nth), err, keys.ErrCallerGone)
		if list, _ := w.state(); len(list) != 2 {
			t.Errorf("revoked at call %d: %d keys, want 2", nth, len(list))
		}
	}
}

func TestACallerThatIsNarrowedMeanwhileGrantsWhatIsLeft(t *testing.T) {
	w := newWorld(t, "enterprise")
	c := w.manager(keys.Production, "api_keys:write", "customers:read", "telemetry:write")
	narrow := func() {
		if _, err := w.Service.Update(ctx, w.root, ref(c), keys.Patch{Permissions: &[]string{"api_keys:write", "customers:read"}}, anyVersion); err != nil {
			t.Fatal(err)
		}
	}
	w.beforeCommit(narrow)
	_, err := w.Service.Create(ctx, c, keys.CreateInput{Name: "x", Permissions: &[]string{"telemetry:write"}}, plain)
	escalates(t, "create of what it held before", err, "permissions")

	c = w.manager(keys.Production, "api_keys:write", "customers:read", "telemetry:write")
	w.beforeCommit(narrow)
	out, err := w.Service.Create(ctx, c, keys.CreateInput{Name: "x"}, plain)
	if err != nil {
		t.Fatalf("create of what it holds: %v", err)
	}
	same(t, "permissions by default", out.Key.Permissions, []string{"customers:read"})
}

func TestARenamedCallerGoesOn(t *testing.T) {
	w := newWorld(t, "enterprise")
	for name := range mutations(nil, keys.Caller{}, keys.Ref{}) {
		c := w.manager(keys.Production, "api_keys:*")
		target := w.manager(keys.Production)
		old := keys.Ref{ID: w.account().Primary}
		w.beforeCommit(func() {
			if _, err := w.Service.Update(ctx, w.root, ref(c), keys.Patch{Name: new("renamed")}, anyVersion); err != nil {
				t.Fatal(err)
			}
		})
		if err := mutations(w, c, ref(target))[name](); err != nil {
			t.Errorf("%s by a caller with a new name: %v", name, err)
		}
		if name == "make primary" {
			if _, err := w.Service.Update(ctx, w.root, old, keys.Patch{Primary: new(true)}, anyVersion); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestACallerWhoseTimeIsUpCommitsNothing(t *testing.T) {
	w := newWorld(t, "enterprise")
	c := w.create(w.root, keys.CreateInput{Permissions: &[]string{"api_keys:write"}, ExpirationDays: new(1)})
	old := w.manager(keys.Production, "api_keys:write")
	if _, err := w.Service.Regenerate(ctx, w.root, ref(old), 24*time.Hour, plain, anyVersion); err != nil {
		t.Fatal(err)
	}
	old = w.MustLogin(t, old.Credential)
	target := w.manager(keys.Production)
	w.Clock.Advance(24 * time.Hour)
	before, events := w.state()
	for name, op := range mutations(w, c, ref(target)) {
		if name != "activate" {
			is(t, name+" by an expired key", op(), keys.ErrCallerGone)
		}
	}
	for name, op := range mutations(w, old, ref(target)) {
		if name != "activate" {
			is(t, name+" after the grace", op(), keys.ErrCallerGone)
		}
	}
	after, eventsAfter := w.state()
	same(t, "keys", after, before)
	same(t, "events", eventsAfter, events)
}

func TestAChangeOfTheTargetMeanwhileIsNotLost(t *testing.T) {
	w := newWorld(t, "enterprise")
	target := w.manager(keys.Production, "customers:read")
	w.beforeCommit(func() {
		if _, err := w.Service.Update(ctx, w.root, ref(target), keys.Patch{Owner: new("Zoë")}, anyVersion); err != nil {
			t.Fatal(err)
		}
	})
	k, err := w.Service.Update(ctx, w.root, ref(target), keys.Patch{Name: new("renamed")}, anyVersion)
	if err != nil || k.Name != "renamed" || k.Owner != "Zoë" || k.Version != 3 {
		t.Errorf("Update = name %q, owner %q, version %d, %v, want both changes", k.Name, k.Owner, k.Version, err)
	}
}

func TestIfMatchFailsAtOnceWhenTheKeyHasChanged(t *testing.T) {
	w := newWorld(t, "enterprise")
	target := ref(w.manager(keys.Production))
	stale := keys.Conditions{IfMatch: 2}
	asks := map[string]func(keys.Conditions) error{
		"update": func(c keys.Conditions) error {
			_, err := w.Service.Update(ctx, w.root, target, keys.Patch{Name: new("x")}, c)
			return err
		},
		"update that changes nothing": func(c keys.Conditions) error {
			_, err := w.Service.Update(ctx, w.root, target, keys.Patch{}, c)
			return err
		},
		"revoke":   func(c keys.Conditions) error { _, _, err := w.Service.Revoke(ctx, w.root, target, true, c); return err },
		"activate": func(c keys.Conditions) error { _, err := w.Service.Activate(ctx, w.root, target, c); return err },
		"regenerate": func(c keys.Conditions) error {
			_, err := w.Service.Regenerate(ctx, w.root, target, 0, plain, c)
			return err
		},
		"delete": func(c keys.Conditions) error { _, err := w.Service.Delete(ctx, w.root, target, c); return err },
	}
	for name, ask := range asks {
		is(t, name, ask(stale), keys.ErrPreconditionFailed)
	}
	if k := w.key(target.ID); k.Version != 1 {
		t.Fatalf("version %d, want 1", k.Version)
	}
	// It held when the key was read, and no more at the commit: no second attempt.
	w.beforeCommit(func() {
		if _, err := w.Service.Update(ctx, w.root, target, keys.Patch{Owner: new("Zoë")}, anyVersion); err != nil {
			t.Fatal(err)
		}
	})
	is(t, "a change in between", asks["update"](keys.Conditions{IfMatch: 1}), keys.ErrPreconditionFailed)
	for _, name := range []string{"update", "revoke", "activate", "regenerate", "delete"} {
		if err := asks[name](keys.Conditions{IfMatch: w.key(target.ID).Version}); err != nil {
			t.Errorf("%s at the right version: %v", name, err)
		}
	}
}

func TestAttemptsAreBoundedAndWaitsAreJittered(t *testing.T) {
	var bounds []int64
	w := newWorld(t, "enterprise", func(c *keys.Config) {
		c.Random = func(n int64) int64 { bounds = append(bounds, n); return n / 2 }
	})
	commits := 0
	w.memory.OnCall(func(_ context.Context, c keystest.Call) error {
		if c.Op == "Commit" {
			commits++
			return &keys.ConflictError{Retry: true}
		}
		return nil
	})
	_, err := w.Service.Create(ctx, w.root, keys.CreateInput{Name: "x"}, plain)
	is(t, "Create that always loses", err, keys.ErrConflict)
	_, err = w.Service.Create(ctx, w.root, keys.CreateInput{Name: "x"}, keys.Idempotency{Key: "k"})
	is(t, "retry-safe Create that always loses", err, keys.ErrConflict)
	w.memory.OnCall(nil)
	if commits != 48 || len(w.waits) != 46 || len(w.events()) != 1 {
		t.Fatalf("%d commits, %d waits, %d events, want 24 attempts each and 23 waits, and no event more", commits, len(w.waits), len(w.events()))
	}
	if !slices.IsSorted(bounds[:23]) || bounds[0] != int64(5*time.Millisecond) || bounds[22] != int64(250*time.Millisecond) {
		t.Errorf("bounds = %v, want them to double from 5 ms to 250 ms", bounds[:23])
	}
	total := time.Duration(0)
	for i, d := range w.waits[:23] {
		if d <= 0 || int64(d) > bounds[i] {
			t.Errorf("wait %d = %v, want more than 0 and at most %v", i, d, time.Duration(bounds[i]))
		}
		total += d
	}
	if total > 5*time.Second {
		t.Errorf("half of every bound is %v in all, want under 5 s", total)
	}
}

func TestACancelledRequestStopsWaiting(t *testing.T) {
	w := newWorld(t, "enterprise", realWaits)
	w.memory.OnCall(func(_ context.Context, c keystest.Call) error {
		if c.Op == "Commit" {
			return &keys.ConflictError{Retry: true}
		}
		return nil
	})
	short, cancel := context.WithTimeout(ctx, 30*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := w.Service.Create(short, w.root, keys.CreateInput{Name: "x"}, plain)
	if took := time.Since(start); err == nil || took > time.Second {
		t.Errorf("Create = %v after %v, want an error soon after the deadline", err, took)
	}
	w.memory.OnCall(nil)
}

// Every operation meets every fault of the store at each of its calls: nothing is lost,
// nothing half done, and the error says what it was.
func TestEveryFaultOfTheStoreEndsInAClearErrorAndAWholeState(t *testing.T) {
	for name := range mutations(nil, keys.Caller{}, keys.Ref{}) {
		for _, fault := range []error{keys.ErrUnavailable, keys.ErrOutcomeUnknown} {
			for _, applied := range []bool{false, true} {
				for nth := 1; ; nth++ {
					w := newWorld(t, "enterprise")
					c := w.manager(keys.Production, "api_keys:*")
					target := w.manager(keys.Production)
					before, events := w.state()
					calls, failedOp := 0, ""
					w.memory.OnCall(func(_ context.Context, call keystest.Call) error {
						if call.Done == applied {
							if calls++; calls == nth {
								failedOp = call.Op
								return fmt.Errorf("injected: %w", fault)
							}
						}
						return nil
					})
					err := mutations(w, c, ref(target))[name]()
					w.memory.OnCall(nil)
					if failedOp == "" {
						if err != nil {
							t.Fatalf("%s without a fault: %v", name, err)
						}
						break
					}
					what := fmt.Sprintf("%s, %s call %d fails with %q, applied %t", name, failedOp, nth, fault, applied)
					after, eventsAfter := w.state()
					switch failedOp {
					case "Settle": // tried again at once
						if err != nil {
							t.Errorf("%s: %v, want success at the second try", what, err)
						}
					case "Windows", "Sessions": // after the commit
						is(t, what, err, keys.ErrNotSettled)
					case "Commit":
						is(t, what, err, fault)
						if !applied && eventsAfter-events > 1 { // activate and descendants have two commits
							t.Errorf("%s: %d audit events more", what, eventsAfter-events)
						}
					default:
						is(t, what, err, fault)
					}
					if errors.Is(err, keys.ErrNotSettled) && errors.Is(err, keys.ErrUnavailable) {
						t.Errorf("%s: the error says both that it is made and that it is not", what)
					}
					checkWhole(t, what, w, before, after)
				}
			}
		}
	}
}

// checkWhole checks what holds after any request, whatever became of it.
func checkWhole(t *testing.T, what string, w *world, before, after []keys.Key) {
	t.Helper()
	primaries := 0
	for i, k := range after {
		if k.Number != int64(i+1) {
			t.Errorf("%s: key %d has number %d", what, i+1, k.Number)
		}
		if k.Primary && !k.Deleted {
			primaries++
		}
		if item := w.key(k.ID); item.Version != k.Version || item.Primary != k.Primary {
			t.Errorf("%s: key %d and its row differ", what, k.Number)
		}
		if m := w.meter(k.ID); m.Verdict > k.Verdict {
			t.Errorf("%s: the meter of key %d is ahead of it", what, k.Number)
		}
	}
	if a := w.account(); primaries != 1 || int(a.NextNumber) != len(after)+1 {
		t.Errorf("%s: %d primary keys, NextNumber %d for %d keys", what, primaries, a.NextNumber, len(after))
	}
	if len(after) < len(before) {
		t.Errorf("%s: a key is lost", what)
	}
}

func TestMetersAreSettledAfterTheCommitAndBeforeTheAnswer(t *testing.T) {
	w := newWorld(t, "enterprise")
	c := w.manager(keys.Production, "api_keys:*")
	for name := range mutations(nil, keys.Caller{}, keys.Ref{}) {
		target := w.manager(keys.Production)
		var order []string
		w.memory.OnCall(func(_ context.Context, call keystest.Call) error {
			if call.Done && (call.Op == "Commit" || call.Op == "Settle") {
				order = append(order, call.Op)
			}
			return nil
		})
		if err := mutations(w, c, ref(target))[name](); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		w.memory.OnCall(nil)
		w.settled(target.KeyID)
		want := "Commit Settle"
		switch name {
		case "create", "retry-safe create":
			want = "Commit" // the meter is made in it
		case "activate":
			want = "Commit Settle Commit Settle"
		}
		if got := strings.Join(order, " "); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func TestAChangeThatIsNotSettledIsSettledByRepeatingIt(t *testing.T) {
	w := newWorld(t, "enterprise")
	for name, ask := range map[string]func(keys.Ref) error{
		"revoke": func(r keys.Ref) error { _, _, err := w.Service.Revoke(ctx, w.root, r, false, anyVersion); return err },
		"family": func(r keys.Ref) error { _, _, err := w.Service.Revoke(ctx, w.root, r, true, anyVersion); return err },
		"update": func(r keys.Ref) error {
			_, err := w.Service.Update(ctx, w.root, r, keys.Patch{Active: new(false)}, anyVersion)
			return err
		},
		"delete":   func(r keys.Ref) error { _, err := w.Service.Delete(ctx, w.root, r, anyVersion); return err },
		"activate": func(r keys.Ref) error { _, err := w.Service.Activate(ctx, w.root, r, anyVersion); return err },
		"regenerate": func(r keys.Ref) error {
			_, err := w.Service.Regenerate(ctx, w.root, r, 0, keys.Idempotency{Key: "again", Route: string(r.ID)}, anyVersion)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			target := w.manager(keys.Production)
			if name == "activate" {
				if _, _, err := w.Service.Revoke(ctx, w.root, ref(target), false, anyVersion); err != nil {
					t.Fatal(err)
				}
			}
			tries := 0
			w.memory.OnCall(func(_ context.Context, c keystest.Call) error {
				if c.Op == "Settle" && !c.Done {
					tries++
					return keys.ErrUnavailable
				}
				return nil
			})
			err := ask(ref(target))
			w.memory.OnCall(nil)
			is(t, name+" while meters are down", err, keys.ErrNotSettled)
			if errors.Is(err, keys.ErrUnavailable) {
				t.Error("the error says that nothing was changed")
			}
			if tries != 4 {
				t.Errorf("%d tries to settle, want 4", tries)
			}
			k, events := w.key(target.KeyID), len(w.events())
			if m := w.meter(target.KeyID); k.Verdict == m.Verdict {
				t.Fatalf("the meter is settled already: the test shows nothing")
			}
			err = ask(ref(target))
			if want := map[string]error{"delete": keys.ErrNotFound}[name]; !errors.Is(err, want) {
				t.Errorf("%s again = %v, want %v", name, err, want)
			}
			w.settled(target.KeyID)
			same(t, "the key after the repeat", w.key(target.KeyID), k)
			same(t, "audit events after the repeat", len(w.events()), events)
		})
	}
}

func TestEveryChangeLeavesOneAuditEventThatTellsItAll(t *testing.T) {
	w := newWorld(t, "enterprise")
	c := w.manager(keys.Production, "api_keys:*", "*")
	end := w.Clock.Now().Add(24 * time.Hour).Format("2006-01-02T15:04:05.000Z")
	out, err := w.Service.Create(ctx, c, keys.CreateInput{
		Name: "Käse", Permissions: &[]string{"telemetry:write"}, Customers: []string{"a", "b"}, ExpirationDays: new(1),
	}, plain)
	if err != nil {
		t.Fatal(err)
	}
	id := out.Key.ID
	r := keys.Ref{ID: id}
	m := func(kv ...string) map[string]string {
		out := map[string]string{}
		for i := 0; i < len(kv); i += 2 {
			out[kv[i]] = kv[i+1]
		}
		return out
	}
	check := func(action string, before, after map[string]string) {
		t.Helper()
		e := w.lastEvent()
		want := keys.AuditEvent{
			ID: e.ID, AccountID: w.root.AccountID, At: w.Clock.Now(), Actor: c.KeyID, Action: action, KeyID: id,
			Environment: keys.Production, Before: before, After: after,
		}
		same(t, action, e, want)
	}
	check("key.create", nil, m("name", "Käse", "environment", "production", "permissions", "telemetry:write", "customers", "a b",
		"plan", "free", "rateLimit", "20", "limitNamed", "false", "active", "true", "primary", "false", "deleted", "false", "canary", "false",
		"expiresAt", end, "generation", "1"))

	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(w.Service.Update(ctx, c, r, keys.Patch{Name: new("Brot"), Customers: &[]string{}, RateLimit: new(20), ExpiresAt: new((*time.Time)(nil))}, anyVersion))
	check("key.update", m("name", "Käse", "customers", "a b", "limitNamed", "false", "expiresAt", end), m("name", "Brot", "limitNamed", "true"))
	must(w.Service.Update(ctx, c, r, keys.Patch{Limits: &[]keys.NamedLimit{{Window: "day", Requests: 9}, {Window: "hour", Requests: 7}}, Quota: new(&keys.Quota{Requests: 5, RefillDay: 3})}, anyVersion))
	check("key.update", m(), m("limits", "hour=7 day=9", "quota", "5@3"))
	must(w.Service.Update(ctx, c, r, keys.Patch{Limits: &[]keys.NamedLimit{}, Quota: new((*keys.Quota)(nil))}, anyVersion))
	check("key.update", m("limits", "hour=7 day=9", "quota", "5@3"), m())
	_, _, err = w.Service.Revoke(ctx, c, r, false, anyVersion)
	must(nil, err)
	check("key.revoke", m("active", "true"), m("active", "false"))
	must(w.Service.Activate(ctx, c, r, anyVersion))
	check("key.activate", m("active", "false"), m("active", "true"))
	must(w.Service.Regenerate(ctx, c, r, 24*time.Hour, plain, anyVersion))
	check("key.regenerate", m("generation", "1"), m("generation", "2", "graceUntil", end))
	old := w.account().Primary
	must(w.Service.Update(ctx, c, r, keys.Patch{Primary: new(true)}, anyVersion))
	check("key.update", m("primary", "false", "primaryKey", string(old)), m("primary", "true", "primaryKey", string(id)))
	must(w.Service.Update(ctx, c, keys.Ref{ID: old}, keys.Patch{Primary: new(true)}, anyVersion))
	must(w.Service.Delete(ctx, c, r, anyVersion))
	check("key.delete", m("deleted", "false"), m("deleted", "true"))

	// What changes nothing leaves none, and ids sort by time.
	events := w.events()
	must(w.Service.Update(ctx, c, ref(w.root), keys.Patch{Name: new(keys.RootKeyName), Active: new(true), Primary: new(true)}, anyVersion))
	same(t, "events after a change of nothing", len(w.events()), len(events))
	ids := map[string]bool{}
	for i, e := range events {
		if ids[e.ID] = true; i > 0 && e.ID <= events[i-1].ID {
			t.Errorf("event %d does not sort after the one before", i)
		}
	}
	if len(ids) != len(events) {
		t.Error("two events have one id")
	}
	w.Clock.Advance(time.Millisecond)
	must(w.Service.Update(ctx, c, ref(w.root), keys.Patch{Name: new("later")}, anyVersion))
	if last := w.lastEvent(); last.Action != "key.update" || last.After["name"] != "later" {
		t.Errorf("the last event is %+v", last)
	}
}

func TestAnswersCarryUseAndNoDigest(t *testing.T) {
	w := newWorld(t, "enterprise")
	target := w.manager(keys.Production)
	w.Clock.Advance(time.Hour)
	if err := w.memory.Use(ctx, target.KeyID, w.Clock.Now()); err != nil {
		t.Fatal(err)
	}
	r := ref(target)
	get, err1 := w.Service.Get(ctx, w.root, r)
	update, err2 := w.Service.Update(ctx, w.root, r, keys.Patch{Name: new("x")}, anyVersion)
	revoke, _, err3 := w.Service.Revoke(ctx, w.root, r, false, anyVersion)
	activate, err4 := w.Service.Activate(ctx, w.root, keys.Ref{Number: 2}, anyVersion)
	page, err5 := w.Service.List(ctx, w.root, keys.Query{Text: string(target.KeyID)})
	regenerate, err6 := w.Service.Regenerate(ctx, w.root, r, time.Hour, plain, anyVersion)
	if err := errors.Join(err1, err2, err3, err4, err5, err6); err != nil {
		t.Fatal(err)
	}
	for name, k := range map[string]keys.Key{
		"get": get, "update": update, "revoke": revoke, "activate": activate, "list": page.Keys[0], "regenerate": regenerate.Key,
	} {
		if name != "regenerate" && (!k.LastUsed.Equal(w.Clock.Now()) || k.Requests != 1) {
			t.Errorf("%s: last used %v, %d requests, want now and 1", name, k.LastUsed, k.Requests)
		}
		for _, s := range []keys.Secret{k.Secret, k.Previous} {
			if s.Digest != (apikey.Digest{}) || s.Pepper != "" {
				t.Errorf("%s: the answer holds a digest or its pepper", name)
			}
		}
		if k.Secret.Prefix != "kr_live" {
			t.Errorf("%s: prefix %q, want it for the mask", name, k.Secret.Prefix)
		}
	}
	deleted, err := w.Service.Delete(ctx, w.root, r, anyVersion)
	if err != nil || deleted.Secret.Digest != (apikey.Digest{}) || deleted.Status(w.Clock.Now()) != keys.Revoked {
		t.Errorf("delete: %v, status %s", err, deleted.Status(w.Clock.Now()))
	}
}
