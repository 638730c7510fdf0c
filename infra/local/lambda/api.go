package lambda

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/keyreeve/keyreeve/infra/local/ids"
)

// api is the Runtime API of one process, on a port of its own: whose call it is never is
// a question.
type api struct {
	process  *process
	listener net.Listener
	server   *http.Server
}

func serveAPI(pr *process) (*api, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	a := &api{process: pr, listener: l}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", a.next)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/response", a.response)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/error", a.invocationError)
	mux.HandleFunc("POST /2018-06-01/runtime/init/error", a.initError)
	a.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = a.server.Serve(l) }() // ends with close
	return a, nil
}

func (a *api) address() string { return a.listener.Addr().String() }

func (a *api) close() { _ = a.server.Close() }

func (a *api) next(w http.ResponseWriter, r *http.Request) {
	pr := a.process
	if !pr.ask() {
		refuse(w, http.StatusForbidden, "InvalidStateTransition", "the current invocation has not been answered")
		return
	}
	var inv *invocation
	select {
	case inv = <-pr.pool.queue:
	case <-r.Context().Done(): // its process has ended, as all do at Close
		return
	}
	if r.Context().Err() != nil {
		// The process was gone before it could be asked: somebody else's turn.
		go pr.pool.requeue(inv)
		return
	}
	deadline := pr.take(inv)
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Lambda-Runtime-Aws-Request-Id", inv.id)
	h.Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(deadline.UnixMilli(), 10))
	h.Set("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:"+pr.pool.r.opts.Region+":"+pr.pool.r.opts.AccountID+":function:"+pr.pool.fn.Name)
	h.Set("Lambda-Runtime-Trace-Id", "Root=1-"+strconv.FormatInt(time.Now().Unix(), 16)+"-"+ids.Hex(12)+";Sampled=0")
	h.Set("Content-Length", strconv.Itoa(len(inv.payload)))
	_, _ = w.Write(inv.payload) // a process that cannot read it ends, and that ends the invocation
}

// requeue offers an invocation again that was taken in vain.
func (p *pool) requeue(inv *invocation) {
	select {
	case p.queue <- inv:
	case <-p.r.closed:
		inv.finish(nil, ErrClosed)
	case <-time.After(p.fn.Timeout):
		inv.finish(nil, &FunctionError{TypeExited, "RequestId: " + inv.id + " Error: no process came back for it"})
	}
}

func (a *api) response(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxResponseBytes+1))
	if err != nil {
		return // the process is going; its end ends the invocation
	}
	inv := a.process.release(r.PathValue("id"))
	if inv == nil {
		refuse(w, http.StatusBadRequest, "InvalidRequestID", "no such invocation is under way")
		return
	}
	a.process.output.sync()
	switch {
	case len(body) > maxResponseBytes:
		inv.finish(nil, &FunctionError{TypeResponseTooLarge, "Response payload size exceeded maximum allowed payload size (6291556 bytes)."})
		refuse(w, http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", "the response is over 6 MB")
	case r.Trailer.Get("Lambda-Runtime-Function-Error-Type") != "":
		// The handler's reader failed half-way: what has come is not the answer.
		inv.finish(nil, &FunctionError{r.Trailer.Get("Lambda-Runtime-Function-Error-Type"), "the response ended early"})
		accept(w)
	default:
		inv.finish(body, nil)
		accept(w)
	}
}

func (a *api) invocationError(w http.ResponseWriter, r *http.Request) {
	e := readError(r)
	inv := a.process.release(r.PathValue("id"))
	if inv == nil {
		refuse(w, http.StatusBadRequest, "InvalidRequestID", "no such invocation is under way")
		return
	}
	a.process.output.sync()
	inv.finish(nil, e)
	accept(w)
}

func (a *api) initError(w http.ResponseWriter, r *http.Request) {
	if !a.process.failInit(readError(r)) {
		refuse(w, http.StatusForbidden, "InvalidStateTransition", "the function has been initialised")
		return
	}
	accept(w)
}

// readError decodes an ErrorRequest; Lambda accepts anything there.
func readError(r *http.Request) *FunctionError {
	var e struct {
		Type    string `json:"errorType"`
		Message string `json:"errorMessage"`
	}
	body, _ := io.ReadAll(io.LimitReader(r.Body, maxResponseBytes))
	if json.NewDecoder(bytes.NewReader(body)).Decode(&e) != nil || e.Type == "" {
		e.Type = r.Header.Get("Lambda-Runtime-Function-Error-Type")
	}
	if e.Type == "" {
		e.Type = "Unhandled"
	}
	return &FunctionError{e.Type, e.Message}
}

func accept(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusAccepted)
	_, _ = io.WriteString(w, `{"status":"OK"}`+"\n")
}

func refuse(w http.ResponseWriter, status int, kind, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"errorType": kind, "errorMessage": message})
}
