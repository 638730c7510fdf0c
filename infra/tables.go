package main

import (
	"slices"

	"github.com/aws/aws-cdk-go/awscdk/v2/awsdynamodb"
	"github.com/aws/jsii-runtime-go"

	"github.com/keyreeve/keyreeve/pkg/dynamo"
)

// keyItems matches the partition keys of key items: a role or a filter that is about keys
// alone names it. The layout is dynamo's; a test holds the two together.
const keyItems = "K#"

// restoreDays is how far back a table can be restored, the longest there is.
const restoreDays = 35

// makeTables makes the tables as dynamo/schema.go draws them: on demand, so that nobody
// calling costs nothing; restorable to any second; and not deleted by a mistake.
func (s *stack) makeTables() {
	s.keys = s.table("Keys", awsdynamodb.TableProps{
		PartitionKey:        attribute(dynamo.PartitionKey),
		SortKey:             attribute(dynamo.SortKey),
		TimeToLiveAttribute: jsii.String(dynamo.TTLAttribute),
		Stream:              awsdynamodb.StreamViewType_NEW_AND_OLD_IMAGES,
	})
	// A meter ends with its key and not by time, and nobody listens to a thousand writes a
	// second: neither TTL nor a stream.
	s.meters = s.table("Meters", awsdynamodb.TableProps{PartitionKey: attribute(dynamo.MeterKey)})
	s.usage = s.table("Usage", awsdynamodb.TableProps{
		PartitionKey:        attribute(dynamo.PartitionKey),
		SortKey:             attribute(dynamo.SortKey),
		TimeToLiveAttribute: jsii.String(dynamo.TTLAttribute),
	})
	s.alerts = s.table("Alerts", awsdynamodb.TableProps{
		PartitionKey:        attribute(dynamo.PartitionKey),
		SortKey:             attribute(dynamo.SortKey),
		TimeToLiveAttribute: jsii.String(dynamo.TTLAttribute),
		Stream:              awsdynamodb.StreamViewType_NEW_IMAGE, // an alert is delivered as it was raised
	})
	if slices.Contains(s.d.Table.Functions(), sampleFunction) {
		s.sample = s.table("Sample", awsdynamodb.TableProps{
			PartitionKey:        attribute(dynamo.PartitionKey),
			SortKey:             attribute(dynamo.SortKey),
			TimeToLiveAttribute: jsii.String(dynamo.TTLAttribute),
		})
	}
}

func (s *stack) table(id string, p awsdynamodb.TableProps) awsdynamodb.Table {
	p.BillingMode = awsdynamodb.BillingMode_PAY_PER_REQUEST
	p.PointInTimeRecoverySpecification = &awsdynamodb.PointInTimeRecoverySpecification{
		PointInTimeRecoveryEnabled: jsii.Bool(true), RecoveryPeriodInDays: jsii.Number(restoreDays),
	}
	p.DeletionProtection = jsii.Bool(!s.d.Disposable)
	p.RemovalPolicy = s.lasting()
	t := awsdynamodb.NewTable(s.cdk, &id, &p)
	waive(t, waiver{"CKV_AWS_119", "encrypted with DynamoDB's own key; a customer's costs 1 USD a month for nobody calling, and a call to KMS on the way of a request"})
	return t
}

func attribute(name string) *awsdynamodb.Attribute {
	return &awsdynamodb.Attribute{Name: &name, Type: awsdynamodb.AttributeType_STRING}
}
