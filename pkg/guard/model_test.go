package guard_test

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/guard"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/limit"
	"github.com/keyreeve/keyreeve/pkg/route"
)

// model is one key, every context that was ever made of it, and processes with clocks
// of their own. What a request should become is computed from the key and its meter as
// they are, without any of the guard's shortcuts.
type model struct {
	*rapid.T
	w        *world
	id       apikey.ID
	history  []keys.Key // by verdict
	contexts []keys.Identity
	workers  []*worker
	passed   int
}

type worker struct {
	*guard.Guard
	offset  time.Duration
	slot    int64        // the one that the next two are about
	denied  map[int]bool // limits that a 429 was answered for
	refused int          // 401 and 403
}

var routes = []route.Route{
	{Method: "GET", Path: "/v1/customers/{customerId}", Permission: "customers:read", Customer: "customerId"},
	{Method: "POST", Path: "/v1/licenses", Permission: "licenses:manage"},
	{Method: "GET", Path: "/v1/api-keys/self"},
}

// expected is what becomes of a request if k is the key.
func (m *model) expected(k keys.Key, c guard.Call, now time.Time, window limit.Window) string {
	who, reason := keys.Identify(&k, c.Identity.Generation, c.Stage, now)
	customer := c.Params["customerId"]
	switch {
	case reason != keys.OK:
		return "401 " + string(reason)
	case c.Route.Permission != "" && !slices.Contains(who.Permissions, c.Route.Permission) && !slices.Contains(who.Permissions, "*"):
		return "403 " + c.Route.Permission
	case c.Route.Customer != "" && len(who.Customers) > 0 && !slices.Contains(who.Customers, customer):
		return "403 customer"
	case !window.Admits(window.SlotAt(limit.Minute, now), int64(k.RateLimit)):
		return "429"
	}
	return "pass"
}

func (m *model) request() {
	who := m.contexts[len(m.contexts)-1]
	if rapid.Bool().Draw(m.T, "an older context") {
		who = rapid.SampledFrom(m.contexts).Draw(m.T, "context")
	}
	by := rapid.SampledFrom(m.workers).Draw(m.T, "process")
	c := guard.Call{
		Route: rapid.SampledFrom(routes).Draw(m.T, "route"), Identity: who,
		Stage:  rapid.SampledFrom([]string{"production", "production", "production", "shared", "staging"}).Draw(m.T, "stage"),
		Params: map[string]string{"customerId": rapid.SampledFrom([]string{"cus_1", "cus_9"}).Draw(m.T, "customer")},
	}
	now := m.w.clock().Add(by.offset)
	if slot := limit.Minute.SlotOf(now); by.slot != slot {
		by.slot, by.denied, by.refused = slot, map[int]bool{}, 0
	}
	k, _ := m.w.stored(m.id)
	meter, found := m.w.meters.Meter(m.id)

	allowed := []string{m.expected(k, c, now, meter.Window)}
	// A change whose service died before it answered may have happened or not.
	for v := meter.Verdict; found && v < k.Verdict; v++ {
		allowed = append(allowed, m.expected(m.history[v], c, now, meter.Window))
	}
	// Out of memory until the slot ends: the same refusal, or one that a context from
	// before the present verdict cannot tell from it.
	if by.denied[k.RateLimit] || len(by.denied) > 0 && who.Verdict != k.Verdict {
		allowed = append(allowed, "429")
	}

	m.w.spent()
	_, err := by.Check(m.w.ctx(), c)
	got := outcome(err)
	switch {
	case slices.Contains(allowed, got):
	case got[0] == '4' && by.refused >= 8: // no more confirmed in this slot
	default:
		m.Fatalf("%s %s with a context of verdict %d, generation %d: %s, want one of %v\nkey %+v\nmeter %+v, found %t",
			c.Route.Method, c.Route.Path, who.Verdict, who.Generation, got, allowed, k, meter, found)
	}
	most := 3
	if found && meter.Verdict > k.Verdict {
		most = 4 // the key is read once more if it turns out only after the first time
	}
	if spent := m.w.spent(); spent.sum() > most {
		m.Fatalf("%s cost %+v, want at most %d calls", got, spent, most)
	}
	switch got[:2] {
	case "pa":
		m.passed++
	case "42":
		by.denied[k.RateLimit] = true
	case "40":
		by.refused++
	}
}

func (m *model) change() {
	soon := m.w.clock().Add(rapid.SampledFrom([]time.Duration{1, time.Second, time.Minute}).Draw(m.T, "soon"))
	changes := map[string]func(*keys.Key){
		"revoke": revoke, "activate": activate, "narrow": narrow, "widen": widen, "confine": confine,
		"free":       func(k *keys.Key) { k.Customers = nil },
		"regenerate": regenerate, "regenerate with grace": regenerateUntil(soon),
		"expire": expiring(soon), "never expire": expiring(time.Time{}),
		"limit": limited(rapid.IntRange(0, 20).Draw(m.T, "limit")),
	}
	names := []string{
		"revoke", "activate", "activate", "activate", "narrow", "widen", "widen", "confine", "free", "free",
		"regenerate", "regenerate with grace", "expire", "never expire", "limit",
	}
	change := changes[rapid.SampledFrom(names).Draw(m.T, "change")]
	if rapid.IntRange(0, 9).Draw(m.T, "crash") == 0 {
		m.w.crash(m.id, change)
	} else {
		m.w.change(m.id, change)
	}
	k, _ := m.w.stored(m.id)
	m.history = append(m.history[:k.Verdict], k)
	m.authorize()
}

// authorize makes contexts of every secret that is live.
func (m *model) authorize() {
	k, _ := m.w.stored(m.id)
	for generation := int64(1); generation <= k.Generation; generation++ {
		who, reason := keys.Identify(&k, generation, keys.SharedStage, m.w.clock())
		if reason == keys.OK && !slices.ContainsFunc(m.contexts, func(c keys.Identity) bool {
			return c.Verdict == who.Verdict && c.Generation == generation
		}) {
			m.contexts = append(m.contexts, who)
		}
	}
}

// restore brings the table of keys back to an earlier state, for new processes. Contexts
// from after that state are no longer in any cache then.
func (m *model) restore() {
	k := m.history[rapid.IntRange(1, len(m.history)-1).Draw(m.T, "restored verdict")]
	m.w.mu.Lock()
	m.w.keys[m.id] = k
	m.w.mu.Unlock()
	m.history = m.history[:k.Verdict+1]
	m.contexts = slices.DeleteFunc(m.contexts, func(c keys.Identity) bool { return c.Verdict > k.Verdict })
	m.start()
}

// start makes processes that remember nothing.
func (m *model) start() {
	m.workers = nil
	for _, offset := range []time.Duration{0, -700 * time.Millisecond, 700 * time.Millisecond} {
		clock := func() time.Time { return m.w.clock().Add(offset) }
		m.workers = append(m.workers, &worker{
			Guard:  guard.New(guard.Config{Meters: m.w, Keys: m.w, Clock: clock}),
			offset: offset,
		})
	}
}

func TestEveryRequestIsJudgedByTheKeyAsItIs(t *testing.T) {
	passed, requests := 0, 0
	sequence := func(t *rapid.T) {
		m := &model{T: t, w: newWorld(t)}
		m.id = m.w.create(limited(rapid.IntRange(1, 20).Draw(t, "limit")))
		k, _ := m.w.stored(m.id)
		m.history = []keys.Key{{}, k}
		m.authorize()
		m.start()
		for range rapid.IntRange(10, 150).Draw(t, "steps") {
			switch n := rapid.IntRange(0, 99).Draw(t, "step"); {
			case n < 60:
				requests++
				m.request()
			case n < 75:
				m.change()
			case n < 95:
				m.w.advance(rapid.SampledFrom([]time.Duration{
					1, time.Millisecond, time.Second, limit.Slot, 10 * time.Second, limit.Span, 5 * time.Minute,
				}).Draw(t, "advance"))
				m.authorize()
			case n < 97:
				m.w.meters.Remove(m.id)
			case n < 99:
				m.restore()
			default:
				m.start()
			}
		}
		passed += m.passed
	}
	for range 50 {
		rapid.Check(t, sequence)
	}
	t.Logf("%d of %d requests passed", passed, requests)
	if passed < requests/8 || passed > requests*4/5 {
		t.Errorf("%d of %d requests passed: the model shows little", passed, requests)
	}
}
