package alert_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/alert"
	"github.com/keyreeve/keyreeve/pkg/alert/alerttest"
	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/logline"
	"github.com/keyreeve/keyreeve/pkg/usage"
)

// desk has an alert about a key of each environment, one about none, and one of another
// account.
func desk(t *testing.T) (d *alert.Desk, store *alerttest.Memory, ids map[string]string) {
	w := newWorld(t)
	in := func(e keys.Environment, of string) func(*usage.Request) {
		return func(r *usage.Request) { r.Environment, r.AccountID = e, of }
	}
	for i, e := range keys.Environments() {
		w.observe(facts(request(start.Add(time.Duration(i)*time.Hour), guardRefused(logline.ReasonLimit), in(e, account))))
	}
	w.observe(facts(request(start, guardRefused(logline.ReasonLimit), in(keys.Production, "another"))))
	w.observe(usage.Facts{Joined: requests(20, start.Add(3*time.Hour), status(401), from(other))})
	ids = map[string]string{"another": w.alerts("another")[0].ID, "installation": w.alerts(alert.Installation)[0].ID}
	for _, a := range w.alerts(account) {
		name := string(a.Environment)
		if name == "" {
			name = "source"
		}
		ids[name] = a.ID
	}
	return alert.NewDesk(alert.DeskConfig{Store: w.store, Clock: func() time.Time { return start }}), w.store, ids
}

func caller(e keys.Environment, permissions ...string) keys.Caller {
	return keys.Caller{Identity: keys.Identity{KeyID: "CCCCCCCC", AccountID: account, Environment: e, Permissions: permissions}}
}

func TestACallerSeesTheAlertsOfItsAccountAndEnvironment(t *testing.T) {
	d, store, ids := desk(t)
	for _, tt := range []struct {
		who  keys.Environment
		of   keys.Environment
		sees []string // newest window first
	}{
		{keys.Production, "", []string{"source", "development", "staging", "production"}},
		{keys.Production, keys.Staging, []string{"staging"}},
		{keys.Staging, "", []string{"staging"}},
		{keys.Staging, keys.Staging, []string{"staging"}},
		{keys.Staging, keys.Production, nil},
		{keys.Development, "", []string{"development"}},
		{"", "", nil}, // no environment is no key to every one
	} {
		page, err := d.List(t.Context(), caller(tt.who, keys.PermissionRead), alert.Filter{Environment: tt.of})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, a := range page.Alerts {
			for name, id := range ids {
				if id == a.ID && a.AccountID == account {
					got = append(got, name)
				}
			}
		}
		if diff := cmp.Diff(tt.sees, got); diff != "" {
			t.Errorf("%q of %q (-want +got):\n%s", tt.who, tt.of, diff)
		}
		if tt.of != "" {
			continue
		}
		sees := map[string]bool{}
		for _, name := range tt.sees {
			sees[name] = true
		}
		for name, id := range ids {
			before, _ := store.Alert(t.Context(), account, id)
			a, err := d.Acknowledge(t.Context(), caller(tt.who, keys.PermissionWrite), id)
			switch {
			case sees[name] && (err != nil || a.AcknowledgedAt.IsZero()):
				t.Errorf("%q acknowledges %s: %v", tt.who, name, err)
			case !sees[name] && err != keys.ErrNotFound: // itself: the text too must be that of an absent one
				t.Errorf("%q acknowledges %s: %v, want ErrNotFound", tt.who, name, err)
			}
			if now, _ := store.Alert(t.Context(), account, id); !sees[name] && !cmp.Equal(before, now) {
				t.Errorf("%q, who does not see %s, has changed it", tt.who, name)
			}
		}
	}
}

func TestTheFirstAcknowledgementStays(t *testing.T) {
	d, _, ids := desk(t)
	first, second := caller(keys.Production, keys.PermissionWrite), caller(keys.Production, keys.PermissionWrite)
	second.KeyID = "DDDDDDDD"
	for _, who := range []keys.Caller{first, second, first} {
		a, err := d.Acknowledge(t.Context(), who, ids["staging"])
		if err != nil || a.AcknowledgedBy != first.KeyID || !a.AcknowledgedAt.Equal(start) {
			t.Errorf("Acknowledge by %s = by %s at %s, %v", who.KeyID, a.AcknowledgedBy, a.AcknowledgedAt, err)
		}
	}
	open := true
	page, err := d.List(t.Context(), caller(keys.Production, "api_keys:*"), alert.Filter{Open: &open})
	if err != nil || len(page.Alerts) != 3 {
		t.Errorf("%d alerts open, %v, want 3", len(page.Alerts), err)
	}
}

func TestADeskIsForLiveCallersWithThePermission(t *testing.T) {
	d, _, ids := desk(t)
	ended := caller(keys.Production, "api_keys:*")
	ended.ExpiresAt = start
	graceOver := caller(keys.Production, "api_keys:*")
	graceOver.GraceUntil = start
	nobody := caller(keys.Production, "api_keys:*")
	nobody.AccountID = ""
	var escalation *keys.EscalationError
	for name, tt := range map[string]struct {
		who  keys.Caller
		want func(error) bool
	}{
		"with everything but managing": {caller(keys.Production, "*"), func(err error) bool { return errors.As(err, &escalation) }},
		"expired":                      {ended, func(err error) bool { return errors.Is(err, keys.ErrCallerGone) }},
		"after its grace":              {graceOver, func(err error) bool { return errors.Is(err, keys.ErrCallerGone) }},
		"of no account":                {nobody, func(err error) bool { return errors.Is(err, keys.ErrCallerGone) }},
	} {
		if page, err := d.List(t.Context(), tt.who, alert.Filter{}); !tt.want(err) || len(page.Alerts) > 0 {
			t.Errorf("List by one %s = %d alerts, %v", name, len(page.Alerts), err)
		}
		if _, err := d.Acknowledge(t.Context(), tt.who, ids["staging"]); !tt.want(err) {
			t.Errorf("Acknowledge by one %s = %v", name, err)
		}
	}
	if _, err := d.List(t.Context(), caller(keys.Production, keys.PermissionWrite), alert.Filter{}); !errors.As(err, &escalation) {
		t.Errorf("List with the permission to write alone = %v", err)
	}
	if _, err := d.Acknowledge(t.Context(), caller(keys.Production, keys.PermissionRead), ids["staging"]); !errors.As(err, &escalation) {
		t.Errorf("Acknowledge with the permission to read alone = %v", err)
	}
}

func TestFiltersOfADeskAreChecked(t *testing.T) {
	d, _, ids := desk(t)
	who := caller(keys.Production, "api_keys:*")
	_, err := d.List(t.Context(), who, alert.Filter{Environment: "x", Kind: "y", Limit: 1001})
	want := &keys.ValidationError{Fields: []keys.FieldError{
		{Field: "environment", Message: "must be production, staging or development"},
		{Field: "kind", Message: "must be one of the kinds of alerts"},
		{Field: "limit", Message: "must be 1 to 1000"},
	}}
	var got *keys.ValidationError
	if !errors.As(err, &got) || !cmp.Equal(want, got) {
		t.Errorf("List = %v, want %v", err, want)
	}
	for _, after := range []string{"x", ids["staging"] + "x", "A#" + ids["staging"][2:], ids["staging"][:20]} {
		if _, err := d.List(t.Context(), who, alert.Filter{After: after}); !errors.Is(err, keys.ErrInvalidCursor) {
			t.Errorf("List after %q = %v, want ErrInvalidCursor", after, err)
		}
	}
	for _, id := range []string{"", "x", ids["staging"] + "x", "../x"} {
		if _, err := d.Acknowledge(t.Context(), who, id); err != keys.ErrNotFound {
			t.Errorf("Acknowledge(%q) = %v, want ErrNotFound", id, err)
		}
	}
	var pages []string
	for after := ""; ; {
		page, err := d.List(t.Context(), who, alert.Filter{Limit: 3, After: after, Kind: alert.OverLimit})
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range page.Alerts {
			pages = append(pages, a.ID)
		}
		if after = page.Next; after == "" {
			break
		}
	}
	if diff := cmp.Diff([]string{ids["development"], ids["staging"], ids["production"]}, pages); diff != "" {
		t.Errorf("alerts on all pages (-want +got):\n%s", diff)
	}
}

func TestADeskPassesOnThatTheStoreIsUnavailable(t *testing.T) {
	d, store, ids := desk(t)
	for _, op := range []string{"Alerts", "Alert", "Acknowledge"} {
		store.OnCall(before(op, keys.ErrUnavailable))
		var err error
		if op == "Alerts" {
			_, err = d.List(t.Context(), caller(keys.Production, "api_keys:*"), alert.Filter{KeyID: apikey.ID("AAAAAAAA")})
		} else {
			_, err = d.Acknowledge(t.Context(), caller(keys.Production, "api_keys:*"), ids["staging"])
		}
		if !errors.Is(err, keys.ErrUnavailable) {
			t.Errorf("%s fails: %v, want ErrUnavailable", op, err)
		}
	}
}
