package authorizer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/policy"
	"github.com/keyreeve/keyreeve/pkg/route"
	"github.com/keyreeve/keyreeve/pkg/verify"
)

var now = time.Date(2026, 1, 15, 10, 30, 0, 0, time.UTC)

// store holds keys by id and counts reads.
type store struct {
	keys  map[apikey.ID]keys.Key
	err   error
	reads atomic.Int64
}

func (s *store) Key(_ context.Context, id apikey.ID) (keys.Key, error) {
	s.reads.Add(1)
	if s.err != nil {
		return keys.Key{}, s.err
	}
	k, ok := s.keys[id]
	if !ok {
		return keys.Key{}, keys.ErrNotFound
	}
	return k, nil
}

func (s *store) Redigest(context.Context, apikey.ID, keys.Secret, keys.Secret) error { return nil }

type peppers struct {
	ring *apikey.Ring
	err  error
}

func (p *peppers) Ring(context.Context) (*apikey.Ring, error) { return p.ring, p.err }
func (p *peppers) With(_ context.Context, version string) (*apikey.Ring, error) {
	return nil, fmt.Errorf("pepper %q: %w", version, apikey.ErrUnknownPepper)
}

// world is an authorizer with what is around it, and one production key.
type world struct {
	store   *store
	peppers *peppers
	now     time.Time
	log     bytes.Buffer
	a       *Authorizer
	key     apikey.Key
	stored  keys.Key
}

func newWorld(t testing.TB) *world {
	t.Helper()
	ring, err := apikey.NewRing("p1", map[string]string{"p1": strings.Repeat("pepper of a test ", 3)})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{store: &store{keys: map[apikey.ID]keys.Key{}}, peppers: &peppers{ring: ring}, now: now}
	w.a = w.authorizer(t, verify.New(verify.Config{
		Store: w.store, Peppers: w.peppers, Prefixes: apikey.Prefixes{"kr_live": true},
		Clock: func() time.Time { return w.now },
	}))
	w.key = w.generate(t, apikey.NewID())
	w.stored = keys.Key{
		ID: w.key.ID(), Number: 1, AccountID: "acc_1", Environment: keys.Production,
		Permissions: []string{"*"}, RateLimit: 100, Active: true, Version: 7, Verdict: 5,
		Secret: keys.Secret{Generation: 3, Digest: w.digest(t, w.key), Pepper: "p1", Prefix: "kr_live"},
	}
	w.put(nil)
	return w
}

func (w *world) authorizer(t testing.TB, v Verifier) *Authorizer {
	t.Helper()
	a, err := New(Config{Verifier: v, Table: route.Default(), Log: slog.New(slog.NewJSONHandler(&w.log, nil)), Clock: func() time.Time { return w.now }})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (w *world) generate(t testing.TB, id apikey.ID) apikey.Key {
	t.Helper()
	k, err := apikey.Generate("kr_live", id)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (w *world) digest(t testing.TB, k apikey.Key) apikey.Digest {
	t.Helper()
	d, err := w.peppers.ring.Digest("p1", k)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// put stores the key, changed.
func (w *world) put(change func(*keys.Key)) {
	if change != nil {
		change(&w.stored)
	}
	w.store.keys[w.stored.ID] = w.stored
}

// header is one header of a request with its values.
type header struct {
	name   string
	values []string
}

func xAPIKey(values ...string) header       { return header{"X-API-Key", values} }
func authorization(values ...string) header { return header{"Authorization", values} }

const arn = "arn:aws:execute-api:eu-central-1:123456789012:abcdef1234/production/GET/v1/customers/cus_1"

// request makes the event of a request with those headers, on the production stage.
func request(headers ...header) map[string]any {
	single, multi := map[string]any{"Accept": "*/*", "Host": "x"}, map[string]any{"Accept": []string{"*/*"}, "Host": []string{"x"}}
	for _, h := range headers {
		single[h.name], multi[h.name] = h.values[len(h.values)-1], h.values
	}
	return map[string]any{
		"type": "REQUEST", "methodArn": arn, "resource": "/v1/customers/{customerId}", "path": "/v1/customers/cus_1", "httpMethod": "GET",
		"headers": single, "multiValueHeaders": multi,
		"queryStringParameters": nil, "multiValueQueryStringParameters": nil, "pathParameters": map[string]any{"customerId": "cus_1"},
		"stageVariables": map[string]any{"environment": "production"},
		"requestContext": map[string]any{"requestId": "req-1", "extendedRequestId": "ext-1=", "requestTimeEpoch": now.Add(-time.Second).UnixMilli(), "stage": "production", "identity": map[string]any{"sourceIp": "203.0.113.7", "apiKey": nil}},
	}
}

func with(ev map[string]any, name string, value any) map[string]any {
	ev = maps.Clone(ev)
	ev[name] = value
	return ev
}

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// invoke sends an event and holds whatever comes back to the promise that no piece of the
// secret is in it.
func (w *world) invoke(t testing.TB, ev map[string]any) ([]byte, error) {
	t.Helper()
	answer, err := w.a.Invoke(context.Background(), marshal(t, ev))
	w.noSecret(t, string(answer)+fmt.Sprint(err)+w.log.String())
	return answer, err
}

func (w *world) noSecret(t testing.TB, text string) {
	t.Helper()
	s := w.key.Plaintext()[len(w.key.Plaintext())-apikey.SecretLen:]
	for i := 0; i+12 <= len(s); i++ {
		if strings.Contains(text, s[i:i+12]) {
			t.Fatal("an answer, error or log holds a piece of the secret")
		}
	}
}

// refused fails unless the event is refused for that reason, at that number of reads, with
// the one error and one line of log.
func (w *world) refused(t *testing.T, what string, ev map[string]any, reason keys.Reason, id apikey.ID, reads int64) {
	t.Helper()
	w.log.Reset()
	before := w.store.reads.Load()
	answer, err := w.invoke(t, ev)
	if answer != nil || err == nil || err.Error() != "Unauthorized" {
		t.Errorf("%s: answer %q, error %v; want the error Unauthorized alone", what, answer, err)
	}
	if got := w.store.reads.Load() - before; got != reads {
		t.Errorf("%s: %d reads, want %d", what, got, reads)
	}
	want := map[string]any{"level": "INFO", "msg": "refused", "by": "authorizer", "requestId": "req-1", "extendedRequestId": "ext-1=",
		"requestTimeEpoch": float64(now.Add(-time.Second).UnixMilli()), "reason": string(reason)}
	if rc := ev["requestContext"].(map[string]any); rc["requestTimeEpoch"] == nil {
		want["extendedRequestId"], want["requestTimeEpoch"] = "", float64(w.now.UnixMilli())
	}
	if id != "" {
		want["keyId"] = string(id)
	}
	if d := cmp.Diff([]map[string]any{want}, w.lines(t)); d != "" {
		t.Errorf("%s: log (-want +got):\n%s", what, d)
	}
}

// lines are the lines of the log since it was last reset, without their time.
func (w *world) lines(t *testing.T) (lines []map[string]any) {
	t.Helper()
	for line := range strings.Lines(w.log.String()) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("a line of the log is no JSON: %v", err)
		}
		delete(m, "time")
		lines = append(lines, m)
	}
	return lines
}

// granted fails unless the event is answered with a policy that allows it.
func (w *world) granted(t *testing.T, what string, ev map[string]any) answer {
	t.Helper()
	w.log.Reset()
	before := w.store.reads.Load()
	text, err := w.invoke(t, ev)
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return answer{}
	}
	want := int64(1)
	if w.stored.Parent != "" {
		want = 2
	}
	if got := w.store.reads.Load() - before; got != want {
		t.Errorf("%s: %d reads, want %d", what, got, want)
	}
	if w.log.Len() != 0 {
		t.Errorf("%s: logged %s", what, w.log.String())
	}
	var out answer
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&out); err != nil {
		t.Fatalf("%s: %v\n%s", what, err, text)
	}
	d, err := policy.Evaluate(out.PolicyDocument, "execute-api:Invoke", ev["methodArn"].(string), map[string]string{policy.CurrentTime: w.now.Format(time.RFC3339)})
	if err != nil || !d.Allowed {
		t.Errorf("%s: %+v, %v; want allowed\n%s", what, d, err, out.PolicyDocument)
	}
	return out
}

type answer struct {
	PrincipalID    string          `json:"principalId"`
	PolicyDocument json.RawMessage `json:"policyDocument"`
	Context        map[string]any  `json:"context"`
}

func TestGoodKeyGetsPolicyAndContext(t *testing.T) {
	w := newWorld(t)
	w.put(func(k *keys.Key) { k.ExpiresAt = now.Add(time.Hour) })
	for what, ev := range map[string]map[string]any{
		"X-API-Key":      request(xAPIKey(w.key.Plaintext())),
		"Api-Key":        request(authorization("Api-Key " + w.key.Plaintext())),
		"Bearer":         request(authorization("Bearer " + w.key.Plaintext())),
		"scheme's case":  request(authorization("bEARER " + w.key.Plaintext())),
		"lower case":     request(header{"x-api-key", []string{w.key.Plaintext()}}),
		"upper case":     request(header{"X-API-KEY", []string{w.key.Plaintext()}}),
		"mixed case":     request(header{"x-Api-kEY", []string{w.key.Plaintext()}}),
		"headers alone":  with(request(xAPIKey(w.key.Plaintext())), "multiValueHeaders", nil),
		"shared stage":   with(request(xAPIKey(w.key.Plaintext())), "stageVariables", map[string]any{"environment": "shared"}),
		"more variables": with(request(xAPIKey(w.key.Plaintext())), "stageVariables", map[string]any{"a": "b", "environment": "production", "z": nil}),
		"forged headers": request(xAPIKey(w.key.Plaintext()), header{"X-Account-Id", []string{"acc_2"}}, header{"X-Forwarded-For", []string{"10.0.0.1"}},
			header{"keyId", []string{"AAAAAAAA"}}, header{"X-HTTP-Method-Override", []string{"DELETE"}}),
	} {
		got := w.granted(t, what, ev)
		if got.PrincipalID != string(w.key.ID()) {
			t.Errorf("%s: principal %q, want the key's id", what, got.PrincipalID)
		}
		id, err := verify.FromContext(got.Context)
		want := keys.Identity{
			KeyID: w.key.ID(), AccountID: "acc_1", Environment: keys.Production, Permissions: []string{"*"},
			Verdict: 5, Generation: 3, Limit: 100, ExpiresAt: now.Add(time.Hour),
		}
		if d := cmp.Diff(want, id); err != nil || d != "" {
			t.Errorf("%s: context, error %v (-want +got):\n%s", what, err, d)
		}
		for name, v := range got.Context {
			if s, ok := v.(string); !ok || s == "" {
				t.Errorf("%s: context.%s is %#v, want a string that is not empty", what, name, v)
			}
		}
	}
}

func TestPolicyCoversAllRoutesOfTheKeyAndNotOnlyTheOneAskedFor(t *testing.T) {
	w := newWorld(t)
	w.put(func(k *keys.Key) { k.Permissions = []string{"customers:read", "telemetry:write"} })
	out := w.granted(t, "customer", request(xAPIKey(w.key.Plaintext())))
	for request, want := range map[string]bool{
		"POST/v1/telemetry": true, "GET/v1/customers/": true, "GET/v1/customers/cus_2": true, "GET/v1/api-keys/self": true,
		"GET/v1/licenses": false, "GET/v1/customers/cus_1/invoices": false, "POST/v1/api-keys": false, "DELETE/v1/customers/cus_1": false,
	} {
		resource := strings.TrimSuffix(arn, "GET/v1/customers/cus_1") + request
		d, err := policy.Evaluate(out.PolicyDocument, "execute-api:Invoke", resource, nil)
		if err != nil || d.Allowed != want {
			t.Errorf("%s: %+v, %v; want allowed %t", request, d, err, want)
		}
	}
}

// A policy that denies is right only for a key that is known.
func TestKnownKeyWithoutThePermissionIsDeniedByItsPolicy(t *testing.T) {
	w := newWorld(t)
	w.put(func(k *keys.Key) { k.Permissions = nil })
	text, err := w.invoke(t, request(xAPIKey(w.key.Plaintext())))
	if err != nil {
		t.Fatal(err)
	}
	var out answer
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	if d, err := policy.Evaluate(out.PolicyDocument, "execute-api:Invoke", arn, nil); err != nil || d.Allowed {
		t.Errorf("decision %+v, %v; want denied", d, err)
	}
}

func TestEveryCredentialFaultIsTheSameUnauthorized(t *testing.T) {
	w := newWorld(t)
	good, id := w.key.Plaintext(), w.key.ID()
	wrongSecret, unknown := w.generate(t, id).Plaintext(), w.generate(t, apikey.NewID())
	foreign, err := apikey.Generate("ml_live", id)
	if err != nil {
		t.Fatal(err)
	}
	checksum := good[:len(good)-1] + string(rune('0'+(good[len(good)-1]-'0'+1)%10))

	// Without a read.
	for what, ev := range map[string]map[string]any{
		"no header at all":        with(with(request(), "headers", nil), "multiValueHeaders", nil),
		"no credential":           request(),
		"no value":                request(header{"X-API-Key", []string{""}}),
		"query string":            with(with(request(), "queryStringParameters", map[string]any{"X-API-Key": good, "x-api-key": good}), "multiValueQueryStringParameters", map[string]any{"X-API-Key": []string{good}}),
		"other header":            request(header{"X-API-Key-2", []string{good}}, header{"Proxy-Authorization", []string{"Bearer " + good}}),
		"Kelvin sign for K":       request(header{"X-API-\u212aey", []string{good}}),
		"identity.apiKey":         with(request(), "requestContext", map[string]any{"requestId": "req-1", "identity": map[string]any{"apiKey": good}}),
		"two X-API-Key":           request(xAPIKey(good, good)),
		"two different X-API-Key": request(xAPIKey(good, wrongSecret)),
		"two spellings":           request(xAPIKey(good), header{"x-api-key", []string{good}}),
		"both headers, equal":     request(xAPIKey(good), authorization("Bearer "+good)),
		"both, one empty":         request(xAPIKey(good), authorization("")),
		"both, one Basic":         request(xAPIKey(good), authorization("Basic dXNlcjpwYXNz")),
		"two Authorization":       request(authorization("Bearer "+good, "Bearer "+good)),
		"three":                   request(xAPIKey(good, good), authorization("Bearer "+good)),
		"headers against multi":   with(request(xAPIKey(good)), "multiValueHeaders", map[string]any{"Accept": []string{"*/*"}}),
		"comma":                   request(xAPIKey(good + "," + good)),
		"comma and space":         request(xAPIKey(good + ", " + good)),
		"Authorization, comma":    request(authorization("Bearer " + good + ",Bearer " + good)),
		"inner space":             request(xAPIKey(good[:20] + " " + good[20:])),
		"leading space":           request(xAPIKey(" " + good)),
		"Unicode":                 request(xAPIKey(strings.Replace(good, "live", "l\u0456ve", 1))),
		"NUL":                     request(xAPIKey(good + "\x00")),
		"over 128 characters":     request(xAPIKey(good + strings.Repeat("a", 128))),
		"10,000 characters":       request(xAPIKey(strings.Repeat("a", 10_000))),
		"malformed":               request(xAPIKey("hunter2")),
		"bad checksum":            request(xAPIKey(checksum)),
		"foreign prefix":          request(xAPIKey(foreign.Plaintext())),
		"scheme in X-API-Key":     request(xAPIKey("Bearer " + good)),
		"no scheme":               request(authorization(good)),
		"other scheme":            request(authorization("Basic " + good)),
		"Token":                   request(authorization("Token " + good)),
		"scheme and no key":       request(authorization("Bearer ")),
		"scheme alone":            request(authorization("Bearer")),
		"two spaces":              request(authorization("Bearer  " + good)),
		"tab":                     request(authorization("Bearer\t" + good)),
		"space before the scheme": request(authorization(" Bearer " + good)),
		"space after the key":     request(authorization("Bearer " + good + " ")),
		"TOKEN authorizer":        {"type": "TOKEN", "authorizationToken": good, "methodArn": arn, "stageVariables": map[string]any{"environment": "production"}, "requestContext": map[string]any{"requestId": "req-1"}},
	} {
		reason := keys.ReasonMalformed
		switch what {
		case "no header at all", "no credential", "query string", "other header", "Kelvin sign for K", "identity.apiKey", "headers against multi", "TOKEN authorizer":
			reason = keys.ReasonNone
		case "two X-API-Key", "two different X-API-Key", "two spellings", "both headers, equal", "both, one empty", "both, one Basic", "two Authorization", "three":
			reason = keys.ReasonSeveral
		}
		w.refused(t, what, ev, reason, "", 0)
	}

	// With one.
	w.refused(t, "unknown id", request(xAPIKey(unknown.Plaintext())), keys.ReasonUnknown, unknown.ID(), 1)
	w.refused(t, "wrong secret", request(xAPIKey(wrongSecret)), keys.ReasonSecret, id, 1)
	for _, stage := range []string{"staging", "development"} {
		w.refused(t, stage, with(request(xAPIKey(good)), "stageVariables", map[string]any{"environment": stage}), keys.ReasonEnvironment, id, 1)
	}
	was := w.stored
	for reason, change := range map[keys.Reason]func(*keys.Key){
		keys.ReasonCanary:   func(k *keys.Key) { k.Canary = true },
		keys.ReasonInactive: func(k *keys.Key) { k.Active = false },
		keys.ReasonDeleted:  func(k *keys.Key) { k.Deleted = true },
		keys.ReasonExpired:  func(k *keys.Key) { k.ExpiresAt = now }, // TTL has not deleted the item yet
	} {
		w.put(change)
		w.refused(t, string(reason), request(authorization("Api-Key "+good)), reason, id, 1)
		w.stored = was
	}
	w.put(nil)
	w.granted(t, "after all that", request(xAPIKey(good)))
}

func TestASessionSaysWhoseItIsAndIsRefusedOnceItsParentChanged(t *testing.T) {
	w := newWorld(t)
	parent := keys.Key{ID: apikey.NewID(), AccountID: w.stored.AccountID, Active: true, Version: 1, Verdict: 6, Generation: 1}
	w.store.keys[parent.ID] = parent
	w.put(func(k *keys.Key) { k.Parent, k.ParentVerdict = parent.ID, 6 })
	managing := with(request(xAPIKey(w.key.Plaintext())), "methodArn", strings.Replace(arn, "GET/v1/customers/cus_1", "GET/v1/permissions", 1))
	got := w.granted(t, "session", managing).Context[verify.FieldParent]
	if want := string(parent.ID) + "@6"; got != want {
		t.Errorf("context: parent %v, want %s", got, want)
	}
	parent.Verdict = 7
	w.store.keys[parent.ID] = parent
	w.refused(t, "its parent changed", request(xAPIKey(w.key.Plaintext())), keys.ReasonSession, w.key.ID(), 2)
	w.put(func(k *keys.Key) { k.Parent, k.ParentVerdict = "", 0 })
	if got := w.granted(t, "a key", request(xAPIKey(w.key.Plaintext()))).Context[verify.FieldParent]; got != "-" {
		t.Errorf("context of a key: parent %v, want -", got)
	}
}

func TestOldSecretWorksForItsGraceAndSaysSo(t *testing.T) {
	w := newWorld(t)
	next := w.generate(t, w.key.ID())
	w.put(func(k *keys.Key) {
		k.Previous, k.Secret.Generation, k.Secret.Digest = k.Secret, 4, w.digest(t, next)
		k.Previous.Until = now.Add(time.Minute)
	})
	old := w.granted(t, "old secret", request(xAPIKey(w.key.Plaintext())))
	if got := [2]any{old.Context[verify.FieldGeneration], old.Context[verify.FieldGraceUntil]}; got != [2]any{"3", "1768473060000"} {
		t.Errorf("old secret: generation and grace %v, want 3 and a minute from now", got)
	}
	if got := w.granted(t, "new secret", request(xAPIKey(next.Plaintext()))).Context[verify.FieldGeneration]; got != "4" {
		t.Errorf("new secret: generation %v, want 4", got)
	}
	w.now = now.Add(time.Minute)
	w.refused(t, "after the grace", request(xAPIKey(w.key.Plaintext())), keys.ReasonSecret, w.key.ID(), 1)
}

// failed fails unless the event is answered with an error that makes 500, and one line.
func (w *world) failed(t *testing.T, what string, payload []byte, message string) {
	t.Helper()
	w.log.Reset()
	answer, err := w.a.Invoke(context.Background(), payload)
	if answer != nil || err == nil || err.Error() != "authorizer failure" {
		t.Errorf("%s: answer %q, error %v; want an error other than Unauthorized", what, answer, err)
	}
	lines := w.lines(t)
	if len(lines) != 1 || lines[0]["level"] != "ERROR" || lines[0]["msg"] != message {
		t.Errorf("%s: log %v, want one error %q", what, lines, message)
	}
	w.noSecret(t, string(answer)+fmt.Sprint(err)+w.log.String())
}

func TestStageIsNeverGuessed(t *testing.T) {
	w := newWorld(t)
	good := request(xAPIKey(w.key.Plaintext()))
	for what, variables := range map[string]any{
		"none": nil, "empty": map[string]any{}, "another": map[string]any{"Environment": "production"},
		"unknown": map[string]any{"environment": "prod"}, "case": map[string]any{"environment": "Production"}, "blank": map[string]any{"environment": ""},
		"null": map[string]any{"environment": nil}, "number": map[string]any{"environment": 1}, "list": map[string]any{"environment": []string{"production"}},
		"no object": "production",
	} {
		w.failed(t, what, marshal(t, with(good, "stageVariables", variables)), "failed")
		w.failed(t, what+", junk", marshal(t, with(request(xAPIKey("junk")), "stageVariables", variables)), "failed")
	}
	missing := maps.Clone(good)
	delete(missing, "stageVariables")
	w.failed(t, "missing", marshal(t, missing), "failed")
	if n := w.store.reads.Load(); n != 0 {
		t.Errorf("%d reads for a stage that is not known, want 0", n)
	}
}

func TestWhatIsNoEventFailsClosed(t *testing.T) {
	w := newWorld(t)
	good := request(xAPIKey(w.key.Plaintext()))
	text := string(marshal(t, good))
	for what, payload := range map[string]string{
		"empty": "", "null": "null", "array": "[]", "cut": text[:len(text)-1], "trailing": text + "{}", "string": `"x"`,
		"duplicate name":     `{"methodArn":"` + arn + `",` + text[1:],
		"duplicate header":   strings.Replace(text, `"multiValueHeaders":{`, `"multiValueHeaders":{"X-API-Key":["x"],`, 1),
		"invalid UTF-8":      strings.Replace(text, "cus_1", "cus_\xff", 1),
		"header of numbers":  string(marshal(t, with(good, "multiValueHeaders", map[string]any{"X-API-Key": []int{1}}))),
		"header null":        string(marshal(t, with(good, "multiValueHeaders", map[string]any{"X-API-Key": nil}))),
		"header string":      string(marshal(t, with(good, "multiValueHeaders", map[string]any{"X-API-Key": w.key.Plaintext()}))),
		"headers list":       string(marshal(t, with(good, "multiValueHeaders", []string{"X-API-Key"}))),
		"no methodArn":       string(marshal(t, with(good, "methodArn", ""))),
		"foreign methodArn":  string(marshal(t, with(good, "methodArn", "arn:aws:lambda:eu-central-1:123456789012:function:x"))),
		"wildcard methodArn": string(marshal(t, with(good, "methodArn", "arn:aws:execute-api:eu-central-1:123456789012:abcdef1234/*/GET/"))),
	} {
		w.failed(t, what, []byte(payload), "failed")
	}
	if n := w.store.reads.Load(); n != 0 {
		t.Errorf("%d reads for malformed events, want 0", n)
	}
}

type verifierFunc func(context.Context, string, string) (verify.Verdict, error)

func (f verifierFunc) Verify(ctx context.Context, credential, stage string) (verify.Verdict, error) {
	return f(ctx, credential, stage)
}

func TestStoreOrPeppersOrCodeBrokenFailsClosed(t *testing.T) {
	for what, c := range map[string]struct {
		breakIt func(*world)
		message string
	}{
		"store":          {func(w *world) { w.store.err = keys.ErrUnavailable }, "failed"},
		"peppers":        {func(w *world) { w.peppers.err = errors.New("boom") }, "failed"},
		"unknown pepper": {func(w *world) { w.put(func(k *keys.Key) { k.Secret.Pepper = "p2" }) }, "failed"},
		"damaged item":   {func(w *world) { w.put(func(k *keys.Key) { k.AccountID = "" }) }, "failed"},
		"damaged scope":  {func(w *world) { w.put(func(k *keys.Key) { k.Customers = []string{"*"} }) }, "failed"},
		"panic": {func(w *world) {
			w.a = w.authorizer(t, verifierFunc(func(_ context.Context, credential, _ string) (verify.Verdict, error) { panic(credential) }))
		}, "panic"},
		"runtime panic": {func(w *world) {
			w.a = w.authorizer(t, verifierFunc(func(_ context.Context, credential, _ string) (verify.Verdict, error) {
				return verify.Verdict{KeyID: apikey.ID(credential[len(credential)+len(w.stored.ID)-1:])}, nil
			}))
		}, "panic"},
	} {
		w := newWorld(t)
		c.breakIt(w)
		w.failed(t, what, marshal(t, request(xAPIKey(w.key.Plaintext()))), c.message)
		if what == "panic" && !strings.Contains(w.log.String(), "req-1") {
			t.Errorf("%s: the log does not name the request: %s", what, w.log.String())
		}
	}
}

func TestPolicyThatIsCutOffIsReported(t *testing.T) {
	table, err := route.Load([]byte(`{"permissions":[{"name":"hooks:write","label":"Hooks"}],
		"routes":[{"method":"POST","path":"/hooks/{customerId}","permission":"hooks:write","customer":"customerId","function":"sample","unguarded":true}]}`))
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	if w.a, err = New(Config{Verifier: w.a.cfg.Verifier, Table: table, Log: w.a.cfg.Log}); err != nil {
		t.Fatal(err)
	}
	w.put(func(k *keys.Key) {
		for i := range 90 {
			k.Customers = append(k.Customers, fmt.Sprintf("customer_%d", i))
		}
	})
	if _, err := w.invoke(t, request(xAPIKey(w.key.Plaintext()))); err != nil {
		t.Fatal(err)
	}
	lines := w.lines(t)
	if len(lines) != 1 || lines[0]["level"] != "WARN" || lines[0]["keyId"] != string(w.key.ID()) || lines[0]["resources"].(float64) < 1 {
		t.Errorf("log %v, want one warning with the key and how many resources were left out", lines)
	}
}

func TestNewRefusesATableWithoutExactPolicies(t *testing.T) {
	table, err := route.Load([]byte(`{"routes":[{"method":"POST","path":"/{a}/{b}/{c}","customer":"b","function":"sample","unguarded":true}]}`))
	if err == nil { // the loader may refuse it first
		_, err = New(Config{Table: table})
	}
	if err == nil {
		t.Error("New took a table whose unguarded route no policy can hold to one customer")
	}
}

func TestLogIsOptional(t *testing.T) {
	w := newWorld(t)
	a, err := New(Config{Verifier: w.a.cfg.Verifier, Table: route.Default()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Invoke(context.Background(), marshal(t, request(xAPIKey("junk")))); err == nil || err.Error() != "Unauthorized" {
		t.Errorf("error %v, want Unauthorized", err)
	}
}
