// Package management is as much of API Gateway's own API as the functions call: one REST
// API's FlushStageAuthorizersCache
// (https://docs.aws.amazon.com/apigateway/latest/api/API_FlushStageAuthorizersCache.html),
// with the throttle that an account has
// (https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html, "Total
// operations"), so that a function's call works unmodified with
// AWS_ENDPOINT_URL_API_GATEWAY.
//
// Who may call: a request must be signed with the one access key id that the functions were
// given (package sigv4), because a port on loopback is open to every user of the machine.
package management

import (
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/keyreeve/keyreeve/infra/local/ids"
	"github.com/keyreeve/keyreeve/infra/local/sigv4"
)

// The account's quota of calls: a second, and at once.
const (
	rate  = 10
	burst = 40
)

// Options is what a Manager works with. All are needed but Clock.
type Options struct {
	APIID       string
	Stages      []string
	AccessKeyID string             // that requests must be signed with
	Flush       func(stage string) // empties a stage's cache
	Clock       func() time.Time   // default time.Now
}

// Manager is an http.Handler, safe for concurrent use.
type Manager struct {
	o Options

	mu      sync.Mutex
	tokens  float64 // of the bucket, at filled
	filled  time.Time
	flushed map[string]int
}

// New returns a Manager.
func New(o Options) *Manager {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	return &Manager{o: o, tokens: burst, filled: o.Clock(), flushed: map[string]int{}}
}

// Flushed is how often a stage's cache was emptied.
func (m *Manager) Flushed(stage string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.flushed[stage]
}

// Exhaust takes what the account may call now, as a deployment's calls do.
func (m *Manager) Exhaust() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tokens, m.filled = 0, m.o.Clock()
}

// fault is an error as the service answers it.
type fault struct {
	status        int
	kind, message string
}

var (
	denied    = &fault{http.StatusForbidden, "UnrecognizedClientException", "The security token included in the request is invalid."}
	notThere  = &fault{http.StatusForbidden, "MissingAuthenticationTokenException", "Missing Authentication Token"} // as for a path of no operation
	throttled = &fault{http.StatusTooManyRequests, "TooManyRequestsException", "Too Many Requests"}
	noAPI     = &fault{http.StatusNotFound, "NotFoundException", "Invalid API identifier specified"}
	noStage   = &fault{http.StatusNotFound, "NotFoundException", "Invalid stage identifier specified"}
)

func (m *Manager) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("x-amzn-RequestId", ids.UUID())
	f := m.serve(r)
	if f == nil {
		w.WriteHeader(http.StatusAccepted)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("x-amzn-ErrorType", f.kind)
	w.WriteHeader(f.status)
	_ = json.NewEncoder(w).Encode(map[string]string{"message": f.message})
}

var flushPath = regexp.MustCompile(`^/restapis/([^/]+)/stages/([^/]+)/cache/authorizers$`)

func (m *Manager) serve(r *http.Request) *fault {
	if !sigv4.SignedBy(r, m.o.AccessKeyID) {
		return denied
	}
	path := flushPath.FindStringSubmatch(r.URL.Path)
	switch {
	case path == nil || r.Method != http.MethodDelete:
		return notThere
	case !m.take():
		return throttled
	case path[1] != m.o.APIID:
		return noAPI
	case !slices.Contains(m.o.Stages, path[2]):
		return noStage
	}
	m.o.Flush(path[2])
	m.mu.Lock()
	defer m.mu.Unlock()
	m.flushed[path[2]]++
	return nil
}

// take takes a call out of the account's quota, a token bucket.
func (m *Manager) take() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.o.Clock()
	m.tokens = min(burst, m.tokens+now.Sub(m.filled).Seconds()*rate)
	m.filled = now
	if m.tokens < 1 {
		return false
	}
	m.tokens--
	return true
}
