package alerttest_test

import (
	"testing"

	"github.com/keyreeve/keyreeve/pkg/alert"
	"github.com/keyreeve/keyreeve/pkg/alert/alerttest"
)

func TestMemoryPassesTheSuite(t *testing.T) {
	alerttest.Suite(t, func(*testing.T) alert.Store { return alerttest.NewMemory() })
}

func TestMemoryPassesTheSuiteWhenTestsShareIt(t *testing.T) {
	shared := alerttest.NewMemory()
	alerttest.Suite(t, func(*testing.T) alert.Store { return shared })
}
