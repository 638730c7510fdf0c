package httpapi

import (
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

// idPrefix goes before a key's id on the canonical face: "key_8fQ2mZ0a".
const idPrefix = "key_"

func keyID(id apikey.ID) string { return idPrefix + string(id) }

// shownOnce goes with every answer that holds a new secret.
const shownOnce = "This API key will only be shown once. Please store it securely."

// keyView is a key as the canonical face shows it. The first eight fields are the ones
// that have always been documented.
type keyView struct {
	KeyID        string   `json:"keyId" pattern:"^key_[0-9A-Za-z]{8}$" example:"key_8fQ2mZ0a" doc:"Unique identifier of the key."`
	Name         string   `json:"name" minLength:"1" maxLength:"100" doc:"Human-readable name."`
	KeyPrefix    string   `json:"keyPrefix" example:"mk_a1b****" doc:"Masked prefix of the key."`
	Plan         string   `json:"plan" doc:"Plan that the rate limit comes from."`
	RateLimit    int      `json:"rateLimit" minimum:"1" maximum:"100000000" doc:"Requests allowed in any 60 seconds."`
	LastUsed     *instant `json:"lastUsed" nullable:"true" doc:"When the key was last used; null: never."`
	CreatedAt    instant  `json:"createdAt"`
	ExpirationTs *instant `json:"expirationTs" nullable:"true" doc:"When the key expires; null: never."`

	Number              int64    `json:"number" minimum:"1" maximum:"9007199254740991" doc:"The key's id on the account face."`
	Environment         string   `json:"environment" enum:"production,staging,development" doc:"The only environment that the key works in."`
	Status              string   `json:"status" enum:"active,inactive,expired,revoked" doc:"inactive: switched off for now. revoked: deleted for good."`
	Permissions         []string `json:"permissions" doc:"What the key may do, as resource:action."`
	PermissionLabels    []string `json:"permissionLabels" doc:"The same, in the same order, for people."`
	Customers           []string `json:"customers" doc:"Customers that the key is confined to; empty: every one."`
	Owner               string   `json:"owner" maxLength:"100" doc:"Who is responsible for the key."`
	IsActive            bool     `json:"isActive" doc:"The switch that revoke and activate turn."`
	IsPrimary           bool     `json:"isPrimary" doc:"Exactly one key of an account is primary."`
	Version             int64    `json:"version" minimum:"1" maximum:"9007199254740991" doc:"Goes up with every change; the ETag holds it."`
	RequestCount        int64    `json:"requestCount" minimum:"0" maximum:"9007199254740991" doc:"Requests that the key has made in all."`
	UpdatedAt           *instant `json:"updatedAt" nullable:"true"`
	RotatedAt           *instant `json:"rotatedAt" nullable:"true" doc:"When the key last got a new secret; null: never."`
	PreviousSecretUntil *instant `json:"previousSecretUntil" nullable:"true" doc:"Until when the secret before the last regenerate still works; null: it does not."`
	DeletedAt           *instant `json:"deletedAt" nullable:"true"`
	CreatedBy           *string  `json:"createdBy" nullable:"true" doc:"keyId of the key that created this one; null: an administrator."`
}

// issuedKeyView is a key just issued: the one time that its plaintext is shown.
type issuedKeyView struct {
	keyView
	APIKey string `json:"apiKey" maxLength:"128" doc:"The key itself. It is shown in this answer and never again."`
}

// TransformSchema adds what keyView has, whose fields huma does not see: it passes over
// an embedded type that is not exported.
func (issuedKeyView) TransformSchema(r huma.Registry, s *huma.Schema) *huma.Schema {
	key := r.SchemaFromRef(r.Schema(of[keyView](), true, "").Ref)
	maps.Copy(s.Properties, key.Properties)
	s.Required = append(slices.Clone(key.Required), s.Required...)
	return s
}

type listMeta struct {
	Total int    `json:"total" minimum:"0" maximum:"10000" doc:"Keys that match, on all pages."`
	Next  string `json:"next,omitempty" doc:"Cursor of the next page; absent on the last one."`
}

type issuedMeta struct {
	Warning string `json:"warning" example:"This API key will only be shown once. Please store it securely."`
}

type revokeMeta struct {
	Descendants int `json:"descendants" minimum:"0" maximum:"10000" doc:"How many keys that this one created, directly or not, were switched off with it."`
}

type deletedView struct {
	KeyID   string `json:"keyId" pattern:"^key_[0-9A-Za-z]{8}$" example:"key_8fQ2mZ0a"`
	Revoked bool   `json:"revoked" enum:"true"`
}

// createKey is the body of a create.
type createKey struct {
	Name           string            `json:"name" minLength:"1" maxLength:"100" pattern:"^[^\\x00-\\x1f\\x7f-\\x9f]*[^\\x00-\\x20\\x7f-\\xa0][^\\x00-\\x1f\\x7f-\\x9f]*$" doc:"Descriptive name, 1 to 100 characters, not blank." example:"Production API"`
	Environment    *string           `json:"environment,omitempty" enum:"production,staging,development" doc:"Default: the caller's own."`
	Permissions    *[]string         `json:"permissions,omitempty" maxItems:"50" doc:"Default: what the caller holds, less api_keys:…"`
	Customers      *[]string         `json:"customers,omitempty" maxItems:"100" doc:"Customers that the key is confined to. Default: the caller's."`
	Owner          *string           `json:"owner,omitempty" maxLength:"100" pattern:"^[^\\x00-\\x1f\\x7f-\\x9f]*$" doc:"Who is responsible for the key."`
	Plan           *string           `json:"plan,omitempty" doc:"At most the account's plan."`
	RateLimit      *integer          `json:"rateLimit,omitempty" minimum:"1" maximum:"100000000" doc:"Requests in any 60 seconds, up to the account's plan. Default: the plan's."`
	ExpirationDays optional[integer] `json:"expirationDays,omitempty" minimum:"1" maximum:"365" doc:"Days until the key expires. null: never. Not together with expirationTs." example:"365"`
	ExpirationTs   optional[instant] `json:"expirationTs,omitempty" doc:"When the key expires, 365 days from now at most. null: never."`
	IsActive       *bool             `json:"isActive,omitempty" doc:"Default: true."`
	IsPrimary      *bool             `json:"isPrimary,omitempty" doc:"true takes the mark from the present primary key."`
}

func (b *createKey) input() keys.CreateInput {
	in := keys.CreateInput{
		Name: b.Name, Permissions: b.Permissions, Plan: b.Plan, RateLimit: b.RateLimit.int(),
		ExpirationDays: b.ExpirationDays.value.int(), ExpiresAt: (*time.Time)(b.ExpirationTs.value),
		Active: b.IsActive, Primary: b.IsPrimary, Face: keys.Canonical,
	}
	if b.Environment != nil {
		e := keys.Environment(*b.Environment)
		in.Environment = &e
	}
	if b.Customers != nil {
		in.Customers = *b.Customers
	}
	if b.Owner != nil {
		in.Owner = *b.Owner
	}
	return in
}

// patchKey is the body of a change; fields that are left out stay as they are.
type patchKey struct {
	Name           *string           `json:"name,omitempty" minLength:"1" maxLength:"100" pattern:"^[^\\x00-\\x1f\\x7f-\\x9f]*[^\\x00-\\x20\\x7f-\\xa0][^\\x00-\\x1f\\x7f-\\x9f]*$"`
	Permissions    *[]string         `json:"permissions,omitempty" maxItems:"50"`
	Customers      *[]string         `json:"customers,omitempty" maxItems:"100" doc:"Empty: every customer."`
	Owner          *string           `json:"owner,omitempty" maxLength:"100" pattern:"^[^\\x00-\\x1f\\x7f-\\x9f]*$"`
	Plan           *string           `json:"plan,omitempty"`
	RateLimit      *integer          `json:"rateLimit,omitempty" minimum:"1" maximum:"100000000"`
	ExpirationDays optional[integer] `json:"expirationDays,omitempty" minimum:"1" maximum:"365" doc:"Days from now. null: never. Not together with expirationTs."`
	ExpirationTs   optional[instant] `json:"expirationTs,omitempty" doc:"When the key expires, 365 days from now at most. null: never."`
	IsActive       *bool             `json:"isActive,omitempty" doc:"false is revoke, true is activate."`
	IsPrimary      *bool             `json:"isPrimary,omitempty" doc:"true takes the mark from the present primary key."`
}

func (b *patchKey) patch() keys.Patch {
	p := keys.Patch{
		Name: b.Name, Permissions: b.Permissions, Customers: b.Customers, Owner: b.Owner, Plan: b.Plan,
		RateLimit: b.RateLimit.int(), ExpirationDays: b.ExpirationDays.value.int(),
		Active: b.IsActive, Primary: b.IsPrimary,
	}
	// Never is said by null under either name. Days and a time together stay two, for
	// the service to refuse.
	if b.ExpirationTs.set || b.ExpirationDays.set && b.ExpirationDays.value == nil {
		at := (*time.Time)(b.ExpirationTs.value)
		p.ExpiresAt = &at
	}
	return p
}

// regenerateKey is the body of a regenerate, which may be left out.
type regenerateKey struct {
	GraceSeconds integer `json:"graceSeconds,omitempty" minimum:"0" maximum:"86400" doc:"How long the old secret still works. Default: not at all."`
}

// noFields is the body of a request that takes none: blank, or an empty object.
type noFields struct{}

func (a *api) view(k *keys.Key, now time.Time) keyView {
	v := keyView{
		KeyID: keyID(k.ID), Name: k.Name, KeyPrefix: apikey.Mask(k.Secret.Prefix, k.ID), Plan: k.Plan, RateLimit: k.RateLimit,
		LastUsed: moment(k.LastUsed), CreatedAt: instant(k.CreatedAt), ExpirationTs: moment(k.ExpiresAt),
		Number: k.Number, Environment: string(k.Environment), Status: string(k.Status(now)),
		Permissions: k.Permissions, PermissionLabels: a.labels(k.Permissions), Customers: k.Customers, Owner: k.Owner,
		IsActive: k.Active, IsPrimary: k.Primary, Version: k.Version, RequestCount: k.Requests,
		UpdatedAt: moment(k.UpdatedAt), RotatedAt: moment(k.RotatedAt), DeletedAt: moment(k.DeletedAt),
	}
	if now.Before(k.Previous.Until) {
		v.PreviousSecretUntil = moment(k.Previous.Until)
	}
	if k.CreatedBy != "" {
		by := keyID(k.CreatedBy)
		v.CreatedBy = &by
	}
	return v
}

func (a *api) issued(status int, i *keys.Issued, now time.Time) reply {
	h := etag(&i.Key)
	if i.Replayed {
		h.Set("Idempotency-Replayed", "true")
	}
	return ok(status, issuedKeyView{a.view(&i.Key, now), i.Plaintext.Plaintext()}, issuedMeta{shownOnce}, h)
}

// ref reads {id} of the canonical face. What is no id names nothing.
func (c *call) ref() (keys.Ref, error) {
	text, found := strings.CutPrefix(c.id, idPrefix)
	id, err := apikey.ParseID(text)
	if !found || err != nil {
		return keys.Ref{}, keys.ErrNotFound
	}
	return keys.Ref{ID: id}, nil
}

// idempotency reads the Idempotency-Key header of a request to the route with its
// parameters filled in.
func (c *call) idempotency(route string, body []byte) (keys.Idempotency, error) {
	switch values := c.Header.Values("Idempotency-Key"); {
	case len(values) == 0:
		return keys.Idempotency{}, nil
	case len(values) > 1:
		return keys.Idempotency{}, Invalid(FieldProblem{"Idempotency-Key", "is given more than once"})
	case values[0] == "":
		return keys.Idempotency{}, Invalid(FieldProblem{"Idempotency-Key", "must be 1 to 255 visible ASCII characters"})
	default:
		return keys.Idempotency{Key: values[0], Route: c.Method + " " + route, Request: body}, nil
	}
}

func (a *api) listKeys(c *call) (reply, error) {
	limit, _ := strconv.Atoi(c.query.Get("limit"))                               // checked with the other parameters; absent: 0, all
	sort := strings.Replace(c.query.Get("sort"), "expirationTs", "expiresAt", 1) // the service's word for it
	page, err := a.cfg.Service.List(c.Context(), c.caller, keys.Query{
		Environment: keys.Environment(c.query.Get("environment")),
		Status:      keys.Status(c.query.Get("status")),
		Text:        c.query.Get("search"),
		Sort:        sort,
		Limit:       limit,
		Cursor:      c.query.Get("cursor"),
	})
	if err != nil {
		return reply{}, err
	}
	data := make([]keyView, len(page.Keys))
	for i := range page.Keys {
		data[i] = a.view(&page.Keys[i], c.now)
	}
	return ok(http.StatusOK, data, listMeta{Total: page.Total, Next: page.Next}, nil), nil
}

func (a *api) createKey(c *call) (reply, error) {
	var body createKey
	text, err := c.readBody(&body)
	if err != nil {
		return reply{}, err
	}
	idem, err := c.idempotency("/v1/api-keys", text)
	if err != nil {
		return reply{}, err
	}
	issued, err := a.cfg.Service.Create(c.Context(), c.caller, body.input(), idem)
	if err != nil {
		return reply{}, err
	}
	return a.issued(http.StatusCreated, &issued, c.now), nil
}

func (a *api) getKey(c *call) (reply, error) {
	ref, err := c.ref()
	if err != nil {
		return reply{}, err
	}
	k, err := a.cfg.Service.Get(c.Context(), c.caller, ref)
	return a.oneKey(c, &k, nil, err)
}

// oneKey answers with a key, or with the error of what gave it.
func (a *api) oneKey(c *call, k *keys.Key, meta any, err error) (reply, error) {
	if err != nil {
		return reply{}, err
	}
	return ok(http.StatusOK, a.view(k, c.now), meta, etag(k)), nil
}

func (a *api) updateKey(c *call) (reply, error) {
	ref, err := c.ref()
	if err != nil {
		return reply{}, err
	}
	var body patchKey
	if _, err := c.readBody(&body); err != nil {
		return reply{}, err
	}
	if body == (patchKey{}) {
		return reply{}, nothingToChange()
	}
	cond, err := c.conditions()
	if err != nil {
		return reply{}, err
	}
	k, err := a.cfg.Service.Update(c.Context(), c.caller, ref, body.patch(), cond)
	return a.oneKey(c, &k, nil, err)
}

func nothingToChange() Problem {
	return Problem{Status: http.StatusBadRequest, Code: "validation_failed", Message: "The body names nothing to change."}
}

func (a *api) deleteKey(c *call) (reply, error) {
	ref, err := c.ref()
	if err != nil {
		return reply{}, err
	}
	cond, err := c.conditions()
	if err != nil {
		return reply{}, err
	}
	k, err := a.cfg.Service.Delete(c.Context(), c.caller, ref, cond)
	if err != nil {
		return reply{}, err
	}
	return ok(http.StatusOK, deletedView{KeyID: keyID(k.ID), Revoked: true}, nil, nil), nil
}

func (a *api) revokeKey(c *call) (reply, error) {
	ref, cond, err := a.bodiless(c)
	if err != nil {
		return reply{}, err
	}
	descendants := c.flag("descendants")
	k, more, err := a.cfg.Service.Revoke(c.Context(), c.caller, ref, descendants, cond)
	var meta any
	if descendants {
		meta = revokeMeta{Descendants: more}
	}
	return a.oneKey(c, &k, meta, err)
}

func (a *api) activateKey(c *call) (reply, error) {
	ref, cond, err := a.bodiless(c)
	if err != nil {
		return reply{}, err
	}
	k, err := a.cfg.Service.Activate(c.Context(), c.caller, ref, cond)
	return a.oneKey(c, &k, nil, err)
}

// bodiless reads a request that names a key and has nothing in its body.
func (a *api) bodiless(c *call) (ref keys.Ref, cond keys.Conditions, err error) {
	if ref, err = c.ref(); err != nil {
		return
	}
	if _, err = c.readBody(&noFields{}); err != nil {
		return
	}
	cond, err = c.conditions()
	return
}

func (a *api) regenerateKey(c *call) (reply, error) {
	ref, err := c.ref()
	if err != nil {
		return reply{}, err
	}
	var body regenerateKey
	text, err := c.readBody(&body)
	if err != nil {
		return reply{}, err
	}
	// Seconds that a Duration cannot hold are far beyond what the service allows.
	grace := time.Duration(min(max(body.GraceSeconds, -1), 1<<31)) * time.Second
	cond, err := c.conditions()
	if err != nil {
		return reply{}, err
	}
	idem, err := c.idempotency("/v1/api-keys/"+keyID(ref.ID)+"/regenerate", text)
	if err != nil {
		return reply{}, err
	}
	issued, err := a.cfg.Service.Regenerate(c.Context(), c.caller, ref, grace, idem, cond)
	if err != nil {
		return reply{}, err
	}
	return a.issued(http.StatusOK, &issued, c.now), nil
}

var forceParameter = parameter{name: "force", boolean: true,
	text: "true: even if no other key could manage the account's keys afterwards."}

func canonicalOperations() []operation {
	environments := make([]string, 0, 3)
	for _, e := range keys.Environments() {
		environments = append(environments, string(e))
	}
	statuses := []string{string(keys.Active), string(keys.Inactive), string(keys.Expired), string(keys.Revoked)}
	var sorts []string
	for _, s := range []string{"number", "name", "createdAt", "expirationTs", "lastUsed", "environment", "status"} {
		sorts = append(sorts, s, "-"+s)
	}
	reading := []string{"not_found"}
	changing := []string{"not_found", "conflict", "outcome_unknown", "not_settled"}
	with := func(base []string, more ...string) []string { return append(slices.Clone(base), more...) }
	key := func(text string, meta reflect.Type) answerSchema {
		return answerSchema{text: text, data: of[keyView](), meta: meta}
	}
	issued := func(text string) answerSchema {
		return answerSchema{text: text, data: of[issuedKeyView](), meta: of[issuedMeta]()}
	}
	return []operation{
		{method: "GET", path: "/v1/api-keys", serve: (*api).listKeys, id: "listKeys", tag: "API keys",
			summary:     "List API keys",
			description: "Keys of the caller's account: a production key that holds api_keys:* sees every environment's, any other its own environment's. Deleted keys are listed only with status=revoked.",
			query: []parameter{
				{name: "environment", enum: environments, text: "Only keys of this environment."},
				{name: "status", enum: statuses, text: "Only keys of this status."},
				{name: "search", maxLength: 100, text: "Only keys with this text in name, owner, keyId or keyPrefix, in any letter case."},
				{name: "sort", enum: sorts, text: "Order; a minus in front turns it around. Default: number."},
				{name: "limit", minimum: 1, maximum: 1000, text: "Keys on one page. Default: one page with the first 1,000."},
				{name: "cursor", maxLength: 1000, text: "meta.next of the page before, with the same other parameters (limit may change)."},
			},
			status: http.StatusOK, answer: answerSchema{text: "The keys.", data: of[[]keyView](), meta: of[listMeta]()},
			problems: []string{"invalid_cursor"}},
		{method: "POST", path: "/v1/api-keys", serve: (*api).createKey, id: "createKey", tag: "API keys",
			summary: "Create an API key", description: "The answer holds the key itself, which is not kept and never shown again.",
			body: of[createKey](), bodyNeeded: true, idempotent: true,
			status: http.StatusCreated, etag: true, answer: issued("The key, with its plaintext."),
			problems: []string{"permission_escalation", "key_limit", "conflict", "outcome_unknown", "not_settled"}},
		{method: "GET", path: "/v1/api-keys/self", serve: (*api).self, id: "getSelf", tag: "API keys",
			summary: "Show the calling key", description: "What the holder of a key may know about it. Any live key may ask.",
			status: http.StatusOK, answer: answerSchema{text: "The calling key.", data: of[selfView]()}},
		{method: "POST", path: "/v1/api-keys/verify", serve: (*api).verify, id: "verifyKey", tag: "API keys",
			summary: "Check a key", description: "Is this key good for this method and path on this environment? Nothing is counted. A key that the caller may not see gives the same answer as one that does not exist.",
			body: of[verifyKey](), bodyNeeded: true,
			status: http.StatusOK, answer: answerSchema{text: "The verdict.", data: of[verdictView]()}},
		{method: "GET", path: "/v1/api-keys/{id}", serve: (*api).getKey, id: "getKey", tag: "API keys",
			summary: "Show an API key", status: http.StatusOK, etag: true, answer: key("The key.", nil), problems: reading},
		{method: "PATCH", path: "/v1/api-keys/{id}", serve: (*api).updateKey, id: "updateKey", tag: "API keys",
			summary: "Change an API key", body: of[patchKey](), bodyNeeded: true, ifMatch: true, query: []parameter{forceParameter},
			status: http.StatusOK, etag: true, answer: key("The key as it is now.", nil),
			problems: with(changing, "permission_escalation", "primary_key", "key_not_active", "last_manager", "precondition_failed")},
		{method: "DELETE", path: "/v1/api-keys/{id}", serve: (*api).deleteKey, id: "deleteKey", tag: "API keys",
			summary: "Delete an API key for good", description: "Its next request fails. It cannot be undone. The primary key cannot be deleted.",
			ifMatch: true, query: []parameter{forceParameter},
			status: http.StatusOK, answer: answerSchema{text: "The key is deleted.", data: of[deletedView]()},
			problems: with(changing, "primary_key", "last_manager", "precondition_failed")},
		{method: "POST", path: "/v1/api-keys/{id}/revoke", serve: (*api).revokeKey, id: "revokeKey", tag: "API keys",
			summary: "Switch an API key off for now", description: "Its next request fails until it is activated again.",
			body: of[noFields](), ifMatch: true,
			query:  []parameter{forceParameter, {name: "descendants", boolean: true, text: "true: also every key that this one created, and those created by them."}},
			status: http.StatusOK, etag: true, answer: key("The key, inactive. meta is there when descendants=true was asked.", of[revokeMeta]()),
			problems: with(changing, "last_manager", "precondition_failed")},
		{method: "POST", path: "/v1/api-keys/{id}/activate", serve: (*api).activateKey, id: "activateKey", tag: "API keys",
			summary: "Switch an API key on again", body: of[noFields](), ifMatch: true,
			status: http.StatusOK, etag: true, answer: key("The key, active unless it has expired.", nil),
			problems: with(changing, "permission_escalation", "precondition_failed")},
		{method: "POST", path: "/v1/api-keys/{id}/regenerate", serve: (*api).regenerateKey, id: "regenerateKey", tag: "API keys",
			summary: "Give an API key a new secret", description: "Same id, name, permissions and configuration. The old secret stops at once, or after graceSeconds, and never works longer than the key itself.",
			body: of[regenerateKey](), idempotent: true, ifMatch: true,
			status: http.StatusOK, etag: true, answer: issued("The key, with its new plaintext."),
			problems: with(changing, "permission_escalation", "precondition_failed")},
		{method: "GET", path: "/v1/permissions", serve: (*api).permissions, id: "listPermissions", tag: "API keys",
			summary: "List the permissions that a key can hold", description: "Any live key may ask.",
			status: http.StatusOK, answer: answerSchema{text: "The catalogue.", data: of[[]permissionView](), meta: of[catalogueMeta]()}},
	}
}
