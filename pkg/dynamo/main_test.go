package dynamo_test

import (
	"os"
	"testing"

	"github.com/keyreeve/keyreeve/infra/local/ddb/ddbtest"
)

func TestMain(m *testing.M) {
	if task := os.Getenv(callerTask); task != "" {
		beCaller(task)
		return
	}
	ddbtest.Main(m)
}
