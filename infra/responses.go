package main

import (
	"strconv"

	"github.com/aws/aws-cdk-go/awscdk/v2/awsapigateway"
	"github.com/aws/jsii-runtime-go"

	"github.com/keyreeve/keyreeve/pkg/httpapi"
)

// makeGatewayResponses makes what API Gateway answers by itself, in the error shape that
// functions have.
func (s *stack) makeGatewayResponses() {
	for _, r := range httpapi.GatewayResponses(s.d.Settings.CORSOrigins) {
		headers := map[string]*string{}
		for name, expression := range r.Header {
			headers[name] = &expression
		}
		p := &awsapigateway.GatewayResponseProps{
			RestApi:         s.api,
			Type:            awsapigateway.ResponseType_Of(&r.Type),
			ResponseHeaders: &headers,
			Templates:       &map[string]*string{"application/json": &r.Template},
		}
		if r.Status != 0 {
			p.StatusCode = jsii.String(strconv.Itoa(r.Status))
		}
		awsapigateway.NewGatewayResponse(s.cdk, jsii.String("Response"+r.Type), p)
	}
}
