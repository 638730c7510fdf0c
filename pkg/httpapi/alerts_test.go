package httpapi

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/alert"
)

// raise puts an alert about a key, or with no client about none, n hours ago.
func (w *world) raise(account client, about client, kind alert.Kind, n int) string {
	w.t.Helper()
	k, err := w.store.Key(w.t.Context(), account.key.ID())
	if err != nil {
		w.t.Fatal(err)
	}
	window := w.clock().Truncate(time.Hour).Add(-time.Duration(n) * time.Hour)
	a := alert.Alert{
		ID: fmt.Sprintf("%012x-%s-%016x", window.UnixMilli(), kind, n), AccountID: k.AccountID, Kind: kind, Severity: alert.Warning,
		Subject: "192.0.2.1", Window: window, RaisedAt: window.Add(90 * time.Second), Text: "Something happened.", Data: map[string]string{"requests": "20"},
	}
	if about.w != nil {
		k, err := w.store.Key(w.t.Context(), about.key.ID())
		if err != nil {
			w.t.Fatal(err)
		}
		a.KeyID, a.Environment, a.Subject = k.ID, k.Environment, string(k.ID)
	}
	if raised, err := w.alerts.Raise(w.t.Context(), a); err != nil || !raised {
		w.t.Fatalf("Raise = %t, %v", raised, err)
	}
	return a.ID
}

func TestAlertsAreOfTheKeysThatTheCallerSees(t *testing.T) {
	w := newWorld(t, "{}")
	_, staging := w.root.create(`{"name":"a","environment":"staging","permissions":["api_keys:*"]}`)
	stranger := w.stranger()
	a := w.raise(w.root, w.root, alert.NearLimit, 1)
	b := w.raise(w.root, staging, alert.OverLimit, 2)
	c := w.raise(w.root, client{}, alert.SourceFailures, 3)
	x := w.raise(stranger, stranger, alert.NearLimit, 4)
	staging.do("POST", "/v1/alerts/"+b+"/acknowledge", "").want(200)
	for _, q := range []struct {
		caller      client
		query, want string
	}{
		{w.root, "", a + " " + b + " " + c},
		{staging, "", b},
		{stranger, "", x},
		{w.root, "?status=open", a + " " + c},
		{w.root, "?status=acknowledged", b},
		{w.root, "?kind=over_limit", b},
		{w.root, "?keyId=" + keyID(w.root.key.ID()), a},
		{w.root, "?environment=staging", b},
		{staging, "?environment=production", ""},
		{staging, "?keyId=" + keyID(w.root.key.ID()), ""},
	} {
		if got := q.caller.do("GET", "/v1/alerts"+q.query, "").listed("alertId"); got != q.want {
			t.Errorf("%s: %q, want %q", q.query, got, q.want)
		}
	}
	w.root.do("GET", "/v1/alerts?kind=fire", "").refused(400, "validation_failed")
	w.root.do("GET", "/v1/alerts?status=closed", "").refused(400, "validation_failed")
	w.root.do("GET", "/v1/alerts?limit=1001", "").refused(400, "validation_failed")
}

func TestAnAlertIsAcknowledgedByWhoSeesIt(t *testing.T) {
	w := newWorld(t, "{}")
	_, staging := w.root.create(`{"name":"a","environment":"staging","permissions":["api_keys:*"]}`)
	id := w.raise(w.root, w.root, alert.NearLimit, 1)
	absent := staging.do("POST", "/v1/alerts/019a00000000-near_limit-0123456789abcdef/acknowledge", "").want(404)
	for _, other := range []client{staging, w.stranger()} {
		if got := other.do("POST", "/v1/alerts/"+id+"/acknowledge", ""); got.Body.String() != absent.Body.String() || got.Code != 404 {
			t.Errorf("acknowledged by who does not see it: %d %s, want %s", got.Code, got.Body, absent.Body)
		}
	}
	w.root.do("POST", "/v1/alerts/nonsense/acknowledge", "").refused(404, "not_found")
	w.root.do("POST", "/v1/alerts/"+id+"/acknowledge", `{"by":"me"}`).refused(400, "unknown_field")
	want := `{"success":true,"data":{"alertId":"ID","kind":"near_limit","severity":"warning","environment":"production","keyId":"K","subject":"K",
		"window":"2026-01-15T09:00:00.000Z","raisedAt":"2026-01-15T09:01:30.000Z","text":"Something happened.","data":{"requests":"20"},
		"acknowledgedAt":"2026-01-15T10:30:00.000Z","acknowledgedBy":"K","keyName":"Root key","acknowledgedByName":"Root key"}}`
	want = strings.ReplaceAll(want, `"ID"`, `"`+id+`"`)
	golden(t, "acknowledged", w.root.do("POST", "/v1/alerts/"+id+"/acknowledge", "{}"), want, names{"K": w.root})
	w.advance(time.Hour)
	golden(t, "again", w.root.do("POST", "/v1/alerts/"+id+"/acknowledge", ""), want, names{"K": w.root})
}

func TestAnAlertHasTheNamesThatTheCallerMayKnow(t *testing.T) {
	w := newWorld(t, "{}")
	_, staging := w.root.create(`{"name":"a","environment":"staging","permissions":["api_keys:*"]}`)
	_, writer := w.root.create(`{"name":"w","permissions":["api_keys:write"]}`)
	_, session := w.root.session()
	id := w.raise(w.root, staging, alert.OverLimit, 1)
	w.raise(w.root, client{}, alert.SourceFailures, 2)
	// Who may manage keys and not read them knows no names, and has acknowledged it.
	d := writer.do("POST", "/v1/alerts/"+id+"/acknowledge", "").want(200).data()
	if d["acknowledgedBy"] != keyID(writer.key.ID()) || d["acknowledgedByName"] != nil || d["keyName"] != nil {
		t.Errorf("to a writer: %v", d)
	}
	show := func(c client) (string, string) {
		a := c.do("GET", "/v1/alerts", "")
		return a.listed("keyName"), a.listed("acknowledgedByName")
	}
	if key, by := show(w.root); key != "a <nil>" || by != "w <nil>" {
		t.Errorf("to the root key: names %s, acknowledged by %s", key, by)
	}
	if key, by := show(staging); key != "a" || by != "<nil>" { // w is not its to see
		t.Errorf("to staging: names %s, acknowledged by %s", key, by)
	}
	// A session acknowledges in its key's name.
	by := session.do("POST", "/v1/alerts/"+w.raise(w.root, staging, alert.NearLimit, 3)+"/acknowledge", "").want(200).data()
	if by["acknowledgedBy"] != keyID(w.root.key.ID()) || by["acknowledgedByName"] != "Root key" {
		t.Errorf("by a session: %v, %v", by["acknowledgedBy"], by["acknowledgedByName"])
	}
}

func TestAlertsPageEachOnce(t *testing.T) {
	w := newWorld(t, "{}")
	var want []string
	for i := range 7 {
		want = append(want, w.raise(w.root, w.root, alert.NearLimit, i))
	}
	cursor, first := "", ""
	var got []string
	for pages := 1; ; pages++ {
		if pages > 4 {
			t.Fatal("no last page")
		}
		a := w.root.do("GET", "/v1/alerts?limit=3&status=open&cursor="+cursor, "")
		got = append(got, strings.Fields(a.listed("alertId"))...)
		cursor, _ = a.object()["meta"].(map[string]any)["next"].(string)
		if (cursor != "") != (a.Header().Get("Link") != "") {
			t.Errorf("meta.next %t, Link %q", cursor != "", a.Header().Get("Link"))
		}
		if pages == 1 {
			first = cursor
		}
		if cursor == "" {
			break
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	w.root.do("GET", "/v1/alerts?cursor="+first, "").refused(400, "invalid_cursor") // of another filter
	w.stranger().do("GET", "/v1/alerts?status=open&cursor="+first, "").refused(400, "invalid_cursor")
	// A place is no cursor: what is not sealed opens nothing.
	w.root.do("GET", "/v1/alerts?status=open&cursor="+want[2], "").refused(400, "invalid_cursor")
}

func TestTheDocumentKnowsEveryKindOfAlert(t *testing.T) {
	w := newWorld(t, "{}")
	d := served(t, w.handler)
	for schema, property := range map[string]string{"Alert": "kind", "Webhook": "kinds", "CreateWebhook": "kinds", "PatchWebhook": "kinds"} {
		p, _ := d.Components.Schemas[schema]["properties"].(map[string]any)[property].(map[string]any)
		if items, ok := p["items"].(map[string]any); ok {
			p = items
		}
		if n, _ := p["enum"].([]any); len(n) != len(alert.Kinds()) {
			t.Errorf("%s.%s documents %d kinds, want %d", schema, property, len(n), len(alert.Kinds()))
		}
	}
}
