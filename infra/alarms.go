package main

import (
	"fmt"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatchactions"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslogs"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssns"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssnssubscriptions"
	"github.com/aws/jsii-runtime-go"

	"github.com/keyreeve/keyreeve/pkg/emf"
	"github.com/keyreeve/keyreeve/pkg/logline"
)

// alarmMinutes is the time that an alarm looks at.
const alarmMinutes = 5

// streamBehind in milliseconds is how far behind the stream function may be. Nothing is
// wrong for a client by then: the guard does not need a repaired meter to be right.
const streamBehind = 5 * 60 * 1000

// usageBehind in milliseconds is how late a request may be counted. CloudWatch Logs says
// that it mostly hands lines over within three minutes.
const usageBehind = 15 * 60 * 1000

// makeAlarms makes the alarms on what somebody has to look after. Each one's description
// says what has happened and where to look.
func (s *stack) makeAlarms() {
	s.alarmOnRequests()
	s.alarmOnUsage()
	s.alarmOnNotify()
}

// alarmOnRequests is about what requests wait for, and the guard behind them.
func (s *stack) alarmOnRequests() {
	// Lambda's own count of the authorizer's errors will not do: each refused key is one
	// (the error "Unauthorized" is what makes a 401). The access log knows the difference.
	s.alarm("AuthorizerFails", s.answered("AuthorizerFailures", "AUTHORIZER_*"), 1,
		"Keys could not be checked and requests got 500: see the authorizer's log, then DynamoDB and the pepper secret")
	s.alarm("ServerErrors", s.apiMetric("5XXError", "Sum"), 5,
		"Requests got 5xx: the access log has their status, responseType and requestId, which the functions' logs have too")
	s.alarm("StreamBehind", s.functions[streamFunction].Metric(jsii.String("IteratorAge"), options("Maximum")), streamBehind,
		"The stream function is behind: a crash's stale meters are repaired late, and unguarded routes may learn of changes late; see its log")
	s.alarm("FlushBehind", s.functions[flushFunction].Metric(jsii.String("IteratorAge"), options("Maximum")), streamBehind,
		"The flush function is behind: unguarded routes may learn of some changes only when cached policies are too old; see its log")
	s.alarm("StreamGaveUp", s.streamGaveUp.MetricApproximateNumberOfMessagesVisible(options("Maximum")), 1,
		"The function stream or flush gave a record up: the queue says where in the stream; the key's next change or request repairs its meter, and cached policies grow too old by themselves; see their logs for who refused the flush")
	s.alarm("StageThrottled", s.answered("ThrottledRequests", "THROTTLED"), 1,
		"A stage turned requests away with 429: raise its throttle in cdk.json, or find who floods it in the access log")
	s.alarm("FunctionsThrottled", s.functionThrottles(), 1,
		"Lambda had no room for a request: raise the account's concurrent executions")
	s.alarm("TablesThrottled", s.tableThrottles(), 1,
		"DynamoDB turned requests away: an item or a table is at its limit of throughput")
}

// alarmOnUsage is about the promise that every request is counted, and once.
func (s *stack) alarmOnUsage() {
	usage := s.functions[usageFunction]
	s.alarm("UsageFails", usage.MetricErrors(options("Sum")), 1,
		"A batch of log lines could not be counted, or the hourly look at the keys failed; it is repeated: see the usage function's log, then DynamoDB")
	s.alarm("UsageGaveUp", s.usageGaveUp.MetricApproximateNumberOfMessagesVisible(options("Maximum")), 1,
		"Log lines are not counted and wait in the queue for 14 days: find the cause in the usage function's log, then run the commands of the output RedriveUsage")
	s.alarm("UsageLost", usage.Metric(jsii.String("DestinationDeliveryFailures"), options("Sum")), 1,
		"Log lines that could not be counted did not get into the queue either: they are in the log groups still; see the usage function's log for when")
	s.alarm("UsageBehind", s.own(emf.Lag, options("Maximum")), usageBehind,
		"Requests were counted more than 15 minutes late: usage, last use and alerts are behind; see the usage function's duration, throttles and log, unless RedriveUsage was just run")
	s.alarm("LinesUnreadable", s.own(emf.LinesUnreadable, options("Sum")), 1,
		"Log lines were not understood, so their requests are not counted: compare the access log's format with pkg/logline, and see the usage function's log")
	s.alarm("LateAccepts", s.own(emf.LateAccepts, options("Sum")), 1,
		"An unguarded route let a key in after the time by which a change had to be in force: the alerts late_accept say which; compare the authorizers' cache time with authorizerCacheSeconds, and look for another way to that route's integration")
	s.alarm("UsageDrifts", s.own(emf.Drift, hourly("Maximum")), 1,
		"The guard has counted other requests than the logs show, of the keys that the usage function's log names with drift: look for lines that were given up or lost; it stays until they are counted")
}

// alarmOnNotify is about the promise that whoever wants an alert gets it.
func (s *stack) alarmOnNotify() {
	notify := s.functions[notifyFunction]
	s.alarm("NotifyFails", notify.MetricErrors(options("Sum")), 1,
		"The notify function failed: webhooks that are due were not tried, which it repeats each minute; see its log, then DynamoDB")
	s.alarm("NotifyBehind", notify.Metric(jsii.String("IteratorAge"), options("Maximum")), streamBehind,
		"Alerts wait to be delivered for more than 5 minutes: see the notify function's log, then the event bus; GET /v1/alerts shows them meanwhile")
	s.alarm("NotifyGaveUp", s.notifyGaveUp.MetricApproximateNumberOfMessagesVisible(options("Maximum")), 1,
		"Alerts did not reach the event bus, or not the topic: the queue says which; GET /v1/alerts shows them")
	s.alarm("WebhooksDead", s.own(emf.WebhooksDead, options("Sum")), 1,
		"An alert was given up for a webhook after its last try: GET /v1/webhooks/{id}/deliveries says why, and POST /v1/deliveries/{id}/redeliver sends it again")
}

// own is a metric that a function writes itself.
func (s *stack) own(name string, o *awscloudwatch.MetricOptions) awscloudwatch.Metric {
	return awscloudwatch.NewMetric(&awscloudwatch.MetricProps{
		Namespace: s.namespace(), MetricName: &name, Statistic: o.Statistic, Period: o.Period,
	})
}

// namespace is where this installation's own metrics are.
func (s *stack) namespace() *string { return jsii.String("Keyreeve/" + s.d.StackName) }

// alarm makes an alarm on a metric that reaches threshold within one of its periods.
func (s *stack) alarm(id string, m awscloudwatch.IMetric, threshold int, description string) {
	a := awscloudwatch.NewAlarm(s.cdk, jsii.String(id+"Alarm"), &awscloudwatch.AlarmProps{
		AlarmDescription:   &description,
		Metric:             m,
		Threshold:          jsii.Number(threshold),
		ComparisonOperator: awscloudwatch.ComparisonOperator_GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
		EvaluationPeriods:  jsii.Number(1),
		TreatMissingData:   awscloudwatch.TreatMissingData_NOT_BREACHING, // nobody calling is no fault
	})
	if s.d.AlarmEmail != "" {
		a.AddAlarmAction(awscloudwatchactions.NewSnsAction(s.alarmTopic()))
	}
}

// alarmTopic is where alarms go. It is made at the first alarm.
func (s *stack) alarmTopic() awssns.ITopic {
	const id = "Alarms"
	if t, ok := s.cdk.Node().TryFindChild(jsii.String(id)).(awssns.ITopic); ok {
		return t
	}
	t := awssns.NewTopic(s.cdk, jsii.String(id), nil)
	t.AddSubscription(awssnssubscriptions.NewEmailSubscription(&s.d.AlarmEmail, nil))
	waive(t, waiver{"CKV_AWS_26", "CloudWatch cannot publish to a topic under SNS's own key; an alarm's text holds no secret"})
	return t
}

// answered counts the requests that API Gateway itself answered with a gateway response,
// by its type; "*" stands for any end of it.
func (s *stack) answered(metric, responseType string) awscloudwatch.IMetric {
	awslogs.NewCfnMetricFilter(s.cdk, jsii.String(metric), &awslogs.CfnMetricFilterProps{
		LogGroupName:  s.accessLog.LogGroupName(),
		FilterPattern: jsii.String(fmt.Sprintf(`{ $.%s = %q }`, logline.ResponseTypeField, responseType)),
		MetricTransformations: []any{awslogs.CfnMetricFilter_MetricTransformationProperty{
			MetricNamespace: s.namespace(), MetricName: &metric, MetricValue: jsii.String("1"),
		}},
	})
	return s.own(metric, options("Sum"))
}

// apiMetric is a metric of the API over all stages.
func (s *stack) apiMetric(name, statistic string) awscloudwatch.Metric {
	return s.stageMetric(name, statistic, "")
}

// stageMetric is a metric of one stage.
func (s *stack) stageMetric(name, statistic, stage string) awscloudwatch.Metric {
	dimensions := map[string]*string{"ApiName": s.api.RestApiName()}
	o := options(statistic)
	p := &awscloudwatch.MetricProps{
		Namespace: jsii.String("AWS/ApiGateway"), MetricName: &name, DimensionsMap: &dimensions,
		Statistic: o.Statistic, Period: o.Period,
	}
	if stage != "" {
		dimensions["Stage"], p.Label = &stage, &stage
	}
	return awscloudwatch.NewMetric(p)
}

// functionThrottles adds up the functions that requests wait for.
func (s *stack) functionThrottles() awscloudwatch.IMetric {
	var all []awscloudwatch.IMetric
	for _, name := range s.waitedFor() {
		all = append(all, s.functions[name].MetricThrottles(options("Sum")))
	}
	return sum("f", all)
}

// tableThrottles adds up the tables that requests wait for. The usage and alerts tables'
// throttles are repeated until they show as errors or lag of their functions.
func (s *stack) tableThrottles() awscloudwatch.IMetric {
	return sum("t", []awscloudwatch.IMetric{
		s.keys.Metric(jsii.String("ReadThrottleEvents"), options("Sum")),
		s.keys.Metric(jsii.String("WriteThrottleEvents"), options("Sum")),
		s.meters.Metric(jsii.String("ReadThrottleEvents"), options("Sum")),
		s.meters.Metric(jsii.String("WriteThrottleEvents"), options("Sum")),
	})
}

// sum adds metrics up; prefix makes their ids, which no other sum of a graph may have.
// Where there is no data, as where nothing was throttled, it takes 0.
func sum(prefix string, all []awscloudwatch.IMetric) awscloudwatch.IMetric {
	expression, metrics := "", map[string]awscloudwatch.IMetric{}
	for i, m := range all {
		id := fmt.Sprintf("%s%d", prefix, i)
		if i > 0 {
			expression += "+"
		}
		expression += "FILL(" + id + ",0)"
		metrics[id] = m
	}
	return awscloudwatch.NewMathExpression(&awscloudwatch.MathExpressionProps{
		Expression: &expression, UsingMetrics: &metrics, Period: options("").Period, Label: jsii.String("in all"),
	})
}

// hourly is for what is measured once an hour.
func hourly(statistic string) *awscloudwatch.MetricOptions {
	return &awscloudwatch.MetricOptions{Statistic: &statistic, Period: awscdk.Duration_Hours(jsii.Number(1))}
}

func options(statistic string) *awscloudwatch.MetricOptions {
	return &awscloudwatch.MetricOptions{
		Statistic: &statistic, Period: awscdk.Duration_Minutes(jsii.Number(alarmMinutes)),
	}
}
