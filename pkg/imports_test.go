// Package pkg_test holds the import rules of the whole module: who may know about what.
package pkg_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const module = "github.com/keyreeve/keyreeve/"

// standardOnly lists packages that are built from the standard library, and the packages
// of ours that they may use besides. They are what others may want to take away: the key
// format, the limit's arithmetic, the table.
var standardOnly = map[string][]string{
	"pkg/apikey": nil,
	"pkg/limit":  nil,
	"pkg/route":  nil,
	"pkg/config": nil,
	"pkg/wait":   nil,
	"pkg/pepper": {"pkg/apikey"},
}

// importers lists, for what is named on the left, the only packages that may import it
// directly. "x/..." is x and everything below.
var importers = map[string][]string{
	"github.com/aws/aws-sdk-go-v2/...":        {"pkg/dynamo", "functions", "infra/...", "bench/..."},
	"github.com/aws/smithy-go/...":            {"pkg/dynamo", "functions", "infra/...", "bench/..."},
	"github.com/aws/aws-sdk-go-v2/config/...": nil, // its providers double the start of a process: aws.Config is made by hand
	"github.com/aws/aws-lambda-go/...":        {"functions/...", "authorizer", "bench/..."},
	"github.com/aws/aws-cdk-go/...":           {"infra"},
	"github.com/aws/constructs-go/...":        {"infra"},
	"github.com/aws/jsii-runtime-go/...":      {"infra"},
	"github.com/danielgtaylor/huma/v2/...":    {"pkg/httpapi"},
	// Nothing that ships knows the local gateway.
	module + "infra/...": {"infra/...", "bench/..."},
	// What only tests need stays in packages that only tests import.
	"testing/...":                              {"*test"},
	"github.com/google/go-cmp/...":             {"*test"},
	"pgregory.net/rapid/...":                   {"*test"},
	"github.com/anishathalye/porcupine/...":    {"*test"},
	module + "pkg/keys/keystest/...":           {"*test"},
	module + "pkg/guard/guardtest/...":         {"*test"},
	module + "pkg/usage/usagetest/...":         {"*test"},
	module + "pkg/alert/alerttest/...":         {"*test"},
	module + "pkg/webhook/webhooktest/...":     {"*test"},
	module + "functions/sample/sampletest/...": {"*test"},
	module + "infra/local/stacktest/...":       {"*test"},
	module + "infra/local/ddb/ddbtest/...":     {"*test"},
}

// narrow lists packages, and the only ones of ours that they may import directly. The
// console is files: who asks for them is nothing to it.
var narrow = map[string][]string{
	"functions/console": {"functions/proxy", "pkg/httpapi"},
}

// unreachable lists packages, and what they must not depend on even through others.
var unreachable = []struct {
	packages []string
	targets  []string
}{
	{ // The domain: no transport, no storage.
		packages: []string{"pkg/keys", "pkg/verify", "pkg/policy", "pkg/guard", "pkg/limit", "pkg/usage", "pkg/alert", "pkg/logline", "pkg/flush", "pkg/simulate"},
		targets: []string{
			"net/http/...", "github.com/aws/...", "github.com/danielgtaylor/huma/v2/...",
			module + "pkg/dynamo", module + "pkg/httpapi", module + "functions/...", module + "authorizer",
		},
	},
	{ // The hot path starts with nothing that it does not use.
		packages: []string{"authorizer"},
		targets:  []string{"github.com/aws/aws-sdk-go-v2/...", "github.com/danielgtaylor/huma/v2/...", module + "pkg/dynamo", module + "pkg/httpapi"},
	},
	{ // Handlers reach storage through interfaces that main wires.
		packages: []string{"pkg/httpapi", "functions/keys", "functions/sample", "functions/proxy", "functions/forward", "functions/console", "functions/admin"},
		targets:  []string{"github.com/aws/aws-sdk-go-v2/...", module + "pkg/dynamo"},
	},
	{ // The faces are plain HTTP; the proxy alone translates Lambda's events.
		packages: []string{"pkg/httpapi", "functions/keys", "functions/sample", "pkg/dynamo"},
		targets:  []string{"github.com/aws/aws-lambda-go/..."},
	},
	{
		packages: []string{"pkg/dynamo"},
		targets:  []string{"github.com/danielgtaylor/huma/v2/...", module + "pkg/httpapi"},
	},
}

// listed is what go list says of a package. Its own tests' imports are not in it.
type listed struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

// matches reports whether path is what the pattern names.
func matches(pattern, path string) bool {
	if end, ok := strings.CutPrefix(pattern, "*"); ok {
		return strings.HasSuffix(path, end)
	}
	if base, ok := strings.CutSuffix(pattern, "/..."); ok {
		return path == base || strings.HasPrefix(path, base+"/")
	}
	return path == pattern
}

func matchesAny(patterns []string, path string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, path) })
}

// standard reports whether a path is the standard library's: no domain in front.
func standard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}

// violations returns what breaks the rules, and how many rules met a package that exists.
func violations(packages []listed) (found []string, checked int) {
	for _, p := range packages {
		name := strings.TrimPrefix(p.ImportPath, module)
		if allowed, ok := standardOnly[name]; ok {
			checked++
			for _, dep := range p.Deps {
				if !standard(dep) && !slices.Contains(allowed, strings.TrimPrefix(dep, module)) {
					found = append(found, fmt.Sprintf("%s depends on %s", name, dep))
				}
			}
		}
		if allowed, ok := narrow[name]; ok {
			checked++
			for _, dep := range p.Imports {
				if of, ours := strings.CutPrefix(dep, module); ours && !slices.Contains(allowed, of) {
					found = append(found, fmt.Sprintf("%s imports %s", name, of))
				}
			}
		}
		for target, who := range importers {
			for _, dep := range p.Imports {
				if !matches(target, dep) {
					continue
				}
				checked++
				if !matchesAny(who, name) {
					found = append(found, fmt.Sprintf("%s imports %s", name, dep))
				}
			}
		}
		for _, rule := range unreachable {
			if !slices.Contains(rule.packages, name) {
				continue
			}
			checked++
			for _, dep := range p.Deps {
				if matchesAny(rule.targets, dep) {
					found = append(found, fmt.Sprintf("%s reaches %s", name, dep))
				}
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found), checked
}

func TestImportRules(t *testing.T) {
	packages := list(t)
	found, checked := violations(packages)
	for _, v := range found {
		t.Error(v)
	}
	if checked == 0 {
		t.Fatalf("no rule met any of the %d packages", len(packages))
	}
	for name := range standardOnly {
		if !slices.ContainsFunc(packages, func(p listed) bool { return p.ImportPath == module+name }) {
			t.Errorf("%s does not exist: the rule for it checks nothing", name)
		}
	}
}

// The rules themselves, against a module that breaks them.
func TestBrokenImportRulesAreFound(t *testing.T) {
	for name, c := range map[string]struct {
		p    listed
		want []string
	}{
		"a dependency of the key format":  {listed{module + "pkg/apikey", nil, []string{"crypto/sha256", "golang.org/x/crypto/argon2"}}, []string{"pkg/apikey depends on golang.org/x/crypto/argon2"}},
		"our own, too":                    {listed{module + "pkg/config", nil, []string{"fmt", module + "pkg/apikey"}}, []string{"pkg/config depends on " + module + "pkg/apikey"}},
		"what pepper may":                 {listed{module + "pkg/pepper", nil, []string{"sync", module + "pkg/apikey"}}, nil},
		"SDK in a handler":                {listed{module + "functions/keys", []string{"github.com/aws/aws-sdk-go-v2/aws"}, nil}, []string{"functions/keys imports github.com/aws/aws-sdk-go-v2/aws"}},
		"SDK in the store":                {listed{module + "pkg/dynamo", []string{"github.com/aws/aws-sdk-go-v2/service/dynamodb"}, nil}, nil},
		"SDK in main":                     {listed{module + "functions", []string{"github.com/aws/aws-sdk-go-v2/service/secretsmanager"}, nil}, nil},
		"SDK's config in main":            {listed{module + "functions", []string{"github.com/aws/aws-sdk-go-v2/config"}, nil}, []string{"functions imports github.com/aws/aws-sdk-go-v2/config"}},
		"SDK behind the domain":           {listed{module + "pkg/keys", nil, []string{"github.com/aws/smithy-go"}}, []string{"pkg/keys reaches github.com/aws/smithy-go"}},
		"HTTP behind the domain":          {listed{module + "pkg/guard", nil, []string{"net/http"}}, []string{"pkg/guard reaches net/http"}},
		"Lambda in a face":                {listed{module + "pkg/httpapi", []string{"github.com/aws/aws-lambda-go/events"}, []string{"github.com/aws/aws-lambda-go/events"}}, []string{"pkg/httpapi imports github.com/aws/aws-lambda-go/events", "pkg/httpapi reaches github.com/aws/aws-lambda-go/events"}},
		"keys in the console":             {listed{module + "functions/console", []string{"embed", module + "pkg/httpapi", module + "pkg/keys"}, nil}, []string{"functions/console imports pkg/keys"}},
		"storage behind the console":      {listed{module + "functions/console", nil, []string{module + "pkg/dynamo"}}, []string{"functions/console reaches " + module + "pkg/dynamo"}},
		"Lambda in the proxy":             {listed{module + "functions/proxy", []string{"github.com/aws/aws-lambda-go/events"}, nil}, nil},
		"CDK in the local gateway":        {listed{module + "infra/local", []string{"github.com/aws/aws-cdk-go/awscdk/v2"}, nil}, []string{"infra/local imports github.com/aws/aws-cdk-go/awscdk/v2"}},
		"CDK in infra":                    {listed{module + "infra", []string{"github.com/aws/aws-cdk-go/awscdk/v2", "github.com/aws/jsii-runtime-go"}, nil}, nil},
		"the store behind the authorizer": {listed{module + "authorizer", nil, []string{module + "pkg/dynamo"}}, []string{"authorizer reaches " + module + "pkg/dynamo"}},
		"local gateway in what ships":     {listed{module + "functions", []string{module + "infra/local/gateway"}, nil}, []string{"functions imports " + module + "infra/local/gateway"}},
		"a test library in what ships":    {listed{module + "pkg/keys", []string{"github.com/google/go-cmp/cmp"}, nil}, []string{"pkg/keys imports github.com/google/go-cmp/cmp"}},
		"a test library in a suite":       {listed{module + "pkg/keys/keystest", []string{"github.com/google/go-cmp/cmp", "testing"}, nil}, nil},
		"a suite in what ships":           {listed{module + "functions/stream", []string{module + "pkg/keys/keystest"}, nil}, []string{"functions/stream imports " + module + "pkg/keys/keystest"}},
	} {
		found, _ := violations([]listed{c.p})
		if diff := cmp.Diff(c.want, found); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
	}
	if _, checked := violations([]listed{{ImportPath: module + "elsewhere"}}); checked != 0 {
		t.Errorf("%d rules met a package that no rule is about", checked)
	}
}

// list asks the go command about every package of the module. Packages that do not
// compile at the moment are listed as far as they can be read.
func list(t *testing.T) []listed {
	t.Helper()
	// go test re-uses a result until something that the test itself has opened changes;
	// what the go command reads does not count. So look at every directory.
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && path != ".." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "dist" || d.Name() == "node_modules") {
			return fs.SkipDir
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Imports,Deps", "./...")
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %v\n%s", err, exit.Stderr)
		}
		t.Fatalf("go list: %v", err)
	}
	var packages []listed
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return packages
		}
		if err != nil {
			t.Fatalf("output of go list: %v", err)
		}
		packages = append(packages, p)
	}
}
