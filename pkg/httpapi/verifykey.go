package httpapi

import (
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/logline"
	"github.com/keyreeve/keyreeve/pkg/route"
)

// verifyKey is the question: is this key good for this method and path, there?
type verifyKey struct {
	APIKey      string  `json:"apiKey" minLength:"1" maxLength:"1000" writeOnly:"true" doc:"The key in question, without an authentication scheme."`
	Method      string  `json:"method" enum:"GET,HEAD,POST,PUT,PATCH,DELETE"`
	Path        string  `json:"path" minLength:"1" maxLength:"2000" pattern:"^/[^?#]*$" example:"/v1/customers/cus_1" doc:"As in a request, without stage and query string."`
	Environment *string `json:"environment,omitempty" enum:"production,staging,development" doc:"Default: the caller's own."`
	SourceIP    *string `json:"sourceIp,omitempty" maxLength:"45" example:"203.0.113.7" doc:"The address that presents the key. Without it the key's networks are not judged."`
}

// The verdict's codes besides those of keys.Reason.
const (
	codeOK            = "ok"
	codeNoRoute       = "no_route"
	codeScope         = "insufficient_scope"
	codeCustomerScope = "customer_scope"
	codeNetworkScope  = "network_scope"
	codeSessionScope  = "session_scope"
)

type verdictView struct {
	Valid      bool      `json:"valid"`
	Code       string    `json:"code" enum:"ok,no_route,insufficient_scope,customer_scope,network_scope,session_scope,malformed,unknown_key,wrong_secret,inactive,expired,not_yet_valid,wrong_environment,canary,session_ended"`
	KeyID      *string   `json:"keyId" nullable:"true" doc:"null: unknown, or not the caller's to see."`
	Rule       *ruleView `json:"rule,omitempty" doc:"The route that decides; absent: there is none."`
	Permission *string   `json:"permission" nullable:"true" doc:"What the route asks for; null: nothing, or there is no route."`
	GrantedBy  *string   `json:"grantedBy" nullable:"true" doc:"The permission of the key that grants it; null: none does or none is needed."`
}

type ruleView struct {
	Method     string `json:"method"`
	Path       string `json:"path" example:"/v1/customers/{customerId}"`
	Credential string `json:"credential" enum:"X-API-Key,Authorization,none" doc:"Header that carries the key on this route."`
}

func (b *verifyKey) check() error {
	var bad []FieldProblem
	need := func(ok bool, field, message string) {
		if !ok {
			bad = append(bad, FieldProblem{field, message})
		}
	}
	need(b.APIKey != "" && len(b.APIKey) <= 1000, "apiKey", "must be 1 to 1000 characters")
	need(slices.Contains(route.Methods(), b.Method), "method", "must be GET, HEAD, POST, PUT, PATCH or DELETE")
	need(strings.HasPrefix(b.Path, "/") && len(b.Path) <= 2000 && !strings.ContainsAny(b.Path, "?#"), "path",
		"must be a path that starts with /, without query string, of at most 2000 characters")
	if b.SourceIP != nil {
		addr, err := netip.ParseAddr(*b.SourceIP)
		need(err == nil && addr.Zone() == "", "sourceIp", "must be an IP address")
	}
	need(b.Environment == nil || keys.Environment(*b.Environment).Valid(), "environment", "must be production, staging or development")
	if bad != nil {
		return Invalid(bad...)
	}
	return nil
}

// verify answers without counting anything. The key is named only if the caller could
// also read it, or see it in the list of sessions; a foreign one takes the same way as one that does not exist.
func (a *api) verify(c *call) (reply, error) {
	var body verifyKey
	if _, err := c.readBody(&body); err != nil {
		return reply{}, err
	}
	if err := body.check(); err != nil {
		return reply{}, err
	}
	stage := string(c.caller.Environment)
	if body.Environment != nil {
		stage = *body.Environment
	}
	verdict, err := a.cfg.Verifier.Verify(c.Context(), body.APIKey, stage)
	if err != nil {
		return reply{}, err
	}
	if verdict.Reason == keys.ReasonCanary {
		a.canaryPresented(c, verdict.KeyID)
	}
	var out verdictView
	rt, params, match := a.cfg.Table.Match(body.Method, body.Path)
	found := match == route.Matched
	if found {
		out.describe(rt)
	}
	known := false
	if verdict.KeyID != "" {
		known, err = a.cfg.Service.Knows(c.Context(), c.caller, verdict.KeyID)
	}
	switch {
	case err != nil:
		return reply{}, err
	case verdict.Reason == keys.ReasonMalformed:
		out.Code = string(keys.ReasonMalformed)
	case !known:
		out.Code = string(keys.ReasonUnknown)
	case verdict.Reason != keys.OK:
		out.Code = string(verdict.Reason)
	case !found:
		out.Code = codeNoRoute
	case body.SourceIP != nil && !rt.Public && !keys.InNetworks(verdict.Identity.Networks, *body.SourceIP):
		out.Code = codeNetworkScope
	default:
		out.decide(rt, params, &verdict.Identity)
	}
	if out.Code != string(keys.ReasonMalformed) && out.Code != string(keys.ReasonUnknown) {
		id := keyID(verdict.KeyID)
		out.KeyID = &id
	}
	return ok(http.StatusOK, out, nil, nil), nil
}

// canaryPresented tells of a canary key that came to a service which has its callers' keys
// verified here, so that it raises its alert there too. That holds for whoever asks: the
// alert is for the account that laid the key out, and the asker hears nothing of it.
//
// The line is as the authorizer's: the access log of this request has a key, the asker's,
// so it counts for the canary by itself. For the same reason it has an id of its own.
func (a *api) canaryPresented(c *call, id apikey.ID) {
	logline.Event{
		What: logline.Refused, By: logline.ByAuthorizer, RequestID: c.Header.Get(RequestIDHeader),
		ExtendedRequestID: "verify-" + string(apikey.NewID()+apikey.NewID()),
		Time:              c.now, KeyID: id, Reason: string(keys.ReasonCanary),
	}.Log(c.Context(), a.cfg.Log, slog.String("askedBy", string(c.caller.KeyID)))
}

func (v *verdictView) describe(rt route.Route) {
	v.Rule = &ruleView{Method: rt.Method, Path: rt.Path, Credential: credentialName(rt)}
	v.Permission = permissionOf(&rt)
}

func credentialName(rt route.Route) string {
	if rt.Public {
		return "none"
	}
	return string(rt.Credential)
}

// decide says what a live key may do on a route, by the same two questions as the guard.
// (The guard's third, of the network, comes before them.)
func (v *verdictView) decide(rt route.Route, params map[string]string, id *keys.Identity) {
	if id.Parent != "" && !rt.Management && !rt.Public {
		v.Code = codeSessionScope
		return
	}
	if rt.Permission != "" {
		i := slices.IndexFunc(id.Permissions, func(p string) bool { return keys.Holds([]string{p}, rt.Permission) })
		if i < 0 {
			v.Code = codeScope
			return
		}
		v.GrantedBy = &id.Permissions[i]
	}
	if rt.Customer != "" && !keys.CoversCustomers(id.Customers, []string{params[rt.Customer]}) {
		v.Code, v.GrantedBy = codeCustomerScope, nil
		return
	}
	v.Valid, v.Code = true, codeOK
}
