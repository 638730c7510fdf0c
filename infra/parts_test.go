package main

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/infra/local/gateway"
	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/dynamo"
)

// Roles and the stream's filter go by a prefix that is dynamo's to choose.
func TestKeyItemsAreWhatTheStreamFunctionTakesForKeys(t *testing.T) {
	id := apikey.NewID()
	got, ok := dynamo.StreamKeyID(keyItems + string(id))
	if !ok || got != id {
		t.Errorf("StreamKeyID(%s<id>) = %q, %t", keyItems, got, ok)
	}
	for _, other := range []string{string(id), "A#" + string(id), "I#" + string(id)} {
		if _, ok := dynamo.StreamKeyID(other); ok {
			t.Errorf("StreamKeyID takes %s for a key's", other[:2])
		}
	}
}

// longest holds, for each $context variable of the access log, the longest text that API
// Gateway can put in.
var longest = map[string]string{
	"requestId":              strings.Repeat("f", 128), // a client may choose it (X-Amzn-RequestId); by itself it is a UUID
	"extendedRequestId":      strings.Repeat("f", 64),  // seen: 16
	"requestTimeEpoch":       "1700000000000",
	"stage":                  development,
	"httpMethod":             strings.Repeat("M", 32),  // of those that exist, OPTIONS is the longest
	"resourcePath":           strings.Repeat("p", 256), // route.Load refuses a longer one
	"protocol":               "HTTP/1.1",
	"status":                 "200",
	"responseLength":         "10485760",
	"responseLatency":        "300000",
	"integrationLatency":     "300000",
	"authorizer.latency":     "300000",
	"authorizer.principalId": "a1b2c3d4",
	"authorizer.keyId":       "a1b2c3d4",
	"authorizer.accountId":   strings.Repeat("a", 64), // keys: 1 to 64
	"identity.sourceIp":      "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255",
	"error.responseType":     "AUTHORIZER_CONFIGURATION_ERROR",
}

func TestALineOfTheAccessLogIsJSONAndShorterThan1024Bytes(t *testing.T) {
	fill := func(value func(variable string) string) string {
		line := accessLogFormat()
		for _, f := range slices.Backward(logFields) { // authorizer.… before what others begin with
			line = strings.ReplaceAll(line, `"$context.`+f.variable+`"`, `"`+value(f.variable)+`"`)
		}
		return line
	}
	full := fill(func(variable string) string {
		if longest[variable] == "" {
			t.Errorf("%s: this test does not know how long it can get", variable)
		}
		return longest[variable]
	})
	if len(full) >= maxLogLine || strings.Contains(full, "$") {
		t.Errorf("the longest line has %d bytes, want less than %d:\n%s", len(full), maxLogLine, full)
	}
	t.Logf("the longest line has %d bytes", len(full))
	for name, line := range map[string]string{"full": full, "nothing": fill(func(string) string { return "-" })} {
		var members map[string]string
		if err := json.Unmarshal([]byte(line), &members); err != nil || len(members) != len(logFields) {
			t.Errorf("%s: %d members of %d, error %v", name, len(members), len(logFields), err)
		}
	}
}

func TestTheAccessLogHoldsNothingThatAClientCouldPutAKeyInto(t *testing.T) {
	for _, f := range logFields {
		for _, bad := range []string{"path", "querystring", "header", "identity.userAgent", "identity.apiKey", "error.message", "integrationErrorMessage", "authorizer.error", "wafResponse"} {
			if f.variable == bad || strings.Contains(f.variable, "request.") {
				t.Errorf("%s is logged: %s", f.name, f.variable)
			}
		}
	}
}

// Who reads lines of the one reads lines of the other.
func TestTheLocalGatewaysLinesHaveTheSameMembers(t *testing.T) {
	local := map[string]bool{}
	for i := range reflect.TypeFor[gateway.Entry]().NumField() {
		name, _, _ := strings.Cut(reflect.TypeFor[gateway.Entry]().Field(i).Tag.Get("json"), ",")
		local[name] = true
	}
	for _, f := range logFields {
		if !local[f.name] {
			t.Errorf("%s is in no line of the local gateway", f.name)
		}
	}
}

func TestOnlyPathsOfTheRouteTableAnswerPreflight(t *testing.T) {
	d := parsed(t, `{}`)
	got := map[string][]string{}
	for _, p := range d.preflights() {
		if got[p.path] != nil {
			t.Errorf("%s is there twice", p.path)
		}
		got[p.path] = p.methods
	}
	for _, r := range d.Table.Routes() {
		if !slices.Contains(got[r.Path], r.Method) || !slices.Contains(got[r.Path], "OPTIONS") {
			t.Errorf("%s: preflight offers %v, without %s or OPTIONS", r.Path, got[r.Path], r.Method)
		}
	}
	for path, want := range map[string][]string{
		"/v1/customers/{customerId}": {"DELETE", "GET", "OPTIONS", "PUT"},
		"/v1/telemetry":              {"OPTIONS", "POST"},
		"/v1/api-keys/self":          {"DELETE", "GET", "OPTIONS", "PATCH"}, // the last two are {id}'s, as API Gateway matches them
		"/v1":                        nil,
	} {
		if diff := cmp.Diff(want, got[path]); diff != "" {
			t.Errorf("%s (-want +got)\n%s", path, diff)
		}
	}
	none := parsed(t, `{"corsOrigins": []}`)
	if len(none.preflights()) != 0 {
		t.Errorf("no origin may call, and %d paths answer preflight", len(none.preflights()))
	}
}

func TestOriginsBesideAStarAreLeftOut(t *testing.T) {
	if diff := cmp.Diff([]string{"*"}, origins([]string{"https://a.example", "*"})); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"https://a.example", "https://b.example"}, origins([]string{"https://a.example", "https://b.example"})); diff != "" {
		t.Error(diff)
	}
}
