package main

import (
	"encoding/json"
	"strings"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslogs"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"

	"github.com/keyreeve/keyreeve/pkg/verify"
)

// logField is a member of an access log's line: its name, and the $context variable that
// API Gateway puts in
// (https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-variables-for-access-logging.html).
type logField struct{ name, variable string }

// logFields are the members of a line. The local gateway's lines (gateway.Entry) have the
// same names, and a test holds the two together.
//
// No header, query or path is among them, for a client may put a key there by mistake;
// resourcePath is the route's own. Neither is anything else of a length that a client
// chooses: a line stays below maxLogLine. requestId is what clients are told, and clients
// may choose it; extendedRequestId is API Gateway's alone, so it tells whether two lines
// are the same request.
var logFields = []logField{
	{"requestId", "requestId"},
	{"extendedRequestId", "extendedRequestId"},
	{"requestTimeEpoch", "requestTimeEpoch"},
	{"stage", "stage"},
	{"httpMethod", "httpMethod"},
	{"resourcePath", "resourcePath"},
	{"protocol", "protocol"},
	{"status", "status"},
	{"responseLength", "responseLength"},
	{"responseLatency", "responseLatency"},
	{"integrationLatency", "integrationLatency"},
	{"authorizerLatency", "authorizer.latency"},
	{"principalId", "authorizer.principalId"},
	{"keyId", "authorizer." + verify.FieldKeyID},
	{"accountId", "authorizer." + verify.FieldAccountID},
	{"sourceIp", "identity.sourceIp"},
	{responseTypeField, "error.responseType"},
}

const responseTypeField = "responseType" // which gateway response a client got; "-": none

// maxLogLine is the longest line in bytes.
const maxLogLine = 1024

// accessLogFormat is a line of JSON. Every value is in quotes: API Gateway writes "-" for
// what there is not, numbers too.
func accessLogFormat() string {
	quoted := func(s string) string {
		text, _ := json.Marshal(s) // a string always has its JSON
		return string(text)
	}
	members := make([]string, len(logFields))
	for i, f := range logFields {
		members[i] = quoted(f.name) + ":" + quoted("$context."+f.variable)
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
