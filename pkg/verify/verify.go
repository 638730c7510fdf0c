// Package verify is the hot path of the authorizer: from a credential to a verdict, and
// from a verdict to the authorizer context that carries it to the guard (context.go).
//
// The model: a credential is parsed without I/O. What is no key of this deployment ends
// there. Any other costs exactly one strongly consistent read of one key item, by the id
// in the string; its digest is compared with the live secret's and, while a grace lasts,
// with the previous one's; [keys.Identify] decides the rest. A session that is good by
// itself costs one more read, of the key that it was made with, which must uphold it
// ([keys.Key.Upholds]).
//
// Promises:
//
//   - Junk, a foreign prefix and a wrong checksum cost no read; everything else costs one,
//     and only the right secret of a session that has not ended costs two.
//   - A session is refused from the moment that its parent's change is committed, whether
//     or not whoever made that change went on to end it.
//   - A refusal always takes two digests and two comparisons after the read, whether the
//     id is unknown, the secret is wrong, or the right secret belongs to a key that is
//     switched off or a canary. So the work tells nobody which ids exist (CWE-204, CWE-208).
//   - Digests are compared in constant time.
//   - Whatever cannot be concluded (store or peppers unavailable, a pepper that the ring
//     does not hold) is an error and never a verdict: callers fail closed with 500.
//   - No error holds a credential or a part of its secret.
package verify

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
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
type Verifier struct {
	cfg         Config
	match       func(*apikey.Ring, apikey.Key, keys.Secret) (bool, error) // a field, so that a test can count its calls
	redigesting atomic.Bool                                               // one re-digest is under way
}

// New returns a Verifier.
func New(c Config) *Verifier {
	if c.Clock == nil {
		c.Clock = time.Now
	}
	return &Verifier{cfg: c, match: match}
}

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
	presented, err := v.cfg.Prefixes.Parse(credential)
	if err != nil {
		return Verdict{Reason: keys.ReasonMalformed}, nil
	}
	id := presented.ID()
	k, err := v.cfg.Store.Key(ctx, id)
	if err != nil && !errors.Is(err, keys.ErrNotFound) {
		return Verdict{}, fmt.Errorf("reading key %s: %w", id, err)
	}
	known := err == nil
	ring, err := v.cfg.Peppers.Ring(ctx)
	if err != nil {
		return Verdict{}, fmt.Errorf("verifying key %s: %w", id, err)
	}
	now := v.cfg.Clock()

	// Two candidates, whatever is known: the live secret and the previous one. Where one
	// of them is missing, a digest that no key has stands in, for the time it takes.
	candidates, reason := [2]keys.Secret{k.Secret, k.Previous}, keys.ReasonSecret
	if !known {
		candidates[0], reason = keys.Secret{Pepper: ring.Current()}, keys.ReasonUnknown
	}
	if !known || !now.Before(k.Previous.Until) {
		candidates[1] = keys.Secret{Pepper: candidates[0].Pepper}
	}
	for i, secret := range candidates {
		if ring, err = v.holding(ctx, ring, secret.Pepper); err != nil {
			return Verdict{}, fmt.Errorf("verifying key %s: %w", id, err)
		}
		equal, err := v.match(ring, presented, secret)
		if err != nil {
			return Verdict{}, fmt.Errorf("verifying key %s: %w", id, err)
		}
		if !equal || !known {
			continue
		}
		var identity keys.Identity
		if identity, reason = keys.Identify(&k, secret.Generation, stage, now); reason != keys.OK {
			continue // a refusal, with the right secret: it still takes the second digest
		}
		if k.Parent != "" {
			parent, err := v.cfg.Store.Key(ctx, k.Parent)
			if err != nil && !errors.Is(err, keys.ErrNotFound) {
				return Verdict{}, fmt.Errorf("reading the parent of session %s: %w", id, err)
			}
			if err != nil || !parent.Upholds(&k, now) {
				reason = keys.ReasonSession
				continue
			}
		}
		if i == 0 && secret.Pepper != ring.Current() {
			v.redigest(ctx, ring, presented, secret)
		}
		return Verdict{KeyID: id, Identity: identity}, nil
	}
	return Verdict{Reason: reason, KeyID: id}, nil
}

// holding returns a ring that holds the version: the given one, or a newer one. A version
// that stays unknown is a fault of the installation and never a refusal, since a ring
// that lags would otherwise lock good keys out.
func (v *Verifier) holding(ctx context.Context, ring *apikey.Ring, version string) (*apikey.Ring, error) {
	if ring.Has(version) {
		return ring, nil
	}
	return v.cfg.Peppers.With(ctx, version)
}

// match is one digest and one comparison.
func match(ring *apikey.Ring, presented apikey.Key, s keys.Secret) (bool, error) {
	d, err := ring.Digest(s.Pepper, presented)
	if err != nil {
		return false, err
	}
	return d.Equal(s.Digest), nil
}
