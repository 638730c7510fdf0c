package webhook

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/keyreeve/keyreeve/pkg/alert"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

// ManagerConfig is what a Manager works with. The first three fields are needed.
type ManagerConfig struct {
	Store   Store
	Peppers keys.Peppers
	Sender  *Sender
	// Clock defaults to time.Now.
	Clock func() time.Time
}

// Manager is what callers of the API may do with webhooks. It is safe for concurrent use.
//
// A webhook hears of every key of its account, whatever the key's environment. So only
// production keys see webhooks, with api_keys:read, and change them, with api_keys:write;
// to any other there are none. Errors are those of package keys, and ErrTooMany.
type Manager struct{ cfg ManagerConfig }

// NewManager returns a Manager.
func NewManager(c ManagerConfig) *Manager {
	if c.Clock == nil {
		c.Clock = time.Now
	}
	return &Manager{c}
}

// Input is a new webhook.
type Input struct {
	URL         string       // https, at most 2,048 characters, to a public address
	Description string       // 0–100 characters
	Kinds       []alert.Kind // empty: every kind
	Active      bool
}

// Patch changes what is not nil.
type Patch struct {
	URL         *string
	Description *string
	Kinds       *[]alert.Kind
	Active      *bool
}

const (
	maxDescription = 100
	updateAttempts = 4
)

// now is the time as stores keep it.
func (m *Manager) now() time.Time { return m.cfg.Clock().UTC().Truncate(time.Millisecond) }

// admit is the proof that the caller may go on: nil, or what it is told.
func (m *Manager) admit(c *keys.Caller, permission string) error {
	if err := c.Live(m.now()); err != nil {
		return err
	}
	return c.May(permission)
}

// sees reports whether there are webhooks for the caller.
func sees(c *keys.Caller) bool { return c.Environment == keys.Production }

// Create makes a webhook and returns its signing secret, which is shown this once.
func (m *Manager) Create(ctx context.Context, c keys.Caller, in Input) (e Endpoint, secret string, err error) {
	if err := m.admit(&c, keys.PermissionWrite); err != nil {
		return Endpoint{}, "", err
	}
	if !sees(&c) {
		return Endpoint{}, "", &keys.EscalationError{Field: "environment"}
	}
	now := m.now()
	e = Endpoint{
		ID: newID(), AccountID: c.AccountID, Version: 1, URL: in.URL, Description: in.Description, Kinds: in.Kinds,
		Active: in.Active, CreatedBy: c.Holder(), CreatedAt: now, UpdatedAt: now,
	}
	if err := m.validate(&e); err != nil {
		return Endpoint{}, "", err
	}
	ring, err := m.cfg.Peppers.Ring(ctx)
	if err != nil {
		return Endpoint{}, "", err
	}
	s := newSecret()
	if err := seal(ring, &e, s); err != nil {
		return Endpoint{}, "", err
	}
	if err := m.cfg.Store.CreateEndpoint(ctx, e); err != nil {
		return Endpoint{}, "", err
	}
	return shown(e), s.plaintext(), nil
}

// List lists the account's webhooks, oldest first.
func (m *Manager) List(ctx context.Context, c keys.Caller) ([]Endpoint, error) {
	if err := m.admit(&c, keys.PermissionRead); err != nil || !sees(&c) {
		return nil, err
	}
	list, err := m.cfg.Store.Endpoints(ctx, c.AccountID)
	if err != nil {
		return nil, err
	}
	for i := range list {
		list[i] = shown(list[i])
	}
	return list, nil
}

// Get reads one; keys.ErrNotFound.
func (m *Manager) Get(ctx context.Context, c keys.Caller, id string) (Endpoint, error) {
	e, err := m.find(ctx, &c, keys.PermissionRead, id)
	return shown(e), err
}

// Update changes one; keys.ErrNotFound. Its secret stays.
func (m *Manager) Update(ctx context.Context, c keys.Caller, id string, p Patch) (Endpoint, error) {
	for range updateAttempts {
		e, err := m.find(ctx, &c, keys.PermissionWrite, id)
		if err != nil {
			return Endpoint{}, err
		}
		p.apply(&e)
		if err := m.validate(&e); err != nil {
			return Endpoint{}, err
		}
		e.Version, e.UpdatedAt = e.Version+1, m.now()
		err = m.cfg.Store.UpdateEndpoint(ctx, e)
		if errors.Is(err, ErrChanged) {
			continue
		}
		if err != nil {
			return Endpoint{}, hide(err)
		}
		return shown(e), nil
	}
	return Endpoint{}, keys.ErrConflict
}

func (p *Patch) apply(e *Endpoint) {
	if p.URL != nil {
		e.URL = *p.URL
	}
	if p.Description != nil {
		e.Description = *p.Description
	}
	if p.Kinds != nil {
		e.Kinds = *p.Kinds
	}
	if p.Active != nil {
		e.Active = *p.Active
	}
}

// Delete removes one; keys.ErrNotFound. What is on its way to it is given up.
func (m *Manager) Delete(ctx context.Context, c keys.Caller, id string) error {
	if _, err := m.find(ctx, &c, keys.PermissionWrite, id); err != nil {
		return err
	}
	return hide(m.cfg.Store.DeleteEndpoint(ctx, c.AccountID, id))
}

// Test sends an event of type "test" at once, to one that is switched off too, and answers
// what came of it. It is no delivery: nothing repeats or keeps it.
func (m *Manager) Test(ctx context.Context, c keys.Caller, id string) (Attempt, error) {
	e, err := m.find(ctx, &c, keys.PermissionWrite, id)
	if err != nil {
		return Attempt{}, err
	}
	ring, err := m.cfg.Peppers.With(ctx, e.Pepper)
	if err != nil {
		return Attempt{}, err
	}
	secret, err := open(ring, &e)
	if err != nil {
		return Attempt{}, fmt.Errorf("webhook %s: %w", e.ID, err)
	}
	now := m.now()
	msg, err := testMessage(testID(e.ID, now), e.ID, now)
	if err != nil {
		return Attempt{}, err
	}
	return m.cfg.Sender.send(ctx, e.URL, msg, secret, now), nil
}

// Bounds of a page of deliveries.
const (
	DefaultPage = 50
	MaxPage     = 100
)

// Deliveries lists what was sent to a webhook and what is to be, newest first. limit is 1
// to MaxPage, 0: DefaultPage; after is the next of the page before. keys.ErrNotFound,
// keys.ErrInvalidCursor.
func (m *Manager) Deliveries(ctx context.Context, c keys.Caller, id string, limit int, after string) (list []Delivery, next string, err error) {
	if _, err := m.find(ctx, &c, keys.PermissionRead, id); err != nil {
		return nil, "", err
	}
	if limit == 0 {
		limit = DefaultPage
	}
	if limit < 1 || limit > MaxPage {
		return nil, "", invalid("limit", fmt.Sprintf("must be 1 to %d", MaxPage))
	}
	if of, ok := endpointOf(after); after != "" && (!ok || of != id) {
		return nil, "", keys.ErrInvalidCursor
	}
	return m.cfg.Store.Deliveries(ctx, c.AccountID, id, limit, after)
}

// Redeliver makes a delivery that has ended pending again, due now and with all its
// attempts before it; one that is pending stays as it is. keys.ErrNotFound, also if its
// webhook is gone.
func (m *Manager) Redeliver(ctx context.Context, c keys.Caller, deliveryID string) (Delivery, error) {
	endpoint, _ := endpointOf(deliveryID) // what has not the form has the endpoint ""
	if _, err := m.find(ctx, &c, keys.PermissionWrite, endpoint); err != nil {
		return Delivery{}, err
	}
	d, err := m.cfg.Store.Reopen(ctx, Ref{c.AccountID, deliveryID}, m.now())
	return d, hide(err)
}

// find reads an endpoint for a caller who holds the permission.
func (m *Manager) find(ctx context.Context, c *keys.Caller, permission, id string) (Endpoint, error) {
	if err := m.admit(c, permission); err != nil {
		return Endpoint{}, err
	}
	if !sees(c) || !validID(id) {
		return Endpoint{}, keys.ErrNotFound
	}
	e, err := m.cfg.Store.Endpoint(ctx, c.AccountID, id)
	return e, hide(err)
}

// hide makes every keys.ErrNotFound the same, whatever the store says beside it.
func hide(err error) error {
	if errors.Is(err, keys.ErrNotFound) {
		return keys.ErrNotFound
	}
	return err
}

// shown is e without its sealed secret, which no answer has a use for.
func shown(e Endpoint) Endpoint {
	e.Pepper, e.Box = "", nil
	return e
}

// validate checks what a caller chose, and puts the kinds into their own order.
func (m *Manager) validate(e *Endpoint) error {
	var faults keys.ValidationError
	add := func(field, message string) {
		if message != "" {
			faults.Fields = append(faults.Fields, keys.FieldError{Field: field, Message: message})
		}
	}
	add("url", checkURL(e.URL, m.cfg.Sender.anywhere))
	switch {
	case !utf8.ValidString(e.Description):
		add("description", "must be valid UTF-8")
	case utf8.RuneCountInString(e.Description) > maxDescription:
		add("description", fmt.Sprintf("must be at most %d characters", maxDescription))
	case strings.ContainsFunc(e.Description, unicode.IsControl):
		add("description", "must not hold control characters")
	case holdsKey(e.Description):
		add("description", "must not hold an API key")
	}
	all := alert.Kinds()
	for i, k := range e.Kinds {
		if !slices.Contains(all, k) {
			add(fmt.Sprintf("kinds[%d]", i), "must be a kind of alert")
		}
	}
	if len(faults.Fields) > 0 {
		return &faults
	}
	chosen := slices.DeleteFunc(all, func(k alert.Kind) bool { return !slices.Contains(e.Kinds, k) })
	if e.Kinds = chosen; len(chosen) == 0 {
		e.Kinds = nil
	}
	return nil
}

func invalid(field, message string) error {
	return &keys.ValidationError{Fields: []keys.FieldError{{Field: field, Message: message}}}
}
