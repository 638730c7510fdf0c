package keys

import (
	"context"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
)

// Who may do what to which key. The guard has proved the permission for the route; the
// rules here are about the key that is asked for, and hold for every face:
//
//   - A caller sees its own account only, and there a production key sees every
//     environment, any other its own alone. What it does not see is absent.
//   - Whoever widens a key must cover all that it will hold then, permissions, customers
//     and networks. Widening is: creating it, adding to any of these, switching it on, an
//     earlier start, a later expiry, and a new secret, which is handed out. Covering
//     the result and not only the addition matters: a permission that is added to a key
//     of other customers would be granted for those too.
//   - Taking away needs no more than api_keys:write: a key that is in the wrong hands
//     must be stopped by whoever of its environment may manage keys at all, although it
//     holds more than they do. So do a name, an owner, a plan, a limit, which grant no
//     access and are bounded by the account's plan.
//   - The last key that may manage keys goes only by force (see lastManager).
//   - A session does what its parent could, in its parent's name (see sessions.go).
const (
	permissionRead  = "api_keys:read"
	permissionWrite = "api_keys:write"
	permissionsOwn  = "api_keys" // the resource that is always granted by name
)

// liveAt is ErrCallerGone if the caller's key or the grace of its secret has ended since
// it was proved.
func (c *Caller) liveAt(now time.Time) error {
	switch {
	case c.AccountID == "" || c.KeyID == "": // never a default tenant
		return ErrCallerGone
	case !c.ExpiresAt.IsZero() && !now.Before(c.ExpiresAt):
		return ErrCallerGone
	case !c.GraceUntil.IsZero() && !now.Before(c.GraceUntil):
		return ErrCallerGone
	}
	return nil
}

// may is an *EscalationError unless the caller holds the permission; empty: none is needed.
func (c *Caller) may(permission string) error {
	if permission != "" && !Holds(c.Permissions, permission) {
		return &EscalationError{Field: "permissions"}
	}
	return nil
}

// sees reports whether k exists for the caller.
func (c *Caller) sees(k *Key) bool {
	return c.AccountID != "" && k.AccountID == c.AccountID && c.reaches(k.Environment)
}

// reaches reports whether the caller may see and manage keys of that environment.
func (c *Caller) reaches(e Environment) bool {
	return c.Environment == Production || c.Environment == e
}

// covers is an *EscalationError unless the caller holds all that k holds. A canary key
// holds nothing, not even the every customer and the anywhere that its empty lists would
// mean.
func (c *Caller) covers(k *Key) error {
	switch {
	case !c.reaches(k.Environment):
		return &EscalationError{Field: "environment"}
	case k.Canary:
		return nil
	case !HoldsAll(c.Permissions, k.Permissions):
		return &EscalationError{Field: "permissions"}
	case !CoversCustomers(c.Customers, k.Customers):
		return &EscalationError{Field: "customers"}
	case !CoversNetworks(c.Networks, k.Networks):
		return &EscalationError{Field: "networks"}
	}
	return nil
}

// widens reports whether k lets its holder do more, from more places, or at more times than
// was did.
func widens(was, k *Key) bool {
	return !HoldsAll(was.Permissions, k.Permissions) ||
		!CoversCustomers(was.Customers, k.Customers) ||
		!CoversNetworks(was.Networks, k.Networks) ||
		k.Active && !was.Active ||
		k.NotBefore.Before(was.NotBefore) ||
		!was.ExpiresAt.IsZero() && (k.ExpiresAt.IsZero() || k.ExpiresAt.After(was.ExpiresAt))
}

// prove reads the caller's own key anew after it changed: the caller goes on as what it
// is now, or not at all.
func (s *Service) prove(ctx context.Context, c *Caller, permission string) error {
	_, err := s.own(ctx, c, permission)
	return err
}

// own is prove, and the caller's key as it is now.
func (s *Service) own(ctx context.Context, c *Caller, permission string) (Key, error) {
	k, err := s.callers(ctx, c.KeyID)
	if err != nil {
		return Key{}, err
	}
	// The stage is not asked again: the guard has proved it, and a key's environment
	// never changes.
	now := s.now()
	id, reason := Identify(&k, c.Generation, string(k.Environment), now)
	if reason != OK || id.AccountID != c.AccountID {
		return Key{}, ErrCallerGone
	}
	if k.Parent != "" {
		parent, err := s.callers(ctx, k.Parent)
		if err != nil {
			return Key{}, err
		}
		if !parent.Upholds(&k, now) {
			return Key{}, ErrCallerGone
		}
	}
	// Where the request came from is not known here, so the guard has to ask again.
	if !CoversNetworks(id.Networks, c.Networks) {
		return Key{}, ErrConflict
	}
	c.Identity = id
	return k, c.may(permission)
}

// callers reads the caller's key or its parent; ErrCallerGone if there is none.
func (s *Service) callers(ctx context.Context, id apikey.ID) (Key, error) {
	k, err := s.cfg.Store.Key(ctx, id)
	if err != nil && hideMissing(err) == ErrNotFound {
		return Key{}, ErrCallerGone
	}
	return k, err
}

// manages reports whether k can manage keys at that time.
func manages(k *Key, now time.Time) bool {
	return k.Live(now) && !k.Canary && Holds(k.Permissions, permissionWrite)
}

// lastManager is ErrLastManager if, once the keys in gone can manage no more, some
// environment that they managed has no manager left. A production manager covers every
// environment, any other its own.
//
// It is a warning and no lock, so a read is enough. And the read is needed only if the
// caller goes too, or the key that the caller is a session of: a caller covers whatever it
// sees, hence everything it can take away.
func (s *Service) lastManager(ctx context.Context, c *Caller, gone map[apikey.ID]bool, now time.Time) error {
	if !gone[c.Holder()] {
		return nil
	}
	list, err := s.cfg.Store.Keys(ctx, c.AccountID)
	if err != nil {
		return err
	}
	left := map[Environment]bool{}
	for i := range list {
		if k := &list[i]; !gone[k.ID] && manages(k, now) {
			left[k.Environment] = true
		}
	}
	for i := range list {
		if k := &list[i]; gone[k.ID] && manages(k, now) && !left[Production] && !left[k.Environment] {
			return ErrLastManager
		}
	}
	return nil
}
