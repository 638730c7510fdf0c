package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The fixtures in testdata are the code of the documents that Keyreeve serves, with their
// line breaks put back, one command or program each ("---" divides a file). What a reader
// would replace is a placeholder here: hosts and keys as the documents spell them, and
// {{…}} where they show an id or a key.

// seedHosts are the hosts that the documents name.
var seedHosts = []string{"https://api.missinglettr-api.com", "https://api.missinglettr.com", "https://api.momail.io"}

// snippets reads a fixture.
func snippets(t *testing.T, file string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(string(text), "---\n")
}

var placeholder = regexp.MustCompile(`\{\{|YOUR_API_KEY|your_key|https://api\.`)

// fill puts real values into a snippet: base for the hosts, key for the documents' words
// for one, and the rest by name.
func fill(t *testing.T, snippet, base, key string, values map[string]string) string {
	t.Helper()
	for _, host := range seedHosts {
		snippet = strings.ReplaceAll(snippet, host, base)
	}
	if key != "" {
		snippet = strings.NewReplacer("YOUR_API_KEY", key, "your_key", key).Replace(snippet)
	}
	for name, value := range values {
		snippet = strings.ReplaceAll(snippet, "{{"+name+"}}", value)
	}
	if at := placeholder.FindString(snippet); at != "" {
		t.Fatalf("the snippet still holds %q", at)
	}
	return snippet
}

// program finds a program that a snippet needs. In CI it must be there.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	if os.Getenv("CI") != "" {
		t.Fatal(err)
	}
	t.Skipf("SKIPPED: %s is not installed, so the documents' snippets for it cannot run", name)
	return ""
}

// run runs a program with a bare environment and returns what it wrote to standard output.
// Its output is shown on failure by length alone: it holds keys.
func run(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}, env...)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v (%d bytes out, %d bytes of errors)", filepath.Base(name), err, stdout.Len(), stderr.Len())
	}
	return stdout.String()
}

// curl runs a curl command of the documents as it stands, in a shell, and returns status
// and body. A .curlrc makes curl print the status; the command itself is not touched.
func curl(t *testing.T, command string) (status int, body []byte) {
	t.Helper()
	program(t, "curl")
	home := t.TempDir()
	if err := os.WriteFile(filepath.Join(home, ".curlrc"), []byte("silent\nshow-error\nwrite-out = \"\\n%{http_code}\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out := run(t, []string{"CURL_HOME=" + home}, "/bin/sh", "-c", command)
	i := strings.LastIndexByte(out, '\n')
	status, err := strconv.Atoi(out[i+1:])
	if err != nil {
		t.Fatalf("curl printed no status (%d bytes)", len(out))
	}
	return status, []byte(out[:i])
}

// python is an interpreter with the packages of testdata/requirements.txt, in a virtual
// environment that is made once and kept in .local.
func python(t *testing.T) string {
	t.Helper()
	system := program(t, "python3")
	requirements, err := os.ReadFile(filepath.Join("testdata", "requirements.txt"))
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(repository, ".local", "e2e-python")
	interpreter, mark := filepath.Join(dir, "bin", "python3"), filepath.Join(dir, "requirements.txt")
	if have, err := os.ReadFile(mark); err == nil && string(have) == string(requirements) {
		return interpreter
	}
	for _, args := range [][]string{
		{system, "-m", "venv", "--clear", dir},
		{interpreter, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", filepath.Join("testdata", "requirements.txt")},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	// Written last, so that an installation that broke off is done again.
	if err := os.WriteFile(mark, requirements, 0o644); err != nil {
		t.Fatal(err)
	}
	return interpreter
}

// script writes a program into a file and returns its path.
func script(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestNoFixtureCarriesAnIDOrKeyOfTheDocuments(t *testing.T) {
	files, err := filepath.Glob("testdata/seed*")
	if err != nil || len(files) != 6 {
		t.Fatalf("fixtures: %v, %v; want 6", files, err)
	}
	// Any key has an underscore and eight or more characters after it; the ids that the
	// documents show are key_ and six, and one digit between slashes.
	shown := regexp.MustCompile(`\b(key_[0-9a-z]+|(ml|mk)_\w+|api-keys/[0-9]+)`)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if at := shown.FindString(string(text)); at != "" && at != "key_type" {
			t.Errorf("%s holds %q", file, at)
		}
	}
	if shown.FindString(fmt.Sprintf("/api-keys/%d/", 2)) == "" || shown.FindString("key_"+"abc123") == "" {
		t.Error("the pattern does not find what it is to find")
	}
}
