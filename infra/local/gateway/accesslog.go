package gateway

import (
	"strconv"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/logline"
	"github.com/keyreeve/keyreeve/pkg/verify"
)

// Entry is what the access log says of one request, and a little that only this gateway
// knows; [Entry.Access] is the line that API Gateway would write. The other fields are
// $context variables
// (https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-variables-for-access-logging.html).
//
// There is no path and no query: either may hold a key that a client put in the wrong
// place. ResourcePath is the route's own.
type Entry struct {
	RequestID          string `json:"requestId"`
	ExtendedRequestID  string `json:"extendedRequestId"`
	RequestTime        string `json:"requestTime"`      // dd/MMM/yyyy:HH:mm:ss ±hhmm
	RequestTimeEpoch   int64  `json:"requestTimeEpoch"` // in milliseconds
	Stage              string `json:"stage"`
	HTTPMethod         string `json:"httpMethod"`
	ResourcePath       string `json:"resourcePath"` // empty: no route
	Protocol           string `json:"protocol"`
	Status             int    `json:"status"`
	ResponseLength     int    `json:"responseLength"`  // bytes of the body
	ResponseLatency    int64  `json:"responseLatency"` // in milliseconds, like the ones below
	IntegrationLatency int64  `json:"integrationLatency"`
	AuthorizerLatency  int64  `json:"authorizerLatency"`
	AuthorizerCached   bool   `json:"authorizerCached"` // the result was in the cache; only known here, not in AWS
	KeyID              string `json:"keyId"`            // this and the next four: of the authorizer's context
	AccountID          string `json:"accountId"`
	Environment        string `json:"environment"`
	Generation         int64  `json:"generation"`
	Parent             string `json:"parent,omitempty"` // of a session: the key that it was made with
	SourceIP           string `json:"sourceIp"`
	UserAgent          string `json:"userAgent"`
	ResponseType       string `json:"responseType,omitempty"` // of a gateway response
	Error              string `json:"error,omitempty"`        // why the gateway failed; never what a function said
}

// Access is the entry as API Gateway would log it.
func (e Entry) Access() logline.Access {
	milliseconds := func(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
	return logline.Access{
		ExtendedRequestID: e.ExtendedRequestID, RequestID: e.RequestID, Time: time.UnixMilli(e.RequestTimeEpoch).UTC(),
		Stage: e.Stage, Method: e.HTTPMethod, Route: e.ResourcePath, Protocol: e.Protocol,
		Status: e.Status, ResponseLength: e.ResponseLength, Latency: milliseconds(e.ResponseLatency),
		IntegrationLatency: milliseconds(e.IntegrationLatency), AuthorizerLatency: milliseconds(e.AuthorizerLatency),
		KeyID: apikey.ID(e.KeyID), AccountID: e.AccountID, Environment: e.Environment, Generation: e.Generation, Parent: apikey.ID(e.Parent),
		SourceIP: e.SourceIP, UserAgent: e.UserAgent, ResponseType: e.ResponseType,
	}
}

// let notes whom the authorizer let through.
func (e *Entry) let(context map[string]string) {
	e.KeyID, e.AccountID, e.Environment = context[verify.FieldKeyID], context[verify.FieldAccountID], context[verify.FieldEnvironment]
	e.Generation, _ = strconv.ParseInt(context[verify.FieldGeneration], 10, 64) // no number, no generation
	if parent, _, session := strings.Cut(context[verify.FieldParent], "@"); session {
		e.Parent = parent
	}
}

func (e *Entry) finish(c *call, a *answer) {
	e.Status, e.ResponseLength = a.status, len(a.body)
	e.ResponseLatency = time.Since(c.begun).Milliseconds()
}
