package main

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambda"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslogs"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssqs"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"

	"github.com/keyreeve/keyreeve/pkg/config"
	"github.com/keyreeve/keyreeve/pkg/dynamo"
	"github.com/keyreeve/keyreeve/pkg/route"
)

// Functions that more than their row is about.
const (
	authorizerFunction = "authorizer"
	sampleFunction     = "sample"
	streamFunction     = "stream"
	adminFunction      = "admin"
	keysFunction       = "keys"
	usageFunction      = "usage"
	notifyFunction     = "notify"
	flushFunction      = "flush"
	consoleFunction    = "console"
	forwardFunction    = route.Forward
)

// function is a row of the function table: what functions/functions.go has under the same
// name, with what it needs around it.
type function struct {
	name   string // Lambda's handler, by which the binary knows what it is
	does   string
	routed bool // routes may name it
	// memoryMB also decides how much of a CPU there is: a whole one at 1,769 MB
	// (https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html).
	memoryMB int
	// timeout in seconds. API Gateway waits for 29.
	timeout int
	calls   func(*stack) []grant // everything that its code calls
}

// functions is the function table of an installation. Requests wait for the first five,
// which get the CPU for a quick start; the timeouts leave room for the stores' own (2 s a
// call, repeats included) and for the repeats of a change that loses races.
var functions = []function{
	{
		name: authorizerFunction, does: "Says what the key of a request may do", memoryMB: 512, timeout: int(config.AuthorizerTimeout / time.Second),
		calls: func(s *stack) []grant { return []grant{s.readKey(), s.redigest(), s.readPeppers()} },
	},
	{
		name: keysFunction, does: "Lists, creates, changes and revokes keys, and shows their use", routed: true, memoryMB: 512, timeout: 20,
		calls: func(s *stack) []grant {
			return append([]grant{
				// Lists are a Query, names a BatchGetItem, changes a transaction of the other four,
				// whose outcome a GetItem or PutItem settles if the answer is lost.
				{"Keys", actions("dynamodb", "GetItem", "BatchGetItem", "Query", "PutItem", "UpdateItem", "ConditionCheckItem"), s.keys.TableArn(), nil},
				// A key's meter is put with it, counts this function's own requests, and is read
				// for the list.
				{"Meters", actions("dynamodb", "PutItem", "UpdateItem", "GetItem", "BatchGetItem"), s.meters.TableArn(), nil},
				{"ShowUsage", actions("dynamodb", "Query", "BatchGetItem"), s.usage.TableArn(), nil},
				{"Alerts", actions("dynamodb", "GetItem", "Query", "PutItem", "UpdateItem", "DeleteItem"), s.alerts.TableArn(), nil},
				s.readPeppers(),
			}, s.flush()...)
		},
	},
	{
		name: sampleFunction, does: "The sample API: replace it by your own", routed: true, memoryMB: 512, timeout: 15,
		calls: func(s *stack) []grant {
			return append(s.guard(),
				grant{"Documents", actions("dynamodb", "GetItem", "BatchGetItem", "Query", "PutItem", "DeleteItem"), s.sample.TableArn(), nil})
		},
	},
	{
		// It waits most of the time. What it has in memory is a request and an answer of 6 MB
		// each, some in two forms; it tells that an upstream is late half a second before its
		// own end.
		name: forwardFunction, does: "Hands requests on to the upstreams of the route table", routed: true, memoryMB: 512, timeout: 29,
		calls: func(s *stack) []grant {
			grants := s.guard()
			for i, arn := range s.d.Table.Lambdas() {
				grants = append(grants, grant{fmt.Sprint("InvokeUpstream", i+1), actions("lambda", "InvokeFunction"), &arn, nil})
			}
			return grants
		},
	},
	{
		// Its files are in the binary; it calls nothing.
		name: consoleFunction, does: "Serves the files of the console", routed: true, memoryMB: 512, timeout: 10,
		calls: func(*stack) []grant { return nil },
	},
	{
		name: streamFunction, does: "Repairs the meters that a crash left behind their keys, and flushes cached policies", memoryMB: 256, timeout: 60,
		calls: func(s *stack) []grant {
			return append([]grant{
				s.readKey(),
				{"SettleMeters", actions("dynamodb", "UpdateItem"), s.meters.TableArn(), nil},
				pollStream(s.keys),
				giveUp(s.streamGaveUp),
			}, s.flush()...)
		},
	},
	{
		// Mostly it waits, for as long as the authorizer may work, and then makes a call.
		name: flushFunction, does: "Flushes cached policies again when no authorizer can be behind a change", memoryMB: 128, timeout: 60,
		calls: func(s *stack) []grant {
			return append([]grant{pollStream(s.keys), giveUp(s.streamGaveUp)}, s.flush()...)
		},
	},
	{
		name: usageFunction, does: "Counts requests by the lines of the logs, and raises alerts", memoryMB: 512, timeout: usageTimeout,
		calls: func(s *stack) []grant {
			return []grant{
				{"CountUsage", actions("dynamodb", "BatchGetItem", "PutItem", "UpdateItem"), s.usage.TableArn(), nil},
				{"RaiseAlerts", actions("dynamodb", "BatchGetItem", "PutItem", "UpdateItem"), s.alerts.TableArn(), nil},
				s.directory("FindOwner", "GetItem"),
				s.directory("SweepKeys", "Scan"),
				{"SecondWitness", actions("dynamodb", "BatchGetItem"), s.meters.TableArn(), nil},
				giveUp(s.usageGaveUp),
				{"Redrive", actions("sqs", "ReceiveMessage", "DeleteMessage", "GetQueueAttributes"), s.usageGaveUp.QueueArn(), nil},
			}
		},
	},
	{
		name: notifyFunction, does: "Delivers alerts to the event bus and to webhooks", memoryMB: 256, timeout: 60,
		calls: func(s *stack) []grant {
			return []grant{
				{"Deliveries", actions("dynamodb", "GetItem", "Query", "PutItem", "UpdateItem", "DeleteItem"), s.alerts.TableArn(), nil},
				s.readPeppers(),
				{"PublishAlerts", actions("events", "PutEvents"), s.bus.EventBusArn(), nil},
				pollStream(s.alerts),
				giveUp(s.notifyGaveUp),
			}
		},
	},
	{
		name: adminFunction, does: "Makes accounts and root keys, rotates the pepper; who may invoke it, IAM decides", memoryMB: 256, timeout: 60,
		calls: func(s *stack) []grant {
			return []grant{
				{"Keys", actions("dynamodb", "GetItem", "PutItem", "UpdateItem"), s.keys.TableArn(), nil},
				{"NewMeter", actions("dynamodb", "PutItem"), s.meters.TableArn(), nil},
				s.readPeppers(),
				{"RotatePepper", actions("secretsmanager", "PutSecretValue"), s.pepper.SecretArn(), nil},
			}
		},
	},
}

// grant is a statement of a role: actions on one resource.
type grant struct {
	sid        string
	actions    []string
	resource   *string
	conditions map[string]any
}

func actions(service string, names ...string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = service + ":" + n
	}
	return out
}

// keyItemsOnly holds a grant on the keys table to key items: no accounts, no audit rows,
// no idempotency records.
var keyItemsOnly = map[string]any{"dynamodb:LeadingKeys": []string{keyItems + "*"}}

func (s *stack) readKey() grant {
	return grant{"ReadKey", actions("dynamodb", "GetItem"), s.keys.TableArn(), map[string]any{"ForAllValues:StringLike": keyItemsOnly}}
}

// guard is what every function behind the guard calls.
func (s *stack) guard() []grant {
	return []grant{
		s.readKey(),
		{"CountRequest", actions("dynamodb", "UpdateItem", "GetItem"), s.meters.TableArn(), nil}, // the read proves a leased request
	}
}

// redigest lets the authorizer write the two attributes that a re-digest replaces, and
// none else. The item's own keys are among the attributes of a request
// (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/specifying-conditions.html);
// and without the condition on ReturnValues the answer could show all the others.
func (s *stack) redigest() grant {
	return grant{"Redigest", actions("dynamodb", "UpdateItem"), s.keys.TableArn(), map[string]any{
		"ForAllValues:StringLike": keyItemsOnly,
		"ForAllValues:StringEquals": map[string]any{"dynamodb:Attributes": []string{
			dynamo.PartitionKey, dynamo.SortKey, dynamo.DigestAttribute, dynamo.PepperAttribute,
		}},
		"StringEqualsIfExists": map[string]any{"dynamodb:ReturnValues": []string{"NONE"}},
	}}
}

// directory lets a function see whose keys are and how they stand, and none of their
// digests. Select is what a request would differ in that names no attribute and so gets
// them all
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_examples_dynamodb_attributes.html).
func (s *stack) directory(sid, action string) grant {
	return grant{sid, actions("dynamodb", action), s.keys.TableArn(), map[string]any{
		"ForAllValues:StringEquals": map[string]any{"dynamodb:Attributes": dynamo.DirectoryAttributes()},
		"StringEqualsIfExists":      map[string]any{"dynamodb:Select": "SPECIFIC_ATTRIBUTES"},
	}}
}

// flush lets a function empty the authorizers' caches, of this API's stages alone
// (https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonapigatewaymanagement.html).
func (s *stack) flush() (grants []grant) {
	for _, stage := range s.d.stages() {
		resource := "arn:" + *s.cdk.Partition() + ":apigateway:" + *s.cdk.Region() + "::/restapis/" + *s.api.RestApiId() +
			"/stages/" + stage + "/cache/authorizers"
		grants = append(grants, grant{"Flush" + title(stage), actions("apigateway", "DELETE"), &resource, nil})
	}
	return grants
}

// giveUp lets Lambda, which works with the function's role here too, put into a queue what
// the function could not do.
func giveUp(queue awssqs.Queue) grant {
	return grant{"GiveUp", actions("sqs", "SendMessage"), queue.QueueArn(), nil}
}

func (s *stack) readPeppers() grant {
	return grant{"ReadPeppers", actions("secretsmanager", "GetSecretValue"), s.pepper.SecretArn(), nil}
}

// makeFunctions makes the functions, each with its role and its log group.
func (s *stack) makeFunctions(asset string) {
	code := awslambda.Code_FromAsset(&asset, nil)
	for i := range functions {
		if f := &functions[i]; s.uses(f) {
			s.functions[f.name] = s.function(f, code)
		}
	}
}

func (s *stack) function(f *function, code awslambda.Code) awslambda.Function {
	// Role, log group and function stand together in the tree; "Default" gives the function
	// the name of them all.
	scope := constructs.NewConstruct(s.cdk, jsii.String(title(f.name)+"Function"))
	log := s.logGroup(scope, "Log")
	s.logs[f.name] = log
	architecture := awslambda.Architecture_ARM_64()
	if s.d.Arch == "x86_64" {
		architecture = awslambda.Architecture_X86_64()
	}
	fn := awslambda.NewFunction(scope, jsii.String("Default"), &awslambda.FunctionProps{
		Description:  &f.does,
		Code:         code,
		Handler:      &f.name,
		Runtime:      awslambda.Runtime_PROVIDED_AL2023(),
		Architecture: architecture,
		MemorySize:   jsii.Number(f.memoryMB),
		Timeout:      awscdk.Duration_Seconds(jsii.Number(f.timeout)),
		Environment:  s.environment(f),
		LogGroup:     log,
		// The role is finished: nothing that the CDK thinks of adds to it.
		Role: s.role(scope, f, log).WithoutPolicyUpdates(nil),
	})
	// The CDK has the function wait for its role's policies, which here are in the role.
	resource(fn).AddDeletionOverride(jsii.String("DependsOn"))
	waive(fn,
		waiver{"CKV_AWS_115", "a reserve would be taken from the account's other functions; the stages are throttled instead"},
		waiver{"CKV_AWS_116", "whoever invokes it waits for the answer; what streams and logs bring and fails goes to queues"},
		waiver{"CKV_AWS_117", "it talks to AWS's public endpoints alone; a VPC would add endpoints at 7 USD a month each"},
		waiver{"CKV_AWS_173", "no secret is in the environment"},
	)
	return fn
}

// environment is what pkg/config reads.
func (s *stack) environment(f *function) *map[string]*string {
	if f.name == consoleFunction {
		return nil
	}
	env := map[string]*string{
		"KEYS_TABLE":        s.keys.TableName(),
		"METERS_TABLE":      s.meters.TableName(),
		"PEPPER_SECRET":     s.pepper.SecretArn(),
		"KEYREEVE_SETTINGS": &s.d.SettingsJSON,
	}
	switch f.name {
	case keysFunction, streamFunction, flushFunction:
		env["REST_API_ID"] = s.api.RestApiId()
	}
	switch f.name {
	case keysFunction:
		env["USAGE_TABLE"], env["ALERTS_TABLE"] = s.usage.TableName(), s.alerts.TableName()
	case sampleFunction:
		env["SAMPLE_TABLE"] = s.sample.TableName()
	case usageFunction:
		env["USAGE_TABLE"], env["ALERTS_TABLE"] = s.usage.TableName(), s.alerts.TableName()
		env["METRICS_NAMESPACE"] = s.namespace()
	case notifyFunction:
		env["ALERTS_TABLE"], env["EVENT_BUS"] = s.alerts.TableName(), s.bus.EventBusName()
		env["METRICS_NAMESPACE"] = s.namespace()
	}
	if s.d.RoutesJSON != nil {
		env["ROUTES_FILE"] = jsii.String(routesFile) // Lambda starts a function in its code's directory
	}
	return &env
}

// role makes the role of one function. All that it may do is in it from the start, so
// that no function runs for a moment without.
func (s *stack) role(scope constructs.Construct, f *function, log awslogs.ILogGroup) awsiam.Role {
	grants := append(f.calls(s), grant{"WriteLog", actions("logs", "CreateLogStream", "PutLogEvents"), log.LogGroupArn(), nil})
	var statements []awsiam.PolicyStatement
	for _, g := range grants {
		statements = append(statements, awsiam.NewPolicyStatement(&awsiam.PolicyStatementProps{
			Sid: &g.sid, Actions: texts(g.actions...), Resources: &[]*string{g.resource}, Conditions: &g.conditions,
		}))
	}
	r := awsiam.NewRole(scope, jsii.String("Role"), &awsiam.RoleProps{
		Description: jsii.String("What Keyreeve's function " + f.name + " calls"),
		AssumedBy:   awsiam.NewServicePrincipal(jsii.String("lambda.amazonaws.com"), nil),
		InlinePolicies: &map[string]awsiam.PolicyDocument{
			"Calls": awsiam.NewPolicyDocument(&awsiam.PolicyDocumentProps{Statements: &statements}),
		},
	})
	wildcard(r, "the streams of the function's own log group, which Lambda names")
	return r
}

// deployed lists the names of the functions that there are, sorted.
func (s *stack) deployed() []string { return slices.Sorted(maps.Keys(s.functions)) }

// waitedFor lists the functions that the API's requests wait for: the authorizer, and those
// behind a guard.
func (s *stack) waitedFor() []string { return append([]string{authorizerFunction}, s.behindGuard()...) }

// behindGuard lists the functions behind routes but the console's, which serves files to a
// browser now and then: it refuses nothing that usage would count, and if it fails the
// alarm on the API's 5xx and its errors on the dashboard show it.
func (s *stack) behindGuard() []string {
	return slices.DeleteFunc(s.d.Table.Functions(), func(name string) bool { return name == consoleFunction })
}

// title makes a construct's id of a function's name.
func title(name string) string { return string(name[0]-'a'+'A') + name[1:] }
