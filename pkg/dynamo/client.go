package dynamo

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/keyreeve/keyreeve/pkg/config"
)

// What a client is tuned to. A Lambda process serves one request at a time and is frozen
// in between, so connections are few and may be dead when it thaws.
const (
	dialTimeout = 1 * time.Second
	// idleTimeout lets a thawed process drop connections that the server has closed
	// meanwhile (net/http compares wall clocks here) instead of failing a request on one.
	idleTimeout = 30 * time.Second
	// maxIdle serves the batches of a list, and the tests' goroutines.
	maxIdle = 64

	readAttempts = 3
	readBackoff  = 100 * time.Millisecond // longest wait between two of them
)

// NewClient returns a client made by hand from c: no search for profiles, no metadata
// service, nothing linked for them (package aws-sdk-go-v2/config costs a third of the
// start). Reads are attempted up to three times. Every write of this package sets its own
// rule: see [Keys.Commit] and [Meters].
func NewClient(c config.Config, with ...func(*dynamodb.Options)) *dynamodb.Client {
	o := dynamodb.Options{
		Region: c.Region,
		// The role's credentials last as long as the process that Lambda gave them to.
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{
				AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey,
				SessionToken: c.SessionToken, Source: "environment",
			}, nil
		}),
		HTTPClient: httpClient(c.StoreTimeout),
		Retryer: retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts = readAttempts
			o.MaxBackoff = readBackoff
		}),
	}
	if c.DynamoDBEndpoint != "" {
		o.BaseEndpoint = aws.String(c.DynamoDBEndpoint)
	}
	return dynamodb.New(o, with...)
}

// httpClient gives up on one attempt at half of the time that all may take, so that a
// connection into nowhere leaves time for another one.
func httpClient(storeTimeout time.Duration) *http.Client {
	if storeTimeout <= 0 {
		storeTimeout = defaultTimeout
	}
	dialer := &net.Dialer{Timeout: min(dialTimeout, storeTimeout/2), KeepAlive: 15 * time.Second}
	return &http.Client{
		Transport: &http.Transport{
			DialContext:           dialer.DialContext,
			TLSHandshakeTimeout:   dialTimeout,
			ResponseHeaderTimeout: storeTimeout / 2,
			IdleConnTimeout:       idleTimeout,
			MaxIdleConns:          maxIdle,
			MaxIdleConnsPerHost:   maxIdle,
		},
		// DynamoDB never redirects; a redirect would carry a signed request elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// defaultTimeout bounds one call where the configuration says nothing.
const defaultTimeout = 2 * time.Second
