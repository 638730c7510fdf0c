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
	defaultTimeout = 2 * time.Second // of one call, where the configuration says nothing
	dialTimeout    = 1 * time.Second
	// idleTimeout lets a thawed process drop connections that the server has closed
	// meanwhile (net/http compares wall clocks here) instead of failing a request on one.
	idleTimeout = 30 * time.Second
	// maxIdle serves the batches of a list, and the tests' goroutines.
	maxIdle = 64

	attempts       = 3 // of what may be repeated
	longestBackoff = 100 * time.Millisecond

	batchGet = 100 // items that one BatchGetItem takes
)

// NewClient returns a client made by hand from c: no search for profiles, no metadata
// service, and nothing linked for them. It attempts three times what may be repeated:
// reads, and writes that are the same when they are done twice. The others of this
// package are attempted [once].
func NewClient(c config.Config, with ...func(*dynamodb.Options)) *dynamodb.Client {
	o := dynamodb.Options{
		Region:      c.Region,
		Credentials: Credentials(c),
		HTTPClient:  httpClient(c.StoreTimeout),
		Retryer: retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts, o.MaxBackoff = attempts, longestBackoff
			// A single write gives way to a transaction on its item; it has not been applied.
			o.Retryables = append(o.Retryables, retry.RetryableErrorCode{
				Codes: map[string]struct{}{codeTransactionConflict: {}},
			})
		}),
	}
	if c.DynamoDBEndpoint != "" {
		o.BaseEndpoint = aws.String(c.DynamoDBEndpoint)
	}
	return dynamodb.New(o, with...)
}

// Credentials are the role's, which last as long as the process that Lambda gave them to.
func Credentials(c config.Config) aws.CredentialsProvider {
	return aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{
			AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey,
			SessionToken: c.SessionToken, Source: "environment",
		}, nil
	})
}

// once keeps the SDK from repeating a write: a second attempt would find what the first
// one has done, or do it twice.
func once(o *dynamodb.Options) { o.Retryer = aws.NopRetryer{} }

// httpClient gives up on one attempt at half of the time that all may take, so that a
// connection into nowhere leaves time for another one.
func httpClient(timeout time.Duration) *http.Client {
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	dialer := &net.Dialer{Timeout: min(dialTimeout, timeout/2)}
	return &http.Client{
		Transport: &http.Transport{
			DialContext:           dialer.DialContext,
			TLSHandshakeTimeout:   min(dialTimeout, timeout/2),
			ResponseHeaderTimeout: timeout / 2,
			IdleConnTimeout:       idleTimeout,
			MaxIdleConns:          maxIdle,
			MaxIdleConnsPerHost:   maxIdle,
		},
		// DynamoDB never redirects; a redirect would carry a signed request elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
