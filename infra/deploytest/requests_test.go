package deploytest

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/dynamo"
)

const readsCustomers = `{"name":"Reader","permissions":["customers:read"]}`

// forge makes a well-formed key of like's prefix, with that id and a secret of nobody's.
func forge(t *testing.T, like string, id apikey.ID) string {
	t.Helper()
	k, err := apikey.Parse(like)
	if err != nil {
		t.Fatal("parsing a key that was issued:", err)
	}
	f, err := apikey.Generate(k.Prefix(), id)
	if err != nil {
		t.Fatal(err)
	}
	return f.Plaintext()
}

func idOf(t *testing.T, key string) apikey.ID {
	t.Helper()
	k, err := apikey.Parse(key)
	if err != nil {
		t.Fatal("parsing a key that was issued:", err)
	}
	return k.ID()
}

// refusal is all of an answer but what names the request.
func (a answer) refusal() string {
	id := a.header.Get("X-Amzn-Requestid")
	body := string(a.body)
	if id != "" {
		body = strings.ReplaceAll(body, id, "ID")
	}
	return fmt.Sprint(a.status, " ", a.header.Values("Www-Authenticate"), " ", a.header.Values("Access-Control-Allow-Origin"), " ", body)
}

func sameUnauthorized(t *testing.T, w *world) {
	live, deleted, inactive := w.create(t, readsCustomers), w.create(t, readsCustomers), w.create(t, readsCustomers)
	w.change(t, "DELETE", "/v1/api-keys/"+deleted.id, "")
	w.change(t, "POST", "/v1/api-keys/"+inactive.id+"/revoke", "")
	staging := w.create(t, `{"name":"Staging","environment":"staging","permissions":["customers:read"]}`)
	soon := time.Now().Add(3 * time.Second)
	expired := w.create(t, `{"name":"Expired","permissions":["customers:read"],"expirationTs":"`+soon.UTC().Format(time.RFC3339Nano)+`"}`)
	time.Sleep(time.Until(soon.Add(50 * time.Millisecond)))
	last := "0"
	if strings.HasSuffix(live.key, last) {
		last = "1"
	}
	var want string
	for _, c := range []struct {
		what   string
		header http.Header
	}{
		{"unknown id", xAPIKey(forge(t, live.key, apikey.NewID()))},
		{"no credential", nil},
		{"malformed", xAPIKey("hello")},
		{"foreign prefix", xAPIKey("sk_live_" + live.key[len(live.key)-41:])},
		{"wrong checksum", xAPIKey(live.key[:len(live.key)-1] + last)},
		{"wrong secret", xAPIKey(forge(t, live.key, idOf(t, live.key)))},
		{"expired", xAPIKey(expired.key)},
		{"inactive", xAPIKey(inactive.key)},
		{"deleted", xAPIKey(deleted.key)},
		{"another environment's", xAPIKey(staging.key)},
		{"under the other header", bearer(live.key)},
		{"two credentials", http.Header{"X-Api-Key": {live.key}, "Authorization": {"Bearer " + live.key}}},
	} {
		a := w.call(t, "GET", "/v1/customers", c.header, "")
		a.must(t, c.what, http.StatusUnauthorized, "unauthorized")
		if want == "" {
			want = a.refusal()
		}
		if got := a.refusal(); got != want || a.header.Get("Www-Authenticate") == "" {
			t.Errorf("%s: %s\nwant %s", c.what, got, want)
		}
	}
	if a := w.call(t, "GET", "/v1/customers", xAPIKey(live.key), ""); a.status != http.StatusOK {
		t.Errorf("the live key = %s, want 200", a)
	}
	before := w.callsOf(t, "authorizer")
	w.call(t, "GET", "/v1/customers", nil, "").must(t, "no credential", http.StatusUnauthorized, "unauthorized")
	if got := w.callsOf(t, "authorizer"); got != before {
		t.Errorf("a request without a credential made %d calls of the authorizer, want none", got-before)
	}
}

func crossStage(t *testing.T, w *world) {
	stages := []string{"production", "staging", "development"}
	for _, of := range stages {
		k := w.create(t, fmt.Sprintf(`{"name":"Of one stage","environment":%q,"permissions":["customers:read"]}`, of))
		for _, on := range stages {
			a := w.callOn(t, on, "GET", "/v1/customers", xAPIKey(k.key), "")
			if want := map[bool]int{true: http.StatusOK, false: http.StatusUnauthorized}[of == on]; a.status != want {
				t.Errorf("a key of %s on the stage %s = %s, want %d", of, on, a, want)
			}
		}
	}
}

func missingPermission(t *testing.T, w *world) {
	k := w.create(t, readsCustomers)
	count := func() []int {
		return []int{w.callsOf(t, "authorizer"), w.callsOf(t, "sample"), w.callsOf(t, "keys")}
	}
	before := count()
	for _, c := range []struct {
		method, path string
		status       int
		code         string
	}{
		{"GET", "/v1/customers", http.StatusOK, ""},
		{"POST", "/v1/customers", http.StatusForbidden, "insufficient_scope"},
		{"GET", "/v1/licenses", http.StatusForbidden, "insufficient_scope"},
		{"GET", "/v1/api-keys", http.StatusForbidden, "insufficient_scope"},
		{"GET", "/v1/customers/", http.StatusOK, ""},
	} {
		w.call(t, c.method, c.path, xAPIKey(k.key), "").must(t, c.method+" "+c.path, c.status, c.code)
	}
	// One policy for all five, and what it forbids reaches no function.
	after := count()
	for i, want := range []int{1, 2, 0} {
		if got := after[i] - before[i]; got != want {
			t.Errorf("calls of authorizer, sample and keys: %v before, %v after; want 1, 2 and 0 more", before, after)
			break
		}
	}
}

func nextRequest(t *testing.T, w *world) {
	k := w.create(t, readsCustomers)
	use := func(what, key string, status int, code string) {
		t.Helper()
		w.call(t, "GET", "/v1/customers", xAPIKey(key), "").must(t, what, status, code)
	}
	use("a new key", k.key, http.StatusOK, "")
	before := w.callsOf(t, "authorizer")
	w.change(t, "POST", "/v1/api-keys/"+k.id+"/revoke", "")
	use("the revoked key", k.key, http.StatusUnauthorized, "unauthorized")
	w.change(t, "POST", "/v1/api-keys/"+k.id+"/activate", "")
	use("the key active again", k.key, http.StatusOK, "")
	next := issuedBy(t, w.change(t, "POST", "/v1/api-keys/"+k.id+"/regenerate", ""))
	use("the old secret", k.key, http.StatusUnauthorized, "unauthorized")
	if got := w.callsOf(t, "authorizer") - before; got != 0 {
		t.Errorf("the authorizer was asked %d times, so the refusals need not be the guard's", got)
	}
	use("the new secret", next.key, http.StatusOK, "")
	use("the old secret after it", k.key, http.StatusUnauthorized, "unauthorized")
}

func overLimit(t *testing.T, w *world) {
	const limit = 3
	k := w.create(t, fmt.Sprintf(`{"name":"Three","rateLimit":%d,"permissions":["customers:read"]}`, limit))
	for i := range limit {
		a := w.call(t, "GET", "/v1/customers", xAPIKey(k.key), "")
		if got, want := a.header.Get("X-Ratelimit-Remaining"), strconv.Itoa(limit-1-i); a.status != http.StatusOK || got != want {
			t.Errorf("request %d = %s with %q remaining, want 200 with %s", i+1, a, got, want)
		}
	}
	a := w.call(t, "GET", "/v1/customers", xAPIKey(k.key), "")
	a.must(t, "the request over the limit", http.StatusTooManyRequests, "rate_limited")
	if wait, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || wait < 1 || wait > 65 {
		t.Errorf("Retry-After = %q, want seconds", a.header.Get("Retry-After"))
	}
}

// meter is what a key's meter says of the verdict.
func (w *world) meter(t *testing.T, id apikey.ID) (verdict string, active bool) {
	t.Helper()
	out, err := w.dynamodb().GetItem(t.Context(), &dynamodb.GetItemInput{
		TableName: aws.String(w.physicalID(t, "Meters")), ConsistentRead: aws.Bool(true),
		Key: map[string]types.AttributeValue{dynamo.MeterKey: &types.AttributeValueMemberS{Value: string(id)}},
	})
	if err != nil || out.Item == nil {
		t.Fatalf("reading the meter: %v", err)
	}
	v, _ := out.Item["v"].(*types.AttributeValueMemberN)
	st, _ := out.Item["st"].(*types.AttributeValueMemberBOOL)
	if v == nil || st == nil {
		t.Fatal("the meter has no v and st")
	}
	return v.Value, st.Value
}

func keyItem(id apikey.ID) map[string]types.AttributeValue {
	return map[string]types.AttributeValue{
		dynamo.PartitionKey: &types.AttributeValueMemberS{Value: "K#" + string(id)},
		dynamo.SortKey:      &types.AttributeValueMemberS{Value: "K"},
	}
}

// crash leaves a key as a revoke leaves it that ended between its two writes: the key item
// is changed (see pkg/dynamo/schema.go for the attributes), the meter is not.
func (w *world) crash(t *testing.T, id apikey.ID) {
	t.Helper()
	_, err := w.dynamodb().UpdateItem(t.Context(), &dynamodb.UpdateItemInput{
		TableName: aws.String(w.physicalID(t, "Keys")), Key: keyItem(id),
		UpdateExpression:          aws.String("SET verdict = verdict + :one, version = version + :one REMOVE active"),
		ExpressionAttributeValues: map[string]types.AttributeValue{":one": &types.AttributeValueMemberN{Value: "1"}},
	})
	if err != nil {
		t.Fatal(err)
	}
}

func repairedMeter(t *testing.T, w *world) {
	k := w.create(t, readsCustomers)
	if a := w.call(t, "GET", "/v1/customers", xAPIKey(k.key), ""); a.status != http.StatusOK {
		t.Fatalf("a new key = %s, want 200", a)
	}
	if v, active := w.meter(t, idOf(t, k.key)); v != "1" || !active {
		t.Fatalf("the meter = %s, %t; want 1, active", v, active)
	}
	w.crash(t, idOf(t, k.key))
	begin := time.Now()
	eventually(t, 30*time.Second, "the meter's repair", func() bool {
		v, active := w.meter(t, idOf(t, k.key))
		return v == "2" && !active
	})
	t.Logf("repaired after %v", time.Since(begin).Round(100*time.Millisecond))
	w.call(t, "GET", "/v1/customers", xAPIKey(k.key), "").must(t, "the key, behind its cached policy", http.StatusUnauthorized, "unauthorized")
}

func gatewayAnswers(t *testing.T, w *world) {
	w.call(t, "GET", "/v1/nothing", xAPIKey(w.root), "").must(t, "an unknown route", http.StatusNotFound, "not_found")
	if a := w.call(t, "GET", "/health", nil, ""); a.status != http.StatusOK {
		t.Errorf("/health = %s, want 200", a)
	}
	if a := w.call(t, "GET", "/openapi.json", nil, ""); a.status != http.StatusOK {
		t.Errorf("/openapi.json = %s, want 200", a)
	}
	a := w.call(t, "OPTIONS", "/v1/api-keys", http.Header{"Origin": {"https://a.example"}, "Access-Control-Request-Method": {"POST"}}, "")
	if a.status/100 != 2 || a.header.Get("Access-Control-Allow-Origin") != "*" || !strings.Contains(a.header.Get("Access-Control-Allow-Methods"), "POST") {
		t.Errorf("OPTIONS = %s, origin %q, methods %q; want success, *, and POST among them", a,
			a.header.Get("Access-Control-Allow-Origin"), a.header.Get("Access-Control-Allow-Methods"))
	}
}
