// Package keys is the domain: what a key and an account are, what may be done to
// them, by whom, and what must hold afterwards.
//
// The model: an [Account] owns [Key]s; each key belongs to one [Environment], holds
// permissions and may be confined to customers. [Service] carries out every change as
// one atomic [Change] of a [Store]; it has no other way to write.
//
// Promises, kept under concurrency and by every Store (package keystest checks them):
//
//   - Exactly one key of an account is primary.
//   - Integer ids are given in order, without gaps from retries.
//   - A caller whose own key was changed meanwhile commits nothing ([Change].Caller).
//   - Nobody grants what it does not hold.
//   - Every change leaves one audit event, in the same transaction, without a secret: in the
//     account's list and in the trail of every key that it changed.
//   - A change of what a key may do is on its meter before the answer goes out, so the
//     guard refuses the next request (see package guard).
//   - A session may exactly what its parent may, and not a request longer than that stays as
//     it was (sessions.go).
//   - A create or regenerate with an Idempotency-Key is made once, and its caller's retry
//     gets the same secret. What is stored of that secret opens only with the record, the
//     pepper, the caller's own key in plaintext and the Idempotency-Key together; the
//     third is on no server, so table, pepper and every backup together open nothing.
//     [Idempotency] has the whole argument, attacker by attacker.
//
// Where things are: authority.go says who may do what to which key, change.go how a change
// is attempted, committed and settled, sessions.go what sessions are; each operation has a file
// of its own.
//
// The package imports no AWS, HTTP or Lambda code.
package keys

import (
	"slices"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
)

// Environment is where a key is valid. It is the name of an API Gateway stage.
type Environment string

// The environments.
const (
	Production  Environment = "production"
	Staging     Environment = "staging"
	Development Environment = "development"
)

// SharedStage is the one stage that takes keys of every environment. It is no Environment.
const SharedStage = "shared"

// Environments lists them all, in the order people expect.
func Environments() []Environment { return []Environment{Production, Staging, Development} }

// Valid reports whether e is one of the three.
func (e Environment) Valid() bool { return e == Production || e == Staging || e == Development }

// Status is what a person sees of a key's state.
type Status string

// The statuses. The first that applies wins: Revoked, Inactive, Expired, Scheduled, Active.
const (
	Active    Status = "active"
	Inactive  Status = "inactive" // switched off for now; activate undoes it
	Expired   Status = "expired"
	Revoked   Status = "revoked"   // deleted for good; kept for its history until retention ends
	Scheduled Status = "scheduled" // its time has not come: it works from NotBefore on
)

// Statuses lists them all, in the order that people expect.
func Statuses() []Status { return []Status{Active, Scheduled, Inactive, Expired, Revoked} }

// Face is the HTTP face that issued a key. It decides the prefix and nothing else.
type Face string

// The faces.
const (
	Canonical   Face = "canonical" // /v1/api-keys, camelCase
	AccountFace Face = "account"   // /v1/account/api-keys/, snake_case
)

// Key is one credential of an account, without its plaintext. Times are UTC with
// millisecond precision; the zero time means "none".
type Key struct {
	ID          apikey.ID
	Number      int64 // integer id within the account, from 1
	AccountID   string
	Name        string // 1–100 characters
	Environment Environment
	Permissions []string // sorted, no duplicates
	Customers   []string // sorted; empty: every customer
	Networks    []string // that it may be used from, as networks.go spells them, sorted; empty: anywhere
	Owner       string   // free text, who is responsible; 0–100 characters
	Plan        string
	RateLimit   int  // requests in any 60 seconds, in force now
	LimitNamed  bool // RateLimit was named in a request, so a plan change leaves it alone
	Limits      Limits
	Quota       Quota
	Active      bool // the temporary switch: revoke and activate, is_active
	Primary     bool // mirrored from Account.Primary
	Deleted     bool // the permanent end
	Canary      bool // a decoy: see Identify. Set when it is made, and never changed
	Face        Face
	CreatedBy   apikey.ID // key that created it; empty: the admin function
	// Parent is the key that a session was made with, at ParentVerdict; empty: it is no
	// session. sessions.go says what a session is. It has no Number.
	Parent        apikey.ID
	ParentVerdict int64
	CreatedAt     time.Time
	UpdatedAt     time.Time
	VerdictAt     time.Time // of the last change of Verdict: UpdatedAt, or earlier
	RotatedAt     time.Time
	NotBefore     time.Time // it works from then on; always before ExpiresAt
	ExpiresAt     time.Time
	DeletedAt     time.Time

	Version    int64 // +1 with every change; the ETag
	Verdict    int64 // +1 with every change that a verdict depends on; "v" on the meter
	Generation int64 // +1 with every new secret

	Secret   Secret // the live secret
	Previous Secret // the one before, while its grace lasts; zero Until: none

	// Kept by bookkeeping outside the credential: from the meter.
	LastUsed time.Time
	Requests int64
	Used     Used
}

// Used is how much of a key's limits was in use when it was read, as they count it: of a
// limit that the key never had, 0.
type Used struct {
	Minute, Hour, Day int64 // requests in the window of RateLimit, Limits.Hour and Limits.Day
	Month             int64 // in the quota's present period
}

// Secret is what is stored of one generation of a key's secret.
type Secret struct {
	Generation int64
	Digest     apikey.Digest `json:"-"` // never in an answer, not even by mistake
	Pepper     string        `json:"-"` // version in the ring
	Prefix     string        // prefix of the string as issued, for the mask
	Until      time.Time     // Previous only: end of the grace, never after Key.ExpiresAt
}

// Status at the given time.
func (k *Key) Status(now time.Time) Status {
	switch {
	case k.Deleted:
		return Revoked
	case !k.Active:
		return Inactive
	case k.ExpiredAt(now):
		return Expired
	case k.EarlyAt(now):
		return Scheduled
	}
	return Active
}

// EarlyAt reports whether the key's time has not come yet.
func (k *Key) EarlyAt(now time.Time) bool { return now.Before(k.NotBefore) }

// ExpiredAt reports whether the key's own expiry has come. Every read checks this
// itself, since DynamoDB's TTL deletes up to days late.
func (k *Key) ExpiredAt(now time.Time) bool { return !k.ExpiresAt.IsZero() && !now.Before(k.ExpiresAt) }

// Live reports whether the key works at all at that time.
func (k *Key) Live(now time.Time) bool { return k.Status(now) == Active }

// GenerationLive reports whether the secret of that generation is accepted at that time
// (the key itself being live), and until when if that is bounded by a grace.
func (k *Key) GenerationLive(gen int64, now time.Time) (live bool, until time.Time) {
	if gen == k.Secret.Generation {
		return true, time.Time{}
	}
	p := &k.Previous
	return gen == p.Generation && gen != 0 && now.Before(p.Until), p.Until
}

// MaxIDLen is the longest id of an account or a customer, in characters.
const MaxIDLen = 64

// ValidID reports whether s has the form of an account's or a customer's id:
// [A-Za-z0-9_-]{1,64}. Paths, policies and the authorizer context carry such an id as it is.
func ValidID(s string) bool {
	if len(s) == 0 || len(s) > MaxIDLen {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-') {
			return false
		}
	}
	return true
}

// Holds reports whether the permissions grant want. "*" grants everything but
// api_keys:…, which is always granted by name; "customers:*" grants every action on
// customers.
func Holds(permissions []string, want string) bool {
	resource, _, _ := strings.Cut(want, ":")
	for _, p := range permissions {
		if p == want || p == resource+":*" || p == "*" && resource != "api_keys" {
			return true
		}
	}
	return false
}

// HoldsAll reports whether held covers every one of wanted. Held "*" covers a wanted
// "*" and "customers:*"; only "api_keys:*" covers "api_keys:*".
func HoldsAll(held, wanted []string) bool {
	for _, w := range wanted {
		if !Holds(held, w) {
			return false
		}
	}
	return true
}

// CoversCustomers reports whether a holder confined to held may grant wanted. Empty
// means every customer.
func CoversCustomers(held, wanted []string) bool {
	if len(held) == 0 {
		return true
	}
	if len(wanted) == 0 {
		return false
	}
	for _, w := range wanted {
		if !slices.Contains(held, w) {
			return false
		}
	}
	return true
}

// Account is a tenant.
type Account struct {
	ID         string
	Name       string
	Plan       string
	Primary    apikey.ID // its one primary key
	NextNumber int64     // integer id of the next key
	KeyCount   int64     // upper bound of its keys that are not deleted; recounted when it meets the plan's cap
	CreatedAt  time.Time
	Version    int64
}
