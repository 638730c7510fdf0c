package keys

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/config"
	"github.com/keyreeve/keyreeve/pkg/wait"
)

// Peppers gives the pepper ring (package pepper).
type Peppers interface {
	// Ring is the ring as last loaded.
	Ring(ctx context.Context) (*apikey.Ring, error)
	// With is a ring that holds that version: it reloads once if need be, and is
	// apikey.ErrUnknownPepper if that did not help.
	With(ctx context.Context, version string) (*apikey.Ring, error)
}

// Config is what a Service works with. The first four fields are needed.
type Config struct {
	Store    Store
	Peppers  Peppers
	Settings config.Settings
	// Known reports whether a permission may be granted: one of the catalogue, or a
	// wildcard over it.
	Known func(permission string) bool
	// Changed is told of keys whose verdict a change has moved, when it is committed and on
	// their meters, or could not be brought there; before the answer goes out. It cannot
	// fail: what it does must be made good by others where it does not succeed. Nil: nobody.
	Changed func(ctx context.Context, moved []Key)
	// Clock defaults to time.Now.
	Clock func() time.Time
	// Sleep waits between attempts; it returns early with ctx's error.
	Sleep func(ctx context.Context, d time.Duration) error
	// Random draws the jitter of a wait from [0,n). It defaults to math/rand/v2: nothing
	// secret comes from it.
	Random func(n int64) int64
}

// Service carries out what may be done to keys. It is safe for concurrent use.
type Service struct {
	cfg    Config
	events atomic.Uint32 // audit events drawn
}

// NewService returns a Service.
func NewService(c Config) *Service {
	if c.Changed == nil {
		c.Changed = func(context.Context, []Key) {}
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Sleep == nil {
		c.Sleep = wait.For
	}
	if c.Random == nil {
		c.Random = rand.Int64N
	}
	return &Service{cfg: c}
}

// now is the time as stores keep it.
func (s *Service) now() time.Time { return s.cfg.Clock().UTC().Truncate(time.Millisecond) }

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

// Conditions of a change.
type Conditions struct {
	IfMatch int64 // the Version that the key must be at; 0: any
	Force   bool  // even if it takes away the last key that may manage keys
}

// check is ErrPreconditionFailed unless k is at the version that IfMatch names.
func (c Conditions) check(k *Key) error {
	if c.IfMatch != 0 && c.IfMatch != k.Version {
		return ErrPreconditionFailed
	}
	return nil
}

// Issued is a key with its plaintext, which exists in this answer and nowhere else.
type Issued struct {
	Key       Key
	Plaintext apikey.Key
	Replayed  bool // the answer of an earlier, equal request
}

// Get reads one key; ErrNotFound for a foreign one as for an absent one. A caller may
// always read its own, which is the one way to read a session.
func (s *Service) Get(ctx context.Context, c Caller, r Ref) (Key, error) {
	if err := c.liveAt(s.now()); err != nil {
		return Key{}, err
	}
	if r.ID != c.KeyID {
		if err := c.may(permissionRead); err != nil {
			return Key{}, err
		}
	}
	k, err := s.readable(ctx, &c, r)
	if err != nil {
		return Key{}, err
	}
	if k.Deleted {
		return Key{}, ErrNotFound
	}
	return s.withUsage(ctx, k)
}

// target reads the key that r names, a deleted one too: ErrNotFound if it is absent, not
// for c to see, or a session, which nothing changes but its end.
func (s *Service) target(ctx context.Context, c *Caller, r Ref) (Key, error) {
	k, err := s.visible(ctx, c, r)
	if err == nil && k.Parent != "" {
		return Key{}, ErrNotFound
	}
	return k, err
}

// readable is target, but finds the caller's own key also where it is a session.
func (s *Service) readable(ctx context.Context, c *Caller, r Ref) (Key, error) {
	if r.ID == c.KeyID {
		return s.visible(ctx, c, r)
	}
	return s.target(ctx, c, r)
}

// visible reads the key that r names, whatever it is.
func (s *Service) visible(ctx context.Context, c *Caller, r Ref) (Key, error) {
	id := r.ID
	if id == "" {
		if r.Number < 1 {
			return Key{}, ErrNotFound
		}
		row, err := s.cfg.Store.KeyByNumber(ctx, c.AccountID, r.Number)
		if err != nil {
			return Key{}, hideMissing(err)
		}
		if !c.sees(&row) { // now, so that a hidden key costs what an absent one does
			return Key{}, ErrNotFound
		}
		id = row.ID
	}
	if _, err := apikey.ParseID(string(id)); err != nil {
		return Key{}, ErrNotFound
	}
	k, err := s.cfg.Store.Key(ctx, id)
	if err != nil {
		return Key{}, hideMissing(err)
	}
	if !c.sees(&k) {
		return Key{}, ErrNotFound
	}
	return k, nil
}

// hideMissing makes every ErrNotFound the same, whatever the store says beside it.
func hideMissing(err error) error {
	if errors.Is(err, ErrNotFound) {
		return ErrNotFound
	}
	return err
}

// withUsage is k as it goes out: with its use, without what only verification needs.
func (s *Service) withUsage(ctx context.Context, k Key) (Key, error) {
	list := []Key{public(k)}
	if err := s.joinUsage(ctx, list, s.now(), s.cfg.Store.Windows); err != nil {
		return Key{}, err
	}
	return list[0], nil
}

// public is k without digests, which no answer has a use for.
func public(k Key) Key {
	for _, s := range []*Secret{&k.Secret, &k.Previous} {
		s.Digest, s.Pepper = apikey.Digest{}, ""
	}
	return k
}
