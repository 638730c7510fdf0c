// Package httpapi is the management API over HTTP: two thin faces of one [keys.Service],
// what its keys did ([usage.Reports]), what needs somebody ([alert.Desk]), and where that is
// sent ([webhook.Manager]).
//
// The model: an [operation] is one row of a list: method, path, how it is served and how
// it is documented. A request is matched to a row, decoded, given to the service in one
// call, and the result encoded. No rule lives here: who may do what or see what, and what
// must hold, is the services'. The canonical face (canonical.go, camelCase) can do
// everything; the account face (account.go, snake_case) has exactly the shapes that its
// documentation shows. The OpenAPI document (openapi.go) is made of the same rows and of
// the Go types that are encoded, when it is first asked for.
//
// Promises:
//
//   - Errors become HTTP in problem.go and nowhere else, in one shape on every path.
//   - Nothing that a client sent is echoed, neither a rejected value nor an unknown
//     name that could hold a key; a key is in an answer only when it was just issued.
//   - Every answer of the management routes is Cache-Control: no-store.
//   - Bodies are strict JSON (body.go), query parameters are those documented.
//   - A file for a spreadsheet holds no formula (csv.go).
//   - Who calls is [guard.Caller] and nothing else; without it the answer is 500.
package httpapi

import (
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/keyreeve/keyreeve/pkg/alert"
	"github.com/keyreeve/keyreeve/pkg/config"
	"github.com/keyreeve/keyreeve/pkg/guard"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/route"
	"github.com/keyreeve/keyreeve/pkg/simulate"
	"github.com/keyreeve/keyreeve/pkg/usage"
	"github.com/keyreeve/keyreeve/pkg/verify"
	"github.com/keyreeve/keyreeve/pkg/webhook"
)

// Config is what the API works with. All fields are needed but AuthorizerTimeout, Clock and Log.
type Config struct {
	Service           *keys.Service
	Verifier          *verify.Verifier
	Simulator         *simulate.Simulator
	Usage             *usage.Reports
	Alerts            *alert.Desk
	Webhooks          *webhook.Manager
	Table             *route.Table
	Settings          config.Settings
	AuthorizerTimeout time.Duration    // default config.AuthorizerTimeout
	Clock             func() time.Time // default time.Now
	Log               *slog.Logger     // causes of 5xx answers; default discards
}

type api struct {
	cfg        Config
	operations []operation
	document   func() ([]byte, error) // openapi.json, made at its first use
}

// New returns the API. Its paths are those of the route table, with or without a trailing
// slash; the guard has run before. It does no work that a cold start would feel.
func New(c Config) http.Handler {
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.AuthorizerTimeout == 0 {
		c.AuthorizerTimeout = config.AuthorizerTimeout
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	a := &api{cfg: c, operations: operations()}
	a.document = sync.OnceValues(func() ([]byte, error) { return openAPI(a.operations, c.Table, &c.Settings) })
	return a
}

// call is one request on its way to the service.
type call struct {
	*http.Request
	caller keys.Caller
	id     string // path parameter {id}, decoded
	query  url.Values
	now    time.Time
}

// reply is an answer that is no problem. A nil body is none at all.
type reply struct {
	status int
	header http.Header
	body   any
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	out, err := a.serve(r)
	var text []byte
	if err == nil && out.body != nil {
		text, err = encode(out.body)
	}
	if err != nil {
		p := FromError(err)
		if p.Status >= 500 {
			a.cfg.Log.ErrorContext(r.Context(), "failed", "requestId", r.Header.Get(RequestIDHeader),
				"method", r.Method, "code", p.Code, "error", err.Error())
		}
		Write(w, r.Header.Get(RequestIDHeader), p)
		return
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	if out.body != nil {
		h.Set("Content-Type", "application/json")
	}
	for name, values := range out.header {
		h[name] = values
	}
	w.WriteHeader(out.status)
	_, _ = w.Write(text)
}

func encode(body any) ([]byte, error) {
	if ready, ok := body.([]byte); ok {
		return ready, nil
	}
	return json.Marshal(body)
}

func (a *api) serve(r *http.Request) (reply, error) {
	op, id := a.match(r.Method, r.URL.EscapedPath())
	if op == nil {
		return reply{}, NotFound()
	}
	c := &call{Request: r, id: id, now: a.cfg.Clock()}
	if op.public {
		return op.serve(a, c)
	}
	var ok bool
	if c.caller, ok = guard.Caller(r.Context()); !ok {
		return reply{}, ErrMissingContext
	}
	if err := c.readQuery(op); err != nil {
		return reply{}, err
	}
	return op.serve(a, c)
}

// match finds the operation; one without a parameter goes before one with. It compares
// escaped segments, so that "%2F" in an id never makes two segments of one.
func (a *api) match(method, escaped string) (op *operation, id string) {
	path := strings.TrimSuffix(escaped, "/")
	for i := range a.operations {
		o := &a.operations[i]
		if o.method != method {
			continue
		}
		if o.path == path {
			return o, ""
		}
		before, after, parameter := strings.Cut(o.path, "{id}")
		raw, isUnder := strings.CutPrefix(path, before)
		raw, isOf := strings.CutSuffix(raw, after)
		if !parameter || !isUnder || !isOf || raw == "" || strings.Contains(raw, "/") {
			continue
		}
		if decoded, err := url.PathUnescape(raw); err == nil {
			op, id = o, decoded
		}
	}
	return op, id
}
