package webhook

import "net/netip"

// Which addresses a webhook may go to: those that belong to somebody on the Internet. The
// others are our own side's (the function's Lambda runtime API on loopback, AWS's metadata
// on link-local addresses, a VPC's private ranges) or nobody's.
//
// The lists are the IANA special-purpose address registries
// (https://www.iana.org/assignments/iana-ipv4-special-registry,
// https://www.iana.org/assignments/iana-ipv6-special-registry; RFC 6890), with everything
// that is not globally reachable, and multicast (RFC 5771, RFC 4291 section 2.7), which
// they leave out. A few blocks that are reachable in part go as a whole: nobody has a
// server in them.
var notPublic = prefixes(
	"0.0.0.0/8",       // this network, RFC 791 section 3.2
	"10.0.0.0/8",      // private, RFC 1918
	"100.64.0.0/10",   // carrier-grade NAT, RFC 6598
	"127.0.0.0/8",     // loopback, RFC 1122 section 3.2.1.3
	"169.254.0.0/16",  // link-local, RFC 3927; AWS's metadata and time services
	"172.16.0.0/12",   // private, RFC 1918
	"192.0.0.0/24",    // IETF protocol assignments, RFC 6890 section 2.1
	"192.0.2.0/24",    // documentation, RFC 5737
	"192.31.196.0/24", // AS112, RFC 7535
	"192.52.193.0/24", // automatic multicast tunnelling, RFC 7450
	"192.88.99.0/24",  // 6to4 relays, RFC 7526
	"192.168.0.0/16",  // private, RFC 1918
	"192.175.48.0/24", // AS112, RFC 7534
	"198.18.0.0/15",   // benchmarks, RFC 2544
	"198.51.100.0/24", // documentation, RFC 5737
	"203.0.113.0/24",  // documentation, RFC 5737
	"224.0.0.0/4",     // multicast, RFC 5771
	"240.0.0.0/4",     // reserved, RFC 1112 section 4, and the limited broadcast

	"::/96",             // unspecified, loopback, and IPv4-compatible, RFC 4291 section 2.5
	"::ffff:0:0/96",     // IPv4-mapped: unmapped before, so none is left
	"64:ff9b:1::/48",    // NAT64 of a network's own, RFC 8215
	"100::/64",          // discard, RFC 6666
	"100:0:0:1::/64",    // dummy prefix, RFC 9780
	"2001::/23",         // IETF protocol assignments, RFC 2928: Teredo, ORCHID, benchmarks
	"2001:db8::/32",     // documentation, RFC 3849
	"2620:4f:8000::/48", // AS112, RFC 7534
	"3fff::/20",         // documentation, RFC 9637
	"5f00::/16",         // segment routing, RFC 9602
	"fc00::/7",          // unique local, RFC 4193
	"fe80::/10",         // link-local, RFC 4291 section 2.5.6
	"fec0::/10",         // site-local, RFC 3879
	"ff00::/8",          // multicast, RFC 4291 section 2.7
)

// global is all of IPv6 that is handed out for use on the Internet (RFC 4291 section 2.4).
var global = netip.MustParsePrefix("2000::/3")

// embedding are the IPv6 prefixes whose addresses a translator on the way turns into the
// IPv4 address within, and where that is, in bytes.
var embedding = []struct {
	prefix netip.Prefix
	at     int
}{
	{netip.MustParsePrefix("64:ff9b::/96"), 12}, // NAT64, RFC 6052 section 2.1
	{netip.MustParsePrefix("2002::/16"), 2},     // 6to4, RFC 3056 section 2
}

// Public reports whether a is an address of the public Internet.
func Public(a netip.Addr) bool {
	a = a.Unmap()
	if !a.IsValid() || a.Zone() != "" {
		return false
	}
	for _, p := range notPublic {
		if p.Contains(a) {
			return false
		}
	}
	if a.Is4() {
		return true
	}
	for _, e := range embedding {
		if e.prefix.Contains(a) {
			b := a.As16()
			inner, _ := netip.AddrFromSlice(b[e.at : e.at+4])
			return Public(inner)
		}
	}
	return global.Contains(a)
}

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, p := range list {
		out[i] = netip.MustParsePrefix(p)
	}
	return out
}
