// Package keys is the function that serves the management routes: the two faces of the
// keys, sessions, the audit trail, usage, alerts, the OpenAPI document and whatever else
// there is about keys. All of it is package httpapi; the proxy in front makes its requests
// and runs the guard.
package keys

import (
	"net/http"

	"github.com/keyreeve/keyreeve/pkg/httpapi"
)

// Config is what the function works with.
type Config = httpapi.Config

// New returns the function's handler. It does no I/O, and leaves the OpenAPI document to
// the first request for it.
func New(c Config) http.Handler { return httpapi.New(c) }
