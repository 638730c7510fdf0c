package keystest

import "testing"

func TestMemoryPassesTheSuite(t *testing.T) {
	Suite(t, func(*testing.T) Store { return NewMemory() })
}

func TestMemoryPassesTheSuiteWhenTestsShareIt(t *testing.T) {
	shared := NewMemory()
	Suite(t, func(*testing.T) Store { return shared })
}
