package keys

import (
	"context"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/config"
)

// Peppers gives the pepper ring (package pepper).
type Peppers interface {
	// Ring is the ring as last loaded.
	Ring(ctx context.Context) (*apikey.Ring, error)
	// With is a ring that holds that version: it reloads once if need be, and is
	// apikey.ErrUnknownPepper if that did not help.
	With(ctx context.Context, version string) (*apikey.Ring, error)
}

// Config is what a Service works with. All fields are needed but Clock.
type Config struct {
	Store    Store
	Peppers  Peppers
	Settings config.Settings
	// Known reports whether a permission may be granted: one of the catalogue, or a
	// wildcard over it.
	Known func(permission string) bool
	// Clock defaults to time.Now.
	Clock func() time.Time
}

// Service carries out what may be done to keys. It is safe for concurrent use.
type Service struct{ cfg Config }

// NewService returns a Service.
func NewService(c Config) *Service {
	if c.Clock == nil {
		c.Clock = time.Now
	}
	return &Service{cfg: c}
}

// Caller is who asks: the identity that the guard has just proved.
type Caller struct {
	Identity
	Credential apikey.Key // as presented; opens what Idempotency-Key sealed, and nothing else
}

// Ref names a key of the caller's account: by ID, or by Number where ID is empty.
type Ref struct {
	ID     apikey.ID
	Number int64
}

// CreateInput is a request for a new key. Nil fields take the defaults.
type CreateInput struct {
	Name           string
	Environment    *Environment // production for a production caller, else the caller's own
	Permissions    *[]string    // what the caller holds, less api_keys:…
	Customers      []string     // the caller's
	Owner          string
	Plan           *string
	RateLimit      *int // requests in any 60 seconds
	ExpirationDays *int
	ExpiresAt      *time.Time // not together with ExpirationDays
	Active         *bool
	Primary        *bool // takes the mark from the present primary key
	Face           Face
	FullAccess     bool // the default for Permissions keeps the caller's api_keys:… (account face, production)
}

// Idempotency makes a create or regenerate retry-safe. The zero value does not.
type Idempotency struct {
	Key     string // the Idempotency-Key header, 1–255 visible ASCII characters
	Route   string // method and resource path, with path parameters filled in
	Request []byte // the request's body: the same key with another body is ErrIdempotencyMismatch
}

// Issued is a key with its plaintext, which exists in this answer and nowhere else.
type Issued struct {
	Key       Key
	Plaintext apikey.Key
	Replayed  bool // the answer of an earlier, equal request
}

// Query selects, orders and pages a list. Zero fields do not filter.
type Query struct {
	Environment Environment
	Status      Status // deleted keys are listed only for Revoked
	Text        string // part of name, owner, key id or mask, any case
	Sort        string // number (default), name, createdAt, expiresAt, lastUsed, environment, status; "-" in front: descending
	Limit       int    // 1–1000; 0: unpaged, the first 1000
	Cursor      string // Page.Next of the page before, with the same Query but Limit
}

// Page is one page of a list.
type Page struct {
	Keys  []Key
	Total int    // keys that match, on all pages
	Next  string // empty: this was the last
}

// Patch changes what is not nil.
type Patch struct {
	Name           *string
	Permissions    *[]string
	Customers      *[]string
	Owner          *string
	Plan           *string
	RateLimit      *int
	ExpirationDays *int        // from now
	ExpiresAt      **time.Time // *nil: never
	Active         *bool
	Primary        *bool // true takes the mark; false on the primary key is ErrPrimaryKey
}

// Conditions of a change.
type Conditions struct {
	IfMatch int64 // the Version that the key must be at; 0: any
	Force   bool  // even if it takes away the last key that may manage keys
}

// CreateAccountInput is a request for a tenant, from the admin function.
type CreateAccountInput struct {
	ID   string // [A-Za-z0-9_-]{1,64}; empty: drawn at random
	Name string
	Plan string // empty: enterprise
}

// RootKeyName is the name of the key that CreateAccount makes.
const RootKeyName = "Root key"

func unimplemented() { panic("unimplemented") }

// Create makes a key. Errors: *ValidationError, *EscalationError, ErrKeyLimit, the
// idempotency errors, and the common ones.
func (s *Service) Create(ctx context.Context, c Caller, in CreateInput, idem Idempotency) (Issued, error) {
	unimplemented()
	return Issued{}, nil
}

// List lists the account's keys that the caller may see.
func (s *Service) List(ctx context.Context, c Caller, q Query) (Page, error) {
	unimplemented()
	return Page{}, nil
}

// Get reads one key; ErrNotFound for a foreign one as for an absent one.
func (s *Service) Get(ctx context.Context, c Caller, r Ref) (Key, error) {
	unimplemented()
	return Key{}, nil
}

// Update changes a key.
func (s *Service) Update(ctx context.Context, c Caller, r Ref, p Patch, cond Conditions) (Key, error) {
	unimplemented()
	return Key{}, nil
}

// Revoke switches a key off until it is activated. With descendants, also every key that
// it created, and those created by them; it then returns how many more were switched off.
func (s *Service) Revoke(ctx context.Context, c Caller, r Ref, descendants bool, cond Conditions) (k Key, more int, err error) {
	unimplemented()
	return Key{}, 0, nil
}

// Activate switches a key on again.
func (s *Service) Activate(ctx context.Context, c Caller, r Ref, cond Conditions) (Key, error) {
	unimplemented()
	return Key{}, nil
}

// Regenerate gives a key a new secret. The old one works for the grace (0–24 h), never
// beyond the key's own expiry.
func (s *Service) Regenerate(ctx context.Context, c Caller, r Ref, grace time.Duration, idem Idempotency, cond Conditions) (Issued, error) {
	unimplemented()
	return Issued{}, nil
}

// Delete ends a key for good; ErrPrimaryKey for the primary one.
func (s *Service) Delete(ctx context.Context, c Caller, r Ref, cond Conditions) (Key, error) {
	unimplemented()
	return Key{}, nil
}

// CreateAccount makes an account and its root key: production, primary, number 1,
// permissions * and api_keys:*, at the account's own plan. ErrAccountExists.
func (s *Service) CreateAccount(ctx context.Context, in CreateAccountInput) (Account, Issued, error) {
	unimplemented()
	return Account{}, Issued{}, nil
}

// AddRootKey adds one more root key to an account; it replaces none and is not primary
// unless the account has no key that is.
func (s *Service) AddRootKey(ctx context.Context, accountID string) (Issued, error) {
	unimplemented()
	return Issued{}, nil
}
