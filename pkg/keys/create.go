package keys

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
)

// CreateInput is a request for a new key. Nil fields take the defaults.
type CreateInput struct {
	Name           string
	Environment    *Environment // the caller's own
	Permissions    *[]string    // what the caller holds, less api_keys:…
	Customers      []string     // the caller's; empty but not nil: every customer
	Networks       []string     // the caller's; empty but not nil: anywhere
	Owner          string
	Plan           *string // the settings' default, at most the account's
	RateLimit      *int    // requests in any 60 seconds; the plan's
	Limits         []NamedLimit
	Quota          *Quota
	NotBefore      *time.Time
	ExpirationDays *int
	ExpiresAt      *time.Time // not together with ExpirationDays
	Active         *bool      // true
	Primary        *bool      // takes the mark from the present primary key
	Face           Face
	Canary         bool // a decoy, which does nothing but raise an alert: no permissions, customers, networks, start, plan or limit of its own, never primary
	FullAccess     bool // the default for Permissions keeps the caller's api_keys:… (account face, production)
}

// Create makes a key. Errors: *ValidationError, *EscalationError, ErrKeyLimit, the
// idempotency errors, and the common ones.
func (s *Service) Create(ctx context.Context, c Caller, in CreateInput, idem Idempotency) (out Issued, err error) {
	err = s.change(ctx, "creating a key", &c, func(now time.Time) (decision, error) {
		// The account before the record: see replay.
		account, plan, err := s.account(ctx, c.AccountID)
		if err != nil {
			return decision{}, err
		}
		if was, current, err := s.replay(ctx, &c, idem, now); err != nil || was != nil {
			if was != nil {
				out = *was
			}
			return decision{settle: current}, err
		}
		k, err := s.draft(&c, &account, in, now)
		if err != nil {
			return decision{}, err
		}
		d, issued, err := s.add(ctx, &c, account, plan.Keys, k, now)
		if err != nil {
			return decision{}, err
		}
		if d.change.Record, err = s.seal(ctx, &c, idem, issued, now); err != nil {
			return decision{}, err
		}
		out = issued
		return d, nil
	})
	if err != nil {
		return Issued{}, err
	}
	return out, nil
}

// draft is the key that a request asks for, if the caller may have it made. It has no
// number and no secret yet.
func (s *Service) draft(c *Caller, a *Account, in CreateInput, now time.Time) (Key, error) {
	k := Key{
		ID: apikey.NewID(), AccountID: c.AccountID, Name: in.Name, Environment: c.Environment,
		Customers: c.Customers, Networks: c.Networks, Owner: in.Owner, Active: in.Active == nil || *in.Active,
		Primary: in.Primary != nil && *in.Primary, Canary: in.Canary, Face: in.Face, CreatedBy: c.Holder(),
	}
	if in.Environment != nil {
		k.Environment = *in.Environment
	}
	if in.Face == "" {
		k.Face = Canonical
	}

	var f faults
	f.name("name", in.Name)
	f.owner(in.Owner)
	if !k.Environment.Valid() {
		f.add("environment", "must be production, staging or development")
	} else if k.Primary && k.Environment != Production {
		f.add("isPrimary", onlyProduction)
	} else if k.Primary && !k.Active {
		f.add("isPrimary", "cannot be true for a key that is not active")
	}
	switch {
	case k.Canary:
		k.Customers, k.Networks = nil, nil
		f.canary(in.Permissions != nil, in.Customers != nil, in.Networks != nil, in.NotBefore != nil,
			in.Plan != nil, in.RateLimit != nil, len(in.Limits) > 0, in.Quota != nil, k.Primary)
	case in.Permissions != nil:
		k.Permissions = f.permissions(*in.Permissions, s.cfg.Known)
	default:
		k.Permissions = inherited(c.Permissions, in.FullAccess && k.Environment == Production)
	}
	if in.Customers != nil && !k.Canary {
		k.Customers = f.customers(in.Customers)
	}
	if in.Networks != nil && !k.Canary {
		k.Networks = f.networks(in.Networks)
	}
	plan := s.defaultPlan(a)
	if in.Plan != nil {
		plan = *in.Plan
		s.planKnown(&f, plan)
	}
	if in.RateLimit != nil {
		f.rateLimit(*in.RateLimit)
	}
	k.Limits, k.Quota = f.limits(in.Limits), f.quota(in.Quota)
	k.ExpiresAt = f.expiry(in.ExpirationDays, in.ExpiresAt, now)
	if k.NotBefore = f.notBefore(in.NotBefore, now); in.NotBefore != nil {
		f.lifetime(&k, "notBefore")
		if k.Primary && k.EarlyAt(now) {
			f.add("isPrimary", "cannot be true for a key that does not work yet")
		}
	}
	if err := f.err(); err != nil {
		return Key{}, err
	}
	if err := c.covers(&k); err != nil {
		return Key{}, err
	}
	return k, s.limits(&k, a, &plan, in.RateLimit)
}

const onlyProduction = "can be true for a production key only"

// inherited is what a key gets that was asked for without permissions.
func inherited(held []string, full bool) []string {
	return slices.DeleteFunc(slices.Clone(held), func(p string) bool {
		resource, _, _ := strings.Cut(p, ":")
		return !full && resource == permissionsOwn
	})
}

// add decides the change that adds k to its account: it gives it its number and its first
// secret, and the mark if k asks for it. A nil caller is the admin function. maxKeys is how
// many the account may have; 0: any number.
func (s *Service) add(ctx context.Context, c *Caller, a Account, maxKeys int, k Key, now time.Time) (decision, Issued, error) {
	next := a
	next.Version++
	next.KeyCount++
	if maxKeys > 0 && a.KeyCount >= int64(maxKeys) {
		// Deleting a key leaves the account item alone, so the count is an upper bound.
		// No key is added between this count and the commit: that would be a new version
		// of the account.
		have, err := s.countKeys(ctx, a.ID)
		if err != nil {
			return decision{}, Issued{}, err
		}
		if have >= int64(maxKeys) {
			return decision{}, Issued{}, ErrKeyLimit
		}
		next.KeyCount = have + 1
	}
	k.Number = next.NextNumber
	next.NextNumber++
	k.CreatedAt, k.UpdatedAt, k.VerdictAt = now, now, now
	k.Version, k.Verdict = 1, 1
	plaintext, err := s.mint(ctx, &k)
	if err != nil {
		return decision{}, Issued{}, err
	}

	_, after := difference(nil, describe(&k))
	change := &Change{
		Account: &AccountWrite{New: next, Was: a.Version},
		Audit:   s.event(c, "key.create", &k, nil, after, now),
	}
	if k.Primary {
		if err := s.takeMark(ctx, change, a, &k, now); err != nil {
			return decision{}, Issued{}, err
		}
	}
	change.Keys = append(change.Keys, KeyWrite{New: k, SecretChanged: true})
	return decision{change: change}, Issued{Key: public(k), Plaintext: plaintext}, nil
}

func (s *Service) countKeys(ctx context.Context, accountID string) (n int64, err error) {
	list, err := s.cfg.Store.Keys(ctx, accountID)
	for _, k := range list {
		if !k.Deleted {
			n++
		}
	}
	return n, err
}

// mint gives k the secret of its next generation and returns the plaintext.
func (s *Service) mint(ctx context.Context, k *Key) (apikey.Key, error) {
	ring, err := s.cfg.Peppers.Ring(ctx)
	if err != nil {
		return apikey.Key{}, err
	}
	prefix := s.cfg.Settings.PrefixFor(string(k.Face), string(k.Environment))
	plaintext, err := apikey.Generate(prefix, k.ID)
	if err != nil {
		return apikey.Key{}, err
	}
	digest, err := ring.Digest(ring.Current(), plaintext)
	if err != nil {
		return apikey.Key{}, err
	}
	k.Generation++
	k.Secret = Secret{Generation: k.Generation, Digest: digest, Pepper: ring.Current(), Prefix: prefix}
	return plaintext, nil
}

// takeMark adds to a change that k becomes the account's primary key: the account points
// at it, and the one before loses its mark, all under the versions that were read. The
// caller puts k itself, with its mark, among the change's keys.
func (s *Service) takeMark(ctx context.Context, change *Change, a Account, k *Key, now time.Time) error {
	if change.Account == nil {
		next := a
		next.Version++
		change.Account = &AccountWrite{New: next, Was: a.Version}
	}
	change.Account.New.Primary = k.ID
	change.Audit.After["primaryKey"] = string(k.ID)
	if a.Primary == "" || a.Primary == k.ID {
		return nil
	}
	change.Audit.Before = with(change.Audit.Before, "primaryKey", string(a.Primary))
	old, err := s.cfg.Store.Key(ctx, a.Primary)
	if errors.Is(err, ErrNotFound) {
		return nil // the mark pointed at nothing: there is nothing to unmark
	}
	if err != nil {
		return err
	}
	w := KeyWrite{New: old, Was: old.Version}
	w.New.Primary = false
	before, after := step(&old, &w.New, now)
	change.Keys = append(change.Keys, w)
	change.Trails = append(change.Trails, change.Audit.trail(&w.New, with(before, "primaryKey", string(a.Primary)), with(after, "primaryKey", string(k.ID))))
	return nil
}

func with(m map[string]string, name, value string) map[string]string {
	if m == nil {
		m = map[string]string{}
	}
	m[name] = value
	return m
}
