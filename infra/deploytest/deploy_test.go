// Package deploytest deploys the CDK app to an emulator of AWS (ministack) and uses what
// is there then: `make test-deploy`. It holds tests only.
//
// The model: a world is one emulator with one deployed stack. The emulator runs the real
// binary, enforces the functions' roles and evaluates the authorizer's policies, so what
// works here has every grant that it needs; and one flow takes grants away to show that the
// emulator would tell. What it cannot show, gaps lists, each a skipped test of its own.
//
// One world serves many flows, in an order: a flow leaves the root key's account as it
// found it, but for keys of its own.
package deploytest

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/keyreeve/keyreeve/infra/local/ddb"
)

// tools are the programs that make test-deploy installs and builds.
var tools struct{ ministack, cdk, app, repository string }

func TestMain(m *testing.M) {
	flag.Parse()
	tools.ministack, tools.cdk = os.Getenv("MINISTACK"), os.Getenv("CDK")
	var err error
	if tools.repository, err = ddb.FindRoot(); err != nil {
		fmt.Fprintln(os.Stderr, "deploytest:", err)
		os.Exit(1)
	}
	tools.app = filepath.Join(tools.repository, "dist", "cdk-app")
	os.Exit(m.Run())
}

// needTools skips the test where it cannot run.
func needTools(t *testing.T) {
	t.Helper()
	if tools.ministack == "" || tools.cdk == "" {
		t.Skip("SKIPPED: make test-deploy runs this; it installs the CDK's command line and the emulator")
	}
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		t.Skip("SKIPPED: the emulator starts the functions' binary as it is, and has no other than the one for Linux on x86_64")
	}
}

func TestADeployedStackKeepsTheDocumentsPromises(t *testing.T) {
	needTools(t)
	// With AUTH, assets can be published by the caller's own credentials alone.
	e := startEmulator(t, true)
	stack := e.synth(t, "cliCredentials=true")
	e.bootstrap(t, stack)
	w := e.observe(t, e.deploy(t, stack))
	flow := func(name string, f func(*testing.T, *world)) {
		t.Helper()
		if !t.Run(name, func(t *testing.T) { f(t, w) }) && w.root == "" {
			t.FailNow() // nothing goes without the root key
		}
	}
	flow("the printed command makes the first account", firstAccount)
	flow("seed 001: curl", func(t *testing.T, w *world) { seed001(t, w, "kr_live") })
	flow("seed 002: curl", seed002)
	flow("each fault of a credential is the same 401", sameUnauthorized)
	flow("a key is unknown on another environment's stage", crossStage)
	flow("a missing permission is 403 by a cached policy", missingPermission)
	flow("regenerate and revoke take effect on the next request", nextRequest)
	flow("the request over the limit is 429", overLimit)
	flow("the stream repairs a meter that a crash left behind", repairedMeter)
	flow("what the access log says is counted, once", countedRequests)
	flow("a canary's use reaches the topic of alerts", canaryUsed)
	flow("a webhook that fails waits for its next try", webhookTried)
	flow("the schedules' turns find nothing amiss", turns)
	flow("queues of what was given up take nothing without TLS", tlsOnly)
	flow("the console is served on every stage", consoleServed)
	flow("a session does what the console asks for, and ends", sessionKept)
	flow("what the gateway answers itself has the API's shape", gatewayAnswers)
	flow("cdk diff finds nothing after cdk deploy", func(t *testing.T, w *world) {
		e.mustNotDiffer(t, e.synth(t, "cliCredentials=true")) // an assembly made anew
	})
	flow("each step needs its grant", func(t *testing.T, w *world) { grants(t, w, stack) })
	flow("pepper rotation and another cdk deploy keep every key", func(t *testing.T, w *world) {
		stack = rotationAndDeploy(t, w)
	})
	flow("what the emulator cannot show", gaps)
	flow("a table cannot be deleted by a mistake", func(t *testing.T, w *world) {
		name := w.physicalID(t, "Keys")
		if _, err := w.dynamodb().DeleteTable(t.Context(), &dynamodb.DeleteTableInput{TableName: &name}); err == nil || !strings.Contains(err.Error(), "protect") {
			t.Errorf("DeleteTable = %v, want a refusal for its deletion protection", err)
		}
	})
	flow("cdk destroy leaves tables and peppers", func(t *testing.T, w *world) {
		ring := w.ring(t)
		tables := w.tables(t)
		e.destroy(t, stack)
		if got := w.tables(t); len(got) != 5 || fmt.Sprint(got) != fmt.Sprint(tables) {
			t.Errorf("tables = %v, want %v", got, tables)
		}
		if got := w.ring(t); got != ring {
			t.Error("the pepper ring has changed")
		}
		if a := w.once(t, "production", "GET", "/health", nil, ""); a.status < 400 {
			t.Errorf("the API = %s, want an error: it is gone", a)
		}
	})
	t.Logf("%d calls, %d of them repeated for a store that was too slow", w.calls, w.repeated)
	if w.repeated > 3+w.calls/20 {
		t.Errorf("%d repeats in %d calls", w.repeated, w.calls)
	}
}

// The other way of deploying: through the roles and buckets of cdk bootstrap, as most
// people do; the emulator's AUTH knows no such roles, so it is off. And another choice of
// the context: a preset with prefixes of its own and the shared stage.
func TestADisposableStackGoesWhole(t *testing.T) {
	needTools(t)
	e := startEmulator(t, false)
	stack := e.synth(t, "disposable=true", "preset=missinglettr")
	e.bootstrap(t, stack)
	w := e.observe(t, e.deploy(t, stack))
	firstAccount(t, w)
	seed000(t, w)
	seed001(t, w, "ml_prod")
	k := w.create(t, `{"name":"Reader","permissions":["customers:read"]}`)
	if a := w.call(t, "GET", "/v1/customers", xAPIKey(k.key), ""); a.status != http.StatusOK {
		t.Errorf("a new key = %s, want 200", a)
	}
	w.call(t, "POST", "/v1/customers", xAPIKey(k.key), `{"name":"C"}`).must(t, "a missing permission", http.StatusForbidden, "insufficient_scope")
	e.mustNotDiffer(t, stack)
	e.destroy(t, stack)
	if got := w.tables(t); len(got) != 0 {
		t.Errorf("tables = %v, want none", got)
	}
}

// tables are the names of the tables that there are.
func (e *emulator) tables(t *testing.T) []string {
	t.Helper()
	out, err := e.dynamodb().ListTables(t.Context(), &dynamodb.ListTablesInput{})
	if err != nil {
		t.Fatal(err)
	}
	return out.TableNames
}
