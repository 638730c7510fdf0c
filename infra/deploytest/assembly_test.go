package deploytest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// assembly is the directory that cdk synth has made.
type assembly string

// template is a CloudFormation template: resources by their logical ids.
type template map[string]map[string]any

type resource = map[string]any

// edited returns a copy of the assembly, beside it, whose template change has changed. The CDK stores
// a template under its hash and takes one that is stored for the same, so the copy has a
// hash of its own.
func (a assembly) edited(t *testing.T, change func(*testing.T, template)) assembly {
	t.Helper()
	to, err := os.MkdirTemp(filepath.Dir(string(a)), "cdk.out-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(to, os.DirFS(string(a))); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(to, stackName+".template.json")
	text := mustRead(t, file)
	old := hash(text)
	var whole map[string]json.RawMessage
	var resources template
	if err := json.Unmarshal(text, &whole); err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(whole["Resources"]))
	d.UseNumber()
	if err := d.Decode(&resources); err != nil {
		t.Fatal(err)
	}
	change(t, resources)
	if whole["Resources"], err = json.Marshal(resources); err != nil {
		t.Fatal(err)
	}
	changed, err := json.Marshal(whole)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, changed, 0o644); err != nil {
		t.Fatal(err)
	}
	renamed := 0
	for _, name := range []string{"manifest.json", stackName + ".assets.json"} {
		file := filepath.Join(to, name)
		text := mustRead(t, file)
		renamed += strings.Count(string(text), old)
		if err := os.WriteFile(file, bytes.ReplaceAll(text, []byte(old), []byte(hash(changed))), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if renamed == 0 {
		t.Fatal("the assembly does not name its template by its hash")
	}
	return assembly(to)
}

func mustRead(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func hash(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// fit makes a template one that the emulator can deploy. What it changes, gaps lists.
//
// The emulator's Ref of a secret is the secret's name; AWS's is the ARN, which is also the
// attribute Id, here and there
// (https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-secretsmanager-secret.html).
// It refuses alarms that compute (metric math). And it takes requests without TLS alone, and
// refuses them where a queue's policy says so, so that no test could look into the queue:
// one queue is left without its policy.
func fit(t *testing.T, resources template) {
	t.Helper()
	secrets, alarms, policies := 0, 0, 0
	var walk func(v any) any
	walk = func(v any) any {
		switch v := v.(type) {
		case map[string]any:
			if id, ok := v["Ref"].(string); ok && resources[id]["Type"] == "AWS::SecretsManager::Secret" {
				secrets++
				return map[string]any{"Fn::GetAtt": []string{id, "Id"}}
			}
			for name, member := range v {
				v[name] = walk(member)
			}
		case []any:
			for i, member := range v {
				v[i] = walk(member)
			}
		}
		return v
	}
	for id, r := range resources {
		if properties, ok := r["Properties"].(resource); ok && r["Type"] == "AWS::CloudWatch::Alarm" && properties["Metrics"] != nil {
			alarms++
			delete(resources, id)
			continue
		}
		if strings.HasPrefix(id, "UsageGaveUpPolicy") {
			policies++
			delete(resources, id)
			continue
		}
		walk(r)
	}
	if secrets == 0 || alarms == 0 || policies == 0 {
		t.Errorf("%d references to secrets, %d computed alarms, %d policies of the queue: nothing is left to make fit", secrets, alarms, policies)
	}
}

// grant is a statement of a function's role.
type grant struct{ function, sid string }

// without takes grants away.
func without(grants ...grant) func(*testing.T, template) {
	return func(t *testing.T, resources template) {
		t.Helper()
		for _, g := range grants {
			removed := 0
			for id, r := range resources {
				if r["Type"] == "AWS::IAM::Role" && strings.HasPrefix(id, title(g.function)+"FunctionRole") {
					removed += removeStatement(t, r, g.sid)
				}
			}
			if removed != 1 {
				t.Fatalf("%d statements %s in the role of %s, want 1", removed, g.sid, g.function)
			}
		}
	}
}

// removeStatement removes the statements of that id from a role and returns how many.
func removeStatement(t *testing.T, role resource, sid string) (removed int) {
	t.Helper()
	policies, ok := role["Properties"].(resource)["Policies"].([]any)
	if !ok {
		t.Fatal("the role has no policy")
	}
	for _, p := range policies {
		document := p.(resource)["PolicyDocument"].(resource)
		var kept []any
		for _, s := range document["Statement"].([]any) {
			if s.(resource)["Sid"] == sid {
				removed++
			} else {
				kept = append(kept, s)
			}
		}
		document["Statement"] = kept
	}
	return removed
}
