package proxy

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/route"
)

// withRows gives the fixture a table of public rows of the function sample.
func (f *fixture) withRows(paths ...string) {
	f.t.Helper()
	var rows []string
	for _, p := range paths {
		rows = append(rows, `{"method": "GET", "path": "`+p+`", "function": "sample", "public": true}`)
	}
	var err error
	if f.table, err = route.Load([]byte(`{"routes": [` + strings.Join(rows, ",") + `]}`)); err != nil {
		f.t.Fatal(err)
	}
}

func TestPathsOfHandlersAndOfArrivals(t *testing.T) {
	f := newFixture(t)
	f.withRows("/g/{rest+}", "/o/{id}", "/o/{id}/p/{rest+}", "/plain", "/{all+}", "/")
	var path, arrived string
	f.handler = func(_ http.ResponseWriter, r *http.Request) {
		a, ok := ArrivalOf(r.Context())
		if !ok || !bytes.Contains(a.Event, []byte(a.Route.Path)) {
			t.Errorf("arrival %t: %v", ok, a)
		}
		path, arrived = r.URL.EscapedPath(), a.Path
	}
	p := f.proxy()
	type values = map[string]string
	for _, c := range []struct {
		resource, sent  string
		params          values
		handler, arrive string
	}{
		{"/plain", "/plain", nil, "/plain", "/plain"},
		{"/plain", "/plain/", nil, "/plain", "/plain/"},
		{"/plain", "/mapped/plain/", nil, "/plain", "/plain/"},
		{"/", "/", nil, "/", "/"},
		{"/g/{rest+}", "/g/a/b/", values{"rest": "a/b"}, "/g/a/b", "/g/a/b/"},
		{"/g/{rest+}", "/g/a%2Fb/%63%20d", values{"rest": "a%2Fb/%63%20d"}, "/g/a%2Fb/%63%20d", "/g/a%2Fb/%63%20d"},
		{"/g/{rest+}", "/g/x", values{"rest": "a b?c#d\r\n%zz%"}, "/g/a%20b%3Fc%23d%0D%0A%25zz%25", "/g/a%20b%3Fc%23d%0D%0A%25zz%25"},
		{"/o/{id}", "/o/%63us", values{"id": "%63us"}, "/o/cus", "/o/%63us"},
		{"/o/{id}", "/o/a%2Fb", values{"id": "a%2Fb"}, "/o/a%2Fb", "/o/a%2Fb"},
		{"/o/{id}", "/o/x", values{"id": "a/b"}, "/o/a%2Fb", "/o/a%2Fb"},
		{"/o/{id}", "/o/x", values{"id": "{id}"}, "/o/%7Bid%7D", "/o/%7Bid%7D"},
		{"/o/{id}/p/{rest+}", "/o/x", values{"id": "{rest+}", "rest": "{id}/y"}, "/o/%7Brest+%7D/p/%7Bid%7D/y", "/o/%7Brest+%7D/p/%7Bid%7D/y"},
		{"/{all+}", "/a/b", values{"all": "a/b"}, "/a/b", "/a/b"},
	} {
		ev := f.event()
		ev.Resource, ev.Path, ev.PathParameters = c.resource, c.sent, c.params
		path, arrived = "", ""
		if res := f.invoke(p, ev); res.StatusCode != 200 {
			t.Errorf("%s: %d %s", c.sent, res.StatusCode, res.Body)
		}
		if path != c.handler || arrived != c.arrive {
			t.Errorf("%s with %v: the handler has %q, the arrival %q; want %q, %q", c.resource, c.params, path, arrived, c.handler, c.arrive)
		}
	}
	if _, ok := ArrivalOf(t.Context()); ok {
		t.Error("a context that no proxy has made has an arrival")
	}
}

func TestAnEventWithoutItsParametersIsAnError(t *testing.T) {
	f := newFixture(t)
	f.withRows("/o/{id}", "/g/{rest+}")
	for _, resource := range []string{"/o/{id}", "/g/{rest+}"} {
		ev := f.event()
		ev.Resource, ev.PathParameters = resource, map[string]string{"other": "x"}
		if res := f.invoke(f.proxy(), ev); res.StatusCode != 500 || f.calls != 0 {
			t.Errorf("%s: %d, %d calls", resource, res.StatusCode, f.calls)
		}
	}
}

func TestTheQueryIsTheEvents(t *testing.T) {
	f := newFixture(t)
	f.withRows("/plain")
	var query string
	f.handler = func(_ http.ResponseWriter, r *http.Request) { query = r.URL.RawQuery }
	base := f.event()
	base.Resource = "/plain"
	text, err := json.Marshal(base)
	if err != nil {
		t.Fatal(err)
	}
	const none = `"multiValueQueryStringParameters":null`
	if !bytes.Contains(text, []byte(none)) {
		t.Fatalf("no %s in %s", none, text)
	}
	for member, want := range map[string]string{
		none:                                   "",
		`"multiValueQueryStringParameters":{}`: "",
		`"multiValueQueryStringParameters":{"z":["2","1"],"a":[""],"m":["x"]}`:                      "z=2&z=1&a=&m=x",
		`"multiValueQueryStringParameters":{"a b":["c+d&e=f","%","€","\u0000"]}`:                    "a%20b=c%2Bd%26e%3Df&a%20b=%25&a%20b=%E2%82%AC&a%20b=%00",
		`"multiValueQueryStringParameters":null,"queryStringParameters":{"z":"1","a":"2"}`:          "a=2&z=1",
		`"multiValueQueryStringParameters":{"z":["1","2"]},"queryStringParameters":{"z":"2"}`:       "z=1&z=2",
		`"multiValueQueryStringParameters":{"a":null,"b":[]},"queryStringParameters":{"a":"never"}`: "",
	} {
		out, err := f.proxy().Invoke(t.Context(), bytes.Replace(text, []byte(none), []byte(member), 1))
		if query != want || err != nil {
			t.Errorf("%s: query %q, %v, %s; want %q", member, query, err, out, want)
		}
		query = ""
	}
	for _, member := range []string{`[]`, `"a"`, `{"a":"b"}`, `{"a":[1]}`} {
		if _, err := f.proxy().Invoke(t.Context(), bytes.Replace(text, []byte(none), []byte(`"multiValueQueryStringParameters":`+member), 1)); err == nil {
			t.Errorf("%s: no error", member)
		}
	}
}

// What a handler has written in vain leaves nothing behind.
func TestAPanicLeavesNoHeaderOfTheHandlers(t *testing.T) {
	f := newFixture(t)
	f.handler = func(w http.ResponseWriter, _ *http.Request) {
		for _, name := range []string{"Content-Encoding", "Set-Cookie", "Cache-Control", "Content-Length", "X-RateLimit-Limit"} {
			w.Header().Set(name, "the handler's")
		}
		_, _ = io.WriteString(w, "half an ")
		panic("half way")
	}
	res := f.invoke(f.proxy(), f.event())
	want := map[string][]string{"Cache-Control": {"no-store"}, "Content-Type": {"application/json"}, "X-Ratelimit-Limit": {"3"}, "X-Ratelimit-Remaining": {"2"}}
	for name := range res.MultiValueHeaders {
		if strings.HasPrefix(name, "Ratelimit") || name == "X-Ratelimit-Reset" {
			delete(res.MultiValueHeaders, name)
		}
	}
	if d := cmp.Diff(want, res.MultiValueHeaders); d != "" || res.StatusCode != 500 {
		t.Errorf("%d, headers (-want +got)\n%s", res.StatusCode, d)
	}
}
