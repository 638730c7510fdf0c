package keystest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

// Suite checks the contract of keys.Store. newStore may return the same store each time.
func Suite(t *testing.T, newStore func(t *testing.T) Store) {
	for _, tt := range []struct {
		name string
		test func(*testing.T, *fixture)
	}{
		{"reads back what was committed", readsBack},
		{"absent is ErrNotFound", absent},
		{"a new key or account refuses an old one", newRefusesOld},
		{"a stale version commits nothing", staleVersion},
		{"a caller that changed commits nothing", callerChanged},
		{"a caller that changes itself is checked as well", callerIsTarget},
		{"a record is taken until it expires", recordExpiry},
		{"only a change of secret writes digests", digests},
		{"a re-digest touches the live secret alone", redigest},
		{"a new key has its meter, and no change moves it", meterMade},
		{"a meter never goes back", settle},
		{"usage comes from meters", usage},
		{"keys come in order of number", listing},
		{"as many keys as a change may hold", largestChange},
		{"sessions have rows of their own", sessions},
		{"a calling session's parent that changed commits nothing", parentChanged},
		{"keys are read by their ids", byID},
		{"a secret whose grace is ended goes", previousGone},
		{"events come newest first, by account and by key", events},
		{"one winner per version", oneWinner},
		{"two that check each other never both win", noWriteSkew},
		{"nothing is shared with the caller", noSharing},
		{"a cancelled context changes nothing", cancelled},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, newFixture(t, newStore(t))) })
	}
}

// fixture is an account with a root key in a store.
type fixture struct {
	Store
	ctx     context.Context
	base    time.Time // now, as stores keep it
	account keys.Account
	root    keys.Key
}

func newFixture(t *testing.T, s Store) *fixture {
	t.Helper()
	f := &fixture{Store: s, ctx: t.Context(), base: stored(time.Now())}
	f.account = keys.Account{
		ID: "t-" + string(apikey.NewID()), Name: "Zoë & 東京 🗼", Plan: "enterprise",
		NextNumber: 2, KeyCount: 1, CreatedAt: f.base, Version: 1,
	}
	f.root = f.newKey(1)
	f.account.Primary, f.root.Primary = f.root.ID, true
	f.mustCommit(t, keys.Change{
		Account: &keys.AccountWrite{New: f.account},
		Keys:    []keys.KeyWrite{{New: f.root, SecretChanged: true}},
	})
	return f
}

// newKey is a key with every field set to something of its own, also those that no key has
// together; it is not committed.
func (f *fixture) newKey(number int64) keys.Key {
	at := func(minutes int) time.Time {
		return f.base.Add(time.Duration(minutes)*time.Minute + time.Duration(number)*time.Millisecond)
	}
	return keys.Key{
		ID: apikey.NewID(), Number: number, AccountID: f.account.ID,
		Name: "Ключ №" + fmt.Sprint(number) + " 👩‍🚀 =HYPERLINK(\"x\")", Environment: keys.Production,
		Permissions: []string{"*", "api_keys:*"}, Customers: []string{"cus_1", "cus_2"},
		Networks: []string{"10.0.0.0/8", "2001:db8::/32"},
		Owner:    "Ärger & Söhne", Plan: "pro", RateLimit: 123, LimitNamed: true, Active: true, Canary: true,
		Limits: keys.Limits{Hour: 4_567, Day: 89_000}, Quota: keys.Quota{Requests: 1_000_000, RefillDay: 28},
		Face: keys.AccountFace, CreatedBy: "createdX",
		CreatedAt: at(1), UpdatedAt: at(2), VerdictAt: at(1), RotatedAt: at(3), NotBefore: at(4), ExpiresAt: at(60 * 24),
		Version: 1, Verdict: 1, Generation: 2,
		Secret:   keys.Secret{Generation: 2, Digest: randomDigest(), Pepper: "p2", Prefix: "kr_live"},
		Previous: keys.Secret{Generation: 1, Digest: randomDigest(), Pepper: "p1", Prefix: "kr_old", Until: at(90)},
	}
}

// plainKey is a key with every optional field empty; it is not committed.
func (f *fixture) plainKey(number int64) keys.Key {
	return keys.Key{
		ID: apikey.NewID(), Number: number, AccountID: f.account.ID, Name: "x",
		Environment: keys.Development, Plan: "free", RateLimit: 1, Face: keys.Canonical, CreatedAt: f.base,
		Version: 1, Verdict: 1, Generation: 1,
		Secret: keys.Secret{Generation: 1, Digest: randomDigest(), Pepper: "p1", Prefix: "kr_dev"},
	}
}

func randomDigest() (d apikey.Digest) {
	for i := range d {
		d[i] = byte(rand.Uint32())
	}
	return d
}

// commit gives the change an audit event of its own if it has none.
func (f *fixture) commit(c keys.Change) error {
	if c.Audit.ID == "" {
		c.Audit = f.event("test")
	}
	return f.Commit(f.ctx, c)
}

func (f *fixture) event(action string) keys.AuditEvent {
	return keys.AuditEvent{
		ID:        fmt.Sprintf("%016x%s", time.Now().UnixNano(), apikey.NewID()),
		AccountID: f.account.ID, At: f.base, Action: action,
	}
}

func (f *fixture) mustCommit(t *testing.T, c keys.Change) {
	t.Helper()
	if err := f.commit(c); err != nil {
		t.Fatalf("Commit: %v", err)
	}
}

// add commits new keys, one change each, without touching the account item.
func (f *fixture) add(t *testing.T, list ...keys.Key) {
	t.Helper()
	for _, k := range list {
		f.mustCommit(t, keys.Change{Keys: []keys.KeyWrite{{New: k, SecretChanged: true}}})
	}
}

// key reads a key that must be there.
func (f *fixture) key(t *testing.T, id apikey.ID) keys.Key {
	t.Helper()
	k, err := f.Key(f.ctx, id)
	if err != nil {
		t.Fatalf("Key: %v", err)
	}
	return k
}

func (f *fixture) check(k keys.Key) *keys.CallerCheck {
	return &keys.CallerCheck{ID: k.ID, Verdict: k.Verdict}
}

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}
