package alert

import "net/netip"

// Source is what failures are counted by: an IPv4 address, or an IPv6 /64, which is what
// one subscriber has at least and changes addresses within. It is empty for what is no
// address.
func Source(ip string) string {
	a, err := parse(ip)
	if err != nil {
		return ""
	}
	if a.Is4() {
		return a.String()
	}
	p, _ := a.Prefix(64) // every IPv6 address has one
	return p.String()
}

// address is an IP address as it is shown; empty for what is none.
func address(ip string) string {
	a, err := parse(ip)
	if err != nil {
		return ""
	}
	return a.String()
}

func parse(ip string) (netip.Addr, error) {
	a, err := netip.ParseAddr(ip)
	return a.Unmap().WithZone(""), err
}
