package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/keyreeve/keyreeve/pkg/config"
	"github.com/keyreeve/keyreeve/pkg/flush"
)

var _ flush.Cache = (*stageCache)(nil)

// stageCache is API Gateway's own cache of authorizers' policies.
type stageCache struct {
	calls                 awsCalls
	api, endpoint, region string // api: id of the REST API
}

func newStageCache(cfg config.Config) *stageCache {
	return &stageCache{
		newAWSCalls(cfg, http.DefaultTransport), cfg.RestAPIID, awsEndpoint("apigateway", cfg.Region, cfg.APIGatewayEndpoint), cfg.Region,
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

// Flush implements flush.Cache: FlushStageAuthorizersCache
// (https://docs.aws.amazon.com/apigateway/latest/api/API_FlushStageAuthorizersCache.html).
func (c *stageCache) Flush(ctx context.Context, stage string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	target := c.endpoint + "/restapis/" + url.PathEscape(c.api) + "/stages/" + url.PathEscape(stage) + "/cache/authorizers"
	req, err := awsRequest(ctx, http.MethodDelete, target, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	res, err := c.calls.do(ctx, "apigateway", c.region, req, nil)
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
	return fmt.Errorf("FlushStageAuthorizersCache: %s", awsError(res, ""))
}
