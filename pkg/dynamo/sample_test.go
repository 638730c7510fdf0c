package dynamo_test

import (
	"crypto/rand"
	"testing"

	"github.com/keyreeve/keyreeve/functions/sample/document"
	"github.com/keyreeve/keyreeve/functions/sample/sampletest"
	"github.com/keyreeve/keyreeve/infra/local/ddb/ddbtest"
	"github.com/keyreeve/keyreeve/pkg/dynamo"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

func TestSampleStore(t *testing.T) {
	client, c := ddbtest.ForTest(t)
	sampletest.Suite(t, dynamo.NewSample(client, c.SampleTable, c.StoreTimeout), func() document.Scope {
		return document.Scope{AccountID: rand.Text(), Environment: keys.Production}
	})
}
