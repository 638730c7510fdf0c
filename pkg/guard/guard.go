// Package guard is the middleware in front of a handler.
package guard

import (
	"context"
	"log/slog"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/route"
)

// Keys reads a key with strong consistency.
type Keys interface {
	Key(ctx context.Context, id apikey.ID) (keys.Key, error)
}

// Config is what a Guard works with.
type Config struct {
	Meters Meters
	Keys   Keys
	Clock  func() time.Time // default time.Now
	Log    *slog.Logger     // default discards
}

// Guard proves verdicts anew and counts requests. It is safe for concurrent use.
type Guard struct{ cfg Config }

// New returns a Guard.
func New(c Config) *Guard { return &Guard{cfg: c} }

// Call is one request as the guard needs it.
type Call struct {
	Route    route.Route
	Stage    string            // environment's name or keys.SharedStage
	Params   map[string]string // path parameters, decoded
	Identity keys.Identity     // what the authorizer's context says; may be stale
}

// Pass says that a request may go on, and how much of the limit is left.
type Pass struct {
	Identity  keys.Identity // fresh: what handlers must use
	Limit     int           // requests in any 60 seconds
	Remaining int
	Reset     time.Duration // until the whole limit is free again if nothing more is asked
}

// UnauthorizedError is a refusal of the credential: 401.
type UnauthorizedError struct{ Reason keys.Reason } // Reason is for the log alone

func (*UnauthorizedError) Error() string { return "unauthorized" }

// ScopeError is a refusal of a live key: 403. The request is not counted.
type ScopeError struct {
	Permission string // that the key lacks; empty: it is the customer
	Customer   bool   // the key is confined to other customers
}

func (*ScopeError) Error() string { return "insufficient scope" }

// LimitError is a refusal for the moment: 429.
type LimitError struct {
	Limit      int
	RetryAfter time.Duration // when the next request can pass, if nobody else takes the place
}

func (*LimitError) Error() string { return "rate limit exceeded" }

// Check decides one request: Pass, or one of the errors above, or a store's error, which
// means that nothing was proved and the request must be refused with 5xx.
func (g *Guard) Check(ctx context.Context, c Call) (Pass, error) {
	panic("unimplemented")
}

type identityKey struct{}

// WithIdentity returns a context that carries who is calling.
func WithIdentity(ctx context.Context, c keys.Caller) context.Context {
	return context.WithValue(ctx, identityKey{}, c)
}

// Caller is who is calling; ok is false on a public route.
func Caller(ctx context.Context) (c keys.Caller, ok bool) {
	c, ok = ctx.Value(identityKey{}).(keys.Caller)
	return c, ok
}
