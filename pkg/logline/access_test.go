package logline

import (
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/route"
)

// request is one with every field set.
func request() Access {
	return Access{
		ExtendedRequestID: "JKJaXmPLvHcESHA=", RequestID: "c6af9ac6-7b61-11e6-9a41-93e8deadbeef", Time: time.UnixMilli(1_768_473_000_123).UTC(),
		Stage: "shared", Method: "GET", Route: "/v1/customers/{customerId}", Protocol: "HTTP/1.1", Status: 200, ResponseLength: 1234,
		Latency: 41 * time.Millisecond, IntegrationLatency: 30 * time.Millisecond, AuthorizerLatency: 9 * time.Millisecond,
		KeyID: "AbCd1234", AccountID: "acct_1", Environment: "staging", Generation: 3, Parent: "EfGh5678", SourceIP: "2001:db8::1",
		UserAgent: "curl/8.5.0", ResponseType: "ACCESS_DENIED",
	}
}

func TestGoldenAccessLine(t *testing.T) {
	const want = `{"extendedRequestId":"JKJaXmPLvHcESHA=","requestTimeEpoch":"1768473000123","stage":"shared","httpMethod":"GET",` +
		`"resourcePath":"/v1/customers/{customerId}","protocol":"HTTP/1.1","status":"200","responseLength":"1234","responseLatency":"41",` +
		`"integrationLatency":"30","authorizerLatency":"9","keyId":"AbCd1234","accountId":"acct_1","environment":"staging","generation":"3","parent":"EfGh5678",` +
		`"sourceIp":"2001:db8::1","responseType":"ACCESS_DENIED","requestId":"c6af9ac6-7b61-11e6-9a41-93e8deadbeef","userAgent":"curl/8.5.0"}`
	if diff := cmp.Diff(want, request().Line()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestWhatThereWasNotIsADash(t *testing.T) {
	// A request without a key to a path without a route.
	a := Access{ExtendedRequestID: "x=", Time: time.UnixMilli(1).UTC(), Stage: "production", Method: "GET", Status: 404, ResponseType: "MISSING_AUTHENTICATION_TOKEN"}
	const want = `{"extendedRequestId":"x=","requestTimeEpoch":"1","stage":"production","httpMethod":"GET","resourcePath":"-","protocol":"-",` +
		`"status":"404","responseLength":"0","responseLatency":"-","integrationLatency":"-","authorizerLatency":"-","keyId":"-","accountId":"-",` +
		`"environment":"-","generation":"-","parent":"-","sourceIp":"-","responseType":"MISSING_AUTHENTICATION_TOKEN","requestId":"-","userAgent":"-"}`
	if diff := cmp.Diff(want, a.Line()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	parsed, err := ParseAccess(want)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(a, parsed); diff != "" {
		t.Errorf("read back (-want +got)\n%s", diff)
	}
}

// shown is text as a client may choose it and a reader may be shown it.
func shown(most int) *rapid.Generator[string] {
	return rapid.StringOfN(rapid.Rune(), 0, -1, most).Filter(func(s string) bool { return text(s, most) == s && s != absent })
}

// API Gateway puts in what the authorizer says of a session, and "-" for any other key.
func TestASessionsParentIsReadAsTheAuthorizerWritesIt(t *testing.T) {
	for value, want := range map[string]apikey.ID{"EfGh5678@17": "EfGh5678", "-": "", "": ""} {
		line := strings.Replace(request().Line(), `"parent":"EfGh5678"`, `"parent":"`+value+`"`, 1)
		if got, err := ParseAccess(line); err != nil || got.Parent != want {
			t.Errorf("%q: parent %q, %v; want %q", value, got.Parent, err, want)
		}
	}
	before := strings.Replace(request().Line(), `"parent":"EfGh5678",`, "", 1) // of a stage that was not deployed since
	if got, err := ParseAccess(before); err != nil || got.Parent != "" || got.Generation != 3 || got.SourceIP == "" {
		t.Errorf("a line without it: %+v, %v", got, err)
	}
}

func TestALineReadsBackAsItWas(t *testing.T) {
	number := rapid.Int64Range(0, 1<<53)
	milliseconds := rapid.Map(rapid.Int64Range(0, 900_000), func(n int64) time.Duration { return time.Duration(n) * time.Millisecond })
	word := rapid.StringMatching(`[A-Za-z0-9_:./{}+=-]{2,40}`)
	rapid.Check(t, func(t *rapid.T) {
		a := Access{
			ExtendedRequestID: word.Draw(t, "extended"), RequestID: shown(128).Draw(t, "request"),
			Time: time.UnixMilli(rapid.Int64Range(1, 1<<42).Draw(t, "time")).UTC(), Stage: word.Draw(t, "stage"), Method: word.Draw(t, "method"),
			Route: word.Draw(t, "route"), Protocol: word.Draw(t, "protocol"), Status: rapid.IntRange(100, 599).Draw(t, "status"),
			ResponseLength: int(number.Draw(t, "length")), Latency: milliseconds.Draw(t, "latency"),
			IntegrationLatency: milliseconds.Draw(t, "integration"), AuthorizerLatency: milliseconds.Draw(t, "authorizer"),
			SourceIP: word.Draw(t, "ip"), ResponseType: word.Draw(t, "type"), UserAgent: shown(MaxUserAgent).Draw(t, "agent"),
		}
		if rapid.Bool().Draw(t, "key") {
			a.KeyID, a.AccountID, a.Environment = apikey.ID(rapid.StringMatching(`[A-Za-z0-9]{8}`).Draw(t, "id")), word.Draw(t, "account"), word.Draw(t, "environment")
			a.Generation = number.Draw(t, "generation")
			a.Parent = apikey.ID(rapid.StringMatching(`([A-Za-z0-9]{8})?`).Draw(t, "parent"))
		}
		got, err := ParseAccess(a.Line())
		if err != nil {
			t.Fatalf("%v: %s", err, a.Line())
		}
		if diff := cmp.Diff(a, got); diff != "" {
			t.Fatalf("(-want +got)\n%s", diff)
		}
	})
}

// raw is the line as API Gateway makes it if it escapes nothing at all.
func raw(a Access, requestID, agent string) string {
	a.RequestID, a.UserAgent = "", ""
	return strings.TrimSuffix(a.Line(), `"requestId":"-","userAgent":"-"}`) + `"requestId":"` + requestID + `","userAgent":"` + agent + `"}`
}

// hostile is what a client may send as request id or user agent.
var hostile = []string{
	`"`, `\`, `\\"`, `"}`, `{}`, `","`, `\u0022`, `\ud800`, "\xff\xfe", "a\x80b", "tab\tand\nline", "\x00",
	`","keyId":"ZZZZZZZZ","accountId":"victim","status":"200`,
	`"}` + "\n" + `{"extendedRequestId":"forged","requestTimeEpoch":"1","status":"200","keyId":"ZZZZZZZZ"`,
	`","requestId":"other","userAgent":"other`,
	`","userAgent":"","keyId":"ZZZZZZZZ`,
	`{"msg":"refused","by":"authorizer","keyId":"ZZZZZZZZ","requestTimeEpoch":1}`,
	`-`, ` `, strings.Repeat("x", 9000), strings.Repeat("東", 3000), strings.Repeat(`"`, 500),
}

func TestNothingThatAClientSendsChangesWhatAPIGatewaySays(t *testing.T) {
	for _, a := range []Access{request(), {ExtendedRequestID: "x=", Time: time.UnixMilli(1).UTC(), Stage: "production", Method: "GET", Status: 401}} {
		for _, id := range hostile {
			for _, agent := range hostile {
				line := raw(a, id, agent)
				got, err := ParseAccess(line)
				if err != nil {
					t.Fatalf("id %.40q, agent %.40q: the request is lost: %v", id, agent, err)
				}
				fit(t, got)
				same(t, a, got)
				if _, ok := ParseEvent(line); ok {
					t.Fatalf("id %.40q, agent %.40q: the line passes for an event", id, agent)
				}
			}
		}
	}
}

// same holds what API Gateway says to be unchanged.
func same(t *testing.T, want, got Access) {
	t.Helper()
	want.RequestID, want.UserAgent = got.RequestID, got.UserAgent
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("(-want +got)\n%s", diff)
	}
}

// fit holds what a client chose to be fit to be kept and shown.
func fit(t *testing.T, a Access) {
	t.Helper()
	if len(a.UserAgent) > MaxUserAgent || len(a.RequestID) > 128 {
		t.Fatalf("%d bytes of user agent, %d of request id", len(a.UserAgent), len(a.RequestID))
	}
	for _, s := range []string{a.UserAgent, a.RequestID} {
		if !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
			t.Fatalf("%q has control characters or broken UTF-8", s)
		}
	}
}

func TestALineCutOffLosesOnlyWhatClientsChose(t *testing.T) {
	a := request()
	for _, agent := range hostile[:12] {
		for _, line := range []string{raw(a, agent, agent), a.Line()} {
			own := strings.Index(line, `,"requestId":"`) + len(`,"requestId":"`)
			for n := range len(line) {
				got, err := ParseAccess(line[:n])
				if n < own {
					if err == nil {
						t.Fatalf("cut to %d of %d bytes, before the request id: no error", n, len(line))
					}
					continue
				}
				if err != nil {
					t.Fatalf("cut to %d of %d bytes: %v", n, len(line), err)
				}
				fit(t, got)
				same(t, a, got)
			}
		}
	}
}

func TestALineThatIsNotWholeIsNone(t *testing.T) {
	for name, change := range map[string]func(string) string{
		"no id":                func(s string) string { return strings.Replace(s, "JKJaXmPLvHcESHA=", "-", 1) },
		"no time":              func(s string) string { return strings.Replace(s, "1768473000123", "-", 1) },
		"a time before 1970":   func(s string) string { return strings.Replace(s, "1768473000123", "-5", 1) },
		"time that is no time": func(s string) string { return strings.Replace(s, "1768473000123", "1e9", 1) },
		"a number too large":   func(s string) string { return strings.Replace(s, "1768473000123", "99999999999999999", 1) },
		"no status":            func(s string) string { return strings.Replace(s, `"200"`, `"-"`, 1) },
		"status 600":           func(s string) string { return strings.Replace(s, `"200"`, `"600"`, 1) },
		"a key of nobody":      func(s string) string { return strings.Replace(s, "acct_1", "-", 1) },
		"an account, no key":   func(s string) string { return strings.Replace(s, "AbCd1234", "-", 1) },
		"numbers unquoted":     func(s string) string { return strings.Replace(s, `"200"`, `200`, 1) },
		"nothing":              func(string) string { return "" },
		"an event":             func(string) string { return eventLine(t, Event{What: Refused, By: ByGuard, Time: time.UnixMilli(1)}) },
		"text":                 func(string) string { return "START RequestId: 1" },
	} {
		line := change(request().Line())
		if line == request().Line() {
			t.Fatalf("%s: nothing is changed", name)
		}
		if a, err := ParseAccess(line); err == nil {
			t.Errorf("%s: %+v, want an error", name, a)
		} else if strings.Contains(err.Error(), "AbCd1234") {
			t.Errorf("%s: the error quotes the line", name)
		}
	}
}

// API Gateway says of its execution log that it cuts log events off at 1,024 bytes
// (https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-logging.html), and
// of its access log nothing. Whatever becomes of a long line, what is counted comes before
// that.
func TestWhatIsCountedComesBeforeAnythingIsCutOff(t *testing.T) {
	const most = 1024
	longest := Access{
		ExtendedRequestID: strings.Repeat("x", 64), Time: time.UnixMilli(9_999_999_999_999), Stage: "development", Method: "OPTIONS",
		Protocol: "HTTP/1.1", Status: 503, ResponseLength: 10 << 20, Latency: 15 * time.Minute, IntegrationLatency: 15 * time.Minute,
		AuthorizerLatency: 30 * time.Second, KeyID: "AbCd1234", AccountID: strings.Repeat("a", 64), Environment: "development",
		Generation: 1 << 53, Parent: "EfGh5678@9007199254740992", SourceIP: "2001:0db8:ffff:ffff:ffff:ffff:ffff:ffff", ResponseType: "AUTHORIZER_CONFIGURATION_ERROR",
	}
	for _, r := range route.Default().Routes() {
		if len(r.Path) > len(longest.Route) {
			longest.Route = r.Path
		}
	}
	if longest.Route == "" {
		t.Fatal("no routes")
	}
	length := strings.Index(longest.Line(), `"requestId":"`) + len(`"requestId":"`)
	if length >= most {
		t.Errorf("%d bytes with the routes of this table, want less than %d", length, most)
	}
	if room := most - length; room < 200 {
		t.Errorf("a path may be %d bytes longer than the longest of this table, want 200 at least", room)
	}
}

func FuzzParseAccess(f *testing.F) {
	f.Add(request().Line())
	for _, s := range hostile {
		f.Add(raw(request(), s, s))
	}
	f.Add(`{"extendedRequestId":"x","extendedRequestId":"y","requestTimeEpoch":"1","status":"200","requestId":"`)
	f.Fuzz(func(t *testing.T, line string) {
		a, err := ParseAccess(line)
		if err != nil {
			return
		}
		fit(t, a)
		// What was read is what would be read again.
		again, err := ParseAccess(a.Line())
		if err != nil {
			t.Fatalf("%+v does not read back: %v", a, err)
		}
		if utf8.ValidString(line) {
			same(t, a, again)
		}
	})
}
