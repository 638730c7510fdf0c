package deploytest

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/keyreeve/keyreeve/pkg/dynamo"
	"github.com/keyreeve/keyreeve/pkg/pepper"
)

// grants takes grants away by cdk deploy, and shows that what needs them fails then and
// works again when they are back: that the flows pass says something about the roles.
func grants(t *testing.T, w *world, stack assembly) {
	use := func(k issued) answer { return w.once(t, "production", "GET", "/v1/customers", xAPIKey(k.key), "") }
	manager := w.create(t, `{"name":"Manager","permissions":["api_keys:read"]}`)
	list := func() answer { return w.once(t, "production", "GET", "/v1/api-keys", xAPIKey(manager.key), "") }
	serves := func(what string, a answer) {
		t.Helper()
		if a.status != http.StatusOK {
			t.Errorf("%s = %s, want 200", what, a)
		}
	}
	fails := func(what string, a answer) {
		t.Helper()
		if a.status < 500 || a.code() == "authorizer_failure" {
			t.Errorf("%s = %s, want 5xx of the function", what, a)
		}
	}

	refuses := func(what, payload string) {
		t.Helper()
		if i, answer := w.admin(t, payload); !i.failed || answer.RootKey != "" || !strings.Contains(answer.ErrorMessage, "AccessDenied") {
			t.Errorf("%s: error %q; want AccessDenied", what, answer.ErrorMessage)
		}
	}

	logs := func(what, function, text string) {
		t.Helper()
		eventually(t, 30*time.Second, what, func() bool {
			return slices.ContainsFunc(w.logged(t, w.physicalID(t, title(function)+"FunctionLog")), func(m string) bool { return strings.Contains(m, text) })
		})
	}

	// The policies of manager and of known are cached from here on, so these two get past the
	// authorizer for a minute; fresh has never been used.
	fresh, known := w.create(t, readsCustomers), w.create(t, readsCustomers)
	serves("a key's first request", use(known))
	serves("the list", list())
	uncounted, decoy := w.create(t, readsCustomers), w.create(t, canary)
	w.deploy(t, stack.edited(t, without(
		grant{"authorizer", "ReadKey"}, grant{"sample", "Documents"}, grant{"keys", "Meters"}, grant{"admin", "NewMeter"}, grant{"usage", "CountUsage"})))
	use(fresh).must(t, "a key's first request, without the authorizer's ReadKey", http.StatusInternalServerError, "authorizer_failure")
	fails("a request, without the sample's Documents", use(known))
	fails("the list, without the keys function's Meters", list())
	refuses("create-account, without the admin function's NewMeter", `{"action":"create-account","accountId":"second"}`)
	w.giveUp(t, uncounted)

	w.deploy(t, stack.edited(t, without(
		grant{"sample", "CountRequest"}, grant{"keys", "Keys"}, grant{"admin", "Keys"}, grant{"admin", "RotatePepper"}, grant{"stream", "SettleMeters"},
		grant{"notify", "PublishAlerts"})))
	fails("a request, without the sample's CountRequest", use(known))
	fails("the list, without the keys function's Keys", list())
	refuses("create-account, without the admin function's Keys", `{"action":"create-account","accountId":"second"}`)
	refuses("add-pepper, without the admin function's RotatePepper", `{"action":"add-pepper"}`)
	w.crash(t, idOf(t, known.key))
	logs("the stream function's failure, without SettleMeters", "stream", "meter not repaired")
	w.trap(t, decoy)
	logs("the notify function's failure, without PublishAlerts", "notify", "alerts not delivered")
	if v, active := w.meter(t, idOf(t, known.key)); v != "1" || !active {
		t.Errorf("the meter = %s, %t, without SettleMeters; want it as it was", v, active)
	}

	w.deploy(t, stack)
	serves("a key's first request, with all grants", use(fresh))
	serves("the list, with all grants", list())
	w.takeBack(t, uncounted)
	w.crash(t, idOf(t, known.key)) // the emulator does not repeat a batch (gaps), so the key changes once more
	eventually(t, 30*time.Second, "the meter's repair, with all grants", func() bool {
		v, active := w.meter(t, idOf(t, known.key))
		return v == "3" && !active
	})
}

// ring is the pepper ring's JSON.
func (w *world) ring(t *testing.T) string {
	t.Helper()
	out, err := w.secrets().GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String(w.physicalID(t, "Pepper"))})
	if err != nil {
		t.Fatal(err)
	}
	return aws.ToString(out.SecretString)
}

// pepperOf is the version of the pepper that a key's digest is of.
func (w *world) pepperOf(t *testing.T, k issued) string {
	t.Helper()
	out, err := w.dynamodb().GetItem(t.Context(), &dynamodb.GetItemInput{
		TableName: aws.String(w.physicalID(t, "Keys")), Key: keyItem(idOf(t, k.key)), ConsistentRead: aws.Bool(true),
	})
	if err != nil {
		t.Fatal(err)
	}
	v, _ := out.Item[dynamo.PepperAttribute].(*types.AttributeValueMemberS)
	if v == nil {
		t.Fatal("the key item names no pepper")
	}
	return v.Value
}

// rotationAndDeploy rotates the pepper and deploys a change that starts every function
// anew. It returns what is deployed then.
func rotationAndDeploy(t *testing.T, w *world) assembly {
	works := func(when string, keys ...issued) {
		t.Helper()
		for i, k := range keys {
			if a := w.call(t, "GET", "/v1/customers", xAPIKey(k.key), ""); a.status != http.StatusOK {
				t.Errorf("%s, key %d = %s, want 200", when, i, a)
			}
		}
	}
	used, unused := w.create(t, readsCustomers), w.create(t, readsCustomers)
	works("before", used)

	i, _ := w.admin(t, `{"action":"add-pepper"}`)
	if i.failed || !strings.Contains(string(i.answer), `"p2"`) {
		t.Fatal("add-pepper did not add p2")
	}
	i, refused := w.admin(t, `{"action":"promote-pepper"}`)
	if !i.failed || !strings.Contains(refused.ErrorMessage, "too early") {
		t.Errorf("promote-pepper at once: error %q; want too early", refused.ErrorMessage)
	}
	works("with a second pepper", used, unused)
	unused = w.create(t, readsCustomers)

	// What promote-pepper writes ten minutes later, for which there is no time here.
	promoted, version, err := pepper.Promote([]byte(w.ring(t)))
	if err != nil || version != "p2" {
		t.Fatalf("promoting %q: %v", version, err)
	}
	if _, err := w.secrets().PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{
		SecretId: aws.String(w.physicalID(t, "Pepper")), SecretString: aws.String(string(promoted)),
	}); err != nil {
		t.Fatal(err)
	}
	works("after the promotion", used, unused)
	unused = w.create(t, readsCustomers)
	if got := w.pepperOf(t, unused); got != "p1" {
		t.Errorf("the digest of a process that has not heard of the promotion is of %s, want p1", got)
	}

	ring := w.ring(t)
	changed := w.synth(t, "cliCredentials=true", `corsOrigins=["https://a.example"]`, "logRetentionDays=14")
	w.deploy(t, changed)
	if w.ring(t) != ring {
		t.Error("the deployment has changed the pepper ring")
	}
	works("after the deployment", used, unused)
	if got := w.pepperOf(t, unused); got != "p2" {
		t.Errorf("the key's digest is of %s after its use, want p2", got)
	}
	young := w.create(t, readsCustomers)
	if got := w.pepperOf(t, young); got != "p2" {
		t.Errorf("a new key's digest is of %s, want p2", got)
	}
	works("after the re-digest", used, unused, young)
	a := w.call(t, "GET", "/v1/customers", http.Header{"X-Api-Key": {used.key}, "Origin": {"https://a.example"}}, "")
	if got := a.header.Get("Access-Control-Allow-Origin"); got != "https://a.example" {
		t.Errorf("Access-Control-Allow-Origin = %q, so the change was not deployed", got)
	}
	w.mustNotDiffer(t, changed)
	return changed
}
