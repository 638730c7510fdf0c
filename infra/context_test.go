package main

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/keyreeve/keyreeve/pkg/config"
	"github.com/keyreeve/keyreeve/pkg/route"
)

// fromRoot reads files as the app does, which runs in the directory of cdk.json.
func fromRoot(name string) ([]byte, error) { return os.ReadFile(filepath.Join("..", name)) }

// contextOf is a context as the CDK hands it over.
func contextOf(t *testing.T, text string) map[string]any {
	t.Helper()
	var c map[string]any
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return c
}

func parsed(t *testing.T, text string) deployment {
	t.Helper()
	d, err := parseContext(contextOf(t, text), fromRoot)
	if err != nil {
		t.Fatalf("parseContext(%s): %v", text, err)
	}
	return d
}

// sameTable compares route tables by what they serve.
var sameTable = cmp.Comparer(func(a, b *route.Table) bool { return slices.Equal(a.Routes(), b.Routes()) })

func TestAnEmptyContextIsTheDefaults(t *testing.T) {
	want := deployment{
		StackName: "Keyreeve", Arch: "arm64", LogRetentionDays: 30, AccountLogRole: true,
		Domains: map[string]domain{},
		Throttle: map[string]throttle{
			"production": {1000, 2000}, "staging": {100, 200}, "development": {100, 200},
		},
		Settings: config.DefaultSettings(), SettingsJSON: "{}", Table: route.Default(),
	}
	if diff := cmp.Diff(want, parsed(t, `{}`), sameTable); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// cdk.json spells the defaults out, for people to change.
func TestCDKJSONShowsEveryFieldWithItsDefault(t *testing.T) {
	text, err := fromRoot("cdk.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Context map[string]any }
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	d, err := parseContext(file.Context, fromRoot)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(parsed(t, `{}`), d, sameTable, cmpopts.IgnoreFields(deployment{}, "SettingsJSON")); diff != "" {
		t.Errorf("cdk.json (-defaults +file)\n%s", diff)
	}
	shown := append(slices.Collect(maps.Keys(file.Context)), settingsFields...) // the preset shows these
	shown = append(shown, "defaultPlan")
	source, err := os.ReadFile("context.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range shown {
		if !strings.Contains(string(source), `"`+name+`"`) {
			t.Errorf("%s: context.go knows no such field", name)
		}
	}
	for _, name := range []string{"stackName", "preset", "routes", "arch", "disposable", "domains", "throttle", "alarmEmail", "alertEmail", "logRetentionDays", "accountLogRole", "cliCredentials"} {
		if _, ok := file.Context[name]; !ok {
			t.Errorf("cdk.json does not show %s", name)
		}
	}
}

// `cdk deploy -c name=value` makes every value a string.
func TestFieldsMayComeFromTheCommandLine(t *testing.T) {
	d := parsed(t, `{
		"arch": "x86_64", "disposable": "true", "logRetentionDays": "7", "authorizerCacheSeconds": "0", "sharedStage": "true",
		"corsOrigins": "[\"https://a.example\"]", "defaultPlan": "pro", "alarmEmail": "ops@example.com", "alertEmail": "team@example.com",
		"webhookRetrySeconds": "[30]", "domains": "{\"shared\":{\"name\":\"api.example.com\",\"certificateArn\":\"arn:aws:acm:eu-west-1:123456789012:certificate/a-1\"}}",
		"throttle": "{\"production\":{\"rate\":5000}}", "retentionDays": "30"
	}`)
	want := deployment{
		StackName: "Keyreeve", Arch: "x86_64", Disposable: true, LogRetentionDays: 7, AccountLogRole: true, AlarmEmail: "ops@example.com", AlertEmail: "team@example.com",
		Domains: map[string]domain{"shared": {Name: "api.example.com", CertificateARN: "arn:aws:acm:eu-west-1:123456789012:certificate/a-1"}},
		Throttle: map[string]throttle{
			"production": {5000, 2000}, "staging": {100, 200}, "development": {100, 200}, "shared": {1000, 2000},
		},
		SettingsJSON: `{"authorizerCacheSeconds":0,"corsOrigins":["https://a.example"],"defaultPlan":"pro","retentionDays":30,"sharedStage":true,"webhookRetrySeconds":[30]}`,
		Table:        route.Default(),
	}
	if diff := cmp.Diff(want, d, sameTable, cmpopts.IgnoreFields(deployment{}, "Settings")); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if diff := cmp.Diff([]string{"production", "staging", "development", "shared"}, d.stages()); diff != "" {
		t.Errorf("stages (-want +got)\n%s", diff)
	}
}

func TestWhatTheContextSaysWinsOverThePreset(t *testing.T) {
	d := parsed(t, `{"preset": "missinglettr", "sharedStage": false, "retentionDays": 7}`)
	if d.Settings.PrefixFor("account", "production") != "ml_prod" || d.Settings.SharedStage || d.Settings.RetentionDays != 7 {
		t.Errorf("settings %+v", d.Settings)
	}
	functions, err := config.ParseSettings([]byte(d.SettingsJSON))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(d.Settings, functions); diff != "" {
		t.Errorf("the functions would read other settings (-app +functions)\n%s", diff)
	}
}

func TestEveryPresetDeploys(t *testing.T) {
	files, err := filepath.Glob("presets/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no presets: %v", err)
	}
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".json")
		parsed(t, `{"preset": "`+name+`"}`)
		parsed(t, `{"preset": "infra/presets/`+name+`.json"}`)
	}
}

// The same choice in another order is the same environment of the functions.
func TestSettingsAreWrittenInOneOrder(t *testing.T) {
	a := parsed(t, `{"retentionDays": 7, "plans": {"pro": {"rateLimit": 1}}}`)
	b := parsed(t, `{"plans": {"pro": {"rateLimit": 1}}, "retentionDays": 7}`)
	if a.SettingsJSON != b.SettingsJSON {
		t.Errorf("%s and %s", a.SettingsJSON, b.SettingsJSON)
	}
}

func TestOtherPeoplesContextIsLeftAlone(t *testing.T) {
	parsed(t, `{"@aws-cdk/core:anything": true, "aws:cdk:enable-path-metadata": true, "cli-telemetry": false,
		"availability-zones:account=1:region=eu-west-1": ["a"], "acknowledged-issue-numbers": [1]}`)
}

func TestAnErrorNamesTheFieldAndQuotesNoValue(t *testing.T) {
	const pasted = "kr_live_a1b2c3d4_0123456789abcdefghijklmnopqrstuv"
	const certificate = `"certificateArn": "arn:aws:acm:eu-west-1:123456789012:certificate/a-1"`
	for text, want := range map[string]string{
		`{"stackName": "1st"}`:                                        "stackName: want 1 to 100",
		`{"stackName": 7}`:                                            "stackName: want text",
		`{"stackName": "Key reeve"}`:                                  "stackName: want 1 to 100",
		`{"arch": "` + pasted + `"}`:                                  "arch: want arm64 or x86_64",
		`{"arch": "amd64"}`:                                           "arch: want arm64 or x86_64",
		`{"disposable": "yes"}`:                                       "disposable: want true or false",
		`{"disposable": null}`:                                        "disposable: want true or false",
		`{"accountLogRole": 1}`:                                       "accountLogRole: want true or false",
		`{"cliCredentials": "` + pasted + `"}`:                        "cliCredentials: want true or false",
		`{"alarmEmail": "` + pasted + `"}`:                            "alarmEmail: want an address",
		`{"alarmEmail": "Ops <ops@example.com>"}`:                     "alarmEmail: want an address",
		`{"alertEmail": "` + pasted + `"}`:                            "alertEmail: want an address",
		`{"webhookRetrySeconds": [0]}`:                                "webhookRetrySeconds[0]: want 1 to 86400",
		`{"logRetentionDays": 31}`:                                    "logRetentionDays: want one of [1 3 5 7 14 30 ",
		`{"logRetentionDays": "soon"}`:                                "logRetentionDays: want a whole number",
		`{"preset": "` + pasted + `"}`:                                "preset: want a name in infra/presets, or a file",
		`{"preset": "./cdk.json"}`:                                    "preset: settings: app: unknown field",
		`{"prefixes": {"canonical": {"production": {"issue": "X"}}}}`: "prefixes.canonical.production.issue: want 1 to 32",
		`{"plans": {"pro": {"keys": 0}}}`:                             "plans.pro.keys: want 1 to 10000",
		`{"plans": "` + pasted + `"}`:                                 "plans: want an object",
		`{"defaultPlan": "gold"}`:                                     "defaultPlan: names no plan",
		`{"authorizerCacheSeconds": 3601}`:                            "authorizerCacheSeconds: want 0 to 3600",
		`{"authorizerCacheSeconds": "1h"}`:                            "authorizerCacheSeconds: want a whole number",
		`{"retentionDays": 0}`:                                        "retentionDays: want 1 to 3650",
		`{"developmentFactor": 0}`:                                    "developmentFactor: want 1 to 100",
		`{"sharedStage": 1}`:                                          "sharedStage: want true or false",
		`{"corsOrigins": ["a"]}`:                                      `corsOrigins[0]: want "*" or an origin`,
		`{"throttle": []}`:                                            "throttle: want an object",
		`{"throttle": {"shared": {}}}`:                                "throttle.shared: there is no such stage",
		`{"throttle": {"staging": 5}}`:                                "throttle.staging: want an object",
		`{"throttle": {"staging": {"rate": 0}}}`:                      "throttle.staging.rate: want 1 to 100000",
		`{"throttle": {"staging": {"burst": "5"}}}`:                   "throttle.staging.burst: want a whole number",
		`{"throttle": {"staging": {"limit": 5}}}`:                     "throttle.staging.limit: unknown field",
		`{"domains": {"test": {}}}`:                                   "domains.test: there is no such stage",
		`{"domains": {"production": "` + pasted + `"}}`:               "domains.production: want an object",
		`{"domains": {"production": {` + certificate + `}}}`:          "domains.production.name: want a host name",
		`{"domains": {"production": {"name": "https://api.example.com", ` + certificate + `}}}`:                                          "domains.production.name: want a host name",
		`{"domains": {"production": {"name": "API.example.com", ` + certificate + `}}}`:                                                  "domains.production.name: want a host name",
		`{"domains": {"production": {"name": "api.example.com"}}}`:                                                                       "domains.production.certificateArn: want the ARN",
		`{"domains": {"production": {"name": "api.example.com", "certificateArn": "` + pasted + `"}}}`:                                   "domains.production.certificateArn: want the ARN",
		`{"domains": {"production": {"name": "api.example.com", "hostedZoneId": "z/1", ` + certificate + `}}}`:                           "domains.production.hostedZoneId: want the id",
		`{"domains": {"production": {"name": "api.example.com", "zone": "Z1", ` + certificate + `}}}`:                                    "domains.production.zone: unknown field",
		`{"domains": {"production": {"name": "a.example", ` + certificate + `}, "staging": {"name": "a.example", ` + certificate + `}}}`: "domains.staging.name: is the name of production too",
		`{"routes": "absent.json"}`: "routes: want a file with a route table",
		`{"routes": 7}`:             "routes: want text",
		`{"routes": "cdk.json"}`:    "routes: route table: ",
		`{"dispoable": true}`:       "dispoable: unknown field",
		`{"Arch": "arm64"}`:         "Arch: unknown field",
	} {
		d, err := parseContext(contextOf(t, text), fromRoot)
		if err == nil || !strings.Contains(err.Error(), "cdk.json: context: "+want) {
			t.Errorf("%s: error %v, want %q", text, err, want)
			continue
		}
		if strings.Contains(err.Error(), pasted[17:29]) && !strings.Contains(text, `"preset"`) { // a file's name is what the system says
			t.Errorf("%s: the error quotes the value", text)
		}
		if d.Table != nil || d.StackName != "" {
			t.Errorf("%s: a deployment together with an error", text)
		}
	}
}

func TestFaultsAreReportedTogether(t *testing.T) {
	_, err := parseContext(contextOf(t, `{"arch": "x", "retentionDays": 0, "plans": {"pro": {"keys": 0}}, "throttle": {"staging": {"rate": 0}}, "unknown": 1}`), fromRoot)
	if err == nil {
		t.Fatal("no error")
	}
	if got := len(strings.Split(err.Error(), "\n")); got != 5 {
		t.Errorf("%d lines, want 5:\n%v", got, err)
	}
}

func TestSettingsThatDoNotFitAFunctionsEnvironmentAreRefused(t *testing.T) {
	var origins []string
	for i := range 150 {
		origins = append(origins, "https://customer-"+strconv.Itoa(i)+".example.com")
	}
	text, err := json.Marshal(map[string]any{"corsOrigins": origins, "retentionDays": 5})
	if err != nil {
		t.Fatal(err)
	}
	_, err = parseContext(contextOf(t, string(text)), fromRoot)
	if err == nil || !strings.Contains(err.Error(), "context: corsOrigins: the settings are ") {
		t.Errorf("error %v, want one that names the longest field", err)
	}
}

func TestARouteTableOfOnesOwn(t *testing.T) {
	const own = `{"permissions": [{"name": "orders:read", "label": "Order Read"}],
		"routes": [{"method": "GET", "path": "/v1/orders", "permission": "orders:read", "function": "FUNCTION"}]}`
	load := func(function string) (deployment, error) {
		return parseContext(map[string]any{"routes": "mine.json"}, func(name string) ([]byte, error) {
			if name != "mine.json" {
				return nil, errors.New("another file")
			}
			return []byte(strings.Replace(own, "FUNCTION", function, 1)), nil
		})
	}
	d, err := load("sample")
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := d.Table.Lookup("GET", "/v1/orders"); !ok || d.RoutesJSON == nil {
		t.Error("the deployment has not the file's routes")
	}
	if _, ok := d.Table.Lookup("GET", "/v1/customers"); ok {
		t.Error("the deployment has the sample's routes")
	}
	for _, function := range []string{"orders", "stream"} {
		if _, err = load(function); err == nil || !strings.Contains(err.Error(), "cdk.json: context: routes: ") || !strings.Contains(err.Error(), function) {
			t.Errorf("function %s: error %v, want one that names the field and the function", function, err)
		}
	}
	_, err = parseContext(map[string]any{"routes": "mine.json"}, func(string) ([]byte, error) {
		return []byte(`{"permissions": [{"name": "things:read", "label": "Thing Read"}], "routes": [{"method": "GET",
			"path": "/things/{a}/{customer}/{b}", "permission": "things:read", "customer": "customer", "function": "sample", "unguarded": true}]}`), nil
	})
	if err == nil || !strings.Contains(err.Error(), "context: routes: policy: GET /things/") {
		t.Errorf("a table that no policy can hold: error %v, want one that names the row", err)
	}
}

// The function table is in two places: what a function does in functions/functions.go,
// what it needs around it here.
func TestEveryFunctionOfTheBinaryIsDeployed(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../functions/functions.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || spec.Names[0].Name != "functions" {
			return true
		}
		for _, e := range spec.Values[0].(*ast.CompositeLit).Elts {
			name, err := strconv.Unquote(e.(*ast.KeyValueExpr).Key.(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, name)
		}
		return false
	})
	var got []string
	for _, f := range functions {
		got = append(got, f.name)
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" || len(want) == 0 {
		t.Errorf("functions (-binary +infra)\n%s", diff)
	}
}
