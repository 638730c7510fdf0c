package dynamo

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/guard"
)

// Meter implements simulate.Meters: one consistent read, as a batch of one, which is what the
// role of the function that reads usage may do with meters.
func (m *Meters) Meter(ctx context.Context, id apikey.ID) (meter guard.Meter, found bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, m.timeout)
	defer cancel()
	items, err := getBatch(ctx, m.client, map[string]types.KeysAndAttributes{
		m.table: {Keys: []map[string]types.AttributeValue{meterKey(id)}, ConsistentRead: aws.Bool(true)},
	})
	if err == nil && len(items[m.table]) > 0 {
		found = true
		meter, err = readMeter(items[m.table][0])
	}
	if err != nil {
		return guard.Meter{}, false, unavailable(err, "reading the meter of key %s", id)
	}
	return meter, found, nil
}
