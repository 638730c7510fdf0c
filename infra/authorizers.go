package main

import (
	"slices"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsapigateway"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambda"
	"github.com/aws/jsii-runtime-go"

	"github.com/keyreeve/keyreeve/pkg/httpapi"
	"github.com/keyreeve/keyreeve/pkg/route"
)

// makeAuthorizersAndMethods makes a method for each route, behind the authorizer that its
// credential asks for.
func (s *stack) makeAuthorizersAndMethods() {
	// Two authorizers with the same function: API Gateway keeps an answer by all identity
	// sources at once, so one that has both headers would never find an answer again.
	authorizers := map[string]awsapigateway.IAuthorizer{
		string(route.APIKeyHeader):  s.authorizer("KeyAuthorizer", route.APIKeyHeader),
		string(route.Authorization): s.authorizer("AuthorizationAuthorizer", route.Authorization),
	}
	integrations := map[string]awsapigateway.Integration{}
	for _, name := range s.d.Table.Functions() {
		integrations[name] = s.integration(name)
	}
	for _, m := range s.d.methods() {
		o := &awsapigateway.MethodOptions{AuthorizationType: awsapigateway.AuthorizationType_NONE}
		if m.authorizer != "" {
			o = &awsapigateway.MethodOptions{
				AuthorizationType: awsapigateway.AuthorizationType_CUSTOM, Authorizer: authorizers[m.authorizer],
			}
		}
		made := s.api.Root().ResourceForPath(&m.path).AddMethod(&m.method, integrations[m.function], o)
		if m.authorizer == "" {
			waive(made, waiver{"CKV_AWS_59", "the route table says public"})
		}
	}
	for _, p := range s.d.preflights() {
		options := s.api.Root().ResourceForPath(&p.path).AddCorsPreflight(&awsapigateway.CorsOptions{
			AllowOrigins: texts(origins(s.d.Settings.CORSOrigins)...),
			AllowMethods: texts(p.methods...),
			AllowHeaders: texts(httpapi.AllowedHeaders),
			MaxAge:       awscdk.Duration_Seconds(jsii.Number(httpapi.PreflightSeconds)),
		})
		// Where every body is binary, so is that of OPTIONS, and a mock integration's template
		// cannot read it: API Gateway answers 500 (github.com/aws/chalice issue 1310).
		if s.d.Table.BinaryMediaTypes() != nil {
			resource(options).AddPropertyOverride(jsii.String("Integration.ContentHandling"), "CONVERT_TO_TEXT")
		}
	}
}

// integration hands requests to a function as they are, and lets the API invoke it.
func (s *stack) integration(name string) awsapigateway.Integration {
	f := s.functions[name]
	f.AddPermission(jsii.String("Api"), &awslambda.Permission{
		Principal: awsiam.NewServicePrincipal(jsii.String("apigateway.amazonaws.com"), nil),
		SourceArn: s.api.ArnForExecuteApi(jsii.String("*"), jsii.String("/*"), jsii.String("*")),
	})
	wildcard(f.Node().FindChild(jsii.String("Api")),
		"every method and stage of this one API: a statement for each would not fit a function's policy of 20 KB, and what a method calls is fixed by its integration")
	return awsapigateway.NewIntegration(&awsapigateway.IntegrationProps{
		Type:                  awsapigateway.IntegrationType_AWS_PROXY,
		IntegrationHttpMethod: jsii.String("POST"),
		Uri: jsii.String("arn:" + *s.cdk.Partition() + ":apigateway:" + *s.cdk.Region() +
			":lambda:path/2015-03-31/functions/" + *f.FunctionArn() + "/invocations"),
	})
}

// origins that may call; "*" makes the others pointless.
func origins(all []string) []string {
	if slices.Contains(all, "*") {
		return []string{"*"}
	}
	return all
}

// authorizer makes a REQUEST authorizer that finds the credential in one header. A
// request without that header gets 401 without a call of the function.
func (s *stack) authorizer(id string, header route.Credential) awsapigateway.IAuthorizer {
	return awsapigateway.NewRequestAuthorizer(s.cdk, &id, &awsapigateway.RequestAuthorizerProps{
		Handler:         s.functions[authorizerFunction],
		IdentitySources: texts("method.request.header." + string(header)),
		ResultsCacheTtl: awscdk.Duration_Seconds(jsii.Number(*s.d.Settings.AuthorizerCacheSeconds)),
	})
}
