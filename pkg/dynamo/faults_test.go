package dynamo_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/keys/keystest"
)

// scene is an account in which one operation is run under faults.
type scene struct {
	*testing.T
	*keystest.World // on a store without faults
	clean           *store
	wire            *wire
	faulty          *keys.Service // on the same tables and clock, through the wire
	id              string        // of the account, also before there is one
	root            keys.Caller   // may do everything
	target          keys.Key      // made by root, may manage keys
	session         apikey.ID     // one of target's two
}

// operation is one thing that a Service does. run answers the secret that it issued, if
// it issues one.
type operation struct {
	name  string
	setup func(*scene)
	run   func(s *scene, svc *keys.Service, who keys.Caller) (apikey.Key, error)

	reads      bool                 // changes nothing
	several    bool                 // is more than one commit, so an error may leave it half way, to be repeated
	retrySafe  bool                 // carries an Idempotency-Key
	repeatable func(err error) bool // what a repeat may answer instead of success, if it was done before
}

var idem = keys.Idempotency{Key: "once-and-no-more", Route: "POST /x", Request: []byte(`{"a":1}`)}

func operations() []operation {
	text := func(s string) *string { return &s }
	on, day := true, 24*time.Hour
	key := func(_ keys.Key, err error) (apikey.Key, error) { return apikey.Key{}, err }
	issued := func(i keys.Issued, err error) (apikey.Key, error) { return i.Plaintext, err }
	is := func(want error) func(error) bool { return func(err error) bool { return errors.Is(err, want) } }
	ref := func(s *scene) keys.Ref { return keys.Ref{ID: s.target.ID} }
	number := func(s *scene) keys.Ref { return keys.Ref{Number: s.target.Number} }
	ctx := context.Background()
	return []operation{
		{name: "create account", repeatable: is(keys.ErrAccountExists), run: func(s *scene, svc *keys.Service, _ keys.Caller) (apikey.Key, error) {
			_, root, err := svc.CreateAccount(ctx, keys.CreateAccountInput{ID: s.id})
			return root.Plaintext, err
		}},
		{name: "add root key", setup: (*scene).account, run: func(s *scene, svc *keys.Service, _ keys.Caller) (apikey.Key, error) {
			return issued(svc.AddRootKey(ctx, s.id))
		}},
		{name: "create", setup: (*scene).account, run: func(s *scene, svc *keys.Service, who keys.Caller) (apikey.Key, error) {
			return issued(svc.Create(ctx, who, keys.CreateInput{Name: "new"}, keys.Idempotency{}))
		}},
		{name: "create retry-safe", retrySafe: true, setup: (*scene).account, run: func(s *scene, svc *keys.Service, who keys.Caller) (apikey.Key, error) {
			return issued(svc.Create(ctx, who, keys.CreateInput{Name: "new"}, idem))
		}},
		{name: "create primary retry-safe", retrySafe: true, setup: (*scene).account, run: func(s *scene, svc *keys.Service, who keys.Caller) (apikey.Key, error) {
			return issued(svc.Create(ctx, who, keys.CreateInput{Name: "new", Primary: &on, FullAccess: true}, idem))
		}},
		{name: "rename", setup: (*scene).keys, run: func(s *scene, svc *keys.Service, who keys.Caller) (apikey.Key, error) {
			return key(svc.Update(ctx, who, number(s), keys.Patch{Name: text("renamed")}, keys.Conditions{}))
		}},
		{name: "narrow", setup: (*scene).keys, run: func(s *scene, svc *keys.Service, who keys.Caller) (apikey.Key, error) {
			return key(svc.Update(ctx, who, ref(s), keys.Patch{Permissions: &[]string{"customers:read"}}, keys.Conditions{}))
		}},
		{name: "make primary", setup: (*scene).keys, run: func(s *scene, svc *keys.Service, who keys.Caller) (apikey.Key, error) {
			return key(svc.Update(ctx, who, ref(s), keys.Patch{Primary: &on}, keys.Conditions{}))
		}},
		{name: "revoke", setup: (*scene).keys, run: func(s *scene, svc *keys.Service, who keys.Caller) (apikey.Key, error) {
			k, _, err := svc.Revoke(ctx, who, ref(s), false, keys.Conditions{})
			return key(k, err)
		}},
		{name: "revoke with descendants", several: true, setup: (*scene).family, run: func(s *scene, svc *keys.Service, who keys.Caller) (apikey.Key, error) {
			k, _, err := svc.Revoke(ctx, who, ref(s), true, keys.Conditions{})
			return key(k, err)
		}},
		{name: "activate", setup: (*scene).revoked, run: func(s *scene, svc *keys.Service, who keys.Caller) (apikey.Key, error) {
			return key(svc.Activate(ctx, who, ref(s), keys.Conditions{}))
		}},
		{name: "regenerate", setup: (*scene).keys, run: func(s *scene, svc *keys.Service, who keys.Caller) (apikey.Key, error) {
			return issued(svc.Regenerate(ctx, who, ref(s), 0, keys.Idempotency{}, keys.Conditions{}))
		}},
		{name: "regenerate retry-safe", retrySafe: true, setup: (*scene).keys, run: func(s *scene, svc *keys.Service, who keys.Caller) (apikey.Key, error) {
			return issued(svc.Regenerate(ctx, who, ref(s), day, idem, keys.Conditions{}))
		}},
		{name: "delete", repeatable: is(keys.ErrNotFound), setup: (*scene).keys, run: func(s *scene, svc *keys.Service, who keys.Caller) (apikey.Key, error) {
			return key(svc.Delete(ctx, who, ref(s), keys.Conditions{}))
		}},
		{name: "revoke with sessions", setup: (*scene).sessions, run: func(s *scene, svc *keys.Service, who keys.Caller) (apikey.Key, error) {
			k, _, err := svc.Revoke(ctx, who, ref(s), false, keys.Conditions{})
			return key(k, err)
		}},
		{name: "end grace", setup: (*scene).grace, run: func(s *scene, svc *keys.Service, who keys.Caller) (apikey.Key, error) {
			return key(svc.Update(ctx, who, ref(s), keys.Patch{EndGrace: true}, keys.Conditions{}))
		}},
		{name: "create session", setup: (*scene).keys, run: func(s *scene, svc *keys.Service, who keys.Caller) (apikey.Key, error) {
			return issued(svc.CreateSession(ctx, who))
		}},
		{name: "end session", repeatable: is(keys.ErrNotFound), setup: (*scene).sessions, run: func(s *scene, svc *keys.Service, who keys.Caller) (apikey.Key, error) {
			return key(svc.EndSession(ctx, who, s.session))
		}},
		{name: "get", reads: true, setup: (*scene).keys, run: func(s *scene, svc *keys.Service, who keys.Caller) (apikey.Key, error) {
			return key(svc.Get(ctx, who, number(s)))
		}},
		{name: "list", reads: true, setup: (*scene).keys, run: func(s *scene, svc *keys.Service, who keys.Caller) (apikey.Key, error) {
			page, err := svc.List(ctx, who, keys.Query{})
			if err == nil && len(page.Keys) != 2 {
				s.Errorf("list = %d keys, want 2", len(page.Keys))
			}
			return apikey.Key{}, err
		}},
	}
}

func (s *scene) account() {
	s.Helper()
	_, root, err := s.Service.CreateAccount(context.Background(), keys.CreateAccountInput{ID: s.id})
	if err != nil {
		s.Fatal(err)
	}
	s.root = s.MustLogin(s.T, root.Plaintext)
}

func (s *scene) keys() {
	s.Helper()
	s.account()
	s.target = s.create(s.root, "target").Key
}

func (s *scene) create(who keys.Caller, name string) keys.Issued {
	s.Helper()
	k, err := s.Service.Create(context.Background(), who, keys.CreateInput{Name: name, FullAccess: true}, keys.Idempotency{})
	if err != nil {
		s.Fatal(err)
	}
	return k
}

func (s *scene) revoked() {
	s.keys()
	if _, _, err := s.Service.Revoke(context.Background(), s.root, keys.Ref{ID: s.target.ID}, false, keys.Conditions{}); err != nil {
		s.Fatal(err)
	}
}

func (s *scene) family() {
	s.account()
	target := s.create(s.root, "target")
	s.target = target.Key
	s.create(s.MustLogin(s.T, target.Plaintext), "child")
}

func (s *scene) sessions() {
	s.account()
	target := s.create(s.root, "target")
	s.target = target.Key
	who := s.MustLogin(s.T, target.Plaintext)
	s.makeSession(who)
	s.session = s.makeSession(who).KeyID
}

func (s *scene) makeSession(who keys.Caller) keys.Caller {
	s.Helper()
	out, err := s.Service.CreateSession(context.Background(), who)
	if err != nil {
		s.Fatal(err)
	}
	return s.MustLogin(s.T, out.Plaintext)
}

func (s *scene) grace() {
	s.keys()
	if _, err := s.Service.Regenerate(context.Background(), s.root, keys.Ref{ID: s.target.ID}, time.Hour, keys.Idempotency{}, keys.Conditions{}); err != nil {
		s.Fatal(err)
	}
}

// state is what an operation may have changed: the versions in an account.
func (s *scene) state() string {
	s.Helper()
	a, err := s.clean.Account(context.Background(), s.id)
	if err != nil && !errors.Is(err, keys.ErrNotFound) {
		s.Fatal(err)
	}
	list, err := s.clean.Keys(context.Background(), s.id)
	if err != nil {
		s.Fatal(err)
	}
	out := fmt.Sprint("account ", a.Version)
	for _, k := range list {
		out += fmt.Sprintf(", key %d at %d", k.Number, k.Version)
	}
	sessions, err := s.clean.Sessions(context.Background(), s.id, "")
	if err != nil {
		s.Fatal(err)
	}
	for _, k := range sessions {
		out += fmt.Sprintf(", session %s at %d", k.ID, k.Version)
	}
	return out
}

// matrix is the tables that all scenes of a test share, and what was seen in them.
type matrix struct {
	clean  *store
	canary *keystest.Canary
	scenes sync.Map // test's name by account
}

func newMatrix(t *testing.T) *matrix { return &matrix{clean: newStore(t), canary: &keystest.Canary{}} }

func (m *matrix) scene(t *testing.T, op operation) *scene {
	t.Helper()
	s := &scene{T: t, clean: m.clean, wire: &wire{}, World: keystest.NewWorld(m.clean), id: "f-" + string(apikey.NewID())}
	s.World.Canary = m.canary
	m.scenes.Store(s.id, t.Name())
	quick := func(o *dynamodb.Options) { // what is waited between two reads shows nothing here
		o.Retryer = retry.NewStandard(func(o *retry.StandardOptions) { o.MaxBackoff = time.Millisecond })
		o.HTTPClient = m.clean.raw.Options().HTTPClient
	}
	s.faulty = keys.NewService(keys.Config{
		Store: storeOn(m.clean.cfg, quick, s.wire.option), Peppers: s.Peppers, Settings: s.Settings, Known: keystest.Known,
		Clock: s.Clock.Now, Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
	})
	if op.setup != nil {
		op.setup(s)
	}
	return s
}

func isRead(op string) bool { return !slices.Contains([]string{transact, "UpdateItem", "PutItem"}, op) }

// faultsFor are those that mean something for a call: a read is never applied, and never
// loses against a transaction. How it failed makes no difference to an operation beyond what
// TestReadsAreRepeatedAndSayWhenTheStoreIsGone holds each kind to.
func faultsFor(op string) []fault {
	if isRead(op) {
		return []fault{failBefore, throttle}
	}
	return allFaults()
}

// TestNoFaultLosesOrHalvesAKey runs every operation of the Service, with every fault at
// every call that it makes to DynamoDB: once, at all such calls, and at all calls from
// there on. Afterwards: what it
// answered is true, nothing is half made, a repeat brings it to its end, and nobody but
// the caller has its secret.
func TestNoFaultLosesOrHalvesAKey(t *testing.T) {
	m := newMatrix(t)
	t.Run("operations", func(t *testing.T) {
		for _, op := range operations() {
			s := m.scene(t, op)
			s.wire.reset(nil)
			if _, err := op.run(s, s.faulty, s.root); err != nil {
				t.Fatalf("%s without a fault: %v", op.name, err)
			}
			calls := s.wire.seen()
			t.Logf("%-26s %s", op.name, strings.Join(calls, " "))
			for i, name := range calls {
				for _, f := range faultsFor(name) {
					for mode, meets := range map[string]func(call) bool{
						"once":             func(c call) bool { return c.n == i },
						"at all such":      func(c call) bool { return c.n >= i && c.op == name },
						"at all from then": func(c call) bool { return c.n >= i && slices.ContainsFunc(faultsFor(c.op), f.same) },
					} {
						if mode != "once" && !slices.ContainsFunc(lasting, f.same) || mode == "at all such" && isRead(name) {
							continue
						}
						t.Run(fmt.Sprintf("%s/%d %s/%s %s", op.name, i, name, f.name, mode), func(t *testing.T) {
							t.Parallel()
							m.scene(t, op).endure(op, func(c call) fault {
								if meets(c) {
									return f
								}
								return fault{}
							})
						})
					}
				}
			}
		}
	})
	m.check(t)
}

// lasting are the faults that also stay: one of each kind, since in the long run it makes
// no difference how an answer was lost.
var lasting = []fault{failBefore, throttle, conflictFault, appliedThenLate}

func (f fault) same(o fault) bool { return f.name == o.name }

// endure runs an operation under faults and looks at what has become of it.
func (s *scene) endure(op operation, inject func(call) fault) {
	before := s.state()
	s.wire.reset(inject)
	secret, err := op.run(s, s.faulty, s.root)
	s.wire.reset(nil)
	after := s.state()
	s.truthful(op, err, before, after)
	s.hears(secret, err)

	repeated, repeatErr := op.run(s, s.Service, s.root)
	if repeatErr != nil && (op.repeatable == nil || after == before || !op.repeatable(repeatErr)) {
		s.Errorf("the repeat, after %v: %v", err, repeatErr)
	}
	s.hears(repeated, repeatErr)
	switch {
	case op.reads && s.state() != before:
		s.Errorf("state %s, before a read it was %s", s.state(), before)
	case op.retrySafe:
		s.once(op, secret, repeated, before)
	}
}

// truthful checks an answer against the state.
func (s *scene) truthful(op operation, err error, before, after string) {
	s.Helper()
	changed := before != after
	switch {
	case err == nil:
		if !changed && !op.reads {
			s.Errorf("answered success, but nothing has changed: %s", after)
		}
	case errors.Is(err, keys.ErrNotSettled):
		if !changed {
			s.Errorf("%v, but nothing has changed: %s", err, after)
		}
	case errors.Is(err, keys.ErrOutcomeUnknown):
		// Either may be; the repeat finds out.
	case errors.Is(err, keys.ErrUnavailable), errors.Is(err, keys.ErrConflict):
		if changed && !op.several {
			s.Errorf("%v, but %s has become %s", err, before, after)
		}
	default:
		s.Errorf("%v, which says nothing a caller could act on", err)
	}
}

// hears checks an answer for secrets: one that is given must work, an error has none.
func (s *scene) hears(secret apikey.Key, err error) {
	s.Helper()
	if err != nil {
		if !secret.IsZero() {
			s.Error("a secret beside an error")
		}
		s.Canary.Check(s.T, "error text", []byte(err.Error()))
		return
	}
	if secret.IsZero() {
		return
	}
	if _, reason, err := s.Login(context.Background(), secret); err != nil || reason != keys.OK {
		s.Errorf("the secret that was answered: %q, %v", reason, err)
	}
}

// once checks that a retry-safe request was carried out once, and that another caller who
// sends the same gets an answer of its own.
func (s *scene) once(op operation, first, repeated apikey.Key, before string) {
	s.Helper()
	if !first.IsZero() && first.Plaintext() != repeated.Plaintext() {
		s.Error("the caller's repeat got another secret")
	}
	state := s.state()
	if _, err := op.run(s, s.Service, s.root); err != nil || s.state() != state {
		s.Errorf("one more repeat: %v; state %s, was %s", err, s.state(), state)
	}
	if n, old := strings.Count(state, "key "), strings.Count(before, "key "); n > old+1 {
		s.Errorf("%d keys after one create, before it %d", n, old)
	}
	manager := s.MustLogin(s.T, s.create(s.root, "manager").Plaintext)
	other, err := op.run(s, s.Service, manager)
	if err != nil || other.Plaintext() == repeated.Plaintext() {
		s.Errorf("another caller's request: %v, or the first one's secret", err)
	}
	s.Canary.Saw(other)
}

// check reads the tables whole: nothing in them is half made, and no secret is in them.
func (m *matrix) check(t *testing.T) {
	t.Helper()
	checkTables(t, m.clean, func(account string) any { name, _ := m.scenes.Load(account); return name })
	if m.canary.Secrets() == 0 {
		t.Error("the canary saw no secret")
	}
	for _, table := range []string{m.clean.cfg.KeysTable, m.clean.cfg.MetersTable} {
		m.canary.Check(t, "table", dump(m.clean.scan(t, table)))
	}
}

// checkTables checks what must hold of all items together, once every change has come to
// its end. of says what an account was for.
func checkTables(t *testing.T, s *store, of func(account string) any) {
	t.Helper()
	var (
		keyItems = map[string]item{}            // by id
		rows     = map[string]map[string]item{} // by account and number
		accounts = map[string]item{}
		made     = map[string]int{} // audit events that say that a key was made, by its id
		records  []item
		meters   = map[string]item{}
		sessions = map[string]item{} // rows by id
		events   = map[string]item{} // audit rows by id
		trails   = map[string]bool{} // by key and audit id
	)
	for _, it := range s.scan(t, s.cfg.KeysTable) {
		pk, sk := str(it, "pk"), str(it, "sk")
		switch {
		case strings.HasPrefix(pk, "K#") && sk == "K":
			keyItems[str(it, "id")] = it
		case strings.HasPrefix(pk, "I#") && sk == "I":
			records = append(records, it)
		case strings.HasPrefix(pk, "A#") && sk == "A":
			accounts[str(it, "id")] = it
		case strings.HasPrefix(pk, "A#") && strings.HasPrefix(sk, "K#"):
			a := pk[2:]
			if rows[a] == nil {
				rows[a] = map[string]item{}
			}
			rows[a][num(it, "num")] = it
		case strings.HasPrefix(pk, "A#") && strings.HasPrefix(sk, "S#"):
			if sk != "S#"+str(it, "parent")+"#"+str(it, "id") {
				t.Errorf("the row of session %s is at %q", str(it, "id"), sk)
			}
			sessions[str(it, "id")] = it
		case strings.HasPrefix(pk, "T#") && strings.HasPrefix(sk, "L#"):
			trails[pk[2:]+" "+sk[2:]] = true
			if str(it, "key") != pk[2:] || str(it, "env") == "" {
				t.Errorf("an event of key %q, environment %q is in the trail of %s", str(it, "key"), str(it, "env"), pk[2:])
			}
		case strings.HasPrefix(pk, "A#") && strings.HasPrefix(sk, "L#"):
			if !truth(it, "void") {
				events[sk[2:]] = it
			}
			if action := str(it, "action"); action == "key.create" || action == "account.create" {
				made[str(it, "key")]++
			}
		default:
			t.Errorf("an item of no kind: pk %q sk %q", pk, sk)
		}
	}
	for _, it := range s.scan(t, s.cfg.MetersTable) {
		meters[str(it, "id")] = it
	}
	for id, it := range events {
		if !trails[str(it, "key")+" "+id] {
			t.Errorf("event %s is not in the trail of its key %s (%v)", id, str(it, "key"), of(str(it, "acct")))
		}
	}
	for at := range trails {
		if _, id, _ := strings.Cut(at, " "); events[id] == nil {
			t.Errorf("the trail %s has an event that the account has not", at)
		}
	}
	for id, it := range keyItems {
		row := rows[str(it, "acct")][num(it, "num")]
		if parent := keyItems[str(it, "parent")]; parent != nil {
			row = sessions[id]
			if !truth(it, "deleted") && (num(parent, "verdict") != num(it, "parentVerdict") || !truth(parent, "active")) {
				t.Errorf("session %s outlives its parent's change (%v)", id, of(str(it, "acct")))
			}
			made[id]++ // whoever makes one says so of its parent
		}
		if diff := cmp.Diff(shown(it), shown(row)); diff != "" {
			t.Errorf("key %s and its list row differ (%v):\n%s", id, of(str(it, "acct")), diff)
		}
		for _, name := range []string{"digest", "pepper", "digest0", "pepper0"} {
			if row[name] != nil {
				t.Errorf("the list row of key %s has %s", id, name)
			}
		}
		if m := meters[id]; m == nil {
			t.Errorf("key %s has no meter (%v)", id, of(str(it, "acct")))
		} else if live := truth(it, "active") && !truth(it, "deleted"); num(m, "v") != num(it, "verdict") || truth(m, "st") != live {
			t.Errorf("the meter of key %s is at %s, %t, the key at %s, %t (%v)", id, num(m, "v"), truth(m, "st"), num(it, "verdict"), live, of(str(it, "acct")))
		}
		if made[id] != 1 {
			t.Errorf("%d audit events say that key %s was made, want 1 (%v)", made[id], id, of(str(it, "acct")))
		}
	}
	total := 0
	for a, list := range rows {
		primaries := 0
		for n := range len(list) {
			row := list[fmt.Sprint(n+1)]
			if row == nil {
				t.Errorf("account %s has %d keys, but none of number %d (%v)", a, len(list), n+1, of(a))
				continue
			}
			if truth(row, "primary") {
				primaries++
				if str(row, "id") != str(accounts[a], "primary") || truth(row, "deleted") || str(row, "env") != "production" {
					t.Errorf("account %s: key %s has the mark, the account points at %s (%v)", a, str(row, "id"), str(accounts[a], "primary"), of(a))
				}
			}
		}
		if primaries != 1 {
			t.Errorf("account %s has %d primary keys, want 1 (%v)", a, primaries, of(a))
		}
		if next := num(accounts[a], "next"); next != fmt.Sprint(len(list)+1) {
			t.Errorf("account %s has %d keys, but its next number is %s (%v)", a, len(list), next, of(a))
		}
		total += len(list)
	}
	if total += len(sessions); total != len(keyItems) || len(meters) != len(keyItems) || len(accounts) != len(rows) {
		t.Errorf("%d keys, %d rows, %d meters; %d accounts, %d with keys", len(keyItems), total, len(meters), len(accounts), len(rows))
	}
	for _, r := range records {
		k := keyItems[str(r, "key")]
		if k == nil || num(r, "gen") > num(k, "gen") {
			t.Errorf("a record for generation %s of key %s, which is not there", num(r, "gen"), str(r, "key"))
		}
	}
	t.Logf("%d accounts, %d keys, %d records: whole", len(accounts), len(keyItems), len(records))
}
