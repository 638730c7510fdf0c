package main

import (
	"fmt"

	"github.com/aws/aws-cdk-go/awscdk/v2"
)

// firstAccount is the account that the printed command makes. It is named, so that the
// command does not make a second one when it is run again.
const firstAccount = "first"

// makeOutputs makes what `cdk deploy` prints at its end: where the stages are, and how to
// come by the first key.
func (s *stack) makeOutputs() {
	for _, stage := range s.d.stages() {
		url := "https://" + *s.api.RestApiId() + ".execute-api." + *s.cdk.Region() + "." + *s.cdk.UrlSuffix() + "/" + stage
		if d, ok := s.d.Domains[stage]; ok {
			url = "https://" + d.Name
		}
		s.output(title(stage)+"Url", &url, "The stage for keys of the environment "+stage)
	}
	command := fmt.Sprintf(`aws lambda invoke --region %s --function-name %s --cli-binary-format raw-in-base64-out`+
		` --payload '{"action":"create-account","accountId":%q}' /dev/stdout`,
		*s.cdk.Region(), *s.functions[adminFunction].FunctionName(), firstAccount)
	s.output("CreateFirstAccount", &command, "Run it once: it prints the root key of a first account")
	s.output("AlertTopicArn", s.alertTopic.TopicArn(), "Subscribe to it to be told of alerts")
	redrive := fmt.Sprintf(`aws lambda update-event-source-mapping --region %s --uuid %s --enabled`, *s.cdk.Region(), *s.redrive)
	s.output("RedriveUsage", &redrive, "After UsageGaveUpAlarm and its cause: counts what the queue holds; with --no-enabled it stops, once the queue is empty")
}

func (s *stack) output(id string, value *string, description string) {
	awscdk.NewCfnOutput(s.cdk, &id, &awscdk.CfnOutputProps{Value: value, Description: &description})
}
