package deploytest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The emulator's only account and region, and the credentials of its administrator.
const (
	awsAccount = "000000000000"
	region     = "us-east-1"
	accessKey  = "test"
	secretKey  = "test"
)

// emulator is a ministack on a loopback port, with nothing in it at first. It keeps its
// state in memory and its files in dir.
type emulator struct {
	port int
	auth bool // it enforces the policies of roles
	dir  string
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended
	stop func()
}

func (e *emulator) url() string { return fmt.Sprintf("http://127.0.0.1:%d", e.port) }

// startEmulator starts one, which ends with the test. auth says whether it enforces the
// policies of roles.
func startEmulator(t *testing.T, auth bool) *emulator {
	t.Helper()
	const attempts = 3 // a free port may be taken before the emulator has it
	var err error
	for range attempts {
		e := &emulator{auth: auth, dir: t.TempDir(), done: make(chan struct{})}
		if e.port, err = freePort(); err != nil {
			t.Fatal(err)
		}
		if err = e.start(); err == nil {
			t.Cleanup(e.stop)
			return e
		}
		e.stop()
	}
	t.Fatal(err)
	return nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func (e *emulator) start() error {
	e.stop = func() {}
	log, err := os.Create(filepath.Join(e.dir, "ministack.log"))
	if err != nil {
		return err
	}
	defer log.Close() // the child has its own descriptor
	e.cmd = exec.Command(tools.ministack)
	e.cmd.Dir, e.cmd.Stdout, e.cmd.Stderr = e.dir, log, log
	// AWS_ENDPOINT_URL reaches the functions, whose endpoint it becomes.
	e.cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + e.dir, "TMPDIR=" + e.dir,
		"AUTH=" + strconv.FormatBool(e.auth), "BIND_HOST=127.0.0.1", "MINISTACK_HOST=localhost",
		"GATEWAY_PORT=" + strconv.Itoa(e.port), "AWS_ENDPOINT_URL=" + e.url(),
	}
	e.cmd.SysProcAttr = childAttributes()
	started := make(chan error)
	go func() {
		// The parent-death signal is sent when the thread that forked ends (prctl(2)), so
		// that thread stays as long as the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := e.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		_ = e.cmd.Wait() // that it ended is all that counts
		close(e.done)
	}()
	if err := <-started; err != nil {
		return err
	}
	e.stop = sync.OnceFunc(e.end)
	return e.ready(30 * time.Second)
}

// end asks the emulator to end, which takes the functions along, and kills what is left of
// its process group.
func (e *emulator) end() {
	_ = syscall.Kill(e.cmd.Process.Pid, syscall.SIGTERM) // gone already: done says so
	select {
	case <-e.done:
	case <-time.After(10 * time.Second):
	}
	_ = syscall.Kill(-e.cmd.Process.Pid, syscall.SIGKILL)
	<-e.done
}

// ready waits until the emulator answers.
func (e *emulator) ready(within time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.url()+"/_ministack/health", nil)
		if err != nil {
			return err
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-e.done:
			return errors.New("the emulator ended at its start")
		case <-ctx.Done():
			return fmt.Errorf("the emulator does not answer within %v", within)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
