package main

import (
	"encoding/json"
	"strings"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslogs"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"

	"github.com/keyreeve/keyreeve/pkg/logline"
)

// maxLogLine bounds a line up to what clients choose, in bytes. API Gateway cuts events of
// its execution log off at that length and does not say what it does to these; the fields
// that may be of any length are the last two, so that nothing else would be lost.
const maxLogLine = 1024

// accessLogFormat is a line of JSON of logline's fields, which the function usage reads.
// Every value is in quotes: API Gateway writes "-" for what there is not, numbers too.
func accessLogFormat() string {
	quoted := func(s string) string {
		text, _ := json.Marshal(s) // a string always has its JSON
		return string(text)
	}
	fields := logline.Fields()
	members := make([]string, len(fields))
	for i, f := range fields {
		members[i] = quoted(f.Name) + ":" + quoted("$context."+f.Variable)
	}
	return "{" + strings.Join(members, ",") + "}"
}

// makeAccessLog makes the log group of all stages' access logs.
func (s *stack) makeAccessLog() { s.accessLog = s.logGroup(s.cdk, "AccessLog") }

// logGroup makes a log group that forgets in time. It goes with the stack, as what is in
// it would go anyway.
func (s *stack) logGroup(scope constructs.Construct, id string) awslogs.LogGroup {
	g := awslogs.NewLogGroup(scope, &id, &awslogs.LogGroupProps{RemovalPolicy: awscdk.RemovalPolicy_DESTROY})
	resource(g).AddPropertyOverride(jsii.String("RetentionInDays"), s.d.LogRetentionDays) // the CDK's own type for it has a name for each number
	waive(g, waiver{"CKV_AWS_158", "encrypted with CloudWatch's own key; no line holds a credential, and a customer's key costs 1 USD a month"})
	return g
}
