package usage

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/route"
)

// When advice is due, and how long use must have been observed before what was not seen
// may be taken for not needed. What runs once a quarter shows within it.
const (
	UnusedAfter   = 90 * day
	RotationAfter = 90 * day
	ObserveFor    = 90 * day
)

// Advice is what the use of a key says about what it should hold.
type Advice struct {
	Key  keys.Key
	Held []HeldUse // one for each of Key.Permissions, in order

	// Narrower is what would have been enough for all that was observed; nil: nothing can be
	// taken away, or nothing can be told. It is not nil but empty where the key was used on
	// routes that need no permission alone. Key can be given it, and it covers no more than
	// Key.Permissions.
	Narrower []string

	// ObservedSince is when the first request of the key was logged; of a key that was never
	// used, when it was made. A key that was used before there were logs, and not since, has
	// none. The advice is Conclusive if that is ObserveFor ago, whatever the key was given
	// since: compare Key.UpdatedAt.
	ObservedSince time.Time
	Conclusive    bool

	LastUsed    time.Time // as KeyUsage.LastUsed
	Unused      bool      // live and neither used nor made within UnusedAfter
	SecretSince time.Time // since when the key has its present secret
	RotationDue bool      // live and its secret is older than RotationAfter
	Revoke      bool      // live and never used, or Unused
}

// HeldUse is what is known of the use of a permission that a key holds.
type HeldUse struct {
	Permission string
	LastUsed   time.Time       // of whatever it grants; zero: never
	Used       []PermissionUse // what was used of it, by name; more than itself for a wildcard. Requests is not filled in
}

// Advice says what a key does not need of what it holds. A deleted key, and a canary, which
// is there to be unused and holds nothing, get the facts and no advice.
func (r *Reports) Advice(ctx context.Context, c keys.Caller, ref keys.Ref) (Advice, error) {
	k, err := r.cfg.Keys.Find(ctx, c, ref)
	if err != nil {
		return Advice{}, err
	}
	p, err := r.profile(ctx, k.ID)
	if err != nil {
		return Advice{}, err
	}
	a := observed(&k, &p, r.now())
	if p.First.IsZero() || k.Deleted {
		return a, nil
	}
	used := slices.Collect(maps.Keys(p.Permissions))
	if k.ID == c.Holder() {
		used = append(used, keys.PermissionRead) // for this very request, whose line is still to come
	}
	if enough := narrow(k.Permissions, used, r.cfg.Table); !keys.HoldsAll(enough, k.Permissions) {
		a.Narrower = enough
	}
	return a, nil
}

// observed is the advice without a proposal.
func observed(k *keys.Key, p *Profile, now time.Time) Advice {
	a := Advice{
		Key: *k, ObservedSince: p.First, LastUsed: later(k.LastUsed, p.LastUsed),
		SecretSince: later(k.CreatedAt, k.RotatedAt),
	}
	for _, held := range k.Permissions {
		a.Held = append(a.Held, heldUse(held, p.Permissions))
	}
	never := a.LastUsed.IsZero()
	if never {
		a.ObservedSince = k.CreatedAt
	}
	past := func(t time.Time, d time.Duration) bool { return !now.Before(t.Add(d)) }
	a.Conclusive = !a.ObservedSince.IsZero() && past(a.ObservedSince, ObserveFor)
	if k.Live(now) && !k.Canary {
		a.Unused = past(later(k.CreatedAt, a.LastUsed), UnusedAfter)
		a.Revoke = never || a.Unused
		a.RotationDue = past(a.SecretSince, RotationAfter)
	}
	return a
}

func heldUse(held string, used map[string]time.Time) HeldUse {
	h := HeldUse{Permission: held}
	for _, name := range slices.Sorted(maps.Keys(used)) {
		if name != "" && keys.Holds([]string{held}, name) {
			h.Used = append(h.Used, PermissionUse{Permission: name, LastUsed: used[name]})
			h.LastUsed = later(h.LastUsed, used[name])
		}
	}
	return h
}

const managing = "api_keys" // the resource that "*" does not include

// narrow is what is left of held when all that was not used is taken away. It covers no
// more than held, and every used permission that held covers and a route still asks for.
//
// A wildcard of which everything was used stays one, any other becomes the names that were
// used. Managing keys is all or nothing: who reads them may have to stop one in the middle
// of the night, and would find out then. What is not in the catalogue any more goes, since
// no route asks for it and nobody may grant it.
func narrow(held, used []string, table *route.Table) []string {
	used = slices.DeleteFunc(slices.Clone(used), func(p string) bool { return !table.KnownPermission(p) })
	manages := slices.ContainsFunc(used, func(p string) bool { return resourceOf(p) == managing })
	enough := []string{}
	for _, p := range held {
		switch {
		case !table.KnownPermission(p):
		case resourceOf(p) != managing:
			enough = append(enough, beneath(p, used, table)...)
		case manages:
			enough = append(enough, p)
		}
	}
	enough = minimal(enough)
	if len(enough) <= keys.MaxPermissions {
		return enough
	}
	for i, p := range enough { // more names than a key may hold: whole resources then
		if all := resourceOf(p) + ":*"; resourceOf(p) != managing && keys.Holds(held, all) {
			enough[i] = all
		}
	}
	if enough = minimal(enough); len(enough) <= keys.MaxPermissions {
		return enough
	}
	return held
}

// beneath is what of a held permission was used.
func beneath(held string, used []string, table *route.Table) []string {
	var names []string
	all := true
	for _, p := range table.Permissions() {
		switch {
		case !keys.Holds([]string{held}, p.Name):
		case slices.Contains(used, p.Name):
			names = append(names, p.Name)
		default:
			all = false
		}
	}
	if all {
		return []string{held}
	}
	return names
}

// minimal sorts permissions and leaves out those that another one covers.
func minimal(list []string) []string {
	slices.Sort(list)
	list = slices.Compact(list)
	return slices.DeleteFunc(slices.Clone(list), func(p string) bool {
		return keys.Holds(slices.DeleteFunc(slices.Clone(list), func(q string) bool { return q == p }), p)
	})
}
