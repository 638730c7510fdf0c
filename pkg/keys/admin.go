package keys

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
)

// CreateAccountInput is a request for a tenant, from the admin function.
type CreateAccountInput struct {
	ID   string // [A-Za-z0-9_-]{1,64}; empty: drawn at random
	Name string // 1–100 characters; empty: the ID
	Plan string // empty: enterprise
}

// RootKeyName is the name of the key that CreateAccount makes.
const RootKeyName = "Root key"

const rootPlan = "enterprise"

// CreateAccount makes an account and its root key: production, primary, number 1,
// permissions * and api_keys:*, at the account's own plan. ErrAccountExists.
func (s *Service) CreateAccount(ctx context.Context, in CreateAccountInput) (account Account, root Issued, err error) {
	if in.ID == "" {
		in.ID = "acct_" + string(apikey.NewID()+apikey.NewID())
	}
	if in.Name == "" {
		in.Name = in.ID
	}
	if in.Plan == "" {
		in.Plan = rootPlan
	}
	var f faults
	if !ValidID(in.ID) {
		f.add("id", mustBeID)
	}
	f.name("name", in.Name)
	s.planKnown(&f, in.Plan)
	if err := f.err(); err != nil {
		return Account{}, Issued{}, err
	}
	err = s.change(ctx, "creating an account", nil, func(now time.Time) (decision, error) {
		switch _, err := s.cfg.Store.Account(ctx, in.ID); {
		case err == nil:
			return decision{}, ErrAccountExists
		case !errors.Is(err, ErrNotFound):
			return decision{}, err
		}
		a := Account{ID: in.ID, Name: in.Name, Plan: in.Plan, NextNumber: 1, CreatedAt: now}
		d, issued, err := s.add(ctx, nil, a, 0, s.rootKey(&a, true), now)
		if err != nil {
			return decision{}, err
		}
		d.change.Audit.Action = "account.create"
		d.change.Audit.After["accountName"], d.change.Audit.After["accountPlan"] = a.Name, a.Plan
		account, root = d.change.Account.New, issued
		return d, nil
	})
	if err != nil {
		return Account{}, Issued{}, err
	}
	return account, root, nil
}

// AddRootKey adds one more root key to an account; it replaces none and is not primary
// unless the account has no key that is. The plan's number of keys does not bound it: it
// is the way back for an account that nobody can manage any more.
func (s *Service) AddRootKey(ctx context.Context, accountID string) (out Issued, err error) {
	err = s.change(ctx, "adding a root key", nil, func(now time.Time) (decision, error) {
		a, err := s.cfg.Store.Account(ctx, accountID)
		if err != nil {
			return decision{}, hideMissing(err)
		}
		if _, err := s.planOf(&a); err != nil {
			return decision{}, err
		}
		marked := false
		if a.Primary != "" {
			_, err := s.cfg.Store.Key(ctx, a.Primary)
			if err != nil && !errors.Is(err, ErrNotFound) {
				return decision{}, err
			}
			marked = err == nil
		}
		d, issued, err := s.add(ctx, nil, a, 0, s.rootKey(&a, !marked), now)
		out = issued
		return d, err
	})
	if err != nil {
		return Issued{}, err
	}
	return out, nil
}

func (s *Service) rootKey(a *Account, primary bool) Key {
	return Key{
		ID: apikey.NewID(), AccountID: a.ID, Name: RootKeyName, Environment: Production,
		Permissions: strings.Fields("* " + permissionsOwn + ":*"),
		Plan:        a.Plan, RateLimit: s.planLimit(a.Plan, Production),
		Active: true, Primary: primary, Face: Canonical,
	}
}
