package main

import (
	"fmt"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/jsii-runtime-go"
)

// firstAccount is the account that the printed command makes. It is named, so that the
// command does not make a second one when it is run again.
const firstAccount = "first"

// makeOutputs makes what `cdk deploy` prints at its end: where the stages are, and how to
// come by the first key.
func (s *stack) makeOutputs() {
	for _, stage := range s.d.stages() {
		url := awscdk.Fn_Sub(jsii.String("https://${Api}.execute-api.${AWS::Region}.${AWS::URLSuffix}/"+stage),
			&map[string]*string{"Api": s.api.RestApiId()})
		if d, ok := s.d.Domains[stage]; ok {
			url = jsii.String("https://" + d.Name)
		}
		s.output(title(stage)+"Url", url, "The stage for keys of the environment "+stage)
	}
	s.output("CreateFirstAccount", awscdk.Fn_Sub(jsii.String(fmt.Sprintf(
		`aws lambda invoke --region ${AWS::Region} --function-name ${Function} --cli-binary-format raw-in-base64-out`+
			` --payload '{"action":"create-account","accountId":%q}' /dev/stdout`, firstAccount)),
		&map[string]*string{"Function": s.functions[adminFunction].FunctionName()}),
		"Run it once: it prints the root key of a first account")
}

func (s *stack) output(id string, value *string, description string) {
	awscdk.NewCfnOutput(s.cdk, &id, &awscdk.CfnOutputProps{Value: value, Description: &description})
}
