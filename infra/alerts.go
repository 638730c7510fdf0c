package main

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsevents"
	"github.com/aws/aws-cdk-go/awscdk/v2/awseventstargets"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambda"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssns"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssnssubscriptions"
	"github.com/aws/jsii-runtime-go"

	"github.com/keyreeve/keyreeve/pkg/dynamo"
)

// alertItems matches the sort keys of alerts in the table alerts. The layout is dynamo's; a
// test holds the two together.
const alertItems = "A#"

// eventSource is the source of the events that alerts become on the bus.
const eventSource = "keyreeve"

// makeBus makes where alerts go to beside the accounts' webhooks: an EventBridge bus of
// this installation's own, for rules of whoever runs it, and one rule that hands all of
// them to an SNS topic, for people.
func (s *stack) makeBus() {
	s.bus = awsevents.NewEventBus(s.cdk, jsii.String("AlertBus"), &awsevents.EventBusProps{
		EventBusName: &s.d.StackName,
		Description:  jsii.String("Keyreeve's alerts; more rules may be put on it"),
	})
	s.alertTopic = awssns.NewTopic(s.cdk, jsii.String("AlertTopic"), &awssns.TopicProps{EnforceSSL: jsii.Bool(true)})
	waive(s.alertTopic, waiver{"CKV_AWS_26", "EventBridge cannot publish to a topic under SNS's own key, and a customer's costs 1 USD a month; an alert's text holds no secret"})
	// EventBridge tells SNS nothing that a condition could look at
	// (https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html).
	s.alertTopic.GrantPublish(awsiam.NewServicePrincipal(jsii.String("events.amazonaws.com"), nil))
	wildcard(s.alertTopic.Node().FindChild(jsii.String("Policy")), "a refusal of whoever comes without TLS")
	if s.d.AlertEmail != "" {
		s.alertTopic.AddSubscription(awssnssubscriptions.NewEmailSubscription(&s.d.AlertEmail, nil))
	}
	awsevents.NewRule(s.cdk, jsii.String("AlertsToTopic"), &awsevents.RuleProps{
		Description:  jsii.String("Hands every alert to the topic"),
		EventBus:     s.bus,
		EventPattern: &awsevents.EventPattern{Source: texts(eventSource)},
		Targets: &[]awsevents.IRuleTarget{awseventstargets.NewSnsTopic(s.alertTopic, &awseventstargets.SnsTopicProps{
			DeadLetterQueue: s.notifyGaveUp, // it would be lost without a sound
		})},
	})
}

// subscribeToAlerts gives the notify function every alert that is raised, and a turn each
// minute for the webhooks that are to be tried again.
func (s *stack) subscribeToAlerts() {
	s.follow("NewAlerts", s.alerts, notifyFunction, s.notifyGaveUp, map[string]any{
		"eventName": []string{"INSERT"}, // acknowledging one is no news
		"dynamodb": map[string]any{"Keys": map[string]any{dynamo.SortKey: map[string]any{
			"S": awslambda.FilterRule_BeginsWith(jsii.String(alertItems)),
		}}},
	})
	// A turn that fails is not repeated: the next one does the same a minute later.
	s.functions[notifyFunction].ConfigureAsyncInvoke(&awslambda.EventInvokeConfigOptions{
		RetryAttempts: jsii.Number(0), MaxEventAge: awscdk.Duration_Minutes(jsii.Number(1)),
	})
	s.every(awscdk.Duration_Minutes(jsii.Number(1)), "DeliverAgain", notifyFunction, "Has the notify function try webhooks again that are due")
}
