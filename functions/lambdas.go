package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/keyreeve/keyreeve/functions/forward"
	"github.com/keyreeve/keyreeve/pkg/config"
	"github.com/keyreeve/keyreeve/pkg/dynamo"
)

var _ forward.Invoker = (*lambdas)(nil)

// lambdas invokes Lambda functions. It is one signed request
// (https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html), made by hand: the SDK's
// client for all of Lambda would add 0.7 MB to a binary that every function starts from.
type lambdas struct {
	transport   http.RoundTripper
	signer      *v4.Signer
	credentials aws.CredentialsProvider
	endpoint    string // that replaces AWS's own
}

func newLambdas(cfg config.Config) *lambdas {
	return &lambdas{forward.NewTransport(), v4.NewSigner(), dynamo.Credentials(cfg), strings.TrimSuffix(cfg.LambdaEndpoint, "/")}
}

// maxOutput is more than any output of a function, in bytes.
const maxOutput = 7 << 20

// Invoke implements forward.Invoker. It is not repeated, whatever happens: nobody knows
// whether the function ran.
func (l *lambdas) Invoke(ctx context.Context, arn string, event []byte) (output []byte, failed bool, err error) {
	region, base := l.place(arn)
	// The SDK escapes the colons of an ARN, and signatures are about the path as it is sent.
	name := strings.NewReplacer(":", "%3A", "$", "%24").Replace(url.PathEscape(arn))
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/2015-03-31/functions/"+name+"/invocations", bytes.NewReader(event))
	if err != nil {
		return nil, false, fmt.Errorf("making the request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Amz-Invocation-Type", "RequestResponse")
	credentials, err := l.credentials.Retrieve(ctx)
	if err != nil {
		return nil, false, fmt.Errorf("credentials: %w", err)
	}
	sum := sha256.Sum256(event)
	if err := l.signer.SignHTTP(ctx, credentials, req, hex.EncodeToString(sum[:]), "lambda", region, time.Now()); err != nil {
		return nil, false, fmt.Errorf("signing: %w", err)
	}
	res, err := l.transport.RoundTrip(req) // no redirect would be followed with a signature on it
	if err != nil {
		return nil, false, err
	}
	defer res.Body.Close()
	output, err = io.ReadAll(io.LimitReader(res.Body, maxOutput))
	switch {
	case err != nil:
		return nil, false, err
	case res.StatusCode != http.StatusOK:
		return nil, false, &forward.InvokeError{Code: errorCode(res)}
	}
	return output, res.Header.Get("X-Amz-Function-Error") != "", nil
}

// place is where a function is: the region that requests are signed for, and the endpoint's
// URL.
func (l *lambdas) place(arn string) (region, base string) {
	parts := strings.SplitN(arn, ":", 5) // the route table's loader has checked the form
	region = parts[3]
	if l.endpoint != "" {
		return region, l.endpoint
	}
	domain := "amazonaws.com"
	if parts[1] == "aws-cn" {
		domain = "amazonaws.com.cn"
	}
	return region, "https://lambda." + region + "." + domain
}

// errorCode is the type of Lambda's refusal, or its status where that is no plain word.
func errorCode(res *http.Response) string {
	code, _, _ := strings.Cut(res.Header.Get("X-Amzn-Errortype"), ":")
	letter := func(c rune) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }
	if code == "" || strings.TrimFunc(code, letter) != "" || len(code) > 64 {
		return fmt.Sprintf("status %d", res.StatusCode)
	}
	return code
}
