package main

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

	"github.com/keyreeve/keyreeve/pkg/alert"
	"github.com/keyreeve/keyreeve/pkg/config"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

// eventBridge is a fake of the service: it answers with status and body, and keeps what
// it was sent.
type eventBridge struct {
	status int
	body   string
	calls  int
	target string
	got    map[string]any

	recoverAfter int // calls; 0: it stays as it is
}

func (e *eventBridge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.calls++
	e.target = r.Header.Get("X-Amz-Target")
	text, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(text, &e.got)
	}
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	if e.recoverAfter > 0 && e.calls > e.recoverAfter {
		e.status, e.body = http.StatusOK, `{"FailedEntryCount":0}`
	}
	w.WriteHeader(e.status)
	_, _ = io.WriteString(w, e.body)
}

func (e *eventBridge) publish(t *testing.T, a alert.Alert) error {
	t.Helper()
	server := httptest.NewServer(e)
	t.Cleanup(server.Close)
	return newEventBus(config.Config{
		Region: "us-east-1", AccessKeyID: "id", SecretAccessKey: "secret", EventBus: "alerts",
		EventBridgeEndpoint: server.URL, StoreTimeout: 5 * time.Second,
	}).Publish(t.Context(), a)
}

func anAlert() alert.Alert {
	return alert.Alert{
		ID: "a1", AccountID: "acct", Environment: keys.Production, KeyID: "AAAAAAAA", Kind: alert.CanaryUsed, Severity: alert.Critical,
		Subject: "AAAAAAAA", Window: time.Unix(1768471200, 0), RaisedAt: time.Unix(1768473000, 0), Text: "A canary key was used.",
		Data: map[string]string{"sourceIp": "198.51.100.7"},
	}
}

func TestAnAlertGoesToTheBusAsAnEventOfItsOwnType(t *testing.T) {
	fake := &eventBridge{status: http.StatusOK, body: `{"FailedEntryCount":0,"Entries":[{"EventId":"e"}]}`}
	if err := fake.publish(t, anAlert()); err != nil {
		t.Fatal(err)
	}
	detail := `{"accountId":"acct","alertId":"a1","kind":"canary_used","severity":"critical","environment":"production",` +
		`"keyId":"key_AAAAAAAA","subject":"key_AAAAAAAA","window":"2026-01-15T10:00:00.000Z","raisedAt":"2026-01-15T10:30:00.000Z",` +
		`"text":"A canary key was used.","data":{"sourceIp":"198.51.100.7"},"acknowledgedAt":null,"acknowledgedBy":null}`
	want := map[string]any{"Entries": []any{map[string]any{
		"EventBusName": "alerts", "Source": "keyreeve", "DetailType": "Keyreeve Alert", "Detail": detail, "Time": 1768473000.0,
	}}}
	if diff := cmp.Diff(want, fake.got); diff != "" {
		t.Errorf("request (-want +got)\n%s", diff)
	}
	if fake.target != "AWSEvents.PutEvents" || fake.calls != 1 {
		t.Errorf("%d calls of %s", fake.calls, fake.target)
	}
}

func TestAnEventThatIsNotTakenIsAnError(t *testing.T) {
	for _, tt := range []struct {
		status int
		body   string
		want   string
	}{
		{http.StatusOK, `{"FailedEntryCount":1,"Entries":[{"ErrorCode":"ThrottlingException","ErrorMessage":"slow down"}]}`, "ThrottlingException"},
		{http.StatusOK, `{"FailedEntryCount":1,"Entries":[]}`, "no reason"},
		{http.StatusBadRequest, `{"__type":"AccessDeniedException","message":"no"}`, "AccessDenied"},
		{http.StatusInternalServerError, `{"__type":"InternalException"}`, "InternalException"},
		{http.StatusTemporaryRedirect, ``, "307"},
	} {
		err := (&eventBridge{status: tt.status, body: tt.body}).publish(t, anAlert())
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "a1") {
			t.Errorf("%d %s: %v, want an error of alert a1 with %q", tt.status, tt.body, err, tt.want)
		}
	}
}

func TestAnEventIsSentAgainWhereTheServiceFailsForAMoment(t *testing.T) {
	fake := &eventBridge{status: http.StatusInternalServerError, body: `{"__type":"InternalException"}`}
	fake.recoverAfter = 2
	if err := fake.publish(t, anAlert()); err != nil || fake.calls != 3 {
		t.Errorf("Publish = %v after %d calls, want success at the third", err, fake.calls)
	}
}

func TestWithoutABusThereIsNoPublisher(t *testing.T) {
	if p := (&wiring{}).bus(); p != nil {
		t.Errorf("without EVENT_BUS: %v, want nil", fmt.Sprintf("%T", p))
	}
	if p := (&wiring{cfg: config.Config{EventBus: "alerts"}}).bus(); p == nil {
		t.Error("with EVENT_BUS: no publisher")
	}
}
