package keys_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/keys/keystest"
)

// world is an account in memory with its root key.
type world struct {
	*keystest.World
	*testing.T
	memory *keystest.Memory
	root   keys.Caller
	waits  []time.Duration // between attempts; none is really waited for
}

var (
	ctx        = context.Background()
	plain      keys.Idempotency // not retry-safe
	anyVersion keys.Conditions  // no condition
)

func newWorld(t *testing.T, plan string, adjust ...func(*keys.Config)) *world {
	w := &world{T: t, memory: keystest.NewMemory()}
	adjust = append([]func(*keys.Config){func(c *keys.Config) {
		c.Sleep = func(ctx context.Context, d time.Duration) error {
			w.waits = append(w.waits, d)
			return ctx.Err()
		}
	}}, adjust...)
	w.World = keystest.NewWorld(w.memory, adjust...)
	_, w.root = w.Account(t, plan)
	t.Cleanup(func() { w.Canary.Check(t, "the store", w.memory.Dump()) })
	return w
}

// realWaits is for tests with goroutines.
func realWaits(c *keys.Config) { c.Sleep = nil }

func ref(c keys.Caller) keys.Ref { return keys.Ref{ID: c.KeyID} }

// create makes a key that must be allowed, and logs in with it.
func (w *world) create(by keys.Caller, in keys.CreateInput) keys.Caller {
	w.Helper()
	if in.Name == "" {
		in.Name = "a key"
	}
	out, err := w.Service.Create(ctx, by, in, plain)
	if err != nil {
		w.Fatalf("Create: %v", err)
	}
	return w.MustLogin(w.T, out.Plaintext)
}

// manager makes a key that holds the permissions, in an environment.
func (w *world) manager(e keys.Environment, permissions ...string) keys.Caller {
	w.Helper()
	return w.create(w.root, keys.CreateInput{Environment: &e, Permissions: &permissions})
}

func (w *world) key(id apikey.ID) keys.Key {
	w.Helper()
	k, err := w.memory.Key(ctx, id)
	if err != nil {
		w.Fatalf("Key: %v", err)
	}
	return k
}

func (w *world) account() keys.Account {
	w.Helper()
	a, err := w.memory.Account(ctx, w.root.AccountID)
	if err != nil {
		w.Fatalf("Account: %v", err)
	}
	return a
}

func (w *world) events() []keys.AuditEvent {
	w.Helper()
	events, err := keystest.Events(ctx, w.memory, w.root.AccountID)
	if err != nil {
		w.Fatalf("AuditEvents: %v", err)
	}
	return events
}

func (w *world) lastEvent() keys.AuditEvent {
	w.Helper()
	events := w.events()
	return events[len(events)-1]
}

func (w *world) meter(id apikey.ID) keystest.Meter {
	w.Helper()
	m, found, err := w.memory.Meter(ctx, id)
	if err != nil || !found {
		w.Fatalf("Meter = %t, %v", found, err)
	}
	return m
}

// settled checks that a key's meter says what the key says.
func (w *world) settled(id apikey.ID) {
	w.Helper()
	k := w.key(id)
	if got, want := w.meter(id), (keystest.Meter{Verdict: k.Verdict, Active: k.Active && !k.Deleted}); got != want {
		w.Errorf("meter of %s = %+v, want %+v", id, got, want)
	}
}

// refused checks that a secret does not work, for that reason.
func (w *world) refused(plaintext apikey.Key, want keys.Reason) {
	w.Helper()
	if _, reason, err := w.Login(ctx, plaintext); err != nil || reason != want {
		w.Errorf("Login = %q, %v, want %q", reason, err, want)
	}
}

// is checks an error by its sentinel.
func is(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s = %v, want %v", what, err, want)
	}
}

// escalates checks that an error says which field grants too much.
func escalates(t testing.TB, what string, err error, field string) {
	t.Helper()
	var e *keys.EscalationError
	if !errors.As(err, &e) || e.Field != field {
		t.Errorf("%s = %v, want an escalation of %s", what, err, field)
	}
}

// invalidFields are the fields that an error finds at fault.
func invalidFields(t testing.TB, err error) string {
	t.Helper()
	var e *keys.ValidationError
	if err == nil {
		return ""
	}
	if !errors.As(err, &e) {
		t.Fatalf("error = %v, want a *keys.ValidationError", err)
	}
	var list []string
	for _, f := range e.Fields {
		list = append(list, f.Field)
	}
	return strings.Join(list, " ")
}

func same(t testing.TB, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}
