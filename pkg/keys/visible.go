package keys

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
)

// What services beside this one need of a caller: the rules of authority.go, for rows,
// counts, alerts and webhooks that belong to keys.

// The permissions that the management routes ask for.
const (
	PermissionRead  = permissionRead
	PermissionWrite = permissionWrite
)

// MaxPermissions is how many permissions a key may hold.
const MaxPermissions = maxPermissions

// Live is ErrCallerGone if the caller's key or the grace of its secret has ended since it
// was proved, and for a caller of no account.
func (c *Caller) Live(now time.Time) error { return c.liveAt(now) }

// May is an *EscalationError unless the caller holds the permission.
func (c *Caller) May(permission string) error { return c.may(permission) }

// Sees reports whether the caller sees what belongs to keys of an environment of its own
// account.
func (c *Caller) Sees(e Environment) bool { return c.AccountID != "" && c.reaches(e) }

// Environments are those that the caller sees, in the order of [Environments].
func (c *Caller) Environments() []Environment {
	return slices.DeleteFunc(Environments(), func(e Environment) bool { return !c.Sees(e) })
}

// Visible reads all keys that the caller sees, deleted ones included, in order of Number;
// LastUsed and Requests are not filled in. It is one read of the account's list, for those
// who join something to every key. The caller must hold PermissionRead.
func (s *Service) Visible(ctx context.Context, c Caller) ([]Key, error) {
	if err := c.liveAt(s.now()); err != nil {
		return nil, err
	}
	if err := c.may(permissionRead); err != nil {
		return nil, err
	}
	list, err := s.cfg.Store.Keys(ctx, c.AccountID)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(list, func(k Key) bool { return !c.sees(&k) }), nil
}

// Knows reports whether the caller may know of a key: one that it sees, be it a session, and
// that is not deleted. The caller must hold PermissionRead.
func (s *Service) Knows(ctx context.Context, c Caller, id apikey.ID) (bool, error) {
	if err := c.liveAt(s.now()); err != nil {
		return false, err
	}
	if err := c.may(permissionRead); err != nil {
		return false, err
	}
	k, err := s.visible(ctx, &c, Ref{ID: id})
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil && !k.Deleted, err
}

// Find is Get, but finds deleted keys too: their history stays until its retention ends.
// The caller must hold PermissionRead, for its own key as well. Of sessions it finds the
// caller's own alone.
func (s *Service) Find(ctx context.Context, c Caller, r Ref) (Key, error) {
	if err := c.liveAt(s.now()); err != nil {
		return Key{}, err
	}
	if err := c.may(permissionRead); err != nil {
		return Key{}, err
	}
	k, err := s.readable(ctx, &c, r)
	if err != nil {
		return Key{}, err
	}
	return s.withUsage(ctx, k)
}
