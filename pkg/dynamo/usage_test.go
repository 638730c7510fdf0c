package dynamo_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/keyreeve/keyreeve/infra/local/ddb/ddbtest"
	"github.com/keyreeve/keyreeve/pkg/config"
	"github.com/keyreeve/keyreeve/pkg/dynamo"
	"github.com/keyreeve/keyreeve/pkg/usage"
	"github.com/keyreeve/keyreeve/pkg/usage/usagetest"
)

// usageOn returns the store in a table that exists.
func usageOn(c config.Config, u dynamo.UsageConfig, with ...func(*dynamodb.Options)) *dynamo.Usage {
	u.Table, u.Timeout = c.UsageTable, c.StoreTimeout
	return dynamo.NewUsage(dynamo.NewClient(c, with...), u)
}

func TestUsagePassesTheSuite(t *testing.T) {
	c := ddbtest.ConfigWithoutStream(t)
	usagetest.Suite(t, func(*testing.T) usage.Store { return usageOn(c, dynamo.UsageConfig{}) })
}
