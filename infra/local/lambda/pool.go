package lambda

import (
	"context"
	"sync"
	"time"

	"github.com/keyreeve/keyreeve/infra/local/ids"
)

// pool is the processes of one function and the invocations that wait for them.
type pool struct {
	r  *Runtime
	fn Function

	// queue hands an invocation to whichever process asks next. It has no buffer: what
	// was sent is in a process's hands.
	queue chan *invocation

	mu     sync.Mutex
	procs  map[*process]struct{} // started or starting
	active int                   // invocations that have not ended, waiting ones included
	broken *breakage             // of the next start that fails
	closed bool
	wg     sync.WaitGroup // of processes
}

// breakage tells everyone who waits for a process that none will come.
type breakage struct {
	ch  chan struct{}
	err error // set before ch is closed
}

// invocation is one request of a function.
type invocation struct {
	id      string
	payload []byte
	done    chan result // has room for the one result, so that nobody waits for a caller who left
	end     func()      // frees its place in the pool; once
}

type result struct {
	payload []byte
	err     error
}

func newPool(r *Runtime, f Function) *pool {
	return &pool{
		r: r, fn: f, queue: make(chan *invocation), procs: map[*process]struct{}{},
		broken: &breakage{ch: make(chan struct{})},
	}
}

func (p *pool) invoke(ctx context.Context, payload []byte) ([]byte, error) {
	inv := &invocation{id: ids.UUID(), payload: payload, done: make(chan result, 1)}
	inv.end = sync.OnceFunc(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.active--
	})

	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, ErrClosed
	}
	p.active++
	if p.active > len(p.procs) && len(p.procs) < p.fn.MaxProcesses {
		p.add()
	}
	broken := p.broken
	p.mu.Unlock()

	select {
	case p.queue <- inv:
	case <-broken.ch:
		inv.end()
		return nil, broken.err
	case <-p.r.closed:
		inv.end()
		return nil, ErrClosed
	case <-ctx.Done():
		inv.end()
		return nil, ctx.Err()
	}
	select {
	case res := <-inv.done:
		return res.payload, res.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// finish ends an invocation; only the first call counts. Its place is free before its
// caller hears of it, so that a caller's next invocation does not seem to be one more.
func (inv *invocation) finish(payload []byte, err error) {
	inv.end()
	select {
	case inv.done <- result{payload, err}:
	default:
	}
}

// add starts a process; p.mu is held.
func (p *pool) add() *process {
	pr := newProcess(p)
	p.procs[pr] = struct{}{}
	p.wg.Go(pr.run)
	return pr
}

// warm starts a process and waits until it is ready.
func (p *pool) warm(ctx context.Context) error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return ErrClosed
	}
	pr := p.add()
	p.mu.Unlock()
	select {
	case <-pr.ready:
		return nil
	case <-pr.exited:
		return pr.startError()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// left takes a process that has ended out of the pool and starts another where one is
// needed: for invocations that wait, and to keep a function warm that was warm. A
// process that never became ready, or ended at once without having worked, is followed
// by another only when an invocation asks for it: a broken bootstrap must not be started
// over and over.
func (p *pool) left(pr *process, wasReady, worked bool, lived time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.procs, pr)
	switch {
	case p.closed:
	case !wasReady:
		if len(p.procs) == 0 {
			p.broken.err = pr.startError()
			close(p.broken.ch)
			p.broken = &breakage{ch: make(chan struct{})}
		}
	case p.active > len(p.procs), len(p.procs) == 0 && !p.fn.Lazy && (worked || lived > time.Second):
		p.add()
	}
}

func (p *pool) pids() []int {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []int
	for pr := range p.procs {
		if pid := pr.pid(); pid != 0 {
			out = append(out, pid)
		}
	}
	return out
}

// close kills the pool's processes and waits for them. The Runtime's closed channel is
// closed already.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	for pr := range p.procs {
		pr.kill()
	}
	p.mu.Unlock()
	p.wg.Wait()
}
