package gateway

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"mime"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// proxyEvent is the input of a Lambda proxy integration, payload format 1.0
// (https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html#api-gateway-simple-proxy-for-lambda-input-format).
// What is empty is null there, as AWS has it.
type proxyEvent struct {
	Resource          string              `json:"resource"`
	Path              string              `json:"path"`
	HTTPMethod        string              `json:"httpMethod"`
	Headers           map[string]string   `json:"headers"`
	MultiValueHeaders map[string][]string `json:"multiValueHeaders"`
	Query             map[string]string   `json:"queryStringParameters"`
	MultiValueQuery   map[string][]string `json:"multiValueQueryStringParameters"`
	PathParameters    map[string]string   `json:"pathParameters"`
	StageVariables    map[string]string   `json:"stageVariables"`
	RequestContext    requestContext      `json:"requestContext"`
	Body              *string             `json:"body"`
	IsBase64Encoded   bool                `json:"isBase64Encoded"`
}

// authorizerEvent is the input of a REQUEST authorizer
// (https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-lambda-authorizer-input.html).
type authorizerEvent struct {
	Type              string              `json:"type"`
	MethodARN         string              `json:"methodArn"`
	Resource          string              `json:"resource"`
	Path              string              `json:"path"`
	HTTPMethod        string              `json:"httpMethod"`
	Headers           map[string]string   `json:"headers"`
	MultiValueHeaders map[string][]string `json:"multiValueHeaders"`
	Query             map[string]string   `json:"queryStringParameters"`
	MultiValueQuery   map[string][]string `json:"multiValueQueryStringParameters"`
	PathParameters    map[string]string   `json:"pathParameters"`
	StageVariables    map[string]string   `json:"stageVariables"`
	RequestContext    requestContext      `json:"requestContext"`
}

type requestContext struct {
	AccountID         string         `json:"accountId"`
	APIID             string         `json:"apiId"`
	Authorizer        map[string]any `json:"authorizer,omitempty"`
	DeploymentID      string         `json:"deploymentId"`
	DomainName        string         `json:"domainName"`
	DomainPrefix      string         `json:"domainPrefix"`
	ExtendedRequestID string         `json:"extendedRequestId"`
	HTTPMethod        string         `json:"httpMethod"`
	Identity          identity       `json:"identity"`
	Path              string         `json:"path"`
	Protocol          string         `json:"protocol"`
	RequestID         string         `json:"requestId"`
	RequestTime       string         `json:"requestTime"`
	RequestTimeEpoch  int64          `json:"requestTimeEpoch"`
	ResourceID        string         `json:"resourceId"`
	ResourcePath      string         `json:"resourcePath"`
	Stage             string         `json:"stage"`
}

// identity is about IAM and Cognito callers, of which there are none here: all null.
type identity struct {
	AccessKey                     *string `json:"accessKey"`
	AccountID                     *string `json:"accountId"`
	Caller                        *string `json:"caller"`
	CognitoAuthenticationProvider *string `json:"cognitoAuthenticationProvider"`
	CognitoAuthenticationType     *string `json:"cognitoAuthenticationType"`
	CognitoIdentityID             *string `json:"cognitoIdentityId"`
	CognitoIdentityPoolID         *string `json:"cognitoIdentityPoolId"`
	PrincipalOrgID                *string `json:"principalOrgId"`
	SourceIP                      string  `json:"sourceIp"`
	User                          *string `json:"user"`
	UserAgent                     string  `json:"userAgent"`
	UserARN                       *string `json:"userArn"`
}

func (g *Gateway) proxyEvent(c *call) ([]byte, error) {
	ev := proxyEvent{
		Resource: c.route.Path, Path: c.path, HTTPMethod: c.method,
		Headers: last(c.header), MultiValueHeaders: c.header,
		StageVariables: stageVariables(c), RequestContext: g.requestContext(c),
	}
	if len(c.query) > 0 {
		ev.Query, ev.MultiValueQuery = last(c.query), c.query
	}
	if len(c.params) > 0 {
		ev.PathParameters = c.params
	}
	if len(c.body) > 0 {
		var text string
		if ev.IsBase64Encoded = g.binary(c.request.Header.Get("Content-Type")); ev.IsBase64Encoded {
			text = base64.StdEncoding.EncodeToString(c.body)
		} else if text = string(c.body); !utf8.Valid(c.body) {
			// A body that is not declared binary is text; what is no UTF-8 is lost (observed).
			text = strings.ToValidUTF8(text, "\uFFFD")
		}
		ev.Body = &text
	}
	return json.Marshal(ev)
}

func (g *Gateway) authorizerEvent(c *call) ([]byte, error) {
	return json.Marshal(authorizerEvent{
		Type: "REQUEST", MethodARN: g.methodARN(c),
		Resource: c.route.Path, Path: c.path, HTTPMethod: c.method,
		Headers: last(c.header), MultiValueHeaders: c.header,
		Query: last(c.query), MultiValueQuery: c.query,
		PathParameters: notNil(c.params), StageVariables: stageVariables(c),
		RequestContext: g.requestContext(c),
	})
}

// methodARN names the request in policies: the path as it came, without the stage.
func (g *Gateway) methodARN(c *call) string {
	return fmt.Sprintf("arn:aws:execute-api:%s:%s:%s/%s/%s%s", g.o.Region, g.o.AccountID, g.o.APIID, c.stage, c.method, c.path)
}

func (g *Gateway) requestContext(c *call) requestContext {
	domain, _, _ := strings.Cut(c.request.Host, ":")
	prefix, _, _ := strings.Cut(domain, ".")
	return requestContext{
		AccountID: g.o.AccountID, APIID: g.o.APIID, Authorizer: c.authorizer, DeploymentID: "local",
		DomainName: domain, DomainPrefix: prefix, ExtendedRequestID: c.extendedRequestID, HTTPMethod: c.method,
		Identity: identity{SourceIP: c.sourceIP, UserAgent: c.request.UserAgent()},
		Path:     c.fullPath,
		// Whatever the client speaks: API Gateway itself speaks HTTP/1.1 ("$context.protocol").
		Protocol: "HTTP/1.1", RequestID: c.requestID,
		RequestTime: c.entry.RequestTime, RequestTimeEpoch: c.entry.RequestTimeEpoch,
		ResourceID: resourceID(c.route.Path), ResourcePath: c.route.Path, Stage: c.stage,
	}
}

func stageVariables(c *call) map[string]string { return map[string]string{"environment": c.stage} }

// rawParams are the path parameters as they stood in the path: API Gateway hands them to a
// proxy integration undecoded (observed: "test%2Balias@gmail.com" stays that).
func rawParams(resource, path string) map[string]string {
	out := map[string]string{}
	rest := strings.TrimSuffix(path[1:], "/")
	for part := range strings.SplitSeq(resource[1:], "/") {
		value, more, _ := strings.Cut(rest, "/")
		name, ok := strings.CutPrefix(part, "{")
		if greedy, is := strings.CutSuffix(name, "+}"); ok && is {
			out[greedy] = rest
			return out
		}
		if ok {
			out[strings.TrimSuffix(name, "}")] = value
		}
		rest = more
	}
	return out
}

// resourceID makes up an id of a resource: six characters, the same at every start.
func resourceID(path string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(path))
	return fmt.Sprintf("%06s", strconv.FormatUint(uint64(h.Sum32())%(36*36*36*36*36*36), 36))
}

// last is the view that holds one value of each name: the last one (observed).
func last(multi map[string][]string) map[string]string {
	out := make(map[string]string, len(multi))
	for name, values := range multi {
		if len(values) > 0 {
			out[name] = values[len(values)-1]
		}
	}
	return out
}

func notNil(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

// binary reports whether a media type is one of the API's binary ones. Of an Accept with
// several only the first counts (notes).
func (g *Gateway) binary(mediaType string) bool {
	first, _, _ := strings.Cut(mediaType, ",")
	if parsed, _, err := mime.ParseMediaType(first); err == nil {
		first = parsed
	}
	return slices.ContainsFunc(g.o.BinaryMediaTypes, func(t string) bool {
		return t == "*/*" || strings.EqualFold(t, first) ||
			strings.HasSuffix(t, "/*") && strings.HasPrefix(strings.ToLower(first), strings.ToLower(t[:len(t)-1]))
	})
}
