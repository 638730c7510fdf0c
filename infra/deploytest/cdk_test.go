package deploytest

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// stackName is the stack's name, the default of cdk.json.
const stackName = "Keyreeve"

// cdk runs the CDK's command line in the repository and fails the test unless it succeeds.
// Nothing that it prints is a secret.
func (e *emulator) cdk(t *testing.T, args ...string) {
	t.Helper()
	begin := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, tools.cdk, append(args, "--no-notices", "--no-color")...)
	cmd.Dir, cmd.Env = tools.repository, e.environment()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	t.Logf("cdk %s: %.1f s", args[0], time.Since(begin).Seconds())
	if err != nil {
		lines := strings.Split(out.String(), "\n")
		t.Fatalf("cdk %s: %v\n%s", args[0], err, strings.Join(lines[max(0, len(lines)-40):], "\n"))
	}
}

// environment is this process's, with the emulator for AWS whatever the user has set up.
func (e *emulator) environment() []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "AWS_") {
			env = append(env, v)
		}
	}
	// S3's endpoint by itself: it puts the bucket's name before the host, and only
	// localhost has subdomains.
	endpoint := strings.Replace(e.url(), "127.0.0.1", "localhost", 1)
	return append(env,
		"AWS_ENDPOINT_URL="+endpoint, "AWS_ENDPOINT_URL_S3="+endpoint, "AWS_REGION="+region,
		"AWS_ACCESS_KEY_ID="+accessKey, "AWS_SECRET_ACCESS_KEY="+secretKey, "AWS_EC2_METADATA_DISABLED=true",
		"AWS_CONFIG_FILE="+os.DevNull, "AWS_SHARED_CREDENTIALS_FILE="+os.DevNull,
		"CDK_DISABLE_CLI_TELEMETRY=1", "JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION=20",
	)
}

// synth runs the CDK app with that context ("name=value") over cdk.json's, and makes the
// assembly fit for the emulator.
func (e *emulator) synth(t *testing.T, context ...string) assembly {
	t.Helper()
	dir, err := os.MkdirTemp(e.dir, "cdk.out-") // as lasting as the stack
	if err != nil {
		t.Fatal(err)
	}
	a := assembly(dir)
	args := []string{"synth", "--quiet", "--app", tools.app, "--output", string(a), "-c", "arch=x86_64"}
	for _, c := range context {
		args = append(args, "-c", c)
	}
	e.cdk(t, args...)
	return a.edited(t, fit)
}

func (e *emulator) bootstrap(t *testing.T, a assembly) {
	t.Helper()
	e.cdk(t, "bootstrap", "--app", string(a), "aws://"+awsAccount+"/"+region)
}

// deploy deploys an assembly and returns the stack's outputs.
func (e *emulator) deploy(t *testing.T, a assembly) map[string]string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "outputs.json")
	e.cdk(t, "deploy", "--app", string(a), "--require-approval", "never", "--outputs-file", file)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var outputs map[string]map[string]string
	if err := json.Unmarshal(text, &outputs); err != nil || outputs[stackName] == nil {
		t.Fatalf("outputs of cdk deploy: %v; %d stacks", err, len(outputs))
	}
	return outputs[stackName]
}

// mustNotDiffer fails the test if deploying the assembly would change anything.
func (e *emulator) mustNotDiffer(t *testing.T, a assembly) {
	t.Helper()
	e.cdk(t, "diff", "--app", string(a), "--fail")
}

func (e *emulator) destroy(t *testing.T, a assembly) {
	t.Helper()
	e.cdk(t, "destroy", "--app", string(a), "--force")
}
