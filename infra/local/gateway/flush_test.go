package gateway_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/functions/stream"
	"github.com/keyreeve/keyreeve/infra/local/lambda"
	"github.com/keyreeve/keyreeve/pkg/flush"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

// stages empties a gateway's cache as API Gateway's own API does.
type stages struct{ a *api }

func (s stages) Flush(_ context.Context, stage string) error {
	s.a.gateway.FlushAuthorizerCache(stage)
	return nil
}

// Why there is a flush after the authorizer's time-out: an authorizer that reads a key just
// before it is revoked puts a policy into the cache after the flush at once.
func TestAnAuthorizerThatReadBeforeTheChangeIsBelievedUntilTheLaterFlush(t *testing.T) {
	const timeout = 400 * time.Millisecond
	a := newAPI(t, nil)
	var revoked atomic.Bool
	read, answer := make(chan struct{}), make(chan struct{})
	a.authorizer = func() ([]byte, error) {
		if revoked.Load() {
			return nil, &lambda.FunctionError{Type: "errorString", Message: "Unauthorized"}
		}
		close(read)
		<-answer
		return grant("Allow", "*"), nil
	}
	first := make(chan int)
	go func() { first <- a.send("GET", "/things", "", key).status }()
	<-read

	// The change: committed, flushed at once, and on the stream.
	revoked.Store(true)
	committed := time.Now()
	f := flush.New(flush.Config{Cache: stages{a}})
	f.AtOnce(t.Context(), []keys.Key{{Environment: keys.Production}})
	close(answer)
	if status := <-first; status != 200 {
		t.Fatalf("the request from before the change: %d", status)
	}
	if status := a.send("GET", "/things", "", key).status; status != 200 {
		t.Fatalf("the request after the change: %d; the stale policy was not cached, and this shows nothing", status)
	}

	record := fmt.Sprintf(`{"Records":[{"eventName":"MODIFY","dynamodb":{"ApproximateCreationDateTime":%d,"SequenceNumber":"1","Keys":{"pk":{"S":"K#AAAAAAAA"}},
		"OldImage":{"env":{"S":"production"},"verdict":{"N":"1"}},"NewImage":{"env":{"S":"production"},"verdict":{"N":"2"}}}}]}`, committed.Unix())
	later := stream.NewLater(flush.New(flush.Config{Cache: stages{a}}), timeout, slog.New(slog.DiscardHandler))
	if out, err := later.Invoke(t.Context(), []byte(record)); err != nil || string(out) != `{"batchItemFailures":[]}` {
		t.Fatal(string(out), err)
	}
	if waited := time.Since(committed); waited < timeout {
		t.Errorf("the later flush was %s after the change: an authorizer may still be at work", waited)
	}
	if status := a.send("GET", "/things", "", key).status; status != 401 {
		t.Errorf("the request after the later flush: %d, want 401", status)
	}
}
