package httpapi

import (
	"net/http"

	"github.com/keyreeve/keyreeve/pkg/keys"
)

// ownAccountView is the caller's account, and what of it the caller may choose from.
type ownAccountView struct {
	AccountID    string             `json:"accountId" pattern:"^[A-Za-z0-9_-]{1,64}$" example:"acme"`
	Name         string             `json:"name"`
	Plan         string             `json:"plan" example:"pro"`
	KeyCount     count              `json:"keyCount" doc:"Keys that are not deleted, of every environment. Those that were may be among them until keyLimit is met."`
	KeyLimit     count              `json:"keyLimit" doc:"How many the plan allows."`
	Environments []keys.Environment `json:"environments" enum:"production,staging,development" doc:"Those whose keys the caller sees."`
	Plans        []planView         `json:"plans" doc:"Plans that keys of this account can be on, the lowest first."`
	DefaultPlan  string             `json:"defaultPlan" doc:"Plan of a key that is created without one." example:"free"`
	CacheSeconds count              `json:"cacheSeconds" doc:"How long a policy may be kept: until then an unguarded route may not know of a change."`
}

type planView struct {
	Name                 string `json:"name" example:"free"`
	RateLimit            count  `json:"rateLimit" doc:"Requests in any 60 seconds of a key on this plan that names no limit; of a development key, developmentRateLimit."`
	DevelopmentRateLimit count  `json:"developmentRateLimit"`
	Keys                 count  `json:"keys" doc:"How many keys an account on this plan may have."`
}

func (a *api) account(c *call) (reply, error) {
	of, err := a.cfg.Service.AccountOf(c.Context(), c.caller)
	if err != nil {
		return reply{}, err
	}
	v := ownAccountView{
		AccountID: of.ID, Name: of.Name, Plan: of.Plan, KeyCount: count(of.Keys), KeyLimit: count(of.KeyLimit), Environments: of.Environments,
		DefaultPlan: of.DefaultPlan, CacheSeconds: count(*a.cfg.Settings.AuthorizerCacheSeconds),
	}
	for _, p := range of.Plans {
		v.Plans = append(v.Plans, planView{p.Name, count(p.RateLimit), count(p.DevelopmentRateLimit), count(p.Keys)})
	}
	return ok(http.StatusOK, v, nil, nil), nil
}

// customerView is a customer that keys are confined to.
type customerView struct {
	CustomerID string `json:"customerId" pattern:"^[A-Za-z0-9_-]{1,64}$" example:"cus_1"`
	Keys       count  `json:"keys" doc:"How many keys are confined to it, perhaps with others."`
}

func (a *api) customers(c *call) (reply, error) {
	list, err := a.cfg.Service.CustomersInUse(c.Context(), c.caller, c.query.Get("search"), c.number("limit"))
	if err != nil {
		return reply{}, err
	}
	data := make([]customerView, len(list))
	for i, u := range list {
		data[i] = customerView{u.CustomerID, count(u.Keys)}
	}
	return ok(http.StatusOK, data, nil, nil), nil
}

// routeView is a row of the route table, for whoever wants to show what a key may call.
type routeView struct {
	Method     string  `json:"method" example:"GET"`
	Path       string  `json:"path" example:"/v1/customers/{customerId}"`
	Permission *string `json:"permission" nullable:"true" doc:"What the route asks for; null: any live key may." example:"customers:read"`
	Credential string  `json:"credential" enum:"X-API-Key,Authorization,none" doc:"Header that carries the key on this route."`
	Customer   *string `json:"customer" nullable:"true" doc:"The path parameter that names a customer; null: none does." example:"customerId"`
	Guarded    bool    `json:"guarded" doc:"The route has a guard, which knows at once of every change of a key."`
	Public     bool    `json:"public" doc:"It asks for no key."`
}

func (a *api) routes(*call) (reply, error) {
	table := a.cfg.Table.Routes()
	rows := make([]routeView, len(table))
	for i := range table {
		rt := &table[i]
		rows[i] = routeView{
			Method: rt.Method, Path: rt.Path, Permission: known(rt.Permission), Credential: credentialName(*rt), Customer: known(rt.Customer),
			Guarded: !rt.Public && !rt.Unguarded, Public: rt.Public,
		}
	}
	return ok(http.StatusOK, rows, catalogueMeta{Total: len(rows)}, nil), nil
}
