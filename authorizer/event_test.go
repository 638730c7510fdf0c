package authorizer

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/aws/aws-lambda-go/events"
	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

const placeholder = "REPLACE-WITH-YOUR-KEY"

func sample(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("../events/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSampleEventsAreEventsOfAPIGatewayWithoutAKey(t *testing.T) {
	for name, want := range map[string]struct {
		header, value, stage, method, path, resource string
	}{
		"authorizer-x-api-key.json":     {"X-API-Key", placeholder, "production", "GET", "/v1/customers/cus_1", "/v1/customers/{customerId}"},
		"authorizer-authorization.json": {"Authorization", "Api-Key " + placeholder, "shared", "POST", "/v1/workspaces/", "/v1/workspaces"},
	} {
		payload := sample(t, name)
		var ev events.APIGatewayCustomAuthorizerRequestTypeRequest
		if err := json.Unmarshal(payload, &ev); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got := want
		got.header, got.value = "", ev.Headers[want.header]
		if len(ev.MultiValueHeaders[want.header]) == 1 && ev.MultiValueHeaders[want.header][0] == got.value {
			got.header = want.header
		}
		got.stage, got.method, got.path, got.resource = ev.StageVariables["environment"], ev.HTTPMethod, ev.Path, ev.Resource
		if got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
		rc := ev.RequestContext
		if ev.Type != "REQUEST" || rc.Stage != want.stage || rc.HTTPMethod != want.method || rc.ResourcePath != want.resource || rc.Path != "/"+want.stage+want.path ||
			rc.RequestID == "" || rc.AccountID == "" || rc.APIID == "" || rc.Identity.SourceIP == "" ||
			ev.MethodArn != "arn:aws:execute-api:eu-central-1:"+rc.AccountID+":"+rc.APIID+"/"+want.stage+"/"+want.method+want.path {
			t.Errorf("%s contradicts itself: %+v", name, ev)
		}
		if _, err := apikey.Parse(placeholder); err == nil {
			t.Error("the placeholder could be a key")
		}

		// As it is, it is refused; with a key in its place, it is not.
		w := newWorld(t)
		if _, err := w.a.Invoke(t.Context(), payload); err == nil || err.Error() != "Unauthorized" || w.store.reads.Load() != 0 {
			t.Errorf("%s as it is: error %v after %d reads, want Unauthorized after 0", name, err, w.store.reads.Load())
		}
		payload = bytes.ReplaceAll(payload, []byte(placeholder), []byte(w.key.Plaintext()))
		if _, err := w.a.Invoke(t.Context(), payload); err != nil {
			t.Errorf("%s with a key: %v", name, err)
		}
	}
}

// reference reads an event with encoding/json. It takes what readEvent should take: JSON
// without duplicate names, in UTF-8, with the right types where the authorizer looks.
func reference(payload []byte) (ev event, extended string, err error) {
	if !utf8.Valid(payload) {
		return event{}, "", errors.New("no UTF-8")
	}
	v, err := strictValue(json.NewDecoder(bytes.NewReader(payload)))
	if err != nil {
		return event{}, "", err
	}
	top, err := object(v)
	if err != nil {
		return event{}, "", err
	}
	variables, err1 := object(top["stageVariables"])
	context, err2 := object(top["requestContext"])
	single, err3 := object(top["headers"])
	multi, err4 := object(top["multiValueHeaders"])
	err = errors.Join(err1, err2, err3, err4,
		text(top, "methodArn", &ev.methodARN), text(variables, "environment", &ev.environment), text(context, "requestId", &ev.requestID))
	extended, _ = context["extendedRequestId"].(string)
	if epoch, ok := context["requestTimeEpoch"].(json.Number); ok {
		if n, err := epoch.Int64(); err == nil {
			ev.timeMillis = n
		}
	}
	ev.single.there, ev.multi.there = single != nil, multi != nil
	add := func(f *found, v any, authorization bool) {
		s, ok := v.(string)
		if !ok {
			err = errors.New("a credential is no string")
		}
		f.n, f.value, f.authorization = f.n+1, s, authorization
	}
	for name, v := range single {
		if is, authorization := credentialHeader(name); is {
			add(&ev.single, v, authorization)
		}
	}
	for name, v := range multi {
		if is, authorization := credentialHeader(name); is {
			list, ok := v.([]any)
			if !ok {
				err = errors.New("a header is no list")
			}
			for _, v := range list {
				add(&ev.multi, v, authorization)
			}
		}
	}
	return ev, extended, err
}

func credentialHeader(name string) (is, authorization bool) {
	for i := 0; i < len(name); i++ {
		if name[i] >= 0x80 {
			return false, false
		}
	}
	authorization = strings.EqualFold(name, "Authorization")
	return authorization || strings.EqualFold(name, "X-API-Key"), authorization
}

func object(v any) (map[string]any, error) {
	if v == nil {
		return nil, nil
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("no object")
	}
	return m, nil
}

func text(m map[string]any, name string, to *string) error {
	v, there := m[name]
	s, ok := v.(string)
	if there && !ok {
		return errors.New(name + " is no string")
	}
	*to = s
	return nil
}

// strictValue decodes one value and nothing after it, without duplicate names.
func strictValue(d *json.Decoder) (any, error) {
	d.UseNumber()
	v, err := nextValue(d)
	if err == nil {
		if _, end := d.Token(); end != io.EOF {
			err = errors.New("trailing data")
		}
	}
	return v, err
}

func nextValue(d *json.Decoder) (any, error) {
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t {
	case json.Delim('{'):
		m := map[string]any{}
		for d.More() {
			name, err := d.Token()
			if err != nil {
				return nil, err
			}
			v, err := nextValue(d)
			if err != nil {
				return nil, err
			}
			if _, dup := m[name.(string)]; dup {
				return nil, errors.New("duplicate name")
			}
			m[name.(string)] = v
		}
		_, err = d.Token()
		return m, err
	case json.Delim('['):
		list := []any{}
		for d.More() {
			v, err := nextValue(d)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err = d.Token()
		return list, err
	}
	return t, nil
}

// FuzzReadEvent holds the reader to encoding/json: the same is taken, and what is taken
// means the same.
func FuzzReadEvent(f *testing.F) {
	f.Add(sample(f, "authorizer-x-api-key.json"))
	f.Add(sample(f, "authorizer-authorization.json"))
	for _, s := range []string{
		``, `null`, `{}`, `[]`, `{"a":1}{}`, ` { "methodArn" : "x" } `, `{"methodArn":null}`, `{"methodArn":"\u0061\ud83d\ude00"}`, `{"methodArn":"\ud800"}`,
		`{"method\u0041rn":"x"}`, `{"headers":{"x-api-\u006bey":"v","X-API-Key":"w"}}`, `{"headers":{"X-API-\u212aey":"v"}}`, `{"headers":{"A":[1,{"b":null}]}}`,
		`{"multiValueHeaders":{"AUTHORIZATION":["a","b"],"x-api-key":[]}}`, `{"multiValueHeaders":{"x-api-key":["a",1]}}`, `{"multiValueHeaders":null,"headers":null}`,
		`{"stageVariables":{"environment":"production","environment":"x"}}`, `{"stageVariables":[]}`, `{"requestContext":{"requestId":"a","identity":{"x":[[[]]]}}}`,
		`{"requestContext":{"requestId":1}}`,
		`{"requestContext":{"extendedRequestId":"Ab=\u002f\"","requestTimeEpoch":1768473000000,"requestId":"a"}}`, `{"requestContext":{"extendedRequestId":null,"requestTimeEpoch":1e12}}`,
		`{"requestContext":{"extendedRequestId":[{}],"requestTimeEpoch":"1768473000000"}}`, `{"requestContext":{"requestTimeEpoch":-1,"extendedRequestId" : "" }}`, `{"requestContext":{"requestTimeEpoch":01}}`,
		`{"requestContext":{"requestTimeEpoch":99999999999999999999}}`, `{"x":1e999,"y":-0,"z":0.10E+2}`, "{\"methodArn\":\"a\tb\"}", "{\"a\":\"\xff\"}", `{"a":tru}`, `{"a":1,}`, `{"":{"":""}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		want, extended, wantErr := reference(payload)
		got, err := readEvent(bytes.Clone(payload))
		if bytes.Contains(payload, []byte(`\u`)) && err != nil && wantErr == nil {
			return // encoding/json takes half of a surrogate pair for U+FFFD; here it is an error
		}
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("readEvent: error %v, encoding/json: %v", err, wantErr)
		}
		if err != nil {
			return
		}
		if got.extended() != extended {
			t.Errorf("extendedRequestId %q, encoding/json: %q", got.extended(), extended)
		}
		got.extendedRequestID = nil
		// With several credentials it does not matter which one is kept: none counts.
		for _, f := range []*found{&got.single, &want.single, &got.multi, &want.multi} {
			if f.n > 1 {
				f.value, f.authorization = "", false
			}
		}
		if d := cmp.Diff(want, got, cmp.AllowUnexported(event{}, found{})); d != "" {
			t.Errorf("readEvent (-encoding/json +got):\n%s", d)
		}
	})
}

func TestMalformedEventIsNotQuoted(t *testing.T) {
	const secret = "a-secret-of-whoever-sent-it"
	for _, payload := range []string{
		`{"methodArn":` + secret + `}`, `{"` + secret + `":1,"` + secret + `":2}`, `{"multiValueHeaders":{"X-API-Key":"` + secret + `"}}`, secret,
	} {
		if _, err := readEvent([]byte(payload)); err == nil || strings.Contains(err.Error(), secret[:8]) {
			t.Errorf("readEvent: error %v, want one that quotes nothing", err)
		}
	}
}

func TestCredentialIsTakenOnlyIfItIsTheOnlyOne(t *testing.T) {
	for name, c := range map[string]struct {
		ev     event
		want   string
		reason keys.Reason
	}{
		"none":                 {event{}, "", keys.ReasonNone},
		"one":                  {event{multi: found{there: true, n: 1, value: "k"}}, "k", keys.OK},
		"in headers":           {event{single: found{there: true, n: 1, value: "k"}}, "k", keys.OK},
		"in both, once":        {event{single: found{there: true, n: 1, value: "k"}, multi: found{there: true, n: 1, value: "k"}}, "k", keys.OK},
		"in headers alone":     {event{single: found{there: true, n: 1, value: "k"}, multi: found{there: true}}, "", keys.ReasonNone},
		"several":              {event{multi: found{there: true, n: 2, value: "k"}}, "", keys.ReasonSeveral},
		"Authorization":        {event{multi: found{there: true, n: 1, value: "Bearer k", authorization: true}}, "k", keys.OK},
		"Authorization, other": {event{multi: found{there: true, n: 1, value: "Basic k", authorization: true}}, "", keys.ReasonMalformed},
	} {
		if got, reason := c.ev.credential(); got != c.want || reason != c.reason {
			t.Errorf("%s: %q, %q; want %q, %q", name, got, reason, c.want, c.reason)
		}
	}
}
