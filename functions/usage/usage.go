// Package usage is the function that counts requests. It takes three kinds of events:
//
//	lines     of a log group, as CloudWatch Logs delivers them to a subscription
//	          (https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/SubscriptionFilters.html)
//	redrive   messages of the queue in which Lambda puts what this function failed at,
//	          each with the event as it was
//	          (https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html)
//	schedule  of EventBridge: the time to look at all keys
//
// Lines are invoked asynchronously: an error has Lambda repeat the event, twice, and then
// put it into the queue. So every failure is an error here, and nothing that was not
// counted is answered as done. What comes twice is counted once (package usage).
//
// Each batch leaves a line of metrics (package emf), and so does a sweep that has
// something to tell.
package usage

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"github.com/keyreeve/keyreeve/pkg/alert"
	"github.com/keyreeve/keyreeve/pkg/emf"
	"github.com/keyreeve/keyreeve/pkg/usage"
)

// Counter counts batches of lines; usage.Counter is one.
type Counter interface {
	Process(ctx context.Context, d usage.Delivery, watch func(context.Context, usage.Facts) error) (usage.Stats, error)
}

// Watcher raises alerts; alert.Watcher is one. Both may be repeated.
type Watcher interface {
	Observe(ctx context.Context, f usage.Facts) error
	Sweep(ctx context.Context) (alert.Swept, error)
}

// Config is what the function works with. All but Clock and Log are needed.
type Config struct {
	Counter Counter
	Watcher Watcher
	Metrics *emf.Writer
	Clock   func() time.Time // default time.Now
	Log     *slog.Logger     // default discards
}

// Usage is a Lambda handler.
type Usage struct{ cfg Config }

// New returns a Usage.
func New(c Config) *Usage {
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Usage{c}
}

// event is what the kinds of events are told by. A redrive's messages hold one again.
type event struct {
	AWSLogs *struct {
		Data []byte `json:"data"` // base64 of gzip of JSON
	} `json:"awslogs"`
	Source     string              `json:"source"`
	DetailType string              `json:"detail-type"`
	Records    []events.SQSMessage `json:"Records"`
}

var errEvent = errors.New("the event is none that this function takes")

// Invoke implements lambda.Handler. A redrive is answered with the messages that failed
// (https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html), anything
// else with null.
func (u *Usage) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	var ev event
	if err := json.Unmarshal(payload, &ev); err != nil {
		return nil, errEvent
	}
	if len(ev.Records) > 0 {
		return u.redrive(ctx, ev.Records)
	}
	if err := u.handle(ctx, &ev); err != nil {
		u.cfg.Log.ErrorContext(ctx, "failed", "error", err.Error())
		return nil, err
	}
	return []byte("null"), nil
}

func (u *Usage) handle(ctx context.Context, ev *event) error {
	switch {
	case ev.AWSLogs != nil:
		return u.count(ctx, ev.AWSLogs.Data)
	case ev.Source == "aws.events" && ev.DetailType == "Scheduled Event":
		return u.sweep(ctx)
	}
	return errEvent
}

func (u *Usage) count(ctx context.Context, data []byte) error {
	d, ok, err := open(data)
	if err != nil || !ok {
		return err
	}
	stats, err := u.cfg.Counter.Process(ctx, d, u.cfg.Watcher.Observe)
	if err != nil {
		return err
	}
	metrics := []emf.Metric{
		{Name: emf.LinesCounted, Unit: emf.Count, Value: float64(stats.Counted)},
		{Name: emf.LinesDuplicate, Unit: emf.Count, Value: float64(stats.Duplicate)},
		{Name: emf.LinesUnreadable, Unit: emf.Count, Value: float64(stats.Unreadable)},
		{Name: emf.Unattributed, Unit: emf.Count, Value: float64(stats.Unattributed)},
	}
	if !stats.Newest.IsZero() {
		lag := max(0, u.cfg.Clock().Sub(stats.Newest))
		metrics = append(metrics, emf.Metric{Name: emf.Lag, Unit: emf.Milliseconds, Value: float64(lag.Milliseconds())})
	}
	u.tell(ctx, metrics)
	return nil
}

func (u *Usage) sweep(ctx context.Context) error {
	swept, err := u.cfg.Watcher.Sweep(ctx)
	if err != nil {
		return err
	}
	u.cfg.Log.InfoContext(ctx, "swept", "keys", swept.Keys, "alertsRaised", swept.Raised, "drift", swept.Drift)
	u.tell(ctx, []emf.Metric{
		{Name: emf.AlertsRaised, Unit: emf.Count, Value: float64(swept.Raised)},
		{Name: emf.Drift, Unit: emf.Count, Value: float64(swept.Drift)},
	})
	return nil
}

// tell writes metrics. What they tell of is done, so that they cannot be written is no
// failure of the event.
func (u *Usage) tell(ctx context.Context, metrics []emf.Metric) {
	if err := u.cfg.Metrics.PutSome(nil, metrics...); err != nil {
		u.cfg.Log.ErrorContext(ctx, "no metrics", "error", err.Error())
	}
}

// redrive takes messages of the queue. One that fails stays there.
func (u *Usage) redrive(ctx context.Context, messages []events.SQSMessage) ([]byte, error) {
	answer := events.SQSEventResponse{BatchItemFailures: []events.SQSBatchItemFailure{}}
	for _, m := range messages {
		if err := u.again(ctx, m.Body); err != nil {
			u.cfg.Log.ErrorContext(ctx, "failed", "messageId", m.MessageId, "error", err.Error())
			answer.BatchItemFailures = append(answer.BatchItemFailures, events.SQSBatchItemFailure{ItemIdentifier: m.MessageId})
		}
	}
	return json.Marshal(answer)
}

// again takes the event of one of Lambda's records of a failure.
func (u *Usage) again(ctx context.Context, body string) error {
	var record struct {
		RequestPayload *event `json:"requestPayload"`
	}
	if err := json.Unmarshal([]byte(body), &record); err != nil || record.RequestPayload == nil {
		return errors.New("the message is no record of a failed event")
	}
	return u.handle(ctx, record.RequestPayload)
}
