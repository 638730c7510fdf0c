// Package simulate says what would become of a request with a key: the status, the rule
// that decides, and what a cached policy says of it. It needs no secret, makes no request
// and counts nothing.
//
// The model is a request's way, and each step of it is the code that decides real ones:
//
//	gateway      route.Table.Match       no such route: 404; a public one: nobody asks further
//	authorizer   keys.Identify           the key is not good there and then: 401
//	policy       policy.Policies, .Parse the document that the authorizer writes: 403
//	guard        guard.Rehearse          403, 429, or on to the handler: 200
//
// So there is no rule here, only their order, which is also fixed: a test compares the
// answers with those of 10,000 real requests.
//
// What is judged is the key as it is now, with its present secret, at the time asked for;
// its limits as of now, since nobody knows what it will have used by then. That a handler
// then refuses what it is asked is not part of it.
package simulate

import (
	"context"
	"errors"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/guard"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/logline"
	"github.com/keyreeve/keyreeve/pkg/policy"
	"github.com/keyreeve/keyreeve/pkg/route"
)

// Keys finds a key that a caller may see: *keys.Service.
type Keys interface {
	Find(ctx context.Context, c keys.Caller, r keys.Ref) (keys.Key, error)
}

// Meters reads a key's meter with strong consistency; found is false if there is none.
type Meters interface {
	Meter(ctx context.Context, id apikey.ID) (m guard.Meter, found bool, err error)
}

// Config is what a Simulator works with. The first three fields are needed.
type Config struct {
	Keys   Keys
	Meters Meters
	Table  *route.Table
	Region string           // of the API, which is part of what a policy names; default us-east-1
	Clock  func() time.Time // default time.Now
}

// Simulator answers simulations. It is safe for concurrent use.
type Simulator struct {
	cfg      Config
	policies *policy.Policies
}

// New returns a Simulator. The error is the authorizer's for such a table.
func New(c Config) (*Simulator, error) {
	if c.Region == "" {
		c.Region = "us-east-1"
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	p, err := policy.New(c.Table)
	if err != nil {
		return nil, err
	}
	return &Simulator{cfg: c, policies: p}, nil
}

// Request is the request in question.
type Request struct {
	Method      string           // what API Gateway takes for it; OPTIONS needs no key
	Path        string           // as a client sends it: escaped, without the stage and the query
	SourceIP    string           // as API Gateway sees it
	At          time.Time        // zero: now
	Environment keys.Environment // that it is sent to; empty: the key's own
}

// MaxPathLen is the longest path that can be asked about, in characters. API Gateway
// refuses the longer ones before an authorizer (its limit is 1,600 for a method's ARN).
const MaxPathLen = 1400

// By is who decides about a request, in the order of its way.
type By string

// The deciders.
const (
	ByGateway    By = "gateway"
	ByAuthorizer By = "authorizer"
	ByPolicy     By = "policy"
	ByGuard      By = "guard"
)

// Reasons beside those of packages keys and logline.
const (
	ReasonOK      = "ok"
	ReasonNoRoute = "no_route"
	// ReasonPolicy is a refusal by the policy alone, where no rule says no: of an unguarded
	// route, in the second in which the key expires, or for which the policy had no room.
	ReasonPolicy = "denied_by_policy"
)

// Rule is what of the key or the table decides, by the name of its field.
type Rule string

// The rules.
const (
	RuleRoute       Rule = "route"
	RuleDeleted     Rule = "deleted"
	RuleCanary      Rule = "canary"
	RuleActive      Rule = "isActive"
	RuleExpiry      Rule = "expirationTs"
	RuleStart       Rule = "notBefore"
	RuleEnvironment Rule = "environment"
	RuleNetworks    Rule = "networks"
	RulePermissions Rule = "permissions"
	RuleCustomers   Rule = "customers"
	RuleLimit       Rule = "rateLimit"
	RuleLimits      Rule = "limits" // of an hour or a day
	RuleQuota       Rule = "quota"
	RulePolicy      Rule = "policy"
)

// Rules lists them all, in the order of a request's way.
func Rules() []Rule {
	return []Rule{
		RuleRoute, RuleDeleted, RuleCanary, RuleActive, RuleExpiry, RuleStart, RuleEnvironment,
		RuleNetworks, RulePermissions, RuleCustomers, RulePolicy, RuleLimit, RuleLimits, RuleQuota,
	}
}

// Verdict is what would become of the request.
type Verdict struct {
	Status int    // 200: it reaches its handler; 401, 403, 404 or 429
	Reason string // ReasonOK, or why not: a keys.Reason, one of package logline, or one of the above
	Rule   Rule   // that decides
	By     By     // who decides

	Request Request      // with what was left out filled in
	Route   *route.Route // nil: there is none
	Policy  *Policy      // nil: nobody asks one, or there never was one
	Guard   *Guard       // nil: the route has none, or the authorizer refuses before
}

// Allowed reports whether the request reaches its handler.
func (v *Verdict) Allowed() bool { return v.Reason == ReasonOK }

// Policy is what a policy for this key says of the request.
type Policy struct {
	Effect    string // Allow, Deny, or empty: no statement applies, which denies too
	Statement int    // that decides, from 0; -1: none
	Resource  string // of it that matches, less its beginning, which names the stage; empty: none
	// Written says that the authorizer writes it for this request. It does not for a key
	// that it refuses; a cache may hold such a policy from when the key was good.
	Written bool
}

// Guard is what the guard says.
type Guard struct {
	Reason     string        // as Verdict.Reason
	Window     string        // of a refusal for a limit: keys.WindowMinute and so on
	Limit      int           // of that window, else of the minute
	Remaining  int           // how many more requests that limit lets pass now
	RetryAfter time.Duration // of a refusal for a limit; else 0
}

// Simulate answers for a key that the caller may see. Errors: *keys.ValidationError for a
// request that cannot be, and those of Keys and Meters.
func (s *Simulator) Simulate(ctx context.Context, c keys.Caller, ref keys.Ref, r Request) (Verdict, error) {
	now := s.cfg.Clock().UTC().Truncate(time.Millisecond)
	path, err := r.check()
	if err != nil {
		return Verdict{}, err
	}
	k, err := s.cfg.Keys.Find(ctx, c, ref)
	if err != nil {
		return Verdict{}, err
	}
	if k.Parent != "" { // nobody plans the requests of a session
		return Verdict{}, keys.ErrNotFound
	}
	if r.At.IsZero() {
		r.At = now
	}
	if r.Environment == "" {
		r.Environment = k.Environment
	}
	v := Verdict{Request: r}

	rt, params, found := s.cfg.Table.Match(r.Method, path)
	if found != route.Matched {
		return v.decide(404, ByGateway, ReasonNoRoute), nil
	}
	v.Route = &rt
	if rt.Public {
		return v.decide(200, ByGateway, ReasonOK), nil
	}
	who, reason := keys.Identify(&k, k.Generation, string(r.Environment), r.At)
	if err := s.ask(&v, &k, who, reason, path); err != nil {
		return Verdict{}, err
	}
	if reason != keys.OK {
		return v.decide(401, ByAuthorizer, string(reason)), nil
	}
	call := guard.Call{Route: rt, Stage: string(r.Environment), Params: params, SourceIP: r.SourceIP, Identity: who}
	var meter guard.Meter
	if !rt.Unguarded {
		if meter, _, err = s.cfg.Meters.Meter(ctx, k.ID); err != nil {
			return Verdict{}, err
		}
	}
	pass, err := guard.Rehearse(call, meter, r.At, now)
	status, g, err := outcome(&pass, err)
	if err != nil {
		return Verdict{}, err
	}
	if !rt.Unguarded {
		v.Guard = &g
	}
	switch {
	case v.Policy.Effect != "Allow" && (g.Reason == ReasonOK || status == 429):
		return v.decide(403, ByPolicy, ReasonPolicy), nil
	case v.Policy.Effect != "Allow": // the same rules made it
		return v.decide(403, ByPolicy, g.Reason), nil
	case rt.Unguarded:
		return v.decide(200, ByPolicy, ReasonOK), nil
	}
	return v.decide(status, ByGuard, g.Reason), nil
}

// check says whether there can be such a request, and gives its path as API Gateway takes
// it. Errors name fields and never what they hold.
func (r *Request) check() (path string, err error) {
	var e keys.ValidationError
	add := func(field, message string) {
		e.Fields = append(e.Fields, keys.FieldError{Field: field, Message: message})
	}
	if !slices.Contains(route.Methods(), r.Method) {
		add("method", "must be one of "+strings.Join(route.Methods(), ", "))
	}
	u, urlErr := url.ParseRequestURI(r.Path)
	if urlErr != nil || !strings.HasPrefix(r.Path, "/") || len(r.Path) > MaxPathLen || strings.ContainsAny(r.Path, "?#") {
		add("path", "must be an escaped path that starts with /, without query string, of at most "+strconv.Itoa(MaxPathLen)+" characters")
	} else {
		path = route.Sent(u.EscapedPath())
	}
	if addr, err := netip.ParseAddr(r.SourceIP); err != nil || addr.Zone() != "" {
		add("sourceIp", "must be an IP address")
	}
	if r.Environment != "" && !r.Environment.Valid() {
		add("environment", "must be production, staging or development")
	}
	if e.Fields != nil {
		return "", &e
	}
	return path, nil
}

// ask has the policy of the key decide. A key that is refused has none, but one that
// worked before may be in a cache still, with what it said then.
func (s *Simulator) ask(v *Verdict, k *keys.Key, who keys.Identity, reason keys.Reason, path string) error {
	written := reason == keys.OK
	if !written {
		was, at := *k, v.Request.At
		was.Active, was.Deleted = true, false
		if was.ExpiredAt(at) {
			at = was.ExpiresAt.Add(-1)
		}
		if was.EarlyAt(at) {
			at = was.NotBefore
		}
		if who, reason = keys.Identify(&was, k.Generation, string(v.Request.Environment), at); reason != keys.OK {
			return nil
		}
	}
	// As long as the real one, whose API and account are not known here: it depends on that
	// what there is room for.
	base := "arn:aws:execute-api:" + s.cfg.Region + ":000000000000:simulation/" + string(v.Request.Environment) + "/"
	text, _, err := s.policies.AppendDocument(nil, who, base)
	if err != nil {
		return err
	}
	doc, err := policy.Parse(text)
	if err != nil {
		return err
	}
	d, err := doc.Evaluate("execute-api:Invoke", base+v.Request.Method+path, map[string]string{
		policy.CurrentTime: v.Request.At.UTC().Format(time.RFC3339), policy.SourceIP: v.Request.SourceIP,
	})
	if err != nil {
		return err
	}
	v.Policy = &Policy{Effect: d.Effect, Statement: d.Statement, Resource: strings.TrimPrefix(d.Resource, base), Written: written}
	return nil
}

// outcome is what the guard has concluded. The error is the given one if that is nothing.
func outcome(pass *guard.Pass, err error) (status int, g Guard, _ error) {
	var (
		unauthorized *guard.UnauthorizedError
		scope        *guard.ScopeError
		limit        *guard.LimitError
	)
	g = Guard{Reason: guard.Reason(err)}
	switch {
	case err == nil:
		return 200, Guard{Reason: ReasonOK, Limit: pass.Limit, Remaining: pass.Remaining}, nil
	case errors.As(err, &unauthorized):
		return 401, g, nil
	case errors.As(err, &scope):
		return 403, g, nil
	case errors.As(err, &limit):
		g.Window, g.Limit, g.RetryAfter = limit.Window, limit.Limit, limit.RetryAfter
		return 429, g, nil
	}
	return 0, Guard{}, err
}

// decide is the verdict, with the rule that its reason is about.
func (v *Verdict) decide(status int, by By, reason string) Verdict {
	v.Status, v.By, v.Reason = status, by, reason
	switch reason {
	case ReasonOK:
		if v.Rule = RuleRoute; v.Route.Permission != "" {
			v.Rule = RulePermissions
		}
	case logline.ReasonLimit:
		switch v.Guard.Window {
		case keys.WindowHour, keys.WindowDay:
			v.Rule = RuleLimits
		case keys.WindowMonth:
			v.Rule = RuleQuota
		default:
			v.Rule = RuleLimit
		}
	default:
		v.Rule = rules[reason]
	}
	return *v
}

var rules = map[string]Rule{
	ReasonNoRoute: RuleRoute, ReasonPolicy: RulePolicy,
	string(keys.ReasonDeleted): RuleDeleted, string(keys.ReasonCanary): RuleCanary, string(keys.ReasonInactive): RuleActive,
	string(keys.ReasonExpired): RuleExpiry, string(keys.ReasonNotYet): RuleStart, string(keys.ReasonEnvironment): RuleEnvironment,
	logline.ReasonNetwork: RuleNetworks, logline.ReasonPermission: RulePermissions, logline.ReasonCustomer: RuleCustomers,
}
