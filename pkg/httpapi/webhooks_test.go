package httpapi

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/webhook"
	"github.com/keyreeve/keyreeve/pkg/webhook/webhooktest"
)

// hook makes a webhook and returns its id and its secret.
func (c client) hook(body string) (id, secret string) {
	c.w.t.Helper()
	data := c.do("POST", "/v1/webhooks", body).want(http.StatusCreated).data()
	id, _ = data["webhook"].(map[string]any)["webhookId"].(string)
	secret, _ = data["secret"].(string)
	if !strings.HasPrefix(secret, "whsec_") || id == "" {
		c.w.t.Fatalf("webhook %q, with a secret %t", id, secret != "")
	}
	return id, secret
}

func TestAWebhooksSecretIsShownOnce(t *testing.T) {
	w := newWorld(t, "{}")
	created := w.root.do("POST", "/v1/webhooks", `{"url":"https://example.com/alerts?token=1","description":"ours","kinds":["canary_used","near_limit"]}`).want(201)
	data := created.data()
	id, _ := data["webhook"].(map[string]any)["webhookId"].(string)
	secret, _ := data["secret"].(string)
	want := `{"webhookId":"` + id + `","url":"https://example.com/alerts?token=1","description":"ours","kinds":["near_limit","canary_used"],"isActive":true,
		"createdBy":"K","createdAt":"2026-01-15T10:30:00.000Z","updatedAt":"2026-01-15T10:30:00.000Z"}`
	meta := created.object()["meta"].(map[string]any)
	if w := meta["warning"]; w != "This signing secret will only be shown once. Please store it securely." {
		t.Errorf("warning %v", w)
	}
	if !strings.HasPrefix(secret, "whsec_") || len(secret) < 38 {
		t.Fatal("the answer has no secret")
	}
	one := w.root.do("GET", "/v1/webhooks/"+id, "")
	golden(t, "one", one, `{"success":true,"data":`+want+`}`, names{"K": w.root})
	list := w.root.do("GET", "/v1/webhooks", "")
	golden(t, "list", list, `{"success":true,"data":[`+want+`],"meta":{"total":1}}`, names{"K": w.root})
	w.advance(time.Minute)
	changed := w.root.do("PATCH", "/v1/webhooks/"+id, `{"isActive":false,"kinds":[],"description":""}`)
	want = strings.NewReplacer(`"isActive":true`, `"isActive":false`, `["near_limit","canary_used"]`, `[]`, `"ours"`, `""`,
		`"updatedAt":"2026-01-15T10:30:00.000Z"`, `"updatedAt":"2026-01-15T10:31:00.000Z"`).Replace(want)
	golden(t, "changed", changed, `{"success":true,"data":`+want+`}`, names{"K": w.root})
	test := w.root.do("POST", "/v1/webhooks/"+id+"/deliveries", "")
	deleted := w.root.do("DELETE", "/v1/webhooks/"+id, "")
	golden(t, "deleted", deleted, `{"success":true,"data":{"webhookId":"`+id+`","deleted":true}}`, nil)
	w.root.do("GET", "/v1/webhooks/"+id, "").refused(404, "not_found")
	for what, a := range map[string]answer{"one": one, "list": list, "changed": changed, "deleted": deleted, "no route": test} {
		for i := 6; i+12 <= len(secret); i++ {
			if strings.Contains(a.Body.String(), secret[i:i+12]) {
				t.Errorf("%s holds a piece of the secret", what)
				break
			}
		}
	}
	if strings.Contains(w.log.String(), secret[6:18]) {
		t.Error("the log holds a piece of the secret")
	}
}

func TestWebhooksAreForProductionKeys(t *testing.T) {
	w := newWorld(t, "{}")
	id, _ := w.root.hook(`{"url":"https://example.com/"}`)
	_, staging := w.root.create(`{"name":"a","environment":"staging","permissions":["api_keys:*"]}`)
	stranger := w.stranger()
	staging.do("POST", "/v1/webhooks", `{"url":"https://example.com/"}`).refused(403, "permission_escalation")
	delivery := webhooktest.DeliveryID(id, w.clock(), 1)
	for _, c := range [][3]string{
		{"GET", "/v1/webhooks/%s", ""}, {"PATCH", "/v1/webhooks/%s", `{"isActive":false}`}, {"DELETE", "/v1/webhooks/%s", ""},
		{"POST", "/v1/webhooks/%s/test", ""}, {"GET", "/v1/webhooks/%s/deliveries", ""},
	} {
		absent := w.root.do(c[0], fmt.Sprintf(c[1], webhooktest.EndpointID(7)), c[2]).want(404).Body.String()
		for _, other := range []client{staging, stranger} {
			if got := other.do(c[0], fmt.Sprintf(c[1], id), c[2]); got.Code != 404 || got.Body.String() != absent {
				t.Errorf("%s %s: %d %s", c[0], c[1], got.Code, got.Body)
			}
		}
		w.root.do(c[0], fmt.Sprintf(c[1], "nonsense"), c[2]).refused(404, "not_found")
	}
	for _, c := range []client{w.root, staging, stranger} { // absent, hidden, foreign
		c.do("POST", "/v1/deliveries/"+delivery+"/redeliver", "").refused(404, "not_found")
	}
	for _, c := range []client{staging, stranger} {
		if got := c.do("GET", "/v1/webhooks", "").want(200).Body.String(); got != `{"success":true,"data":[],"meta":{"total":0}}` {
			t.Errorf("list %s", got)
		}
	}
	w.root.do("GET", "/v1/webhooks/"+id, "").want(200)
}

func TestWebhooksAreChecked(t *testing.T) {
	w := newWorld(t, "{}")
	id, _ := w.root.hook(`{"url":"https://example.com/"}`)
	key := w.root.key.Plaintext()
	for _, c := range []struct{ body, code, field string }{
		{``, "validation_failed", "url"},
		{`{"url":""}`, "validation_failed", "url"},
		{`{"url":5}`, "validation_failed", "url"},
		{`{"url":"ftp://example.com/"}`, "validation_failed", "url"},
		{`{"url":"https://user:password@example.com/"}`, "validation_failed", "url"},
		{`{"url":"https://example.com/` + key + `"}`, "validation_failed", "url"},
		{`{"url":"https://example.com/","kinds":["near_limit","fire"]}`, "validation_failed", "kinds[1]"},
		{`{"url":"https://example.com/","kinds":"near_limit"}`, "validation_failed", "kinds"},
		{`{"url":"https://example.com/","description":"` + strings.Repeat("ü", 101) + `"}`, "validation_failed", "description"},
		{`{"url":"https://example.com/","isActive":"yes"}`, "validation_failed", "isActive"},
		{`{"url":"https://example.com/","secret":"` + key + `"}`, "unknown_field", "secret"},
		{`{"url":"https://example.com/","URL":"https://example.org/"}`, "invalid_json", "URL"},
	} {
		for method, path := range map[string]string{"POST": "/v1/webhooks", "PATCH": "/v1/webhooks/" + id} {
			if method == "PATCH" && c.body == "" {
				continue
			}
			a := w.root.do(method, path, c.body)
			f := a.refused(400, c.code)
			if len(f.Fields) != 1 || f.Fields[0].Field != c.field {
				t.Errorf("%s %.60s: fields %v, want %s", method, c.body, f.Fields, c.field)
			}
			noSecretIn(t, a.Body.String(), w.root.key)
		}
	}
	w.root.do("PATCH", "/v1/webhooks/"+id, `{}`).refused(400, "validation_failed")
	for range webhook.MaxEndpoints - 1 {
		w.root.hook(`{"url":"https://example.com/","description":"` + strings.Repeat("ü", 100) + `"}`)
	}
	w.root.do("POST", "/v1/webhooks", `{"url":"https://example.com/"}`).refused(409, "too_many_webhooks")
}

func TestAWebhookIsTriedAtOnce(t *testing.T) {
	w := newWorld(t, "{}")
	var got []string
	status := 204
	receiver := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var event struct{ Type string }
		_ = json.Unmarshal(body, &event)
		got = append(got, event.Type, r.Header.Get("Webhook-Signature")[:3])
		rw.WriteHeader(status)
		_, _ = io.WriteString(rw, "what a receiver answers")
	}))
	defer receiver.Close()
	id, _ := w.root.hook(`{"url":"` + receiver.URL + `","isActive":false}`)
	try := func() map[string]any { return w.root.do("POST", "/v1/webhooks/"+id+"/test", "").want(200).data() }
	if a := try(); a["succeeded"] != true || a["status"] != 204.0 || a["error"] != nil {
		t.Errorf("attempt %v", a)
	}
	status = 500
	a := w.root.do("POST", "/v1/webhooks/"+id+"/test", "").want(200)
	if d := a.data(); d["succeeded"] != false || d["status"] != 500.0 || strings.Contains(a.Body.String(), "what a receiver") {
		t.Errorf("attempt %s", a.Body)
	}
	receiver.Close()
	if a := try(); a["succeeded"] != false || a["status"] != nil || a["error"] != webhook.ErrorRefused {
		t.Errorf("attempt %v", a)
	}
	if d := cmp.Diff([]string{"test", "v1,", "test", "v1,"}, got); d != "" {
		t.Errorf("the receiver (-want +got):\n%s", d)
	}
}

func TestDeliveriesAreListedAndSentAgain(t *testing.T) {
	w := newWorld(t, "{}")
	id, _ := w.root.hook(`{"url":"https://example.com/"}`)
	k, err := w.store.Key(t.Context(), w.root.key.ID())
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for i := range 5 {
		at := w.clock().Add(-time.Duration(i) * time.Minute)
		d := webhook.Delivery{
			ID: webhooktest.DeliveryID(id, at, i), AccountID: k.AccountID, EndpointID: id, AlertID: fmt.Sprintf("alert-%d", i),
			State: webhook.Pending, NextAt: at, CreatedAt: at,
		}
		if err := w.webhooks.Enqueue(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		want = append(want, d.ID)
	}
	taken, ok, err := w.webhooks.Take(t.Context(), webhook.Ref{AccountID: k.AccountID, ID: want[0]}, w.clock(), time.Minute)
	if err != nil || !ok {
		t.Fatalf("Take = %t, %v", ok, err)
	}
	taken.State, taken.Attempts = webhook.Dead, 2
	taken.Log = []webhook.Attempt{
		{At: w.clock(), Status: 503, Latency: 20 * time.Millisecond},
		{At: w.clock().Add(time.Second), Error: webhook.ErrorTimeout, Latency: 10 * time.Second},
	}
	if err := w.webhooks.Finish(t.Context(), taken); err != nil {
		t.Fatal(err)
	}

	first := w.root.do("GET", "/v1/webhooks/"+id+"/deliveries?limit=1", "")
	cursor, _ := first.object()["meta"].(map[string]any)["next"].(string)
	log := `"log":[
		{"at":"2026-01-15T10:30:00.000Z","succeeded":false,"status":503,"error":null,"latencyMs":20},
		{"at":"2026-01-15T10:30:01.000Z","succeeded":false,"status":null,"error":"timeout","latencyMs":10000}]`
	golden(t, "dead", first, `{"success":true,"meta":{"next":"`+cursor+`"},"data":[{"deliveryId":"`+want[0]+`","webhookId":"`+id+`","alertId":"alert-0",
		"state":"dead","attempts":2,"nextAt":null,"createdAt":"2026-01-15T10:30:00.000Z",`+log+`}]}`, nil)
	got := []string{want[0]}
	for cursor != "" && len(got) <= len(want) {
		a := w.root.do("GET", "/v1/webhooks/"+id+"/deliveries?limit=2&cursor="+cursor, "")
		got = append(got, strings.Fields(a.listed("deliveryId"))...)
		cursor, _ = a.object()["meta"].(map[string]any)["next"].(string)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("pages (-want +got):\n%s", d)
	}
	w.advance(time.Hour)
	again := w.root.do("POST", "/v1/deliveries/"+want[0]+"/redeliver", "").want(200).data()
	if again["state"] != "pending" || again["attempts"] != 0.0 || again["nextAt"] != "2026-01-15T11:30:00.000Z" || again["deliveryId"] != want[0] {
		t.Errorf("sent again: %v", again)
	}
	other, _ := w.root.hook(`{"url":"https://example.com/"}`)
	next, _ := first.object()["meta"].(map[string]any)["next"].(string)
	w.root.do("GET", "/v1/webhooks/"+other+"/deliveries?cursor="+next, "").refused(400, "invalid_cursor")
	w.root.do("GET", "/v1/webhooks/"+id+"/deliveries?cursor="+want[0], "").refused(400, "invalid_cursor")
	w.root.do("GET", "/v1/webhooks/"+id+"/deliveries?limit=101", "").refused(400, "validation_failed")
}
