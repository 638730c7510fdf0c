package usage_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/route"
	"github.com/keyreeve/keyreeve/pkg/usage"
)

// usedAgo makes a profile of permissions by how many days ago they were used.
func (w *reported) usedAgo(c keys.Caller, days map[string]int) {
	w.t.Helper()
	now := w.Clock.Now()
	p := usage.Profile{Permissions: map[string]time.Time{}}
	for name, ago := range days {
		at := now.Add(-time.Duration(ago) * 24 * time.Hour)
		p.Permissions[name] = at
		if at.After(p.LastUsed) {
			p.LastUsed = at
		}
		if p.First.IsZero() || at.Before(p.First) {
			p.First = at
		}
	}
	w.used(c, p)
}

func (w *reported) advice(c keys.Caller) usage.Advice {
	w.t.Helper()
	a, err := w.reports.Advice(w.t.Context(), w.root, w.of(c))
	if err != nil {
		w.t.Fatalf("Advice: %v", err)
	}
	return a
}

func TestTheNarrowerSetIsWhatWasUsed(t *testing.T) {
	w := newReported(t)
	for _, c := range []struct {
		held []string
		used string // space-separated
		want []string
	}{
		{[]string{"customers:read", "customers:write"}, "customers:read", []string{"customers:read"}},
		{[]string{"customers:read"}, "customers:read", nil},
		{[]string{"customers:*"}, "customers:read", []string{"customers:read"}},
		{[]string{"customers:*"}, "customers:read customers:write", nil},
		{[]string{"customers:*", "customers:read"}, "customers:read", []string{"customers:read"}},
		{[]string{"*"}, "customers:read invoices:read", []string{"customers:read", "invoices:read"}},
		{[]string{"*", "customers:*"}, "customers:read customers:write", []string{"customers:*"}},
		{[]string{"*"}, "workspaces:read workspaces:write customers:read customers:write invoices:read licenses:manage telemetry:write", nil},
		// Managing keys is all or nothing, and "*" never stands for it.
		{[]string{"*", "api_keys:*"}, "customers:read api_keys:read", []string{"api_keys:*", "customers:read"}},
		{[]string{"*", "api_keys:*"}, "customers:read", []string{"customers:read"}},
		{[]string{"api_keys:read", "api_keys:write"}, "api_keys:read", nil},
		{[]string{"*", "api_keys:read"}, "api_keys:write", []string{"api_keys:read"}},
		// What the key does not hold any more, and what the catalogue has lost.
		{[]string{"customers:read", "invoices:read"}, "telemetry:write customers:read", []string{"customers:read"}},
		{[]string{"*"}, "customers:read orders:read", []string{"customers:read"}},
		// Used, but on routes that ask for nothing.
		{[]string{"customers:read"}, "", []string{}},
		{[]string{}, "", nil},
	} {
		k := w.key(keys.Production, c.held...)
		days := map[string]int{}
		for _, name := range strings.Fields(c.used) {
			days[name] = 3
		}
		if len(days) == 0 {
			days[""] = 3 // a request whose route asks for no permission
		}
		w.usedAgo(k, days)
		a := w.advice(k)
		if d := cmp.Diff(c.want, a.Narrower); d != "" {
			t.Errorf("held %v, used %q (-want +got):\n%s", c.held, c.used, d)
		}
		if a.Narrower != nil {
			w.applied(k, a, strings.Fields(c.used))
		}
	}
}

// applied carries out what was proposed, as the API's clients do, and holds the key to it.
func (w *reported) applied(c keys.Caller, a usage.Advice, used []string) {
	w.t.Helper()
	before := a.Key.Permissions
	k, err := w.Service.Update(w.t.Context(), w.root, w.of(c), keys.Patch{Permissions: &a.Narrower}, keys.Conditions{})
	if err != nil {
		w.t.Errorf("%v in place of %v cannot be granted: %v", a.Narrower, before, err)
		return
	}
	if !keys.HoldsAll(before, k.Permissions) || keys.HoldsAll(k.Permissions, before) {
		w.t.Errorf("%v is not narrower than %v", k.Permissions, before)
	}
	for _, p := range used {
		if keys.Holds(before, p) && route.Default().KnownPermission(p) && !keys.Holds(k.Permissions, p) {
			w.t.Errorf("%v does not cover %s any more, which was used", k.Permissions, p)
		}
	}
	if again := w.advice(c); again.Narrower != nil {
		w.t.Errorf("after it was applied, %v in place of %v is proposed", again.Narrower, k.Permissions)
	}
}

func TestAdviceSaysWhenEachPermissionWasLastUsed(t *testing.T) {
	w := newReported(t)
	k := w.key(keys.Production, "*", "api_keys:read", "customers:*", "invoices:read")
	w.usedAgo(k, map[string]int{"customers:read": 100, "customers:write": 20, "telemetry:write": 5, "": 1})
	ago := func(days int) time.Time { return w.Clock.Now().Add(-time.Duration(days) * 24 * time.Hour) }
	use := func(name string, days int) usage.PermissionUse {
		return usage.PermissionUse{Permission: name, LastUsed: ago(days)}
	}
	want := []usage.HeldUse{
		{Permission: "*", LastUsed: ago(5), Used: []usage.PermissionUse{use("customers:read", 100), use("customers:write", 20), use("telemetry:write", 5)}},
		{Permission: "api_keys:read"},
		{Permission: "customers:*", LastUsed: ago(20), Used: []usage.PermissionUse{use("customers:read", 100), use("customers:write", 20)}},
		{Permission: "invoices:read"},
	}
	a := w.advice(k)
	if d := cmp.Diff(want, a.Held); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if !a.ObservedSince.Equal(ago(100)) || !a.LastUsed.Equal(ago(1)) || !a.Conclusive {
		t.Errorf("observed since %v, last used %v, conclusive %t", a.ObservedSince, a.LastUsed, a.Conclusive)
	}
}

func TestAdviceKnowsWhatItCannotTell(t *testing.T) {
	const d = 24 * time.Hour
	type verdict struct{ Narrow, Conclusive, Unused, Revoke, RotationDue bool }
	for _, c := range []struct {
		what string
		make func(*reported) keys.Caller
		age  time.Duration // of the key, when the question is asked
		then func(*reported, keys.Caller)
		want verdict
	}{
		{what: "new", want: verdict{Revoke: true}},
		{what: "never used, nearly 90 days", age: 90*d - 1*time.Millisecond, want: verdict{Revoke: true}},
		{what: "never used for 90 days", age: 90 * d, want: verdict{Conclusive: true, Unused: true, Revoke: true, RotationDue: true}},
		{what: "used lately", age: 200 * d, then: func(w *reported, k keys.Caller) { w.usedAgo(k, map[string]int{"customers:read": 10}) },
			want: verdict{Narrow: true, RotationDue: true}},
		{what: "used for long", age: 200 * d, then: func(w *reported, k keys.Caller) {
			w.usedAgo(k, map[string]int{"customers:read": 90, "": 89})
		}, want: verdict{Narrow: true, Conclusive: true, RotationDue: true}},
		{what: "used long ago", age: 200 * d, then: func(w *reported, k keys.Caller) { w.usedAgo(k, map[string]int{"customers:read": 90}) },
			want: verdict{Narrow: true, Conclusive: true, Unused: true, Revoke: true, RotationDue: true}},
		{what: "used before there were logs", age: 200 * d, then: func(w *reported, k keys.Caller) {
			_ = w.keys.Use(w.t.Context(), k.KeyID, w.Clock.Now().Add(-d))
		}, want: verdict{RotationDue: true}},
		{what: "rotated", age: 200 * d, then: func(w *reported, k keys.Caller) {
			if _, err := w.Service.Regenerate(w.t.Context(), w.root, w.of(k), 0, keys.Idempotency{}, keys.Conditions{}); err != nil {
				w.t.Fatal(err)
			}
			w.Clock.Advance(90*d - time.Millisecond)
			w.usedAgo(k, map[string]int{"customers:read": 1})
		}, want: verdict{Narrow: true}},
		{what: "switched off", age: 100 * d, then: func(w *reported, k keys.Caller) {
			if _, _, err := w.Service.Revoke(w.t.Context(), w.root, w.of(k), false, keys.Conditions{}); err != nil {
				w.t.Fatal(err)
			}
			w.usedAgo(k, map[string]int{"customers:read": 95})
		}, want: verdict{Narrow: true, Conclusive: true}},
		{what: "deleted", age: 100 * d, then: func(w *reported, k keys.Caller) {
			w.usedAgo(k, map[string]int{"customers:read": 95})
			w.delete(k)
		}, want: verdict{Conclusive: true}},
	} {
		w := newReported(t)
		k := w.key(keys.Production, "customers:read", "customers:write")
		w.Clock.Advance(c.age)
		if c.then != nil {
			c.then(w, k)
		}
		a := w.advice(k)
		got := verdict{a.Narrower != nil, a.Conclusive, a.Unused, a.Revoke, a.RotationDue}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.what, d)
		}
	}
}

func TestACanaryIsThereToBeUnused(t *testing.T) {
	w := newReported(t)
	out, err := w.Service.Create(t.Context(), w.root, keys.CreateInput{Name: "decoy", Canary: true}, keys.Idempotency{})
	if err != nil {
		t.Fatal(err)
	}
	w.Clock.Advance(200 * 24 * time.Hour)
	a, err := w.reports.Advice(t.Context(), w.root, keys.Ref{ID: out.Key.ID})
	if err != nil || a.Narrower != nil || a.Revoke || a.Unused || a.RotationDue {
		t.Errorf("advice for a canary: %+v, %v", a, err)
	}
}

func TestTheCallersOwnKeyKeepsWhatItJustUsed(t *testing.T) {
	w := newReported(t)
	w.usedAgo(w.root, map[string]int{"customers:read": 3})
	a := w.advice(w.root)
	if want := []string{"api_keys:*", "customers:read"}; !slices.Equal(a.Narrower, want) {
		t.Errorf("the root key, which asks, is to hold %v, want %v", a.Narrower, want)
	}
	w.applied(w.root, a, []string{"customers:read", "api_keys:read"})
}

// A key of more names than a key may hold is narrowed to whole resources.
func TestAProposalHasNoMorePermissionsThanAKeyMayHold(t *testing.T) {
	var rows, used []string
	for _, r := range "abcdefghijklmnopqrstuvwxyz" {
		for _, action := range []string{"read", "write", "delete"} {
			name := strings.Repeat(string(r), 3) + ":" + action
			text, err := json.Marshal(map[string]string{"name": name, "label": name})
			if err != nil {
				t.Fatal(err)
			}
			rows = append(rows, string(text))
			if action != "delete" {
				used = append(used, name)
			}
		}
	}
	table, err := route.Load([]byte(`{"permissions":[` + strings.Join(rows, ",") + `],"routes":[{"method":"GET","path":"/v1/aaa","permission":"aaa:read","function":"mine"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	w := newReported(t)
	k := w.key(keys.Production, "*")
	days := map[string]int{}
	for _, name := range used {
		days[name] = 1
	}
	w.usedAgo(k, days)
	a, err := usage.NewReports(usage.ReportsConfig{Store: w.store, Keys: w.Service, Table: table, Clock: w.Clock.Now}).Advice(t.Context(), w.root, w.of(k))
	if err != nil {
		t.Fatal(err)
	}
	if len(a.Narrower) != 26 || !keys.HoldsAll(a.Narrower, used) || !keys.HoldsAll([]string{"*"}, a.Narrower) || a.Narrower[0] != "aaa:*" {
		t.Errorf("52 permissions used: %d proposed, %v", len(a.Narrower), a.Narrower)
	}
}

// No route asks for it any more, and nobody may grant it: the patch would be refused.
func TestWhatTheCatalogueHasLostIsNotProposed(t *testing.T) {
	w := newReported(t)
	table, err := route.Load([]byte(`{"permissions":[{"name":"customers:read","label":"Customer Read"},{"name":"customers:write","label":"Customer Write"}],
		"routes":[{"method":"GET","path":"/v1/customers","permission":"customers:read","function":"mine"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	k := w.key(keys.Production, "customers:read", "invoices:read", "licenses:*")
	w.usedAgo(k, map[string]int{"customers:read": 1, "invoices:read": 1, "licenses:manage": 1})
	a, err := usage.NewReports(usage.ReportsConfig{Store: w.store, Keys: w.Service, Table: table, Clock: w.Clock.Now}).Advice(t.Context(), w.root, w.of(k))
	if err != nil || !slices.Equal(a.Narrower, []string{"customers:read"}) {
		t.Errorf("Narrower = %v, %v, want what the catalogue still has", a.Narrower, err)
	}
}

// Whatever a key holds and uses: what is proposed is never wider, is less, can be granted,
// keeps all that was used, and keeps all of api_keys if any of it was used.
func TestAProposalIsNeverWiderAndNeverTakesWhatWasUsed(t *testing.T) {
	w := newReported(t)
	var names, grantable []string
	for _, p := range route.Default().Permissions() {
		names = append(names, p.Name)
		grantable = append(grantable, p.Name, strings.Split(p.Name, ":")[0]+":*")
	}
	grantable = append(grantable, "*")
	slices.Sort(grantable)
	grantable = slices.Compact(grantable)
	names = append(names, "orders:read") // asked for by no route any more
	proposals := 0
	rapid.Check(t, func(r *rapid.T) {
		held := rapid.SliceOfNDistinct(rapid.SampledFrom(grantable), 0, 6, rapid.ID[string]).Draw(r, "held")
		used := rapid.SliceOfNDistinct(rapid.SampledFrom(names), 0, 6, rapid.ID[string]).Draw(r, "used")
		k := w.key(keys.Staging, held...)
		days := map[string]int{"": 1}
		for _, name := range used {
			days[name] = 2
		}
		w.usedAgo(k, days)
		a := w.advice(k)
		if a.Narrower == nil {
			return
		}
		proposals++
		if !keys.HoldsAll(held, a.Narrower) {
			r.Fatalf("%v in place of %v is wider", a.Narrower, held)
		}
		if keys.HoldsAll(a.Narrower, held) {
			r.Fatalf("%v in place of %v takes nothing away", a.Narrower, held)
		}
		managed := false
		for _, p := range used {
			managed = managed || strings.HasPrefix(p, "api_keys:")
			if p != "orders:read" && keys.Holds(held, p) && !keys.Holds(a.Narrower, p) {
				r.Fatalf("%v in place of %v takes %s, which was used", a.Narrower, held, p)
			}
		}
		for _, p := range held {
			if managed && strings.HasPrefix(p, "api_keys:") && !keys.Holds(a.Narrower, p) {
				r.Fatalf("%v in place of %v takes %s, and keys were managed", a.Narrower, held, p)
			}
		}
		if _, err := w.Service.Update(t.Context(), w.root, w.of(k), keys.Patch{Permissions: &a.Narrower}, keys.Conditions{}); err != nil {
			r.Fatalf("%v in place of %v: %v", a.Narrower, held, err)
		}
	})
	if proposals == 0 {
		t.Error("nothing was ever proposed")
	}
}
