package route_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/route"
)

const arn = "arn:aws:lambda:eu-central-1:123456789012:function:orders"

// forward is a row that has an upstream and more members.
func forward(path, upstream, more string) string {
	return fmt.Sprintf(`{"method": "ANY", "path": %q, "upstream": %s%s}`, path, upstream, more)
}

func TestARowMayHaveAnUpstream(t *testing.T) {
	tab := load(t,
		forward("/v1/orders/{rest+}", `{"url": "https://orders.example.com/base/"}`, `, "permission": "a:r"`),
		forward("/v1/quotes", `{"lambda": "`+arn+`:live", "timeoutSeconds": 3}`, ""),
		forward("/v1/more", `{"lambda": "`+arn+`"}`, `, "public": true`),
		get("/v1/mine", ""),
	)
	for path, want := range map[string]route.Route{
		"/v1/orders/{rest+}": {
			Permission: "a:r", Credential: route.APIKeyHeader, Function: route.Forward,
			Upstream: route.Upstream{URL: "https://orders.example.com/base", TimeoutSeconds: 25},
		},
		"/v1/quotes": {Credential: route.APIKeyHeader, Function: route.Forward, Upstream: route.Upstream{Lambda: arn + ":live", TimeoutSeconds: 3}},
		"/v1/more":   {Public: true, Function: route.Forward, Upstream: route.Upstream{Lambda: arn, TimeoutSeconds: 25}},
		"/v1/mine":   {Credential: route.APIKeyHeader, Function: "sample"},
	} {
		want.Path, want.Method = path, "GET"
		got, ok := tab.Lookup("GET", path)
		if diff := cmp.Diff(want, got); diff != "" || !ok {
			t.Errorf("Lookup(GET %s) (-want +got)\n%s", path, diff)
		}
	}
	if diff := cmp.Diff([]string{arn, arn + ":live"}, tab.Lambdas()); diff != "" {
		t.Errorf("Lambdas() (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff([]string{"console", "forward", "keys", "sample"}, tab.Functions()); diff != "" {
		t.Errorf("Functions() (-want +got)\n%s", diff)
	}
}

func TestAnswersAreCompressedWhereThereIsNoUpstream(t *testing.T) {
	if got := route.Default().CompressFrom(); got != 1024 {
		t.Errorf("the sample's table: from %d bytes, want 1024", got)
	}
	if got := load(t, forward("/x", `{"lambda": "`+arn+`"}`, "")).CompressFrom(); got != 0 {
		t.Errorf("a table with an upstream: from %d bytes, want never", got)
	}
}

func TestBodiesAreBinaryWhereThereIsAnUpstream(t *testing.T) {
	if got := route.Default().BinaryMediaTypes(); got != nil {
		t.Errorf("the sample's table: %v, want none", got)
	}
	if got := load(t, forward("/x", `{"lambda": "`+arn+`"}`, "")).BinaryMediaTypes(); !slices.Equal(got, []string{"*/*"}) {
		t.Errorf("a table with an upstream: %v, want */*", got)
	}
}

func TestFaultsOfUpstreamsAreReportedByField(t *testing.T) {
	ok := `{"url": "https://a.example"}`
	for name, c := range map[string]struct{ row, want string }{
		"a function beside it":     {`{"method": "GET", "path": "/x", "function": "sample", "upstream": ` + ok + `}`, "routes[0] (GET /x): upstream: a route has a function or an upstream"},
		"function forward":         {`{"method": "GET", "path": "/x", "function": "forward"}`, "routes[0] (GET /x): function: forward is one of Keyreeve's own"},
		"function flush":           {`{"method": "GET", "path": "/x", "function": "flush"}`, "function: flush is one of Keyreeve's own"},
		"function notify":          {`{"method": "GET", "path": "/x", "function": "notify"}`, "function: notify is one of Keyreeve's own"},
		"unguarded":                {forward("/x", ok, `, "unguarded": true`), "routes[0] (ANY /x): unguarded: a route with an upstream is always guarded"},
		"a management route":       {forward("/v1/api-keys/x", ok, ""), "path: /v1/api-keys and everything below it is Keyreeve's own"},
		"nothing in it":            {forward("/x", `{}`, ""), "routes[0] (ANY /x): upstream: want either url or lambda"},
		"a time-out alone":         {forward("/x", `{"timeoutSeconds": 5}`, ""), "upstream: want either url or lambda"},
		"url and lambda":           {forward("/x", `{"url": "https://a.example", "lambda": "`+arn+`"}`, ""), "upstream: want either url or lambda"},
		"no object":                {forward("/x", `"https://a.example"`, ""), "routes[0]: upstream: want an object"},
		"an unknown field":         {forward("/x", `{"url": "https://a.example", "host": "b"}`, ""), `routes[0]: upstream: unknown field "host"`},
		"a field twice":            {forward("/x", `{"url": "https://a.example", "url": "https://b.example"}`, ""), `routes[0]: upstream: field "url" is given twice`},
		"a url of another kind":    {forward("/x", `{"url": 1}`, ""), `routes[0]: upstream: field "url": want a string`},
		"a time-out in words":      {forward("/x", `{"url": "https://a.example", "timeoutSeconds": "5s"}`, ""), `upstream: field "timeoutSeconds": want a whole number`},
		"no time":                  {forward("/x", `{"url": "https://a.example", "timeoutSeconds": 0}`, ""), "routes[0] (ANY /x): upstream.timeoutSeconds: want 1 to 28"},
		"more than the gateway's":  {forward("/x", `{"url": "https://a.example", "timeoutSeconds": 29}`, ""), "upstream.timeoutSeconds: want 1 to 28"},
		"a url without its scheme": {forward("/x", `{"url": "a.example"}`, ""), "routes[0] (ANY /x): upstream.url: want http:// or https://"},
		"no ARN":                   {forward("/x", `{"lambda": "orders"}`, ""), "routes[0] (ANY /x): upstream.lambda: want the ARN of a function"},
	} {
		switch file := table(c.row); name {
		case "no object", "a url of another kind":
			// What was not read is missing as well.
			refused(t, name, file, c.want, "upstream: want either url or lambda")
		default:
			refused(t, name, file, c.want)
		}
	}
}

// What an editor marks by the schema and what the loader refuses are the same, and no error
// repeats a value: a password in a URL is a secret.
func TestFormsOfUpstreams(t *testing.T) {
	s := readSchema(t)
	long := strings.Repeat("x", 1100)
	for _, c := range []struct {
		field  string
		good   bool
		values []string
	}{
		{"url", true, []string{
			"https://a.example", "http://a.example", "https://a.example/", "https://a.example/base", "https://a.example/a/b.c/~d/%20e/",
			"http://localhost:3000", "http://127.0.0.1:1", "http://[::1]:8080/x", "https://my_host.internal:65535", "https://A.EXAMPLE/x:y@z",
		}},
		{"url", false, []string{
			"a.example", "//a.example", "ftp://a.example", "HTTPS://a.example", "https:a.example", "https://", "https:///x", "https://:80",
			"https://hunter2@a.example", "https://user:hunter2@a.example/x", "https://a.example?hunter2", "https://a.example/?", "https://a.example/x?hunter2=1",
			"https://a.example#hunter2", "https://a.example/#", "https://a.example//", "https://a.example//x", "https://a.example/x//",
			"https://a.example/a b", "https://a.example\\@b.example", "https://a.example/\\x", "https://a.example/\r\nX: y", "https://a.example\n",
			" https://a.example", "https://a.example:", "https://a.example:http", "https://a.example:123456", "https://[::1", "https://::1",
			"https://[a b]", "https://a.example/{id}", "https://ä.example", "https://a.example/ä", "https://" + long + ".example",
		}},
		{"lambda", true, []string{
			arn, arn + ":7", arn + ":$LATEST", arn + ":my-alias_1", "arn:aws-cn:lambda:cn-north-1:123456789012:function:f", "arn:aws-us-gov:lambda:us-gov-west-1:123456789012:function:My_f-1",
		}},
		{"lambda", false, []string{
			"orders", "arn", arn + ":", arn + ":a:b", arn + ":*", "arn:aws:lambda:*:123456789012:function:f", "arn:aws:lambda:eu-central-1:*:function:f",
			"arn:aws:lambda:eu-central-1:12345678901:function:f", "arn:aws:lambda:eu-central-1:12345678901x:function:f", "arn:aws:s3:eu-central-1:123456789012:function:f",
			"arn:aws:lambda:eu-central-1:123456789012:layer:f", "arn:aws:lambda:eu-central-1:123456789012:function:*", "arn:aws:lambda:eu-central-1:123456789012:function:" + long,
			"arn:aws:lambda::123456789012:function:f", "arn:hunter2:lambda:eu-central-1:123456789012:function:f", "arn:aws:lambda:eu.evil.example/:123456789012:function:f", arn + "\n",
		}},
	} {
		for _, value := range c.values {
			text, _ := json.Marshal(value)
			file := table(forward("/x", fmt.Sprintf(`{%q: %s}`, c.field, text), ""))
			_, err := route.Load(file)
			var v any
			if e := json.Unmarshal(file, &v); e != nil {
				t.Fatal(e)
			}
			faults := s.validate(t, s, "file", v)
			if (err == nil) != c.good || (len(faults) == 0) != c.good {
				t.Errorf("%s %.60q: the loader says %v, the schema %v; want good: %t", c.field, value, err, faults, c.good)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%s %.60q: the error repeats the value", c.field, value)
			}
		}
	}
	// The forms that no pattern tells apart.
	for _, url := range []string{"https://a.example:0", "https://a.example:65536", "https://a.example/..", "https://a.example/./x", "https://a.example/%zz", "https://[::1::2::3]x"} {
		refused(t, url, table(forward("/x", fmt.Sprintf(`{"url": %q}`, url), "")), "upstream.url: want http:// or https://")
	}
}
