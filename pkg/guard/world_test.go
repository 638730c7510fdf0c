package guard_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/guard"
	"github.com/keyreeve/keyreeve/pkg/guard/guardtest"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/limit"
	"github.com/keyreeve/keyreeve/pkg/route"
)

// noon is the edge of a slot.
var noon = limit.Minute.Start(limit.Minute.SlotOf(time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)))

// reporter is what testing.T and rapid.T have in common here.
type reporter interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

// world is the keys and their meters, a clock, and what changes keys.
type world struct {
	reporter
	meters *guardtest.Meters

	mu    sync.Mutex
	now   time.Time
	keys  map[apikey.ID]keys.Key
	calls calls
	fault func(call string) error // asked before every call of a store; nil: none
}

// calls counts what the guard asks of its stores: counts in the slots that a meter is at,
// counts that move one of its windows on or make it, reads of a
// meter's state, and of a key.
type calls struct{ Hits, Rolls, Looks, Reads int }

func (c calls) sum() int { return c.Hits + c.Rolls + c.Looks + c.Reads }

func newWorld(t reporter) *world {
	return &world{reporter: t, now: noon, meters: guardtest.NewMeters(), keys: map[apikey.ID]keys.Key{}}
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

// process is a guard with a memory of its own.
func (w *world) process() *guard.Guard {
	return guard.New(guard.Config{Meters: w, Keys: w, Clock: w.clock})
}

func (w *world) called(name string, n *int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	*n++
	if w.fault != nil {
		return w.fault(name)
	}
	return nil
}

func (w *world) Count(ctx context.Context, id apikey.ID, write guard.Write) (guard.Meter, error) {
	name, n := "Hit", &w.calls.Hits
	if write.Rolls() {
		name, n = "Roll", &w.calls.Rolls
	}
	if err := w.called(name, n); err != nil {
		return guard.Meter{}, err
	}
	return w.meters.Count(ctx, id, write)
}

func (w *world) State(ctx context.Context, id apikey.ID) (guard.State, bool, error) {
	if err := w.called("State", &w.calls.Looks); err != nil {
		return guard.State{}, false, err
	}
	return w.meters.State(ctx, id)
}

func (w *world) Key(_ context.Context, id apikey.ID) (keys.Key, error) {
	if err := w.called("Key", &w.calls.Reads); err != nil {
		return keys.Key{}, err
	}
	return w.stored(id)
}

func (w *world) stored(id apikey.ID) (keys.Key, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	k, ok := w.keys[id]
	if !ok {
		return keys.Key{}, fmt.Errorf("reading key %s: %w", id, keys.ErrNotFound)
	}
	k.Permissions, k.Customers = slices.Clone(k.Permissions), slices.Clone(k.Customers)
	return k, nil
}

// create makes a live production key that may do everything, 100 times a minute.
func (w *world) create(change ...func(*keys.Key)) apikey.ID {
	k := keys.Key{
		ID: apikey.NewID(), AccountID: "acc_1", Environment: keys.Production,
		Permissions: []string{"*"}, RateLimit: 100, Active: true, Verdict: 1, Generation: 1,
		Secret: keys.Secret{Generation: 1},
	}
	for _, f := range change {
		f(&k)
	}
	w.mu.Lock()
	w.keys[k.ID] = k
	w.mu.Unlock()
	w.settle(k.ID)
	return k.ID
}

// crash changes a key as its service does, and dies before the meter is marked.
func (w *world) crash(id apikey.ID, change func(*keys.Key)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	k := w.keys[id]
	k.Permissions, k.Customers = slices.Clone(k.Permissions), slices.Clone(k.Customers)
	change(&k)
	k.Verdict++
	w.keys[id] = k
}

// change changes a key as its service does: the key, then its meter, then the answer.
func (w *world) change(id apikey.ID, change func(*keys.Key)) {
	w.crash(id, change)
	w.settle(id)
}

func (w *world) settle(id apikey.ID) {
	k, err := w.stored(id)
	if err == nil {
		err = w.meters.Settle(context.Background(), id, k.Verdict, k.Active && !k.Deleted)
	}
	if err != nil {
		w.Fatal(err)
	}
}

// context is what the authorizer concludes now of a secret of a key.
func (w *world) context(id apikey.ID, generation int64) keys.Identity {
	w.Helper()
	k, err := w.stored(id)
	if err != nil {
		w.Fatal(err)
	}
	who, reason := keys.Identify(&k, generation, keys.SharedStage, w.clock())
	if reason != keys.OK {
		w.Fatalf("the authorizer refuses generation %d of key %s: %s", generation, id, reason)
	}
	return who
}

func (w *world) spent() calls {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.calls
	w.calls = calls{}
	return c
}

// Changes that a key may undergo.

func revoke(k *keys.Key)     { k.Active = false }
func activate(k *keys.Key)   { k.Active = true }
func remove(k *keys.Key)     { k.Deleted = true }
func narrow(k *keys.Key)     { k.Permissions = []string{"licenses:manage"} }
func widen(k *keys.Key)      { k.Permissions = []string{"*"} }
func confine(k *keys.Key)    { k.Customers = []string{"cus_9"} }
func regenerate(k *keys.Key) { regenerateUntil(time.Time{})(k) }

func regenerateUntil(end time.Time) func(*keys.Key) {
	return func(k *keys.Key) {
		k.Previous = keys.Secret{}
		if !end.IsZero() {
			k.Previous = keys.Secret{Generation: k.Generation, Until: end}
		}
		k.Generation++
		k.Secret = keys.Secret{Generation: k.Generation}
	}
}

func limited(most int) func(*keys.Key) { return func(k *keys.Key) { k.RateLimit = most } }
func expiring(at time.Time) func(*keys.Key) {
	return func(k *keys.Key) { k.ExpiresAt = at }
}

// customers is the request that most tests make.
func customers(who keys.Identity) guard.Call {
	return guard.Call{
		Route: route.Route{
			Method: "GET", Path: "/v1/customers/{customerId}",
			Permission: "customers:read", Customer: "customerId",
		},
		Stage: string(keys.Production), Params: map[string]string{"customerId": "cus_1"}, Identity: who,
	}
}

// outcome is what became of a request, in one word.
func outcome(err error) string {
	var unauthorized *guard.UnauthorizedError
	var scope *guard.ScopeError
	var over *guard.LimitError
	switch {
	case err == nil:
		return "pass"
	case errors.As(err, &unauthorized):
		return "401 " + string(unauthorized.Reason)
	case errors.As(err, &scope) && scope.Customer:
		return "403 customer"
	case errors.As(err, &scope) && scope.Session:
		return "403 session"
	case errors.As(err, &scope) && scope.Network:
		return "403 network"
	case errors.As(err, &scope):
		return "403 " + scope.Permission
	case errors.As(err, &over):
		return "429"
	case errors.Is(err, keys.ErrUnavailable):
		return "503"
	}
	return err.Error()
}

// try makes a request and fails the test if something else than want becomes of it.
func (w *world) try(g *guard.Guard, c guard.Call, want string) guard.Pass {
	w.Helper()
	pass, err := g.Check(w.ctx(), c)
	if got := outcome(err); got != want {
		w.Fatalf("%s %s with a context of verdict %d, generation %d: %s (%v), want %s",
			c.Route.Method, c.Route.Path, c.Identity.Verdict, c.Identity.Generation, got, err, want)
	}
	return pass
}

func (w *world) ctx() context.Context { return context.Background() }
