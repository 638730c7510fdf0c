package events_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	lambda "github.com/aws/aws-lambda-go/events"
	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/functions/notify"
	"github.com/keyreeve/keyreeve/pkg/alert"
	"github.com/keyreeve/keyreeve/pkg/dynamo"
	"github.com/keyreeve/keyreeve/pkg/emf"
	"github.com/keyreeve/keyreeve/pkg/webhook"
	"github.com/keyreeve/keyreeve/pkg/webhook/webhooktest"
)

// notifyEvents are the events of the function notify: what it answers, and what it is
// asked to do.
var notifyEvents = map[string]struct {
	answer string
	asked  []string
}{
	"notify-stream.json":   {`{"batchItemFailures":[]}`, []string{"alert " + account + " over_limit " + idPlaceholder}},
	"notify-schedule.json": {"null", []string{"tick"}},
}

// notified is a Notifier that keeps what it was asked to do.
type notified []string

func (n *notified) OnAlerts(_ context.Context, alerts []alert.Alert) (int, webhook.Outcome, error) {
	for _, a := range alerts {
		*n = append(*n, fmt.Sprintf("alert %s %s %s", a.AccountID, a.Kind, a.KeyID))
	}
	return len(alerts), webhook.Outcome{}, nil
}

func (n *notified) OnTick(context.Context) (webhook.Outcome, error) {
	*n = append(*n, "tick")
	return webhook.Outcome{}, nil
}

func TestNotifyTakesItsEvents(t *testing.T) {
	for name, want := range notifyEvents {
		var asked notified
		out, err := notify.New(notify.Config{
			Notifier: &asked, Alerts: newAlerts(t), Metrics: emf.New(&bytes.Buffer{}, "Test", time.Now),
		}).Invoke(t.Context(), read(t, name))
		if err != nil || string(out) != want.answer {
			t.Errorf("%s: answer %s, %v, want %s", name, out, err, want.answer)
		}
		if diff := cmp.Diff(want.asked, []string(asked)); diff != "" {
			t.Errorf("%s: asked for (-want +got)\n%s", name, diff)
		}
	}
}

// newAlerts holds the alert that the stream's event tells of.
func newAlerts(t *testing.T) *webhooktest.Alerts {
	t.Helper()
	var ev lambda.DynamoDBEvent
	dec := json.NewDecoder(bytes.NewReader(read(t, "notify-stream.json")))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&ev); err != nil {
		t.Fatal(err)
	}
	if len(ev.Records) != 2 || ev.Records[0].EventName != "INSERT" || ev.Records[1].EventName != "MODIFY" {
		t.Fatal("the stream's event is not an alert that is put and then acknowledged")
	}
	keys := ev.Records[0].Change.Keys
	owner, id, ok := dynamo.StreamAlert(keys["pk"].String(), keys["sk"].String())
	if !ok || !alert.ValidID(id) {
		t.Fatalf("the stream's event is about %q of %q, which is no alert", id, owner)
	}
	return webhooktest.NewAlerts(alert.Alert{AccountID: owner, ID: id, Kind: alert.OverLimit, KeyID: idPlaceholder})
}
