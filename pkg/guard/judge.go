package guard

import (
	"slices"
	"time"

	"github.com/keyreeve/keyreeve/pkg/keys"
)

// judge refuses what the identity itself does not allow at now. It asks no store: whether
// the identity is still true is another question.
func judge(who *keys.Identity, c *Call, now time.Time) error {
	if reason := lapsed(who, now); reason != keys.OK {
		return &UnauthorizedError{Reason: reason}
	}
	if c.Stage != keys.SharedStage && c.Stage != string(who.Environment) {
		return &UnauthorizedError{Reason: keys.ReasonEnvironment}
	}
	if who.Parent != "" && !c.Route.Management {
		return &ScopeError{Session: true}
	}
	if !keys.InNetworks(who.Networks, c.SourceIP) {
		return &ScopeError{Network: true}
	}
	if want := c.Route.Permission; want != "" && !keys.Holds(who.Permissions, want) {
		return &ScopeError{Permission: want}
	}
	if name := c.Route.Customer; name != "" && len(who.Customers) > 0 && !slices.Contains(who.Customers, c.Params[name]) {
		return &ScopeError{Customer: true}
	}
	return nil
}

// lapsed says whether time alone has ended the credential.
func lapsed(who *keys.Identity, now time.Time) keys.Reason {
	switch {
	case !who.ExpiresAt.IsZero() && !now.Before(who.ExpiresAt):
		return keys.ReasonExpired
	case !who.GraceUntil.IsZero() && !now.Before(who.GraceUntil):
		return keys.ReasonSecret
	}
	return keys.OK
}
