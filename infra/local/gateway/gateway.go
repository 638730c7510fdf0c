// Package gateway answers HTTP requests as an API Gateway REST API does that was deployed
// with Keyreeve's route table: stages, REQUEST authorizers with a result cache, IAM
// policies, Lambda proxy integrations, gateway responses, preflight, access log.
//
// The model is one request's way: limits (413, 414, 431) → stage → route → preflight or
// authorizer → policy → function → answer → one line of access log. Where AWS documents a
// behaviour, the code names the page ("notes" is
// https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-known-issues.html);
// where it does not, the code says what was observed, or which choice is the strict one.
//
// Promises:
//
//   - A request that needs a key reaches its function only with a context from the
//     authorizer, made for the credential that this request carries.
//   - What the authorizer did not answer well (an error, a malformed policy, too late) is a
//     500, and the function is not called. Such results are never cached.
//   - The access log holds no header but User-Agent, no query, no path but the route's own,
//     and so no credential that came where credentials belong.
//
// Differences from AWS that a client can see: HTTP instead of HTTPS; header names reach
// functions as Go spells them over HTTP/1.1 (X-Api-Key) and in lower case over HTTP/2; a
// compressed request body reaches the function as it is; no throttling, usage plans,
// request validation or response cache.
package gateway

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/keyreeve/keyreeve/infra/local/lambda"
	"github.com/keyreeve/keyreeve/pkg/httpapi"
	"github.com/keyreeve/keyreeve/pkg/route"
)

// Limits of a REST API, in bytes
// (https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-execution-service-limits-table.html).
const (
	maxHeaderBytes = 10_240   // "total combined size of all header values"
	maxURLBytes    = 10_240   // of a regional API
	maxARNBytes    = 1_600    // of a method with an authorizer
	maxBodyBytes   = 10 << 20 // payload
)

// maxIntegration is the longest that a REST API waits for an integration by default, and
// for an authorizer.
const maxIntegration = 29 * time.Second

// Options is what a Gateway works with.
type Options struct {
	Table *route.Table
	// Stages by name. A request's first path segment may name one of them, otherwise it
	// is on DefaultStage, as behind a custom domain that maps it. Each stage has the stage
	// variable "environment", its own name.
	Stages       []string
	DefaultStage string
	// Invoke runs a function: lambda.Runtime's method. Its errors keep their meaning.
	Invoke func(ctx context.Context, function string, payload []byte) ([]byte, error)
	// Authorizer is the function behind both authorizers. Default "authorizer".
	Authorizer string
	// AuthorizerTTL is how long an authorizer's result is kept; 0: not at all.
	AuthorizerTTL time.Duration
	// IntegrationTimeout bounds a function's and the authorizer's answer. Default 29 s.
	IntegrationTimeout time.Duration
	CORSOrigins        []string // that browsers may call from; "*": any, empty: none, and no OPTIONS
	// BinaryMediaTypes of the API. None by default: bodies are text.
	BinaryMediaTypes []string
	// CompressFrom is the API's minimumCompressionSize in bytes; 0: it compresses nothing.
	CompressFrom int
	Region       string // default us-east-1
	AccountID    string // default 000000000000
	APIID        string // default "local"
	Port         string // that clients connect to, for X-Forwarded-Port
	// AccessLog is called once per request, before its answer is sent.
	AccessLog func(Entry)
	Clock     func() time.Time // default time.Now
}

// Gateway is an http.Handler, safe for concurrent use.
type Gateway struct {
	o         Options
	responses map[string]httpapi.GatewayResponse
	cache     cache
	asked     atomic.Int64
}

// New returns a Gateway.
func New(o Options) *Gateway {
	if o.Authorizer == "" {
		o.Authorizer = "authorizer"
	}
	if o.IntegrationTimeout == 0 {
		o.IntegrationTimeout = maxIntegration
	}
	if o.Region == "" {
		o.Region = "us-east-1"
	}
	if o.AccountID == "" {
		o.AccountID = "000000000000"
	}
	if o.APIID == "" {
		o.APIID = "local"
	}
	if o.AccessLog == nil {
		o.AccessLog = func(Entry) {}
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	g := &Gateway{o: o, responses: map[string]httpapi.GatewayResponse{}}
	for _, r := range httpapi.GatewayResponses(o.CORSOrigins) {
		g.responses[r.Type] = r
	}
	return g
}

// AuthorizerInvocations is how often the authorizer function has been called.
func (g *Gateway) AuthorizerInvocations() int64 { return g.asked.Load() }

// FlushAuthorizerCache forgets the authorizers' results on one stage, as
// FlushStageAuthorizersCache does, or on all with "".
func (g *Gateway) FlushAuthorizerCache(stage string) { g.cache.flush(stage) }

// CachedResults is how many results of the authorizers are kept, old ones included.
func (g *Gateway) CachedResults() int { return g.cache.size() }

// ServeHTTP implements http.Handler.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := g.newCall(r)
	answer := g.answer(w, c)
	answer.header.Set("x-amzn-RequestId", c.requestID)
	answer.header.Set("x-amz-apigw-id", c.extendedRequestID)
	c.entry.finish(c, answer)
	// Before the answer: who has read an answer finds its line in the log.
	g.o.AccessLog(c.entry)
	answer.write(w)
}

// answer takes a call all the way.
func (g *Gateway) answer(w http.ResponseWriter, c *call) *answer {
	if err := c.read(w, g); err != nil {
		return g.refuse(c, err)
	}
	rt, _, found := g.o.Table.Match(c.method, c.path)
	if found != route.Matched {
		// OPTIONS exists on every resource, if browsers may call at all: it is their question
		// whether they may.
		if methods := g.o.Table.MethodsFor(c.path); c.method == http.MethodOptions && len(methods) > 0 && len(g.o.CORSOrigins) > 0 {
			return g.preflight(c, methods)
		}
		return g.refuse(c, errNoRoute)
	}
	c.route, c.params = rt, rawParams(rt.Path, c.path)
	c.entry.ResourcePath = rt.Path
	if !rt.Public {
		if err := g.authorize(c); err != nil {
			return g.refuse(c, err)
		}
	}
	return g.integrate(c)
}

// integrate calls the route's function.
func (g *Gateway) integrate(c *call) *answer {
	event, err := g.proxyEvent(c)
	if err != nil {
		return g.refuse(c, err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.request.Context()), g.o.IntegrationTimeout)
	defer cancel()
	begun := time.Now()
	payload, err := g.o.Invoke(ctx, c.route.Function, event)
	c.entry.IntegrationLatency = time.Since(begun).Milliseconds()
	var failed *lambda.FunctionError
	switch {
	case err == nil:
	case errors.Is(err, context.DeadlineExceeded):
		return g.refuse(c, errTimeout)
	case errors.Is(err, lambda.ErrRequestTooLarge):
		// Lambda takes 6 MB where the gateway takes 10.
		return g.refuse(c, errTooLarge)
	case errors.As(err, &failed):
		// Lambda answers an invocation that failed, also one that ran out of its own time,
		// with a description of the error. That is no proxy response.
		c.entry.Error = "function: " + failed.Type
		return g.refuse(c, errMalformed)
	default:
		c.entry.Error = err.Error()
		return g.refuse(c, errIntegration)
	}
	a, err := g.proxyAnswer(c, payload)
	if err != nil {
		c.entry.Error = "function: " + err.Error()
		return g.refuse(c, errMalformed)
	}
	a.header.Set("X-Amzn-Trace-Id", c.traceID)
	g.compress(c, a)
	return a
}

// preflight answers OPTIONS as the CDK's mock integration does: no authorizer, since a
// browser sends no credential with it.
func (g *Gateway) preflight(c *call, methods []string) *answer {
	methods = append(slices.Clone(methods), http.MethodOptions)
	slices.Sort(methods)
	a := &answer{status: http.StatusNoContent, header: http.Header{}}
	a.header.Set("Access-Control-Allow-Origin", g.allowOrigin(c.request.Header.Get("Origin")))
	a.header.Set("Access-Control-Allow-Methods", strings.Join(slices.Compact(methods), ","))
	a.header.Set("Access-Control-Allow-Headers", httpapi.AllowedHeaders)
	a.header.Set("Access-Control-Max-Age", strconv.Itoa(httpapi.PreflightSeconds))
	if !slices.Contains(g.o.CORSOrigins, "*") {
		a.header.Set("Vary", "Origin")
	}
	return a
}

// allowOrigin is the origin itself if it may call, else the first that may: so the
// template does that the CDK writes for several origins.
func (g *Gateway) allowOrigin(origin string) string {
	switch {
	case slices.Contains(g.o.CORSOrigins, "*"):
		return "*"
	case slices.Contains(g.o.CORSOrigins, origin):
		return origin
	}
	return g.o.CORSOrigins[0]
}
