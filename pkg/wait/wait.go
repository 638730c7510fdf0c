// Package wait is a sleep that ends with its context, for retries: a Lambda function has a
// deadline, and nobody reads what comes after it.
package wait

import (
	"context"
	"time"
)

// For waits for d and returns nil, or as soon as ctx ends, and then returns ctx's error.
func For(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
