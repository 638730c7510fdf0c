package route_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/route"
)

// table makes a file of rows, with a catalogue that has a:r, a:w and b:r.
func table(rows ...string) []byte {
	return []byte(`{"$schema": "routes.schema.json", "permissions": [
		{"name": "a:r", "label": "A Read"}, {"name": "a:w", "label": "A Write"}, {"name": "b:r", "label": "B Read"}
	], "routes": [` + strings.Join(rows, ",") + `]}`)
}

// get is a row of method GET and function sample with more members.
func get(path, more string) string {
	return fmt.Sprintf(`{"method": "GET", "path": %q, "function": "sample"%s}`, path, more)
}

func load(t testing.TB, rows ...string) *route.Table {
	t.Helper()
	tab, err := route.Load(table(rows...))
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	return tab
}

// refused asserts that a table is refused with exactly these errors, in any order.
func refused(t *testing.T, name string, file []byte, want ...string) {
	t.Helper()
	tab, err := route.Load(file)
	if err == nil || tab != nil {
		t.Errorf("%s: Load accepts it", name)
		return
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != len(want) {
		t.Errorf("%s: %d errors, want %d:\n%v", name, len(lines), len(want), err)
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%s: no error has %q:\n%v", name, w, err)
		}
	}
	for _, line := range lines {
		if !strings.HasPrefix(line, "route table: ") {
			t.Errorf("%s: the error %q does not say what it is about", name, line)
		}
	}
}

func TestFaultsAreReportedByRowAndField(t *testing.T) {
	good := get("/v1/x", "")
	for name, c := range map[string]struct {
		rows []string
		want string
	}{
		"no method":              {[]string{good, `{"path": "/v1/y", "function": "sample"}`}, "routes[1]: method: want ANY or one of DELETE, GET"},
		"unknown method":         {[]string{`{"method": "FETCH", "path": "/v1/y", "function": "sample"}`}, "routes[0]: method: want ANY or one of"},
		"method in lower case":   {[]string{`{"method": "get", "path": "/v1/y", "function": "sample"}`}, "routes[0]: method: want ANY or one of"},
		"OPTIONS":                {[]string{`{"method": "OPTIONS", "path": "/v1/y", "function": "sample"}`}, "routes[0]: method: OPTIONS is answered on every path"},
		"no path":                {[]string{`{"method": "GET", "function": "sample"}`}, "routes[0]: path: want segments"},
		"path without slash":     {[]string{get("v1/y", "")}, "routes[0]: path: want segments"},
		"trailing slash":         {[]string{get("/v1/y/", "")}, "routes[0]: path: want segments"},
		"empty segment":          {[]string{get("/v1//y", "")}, "routes[0]: path: want segments"},
		"dot segment":            {[]string{get("/v1/../y", "")}, "routes[0]: path: want segments"},
		"star in a path":         {[]string{get("/v1/*", "")}, "routes[0]: path: want segments"},
		"question mark":          {[]string{get("/v1/a?b", "")}, "routes[0]: path: want segments"},
		"percent in a path":      {[]string{get("/v1/a%2Fb", "")}, "routes[0]: path: want segments"},
		"half a parameter":       {[]string{get("/v1/{id", "")}, "routes[0]: path: want segments"},
		"parameter and more":     {[]string{get("/v1/x{id}", "")}, "routes[0]: path: want segments"},
		"parameter without name": {[]string{get("/v1/{}", "")}, "routes[0]: path: want segments"},
		"parameter with a dash":  {[]string{get("/v1/{a-b}", "")}, "routes[0]: path: want segments"},
		"greedy in the middle":   {[]string{get("/v1/{rest+}/x", "")}, "routes[0]: path: want segments"},
		"path too long":          {[]string{get("/"+strings.Repeat("x", 256), "")}, "routes[0]: path: want segments"},
		"parameter named twice":  {[]string{get("/v1/{id}/{id}", "")}, "routes[0]: path: names a parameter twice"},
		"no function":            {[]string{`{"method": "GET", "path": "/v1/y"}`}, "routes[0] (GET /v1/y): function: want 1 to 32"},
		"function in capitals":   {[]string{`{"method": "GET", "path": "/v1/y", "function": "Sample"}`}, "routes[0] (GET /v1/y): function: want 1 to 32"},
		"function with a slash":  {[]string{`{"method": "GET", "path": "/v1/y", "function": "a/b"}`}, "routes[0] (GET /v1/y): function: want 1 to 32"},
		"function admin":         {[]string{`{"method": "GET", "path": "/v1/y", "function": "admin", "public": true}`}, "routes[0] (GET /v1/y): function: admin is one of Keyreeve's own"},
		"function keys":          {[]string{`{"method": "GET", "path": "/v1/y", "function": "keys"}`}, "function: keys is one of Keyreeve's own"},
		"function authorizer":    {[]string{`{"method": "GET", "path": "/v1/y", "function": "authorizer"}`}, "function: authorizer is one of Keyreeve's own"},
		"function stream":        {[]string{`{"method": "GET", "path": "/v1/y", "function": "stream"}`}, "function: stream is one of Keyreeve's own"},
		"unknown credential":     {[]string{get("/v1/y", `, "credential": "Cookie"`)}, "routes[0] (GET /v1/y): credential: want X-API-Key or Authorization"},
		"unknown permission":     {[]string{get("/v1/y", `, "permission": "a:x"`)}, "routes[0] (GET /v1/y): permission: names no row of the catalogue"},
		"wildcard permission":    {[]string{get("/v1/y", `, "permission": "a:*"`)}, "routes[0] (GET /v1/y): permission: names no row of the catalogue"},
		"permission for all":     {[]string{get("/v1/y", `, "permission": "*"`)}, "routes[0] (GET /v1/y): permission: names no row of the catalogue"},
		"customer not in path":   {[]string{get("/v1/{id}", `, "customer": "customerId"`)}, "routes[0] (GET /v1/{id}): customer: names no parameter"},
		"customer is static":     {[]string{get("/v1/id", `, "customer": "id"`)}, "customer: names no parameter"},
		"customer is greedy":     {[]string{get("/v1/{id+}", `, "customer": "id"`)}, "customer: names no parameter"},
		"public with permission": {[]string{get("/v1/y", `, "public": true, "permission": "a:r"`)}, "routes[0] (GET /v1/y): permission: a public route"},
		"public with credential": {[]string{get("/v1/y", `, "public": true, "credential": "X-API-Key"`)}, "credential: a public route"},
		"public with customer":   {[]string{get("/v1/{id}", `, "public": true, "customer": "id"`)}, "customer: a public route"},
		"public and unguarded":   {[]string{get("/v1/y", `, "public": true, "unguarded": true`)}, "unguarded: a public route"},
		"duplicate":              {[]string{good, get("/v1/y", ""), get("/v1/x", `, "permission": "a:r"`)}, "routes[2] (GET /v1/x): method: the same route as routes[0] (GET /v1/x)"},
		"duplicate ANY": {[]string{`{"method": "ANY", "path": "/v1/y", "function": "sample"}`, `{"method": "ANY", "path": "/v1/y", "function": "sample"}`},
			"routes[1] (ANY /v1/y): method: the same route as routes[0] (ANY /v1/y)"},
		"two parameter names":  {[]string{get("/v1/{a}/x", ""), get("/v1/{b}/y", "")}, "routes[1] (GET /v1/{b}/y): path: API Gateway allows one parameter in a place, and where this has {b}, routes[0] (GET /v1/{a}/x) has {a}"},
		"parameter and greedy": {[]string{get("/v1/{a}", ""), get("/v1/{a+}", "")}, "routes[1] (GET /v1/{a+}): path: API Gateway allows one parameter in a place"},
		"other methods, too":   {[]string{get("/v1/{a}", ""), `{"method": "POST", "path": "/v1/{b}", "function": "sample"}`}, "routes[1] (POST /v1/{b}): path: API Gateway allows one parameter in a place"},
		"management route":     {[]string{get("/v1/api-keys", "")}, "routes[0] (GET /v1/api-keys): path: /v1/api-keys and everything below it is Keyreeve's own"},
		"below management":     {[]string{`{"method": "PUT", "path": "/v1/api-keys/{id}/x", "function": "sample"}`}, "path: /v1/api-keys and everything below"},
		"shadow of management": {[]string{get("/v1/account/api-keys/abcdefgh", "")}, "path: /v1/account and everything below"},
		"health":               {[]string{`{"method": "ANY", "path": "/health", "function": "sample", "public": true}`}, "path: /health and everything below"},
		"misspelt field":       {[]string{get("/v1/y", `, "permision": "a:r"`)}, `routes[0]: unknown field "permision"`},
		"field in capitals":    {[]string{get("/v1/y", `, "Public": true`)}, `routes[0]: unknown field "Public"`},
		"field given twice":    {[]string{get("/v1/y", `, "public": true, "public": false`)}, `routes[0]: field "public" is given twice`},
		"escaped twin":         {[]string{get("/v1/y", `, "public": true, "p\u0075blic": false`)}, `routes[0]: field "public" is given twice`},
		"text for a flag":      {[]string{get("/v1/y", `, "public": "yes"`)}, `routes[0]: field "public": want true or false`},
		"flag for a text":      {[]string{get("/v1/y", `, "permission": true`)}, `routes[0]: field "permission": want a string`},
		"null":                 {[]string{get("/v1/y", `, "permission": null`)}, `routes[0]: field "permission": want a string`},
		"row is no object":     {[]string{good, `"GET /v1/y"`}, "routes[1]: want an object"},
	} {
		file := table(c.rows...)
		if name == "row is no object" { // an empty row follows from it
			refused(t, name, file, c.want, "routes[1]: method:", "routes[1]: path:", "routes[1]: function:")
			continue
		}
		refused(t, name, file, c.want)
	}
}

func TestFaultsOfTheCatalogue(t *testing.T) {
	for permission, want := range map[string]string{
		`{"name": "customers", "label": "X"}`:                          "permissions[0]: name: want resource:action",
		`{"name": "customers:", "label": "X"}`:                         "permissions[0]: name: want resource:action",
		`{"name": "customers:*", "label": "X"}`:                        "permissions[0]: name: want resource:action",
		`{"name": "*", "label": "X"}`:                                  "permissions[0]: name: want resource:action",
		`{"name": "Customers:read", "label": "X"}`:                     "permissions[0]: name: want resource:action",
		`{"name": "a:b:c", "label": "X"}`:                              "permissions[0]: name: want resource:action",
		`{"name": "api_keys:delete", "label": "X"}`:                    "permissions[0]: name: the permissions on api_keys are Keyreeve's own",
		`{"name": "api_keys:read", "label": "X"}`:                      "permissions[0]: name: the permissions on api_keys are Keyreeve's own",
		`{"name": "a:b", "label": " "}`:                                "permissions[0]: label: want 1 to 100",
		`{"name": "a:b"}`:                                              "permissions[0]: label: want 1 to 100",
		`{"name": "a:b", "label": "X", "x": 1}`:                        `permissions[0]: unknown field "x"`,
		`{"name": "a:b", "label": "X"}, {"name": "a:b", "label": "Y"}`: "permissions[1]: name: a:b is in the catalogue already",
	} {
		refused(t, permission, []byte(`{"permissions": [`+permission+`], "routes": []}`), want)
	}
}

func TestFaultsOfTheFile(t *testing.T) {
	for file, want := range map[string]string{
		"":                             "not JSON, see line 1",
		"{\n\"routes\": [\n}":          "not JSON, see line 3",
		`[]`:                           "want an object",
		`{}`:                           `field "routes" is missing`,
		`{"routes": {}}`:               `field "routes": want an array`,
		`{"routes": null}`:             `field "routes": want an array`,
		`{"routes": [], "x": 1}`:       `unknown field "x"`,
		`{"routes": [], "routes": []}`: `field "routes" is given twice`,
		`{"routes": []} {}`:            "not JSON, see line 1",
	} {
		refused(t, file, []byte(file), want)
	}
}

func TestAllFaultsAreReportedTogether(t *testing.T) {
	refused(t, "several", table(
		`{"method": "FETCH", "path": "nowhere", "function": "X", "credential": "Cookie", "customer": "c", "typo": 1}`,
		get("/v1/y", `, "permission": "a:x", "credential": "Cookie"`),
	), `routes[0]: unknown field "typo"`, "routes[0]: method", "routes[0]: path", "routes[0]: function", "routes[0]: credential", "routes[0]: customer",
		"routes[1] (GET /v1/y): permission", "routes[1] (GET /v1/y): credential")
}

func TestErrorsDoNotQuoteMalformedValues(t *testing.T) {
	const pasted = "kr_live_a1b2c3d4_0123456789abcdefghijklmnop"
	for _, field := range []string{"method", "path", "permission", "credential", "function", "customer"} {
		row := map[string]string{"method": "GET", "path": "/v1/y", "function": "sample"}
		row[field] = pasted
		var members []string
		for k, v := range row {
			members = append(members, fmt.Sprintf("%q: %q", k, v))
		}
		_, err := route.Load(table("{" + strings.Join(members, ",") + "}"))
		if field == "function" && err == nil {
			continue // a key's characters make a function's name
		}
		if err == nil || strings.Contains(err.Error(), pasted[12:24]) {
			t.Errorf("%s: want an error that does not quote the value, got %v", field, err)
		}
	}
}

func TestManagementRoutesAreInEveryTable(t *testing.T) {
	tab := load(t)
	for _, r := range route.Default().Routes() {
		if r.Function == "sample" {
			continue
		}
		if got, ok := tab.Lookup(r.Method, r.Path); !ok || got != r {
			t.Errorf("a table without rows has %v, %t for %s %s; want %v", got, ok, r.Method, r.Path, r)
		}
	}
	if got := len(tab.Routes()); got != 43 {
		t.Errorf("a table without rows has %d routes, want the 43 of management.json", got)
	}
	if diff := cmp.Diff([]string{"console", "keys"}, tab.Functions()); diff != "" {
		t.Errorf("Functions() (-want +got)\n%s", diff)
	}
}

func TestAnyStandsForTheMethodsWithoutARowOfTheirOwn(t *testing.T) {
	for name, rows := range map[string][]string{
		"ANY first": {`{"method": "ANY", "path": "/v1/y", "function": "sample", "permission": "a:w"}`, get("/v1/y", `, "permission": "a:r"`)},
		"ANY last":  {get("/v1/y", `, "permission": "a:r"`), `{"method": "ANY", "path": "/v1/y", "function": "sample", "permission": "a:w"}`},
	} {
		got := map[string]string{}
		tab := load(t, rows...)
		for _, r := range tab.Routes() {
			if r.Path == "/v1/y" {
				got[r.Method] = r.Permission
			}
		}
		want := map[string]string{"DELETE": "a:w", "GET": "a:r", "HEAD": "a:w", "PATCH": "a:w", "POST": "a:w", "PUT": "a:w"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: permission by method (-want +got)\n%s", name, diff)
		}
		if diff := cmp.Diff(route.Methods(), tab.MethodsFor("/v1/y")); diff != "" {
			t.Errorf("%s: MethodsFor (-want +got)\n%s", name, diff)
		}
	}
}

func TestDefaultsAreFilledIn(t *testing.T) {
	tab := load(t, get("/v1/plain", ""), get("/v1/auth", `, "credential": "Authorization"`), get("/v1/open", `, "public": true`))
	for path, want := range map[string]route.Credential{"/v1/plain": route.APIKeyHeader, "/v1/auth": route.Authorization, "/v1/open": ""} {
		if r, ok := tab.Lookup("GET", path); !ok || r.Credential != want {
			t.Errorf("Lookup(GET %s) = %v, %t; want credential %q", path, r, ok, want)
		}
	}
}

func TestTheRootMayBeARoute(t *testing.T) {
	tab := load(t, get("/", ""), get("/{rest+}", ""))
	if r, ok := tab.Lookup("GET", "/"); !ok || r.Path != "/" {
		t.Errorf("Lookup(GET /) = %v, %t", r, ok)
	}
	for path, want := range map[string]string{"/": "/", "/x": "/{rest+}", "/x/y/": "/{rest+}"} {
		if r, _, found := tab.Match("GET", path); found != route.Matched || r.Path != want {
			t.Errorf("Match(GET %s) = %s, %d; want %s", path, r.Path, found, want)
		}
	}
}
