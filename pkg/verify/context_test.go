package verify

import (
	"encoding/json"
	"maps"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

func identity() keys.Identity {
	return keys.Identity{
		KeyID: "8fQ2mZ0a", AccountID: "acc_1", Environment: keys.Staging,
		Permissions: []string{"*", "api_keys:read", "customers:*"}, Customers: []string{"cus_1", "cus-2"},
		Networks: []string{"10.0.0.0/8", "2001:db8::/32"}, Verdict: 5, Generation: 3, Limit: 1000,
		Limits: keys.Limits{Hour: 20_000, Day: 300_000}, Quota: keys.Quota{Requests: 1_000_000, RefillDay: 15},
		ExpiresAt: now.Add(1500 * time.Millisecond), GraceUntil: now.Add(time.Hour),
		Parent: "Par3nt00", ParentVerdict: 7,
	}
}

// written is the context of id as a map.
func written(t interface {
	Helper()
	Fatalf(string, ...any)
}, id keys.Identity) map[string]any {
	t.Helper()
	b, err := AppendContext(nil, id)
	if err != nil {
		t.Fatalf("AppendContext(%+v): %v", id, err)
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatalf("AppendContext wrote no JSON: %v: %s", err, b)
	}
	return m
}

func TestContextHoldsEveryFieldAsANonEmptyString(t *testing.T) {
	want := map[string]any{
		"keyId": "8fQ2mZ0a", "accountId": "acc_1", "environment": "staging",
		"permissions": "* api_keys:read customers:*", "customers": "cus_1 cus-2", "networks": "10.0.0.0/8 2001:db8::/32",
		"version": "5", "generation": "3", "limit": "1000", "limits": "hour=20000 day=300000 month=1000000@15", "parent": "Par3nt00@7", "expiresAt": "1768473001500", "graceUntil": "1768476600000",
	}
	if d := cmp.Diff(want, written(t, identity())); d != "" {
		t.Errorf("AppendContext (-want +got):\n%s", d)
	}
	bare := keys.Identity{KeyID: "8fQ2mZ0a", AccountID: "a", Environment: keys.Production, Generation: 1}
	want = map[string]any{
		"keyId": "8fQ2mZ0a", "accountId": "a", "environment": "production", "permissions": "-", "customers": "*", "networks": "*",
		"version": "0", "generation": "1", "limit": "0", "limits": "-", "parent": "-", "expiresAt": "0", "graceUntil": "0",
	}
	if d := cmp.Diff(want, written(t, bare)); d != "" {
		t.Errorf("AppendContext of an identity without anything optional (-want +got):\n%s", d)
	}
}

func TestFromContextIsTheInverseOfAppendContext(t *testing.T) {
	word := rapid.StringMatching(`[A-Za-z0-9_-]{1,64}`)
	network := rapid.Custom(func(t *rapid.T) string {
		raw := rapid.OneOf(rapid.SliceOfN(rapid.Byte(), 4, 4), rapid.SliceOfN(rapid.Byte(), 16, 16)).Draw(t, "address")
		addr, _ := netip.AddrFromSlice(raw)
		addr = addr.Unmap()
		p, _ := addr.Prefix(rapid.IntRange(0, addr.BitLen()).Draw(t, "bits"))
		return p.String()
	})
	when := rapid.Custom(func(t *rapid.T) time.Time {
		if rapid.Bool().Draw(t, "none") {
			return time.Time{}
		}
		return time.UnixMilli(rapid.Int64Range(1, maxInt).Draw(t, "ms")).UTC()
	})
	some := rapid.OneOf(rapid.Just(0), rapid.IntRange(1, keys.MaxLimit))
	rapid.Check(t, func(t *rapid.T) {
		want := keys.Identity{
			KeyID:       apikey.ID(rapid.StringMatching(`[0-9A-Za-z]{8}`).Draw(t, "id")),
			AccountID:   word.Draw(t, "account"),
			Environment: rapid.SampledFrom(keys.Environments()).Draw(t, "environment"),
			Permissions: rapid.SliceOfN(rapid.StringMatching(`\*|[a-z_]+:([a-z_]+|\*)`), 0, 5).Draw(t, "permissions"),
			Customers:   rapid.SliceOfN(word, 0, 5).Draw(t, "customers"),
			Networks:    rapid.SliceOfN(network, 0, 5).Draw(t, "networks"),
			Verdict:     rapid.Int64Range(0, maxInt).Draw(t, "verdict"),
			Generation:  rapid.Int64Range(1, maxInt).Draw(t, "generation"),
			Limit:       rapid.IntRange(0, maxInt).Draw(t, "limit"),
			Limits:      keys.Limits{Hour: some.Draw(t, "hour"), Day: some.Draw(t, "day")},
			ExpiresAt:   when.Draw(t, "expiry"), GraceUntil: when.Draw(t, "grace"),
		}
		if n := some.Draw(t, "quota"); n > 0 {
			want.Quota = keys.Quota{Requests: n, RefillDay: rapid.IntRange(1, 28).Draw(t, "refill day")}
		}
		if rapid.Bool().Draw(t, "session") {
			want.Parent = apikey.ID(rapid.StringMatching(`[0-9A-Za-z]{8}`).Filter(func(s string) bool { return s != string(want.KeyID) }).Draw(t, "parent"))
			want.ParentVerdict = rapid.Int64Range(1, maxInt).Draw(t, "parent's verdict")
		}
		m := written(t, want)
		m["principalId"], m["integrationLatency"] = string(want.KeyID), "12" // as API Gateway adds
		got, err := FromContext(m)
		if err != nil {
			t.Fatalf("FromContext(%v): %v", m, err)
		}
		if d := cmp.Diff(want, got, equateEmpty); d != "" {
			t.Errorf("FromContext (-want +got):\n%s", d)
		}
	})
}

func TestFromContextTakesTypedNumbers(t *testing.T) {
	for name, number := range map[string]func(int64) any{
		"float64":     func(n int64) any { return float64(n) },
		"int":         func(n int64) any { return int(n) },
		"int64":       func(n int64) any { return n },
		"json.Number": func(n int64) any { return json.Number(itoa(n)) },
	} {
		m := written(t, identity())
		for field, n := range map[string]int64{
			FieldVersion: 5, FieldGeneration: 3, FieldLimit: 1000, FieldExpiresAt: 1768473001500, FieldGraceUntil: 1768476600000,
		} {
			m[field] = number(n)
		}
		got, err := FromContext(m)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if d := cmp.Diff(identity(), got); d != "" {
			t.Errorf("%s: FromContext (-want +got):\n%s", name, d)
		}
	}
}

func itoa(n int64) string { b, _ := json.Marshal(n); return string(b) }

func TestFromContextRefusesWhateverIsAbsentOrMalformed(t *testing.T) {
	good := written(t, identity())
	refused := func(field string, value any, absent bool) {
		t.Helper()
		m := maps.Clone(good)
		if m[field] = value; absent {
			delete(m, field)
		}
		id, err := FromContext(m)
		if err == nil || !strings.Contains(err.Error(), field) || !cmp.Equal(id, keys.Identity{}) {
			t.Errorf("FromContext with %s = %#v (absent: %t): identity %+v, error %v; want an error that names the field", field, value, absent, id, err)
		}
		if s, ok := value.(string); ok && len(s) > 3 && err != nil && strings.Contains(err.Error(), s) {
			t.Errorf("the error for %s echoes the value", field)
		}
	}
	for field := range good {
		refused(field, nil, true)
		for _, value := range []any{nil, "", true, []any{"x"}, map[string]any{}} {
			refused(field, value, false)
		}
	}
	for _, field := range []string{FieldVersion, FieldGeneration, FieldLimit, FieldExpiresAt, FieldGraceUntil} {
		for _, value := range []any{"-1", "1.5", "1e3", "0x10", " 1", "1 ", "١", "9007199254740993", "99999999999999999999", -1.0, 1.5, 1e300, int64(-1), json.Number("1.5")} {
			refused(field, value, false)
		}
	}
	refused(FieldGeneration, "0", false)
	for _, value := range []any{"8fQ2mZ0", "8fQ2mZ0aa", "8fQ2_Z0a", "../../..", 12345678.0} {
		refused(FieldKeyID, value, false)
	}
	for _, value := range []any{"acc 1", "acc/1", "äcc", strings.Repeat("a", 65), "*"} {
		refused(FieldAccountID, value, false)
	}
	for _, value := range []any{"shared", "Production", "prod", "production "} {
		refused(FieldEnvironment, value, false)
	}
	for _, value := range []any{" ", "a:b  c:d", " a:b", "a:b ", "a:b\tc:d", "- a:b", "a:\"b"} {
		refused(FieldPermissions, value, false)
	}
	for _, value := range []any{"* cus_1", "cus_1 *", "cus_?", "cus_1,cus_2", "cus_1  cus_2", " ", "-\n", strings.Repeat("c", 65)} {
		refused(FieldCustomers, value, false)
	}
	for _, value := range []any{"* 10.0.0.0/8", "10.0.0.0/8 *", "10.0.0.1/8", "10.0.0.1", "10.0.0.0/8,::/0", "10.0.0.0/8  ::/0", " ", "::ffff:10.0.0.0/104", "FE80::/10", "fe80::%eth0/128"} {
		refused(FieldNetworks, value, false)
	}
	for _, value := range []any{
		" ", "--", "hour=0", "hour=-1", "hour=01", "hour=+1", "hour=1 ", " hour=1", "hour=1  day=2", "day=2 hour=1", "hour=1 hour=1", "hour=1 hour=2",
		"hour", "hour=", "hour=1e3", "hour=1000000001", "minute=5", "month=5", "month=5@", "month=5@0", "month=5@29", "month=0@1", "month=@1",
		"month=5@1 hour=1", "month=5@01", "month=1000000001@1", "- hour=1", "hour=1,day=2", "week=1", "hour=1 week=1", 1000.0,
	} {
		refused(FieldLimits, value, false)
	}
	for _, value := range []any{
		" ", "--", "@", "Par3nt00", "Par3nt00@", "Par3nt00@0", "Par3nt00@-1", "Par3nt00@07", "Par3nt00@7 ", " Par3nt00@7", "Par3nt00@7@7", "Par3nt0@7",
		"@7", "-@7", "Par3nt00@+7", "Par3nt00@1e3", "Par3nt00@9007199254740993", "8fQ2mZ0a@7", "Par3nt_0@7", 7.0,
	} {
		refused(FieldParent, value, false)
	}
	if _, err := FromContext(nil); err == nil {
		t.Error("FromContext(nil) gave an identity")
	}
}

func TestAppendContextRefusesWhatItCannotCarry(t *testing.T) {
	for field, change := range map[string]func(*keys.Identity){
		FieldKeyID:       func(id *keys.Identity) { id.KeyID = "" },
		FieldAccountID:   func(id *keys.Identity) { id.AccountID = `a","accountId":"b` },
		FieldEnvironment: func(id *keys.Identity) { id.Environment = keys.SharedStage },
		FieldPermissions: func(id *keys.Identity) { id.Permissions = []string{"a:b *"} },
		FieldCustomers:   func(id *keys.Identity) { id.Customers = []string{"*"} },
		FieldNetworks:    func(id *keys.Identity) { id.Networks = []string{"0.0.0.0/0", "10.0.0.1"} },
		FieldVersion:     func(id *keys.Identity) { id.Verdict = -1 },
		FieldGeneration:  func(id *keys.Identity) { id.Generation = 0 },
		FieldLimit:       func(id *keys.Identity) { id.Limit = -1 },
		FieldLimits:      func(id *keys.Identity) { id.Quota.RefillDay = 29 },
		FieldParent:      func(id *keys.Identity) { id.ParentVerdict = 0 },
		FieldExpiresAt:   func(id *keys.Identity) { id.ExpiresAt = time.UnixMilli(0) },
		FieldGraceUntil:  func(id *keys.Identity) { id.GraceUntil = time.UnixMilli(-5) },
	} {
		id := identity()
		change(&id)
		if b, err := AppendContext([]byte("x"), id); err == nil || !strings.Contains(err.Error(), field) || string(b) != "x" {
			t.Errorf("AppendContext with a damaged %s: wrote %q, error %v; want nothing and an error that names it", field, b, err)
		}
	}
}
