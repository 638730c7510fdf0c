// Package document is what the sample API asks of a store: documents of a few kinds, apart
// by account and environment. It is a package of its own so that a store need not link the
// API.
package document

import (
	"context"
	"errors"
	"time"

	"github.com/keyreeve/keyreeve/pkg/keys"
)

// Scope is whose data: one account's, in one environment. Nothing is ever read or
// written across scopes.
type Scope struct {
	AccountID   string
	Environment keys.Environment
}

// Kind is what a document describes. The strings are stored.
type Kind string

// The kinds.
const (
	Workspaces Kind = "workspace"
	Customers  Kind = "customer"
	Licenses   Kind = "license"
	Events     Kind = "event"
)

// Doc is one document: its JSON as the API answers it (a customer's with its invoices),
// and what a store has to know of it.
type Doc struct {
	Kind      Kind
	ID        string    // unique in its scope and kind; [A-Za-z0-9_-]{1,64}
	Version   int64     // 1 as created, +1 with every Replace
	Customer  string    // the customer that it belongs to; empty: to the account
	JSON      []byte    //
	ExpiresAt time.Time // may be deleted after that; zero: never
}

// Filter selects documents of a list, which is in order of ID.
type Filter struct {
	After     string   // only ids after this one; empty: from the first
	Customers []string // only documents that belong to one of these; empty: all
	Limit     int      // at most so many; > 0
}

// Store keeps documents. Reads are strongly consistent: they see what every write that
// returned nil before them wrote. It is safe for concurrent use. Errors other than the
// two below mean that the store failed, and that a write may have been applied.
type Store interface {
	// Create puts new documents, all or none; ErrExists if one of them is there
	// already. At most MaxCreate at a time.
	Create(ctx context.Context, s Scope, docs []Doc) error
	// Get reads one document; keys.ErrNotFound.
	Get(ctx context.Context, s Scope, k Kind, id string) (Doc, error)
	// Replace puts the new state of a document whose stored version is d.Version-1;
	// ErrChanged if it has another one, or is gone.
	Replace(ctx context.Context, s Scope, d Doc) error
	// Delete deletes a document; keys.ErrNotFound.
	Delete(ctx context.Context, s Scope, k Kind, id string) error
	// List reads the documents of a kind that f selects.
	List(ctx context.Context, s Scope, k Kind, f Filter) ([]Doc, error)
}

// MaxCreate is how many documents one Create takes: what one TransactWriteItems does.
const MaxCreate = 100

// What a Store answers besides keys.ErrNotFound.
var (
	ErrExists  = errors.New("exists already")
	ErrChanged = errors.New("changed meanwhile")
)
