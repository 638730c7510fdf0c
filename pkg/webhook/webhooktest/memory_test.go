package webhooktest_test

import (
	"testing"

	"github.com/keyreeve/keyreeve/pkg/webhook/webhooktest"
)

func TestMemory(t *testing.T) { webhooktest.Suite(t, webhooktest.NewMemory()) }
