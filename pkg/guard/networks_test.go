package guard_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/pkg/guard"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/policy"
	"github.com/keyreeve/keyreeve/pkg/route"
)

// A table of networks and addresses. The cached policy, as IAM reads it, and the guard
// decide each row alike, on guarded and on unguarded routes.
func TestPolicyAndGuardAgreeOnEveryNetwork(t *testing.T) {
	table, err := route.Load([]byte(`{"permissions": [{"name": "customers:read", "label": "r"}], "routes": [
		{"method": "GET", "path": "/customers/{customerId}", "permission": "customers:read", "customer": "customerId", "function": "sample"},
		{"method": "GET", "path": "/raw", "permission": "customers:read", "function": "sample", "unguarded": true}]}`))
	if err != nil {
		t.Fatal(err)
	}
	policies, err := policy.New(table)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	rows := 0
	row := func(networks, address string, want bool) {
		t.Helper()
		rows++
		in := strings.Fields(networks)
		id := w.create(func(k *keys.Key) {
			for _, n := range in { // as keys keep them
				p, ok := keys.ParseNetwork(n)
				if !ok {
					t.Fatalf("network %s is none", n)
				}
				k.Networks = append(k.Networks, p.String())
			}
		})
		who := w.context(id, 1)

		const base = "arn:aws:execute-api:eu-central-1:123456789012:abcdef1234/production/"
		doc, _, err := policies.AppendDocument(nil, who, base)
		if err != nil {
			t.Fatal(err)
		}
		env := map[string]string{policy.CurrentTime: noon.Format(time.RFC3339), policy.SourceIP: address}
		for _, resource := range []string{"GET/customers/cus_1", "GET/raw"} {
			d, err := policy.Evaluate(doc, "execute-api:Invoke", base+resource, env)
			if got := err == nil && d.Allowed; got != want {
				t.Errorf("%q from %q: the policy allows %s: %t (%v), want %t", networks, address, resource, got, err, want)
			}
		}

		c := customers(who)
		c.SourceIP = address
		_, err = w.process().Check(t.Context(), c)
		var scope *guard.ScopeError
		refused := errors.As(err, &scope) && scope.Network
		if err != nil && !refused {
			t.Fatal(err)
		}
		if refused == want {
			t.Errorf("%q from %q: the guard lets it pass: %t, want %t", networks, address, !refused, want)
		}
		if m, _ := w.meters.Meter(id); (m.Requests == 1) != want {
			t.Errorf("%q from %q: %d requests counted", networks, address, m.Requests)
		}
	}
	in := func(networks, address string) { t.Helper(); row(networks, address, true) }
	out := func(networks, address string) { t.Helper(); row(networks, address, false) }

	in("10.0.0.0/8", "10.0.0.0")
	in("10.0.0.0/8", "10.255.255.255")
	out("10.0.0.0/8", "9.255.255.255")
	out("10.0.0.0/8", "11.0.0.0")
	in("10.77.1.2/8", "10.0.0.1") // bits beyond the length mean nothing
	in("203.0.113.7", "203.0.113.7")
	out("203.0.113.7", "203.0.113.6")
	out("203.0.113.7/32", "203.0.113.8")
	in("203.0.113.128/25", "203.0.113.128")
	out("203.0.113.128/25", "203.0.113.127")
	in("203.0.113.0/31", "203.0.113.1")
	out("203.0.113.0/31", "203.0.113.2")
	in("0.0.0.0/0", "0.0.0.0")
	in("0.0.0.0/0", "255.255.255.255")
	out("0.0.0.0/0", "::1")
	out("0.0.0.0/0", "2001:db8::1")
	in("10.0.0.0/8 192.168.0.0/16", "192.168.255.255")
	out("10.0.0.0/8 192.168.0.0/16", "172.16.0.1")

	in("2001:db8::/32", "2001:db8::")
	in("2001:db8::/32", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff")
	out("2001:db8::/32", "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff")
	out("2001:db8::/32", "2001:db9::")
	in("2001:db8::1", "2001:0DB8:0:0:0:0:0:1")
	out("2001:db8::1/128", "2001:db8::2")
	in("2001:db8::2/127", "2001:db8::3")
	out("2001:db8::2/127", "2001:db8::4")
	in("::/0", "::")
	in("::/0", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")
	out("::/0", "10.0.0.1") // IPv4 is no part of it
	in("::/0 0.0.0.0/0", "10.0.0.1")
	in("2001:db8::/33 10.0.0.0/8", "10.1.1.1")
	in("fe80::/10", "fe80::1")
	out("fe80::/10", "fec0::1")

	// One address, two spellings.
	in("10.0.0.0/8", "::ffff:10.1.2.3")
	in("10.0.0.0/8", "::ffff:0a01:0203")
	out("10.0.0.0/8", "::ffff:11.0.0.0")
	in("::ffff:10.0.0.0/104", "10.1.2.3")
	in("::ffff:10.0.0.0/104", "::ffff:10.1.2.3")
	out("::ffff:10.0.0.0/104", "11.0.0.0")
	in("::ffff:0:0/96", "192.0.2.1")
	out("::/0", "::ffff:10.1.2.3")
	in("0.0.0.0/0", "::ffff:10.1.2.3")
	out("10.1.2.3/32", "::10.1.2.3") // IPv4-compatible is another address

	// What is no address comes from nowhere.
	for _, bad := range []string{
		"", " ", "10.0.0.1 ", "10.0.0", "10.0.0.1/32", "10.0.0.256", "010.0.0.1", "10.0.0.1:443", "[::1]", "[::1]:443", "::1%eth0", "fe80::1%1", "localhost",
		"0x0a000001", "167772161", "10.0.0.1, 10.0.0.2", "*", "unknown", "::ffff:10.0.0.1%eth0", "::g",
	} {
		out("10.0.0.0/8 0.0.0.0/0 ::/0", bad)
	}
	// Of a key without networks nobody asks.
	in("", "203.0.113.7")
	in("", "::1")
	in("", "nonsense")
	in("", "")
	t.Logf("%d rows", rows)
}

func TestNetworksAreKeptWhateverTheContextSays(t *testing.T) {
	w := newWorld(t)
	from := func(who keys.Identity, address string) guard.Call {
		c := customers(who)
		c.SourceIP = address
		return c
	}
	allow := func(networks ...string) func(*keys.Key) {
		return func(k *keys.Key) { k.Networks = networks }
	}
	id := w.create()
	g, anywhere := w.process(), w.context(id, 1)
	w.try(g, from(anywhere, "203.0.113.7"), "pass")
	w.change(id, allow("10.0.0.0/8"))
	w.try(g, from(anywhere, "203.0.113.7"), "403 network")
	w.try(g, from(anywhere, ""), "403 network")
	w.try(w.process(), from(anywhere, "203.0.113.7"), "403 network")
	w.try(g, from(anywhere, "10.0.0.1"), "pass")

	confined := w.context(id, 1)
	w.change(id, allow("10.0.0.0/8", "203.0.113.0/24"))
	w.try(g, from(confined, "203.0.113.7"), "pass") // what was allowed meanwhile works at once
	w.change(id, allow())
	w.try(g, from(confined, "198.51.100.1"), "pass")

	// A damaged item opens nothing.
	w.change(id, allow("10.0.0.0/8", "anywhere"))
	w.try(g, from(confined, "10.0.0.1"), "403 network")
}

func TestAKeyThatIsPutOffStopsAtOnceAndWorksAgainOnTime(t *testing.T) {
	w := newWorld(t)
	id := w.create()
	g, who := w.process(), w.context(id, 1)
	w.try(g, customers(who), "pass")
	w.change(id, func(k *keys.Key) { k.NotBefore = noon.Add(time.Hour) })
	for range 3 {
		w.try(g, customers(who), "401 not_yet_valid")
		w.try(w.process(), customers(who), "401 not_yet_valid")
	}
	w.advance(time.Hour - time.Millisecond)
	w.try(g, customers(who), "401 not_yet_valid")
	w.advance(time.Millisecond)
	w.try(g, customers(who), "pass")
	if m, _ := w.meters.Meter(id); m.Requests != 2 {
		t.Errorf("%d requests counted, want the two that passed", m.Requests)
	}
}
