package main

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/keyreeve/keyreeve/functions/forward"
	"github.com/keyreeve/keyreeve/pkg/config"
)

var _ forward.Invoker = (*lambdas)(nil)

// lambdas invokes Lambda functions
// (https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html).
type lambdas struct {
	calls    awsCalls
	endpoint string // that replaces AWS's own
}

func newLambdas(cfg config.Config) *lambdas {
	return &lambdas{newAWSCalls(cfg, forward.NewTransport()), cfg.LambdaEndpoint}
}

// maxOutput is more than any output of a function, in bytes.
const maxOutput = 7 << 20

// Invoke implements forward.Invoker. It is not repeated, whatever happens: nobody knows
// whether the function ran.
func (l *lambdas) Invoke(ctx context.Context, arn string, event []byte) (output []byte, failed bool, err error) {
	region := strings.SplitN(arn, ":", 5)[3] // the route table's loader has checked the form
	base := awsEndpoint("lambda", region, l.endpoint)
	// The SDK escapes the colons of an ARN, and signatures are about the path as it is sent.
	name := strings.NewReplacer(":", "%3A", "$", "%24").Replace(url.PathEscape(arn))
	req, err := awsRequest(ctx, http.MethodPost, base+"/2015-03-31/functions/"+name+"/invocations", event)
	if err != nil {
		return nil, false, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Amz-Invocation-Type", "RequestResponse")
	res, err := l.calls.do(ctx, "lambda", region, req, event)
	if err != nil {
		return nil, false, err
	}
	defer res.Body.Close()
	output, err = io.ReadAll(io.LimitReader(res.Body, maxOutput))
	switch {
	case err != nil:
		return nil, false, err
	case res.StatusCode != http.StatusOK:
		return nil, false, &forward.InvokeError{Code: awsError(res, "")}
	}
	return output, res.Header.Get("X-Amz-Function-Error") != "", nil
}
