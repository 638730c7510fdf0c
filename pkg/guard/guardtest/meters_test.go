package guardtest_test

import (
	"testing"

	"github.com/keyreeve/keyreeve/pkg/guard/guardtest"
)

func TestMemoryMetersPassTheSuite(t *testing.T) {
	guardtest.Suite(t, func(*testing.T) guardtest.Store { return guardtest.NewMeters() })
}
