package usage

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/order"
)

// KeyUsage is what one key did.
type KeyUsage struct {
	Key     keys.Key
	Range   Range
	Buckets []Bucket // one for each of Range, in order, empty ones too
	Total   Bucket   // of all of them; Start is Range.From

	// Permissions are what the requests asked for, counted by day: those of PermissionsFrom
	// ≤ t < PermissionsTo, the whole days that Range touches. Used and counted ones, by name.
	Permissions                    []PermissionUse
	PermissionsFrom, PermissionsTo time.Time
	// Secrets are the live one, the one before, and every other one that was used; newest
	// first.
	Secrets []SecretUse

	FirstUsed   time.Time // by what is logged: zero if it was never used, or not since there are logs
	LastUsed    time.Time // the later of the log's and the guard's
	LastRefused time.Time
	Drift       Drift
}

// Bucket is an hour or a day.
type Bucket struct {
	Start       time.Time
	Requests    int64
	Status      [6]int64        // as Hour.Status
	Generations map[int64]int64 // as Hour.Generations
}

// PermissionUse is what is known of the use of a permission.
type PermissionUse struct {
	Permission string
	Requests   int64
	LastUsed   time.Time // zero: never, or refused every time
}

// SecretUse is what is known of the use of one of a key's secrets.
type SecretUse struct {
	Generation int64
	Requests   int64     // in the range
	LastUsed   time.Time // zero: never
	Live       bool      // the key's present secret
	Until      time.Time // end of the grace of the one before; zero: it has none now
}

// Drift compares the two witnesses: the logs and the guard. Requests that are in the guard's
// counter and not yet in the logs make a difference until the logs have come, a minute or
// so later; one that stays tells that one of them lost something.
type Drift struct {
	Counted    int64 // requests that the guard must have let through by the logs
	Guard      int64 // requests that it did let through by its own counter
	Difference int64 // Guard − Counted
}

// Key reports the use of one key.
func (r *Reports) Key(ctx context.Context, c keys.Caller, ref keys.Ref, q Range) (KeyUsage, error) {
	now := r.now()
	q, invalid := q.resolve(now, keyBounds)
	k, err := r.cfg.Keys.Find(ctx, c, ref)
	if err != nil {
		return KeyUsage{}, err
	}
	if invalid != nil { // after the key, so that it tells nobody of keys that are not theirs
		return KeyUsage{}, invalid
	}
	from, to := q.days()
	counts, err := r.cfg.Store.Days(ctx, k.AccountID, []apikey.ID{k.ID}, from, to)
	if err != nil {
		return KeyUsage{}, err
	}
	profile, err := r.profile(ctx, k.ID)
	if err != nil {
		return KeyUsage{}, err
	}
	totals, err := r.cfg.Store.Totals(ctx, []apikey.ID{k.ID})
	if err != nil {
		return KeyUsage{}, err
	}
	u := KeyUsage{
		Key: k, Range: q, PermissionsFrom: from.Start(), PermissionsTo: (to + 1).Start(),
		FirstUsed: profile.First, LastUsed: later(k.LastUsed, profile.LastUsed), LastRefused: profile.LastRefused,
		Drift: Drift{Counted: totals[k.ID].Admitted, Guard: k.Requests, Difference: k.Requests - totals[k.ID].Admitted},
	}
	permissions := map[string]int64{}
	u.Buckets, u.Total = buckets(q, counts, permissions)
	u.Permissions = permissionUses(permissions, profile.Permissions)
	u.Secrets = secretUses(&k, u.Total.Generations, profile.Generations, now)
	return u, nil
}

func (r *Reports) profile(ctx context.Context, id apikey.ID) (Profile, error) {
	profiles, err := r.cfg.Store.Profiles(ctx, []apikey.ID{id})
	return profiles[id], err
}

// buckets adds counts up, and their permissions into the given map.
func buckets(q Range, counts []Count, permissions map[string]int64) (list []Bucket, total Bucket) {
	for _, start := range q.Starts() {
		list = append(list, Bucket{Start: start, Generations: map[int64]int64{}})
	}
	total = Bucket{Start: q.From, Generations: map[int64]int64{}}
	for i := range counts {
		for hour := range counts[i].Hours {
			if at, ok := q.index(counts[i].Day, hour); ok {
				list[at].add(&counts[i].Hours[hour])
				total.add(&counts[i].Hours[hour])
			}
		}
		for name, n := range counts[i].Permissions {
			permissions[name] += n
		}
	}
	return list, total
}

func (b *Bucket) add(h *Hour) {
	b.Requests += h.Requests
	for class, n := range h.Status {
		b.Status[class] += n
	}
	for generation, n := range h.Generations {
		b.Generations[generation] += n
	}
}

// permissionUses joins what was counted with when it was last used. Routes that need no
// permission have none to show.
func permissionUses(counted map[string]int64, used map[string]time.Time) []PermissionUse {
	var list []PermissionUse
	for _, name := range slices.Sorted(maps.Keys(counted)) {
		list = append(list, PermissionUse{name, counted[name], used[name]})
	}
	for _, name := range slices.Sorted(maps.Keys(used)) {
		if _, ok := counted[name]; !ok {
			list = append(list, PermissionUse{Permission: name, LastUsed: used[name]})
		}
	}
	list = slices.DeleteFunc(list, func(p PermissionUse) bool { return p.Permission == "" })
	order.By(list, func(a, b PermissionUse) int { return strings.Compare(a.Permission, b.Permission) })
	return list
}

func secretUses(k *keys.Key, counted map[int64]int64, used map[int64]time.Time, now time.Time) []SecretUse {
	generations := map[int64]bool{k.Secret.Generation: true}
	for g := range counted {
		generations[g] = true
	}
	for g := range used {
		generations[g] = true
	}
	if k.Previous.Generation > 0 {
		generations[k.Previous.Generation] = true
	}
	var list []SecretUse
	for _, g := range slices.Backward(slices.Sorted(maps.Keys(generations))) {
		s := SecretUse{Generation: g, Requests: counted[g], LastUsed: used[g], Live: g == k.Secret.Generation}
		if g == k.Previous.Generation && now.Before(k.Previous.Until) {
			s.Until = k.Previous.Until
		}
		list = append(list, s)
	}
	return list
}
