package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/infra/local/stacktest"
)

// The test binary is the program too: with RUN_LOCAL set it is what `make run` starts.
func TestMain(m *testing.M) {
	if os.Getenv("RUN_LOCAL") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// program is a started one.
type program struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines chan string
	text  []string // what it has printed
	ready ready
}

// start runs the program and waits for its line for scripts.
func start(t *testing.T, args ...string) *program {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &program{t: t, cmd: exec.Command(self, args...), lines: make(chan string, 1000)}
	p.cmd.Env = append(os.Environ(), "RUN_LOCAL=1")
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.cmd.Process.Kill(); _ = p.cmd.Wait() })
	go func() {
		defer close(p.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			p.lines <- s.Text()
		}
	}()
	timeout := time.After(time.Minute)
	for {
		select {
		case l, ok := <-p.lines:
			if !ok {
				t.Fatal("the program ended before it was ready")
			}
			p.text = append(p.text, l)
			if text, ok := strings.CutPrefix(l, "ready "); ok {
				if err := json.Unmarshal([]byte(text), &p.ready); err != nil {
					t.Fatal(err)
				}
				return p
			}
		case <-timeout:
			t.Fatal("not ready in a minute")
		}
	}
}

// children lists the processes that the program has started, by their parent's id.
func children(t *testing.T, parent int) []int {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	var out []int
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		// pid (name) state ppid …: a name may hold anything, so from its end.
		rest := string(text[strings.LastIndexByte(string(text), ')')+1:])
		var pid, ppid int
		var state string
		if _, err := fmt.Sscan(rest, &state, &ppid); err != nil || ppid != parent {
			continue
		}
		if _, err := fmt.Sscanf(file, "/proc/%d/stat", &pid); err != nil {
			t.Fatal(err)
		}
		out = append(out, pid)
	}
	return out
}

func (p *program) status(path string) int {
	p.t.Helper()
	key, err := os.ReadFile(p.ready.RootKeyFile)
	if err != nil {
		p.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, p.ready.URL+path, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("X-API-Key", strings.TrimSpace(string(key)))
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	_ = res.Body.Close()
	return res.StatusCode
}

// paste runs a line as a user would, in a shell.
func (p *program) paste(line string) {
	p.t.Helper()
	out, err := exec.Command("sh", "-c", line+" -s -o /dev/null -w '%{http_code}'").CombinedOutput()
	if err != nil || string(out) != "200" {
		p.t.Errorf("a pasted line: %q, %v; want 200", out, err)
	}
}

func (p *program) mustBeGone(pids []int) {
	p.t.Helper()
	for _, pid := range pids {
		for try := 0; ; try++ {
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			if err != nil || strings.Contains(string(stat), ") Z ") {
				break
			}
			if try == 500 {
				p.t.Errorf("process %d is left after 5 s", pid)
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	for _, host := range []string{"127.0.0.1", "::1"} {
		address := net.JoinHostPort(host, fmt.Sprint(p.ready.Port))
		if c, err := net.DialTimeout("tcp", address, time.Second); err == nil {
			_ = c.Close()
			p.t.Errorf("something listens on %s", address)
		}
	}
}

func TestItServesStopsAndComesBackWithItsKeys(t *testing.T) {
	bootstrap, dir := stacktest.Bootstrap(t), t.TempDir()
	args := []string{"-bootstrap", bootstrap, "-dir", dir, "-port", "0"}
	var first string
	for i, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP} {
		if i == 2 { // somebody starts afresh, but for the files beside the data
			if err := os.RemoveAll(filepath.Join(dir, "data")); err != nil {
				t.Fatal(err)
			}
			first = ""
		}
		p := start(t, args...)
		if got := p.status("/v1/api-keys"); got != 200 {
			t.Errorf("run %d: listing the keys: %d, want 200", i, got)
		}
		key, err := os.ReadFile(p.ready.RootKeyFile)
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case first == "":
			first = string(key)
		case string(key) != first:
			t.Error("the second run has another root key")
		case p.ready.StartMillis > 3000:
			// Not a promise about a machine that has other things to do; the figure is
			// in the log for whoever watches it.
			t.Logf("the second start took %d ms", p.ready.StartMillis)
		}
		// A new key is shown, once; after that its file is named.
		text, shown := strings.Join(p.text, "\n"), strings.TrimSpace(first)
		if i == 1 {
			if strings.Contains(text, shown) {
				t.Error("the second run prints the key again")
			}
			shown = "$(cat '" + p.ready.RootKeyFile + "')"
		}
		for _, want := range []string{
			"curl " + p.ready.URL + "/v1/api-keys -H \"X-API-Key: " + shown + "\"",
			"curl " + p.ready.URL + "/v1/account/api-keys/ -H \"Authorization: Bearer " + shown + "\"",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("run %d prints no line to paste like %q", i, strings.ReplaceAll(want, strings.TrimSpace(first), "KEY"))
			}
			p.paste(want)
		}
		pids := children(t, p.cmd.Process.Pid)
		if len(pids) < 4 { // DynamoDB Local and three functions
			t.Errorf("run %d: children %v", i, pids)
		}
		if err := p.cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		for range p.lines { // until it has closed its output
		}
		if err := p.cmd.Wait(); err != nil {
			t.Errorf("after %v: %v, want a clean exit", sig, err)
		}
		p.mustBeGone(pids)
	}
}

func TestNothingOutlivesAKill(t *testing.T) {
	p := start(t, "-bootstrap", stacktest.Bootstrap(t), "-dir", t.TempDir(), "-port", "0", "-config", "missinglettr")
	if got := p.status("/shared/v1/api-keys"); got != 200 || p.ready.DefaultStage != "shared" {
		t.Errorf("stage shared: %d, default stage %s", got, p.ready.DefaultStage)
	}
	pids := children(t, p.cmd.Process.Pid)
	if len(pids) < 4 {
		t.Errorf("children %v", pids)
	}
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.cmd.Wait()
	p.mustBeGone(pids)
}

func TestMistakesAreClearErrors(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	port := fmt.Sprint(taken.Addr().(*net.TCPAddr).Port)
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"-port", port}, "make run: port " + port + " is in use by another program"},
		{[]string{"-port", "eighty"}, "make run: PORT=eighty: want a number from 0 to 65535"},
		{[]string{"-config", "nothing"}, `make run: there is no configuration "nothing": want one of default, missinglettr, momail`},
		{[]string{"-routes", "/nowhere.json"}, "make run: the route table: open /nowhere.json"},
	} {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(self, append(tt.args, "-dir", t.TempDir())...)
			cmd.Env = append(os.Environ(), "RUN_LOCAL=1")
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 1 {
				t.Errorf("ended with %v, want exit status 1", err)
			}
			if !strings.Contains(string(out), tt.want) {
				t.Errorf("printed %q, want %q in it", out, tt.want)
			}
		})
	}
}
