package forward

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/httpapi"
)

const (
	ordersARN = "arn:aws:lambda:eu-central-1:123456789012:function:orders"
	quotesARN = "arn:aws:lambda:eu-central-1:123456789012:function:quotes:live"
)

// fake is Lambda with functions of a test.
type fake func(ctx context.Context, arn string, event []byte) (output []byte, failed bool, err error)

func (f fake) Invoke(ctx context.Context, arn string, event []byte) ([]byte, bool, error) {
	return f(ctx, arn, event)
}

// toLambda is a world with two functions.
func toLambda(t *testing.T, f fake) *world {
	t.Helper()
	upstream := func(path, arn, more string) string {
		return fmt.Sprintf(`{"method": "ANY", "path": %q, "upstream": {"lambda": %q, "timeoutSeconds": 1}%s}`, path, arn, more)
	}
	w := newWorld(t, upstream("/v1/x/{rest+}", ordersARN, ""), upstream("/v1/x", ordersARN, ""), upstream("/v1/quotes", quotesARN, `, "public": true`))
	w.invoker = f
	return w
}

// saying is a function with one output.
func saying(output string) fake {
	return func(context.Context, string, []byte) ([]byte, bool, error) { return []byte(output), false, nil }
}

func TestAFunctionGetsTheSameEvent(t *testing.T) {
	var arn string
	var got map[string]any
	w := toLambda(t, func(_ context.Context, a string, event []byte) ([]byte, bool, error) {
		got, arn = nil, a
		return []byte(`{"statusCode": 200}`), false, json.Unmarshal(event, &got)
	})
	ev := w.request("POST", "/v1/x/a%2Fb", "q=1&q=2", "<text>&\u2028", "X-Many: one", "X-Many: two", "X-Keyreeve-Key-Id: evil", "x_keyreeve_admin: evil",
		"X-HTTP-Method-Override: DELETE", "Cookie: key="+w.secret.Plaintext())
	ev.RequestContext.Identity.APIKey, ev.RequestContext.Stage = w.secret.Plaintext(), "staging"
	payload, err := json.Marshal(ev)
	if err != nil {
		t.Fatal(err)
	}
	// What nobody here knows of stays too, and numbers keep their spelling.
	payload = append([]byte(`{"new":{"member":[1.50,12345678901234567890]},`), payload[1:]...)
	var want map[string]any
	if err := json.Unmarshal(payload, &want); err != nil {
		t.Fatal(err)
	}
	if _, err := w.start().Invoke(t.Context(), payload); err != nil {
		t.Fatal(err)
	}
	single, multi := want["headers"].(map[string]any), want["multiValueHeaders"].(map[string]any)
	for _, name := range []string{"X-API-Key", "X-Keyreeve-Key-Id", "x_keyreeve_admin", "X-HTTP-Method-Override"} {
		delete(single, name)
		delete(multi, name)
	}
	for name, value := range map[string]string{keyIDHeader: httpapi.KeyID(w.key.ID), accountIDHeader: "acct_1", environmentHeader: "staging"} {
		single[name], multi[name] = value, []any{value}
	}
	single["Cookie"], multi["Cookie"] = "key=", []any{"key="}
	want["requestContext"].(map[string]any)["identity"].(map[string]any)["apiKey"] = ""
	want["body"], want["isBase64Encoded"] = "<text>&\u2028", false
	if d := cmp.Diff(want, got); d != "" || arn != ordersARN {
		t.Errorf("%s got (-want +got)\n%s", arn, d)
	}
	if authorizer := got["requestContext"].(map[string]any)["authorizer"]; authorizer == nil {
		t.Error("the authorizer's context is gone")
	}
}

// A function made for an API without binary media types reads event.body as it is.
func TestBodiesOfEvents(t *testing.T) {
	var body any
	var encoded bool
	w := toLambda(t, func(_ context.Context, _ string, event []byte) ([]byte, bool, error) {
		var ev struct {
			Body            any
			IsBase64Encoded bool
		}
		err := json.Unmarshal(event, &ev)
		body, encoded = ev.Body, ev.IsBase64Encoded
		return []byte(`{}`), false, err
	})
	for sent, want := range map[string]any{
		`{"n": 1}`: `{"n": 1}`, "caf\u00e9 \x00": "caf\u00e9 \x00", "caf\xe9": base64.StdEncoding.EncodeToString([]byte("caf\xe9")), "": "",
	} {
		w.send(w.request("POST", "/v1/x", "", sent))
		if body != want || encoded != (sent == "caf\xe9") {
			t.Errorf("a body %q came as %q, base64 %t; want %q", sent, body, encoded, want)
		}
	}
	ev := w.request("POST", "/v1/x", "", "")
	ev.Body = "plain"
	if w.send(ev); body != "plain" || encoded {
		t.Errorf("text came as %q, base64 %t", body, encoded)
	}
	payload, err := json.Marshal(w.request("GET", "/v1/x", "", ""))
	if err != nil {
		t.Fatal(err)
	}
	payload = bytes.Replace(payload, []byte(`"body":""`), []byte(`"body":null`), 1)
	if _, err := w.start().Invoke(t.Context(), payload); err != nil || body != nil {
		t.Errorf("no body came as %v, %v", body, err)
	}
}

func TestAFunctionOfAPublicRouteHearsOfNobody(t *testing.T) {
	var headers map[string]string
	var arn string
	w := toLambda(t, func(_ context.Context, a string, event []byte) ([]byte, bool, error) {
		var ev events.APIGatewayProxyRequest
		err := json.Unmarshal(event, &ev)
		headers, arn = ev.Headers, a
		return []byte(`{"statusCode":204}`), false, err
	})
	got := w.send(w.request("GET", "/v1/quotes", "", "", "X-Keyreeve-Key-Id: evil", "X-API-Key: own", "Authorization: Bearer "+w.secret.Plaintext()))
	if got.status != 204 || headers["X-Keyreeve-Key-Id"]+headers["Authorization"] != "" || headers["X-API-Key"] != "own" || arn != quotesARN {
		t.Errorf("%v, %s got %v", got, arn, headers)
	}
}

func TestAFunctionsAnswerComesBack(t *testing.T) {
	type h = map[string][]string
	for name, c := range map[string]struct {
		output string
		status int
		header h
		body   string
	}{
		"all of it": {`{"statusCode": 201, "headers": {"X-A": "1", "set-cookie": "c=3"}, "multiValueHeaders": {"Set-Cookie": ["a=1", "b=2"], "x-a": ["1", "2"]}, "body": "<ok>", "isBase64Encoded": false}`,
			201, h{"X-A": {"1", "2"}, "Set-Cookie": {"a=1", "b=2", "c=3"}}, "<ok>"},
		"binary":              {`{"statusCode": 200, "body": "//4A", "isBase64Encoded": true}`, 200, h{}, "\xff\xfe\x00"},
		"a status in quotes":  {`{"statusCode": "404", "headers": {"X-B": true}}`, 404, h{"X-B": {"true"}}, ""},
		"nothing":             {`{}`, 200, h{}, ""},
		"nulls":               {`{"statusCode": 204, "headers": null, "multiValueHeaders": null, "body": null}`, 204, h{}, ""},
		"an error of its own": {`{"statusCode": 500, "body": "{\"success\":false}"}`, 500, h{}, `{"success":false}`},
	} {
		w := toLambda(t, saying(c.output))
		got := w.get("/v1/x")
		for n := range got.header {
			if strings.Contains(n, "Ratelimit") {
				delete(got.header, n)
			}
		}
		if d := cmp.Diff(c.header, h(got.header)); d != "" || got.status != c.status || got.body != c.body {
			t.Errorf("%s: %v (-want +got)\n%s", name, got, d)
		}
	}
}

func TestOutputThatIsNoAnswer(t *testing.T) {
	for _, output := range []string{
		``, `null`, `"hunter2"`, `[]`, `7`, `{"statusCode": 200} {}`, `{"statusCode": 200, "hunter2": 1}`, `{"statusCode": "hunter2"}`, `{"statusCode": 99}`,
		`{"statusCode": 600}`, `{"statusCode": 101}`, `{"statusCode": 200.5}`, `{"statusCode": null}`, `{"headers": {"X": null}}`, `{"headers": {"X": ["hunter2"]}}`,
		`{"headers": {"X": {}}}`, `{"multiValueHeaders": {"X": "hunter2"}}`, `{"headers": {"X": "a\r\nY: hunter2"}}`, `{"headers": {"X Y": "a"}}`, `{"headers": {"": "a"}}`,
		`{"multiValueHeaders": {"X\r\nY": ["hunter2"]}}`, `{"body": {"hunter2": 1}}`, `{"body": "hunter2!", "isBase64Encoded": true}`, `{"isBase64Encoded": "yes"}`,
		`{"body": 7}`, `<html>hunter2`, `{"statusCode": 200, "body": "hunter2`,
	} {
		w := toLambda(t, saying(output))
		w.wants(output, w.get("/v1/x"), 502, "upstream_failure", "the function's output is no proxy response")
	}
}

func TestFunctionsThatFail(t *testing.T) {
	failing := func(output string) fake {
		return func(context.Context, string, []byte) ([]byte, bool, error) { return []byte(output), true, nil }
	}
	refusing := func(err error) fake {
		return func(context.Context, string, []byte) ([]byte, bool, error) { return nil, false, err }
	}
	for name, c := range map[string]struct {
		invoke fake
		status int
		code   string
		cause  string
	}{
		"an exception":             {failing(`{"errorType": "KeyError", "errorMessage": "hunter2", "stackTrace": ["hunter2"]}`), 502, "upstream_failure", "the function failed"},
		"no description":           {failing(`hunter2`), 502, "upstream_failure", "the function failed"},
		"an answer by its look":    {failing(`{"statusCode": 200}`), 502, "upstream_failure", "the function failed"},
		"its own time-out":         {failing(`{"errorType": "Sandbox.Timedout", "errorMessage": "RequestId: 1 Error: Task timed out after 3.00 seconds"}`), 504, "upstream_timeout", "the time is over"},
		"its own time-out, of old": {failing(`{"errorMessage": "2022-07-06T23:04:40.153Z 1 Task timed out after 3.00 seconds"}`), 504, "upstream_timeout", "the time is over"},
		"more than Lambda takes":   {failing(`{"errorType": "Function.ResponseSizeTooLarge", "errorMessage": "Response payload size exceeded maximum allowed payload size (6291556 bytes)."}`), 502, "upstream_too_large", "too large for Lambda"},
		"not allowed":              {refusing(fmt.Errorf("invoking: %w", &InvokeError{"AccessDeniedException"})), 502, "upstream_failure", "Lambda: AccessDeniedException"},
		"throttled":                {refusing(&InvokeError{"TooManyRequestsException"}), 502, "upstream_failure", "Lambda: TooManyRequestsException"},
		"Lambda out of reach":      {refusing(&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}), 502, "upstream_failure", "dial: connection refused"},
		"anything":                 {refusing(errors.New("hunter2")), 502, "upstream_failure", "no HTTP: *errors.errorString"},
		"too late": {func(ctx context.Context, _ string, _ []byte) ([]byte, bool, error) {
			<-ctx.Done()
			return nil, false, ctx.Err()
		}, 504, "upstream_timeout", "the time is over"},
	} {
		w := toLambda(t, c.invoke)
		begun := time.Now()
		w.wants(name, w.send(w.request("POST", "/v1/x", "q=hunter2", "hunter2")), c.status, c.code, c.cause)
		if took := time.Since(begun); took > 3*time.Second {
			t.Errorf("%s: it took %v, want the row's second", name, took)
		}
	}
}

func TestFunctionsAndTheirLimits(t *testing.T) {
	invoked, output := 0, ""
	w := toLambda(t, func(_ context.Context, _ string, event []byte) ([]byte, bool, error) {
		if invoked++; len(event) > 6<<20 {
			t.Errorf("an event of %d bytes", len(event))
		}
		return []byte(output), false, nil
	})
	output = `{"body":"` + strings.Repeat("x", 6<<20-1000) + `"}`
	if got := w.get("/v1/x"); got.status != 200 || len(got.body) != 6<<20-1000 {
		t.Errorf("an answer just within: %d, %d bytes", got.status, len(got.body))
	}
	// With what the guard adds, an answer that Lambda took once is too large the second time.
	output = `{"body":"` + strings.Repeat("x", 6<<20+80) + `"}`
	w.wants("an answer just beyond", w.get("/v1/x"), 502, "upstream_too_large", "too large for Lambda")
	invoked, output = 0, "{}"
	// In base64 the event is within the limit; as text, of which JSON escapes all, it is not.
	w.wants("a request beyond", w.send(w.request("POST", "/v1/x", "", strings.Repeat("\x01", 4<<20))), 413, "body_too_large", "the request is too large for Lambda")
	if invoked != 0 {
		t.Error("the function was invoked all the same")
	}
}

func TestAFunctionsPathIsReadStrictlyToo(t *testing.T) {
	w := toLambda(t, func(context.Context, string, []byte) ([]byte, bool, error) {
		t.Error("the function was invoked")
		return nil, false, nil
	})
	if got := w.get("/v1/x/a%2F..%2Fb"); got.problem() != "ambiguous_path req-1" {
		t.Errorf("%v", got)
	}
}
