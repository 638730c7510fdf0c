package main

import (
	"fmt"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsevents"
	"github.com/aws/aws-cdk-go/awscdk/v2/awseventstargets"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambda"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambdadestinations"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslogs"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslogsdestinations"
	"github.com/aws/jsii-runtime-go"

	"github.com/keyreeve/keyreeve/pkg/logline"
)

// What becomes of a batch of log lines. CloudWatch Logs hands it to Lambda, and goes on
// trying for a day while Lambda does not take it
// (https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/Subscriptions.html). Lambda
// runs the function up to three times, and puts what failed each time into the queue
// UsageGaveUp, whole
// (https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html).
const (
	usageTimeout = 300         // seconds; a batch is up to 1 MB of gzip, so some ten thousand lines
	usageRetries = 2           // the most that Lambda does
	usageMaxAge  = 6 * 60 * 60 // seconds, as long as Lambda keeps an event
	// redriveBatch is how many of the queue's messages the function gets at once: each is a
	// batch of lines, and Lambda takes 6 MB.
	redriveBatch = 1
	// redriveAtOnce bounds how many processes a redrive takes from those that count what
	// comes in meanwhile; less than 2 there is not.
	redriveAtOnce = 2
)

// subscribeToLogs gives the usage function every line of the access log, and of the logs of
// what is in front of handlers the lines that it counts (package logline). Its own log is
// not among them: it would count its own lines for ever.
func (s *stack) subscribeToLogs() {
	s.subscribe("AccessLines", s.accessLog, awslogs.FilterPattern_AllEvents())
	events := fmt.Sprintf(`{ $.msg = %q || $.msg = %q }`, logline.Refused, logline.NearLimit)
	for _, name := range s.waitedFor() {
		s.subscribe(title(name)+"Lines", s.logs[name], awslogs.FilterPattern_Literal(&events))
	}
}

// subscribe hands lines of a log group to the usage function, and lets that log group
// alone do so.
func (s *stack) subscribe(id string, from awslogs.ILogGroup, pattern awslogs.IFilterPattern) {
	f := awslogs.NewSubscriptionFilter(s.cdk, &id, &awslogs.SubscriptionFilterProps{
		LogGroup: from, FilterPattern: pattern,
		Destination: awslogsdestinations.NewLambdaDestination(s.functions[usageFunction], nil),
	})
	wildcard(f.Node().FindChild(jsii.String("CanInvokeLambda")), "every stream of the one log group: its ARN ends so")
}

// keepWhatUsageGivesUp has Lambda put failed batches into the queue, and makes the way back:
// a mapping from the queue to the function, which is off. An operator who has found the
// cause turns it on, and off when the queue is empty; were it always on, what cannot be
// counted would go round and round and the queue would be no place to look at it.
func (s *stack) keepWhatUsageGivesUp() {
	f := s.functions[usageFunction]
	f.ConfigureAsyncInvoke(&awslambda.EventInvokeConfigOptions{
		RetryAttempts: jsii.Number(usageRetries),
		MaxEventAge:   awscdk.Duration_Seconds(jsii.Number(usageMaxAge)),
		OnFailure:     awslambdadestinations.NewSqsDestination(s.usageGaveUp),
	})
	redrive := awslambda.NewEventSourceMapping(s.cdk, jsii.String("UsageRedrive"), &awslambda.EventSourceMappingProps{
		Target:                  f,
		EventSourceArn:          s.usageGaveUp.QueueArn(),
		Enabled:                 jsii.Bool(false),
		BatchSize:               jsii.Number(redriveBatch),
		MaxConcurrency:          jsii.Number(redriveAtOnce),
		ReportBatchItemFailures: jsii.Bool(true),
	})
	s.redrive = redrive.EventSourceMappingId()
}

// sweepEveryHour has the usage function look at the keys as they are: what expires, what is
// not used, what is due for rotation, and whether both witnesses have counted the same.
func (s *stack) sweepEveryHour() {
	s.every(awscdk.Duration_Hours(jsii.Number(1)), "SweepKeys", usageFunction, "Has the usage function look at the keys as they are")
}

// every invokes a function at an interval. What comes of a failure is the function's own
// setting for asynchronous invocations.
func (s *stack) every(interval awscdk.Duration, id, function, description string) {
	awsevents.NewRule(s.cdk, &id, &awsevents.RuleProps{
		Description: &description,
		Schedule:    awsevents.Schedule_Rate(interval),
		Targets:     &[]awsevents.IRuleTarget{awseventstargets.NewLambdaFunction(s.functions[function], nil)},
	})
}
