package httpapi

import (
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keyreeve/keyreeve/pkg/flush"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

// effectiveView says from when on a change of what a key may do is in force. It is a bound
// that holds whatever fails; where flushing works, unguarded routes follow within seconds.
type effectiveView struct {
	Guarded     guardedFrom `json:"guarded"`
	UnguardedBy instant     `json:"unguardedBy" doc:"By then at the latest on unguarded routes, where a policy may still be cached; mostly within seconds."`
}

// guardedFrom is "now" for the zero time.
type guardedFrom time.Time

const fromNow = "now"

// MarshalJSON writes "now", or the time as an instant.
func (g guardedFrom) MarshalJSON() ([]byte, error) {
	if time.Time(g).IsZero() {
		return []byte(`"` + fromNow + `"`), nil
	}
	return instant(g).MarshalJSON()
}

// Schema describes a guardedFrom.
func (guardedFrom) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Type: huma.TypeString, Pattern: `^(now|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z)$`, Examples: []any{fromNow},
		Description: "From when on guarded routes: now, or, for the old secret of a regenerate with graceSeconds, the end of that.",
	}
}

type changeMeta struct {
	Effective effectiveView `json:"effective"`
}

// inForce is when a change is in force that has been committed; it must be called after
// that. The bound is rounded up to what an answer can say.
func (a *api) inForce() effectiveView {
	kept := time.Duration(*a.cfg.Settings.AuthorizerCacheSeconds) * time.Second
	by := a.cfg.Clock().Add(flush.Bound(a.cfg.AuthorizerTimeout, kept))
	return effectiveView{UnguardedBy: instant(by.Add(time.Millisecond - 1))}
}

// oldSecretGone is when the secret that a regenerate has replaced is refused. A policy that
// is made within the grace says itself when that ends, in whole seconds.
func (a *api) oldSecretGone(k *keys.Key) effectiveView {
	e := a.inForce()
	until := k.Previous.Until
	if !a.cfg.Clock().Before(until) {
		return e
	}
	e.Guarded = guardedFrom(until)
	if end := until.Add(time.Second - 1).Truncate(time.Second); end.After(time.Time(e.UnguardedBy)) {
		e.UnguardedBy = instant(end)
	}
	return e
}
