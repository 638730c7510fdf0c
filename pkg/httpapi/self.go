package httpapi

import (
	"errors"
	"net/http"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

// selfView is what the holder of a key may know about it: what it can do and until when,
// not who made it or who looks after it.
type selfView struct {
	KeyID            string      `json:"keyId" pattern:"^key_[0-9A-Za-z]{8}$" example:"key_8fQ2mZ0a"`
	Name             string      `json:"name" minLength:"1" maxLength:"100"`
	KeyPrefix        string      `json:"keyPrefix" example:"mk_a1b****"`
	Environment      string      `json:"environment" enum:"production,staging,development"`
	Status           string      `json:"status" enum:"active,scheduled,inactive,expired,revoked"`
	Permissions      []string    `json:"permissions"`
	PermissionLabels []string    `json:"permissionLabels"`
	Customers        []string    `json:"customers" doc:"Customers that the key is confined to; empty: every one."`
	Networks         []string    `json:"networks" doc:"Networks that the key may be used from, in CIDR notation; empty: anywhere."`
	Plan             string      `json:"plan"`
	RateLimit        int         `json:"rateLimit" minimum:"1" maximum:"100000000" doc:"Requests allowed in any 60 seconds."`
	RateUsed         count       `json:"rateUsed" doc:"Requests of the last 60 seconds, as rateLimit counts them."`
	Limits           []limitView `json:"limits" doc:"Further limits beside rateLimit."`
	Quota            *quotaView  `json:"quota" nullable:"true" doc:"Requests allowed in a calendar month; null: no quota."`
	RequestCount     int64       `json:"requestCount" minimum:"0" maximum:"9007199254740991"`
	LastUsed         *instant    `json:"lastUsed" nullable:"true"`
	CreatedAt        instant     `json:"createdAt"`
	RotatedAt        *instant    `json:"rotatedAt" nullable:"true"`
	ExpirationTs     *instant    `json:"expirationTs" nullable:"true" doc:"When the key expires; null: never."`
	SessionOf        *string     `json:"sessionOf" nullable:"true" doc:"keyId of the key that this session was made with; null: it is no session."`
	SecretUntil      *instant    `json:"secretUntil" nullable:"true" doc:"The secret presented was replaced and stops working then; null: it is the present one."`
}

func (a *api) self(c *call) (reply, error) {
	k, err := a.cfg.Service.Get(c.Context(), c.caller, keys.Ref{ID: c.caller.KeyID})
	if errors.Is(err, keys.ErrNotFound) {
		err = keys.ErrCallerGone // deleted since the guard let it through
	}
	if err != nil {
		return reply{}, err
	}
	return ok(http.StatusOK, selfView{
		KeyID: keyID(k.ID), Name: k.Name, KeyPrefix: apikey.Mask(c.caller.Credential.Prefix(), k.ID),
		Environment: string(k.Environment), Status: string(k.Status(c.now)),
		Permissions: k.Permissions, PermissionLabels: a.labels(k.Permissions), Customers: k.Customers, Networks: k.Networks,
		Plan: k.Plan, RateLimit: k.RateLimit, RateUsed: count(k.Used.Minute), Limits: limitViews(&k), Quota: viewQuota(&k), RequestCount: k.Requests, LastUsed: moment(k.LastUsed),
		CreatedAt: instant(k.CreatedAt), RotatedAt: moment(k.RotatedAt), ExpirationTs: moment(k.ExpiresAt),
		SessionOf: knownID(k.Parent), SecretUntil: moment(c.caller.GraceUntil),
	}, nil, nil), nil
}
