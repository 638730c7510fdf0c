package proxy

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/logline"
	"github.com/keyreeve/keyreeve/pkg/route"
	"github.com/keyreeve/keyreeve/pkg/verify"
)

// mixed is a table with a guarded, an unguarded and a public route, and one of another
// function.
func mixed(t *testing.T) *route.Table {
	t.Helper()
	table, err := route.Load([]byte(`{"permissions":[{"name":"customers:read","label":"Customer Read"},{"name":"invoices:read","label":"Invoice Read"}],
		"routes":[
			{"method":"GET","path":"/v1/customers/{customerId}","permission":"customers:read","customer":"customerId","function":"sample"},
			{"method":"GET","path":"/v1/customers/{customerId}/invoices","permission":"invoices:read","customer":"customerId","function":"sample"},
			{"method":"GET","path":"/v1/elsewhere","permission":"customers:read","function":"other"},
			{"method":"GET","path":"/hook","function":"sample","unguarded":true},
			{"method":"GET","path":"/status","function":"sample","public":true}]}`))
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func at(resource string) func(*fixture, *events.APIGatewayProxyRequest) {
	return func(_ *fixture, ev *events.APIGatewayProxyRequest) { ev.Resource = resource }
}

func failing(on, how string) func(*fixture, *events.APIGatewayProxyRequest) {
	return func(f *fixture, _ *events.APIGatewayProxyRequest) {
		f.fault = func(call string) error {
			switch {
			case call != on:
				return nil
			case how == "panic":
				panic(f.secret.Plaintext())
			}
			return errors.New(how)
		}
	}
}

func twice(f *fixture, ev *events.APIGatewayProxyRequest) {
	ev.MultiValueHeaders["Authorization"] = []string{"Bearer " + f.secret.Plaintext()}
}

// TestARequestLeavesARefusalLineIfAndOnlyIfTheGuardHasNotCountedIt is what makes the
// number of admitted requests exact that the usage function works out of the logs.
func TestARequestLeavesARefusalLineIfAndOnlyIfTheGuardHasNotCountedIt(t *testing.T) {
	type change = func(*fixture, *events.APIGatewayProxyRequest)
	const nobody apikey.ID = "-"
	for name, c := range map[string]struct {
		change  change
		reason  string // of the line; empty: there is none
		keyID   apikey.ID
		counted bool
		handled bool
		status  int
	}{
		"admitted": {counted: true, handled: true, status: 200},
		"admitted, and the handler panics": {change: func(f *fixture, _ *events.APIGatewayProxyRequest) {
			f.handler = func(http.ResponseWriter, *http.Request) { panic("x") }
		}, counted: true, handled: true, status: 500},
		"admitted, with a body that cannot be read": {change: func(_ *fixture, ev *events.APIGatewayProxyRequest) {
			ev.Body, ev.IsBase64Encoded = "!", true
		}, counted: true, status: 500},
		"expired in the guard's write": {change: func(f *fixture, ev *events.APIGatewayProxyRequest) {
			ev.RequestContext.Authorizer[verify.FieldExpiresAt] = fmt.Sprint(f.now.Add(time.Millisecond).UnixMilli())
			f.key.ExpiresAt = f.now.Add(time.Millisecond)
			f.fault = func(string) error { f.now = f.now.Add(time.Millisecond); return nil }
		}, counted: true, status: 401},

		"expired": {change: func(f *fixture, ev *events.APIGatewayProxyRequest) {
			ev.RequestContext.Authorizer[verify.FieldExpiresAt] = fmt.Sprint(f.now.UnixMilli())
			f.key.ExpiresAt = f.now
		}, reason: "expired", status: 401},
		"revoked since": {change: func(f *fixture, _ *events.APIGatewayProxyRequest) { f.key.Active, f.key.Verdict = false, 2; f.settle() }, reason: "inactive", status: 401},
		"deleted since": {change: func(f *fixture, _ *events.APIGatewayProxyRequest) { f.key.Deleted, f.key.Verdict = true, 2; f.settle() }, reason: "revoked", status: 401},
		"regenerated since": {change: func(f *fixture, _ *events.APIGatewayProxyRequest) {
			f.key.Secret.Generation, f.key.Verdict = 2, 2
			f.settle()
		}, reason: "wrong_secret", status: 401},
		"a canary, if ever":      {change: func(f *fixture, _ *events.APIGatewayProxyRequest) { f.key.Canary, f.key.Verdict = true, 2; f.settle() }, reason: "canary", status: 401},
		"on another stage":       {change: func(_ *fixture, ev *events.APIGatewayProxyRequest) { ev.StageVariables["environment"] = "staging" }, reason: "wrong_environment", status: 401},
		"without the permission": {change: at("/v1/customers/{customerId}/invoices"), reason: "missing_permission", status: 403},
		"for another customer": {change: func(f *fixture, ev *events.APIGatewayProxyRequest) {
			f.key.Customers = []string{"cus_2"}
			ev.RequestContext.Authorizer[verify.FieldCustomers] = "cus_2"
		}, reason: "other_customer", status: 403},
		"over the limit": {change: func(f *fixture, ev *events.APIGatewayProxyRequest) {
			f.key.RateLimit = 0
			ev.RequestContext.Authorizer[verify.FieldLimit] = "0"
		}, reason: "rate_limited", status: 429},
		"with two credentials": {change: twice, reason: "multiple_credentials", status: 400},
		"without credential":   {change: func(_ *fixture, ev *events.APIGatewayProxyRequest) { ev.MultiValueHeaders = map[string][]string{} }, reason: "missing_context", status: 500},
		"with a malformed context": {change: func(_ *fixture, ev *events.APIGatewayProxyRequest) {
			ev.RequestContext.Authorizer[verify.FieldLimit] = "many"
		}, reason: "missing_context", status: 500},
		"with the context of another key": {change: func(_ *fixture, ev *events.APIGatewayProxyRequest) {
			ev.RequestContext.Authorizer[verify.FieldKeyID] = "AAAAAAAA"
		}, reason: "missing_context", keyID: "AAAAAAAA", status: 500},
		"with a context without account": {change: func(_ *fixture, ev *events.APIGatewayProxyRequest) {
			delete(ev.RequestContext.Authorizer, verify.FieldAccountID)
		}, reason: "missing_context", keyID: nobody, status: 500},
		"without context": {change: func(_ *fixture, ev *events.APIGatewayProxyRequest) { ev.RequestContext.Authorizer = nil }, reason: "missing_context", keyID: nobody, status: 500},
		"with a key id that is none": {change: func(_ *fixture, ev *events.APIGatewayProxyRequest) {
			ev.RequestContext.Authorizer[verify.FieldKeyID] = "what a client\nsent"
		}, reason: "missing_context", keyID: nobody, status: 500},
		"while the meters do not answer": {change: failing("Count", "boom"), reason: "unavailable", status: 503},
		"while the keys do not answer": {change: func(f *fixture, ev *events.APIGatewayProxyRequest) {
			f.key.Verdict = 2
			f.settle()
			failing("Key", "boom")(f, ev)
		}, reason: "unavailable", status: 503},
		"with a panic of the meters": {change: failing("Count", "panic"), reason: "unavailable", status: 500},
		"with a panic of the keys": {change: func(f *fixture, ev *events.APIGatewayProxyRequest) {
			f.key.Verdict = 2
			f.settle()
			failing("Key", "panic")(f, ev)
		}, reason: "unavailable", status: 500},
		"on no route":         {change: at("/v1/nothing"), reason: "other_function", status: 404},
		"of another function": {change: at("/v1/elsewhere"), reason: "other_function", status: 404},

		// The access log's route is not the guard's either.
		"on an unguarded route":          {change: at("/hook"), handled: true, status: 200},
		"on an unguarded route, refused": {change: func(f *fixture, ev *events.APIGatewayProxyRequest) { at("/hook")(f, ev); twice(f, ev) }, status: 400},
		"on an unguarded route, no context": {change: func(f *fixture, ev *events.APIGatewayProxyRequest) {
			at("/hook")(f, ev)
			ev.RequestContext.Authorizer = nil
		}, status: 500},
		"on a public route": {change: at("/status"), handled: true, status: 200},
		"on a public route, the handler panics": {change: func(f *fixture, ev *events.APIGatewayProxyRequest) {
			at("/status")(f, ev)
			f.handler = func(http.ResponseWriter, *http.Request) { panic("x") }
		}, handled: true, status: 500},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.table = mixed(t)
			f.settle()
			p := f.proxy()
			if res := f.invoke(p, f.event()); res.StatusCode != 200 || f.calls != 1 { // the slot is reached
				t.Fatalf("a first request: %d", res.StatusCode)
			}
			ev := f.event()
			if c.change != nil {
				c.change(f, ev)
			}
			res := f.invoke(p, ev)
			if res.StatusCode != c.status || (f.calls == 2) != c.handled {
				t.Errorf("status %d, handled %t; want %d, %t", res.StatusCode, f.calls == 2, c.status, c.handled)
			}
			m, _ := f.meters.Meter(f.key.ID)
			if counted := m.Requests == 2; counted != c.counted {
				t.Errorf("counted %t, want %t", counted, c.counted)
			}

			var got []logline.Event
			for line := range strings.Lines(f.log.String()) {
				if e, ok := logline.ParseEvent(line); ok && e.What == logline.Refused {
					got = append(got, e)
				}
			}
			var want []logline.Event
			if c.reason != "" {
				e := logline.Event{
					What: logline.Refused, By: logline.ByGuard, RequestID: "req-1", ExtendedRequestID: "ext-1=",
					Time: time.UnixMilli(ev.RequestContext.RequestTimeEpoch).UTC(), KeyID: f.key.ID, Reason: c.reason,
				}
				switch c.keyID {
				case "":
				case nobody:
					e.KeyID = ""
				default:
					e.KeyID = c.keyID
				}
				want = append(want, e)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("refusal lines (-want +got):\n%s", d)
			}
			noSecret(t, f.log.String(), f.secret)
		})
	}
}

// settle writes the key's verdict to its meter, as the service does.
func (f *fixture) settle() {
	f.t.Helper()
	if err := f.meters.Settle(f.t.Context(), f.key.ID, f.key.Verdict, f.key.Active && !f.key.Deleted); err != nil {
		f.t.Fatal(err)
	}
}

func noSecret(t *testing.T, text string, k apikey.Key) {
	t.Helper()
	s := k.Plaintext()[len(k.Plaintext())-apikey.SecretLen:]
	for i := 0; i+12 <= len(s); i++ {
		if strings.Contains(text, s[i:i+12]) {
			t.Fatal("the log holds a piece of the secret")
		}
	}
}

// TestLinesAreExactlyThese is of the lines that a subscription filter matches by their msg
// ({ $.msg = "refused" || $.msg = "near limit" }), and that function usage counts by.
func TestLinesAreExactlyThese(t *testing.T) {
	f := newFixture(t)
	var err error
	if f.secret, err = apikey.Generate("kr_live", "EXAMPLE1"); err != nil {
		t.Fatal(err)
	}
	f.key.ID, f.key.RateLimit = "EXAMPLE1", 4
	f.settle()
	p := f.proxy()
	const head = `"by":"guard","requestId":"req-1","extendedRequestId":"ext-1=","requestTimeEpoch":1799999999960,"keyId":"EXAMPLE1",`
	const tail = `,"method":"GET","route":"/v1/customers/{customerId}"}` + "\n"
	step := func(what, want string, ev *events.APIGatewayProxyRequest) {
		t.Helper()
		f.log.Reset()
		f.invoke(p, ev)
		_, got, _ := strings.Cut(f.log.String(), ",") // after the time of the log itself
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", what, d)
		}
		noSecret(t, f.log.String(), f.secret)
	}
	for range 3 {
		step("a request", "", f.event())
	}
	step("the fourth of four", `"level":"INFO","msg":"near limit",`+head+`"limit":4}`+"\n", f.event())
	step("the fifth", `"level":"INFO","msg":"refused",`+head+`"reason":"rate_limited"`+tail, f.event())
	ev := f.event()
	twice(f, ev)
	step("two credentials", `"level":"INFO","msg":"refused",`+head+`"reason":"multiple_credentials"`+tail, ev)
	ev = f.event()
	ev.MultiValueHeaders = nil
	step("no credential", `"level":"ERROR","msg":"refused",`+head+`"reason":"missing_context"`+tail, ev)
	f.now = f.now.Add(time.Minute * 2)
	f.fault = func(string) error { return keys.ErrUnavailable }
	ev = f.event()
	ev.RequestContext.RequestTimeEpoch = 1799999999960
	f.log.Reset()
	f.invoke(p, ev)
	if line := f.log.String(); !strings.Contains(line, `"level":"ERROR","msg":"refused",`+head+`"reason":"unavailable","error":`) || strings.Count(line, "\n") != 1 {
		t.Errorf("a store that does not answer: %s", line)
	}
}

// An emulator's event may lack both; sam local sends null for the first.
func TestLinesDoWithoutExtendedIDAndTime(t *testing.T) {
	f := newFixture(t)
	f.key.RateLimit = 1
	p := f.proxy()
	for _, want := range []logline.Event{
		{What: logline.NearLimit, By: logline.ByGuard, RequestID: "req-1", Time: f.now.UTC(), KeyID: f.key.ID, Limit: 1},
		{What: logline.Refused, By: logline.ByGuard, RequestID: "req-1", Time: f.now.UTC(), KeyID: f.key.ID, Reason: "rate_limited"},
	} {
		ev := f.event()
		ev.RequestContext.ExtendedRequestID, ev.RequestContext.RequestTimeEpoch = "", 0
		f.log.Reset()
		f.invoke(p, ev)
		got, ok := logline.ParseEvent(f.log.String())
		if d := cmp.Diff(want, got); !ok || d != "" {
			t.Errorf("read %t (-want +got):\n%s", ok, d)
		}
	}
}
