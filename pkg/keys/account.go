package keys

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/order"
)

// AccountView is the caller's account with what its plan gives.
type AccountView struct {
	Account
	Keys         int           // that are not deleted, of every environment; sessions are none. Below KeyLimit perhaps more than there are: see Account.KeyCount
	KeyLimit     int           // how many it may have
	Environments []Environment // those that the caller sees
	Plans        []PlanView    // that its keys can have, from the lowest up to the account's own
	DefaultPlan  string        // of a key that is made without one
}

// PlanView is one plan.
type PlanView struct {
	Name                 string
	RateLimit            int // requests in any 60 seconds of a key on it
	DevelopmentRateLimit int // of a development key
	Keys                 int // of an account on it
}

// AccountOf describes the caller's account.
func (s *Service) AccountOf(ctx context.Context, c Caller) (AccountView, error) {
	if err := c.liveAt(s.now()); err != nil {
		return AccountView{}, err
	}
	if err := c.may(permissionRead); err != nil {
		return AccountView{}, err
	}
	account, plan, err := s.account(ctx, c.AccountID)
	if err != nil {
		return AccountView{}, err
	}
	// Counting is reading the account's whole list, so it is done where it matters.
	n := account.KeyCount
	if n >= int64(plan.Keys) {
		if n, err = s.countKeys(ctx, c.AccountID); err != nil {
			return AccountView{}, err
		}
	}
	v := AccountView{Account: account, Keys: int(n), KeyLimit: plan.Keys, Environments: c.Environments(), DefaultPlan: s.defaultPlan(&account)}
	for name, p := range s.cfg.Settings.Plans {
		if p.RateLimit <= plan.RateLimit {
			v.Plans = append(v.Plans, PlanView{
				Name: name, RateLimit: s.planLimit(name, Production), DevelopmentRateLimit: s.planLimit(name, Development), Keys: p.Keys,
			})
		}
	}
	order.By(v.Plans, func(a, b PlanView) int {
		return cmp.Or(a.RateLimit-b.RateLimit, strings.Compare(a.Name, b.Name))
	})
	return v, nil
}

// defaultCustomers is how many customers are listed where a request names no limit.
const defaultCustomers = 100

// CustomerUse says how many keys are confined to a customer, be it among others.
type CustomerUse struct {
	CustomerID string
	Keys       int
}

// CustomersInUse lists the customers that keys of the caller's sight are confined to, in
// order of their ids, at most limit of them (1–1000; 0: 100): those whose id has search in
// it, in any case. Deleted keys are not among the keys.
func (s *Service) CustomersInUse(ctx context.Context, c Caller, search string, limit int) ([]CustomerUse, error) {
	var f faults
	if len(search) > MaxIDLen {
		f.add("search", fmt.Sprintf("must be at most %d characters", MaxIDLen))
	}
	if limit < 0 || limit > maxPage {
		f.add("limit", fmt.Sprintf("must be 1 to %d", maxPage))
	}
	if err := f.err(); err != nil {
		return nil, err
	}
	if limit == 0 {
		limit = defaultCustomers
	}
	list, err := s.Visible(ctx, c)
	if err != nil {
		return nil, err
	}
	search = fold(search)
	n := map[string]int{}
	for _, k := range list {
		if k.Deleted {
			continue
		}
		for _, id := range k.Customers {
			if strings.Contains(fold(id), search) {
				n[id]++
			}
		}
	}
	var out []CustomerUse
	for _, id := range slices.Sorted(maps.Keys(n)) {
		if len(out) == limit {
			break
		}
		out = append(out, CustomerUse{CustomerID: id, Keys: n[id]})
	}
	return out, nil
}

// Names gives the names of keys as they are now, of deleted ones too, by their ids; a
// session has its parent's, with " (session)" behind it. What the caller does not see, or is
// not there any more, has none. The caller must hold PermissionRead.
func (s *Service) Names(ctx context.Context, c Caller, ids []apikey.ID) (map[apikey.ID]string, error) {
	found, err := s.some(ctx, &c, ids)
	if err != nil {
		return nil, err
	}
	var parents []apikey.ID
	for _, k := range found {
		if k.Parent != "" {
			parents = append(parents, k.Parent)
		}
	}
	of, err := s.some(ctx, &c, parents)
	if err != nil {
		return nil, err
	}
	names := make(map[apikey.ID]string, len(found))
	for id, k := range found {
		if names[id] = k.Name; k.Parent != "" {
			if parent, ok := of[k.Parent]; ok {
				names[id] = parent.Name
			}
			names[id] += SessionSuffix
		}
	}
	return names, nil
}

// Some is Visible of the keys that ids name alone, read one by one: those that the caller
// sees, deleted ones included and sessions not, in order of Number.
func (s *Service) Some(ctx context.Context, c Caller, ids []apikey.ID) ([]Key, error) {
	found, err := s.some(ctx, &c, ids)
	if err != nil {
		return nil, err
	}
	var list []Key
	for _, k := range found {
		if k.Parent == "" {
			list = append(list, k)
		}
	}
	order.By(list, func(a, b Key) int { return cmp.Compare(a.Number, b.Number) })
	return list, nil
}

// some reads the keys among ids that the caller sees.
func (s *Service) some(ctx context.Context, c *Caller, ids []apikey.ID) (map[apikey.ID]Key, error) {
	if err := c.liveAt(s.now()); err != nil {
		return nil, err
	}
	if err := c.may(permissionRead); err != nil {
		return nil, err
	}
	var valid []apikey.ID // what is none costs no read
	for _, id := range ids {
		if _, err := apikey.ParseID(string(id)); err == nil {
			valid = append(valid, id)
		}
	}
	if len(valid) == 0 {
		return nil, nil
	}
	found, err := s.cfg.Store.KeysByID(ctx, valid)
	if err != nil {
		return nil, err
	}
	maps.DeleteFunc(found, func(_ apikey.ID, k Key) bool { return !c.sees(&k) })
	return found, nil
}
