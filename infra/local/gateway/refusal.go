package gateway

import (
	"net/http"
	"regexp"
	"strings"
)

// refusal is a request that API Gateway answers itself: by the gateway response of a type
// (https://docs.aws.amazon.com/apigateway/latest/developerguide/supported-gateway-response-types.html).
type refusal struct {
	response string // its type
	status   int    // what the type's status is, if its own row names none
	message  string // $context.error.message, in AWS's words
	header   string // x-amzn-ErrorType
}

func (r *refusal) Error() string { return r.message }

var (
	errNoRoute      = &refusal{"MISSING_AUTHENTICATION_TOKEN", 403, "Missing Authentication Token", "MissingAuthenticationTokenException"}
	errUnauthorized = &refusal{"UNAUTHORIZED", 401, "Unauthorized", "UnauthorizedException"}
	errDenied       = &refusal{"ACCESS_DENIED", 403, "User is not authorized to access this resource", "AccessDeniedException"}
	errExplicitDeny = &refusal{"ACCESS_DENIED", 403, "User is not authorized to access this resource with an explicit deny", "AccessDeniedException"}

	errAuthorizer              = &refusal{"AUTHORIZER_FAILURE", 500, "", "AuthorizerFailureException"}
	errAuthorizerConfiguration = &refusal{"AUTHORIZER_CONFIGURATION_ERROR", 500, "", "AuthorizerConfigurationException"}

	errTooLarge = &refusal{"REQUEST_TOO_LARGE", 413, "Request Too Long", "RequestTooLargeException"}
	// API Gateway has no response types for these; observed are the status and the first text.
	errHeaders = &refusal{"DEFAULT_4XX", http.StatusRequestHeaderFieldsTooLarge, "HTTP header is larger than 10240 bytes.", "BadRequestException"}
	// "the API client will receive a 414 Request URI too long response" (output of an authorizer).
	errURI  = &refusal{"DEFAULT_4XX", http.StatusRequestURITooLong, "Request URI too long", "BadRequestException"}
	errBody = &refusal{"DEFAULT_4XX", http.StatusBadRequest, "Bad Request", "BadRequestException"}

	// "If the function output is of a different format, API Gateway returns a 502 Bad
	// Gateway error response" (proxy integration); a function that failed counts as that.
	errMalformed   = &refusal{"DEFAULT_5XX", http.StatusBadGateway, "Internal server error", "InternalServerErrorException"}
	errTimeout     = &refusal{"INTEGRATION_TIMEOUT", 504, "Endpoint request timed out", "InternalServerErrorException"}
	errIntegration = &refusal{"INTEGRATION_FAILURE", 504, "Internal server error", "InternalServerErrorException"}
	errGateway     = &refusal{"DEFAULT_5XX", http.StatusInternalServerError, "Internal server error", "InternalServerErrorException"}
)

// refuse fills in the gateway response of an error.
func (g *Gateway) refuse(c *call, err error) *answer {
	r, ok := err.(*refusal)
	if !ok {
		c.entry.Error = err.Error()
		r = errGateway
	}
	c.entry.ResponseType = r.response
	row := g.responses[r.response]
	a := &answer{status: row.Status, header: http.Header{}}
	if a.status == 0 {
		a.status = r.status
	}
	a.header.Set("x-amzn-ErrorType", r.header)
	a.header.Set("Content-Type", "application/json")
	values := g.contextVariables(c, r)
	for name, expression := range row.Header {
		if v := headerValue(c, expression, values); v != "" {
			a.header.Set(name, v)
		}
	}
	a.body = []byte(contextVariable.ReplaceAllStringFunc(row.Template, func(v string) string { return values[v] }))
	return a
}

var contextVariable = regexp.MustCompile(`\$context\.[A-Za-z]+(\.[A-Za-z]+)?`)

// contextVariables are those that a template may use. API Gateway puts them in as they
// are, without escaping.
func (g *Gateway) contextVariables(c *call, r *refusal) map[string]string {
	v := map[string]string{
		"$context.requestId": c.requestID, "$context.extendedRequestId": c.extendedRequestID,
		"$context.httpMethod": c.method, "$context.resourcePath": c.route.Path, "$context.path": c.fullPath,
		"$context.stage": c.stage, "$context.accountId": g.o.AccountID, "$context.apiId": g.o.APIID,
		"$context.identity.sourceIp": c.sourceIP, "$context.identity.userAgent": c.request.UserAgent(),
		"$context.error.message": r.message, "$context.error.messageString": `"` + r.message + `"`,
		"$context.error.responseType": r.response, "$context.authorizer.principalId": c.principal,
	}
	for name, value := range c.authorizer {
		if s, ok := value.(string); ok {
			v["$context.authorizer."+name] = s
		}
	}
	return v
}

// headerValue evaluates a mapping expression: 'text', method.request.header.NAME or
// context.NAME.
func headerValue(c *call, expression string, values map[string]string) string {
	if text, ok := strings.CutPrefix(expression, "'"); ok {
		return strings.TrimSuffix(text, "'")
	}
	if name, ok := strings.CutPrefix(expression, "method.request.header."); ok {
		return lastOf(c.request.Header, name)
	}
	return values["$"+expression]
}
