package forward

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/keyreeve/keyreeve/pkg/httpapi"
)

// maxEvent is what Lambda takes for an event, in bytes of JSON
// (https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html). Ours came within
// that, but text may need more room for its escapes than base64.
const maxEvent = 6 << 20

var (
	errFunction  = errors.New("the function failed")
	errMalformed = errors.New("the function's output is no proxy response")
)

// invoke asks a Lambda function.
func (f *forwarder) invoke(ctx context.Context, c *call) (*answer, error) {
	event, err := c.event()
	if err != nil {
		return nil, fmt.Errorf("making the event: %w", err)
	}
	if len(event) > maxEvent {
		return nil, fmt.Errorf("%s %s: %w", c.arrival.Route.Method, c.arrival.Route.Path, httpapi.ErrRequestTooLarge)
	}
	output, failed, err := f.Invoker.Invoke(ctx, c.arrival.Route.Upstream.Lambda, event)
	switch {
	case err != nil:
		return nil, failure(ctx, c, err)
	case failed:
		return nil, functionFailure(ctx, c, output)
	}
	out, err := parseOutput(output)
	if err != nil {
		return nil, failure(ctx, c, errMalformed)
	}
	return out, nil
}

// functionFailure tells by Lambda's description of an error what became of an invocation.
// The function's own words stay out of the log: they are in its log, and may quote a request.
func functionFailure(ctx context.Context, c *call, output []byte) error {
	var described struct{ ErrorType, ErrorMessage string }
	_ = json.Unmarshal(output, &described) // what is no description says nothing
	switch {
	case described.ErrorType == "Function.ResponseSizeTooLarge":
		return tooLarge(c)
	case described.ErrorType == "Sandbox.Timedout", strings.Contains(described.ErrorMessage, "Task timed out after"):
		return failure(ctx, c, context.DeadlineExceeded)
	}
	return failure(ctx, c, errFunction)
}

// event is API Gateway's with other headers: every member that is not named here is as it
// came, the authorizer's context too. A body that is text is text, as it is from an API that
// has no binary media types: functions that were made for one know of nothing else.
func (c *call) event() ([]byte, error) {
	var ev map[string]json.RawMessage
	if err := json.Unmarshal(c.arrival.Event, &ev); err != nil {
		return nil, err
	}
	body, encoded := ev["body"], ev["isBase64Encoded"]
	for name, raw := range ev {
		if name != "body" {
			ev[name] = json.RawMessage(c.scrub(string(raw)))
		}
	}

	single, multi := map[string]string{}, map[string][]string{}
	if err := errors.Join(member(ev, "headers", &single), member(ev, "multiValueHeaders", &multi)); err != nil {
		return nil, err
	}
	maps.DeleteFunc(single, func(name, value string) bool { return c.withheld(name, []string{value}) })
	maps.DeleteFunc(multi, c.withheld)
	for name, value := range c.identity() {
		single[name], multi[name] = value, []string{value}
	}
	ev["headers"], ev["multiValueHeaders"] = marshal(single), marshal(multi)

	if string(encoded) == "true" {
		var text string
		if err := json.Unmarshal(body, &text); err != nil {
			return nil, err
		}
		if b, err := base64.StdEncoding.DecodeString(text); err == nil && utf8.Valid(b) {
			ev["body"], ev["isBase64Encoded"] = marshal(string(b)), json.RawMessage("false")
		}
	}
	return marshal(ev), nil
}

// member reads a member of an object; null and none leave target as it is.
func member(ev map[string]json.RawMessage, name string, target any) error {
	raw, ok := ev[name]
	if !ok || string(raw) == "null" {
		return nil
	}
	return json.Unmarshal(raw, target)
}

// marshal encodes what always can be, without the escapes for JSON inside HTML.
func marshal(v any) json.RawMessage {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// output is that of a Lambda proxy integration
// (https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html#api-gateway-simple-proxy-for-lambda-output-format).
type output struct {
	StatusCode        json.RawMessage            `json:"statusCode"`
	Headers           map[string]json.RawMessage `json:"headers"`
	MultiValueHeaders map[string][]json.RawMessage
	Body              *string `json:"body"`
	IsBase64Encoded   bool    `json:"isBase64Encoded"`
}

// parseOutput takes what API Gateway takes, as far as that is known: no member is needed,
// none may be there besides, a status may be a number in a string, a header's value a
// boolean. The error says nothing more: the gateway's answer to it is 502.
func parseOutput(text []byte) (*answer, error) {
	out := output{StatusCode: json.RawMessage("200")}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&out); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); err != io.EOF || bytes.Equal(bytes.TrimSpace(text), []byte("null")) {
		return nil, errMalformed
	}
	a := &answer{header: http.Header{}}
	var err error
	if a.status, err = strconv.Atoi(strings.Trim(string(out.StatusCode), `"`)); err != nil || a.status < 200 || a.status > 599 {
		return nil, errStatus
	}
	add := func(name string, raw json.RawMessage) error {
		value, err := headerValue(raw)
		if err != nil || !validHeader(name, value) {
			return errMalformed
		}
		a.header.Add(name, value)
		return nil
	}
	for name, values := range out.MultiValueHeaders {
		for _, raw := range values {
			if err := add(name, raw); err != nil {
				return nil, err
			}
		}
	}
	// "If you specify values for both headers and multiValueHeaders, API Gateway merges them
	// into a single list. If the same key-value pair is specified in both, only the values
	// from multiValueHeaders will appear in the merged list."
	for name, raw := range out.Headers {
		if value, err := headerValue(raw); err == nil && slices.Contains(a.header.Values(name), value) {
			continue
		}
		if err := add(name, raw); err != nil {
			return nil, err
		}
	}
	if out.Body == nil {
		return a, nil
	}
	a.body = []byte(*out.Body)
	if out.IsBase64Encoded {
		a.body, err = base64.StdEncoding.DecodeString(*out.Body)
	}
	return a, err
}

func headerValue(raw json.RawMessage) (string, error) {
	var value any
	if err := json.Unmarshal(raw, &value); err != nil {
		return "", err
	}
	switch value := value.(type) {
	case string:
		return value, nil
	case bool:
		return strconv.FormatBool(value), nil
	}
	return "", errMalformed
}

// validHeader reports whether HTTP has such a header (RFC 9110 section 5.5 and 5.6.2): a
// line break would make two of one.
func validHeader(name, value string) bool {
	for i := range len(name) {
		c := name[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0) {
			return false
		}
	}
	for i := range len(value) {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return name != ""
}
