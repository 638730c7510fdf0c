// Package lambda runs Lambda functions on this machine as Lambda does: the unmodified
// bootstrap binary, one process per concurrent invocation, driven over the Runtime API.
//
// The model: a [Runtime] holds a pool of processes for each function. A process has a
// Runtime API listener of its own on loopback, asks it for the next invocation, answers,
// and asks again; it never works on two at once. An invocation goes to an idle process;
// when all are busy the pool grows up to its cap, and then invocations wait their turn.
//
// Promises:
//
//   - An invocation ends: with the function's answer, with a [FunctionError] (the function
//     failed, its process died, or it ran out of time), or when the caller's context does.
//   - A process that dies or hangs costs the one invocation it was working on. It is
//     killed by its own pid, and the next invocation gets another one.
//   - What a function has written when it answers has been passed on, to the log and to
//     [Options.OnLine], when its invocation ends.
//   - A process sees the environment that its function is given and the variables that
//     Lambda itself sets; nothing of the environment that this program runs in.
//   - After Close no process is left and nothing listens. If this program is killed
//     instead, Linux kills the processes (PR_SET_PDEATHSIG); elsewhere they end by
//     themselves as soon as they find the Runtime API gone.
//
// The protocol is https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html.
// Response streaming and extensions are left out.
package lambda

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// Lambda's limits on a synchronous invocation, in bytes
// (https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html).
const (
	maxRequestBytes  = 6 << 20
	maxResponseBytes = 6<<20 + 100
)

// Function is one function: a handler of the bootstrap binary with its settings.
type Function struct {
	// Name is the value of _HANDLER, and of AWS_LAMBDA_FUNCTION_NAME.
	Name string
	// Env is what the function's configuration adds to Lambda's own variables.
	Env map[string]string
	// Timeout bounds one invocation, from its delivery to a process. Default 10 s.
	Timeout time.Duration
	// MemoryMB is only told to the process. Default 128.
	MemoryMB int
	// MaxProcesses caps the pool, as reserved concurrency does. Default 8.
	MaxProcesses int
	// Lazy functions get their first process with their first invocation, not at Start.
	Lazy bool
}

// Options is what a Runtime works with.
type Options struct {
	Bootstrap   string // path of the bootstrap binary
	Functions   []Function
	Region      string        // default us-east-1
	AccountID   string        // of function ARNs; default 000000000000
	AccessKeyID string        // that processes sign with; default "LOCAL"
	InitTimeout time.Duration // from a process's start to its first /next; default 10 s, as Lambda's
	Log         io.Writer     // what processes write, a line at a time, after their function's name; default discards
	// OnLine is told of each line that a process writes, without its end, and reports
	// whether Log gets it too. A line that was written before an answer is passed on before
	// the invocation ends. It is called by several goroutines. Default: Log gets all.
	OnLine func(function, line string) bool
}

// Errors of Invoke that are not the function's.
var (
	ErrNoFunction      = errors.New("no such function")
	ErrClosed          = errors.New("the Lambda runtime is closed")
	ErrRequestTooLarge = errors.New("the payload is over 6 MB")
)

// FunctionError says that an invocation failed in the function or its process: what
// Lambda reports with X-Amz-Function-Error.
type FunctionError struct {
	Type    string // errorType: the function's own, or one of Lambda's below
	Message string // errorMessage
}

// Types of errors that Lambda makes itself.
const (
	TypeTimedOut         = "Sandbox.Timedout"
	TypeExited           = "Runtime.ExitError"
	TypeResponseTooLarge = "Function.ResponseSizeTooLarge"
)

func (e *FunctionError) Error() string { return e.Type + ": " + e.Message }

// Runtime runs functions. It is safe for concurrent use.
type Runtime struct {
	opts   Options
	pools  map[string]*pool
	spawn  *spawner
	log    *lineLog
	closed chan struct{}
	once   sync.Once
}

// New returns a Runtime without any process yet.
func New(o Options) (*Runtime, error) {
	if o.Bootstrap == "" {
		return nil, errors.New("lambda: no bootstrap binary given")
	}
	if o.Region == "" {
		o.Region = "us-east-1"
	}
	if o.AccountID == "" {
		o.AccountID = "000000000000"
	}
	if o.AccessKeyID == "" {
		o.AccessKeyID = "LOCAL"
	}
	if o.InitTimeout == 0 {
		o.InitTimeout = 10 * time.Second
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
	r := &Runtime{
		opts: o, pools: map[string]*pool{}, spawn: newSpawner(),
		log: &lineLog{w: o.Log}, closed: make(chan struct{}),
	}
	for _, f := range o.Functions {
		if f.Timeout == 0 {
			f.Timeout = 10 * time.Second
		}
		if f.MemoryMB == 0 {
			f.MemoryMB = 128
		}
		if f.MaxProcesses == 0 {
			f.MaxProcesses = 8
		}
		if f.Name == "" || r.pools[f.Name] != nil {
			return nil, fmt.Errorf("lambda: function %q: want distinct names that are not empty", f.Name)
		}
		r.pools[f.Name] = newPool(r, f)
	}
	return r, nil
}

// Start starts one process of each function that is not lazy and returns when each has
// asked for its first invocation. The error names the function that failed, with what
// its process said; the others keep running until Close.
func (r *Runtime) Start(ctx context.Context) error {
	var wg sync.WaitGroup
	errs := make([]error, 0, len(r.pools))
	var mu sync.Mutex
	for _, p := range r.pools {
		if p.fn.Lazy {
			continue
		}
		wg.Go(func() {
			if err := p.warm(ctx); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, fmt.Errorf("starting function %s: %w", p.fn.Name, err))
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Invoke runs function with a JSON payload and returns its JSON answer. The error is a
// *FunctionError, one of this package's sentinels, or the context's. When the context
// ends first the function runs on, as it does in AWS, until it answers or its own time is up.
func (r *Runtime) Invoke(ctx context.Context, function string, payload []byte) ([]byte, error) {
	p := r.pools[function]
	if p == nil {
		return nil, fmt.Errorf("%w: %s", ErrNoFunction, function)
	}
	if len(payload) > maxRequestBytes {
		return nil, ErrRequestTooLarge
	}
	return p.invoke(ctx, payload)
}

// PIDs lists the processes of a function.
func (r *Runtime) PIDs(function string) []int {
	p := r.pools[function]
	if p == nil {
		return nil
	}
	return p.pids()
}

// Close kills every process, waits for them, and closes their listeners. Invocations
// that are under way fail.
func (r *Runtime) Close() error {
	r.once.Do(func() { close(r.closed) })
	for _, p := range r.pools {
		p.close()
	}
	r.spawn.close()
	return nil
}
