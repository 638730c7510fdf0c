package dynamo_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/guard"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/keys/keystest"
	"github.com/keyreeve/keyreeve/pkg/verify"
)

// TestCallsPerOperation holds how many requests go out for each operation, at the
// transport. They are what a user pays for.
func TestCallsPerOperation(t *testing.T) {
	m := newMatrix(t)
	for _, op := range operations() {
		t.Run(op.name, func(t *testing.T) {
			s := m.scene(t, op)
			c := &counting{}
			svc := keys.NewService(keys.Config{
				Store: storeOn(m.clean.cfg, c.option), Peppers: s.Peppers, Settings: s.Settings, Known: keystest.Known, Clock: s.Clock.Now,
			})
			if _, err := op.run(s, svc, s.root); err != nil {
				t.Fatal(err)
			}
			want := map[string]string{
				"create account":            "GT",
				"add root key":              "GGT",
				"create":                    "GT",
				"create retry-safe":         "GGT",
				"create primary retry-safe": "GGGT",
				"rename":                    "GGTUB",
				"narrow":                    "GTUQB",
				"make primary":              "GGGTUB",
				"revoke":                    "GTUQB",
				"revoke with descendants":   "GQTUQBQTUQQ",
				"activate":                  "GTUQB",
				"regenerate":                "GTUQ",
				"regenerate retry-safe":     "GGTUQ",
				"delete":                    "GTUQ",
				"revoke with sessions":      "GTUQTUUQB",
				"end grace":                 "GTUQB",
				"create session":            "GGQT",
				"end session":               "GTU",
				"get":                       "GGB",
				"list":                      "QB",
			}
			if got := short(c.take()); got != want[op.name] {
				t.Errorf("calls %s, want %s", got, want[op.name])
			}
		})
	}
}

func TestVerifyingReadsOnceAndJunkNever(t *testing.T) {
	c := &counting{}
	s := newStore(t, c.option)
	w := keystest.NewWorld(s)
	_, root := w.Account(t, "free")
	c.take()
	v := verify.New(verify.Config{Store: s, Peppers: w.Peppers, Prefixes: apikey.Prefixes{"kr_live": true}, Clock: w.Clock.Now})
	good := root.Credential.Plaintext()
	unknown, err := apikey.Generate("kr_live", apikey.NewID())
	if err != nil {
		t.Fatal(err)
	}
	forged, err := apikey.Generate("kr_live", root.KeyID)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := apikey.Generate("kr_other", root.KeyID)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, credential string
		reason           keys.Reason
		calls            string
	}{
		{"the key", good, keys.OK, "GetItem"},
		{"an unknown id", unknown.Plaintext(), keys.ReasonUnknown, "GetItem"},
		{"a wrong secret", forged.Plaintext(), keys.ReasonSecret, "GetItem"},
		{"empty", "", keys.ReasonMalformed, ""},
		{"a bad checksum", good[:len(good)-1] + "-", keys.ReasonMalformed, ""},
		{"a foreign prefix", foreign.Plaintext(), keys.ReasonMalformed, ""},
		{"junk", strings.Repeat("x", 500), keys.ReasonMalformed, ""},
	} {
		verdict, err := v.Verify(context.Background(), tt.credential, "production")
		if err != nil || verdict.Reason != tt.reason {
			t.Errorf("%s: verdict %q, %v, want %q", tt.name, verdict.Reason, err, tt.reason)
		}
		if calls := strings.Join(c.take(), " "); calls != tt.calls {
			t.Errorf("%s: calls %q, want %q", tt.name, calls, tt.calls)
		}
	}
}

func TestAGuardedRequestIsOneCallInASlotThatItsProcessHasSeen(t *testing.T) {
	c := &counting{}
	s := newStore(t, c.option)
	w := keystest.NewWorld(s)
	_, root := w.Account(t, "enterprise")
	now := w.Clock.Now()
	g := guard.New(guard.Config{Meters: s.of, Keys: s, Clock: func() time.Time { return now }})
	check := func() string {
		t.Helper()
		c.take()
		if _, err := g.Check(t.Context(), guard.Call{Stage: "production", Identity: root.Identity}); err != nil {
			t.Fatal(err)
		}
		return short(c.take())
	}
	if calls := check(); len(calls) > 3 {
		t.Errorf("the first request: calls %s, want at most 3", calls)
	}
	for i := range 3 {
		if calls := check(); calls != "U" {
			t.Errorf("request %d of the slot: calls %s, want one UpdateItem", i+2, calls)
		}
	}
	var rolls []string
	for range 3 {
		now = now.Add(4 * time.Second)
		rolls = append(rolls, check())
	}
	if slices.ContainsFunc(rolls, func(calls string) bool { return len(calls) > 3 }) {
		t.Errorf("requests in new slots: calls %s, want at most 3 each", fmt.Sprint(rolls))
	}
}

// A key that is called all the time is revoked at the first try, although every
// transaction on its meter is refused, as AWS refuses it (DynamoDB Local does not).
func TestAHammeredKeyIsRevokedAtTheFirstTry(t *testing.T) {
	w := &wire{}
	s := newStore(t, w.option)
	world := keystest.NewWorld(s)
	_, root := world.Account(t, "enterprise")
	key, err := world.Service.Create(t.Context(), root, keys.CreateInput{Name: "hammered"}, keys.Idempotency{})
	if err != nil {
		t.Fatal(err)
	}
	id := key.Key.ID
	ctx, stop := context.WithCancel(t.Context())
	var hammer sync.WaitGroup
	caller := storeOn(s.cfg)
	for range 4 {
		hammer.Go(func() {
			for ctx.Err() == nil {
				_ = caller.Use(ctx, id, time.Now()) // some lose against each other
			}
		})
	}
	defer hammer.Wait()
	defer stop()

	w.reset(func(c call) fault {
		if in, ok := c.input.(*dynamodb.TransactWriteItemsInput); ok && touches(in, s.cfg.MetersTable) {
			return conflictFault
		}
		return fault{}
	})
	if _, _, err := world.Service.Revoke(t.Context(), root, keys.Ref{ID: id}, false, keys.Conditions{}); err != nil {
		t.Fatalf("Revoke = %v", err)
	}
	if calls := short(w.seen()); calls != "GTUQB" {
		t.Errorf("calls %s, want one transaction and one write to the meter", calls)
	}
	if m, found, err := s.Meter(t.Context(), id); err != nil || !found || m.Active {
		t.Errorf("meter after the revoke: %+v, found %t, %v, want it inactive", m, found, err)
	}
}
