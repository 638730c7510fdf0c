package keys

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNetworksHaveOneSpelling(t *testing.T) {
	for in, want := range map[string]string{
		"10.0.0.0/8": "10.0.0.0/8", "10.1.2.3/8": "10.0.0.0/8", "10.1.2.3": "10.1.2.3/32", "10.1.2.3/32": "10.1.2.3/32",
		"0.0.0.0/0": "0.0.0.0/0", "203.0.113.77/0": "0.0.0.0/0", "255.255.255.255": "255.255.255.255/32", "192.168.1.129/25": "192.168.1.128/25",
		"::/0": "::/0", "2001:DB8:0:0::1/32": "2001:db8::/32", "2001:db8::1": "2001:db8::1/128", "2001:0db8:0000:0000:0000:0000:0000:0001/127": "2001:db8::/127",
		"::1": "::1/128", "fe80::/10": "fe80::/10", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff": "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128",
		"::ffff:10.1.2.3": "10.1.2.3/32", "::ffff:10.1.2.3/104": "10.0.0.0/8", "::FFFF:0a01:0203/128": "10.1.2.3/32", "::ffff:0:0/96": "0.0.0.0/0",
		"::10.1.2.3/128": "::a01:203/128", // IPv4-compatible is no mapping (RFC 4291 section 2.5.5.1)
	} {
		p, ok := ParseNetwork(in)
		if got := p.String(); !ok || got != want {
			t.Errorf("ParseNetwork(%q) = %s, %t, want %s", in, got, ok, want)
			continue
		}
		if !ValidNetwork(want) || ValidNetwork(in) != (in == want) {
			t.Errorf("ValidNetwork(%q) = %t, of its one spelling %s %t", in, ValidNetwork(in), want, ValidNetwork(want))
		}
	}
	for _, in := range []string{
		"", " ", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/", "10.0.0.0/08", "10.0.0/8", "10.0.0.0.0/8", "010.0.0.0/8", "10.0.0.0/8 ", " 10.0.0.0/8",
		"10.0.0.256", "10.0.0.0/255.0.0.0", "10.0.0.0-10.0.0.9", "10.*", "*", "0x0a000000", "167772160", "localhost", "example.com/8",
		"::/129", ":::/8", "2001:db8::/32/32", "2001:db8::g/32", "[::1]", "[2001:db8::]/32", "fe80::1%eth0", "fe80::1%eth0/64", "::ffff:10.1.2.3%1",
		"::ffff:10.0.0.0/95", "::ffff:0:0/0", "1.2.3.4/٨", "1.2.3.4\x00", "\"/8",
	} {
		if p, ok := ParseNetwork(in); ok || ValidNetwork(in) {
			t.Errorf("ParseNetwork(%q) = %v, want it refused", in, p)
		}
	}
}

func TestNetworksOfAKeyAreSortedAndEachOnce(t *testing.T) {
	var f faults
	got := f.networks([]string{"2001:db8::/32", "10.9.9.9/8", "9.0.0.0/8", "::ffff:10.0.0.0/104", "10.0.0.0/16", "10.0.0.1"})
	want := []string{"9.0.0.0/8", "10.0.0.0/8", "10.0.0.0/16", "10.0.0.1/32", "2001:db8::/32"}
	if d := cmp.Diff(want, got); d != "" || f.err() != nil {
		t.Errorf("networks (-want +got), error %v:\n%s", f.err(), d)
	}
	for n, ok := range map[int]bool{0: true, MaxNetworks: true, MaxNetworks + 1: false} {
		f = faults{}
		if f.networks(strings.Fields(strings.Repeat("10.0.0.1 ", n))); (f.err() == nil) != ok {
			t.Errorf("%d networks: %v, want them taken: %t", n, f.err(), ok)
		}
	}
	f = faults{}
	f.networks([]string{"10.0.0.0/8", "kr_live_8fQ2mZ0a_secret", "::1%eth0", "::1"})
	if err := f.err(); err == nil || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "eth0") ||
		!strings.Contains(err.Error(), "networks[1]") || !strings.Contains(err.Error(), "networks[2]") || len(f.list) != 2 {
		t.Errorf("error %v, want it to name networks[1] and networks[2], and to echo nothing", err)
	}
}

func TestNetworksCover(t *testing.T) {
	covers := func(held, wanted string, want bool) {
		t.Helper()
		if got := CoversNetworks(strings.Fields(held), strings.Fields(wanted)); got != want {
			t.Errorf("CoversNetworks(%q, %q) = %t, want %t", held, wanted, got, want)
		}
	}
	covers("", "", true)
	covers("", "10.0.0.0/8", true)
	covers("10.0.0.0/8", "", false) // anywhere is more than one network
	covers("0.0.0.0/0", "", false)
	covers("0.0.0.0/0 ::/0", "", true)
	covers("::/0", "10.0.0.0/8", false)
	covers("0.0.0.0/0", "::ffff:10.0.0.0/104", true)
	covers("10.0.0.0/8", "10.0.0.0/8", true)
	covers("10.0.0.0/8", "10.255.255.255/32", true)
	covers("10.0.0.0/8", "10.0.0.0/7", false)
	covers("10.0.0.0/8", "11.0.0.0/32", false)
	covers("10.0.0.0/9 10.128.0.0/9", "10.0.0.0/8", true)
	covers("10.0.0.0/9 10.128.0.0/10", "10.0.0.0/8", false)
	covers("::/1 8000::/1", "::/0", true)
	covers("::/1 8000::/2 c000::/3 e000::/4 f000::/5", "::/0", false)
	covers("nonsense 10.0.0.0/8", "10.0.0.0/8", false)
	covers("10.0.0.0/8", "nonsense", false)
}

// Every prefix of four bits is drawn, and every address of them is asked, by package net.
func TestCoveringIsByAddress(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 1))
	draw := func() (list []string) {
		for range 1 + rng.IntN(5) {
			bits := rng.IntN(5)
			list = append(list, fmt.Sprintf("10.0.0.%d/%d", rng.IntN(16)>>(4-bits)<<(4-bits), 28+bits))
		}
		return list
	}
	in := func(list []string, ip net.IP) bool {
		for _, n := range list {
			if _, block, err := net.ParseCIDR(n); err != nil {
				t.Fatal(err)
			} else if block.Contains(ip) {
				return true
			}
		}
		return false
	}
	outcomes := map[bool]int{}
	for range 20_000 {
		held, wanted := draw(), draw()
		want := true
		for last := range 16 {
			ip := net.IPv4(10, 0, 0, byte(last))
			want = want && (in(held, ip) || !in(wanted, ip))
		}
		outcomes[want]++
		if got := CoversNetworks(held, wanted); got != want {
			t.Fatalf("CoversNetworks(%q, %q) = %t, want %t", held, wanted, got, want)
		}
	}
	if outcomes[true] < 2000 || outcomes[false] < 2000 {
		t.Errorf("the draw tested too little: %v", outcomes)
	}
}
