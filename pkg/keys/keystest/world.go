package keystest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/config"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

// World is a keys.Service on a store, with a clock and a pepper ring that a test moves.
type World struct {
	Store    keys.Store
	Service  *keys.Service
	Clock    *Clock
	Peppers  *Peppers
	Canary   *Canary // has seen every secret that Login was given
	Settings config.Settings
}

// NewWorld returns a World with the default settings, in which every permission of
// Catalogue may be granted. Waits between attempts are real. What adjust changes in the
// Service's configuration holds for the World too.
func NewWorld(store keys.Store, adjust ...func(*keys.Config)) *World {
	w := &World{Clock: NewClock(), Peppers: NewPeppers(), Canary: &Canary{}}
	c := keys.Config{
		Store: store, Peppers: w.Peppers, Settings: config.DefaultSettings(), Known: Known, Clock: w.Clock.Now,
	}
	for _, f := range adjust {
		f(&c)
	}
	w.Store, w.Settings, w.Service = c.Store, c.Settings, keys.NewService(c)
	return w
}

// Account makes an account on a plan and returns it with its root key as caller.
func (w *World) Account(t testing.TB, plan string) (keys.Account, keys.Caller) {
	t.Helper()
	a, root, err := w.Service.CreateAccount(context.Background(), keys.CreateAccountInput{
		ID: "t-" + string(apikey.NewID()), Plan: plan,
	})
	if err != nil {
		t.Fatalf("CreateAccount: %v", err)
	}
	return a, w.MustLogin(t, root.Plaintext)
}

// Login does what the authorizer and the guard do together: the caller that holds this
// key, or why it is refused.
func (w *World) Login(ctx context.Context, plaintext apikey.Key) (keys.Caller, keys.Reason, error) {
	w.Canary.Saw(plaintext)
	k, err := w.Store.Key(ctx, plaintext.ID())
	if errors.Is(err, keys.ErrNotFound) {
		return keys.Caller{}, keys.ReasonUnknown, nil
	}
	if err != nil {
		return keys.Caller{}, "", err
	}
	for _, s := range []keys.Secret{k.Secret, k.Previous} {
		if s.Generation == 0 {
			continue
		}
		ring, err := w.Peppers.With(ctx, s.Pepper)
		if err != nil {
			return keys.Caller{}, "", err
		}
		digest, err := ring.Digest(s.Pepper, plaintext)
		if err != nil {
			return keys.Caller{}, "", err
		}
		if digest.Equal(s.Digest) {
			id, reason := keys.Identify(&k, s.Generation, string(k.Environment), w.Clock.Now())
			if reason == keys.OK && k.Parent != "" {
				parent, err := w.Store.Key(ctx, k.Parent)
				if err != nil && !errors.Is(err, keys.ErrNotFound) {
					return keys.Caller{}, "", err
				}
				if !parent.Upholds(&k, w.Clock.Now()) {
					return keys.Caller{}, keys.ReasonSession, nil
				}
			}
			return keys.Caller{Identity: id, Credential: plaintext}, reason, nil
		}
	}
	return keys.Caller{}, keys.ReasonSecret, nil
}

// MustLogin is Login of a key that must work.
func (w *World) MustLogin(t testing.TB, plaintext apikey.Key) keys.Caller {
	t.Helper()
	c, reason, err := w.Login(context.Background(), plaintext)
	if err != nil || reason != keys.OK {
		t.Fatalf("Login = %q, %v, want a caller", reason, err)
	}
	return c
}

// Clock is a clock that stands still until it is moved. It starts at the real time and
// never goes back.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// NewClock returns a clock.
func NewClock() *Clock { return &Clock{now: stored(time.Now())} }

// Now is the clock's time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves the clock.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// Peppers is a pepper ring that a test rotates. Its peppers are p1, p2, …, and the same
// in every ring.
type Peppers struct {
	mu   sync.Mutex
	ring *apikey.Ring
	n    int // peppers in the ring
}

// NewPeppers returns a ring with one pepper.
func NewPeppers() *Peppers {
	p := &Peppers{}
	p.Rotate()
	return p
}

// Rotate adds a pepper and makes it current.
func (p *Peppers) Rotate() { p.add(true) }

// Add adds a pepper and leaves current what is, as a rotation does first.
func (p *Peppers) Add() { p.add(false) }

func (p *Peppers) add(promote bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.n++
	all := map[string]string{}
	version := ""
	for i := range p.n {
		version = fmt.Sprintf("p%d", i+1)
		all[version] = strings.Repeat(version+".pepper.", 5)
	}
	if !promote {
		version = p.ring.Current()
	}
	ring, err := apikey.NewRing(version, all)
	if err != nil {
		panic(err) // the peppers above are valid
	}
	p.ring = ring
}

// Ring implements keys.Peppers.
func (p *Peppers) Ring(context.Context) (*apikey.Ring, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ring, nil
}

// With implements keys.Peppers.
func (p *Peppers) With(_ context.Context, version string) (*apikey.Ring, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ring.Has(version) {
		return nil, apikey.ErrUnknownPepper
	}
	return p.ring, nil
}

// Catalogue is what may be granted in a World, besides wildcards over it.
var Catalogue = []string{
	"api_keys:read", "api_keys:write", "customers:read", "customers:write",
	"invoices:read", "licenses:manage", "telemetry:write",
}

// Known reports whether a permission may be granted in a World.
func Known(permission string) bool {
	if permission == "*" {
		return true
	}
	resource, isAll := strings.CutSuffix(permission, ":*")
	for _, p := range Catalogue {
		if p == permission || isAll && strings.HasPrefix(p, resource+":") {
			return true
		}
	}
	return false
}
