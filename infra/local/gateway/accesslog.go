package gateway

import "time"

// Entry is one line of the access log, in JSON. Its fields are API Gateway's $context
// variables for access logging
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
	PrincipalID        string `json:"principalId"`
	KeyID              string `json:"keyId"`
	AccountID          string `json:"accountId"`
	SourceIP           string `json:"sourceIp"`
	UserAgent          string `json:"userAgent"`
	ResponseType       string `json:"responseType,omitempty"` // of a gateway response
	Error              string `json:"error,omitempty"`        // why the gateway failed; never what a function said
}

func (e *Entry) finish(c *call, a *answer) {
	e.Status, e.ResponseLength = a.status, len(a.body)
	e.ResponseLatency = time.Since(c.begun).Milliseconds()
}
