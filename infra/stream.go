package main

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambda"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambdaeventsources"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssqs"
	"github.com/aws/jsii-runtime-go"

	"github.com/keyreeve/keyreeve/pkg/dynamo"
)

// What becomes of records that the stream function cannot do. A record that fails keeps
// those behind it in its shard waiting, so there is an end to it.
const (
	streamBatch   = 100
	streamRetries = 10
	streamMaxAge  = 6 * 60 * 60 // in seconds; the stream itself keeps a day
	gaveUpDays    = 14
)

// makeQueue makes the queue of what the stream function could not do: where in the stream,
// not the records themselves.
func (s *stack) makeQueue() {
	s.gaveUp = awssqs.NewQueue(s.cdk, jsii.String("StreamGaveUp"), &awssqs.QueueProps{
		Encryption:      awssqs.QueueEncryption_SQS_MANAGED,
		EnforceSSL:      jsii.Bool(true),
		RetentionPeriod: awscdk.Duration_Days(jsii.Number(gaveUpDays)),
	})
	waive(s.gaveUp, waiver{"CKV_AWS_27", "encrypted with the queue's own key (SqsManagedSseEnabled), which the check does not know of"})
	wildcard(s.gaveUp.Node().FindChild(jsii.String("Policy")), "a refusal of whoever comes without TLS")
}

// subscribeToKeys gives the stream function every change of a key item, and spares it what
// it would pass over: other items, and those that TTL has deleted.
func (s *stack) subscribeToKeys() {
	awslambda.NewEventSourceMapping(s.cdk, jsii.String("KeyChanges"), &awslambda.EventSourceMappingProps{
		Target:                  s.functions[streamFunction],
		EventSourceArn:          s.keys.TableStreamArn(),
		StartingPosition:        awslambda.StartingPosition_TRIM_HORIZON, // nothing before the first poll is missed
		BatchSize:               jsii.Number(streamBatch),
		BisectBatchOnError:      jsii.Bool(true),
		RetryAttempts:           jsii.Number(streamRetries),
		MaxRecordAge:            awscdk.Duration_Seconds(jsii.Number(streamMaxAge)),
		ReportBatchItemFailures: jsii.Bool(true),
		OnFailure:               awslambdaeventsources.NewSqsDlq(s.gaveUp),
		Filters: &[]*map[string]any{awslambda.FilterCriteria_Filter(&map[string]any{
			"eventName": []string{"INSERT", "MODIFY"},
			"dynamodb": map[string]any{"Keys": map[string]any{dynamo.PartitionKey: map[string]any{
				"S": awslambda.FilterRule_BeginsWith(jsii.String(keyItems)),
			}}},
		})},
	})
}
