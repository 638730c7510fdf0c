package guard_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/guard"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/limit"
	"github.com/keyreeve/keyreeve/pkg/route"
)

func TestALiveKeyPassesAndHearsWhatIsLeft(t *testing.T) {
	w := newWorld(t)
	id, g := w.create(limited(3)), w.process()
	who := w.context(id, 1)
	w.advance(time.Second)
	for _, want := range []guard.Pass{
		{Identity: who, Limit: 3, Remaining: 2, Reset: 64 * time.Second},
		{Identity: who, Limit: 3, Remaining: 1, Reset: 64 * time.Second},
		{Identity: who, Limit: 3, Remaining: 0, Reset: 64 * time.Second, Near: true},
	} {
		if diff := cmp.Diff(want, w.try(g, customers(who), "pass")); diff != "" {
			t.Fatalf("Check (-want +got):\n%s", diff)
		}
	}
	_, err := g.Check(w.ctx(), customers(who))
	var over *guard.LimitError
	want := &guard.LimitError{
		Window: "minute", Limit: 3, RetryAfter: 64 * time.Second,
		All: []guard.Standing{{Window: "minute", Limit: 3, Reset: 64 * time.Second}},
	}
	if errors.As(err, &over); !cmp.Equal(over, want) {
		t.Errorf("the fourth request: %v (-want +got):\n%s", err, cmp.Diff(want, over))
	}
	if m, _ := w.meters.Meter(id); m.Requests != 3 || !m.LastUsed.Equal(w.clock()) {
		t.Errorf("meter: %d requests, last used %v; want 3, %v", m.Requests, m.LastUsed, w.clock())
	}
}

func TestPermissionAndCustomerAreJudgedByTheRoute(t *testing.T) {
	get := func(path, permission, customer string) route.Route {
		return route.Route{Method: "GET", Path: path, Permission: permission, Customer: customer}
	}
	customer := get("/v1/customers/{customerId}", "customers:read", "customerId")
	invoices := get("/v1/customers/{customerId}/invoices", "invoices:read", "customerId")
	for name, c := range map[string]struct {
		permissions, customers []string
		route                  route.Route
		stage                  string
		params                 map[string]string
		want                   string
	}{
		"exact permission":                    {[]string{"customers:read"}, nil, customer, "production", nil, "pass"},
		"another action":                      {[]string{"customers:write"}, nil, customer, "production", nil, "403 customers:read"},
		"a wildcard over the resource":        {[]string{"customers:*"}, nil, customer, "production", nil, "pass"},
		"the overlap: invoices below it":      {[]string{"customers:*"}, nil, invoices, "production", nil, "403 invoices:read"},
		"everything":                          {[]string{"*"}, nil, invoices, "production", nil, "pass"},
		"everything is not managing keys":     {[]string{"*"}, nil, get("/v1/api-keys", "api_keys:read", ""), "production", nil, "403 api_keys:read"},
		"nothing":                             {nil, nil, customer, "production", nil, "403 customers:read"},
		"a route that needs none":             {nil, nil, get("/v1/api-keys/self", "", ""), "production", nil, "pass"},
		"its own customer":                    {[]string{"*"}, []string{"cus_1", "cus_2"}, customer, "production", map[string]string{"customerId": "cus_2"}, "pass"},
		"another's customer":                  {[]string{"*"}, []string{"cus_1", "cus_2"}, customer, "production", map[string]string{"customerId": "cus_3"}, "403 customer"},
		"a customer's beginning":              {[]string{"*"}, []string{"cus_1"}, customer, "production", map[string]string{"customerId": "cus_11"}, "403 customer"},
		"a wildcard for a customer":           {[]string{"*"}, []string{"cus_1"}, customer, "production", map[string]string{"customerId": "*"}, "403 customer"},
		"no customer in the path":             {[]string{"*"}, []string{"cus_1"}, customer, "production", map[string]string{}, "403 customer"},
		"a customer in another parameter":     {[]string{"*"}, []string{"cus_1"}, customer, "production", map[string]string{"id": "cus_1"}, "403 customer"},
		"a route without customers":           {[]string{"*"}, []string{"cus_1"}, get("/v1/licenses", "licenses:manage", ""), "production", nil, "pass"},
		"permission is asked before customer": {nil, []string{"cus_1"}, customer, "production", map[string]string{"customerId": "cus_3"}, "403 customers:read"},
		"another environment's stage":         {[]string{"*"}, nil, customer, "staging", nil, "401 wrong_environment"},
		"the shared stage":                    {[]string{"*"}, nil, customer, "shared", nil, "pass"},
		"no stage":                            {[]string{"*"}, nil, customer, "", nil, "401 wrong_environment"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			id := w.create(func(k *keys.Key) { k.Permissions, k.Customers = c.permissions, c.customers })
			call := guard.Call{Route: c.route, Stage: c.stage, Params: c.params, Identity: w.context(id, 1)}
			w.try(w.process(), call, c.want)
			m, _ := w.meters.Meter(id)
			if counted := m.Requests == 1; counted != (c.want == "pass") {
				t.Errorf("%s, and %d requests counted", c.want, m.Requests)
			}
		})
	}
}

// endings are the changes after which a context from before must not pass.
var endings = map[string]struct {
	change func(*keys.Key)
	want   string
	undo   func(*keys.Key)
}{
	"revoke":     {revoke, "401 inactive", activate},
	"narrow":     {narrow, "403 customers:read", widen},
	"confine":    {confine, "403 customer", func(k *keys.Key) { k.Customers = nil }},
	"regenerate": {regenerate, "401 wrong_secret", nil},
	"delete":     {remove, "401 revoked", nil},
	"expire now": {func(k *keys.Key) { k.ExpiresAt = noon }, "401 expired", func(k *keys.Key) { k.ExpiresAt = time.Time{} }},
}

// Any number of processes, warm or not, in any order, over any number of changes: the
// context is always the first one.
func TestTheNextRequestAfterAChangeFailsAlthoughTheContextIsOld(t *testing.T) {
	for name, end := range endings {
		t.Run(name, func(t *testing.T) {
			const trials = 1000
			random := rand.New(rand.NewPCG(1, 1))
			w, late := newWorld(t), 0
			processes := []*guard.Guard{w.process(), w.process(), w.process()}
			var used [3]int
			for range trials {
				id := w.create(limited(1000))
				call := customers(w.context(id, 1))
				for range random.IntN(4) { // warm some, or none
					i := random.IntN(3)
					w.try(processes[i], call, "pass")
					used[i]++
				}
				w.advance(time.Duration(random.Int64N(int64(4 * time.Second))))
				now := w.clock()
				w.change(id, func(k *keys.Key) {
					end.change(k)
					if !k.ExpiresAt.IsZero() {
						k.ExpiresAt = now
					}
				})
				for range 2 {
					_, err := processes[random.IntN(3)].Check(w.ctx(), call)
					if err == nil {
						late++
					} else if got := outcome(err); got != end.want {
						t.Fatalf("after the change: %s, want %s", got, end.want)
					}
				}
				if end.undo != nil {
					w.change(id, end.undo)
					w.try(processes[random.IntN(3)], call, "pass")
				}
			}
			t.Logf("%d trials, %d late accepts; processes were warm %v times", trials, late, used)
			if late > 0 {
				t.Errorf("%d of %d requests passed after the change", late, 2*trials)
			}
		})
	}
}

func TestARequestGoesOnWithTheFreshIdentity(t *testing.T) {
	w := newWorld(t)
	id, g := w.create(), w.process()
	old := customers(w.context(id, 1))
	w.change(id, func(k *keys.Key) { k.Permissions, k.RateLimit = []string{"customers:read"}, 7 })
	for range 2 { // the second one out of memory
		pass := w.try(g, old, "pass")
		if diff := cmp.Diff(w.context(id, 1), pass.Identity); diff != "" || pass.Limit != 7 {
			t.Errorf("limit %d, want 7; identity (-want +got):\n%s", pass.Limit, diff)
		}
	}
}

func TestAPermissionGrantedMeanwhileWorksAtOnce(t *testing.T) {
	w := newWorld(t)
	id, g := w.create(narrow), w.process()
	old := customers(w.context(id, 1))
	for range 3 { // refused, granted, tried, taken away, all with the first context
		w.try(g, old, "403 customers:read")
		w.change(id, widen)
		w.try(g, old, "pass")
		w.change(id, narrow)
	}
}

func TestAnExtendedExpiryWorksAtOnce(t *testing.T) {
	w := newWorld(t)
	id, g := w.create(expiring(noon.Add(time.Minute))), w.process()
	old := customers(w.context(id, 1))
	w.advance(time.Minute)
	w.try(g, old, "401 expired")
	w.change(id, expiring(noon.Add(time.Hour)))
	w.try(g, old, "pass")
}

func TestAFloodOfForbiddenRequestsIsBounded(t *testing.T) {
	w := newWorld(t)
	id, g := w.create(narrow), w.process()
	old := customers(w.context(id, 1))
	for range 1000 {
		w.try(g, old, "403 customers:read")
	}
	if got := w.spent(); got.Hits+got.Rolls != 0 || got.Reads == 0 || got.Reads > 10 {
		t.Errorf("1,000 forbidden requests in one slot cost %+v, want no write and a few reads", got)
	}
	w.change(id, widen)
	w.advance(limit.Slot) // the longest that a grant waits behind such a flood
	w.try(g, old, "pass")
}

func TestARegeneratedSecretStaysDeadWhateverTheNewOneDoes(t *testing.T) {
	w := newWorld(t)
	id, g := w.create(), w.process()
	old := customers(w.context(id, 1))
	w.try(g, old, "pass")
	w.change(id, regenerate)
	fresh := customers(w.context(id, 2))
	for range 3 {
		w.try(g, fresh, "pass") // warms the memory at the present verdict
		w.try(g, old, "401 wrong_secret")
	}
	w.change(id, limited(50)) // both contexts are stale now
	for range 3 {
		w.try(g, fresh, "pass")
		w.try(g, old, "401 wrong_secret")
		w.try(w.process(), old, "401 wrong_secret")
	}
}

// Both secrets of a grace come with the same verdict. One dies of the next change.
func TestContextsOfTheSameVerdictAreToldApartByTheirSecret(t *testing.T) {
	w := newWorld(t)
	id, g := w.create(), w.process()
	w.change(id, regenerateUntil(noon.Add(time.Hour)))
	graced, fresh := customers(w.context(id, 1)), customers(w.context(id, 2))
	w.change(id, func(k *keys.Key) { k.Previous = keys.Secret{} })
	for range 3 {
		w.try(g, fresh, "pass")
		w.try(g, graced, "401 wrong_secret")
	}
}

func TestAGraceEndsExactly(t *testing.T) {
	w := newWorld(t)
	id, g := w.create(), w.process()
	old := customers(w.context(id, 1))
	end := noon.Add(10 * time.Second)
	w.change(id, regenerateUntil(end))
	graced := customers(w.context(id, 1)) // made within the grace
	fresh := customers(w.context(id, 2))
	w.try(g, old, "pass")
	w.try(g, graced, "pass")
	w.advance(10*time.Second - 1)
	w.try(g, old, "pass")
	w.try(g, graced, "pass")
	w.advance(1)
	for _, g := range []*guard.Guard{g, w.process()} {
		w.try(g, old, "401 wrong_secret")
		w.try(g, graced, "401 wrong_secret")
		w.try(g, fresh, "pass")
	}
}

func TestAKeyExpiresOnTheDot(t *testing.T) {
	w := newWorld(t)
	id, g := w.create(expiring(noon.Add(time.Minute))), w.process()
	call := customers(w.context(id, 1))
	w.advance(time.Minute - 1)
	w.try(g, call, "pass")
	w.advance(1)
	w.spent()
	w.try(g, call, "401 expired")
	w.try(w.process(), call, "401 expired")
	if got := w.spent(); got.Hits+got.Rolls > 0 {
		t.Errorf("two requests of an expired key cost %+v, want no write", got)
	}
}

func TestAKeyThatExpiresDuringTheWriteDoesNotPass(t *testing.T) {
	for name, change := range map[string]func(*keys.Key){
		"expiry": expiring(noon.Add(time.Second)),
		"grace":  regenerateUntil(noon.Add(time.Second)),
	} {
		w := newWorld(t)
		id := w.create(change)
		call := customers(w.context(id, 1))
		w.try(w.process(), call, "pass") // the slot is reached
		w.advance(999 * time.Millisecond)
		w.fault = func(string) error { w.now = w.now.Add(2 * time.Millisecond); return nil }
		_, err := w.process().Check(w.ctx(), call)
		var refused *guard.UnauthorizedError
		if !errors.As(err, &refused) || !refused.Counted {
			t.Errorf("%s 1 ms into the write: %+v, want a 401 that was counted", name, err)
		}
	}
}

func TestACallWithoutIdentityIsRefused(t *testing.T) {
	w := newWorld(t)
	w.create()
	_, err := w.process().Check(w.ctx(), customers(keys.Identity{}))
	if err == nil || outcome(err) == "503" || w.spent().sum() != 0 {
		t.Errorf("Check without identity: %v, want an error of its own and no store call", err)
	}
}

func TestAKeyThatIsGoneIsRefused(t *testing.T) {
	w := newWorld(t)
	id, g := w.create(), w.process()
	call := customers(w.context(id, 1))
	w.try(g, call, "pass")
	w.mu.Lock()
	delete(w.keys, id)
	w.mu.Unlock()
	w.meters.Remove(id)
	w.try(g, call, "401 unknown_key")
	if _, found := w.meters.Meter(id); found {
		t.Error("a meter was made for a key that is gone")
	}
}

// After a restore the meter may be ahead of its key. It proves nothing then.
func TestAMeterAheadOfItsKeyLeavesTheDecisionToTheKey(t *testing.T) {
	for name, meant := range map[string]bool{"active": true, "inactive": false} {
		t.Run("a meter that says "+name, func(t *testing.T) {
			w := newWorld(t)
			id := w.create()
			if err := w.meters.Settle(w.ctx(), id, 9, meant); err != nil {
				t.Fatal(err)
			}
			call, g := customers(w.context(id, 1)), w.process()
			w.try(g, call, "pass")
			if got := w.spent(); got.sum() > 3 {
				t.Errorf("the first request cost %+v, want at most 3 calls", got)
			}
			for range 3 {
				w.try(g, call, "pass")
				if diff := cmp.Diff(calls{Hits: 1, Reads: 1}, w.spent()); diff != "" {
					t.Errorf("a further request (-want +got):\n%s", diff)
				}
			}
			if m, _ := w.meters.Meter(id); m.State != (guard.State{Verdict: 9, Active: meant}) || m.Requests != 4 {
				t.Errorf("meter %+v: want verdict 9 left alone, and 4 requests", m)
			}
			// These leave no mark: the meter is newer.
			w.change(id, narrow)
			w.try(g, call, "403 customers:read")
			w.change(id, widen)
			w.try(g, call, "pass")
			w.change(id, revoke)
			w.try(g, call, "401 inactive")
			w.try(w.process(), call, "401 inactive")
			w.change(id, activate)
			w.try(g, call, "pass")
			for range 6 { // until the key has overtaken its meter
				w.change(id, regenerateUntil(noon.Add(time.Hour)))
			}
			last := customers(w.context(id, 7))
			w.try(g, last, "pass")
			w.try(g, call, "401 wrong_secret")
			w.change(id, revoke)
			w.try(g, last, "401 inactive")
		})
	}
}

func TestAMeterBehindItsKeyIsPutRight(t *testing.T) {
	for name, c := range map[string]struct{ before, change func(*keys.Key) }{
		"a new limit was not marked":     {func(*keys.Key) {}, limited(50)},
		"an activation was not marked":   {revoke, activate},
		"a regenerate was not marked":    {func(*keys.Key) {}, regenerateUntil(noon.Add(time.Hour))},
		"a widened scope was not marked": {narrow, widen},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			id := w.create(c.before)
			w.crash(id, c.change)
			call := customers(w.context(id, 1))
			w.try(w.process(), call, "pass")
			if got := w.spent(); got.sum() > 3 {
				t.Errorf("the first request cost %+v, want at most 3 calls", got)
			}
			if m, _ := w.meters.Meter(id); m.State != (guard.State{Verdict: 2, Active: true}) {
				t.Errorf("meter %+v, want it active at verdict 2", m)
			}
			g := w.process()
			w.try(g, call, "pass")
			w.spent()
			w.try(g, call, "pass")
			if diff := cmp.Diff(calls{Hits: 1}, w.spent()); diff != "" {
				t.Errorf("a later request (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAMissingMeterIsMadeByTheKey(t *testing.T) {
	w := newWorld(t)
	id, g := w.create(), w.process()
	call := customers(w.context(id, 1))
	w.try(g, call, "pass")
	w.meters.Remove(id)
	w.spent()
	w.try(g, call, "pass")
	if got := w.spent(); got.sum() > 3 {
		t.Errorf("the first request cost %+v, want at most 3 calls", got)
	}
	if m, _ := w.meters.Meter(id); m.State != (guard.State{Verdict: 1, Active: true}) || m.Requests != 1 {
		t.Errorf("meter %+v, want it active at verdict 1, with one request", m)
	}
	w.try(g, call, "pass")
	if diff := cmp.Diff(calls{Hits: 1}, w.spent()); diff != "" {
		t.Errorf("the next request (-want +got):\n%s", diff)
	}

	w.meters.Remove(id)
	w.change(id, revoke) // makes a meter
	w.meters.Remove(id)
	w.try(g, call, "401 inactive")
	if _, found := w.meters.Meter(id); found {
		t.Error("a refused request made a meter")
	}
}

// A process whose clock is a slot behind counts where the others are.
func TestASlowProcessCountsInTheNewestSlot(t *testing.T) {
	w := newWorld(t)
	id := w.create(limited(2))
	call := customers(w.context(id, 1))
	slow := guard.New(guard.Config{Meters: w, Keys: w, Clock: func() time.Time { return w.clock().Add(-limit.Slot) }})
	w.try(w.process(), call, "pass")
	w.try(slow, call, "pass")
	w.try(slow, call, "429")
	if m, _ := w.meters.Meter(id); m.Window.Slot != limit.Minute.SlotOf(noon) || m.Window.Used != 2 {
		t.Errorf("meter %+v, want 2 used in slot %d", m.Window, limit.Minute.SlotOf(noon))
	}
}

func TestClocksThatDisagreeAreLogged(t *testing.T) {
	for ahead, want := range map[time.Duration]bool{0: false, limit.Slot: false, 3 * limit.Slot: true} {
		w := newWorld(t)
		var logged bytes.Buffer
		id := w.create(limited(1))
		call := customers(w.context(id, 1))
		slow := guard.New(guard.Config{
			Meters: w, Keys: w, Clock: func() time.Time { return w.clock().Add(-ahead) },
			Log: slog.New(slog.NewTextHandler(&logged, nil)),
		})
		w.try(w.process(), call, "pass")
		w.try(slow, call, "429")
		if got := strings.Contains(logged.String(), "clock is ahead"); got != want {
			t.Errorf("clocks %v apart: logged %q, want a warning: %t", ahead, logged.String(), want)
		}
	}
}

func TestCheckHonoursItsContext(t *testing.T) {
	w := newWorld(t)
	id := w.create()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := w.process().Check(ctx, customers(w.context(id, 1))); outcome(err) != "503" {
		t.Errorf("Check with a done context: %v, want 503", err)
	}
	if got := w.spent(); got.sum() > 1 {
		t.Errorf("Check with a done context cost %+v, want no second try", got)
	}
}

func TestABudgetOfAWholeSlotIsRefused(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("New took a Budget that leaves clocks no room to disagree")
		}
	}()
	guard.New(guard.Config{Budget: limit.Slot})
}
