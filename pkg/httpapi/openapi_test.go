package httpapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/config"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/route"
)

type openAPIDocument struct {
	OpenAPI    string
	Paths      map[string]map[string]openAPIOperation
	Components struct {
		Schemas         map[string]map[string]any
		SecuritySchemes map[string]map[string]any
		Responses       map[string]openAPIResponse
	}
}

type openAPIOperation struct {
	OperationID string
	Security    []map[string][]string
	Permission  string `json:"x-required-permission"`
	Parameters  []openAPIParameter
	Responses   map[string]openAPIResponse
}

type openAPIResponse struct {
	Ref     string `json:"$ref"`
	Headers map[string]any
	Content map[string]any
}

type openAPIParameter struct {
	Name, In string
	Required bool
}

func served(t *testing.T, h http.Handler) openAPIDocument {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/openapi.json", nil))
	if w.Code != 200 {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	var d openAPIDocument
	if err := json.Unmarshal(w.Body.Bytes(), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// withTable is the API on another table; nothing but its document can be asked for.
func withTable(t *testing.T, routes string) openAPIDocument {
	t.Helper()
	table, err := route.Load([]byte(routes))
	if err != nil {
		t.Fatal(err)
	}
	return served(t, New(Config{Table: table, Settings: config.DefaultSettings()}))
}

func TestTheDocumentIsTheRouteTable(t *testing.T) {
	w := newWorld(t, "{}")
	d := served(t, w.handler)
	if d.OpenAPI != "3.1.0" {
		t.Errorf("openapi %s", d.OpenAPI)
	}
	var documented, rows []string
	for path, item := range d.Paths {
		for method, op := range item {
			documented = append(documented, fmt.Sprintf("%s %s %q %s", strings.ToUpper(method), path, op.Permission, schemes(op)))
		}
	}
	for _, rt := range route.Default().Routes() {
		scheme := "apiKey"
		switch {
		case rt.Function == "console": // files for a browser
			continue
		case rt.Public:
			scheme = "none"
		case rt.Credential == route.Authorization:
			scheme = "authorization|bearer"
		}
		rows = append(rows, fmt.Sprintf("%s %s %q %s", rt.Method, rt.Path, rt.Permission, scheme))
	}
	slices.Sort(documented)
	slices.Sort(rows)
	if d := cmp.Diff(rows, documented); d != "" {
		t.Errorf("(-route table +document):\n%s", d)
	}
}

func schemes(op openAPIOperation) string {
	var names []string
	for _, s := range op.Security {
		names = append(names, slices.Collect(maps.Keys(s))...)
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, "|")
}

// The management rows are this package's; a row that is missing here would be a route
// that answers 404, and an operation too many would not be reachable.
func TestEveryManagementRouteHasItsOperation(t *testing.T) {
	text, err := os.ReadFile("../route/management.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Routes []route.Route }
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for _, rt := range file.Routes {
		if rt.Function != "keys" { // the console's files
			continue
		}
		want = append(want, rt.Method+" "+rt.Path)
	}
	ids := map[string]bool{}
	for _, op := range operations() {
		got = append(got, op.method+" "+op.path)
		ids[op.id] = true
	}
	slices.Sort(want)
	slices.Sort(got)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-management.json +operations):\n%s", d)
	}
	if len(ids) != len(got) {
		t.Errorf("%d operation ids for %d operations", len(ids), len(got))
	}
}

func TestEveryGuardedRouteDocumentsItsRefusals(t *testing.T) {
	w := newWorld(t, "{}")
	d := served(t, w.handler)
	for path, item := range d.Paths {
		for method, op := range item {
			for _, status := range []string{"400", "401", "403", "429", "500", "502", "503", "504"} {
				if (status == "401" || status == "503") && schemes(op) == "none" {
					continue
				}
				r, ok := d.Components.Responses[strings.TrimPrefix(op.Responses[status].Ref, "#/components/responses/")]
				if !ok || r.Content["application/json"] == nil {
					t.Errorf("%s %s: %s is not documented with a body", method, path, status)
				}
				if status == "429" && r.Headers["Retry-After"] == nil || status == "401" && r.Headers["WWW-Authenticate"] == nil {
					t.Errorf("%s %s: %s lacks its headers: %v", method, path, status, r.Headers)
				}
			}
			inPath := 0
			for _, p := range op.Parameters {
				if (p.In == "path") != p.Required {
					t.Errorf("%s %s: parameter %s required: %t", method, path, p.Name, p.Required)
				}
				if p.In == "path" {
					inPath++
				}
			}
			if n := strings.Count(path, "{"); n != inPath {
				t.Errorf("%s %s: %d path parameters, documented %d", method, path, n, inPath)
			}
		}
	}
}

func TestIntegersAreBoundedAndListsAreLists(t *testing.T) {
	w := newWorld(t, "{}")
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, httptest.NewRequest("GET", "/openapi.json", nil))
	var d any
	if err := json.Unmarshal(rec.Body.Bytes(), &d); err != nil {
		t.Fatal(err)
	}
	seen := 0
	var walk func(at string, v any)
	walk = func(at string, v any) {
		switch v := v.(type) {
		case []any:
			for i, e := range v {
				walk(fmt.Sprintf("%s[%d]", at, i), e)
			}
		case map[string]any:
			kinds, _ := v["type"].([]any)
			if v["type"] == "integer" || slices.Contains(kinds, any("integer")) {
				seen++
				if v["maximum"] == nil || v["minimum"] == nil {
					t.Errorf("%s: an integer without bounds", at)
				}
			}
			if slices.Contains(kinds, any("array")) {
				t.Errorf("%s: a list that may be null", at)
			}
			if v["type"] == "array" && v["items"] == nil {
				t.Errorf("%s: a list of anything", at)
			}
			for name, e := range v {
				walk(at+"/"+name, e)
			}
		}
	}
	walk("", d)
	if seen < 10 {
		t.Errorf("found %d integers: the walk does not see the schemas", seen)
	}
}

func TestTheDocumentKnowsTheDeployment(t *testing.T) {
	settings, err := config.ParseSettings([]byte(`{"plans":{"free":{"rateLimit":1,"keys":1},"pro":{"rateLimit":2,"keys":2},"enterprise":{"rateLimit":3,"keys":3},"gold":{"rateLimit":4,"keys":4}}}`))
	if err != nil {
		t.Fatal(err)
	}
	d := served(t, New(Config{Table: route.Default(), Settings: settings}))
	body := d.Components.Schemas["CreateKey"]["properties"].(map[string]any)
	if d := cmp.Diff([]any{"enterprise", "free", "gold", "pro"}, body["plan"].(map[string]any)["enum"]); d != "" {
		t.Errorf("plans (-want +got):\n%s", d)
	}
	grantable, _ := body["permissions"].(map[string]any)["items"].(map[string]any)["enum"].([]any)
	for _, p := range []any{"*", "customers:*", "licenses:manage", "api_keys:write"} {
		if !slices.Contains(grantable, p) {
			t.Errorf("permission %v is not among those that a create may name", p)
		}
	}
	if required := d.Components.Schemas["CreateKey"]["required"]; !cmp.Equal(required, []any{"name"}) {
		t.Errorf("a create requires %v", required)
	}
	if kinds := body["expirationTs"].(map[string]any)["type"]; !cmp.Equal(kinds, []any{"string", "null"}) {
		t.Errorf("expirationTs is of type %v", kinds)
	}
}

func TestTheDocumentListsAnyTable(t *testing.T) {
	d := withTable(t, `{"permissions":[{"name":"things:read","label":"Thing Read"}],"routes":[
		{"method":"ANY","path":"/v1/things/{thingId}","permission":"things:read","function":"mine"},
		{"method":"GET","path":"/v1/files/{path+}","function":"mine"},
		{"method":"GET","path":"/v1/a-b","function":"mine","public":true},
		{"method":"GET","path":"/v1/a/b","function":"mine","credential":"Authorization"}]}`)
	thing := d.Paths["/v1/things/{thingId}"]
	if methods := slices.Sorted(maps.Keys(thing)); !cmp.Equal(methods, []string{"delete", "get", "head", "patch", "post", "put"}) {
		t.Errorf("ANY is documented as %v", methods)
	}
	if op := thing["post"]; op.Permission != "things:read" || op.Parameters[0].Name != "thingId" {
		t.Errorf("POST /v1/things/{thingId}: %+v", op)
	}
	if op := d.Paths["/v1/files/{path}"]["get"]; len(op.Parameters) != 1 || op.Parameters[0].Name != "path" {
		t.Errorf("a greedy parameter: %+v", op)
	}
	if got := schemes(d.Paths["/v1/a-b"]["get"]) + " " + schemes(d.Paths["/v1/a/b"]["get"]); got != "none authorization|bearer" {
		t.Errorf("security %s", got)
	}
	if d.Paths["/v1/api-keys"] == nil || d.Paths["/v1/licenses"] != nil {
		t.Error("the management routes are always there, the sample's are not")
	}
}

// Every status that a problem can have is one that FromError or the gateway gives.
func TestDocumentedCodesExist(t *testing.T) {
	known := problemsByCode()
	codes := slices.Concat(guardedCodes, publicCodes)
	for _, op := range operations() {
		codes = append(codes, op.problems...)
	}
	for _, code := range codes {
		if known[code].Status == 0 {
			t.Errorf("%s is documented and nobody answers it", code)
		}
	}
	if got := FromError(&keys.EscalationError{Field: "plan"}); known[got.Code].Status != got.Status {
		t.Errorf("%s is documented as %d and answered as %d", got.Code, known[got.Code].Status, got.Status)
	}
}
