package httpapi

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// trail is what the events of a query say, newest first: action, actor, and through a session or not.
func (c client) trail(query string) string {
	c.w.t.Helper()
	rows := c.do("GET", "/v1/audit-events"+query, "").want(200).object()["data"].([]any)
	var out []string
	for _, r := range rows {
		e := r.(map[string]any)
		s := fmt.Sprintf("%s %v", e["action"], e["actorName"])
		if e["sessionId"] != nil {
			s += "*"
		}
		out = append(out, s)
	}
	return strings.Join(out, ", ")
}

func TestAKeysTrailHasEveryChangeAndWhoMadeIt(t *testing.T) {
	w := newWorld(t, "{}")
	_, s := w.root.session()
	_, k := s.create(`{"name":"a","permissions":["customers:read"]}`)
	ref := k.path("")
	for _, step := range []struct {
		by                 client
		method, path, body string
	}{
		{w.root, "PATCH", "", `{"name":"b"}`},
		{s, "POST", "/regenerate", `{"graceSeconds":3600}`},
		{s, "PATCH", "", `{"endGrace":true}`},
		{w.root, "POST", "/revoke", ""},
		{s, "POST", "/activate", ""},
		{s, "PATCH", "", `{"isPrimary":true}`},
		{w.root, "PATCH", "", `{"name":"b"}`}, // changes nothing
	} {
		w.advance(time.Second)
		step.by.do(step.method, ref+step.path, step.body).want(200)
	}
	w.advance(time.Second)
	_, heir := w.root.create(`{"name":"heir","permissions":["customers:read"],"isPrimary":true}`) // takes the mark
	w.advance(time.Second)
	w.root.do("DELETE", ref, "").want(200)

	id := keyID(k.key.ID())
	got := w.root.trail("?keyId=" + id)
	const want = "key.delete Root key, key.create Root key, key.update Root key*, key.activate Root key*, key.revoke Root key, key.update Root key*, " +
		"key.regenerate Root key*, key.update Root key, key.create Root key*"
	if got != want {
		t.Errorf("trail\n%s\nwant\n%s", got, want)
	}
	rows := w.root.do("GET", "/v1/audit-events?keyId="+id+"&action=key.update", "").want(200).object()["data"].([]any)
	last := rows[len(rows)-1].(map[string]any)
	if d := cmp.Diff(map[string]any{
		"eventId": last["eventId"], "at": "2026-01-15T10:30:01.000Z", "action": "key.update", "keyId": id, "keyName": "b", "environment": "production",
		"actorKeyId": keyID(w.root.key.ID()), "actorName": "Root key", "sessionId": nil,
		"before": map[string]any{"name": "a"}, "after": map[string]any{"name": "b"},
	}, last); d != "" {
		t.Errorf("event (-want +got):\n%s", d)
	}
	// Losing the mark is in the trail of the key that lost it, and not as that key's making.
	if lost := w.root.do("GET", "/v1/audit-events?keyId="+id+"&action=key.create", "").want(200).object()["data"].([]any)[0].(map[string]any); lost["keyId"] != id {
		t.Errorf("the loss of the mark: %v", lost)
	} else if lost["before"].(map[string]any)["primary"] != "true" {
		t.Errorf("the loss of the mark: before %v", lost["before"])
	}
	if got := w.root.trail("?keyId=" + keyID(heir.key.ID())); got != "key.create Root key" {
		t.Errorf("trail of the heir: %s", got)
	}
	// Making the account has no actor, and the session is in the trail of its key.
	if got, want := w.root.trail("?keyId="+keyID(w.root.key.ID())), "session.create Root key, account.create <nil>"; !strings.HasSuffix(got, want) {
		t.Errorf("trail of the root key: %s, want ... %s", got, want)
	}
	// No session is named as a key.
	for _, r := range w.root.do("GET", "/v1/audit-events?limit=1000", "").want(200).object()["data"].([]any) {
		e := r.(map[string]any)
		if e["actorKeyId"] == keyID(s.key.ID()) || e["keyId"] == keyID(s.key.ID()) {
			t.Errorf("an event is of the session itself: %v", e)
		}
		if e["sessionId"] != nil && e["sessionId"] != keyID(s.key.ID()) {
			t.Errorf("sessionId %v", e["sessionId"])
		}
	}
}

func TestEventsAreOfTheKeysThatTheCallerSees(t *testing.T) {
	w := newWorld(t, "{}")
	_, staging := w.root.create(`{"name":"a","environment":"staging","permissions":["api_keys:*"]}`)
	stranger := w.stranger()
	w.advance(time.Hour)
	_, own := staging.create(`{"name":"own"}`)
	w.advance(time.Hour)
	w.root.do("POST", own.path("/revoke"), "").want(200)
	for _, c := range []struct {
		caller      client
		query, want string
	}{
		{staging, "", "key.revoke <nil>, key.create a, key.create <nil>"}, // the root key is not its to see
		{w.root, "", "key.revoke Root key, key.create a, key.create Root key, account.create <nil>"},
		{stranger, "", "account.create <nil>"},
		{w.root, "?action=key.revoke", "key.revoke Root key"},
		{w.root, "?from=2026-01-15T11:30:00Z", "key.revoke Root key, key.create a"},
		{w.root, "?to=2026-01-15T11:30:00Z", "key.create Root key, account.create <nil>"},
		{w.root, "?from=2026-01-15T11:30:00Z&to=2026-01-15T12:30:00Z", "key.create a"},
		{w.root, "?action=session.end", ""},
	} {
		if got := c.caller.trail(c.query); got != c.want {
			t.Errorf("%s: %s, want %s", c.query, got, c.want)
		}
	}
	absent := staging.do("GET", "/v1/audit-events?keyId=key_00000000", "").want(404)
	for _, other := range []client{staging, stranger} {
		if got := other.do("GET", "/v1/audit-events?keyId="+keyID(w.root.key.ID()), ""); got.Code != 404 || got.Body.String() != absent.Body.String() {
			t.Errorf("of a key that is not the caller's to see: %d %s", got.Code, got.Body)
		}
	}
	for _, query := range []string{"?keyId=x", "?action=key.steal", "?from=yesterday", "?limit=0", "?limit=1001", "?from=2026-01-15T11:30:00Z&to=2026-01-15T11:30:00Z"} {
		w.root.do("GET", "/v1/audit-events"+query, "").refused(400, "validation_failed")
	}
	w.root.do("GET", "/v1/audit-events?actor=x", "").refused(400, "unknown_parameter")
}

func TestEventsPageEachOnce(t *testing.T) {
	w := newWorld(t, "{}")
	for i := range 7 {
		w.advance(time.Second)
		w.root.create(fmt.Sprintf(`{"name":"k%d"}`, i))
	}
	var got []string
	query, first := "?limit=3", ""
	for range 3 {
		a := w.root.do("GET", "/v1/audit-events"+query, "")
		got = append(got, strings.Fields(strings.ReplaceAll(a.listed("eventId"), " ", "\n"))...)
		link := a.Header().Get("Link")
		if link == "" {
			query = ""
			break
		}
		query, _, _ = strings.Cut(strings.TrimPrefix(link, "<"), ">")
		if first == "" {
			first, _ = a.object()["meta"].(map[string]any)["next"].(string)
		}
	}
	if query != "" || len(got) != 8 || !slices.IsSortedFunc(got, func(a, b string) int { return strings.Compare(b, a) }) || len(slices.Compact(got)) != 8 {
		t.Errorf("pages hold %v, want eight events, newest first", got)
	}
	w.root.do("GET", "/v1/audit-events?action=key.create&cursor="+first, "").refused(400, "invalid_cursor")
	w.stranger().do("GET", "/v1/audit-events?cursor="+first, "").refused(400, "invalid_cursor")
}
