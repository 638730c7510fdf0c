package keystest

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/config"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

// Model runs random sequences of requests against a Service on the store and, beside it,
// against a plain model of what a key's life should be: one slice of keys, changed in
// place, with the rules written down anew. After every step what the store holds must be
// what the model holds. A sequence has 30 steps on average.
func Model(t *testing.T, store Store, sequences int) {
	t.Helper()
	checks := flag.Lookup("rapid.checks")
	before := checks.Value.String()
	if err := checks.Value.Set(strconv.Itoa(sequences)); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = checks.Value.Set(before) }()

	outcomes, canary := map[string]int{}, &Canary{}
	rapid.Check(t, func(rt *rapid.T) {
		m := newModel(rt, store)
		m.outcomes, m.w.Canary = outcomes, canary
		rt.Repeat(map[string]func(*rapid.T){
			"":            m.check,
			"time passes": m.timePasses,
			"pepper":      func(*rapid.T) { m.w.Peppers.Rotate() },
			"create":      m.create,
			"update":      m.update,
			"activate":    m.activate,
			"revoke":      m.revoke,
			"regenerate":  m.regenerate,
			"delete":      m.delete,
			"repeat":      m.repeat,
			"list":        m.list,
			"get":         m.get,
			"logins":      m.logins,
			"session":     m.createSession,
			"end session": m.endSession,
			"sessions":    m.listSessions,
		})
		m.logins(rt)
	})
	t.Logf("%d sequences: %v", sequences, outcomes)
	if s, ok := store.(interface{ Dump() []byte }); ok {
		canary.Check(t, "the store", s.Dump())
	}
	for _, o := range commonOutcomes {
		if sequences >= 500 && outcomes[o] == 0 {
			t.Errorf("no sequence came to %q: the model no longer asks for it", o)
		}
	}
}

// commonOutcomes are what 500 sequences come to without fail, so that a model that has
// stopped drawing interesting requests is noticed.
var commonOutcomes = []string{
	"create ok", "create a canary", "create replayed", "create validation", "create escalation permissions", "create escalation rateLimit",
	"update ok", "update not found", "update primary", "activate ok", "revoke ok", "revoke last manager",
	"session ok", "session escalation sessionOf", "end session ok", "end session not found", "list sessions ok", "sessions ended with their parent", "a session calls",
	"grace ended", "regenerate ok", "delete ok", "delete primary", "delete not found", "list ok", "get ok",
}

// modelPlans keep the cap on keys within reach of a sequence.
var modelPlans = map[string]config.Plan{
	"free":       {RateLimit: 20, Keys: 5},
	"pro":        {RateLimit: 100, Keys: 8},
	"enterprise": {RateLimit: 1000, Keys: 12},
}

type model struct {
	w        *World
	store    Store
	ctx      context.Context
	account  keys.Account
	keys     []*modelKey // by number - 1
	sessions []*modelSession
	records  map[string]*modelRecord
	last     func(*rapid.T) // repeats the last retry-safe request
	events   int
	outcomes map[string]int
}

type modelKey struct {
	keys.Key              // as lists show it
	secrets  []apikey.Key // by generation - 1
}

// modelRecord is a retry-safe request that was answered.
type modelRecord struct {
	body   string
	sealed apikey.Key // the caller's credential
	answer keys.Issued
	at     time.Time
}

func newModel(t *rapid.T, store Store) *model {
	m := &model{store: store, ctx: context.Background(), records: map[string]*modelRecord{}}
	m.w = NewWorld(store, func(c *keys.Config) { c.Settings.Plans = modelPlans })
	plan := rapid.SampledFrom([]string{"free", "pro", "enterprise"}).Draw(t, "account plan")
	a, root, err := m.w.Service.CreateAccount(m.ctx, keys.CreateAccountInput{
		ID: "m-" + string(apikey.NewID()), Name: "model", Plan: plan,
	})
	if err != nil {
		t.Fatalf("CreateAccount: %v", err)
	}
	m.account = a
	m.keys = []*modelKey{{secrets: []apikey.Key{root.Plaintext}, Key: keys.Key{
		ID: root.Plaintext.ID(), Number: 1, AccountID: a.ID, Name: "Root key", Environment: keys.Production,
		Permissions: []string{"*", "api_keys:*"}, Plan: plan, RateLimit: modelPlans[plan].RateLimit,
		Active: true, Primary: true, Face: keys.Canonical, CreatedAt: m.now(), UpdatedAt: m.now(), VerdictAt: m.now(),
		Version: 1, Verdict: 1, Generation: 1, Secret: keys.Secret{Generation: 1, Prefix: "kr_live"},
	}}}
	m.events = 1
	return m
}

func (m *model) now() time.Time { return m.w.Clock.Now() }

// The rules, in terms of what a key can reach: every permission there is, and one of the
// future for each resource and for a resource of the future.

func reach(permissions []string) map[string]bool {
	out := map[string]bool{}
	universe := append(slices.Clone(Catalogue), "future:future",
		"api_keys:future", "customers:future", "invoices:future", "licenses:future", "telemetry:future")
	for _, u := range universe {
		resource := u[:slices.Index([]byte(u), ':')]
		for _, p := range permissions {
			if p == u || p == resource+":*" || p == "*" && resource != "api_keys" {
				out[u] = true
			}
		}
	}
	return out
}

func within(inner, outer []string) bool {
	have := reach(outer)
	for p := range reach(inner) {
		if !have[p] {
			return false
		}
	}
	return true
}

func customersWithin(inner, outer []string) bool {
	if len(outer) == 0 {
		return true
	}
	for _, c := range inner {
		if !slices.Contains(outer, c) {
			return false
		}
	}
	return len(inner) > 0
}

func (m *model) alive(k *modelKey) bool {
	return k.Active && !k.Deleted && (k.ExpiresAt.IsZero() || m.now().Before(k.ExpiresAt)) && !k.NotBefore.After(m.now())
}

// livesAtAll reports whether there is a time between a key's start and its end.
func livesAtAll(k *keys.Key) bool { return k.ExpiresAt.IsZero() || k.ExpiresAt.After(k.NotBefore) }

// The networks of the model: how keys spell them, and which of a few addresses, one of each
// part that they tell apart, they hold.
var (
	spelled = map[string][]string{
		"10.0.0.0/8": {"10.0.0.0/8"}, "10.128.0.9/9 ::ffff:10.1.0.0/105": {"10.0.0.0/9", "10.128.0.0/9"}, "10.1.2.3": {"10.1.2.3/32"},
		"::/0 0.0.0.0/0": {"0.0.0.0/0", "::/0"}, "2001:DB8:0::/32 10.1.2.3/32": {"10.1.2.3/32", "2001:db8::/32"},
	}
	addresses = map[string][]string{
		"":           {"low 10", "10.1.2.3", "high 10", "else", "2001:db8", "else v6"},
		"10.0.0.0/8": {"low 10", "10.1.2.3", "high 10"}, "10.0.0.0/9": {"low 10", "10.1.2.3"}, "10.128.0.0/9": {"high 10"},
		"10.1.2.3/32": {"10.1.2.3"}, "0.0.0.0/0": {"low 10", "10.1.2.3", "high 10", "else"}, "::/0": {"2001:db8", "else v6"},
		"2001:db8::/32": {"2001:db8"},
	}
)

func addressesWithin(inner, outer []string) bool {
	of := func(networks []string) map[string]bool {
		if len(networks) == 0 {
			networks = []string{""}
		}
		all := map[string]bool{}
		for _, n := range networks {
			for _, a := range addresses[n] {
				all[a] = true
			}
		}
		return all
	}
	have := of(outer)
	for a := range of(inner) {
		if !have[a] {
			return false
		}
	}
	return true
}

func (m *model) isManager(k *modelKey) bool {
	return m.alive(k) && !k.Canary && reach(k.Permissions)["api_keys:write"]
}

func canSee(c, k *modelKey) bool {
	return c.Environment == keys.Production || c.Environment == k.Environment
}

// covers adds the refusals of a caller that hands out what k holds.
func covers(no refusals, c, k *modelKey) {
	if !canSee(c, k) {
		no.add("escalation environment")
	}
	if !within(k.Permissions, c.Permissions) {
		no.add("escalation permissions")
	}
	if !k.Canary && !customersWithin(k.Customers, c.Customers) {
		no.add("escalation customers")
	}
	if !k.Canary && !addressesWithin(k.Networks, c.Networks) {
		no.add("escalation networks")
	}
}

// lockedOut adds the refusal to take away the last manager.
func (m *model) lockedOut(no refusals, gone map[*modelKey]bool) {
	for k := range gone {
		if !m.isManager(k) {
			continue
		}
		left := slices.ContainsFunc(m.keys, func(o *modelKey) bool {
			return !gone[o] && m.isManager(o) && (o.Environment == keys.Production || o.Environment == k.Environment)
		})
		if !left {
			no.add("last manager")
		}
	}
}

func limitOf(plan string, e keys.Environment) int {
	if e == keys.Development {
		return 5 * modelPlans[plan].RateLimit
	}
	return modelPlans[plan].RateLimit
}

// refusals are the answers other than success that are right for a request.
type refusals map[string]bool

func (r refusals) add(kind string) { r[kind] = true }

// kind names an error of the Service.
func kind(err error) string {
	var (
		validation *keys.ValidationError
		escalation *keys.EscalationError
	)
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &validation):
		return "validation"
	case errors.As(err, &escalation):
		return "escalation " + escalation.Field
	}
	for sentinel, name := range map[error]string{
		keys.ErrNotFound: "not found", keys.ErrPreconditionFailed: "precondition", keys.ErrPrimaryKey: "primary",
		keys.ErrLastManager: "last manager", keys.ErrNotActive: "not active", keys.ErrKeyLimit: "key limit",
		keys.ErrCallerGone: "caller gone", keys.ErrConflict: "conflict", keys.ErrIdempotencyMismatch: "mismatch",
		keys.ErrIdempotencyUnusable: "unusable", keys.ErrIdempotencyInFlight: "in flight",
	} {
		if errors.Is(err, sentinel) {
			return name
		}
	}
	return "unexpected: " + err.Error()
}

// judge compares an answer with the refusals that were right. It reports success.
func (m *model) judge(t *rapid.T, op string, no refusals, err error) bool {
	t.Helper()
	got := kind(err)
	m.outcomes[op+" "+got]++
	if len(no) == 0 && got != "ok" || len(no) > 0 && !no[got] {
		t.Fatalf("%s = %s, want one of %v, or ok if none", op, got, no)
	}
	return got == "ok"
}

// caller draws a credential that was issued at some time, mostly one that works, and logs
// in. Of a session the key is its parent: what that may do, the session may.
func (m *model) caller(t *rapid.T) (*modelKey, keys.Caller) {
	c := m.keys[0]
	if rapid.IntRange(0, 2).Draw(t, "another caller") > 0 {
		c = rapid.SampledFrom(m.keys).Draw(t, "caller")
	}
	if len(m.sessions) > 0 && rapid.IntRange(0, 3).Draw(t, "by a session") == 0 {
		s := rapid.SampledFrom(m.sessions).Draw(t, "calling session")
		who := m.loginSession(t, s)
		if who == nil {
			t.Skip("this session does not work")
		}
		m.outcomes["a session calls"]++
		return s.parent, *who
	}
	generation := len(c.secrets)
	if generation > 1 && rapid.IntRange(0, 3).Draw(t, "old secret") == 0 {
		generation--
	}
	who := m.login(t, c, generation)
	if who == nil {
		t.Skip("this key does not work")
	}
	return c, *who
}

// login tries one secret of a key; nil: it was refused, rightly.
func (m *model) login(t *rapid.T, k *modelKey, generation int) *keys.Caller {
	t.Helper()
	got, reason, err := m.w.Login(m.ctx, k.secrets[generation-1])
	if err != nil {
		t.Fatalf("Login: %v", err)
	}
	grace := int64(generation) == k.Previous.Generation && m.now().Before(k.Previous.Until)
	want := m.alive(k) && !k.Canary && (int64(generation) == k.Generation || grace)
	if (reason == keys.OK) != want {
		t.Fatalf("key %d, generation %d of %d: login %q, want it to work: %t", k.Number, generation, k.Generation, reason, want)
	}
	if k.Canary && !k.Deleted && (int64(generation) == k.Generation || grace) && reason != keys.ReasonCanary {
		t.Fatalf("key %d is a canary, and its login only %q", k.Number, reason)
	}
	if !want {
		return nil
	}
	return &got
}

// logins tries every secret that was ever issued.
func (m *model) logins(t *rapid.T) {
	for _, k := range m.keys {
		for g := range k.secrets {
			m.login(t, k, g+1)
		}
	}
	for _, s := range m.sessions {
		m.loginSession(t, s)
	}
}

// target draws a key to act on, or nil: one that does not exist.
func (m *model) target(t *rapid.T, no refusals, c *modelKey) (*modelKey, keys.Ref) {
	n := rapid.IntRange(0, len(m.keys)).Draw(t, "target")
	if n == 0 {
		no.add("not found")
		return nil, rapid.SampledFrom([]keys.Ref{
			{}, {Number: int64(len(m.keys) + 1)}, {Number: -1}, {ID: "absent00"}, {ID: "%%%"},
		}).Draw(t, "absent")
	}
	k := m.keys[n-1]
	if k.Deleted || !canSee(c, k) {
		no.add("not found")
	}
	if rapid.Bool().Draw(t, "by id") {
		return k, keys.Ref{ID: k.ID}
	}
	return k, keys.Ref{Number: k.Number}
}

func (m *model) conditions(t *rapid.T, no refusals, k *modelKey) keys.Conditions {
	cond := keys.Conditions{Force: rapid.IntRange(0, 3).Draw(t, "force") == 0}
	if k != nil && rapid.IntRange(0, 3).Draw(t, "if-match") == 0 {
		cond.IfMatch = k.Version - int64(rapid.IntRange(0, 1).Draw(t, "stale"))
		if cond.IfMatch != 0 && cond.IfMatch != k.Version {
			no.add("precondition")
		}
	}
	return cond
}

// changed makes the model's key next, as a change does, and counts the audit event.
func (m *model) changed(k *modelKey, next keys.Key) {
	if m.set(k, next) {
		m.events++
	}
}

func (m *model) set(k *modelKey, next keys.Key) bool {
	verdict := func(k keys.Key) any {
		return []any{k.Active, k.Deleted, k.Permissions, k.Customers, k.Networks, k.NotBefore, k.RateLimit, k.Limits, k.Quota, k.ExpiresAt, k.Generation, k.Previous}
	}
	if reflect.DeepEqual(next, k.Key) {
		return false
	}
	if !reflect.DeepEqual(verdict(next), verdict(k.Key)) {
		next.Verdict++
		next.VerdictAt = m.now()
	}
	next.Version++
	next.UpdatedAt = m.now()
	moved := next.Verdict != k.Verdict
	if k.Key = next; moved {
		m.outdated(k)
	}
	return true
}

// check compares all that the store holds of the account with the model.
func (m *model) check(t *rapid.T) {
	list, err := m.store.Keys(m.ctx, m.account.ID)
	if err != nil {
		t.Fatalf("Keys: %v", err)
	}
	if len(list) != len(m.keys) {
		t.Fatalf("%d keys, want %d", len(list), len(m.keys))
	}
	account, err := m.store.Account(m.ctx, m.account.ID)
	if err != nil {
		t.Fatalf("Account: %v", err)
	}
	primaries, undeleted := 0, int64(0)
	for i, k := range m.keys {
		m.equal(t, "stored key", list[i], k.Key)
		if list[i].Primary {
			primaries++
			if account.Primary != list[i].ID || list[i].Deleted || list[i].Environment != keys.Production {
				t.Fatalf("the primary key is deleted, not of production, or not the account's")
			}
		}
		if !k.Deleted {
			undeleted++
		}
		if meter, found, err := m.store.Meter(m.ctx, k.ID); err != nil || !found || meter != (Meter{k.Verdict, k.Active && !k.Deleted}) {
			t.Fatalf("key %d: meter %+v, found %t, %v, want verdict %d", k.Number, meter, found, err, k.Verdict)
		}
	}
	if primaries != 1 {
		t.Fatalf("%d primary keys, want exactly one", primaries)
	}
	if account.NextNumber != int64(len(m.keys)+1) || account.KeyCount < undeleted {
		t.Fatalf("NextNumber %d after %d keys, KeyCount %d for %d", account.NextNumber, len(m.keys), account.KeyCount, undeleted)
	}
	m.checkSessions(t)
	events, err := Events(m.ctx, m.store, m.account.ID)
	if err != nil || len(events) != m.events {
		t.Fatalf("%d audit events, %v, want %d", len(events), err, m.events)
	}
	if last := events[len(events)-1]; len(last.Before)+len(last.After) == 0 || last.At.After(m.now()) {
		t.Fatalf("an empty audit event %+v", last)
	}
}

// equal compares quickly, and slowly only what may differ.
func (m *model) equal(t *rapid.T, what string, got, want keys.Key) {
	t.Helper()
	if reflect.DeepEqual(got, want) {
		return
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("%s %d (-want +got):\n%s", what, want.Number, diff)
	}
}

func (m *model) timePasses(t *rapid.T) {
	m.w.Clock.Advance(rapid.SampledFrom([]time.Duration{
		time.Millisecond, time.Minute, time.Hour, 24*time.Hour - time.Millisecond, 24 * time.Hour, 30 * 24 * time.Hour, 200 * 24 * time.Hour,
	}).Draw(t, "time"))
}

// idempotency draws an Idempotency-Key, or none.
func idempotency(t *rapid.T, route, body string) keys.Idempotency {
	key := rapid.SampledFrom([]string{"", "", "a", "b"}).Draw(t, "Idempotency-Key")
	return keys.Idempotency{Key: key, Route: route, Request: []byte(body)}
}

// replayed finds the answer that a retry-safe request must repeat, and adds why it cannot.
// found is false if the request is to be carried out.
func (m *model) replayed(no refusals, c *modelKey, who keys.Caller, idem keys.Idempotency) (r *modelRecord, found bool) {
	r = m.records[fmt.Sprint(who.KeyID, idem.Route, idem.Key)]
	if idem.Key == "" || r == nil || m.now().Sub(r.at) >= 24*time.Hour {
		return nil, false
	}
	if r.body != string(idem.Request) {
		no.add("mismatch")
		return r, true
	}
	k := m.keys[r.answer.Key.Number-1]
	generation := r.answer.Key.Generation
	live := generation == k.Generation || generation == k.Previous.Generation && m.now().Before(k.Previous.Until)
	expired := !k.ExpiresAt.IsZero() && !m.now().Before(k.ExpiresAt)
	if k.Deleted || expired || !live || !r.sealed.Equal(who.Credential) || r.answer.Key.Active && !k.Active || !canSee(c, k) {
		no.add("unusable")
	}
	covers(no, c, k)
	return r, true
}

// answered notes the answer to a retry-safe request, and how to repeat it.
func (m *model) answered(c *modelKey, who keys.Caller, idem keys.Idempotency, out keys.Issued, again func(*rapid.T, *modelKey, keys.Caller)) {
	m.w.Canary.Saw(out.Plaintext)
	if idem.Key == "" {
		return
	}
	m.records[fmt.Sprint(who.KeyID, idem.Route, idem.Key)] = &modelRecord{string(idem.Request), who.Credential, out, m.now()}
	if at := slices.IndexFunc(m.sessions, func(s *modelSession) bool { return s.secret.ID() == who.KeyID }); at >= 0 {
		s := m.sessions[at]
		m.last = func(t *rapid.T) {
			if who := m.loginSession(t, s); who != nil {
				again(t, c, *who)
			}
		}
		return
	}
	m.last = func(t *rapid.T) {
		generation := rapid.IntRange(1, len(c.secrets)).Draw(t, "generation of the caller")
		if who := m.login(t, c, generation); who != nil {
			again(t, c, *who)
		}
	}
}

func (m *model) repeat(t *rapid.T) {
	if m.last == nil {
		t.Skip("nothing to repeat")
	}
	m.last(t)
}

// sameAnswer checks a replay.
func (m *model) sameAnswer(t *rapid.T, op string, out keys.Issued, r *modelRecord) {
	m.outcomes[op+" replayed"]++
	if !out.Replayed || !out.Plaintext.Equal(r.answer.Plaintext) {
		t.Fatalf("replay: not the same secret, or not marked as one")
	}
	m.equal(t, "replayed key", out.Key, r.answer.Key)
}
