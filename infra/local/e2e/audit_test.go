package e2e

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A key's whole life, by a session and by a key itself, is in its trail: what changed, and
// who it was.
func TestAKeysTrailIsItsWholeLife(t *testing.T) {
	w := shared(t)
	root := w.account(t)
	s := w.session(t, root)
	k := w.create(t, s.key, `{"name":"First","permissions":["customers:read"]}`)
	plain := w.create(t, root, `{"name":"Manager","plan":"enterprise","permissions":["customers:*","api_keys:*"]}`)
	path := "/v1/api-keys/" + k.id
	type step struct{ by, method, path, body, event string }
	steps := []step{
		{root, "PATCH", path, `{"name":"Second"}`, "key.update Root key"},
		{s.key, "PATCH", path, `{"rateLimit":5,"permissions":["customers:*"]}`, "key.update Root key by session"},
		{plain.key, "POST", path + "/regenerate", `{"graceSeconds":600}`, "key.regenerate Manager"},
		{s.key, "PATCH", path, `{"endGrace":true}`, "key.update Root key by session"},
		{plain.key, "POST", path + "/revoke", "", "key.revoke Manager"},
		{s.key, "POST", path + "/activate", "", "key.activate Root key by session"},
		{plain.key, "DELETE", path, "", "key.delete Manager"},
	}
	want := []string{"key.create Root key by session"}
	for _, c := range steps {
		a := w.change(t, c.by, c.method, c.path, c.body)
		if strings.HasSuffix(c.path, "/regenerate") {
			w.issued(t, a)
		}
		want = append(want, c.event)
	}
	slices.Reverse(want)
	rows := w.call(t, "GET", "/v1/audit-events?keyId="+k.id, xAPIKey(plain.key), "").list(t)
	var got []string
	for _, e := range rows {
		event := e["action"].(string) + " " + e["actorName"].(string)
		if e["sessionId"] != nil {
			event += " by session"
			if e["sessionId"] != s.id {
				t.Errorf("sessionId %v, want %s", e["sessionId"], s.id)
			}
		}
		if e["keyId"] != k.id || e["keyName"] != "Second" || e["environment"] != "production" {
			t.Errorf("event of %v named %v in %v", e["keyId"], e["keyName"], e["environment"])
		}
		got = append(got, event)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("trail (-want +got):\n%s", d)
	}
	renamed := rows[len(rows)-2]
	if d := cmp.Diff([]any{map[string]any{"name": "First"}, map[string]any{"name": "Second"}}, []any{renamed["before"], renamed["after"]}); d != "" {
		t.Errorf("the renaming (-want +got):\n%s", d)
	}

	// Page by page it is the same, and by action a part of it.
	var paged []string
	query := "?limit=3&keyId=" + k.id
	for range 4 {
		a := w.call(t, "GET", "/v1/audit-events"+query, xAPIKey(root), "")
		paged = append(paged, column(a.list(t), "eventId")...)
		link, _, _ := strings.Cut(strings.TrimPrefix(a.header.Get("Link"), "<"), ">")
		if query = link; query == "" {
			break
		}
	}
	if d := cmp.Diff(column(rows, "eventId"), paged); d != "" || query != "" {
		t.Errorf("pages (-whole +paged), next %q:\n%s", query, d)
	}
	if got := column(w.call(t, "GET", "/v1/audit-events?action=key.update&keyId="+k.id, xAPIKey(root), "").list(t), "action"); len(got) != 3 {
		t.Errorf("%d updates, want 3", len(got))
	}
	all := w.call(t, "GET", "/v1/audit-events?limit=1000", xAPIKey(root), "").list(t)
	if got, want := column(all, "action"), []string{"key.create", "key.create", "session.create", "account.create"}; len(all) != len(rows)+3 || !slices.Equal(got[len(got)-4:], want) {
		t.Errorf("the account's events: %v", got)
	}
	foreign := w.call(t, "GET", "/v1/audit-events?keyId="+k.id, xAPIKey(w.account(t)), "")
	foreign.mustRefuse(t, http.StatusNotFound, "not_found")
}

// A key that lost the primary mark, or was switched off with who made it, has that in its
// own trail.
func TestATrailHasWhatBefellTheKeyWithOthers(t *testing.T) {
	w := shared(t)
	root := w.account(t)
	parent := w.create(t, root, `{"name":"Parent","plan":"enterprise","permissions":["customers:read","api_keys:*"],"isPrimary":true}`)
	child := w.create(t, parent.key, `{"name":"Child","permissions":["customers:read"]}`)
	w.change(t, root, "PATCH", "/v1/api-keys/"+child.id, `{"isPrimary":true}`)
	w.change(t, root, "POST", "/v1/api-keys/"+parent.id+"/revoke?descendants=true", "")
	trail := func(id string) []string {
		return column(w.call(t, "GET", "/v1/audit-events?keyId="+id, xAPIKey(root), "").list(t), "action")
	}
	if got, want := trail(parent.id), []string{"key.revoke_descendants", "key.revoke", "key.update", "key.create"}; !slices.Equal(got, want) {
		t.Errorf("the parent's trail = %v, want %v", got, want)
	}
	if got, want := trail(child.id), []string{"key.revoke_descendants", "key.update", "key.create"}; !slices.Equal(got, want) {
		t.Errorf("the child's trail = %v, want %v", got, want)
	}
}

func TestCustomersAndFiltersShowWhatKeysMay(t *testing.T) {
	w := shared(t)
	root := w.account(t)
	w.create(t, root, `{"name":"One","permissions":["customers:read"],"customers":["cus_1"]}`)
	w.create(t, root, `{"name":"Both","permissions":["customers:*"],"customers":["cus_1","cus_2"]}`)
	w.create(t, root, `{"name":"Licenses","permissions":["licenses:manage"]}`)
	customers := w.call(t, "GET", "/v1/api-keys/customers", xAPIKey(root), "").list(t)
	if d := cmp.Diff([]map[string]any{{"customerId": "cus_1", "keys": 2.}, {"customerId": "cus_2", "keys": 1.}}, customers); d != "" {
		t.Errorf("customers (-want +got):\n%s", d)
	}
	for query, want := range map[string][]string{
		"permission=customers:read":                 {"Root key", "One", "Both"},
		"permission=customers:write":                {"Root key", "Both"},
		"customer=cus_2":                            {"Both"},
		"customer=cus_1&permission=customers:write": {"Both"},
		"customer=cus_3":                            nil,
	} {
		if got := column(w.call(t, "GET", "/v1/api-keys?"+query, xAPIKey(root), "").list(t), "name"); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", query, got, want)
		}
	}
	a := w.call(t, "GET", "/v1/api-keys?permission=customers:fly", xAPIKey(root), "")
	a.mustRefuse(t, http.StatusBadRequest, "validation_failed")
	if d := w.change(t, root, "GET", "/v1/account", "").data(t); d["keyCount"] != 4. || d["plan"] != "enterprise" || d["cacheSeconds"] != 60. {
		t.Errorf("account = %v", d)
	}
	// Use as the limit counts it.
	k := w.create(t, root, `{"name":"Used","permissions":["customers:read"],"limits":[{"window":"hour","requests":100}],"quota":{"requests":1000}}`)
	for range 5 {
		w.change(t, k.key, "GET", "/v1/customers", "")
	}
	d := w.change(t, root, "GET", "/v1/api-keys/"+k.id, "").data(t)
	used := []any{d["rateUsed"], d["limits"].([]any)[0].(map[string]any)["used"], d["quota"].(map[string]any)["used"]}
	if diff := cmp.Diff([]any{5., 5., 5.}, used); diff != "" {
		t.Errorf("used of rateLimit, limits and quota (-want +got):\n%s", diff)
	}
}
