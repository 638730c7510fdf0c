package httpapi

import (
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/logline"
)

// jsonLog makes the API log as functions do.
func (w *world) jsonLog() {
	w.handler.(*api).cfg.Log = slog.New(slog.NewJSONHandler(w.log, nil))
}

func TestACanaryKeyIsMadeOnceAndStaysOne(t *testing.T) {
	w := newWorld(t, "{}")
	const body = `{"name":"old backup","canary":true,"owner":"security","expirationDays":30}`
	first := w.root.do("POST", "/v1/api-keys", body, "Idempotency-Key: once").want(201)
	again := w.root.do("POST", "/v1/api-keys", body, "Idempotency-Key: once").want(201)
	if again.Body.String() != first.Body.String() || again.Header().Get("Idempotency-Replayed") != "true" {
		t.Errorf("the retry is another answer")
	}
	path := "/v1/api-keys/" + first.data()["keyId"].(string)
	got := w.root.do("GET", path, "").want(200).data()
	for field, want := range map[string]any{
		"canary": true, "number": 2.0, "status": "active", "permissions": []any{}, "customers": []any{}, "isPrimary": false, "owner": "security",
	} {
		if !cmp.Equal(got[field], want) {
			t.Errorf("%s is %v, want %v", field, got[field], want)
		}
	}

	for body, field := range map[string]string{
		`{"permissions":[]}`: "permissions", `{"customers":[]}`: "customers", `{"plan":"pro"}`: "plan",
		`{"rateLimit":5}`: "rateLimit", `{"isPrimary":true}`: "isPrimary",
	} {
		f := w.root.do("PATCH", path, body).refused(400, "validation_failed")
		if len(f.Fields) != 1 || f.Fields[0].Field != field {
			t.Errorf("PATCH %s: fields %v", body, f.Fields)
		}
		body = `{"name":"x","canary":true,` + body[1:]
		f = w.root.do("POST", "/v1/api-keys", body).refused(400, "validation_failed")
		if len(f.Fields) != 1 || f.Fields[0].Field != field {
			t.Errorf("POST %s: fields %v", body, f.Fields)
		}
	}
	w.root.do("PATCH", path, `{"canary":false}`).refused(400, "unknown_field")
	w.root.do("PATCH", path, `{"name":"b","owner":"","expirationTs":null,"isActive":false}`).want(200)
	w.root.do("POST", path+"/activate", "").want(200)
	w.root.do("POST", path+"/revoke", "").want(200)
	if got := w.root.do("POST", path+"/regenerate", "").want(200).data(); got["canary"] != true {
		t.Errorf("after all that, canary is %v", got["canary"])
	}
}

// Its holder cannot tell it there from any other key, nor make one.
func TestTheAccountFaceListsACanaryKeyAsAnyOther(t *testing.T) {
	w := newWorld(t, "{}")
	w.root.create(`{"name":"a canary","canary":true}`)
	w.root.create(`{"name":"a key"}`)
	rows := w.root.do("GET", "/v1/account/api-keys/", "").want(200).object()["api_keys"].([]any)
	canary, key := rows[1].(map[string]any), rows[2].(map[string]any)
	for _, varies := range []string{"id", "name", "key_prefix"} {
		delete(canary, varies)
		delete(key, varies)
	}
	if d := cmp.Diff(key, canary); d != "" {
		t.Errorf("(-key +canary):\n%s", d)
	}
	w.root.do("POST", "/v1/account/api-keys/", `{"name":"x","key_type":"production","canary":true}`).refused(400, "unknown_field")
	f := w.root.do("PATCH", "/v1/account/api-keys/2/", `{"is_primary":true}`).refused(400, "validation_failed")
	if len(f.Fields) != 1 || f.Fields[0].Field != "is_primary" {
		t.Errorf("fields %v", f.Fields)
	}
}

func TestACanaryKeyRaisesItsAlertWhereverItIsVerified(t *testing.T) {
	w := newWorld(t, "{}")
	w.jsonLog()
	_, canary := w.root.create(`{"name":"old backup","canary":true,"isActive":false}`)
	stranger := w.stranger()
	seen := map[string]bool{}
	for what, c := range map[string]struct {
		by   client
		code string
	}{
		"by its own account": {w.root, "canary"},
		"by another":         {stranger, "unknown_key"},
	} {
		w.log.Reset()
		got := c.by.ask(canary.key.Plaintext(), "GET", "/v1/licenses", "staging")
		if got["valid"] != false || got["code"] != c.code || (got["keyId"] == nil) != (c.code == "unknown_key") {
			t.Errorf("%s: %v", what, got)
		}
		text := w.log.String()
		noSecretIn(t, text, canary.key)
		e, ok := logline.ParseEvent(text)
		if !ok || strings.Count(text, "\n") != 1 || seen[e.ID()] {
			t.Fatalf("%s: the log is not one event of its own: %s", what, text)
		}
		seen[e.ID()] = true
		want := logline.Event{
			What: logline.Refused, By: logline.ByAuthorizer, RequestID: "req-1", ExtendedRequestID: e.ID(), Time: w.clock(),
			KeyID: canary.key.ID(), Reason: string(keys.ReasonCanary),
		}
		if d := cmp.Diff(want, e); d != "" {
			t.Errorf("%s (-want +got):\n%s", what, d)
		}
		var line map[string]any
		if err := json.Unmarshal([]byte(text), &line); err != nil || line["askedBy"] != string(c.by.key.ID()) {
			t.Errorf("%s: asked by %v, %v", what, line["askedBy"], err)
		}
	}

	// Nobody but its finder has its secret, and a verdict on any other key is no news.
	w.log.Reset()
	forged, err := apikey.Generate("kr_live", canary.key.ID())
	if err != nil {
		t.Fatal(err)
	}
	_, off := w.root.create(`{"name":"off","isActive":false}`)
	w.root.ask(forged.Plaintext(), "GET", "/v1/licenses", "")
	w.root.ask(off.key.Plaintext(), "GET", "/v1/licenses", "")
	if w.log.Len() > 0 {
		t.Errorf("logged %s", w.log)
	}
}
