package main

import (
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/jsii-runtime-go"

	"github.com/keyreeve/keyreeve/pkg/emf"
)

// makeDashboard makes one page with what an operator looks at first: who calls and with
// what result, where the time goes, whether anything is at its limit, and whether requests
// are counted and alerts arrive. It shows no more metrics than AWS's free dashboards may
// (https://aws.amazon.com/cloudwatch/pricing): one that shows more costs 3 USD a month.
func (s *stack) makeDashboard() {
	d := awscloudwatch.NewDashboard(s.cdk, jsii.String("Dashboard"), nil)
	d.AddWidgets(
		graph("Requests", s.byStage("Count", "Sum")...),
		graph("Refused (4xx)", s.byStage("4XXError", "Sum")...),
		graph("Failed (5xx)", s.apiMetric("5XXError", "Sum")),
	)
	d.AddWidgets(
		graph("A request in all, ms", s.apiMetric("Latency", "p50"), s.apiMetric("Latency", "p99")),
		graph("Authorizer, ms", s.duration(authorizerFunction, "p50"), s.duration(authorizerFunction, "p99")),
		graph("Functions behind routes, ms (p99)", s.durations("p99")...),
	)
	d.AddWidgets(
		graph("Functions' errors (the authorizer's are mostly bad keys)", s.functionMetrics(s.deployed(), "Errors", "Sum")...),
		graph("Running at once", s.functionMetrics(s.waitedFor(), "ConcurrentExecutions", "Maximum")...),
		graph("Throttled", s.functionThrottles(), s.tableThrottles()),
	)
	d.AddWidgets(
		graph("Meters, write units", s.meters.Metric(jsii.String("ConsumedWriteCapacityUnits"), options("Sum"))),
		graph("Keys, read and write units",
			s.keys.Metric(jsii.String("ConsumedReadCapacityUnits"), options("Sum")),
			s.keys.Metric(jsii.String("ConsumedWriteCapacityUnits"), options("Sum"))),
		graph("Stream: age of the records in hand, ms; records given up",
			s.functions[streamFunction].Metric(jsii.String("IteratorAge"), options("Maximum")),
			s.streamGaveUp.MetricApproximateNumberOfMessagesVisible(options("Maximum"))),
	)
	d.AddWidgets(
		graph("Log lines counted, and not understood", s.own(emf.LinesCounted, options("Sum")), s.own(emf.LinesUnreadable, options("Sum"))),
		graph("From a request to its being counted, ms; batches given up",
			s.own(emf.Lag, options("Maximum")), s.usageGaveUp.MetricApproximateNumberOfMessagesVisible(options("Maximum"))),
		graph("Largest difference of a key's two counts", s.own(emf.Drift, hourly("Maximum"))),
	)
	d.AddWidgets(
		graph("Alerts", s.own(emf.AlertsPublished, options("Sum"))),
		graph("Webhooks: delivered, failed, given up", s.own(emf.WebhooksDelivered, options("Sum")),
			s.own(emf.WebhooksFailed, options("Sum")), s.own(emf.WebhooksDead, options("Sum"))),
		graph("Alerts: age of those in hand, ms; given up",
			s.functions[notifyFunction].Metric(jsii.String("IteratorAge"), options("Maximum")),
			s.notifyGaveUp.MetricApproximateNumberOfMessagesVisible(options("Maximum"))),
	)
}

func graph(title string, metrics ...awscloudwatch.IMetric) awscloudwatch.IWidget {
	return awscloudwatch.NewGraphWidget(&awscloudwatch.GraphWidgetProps{
		Title: &title, Width: jsii.Number(8), Left: &metrics, // three in a row of 24 columns
		LeftYAxis: &awscloudwatch.YAxisProps{Min: jsii.Number(0), ShowUnits: jsii.Bool(false)},
	})
}

func (s *stack) byStage(metric, statistic string) (out []awscloudwatch.IMetric) {
	for _, stage := range s.d.stages() {
		out = append(out, s.stageMetric(metric, statistic, stage))
	}
	return out
}

func (s *stack) duration(function, statistic string) awscloudwatch.IMetric {
	return s.functions[function].MetricDuration(options(statistic))
}

func (s *stack) durations(statistic string) (out []awscloudwatch.IMetric) {
	for _, name := range s.behindGuard() {
		out = append(out, s.duration(name, statistic))
	}
	return out
}

func (s *stack) functionMetrics(of []string, metric, statistic string) (out []awscloudwatch.IMetric) {
	for _, name := range of {
		out = append(out, s.functions[name].Metric(&metric, options(statistic)))
	}
	return out
}
