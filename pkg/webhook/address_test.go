package webhook_test

import (
	"net/netip"
	"testing"

	"github.com/keyreeve/keyreeve/pkg/webhook"
)

// Each range with its first and last address, and what is public right beside it.
func TestOnlyAddressesOfTheInternetArePublic(t *testing.T) {
	for _, tt := range []struct {
		what    string
		private []string
		public  []string
	}{
		{"this network", []string{"0.0.0.0", "0.255.255.255"}, []string{"1.0.0.0"}},
		{"private", []string{"10.0.0.0", "10.255.255.255", "172.16.0.0", "172.31.255.255", "192.168.0.0", "192.168.255.255"},
			[]string{"9.255.255.255", "11.0.0.0", "172.15.255.255", "172.32.0.0", "192.167.255.255", "192.169.0.0"}},
		{"carrier-grade NAT", []string{"100.64.0.0", "100.127.255.255"}, []string{"100.63.255.255", "100.128.0.0"}},
		{"loopback", []string{"127.0.0.0", "127.0.0.1", "127.255.255.255", "::1"}, []string{"126.255.255.255", "128.0.0.0"}},
		{"link-local", []string{"169.254.0.0", "169.254.169.254", "169.254.169.123", "169.254.170.2", "169.254.255.255", "fe80::1", "febf::1", "fe80::1%eth0"},
			[]string{"169.253.255.255", "169.255.0.0"}},
		{"protocol assignments", []string{"192.0.0.0", "192.0.0.170", "192.0.0.255", "2001::", "2001:1ff::1"}, []string{"192.0.1.0", "2001:200::1"}},
		{"documentation", []string{"192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "3fff::1", "3fff:fff::1"},
			[]string{"192.0.3.1", "198.51.101.1", "203.0.114.1", "2001:db9::1", "3fff:1000::1"}},
		{"benchmarks", []string{"198.18.0.0", "198.19.255.255", "2001:2::1"}, []string{"198.17.255.255", "198.20.0.0"}},
		{"relays and AS112", []string{"192.88.99.1", "192.31.196.1", "192.52.193.1", "192.175.48.1", "2620:4f:8000::1"}, []string{"192.88.100.1", "2620:4f:8001::1"}},
		{"multicast", []string{"224.0.0.1", "239.255.255.255", "ff02::1", "ff0e::1"}, []string{"223.255.255.255"}},
		{"reserved and broadcast", []string{"240.0.0.1", "255.255.255.254", "255.255.255.255"}, nil},
		{"unspecified", []string{"::"}, nil},
		{"unique local", []string{"fc00::1", "fd00:ec2::254", "fdff::1"}, nil},
		{"site-local", []string{"fec0::1", "feff::1"}, nil},
		{"not handed out", []string{"100::1", "100:0:0:1::1", "4000::1", "1fff::1", "5f00::1"}, []string{"2000::1", "2600::1", "3ffe::1"}},
		{"IPv4-mapped", []string{"::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0.0.0.0"}, []string{"::ffff:8.8.8.8"}},
		{"IPv4-compatible", []string{"::127.0.0.1", "::8.8.8.8"}, nil},
		{"NAT64", []string{"64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b::10.1.2.3", "64:ff9b:1::808:808"}, []string{"64:ff9b::8.8.8.8"}},
		{"6to4", []string{"2002:7f00:1::1", "2002:a9fe:a9fe::", "2002:a00:1::", "2002:c0a8:101::"}, []string{"2002:808:808::1"}},
		{"Teredo", []string{"2001:0:808:808::1", "2001:0:7f00:1::1"}, nil},
		{"the Internet", nil, []string{"8.8.8.8", "52.94.236.248", "2a05:d000::1", "2606:4700::1111"}},
	} {
		for want, list := range map[bool][]string{false: tt.private, true: tt.public} {
			for _, text := range list {
				if got := webhook.Public(netip.MustParseAddr(text)); got != want {
					t.Errorf("%s: Public(%s) = %t, want %t", tt.what, text, got, want)
				}
			}
		}
	}
	if webhook.Public(netip.Addr{}) {
		t.Error("no address at all is public")
	}
}

func FuzzPublic(f *testing.F) {
	for _, a := range []string{"127.0.0.1", "8.8.8.8", "64:ff9b::1", "2002::1", "::ffff:10.0.0.1"} {
		b := netip.MustParseAddr(a).As16()
		f.Add(b[:])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		a, ok := netip.AddrFromSlice(b)
		if !ok {
			return
		}
		if webhook.Public(a) && (a.IsLoopback() || a.IsPrivate() || a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified() ||
			a.Unmap().IsLoopback() || a.Unmap().IsPrivate() || a.Unmap().IsLinkLocalUnicast()) {
			t.Errorf("%v is public", a)
		}
	})
}
