package usage

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/order"
)

// Bounds of a profile.
const (
	// MaxNetworks is how many networks a profile holds: the newest. Of two of the same time
	// the one whose name sorts first stays.
	MaxNetworks = 32
	// CrowdTime is how soon a crowd shows: a key that is used from MaxNetworks networks or
	// more within this time is one of a crowd of devices, and which network is new says
	// nothing of it. One person's phone and laptop see as many in years.
	CrowdTime = 30 * 24 * time.Hour
	// MaxGenerations is how many secrets a profile holds: the newest, by their number.
	MaxGenerations = 32
)

// Profile is what is known of the use of a key. Version is the store's.
//
// Profiles of one key are a semilattice under Join: newest of two times, union of two
// sets. So in which order lines come, and how often, makes no difference.
type Profile struct {
	KeyID       apikey.ID
	AccountID   string
	First       time.Time // oldest request with a valid secret
	LastUsed    time.Time // newest request with a valid secret, whatever it was answered
	LastRefused time.Time // newest 401
	// Permissions is the newest request with a valid secret by the permission that its route
	// asks for. One that was answered 403 does not count: the permission was missing, or of
	// no use.
	Permissions map[string]time.Time
	Generations map[int64]time.Time  // newest request, by the secret that was presented; at most MaxGenerations
	Networks    map[string]time.Time // newest request with a valid secret, by the source's network (Network); at most MaxNetworks
	Crowded     bool                 // all MaxNetworks places are taken by networks of the CrowdTime before the newest

	Version int64 // 0: not stored yet
}

// Join returns what p and q know together, with p's Version. It is commutative (but for
// the Version), associative and idempotent; a test holds it to that.
//
// What is dropped does not depend on the order either: a network that MaxNetworks newer
// ones push out of a part would be pushed out of the whole by the same ones.
func (p Profile) Join(q Profile) Profile {
	j := Profile{
		KeyID: max(p.KeyID, q.KeyID), AccountID: max(p.AccountID, q.AccountID), Version: p.Version,
		First: older(p.First, q.First), LastUsed: later(p.LastUsed, q.LastUsed), LastRefused: later(p.LastRefused, q.LastRefused),
		Permissions: joinTimes(p.Permissions, q.Permissions),
		Generations: joinTimes(p.Generations, q.Generations),
		Networks:    joinTimes(p.Networks, q.Networks),
	}
	keep(j.Generations, MaxGenerations, func(a, b int64) int { return cmp.Compare(b, a) })
	keep(j.Networks, MaxNetworks, func(a, b string) int {
		if c := j.Networks[b].Compare(j.Networks[a]); c != 0 {
			return c
		}
		return cmp.Compare(a, b)
	})
	j.Crowded = crowded(j.Networks)
	return j
}

// keep drops all but the first n members of m in the given order.
func keep[K comparable](m map[K]time.Time, n int, compare func(a, b K) int) {
	if len(m) <= n {
		return
	}
	list := slices.Collect(maps.Keys(m))
	order.By(list, compare)
	for _, k := range list[n:] {
		delete(m, k)
	}
}

// crowded is made of what stays in a profile, so it is a function of the join's result.
func crowded(networks map[string]time.Time) bool {
	if len(networks) < MaxNetworks {
		return false
	}
	var first, last time.Time
	for _, t := range networks {
		first, last = older(first, t), later(last, t)
	}
	return last.Sub(first) <= CrowdTime
}

// same reports whether two profiles know the same.
func (p Profile) same(q Profile) bool {
	return p.KeyID == q.KeyID && p.AccountID == q.AccountID && p.Crowded == q.Crowded &&
		p.First.Equal(q.First) && p.LastUsed.Equal(q.LastUsed) && p.LastRefused.Equal(q.LastRefused) &&
		maps.EqualFunc(p.Permissions, q.Permissions, time.Time.Equal) &&
		maps.EqualFunc(p.Generations, q.Generations, time.Time.Equal) &&
		maps.EqualFunc(p.Networks, q.Networks, time.Time.Equal)
}

// older takes the zero time for none.
func older(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func joinTimes[K comparable](a, b map[K]time.Time) map[K]time.Time {
	out := make(map[K]time.Time, max(len(a), len(b)))
	for _, m := range []map[K]time.Time{a, b} {
		for k, t := range m {
			out[k] = later(out[k], t)
		}
	}
	return out
}

// Network is the network of a source address: what a provider gives to one customer or
// site, so that another address of the same place is nothing new. IPv4: /24; IPv6: /48,
// which is what a site gets (RFC 6177); an IPv4 address in IPv6 form counts as IPv4. It is
// empty for what is no address.
func Network(ip string) string {
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return ""
	}
	bits := 48
	if addr = addr.Unmap().WithZone(""); addr.Is4() {
		bits = 24
	}
	return netip.PrefixFrom(addr, bits).Masked().String()
}
