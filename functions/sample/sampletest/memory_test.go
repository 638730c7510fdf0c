package sampletest

import (
	"fmt"
	"testing"

	"github.com/keyreeve/keyreeve/functions/sample/document"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

func TestMemory(t *testing.T) {
	n := 0
	Suite(t, &Memory{}, func() document.Scope {
		n++
		return document.Scope{AccountID: fmt.Sprintf("acct%d", n), Environment: keys.Production}
	})
}
