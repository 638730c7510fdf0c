package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const synthesized = `{
 "Description": "kept",
 "Resources": {
  "KeysFunction1": {"Type": "AWS::Lambda::Function",
   "Properties": {"Handler": "keys", "Environment": {"Variables": {"KEYS_TABLE": {"Ref": "Keys1"}}}},
   "Metadata": {"aws:cdk:path": "S/Keys", "aws:asset:path": "asset.1"}},
  "BareFunction2": {"Type": "AWS::Lambda::Function", "Properties": {"Handler": "bare"}, "Metadata": {"aws:asset:path": "asset.1"}},
  "Keys1": {"Type": "AWS::DynamoDB::Table", "Properties": {"Large": 9007199254740993}, "Metadata": {"aws:cdk:path": "S/Table"}},
  "Stage1": {"Type": "AWS::ApiGateway::Stage", "Properties": {"StageName": "production"}},
  "Stage2": {"Type": "AWS::ApiGateway::Stage", "Properties": {"StageName": "staging"}}
 }
}`

func TestTheTemplateDeclaresAndNamesWhatSAMNeedsAndKeepsTheRest(t *testing.T) {
	template := filepath.Join(t.TempDir(), "Keyreeve.template.json")
	if err := os.WriteFile(template, []byte(synthesized), 0o644); err != nil {
		t.Fatal(err)
	}
	files, err := write(template, "staging", environment{"KEYS_TABLE": "k", "AWS_ENDPOINT_URL_DYNAMODB": "http://host:1"})
	if err != nil {
		t.Fatal(err)
	}
	want := `{
 "Description": "kept",
 "Resources": {
  "KeysFunction1": {"Type": "AWS::Lambda::Function",
   "Properties": {"Handler": "keys", "Environment": {"Variables": {"KEYS_TABLE": {"Ref": "Keys1"}, "AWS_ENDPOINT_URL_DYNAMODB": ""}}},
   "Metadata": {"SamResourceId": "keys", "aws:asset:path": "asset.1"}},
  "BareFunction2": {"Type": "AWS::Lambda::Function",
   "Properties": {"Handler": "bare", "Environment": {"Variables": {"KEYS_TABLE": "", "AWS_ENDPOINT_URL_DYNAMODB": ""}}},
   "Metadata": {"SamResourceId": "bare", "aws:asset:path": "asset.1"}},
  "Keys1": {"Type": "AWS::DynamoDB::Table", "Properties": {"Large": 9007199254740993}, "Metadata": {}},
  "Stage2": {"Type": "AWS::ApiGateway::Stage", "Properties": {"StageName": "staging"}}
 }
}`
	for file, want := range map[string]string{
		files.template: want,
		files.env:      `{"Parameters": {"KEYS_TABLE": "k", "AWS_ENDPOINT_URL_DYNAMODB": "http://host:1"}}`,
	} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tree(t, want), tree(t, string(text))); diff != "" {
			t.Errorf("%s (-want +got)\n%s", filepath.Base(file), diff)
		}
		if filepath.Dir(file) != filepath.Dir(template) {
			t.Errorf("%s is not beside the template, whose assets SAM looks for there", file)
		}
	}
}

// tree reads JSON and keeps numbers as they are written.
func tree(t *testing.T, text string) (v any) {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestATemplateThatSAMCouldNotServeIsRefused(t *testing.T) {
	for fault, change := range map[string][2]string{
		"no aws:asset:path":                   {"aws:asset:path", "another"},
		"a function without a handler":        {`"Handler": "keys", `, ""},
		"2 functions and 0 stages production": {`"production"`, `"other"`},
		"0 functions and 1 stages production": {"AWS::Lambda::Function", "AWS::Other"},
		"2 functions and 2 stages production": {`"staging"`, `"production"`},
		"invalid character":                   {`"Resources": `, ""},
	} {
		text := strings.ReplaceAll(synthesized, change[0], change[1])
		if text == synthesized {
			t.Errorf("%s: nothing to change", fault)
		}
		if _, err := adapt([]byte(text), "production", nil); err == nil || !strings.Contains(err.Error(), fault) {
			t.Errorf("error %v, want %s", err, fault)
		}
	}
}

func TestAContainerReachesThisMachineByName(t *testing.T) {
	for from, want := range map[string]string{
		"http://127.0.0.1:8000": "http://host.docker.internal:8000", "http://[::]:41": "http://host.docker.internal:41",
	} {
		if got := seenFromContainer(from, "host.docker.internal"); got != want {
			t.Errorf("seenFromContainer(%s) = %s, want %s", from, got, want)
		}
	}
}
