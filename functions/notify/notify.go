// Package notify is the function that delivers alerts. It takes two kinds of events:
//
//	stream    records of the alerts table: an alert that was put there goes to the event
//	          bus and to its account's webhooks
//	schedule  of EventBridge, each minute: the time to repeat deliveries that failed
//
// The model: a record only says which alert is new. The alert is read from its table, so
// that nothing but package dynamo knows how it is stored; everything else in the table
// (webhooks, deliveries, what was acknowledged or has gone) is passed over. Records come
// at least once and in order; what comes twice is delivered once (package webhook).
//
// A record that fails is reported by itself (ReportBatchItemFailures,
// https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-batchfailurereporting.html).
package notify

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"

	"github.com/aws/aws-lambda-go/events"

	"github.com/keyreeve/keyreeve/pkg/alert"
	"github.com/keyreeve/keyreeve/pkg/dynamo"
	"github.com/keyreeve/keyreeve/pkg/emf"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/webhook"
)

// Notifier delivers alerts; webhook.Notifier is one.
type Notifier interface {
	OnAlerts(ctx context.Context, alerts []alert.Alert) (taken int, o webhook.Outcome, err error)
	OnTick(ctx context.Context) (webhook.Outcome, error)
}

// Config is what the function works with. All but Log are needed.
type Config struct {
	Notifier Notifier
	Alerts   webhook.Alerts
	Metrics  *emf.Writer
	Log      *slog.Logger // default discards
}

// Notify is a Lambda handler.
type Notify struct{ cfg Config }

// New returns a Notify.
func New(c Config) *Notify {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Notify{c}
}

// event is what the kinds of events are told by.
type event struct {
	Source     string                       `json:"source"`
	DetailType string                       `json:"detail-type"`
	Records    []events.DynamoDBEventRecord `json:"Records"`
}

var errEvent = errors.New("the event is none that this function takes")

// Invoke implements lambda.Handler. A stream's answer names the first record that failed:
// Lambda repeats everything from there. A schedule's is null.
func (n *Notify) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	var ev event
	if err := json.Unmarshal(payload, &ev); err != nil {
		return nil, errEvent
	}
	switch {
	case len(ev.Records) > 0:
		return json.Marshal(n.stream(ctx, ev.Records))
	case ev.Source == "aws.events" && ev.DetailType == "Scheduled Event":
		o, err := n.cfg.Notifier.OnTick(ctx)
		n.tell(ctx, o)
		if err != nil {
			n.cfg.Log.ErrorContext(ctx, "due deliveries not read", "error", err.Error())
			return nil, err
		}
		return []byte("null"), nil
	}
	return nil, errEvent
}

func (n *Notify) stream(ctx context.Context, records []events.DynamoDBEventRecord) events.DynamoDBEventResponse {
	var (
		alerts    []alert.Alert
		sequences []string // of the alerts' records
		failed    string   // of the first record that failed
		failure   error
	)
	for _, record := range records {
		a, ok, err := n.read(ctx, record)
		if err != nil {
			failed, failure = record.Change.SequenceNumber, err
			break
		}
		if ok {
			alerts, sequences = append(alerts, a), append(sequences, record.Change.SequenceNumber)
		}
	}
	if len(alerts) > 0 {
		taken, o, err := n.cfg.Notifier.OnAlerts(ctx, alerts)
		n.tell(ctx, o)
		if err != nil {
			failed, failure = sequences[taken], err
		}
	}
	answer := events.DynamoDBEventResponse{BatchItemFailures: []events.DynamoDBBatchItemFailure{}}
	if failure != nil {
		n.cfg.Log.ErrorContext(ctx, "alerts not delivered", "error", failure.Error())
		answer.BatchItemFailures = append(answer.BatchItemFailures, events.DynamoDBBatchItemFailure{ItemIdentifier: failed})
	}
	return answer
}

// read reads the alert that a record says is new; ok is false for every other record.
func (n *Notify) read(ctx context.Context, r events.DynamoDBEventRecord) (a alert.Alert, ok bool, err error) {
	if r.EventName != string(events.DynamoDBOperationTypeInsert) {
		return alert.Alert{}, false, nil
	}
	pk, sk := r.Change.Keys[dynamo.PartitionKey], r.Change.Keys[dynamo.SortKey]
	if pk.DataType() != events.DataTypeString || sk.DataType() != events.DataTypeString {
		return alert.Alert{}, false, nil
	}
	account, id, ok := dynamo.StreamAlert(pk.String(), sk.String())
	if !ok {
		return alert.Alert{}, false, nil
	}
	a, err = n.cfg.Alerts.Alert(ctx, account, id)
	if errors.Is(err, keys.ErrNotFound) { // gone before it could be told
		return alert.Alert{}, false, nil
	}
	return a, err == nil, err
}

// tell writes metrics of what there was to do. What they tell of is done, so that they
// cannot be written is no failure of the event.
func (n *Notify) tell(ctx context.Context, o webhook.Outcome) {
	count := func(name string, n int) emf.Metric {
		return emf.Metric{Name: name, Unit: emf.Count, Value: float64(n)}
	}
	err := n.cfg.Metrics.PutSome(nil, count(emf.AlertsPublished, o.Published), count(emf.WebhooksDelivered, o.Delivered),
		count(emf.WebhooksFailed, o.Failed), count(emf.WebhooksDead, o.Dead))
	if err != nil {
		n.cfg.Log.ErrorContext(ctx, "no metrics", "error", err.Error())
	}
}
