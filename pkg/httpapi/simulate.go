package httpapi

import (
	"net/http"
	"time"

	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/route"
	"github.com/keyreeve/keyreeve/pkg/simulate"
)

// simulateRequest is the request in question.
type simulateRequest struct {
	Method      string            `json:"method" enum:"GET,HEAD,POST,PUT,PATCH,DELETE"`
	Path        string            `json:"path" minLength:"1" maxLength:"1400" pattern:"^/[^?#]*$" example:"/v1/customers/cus_1" doc:"As a client sends it, with its escapes, without stage and query string."`
	SourceIP    *string           `json:"sourceIp,omitempty" maxLength:"45" example:"203.0.113.7" doc:"The address that the request comes from. Default: the one that this question comes from."`
	At          optional[instant] `json:"at,omitempty" doc:"When it comes. It is judged by the key as it is now, and by its limits as of now. Default, or null: now."`
	Environment *string           `json:"environment,omitempty" enum:"production,staging,development" doc:"Where it is sent to. Default: the key's own."`
}

// simulationView is what would become of it.
type simulationView struct {
	Allowed   bool       `json:"allowed" doc:"It reaches what serves the route."`
	Status    int        `json:"status" enum:"200,401,403,404,429" minimum:"200" maximum:"429" doc:"200: allowed; what serves the route answers as it sees fit. Any other: the answer's status."`
	Reason    string     `json:"reason" enum:"ok,no_route,revoked,canary,inactive,expired,not_yet_valid,wrong_environment,other_network,missing_permission,other_customer,denied_by_policy,rate_limited" doc:"denied_by_policy: of an unguarded route, in the second in which the key expires, or for which its policy has no room."`
	Rule      string     `json:"rule" enum:"route,deleted,canary,isActive,expirationTs,notBefore,environment,networks,permissions,customers,policy,rateLimit,limits,quota" doc:"What decides: a field of the key, the route, or the policy."`
	DecidedBy string     `json:"decidedBy" enum:"gateway,authorizer,policy,guard" doc:"Who decides, on a request's way from the first to the last."`
	Route     *ruleView  `json:"route,omitempty" doc:"Absent: there is none."`
	Guarded   bool       `json:"guarded" doc:"The route has a guard, which knows at once of every change; of any other route a cached policy decides until it is flushed."`
	Policy    *policySay `json:"policy,omitempty" doc:"What a policy for this key says of the request; absent: nobody asks one."`
	Guard     *guardSays `json:"guard,omitempty" doc:"What the guard says; absent: the route has none, or the authorizer refuses before."`

	Permission  *string `json:"permission" nullable:"true" doc:"What the route asks for; null: nothing, or there is no route."`
	Environment string  `json:"environment" enum:"production,staging,development"`
	At          instant `json:"at"`
}

type policySay struct {
	Effect    string  `json:"effect" enum:"allow,deny,implicit_deny" doc:"implicit_deny: no statement applies."`
	Statement *int    `json:"statement" nullable:"true" minimum:"0" maximum:"1000" doc:"Which one decides, from 0; null: none applies."`
	Resource  *string `json:"resource" nullable:"true" example:"GET/v1/customers/?*" doc:"What matches in it, after the stage."`
	Written   bool    `json:"written" doc:"false: the authorizer refuses the key and writes no policy, but one from when the key was good may still be in a cache, with this effect."`
}

type guardSays struct {
	Verdict           string `json:"verdict" enum:"ok,other_network,missing_permission,other_customer,rate_limited"`
	Limit             int    `json:"limit" minimum:"0" maximum:"1000000000" doc:"Of the window that refuses, otherwise requests in any 60 seconds; 0: it came to no limit."`
	Remaining         int    `json:"remaining" minimum:"0" maximum:"1000000000" doc:"Requests of that limit that are left now."`
	RetryAfterSeconds count  `json:"retryAfterSeconds" doc:"Until a refused request could pass; 0: it is not refused for a limit."`
}

// simulate answers without a secret and without counting anything.
func (a *api) simulate(c *call) (reply, error) {
	ref, err := c.ref()
	if err != nil {
		return reply{}, err
	}
	var body simulateRequest
	if _, err := c.readBody(&body); err != nil {
		return reply{}, err
	}
	r := simulate.Request{Method: body.Method, Path: body.Path, SourceIP: c.RemoteAddr}
	if body.SourceIP != nil {
		r.SourceIP = *body.SourceIP
	}
	if body.Environment != nil {
		if r.Environment = keys.Environment(*body.Environment); r.Environment == "" {
			return reply{}, Invalid(FieldProblem{"environment", "must be production, staging or development"})
		}
	}
	if body.At.value != nil {
		r.At = time.Time(*body.At.value)
	}
	v, err := a.cfg.Simulator.Simulate(c.Context(), c.caller, ref, r)
	if err != nil {
		return reply{}, err
	}
	out := simulationView{
		Allowed: v.Allowed(), Status: v.Status, Reason: v.Reason, Rule: string(v.Rule), DecidedBy: string(v.By),
		Environment: string(v.Request.Environment), At: instant(v.Request.At),
	}
	if rt := v.Route; rt != nil {
		out.Route = &ruleView{Method: rt.Method, Path: rt.Path, Credential: credentialName(*rt)}
		out.Guarded = !rt.Public && !rt.Unguarded
		out.Permission = permissionOf(rt)
	}
	if p := v.Policy; p != nil {
		out.Policy = &policySay{Effect: "implicit_deny", Written: p.Written}
		if p.Effect != "" {
			out.Policy.Effect = map[string]string{"Allow": "allow", "Deny": "deny"}[p.Effect]
			out.Policy.Statement, out.Policy.Resource = &p.Statement, &p.Resource
		}
	}
	if g := v.Guard; g != nil {
		out.Guard = &guardSays{Verdict: g.Reason, Limit: g.Limit, Remaining: g.Remaining, RetryAfterSeconds: count((g.RetryAfter + time.Second - 1) / time.Second)}
	}
	return ok(http.StatusOK, out, nil, nil), nil
}

func permissionOf(rt *route.Route) *string {
	if rt.Permission == "" {
		return nil
	}
	return &rt.Permission
}
