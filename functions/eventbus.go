package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"

	"github.com/keyreeve/keyreeve/pkg/alert"
	"github.com/keyreeve/keyreeve/pkg/config"
	"github.com/keyreeve/keyreeve/pkg/dynamo"
	"github.com/keyreeve/keyreeve/pkg/webhook"
)

var _ webhook.Publisher = (*eventBus)(nil)

// eventBus is the EventBridge bus that alerts go to. Its rules go by source and
// detail-type, so these never change.
type eventBus struct {
	client  *eventbridge.Client
	name    *string
	timeout time.Duration
}

const (
	eventSource     = "keyreeve"
	eventDetailType = "Keyreeve Alert"
)

func newEventBus(cfg config.Config) *eventBus {
	o := eventbridge.Options{
		Region: cfg.Region, Credentials: dynamo.Credentials(cfg),
		// EventBridge never redirects; a redirect would carry a signed request elsewhere.
		HTTPClient: &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
	// The SDK's own waits are of up to 20 s, where all attempts together have less.
	o.Retryer = retry.NewStandard(func(o *retry.StandardOptions) { o.MaxBackoff = 100 * time.Millisecond })
	if cfg.EventBridgeEndpoint != "" {
		o.BaseEndpoint = aws.String(cfg.EventBridgeEndpoint)
	}
	return &eventBus{eventbridge.New(o), aws.String(cfg.EventBus), cfg.StoreTimeout}
}

// bus is where alerts go besides webhooks; nil: the configuration names none.
func (w *wiring) bus() webhook.Publisher {
	if w.cfg.EventBus == "" {
		return nil
	}
	return newEventBus(w.cfg)
}

// busEvent is an event's detail: the alert as its account sees it, and whose it is.
type busEvent struct {
	AccountID string `json:"accountId"` // alert.Installation: nobody's
	alert.View
}

// Publish implements webhook.Publisher. EventBridge answers 200 also when it has not taken
// the event, and says so in the answer
// (https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html).
func (b *eventBus) Publish(ctx context.Context, a alert.Alert) error {
	detail, err := json.Marshal(busEvent{a.AccountID, a.View()})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, b.timeout)
	defer cancel()
	out, err := b.client.PutEvents(ctx, &eventbridge.PutEventsInput{Entries: []types.PutEventsRequestEntry{{
		EventBusName: b.name, Source: aws.String(eventSource), DetailType: aws.String(eventDetailType),
		Time: aws.Time(a.RaisedAt), Detail: aws.String(string(detail)),
	}}})
	if err != nil {
		return fmt.Errorf("publishing alert %s: %w", a.ID, err)
	}
	if out.FailedEntryCount == 0 {
		return nil
	}
	code := errors.New("no reason was given")
	if len(out.Entries) > 0 && out.Entries[0].ErrorCode != nil {
		code = errors.New(*out.Entries[0].ErrorCode)
	}
	return fmt.Errorf("publishing alert %s: not taken by the bus: %w", a.ID, code)
}
