package usagetest

import (
	"testing"

	"github.com/keyreeve/keyreeve/pkg/usage"
)

func TestMemoryPassesTheSuite(t *testing.T) {
	Suite(t, func(*testing.T) usage.Store { return NewMemory() })
}

func TestMemoryPassesTheSuiteWhenTestsShareIt(t *testing.T) {
	shared := NewMemory()
	Suite(t, func(*testing.T) usage.Store { return shared })
}
