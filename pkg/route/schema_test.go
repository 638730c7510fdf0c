package route_test

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/route"
)

// schema is the part of JSON Schema 2020-12 that routes.schema.json uses.
type schema struct {
	Schema, Title, Description string
	Ref                        string `json:"$ref"`
	Type                       string
	Enum                       []any
	Const                      any
	Pattern                    string
	MinLength, MaxLength       *int
	Minimum, Maximum           *float64
	Items                      *schema
	Required                   []string
	AdditionalProperties       *bool
	Properties                 map[string]json.RawMessage
	If, Then                   *schema
	OneOf, AllOf               []*schema
	Defs                       map[string]*schema `json:"$defs"`
}

func readSchema(t *testing.T) *schema {
	t.Helper()
	text, err := os.ReadFile("routes.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return parseSchema(t, text)
}

func parseSchema(t *testing.T, text []byte) *schema {
	t.Helper()
	var s schema
	dec := json.NewDecoder(strings.NewReader(strings.Replace(string(text), `"$schema": "https`, `"schema": "https`, 1)))
	dec.DisallowUnknownFields() // a keyword that this test does not know would go unchecked
	if err := dec.Decode(&s); err != nil {
		t.Fatalf("routes.schema.json: %v", err)
	}
	return &s
}

// validate returns what is wrong with v, empty if nothing.
func (s *schema) validate(t *testing.T, root *schema, at string, v any) (faults []string) {
	t.Helper()
	bad := func(what string) { faults = append(faults, at+": "+what) }
	if s.Ref != "" {
		s = root.Defs[strings.TrimPrefix(s.Ref, "#/$defs/")]
	}
	types := map[string]bool{"": true, "object": false, "array": false, "string": false, "boolean": false, "integer": false}
	switch v := v.(type) {
	case map[string]any:
		types["object"] = true
		for _, name := range s.Required {
			if _, ok := v[name]; !ok {
				bad("lacks " + name)
			}
		}
		for name, member := range v {
			raw, ok := s.Properties[name]
			switch {
			case !ok && s.AdditionalProperties != nil && !*s.AdditionalProperties, string(raw) == "false":
				bad("may not have " + name)
			case ok:
				faults = append(faults, parseSchema(t, raw).validate(t, root, at+"."+name, member)...)
			}
		}
	case []any:
		types["array"] = true
		for i, item := range v {
			faults = append(faults, s.Items.validate(t, root, fmt.Sprintf("%s[%d]", at, i), item)...)
		}
	case string:
		types["string"] = true
		n := utf8.RuneCountInString(v)
		if s.Pattern != "" && !regexp.MustCompile(s.Pattern).MatchString(v) || s.MinLength != nil && n < *s.MinLength || s.MaxLength != nil && n > *s.MaxLength {
			bad("has the wrong form")
		}
	case bool:
		types["boolean"] = true
	case float64:
		types["integer"] = v == float64(int(v))
		if s.Minimum != nil && v < *s.Minimum || s.Maximum != nil && v > *s.Maximum {
			bad("is out of range")
		}
	}
	if !types[s.Type] {
		bad("is no " + s.Type)
	}
	if s.Enum != nil && !slices.Contains(s.Enum, v) || s.Const != nil && s.Const != v {
		bad("is another value")
	}
	fitting := 0
	for _, one := range s.OneOf {
		if len(one.validate(t, root, at, v)) == 0 {
			fitting++
		}
	}
	if s.OneOf != nil && fitting != 1 {
		bad("fits none or several of oneOf")
	}
	for _, all := range s.AllOf {
		faults = append(faults, all.validate(t, root, at, v)...)
	}
	if s.If != nil && len(s.If.validate(t, root, at, v)) == 0 {
		faults = append(faults, s.Then.validate(t, root, at, v)...)
	}
	return faults
}

func TestTheFilesFitTheirSchema(t *testing.T) {
	s := readSchema(t)
	for _, name := range []string{"management.json", "routes.json"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var v any
		if err := json.Unmarshal(text, &v); err != nil {
			t.Fatal(err)
		}
		if faults := s.validate(t, s, name, v); len(faults) > 0 {
			t.Errorf("%s", strings.Join(faults, "\n"))
		}
		if got := v.(map[string]any)["$schema"]; got != "routes.schema.json" {
			t.Errorf("%s names the schema %v", name, got)
		}
	}
}

func TestSchemaAndStructsHaveTheSameFields(t *testing.T) {
	s := readSchema(t)
	for def, v := range map[string]any{"route": route.Route{}, "permission": route.Permission{}, "upstream": route.Upstream{}} {
		var fields, required, described []string
		typ := reflect.TypeOf(v)
		for i := range typ.NumField() {
			name, options, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			if name == "-" { // no file's to say
				continue
			}
			fields = append(fields, name)
			if options == "" {
				required = append(required, name)
			}
		}
		for name := range s.Defs[def].Properties {
			described = append(described, name)
		}
		slices.Sort(fields)
		slices.Sort(described)
		if diff := cmp.Diff(fields, described); diff != "" {
			t.Errorf("%s: (-struct +schema)\n%s", def, diff)
		}
		if diff := cmp.Diff(required, s.Defs[def].Required); diff != "" {
			t.Errorf("%s, required: (-struct +schema)\n%s", def, diff)
		}
	}
}

// What an editor lets pass or marks must be what the loader does, for the form of a row.
func TestSchemaAndLoaderAgreeOnTheFormOfRows(t *testing.T) {
	s := readSchema(t)
	long := strings.Repeat("x", 300)
	accepted, refusedRows := 0, 0
	for field, values := range map[string][]string{
		"method":     {`"GET"`, `"ANY"`, `"HEAD"`, `"get"`, `"OPTIONS"`, `"TRACE"`, `""`, `1`, `null`},
		"path":       {`"/"`, `"/a"`, `"/a/{b}/c.d_e-f:g"`, `"/{rest+}"`, `"/a/"`, `"//"`, `"a"`, `"/a{b}"`, `"/{b+}/c"`, `"/{1}"`, `"/a b"`, `"/*"`, `"/%2F"`, `"/é"`, `"/` + long + `"`, `""`, `null`},
		"function":   {`"sample"`, `"my-function_2"`, `"2a"`, `"A"`, `"a.b"`, `""`, `"` + long + `"`, `true`},
		"permission": {`"a:r"`, `"a"`, `"a:*"`, `"*"`, `"A:r"`, `false`},
		"credential": {`"X-API-Key"`, `"Authorization"`, `"x-api-key"`, `"Cookie"`},
		"customer":   {`"id"`, `"i-d"`, `7`},
		"unguarded":  {`true`, `false`, `"true"`, `null`},
		"public":     {`true`, `false`, `1`},
		"upstream": {
			`{}`, `null`, `"https://a.example"`, `{"url": "https://a.example", "lambda": "arn:aws:lambda:eu-central-1:123456789012:function:f"}`,
			`{"url": "https://a.example"}`, `{"url": "https://a.example", "method": "GET"}`,
		},
		"privat": {`true`},
		"Method": {`"GET"`},
	} {
		for _, value := range values {
			row := map[string]string{"method": `"GET"`, "path": `"/x/{id}"`, "function": `"sample"`}
			if row[field] = value; field == "upstream" {
				delete(row, "function")
			}
			var members []string
			for k, v := range row {
				members = append(members, fmt.Sprintf("%q: %s", k, v))
			}
			file := table("{" + strings.Join(members, ",") + "}")
			var v any
			if err := json.Unmarshal(file, &v); err != nil {
				t.Fatal(err)
			}
			faults := s.validate(t, s, "file", v)
			_, err := route.Load(file)
			if (err == nil) != (len(faults) == 0) {
				t.Errorf("%s: %.40s: the loader says %v, the schema %v", field, value, err, faults)
			}
			if err == nil {
				accepted++
			} else {
				refusedRows++
			}
		}
	}
	if accepted < 10 || refusedRows < 20 {
		t.Errorf("%d rows accepted, %d refused: too few to mean anything", accepted, refusedRows)
	}
	for _, more := range []string{`, "unguarded": true`, `, "function": "sample"`} {
		var v any
		if err := json.Unmarshal(table(`{"method": "GET", "path": "/x", "upstream": {"url": "https://a.example"}`+more+`}`), &v); err != nil {
			t.Fatal(err)
		}
		if len(s.validate(t, s, "file", v)) == 0 {
			t.Errorf("the schema lets a row with an upstream have%s", strings.TrimPrefix(more, ","))
		}
	}
	for _, more := range []string{`, "permission": "a:r"`, `, "credential": "X-API-Key"`, `, "customer": "id"`, `, "unguarded": true`} {
		var v any
		if err := json.Unmarshal(table(get("/x/{id}", `, "public": true`+more)), &v); err != nil {
			t.Fatal(err)
		}
		if len(s.validate(t, s, "file", v)) == 0 {
			t.Errorf("the schema lets a public row have%s", strings.TrimPrefix(more, ","))
		}
	}
}
