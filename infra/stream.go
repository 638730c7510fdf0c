package main

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsdynamodb"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambda"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambdaeventsources"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssqs"
	"github.com/aws/jsii-runtime-go"

	"github.com/keyreeve/keyreeve/pkg/dynamo"
)

// What becomes of records that a function of a stream cannot do. A record that fails keeps
// those behind it in its shard waiting, so there is an end to it.
const (
	streamBatch   = 100
	streamRetries = 10
	streamMaxAge  = 6 * 60 * 60 // in seconds; the stream itself keeps a day
)

// subscribeToKeys gives the functions stream and flush every change of a key item, and
// spares them what they would pass over: other items, and those that TTL has deleted. More
// than these two must not read one stream
// (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Streams.html).
func (s *stack) subscribeToKeys() {
	filter := map[string]any{
		"eventName": []string{"INSERT", "MODIFY"},
		"dynamodb": map[string]any{"Keys": map[string]any{dynamo.PartitionKey: map[string]any{
			"S": awslambda.FilterRule_BeginsWith(jsii.String(keyItems)),
		}}},
	}
	s.follow("KeyChanges", s.keys, streamFunction, s.streamGaveUp, filter)
	s.follow("KeyChangesLater", s.keys, flushFunction, s.streamGaveUp, filter)
}

// follow gives a function the records of a table's stream that a filter selects. Where in
// the stream those are that it could not do, it puts into a queue.
func (s *stack) follow(id string, table awsdynamodb.Table, function string, gaveUp awssqs.Queue, filter map[string]any) {
	awslambda.NewEventSourceMapping(s.cdk, &id, &awslambda.EventSourceMappingProps{
		Target:                  s.functions[function],
		EventSourceArn:          table.TableStreamArn(),
		StartingPosition:        awslambda.StartingPosition_TRIM_HORIZON, // nothing before the first poll is missed
		BatchSize:               jsii.Number(streamBatch),
		BisectBatchOnError:      jsii.Bool(true),
		RetryAttempts:           jsii.Number(streamRetries),
		MaxRecordAge:            awscdk.Duration_Seconds(jsii.Number(streamMaxAge)),
		ReportBatchItemFailures: jsii.Bool(true),
		OnFailure:               awslambdaeventsources.NewSqsDlq(gaveUp),
		Filters:                 &[]*map[string]any{awslambda.FilterCriteria_Filter(&filter)},
	})
}

// pollStream is what Lambda's poller calls, which works with the function's role
// (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/iam-policy-example-lamda-process-dynamodb-streams.html).
func pollStream(of awsdynamodb.Table) grant {
	return grant{"PollStream", actions("dynamodb", "DescribeStream", "GetRecords", "GetShardIterator", "ListStreams"), of.TableStreamArn(), nil}
}
