// Package pepper holds the pepper ring of a process: loaded at first use, reloaded when a
// record names a version that it does not know.
package pepper

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
)

// reloadEvery bounds how often an unknown version makes a process ask again: a table
// full of foreign digests must not become a load on Secrets Manager.
const reloadEvery = 10 * time.Second

// Source loads the ring through fetch and keeps it. It is safe for concurrent use.
type Source struct {
	fetch func(context.Context) ([]byte, error)
	clock func() time.Time

	mu     sync.Mutex
	ring   *apikey.Ring
	loaded time.Time
}

// New returns a Source. fetch returns the ring's JSON ([apikey.ParseRing]); clock
// defaults to time.Now.
func New(fetch func(context.Context) ([]byte, error), clock func() time.Time) *Source {
	if clock == nil {
		clock = time.Now
	}
	return &Source{fetch: fetch, clock: clock}
}

// Ring returns the ring, loading it at the first call. A failed load is not kept.
func (s *Source) Ring(ctx context.Context) (*apikey.Ring, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ring == nil {
		if err := s.load(ctx); err != nil {
			return nil, err
		}
	}
	return s.ring, nil
}

// With returns a ring that holds version, after one reload if need be; it is
// [apikey.ErrUnknownPepper] if the ring still does not, or was reloaded just before.
func (s *Source) With(ctx context.Context, version string) (*apikey.Ring, error) {
	ring, err := s.Ring(ctx)
	if err != nil {
		return nil, err
	}
	if ring.Has(version) {
		return ring, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ring.Has(version) && s.clock().Sub(s.loaded) >= reloadEvery {
		if err := s.load(ctx); err != nil {
			return nil, err
		}
	}
	if !s.ring.Has(version) {
		return nil, fmt.Errorf("pepper %q: %w", version, apikey.ErrUnknownPepper)
	}
	return s.ring, nil
}

// load replaces the ring; s.mu is held.
func (s *Source) load(ctx context.Context) error {
	text, err := s.fetch(ctx)
	if err != nil {
		return fmt.Errorf("loading the pepper ring: %w", err)
	}
	ring, err := apikey.ParseRing(text)
	if err != nil {
		return err
	}
	s.ring, s.loaded = ring, s.clock()
	return nil
}
