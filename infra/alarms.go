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
)

// alarmMinutes is the time that an alarm looks at.
const alarmMinutes = 5

// streamBehind in milliseconds is how far behind the stream function may be. Nothing is
// wrong for a client by then: the guard does not need a repaired meter to be right.
const streamBehind = 5 * 60 * 1000

// makeAlarms makes the alarms on what somebody has to look after. Each one's description
// says what has happened and where to look.
func (s *stack) makeAlarms() {
	// Lambda's own count of the authorizer's errors will not do: each refused key is one
	// (the error "Unauthorized" is what makes a 401). The access log knows the difference.
	s.alarm("AuthorizerFails", s.answered("AuthorizerFailures", "AUTHORIZER_*"), 1,
		"Keys could not be checked and requests got 500: see the authorizer's log, then DynamoDB and the pepper secret")
	s.alarm("ServerErrors", s.apiMetric("5XXError", "Sum"), 5,
		"Requests got 5xx: the access log has their status, responseType and requestId, which the functions' logs have too")
	s.alarm("StreamBehind", s.functions[streamFunction].Metric(jsii.String("IteratorAge"), options("Maximum")), streamBehind,
		"The stream function is behind: a crash's stale meters are repaired late; see its log")
	s.alarm("StreamGaveUp", s.gaveUp.MetricApproximateNumberOfMessagesVisible(options("Maximum")), 1,
		"The stream function gave a record up: the queue says where in the stream; the key's next change or request repairs its meter")
	s.alarm("StageThrottled", s.answered("ThrottledRequests", "THROTTLED"), 1,
		"A stage turned requests away with 429: raise its throttle in cdk.json, or find who floods it in the access log")
	s.alarm("FunctionsThrottled", s.functionThrottles(), 1,
		"Lambda had no room for a request: raise the account's concurrent executions")
	s.alarm("TablesThrottled", s.tableThrottles(), 1,
		"DynamoDB turned requests away: an item or a table is at its limit of throughput")
}

// alarm makes an alarm on a metric that reaches threshold within alarmMinutes.
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
	namespace := "Keyreeve/" + s.d.StackName
	awslogs.NewCfnMetricFilter(s.cdk, jsii.String(metric), &awslogs.CfnMetricFilterProps{
		LogGroupName:  s.accessLog.LogGroupName(),
		FilterPattern: jsii.String(fmt.Sprintf(`{ $.%s = %q }`, responseTypeField, responseType)),
		MetricTransformations: []any{awslogs.CfnMetricFilter_MetricTransformationProperty{
			MetricNamespace: &namespace, MetricName: &metric, MetricValue: jsii.String("1"),
		}},
	})
	o := options("Sum")
	return awscloudwatch.NewMetric(&awscloudwatch.MetricProps{
		Namespace: &namespace, MetricName: &metric, Statistic: o.Statistic, Period: o.Period,
	})
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
	for _, name := range append([]string{authorizerFunction}, s.d.Table.Functions()...) {
		all = append(all, s.functions[name].MetricThrottles(options("Sum")))
	}
	return sum("f", all)
}

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

func options(statistic string) *awscloudwatch.MetricOptions {
	return &awscloudwatch.MetricOptions{
		Statistic: &statistic, Period: awscdk.Duration_Minutes(jsii.Number(alarmMinutes)),
	}
}
