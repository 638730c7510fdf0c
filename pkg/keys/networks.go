package keys

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/keyreeve/keyreeve/pkg/order"
)

// The networks that a key may be used from. They are kept as text in one spelling:
//
//   - a prefix in CIDR notation (RFC 4632 section 3.1, RFC 4291 section 2.3), never a bare
//     address; IPv6 as RFC 5952 spells it;
//   - without bits beyond its length: 10.1.2.3/8 is 10.0.0.0/8;
//   - never an IPv4-mapped IPv6 one (RFC 4291 section 2.5.5.2): ::ffff:10.0.0.0/104 is
//     10.0.0.0/8. Whoever speaks IPv4 is known by one address, whatever a socket makes of it.
//
// So ::/0 is every IPv6 address and none of IPv4.

// MaxNetworks is how many a key may have. In the worst spelling they take 2.2 KB of a policy's
// 8, and as much of the authorizer's context.
const MaxNetworks = 50

// ParseNetwork reads a prefix, or an address as the prefix of that address alone. ok is
// false for anything else: also for a zone, which means nothing on another host, and for an
// IPv4-mapped prefix that is shorter than the mapping itself.
func ParseNetwork(s string) (p netip.Prefix, ok bool) {
	if addr, err := netip.ParseAddr(s); err == nil {
		if addr.Zone() != "" {
			return netip.Prefix{}, false
		}
		p = netip.PrefixFrom(addr, addr.BitLen())
	} else if p, err = netip.ParsePrefix(s); err != nil {
		return netip.Prefix{}, false
	}
	if p.Addr().Is4In6() {
		if p.Bits() < 96 {
			return netip.Prefix{}, false
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), true
}

// ValidNetwork reports whether s is a network as keys keep it. Policies and the authorizer
// context carry such text as it is.
func ValidNetwork(s string) bool {
	p, ok := ParseNetwork(s)
	var space [64]byte
	return ok && string(p.AppendTo(space[:0])) == s
}

// InNetworks reports whether an address is in one of a key's networks. None at all is
// anywhere. What is no address, or one with a zone, is in no network, and so is everything
// if a network is malformed: a damaged item opens nothing.
func InNetworks(networks []string, address string) bool {
	if len(networks) == 0 {
		return true
	}
	addr, err := netip.ParseAddr(address)
	if err != nil || addr.Zone() != "" {
		return false
	}
	addr = addr.Unmap()
	in := false
	for _, n := range networks {
		p, ok := ParseNetwork(n)
		if !ok {
			return false
		}
		in = in || p.Contains(addr)
	}
	return in
}

// CoversNetworks reports whether a holder confined to held may grant wanted: every address
// of these is one of those. None at all is anywhere.
func CoversNetworks(held, wanted []string) bool {
	if len(held) == 0 {
		return true
	}
	if len(wanted) == 0 {
		wanted = everywhere
	}
	have := make([]netip.Prefix, len(held))
	for i, n := range held {
		var ok bool
		if have[i], ok = ParseNetwork(n); !ok {
			return false
		}
	}
	for _, n := range wanted {
		if p, ok := ParseNetwork(n); !ok || !covered(have, p) {
			return false
		}
	}
	return true
}

var everywhere = []string{"0.0.0.0/0", "::/0"}

// covered reports whether every address of p is in one of have: one of them holds p whole,
// or its two halves are covered. It ends soon, as a half that meets none of have is not.
func covered(have []netip.Prefix, p netip.Prefix) bool {
	meets := false
	for _, h := range have {
		if h.Overlaps(p) {
			if h.Bits() <= p.Bits() {
				return true
			}
			meets = true
		}
	}
	if !meets {
		return false
	}
	low, high := halves(p)
	return covered(have, low) && covered(have, high)
}

// halves are the two prefixes of one bit more. p is shorter than an address.
func halves(p netip.Prefix) (low, high netip.Prefix) {
	bits := p.Bits()
	low = netip.PrefixFrom(p.Addr(), bits+1)
	raw := p.Addr().AsSlice()
	raw[bits/8] |= 0x80 >> (bits % 8)
	addr, _ := netip.AddrFromSlice(raw)
	return low, netip.PrefixFrom(addr, bits+1)
}

// networks gives them as a key holds them: in one spelling, IPv4 before IPv6, each once.
func (f *faults) networks(list []string) []string {
	if len(list) > MaxNetworks {
		f.add("networks", fmt.Sprintf("must be at most %d", MaxNetworks))
		return nil
	}
	prefixes := make([]netip.Prefix, 0, len(list))
	for i, n := range list {
		p, ok := ParseNetwork(n)
		if !ok {
			f.add(fmt.Sprintf("networks[%d]", i), "must be an IP address or a range of them in CIDR notation")
			continue
		}
		prefixes = append(prefixes, p)
	}
	order.By(prefixes, netip.Prefix.Compare)
	var out []string
	for _, p := range slices.Compact(prefixes) {
		out = append(out, p.String())
	}
	return out
}
