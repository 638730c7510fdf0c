// Package verify is the hot path of the authorizer: from a credential to a verdict.
package verify

import (
	"context"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

// Store is what verifying needs of a store.
type Store interface {
	// Key reads one key by its public id with strong consistency; keys.ErrNotFound.
	Key(ctx context.Context, id apikey.ID) (keys.Key, error)
	// Redigest replaces digest and pepper of the key's live secret if both are still
	// as was says; a lost race is no error.
	Redigest(ctx context.Context, id apikey.ID, was, now keys.Secret) error
}

// Config is what a Verifier works with.
type Config struct {
	Store    Store
	Peppers  keys.Peppers
	Prefixes apikey.Prefixes
	Clock    func() time.Time // default time.Now
}

// Verifier turns credentials into verdicts. It is safe for concurrent use.
type Verifier struct{ cfg Config }

// New returns a Verifier.
func New(c Config) *Verifier { return &Verifier{cfg: c} }

// Verdict is what verification concludes. A refusal is a verdict and no error.
type Verdict struct {
	Reason   keys.Reason // keys.OK: the credential is good, and Identity is set
	KeyID    apikey.ID   // the public id, where the string had the form of a key
	Identity keys.Identity
}

// Verify decides whether credential, the bare key string without an authentication
// scheme, is good on a stage (an environment's name or keys.SharedStage). An error means
// that nothing could be concluded: the caller must fail closed.
func (v *Verifier) Verify(ctx context.Context, credential, stage string) (Verdict, error) {
	panic("unimplemented")
}
