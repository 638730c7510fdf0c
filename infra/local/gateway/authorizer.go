package gateway

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/keyreeve/keyreeve/infra/local/lambda"
	"github.com/keyreeve/keyreeve/pkg/policy"
	"github.com/keyreeve/keyreeve/pkg/route"
)

// grant is an authorizer's good result.
type grant struct {
	policy    *policy.Document
	principal string
	context   map[string]string
}

// authorize asks the route's authorizer, or the cache, and evaluates the policy.
func (g *Gateway) authorize(c *call) error {
	arn := g.methodARN(c)
	if len(arn) > maxARNBytes {
		return errURI
	}
	source := c.route.Credential
	if source == "" {
		source = route.APIKeyHeader
	}
	// "If a specified identity source is missing, null, or empty, API Gateway returns a 401
	// Unauthorized response without calling the authorizer Lambda function."
	// (https://docs.aws.amazon.com/apigateway/latest/developerguide/configure-api-gateway-lambda-authorization.html)
	credential := lastOf(c.request.Header, string(source))
	if credential == "" {
		return errUnauthorized
	}
	slot := cacheKey{stage: c.stage, authorizer: string(source), credential: sha256.Sum256([]byte(credential))}
	now := g.o.Clock()
	gr, cached := g.cache.get(slot, now)
	var latency time.Duration
	if !cached {
		var err error
		begun := time.Now()
		gr, err = g.ask(c)
		latency = time.Since(begun)
		c.entry.AuthorizerLatency = latency.Milliseconds()
		if err != nil {
			return err
		}
		if g.o.AuthorizerTTL > 0 {
			g.cache.put(slot, gr, now, now.Add(g.o.AuthorizerTTL))
		}
	}
	c.entry.AuthorizerCached = cached
	c.principal = gr.principal
	c.entry.let(gr.context)

	decision, err := gr.policy.Evaluate("execute-api:Invoke", arn, map[string]string{
		policy.CurrentTime: now.UTC().Format(time.RFC3339), policy.SourceIP: c.sourceIP,
	})
	switch {
	case err != nil:
		c.entry.Error = "authorizer: " + err.Error()
		return errAuthorizerConfiguration
	case !decision.Allowed && decision.Effect == "Deny":
		return errExplicitDeny
	case !decision.Allowed:
		return errDenied
	}
	c.authorizer = map[string]any{"principalId": gr.principal, "integrationLatency": latency.Milliseconds()}
	for name, value := range gr.context {
		c.authorizer[name] = value
	}
	return nil
}

// ask calls the authorizer function.
func (g *Gateway) ask(c *call) (grant, error) {
	event, err := g.authorizerEvent(c)
	if err != nil {
		return grant{}, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.request.Context()), g.o.IntegrationTimeout)
	defer cancel()
	g.asked.Add(1)
	payload, err := g.o.Invoke(ctx, g.o.Authorizer, event)
	var failed *lambda.FunctionError
	switch {
	// The exact text, as the example on
	// https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-use-lambda-authorizer.html has it.
	case errors.As(err, &failed) && failed.Message == "Unauthorized":
		return grant{}, errUnauthorized
	case err != nil:
		c.entry.Error = "authorizer: failed"
		if failed != nil {
			c.entry.Error = "authorizer: " + failed.Type
		}
		return grant{}, errAuthorizer
	}
	gr, err := parseGrant(payload)
	if err != nil {
		c.entry.Error = "authorizer: " + err.Error()
		return grant{}, errAuthorizerConfiguration
	}
	return gr, nil
}

// parseGrant reads an authorizer's output
// (https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-lambda-authorizer-output.html).
// Values of the context may be strings, numbers and booleans, and become strings.
func parseGrant(payload []byte) (grant, error) {
	var out struct {
		PrincipalID string          `json:"principalId"`
		Policy      json.RawMessage `json:"policyDocument"`
		Context     map[string]any  `json:"context"`
	}
	dec := json.NewDecoder(bytes.NewReader(payload))
	dec.UseNumber()
	if err := dec.Decode(&out); err != nil {
		return grant{}, errors.New("the output is no JSON object of the right types")
	}
	if _, err := dec.Token(); err != io.EOF {
		return grant{}, errors.New("something follows the output's JSON object")
	}
	if out.PrincipalID == "" || len(out.Policy) == 0 {
		return grant{}, errors.New("principalId or policyDocument is missing")
	}
	doc, err := policy.Parse(out.Policy)
	if err != nil {
		return grant{}, errors.New("malformed policyDocument") // err may quote what it found
	}
	gr := grant{policy: doc, principal: out.PrincipalID, context: make(map[string]string, len(out.Context))}
	for name, value := range out.Context {
		switch v := value.(type) {
		case string:
			gr.context[name] = v
		case json.Number:
			gr.context[name] = v.String()
		case bool:
			gr.context[name] = strconv.FormatBool(v)
		default:
			return grant{}, fmt.Errorf("context value %q is no string, number or boolean", name)
		}
	}
	return gr, nil
}

// cacheKey names a result: results are kept for each stage (FlushStageAuthorizersCache is
// about one) and authorizer by the identity source's value. The value itself is a
// credential; its digest does as well.
type cacheKey struct {
	stage, authorizer string
	credential        [sha256.Size]byte
}

// cache holds authorizers' results until they are too old. Its zero value is empty.
type cache struct {
	mu      sync.Mutex
	entries map[cacheKey]cached
	sweepAt int // number of entries at which the old ones are thrown out
}

type cached struct {
	grant   grant
	expires time.Time
}

// minSweep keeps a small cache from being swept at every insertion.
const minSweep = 1024

func (c *cache) get(k cacheKey, now time.Time) (grant, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[k]
	if !ok || !now.Before(e.expires) {
		return grant{}, false
	}
	return e.grant, true
}

func (c *cache) put(k cacheKey, gr grant, now, expires time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries == nil {
		c.entries = map[cacheKey]cached{}
	}
	c.entries[k] = cached{gr, expires}
	if len(c.entries) < max(c.sweepAt, minSweep) {
		return
	}
	for k, e := range c.entries {
		if !now.Before(e.expires) {
			delete(c.entries, k)
		}
	}
	c.sweepAt = 2 * len(c.entries)
}

func (c *cache) size() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.entries)
}

func (c *cache) flush(stage string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k := range c.entries {
		if stage == "" || k.stage == stage {
			delete(c.entries, k)
		}
	}
}
