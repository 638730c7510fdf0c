package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/keyreeve/keyreeve/pkg/alert"
	"github.com/keyreeve/keyreeve/pkg/config"
	"github.com/keyreeve/keyreeve/pkg/webhook"
)

var _ webhook.Publisher = (*eventBus)(nil)

// eventBus is the EventBridge bus that alerts go to. Its rules go by source and
// detail-type, so these never change.
type eventBus struct {
	calls                  awsCalls
	endpoint, region, name string
	timeout                time.Duration // of all attempts together
}

const (
	eventSource     = "keyreeve"
	eventDetailType = "Keyreeve Alert"
)

func newEventBus(cfg config.Config) *eventBus {
	return &eventBus{
		newAWSCalls(cfg, http.DefaultTransport), awsEndpoint("events", cfg.Region, cfg.EventBridgeEndpoint),
		cfg.Region, cfg.EventBus, cfg.StoreTimeout,
	}
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

// entry is an event as PutEvents takes it; Time is in Unix seconds.
type entry struct {
	EventBusName, Source, DetailType, Detail string
	Time                                     int64
}

// Publish implements webhook.Publisher: PutEvents, up to three times, as whoever listens
// knows an alert by its id
// (https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html).
func (b *eventBus) Publish(ctx context.Context, a alert.Alert) error {
	detail, err := json.Marshal(busEvent{a.AccountID, a.View()})
	if err != nil {
		return err
	}
	body, err := json.Marshal(map[string]any{"Entries": []entry{{b.name, eventSource, eventDetailType, string(detail), a.RaisedAt.Unix()}}})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, b.timeout)
	defer cancel()
	const attempts, wait = 3, 100 * time.Millisecond
	for n := 1; ; n++ {
		again, err := b.put(ctx, body)
		if err == nil {
			return nil
		}
		if !again || n == attempts || ctx.Err() != nil {
			return fmt.Errorf("publishing alert %s: %w", a.ID, err)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
}

// maxPutAnswer is more than any answer of PutEvents to one entry, in bytes.
const maxPutAnswer = 64 << 10

// put makes one attempt; again reports whether another may do better. EventBridge answers
// 200 also when it has not taken the event, and says so in the answer.
func (b *eventBus) put(ctx context.Context, body []byte) (again bool, err error) {
	req, err := awsRequest(ctx, http.MethodPost, b.endpoint+"/", body)
	if err != nil {
		return false, err
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("X-Amz-Target", "AWSEvents.PutEvents")
	res, err := b.calls.do(ctx, "events", b.region, req, body)
	if err != nil {
		return true, err
	}
	defer res.Body.Close()
	var answer struct {
		Type             string `json:"__type"`
		FailedEntryCount int
		Entries          []struct{ ErrorCode string }
	}
	text, err := io.ReadAll(io.LimitReader(res.Body, maxPutAnswer))
	if err != nil {
		return true, err
	}
	unread := json.Unmarshal(text, &answer)
	switch {
	case res.StatusCode != http.StatusOK:
		return res.StatusCode >= 500 || res.StatusCode == http.StatusTooManyRequests, fmt.Errorf("PutEvents: %s", awsError(res, answer.Type))
	case unread != nil:
		return true, fmt.Errorf("PutEvents: the answer is no JSON")
	case answer.FailedEntryCount == 0:
		return false, nil
	}
	code := "no reason was given"
	if len(answer.Entries) > 0 && answer.Entries[0].ErrorCode != "" {
		code = awsError(res, answer.Entries[0].ErrorCode)
	}
	return true, fmt.Errorf("not taken by the bus: %s", code)
}
