package main

import (
	"slices"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsapigateway"
	"github.com/aws/jsii-runtime-go"
)

// makeAPI makes the REST API with its stages; methods, authorizers and gateway responses
// are added to it by the other files, and become part of its deployment. All stages serve
// the same deployment: what tells them apart is the stage variable "environment".
func (s *stack) makeAPI() {
	p := &awsapigateway.RestApiProps{
		RestApiName: &s.d.StackName, // CloudWatch's metrics go by it, so it must be the stack's own
		Description: jsii.String("Everything behind API keys; the routes are those of the route table"),
		EndpointConfiguration: &awsapigateway.EndpointConfiguration{
			Types: &[]awsapigateway.EndpointType{awsapigateway.EndpointType_REGIONAL},
		},
		DeployOptions: s.stageOptions(production),
		// API Gateway has one role for all logs of an account and region. It stays when the
		// stack goes, since other APIs may have come to need it.
		CloudWatchRole: &s.d.AccountLogRole,
	}
	if types := s.d.Table.BinaryMediaTypes(); types != nil {
		p.BinaryMediaTypes = texts(types...)
	}
	if size := s.d.Table.CompressFrom(); size > 0 {
		p.MinCompressionSize = awscdk.Size_Bytes(jsii.Number(size))
	}
	if s.d.AccountLogRole {
		p.CloudWatchRoleRemovalPolicy = s.lasting()
	}
	s.api = awsapigateway.NewRestApi(s.cdk, jsii.String("Api"), p)
	if s.d.AccountLogRole {
		wildcard(s.api.Node().FindChild(jsii.String("CloudWatchRole")),
			"AWS's own policy for this one role: the role serves every API of the account, and API Gateway takes no narrower one")
	}
	s.api.Node().TryRemoveChild(jsii.String("Endpoint")) // an output of the CDK's; outputs.go has one for each stage
	s.stages[production] = s.api.DeploymentStage()
	for _, name := range s.d.stages()[1:] {
		o := s.stageOptions(name)
		s.stages[name] = awsapigateway.NewStage(s.cdk, jsii.String(title(name)+"Stage"), &awsapigateway.StageProps{
			Deployment: s.api.LatestDeployment(), StageName: o.StageName, Variables: o.Variables,
			AccessLogDestination: o.AccessLogDestination, AccessLogFormat: o.AccessLogFormat,
			ThrottlingRateLimit: o.ThrottlingRateLimit, ThrottlingBurstLimit: o.ThrottlingBurstLimit,
			LoggingLevel: o.LoggingLevel, DataTraceEnabled: o.DataTraceEnabled, MetricsEnabled: o.MetricsEnabled,
		})
	}
	for _, name := range s.d.stages() {
		waive(s.stages[name],
			waiver{"CKV_AWS_120", "answers of a key's holder are nobody else's: no cache"},
			waiver{"CKV_AWS_73", "traces cost by the request; the access log has the latency of each part"},
		)
	}
}

func (s *stack) stageOptions(name string) *awsapigateway.StageOptions {
	t := s.d.Throttle[name]
	format := accessLogFormat()
	return &awsapigateway.StageOptions{
		StageName:            &name,
		Variables:            &map[string]*string{"environment": &name}, // how a function learns its stage
		AccessLogDestination: awsapigateway.NewLogGroupLogDestination(s.accessLog),
		AccessLogFormat:      awsapigateway.AccessLogFormat_Custom(&format),
		ThrottlingRateLimit:  jsii.Number(t.Rate),
		ThrottlingBurstLimit: jsii.Number(t.Burst),
		// Execution logs would hold headers and bodies, so keys.
		LoggingLevel: awsapigateway.MethodLoggingLevel_OFF, DataTraceEnabled: jsii.Bool(false),
		MetricsEnabled: jsii.Bool(false), // by method they cost; by stage they are there anyway
	}
}

// method is a method of the API, as the route table has it.
type method struct {
	path, method, function string
	authorizer             string // identity source header; empty: public
}

// methods lists what the API serves besides OPTIONS.
func (d *deployment) methods() []method {
	var out []method
	for _, r := range d.Table.Routes() {
		out = append(out, method{path: r.Path, method: r.Method, function: r.Function, authorizer: string(r.Credential)})
	}
	return out
}

// preflight is what OPTIONS on a resource answers.
type preflight struct {
	path    string
	methods []string
}

// preflights lists the resources that answer OPTIONS: all that have a method, unless no
// origin may call. The methods are those that a request to such a path may end up with.
func (d *deployment) preflights() []preflight {
	var out []preflight
	if len(d.Settings.CORSOrigins) == 0 {
		return nil
	}
	for _, m := range d.methods() {
		if len(out) == 0 || out[len(out)-1].path != m.path {
			methods := append(d.Table.MethodsFor(m.path), "OPTIONS")
			slices.Sort(methods)
			out = append(out, preflight{m.path, methods})
		}
	}
	return out
}
