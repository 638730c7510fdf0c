// Package runtimeapi is a stand-in for the Lambda Runtime API, just enough to drive one
// real bootstrap process and to time it: one event at a time, no deadline kept.
//
// See "Using the Lambda runtime API for custom runtimes" in the Lambda developer guide.
package runtimeapi

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// Process is a running bootstrap.
type Process struct {
	// Started is how long it took from before fork to the first request for an event.
	Started time.Duration

	cmd    *exec.Cmd
	said   tail // on standard error
	server *http.Server
	asked  chan struct{} // the process waits for an event
	events chan []byte
	done   chan result
	gone   chan struct{} // closed when the process has ended
	serial int
}

// tail keeps the end of what is written to it. exec.Cmd writes from one goroutine, which
// has ended once Wait returns.
type tail struct{ text []byte }

func (t *tail) Write(b []byte) (int, error) {
	t.text = append(t.text, b...)
	if most := 4096; len(t.text) > 2*most {
		t.text = append(t.text[:0], t.text[len(t.text)-most:]...)
	}
	return len(b), nil
}

type result struct {
	status string // "response" or "error"
	body   []byte
}

// Start runs bootstrap with env and returns when it has asked for its first event.
func Start(bootstrap string, env ...string) (*Process, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Process{asked: make(chan struct{}, 1), events: make(chan []byte), done: make(chan result), gone: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", func(w http.ResponseWriter, r *http.Request) {
		p.asked <- struct{}{}
		select {
		case event := <-p.events:
			w.Header().Set("Lambda-Runtime-Aws-Request-Id", fmt.Sprintf("00000000-0000-4000-8000-%012d", p.serial))
			w.Header().Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(time.Now().Add(time.Minute).UnixMilli(), 10))
			w.Header().Set("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-east-1:000000000000:function:bench")
			_, _ = w.Write(event)
		case <-r.Context().Done():
		}
	})
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/{status}", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.WriteHeader(http.StatusAccepted)
		p.done <- result{r.PathValue("status"), body}
	})
	p.server = &http.Server{Handler: mux}
	go p.server.Serve(listener)

	p.cmd = exec.Command(bootstrap)
	p.cmd.Env = append(env, "AWS_LAMBDA_RUNTIME_API="+listener.Addr().String())
	p.cmd.Stderr = &p.said
	begin := time.Now()
	if err := p.cmd.Start(); err != nil {
		_ = p.server.Close()
		return nil, err
	}
	go func() {
		_ = p.cmd.Wait() // how it ended is in its state, which is read after this
		close(p.gone)
	}()
	select {
	case <-p.asked:
		p.Started = time.Since(begin)
		return p, nil
	case <-p.gone:
		_ = p.server.Close()
		return nil, fmt.Errorf("%s ended before it asked for an event: %s\n%s", bootstrap, p.cmd.ProcessState, p.said.text)
	case <-time.After(20 * time.Second):
		p.Stop()
		return nil, fmt.Errorf("%s did not ask for an event within 20 s", bootstrap)
	}
}

// Invoke sends one event and returns the answer and how long it took, from handing the
// event over to having the whole answer. It returns once the process asks again.
func (p *Process) Invoke(event []byte) (answer []byte, took time.Duration, err error) {
	p.serial++
	begin := time.Now()
	p.events <- event
	var r result
	select {
	case r = <-p.done:
	case <-p.gone:
		return nil, 0, fmt.Errorf("the process ended: %s", p.cmd.ProcessState)
	}
	took = time.Since(begin)
	select {
	case <-p.asked:
	case <-p.gone:
		return nil, 0, fmt.Errorf("the process ended: %s", p.cmd.ProcessState)
	}
	if r.status != "response" {
		err = fmt.Errorf("the function failed: %s", r.body)
	}
	return r.body, took, err
}

// ResidentKB is the process's resident memory in KiB (Linux).
func (p *Process) ResidentKB() (int, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if text, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			return strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(text), " kB"))
		}
	}
	return 0, fmt.Errorf("no VmRSS")
}

// Stop ends the process, waits for it, and ends the server.
func (p *Process) Stop() {
	_ = p.cmd.Process.Kill()
	<-p.gone
	_ = p.server.Close()
}
