package ddb

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a child in a process group of its own, so that Ctrl-C in the terminal
// reaches it only through its parent, and so that its end takes all of it along.
type process struct {
	cmd    *exec.Cmd
	gentle func() error // asks for the end
	tail   *tail
	done   chan struct{}
	leash  io.Closer
	ending sync.Once
}

// spawn starts cmd. The goroutine that starts it keeps its thread until the child has
// ended: Linux sends the parent-death signal when the *thread* that forked ends
// (prctl(2), PR_SET_PDEATHSIG).
func spawn(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, tail: &tail{}, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.tail, p.tail
	cmd.SysProcAttr = childAttributes()
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		_ = cmd.Wait() // how it ended is of no interest; that it did is
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	p.gentle = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	if !diesWithParent {
		var err error
		if p.leash, err = newLeash(cmd.Process.Pid); err != nil {
			_ = p.stop()
			return nil, err
		}
	}
	return p, nil
}

// stop asks the process to end, kills it if it does not, and waits.
func (p *process) stop() error {
	var err error
	p.ending.Do(func() {
		if p.leash != nil {
			defer p.leash.Close()
		}
		select {
		case <-p.done:
			return
		default:
		}
		if err = p.gentle(); err == nil {
			select {
			case <-p.done:
				return
			case <-time.After(stopTimeout):
			}
		}
		if err = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			err = fmt.Errorf("ending process %d: %w", p.cmd.Process.Pid, err)
			return
		}
		err = nil
		<-p.done
	})
	return err
}

// output is the end of what the process printed.
func (p *process) output() string { return p.tail.String() }

// tail keeps the last bytes written to it.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

const tailBytes = 4096

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, b...)
	if over := len(t.buf) - tailBytes; over > 0 {
		t.buf = bytes.Clone(t.buf[over:])
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.buf))
}

// leash is a shell that waits on a pipe which only this process holds open. When the
// process ends, however it ends, the pipe closes and the shell kills the child. It serves
// where the kernel has no parent-death signal.
type leash struct{ cmd *exec.Cmd }

func newLeash(pid int) (*leash, error) {
	cmd := exec.Command("/bin/sh", "-c", `read -r _; kill -9 -"$1" 2>/dev/null`, "leash", fmt.Sprint(pid))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if _, err := cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the watch over process %d: %w", pid, err)
	}
	return &leash{cmd}, nil
}

// Close ends the shell before it could kill a process that has the number by then.
func (l *leash) Close() error {
	err := l.cmd.Process.Kill()
	_ = l.cmd.Wait() // closes the pipe
	return err
}
