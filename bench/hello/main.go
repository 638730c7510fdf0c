// Command hello is the least authorizer that does anything, written as AWS's own examples
// are: typed event, reflection JSON both ways, an Allow for whoever asks. It is the unit
// that package bench measures the real one in.
package main

import (
	"context"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
)

func authorize(_ context.Context, e events.APIGatewayCustomAuthorizerRequestTypeRequest) (events.APIGatewayCustomAuthorizerResponse, error) {
	return events.APIGatewayCustomAuthorizerResponse{
		PrincipalID: e.Headers["X-API-Key"][:4],
		PolicyDocument: events.APIGatewayCustomAuthorizerPolicy{
			Version: "2012-10-17",
			Statement: []events.IAMPolicyStatement{{
				Action: []string{"execute-api:Invoke"}, Effect: "Allow", Resource: []string{e.MethodArn},
			}},
		},
		Context: map[string]any{"accountId": "acct"},
	}, nil
}

func main() { lambda.Start(authorize) }
