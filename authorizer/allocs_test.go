//go:build !race

// The race detector makes sync.Pool drop what it holds at random, so allocations are
// counted without it.

package authorizer

import (
	"context"
	"testing"
)

func TestInvokeAllocatesLittle(t *testing.T) {
	w := newWorld(t)
	a := quiet(t, w)
	for name, c := range map[string]struct {
		event   []byte
		refused bool
		most    float64
	}{
		// Four strings of the event, the answer's first buffer and its real one.
		"good key": {benchEvent(t, w.key.Plaintext()), false, 8},
		// The strings, and the line for the log.
		"junk": {benchEvent(t, "junk"), true, 8},
	} {
		if n := testing.AllocsPerRun(200, func() {
			if _, err := a.Invoke(context.Background(), c.event); (err != nil) != c.refused {
				t.Fatal(err)
			}
		}); n > c.most {
			t.Errorf("%s: Invoke allocates %v times, want at most %v", name, n, c.most)
		}
	}
}
