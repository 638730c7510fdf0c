package alert

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

// DeskConfig is what a Desk works with.
type DeskConfig struct {
	Store Store
	Clock func() time.Time // time.Now by default
}

// Desk is where callers of the API see alerts. A caller sees those of its own account:
// with a production key all of them, with any other those of the keys of its own
// environment. What it does not see is absent. It is safe for concurrent use.
type Desk struct{ cfg DeskConfig }

// NewDesk returns a Desk.
func NewDesk(c DeskConfig) *Desk {
	if c.Clock == nil {
		c.Clock = time.Now
	}
	return &Desk{cfg: c}
}

// Filter selects alerts of a list. Zero fields do not filter.
type Filter struct {
	Environment keys.Environment // of the key; alerts about no single key are in none
	Kind        Kind
	KeyID       apikey.ID
	Open        *bool  // true: not acknowledged; false: acknowledged
	Limit       int    // 1–1000; 0: 100
	After       string // Page.Next of the page before
}

const (
	defaultLimit = 100
	maxLimit     = 1000
)

// List reads a page of alerts, newest window first. The caller must hold
// keys.PermissionRead. Errors: *keys.ValidationError, keys.ErrInvalidCursor,
// *keys.EscalationError, keys.ErrCallerGone, keys.ErrUnavailable.
func (d *Desk) List(ctx context.Context, c keys.Caller, f Filter) (Page, error) {
	if err := d.admit(&c, keys.PermissionRead); err != nil {
		return Page{}, err
	}
	if err := f.validate(); err != nil {
		return Page{}, err
	}
	q := Query{
		AccountID: c.AccountID, Environments: visible(&c), Kind: f.Kind, KeyID: f.KeyID, Open: f.Open,
		Limit: f.Limit, After: f.After,
	}
	if q.Limit == 0 {
		q.Limit = defaultLimit
	}
	if f.Environment != "" {
		q.Environments = slices.DeleteFunc(q.Environments, func(e keys.Environment) bool { return e != f.Environment })
	}
	if len(q.Environments) == 0 { // to a store that would mean all of them
		return Page{}, nil
	}
	return d.cfg.Store.Alerts(ctx, q)
}

// visible are the environments whose alerts a caller sees. Who sees every environment sees
// alerts about no single key too.
func visible(c *keys.Caller) []keys.Environment {
	list := c.Environments()
	if len(list) == len(keys.Environments()) {
		list = append(list, "")
	}
	return list
}

func (f *Filter) validate() error {
	var faults []keys.FieldError
	if f.Environment != "" && !f.Environment.Valid() {
		faults = append(faults, keys.FieldError{Field: "environment", Message: "must be production, staging or development"})
	}
	if f.Kind != "" && !slices.Contains(Kinds(), f.Kind) {
		faults = append(faults, keys.FieldError{Field: "kind", Message: "must be one of the kinds of alerts"})
	}
	if f.Limit < 0 || f.Limit > maxLimit {
		faults = append(faults, keys.FieldError{Field: "limit", Message: "must be 1 to 1000"})
	}
	if len(faults) > 0 {
		return &keys.ValidationError{Fields: faults}
	}
	if f.After != "" && !ValidID(f.After) {
		return keys.ErrInvalidCursor
	}
	return nil
}

// Acknowledge notes that somebody has looked at an alert, and returns it; one that is
// acknowledged already stays as it is. The caller must hold keys.PermissionWrite. Errors:
// keys.ErrNotFound, *keys.EscalationError, keys.ErrCallerGone, keys.ErrUnavailable.
func (d *Desk) Acknowledge(ctx context.Context, c keys.Caller, id string) (Alert, error) {
	if err := d.admit(&c, keys.PermissionWrite); err != nil {
		return Alert{}, err
	}
	if !ValidID(id) {
		return Alert{}, keys.ErrNotFound
	}
	a, err := d.cfg.Store.Alert(ctx, c.AccountID, id)
	if err == nil && !slices.Contains(visible(&c), a.Environment) {
		err = keys.ErrNotFound
	}
	if err == nil {
		a, err = d.cfg.Store.Acknowledge(ctx, c.AccountID, id, c.Holder(), d.now())
	}
	if errors.Is(err, keys.ErrNotFound) {
		return Alert{}, keys.ErrNotFound // the same, whatever the store says beside it
	}
	if err != nil {
		return Alert{}, err
	}
	return a, nil
}

// admit refuses a caller whose key has ended since it was proved, or that lacks a
// permission.
func (d *Desk) admit(c *keys.Caller, permission string) error {
	if err := c.Live(d.now()); err != nil {
		return err
	}
	return c.May(permission)
}

func (d *Desk) now() time.Time { return d.cfg.Clock().UTC().Truncate(time.Millisecond) }
