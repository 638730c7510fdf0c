// Package pepper holds the pepper ring of a process.
//
// The ring is loaded at first use and then kept in memory, for every verification needs
// it. It is fetched again
//
//   - when a record names a version that the ring lacks ([Source.With]): at once, but not
//     more often than every 10 s, so that a table full of foreign digests does not become
//     a load on Secrets Manager;
//   - after 5 minutes of use, so that a process which knows a new pepper also learns of
//     its promotion. Without that, warm processes that disagree about the current pepper
//     would re-digest each other's keys for as long as they live.
//
// Hence the order of a rotation: add the new pepper, promote it after more than 5 minutes,
// remove the old one when no key has a digest of it.
//
// A failed fetch is never kept and takes nothing away: a ring once loaded goes on serving
// the versions that it holds.
package pepper

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
)

const (
	refreshEvery   = 5 * time.Minute
	refreshTimeout = time.Second // of a request's own time: the old ring would do as well
	refreshRetry   = time.Minute // after a failure
	reloadEvery    = 10 * time.Second
	reloadRetry    = time.Second // after a failure
)

// Source loads the ring through fetch and keeps it. It is safe for concurrent use, and
// waits for another caller's fetch no longer than the context allows.
type Source struct {
	fetch func(context.Context) ([]byte, error)
	clock func() time.Time

	held atomic.Pointer[held]
	turn chan struct{} // whoever has put something in may fetch and replace held
}

// held is a ring, and when the next fetch is due or allowed. It is replaced, not changed.
type held struct {
	ring      *apikey.Ring
	refreshAt time.Time
	reloadAt  time.Time
}

// New returns a Source. fetch returns the ring's JSON ([apikey.ParseRing]); clock
// defaults to time.Now.
func New(fetch func(context.Context) ([]byte, error), clock func() time.Time) *Source {
	if clock == nil {
		clock = time.Now
	}
	return &Source{fetch: fetch, clock: clock, turn: make(chan struct{}, 1)}
}

// Ring returns the ring, loading it at the first call.
func (s *Source) Ring(ctx context.Context) (*apikey.Ring, error) {
	h, err := s.ring(ctx)
	if err != nil {
		return nil, err
	}
	return h.ring, nil
}

// With returns a ring that holds version, after one reload if need be. It is
// [apikey.ErrUnknownPepper] if the ring still does not, or was reloaded just before, and
// another error if the reload failed.
func (s *Source) With(ctx context.Context, version string) (*apikey.Ring, error) {
	before := s.held.Load()
	h, err := s.ring(ctx)
	if err == nil && !h.ring.Has(version) && h == before { // else it has just been fetched
		h, err = s.reload(ctx, version)
	}
	if err != nil {
		return nil, err
	}
	if !h.ring.Has(version) {
		return nil, fmt.Errorf("pepper %q: %w", version, apikey.ErrUnknownPepper)
	}
	return h.ring, nil
}

func (s *Source) ring(ctx context.Context) (*held, error) {
	h := s.held.Load()
	switch {
	case h == nil:
		return s.first(ctx)
	case s.clock().Before(h.refreshAt):
		return h, nil
	}
	return s.refresh(ctx, h), nil
}

func (s *Source) first(ctx context.Context) (*held, error) {
	if err := s.wait(ctx); err != nil {
		return nil, err
	}
	defer s.done()
	if h := s.held.Load(); h != nil {
		return h, nil
	}
	return s.load(ctx, time.Time{})
}

// refresh fetches a ring that is due, unless somebody else is at it.
func (s *Source) refresh(ctx context.Context, h *held) *held {
	select {
	case s.turn <- struct{}{}:
	default:
		return h
	}
	defer s.done()
	if now := s.held.Load(); now != h {
		return now
	}
	ctx, cancel := context.WithTimeout(ctx, refreshTimeout)
	defer cancel()
	fresh, err := s.load(ctx, h.reloadAt)
	if err != nil {
		fresh = &held{ring: h.ring, refreshAt: s.clock().Add(refreshRetry), reloadAt: h.reloadAt}
		s.held.Store(fresh)
	}
	return fresh
}

// reload fetches because version is missing, if that is allowed by now.
func (s *Source) reload(ctx context.Context, version string) (*held, error) {
	if err := s.wait(ctx); err != nil {
		return nil, err
	}
	defer s.done()
	h := s.held.Load()
	now := s.clock()
	if h.ring.Has(version) || now.Before(h.reloadAt) {
		return h, nil
	}
	fresh, err := s.load(ctx, now.Add(reloadEvery))
	if err != nil {
		s.held.Store(&held{ring: h.ring, refreshAt: h.refreshAt, reloadAt: now.Add(reloadRetry)})
	}
	return fresh, err
}

// load fetches and holds a ring; the turn is the caller's.
func (s *Source) load(ctx context.Context, reloadAt time.Time) (*held, error) {
	text, err := s.fetch(ctx)
	if err != nil {
		return nil, fmt.Errorf("loading the pepper ring: %w", err)
	}
	ring, err := apikey.ParseRing(text)
	if err != nil {
		return nil, fmt.Errorf("loading the pepper ring: %w", err)
	}
	h := &held{ring: ring, refreshAt: s.clock().Add(refreshEvery), reloadAt: reloadAt}
	s.held.Store(h)
	return h, nil
}

// wait takes the turn.
func (s *Source) wait(ctx context.Context) error {
	select {
	case s.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for the pepper ring: %w", ctx.Err())
	}
}

func (s *Source) done() { <-s.turn }
