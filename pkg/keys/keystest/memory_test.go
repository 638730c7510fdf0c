package keystest

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/pkg/keys"
)

func TestMemoryPassesTheSuite(t *testing.T) {
	Suite(t, func(*testing.T) Store { return NewMemory() })
}

func TestMemoryPassesTheSuiteWhenTestsShareIt(t *testing.T) {
	shared := NewMemory()
	Suite(t, func(*testing.T) Store { return shared })
}

func TestLifecycleAgreesWithTheModelFor2000Sequences(t *testing.T) {
	Model(t, NewMemory(), 2000)
}

func TestPrimaryStormLeavesExactlyOnePrimary(t *testing.T) {
	m := NewMemory()
	// Commits take a while and overlap, and one in ten loses against nobody, as in DynamoDB.
	m.OnCall(func(_ context.Context, c Call) error {
		if c.Op == "Commit" && !c.Done {
			time.Sleep(time.Duration(rand.IntN(300)) * time.Microsecond)
			if rand.IntN(10) == 0 {
				return &keys.ConflictError{Retry: true}
			}
		}
		return nil
	})
	PrimaryStorm(t, m, 50)
}
