package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/keyreeve/keyreeve/pkg/config"
	"github.com/keyreeve/keyreeve/pkg/dynamo"
)

// awsCalls makes signed requests to AWS services of which one operation is used. The SDK's
// clients are for all operations of a service and would add 0.2 MB (API Gateway), 0.4 MB
// (EventBridge) and 0.7 MB (Lambda) to a binary that every function starts from. The
// signature is the SDK's.
type awsCalls struct {
	credentials aws.CredentialsProvider
	signer      *v4.Signer
	transport   http.RoundTripper // one round trip: a redirect would carry a signed request elsewhere
}

func newAWSCalls(cfg config.Config, t http.RoundTripper) awsCalls {
	return awsCalls{dynamo.Credentials(cfg), v4.NewSigner(), t}
}

// do signs req, whose body is given apart, and sends it once.
func (c awsCalls) do(ctx context.Context, service, region string, req *http.Request, body []byte) (*http.Response, error) {
	credentials, err := c.credentials.Retrieve(ctx)
	if err != nil {
		return nil, fmt.Errorf("credentials: %w", err)
	}
	sum := sha256.Sum256(body)
	if err := c.signer.SignHTTP(ctx, credentials, req, hex.EncodeToString(sum[:]), service, region, time.Now()); err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	return c.transport.RoundTrip(req)
}

// awsRequest is a request with a body that signatures can be made of.
func awsRequest(ctx context.Context, method, url string, body []byte) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	return req, nil
}

// awsEndpoint is where a service is in a region, without a slash at its end: override if
// that is not empty (https://docs.aws.amazon.com/general/latest/gr/rande.html; China's
// regions have a domain of their own).
func awsEndpoint(service, region, override string) string {
	if override != "" {
		return strings.TrimSuffix(override, "/")
	}
	domain := "amazonaws.com"
	if strings.HasPrefix(region, "cn-") {
		domain += ".cn"
	}
	return "https://" + service + "." + region + "." + domain
}

// awsError is the type of a service's refusal, or its status where that is no plain word:
// a message could quote the request.
func awsError(res *http.Response, kind string) string {
	if kind == "" {
		kind = res.Header.Get("X-Amzn-Errortype")
	}
	kind, _, _ = strings.Cut(kind, ":")
	if i := strings.LastIndexByte(kind, '#'); i >= 0 { // "com.amazonaws.events#InternalException"
		kind = kind[i+1:]
	}
	letter := func(c rune) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }
	if kind == "" || strings.TrimFunc(kind, letter) != "" || len(kind) > 64 {
		return fmt.Sprintf("status %d", res.StatusCode)
	}
	return kind
}
