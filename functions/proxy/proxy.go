// Package proxy is the one place where API Gateway's proxy events become net/http, with
// the guard in between: event → route → identity → guard → handler → answer.
//
// Promises: no handler of a route that needs a key runs without an identity that the
// guard has just proved; nothing but the authorizer's context says who is calling, so an
// identity header that a client sends is just a header; a panic is a 500 in the common
// error shape, and so is an answer that Lambda would not take (502); no log line holds a
// header or a body of the request; what a route's guard did not count leaves one refusal line
// (refusal.go).
//
// Event and answer are those of a REST API's Lambda proxy integration, payload format 1.0
// (https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html).
package proxy

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/guard"
	"github.com/keyreeve/keyreeve/pkg/httpapi"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/logline"
	"github.com/keyreeve/keyreeve/pkg/route"
	"github.com/keyreeve/keyreeve/pkg/verify"
)

// Config is what a Proxy works with. All fields are needed but Origins, Log and
// Clock.
type Config struct {
	Function string // our row of the function table: a route of another function is refused
	Table    *route.Table
	Guard    *guard.Guard
	Handler  http.Handler
	Origins  []string         // that browsers may call from; "*": any, empty: none
	Log      *slog.Logger     // default discards
	Clock    func() time.Time // default time.Now; for the log alone
}

// Proxy is a Lambda handler. It is safe for concurrent use.
type Proxy struct{ cfg Config }

// New returns a Proxy.
func New(c Config) *Proxy {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	return &Proxy{cfg: c}
}

// Invoke implements lambda.Handler. It returns an error only for a payload that is no
// proxy event; everything else is an HTTP answer.
func (p *Proxy) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	ev := event{payload: payload}
	if err := json.Unmarshal(payload, &ev); err != nil {
		return nil, errors.New("the event is no API Gateway proxy event")
	}
	w := &recorder{header: http.Header{}}
	p.serve(ctx, w, &ev)
	p.allowOrigin(w.header, &ev.APIGatewayProxyRequest)
	answer, err := w.encode()
	if err == nil && len(answer) > maxAnswer {
		id := ev.RequestContext.RequestID
		p.cfg.Log.Error("the answer is too large for Lambda", "requestId", id, "bytes", len(answer))
		w.reset()
		httpapi.Write(w, id, httpapi.FromError(httpapi.ErrUpstreamTooLarge))
		p.allowOrigin(w.header, &ev.APIGatewayProxyRequest)
		return w.encode()
	}
	return answer, err
}

func (p *Proxy) serve(ctx context.Context, w *recorder, e *event) {
	ev := &e.APIGatewayProxyRequest
	id := ev.RequestContext.RequestID
	var a admission
	defer func() {
		if v := recover(); v != nil {
			// The value may quote input; the stack says where without it.
			p.cfg.Log.Error("panic", "requestId", id, "type", fmt.Sprintf("%T", v), "stack", string(debug.Stack()))
			if a.guarded && !a.counted {
				p.logRefusal(ctx, ev, &a, logline.ReasonUnavailable)
			}
			w.reset()
			httpapi.Write(w, id, httpapi.Internal())
		}
	}()
	rt, ok := p.cfg.Table.Lookup(ev.HTTPMethod, ev.Resource)
	a.route, a.guarded = rt, !rt.Public && !rt.Unguarded
	if !ok || rt.Function != p.cfg.Function {
		p.logRefusal(ctx, ev, &a, logline.ReasonFunction)
		httpapi.Write(w, id, httpapi.NotFound())
		return
	}
	params := params(ev)
	if !rt.Public {
		caller, err := p.admit(ctx, w.header, &a, ev, params)
		if err != nil {
			reason, more := reasonOf(err)
			p.logRefusal(ctx, ev, &a, reason, more...)
			httpapi.Write(w, id, httpapi.FromError(err))
			return
		}
		ctx = guard.WithIdentity(ctx, caller)
	}
	req, err := request(ctx, rt, e)
	if err != nil {
		p.cfg.Log.Error("failed", "requestId", id, "error", err.Error())
		httpapi.Write(w, id, httpapi.FromError(err))
		return
	}
	w.handOver()
	p.cfg.Handler.ServeHTTP(w, req)
}

// admit proves the caller anew and sets the rate-limit headers of the answer.
func (p *Proxy) admit(ctx context.Context, h http.Header, a *admission, ev *events.APIGatewayProxyRequest, params map[string]string) (keys.Caller, error) {
	identity, err := verify.FromContext(ev.RequestContext.Authorizer)
	if err != nil {
		return keys.Caller{}, httpapi.ErrMissingContext
	}
	credential, err := credentialOf(a.route, ev)
	if err != nil {
		return keys.Caller{}, err
	}
	// API Gateway caches by the credential, so the context's key is the presented one.
	// Were it ever another, nothing here could be trusted.
	if credential.ID() != identity.KeyID {
		return keys.Caller{}, httpapi.ErrMissingContext
	}
	if a.route.Unguarded {
		return keys.Caller{Identity: identity, Credential: credential}, nil
	}
	pass, err := p.cfg.Guard.Check(ctx, guard.Call{
		Route: a.route, Stage: ev.StageVariables["environment"], Params: params, Identity: identity,
		SourceIP: ev.RequestContext.Identity.SourceIP,
	})
	var unauthorized *guard.UnauthorizedError
	a.counted = err == nil || errors.As(err, &unauthorized) && unauthorized.Counted
	setRateLimit(h, pass, err)
	if err != nil {
		return keys.Caller{}, err
	}
	if pass.Near {
		e := p.event(ev, logline.NearLimit)
		e.Limit = pass.Limit
		e.Log(ctx, p.cfg.Log)
	}
	return keys.Caller{Identity: pass.Identity, Credential: credential}, nil
}

// credentialOf returns the one credential of the request. The authorizer has checked it
// already, but on a cache hit API Gateway compares the identity source alone, so a
// second credential beside it is seen here first.
func credentialOf(rt route.Route, ev *events.APIGatewayProxyRequest) (apikey.Key, error) {
	keyHeader, authorization := headerValues(ev, string(route.APIKeyHeader)), headerValues(ev, string(route.Authorization))
	if len(keyHeader)+len(authorization) > 1 {
		return apikey.Key{}, httpapi.ErrSeveralCredentials
	}
	var text string
	switch {
	case rt.Credential == route.Authorization && len(authorization) == 1:
		var ok bool
		if text, ok = verify.ParseAuthorization(authorization[0]); !ok {
			return apikey.Key{}, httpapi.ErrMissingContext
		}
	case rt.Credential == route.APIKeyHeader && len(keyHeader) == 1:
		text = keyHeader[0]
	}
	key, err := apikey.Parse(text)
	if err != nil {
		return apikey.Key{}, httpapi.ErrMissingContext // no authorizer has let this through
	}
	return key, nil
}

// headerValues collects the values of a header in any letter case.
func headerValues(ev *events.APIGatewayProxyRequest, name string) []string {
	var out []string
	for n, values := range ev.MultiValueHeaders {
		if strings.EqualFold(n, name) {
			out = append(out, values...)
		}
	}
	if ev.MultiValueHeaders == nil {
		for n, value := range ev.Headers {
			if strings.EqualFold(n, name) {
				out = append(out, value)
			}
		}
	}
	return out
}

// params decodes the path parameters. API Gateway hands them on as they stood in the
// path; one that does not decode stays as it is and then names nothing.
func params(ev *events.APIGatewayProxyRequest) map[string]string {
	out := make(map[string]string, len(ev.PathParameters))
	for name, raw := range ev.PathParameters {
		out[name] = decoded(raw)
	}
	return out
}

func decoded(raw string) string {
	if v, err := url.PathUnescape(raw); err == nil {
		return v
	}
	return raw
}

// request makes the http.Request that a handler sees. Its path is the route's own, with
// the parameters filled in, so no spelling of the client's path (stage, base path,
// trailing slash, encoded slash) reaches a handler that does not ask for it ([ArrivalOf]).
func request(ctx context.Context, rt route.Route, e *event) (*http.Request, error) {
	ev := &e.APIGatewayProxyRequest
	target, err := fill(rt.Path, ev.PathParameters, func(raw string) string { return url.PathEscape(decoded(raw)) })
	if err != nil {
		return nil, err
	}
	ctx, err = withArrival(ctx, rt, e)
	if err != nil {
		return nil, err
	}
	body := []byte(ev.Body)
	if ev.IsBase64Encoded {
		if body, err = base64.StdEncoding.DecodeString(ev.Body); err != nil {
			return nil, fmt.Errorf("decoding the event's body: %w", err)
		}
	}
	if q := e.query(); q != "" {
		target += "?" + q
	}
	req, err := http.NewRequestWithContext(ctx, ev.HTTPMethod, target, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("building the request: %w", err)
	}
	for name, values := range ev.MultiValueHeaders {
		for _, v := range values {
			req.Header.Add(name, v)
		}
	}
	if ev.MultiValueHeaders == nil {
		for name, value := range ev.Headers {
			req.Header.Set(name, value)
		}
	}
	req.Host = req.Header.Get("Host")
	req.RequestURI = target
	req.RemoteAddr = ev.RequestContext.Identity.SourceIP
	req.Header.Set(httpapi.RequestIDHeader, ev.RequestContext.RequestID)
	return req, nil
}
