package usage

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// someProfile draws profiles of one key, of few values so that they meet, and many so that
// they do not fit.
func someProfile(t *rapid.T, name string) Profile {
	span := rapid.SampledFrom([]int{3, 40}).Draw(t, name+" span")
	when := rapid.Map(rapid.IntRange(0, span), func(n int) time.Time { // a month, or a year and a half
		if n == 0 {
			return time.Time{}
		}
		return time.Unix(0, 0).UTC().Add(time.Duration(n) * CrowdTime / 2)
	})
	times := rapid.SliceOfN(when.Filter(func(t time.Time) bool { return !t.IsZero() }), rapid.SampledFrom([]int{0, 30}).Draw(t, name+" least"), 50).Draw(t, name+" times")
	p := Profile{
		KeyID: "AbCd1234", AccountID: "acct_1", First: when.Draw(t, name+" first"), LastUsed: when.Draw(t, name+" used"), LastRefused: when.Draw(t, name+" refused"),
		Permissions: map[string]time.Time{}, Generations: map[int64]time.Time{}, Networks: map[string]time.Time{},
	}
	offset := rapid.IntRange(0, 30).Draw(t, name+" offset")
	for i, at := range times {
		p.Permissions[fmt.Sprintf("r%d:read", i%9)] = at
		p.Generations[int64(offset+i)] = at
		p.Networks[fmt.Sprintf("10.0.%d.0/24", offset+i)] = at
	}
	return Profile{}.Join(p) // as Join leaves it
}

func TestJoinIsASemilattice(t *testing.T) {
	equal := func(t *rapid.T, law string, a, b Profile) {
		t.Helper()
		if diff := cmp.Diff(a, b, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("%s (-left +right)\n%s", law, diff)
		}
		if !a.same(b) {
			t.Fatalf("%s: same() denies it", law)
		}
	}
	crowds, full := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := someProfile(t, "a"), someProfile(t, "b"), someProfile(t, "c")
		equal(t, "commutative", a.Join(b), b.Join(a))
		equal(t, "associative", a.Join(b).Join(c), a.Join(b.Join(c)))
		equal(t, "idempotent", a.Join(a), a)
		equal(t, "absorbs what it knows", a.Join(b).Join(a), a.Join(b))
		j := a.Join(b).Join(c)
		if len(j.Networks) > MaxNetworks || len(j.Generations) > MaxGenerations {
			t.Fatalf("%d networks, %d generations", len(j.Networks), len(j.Generations))
		}
		if len(j.Networks) == MaxNetworks {
			full++
		}
		if j.Crowded {
			crowds++
		}
	})
	if crowds == 0 || full == crowds {
		t.Errorf("%d profiles were full and %d of them crowded: the laws were not tried on both", full, crowds)
	}
}

func TestJoinKeepsTheVersionOfWhatIsStored(t *testing.T) {
	if v := (Profile{Version: 4}).Join(Profile{Version: 9}).Version; v != 4 {
		t.Errorf("version %d, want 4", v)
	}
}

func TestJoinSharesNothing(t *testing.T) {
	a := Profile{Networks: map[string]time.Time{"a": time.Unix(1, 0)}}
	a.Join(Profile{}).Networks["b"] = time.Unix(1, 0)
	if len(a.Networks) != 1 {
		t.Error("the join's map is the operand's")
	}
}

// fromNetworks is a profile of n networks, a day apart each.
func fromNetworks(n int, apart time.Duration) Profile {
	p := Profile{Networks: map[string]time.Time{}}
	for i := range n {
		p.Networks[fmt.Sprintf("10.0.%d.0/24", i)] = time.Unix(0, 0).UTC().Add(time.Duration(i) * apart)
	}
	return Profile{}.Join(p)
}

func TestTheNewestNetworksStay(t *testing.T) {
	p := fromNetworks(MaxNetworks+3, time.Hour)
	if len(p.Networks) != MaxNetworks {
		t.Fatalf("%d networks, want %d", len(p.Networks), MaxNetworks)
	}
	for i := range MaxNetworks + 3 {
		if _, kept := p.Networks[fmt.Sprintf("10.0.%d.0/24", i)]; kept != (i >= 3) {
			t.Errorf("network %d: kept is %t", i, kept)
		}
	}
}

func TestACrowdIsManyNetworksInAShortTime(t *testing.T) {
	for _, tt := range []struct {
		name  string
		n     int
		apart time.Duration
		want  bool
	}{
		{"one less than a crowd, at once", MaxNetworks - 1, 0, false},
		{"a crowd at once", MaxNetworks, 0, true},
		{"within the time, to the moment", MaxNetworks, CrowdTime / (MaxNetworks - 1), true},
		{"over the time", MaxNetworks, CrowdTime/(MaxNetworks-1) + time.Second, false},
		{"a traveller, for years", 200, 5 * 24 * time.Hour, false},
	} {
		if got := fromNetworks(tt.n, tt.apart).Crowded; got != tt.want {
			t.Errorf("%s: crowded is %t, want %t", tt.name, got, tt.want)
		}
	}
}

func TestACrowdThatHasGoneIsForgotten(t *testing.T) {
	crowd, alone := fromNetworks(MaxNetworks, 0), Profile{Networks: map[string]time.Time{}}
	alone.Networks["192.0.2.0/24"] = time.Unix(0, 0).UTC().Add(CrowdTime + time.Second)
	if !crowd.Crowded {
		t.Fatal("no crowd")
	}
	for _, j := range []Profile{crowd.Join(alone), alone.Join(crowd)} {
		if j.Crowded || len(j.Networks) != MaxNetworks {
			t.Errorf("crowded is %t with %d networks, one of them newer by more than CrowdTime", j.Crowded, len(j.Networks))
		}
	}
}

func TestNetwork(t *testing.T) {
	for ip, want := range map[string]string{
		"192.0.2.77":             "192.0.2.0/24",
		"192.0.2.255":            "192.0.2.0/24",
		"192.0.3.0":              "192.0.3.0/24",
		"::ffff:192.0.2.77":      "192.0.2.0/24",
		"::ffff:c000:24d":        "192.0.2.0/24",
		"2001:db8:1:ffff::1":     "2001:db8:1::/48",
		"2001:0DB8:0001::":       "2001:db8:1::/48",
		"2001:db8:2::1":          "2001:db8:2::/48",
		"fe80::1%eth0":           "fe80::/48",
		"::1":                    "::/48",
		"127.0.0.1":              "127.0.0.0/24",
		"":                       "",
		"-":                      "",
		"192.0.2.1:443":          "",
		"192.0.2.01":             "",
		"example.com":            "",
		"1.2.3.4, 192.0.2.1":     "",
		"::ffff:192.0.2.77%eth0": "192.0.2.0/24",
	} {
		if got := Network(ip); got != want {
			t.Errorf("Network(%q) = %q, want %q", ip, got, want)
		}
	}
}
