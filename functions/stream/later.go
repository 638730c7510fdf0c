package stream

import (
	"context"
	"log/slog"
	"time"

	"github.com/keyreeve/keyreeve/pkg/dynamo"
	"github.com/keyreeve/keyreeve/pkg/wait"
)

// rest is kept of an invocation's time for its answer.
const rest = 5 * time.Second

// Later is a Lambda handler: it empties the authorizers' caches that changes touch when
// the authorizer's time-out has passed since. An authorizer may have read a key just before
// its change, and put into the cache what it made of that just after the first flush.
//
// It waits until the newest change of a batch is old enough. The changes behind it gather
// meanwhile, so a batch costs no longer than its changes took to come, and under any load
// Later is only that far behind. A batch that fails is old enough when it comes again.
type Later struct {
	flusher Flusher
	timeout time.Duration
	log     *slog.Logger
}

// NewLater returns a Later. timeout is the authorizer's.
func NewLater(f Flusher, timeout time.Duration, log *slog.Logger) *Later {
	return &Later{f, timeout, log}
}

// Invoke implements lambda.Handler, with Stream's answers.
func (l *Later) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	changes, err := dynamo.StreamChanges(payload)
	if err != nil {
		return nil, err
	}
	if changes = moved(changes); len(changes) == 0 {
		return answer("")
	}
	if deadline, ok := ctx.Deadline(); ok {
		var cancel func()
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-rest))
		defer cancel()
	}
	var left time.Duration
	for _, c := range changes {
		left = max(left, l.left(c.At))
	}
	if err = wait.For(ctx, left); err == nil {
		err = l.flusher.Flush(ctx, l.flusher.StagesOf(environments(changes)))
	}
	if err != nil {
		l.log.Error("not flushed once more", "error", err.Error())
		return answer(changes[0].Sequence)
	}
	return answer("")
}

// left is how long an authorizer may still be at work that has read before a change. The
// change is committed, so that is the time-out at most, however clocks differ.
func (l *Later) left(at time.Time) time.Duration {
	if at.IsZero() {
		return l.timeout
	}
	return min(time.Until(at.Add(l.timeout)), l.timeout)
}
