package keys

import "errors"

// FieldError is one field at fault. It never quotes the value: it may be a key.
type FieldError struct {
	Field   string // as in the canonical face's body: "expirationDays", "permissions[2]"
	Message string // "must be 1 to 100 characters"
}

// ValidationError lists every field at fault.
type ValidationError struct{ Fields []FieldError }

func (e *ValidationError) Error() string {
	text := "invalid"
	for _, f := range e.Fields {
		text += "; " + f.Field + " " + f.Message
	}
	return text
}

// EscalationError says that a caller would grant more than it holds.
type EscalationError struct{ Field string } // permissions, customers, networks, environment, rateLimit, plan; sessionOf: a session that would make one

func (e *EscalationError) Error() string { return "caller does not hold what it grants: " + e.Field }

// What the Service answers besides the Store's errors. Every operation may also give
// ErrCallerGone, ErrConflict, ErrUnavailable and ErrOutcomeUnknown.
var (
	ErrCallerGone          = errors.New("the caller's own key stopped working meanwhile")
	ErrConflict            = errors.New("too many changes at the same time")
	ErrPreconditionFailed  = errors.New("the key is not at the version that If-Match names")
	ErrPrimaryKey          = errors.New("the primary key cannot be deleted: create a new key, set it as primary, then delete the old one")
	ErrLastManager         = errors.New("no other key could manage the account's keys")
	ErrNotActive           = errors.New("the key is not active")
	ErrKeyLimit            = errors.New("the account's plan allows no more keys")
	ErrSessionLimit        = errors.New("too many sessions were made with this key lately")
	ErrInvalidCursor       = errors.New("the cursor is not one of this list")
	ErrIdempotencyMismatch = errors.New("this Idempotency-Key was used with another request")
	ErrIdempotencyInFlight = errors.New("a request with this Idempotency-Key is in progress")
	ErrIdempotencyUnusable = errors.New("the answer to this Idempotency-Key cannot be given again")
	// ErrNotSettled: the change is made, but the key's meter does not say so yet, so a
	// guard that trusts the meter may be late. Repeating the request settles it.
	ErrNotSettled    = errors.New("changed, but not yet on the key's meter: repeat the request")
	ErrAccountExists = errors.New("the account exists already")
)
