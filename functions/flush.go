package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/keyreeve/keyreeve/pkg/config"
	"github.com/keyreeve/keyreeve/pkg/dynamo"
	"github.com/keyreeve/keyreeve/pkg/flush"
)

var _ flush.Cache = (*stageCache)(nil)

// stageCache is API Gateway's own cache of authorizers' policies. Its one call is signed
// here: the service's client would make the binary 220 KB larger, this makes it 8 KB.
type stageCache struct {
	api, endpoint, region string // api: id of the REST API
	credentials           aws.CredentialsProvider
	signer                *v4.Signer
	client                *http.Client
}

func newStageCache(cfg config.Config) *stageCache {
	endpoint := cfg.APIGatewayEndpoint
	if endpoint == "" {
		endpoint = "https://apigateway." + cfg.Region + ".amazonaws.com"
		if strings.HasPrefix(cfg.Region, "cn-") { // https://docs.aws.amazon.com/general/latest/gr/apigateway.html, and China's
			endpoint += ".cn"
		}
	}
	return &stageCache{
		api: cfg.RestAPIID, endpoint: strings.TrimSuffix(endpoint, "/"), region: cfg.Region,
		credentials: dynamo.Credentials(cfg), signer: v4.NewSigner(),
		// A redirect would carry a signed request elsewhere.
		client: &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
}

// flusher empties the caches of this installation's stages, if it is told of which API.
func (w *wiring) flusher() *flush.Flusher {
	c := flush.Config{Shared: w.cfg.Settings.SharedStage, Log: w.log}
	if w.cfg.RestAPIID != "" {
		c.Cache = newStageCache(w.cfg)
	}
	return flush.New(c)
}

// callTimeout bounds one call, which takes some 50 ms.
const callTimeout = 5 * time.Second

// emptyBody is the SHA-256 of no bytes, which a signature covers.
const emptyBody = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// Flush implements flush.Cache: FlushStageAuthorizersCache
// (https://docs.aws.amazon.com/apigateway/latest/api/API_FlushStageAuthorizersCache.html).
func (c *stageCache) Flush(ctx context.Context, stage string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	target := c.endpoint + "/restapis/" + url.PathEscape(c.api) + "/stages/" + url.PathEscape(stage) + "/cache/authorizers"
	req, err := http.NewRequestWithContext(ctx, http.MethodDelete, target, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	credentials, err := c.credentials.Retrieve(ctx)
	if err != nil {
		return err
	}
	if err := c.signer.SignHTTP(ctx, credentials, req, emptyBody, "apigateway", c.region, time.Now()); err != nil {
		return err
	}
	res, err := c.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10)) // so that the connection can be used again
	switch res.StatusCode {
	case http.StatusAccepted:
		return nil
	case http.StatusTooManyRequests: // TooManyRequestsException, LimitExceededException
		return flush.ErrThrottled
	}
	kind, _, _ := strings.Cut(res.Header.Get("x-amzn-ErrorType"), ":")
	return fmt.Errorf("FlushStageAuthorizersCache: status %d %.100q", res.StatusCode, kind)
}
