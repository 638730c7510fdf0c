package main

import (
	"slices"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsapigateway"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsdynamodb"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsevents"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambda"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslogs"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssecretsmanager"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssns"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssqs"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"
)

// stack is one installation. Its methods make its parts, in the order of newStack; each
// one finds what it builds on in the fields.
type stack struct {
	cdk awscdk.Stack
	d   deployment

	keys, meters, usage, alerts             awsdynamodb.Table
	sample                                  awsdynamodb.Table // nil: no route is the sample's
	pepper                                  awssecretsmanager.Secret
	streamGaveUp, usageGaveUp, notifyGaveUp awssqs.Queue
	bus                                     awsevents.EventBus // where alerts go
	alertTopic                              awssns.Topic       // and then
	functions                               map[string]awslambda.Function
	logs                                    map[string]awslogs.LogGroup // of functions
	accessLog                               awslogs.LogGroup
	api                                     awsapigateway.RestApi
	stages                                  map[string]awsapigateway.Stage
	redrive                                 *string // id of the mapping from usageGaveUp
}

// newStack makes the stack; asset is the directory of the functions' code.
func newStack(scope constructs.Construct, d deployment, asset string) *stack {
	props := &awscdk.StackProps{
		StackName:   &d.StackName,
		Description: jsii.String("Keyreeve: API keys for Amazon API Gateway"),
	}
	if d.CLICredentials {
		props.Synthesizer = awscdk.NewCliCredentialsStackSynthesizer(nil)
	}
	s := &stack{
		cdk: awscdk.NewStack(scope, &d.StackName, props), d: d,
		functions: map[string]awslambda.Function{}, logs: map[string]awslogs.LogGroup{}, stages: map[string]awsapigateway.Stage{},
	}
	s.makeTables()
	s.makePepper()
	s.makeQueues()
	s.makeBus()
	s.makeAccessLog()
	s.makeAPI()
	s.makeFunctions(asset)
	s.makeAuthorizersAndMethods()
	s.makeGatewayResponses()
	s.makeDomains()
	s.subscribeToKeys()
	s.subscribeToLogs()
	s.keepWhatUsageGivesUp()
	s.sweepEveryHour()
	s.subscribeToAlerts()
	s.makeAlarms()
	s.makeDashboard()
	s.makeOutputs()
	return s
}

// uses reports whether the function table's row is part of this installation: a function
// for routes is there if a route names it.
func (s *stack) uses(f *function) bool {
	return !f.routed || slices.Contains(s.d.Table.Functions(), f.name)
}

// lasting is what becomes of what nobody can make again: it stays when the stack goes.
func (s *stack) lasting() awscdk.RemovalPolicy {
	if s.d.Disposable {
		return awscdk.RemovalPolicy_DESTROY
	}
	return awscdk.RemovalPolicy_RETAIN
}

// texts are the pointers to strings that the CDK wants.
func texts(s ...string) *[]*string { return jsii.Strings(s...) }
