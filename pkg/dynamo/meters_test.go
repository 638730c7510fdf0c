package dynamo_test

import (
	"testing"

	"github.com/keyreeve/keyreeve/pkg/guard/guardtest"
)

func TestMetersPassTheSuite(t *testing.T) {
	s := newStore(t)
	guardtest.Suite(t, func(*testing.T) guardtest.Store { return s.of })
}
