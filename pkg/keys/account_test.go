package keys_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/keys/keystest"
)

func TestAccountOfSaysWhatThePlanGivesAndHowMuchIsUsed(t *testing.T) {
	w := newWorld(t, "pro")
	staging := w.manager(keys.Staging, "api_keys:read")
	gone := w.manager(keys.Production)
	if _, err := w.Service.Delete(ctx, w.root, ref(gone), anyVersion); err != nil {
		t.Fatal(err)
	}
	w.session(w.root)
	plans := w.Settings.Plans
	want := keys.AccountView{
		Account: w.account(), Keys: 3, KeyLimit: plans["pro"].Keys, Environments: keys.Environments(),
		DefaultPlan: w.Settings.DefaultPlan,
	}
	for _, name := range []string{"free", "pro"} {
		p := plans[name]
		want.Plans = append(want.Plans, keys.PlanView{
			Name: name, RateLimit: p.RateLimit, DevelopmentRateLimit: p.RateLimit * w.Settings.DevelopmentFactor, Keys: p.Keys,
		})
	}
	got, err := w.Service.AccountOf(ctx, w.root)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "root's account", got, want)
	want.Environments = []keys.Environment{keys.Staging}
	if got, err = w.Service.AccountOf(ctx, staging); err != nil {
		t.Fatal(err)
	}
	same(t, "a staging manager's", got, want)
	_, err = w.Service.AccountOf(ctx, w.manager(keys.Production, "*"))
	escalates(t, "AccountOf without a permission", err, "permissions")
}

func TestCustomersInUseAreCountedByTheKeysThatACallerSees(t *testing.T) {
	w := newWorld(t, "enterprise")
	staging := keys.Staging
	w.create(w.root, keys.CreateInput{Customers: []string{"cus_b", "cus_a"}})
	w.create(w.root, keys.CreateInput{Customers: []string{"cus_b"}, Environment: &staging})
	w.create(w.root, keys.CreateInput{Customers: []string{"Acme-1"}, Environment: &staging})
	gone := w.create(w.root, keys.CreateInput{Customers: []string{"cus_gone"}})
	if _, err := w.Service.Delete(ctx, w.root, ref(gone), anyVersion); err != nil {
		t.Fatal(err)
	}
	one := w.manager(keys.Staging, "api_keys:read")
	for name, tt := range map[string]struct {
		by     keys.Caller
		search string
		limit  int
		want   []keys.CustomerUse
	}{
		"all":           {w.root, "", 0, []keys.CustomerUse{{"Acme-1", 1}, {"cus_a", 1}, {"cus_b", 2}}},
		"some":          {w.root, "", 2, []keys.CustomerUse{{"Acme-1", 1}, {"cus_a", 1}}},
		"searched":      {w.root, "US_", 0, []keys.CustomerUse{{"cus_a", 1}, {"cus_b", 2}}},
		"in any case":   {w.root, "ACME", 0, []keys.CustomerUse{{"Acme-1", 1}}},
		"absent":        {w.root, "zzz", 0, nil},
		"by staging":    {one, "", 0, []keys.CustomerUse{{"Acme-1", 1}, {"cus_b", 1}}},
		"by production": {w.manager(keys.Production, "api_keys:read"), "b", 0, []keys.CustomerUse{{"cus_b", 2}}},
	} {
		got, err := w.Service.CustomersInUse(ctx, tt.by, tt.search, tt.limit)
		if err != nil {
			t.Fatal(err)
		}
		same(t, name, got, tt.want)
	}
	var many []string
	for i := range 99 {
		many = append(many, fmt.Sprintf("d%02d", i))
	}
	w.create(w.root, keys.CreateInput{Customers: many})
	if got, err := w.Service.CustomersInUse(ctx, w.root, "", 0); err != nil || len(got) != 100 {
		t.Errorf("CustomersInUse = %d, %v, want 100 unless more are asked for", len(got), err)
	}
	_, err := w.Service.CustomersInUse(ctx, w.root, fmt.Sprint(many), 1001)
	same(t, "fields at fault", invalidFields(t, err), "search limit")
	_, err = w.Service.CustomersInUse(ctx, w.manager(keys.Production), "", 0)
	escalates(t, "CustomersInUse without a permission", err, "permissions")
}

func TestSomeReadsTheKeysThatAreNamedAndSeen(t *testing.T) {
	w := newWorld(t, "enterprise")
	a, b, gone := w.manager(keys.Staging, "api_keys:read"), w.manager(keys.Production), w.manager(keys.Staging)
	if _, err := w.Service.Delete(ctx, w.root, ref(gone), anyVersion); err != nil {
		t.Fatal(err)
	}
	s := w.session(w.root)
	_, foreign := w.Account(t, "enterprise")
	ids := []apikey.ID{gone.KeyID, b.KeyID, a.KeyID, a.KeyID, s.KeyID, foreign.KeyID, "absent00", "%%", ""}
	reads := 0
	w.memory.OnCall(func(_ context.Context, c keystest.Call) error {
		if !c.Done {
			reads++
		}
		return nil
	})
	for name, tt := range map[string]struct {
		by   keys.Caller
		want []apikey.ID
	}{"root": {w.root, []apikey.ID{a.KeyID, b.KeyID, gone.KeyID}}, "staging": {a, []apikey.ID{a.KeyID, gone.KeyID}}} {
		reads = 0
		list, err := w.Service.Some(ctx, tt.by, ids)
		if err != nil {
			t.Fatal(err)
		}
		var got []apikey.ID
		for _, k := range list {
			got = append(got, k.ID)
			if k.Secret.Digest != (apikey.Digest{}) {
				t.Error("a digest came along")
			}
		}
		same(t, name, got, tt.want)
		same(t, "reads", reads, 1)
	}
	reads = 0
	if list, err := w.Service.Some(ctx, w.root, []apikey.ID{"%%"}); err != nil || len(list) != 0 || reads != 0 {
		t.Errorf("Some of nothing = %d, %v, %d reads", len(list), err, reads)
	}
	w.memory.OnCall(nil)
	_, err := w.Service.Some(ctx, b, ids)
	_, err2 := w.Service.Names(ctx, b, ids)
	for _, err := range []error{err, err2} {
		escalates(t, "names without a permission", err, "permissions")
	}
}

func TestListsAreFilteredByPermissionAndCustomer(t *testing.T) {
	w := newWorld(t, "enterprise")
	make := func(name string, customers []string, permissions ...string) {
		w.create(w.root, keys.CreateInput{Name: name, Customers: customers, Permissions: &permissions})
	}
	make("all", nil, "*")
	make("one", []string{"a"}, "customers:read")
	make("wild", []string{"a", "b"}, "customers:*")
	make("other", []string{"b"}, "invoices:read")
	make("manager", nil, "api_keys:*")
	if _, err := w.Service.Create(ctx, w.root, keys.CreateInput{Name: "decoy", Canary: true}, plain); err != nil {
		t.Fatal(err)
	}
	names := func(q keys.Query) (out []string) {
		t.Helper()
		for {
			page, err := w.Service.List(ctx, w.root, q)
			if err != nil {
				t.Fatal(err)
			}
			for _, k := range page.Keys {
				out = append(out, k.Name)
			}
			if q.Cursor = page.Next; q.Cursor == "" {
				return out
			}
		}
	}
	for _, limit := range []int{0, 1} {
		same(t, "by permission", names(keys.Query{Permission: "customers:read", Limit: limit}), []string{"Root key", "all", "one", "wild"})
		same(t, "by a permission that is granted by name", names(keys.Query{Permission: "api_keys:write", Limit: limit}), []string{"Root key", "manager"})
		same(t, "by customer", names(keys.Query{Customer: "a", Limit: limit}), []string{"one", "wild"})
		same(t, "by both", names(keys.Query{Customer: "b", Permission: "customers:write", Limit: limit}), []string{"wild"})
		same(t, "by a customer of nobody", names(keys.Query{Customer: "c", Limit: limit}), []string{})
	}
	for _, bad := range []string{"customers:fly", "*", "customers:*", "nonsense"} {
		_, err := w.Service.List(ctx, w.root, keys.Query{Permission: bad})
		same(t, "fields at fault", invalidFields(t, err), "permission")
	}
	_, err := w.Service.List(ctx, w.root, keys.Query{Customer: "a b"})
	same(t, "fields at fault", invalidFields(t, err), "customer")
	page, err := w.Service.List(ctx, w.root, keys.Query{Permission: "customers:read", Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range []keys.Query{{Cursor: page.Next}, {Permission: "invoices:read", Cursor: page.Next}, {Permission: "customers:read", Customer: "a", Cursor: page.Next}} {
		_, err := w.Service.List(ctx, w.root, q)
		is(t, "the cursor of another list", err, keys.ErrInvalidCursor)
	}
}

func TestKeysSayHowMuchOfTheirLimitsIsInUseNow(t *testing.T) {
	w := newWorld(t, "enterprise")
	k := w.create(w.root, keys.CreateInput{Limits: []keys.NamedLimit{{Window: "hour", Requests: 50}, {Window: "day", Requests: 90}}, Quota: &keys.Quota{Requests: 500, RefillDay: 1}})
	bare := w.create(w.root, keys.CreateInput{})
	start := w.Clock.Now()
	for _, id := range []apikey.ID{k.KeyID, bare.KeyID} {
		for i := range 3 {
			if err := w.memory.Use(ctx, id, start.Add(time.Duration(i)*10*time.Second)); err != nil {
				t.Fatal(err)
			}
		}
	}
	used := func(c keys.Caller) keys.Used {
		t.Helper()
		got, err := w.Service.Get(ctx, w.root, ref(c))
		page, err1 := w.Service.List(ctx, w.root, keys.Query{Sort: "-lastUsed", Text: string(c.KeyID)})
		if err := errors.Join(err, err1); err != nil {
			t.Fatal(err)
		}
		same(t, "the same in a list", page.Keys[0].Used, got.Used)
		return got.Used
	}
	w.Clock.Advance(20 * time.Second)
	same(t, "at once", used(k), keys.Used{Minute: 3, Hour: 3, Day: 3, Month: 3})
	same(t, "of a key with one limit", used(bare), keys.Used{Minute: 3})
	w.Clock.Advance(50 * time.Second)
	if u := used(k); u.Minute < 1 || u.Minute > 2 || u.Hour != 3 {
		t.Errorf("when the first has left the window: %+v", u)
	}
	w.Clock.Advance(time.Minute)
	same(t, "when the minute is over", used(k), keys.Used{Hour: 3, Day: 3, Month: 3})
	w.Clock.Advance(70 * time.Minute)
	same(t, "when the hour is over", used(k), keys.Used{Day: 3, Month: 3})
	w.Clock.Advance(32 * 24 * time.Hour)
	same(t, "when all is over", used(k), keys.Used{})
}

func TestEndGraceStopsTheOldSecretAndTakesItsDigestAway(t *testing.T) {
	w := newWorld(t, "enterprise")
	old := w.manager(keys.Production, "api_keys:*")
	issued, err := w.Service.Regenerate(ctx, w.root, ref(old), 24*time.Hour, plain, anyVersion)
	if err != nil {
		t.Fatal(err)
	}
	fresh := w.MustLogin(t, issued.Plaintext)
	s := w.session(fresh)
	before := w.key(old.KeyID)
	w.Clock.Advance(time.Minute)
	byOld := w.MustLogin(t, old.Credential)
	end := keys.Patch{EndGrace: true}
	k, err := w.Service.Update(ctx, byOld, ref(old), end, anyVersion) // by the secret that goes, too
	if err != nil {
		t.Fatal(err)
	}
	if k.Verdict != before.Verdict+1 || k.Previous != (keys.Secret{}) || k.Generation != before.Generation || !k.VerdictAt.Equal(w.Clock.Now()) {
		t.Errorf("the key is at verdict %d, with a previous secret of generation %d", k.Verdict, k.Previous.Generation)
	}
	if stored := w.key(old.KeyID); stored.Previous != (keys.Secret{}) || stored.Secret != before.Secret {
		t.Error("the old digest is still there, or the live one is another")
	}
	w.settled(old.KeyID)
	w.refused(old.Credential, keys.ReasonSecret)
	w.MustLogin(t, fresh.Credential)
	w.ended("a session of that verdict", keys.ReasonDeleted, s)
	_, err = w.Service.Update(ctx, byOld, ref(old), keys.Patch{Name: new("late")}, anyVersion)
	is(t, "a change by the old secret", err, keys.ErrCallerGone)
	e := w.audit(w.root, keys.AuditQuery{KeyID: old.KeyID, Action: "key.update"})[0]
	same(t, "what the event says", [2]int{len(e.Before), len(e.After)}, [2]int{1, 0})
	if e.Before["graceUntil"] == "" {
		t.Errorf("event %+v", e)
	}

	// Without a grace it changes nothing, as after its end.
	events := len(w.events())
	for range 2 {
		if _, err := w.Service.Update(ctx, w.root, ref(old), end, anyVersion); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Service.Regenerate(ctx, w.root, ref(old), time.Second, plain, anyVersion); err != nil {
		t.Fatal(err)
	}
	w.Clock.Advance(time.Second)
	if k, err = w.Service.Update(ctx, w.root, ref(old), end, anyVersion); err != nil || k.Verdict != before.Verdict+2 {
		t.Errorf("after the grace: %v, verdict %d", err, k.Verdict)
	}
	same(t, "events", len(w.events()), events+1)
}
