package keys

import (
	"context"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
)

// Patch changes what is not nil.
type Patch struct {
	Name           *string
	Permissions    *[]string
	Customers      *[]string
	Networks       *[]string
	Owner          *string
	Plan           *string
	RateLimit      *int
	Limits         *[]NamedLimit // all of them; empty: none
	Quota          **Quota       // *nil: none
	NotBefore      **time.Time   // *nil: at once
	ExpirationDays *int          // from now
	ExpiresAt      **time.Time   // *nil: never
	Active         *bool
	Primary        *bool // true takes the mark; false on the primary key is ErrPrimaryKey
	EndGrace       bool  // the secret before the present one stops now, if its grace lasts
}

// Update changes a key. A request that changes nothing answers as one that does, and
// settles the key's meter once more.
func (s *Service) Update(ctx context.Context, c Caller, r Ref, p Patch, cond Conditions) (Key, error) {
	return s.update(ctx, &c, r, p, cond, "key.update", nil)
}

// Activate switches a key on again.
func (s *Service) Activate(ctx context.Context, c Caller, r Ref, cond Conditions) (Key, error) {
	on := true
	return s.update(ctx, &c, r, Patch{Active: &on}, cond, "key.activate", nil)
}

// update applies a patch to one key. gone gives the keys that will work no more if this
// one does not; nil: it alone.
func (s *Service) update(ctx context.Context, c *Caller, r Ref, p Patch, cond Conditions, action string,
	gone func(*Key) (map[apikey.ID]bool, error)) (Key, error) {
	var k Key
	err := s.change(ctx, "changing a key", c, func(now time.Time) (decision, error) {
		was, err := s.target(ctx, c, r)
		if err != nil {
			return decision{}, err
		}
		if was.Deleted {
			return decision{}, ErrNotFound
		}
		if err := cond.check(&was); err != nil {
			return decision{}, err
		}
		var account Account
		if p.Plan != nil || p.RateLimit != nil || p.Primary != nil {
			if account, _, err = s.account(ctx, c.AccountID); err != nil {
				return decision{}, err
			}
		}
		if k, err = s.patched(&was, &account, p, now); err != nil {
			return decision{}, err
		}
		if widens(&was, &k) {
			if err := c.covers(&k); err != nil {
				return decision{}, err
			}
		}
		if !cond.Force && (gone != nil || !manages(&k, now)) {
			without := map[apikey.ID]bool{k.ID: true}
			if gone != nil {
				if without, err = gone(&k); err != nil {
					return decision{}, err
				}
			}
			if err := s.lastManager(ctx, c, without, now); err != nil {
				return decision{}, err
			}
		}
		before, after := step(&was, &k, now)
		if after == nil {
			return decision{settle: []Key{k}}, nil
		}
		change := &Change{Audit: s.event(c, action, &k, before, after, now)}
		if k.Primary && !was.Primary {
			if err := s.takeMark(ctx, change, account, &k, now); err != nil {
				return decision{}, err
			}
		}
		change.Keys = append(change.Keys, KeyWrite{New: k, Was: was.Version})
		d := decision{change: change, settle: []Key{k}}
		if k.Verdict != was.Verdict {
			d.moved = d.settle
		}
		return d, nil
	})
	if err != nil {
		return Key{}, err
	}
	return s.afterwards(ctx, k)
}

// afterwards is k as the answer to a change shows it. When its use cannot be read the
// change is made all the same, so the error must not say that it is not.
func (s *Service) afterwards(ctx context.Context, k Key) (Key, error) {
	out, err := s.withUsage(ctx, k)
	if err != nil {
		return Key{}, notSettled(err)
	}
	return out, nil
}

// patched is was with a patch applied, if its fields are valid.
func (s *Service) patched(was *Key, a *Account, p Patch, now time.Time) (Key, error) {
	k := *was
	var f faults
	if k.Canary {
		f.canary(p.Permissions != nil, p.Customers != nil, p.Networks != nil, p.NotBefore != nil,
			p.Plan != nil, p.RateLimit != nil, p.Limits != nil, p.Quota != nil, p.Primary != nil && *p.Primary)
		if err := f.err(); err != nil {
			return Key{}, err
		}
	}
	if p.Name != nil {
		f.name("name", *p.Name)
		k.Name = *p.Name
	}
	if p.Owner != nil {
		f.owner(*p.Owner)
		k.Owner = *p.Owner
	}
	if p.Permissions != nil {
		k.Permissions = f.permissions(*p.Permissions, s.cfg.Known)
	}
	if p.Customers != nil {
		k.Customers = f.customers(*p.Customers)
	}
	if p.Networks != nil {
		k.Networks = f.networks(*p.Networks)
	}
	if p.Plan != nil {
		s.planKnown(&f, *p.Plan)
	}
	if p.RateLimit != nil {
		f.rateLimit(*p.RateLimit)
	}
	if p.Limits != nil {
		k.Limits = f.limits(*p.Limits)
	}
	if p.Quota != nil {
		k.Quota = f.quota(*p.Quota)
	}
	switch {
	case p.ExpirationDays == nil && p.ExpiresAt == nil:
	case p.ExpirationDays != nil && p.ExpiresAt != nil:
		f.add("expirationTs", notBoth)
	case p.ExpirationDays != nil:
		k.ExpiresAt = f.expiry(p.ExpirationDays, nil, now)
	default:
		k.ExpiresAt = f.expiry(nil, *p.ExpiresAt, now)
	}
	if p.NotBefore != nil {
		k.NotBefore = f.notBefore(*p.NotBefore, now)
		f.lifetime(&k, "notBefore")
	} else if p.ExpirationDays != nil || p.ExpiresAt != nil {
		f.lifetime(&k, "expirationTs")
	}
	if p.Primary != nil && *p.Primary && k.Environment != Production {
		f.add("isPrimary", onlyProduction)
	}
	if err := f.err(); err != nil {
		return Key{}, err
	}
	if err := s.limits(&k, a, p.Plan, p.RateLimit); err != nil {
		return Key{}, err
	}
	if p.Active != nil {
		k.Active = *p.Active
	}
	if end := k.ExpiresAt; !end.IsZero() && k.Previous.Until.After(end) {
		k.Previous.Until = end // a grace never outlives its key
	}
	if p.EndGrace && k.Previous.Until.After(now) {
		k.Previous = Secret{}
	}
	if p.Primary != nil && *p.Primary != was.Primary {
		if !*p.Primary {
			return Key{}, ErrPrimaryKey
		}
		if !k.Live(now) {
			return Key{}, ErrNotActive
		}
		k.Primary = true
	}
	return k, nil
}
