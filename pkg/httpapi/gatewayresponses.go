package httpapi

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
)

// GatewayResponse is what API Gateway itself answers when a request does not reach a
// function: one row of the REST API's gateway responses
// (https://docs.aws.amazon.com/apigateway/latest/developerguide/supported-gateway-response-types.html).
// The CDK app deploys the rows; the local gateway answers with them.
type GatewayResponse struct {
	Type string // response type, as AWS names it
	// Status replaces the type's default status. 0 leaves it, which DEFAULT_4XX and
	// DEFAULT_5XX need: a status there would replace that of every other 4xx or 5xx.
	Status int
	// Template of the body, application/json. API Gateway puts in $context variables as
	// they are, without escaping, so only those are used that no client can choose.
	Template string
	// Header by name, as API Gateway's mapping expressions: 'text' in single quotes, or
	// method.request.header.NAME for the request's own.
	Header map[string]string
}

// Challenge is the WWW-Authenticate of every 401 (RFC 9110 section 11.6.1). A function's
// own 401 goes without: API Gateway renames the header in what a Lambda function returns.
const Challenge = `Api-Key realm="api", Bearer realm="api"`

// What API Gateway answers to a browser's preflight, here and deployed.
const (
	// AllowedHeaders are the request headers that a browser's script may set.
	AllowedHeaders = "Authorization,Content-Type,Idempotency-Key,If-Match,If-None-Match,X-API-Key"
	// PreflightSeconds is how long a browser may keep the answer.
	PreflightSeconds = 600
)

// gatewayRequestID stands where API Gateway puts its id of the request.
const gatewayRequestID = "$context.requestId"

// GatewayResponses lists every response type, in the order of AWS's list. origins are
// those that browsers may call from ("*": any; empty: none).
//
// A template cannot choose among several origins, so then the request's own is echoed: an
// error body tells a foreign page nothing but a request id, and there are no cookies.
func GatewayResponses(origins []string) []GatewayResponse {
	cors := map[string]string{}
	switch {
	case slices.Contains(origins, "*"):
		cors["Access-Control-Allow-Origin"] = "'*'"
	case len(origins) == 1:
		cors["Access-Control-Allow-Origin"] = "'" + origins[0] + "'"
	case len(origins) > 1:
		cors["Access-Control-Allow-Origin"] = "method.request.header.Origin"
		cors["Vary"] = "'Origin'"
	}
	if len(origins) > 0 {
		cors["Access-Control-Expose-Headers"] = "'Retry-After, WWW-Authenticate, x-amzn-RequestId'"
	}
	row := func(kind string, p Problem) GatewayResponse {
		h := maps.Clone(cors)
		h["Cache-Control"] = "'no-store'"
		if p.Status == http.StatusUnauthorized {
			h["WWW-Authenticate"] = "'" + Challenge + "'"
		}
		for name := range maps.Keys(p.Header) {
			h[name] = "'" + p.Header.Get(name) + "'"
		}
		return GatewayResponse{Type: kind, Status: p.Status, Template: string(p.body(gatewayRequestID)), Header: h}
	}
	internal, anyInternal := Internal(), Internal()
	anyInternal.Status = 0
	authorizer := Problem{Status: http.StatusInternalServerError, Code: "authorizer_failure",
		Message: "The API key could not be checked. The request was not carried out; repeat it.", Header: retrySoon()}
	throttled := Problem{Status: http.StatusTooManyRequests, Code: "rate_limited",
		Message: "Too many requests to this API at the moment.", Header: retrySoon()}
	malformed := Problem{Status: http.StatusBadRequest, Code: "bad_request", Message: "The request is malformed."}

	return []GatewayResponse{
		// The authorizer's policy does not allow the route. The path is the route's own
		// (/v1/customers/{customerId}), never the client's text.
		row("ACCESS_DENIED", Problem{Status: http.StatusForbidden, Code: "insufficient_scope",
			Message: "This key may not call $context.httpMethod $context.resourcePath."}),
		row("API_CONFIGURATION_ERROR", internal),
		row("AUTHORIZER_CONFIGURATION_ERROR", authorizer),
		row("AUTHORIZER_FAILURE", authorizer),
		row("BAD_REQUEST_PARAMETERS", malformed),
		row("BAD_REQUEST_BODY", malformed),
		row("DEFAULT_4XX", Problem{Code: "bad_request", Message: "The request was refused."}),
		row("DEFAULT_5XX", anyInternal),
		row("EXPIRED_TOKEN", Unauthorized()),
		row("INTEGRATION_FAILURE", Problem{Status: http.StatusBadGateway, Code: "integration_failure",
			Message: "The service gave no usable answer. The request may have been carried out or not."}),
		row("INTEGRATION_TIMEOUT", Problem{Status: http.StatusGatewayTimeout, Code: "integration_timeout",
			Message: "The service did not answer in time. The request may have been carried out or not."}),
		row("INVALID_API_KEY", Unauthorized()),
		// No route takes AWS signatures. API Gateway looks for one all the same when it
		// finds no route for a request that has an Authorization header.
		row("INVALID_SIGNATURE", NotFound()),
		row("MISSING_AUTHENTICATION_TOKEN", NotFound()), // its name for an unknown method or path
		row("QUOTA_EXCEEDED", throttled),
		// API Gateway takes 10 MB, Lambda 6; whichever refused.
		row("REQUEST_TOO_LARGE", FromError(ErrRequestTooLarge)),
		row("RESOURCE_NOT_FOUND", NotFound()),
		row("THROTTLED", throttled),
		row("UNAUTHORIZED", Unauthorized()),
		row("UNSUPPORTED_MEDIA_TYPE", unsupportedMedia()),
		row("WAF_FILTERED", Problem{Status: http.StatusForbidden, Code: "blocked", Message: "The request was blocked."}),
	}
}

// maxBodyBytes is the longest request body that is read.
const maxBodyBytes = 64 << 10

func tooLarge() Problem {
	return Problem{Status: http.StatusRequestEntityTooLarge, Code: "body_too_large",
		Message: "The body may hold at most " + strconv.Itoa(maxBodyBytes>>10) + " KiB."}
}

func unsupportedMedia() Problem {
	return Problem{Status: http.StatusUnsupportedMediaType, Code: "unsupported_media_type",
		Message: "Send the body as application/json."}
}
