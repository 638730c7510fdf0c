package main

import (
	stdcmp "cmp"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/dynamo"
	"github.com/keyreeve/keyreeve/pkg/logline"
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

func TestAlertItemsAreWhatTheNotifyFunctionTakesForAlerts(t *testing.T) {
	if account, id, ok := dynamo.StreamAlert("A#first", alertItems+"1"); !ok || account != "first" || id != "1" {
		t.Errorf("StreamAlert(A#first, %s1) = %q, %q, %t", alertItems, account, id, ok)
	}
	for _, other := range []string{"W#1", "D#1", "W", "1"} {
		if _, _, ok := dynamo.StreamAlert("A#first", other); ok {
			t.Errorf("StreamAlert takes %s for an alert's", other)
		}
	}
}

// The rule that hands alerts to the topic goes by what the function notify puts on the bus.
func TestTheSourceOfAlertsIsTheBinarys(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../functions/eventbus.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := ""
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && spec.Names[0].Name == "eventSource" {
			found = spec.Values[0].(*ast.BasicLit).Value
		}
		return true
	})
	if found != strconv.Quote(eventSource) {
		t.Errorf("the binary's source is %s, and the rule's %q", found, eventSource)
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
	"authorizer.keyId":       "a1b2c3d4",
	"authorizer.accountId":   strings.Repeat("a", 64), // keys: 1 to 64
	"authorizer.environment": development,
	"authorizer.generation":  "9007199254740992", // what logline reads at most
	"authorizer.parent":      "e5f6g7h8@9007199254740992",
	"identity.sourceIp":      "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255",
	"identity.userAgent":     strings.Repeat("u", 8<<10), // a header of all that API Gateway takes
	"error.responseType":     "AUTHORIZER_CONFIGURATION_ERROR",
}

// line is what API Gateway makes of the access log's format.
func line(value func(variable string) string) string {
	text := accessLogFormat()
	for _, f := range slices.Backward(logline.Fields()) { // authorizer.… before what others begin with
		text = strings.ReplaceAll(text, `"$context.`+f.Variable+`"`, `"`+value(f.Variable)+`"`)
	}
	return text
}

// Whatever clients choose, a line is shorter up to there than where API Gateway may cut it
// off, and what is left is read.
func TestALineOfTheAccessLogIsReadByWhoCounts(t *testing.T) {
	full := line(func(variable string) string {
		if longest[variable] == "" {
			t.Errorf("%s: this test does not know how long it can get", variable)
		}
		return longest[variable]
	})
	own := strings.Index(full, longest["requestId"])
	if own < 0 || own >= maxLogLine || strings.Contains(full, "$") {
		t.Errorf("the longest line has %d bytes before what clients choose, want less than %d:\n%s", own, maxLogLine, full)
	}
	t.Logf("at most %d bytes before what clients choose", own)
	want := logline.Access{
		ExtendedRequestID: longest["extendedRequestId"], Time: time.UnixMilli(1700000000000).UTC(), Stage: development,
		Method: longest["httpMethod"], Route: longest["resourcePath"], Protocol: "HTTP/1.1", Status: 200, ResponseLength: 10485760,
		Latency: 300 * time.Second, IntegrationLatency: 300 * time.Second, AuthorizerLatency: 300 * time.Second,
		KeyID: "a1b2c3d4", AccountID: longest["authorizer.accountId"], Environment: development, Generation: 9007199254740992, Parent: "e5f6g7h8",
		SourceIP: longest["identity.sourceIp"], ResponseType: longest["error.responseType"],
	}
	whole, cut := want, want
	whole.RequestID, whole.UserAgent = longest["requestId"], longest["identity.userAgent"][:logline.MaxUserAgent]
	for name, c := range map[string]struct {
		text string
		want logline.Access
	}{"whole": {full, whole}, "cut off": {full[:own], cut}} {
		got, err := logline.ParseAccess(c.text)
		if diff := cmp.Diff(c.want, got); err != nil || diff != "" {
			t.Errorf("%s: error %v (-want +got)\n%s", name, err, diff)
		}
	}
	// A request that no function and no authorizer saw.
	bare := map[string]string{"extendedRequestId": "e", "requestTimeEpoch": "1700000000000", "stage": production, "status": "404"}
	got, err := logline.ParseAccess(line(func(variable string) string { return stdcmp.Or(bare[variable], "-") }))
	if diff := cmp.Diff(logline.Access{ExtendedRequestID: "e", Time: want.Time, Stage: production, Status: 404}, got); err != nil || diff != "" {
		t.Errorf("with nothing but dashes: error %v (-want +got)\n%s", err, diff)
	}
}

func TestTheAccessLogHoldsNoHeaderQueryOrPath(t *testing.T) {
	for _, f := range logline.Fields() {
		for _, bad := range []string{"path", "querystring", "header", "identity.apiKey", "error.message", "integrationErrorMessage", "authorizer.error", "wafResponse"} {
			if f.Variable == bad || strings.Contains(f.Variable, "request.") {
				t.Errorf("%s is logged: %s", f.Name, f.Variable)
			}
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
