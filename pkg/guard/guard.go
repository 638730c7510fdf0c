// Package guard stands in front of a handler. It proves that the verdict behind a request
// is still true, and counts the request.
//
// A request comes with what the authorizer once concluded (Call.Identity), out of a cache
// that may be minutes old. The proof is the meter: every change of what a key may do is
// written to the key's meter as a new verdict before the change is answered, and the
// write that counts a request has the verdict for its condition. While nothing changes,
// that one write is all. If it is refused, the meter as found tells why:
//
//	another verdict      one consistent read of the key decides afresh
//	a slot gone by       the window rolls, with the same condition
//	a limit is reached   refused until a slot's edge, with no more writes until then
//	no meter             the key decides, and the meter is made anew
//
// A key has a limit of the minute, and may have others of an hour and a day and a monthly
// quota: the write counts the request in all of them or, refused, in none. Requests of a
// key with a very high limit are counted several at once, and proved one by one (lease.go).
//
// Promises, across every process:
//
//   - A request that starts after a key was revoked, deactivated, deleted, narrowed, put off
//     or regenerated was answered is judged by that change, whatever its context says. It is
//     the secret behind the context that counts: a regenerated secret stays dead although
//     the key lives on.
//   - Expiry and the end of a grace are kept to the clock's tick, with no write at all.
//   - Never more than the limit of requests pass in any 60 seconds (package limit), nor more
//     than the key's other limits in any hour or day or in a month, while clocks disagree by
//     less than limit.Slot less Config.Budget. A limit counts from when it is named.
//   - What a limit refuses counts for no other.
//   - What is refused for its network, permission or customer is not counted, and is only
//     refused by the key as it is: a permission granted meanwhile works at once. (In a flood
//     of such refusals of one key, at the next slot: each costs a read, so they are bounded.)
//   - A request that makes its key's window 80 % full or more says so (Pass.Near), the first
//     one in 60 seconds that this process sees.
//   - Whatever goes wrong in a store, nothing passes that was not proved and counted.
//   - A session whose parent's change was answered passes no more (whoever changes a key ends
//     its sessions and settles their meters first, see package keys); where its key is read,
//     so is its parent.
//   - One store call for a request in a slot that its process has seen, at most three
//     otherwise (four where a table was restored; of a session one more), unless others
//     change the same meter at that moment or a call fails.
//   - Meter.Requests is how many passed; of leased requests the last ones of a process that
//     has ended may be missing (lease.go).
//
// What it does not promise: a key that this process has just refused for its limit may
// hear of that, and not of a change, until the slot ends, or for a minute where it was a
// limit beyond the minute; neither lets it pass. And when
// the table of keys is restored to an earlier state, contexts and processes from before
// the restore still go by the meter, for as long as the caches keep them.
package guard

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/limit"
	"github.com/keyreeve/keyreeve/pkg/route"
)

// Keys reads a key with strong consistency; keys.ErrNotFound.
type Keys interface {
	Key(ctx context.Context, id apikey.ID) (keys.Key, error)
}

// Config is what a Guard works with. Meters and Keys are needed.
type Config struct {
	Meters Meters
	Keys   Keys
	Clock  func() time.Time // default time.Now
	Log    *slog.Logger     // default discards
	// Budget is the longest that one call of a store may take. A count that comes back
	// later lets nothing through, and is tried once more. Clocks may disagree by
	// limit.Slot less this, so it must be less than that slot; default 1 s, which leaves
	// the clocks 1.5 s.
	Budget time.Duration
	// Remembered is how many keys the process remembers; default 4096, about 7 MB, and half a
	// kilobyte more for each key with limits beyond the minute.
	Remembered int
}

// Guard proves verdicts anew and counts requests. It is safe for concurrent use.
type Guard struct {
	cfg    Config
	memory *memory
}

// New returns a Guard.
func New(c Config) *Guard {
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Budget <= 0 {
		c.Budget = time.Second
	}
	if c.Budget >= limit.Slot {
		panic("guard: Budget leaves nothing of a slot for the disagreement of clocks")
	}
	if c.Remembered <= 0 {
		c.Remembered = 4096
	}
	return &Guard{cfg: c, memory: newMemory(c.Remembered)}
}

// Call is one request as the guard needs it.
type Call struct {
	Route    route.Route       // by the resource path and the method that really came
	Stage    string            // environment's name or keys.SharedStage
	Params   map[string]string // path parameters, decoded
	SourceIP string            // that API Gateway saw, never what a header says
	Identity keys.Identity     // what the authorizer's context says; may be stale
}

// Pass says that a request may go on, and how much of the limit is left.
type Pass struct {
	Identity  keys.Identity // fresh: what handlers must use. Its slices are shared: not to be written to
	Limit     int           // requests in any 60 seconds
	Remaining int
	Reset     time.Duration // until the whole limit is free again if nothing more is asked
	// Near says that this request made the key's window 80 % full or more, by the meter as
	// the count left it, and that this process has not said so for this limit in the last
	// 60 seconds. Of a limit under 5 only the last request does that.
	Near   bool
	Longer []Standing // with the key's limits beyond the minute; nil: it has none
}

// Standing is where a key stands with one of its limits.
type Standing struct {
	Window    string // keys.WindowMinute and so on
	Limit     int
	Remaining int           // how many more requests this limit lets pass now
	Reset     time.Duration // until the whole limit is free again if nothing more is asked
}

// UnauthorizedError is a refusal of the credential: 401.
type UnauthorizedError struct {
	Reason  keys.Reason // for the log alone
	Counted bool        // it came to its end while the request was being counted
}

func (*UnauthorizedError) Error() string { return "unauthorized" }

// ScopeError is a refusal of a live key: 403. The request is not counted.
type ScopeError struct {
	Permission string // that the key lacks; empty: it is one of those below
	Customer   bool   // the key is confined to other customers
	Network    bool   // the key is confined to other networks than the request came from
	Session    bool   // the key is a session, and the route no management route
}

func (*ScopeError) Error() string { return "insufficient scope" }

// LimitError is a refusal for the moment: 429.
type LimitError struct {
	Window     string        // keys.WindowMinute and so on: of the limits that refuse, the one that does for longest
	Limit      int           // of that window
	RetryAfter time.Duration // when the next request can pass, if nobody else takes the place; more than 0
	All        []Standing    // with every limit of the key, the minute's first
}

func (*LimitError) Error() string { return "rate limit exceeded" }

var errNoIdentity = errors.New("guard: the request has no identity")

// Check decides one request: Pass, or one of the errors above, or an error that is
// keys.ErrUnavailable, which means that nothing was proved and the request must be
// refused with 5xx. A call without an identity is an error of its own kind.
func (g *Guard) Check(ctx context.Context, c Call) (Pass, error) {
	if c.Identity.KeyID == "" {
		return Pass{}, errNoIdentity
	}
	p := proof{guard: g, call: c, who: c.Identity}
	p.recall()
	return p.run(ctx)
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
