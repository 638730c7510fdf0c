package keystest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

// The steps of a sequence: each draws a request, says what must come of it, makes it, and
// compares.

// fields are the fields that a create or an update may name, nil: it does not.
type fields struct {
	name        *string
	environment *keys.Environment
	permissions *[]string
	customers   *[]string
	networks    *[]string
	owner       *string
	plan        *string
	rateLimit   *int
	days        *int
	start       *time.Time
	atOnce      bool // start is named as null
	expires     *time.Time
	never       bool // expires is named as null
	active      *bool
	primary     *bool
	canary      bool
	endGrace    bool
}

// forCanary adds the refusal of what a canary key cannot have.
func (f *fields) forCanary(no refusals) {
	if f.permissions != nil || f.customers != nil || f.networks != nil || f.start != nil || f.atOnce || f.plan != nil || f.rateLimit != nil || f.primary != nil && *f.primary {
		no.add("validation")
	}
}

// maybe draws a value, or none.
func maybe[T any](t *rapid.T, label string, values ...T) *T {
	if !rapid.Bool().Draw(t, label+" given") {
		return nil
	}
	v := rapid.SampledFrom(values).Draw(t, label)
	return &v
}

// Values that a request may hold. The invalid ones are few, or little would succeed.
var (
	goodNames   = []string{"Website", "ÄRGER im Büro", "ärger", "東京 🗼", "=HYPERLINK(\"x\")", strings.Repeat("é", 100)}
	badNames    = []string{"", " \t", "\u200b", strings.Repeat("é", 101), "a\x00b", "\xff"}
	permissions = [][]string{
		{}, {"customers:read"}, {"customers:read", "customers:*"}, {"*"}, {"*", "api_keys:*"}, {"api_keys:write"},
		{"api_keys:read", "api_keys:write", "customers:read"}, {"telemetry:write", "customers:read", "telemetry:write"},
	}
	customerLists = [][]string{{}, {"cus_1"}, {"cus_2", "cus_1", "cus_2"}, {"cus_3"}}
	networkLists  = [][]string{{}, {"10.0.0.0/8"}, {"10.128.0.9/9", "::ffff:10.1.0.0/105"}, {"10.1.2.3"}, {"::/0", "0.0.0.0/0"}, {"2001:DB8:0::/32", "10.1.2.3/32"}}
)

func (m *model) drawFields(t *rapid.T, no refusals) fields {
	var f fields
	if rapid.IntRange(0, 19).Draw(t, "invalid") == 0 {
		no.add("validation")
		switch rapid.IntRange(0, 8).Draw(t, "which") {
		case 0:
			f.name = new(rapid.SampledFrom(badNames).Draw(t, "name"))
		case 1:
			f.permissions = &[]string{"customers:read", "nonsense"}
		case 2:
			f.customers = &[]string{"a b"}
		case 3:
			f.plan = new("gold")
		case 4:
			f.rateLimit = new(0)
		case 5:
			f.days = new(rapid.SampledFrom([]int{0, 366, -1}).Draw(t, "days"))
		case 6:
			f.days, f.expires = new(1), new(m.now().Add(time.Hour))
		case 7:
			f.networks = &[]string{"10.0.0.0/33"}
		case 8:
			f.start = new(m.now().Add(366 * 24 * time.Hour))
		}
		return f
	}
	f.name = maybe(t, "name", goodNames...)
	f.permissions = maybe(t, "permissions", permissions...)
	f.customers = maybe(t, "customers", customerLists...)
	if rapid.IntRange(0, 3).Draw(t, "with networks") == 0 {
		f.networks = maybe(t, "networks", networkLists...)
	}
	if rapid.IntRange(0, 7).Draw(t, "with a start") == 0 {
		f.start = new(m.now().Add(rapid.SampledFrom([]time.Duration{-time.Hour, time.Millisecond, 2 * time.Hour, 365 * 24 * time.Hour}).Draw(t, "starts in")))
	}
	f.owner = maybe(t, "owner", "", "Zoë")
	f.plan = maybe(t, "plan", "free", "pro", "enterprise")
	f.rateLimit = maybe(t, "rateLimit", 1, 20, 21, 100, 101, 1000, 1001, 5000, 5001)
	if f.days = maybe(t, "days", 1, 30, 365); f.days == nil {
		ahead := maybe(t, "expires in", time.Millisecond, 2*time.Hour, 365*24*time.Hour)
		if ahead != nil {
			f.expires = new(m.now().Add(*ahead))
		}
	}
	f.active = maybe(t, "active", true, true, false)
	f.primary = maybe(t, "primary", true, false)
	return f
}

// apply applies fields that are valid to a key, and adds what the account's plan forbids.
func (m *model) apply(no refusals, k *keys.Key, f fields) {
	if f.name != nil {
		k.Name = *f.name
	}
	if f.permissions != nil {
		k.Permissions = unique(*f.permissions)
	}
	if f.customers != nil {
		k.Customers = unique(*f.customers)
	}
	if f.networks != nil {
		k.Networks = spelled[strings.Join(*f.networks, " ")]
	}
	if f.start != nil {
		k.NotBefore = *f.start
	}
	if f.atOnce {
		k.NotBefore = time.Time{}
	}
	if f.owner != nil {
		k.Owner = *f.owner
	}
	if f.plan != nil {
		if modelPlans[*f.plan].RateLimit > modelPlans[m.account.Plan].RateLimit {
			no.add("escalation plan")
		}
		k.Plan = *f.plan
		if !k.LimitNamed {
			k.RateLimit = limitOf(k.Plan, k.Environment)
		}
	}
	if f.rateLimit != nil {
		if *f.rateLimit > limitOf(m.account.Plan, k.Environment) {
			no.add("escalation rateLimit")
		}
		k.RateLimit, k.LimitNamed = *f.rateLimit, true
	}
	if f.days != nil {
		k.ExpiresAt = m.now().Add(time.Duration(*f.days) * 24 * time.Hour)
	}
	if f.expires != nil {
		k.ExpiresAt = *f.expires
	}
	if f.never {
		k.ExpiresAt = time.Time{}
	}
	if f.active != nil {
		k.Active = *f.active
	}
}

// unique is a list as a key holds it; empty is nil.
func unique(list []string) []string {
	list = append([]string(nil), list...)
	slices.Sort(list)
	return slices.Compact(list)
}

func mayWrite(no refusals, c *modelKey) {
	if !reach(c.Permissions)["api_keys:write"] {
		no.add("escalation permissions")
	}
}

func (m *model) create(t *rapid.T) {
	c, who := m.caller(t)
	no := refusals{}
	f := m.drawFields(t, no)
	if f.name == nil {
		f.name = new("New key")
	}
	f.environment = maybe(t, "environment", keys.Production, keys.Staging, keys.Development)
	if f.canary = rapid.IntRange(0, 7).Draw(t, "canary") == 0; f.canary && len(no) == 0 && rapid.IntRange(0, 3).Draw(t, "with what it cannot have") > 0 {
		f.permissions, f.customers, f.networks, f.start, f.plan, f.rateLimit, f.primary = nil, nil, nil, nil, nil, nil, nil
	}
	full := rapid.Bool().Draw(t, "full access")
	face := rapid.SampledFrom([]keys.Face{"", keys.Canonical, keys.AccountFace}).Draw(t, "face")
	idem := idempotency(t, "POST /v1/api-keys", fmt.Sprintf("%q %s", *f.name, face))
	m.createAs(t, c, who, no, f, full, face, idem)
}

func (m *model) createAs(t *rapid.T, c *modelKey, who keys.Caller, no refusals, f fields, full bool, face keys.Face, idem keys.Idempotency) {
	in := keys.CreateInput{
		Name: *f.name, Environment: f.environment, Permissions: f.permissions, Plan: f.plan, RateLimit: f.rateLimit,
		NotBefore: f.start, ExpirationDays: f.days, ExpiresAt: f.expires, Active: f.active, Primary: f.primary, Face: face, FullAccess: full, Canary: f.canary,
	}
	if f.customers != nil {
		in.Customers = *f.customers
	}
	if f.networks != nil {
		in.Networks = *f.networks
	}
	if f.owner != nil {
		in.Owner = *f.owner
	}
	want := &modelKey{Key: keys.Key{
		Number: int64(len(m.keys) + 1), AccountID: m.account.ID, Environment: c.Environment, Customers: c.Customers, Networks: c.Networks,
		Plan: "free", Active: true, Face: face, CreatedBy: c.ID, CreatedAt: m.now(), UpdatedAt: m.now(), VerdictAt: m.now(),
		Version: 1, Verdict: 1, Generation: 1,
	}}
	if face == "" {
		want.Face = keys.Canonical
	}
	if f.environment != nil {
		want.Environment = *f.environment
	}
	for _, p := range c.Permissions {
		if full && want.Environment == keys.Production || !strings.HasPrefix(p, "api_keys:") {
			want.Permissions = append(want.Permissions, p)
		}
	}
	if want.Canary = f.canary; f.canary {
		want.Permissions, want.Customers, want.Networks = nil, nil, nil
	}
	want.RateLimit = limitOf("free", want.Environment)
	want.Secret = keys.Secret{Generation: 1, Prefix: map[keys.Environment]string{
		keys.Production: "kr_live", keys.Staging: "kr_stage", keys.Development: "kr_dev"}[want.Environment]}

	again := refusals{} // the request was valid once, and is not looked at again
	r, found := m.replayed(again, c, who, idem)
	if found {
		no = again
		mayWrite(no, c)
	} else {
		m.apply(no, &want.Key, f)
		if f.canary {
			f.forCanary(no)
		}
		if f.expires != nil && !f.expires.After(m.now()) { // repeated when it was too late
			no.add("validation")
		}
		if !livesAtAll(&want.Key) {
			no.add("validation")
		}
		if f.primary != nil && *f.primary {
			want.Primary = true
			if want.Environment != keys.Production || !want.Active || m.now().Before(want.NotBefore) {
				no.add("validation")
			}
		}
		mayWrite(no, c)
		covers(no, c, want)
		have := 0
		for _, k := range m.keys {
			if !k.Deleted {
				have++
			}
		}
		if have >= modelPlans[m.account.Plan].Keys {
			no.add("key limit")
		}
	}

	out, err := m.w.Service.Create(m.ctx, who, in, idem)
	if !m.judge(t, "create", no, err) {
		return
	}
	if found {
		m.sameAnswer(t, "create", out, r)
		return
	}
	for _, k := range m.keys {
		if k.Primary && want.Primary {
			next := k.Key
			next.Primary = false
			m.set(k, next)
		}
		if slices.ContainsFunc(k.secrets, out.Plaintext.Equal) {
			t.Fatalf("a secret was given twice")
		}
	}
	want.ID = out.Plaintext.ID()
	want.secrets = []apikey.Key{out.Plaintext}
	if want.Canary {
		m.outcomes["create a canary"]++
	}
	m.equal(t, "created key", out.Key, want.Key)
	m.keys = append(m.keys, want)
	m.events++
	m.answered(c, who, idem, out, func(t *rapid.T, c *modelKey, who keys.Caller) {
		m.createAs(t, c, who, refusals{}, f, full, face, idem)
	})
}

func (m *model) update(t *rapid.T) {
	c, who := m.caller(t)
	no := refusals{}
	f := m.drawFields(t, no)
	f.never = f.days == nil && f.expires == nil && rapid.IntRange(0, 3).Draw(t, "never expires") == 0
	f.atOnce = f.start == nil && rapid.IntRange(0, 7).Draw(t, "starts at once") == 0
	f.endGrace = rapid.IntRange(0, 2).Draw(t, "end the grace") == 0
	m.updateAs(t, no, c, who, f, "update")
}

func (m *model) activate(t *rapid.T) {
	c, who := m.caller(t)
	m.updateAs(t, refusals{}, c, who, fields{active: new(true)}, "activate")
}

func (m *model) updateAs(t *rapid.T, no refusals, c *modelKey, who keys.Caller, f fields, op string) {
	invalid := len(no) > 0
	k, ref := m.target(t, no, c)
	cond := m.conditions(t, no, k)
	mayWrite(no, c)
	var next keys.Key
	if k != nil && !invalid {
		next = k.Key
		m.apply(no, &next, f)
		if k.Canary {
			f.forCanary(no)
		}
		if (f.start != nil || f.days != nil || f.expires != nil) && !livesAtAll(&next) {
			no.add("validation")
		}
		if end := next.ExpiresAt; !end.IsZero() && end.Before(next.Previous.Until) {
			next.Previous.Until = end
		}
		if f.endGrace && next.Previous.Until.After(m.now()) {
			next.Previous = keys.Secret{}
			m.outcomes["grace ended"]++
		}
		after := &modelKey{Key: next}
		if f.primary != nil {
			switch {
			case *f.primary && k.Environment != keys.Production:
				no.add("validation")
			case *f.primary && !k.Primary && !m.alive(after):
				no.add("not active")
			case !*f.primary && k.Primary:
				no.add("primary")
			}
			next.Primary = *f.primary
		}
		longer := !k.ExpiresAt.IsZero() && (next.ExpiresAt.IsZero() || next.ExpiresAt.After(k.ExpiresAt))
		if !within(next.Permissions, k.Permissions) || !customersWithin(next.Customers, k.Customers) ||
			!addressesWithin(next.Networks, k.Networks) || next.Active && !k.Active || longer || next.NotBefore.Before(k.NotBefore) {
			covers(no, c, after)
		}
		if !m.isManager(after) && !cond.Force && k == c {
			m.lockedOut(no, map[*modelKey]bool{k: true})
		}
	}

	var out keys.Key
	var err error
	if op == "activate" {
		out, err = m.w.Service.Activate(m.ctx, who, ref, cond)
	} else {
		p := keys.Patch{
			Name: f.name, Permissions: f.permissions, Customers: f.customers, Networks: f.networks, Owner: f.owner, Plan: f.plan,
			RateLimit: f.rateLimit, ExpirationDays: f.days, Active: f.active, Primary: f.primary, EndGrace: f.endGrace,
		}
		if f.expires != nil || f.never {
			p.ExpiresAt = &f.expires
		}
		if f.start != nil || f.atOnce {
			p.NotBefore = &f.start
		}
		out, err = m.w.Service.Update(m.ctx, who, ref, p, cond)
	}
	if !m.judge(t, op, no, err) {
		return
	}
	if next.Primary && !k.Primary {
		for _, old := range m.keys {
			if old.Primary {
				unmarked := old.Key
				unmarked.Primary = false
				m.set(old, unmarked)
			}
		}
	}
	m.changed(k, next)
	m.equal(t, op+"d key", out, k.Key)
}

func (m *model) revoke(t *rapid.T) {
	c, who := m.caller(t)
	no := refusals{}
	k, ref := m.target(t, no, c)
	cond := m.conditions(t, no, k)
	mayWrite(no, c)
	descendants := rapid.Bool().Draw(t, "descendants")
	gone := map[*modelKey]bool{k: true}
	for changed := descendants; changed; {
		changed = false
		for _, d := range m.keys {
			creator := slices.IndexFunc(m.keys, func(o *modelKey) bool { return o.ID == d.CreatedBy })
			if creator >= 0 && gone[m.keys[creator]] && !gone[d] {
				gone[d], changed = true, true
			}
		}
	}
	if k != nil && gone[c] && !cond.Force {
		m.lockedOut(no, gone)
	}
	out, more, err := m.w.Service.Revoke(m.ctx, who, ref, descendants, cond)
	if !m.judge(t, "revoke", no, err) {
		return
	}
	next := k.Key
	next.Active = false
	m.changed(k, next)
	m.equal(t, "revoked key", out, k.Key)
	wantMore := 0
	for d := range gone {
		if d != k && d.Active && !d.Deleted {
			next := d.Key
			next.Active = false
			m.set(d, next)
			wantMore++
		}
	}
	if wantMore > 0 {
		m.events++
	}
	if more != wantMore {
		t.Fatalf("revoked %d descendants, want %d", more, wantMore)
	}
}

func (m *model) regenerate(t *rapid.T) {
	c, who := m.caller(t)
	no := refusals{}
	k, ref := m.target(t, no, c)
	grace := rapid.SampledFrom([]time.Duration{0, 0, time.Second, time.Hour, 24 * time.Hour, 24*time.Hour + 1, -1}).Draw(t, "grace")
	cond := m.conditions(t, no, k)
	idem := idempotency(t, fmt.Sprintf("POST /v1/api-keys/%s%d/regenerate", ref.ID, ref.Number), fmt.Sprint(grace))
	m.regenerateAs(t, no, c, who, k, ref, grace, cond, idem)
}

func (m *model) regenerateAs(t *rapid.T, no refusals, c *modelKey, who keys.Caller, k *modelKey, ref keys.Ref,
	grace time.Duration, cond keys.Conditions, idem keys.Idempotency) {
	if grace < 0 || grace > 24*time.Hour {
		no.add("validation")
	}
	again := refusals{}
	r, found := m.replayed(again, c, who, idem)
	if found {
		if no["not found"] {
			again.add("not found")
		}
		if no["validation"] {
			again.add("validation")
		}
		no = again
	} else if k != nil {
		covers(no, c, k)
	}
	mayWrite(no, c)
	out, err := m.w.Service.Regenerate(m.ctx, who, ref, grace, idem, cond)
	if !m.judge(t, "regenerate", no, err) {
		return
	}
	if found {
		m.sameAnswer(t, "regenerate", out, r)
		return
	}
	next := k.Key
	next.Generation++
	next.Secret.Generation++
	next.RotatedAt = m.now()
	next.Previous = keys.Secret{}
	until := m.now().Add(grace)
	if !k.ExpiresAt.IsZero() && k.ExpiresAt.Before(until) {
		until = k.ExpiresAt
	}
	if until.After(m.now()) {
		next.Previous = k.Secret
		next.Previous.Until = until
	}
	m.changed(k, next)
	m.equal(t, "regenerated key", out.Key, k.Key)
	k.secrets = append(k.secrets, out.Plaintext)
	m.answered(c, who, idem, out, func(t *rapid.T, c *modelKey, who keys.Caller) {
		no := refusals{}
		if k.Deleted || !canSee(c, k) {
			no.add("not found")
		}
		if cond.IfMatch != 0 && cond.IfMatch != k.Version {
			no.add("precondition")
		}
		m.regenerateAs(t, no, c, who, k, ref, grace, cond, idem)
	})
}

func (m *model) delete(t *rapid.T) {
	c, who := m.caller(t)
	no := refusals{}
	k, ref := m.target(t, no, c)
	cond := m.conditions(t, no, k)
	mayWrite(no, c)
	if k != nil && k.Primary {
		no.add("primary")
	}
	if k == c && !cond.Force {
		m.lockedOut(no, map[*modelKey]bool{k: true})
	}
	out, err := m.w.Service.Delete(m.ctx, who, ref, cond)
	if !m.judge(t, "delete", no, err) {
		return
	}
	next := k.Key
	next.Deleted, next.DeletedAt = true, m.now()
	m.changed(k, next)
	m.equal(t, "deleted key", out, k.Key)
}

func (m *model) get(t *rapid.T) {
	c, who := m.caller(t)
	no := refusals{}
	k, ref := m.target(t, no, c)
	if !reach(c.Permissions)["api_keys:read"] && (k != c || ref.ID == "" || who.Parent != "") {
		no.add("escalation permissions")
	}
	out, err := m.w.Service.Get(m.ctx, who, ref)
	if m.judge(t, "get", no, err) {
		m.equal(t, "key", out, k.Key)
	}
}

func (m *model) list(t *rapid.T) {
	c, who := m.caller(t)
	no := refusals{}
	if !reach(c.Permissions)["api_keys:read"] {
		no.add("escalation permissions")
	}
	q := keys.Query{
		Environment: rapid.SampledFrom([]keys.Environment{"", keys.Production, keys.Development}).Draw(t, "environment"),
		Status:      rapid.SampledFrom([]keys.Status{"", keys.Active, keys.Scheduled, keys.Inactive, keys.Expired, keys.Revoked}).Draw(t, "status"),
		Text:        rapid.SampledFrom([]string{"", "", "ÄrGeR", "zoë", "KR_LIVE_", "京", "absent"}).Draw(t, "text"),
		Sort:        rapid.SampledFrom([]string{"", "number", "-createdAt", "expiresAt", "-status", "environment", "name"}).Draw(t, "sort"),
		Limit:       rapid.SampledFrom([]int{0, 1, 2, 1000}).Draw(t, "limit"),
	}
	var want []*modelKey
	for _, k := range m.keys {
		status := keys.Active
		switch {
		case k.Deleted:
			status = keys.Revoked
		case !k.Active:
			status = keys.Inactive
		case !k.ExpiresAt.IsZero() && !m.now().Before(k.ExpiresAt):
			status = keys.Expired
		case !m.alive(k):
			status = keys.Scheduled
		}
		text := strings.ToLower(q.Text)
		if canSee(c, k) && (q.Environment == "" || q.Environment == k.Environment) &&
			(q.Status == status || q.Status == "" && !k.Deleted) &&
			(strings.Contains(strings.ToLower(k.Name+"\x00"+k.Owner), text) ||
				strings.Contains(strings.ToLower(k.Secret.Prefix+"_"+string(k.ID)), text)) {
			want = append(want, k)
		}
	}
	var got []keys.Key
	for pages := 0; ; pages++ {
		page, err := m.w.Service.List(m.ctx, who, q)
		if !m.judge(t, "list", no, err) {
			return
		}
		if page.Total != len(want) || q.Limit > 0 && len(page.Keys) > q.Limit {
			t.Fatalf("a page of %d, total %d, want total %d and at most %d", len(page.Keys), page.Total, len(want), q.Limit)
		}
		got = append(got, page.Keys...)
		if page.Next == "" {
			break
		}
		q.Cursor = page.Next
	}
	if len(got) != len(want) {
		t.Fatalf("List = %d keys over all pages, want %d", len(got), len(want))
	}
	seen := map[int64]bool{}
	for _, k := range got {
		seen[k.Number] = true
		m.equal(t, "listed key", k, m.keys[k.Number-1].Key)
	}
	for _, k := range want {
		if !seen[k.Number] {
			t.Fatalf("key %d is missing in the list", k.Number)
		}
	}
	if q.Sort == "" || q.Sort == "number" {
		for i, k := range want {
			if got[i].Number != k.Number {
				t.Fatalf("place %d of the list: key %d, want %d", i, got[i].Number, k.Number)
			}
		}
	}
}
