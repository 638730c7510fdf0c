package dynamo_test

import (
	"testing"

	"github.com/keyreeve/keyreeve/infra/local/ddb/ddbtest"
)

func TestMain(m *testing.M) { ddbtest.Main(m) }
