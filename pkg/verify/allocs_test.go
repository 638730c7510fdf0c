//go:build !race

// The race detector makes sync.Pool drop what it holds at random, so allocations are
// counted without it.

package verify

import (
	"context"
	"testing"

	"github.com/keyreeve/keyreeve/pkg/keys"
)

func TestVerifyAllocatesNothing(t *testing.T) {
	v, good, wrong, junk := constant(t)
	ctx := context.Background()
	for name, c := range map[string]struct {
		credential string
		want       keys.Reason
	}{"good": {good, keys.OK}, "wrong secret": {wrong, keys.ReasonSecret}, "junk": {junk, keys.ReasonMalformed}} {
		allocs := testing.AllocsPerRun(200, func() {
			if got, err := v.Verify(ctx, c.credential, "production"); err != nil || got.Reason != c.want {
				t.Fatalf("Verify(%s) = %q, %v", name, got.Reason, err)
			}
		})
		if allocs != 0 {
			t.Errorf("Verify(%s) allocates %v times, want 0", name, allocs)
		}
	}
}
