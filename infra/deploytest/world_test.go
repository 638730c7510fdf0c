package deploytest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/pkg/route"
)

// world is a deployed stack and what the flows know of it.
type world struct {
	*emulator
	outputs map[string]string
	ids     map[string]string // physical ids by logical ids
	http    *http.Client
	root    string // the root key

	calls, repeated int // see call
}

// observe returns the world after a first deploy.
func (e *emulator) observe(t *testing.T, outputs map[string]string) *world {
	t.Helper()
	w := &world{emulator: e, outputs: outputs, ids: e.physical(t)}
	// API Gateway tells APIs apart by the host's name, which is found here and not by DNS.
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, fmt.Sprintf("127.0.0.1:%d", e.port))
	}
	w.http = &http.Client{Timeout: time.Minute, Transport: &http.Transport{DialContext: dial}}
	t.Cleanup(w.http.CloseIdleConnections)
	return w
}

// physicalID is the physical id of the resource that the CDK app calls so: its logical id
// is that and a hash of 8 digits.
func (w *world) physicalID(t *testing.T, name string) string {
	t.Helper()
	form := regexp.MustCompile("^" + name + "[0-9A-F]{8}$")
	for logical, physical := range w.ids {
		if form.MatchString(logical) {
			return physical
		}
	}
	t.Fatalf("the stack has no %s", name)
	return ""
}

// base is the URL of a stage: that of the output, with the emulator's host for AWS's.
func (w *world) base(t *testing.T, stage string) string {
	t.Helper()
	out, err := url.Parse(w.outputs[title(stage)+"Url"])
	if err != nil {
		t.Fatal(err)
	}
	api, aws, found := strings.Cut(out.Host, ".execute-api.")
	if !found || aws != region+".amazonaws.com" || out.Scheme != "https" || out.Path != "/"+stage {
		t.Fatalf("output for the stage %s = %q", stage, out)
	}
	return fmt.Sprintf("http://%s.execute-api.localhost:%d%s", api, w.port, out.Path)
}

// answer is what came back of one request.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) code() string {
	var v struct{ Error struct{ Code string } }
	_ = json.Unmarshal(a.body, &v) // another shape leaves the code empty, which no test wants
	return v.Error.Code
}

// String shows status and code; never the body, which may hold a key.
func (a answer) String() string { return strings.TrimSpace(fmt.Sprint(a.status, " ", a.code())) }

func (a answer) must(t *testing.T, what string, status int, code string) {
	t.Helper()
	if a.status != status || a.code() != code {
		t.Errorf("%s = %s, want %d %s", what, a, status, code)
	}
}

func xAPIKey(key string) http.Header { return http.Header{string(route.APIKeyHeader): {key}} }
func bearer(key string) http.Header {
	return http.Header{string(route.Authorization): {"Bearer " + key}}
}

// once sends a request to a stage.
func (w *world) once(t *testing.T, stage, method, path string, header http.Header, body string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, w.base(t, stage)+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header.Clone()
	if req.Header == nil {
		req.Header = http.Header{}
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := w.http.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, text}
}

// call is once on production, which repeats what a busy machine's emulator was too slow
// for: nothing was done then and nothing decided. How often that may be, end judges.
func (w *world) call(t *testing.T, method, path string, header http.Header, body string) (a answer) {
	t.Helper()
	return w.callOn(t, "production", method, path, header, body)
}

func (w *world) callOn(t *testing.T, stage, method, path string, header http.Header, body string) (a answer) {
	t.Helper()
	w.calls++
	for range 5 {
		a = w.once(t, stage, method, path, header, body)
		if a.code() != "unavailable" && a.code() != "authorizer_failure" {
			break
		}
		w.repeated++
	}
	return a
}

// issued is a key just made.
type issued struct{ id, key string }

// create makes a key by the root key.
func (w *world) create(t *testing.T, body string) issued {
	t.Helper()
	a := w.call(t, "POST", "/v1/api-keys", xAPIKey(w.root), body)
	if a.status != http.StatusCreated {
		t.Fatalf("creating a key = %s, want 201", a)
	}
	return issuedBy(t, a)
}

func issuedBy(t *testing.T, a answer) issued {
	t.Helper()
	var v struct {
		Data struct{ KeyID, APIKey string }
	}
	if err := json.Unmarshal(a.body, &v); err != nil || v.Data.APIKey == "" {
		t.Fatalf("answer = %s: holds no key", a)
	}
	return issued{v.Data.KeyID, v.Data.APIKey}
}

// change is a request by the root key that must succeed.
func (w *world) change(t *testing.T, method, path, body string) answer {
	t.Helper()
	a := w.call(t, method, path, xAPIKey(w.root), body)
	if a.status < 200 || a.status > 299 {
		t.Fatalf("%s %s = %s, want success", method, path, a)
	}
	return a
}

// callsOf is how often a function has been invoked so far.
func (w *world) callsOf(t *testing.T, function string) (n int) {
	t.Helper()
	for _, m := range w.logged(t, w.physicalID(t, title(function)+"FunctionLog")) {
		if strings.HasPrefix(m, "START ") {
			n++
		}
	}
	return n
}

// title is how the CDK app begins the names of what belongs to a function or a stage.
func title(name string) string { return strings.ToUpper(name[:1]) + name[1:] }

// eventually waits for what happens in the background.
func eventually(t *testing.T, within time.Duration, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(within); !ok(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, within)
		}
	}
}

// snippets are the commands of a document (see infra/local/e2e, whose fixtures they are).
func snippets(t *testing.T, file string) []string {
	t.Helper()
	return strings.Split(string(mustRead(t, filepath.Join(tools.repository, "infra", "local", "e2e", "testdata", file))), "---\n")
}

// curl runs a document's command on a stage, in a shell as it stands but for the host, the
// key and what else a reader would put in (values: old and new, in pairs), and returns the
// status and the body.
func (w *world) curl(t *testing.T, stage, command string, values ...string) (status int, body []byte) {
	t.Helper()
	base := w.base(t, stage)
	command = strings.NewReplacer(append(values,
		"https://api.missinglettr-api.com", base, "https://api.missinglettr.com", base, "https://api.momail.io", base,
		"YOUR_API_KEY", w.root, "your_key", w.root)...).Replace(command)
	home := t.TempDir()
	host := strings.TrimPrefix(strings.TrimSuffix(base, "/"+stage), "http://")
	settings := fmt.Sprintf("silent\nshow-error\nresolve = \"%s:127.0.0.1\"\nwrite-out = \"\\n%%{http_code}\"\n", host)
	if err := os.WriteFile(filepath.Join(home, ".curlrc"), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", command)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "CURL_HOME=" + home}
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("curl: %v", err) // the output may hold a key
	}
	i := bytes.LastIndexByte(out, '\n')
	if status, err = strconv.Atoi(string(out[i+1:])); err != nil {
		t.Fatalf("curl printed no status (%d bytes)", len(out))
	}
	return status, out[:i]
}
