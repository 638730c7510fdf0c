package webhook_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/keyreeve/keyreeve/pkg/alert"
	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/webhook"
)

const publicURL = "https://hooks.example.com/alerts?team=a"

func caller(account string, e keys.Environment, permissions ...string) keys.Caller {
	return keys.Caller{Identity: keys.Identity{KeyID: "CALLER00", AccountID: account, Environment: e, Permissions: permissions}}
}

func manager() keys.Caller { return caller("acct", keys.Production, "api_keys:*") }

func TestOnlyProductionCallersThatHoldThePermissionManageWebhooks(t *testing.T) {
	w := newWorld(t)
	e, _ := w.create(t, webhook.Input{URL: publicURL, Active: true})
	escalation := func(field string) error { return &keys.EscalationError{Field: field} }
	expired := manager()
	expired.ExpiresAt = w.Clock.Now()
	for _, tt := range []struct {
		who         string
		caller      keys.Caller
		list        int
		listErr     error
		read, write error // of a webhook of account acct
		create      error
	}{
		{"all of api_keys, production", manager(), 1, nil, nil, nil, nil},
		{"may read, production", caller("acct", keys.Production, "api_keys:read"), 1, nil, nil, escalation("permissions"), escalation("permissions")},
		{"may write only, production", caller("acct", keys.Production, "api_keys:write"), 0, escalation("permissions"), escalation("permissions"), nil, nil},
		{"everything but api_keys", caller("acct", keys.Production, "*"), 0, escalation("permissions"), escalation("permissions"), escalation("permissions"), escalation("permissions")},
		{"staging", caller("acct", keys.Staging, "api_keys:*"), 0, nil, keys.ErrNotFound, keys.ErrNotFound, escalation("environment")},
		{"development", caller("acct", keys.Development, "api_keys:*"), 0, nil, keys.ErrNotFound, keys.ErrNotFound, escalation("environment")},
		{"another account", caller("other", keys.Production, "api_keys:*"), 0, nil, keys.ErrNotFound, keys.ErrNotFound, nil},
		{"expired meanwhile", expired, 0, keys.ErrCallerGone, keys.ErrCallerGone, keys.ErrCallerGone, keys.ErrCallerGone},
		{"nobody", keys.Caller{}, 0, keys.ErrCallerGone, keys.ErrCallerGone, keys.ErrCallerGone, keys.ErrCallerGone},
	} {
		check := func(op string, got, want error) {
			t.Helper()
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s: %s = %v, want %v", tt.who, op, got, want)
			}
		}
		list, err := w.Manager.List(ctx, tt.caller)
		check("List", err, tt.listErr)
		if len(list) != tt.list {
			t.Errorf("%s: List has %d, want %d", tt.who, len(list), tt.list)
		}
		_, err = w.Manager.Get(ctx, tt.caller, e.ID)
		check("Get", err, tt.read)
		_, _, err = w.Manager.Deliveries(ctx, tt.caller, e.ID, 0, "")
		check("Deliveries", err, tt.read)
		name := "x"
		_, err = w.Manager.Update(ctx, tt.caller, e.ID, webhook.Patch{Description: &name})
		check("Update", err, tt.write)
		if tt.write != nil {
			_, err = w.Manager.Test(ctx, tt.caller, e.ID)
			check("Test", err, tt.write)
			check("Delete", w.Manager.Delete(ctx, tt.caller, e.ID), tt.write)
			_, err = w.Manager.Redeliver(ctx, tt.caller, webhook.DeliveryID(e.ID, w.Clock.Now(), "a"))
			check("Redeliver", err, tt.write)
		}
		made, secret, err := w.Manager.Create(ctx, tt.caller, webhook.Input{URL: publicURL})
		check("Create", err, tt.create)
		if (err == nil) != (secret != "") || err != nil && made.ID != "" {
			t.Errorf("%s: Create gave %+v beside %v", tt.who, made, err)
		}
		if err == nil {
			check("Delete", w.Manager.Delete(ctx, tt.caller, made.ID), nil)
		}
	}
	for _, id := range []string{"", "x", strings.Repeat("A", 16), e.ID[:15] + "/", "../" + e.ID[3:], e.ID + "0"} {
		if _, err := w.Manager.Get(ctx, manager(), id); err != keys.ErrNotFound {
			t.Errorf("Get(%q) = %v, want ErrNotFound", id, err)
		}
	}
}

func TestAWebhookIsShownAsItWasMadeAndItsSecretOnce(t *testing.T) {
	w := newWorld(t)
	at := w.Clock.Now()
	e, secret := w.create(t, webhook.Input{
		URL: publicURL, Description: "for the on-call", Active: true,
		Kinds: []alert.Kind{alert.CanaryUsed, alert.NearLimit, alert.CanaryUsed},
	})
	want := webhook.Endpoint{
		ID: e.ID, AccountID: "acct", Version: 1, URL: publicURL, Description: "for the on-call", Active: true,
		Kinds: []alert.Kind{alert.NearLimit, alert.CanaryUsed}, CreatedBy: "CALLER00", CreatedAt: at, UpdatedAt: at,
	}
	if diff := cmp.Diff(want, e); diff != "" {
		t.Errorf("Create (-want +got)\n%s", diff)
	}
	got, err := w.Manager.Get(ctx, manager(), e.ID)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("Get, %v (-want +got)\n%s", err, diff)
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil || !strings.HasPrefix(secret, "whsec_") || len(raw) < 24 || len(raw) > 64 {
		t.Errorf("the secret has %d bytes (%v), want whsec_ and 24 to 64", len(raw), err)
	}
	w.Clock.Advance(time.Second)
	_, other := w.create(t, webhook.Input{URL: publicURL})
	if other == secret {
		t.Error("two webhooks have one secret")
	}
	list, err := w.Manager.List(ctx, manager())
	if err != nil || len(list) != 2 || list[0].ID != e.ID {
		t.Errorf("List = %d, %v, want the two by age", len(list), err)
	}
	text, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	stored, err := w.Store.Endpoints(ctx, "acct")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{secret, other} {
		wantNoPiece(t, "the list", string(text)+fmt.Sprintf("%+v", list), s)
		wantNoPiece(t, "the store", fmt.Sprintf("%+v %s", stored, stored[0].Box), s)
	}
	for _, e := range list {
		if e.Pepper != "" || e.Box != nil {
			t.Errorf("the list shows the sealed secret of %s", e.ID)
		}
	}
}

func TestASecretOpensForItsWebhookAlone(t *testing.T) {
	w := newWorld(t)
	made, secret := w.create(t, webhook.Input{URL: publicURL})
	w.Peppers.Rotate()
	later, laterSecret := w.create(t, webhook.Input{URL: publicURL})
	ring, err := w.Peppers.Ring(ctx)
	if err != nil {
		t.Fatal(err)
	}
	stored := func(id string) webhook.Endpoint {
		e, err := w.Store.Endpoint(ctx, "acct", id)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	a, b := stored(made.ID), stored(later.ID)
	if a.Pepper != "p1" || b.Pepper != "p2" {
		t.Errorf("sealed under %s and %s, want p1 and, after the rotation, p2", a.Pepper, b.Pepper)
	}
	for e, want := range map[*webhook.Endpoint]string{&a: secret, &b: laterSecret} {
		if got, err := webhook.Open(ring, *e); err != nil || got != want {
			t.Errorf("the secret of %s does not open as it was shown (%v)", e.ID, err)
		}
	}
	for name, e := range map[string]webhook.Endpoint{
		"another webhook's box": {ID: a.ID, AccountID: a.AccountID, Pepper: b.Pepper, Box: b.Box},
		"another account's":     {ID: a.ID, AccountID: "acct2", Pepper: a.Pepper, Box: a.Box},
		"another id's":          {ID: b.ID, AccountID: a.AccountID, Pepper: a.Pepper, Box: a.Box},
		"parts that shift":      {ID: "t" + a.ID, AccountID: "acc", Pepper: a.Pepper, Box: a.Box},
		"another pepper":        {ID: a.ID, AccountID: a.AccountID, Pepper: "p2", Box: a.Box},
		"a changed box":         {ID: a.ID, AccountID: a.AccountID, Pepper: a.Pepper, Box: append([]byte{a.Box[0] ^ 1}, a.Box[1:]...)},
		"half a nonce":          {ID: a.ID, AccountID: a.AccountID, Pepper: a.Pepper, Box: a.Box[:5]},
	} {
		if _, err := webhook.Open(ring, e); err == nil {
			t.Errorf("%s opens", name)
		}
	}
	b.Pepper = "p9"
	if _, err := webhook.Open(ring, b); !errors.Is(err, apikey.ErrUnknownPepper) {
		t.Errorf("an unknown pepper: %v, want ErrUnknownPepper", err)
	}
}

func TestWhatIsWrongIsNamedAndNeverQuoted(t *testing.T) {
	w := newWorld(t)
	key, err := apikey.Generate("kr_live", apikey.NewID())
	if err != nil {
		t.Fatal(err)
	}
	long := "https://example.com/" + strings.Repeat("a", 2029)
	for _, tt := range []struct {
		in   webhook.Input
		want []string
	}{
		{webhook.Input{URL: "https://example.com"}, nil},
		{webhook.Input{URL: "https://EXAMPLE.com:8443/a/b?c=%20#"}, []string{"url"}},
		{webhook.Input{URL: "https://[2606:4700::1111]/x"}, nil},
		{webhook.Input{URL: "https://8.8.8.8/x"}, nil},
		{webhook.Input{URL: long[:2048]}, nil},
		{webhook.Input{URL: long}, []string{"url"}},
		{webhook.Input{}, []string{"url"}},
		{webhook.Input{URL: "http://example.com"}, []string{"url"}},
		{webhook.Input{URL: "ftp://example.com"}, []string{"url"}},
		{webhook.Input{URL: "file:///etc/passwd"}, []string{"url"}},
		{webhook.Input{URL: "https:example.com"}, []string{"url"}},
		{webhook.Input{URL: "https:///path"}, []string{"url"}},
		{webhook.Input{URL: "https://:443/"}, []string{"url"}},
		{webhook.Input{URL: "//example.com"}, []string{"url"}},
		{webhook.Input{URL: "example.com"}, []string{"url"}},
		{webhook.Input{URL: "https://user@example.com"}, []string{"url"}},
		{webhook.Input{URL: "https://user:pass@example.com"}, []string{"url"}},
		{webhook.Input{URL: "https://example.com@127.0.0.1/"}, []string{"url"}},
		{webhook.Input{URL: "https://example.com/#frag"}, []string{"url"}},
		{webhook.Input{URL: "https://example.com/\r\nHost: x"}, []string{"url"}},
		{webhook.Input{URL: "https://exa mple.com/"}, []string{"url"}},
		{webhook.Input{URL: "https://127.0.0.1/"}, []string{"url"}},
		{webhook.Input{URL: "https://10.1.2.3:8443/"}, []string{"url"}},
		{webhook.Input{URL: "https://169.254.169.254/latest"}, []string{"url"}},
		{webhook.Input{URL: "https://[::1]/"}, []string{"url"}},
		{webhook.Input{URL: "https://[fe80::1%25eth0]/"}, []string{"url"}},
		{webhook.Input{URL: "https://[::ffff:10.0.0.1]/"}, []string{"url"}},
		{webhook.Input{URL: "https://example.com/?k=" + key.Plaintext()}, []string{"url"}},
		{webhook.Input{URL: publicURL, Description: strings.Repeat("ö", 100)}, nil},
		{webhook.Input{URL: publicURL, Description: strings.Repeat("ö", 101)}, []string{"description"}},
		{webhook.Input{URL: publicURL, Description: "a\x00b"}, []string{"description"}},
		{webhook.Input{URL: publicURL, Description: "\xff"}, []string{"description"}},
		{webhook.Input{URL: publicURL, Description: "key: " + key.Plaintext()}, []string{"description"}},
		{webhook.Input{URL: publicURL, Kinds: alert.Kinds()}, nil},
		{webhook.Input{URL: "x", Description: "\n", Kinds: []alert.Kind{alert.OverLimit, "nope", ""}}, []string{"url", "description", "kinds[1]", "kinds[2]"}},
	} {
		e, secret, err := w.Manager.Create(ctx, manager(), tt.in)
		var got []string
		var faults *keys.ValidationError
		if errors.As(err, &faults) {
			for _, f := range faults.Fields {
				got = append(got, f.Field)
			}
		} else if err != nil {
			t.Errorf("Create(%q) = %v", tt.in.URL, err)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("Create(%.60q, %.20q, %v): fields at fault (-want +got)\n%s", tt.in.URL, tt.in.Description, tt.in.Kinds, diff)
		}
		if err == nil {
			if err := w.Manager.Delete(ctx, manager(), e.ID); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if secret != "" {
			t.Errorf("Create(%q) gave a secret beside its error", tt.in.URL)
		}
		for _, value := range []string{"example.com", "10.1.2", "passwd", "pass@", "nope", key.Plaintext()[:16]} {
			if strings.Contains(strings.ReplaceAll(err.Error(), "https://example.com/alerts", ""), value) {
				t.Errorf("the error of %q quotes %q", tt.in.URL, value)
			}
		}
	}
	e, _ := w.create(t, webhook.Input{URL: publicURL})
	bad := "https://192.168.0.1/"
	if _, err := w.Manager.Update(ctx, manager(), e.ID, webhook.Patch{URL: &bad}); !errors.As(err, new(*keys.ValidationError)) {
		t.Errorf("Update to a private address = %v, want a ValidationError", err)
	}
}

func TestAnywhereLiftsWhereToAndNothingElse(t *testing.T) {
	for url, want := range map[string]bool{
		"http://127.0.0.1:8080/x": true, "http://localhost/": true, "https://10.0.0.1/": true, publicURL: true,
		"ftp://127.0.0.1/": false, "http://user@127.0.0.1/": false, "http://127.0.0.1/#x": false, "http:///x": false,
	} {
		if got := webhook.CheckURL(url, true); (got == "") != want {
			t.Errorf("%s on a developer's own machine: %q", url, got)
		}
	}
}

func TestAnUpdateChangesWhatItNames(t *testing.T) {
	w := newWorld(t)
	e, _ := w.create(t, webhook.Input{URL: publicURL, Description: "a", Active: true, Kinds: []alert.Kind{alert.OverLimit}})
	w.Clock.Advance(time.Minute)
	off, text, url, none := false, "b", "https://other.example.com/", []alert.Kind{}
	for i, step := range []struct {
		patch  webhook.Patch
		change func(*webhook.Endpoint)
	}{
		{webhook.Patch{Active: &off}, func(e *webhook.Endpoint) { e.Active = false }},
		{webhook.Patch{Description: &text}, func(e *webhook.Endpoint) { e.Description = text }},
		{webhook.Patch{URL: &url}, func(e *webhook.Endpoint) { e.URL = url }},
		{webhook.Patch{Kinds: &none}, func(e *webhook.Endpoint) { e.Kinds = nil }},
		{webhook.Patch{}, func(*webhook.Endpoint) {}},
	} {
		step.change(&e)
		e.Version, e.UpdatedAt = e.Version+1, w.Clock.Now()
		got, err := w.Manager.Update(ctx, manager(), e.ID, step.patch)
		if diff := cmp.Diff(e, got, cmpopts.EquateEmpty()); diff != "" || err != nil {
			t.Errorf("step %d, %v (-want +got)\n%s", i, err, diff)
		}
	}
	// Two at the same time, of different fields: both are there afterwards.
	var wg sync.WaitGroup
	on, both := true, "both"
	for _, p := range []webhook.Patch{{Active: &on}, {Description: &both}} {
		wg.Go(func() {
			if _, err := w.Manager.Update(ctx, manager(), e.ID, p); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	got, err := w.Manager.Get(ctx, manager(), e.ID)
	if err != nil || !got.Active || got.Description != both {
		t.Errorf("after two updates at once: active %t, description %q, %v", got.Active, got.Description, err)
	}
}

func TestTheAccountsWebhooksAreBounded(t *testing.T) {
	w := newWorld(t)
	for range webhook.MaxEndpoints {
		w.create(t, webhook.Input{URL: publicURL})
	}
	if _, secret, err := w.Manager.Create(ctx, manager(), webhook.Input{URL: publicURL}); !errors.Is(err, webhook.ErrTooMany) || secret != "" {
		t.Errorf("one more: %v, want ErrTooMany", err)
	}
}

func TestATestEventGoesOutAtOnceAndIsNoDelivery(t *testing.T) {
	w := newWorld(t)
	r := newReceiver(t, http.StatusAccepted, http.StatusInternalServerError)
	e, secret := w.create(t, webhook.Input{URL: r.URL}) // switched off
	for i, status := range []int{http.StatusAccepted, http.StatusInternalServerError} {
		got, err := w.Manager.Test(ctx, manager(), e.ID)
		if err != nil || got.Status != status || got.Error != "" || !got.At.Equal(w.Clock.Now()) {
			t.Errorf("Test = %+v, %v, want status %d", got, err, status)
		}
		m := r.took(t, i, secret)
		if want := fmt.Sprintf(`{"type":"test","timestamp":"%s","data":{"webhookId":"%s"}}`, w.Clock.Now().Format("2006-01-02T15:04:05.000Z"), e.ID); m.body != want {
			t.Errorf("body %s, want %s", m.body, want)
		}
	}
	if r.message(0).id == r.message(1).id {
		t.Error("two tests have one id")
	}
	list, _, err := w.Manager.Deliveries(ctx, manager(), e.ID, 0, "")
	if err != nil || len(list) != 0 {
		t.Errorf("Deliveries = %d, %v, want none", len(list), err)
	}
	r.Close()
	if got, err := w.Manager.Test(ctx, manager(), e.ID); err != nil || got.Error != webhook.ErrorRefused {
		t.Errorf("Test of a receiver that is gone = %+v, %v", got, err)
	}
}

func TestDeliveriesArePagedAndReopenedByTheirOwner(t *testing.T) {
	w := newWorld(t)
	r := newReceiver(t)
	e, _ := w.create(t, webhook.Input{URL: r.URL, Active: true})
	other, _ := w.create(t, webhook.Input{URL: r.URL})
	for i := range 5 {
		w.Clock.Advance(time.Second)
		w.raise(t, fmt.Sprint("a", i))
	}
	var got []string
	after := ""
	for {
		list, next, err := w.Manager.Deliveries(ctx, manager(), e.ID, 2, after)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range list {
			got = append(got, d.AlertID)
		}
		if after = next; next == "" {
			break
		}
	}
	if diff := cmp.Diff([]string{"a4", "a3", "a2", "a1", "a0"}, got); diff != "" {
		t.Errorf("pages (-want +got)\n%s", diff)
	}
	for _, limit := range []int{-1, 101} {
		if _, _, err := w.Manager.Deliveries(ctx, manager(), e.ID, limit, ""); !errors.As(err, new(*keys.ValidationError)) {
			t.Errorf("a page of %d: %v, want a ValidationError", limit, err)
		}
	}
	list, _, err := w.Manager.Deliveries(ctx, manager(), e.ID, 1, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, after := range []string{"x", list[0].ID[1:], strings.Replace(list[0].ID, e.ID, other.ID, 1)} {
		if _, _, err := w.Manager.Deliveries(ctx, manager(), e.ID, 1, after); err != keys.ErrInvalidCursor {
			t.Errorf("after %q: %v, want ErrInvalidCursor", after, err)
		}
	}
	for _, id := range []string{"", "x", e.ID, webhook.DeliveryID(e.ID, w.Clock.Now(), "none"), strings.Replace(list[0].ID, e.ID, other.ID, 1)} {
		if _, err := w.Manager.Redeliver(ctx, manager(), id); err != keys.ErrNotFound {
			t.Errorf("Redeliver(%q) = %v, want ErrNotFound", id, err)
		}
	}
	if err := w.Manager.Delete(ctx, manager(), e.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Manager.Redeliver(ctx, manager(), list[0].ID); err != keys.ErrNotFound {
		t.Errorf("Redeliver to a webhook that is gone = %v, want ErrNotFound", err)
	}
}
