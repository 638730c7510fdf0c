package dynamo_test

import (
	"testing"

	"github.com/keyreeve/keyreeve/pkg/keys/keystest"
)

var _ keystest.Store = (*store)(nil)

func TestKeysPassTheSuite(t *testing.T) {
	shared := newStore(t)
	keystest.Suite(t, func(*testing.T) keystest.Store { return shared })
}
