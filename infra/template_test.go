package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/jsii-runtime-go"
)

func TestMain(m *testing.M) {
	code := m.Run()
	jsii.Close()
	os.Exit(code)
}

// template is what the CDK made, as CloudFormation gets it.
type template struct {
	Resources map[string]*cfn
	Outputs   map[string]struct{ Value any }
	text      string
	manifest  string // how the CDK deploys it
}

// cfn is a resource of a template.
type cfn struct {
	id                                  string
	Type                                string
	Properties                          map[string]any
	Metadata                            map[string]any
	DeletionPolicy, UpdateReplacePolicy string
	DependsOn                           any
}

// synth makes the template of a context. Its functions' code is a stand-in.
func synth(t testing.TB, context string) *template {
	t.Helper()
	var c map[string]any
	if err := json.Unmarshal([]byte(context), &c); err != nil {
		t.Fatal(err)
	}
	d, err := parseContext(c, func(name string) ([]byte, error) {
		switch name {
		case noRoutes:
			return []byte(`{"permissions": [], "routes": []}`), nil
		case upstreamRoutes:
			return []byte(upstreamTable), nil
		}
		return fromRoot(name)
	})
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "keyreeve-synth-") // not t's: the template is shared
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	binary := filepath.Join(dir, "bootstrap")
	if err := os.WriteFile(binary, []byte("a stand-in"), 0o755); err != nil {
		t.Fatal(err)
	}
	asset, remove, err := newAsset(binary, d.RoutesJSON)
	if err != nil {
		t.Fatal(err)
	}
	defer remove()
	out := filepath.Join(dir, "cdk.out")
	app := newApp(&awscdk.AppProps{Outdir: &out})
	newStack(app, d, asset)
	app.Synth(nil)
	text, err := os.ReadFile(filepath.Join(out, d.StackName+".template.json"))
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := os.ReadFile(filepath.Join(out, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	made := &template{text: string(text), manifest: string(manifest)}
	if err := json.Unmarshal(text, made); err != nil {
		t.Fatal(err)
	}
	for id, r := range made.Resources {
		r.id = id
	}
	return made
}

// Files with route tables: one that names no route, and one whose routes have upstreams.
const (
	noRoutes       = "no-routes.json"
	upstreamRoutes = "upstream-routes.json"
)

const upstreamTable = `{"routes": [
	{"method": "ANY", "path": "/v1/orders/{rest+}", "upstream": {"url": "https://orders.example.com/base"}},
	{"method": "GET", "path": "/v1/quotes", "upstream": {"lambda": "arn:aws:lambda:eu-west-1:123456789012:function:quotes"}},
	{"method": "GET", "path": "/v1/prices", "upstream": {"lambda": "arn:aws:lambda:us-east-1:210987654321:function:prices:live"}},
	{"method": "POST", "path": "/v1/prices", "upstream": {"lambda": "arn:aws:lambda:us-east-1:210987654321:function:prices:live"}}
]}`

// What most tests look at: the defaults, and everything that can be chosen.
var (
	defaults   = sync.OnceValue(func() *template { return synth(outside{}, `{}`) })
	forwarding = sync.OnceValue(func() *template { return synth(outside{}, `{"routes": "`+upstreamRoutes+`"}`) })
	everything = sync.OnceValue(func() *template {
		return synth(outside{}, `{
			"stackName": "Other", "arch": "x86_64", "disposable": true, "preset": "missinglettr", "routes": "`+noRoutes+`",
			"alarmEmail": "ops@example.com", "alertEmail": "team@example.com", "logRetentionDays": 7, "cliCredentials": true, "accountLogRole": false,
			"authorizerCacheSeconds": 0, "corsOrigins": ["https://a.example", "https://b.example"],
			"throttle": {"staging": {"rate": 7, "burst": 8}},
			"domains": {
				"production": {"name": "api.example.com", "certificateArn": "arn:aws:acm:eu-west-1:123456789012:certificate/a-1"},
				"shared": {"name": "shared.example.com", "certificateArn": "arn:aws:acm:eu-west-1:123456789012:certificate/a-2", "hostedZoneId": "Z0123456789"}
			}
		}`)
	})
)

// outside is a test that outlives each one.
type outside struct{ testing.TB }

func (outside) Helper()        {}
func (outside) Fatal(a ...any) { panic(fmt.Sprint(a...)) }

// of lists the resources of a type, by id.
func (tp *template) of(kind string) []*cfn {
	var out []*cfn
	for _, id := range slices.Sorted(maps.Keys(tp.Resources)) {
		if r := tp.Resources[id]; r.Type == kind {
			out = append(out, r)
		}
	}
	return out
}

// one finds the resource of a type with a name, as name makes it.
func (tp *template) one(t *testing.T, kind, short string) *cfn {
	t.Helper()
	for _, r := range tp.of(kind) {
		if name(r.id) == short {
			return r
		}
	}
	var there []string
	for _, r := range tp.of(kind) {
		there = append(there, name(r.id))
	}
	t.Fatalf("there is no %s %s, only %v", kind, short, there)
	return nil
}

var hash = regexp.MustCompile(`(?:[0-9A-F]{8}|[0-9A-F]{8}[0-9a-f]{32})$`)

// name is a logical id without the hash that the CDK appends.
func name(id string) string { return hash.ReplaceAllString(id, "") }

// readable writes a value with CloudFormation's functions as one would say it:
// ${Keys.Arn}, with names for logical ids. Other values come out in JSON.
func readable(v any) string {
	m, ok := v.(map[string]any)
	if !ok {
		if s, ok := v.(string); ok {
			return s
		}
		text, _ := json.Marshal(v)
		return string(text)
	}
	switch {
	case m["Ref"] != nil:
		return "${" + name(m["Ref"].(string)) + "}"
	case m["Fn::GetAtt"] != nil:
		at := m["Fn::GetAtt"].([]any)
		return "${" + name(at[0].(string)) + "." + at[1].(string) + "}"
	case m["Fn::Join"] != nil:
		var parts []string
		for _, p := range m["Fn::Join"].([]any)[1].([]any) {
			parts = append(parts, readable(p))
		}
		return strings.Join(parts, m["Fn::Join"].([]any)[0].(string))
	case m["Fn::Sub"] != nil:
		if list, ok := m["Fn::Sub"].([]any); ok {
			text := list[0].(string)
			for n, value := range list[1].(map[string]any) {
				text = strings.ReplaceAll(text, "${"+n+"}", readable(value))
			}
			return text
		}
		return m["Fn::Sub"].(string)
	}
	text, _ := json.Marshal(m)
	return string(text)
}

// list of a value that CloudFormation lets be one or many.
func many(v any) []any {
	if l, ok := v.([]any); ok {
		return l
	}
	return []any{v}
}

func readables(v any) []string {
	var out []string
	for _, e := range many(v) {
		out = append(out, readable(e))
	}
	return out
}

// dig follows names into nested objects; nil if one is not there.
func dig(v any, names ...string) any {
	for _, n := range names {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[n]
	}
	return v
}
