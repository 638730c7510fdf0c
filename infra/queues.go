package main

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssqs"
	"github.com/aws/jsii-runtime-go"
)

// gaveUpDays is how long a queue keeps what was given up, the longest there is.
const gaveUpDays = 14

// makeQueues makes the queues of what was given up, which somebody has to look at: an
// alarm is on each.
//
//	StreamGaveUp  where in the stream of keys a change is that was not repaired or flushed
//	UsageGaveUp   log lines that were not counted, whole, to be counted later (usage.go)
//	NotifyGaveUp  where in the stream of alerts one is that was not delivered, and events
//	              that the bus could not hand to the topic, whole
func (s *stack) makeQueues() {
	s.streamGaveUp = s.queue("StreamGaveUp", nil)
	// A message must stay with whoever received it for as long as the function may take,
	// six times over for its repeats
	// (https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html).
	s.usageGaveUp = s.queue("UsageGaveUp", awscdk.Duration_Seconds(jsii.Number(6*usageTimeout)))
	s.notifyGaveUp = s.queue("NotifyGaveUp", nil)
}

func (s *stack) queue(id string, visibility awscdk.Duration) awssqs.Queue {
	q := awssqs.NewQueue(s.cdk, &id, &awssqs.QueueProps{
		Encryption:        awssqs.QueueEncryption_SQS_MANAGED,
		EnforceSSL:        jsii.Bool(true),
		RetentionPeriod:   awscdk.Duration_Days(jsii.Number(gaveUpDays)),
		VisibilityTimeout: visibility,
	})
	waive(q, waiver{"CKV_AWS_27", "encrypted with the queue's own key (SqsManagedSseEnabled), which the check does not know of"})
	wildcard(q.Node().FindChild(jsii.String("Policy")), "a refusal of whoever comes without TLS")
	return q
}
