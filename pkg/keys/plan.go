package keys

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/pkg/config"
)

// Plans are ordered by their rate limit. A key's plan is never above its account's.

// account reads the caller's account. An account that is absent is a broken table and no
// "not found" of the caller's.
func (s *Service) account(ctx context.Context, id string) (Account, config.Plan, error) {
	a, err := s.cfg.Store.Account(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return Account{}, config.Plan{}, errors.New("the caller's account does not exist")
	}
	if err != nil {
		return Account{}, config.Plan{}, err
	}
	plan, err := s.planOf(&a)
	return a, plan, err
}

// planOf is an account's plan. A plan that the settings no longer have is a fault of the
// installation.
func (s *Service) planOf(a *Account) (config.Plan, error) {
	plan, ok := s.cfg.Settings.Plans[a.Plan]
	if !ok {
		return config.Plan{}, fmt.Errorf("the settings have no plan %q, which an account is on", a.Plan)
	}
	return plan, nil
}

// defaultPlan is the settings' default, or the account's own plan if that is lower.
func (s *Service) defaultPlan(a *Account) string {
	plans := s.cfg.Settings.Plans
	if d := s.cfg.Settings.DefaultPlan; plans[d].RateLimit <= plans[a.Plan].RateLimit {
		return d
	}
	return a.Plan
}

// planLimit is what a plan gives a key, in requests in any 60 seconds. It is also the
// bound of a limit that is named: on the account's plan, with the development factor, or
// a development key could not name what it gets unasked.
func (s *Service) planLimit(plan string, e Environment) int {
	limit := s.cfg.Settings.Plans[plan].RateLimit
	if e == Development {
		limit *= s.cfg.Settings.DevelopmentFactor
	}
	return limit
}

// planKnown checks that a plan exists.
func (s *Service) planKnown(f *faults, plan string) {
	plans := s.cfg.Settings.Plans
	if _, ok := plans[plan]; !ok {
		names := slices.SortedFunc(maps.Keys(plans), func(a, b string) int {
			if d := plans[a].RateLimit - plans[b].RateLimit; d != 0 {
				return d
			}
			return strings.Compare(a, b)
		})
		f.add("plan", "must be one of "+strings.Join(names, ", "))
	}
}

// limits gives k the plan and limit that a request asks for; nil: it does not. A limit
// that was named stays when the plan changes. What the account's plan does not give is an
// *EscalationError.
func (s *Service) limits(k *Key, a *Account, plan *string, named *int) error {
	if plan != nil {
		if s.cfg.Settings.Plans[*plan].RateLimit > s.cfg.Settings.Plans[a.Plan].RateLimit {
			return &EscalationError{Field: "plan"}
		}
		k.Plan = *plan
		if !k.LimitNamed {
			k.RateLimit = s.planLimit(k.Plan, k.Environment)
		}
	}
	if named != nil {
		if *named > s.planLimit(a.Plan, k.Environment) {
			return &EscalationError{Field: "rateLimit"}
		}
		k.RateLimit, k.LimitNamed = *named, true
	}
	return nil
}
