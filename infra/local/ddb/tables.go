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
	Keys, Meters, Sample string
	// WithoutTTL leaves TTL off: DynamoDB Local sweeps within seconds what a test with a
	// clock of its own has dated in the past.
	WithoutTTL bool
	// WithoutStream leaves the stream of the keys table out: with every write DynamoDB
	// Local searches the records of all streams that it has, so a server with many tables
	// becomes ten times slower within a test run.
	WithoutStream bool
}

// CreateTables makes the tables that are missing, as infra makes them in AWS: on demand,
// the keys table with a stream of both images, TTL on it and on the sample's. It may be
// repeated.
func CreateTables(ctx context.Context, client *dynamodb.Client, t Tables) error {
	pkSK := []string{dynamo.PartitionKey, dynamo.SortKey}
	if t.Keys != "" {
		if err := createTable(ctx, client, t.Keys, pkSK, !t.WithoutStream); err != nil {
			return err
		}
	}
	if t.Meters != "" {
		if err := createTable(ctx, client, t.Meters, []string{dynamo.MeterKey}, false); err != nil {
			return err
		}
	}
	if t.Sample != "" {
		if err := createTable(ctx, client, t.Sample, pkSK, false); err != nil {
			return err
		}
	}
	for _, name := range []string{t.Keys, t.Sample} {
		if name == "" || t.WithoutTTL {
			continue
		}
		if err := enableTTL(ctx, client, name); err != nil {
			return err
		}
	}
	return nil
}

// createTable makes a table whose keys are strings: the partition key, then the sort key.
func createTable(ctx context.Context, client *dynamodb.Client, name string, keys []string, stream bool) error {
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
	if stream {
		in.StreamSpecification = &types.StreamSpecification{
			StreamEnabled: aws.Bool(true), StreamViewType: types.StreamViewTypeNewAndOldImages,
		}
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
