package httpapi

import (
	"maps"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

// idPrefix goes before a key's id on the canonical face: "key_8fQ2mZ0a".
const idPrefix = "key_"

func keyID(id apikey.ID) string { return idPrefix + string(id) }

// knownID is a key's id for a field that is null where there is none.
func knownID(id apikey.ID) *string {
	if id == "" {
		return nil
	}
	return known(keyID(id))
}

// KeyID is a key's id as clients know it, for what is told to others.
func KeyID(id apikey.ID) string { return keyID(id) }

// shownOnce goes with every answer that holds a new secret.
const shownOnce = "This API key will only be shown once. Please store it securely."

// keyView is a key as the canonical face shows it. The first eight fields are the ones
// that have always been documented.
type keyView struct {
	KeyID        string      `json:"keyId" pattern:"^key_[0-9A-Za-z]{8}$" example:"key_8fQ2mZ0a" doc:"Unique identifier of the key."`
	Name         string      `json:"name" minLength:"1" maxLength:"100" doc:"Human-readable name."`
	KeyPrefix    string      `json:"keyPrefix" example:"mk_a1b****" doc:"Masked prefix of the key."`
	Plan         string      `json:"plan" doc:"Plan that the rate limit comes from."`
	RateLimit    int         `json:"rateLimit" minimum:"1" maximum:"100000000" doc:"Requests allowed in any 60 seconds."`
	RateUsed     count       `json:"rateUsed" doc:"Requests of the last 60 seconds, as rateLimit counts them."`
	Limits       []limitView `json:"limits" doc:"Further limits of the key beside rateLimit. A request that any limit refuses counts in none."`
	Quota        *quotaView  `json:"quota" nullable:"true" doc:"Requests that the key may make in a calendar month; null: no quota."`
	LastUsed     *instant    `json:"lastUsed" nullable:"true" doc:"When the key was last used; null: never."`
	CreatedAt    instant     `json:"createdAt"`
	ExpirationTs *instant    `json:"expirationTs" nullable:"true" doc:"When the key expires; null: never."`

	Number              int64    `json:"number" minimum:"0" maximum:"9007199254740991" doc:"The key's id on the account face; 0: a session, which has none."`
	Environment         string   `json:"environment" enum:"production,staging,development" doc:"The only environment that the key works in."`
	Status              string   `json:"status" enum:"active,scheduled,inactive,expired,revoked" doc:"scheduled: it works from notBefore on. inactive: switched off for now. revoked: deleted for good."`
	Permissions         []string `json:"permissions" doc:"What the key may do, as resource:action."`
	PermissionLabels    []string `json:"permissionLabels" doc:"The same, in the same order, for people."`
	Customers           []string `json:"customers" doc:"Customers that the key is confined to; empty: every one."`
	Networks            []string `json:"networks" doc:"Networks that the key may be used from, in CIDR notation; empty: anywhere."`
	NotBefore           *instant `json:"notBefore" nullable:"true" doc:"When the key begins to work; null: at once."`
	Owner               string   `json:"owner" maxLength:"100" doc:"Who is responsible for the key."`
	IsActive            bool     `json:"isActive" doc:"The switch that revoke and activate turn."`
	IsPrimary           bool     `json:"isPrimary" doc:"Exactly one key of an account is primary."`
	Canary              bool     `json:"canary" doc:"A decoy: it never works, and whoever presents it raises the alert canary_used."`
	Version             int64    `json:"version" minimum:"1" maximum:"9007199254740991" doc:"Goes up with every change; the ETag holds it."`
	RequestCount        int64    `json:"requestCount" minimum:"0" maximum:"9007199254740991" doc:"Requests that the key has made in all."`
	UpdatedAt           *instant `json:"updatedAt" nullable:"true"`
	RotatedAt           *instant `json:"rotatedAt" nullable:"true" doc:"When the key last got a new secret; null: never."`
	PreviousSecretUntil *instant `json:"previousSecretUntil" nullable:"true" doc:"Until when the secret before the last regenerate still works; null: it does not."`
	DeletedAt           *instant `json:"deletedAt" nullable:"true"`
	CreatedBy           *string  `json:"createdBy" nullable:"true" doc:"keyId of the key that created this one; null: an administrator."`
	SessionOf           *string  `json:"sessionOf" nullable:"true" doc:"keyId of the key that this session was made with; null: it is no session."`
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

type regeneratedMeta struct {
	Warning   string        `json:"warning" example:"This API key will only be shown once. Please store it securely."`
	Effective effectiveView `json:"effective"`
}

type revokeMeta struct {
	Descendants *int          `json:"descendants,omitempty" nullable:"false" minimum:"0" maximum:"10000" doc:"How many keys that this one created, directly or not, were switched off with it; there when descendants=true was asked."`
	Effective   effectiveView `json:"effective"`
}

type deletedView struct {
	KeyID   string `json:"keyId" pattern:"^key_[0-9A-Za-z]{8}$" example:"key_8fQ2mZ0a"`
	Revoked bool   `json:"revoked" enum:"true"`
}

// createKey is the body of a create.
type createKey struct {
	Name           string              `json:"name" minLength:"1" maxLength:"100" pattern:"^[^\\x00-\\x1f\\x7f-\\x9f]*[^\\x00-\\x20\\x7f-\\xa0][^\\x00-\\x1f\\x7f-\\x9f]*$" doc:"Descriptive name, 1 to 100 characters, not blank." example:"Production API"`
	Environment    *string             `json:"environment,omitempty" enum:"production,staging,development" doc:"Default: the caller's own."`
	Permissions    *[]string           `json:"permissions,omitempty" maxItems:"50" doc:"Default: what the caller holds, less api_keys:…"`
	Customers      *[]string           `json:"customers,omitempty" maxItems:"100" doc:"Customers that the key is confined to. Default: the caller's."`
	Networks       *[]string           `json:"networks,omitempty" maxItems:"50" doc:"Networks that the key may be used from, in CIDR notation; an address without a length is that address alone. Empty: anywhere. Default: the caller's."`
	Owner          *string             `json:"owner,omitempty" maxLength:"100" pattern:"^[^\\x00-\\x1f\\x7f-\\x9f]*$" doc:"Who is responsible for the key."`
	Plan           *string             `json:"plan,omitempty" doc:"At most the account's plan."`
	RateLimit      *integer            `json:"rateLimit,omitempty" minimum:"1" maximum:"100000000" doc:"Requests in any 60 seconds, up to the account's plan. Default: the plan's."`
	Limits         *limitList          `json:"limits,omitempty" maxItems:"2" doc:"Further limits, one for each window at most. They only restrict what rateLimit lets pass, so no plan bounds them. A limit counts from when it is named. Default: none."`
	Quota          optional[quotaBody] `json:"quota,omitempty" doc:"Requests in a calendar month, counted from when it is named. Default, and null: no quota."`
	NotBefore      optional[instant]   `json:"notBefore,omitempty" doc:"When the key begins to work, 365 days from now at most. null: at once."`
	ExpirationDays optional[integer]   `json:"expirationDays,omitempty" minimum:"1" maximum:"365" doc:"Days until the key expires. null: never. Not together with expirationTs." example:"365"`
	ExpirationTs   optional[instant]   `json:"expirationTs,omitempty" doc:"When the key expires, 365 days from now at most. null: never."`
	IsActive       *bool               `json:"isActive,omitempty" doc:"Default: true."`
	IsPrimary      *bool               `json:"isPrimary,omitempty" doc:"true takes the mark from the present primary key."`
	Canary         *bool               `json:"canary,omitempty" doc:"true makes a decoy to leave where only an intruder looks: it never works, and whoever presents it raises the alert canary_used. It cannot be changed later, and goes with neither permissions, customers, networks, notBefore, plan, rateLimit, limits, quota nor isPrimary. Default: false."`
}

func (b *createKey) input() keys.CreateInput {
	in := keys.CreateInput{
		Name: b.Name, Permissions: b.Permissions, Plan: b.Plan, RateLimit: b.RateLimit.int(),
		NotBefore:      (*time.Time)(b.NotBefore.value),
		ExpirationDays: b.ExpirationDays.value.int(), ExpiresAt: (*time.Time)(b.ExpirationTs.value),
		Active: b.IsActive, Primary: b.IsPrimary, Canary: b.Canary != nil && *b.Canary, Face: keys.Canonical,
	}
	if b.Environment != nil {
		e := keys.Environment(*b.Environment)
		in.Environment = &e
	}
	if b.Customers != nil {
		in.Customers = *b.Customers
	}
	if b.Networks != nil {
		in.Networks = *b.Networks
	}
	if b.Limits != nil {
		in.Limits = b.Limits.named()
	}
	in.Quota = b.Quota.value.quota()
	if b.Owner != nil {
		in.Owner = *b.Owner
	}
	return in
}

// patchKey is the body of a change; fields that are left out stay as they are. Of a canary
// key's, permissions, customers, networks, notBefore, plan, rateLimit, limits, quota and
// isPrimary cannot be changed.
type patchKey struct {
	Name           *string             `json:"name,omitempty" minLength:"1" maxLength:"100" pattern:"^[^\\x00-\\x1f\\x7f-\\x9f]*[^\\x00-\\x20\\x7f-\\xa0][^\\x00-\\x1f\\x7f-\\x9f]*$"`
	Permissions    *[]string           `json:"permissions,omitempty" maxItems:"50"`
	Customers      *[]string           `json:"customers,omitempty" maxItems:"100" doc:"Empty: every customer."`
	Networks       *[]string           `json:"networks,omitempty" maxItems:"50" doc:"Empty: anywhere."`
	Owner          *string             `json:"owner,omitempty" maxLength:"100" pattern:"^[^\\x00-\\x1f\\x7f-\\x9f]*$"`
	Plan           *string             `json:"plan,omitempty"`
	RateLimit      *integer            `json:"rateLimit,omitempty" minimum:"1" maximum:"100000000"`
	Limits         *limitList          `json:"limits,omitempty" maxItems:"2" doc:"All of them; an empty list takes them away."`
	Quota          optional[quotaBody] `json:"quota,omitempty" doc:"null takes it away."`
	NotBefore      optional[instant]   `json:"notBefore,omitempty" doc:"When the key begins to work, 365 days from now at most. null: at once."`
	ExpirationDays optional[integer]   `json:"expirationDays,omitempty" minimum:"1" maximum:"365" doc:"Days from now. null: never. Not together with expirationTs."`
	ExpirationTs   optional[instant]   `json:"expirationTs,omitempty" doc:"When the key expires, 365 days from now at most. null: never."`
	IsActive       *bool               `json:"isActive,omitempty" doc:"false is revoke, true is activate."`
	IsPrimary      *bool               `json:"isPrimary,omitempty" doc:"true takes the mark from the present primary key."`
	EndGrace       *bool               `json:"endGrace,omitempty" enum:"true" doc:"true: the secret before the last regenerate stops now. Without such a grace it changes nothing."`
}

func (b *patchKey) patch() keys.Patch {
	p := keys.Patch{
		Name: b.Name, Permissions: b.Permissions, Customers: b.Customers, Networks: b.Networks, Owner: b.Owner, Plan: b.Plan,
		RateLimit: b.RateLimit.int(), ExpirationDays: b.ExpirationDays.value.int(),
		Active: b.IsActive, Primary: b.IsPrimary, EndGrace: b.EndGrace != nil,
	}
	if b.Limits != nil {
		p.Limits = new(b.Limits.named())
	}
	if b.Quota.set {
		p.Quota = new(b.Quota.value.quota())
	}
	// Never is said by null under either name. Days and a time together stay two, for
	// the service to refuse.
	if b.ExpirationTs.set || b.ExpirationDays.set && b.ExpirationDays.value == nil {
		at := (*time.Time)(b.ExpirationTs.value)
		p.ExpiresAt = &at
	}
	if b.NotBefore.set {
		at := (*time.Time)(b.NotBefore.value)
		p.NotBefore = &at
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
		RateUsed: count(k.Used.Minute), Limits: limitViews(k), Quota: viewQuota(k),
		LastUsed: moment(k.LastUsed), CreatedAt: instant(k.CreatedAt), ExpirationTs: moment(k.ExpiresAt),
		Number: k.Number, Environment: string(k.Environment), Status: string(k.Status(now)),
		Permissions: k.Permissions, PermissionLabels: a.labels(k.Permissions), Customers: k.Customers, Owner: k.Owner,
		Networks: k.Networks, NotBefore: moment(k.NotBefore), IsActive: k.Active, IsPrimary: k.Primary, Canary: k.Canary, Version: k.Version, RequestCount: k.Requests,
		UpdatedAt: moment(k.UpdatedAt), RotatedAt: moment(k.RotatedAt), DeletedAt: moment(k.DeletedAt),
	}
	if now.Before(k.Previous.Until) {
		v.PreviousSecretUntil = moment(k.Previous.Until)
	}
	v.CreatedBy, v.SessionOf = knownID(k.CreatedBy), knownID(k.Parent)
	return v
}
