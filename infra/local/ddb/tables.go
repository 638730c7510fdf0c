package ddb

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/keyreeve/keyreeve/pkg/dynamo"
)

// Tables names the tables to create. An empty name creates none.
type Tables struct {
	Keys, Meters, Sample, Usage, Alerts string
	// WithoutTTL leaves TTL off: DynamoDB Local sweeps within seconds what a test with a
	// clock of its own has dated in the past.
	WithoutTTL bool
	// WithoutStream leaves the streams of the keys and alerts tables out: with every write
	// DynamoDB Local searches the records of all streams that it has, so a server with many
	// tables becomes ten times slower within a test run.
	WithoutStream bool
}

// CreateTables makes the tables that are missing, as infra makes them in AWS: on demand,
// TTL on all but the meters, the keys table with a stream of both images, the alerts table
// with one of new images. It may be repeated.
func CreateTables(ctx context.Context, client *dynamodb.Client, t Tables) error {
	const noStream types.StreamViewType = ""
	pkSK := []string{dynamo.PartitionKey, dynamo.SortKey}
	for _, table := range []struct {
		name   string
		keys   []string
		stream types.StreamViewType
		ttl    bool
	}{
		{t.Keys, pkSK, types.StreamViewTypeNewAndOldImages, true},
		{t.Meters, []string{dynamo.MeterKey}, noStream, false},
		{t.Sample, pkSK, noStream, true},
		{t.Usage, pkSK, noStream, true},
		{t.Alerts, pkSK, types.StreamViewTypeNewImage, true},
	} {
		if table.name == "" {
			continue
		}
		if t.WithoutStream {
			table.stream = noStream
		}
		if err := createTable(ctx, client, table.name, table.keys, table.stream); err != nil {
			return err
		}
		if table.ttl && !t.WithoutTTL {
			if err := enableTTL(ctx, client, table.name); err != nil {
				return err
			}
		}
	}
	return nil
}

// createTable makes a table whose keys are strings: the partition key, then the sort key;
// with a stream, unless that is empty.
func createTable(ctx context.Context, client *dynamodb.Client, name string, keys []string, stream types.StreamViewType) error {
	in := &dynamodb.CreateTableInput{TableName: &name, BillingMode: types.BillingModePayPerRequest}
	for i, k := range keys {
		role := types.KeyTypeHash
		if i > 0 {
			role = types.KeyTypeRange
		}
		in.KeySchema = append(in.KeySchema, types.KeySchemaElement{AttributeName: &k, KeyType: role})
		in.AttributeDefinitions = append(in.AttributeDefinitions,
			types.AttributeDefinition{AttributeName: &k, AttributeType: types.ScalarAttributeTypeS})
	}
	if stream != "" {
		in.StreamSpecification = &types.StreamSpecification{StreamEnabled: aws.Bool(true), StreamViewType: stream}
	}
	var exists *types.ResourceInUseException
	if _, err := client.CreateTable(ctx, in); err != nil && !errors.As(err, &exists) {
		return fmt.Errorf("creating table %s: %w", name, err)
	}
	err := dynamodb.NewTableExistsWaiter(client, func(o *dynamodb.TableExistsWaiterOptions) {
		o.MinDelay, o.MaxDelay = 10*time.Millisecond, time.Second
	}).Wait(ctx, &dynamodb.DescribeTableInput{TableName: &name}, time.Minute)
	if err != nil {
		return fmt.Errorf("waiting for table %s: %w", name, err)
	}
	return nil
}

// enableTTL looks first, since enabling it twice is an error.
func enableTTL(ctx context.Context, client *dynamodb.Client, name string) error {
	out, err := client.DescribeTimeToLive(ctx, &dynamodb.DescribeTimeToLiveInput{TableName: &name})
	if err != nil {
		return fmt.Errorf("reading TTL of table %s: %w", name, err)
	}
	if d := out.TimeToLiveDescription; d != nil && d.TimeToLiveStatus == types.TimeToLiveStatusEnabled {
		return nil
	}
	_, err = client.UpdateTimeToLive(ctx, &dynamodb.UpdateTimeToLiveInput{
		TableName: &name,
		TimeToLiveSpecification: &types.TimeToLiveSpecification{
			AttributeName: aws.String(dynamo.TTLAttribute), Enabled: aws.Bool(true),
		},
	})
	if err != nil {
		return fmt.Errorf("enabling TTL of table %s: %w", name, err)
	}
	return nil
}
