// Package keystest holds what every keys.Store must pass, a store in memory that passes
// it, and checks of the whole keys.Service that run on any store.
//
//   - [Suite]: the contract of keys.Store, condition by condition.
//   - [Model]: random sequences of a key's life, and of its sessions', against a plain model.
//   - [PrimaryStorm]: many callers move and delete the primary key at once.
//   - [Canary]: no piece of a secret in what was written anywhere.
//
// All of them make accounts and keys with random ids, so they may share one store with
// others, and their clocks start at the real time and go ahead only, so that nothing they
// write is due for a store's own expiry.
package keystest

import (
	"context"
	"slices"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

// Store is a keys.Store with what the suite needs besides: verify's re-digest, and a look
// at the meters.
type Store interface {
	keys.Store
	// Redigest is verify.Store's.
	Redigest(ctx context.Context, id apikey.ID, was, now keys.Secret) error
	// Meter reads a key's meter; found is false if there is none.
	Meter(ctx context.Context, id apikey.ID) (m Meter, found bool, err error)
	// Use counts one request on an existing meter, for every limit that its key has, as the
	// guard does.
	Use(ctx context.Context, id apikey.ID, at time.Time) error
}

// Meter is what a meter says of a key's verdict.
type Meter struct {
	Verdict int64
	Active  bool
}

var _ Store = (*Memory)(nil)

// Events reads all events of an account, oldest first.
func Events(ctx context.Context, s keys.Store, accountID string) ([]keys.AuditEvent, error) {
	list, err := s.AuditEvents(ctx, keys.AuditRange{AccountID: accountID, Limit: 100_000})
	slices.Reverse(list)
	return list, err
}
