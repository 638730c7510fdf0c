package lambda

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// process is one bootstrap process with the Runtime API that only it talks to.
type process struct {
	pool   *pool
	ready  chan struct{} // closed when it first asks for an invocation
	exited chan struct{} // closed when it is gone
	output *output       // nil before it is started; set before it can answer

	mu       sync.Mutex
	cmd      *exec.Cmd // nil before it is started
	killed   bool      // kill was called, perhaps before there was a process
	isReady  bool
	initErr  error       // why it never became ready
	current  *invocation // that it works on
	deadline *time.Timer // by when it must have answered current and asked for the next
	worked   bool        // it has answered one
}

func newProcess(p *pool) *process {
	return &process{pool: p, ready: make(chan struct{}), exited: make(chan struct{})}
}

// run starts the process, serves its Runtime API, and returns when both are gone.
func (pr *process) run() {
	begun := time.Now()
	if err := pr.runCommand(); err != nil {
		pr.failInit(err)
	}
	pr.mu.Lock()
	ready, worked, current := pr.isReady, pr.worked, pr.current
	pr.current = nil
	pr.stopDeadline()
	pr.mu.Unlock()
	if current != nil {
		current.finish(nil, &FunctionError{TypeExited, fmt.Sprintf("RequestId: %s Error: Runtime exited %s", current.id, pr.exitStatus())})
	}
	close(pr.exited)
	pr.pool.left(pr, ready, worked, time.Since(begun))
}

// runCommand returns an error when there was no process, or it never became ready.
func (pr *process) runCommand() error {
	api, err := serveAPI(pr)
	if err != nil {
		return fmt.Errorf("listening for the Runtime API: %w", err)
	}
	defer api.close()

	opts := &pr.pool.r.opts
	if pr.output, err = pr.pool.r.newOutput(pr.pool.fn.Name); err != nil {
		return fmt.Errorf("making a pipe for its output: %w", err)
	}
	defer pr.output.close()
	cmd := exec.Command(opts.Bootstrap)
	cmd.Env = pr.environment(api.address())
	cmd.Stdout, cmd.Stderr = pr.output.w, pr.output.w
	cmd.SysProcAttr = attributes()

	pr.mu.Lock()
	if pr.killed {
		pr.mu.Unlock()
		return ErrClosed
	}
	err = pr.pool.r.spawn.start(cmd)
	if err == nil {
		pr.cmd = cmd
	}
	pr.mu.Unlock()
	if err != nil {
		return fmt.Errorf("starting %s: %w", filepath.Base(opts.Bootstrap), err)
	}

	initTimer := time.AfterFunc(opts.InitTimeout, func() {
		if pr.failInit(&FunctionError{TypeTimedOut, fmt.Sprintf("INIT timed out after %.2f seconds", opts.InitTimeout.Seconds())}) {
			pr.kill()
		}
	})
	defer initTimer.Stop()
	_ = cmd.Wait() // how it ended is read from ProcessState
	return &FunctionError{TypeExited, "Runtime exited " + pr.exitStatus() + " before it asked for an invocation"}
}

// environment is all that the process sees: Lambda's variables
// (https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html) and the
// function's own. Nothing is inherited, so that what works here works there.
func (pr *process) environment(api string) []string {
	fn, opts := &pr.pool.fn, &pr.pool.r.opts
	bootstrap, err := filepath.Abs(opts.Bootstrap)
	if err != nil {
		bootstrap = opts.Bootstrap
	}
	env := []string{
		"AWS_LAMBDA_RUNTIME_API=" + api,
		"_HANDLER=" + fn.Name,
		"AWS_REGION=" + opts.Region,
		"AWS_DEFAULT_REGION=" + opts.Region,
		"AWS_LAMBDA_FUNCTION_NAME=" + fn.Name,
		"AWS_LAMBDA_FUNCTION_VERSION=$LATEST",
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE=" + strconv.Itoa(fn.MemoryMB),
		"AWS_LAMBDA_INITIALIZATION_TYPE=on-demand",
		"AWS_LAMBDA_LOG_GROUP_NAME=/aws/lambda/" + fn.Name,
		"AWS_LAMBDA_LOG_STREAM_NAME=local",
		"AWS_ACCESS_KEY_ID=" + opts.AccessKeyID,
		"AWS_SECRET_ACCESS_KEY=local",
		"AWS_SESSION_TOKEN=local",
		"LAMBDA_TASK_ROOT=" + filepath.Dir(bootstrap),
		"LANG=en_US.UTF-8",
		"PATH=/usr/local/bin:/usr/bin:/bin:/opt/bin",
		"TZ=:UTC",
	}
	for name, value := range fn.Env {
		env = append(env, name+"="+value)
	}
	return env
}

func (pr *process) pid() int {
	pr.mu.Lock()
	defer pr.mu.Unlock()
	if pr.cmd == nil || pr.cmd.Process == nil {
		return 0
	}
	return pr.cmd.Process.Pid
}

func (pr *process) kill() {
	pr.mu.Lock()
	defer pr.mu.Unlock()
	pr.killed = true
	if pr.cmd != nil {
		// An error says that it has ended already.
		_ = pr.cmd.Process.Signal(os.Kill)
	}
}

// exitStatus describes how the process ended, after it has.
func (pr *process) exitStatus() string {
	pr.mu.Lock()
	defer pr.mu.Unlock()
	if pr.cmd == nil || pr.cmd.ProcessState == nil {
		return "without a status"
	}
	return "with error: " + pr.cmd.ProcessState.String()
}

// failInit keeps the first reason why the process did not become ready; false: it did.
func (pr *process) failInit(err error) bool {
	pr.mu.Lock()
	defer pr.mu.Unlock()
	if pr.isReady {
		return false
	}
	if pr.initErr == nil {
		pr.initErr = err
	}
	return true
}

func (pr *process) startError() error {
	pr.mu.Lock()
	defer pr.mu.Unlock()
	return pr.initErr
}

// take makes inv the invocation that the process works on, and starts its clock.
func (pr *process) take(inv *invocation) (deadline time.Time) {
	timeout := pr.pool.fn.Timeout
	deadline = time.Now().Add(timeout)
	pr.mu.Lock()
	defer pr.mu.Unlock()
	pr.current = inv
	pr.deadline = time.AfterFunc(timeout, func() {
		if pr.release(inv.id) != nil {
			inv.finish(nil, &FunctionError{TypeTimedOut, fmt.Sprintf("RequestId: %s Error: Task timed out after %.2f seconds", inv.id, timeout.Seconds())})
		}
		// Lambda, too, ends the whole process: nothing else stops code that hangs. That
		// goes for an invocation that was answered as well: it is over when the process
		// asks for the next one.
		pr.kill()
	})
	return deadline
}

// release returns the current invocation if it has that id, and forgets it. Whoever gets
// it must finish it.
func (pr *process) release(id string) *invocation {
	pr.mu.Lock()
	defer pr.mu.Unlock()
	inv := pr.current
	if inv == nil || inv.id != id {
		return nil
	}
	pr.current, pr.worked = nil, true
	return inv
}

// ask notes that the process asks for an invocation; false: it has not answered the one
// that it has.
func (pr *process) ask() bool {
	pr.mu.Lock()
	defer pr.mu.Unlock()
	if pr.current != nil {
		return false
	}
	pr.stopDeadline()
	if !pr.isReady {
		pr.isReady = true
		close(pr.ready)
	}
	return true
}

// stopDeadline stops the clock of the last invocation; pr.mu is held.
func (pr *process) stopDeadline() {
	if pr.deadline != nil {
		pr.deadline.Stop()
		pr.deadline = nil
	}
}
