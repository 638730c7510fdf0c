package keys_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/config"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/keys/keystest"
)

func TestCreateAnswersTheKeyAndItsOnlyPlaintext(t *testing.T) {
	w := newWorld(t, "enterprise")
	expires := w.Clock.Now().Add(90 * 24 * time.Hour)
	out, err := w.Service.Create(ctx, w.root, keys.CreateInput{
		Name: "Main Website Integration", Environment: new(keys.Staging), Permissions: &[]string{"telemetry:write", "customers:read", "telemetry:write"},
		Customers: []string{"cus_2", "cus_1", "cus_2"}, Owner: "Zoë", Plan: new("pro"), ExpirationDays: new(90), Face: keys.AccountFace,
	}, plain)
	if err != nil {
		t.Fatalf("Create: %v", err)
	}
	now := w.Clock.Now()
	want := keys.Key{
		ID: out.Plaintext.ID(), Number: 2, AccountID: w.root.AccountID, Name: "Main Website Integration", Environment: keys.Staging,
		Permissions: []string{"customers:read", "telemetry:write"}, Customers: []string{"cus_1", "cus_2"}, Owner: "Zoë",
		Plan: "pro", RateLimit: 100, Active: true, Face: keys.AccountFace, CreatedBy: w.root.KeyID,
		CreatedAt: now, UpdatedAt: now, VerdictAt: now, ExpiresAt: expires, Version: 1, Verdict: 1, Generation: 1,
		Secret: keys.Secret{Generation: 1, Prefix: "kr_stage"},
	}
	same(t, "answer", out.Key, want)
	c := w.MustLogin(t, out.Plaintext)
	same(t, "meter", w.meter(c.KeyID), keystest.Meter{Verdict: 1, Active: true})
	stored := w.key(c.KeyID)
	ring, _ := w.Peppers.Ring(ctx)
	digest, err := ring.Digest(stored.Secret.Pepper, out.Plaintext)
	if err != nil || !digest.Equal(stored.Secret.Digest) {
		t.Errorf("the stored digest is not the key's: %v", err)
	}
}

func TestCreateTakesDefaultsFromItsCaller(t *testing.T) {
	w := newWorld(t, "pro")
	dev := w.manager(keys.Development, "api_keys:write", "api_keys:read", "customers:read")
	confined := w.create(w.root, keys.CreateInput{Permissions: &[]string{"api_keys:*", "invoices:read"}, Customers: []string{"cus_1"}})
	for name, tt := range map[string]struct {
		by          keys.Caller
		in          keys.CreateInput
		environment keys.Environment
		permissions []string
		customers   []string
		limit       int
	}{
		"a root key":              {w.root, keys.CreateInput{}, keys.Production, []string{"*"}, nil, 20},
		"a root key, full access": {w.root, keys.CreateInput{FullAccess: true}, keys.Production, []string{"*", "api_keys:*"}, nil, 20},
		"a development key":       {dev, keys.CreateInput{}, keys.Development, []string{"customers:read"}, nil, 100},
		"full access is not for development": {w.root, keys.CreateInput{FullAccess: true, Environment: new(keys.Development)},
			keys.Development, []string{"*"}, nil, 100},
		"a confined key":                               {confined, keys.CreateInput{}, keys.Production, []string{"invoices:read"}, []string{"cus_1"}, 20},
		"for staging":                                  {w.root, keys.CreateInput{Environment: new(keys.Staging)}, keys.Staging, []string{"*"}, nil, 20},
		"no permissions by name":                       {w.root, keys.CreateInput{Permissions: &[]string{}}, keys.Production, nil, nil, 20},
		"every customer, by name":                      {w.root, keys.CreateInput{Customers: []string{}}, keys.Production, []string{"*"}, nil, 20},
		"the account's own plan":                       {w.root, keys.CreateInput{Plan: new("pro")}, keys.Production, []string{"*"}, nil, 100},
		"a plan for development":                       {w.root, keys.CreateInput{Plan: new("pro"), Environment: new(keys.Development)}, keys.Development, []string{"*"}, nil, 500},
		"a limit under the plan's":                     {w.root, keys.CreateInput{RateLimit: new(7)}, keys.Production, []string{"*"}, nil, 7},
		"a limit over its plan's, up to the account's": {w.root, keys.CreateInput{RateLimit: new(100)}, keys.Production, []string{"*"}, nil, 100},
		"a limit for development, times the factor":    {w.root, keys.CreateInput{RateLimit: new(500), Environment: new(keys.Development)}, keys.Development, []string{"*"}, nil, 500},
	} {
		t.Run(name, func(t *testing.T) {
			tt.in.Name = "x"
			out, err := w.Service.Create(ctx, tt.by, tt.in, plain)
			if err != nil {
				t.Fatalf("Create: %v", err)
			}
			k := out.Key
			same(t, "environment", k.Environment, tt.environment)
			same(t, "permissions", k.Permissions, tt.permissions)
			same(t, "customers", k.Customers, tt.customers)
			same(t, "limit", k.RateLimit, tt.limit)
			same(t, "limit was named", k.LimitNamed, tt.in.RateLimit != nil)
			same(t, "face", k.Face, keys.Canonical)
			same(t, "expiry", k.ExpiresAt, time.Time{})
		})
	}
}

func TestTheDefaultPlanIsNeverAboveTheAccounts(t *testing.T) {
	w := newWorld(t, "free", func(c *keys.Config) { c.Settings.DefaultPlan = "pro" })
	k := w.key(w.create(w.root, keys.CreateInput{}).KeyID)
	if k.Plan != "free" || k.RateLimit != 20 {
		t.Errorf("plan %s, limit %d, want free and 20", k.Plan, k.RateLimit)
	}
}

func TestNothingGoesAboveTheAccountsPlan(t *testing.T) {
	w := newWorld(t, "pro")
	target := w.create(w.root, keys.CreateInput{})
	dev := w.create(w.root, keys.CreateInput{Environment: new(keys.Development)})
	for name, tt := range map[string]struct {
		in    keys.CreateInput
		field string
	}{
		"plan":                  {keys.CreateInput{Plan: new("enterprise")}, "plan"},
		"limit":                 {keys.CreateInput{RateLimit: new(101)}, "rateLimit"},
		"limit for development": {keys.CreateInput{RateLimit: new(501), Environment: new(keys.Development)}, "rateLimit"},
	} {
		tt.in.Name = "x"
		_, err := w.Service.Create(ctx, w.root, tt.in, plain)
		escalates(t, "create, "+name, err, tt.field)
		who := target
		if tt.in.Environment != nil {
			who = dev
		}
		_, err = w.Service.Update(ctx, w.root, ref(who), keys.Patch{Plan: tt.in.Plan, RateLimit: tt.in.RateLimit}, anyVersion)
		escalates(t, "update, "+name, err, tt.field)
	}
}

func TestAPlanChangeRewritesTheLimitUnlessItWasNamed(t *testing.T) {
	w := newWorld(t, "enterprise")
	c := w.create(w.root, keys.CreateInput{Environment: new(keys.Development)})
	for _, step := range []struct {
		patch keys.Patch
		plan  string
		limit int
		named bool
	}{
		{keys.Patch{Plan: new("pro")}, "pro", 500, false},
		{keys.Patch{Plan: new("enterprise")}, "enterprise", 5000, false},
		{keys.Patch{RateLimit: new(30)}, "enterprise", 30, true},
		{keys.Patch{Plan: new("free")}, "free", 30, true},
		{keys.Patch{Plan: new("pro"), RateLimit: new(31)}, "pro", 31, true},
	} {
		k, err := w.Service.Update(ctx, w.root, ref(c), step.patch, anyVersion)
		if err != nil || k.Plan != step.plan || k.RateLimit != step.limit || k.LimitNamed != step.named {
			t.Fatalf("plan %s, limit %d, named %t, %v, want %+v", k.Plan, k.RateLimit, k.LimitNamed, err, step)
		}
	}
}

func TestEveryFieldAtFaultIsNamed(t *testing.T) {
	w := newWorld(t, "enterprise")
	now := w.Clock.Now()
	pasted := w.create(w.root, keys.CreateInput{}).Credential.Plaintext()
	many := func(n int, s string) (list []string) {
		for i := range n {
			list = append(list, fmt.Sprint(s, i))
		}
		return list
	}
	for name, tt := range map[string]struct {
		in   keys.CreateInput
		want string // fields at fault; none: it is valid
	}{
		"1 character":                  {keys.CreateInput{Name: "x"}, ""},
		"100 characters of two bytes":  {keys.CreateInput{Name: strings.Repeat("é", 100)}, ""},
		"100 characters of four":       {keys.CreateInput{Name: strings.Repeat("🗼", 100)}, ""},
		"a formula":                    {keys.CreateInput{Name: `=HYPERLINK("http://x","y")`}, ""},
		"markup":                       {keys.CreateInput{Name: "<img onerror=alert(1)>"}, ""},
		"joined emoji":                 {keys.CreateInput{Name: "👩\u200d🚀"}, ""},
		"no name":                      {keys.CreateInput{}, "name"},
		"101 characters":               {keys.CreateInput{Name: strings.Repeat("é", 101)}, "name"},
		"blank":                        {keys.CreateInput{Name: " \u00a0\u3000"}, "name"},
		"nothing to see":               {keys.CreateInput{Name: "\u200b\u2060\ufeff"}, "name"},
		"a line break":                 {keys.CreateInput{Name: "a\nb"}, "name"},
		"NUL":                          {keys.CreateInput{Name: "a\x00"}, "name"},
		"C1 control":                   {keys.CreateInput{Name: "a\u0085"}, "name"},
		"broken UTF-8":                 {keys.CreateInput{Name: "a\xc3"}, "name"},
		"a key in the name":            {keys.CreateInput{Name: "my " + pasted}, "name"},
		"owner of 100":                 {keys.CreateInput{Name: "x", Owner: strings.Repeat("é", 100)}, ""},
		"owner of 101":                 {keys.CreateInput{Name: "x", Owner: strings.Repeat("é", 101)}, "owner"},
		"owner with control":           {keys.CreateInput{Name: "x", Owner: "\x1b[31m"}, "owner"},
		"owner broken":                 {keys.CreateInput{Name: "x", Owner: "\xff"}, "owner"},
		"environment":                  {keys.CreateInput{Name: "x", Environment: new(keys.Environment("shared"))}, "environment"},
		"permission":                   {keys.CreateInput{Name: "x", Permissions: &[]string{"customers:read", "customers:fly", "api_keys"}}, "permissions[1] permissions[2]"},
		"50 permissions":               {keys.CreateInput{Name: "x", Permissions: new(slices.Repeat([]string{"customers:read"}, 50))}, ""},
		"51 permissions":               {keys.CreateInput{Name: "x", Permissions: new(slices.Repeat([]string{"customers:read"}, 51))}, "permissions"},
		"100 customers":                {keys.CreateInput{Name: "x", Customers: many(100, "customer_")}, ""},
		"101 customers":                {keys.CreateInput{Name: "x", Customers: many(101, "c")}, "customers"},
		"too long a list":              {keys.CreateInput{Name: "x", Customers: many(40, strings.Repeat("c", 60))}, "customers"},
		"customer":                     {keys.CreateInput{Name: "x", Customers: []string{"ok", "", "a*", strings.Repeat("c", 65), "ü"}}, "customers[1] customers[2] customers[3] customers[4]"},
		"customer of 64":               {keys.CreateInput{Name: "x", Customers: []string{strings.Repeat("c", 64)}}, ""},
		"50 networks":                  {keys.CreateInput{Name: "x", Networks: slices.Repeat([]string{"10.0.0.0/8"}, 50)}, ""},
		"51 networks":                  {keys.CreateInput{Name: "x", Networks: slices.Repeat([]string{"10.0.0.0/8"}, 51)}, "networks"},
		"network":                      {keys.CreateInput{Name: "x", Networks: []string{"10.0.0.0/33", "::1", "fe80::1%eth0", ""}}, "networks[0] networks[2] networks[3]"},
		"starts now":                   {keys.CreateInput{Name: "x", NotBefore: &now}, ""},
		"started long ago":             {keys.CreateInput{Name: "x", NotBefore: new(now.Add(-10_000 * time.Hour))}, ""},
		"starts before there was time": {keys.CreateInput{Name: "x", NotBefore: new(time.UnixMilli(0))}, "notBefore"},
		"starts in 365 days":           {keys.CreateInput{Name: "x", NotBefore: new(now.Add(365 * 24 * time.Hour))}, ""},
		"starts later":                 {keys.CreateInput{Name: "x", NotBefore: new(now.Add(365*24*time.Hour + time.Millisecond))}, "notBefore"},
		"ends as it starts":            {keys.CreateInput{Name: "x", NotBefore: new(now.Add(time.Hour)), ExpiresAt: new(now.Add(time.Hour))}, "notBefore"},
		"ends a millisecond after":     {keys.CreateInput{Name: "x", NotBefore: new(now.Add(time.Hour)), ExpiresAt: new(now.Add(time.Hour + time.Millisecond))}, ""},
		"ends before it starts":        {keys.CreateInput{Name: "x", NotBefore: new(now.Add(25 * time.Hour)), ExpirationDays: new(1)}, "notBefore"},
		"primary, to start later":      {keys.CreateInput{Name: "x", NotBefore: new(now.Add(time.Hour)), Primary: new(true)}, "isPrimary"},
		"plan":                         {keys.CreateInput{Name: "x", Plan: new("gold")}, "plan"},
		"limit 0":                      {keys.CreateInput{Name: "x", RateLimit: new(0)}, "rateLimit"},
		"limit below 0":                {keys.CreateInput{Name: "x", RateLimit: new(-5)}, "rateLimit"},
		"limits of hour and day":       {keys.CreateInput{Name: "x", Limits: []keys.NamedLimit{{Window: "day", Requests: 1}, {Window: "hour", Requests: keys.MaxLimit}}}, ""},
		"a limit of the minute":        {keys.CreateInput{Name: "x", Limits: []keys.NamedLimit{{Window: "minute", Requests: 5}, {Window: "month", Requests: 5}, {}}}, "limits[0].window limits[1].window limits[2].window"},
		"two limits of the hour":       {keys.CreateInput{Name: "x", Limits: []keys.NamedLimit{{Window: "hour", Requests: 5}, {Window: "hour", Requests: 5}}}, "limits[1].window"},
		"limits of none and too much":  {keys.CreateInput{Name: "x", Limits: []keys.NamedLimit{{Window: "hour"}, {Window: "day", Requests: keys.MaxLimit + 1}}}, "limits[0].requests limits[1].requests"},
		"a quota from the 28th":        {keys.CreateInput{Name: "x", Quota: &keys.Quota{Requests: keys.MaxLimit, RefillDay: 28}}, ""},
		"a quota from the 29th":        {keys.CreateInput{Name: "x", Quota: &keys.Quota{Requests: 1, RefillDay: 29}}, "quota.refillDay"},
		"a quota of nothing":           {keys.CreateInput{Name: "x", Quota: &keys.Quota{}}, "quota.requests quota.refillDay"},
		"1 day":                        {keys.CreateInput{Name: "x", ExpirationDays: new(1)}, ""},
		"365 days":                     {keys.CreateInput{Name: "x", ExpirationDays: new(365)}, ""},
		"0 days":                       {keys.CreateInput{Name: "x", ExpirationDays: new(0)}, "expirationDays"},
		"366 days":                     {keys.CreateInput{Name: "x", ExpirationDays: new(366)}, "expirationDays"},
		"more days than a duration":    {keys.CreateInput{Name: "x", ExpirationDays: new(1 << 40)}, "expirationDays"},
		"in a millisecond":             {keys.CreateInput{Name: "x", ExpiresAt: new(now.Add(time.Millisecond))}, ""},
		"in a microsecond":             {keys.CreateInput{Name: "x", ExpiresAt: new(now.Add(time.Microsecond))}, "expirationTs"},
		"now":                          {keys.CreateInput{Name: "x", ExpiresAt: &now}, "expirationTs"},
		"in 365 days":                  {keys.CreateInput{Name: "x", ExpiresAt: new(now.Add(365 * 24 * time.Hour))}, ""},
		"later":                        {keys.CreateInput{Name: "x", ExpiresAt: new(now.Add(365*24*time.Hour + time.Millisecond))}, "expirationTs"},
		"days and time":                {keys.CreateInput{Name: "x", ExpirationDays: new(1), ExpiresAt: new(now.Add(time.Hour))}, "expirationTs"},
		"primary of development":       {keys.CreateInput{Name: "x", Environment: new(keys.Development), Primary: new(true)}, "isPrimary"},
		"primary and inactive":         {keys.CreateInput{Name: "x", Active: new(false), Primary: new(true)}, "isPrimary"},
		"all at once": {keys.CreateInput{Owner: "\x00", Environment: new(keys.Environment("")), Permissions: &[]string{"x"}, Customers: []string{""},
			Plan: new(""), RateLimit: new(0), ExpirationDays: new(0)}, "name owner environment permissions[0] customers[0] plan rateLimit expirationDays"},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(w.events())
			_, err := w.Service.Create(ctx, w.root, tt.in, plain)
			if got := invalidFields(t, err); got != tt.want {
				t.Errorf("fields at fault = %q, want %q", got, tt.want)
			}
			if err != nil && len(w.events()) != before {
				t.Error("a refused create left an audit event")
			}
			if err != nil {
				w.Canary.Check(t, "the error", []byte(err.Error()))
			}
			// Update has the same rules for the same fields.
			if tt.in.Environment != nil || tt.in.Primary != nil {
				return
			}
			p := keys.Patch{
				Name: &tt.in.Name, Permissions: tt.in.Permissions, Owner: &tt.in.Owner, Plan: tt.in.Plan,
				RateLimit: tt.in.RateLimit, ExpirationDays: tt.in.ExpirationDays,
			}
			if tt.in.Customers != nil {
				p.Customers = &tt.in.Customers
			}
			if tt.in.Networks != nil {
				p.Networks = &tt.in.Networks
			}
			p.NotBefore = &tt.in.NotBefore // the case before may have set one
			if tt.in.ExpiresAt != nil || tt.in.NotBefore != nil && tt.in.ExpirationDays == nil {
				p.ExpiresAt = &tt.in.ExpiresAt
			}
			if tt.in.Limits != nil {
				p.Limits = &tt.in.Limits
			}
			if tt.in.Quota != nil {
				p.Quota = &tt.in.Quota
			}
			_, err = w.Service.Update(ctx, w.root, keys.Ref{Number: 2}, p, anyVersion)
			if got := invalidFields(t, err); strings.Join(slices.Sorted(strings.SplitSeq(got, " ")), " ") != strings.Join(slices.Sorted(strings.SplitSeq(tt.want, " ")), " ") {
				t.Errorf("update: fields at fault = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestErrorsNameTheFieldAndNeverTheValue(t *testing.T) {
	w := newWorld(t, "enterprise")
	const value = "s3cr3tvalue"
	_, err := w.Service.Create(ctx, w.root, keys.CreateInput{
		Name: "x", Permissions: &[]string{value}, Customers: []string{value + "!"}, Plan: new(value), Environment: new(keys.Environment(value)),
	}, keys.Idempotency{Key: value})
	if err == nil || strings.Contains(err.Error(), value) {
		t.Errorf("error = %v, want one without the value", err)
	}
	_, err = w.Service.List(ctx, w.root, keys.Query{Sort: value, Status: value, Environment: value, Cursor: value})
	if err == nil || strings.Contains(err.Error(), value) {
		t.Errorf("error = %v, want one without the value", err)
	}
}

func TestThePlanCapsHowManyKeysThereAre(t *testing.T) {
	w := newWorld(t, "free", func(c *keys.Config) {
		c.Settings.Plans["free"] = config.Plan{RateLimit: 20, Keys: 4}
	})
	var made []keys.Caller
	for range 3 {
		made = append(made, w.create(w.root, keys.CreateInput{}))
	}
	_, err := w.Service.Create(ctx, w.root, keys.CreateInput{Name: "one too many"}, plain)
	is(t, "the fifth key", err, keys.ErrKeyLimit)
	// Switching off makes no room, deleting does: the count is corrected when it is met.
	if _, _, err := w.Service.Revoke(ctx, w.root, ref(made[0]), false, anyVersion); err != nil {
		t.Fatal(err)
	}
	_, err = w.Service.Create(ctx, w.root, keys.CreateInput{Name: "one too many"}, plain)
	is(t, "after a revoke", err, keys.ErrKeyLimit)
	for _, c := range made[:2] {
		if _, err := w.Service.Delete(ctx, w.root, ref(c), anyVersion); err != nil {
			t.Fatal(err)
		}
	}
	if v, err := w.Service.AccountOf(ctx, w.root); err != nil || v.Keys != 2 || v.KeyLimit != 4 {
		t.Errorf("AccountOf = %d of %d keys, %v; want 2 of 4: it is counted where the number has met the limit", v.Keys, v.KeyLimit, err)
	}
	w.create(w.root, keys.CreateInput{})
	if a := w.account(); a.KeyCount != 3 || a.NextNumber != 6 {
		t.Errorf("KeyCount %d, NextNumber %d, want 3 and 6", a.KeyCount, a.NextNumber)
	}
	w.create(w.root, keys.CreateInput{})
	_, err = w.Service.Create(ctx, w.root, keys.CreateInput{Name: "one too many"}, plain)
	is(t, "full again", err, keys.ErrKeyLimit)
}

func TestConcurrentCreatesNeverExceedThePlansCap(t *testing.T) {
	w := newWorld(t, "free", realWaits, func(c *keys.Config) {
		c.Settings.Plans["free"] = config.Plan{RateLimit: 20, Keys: 5}
	})
	w.slow(time.Millisecond)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			_, err := w.Service.Create(ctx, w.root, keys.CreateInput{Name: "x"}, plain)
			if err != nil && !errors.Is(err, keys.ErrKeyLimit) {
				t.Errorf("Create: %v", err)
			}
		})
	}
	wg.Wait()
	list, err := w.memory.Keys(ctx, w.root.AccountID)
	if err != nil || len(list) != 5 {
		t.Errorf("%d keys, %v, want 5", len(list), err)
	}
}

// slow makes every commit take a while, during which others read.
func (w *world) slow(d time.Duration) {
	w.memory.OnCall(func(_ context.Context, c keystest.Call) error {
		if c.Op == "Commit" && !c.Done {
			time.Sleep(d)
		}
		return nil
	})
}

func Test64ConcurrentCreatesGetNumbersWithoutGaps(t *testing.T) {
	w := newWorld(t, "enterprise", realWaits)
	w.slow(5 * time.Millisecond)
	start := time.Now()
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			if _, err := w.Service.Create(ctx, w.root, keys.CreateInput{Name: "x"}, plain); err != nil {
				t.Errorf("Create: %v", err)
			}
		})
	}
	wg.Wait()
	t.Logf("64 creates that each write the account item: %v", time.Since(start).Round(time.Millisecond))
	list, err := w.memory.Keys(ctx, w.root.AccountID)
	if err != nil || len(list) != 65 {
		t.Fatalf("%d keys, %v, want 65", len(list), err)
	}
	ids := map[apikey.ID]bool{}
	for i, k := range list {
		ids[k.ID] = true
		if k.Number != int64(i+1) {
			t.Fatalf("key %d of the list has number %d", i+1, k.Number)
		}
	}
	if a := w.account(); len(ids) != 65 || a.NextNumber != 66 || a.KeyCount != 65 {
		t.Errorf("%d ids, NextNumber %d, KeyCount %d, want 65, 66, 65", len(ids), a.NextNumber, a.KeyCount)
	}
}

func TestAnIdThatIsTakenIsDrawnAnew(t *testing.T) {
	w := newWorld(t, "enterprise")
	first := true
	w.memory.OnCall(func(_ context.Context, c keystest.Call) error {
		if c.Op == "Commit" && !c.Done && first {
			first = false
			return &keys.ConflictError{Key: c.Change.Keys[len(c.Change.Keys)-1].New.ID}
		}
		return nil
	})
	w.create(w.root, keys.CreateInput{})
	if len(w.waits) != 1 {
		t.Errorf("%d waits, want 1", len(w.waits))
	}
}
