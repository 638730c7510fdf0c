package keys

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPermissionsGrantByNameAndWildcardButNeverManageKeysByStar(t *testing.T) {
	allow := func(want string, held ...string) {
		t.Helper()
		if !Holds(held, want) {
			t.Errorf("Holds(%q, %q) = false, want true", held, want)
		}
	}
	deny := func(want string, held ...string) {
		t.Helper()
		if Holds(held, want) {
			t.Errorf("Holds(%q, %q) = true, want false", held, want)
		}
	}
	allow("customers:read", "customers:read")
	allow("customers:read", "telemetry:write", "customers:*")
	allow("customers:read", "*")
	allow("customers:*", "*")
	allow("*", "*")
	allow("api_keys:write", "api_keys:*")
	allow("api_keys:*", "api_keys:*")
	deny("customers:read")
	deny("customers:read", "customers:write")
	deny("customers:read", "customer:*")
	deny("customers:read", "invoices:*")
	deny("customers:*", "customers:read", "customers:write")
	deny("*", "customers:*", "api_keys:*")
	deny("api_keys:read", "*")
	deny("api_keys:*", "*", "api_keys:read", "api_keys:write")
	deny("api_keys:write", "api_keys:read")
}

func TestCustomersCover(t *testing.T) {
	for _, tt := range []struct {
		held, wanted []string
		want         bool
	}{
		{nil, nil, true},
		{nil, []string{"a"}, true},
		{[]string{"a"}, nil, false}, // every customer is more than one
		{[]string{"a"}, []string{"a"}, true},
		{[]string{"a", "b"}, []string{"b"}, true},
		{[]string{"a"}, []string{"a", "b"}, false},
	} {
		if got := CoversCustomers(tt.held, tt.wanted); got != tt.want {
			t.Errorf("CoversCustomers(%q, %q) = %t, want %t", tt.held, tt.wanted, got, tt.want)
		}
	}
}

func TestStatusAndReasonFollowTheKeysState(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		edit   func(*Key)
		stage  string
		gen    int64
		status Status
		reason Reason
	}{
		"active":                      {func(*Key) {}, "staging", 2, Active, OK},
		"on the shared stage":         {func(*Key) {}, SharedStage, 2, Active, OK},
		"on another stage":            {func(*Key) {}, "production", 2, Active, ReasonEnvironment},
		"on no stage":                 {func(*Key) {}, "", 2, Active, ReasonEnvironment},
		"inactive":                    {func(k *Key) { k.Active = false }, "staging", 2, Inactive, ReasonInactive},
		"deleted":                     {func(k *Key) { k.Deleted = true }, "staging", 2, Revoked, ReasonDeleted},
		"deleted, inactive, expired":  {func(k *Key) { k.Deleted, k.Active, k.ExpiresAt = true, false, now }, "staging", 2, Revoked, ReasonDeleted},
		"inactive and expired":        {func(k *Key) { k.Active, k.ExpiresAt = false, now }, "staging", 2, Inactive, ReasonInactive},
		"expires now":                 {func(k *Key) { k.ExpiresAt = now }, "staging", 2, Expired, ReasonExpired},
		"expires in a millisecond":    {func(k *Key) { k.ExpiresAt = now.Add(time.Millisecond) }, "staging", 2, Active, OK},
		"starts now":                  {func(k *Key) { k.NotBefore = now }, "staging", 2, Active, OK},
		"starts in a millisecond":     {func(k *Key) { k.NotBefore = now.Add(time.Millisecond) }, "staging", 2, Scheduled, ReasonNotYet},
		"to come, but inactive":       {func(k *Key) { k.Active, k.NotBefore = false, now.Add(1) }, "staging", 2, Inactive, ReasonInactive},
		"to come, with an old secret": {func(k *Key) { k.NotBefore = now.Add(1) }, "staging", 1, Scheduled, ReasonSecret},
		"to come, on another stage":   {func(k *Key) { k.NotBefore = now.Add(1) }, "production", 2, Scheduled, ReasonNotYet},
		"a generation to come":        {func(*Key) {}, "staging", 3, Active, ReasonSecret},
		"no generation":               {func(*Key) {}, "staging", 0, Active, ReasonSecret},
		"an old secret":               {func(*Key) {}, "staging", 1, Active, ReasonSecret},
		"an old secret in its grace":  {func(k *Key) { k.Previous = Secret{Generation: 1, Until: now.Add(1)} }, "staging", 1, Active, OK},
		"an old secret after it":      {func(k *Key) { k.Previous = Secret{Generation: 1, Until: now} }, "staging", 1, Active, ReasonSecret},
		"none in the other's grace":   {func(k *Key) { k.Previous = Secret{Generation: 1, Until: now.Add(1)} }, "staging", 0, Active, ReasonSecret},
		"in its grace, but inactive":  {func(k *Key) { k.Active, k.Previous = false, Secret{Generation: 1, Until: now.Add(1)} }, "staging", 1, Inactive, ReasonInactive},
		"in its grace, wrong stage":   {func(k *Key) { k.Previous = Secret{Generation: 1, Until: now.Add(1)} }, "development", 1, Active, ReasonEnvironment},
		"the live one beside a grace": {func(k *Key) { k.Previous = Secret{Generation: 1, Until: now.Add(1)} }, "staging", 2, Active, OK},
	} {
		t.Run(name, func(t *testing.T) {
			k := Key{
				ID: "abcdefgh", AccountID: "acct", Environment: Staging, Active: true, Permissions: []string{"*"}, Networks: []string{"::/0"}, RateLimit: 7,
				Verdict: 5, Generation: 2, Secret: Secret{Generation: 2},
			}
			tt.edit(&k)
			if got := k.Status(now); got != tt.status {
				t.Errorf("Status = %q, want %q", got, tt.status)
			}
			id, reason := Identify(&k, tt.gen, tt.stage, now)
			if reason != tt.reason {
				t.Errorf("Identify = %q, want %q", reason, tt.reason)
			}
			want := Identity{}
			if tt.reason == OK {
				want = Identity{
					KeyID: k.ID, AccountID: "acct", Environment: Staging, Permissions: []string{"*"},
					Networks: []string{"::/0"}, Verdict: 5, Generation: tt.gen, Limit: 7, ExpiresAt: k.ExpiresAt,
				}
				if tt.gen == 1 {
					want.GraceUntil = k.Previous.Until
				}
			}
			if diff := cmp.Diff(want, id); diff != "" {
				t.Errorf("Identify (-want +got):\n%s", diff)
			}
		})
	}
}
