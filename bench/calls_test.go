package main

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/infra/local/ddb/ddbtest"
	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/dynamo"
	"github.com/keyreeve/keyreeve/pkg/guard"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/limit"
	"github.com/keyreeve/keyreeve/pkg/pepper"
	"github.com/keyreeve/keyreeve/pkg/route"
	"github.com/keyreeve/keyreeve/pkg/verify"
)

func TestMain(m *testing.M) { ddbtest.Main(m) }

// counting is the SDK's HTTP transport, which sees every call that is really made, with
// repetitions.
type counting struct {
	mu    sync.Mutex
	calls []string // operations, in order
}

func (c *counting) Do(r *http.Request) (*http.Response, error) {
	_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	c.mu.Lock()
	c.calls = append(c.calls, operation)
	c.mu.Unlock()
	return http.DefaultClient.Do(r)
}

// during returns the calls that f makes.
func (c *counting) during(f func()) []string {
	c.mu.Lock()
	c.calls = nil
	c.mu.Unlock()
	f()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls
}

// What a request costs at DynamoDB, counted where the bytes leave. The clock of the guard
// is the test's, so that slots change only when it says so.
func TestDynamoDBCallsOfARequest(t *testing.T) {
	ctx := t.Context()
	transport := &counting{}
	client, c := ddbtest.ForTest(t, func(o *dynamodb.Options) { o.HTTPClient = transport })
	table, err := route.Load(nil)
	if err != nil {
		t.Fatal(err)
	}
	store := dynamo.NewKeys(client, dynamo.KeysConfig{Table: c.KeysTable, Meters: c.MetersTable, Timeout: c.StoreTimeout, Retention: 24 * time.Hour})
	peppers := pepper.New(func(context.Context) ([]byte, error) {
		return []byte(`{"current":"p1","peppers":{"p1":"a pepper of thirty-two characters"}}`), nil
	}, nil)
	service := keys.NewService(keys.Config{Store: store, Peppers: peppers, Settings: c.Settings, Known: table.KnownPermission})
	_, root, err := service.CreateAccount(ctx, keys.CreateAccountInput{Name: "calls"})
	if err != nil {
		t.Fatal(err)
	}
	verifier := verify.New(verify.Config{Store: store, Peppers: peppers, Prefixes: apikey.Prefixes{root.Plaintext.Prefix(): true}})

	var got verify.Verdict
	verdict := func(credential string) func() {
		return func() {
			t.Helper()
			if got, err = verifier.Verify(ctx, credential, "production"); err != nil {
				t.Fatal(err)
			}
		}
	}
	wrong, err := apikey.Generate(root.Plaintext.Prefix(), root.Key.ID)
	if err != nil {
		t.Fatal(err)
	}
	unknown, err := apikey.Generate(root.Plaintext.Prefix(), apikey.NewID())
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := apikey.Generate("foreign", root.Key.ID)
	if err != nil {
		t.Fatal(err)
	}
	plain := root.Plaintext.Plaintext()
	for _, v := range []struct {
		what, credential string
		reason           keys.Reason
		want             []string
	}{
		{"junk", "hello", keys.ReasonMalformed, nil},
		{"wrong checksum", plain[:len(plain)-1] + string(plain[len(plain)-1]^1), keys.ReasonMalformed, nil},
		{"foreign prefix", foreign.Plaintext(), keys.ReasonMalformed, nil},
		{"unknown id", unknown.Plaintext(), keys.ReasonUnknown, []string{"GetItem"}},
		{"wrong secret", wrong.Plaintext(), keys.ReasonSecret, []string{"GetItem"}},
		{"good key", plain, keys.OK, []string{"GetItem"}},
	} {
		calls := transport.during(verdict(v.credential))
		if d := cmp.Diff(v.want, calls); d != "" || got.Reason != v.reason {
			t.Errorf("verifying: %s: verdict %q, want %q; calls (-want +got):\n%s", v.what, got.Reason, v.reason, d)
		}
	}

	// From here on the guard. Its first call in a process learns where the meter is.
	now := time.Now().Truncate(limit.Slot)
	newGuard := func() *guard.Guard {
		return guard.New(guard.Config{
			Meters: dynamo.NewMeters(client, c.MetersTable, c.StoreTimeout), Keys: store,
			Clock: func() time.Time { return now },
		})
	}
	rt, _, found := table.Match("GET", "/v1/customers")
	if found != route.Matched {
		t.Fatal("GET /v1/customers is no route")
	}
	call := guard.Call{Route: rt, Stage: "production", Identity: got.Identity}
	pass := func(g *guard.Guard) func() {
		return func() {
			t.Helper()
			if _, err := g.Check(ctx, call); err != nil {
				t.Fatalf("Check = %v, want a pass", err)
			}
		}
	}
	atMost := func(what string, most int, calls []string) {
		t.Helper()
		if len(calls) < 1 || len(calls) > most {
			t.Errorf("%s: %d calls (%s), want 1 to %d", what, len(calls), strings.Join(calls, ", "), most)
		}
		t.Logf("%s: %s", what, strings.Join(calls, ", "))
	}
	g := newGuard()
	atMost("guarded, the meter's first request", 3, transport.during(pass(g)))
	for range 3 {
		atMost("guarded, in a slot that the process has seen", 1, transport.during(pass(g)))
	}
	now = now.Add(limit.Slot)
	atMost("guarded, in the next slot", 3, transport.during(pass(g)))
	atMost("guarded, in it again", 1, transport.during(pass(g)))
	atMost("guarded, in a process that is new", 3, transport.during(pass(newGuard())))
	now = now.Add(10 * time.Minute)
	atMost("guarded, after ten quiet minutes", 3, transport.during(pass(g)))
	now = now.Add(10 * time.Minute)
	atMost("guarded, new process after ten quiet minutes", 3, transport.during(pass(newGuard())))

	// A stale verdict: the key has changed, the context has not.
	perMinute := 900
	if _, err := service.Update(ctx, keys.Caller{Identity: got.Identity, Credential: root.Plaintext}, keys.Ref{ID: root.Key.ID},
		keys.Patch{RateLimit: &perMinute}, keys.Conditions{}); err != nil {
		t.Fatal(err)
	}
	atMost("guarded, with a stale verdict", 3, transport.during(pass(g)))
	atMost("guarded, with a stale verdict that the process knows", 1, transport.during(pass(g)))
	now = now.Add(limit.Slot)
	atMost("guarded, with a stale verdict, process new, slot new", 3, transport.during(pass(newGuard())))
}
