package stack

import (
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"github.com/keyreeve/keyreeve/infra/local/ids"
)

// Schedules. In AWS notify is called each minute, as often as a rule can; here a receiver
// that was down for a moment is somebody's test, so it is called more often. The first
// look at all keys waits until the start is over.
const (
	sweepEvery  = time.Hour
	sweepFirst  = 3 * time.Second
	notifyEvery = 2 * time.Second
)

// schedule calls a function again and again, as a rule of EventBridge does.
func (s *Stack) schedule(function string, first, every time.Duration, log *slog.Logger) {
	running, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	s.atEnd(func() error { cancel(); <-done; return nil })
	go func() {
		defer close(done)
		for wait := first; ; wait = every {
			select {
			case <-running.Done():
				return
			case now := <-time.After(wait):
				_, err := s.Lambda.Invoke(running, function, scheduledEvent(function, now))
				if err != nil && running.Err() == nil {
					log.Warn("a scheduled invocation failed", "function", function, "error", err)
				}
			}
		}
	}()
}

// scheduledEvent is what a scheduled rule sends
// (https://docs.aws.amazon.com/eventbridge/latest/ref/events-ref-scheduled.html).
func scheduledEvent(rule string, now time.Time) []byte {
	text, _ := json.Marshal(map[string]any{ // strings have their JSON
		"version": "0", "id": ids.UUID(), "detail-type": "Scheduled Event", "source": "aws.events",
		"account": awsAccount, "time": now.UTC().Format("2006-01-02T15:04:05Z"), "region": region,
		"resources": []string{"arn:aws:events:" + region + ":" + awsAccount + ":rule/" + rule}, "detail": map[string]any{},
	})
	return text
}
