// Package events_test holds the sample events to what they are samples of: each function
// takes its own, as `sam local invoke FUNCTION -e events/FILE` and AWS deliver them.
//
// No file holds a key. Where one belongs there is a placeholder, and another where its
// public id belongs; with a key in their place an event is a request that is served.
package events_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	lambda "github.com/aws/aws-lambda-go/events"
	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/functions/admin"
	"github.com/keyreeve/keyreeve/functions/console"
	"github.com/keyreeve/keyreeve/functions/proxy"
	"github.com/keyreeve/keyreeve/functions/stream"
	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/config"
	"github.com/keyreeve/keyreeve/pkg/flush"
	"github.com/keyreeve/keyreeve/pkg/guard"
	"github.com/keyreeve/keyreeve/pkg/guard/guardtest"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/route"
	"github.com/keyreeve/keyreeve/pkg/verify"
)

const (
	keyPlaceholder = "REPLACE-WITH-YOUR-KEY"
	idPlaceholder  = "EXAMPLE1"
	account        = "first" // that admin-create-account.json makes
)

// proxyEvents are the requests of each function that has routes.
var proxyEvents = map[string]struct {
	function, method, resource, path string
	credential                       route.Credential
	query                            map[string]string
	body                             bool
}{
	"keys-x-api-key.json":     {"keys", "POST", "/v1/api-keys", "/v1/api-keys", route.APIKeyHeader, nil, true},
	"keys-authorization.json": {"keys", "GET", "/v1/account/api-keys", "/v1/account/api-keys/", route.Authorization, nil, false},
	"sample-x-api-key.json":   {"sample", "GET", "/v1/customers", "/v1/customers", route.APIKeyHeader, map[string]string{"limit": "10"}, false},
}

var adminEvents = map[string]admin.Event{
	"admin-create-account.json": {Action: "create-account", AccountID: account, Name: "First account", Plan: "pro"},
	"admin-add-root-key.json":   {Action: "add-root-key", AccountID: account},
	"admin-add-pepper.json":     {Action: "add-pepper"},
	"admin-promote-pepper.json": {Action: "promote-pepper"},
}

const streamEvent = "stream-batch.json"

func read(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// run is a run of base62 as long as a key's secret.
var run = regexp.MustCompile(`[0-9A-Za-z]{32,}`)

// consoleEvent is a browser that opens the console.
const consoleEvent = "console.json"

func TestTheConsoleTakesItsEvent(t *testing.T) {
	payload := read(t, consoleEvent)
	if header := string(payload); strings.Contains(header, "authorizer") || strings.Contains(header, keyPlaceholder) {
		t.Error("the event holds what no authorizer and no key has been asked for")
	}
	const page = "<!doctype html>"
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, err := io.WriteString(w, page)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	files, err := console.New(map[string][]byte{"index.html.gz": packed.Bytes()})
	if err != nil {
		t.Fatal(err)
	}
	out, err := proxy.New(proxy.Config{Function: "console", Table: route.Default(), Handler: files}).Invoke(t.Context(), payload)
	if err != nil {
		t.Fatal(err)
	}
	var answer lambda.APIGatewayProxyResponse
	if err := json.Unmarshal(out, &answer); err != nil || answer.StatusCode != http.StatusOK || answer.Body != page {
		t.Errorf("status %d, body %q, %v; want the page", answer.StatusCode, answer.Body, err)
	}
}

// drawn reports whether a run looks drawn at random, and not like the zeros of an example.
func drawn(run []byte) bool {
	different := map[byte]bool{}
	for _, c := range run {
		different[c] = true
	}
	return len(different) > 4
}

func TestEveryEventIsTestedAndHoldsNoKey(t *testing.T) {
	want := []string{"authorizer-authorization.json", "authorizer-x-api-key.json", streamEvent, consoleEvent} // the first two by package authorizer
	for name := range proxyEvents {
		want = append(want, name)
	}
	for name := range adminEvents {
		want = append(want, name)
	}
	for name := range usageEvents {
		want = append(want, name)
	}
	for name := range notifyEvents {
		want = append(want, name)
	}
	slices.Sort(want)
	if s := run.FindString(newKey(t).secret.Plaintext()); !drawn([]byte(s)) {
		t.Fatal("a key does not look like one")
	}
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		got = append(got, e.Name())
		for _, s := range run.FindAll(opened(t, read(t, e.Name())), -1) {
			if drawn(s) {
				t.Errorf("%s holds %d characters that look like a secret", e.Name(), len(s))
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-tested +there)\n%s", diff)
	}
}

func TestProxyEventsSayOneThing(t *testing.T) {
	for name, want := range proxyEvents {
		var ev lambda.APIGatewayProxyRequest
		if err := json.Unmarshal(read(t, name), &ev); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		rt, ok := route.Default().Lookup(ev.HTTPMethod, ev.Resource)
		if !ok || rt.Function != want.function || rt.Credential != want.credential {
			t.Errorf("%s: %s %s is the route %+v", name, ev.HTTPMethod, ev.Resource, rt)
		}
		rc := ev.RequestContext
		value := keyPlaceholder
		if want.credential == route.Authorization {
			value = "Api-Key " + value
		}
		header := string(want.credential)
		got := map[string]any{
			"method": ev.HTTPMethod, "resource": ev.Resource, "path": ev.Path, "query": ev.QueryStringParameters, "body": ev.Body != "",
			"credential": ev.Headers[header], "credentials": ev.MultiValueHeaders[header], "environment": ev.StageVariables["environment"],
			"context": []string{rc.HTTPMethod, rc.ResourcePath, rc.Path, rc.Stage},
		}
		if diff := cmp.Diff(map[string]any{
			"method": want.method, "resource": want.resource, "path": want.path, "query": want.query, "body": want.body,
			"credential": value, "credentials": []string{value}, "environment": "production",
			"context": []string{want.method, want.resource, "/production" + want.path, "production"},
		}, got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
		for n, v := range ev.Headers {
			if diff := cmp.Diff([]string{v}, ev.MultiValueHeaders[n]); diff != "" {
				t.Errorf("%s: header %s (-single +multi)\n%s", name, n, diff)
			}
		}
		id, err := verify.FromContext(rc.Authorizer)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(keys.Identity{
			KeyID: idPlaceholder, AccountID: account, Environment: keys.Production,
			Permissions: []string{"*", "api_keys:*"}, Verdict: 1, Generation: 1, Limit: 100,
		}, id); diff != "" {
			t.Errorf("%s: identity (-want +got)\n%s", name, diff)
		}
	}
}

func TestAProxyEventIsServedWithAKeyInItAndRefusedWithout(t *testing.T) {
	for name, want := range proxyEvents {
		key := newKey(t)
		served := 0
		p := proxy.New(proxy.Config{
			Function: want.function, Table: route.Default(),
			Guard: guard.New(guard.Config{Meters: guardtest.NewMeters(), Keys: key}),
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				served++
				body, err := io.ReadAll(r.Body)
				if caller, ok := guard.Caller(r.Context()); !ok || caller.KeyID != key.id || err != nil || want.body != json.Valid(body) {
					t.Errorf("%s: caller %v %v, body of %d bytes, %v", name, caller.KeyID, ok, len(body), err)
				}
				w.WriteHeader(http.StatusNoContent)
			}),
		})
		payload := read(t, name)
		for status, payload := range map[int][]byte{http.StatusInternalServerError: payload, http.StatusNoContent: key.put(payload)} {
			out, err := p.Invoke(t.Context(), payload)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			var answer lambda.APIGatewayProxyResponse
			if err := json.Unmarshal(out, &answer); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if answer.StatusCode != status {
				t.Errorf("%s: status %d, want %d", name, answer.StatusCode, status)
			}
		}
		if served != 1 {
			t.Errorf("%s: the handler ran %d times, want once", name, served)
		}
	}
}

func TestTheStreamBatchSettlesItsKeyOnce(t *testing.T) {
	var ev lambda.DynamoDBEvent
	dec := json.NewDecoder(bytes.NewReader(read(t, streamEvent)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&ev); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, r := range ev.Records {
		names = append(names, r.EventName)
	}
	if diff := cmp.Diff([]string{"INSERT", "MODIFY", "REMOVE"}, names); diff != "" {
		t.Errorf("records (-want +got)\n%s", diff)
	}
	key := newKey(t)
	out, err := stream.New(key, flush.New(flush.Config{}), slog.New(slog.DiscardHandler)).Invoke(t.Context(), key.put(read(t, streamEvent)))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(`{"batchItemFailures":[]}`, string(out)); diff != "" {
		t.Errorf("answer (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff([]string{fmt.Sprintf("%s v1 true", key.id)}, key.settled); diff != "" {
		t.Errorf("settled (-want +got)\n%s", diff)
	}
	later := stream.NewLater(flush.New(flush.Config{}), config.AuthorizerTimeout, slog.New(slog.DiscardHandler))
	if out, err := later.Invoke(t.Context(), read(t, streamEvent)); err != nil || string(out) != `{"batchItemFailures":[]}` {
		t.Errorf("the function flush: %s, %v", out, err)
	}
}

func TestAdminTakesItsEvents(t *testing.T) {
	for name, want := range adminEvents {
		payload := read(t, name)
		var ev admin.Event
		dec := json.NewDecoder(bytes.NewReader(payload))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&ev); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(want, ev); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
		key := newKey(t)
		if _, err := admin.New(key, key, time.Now).Invoke(t.Context(), payload); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff([]string{want.Action}, key.asked); diff != "" {
			t.Errorf("%s: asked for (-want +got)\n%s", name, diff)
		}
	}
}

// key is a live root key, and the stores that hold it.
type key struct {
	id      apikey.ID
	secret  apikey.Key
	settled []string
	asked   []string // of the admin function's service
}

func newKey(t *testing.T) *key {
	t.Helper()
	id := apikey.NewID()
	secret, err := apikey.Generate("kr_live", id)
	if err != nil {
		t.Fatal(err)
	}
	return &key{id: id, secret: secret}
}

// put puts the key in the place of the placeholders.
func (k *key) put(event []byte) []byte {
	event = bytes.ReplaceAll(event, []byte(keyPlaceholder), []byte(k.secret.Plaintext()))
	return bytes.ReplaceAll(event, []byte(idPlaceholder), []byte(k.id))
}

func (k *key) Key(_ context.Context, id apikey.ID) (keys.Key, error) {
	if id != k.id {
		return keys.Key{}, keys.ErrNotFound
	}
	return keys.Key{
		ID: k.id, AccountID: account, Environment: keys.Production, Permissions: []string{"*", "api_keys:*"},
		Active: true, RateLimit: 100, Version: 1, Verdict: 1, Generation: 1, Secret: keys.Secret{Generation: 1},
	}, nil
}

func (k *key) Settle(_ context.Context, id apikey.ID, verdict int64, active bool) error {
	k.settled = append(k.settled, fmt.Sprintf("%s v%d %t", id, verdict, active))
	return nil
}

func (k *key) CreateAccount(_ context.Context, in keys.CreateAccountInput) (keys.Account, keys.Issued, error) {
	k.asked = append(k.asked, "create-account")
	return keys.Account{ID: in.ID}, keys.Issued{Key: keys.Key{ID: k.id, AccountID: in.ID}, Plaintext: k.secret}, nil
}

func (k *key) AddRootKey(_ context.Context, accountID string) (keys.Issued, error) {
	k.asked = append(k.asked, "add-root-key")
	return keys.Issued{Key: keys.Key{ID: k.id, AccountID: accountID}, Plaintext: k.secret}, nil
}

// ring is a ring in which a pepper waits for its promotion, as an hour ago.
const ring = `{"current":"p1","peppers":{"p1":"not-a-real-pepper-but-long-enough-0001","p2":"not-a-real-pepper-but-long-enough-0002"}}`

func (k *key) Read(context.Context) ([]byte, time.Time, error) {
	return []byte(ring), time.Now().Add(-time.Hour), nil
}

func (k *key) Write(_ context.Context, text []byte) error {
	action := "promote-pepper"
	if bytes.Contains(text, []byte("p3")) {
		action = "add-pepper"
	}
	k.asked = append(k.asked, action)
	return nil
}
