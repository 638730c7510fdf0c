package keys

import (
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
)

// Identity is what a verdict says of the holder of a credential: what the authorizer puts
// into its context, what the guard proves anew, and what a handler acts for.
type Identity struct {
	KeyID       apikey.ID
	AccountID   string
	Environment Environment
	Permissions []string
	Customers   []string // empty: every customer
	Networks    []string // that the credential may be used from; empty: anywhere
	// Parent is the key that a session was made with, at ParentVerdict; empty: this is no
	// session.
	Parent        apikey.ID
	ParentVerdict int64
	Verdict       int64  // Key.Verdict that this was read from
	Generation    int64  // of the secret that was presented
	Limit         int    // requests in any 60 seconds
	Limits        Limits // and in longer ones
	Quota         Quota  // and in a calendar month
	ExpiresAt     time.Time
	GraceUntil    time.Time // the presented secret is an old one and stops then; zero: it is the live one
}

// Identify says who the holder of generation gen of k is, at now, on the given stage (an
// environment's name or SharedStage). A reason other than OK means that such a credential
// must be refused; the Identity is empty then. Of a session it is only half of the answer: its
// parent must uphold it besides ([Key.Upholds]).
//
// A canary key is a decoy: nobody has a use for it, so whoever presents its secret has
// found it where only an intruder looks. It is refused always, and for that reason above
// any other but that it was deleted, so that one that is switched off, has expired, or is
// tried on another stage raises its alert as well.
func Identify(k *Key, gen int64, stage string, now time.Time) (id Identity, reason Reason) {
	live, until := k.GenerationLive(gen, now)
	switch {
	case k.Deleted:
		return Identity{}, ReasonDeleted
	case k.Canary && live:
		return Identity{}, ReasonCanary
	case !k.Active:
		return Identity{}, ReasonInactive
	case k.ExpiredAt(now):
		return Identity{}, ReasonExpired
	case !live:
		return Identity{}, ReasonSecret
	case k.EarlyAt(now):
		return Identity{}, ReasonNotYet
	case stage != SharedStage && stage != string(k.Environment):
		return Identity{}, ReasonEnvironment
	}
	return Identity{
		KeyID: k.ID, AccountID: k.AccountID, Environment: k.Environment,
		Permissions: k.Permissions, Customers: k.Customers, Networks: k.Networks,
		Parent: k.Parent, ParentVerdict: k.ParentVerdict,
		Verdict: k.Verdict, Generation: gen, Limit: k.RateLimit,
		Limits: k.Limits, Quota: k.Quota,
		ExpiresAt: k.ExpiresAt, GraceUntil: until,
	}, OK
}

// Holder is the key that whoever has the credential holds in the end: a session's parent,
// or the key itself. What the credential does is done by the holder.
func (id *Identity) Holder() apikey.ID {
	if id.Parent != "" {
		return id.Parent
	}
	return id.KeyID
}

// Upholds reports whether k, as read now, lets a session live that was made with it: it is
// that key, works, and is at the verdict at which the session was made. A session whose
// parent was not read, or does not uphold it, must be refused with ReasonSession.
func (k *Key) Upholds(session *Key, now time.Time) bool {
	return k.ID != "" && k.ID == session.Parent && k.AccountID == session.AccountID && k.Parent == "" &&
		k.Verdict == session.ParentVerdict && k.Live(now) && !k.Canary
}

// Reason is why a credential was refused. It goes to logs and to the verify route, never
// to the holder of an unproven credential.
type Reason string

// The reasons. OK is the empty one: not refused.
const (
	OK                Reason = ""
	ReasonNone        Reason = "no_credential"
	ReasonSeveral     Reason = "multiple_credentials"
	ReasonMalformed   Reason = "malformed"
	ReasonUnknown     Reason = "unknown_key"
	ReasonSecret      Reason = "wrong_secret"
	ReasonDeleted     Reason = "revoked"
	ReasonInactive    Reason = "inactive"
	ReasonExpired     Reason = "expired"
	ReasonNotYet      Reason = "not_yet_valid"
	ReasonEnvironment Reason = "wrong_environment"
	ReasonCanary      Reason = "canary"
	ReasonSession     Reason = "session_ended" // of a session: its parent is not what it was
)
