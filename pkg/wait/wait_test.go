package wait

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestForEndsWithItsTimeOrItsContext(t *testing.T) {
	if start := time.Now(); For(t.Context(), 20*time.Millisecond) != nil || time.Since(start) < 20*time.Millisecond {
		t.Errorf("20 ms ended after %v", time.Since(start))
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	if start := time.Now(); !errors.Is(For(ctx, time.Hour), context.Canceled) || time.Since(start) > time.Minute {
		t.Errorf("an hour under a context that was cancelled ended after %v", time.Since(start))
	}
}
