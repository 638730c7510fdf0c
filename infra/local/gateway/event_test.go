package gateway_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/events"
	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/infra/local/gateway"
)

// The examples that AWS gives of both events
// (set-up-lambda-proxy-integrations.html#api-gateway-simple-proxy-for-lambda-input-format
// and api-gateway-lambda-authorizer-input.html) with this request's values.
func TestEventsHaveAWSsShape(t *testing.T) {
	a := newAPI(t, nil)
	got := a.send("GET", "/staging/things/a%2Fb/parts/p%20q/?q=1&q=2&plus=a+b&email=x%2By@example.com", `{"n":1}`,
		key, "X-Many: one", "X-Many: two", "X-Forwarded-For: 198.51.100.7", "Connection: keep-alive", "Content-Type: application/json")
	if got.status != 200 {
		t.Fatal(got)
	}
	host := strings.TrimPrefix(a.url, "http://")
	domain, _, _ := strings.Cut(host, ":")
	many := func(values ...string) []any {
		out := make([]any, len(values))
		for i, v := range values {
			out[i] = v
		}
		return out
	}
	id := got.header.Get("X-Amzn-Requestid")
	trace := got.header.Get("X-Amzn-Trace-Id")
	requestContext := map[string]any{
		"accountId": "000000000000", "apiId": "local", "deploymentId": "local",
		"domainName": domain, "domainPrefix": strings.Split(domain, ".")[0],
		"extendedRequestId": got.header.Get("X-Amz-Apigw-Id"), "httpMethod": "GET",
		"identity": map[string]any{
			"accessKey": nil, "accountId": nil, "caller": nil, "cognitoAuthenticationProvider": nil, "cognitoAuthenticationType": nil,
			"cognitoIdentityId": nil, "cognitoIdentityPoolId": nil, "principalOrgId": nil, "user": nil, "userArn": nil,
			"sourceIp": "127.0.0.1", "userAgent": "Go-http-client/1.1",
		},
		"path": "/staging/things/a%2Fb/parts/p%20q/", "protocol": "HTTP/1.1", "requestId": id,
		"requestTime": "04/Mar/2026:19:15:17 +0000", "requestTimeEpoch": 1772651717135.0,
		"resourcePath": "/things/{id}/parts/{part}", "stage": "staging",
	}
	want := map[string]any{
		"resource": "/things/{id}/parts/{part}", "path": "/things/a%2Fb/parts/p%20q/", "httpMethod": "GET",
		"headers": map[string]any{
			"Accept-Encoding": "gzip", "Content-Type": "application/json", "Host": host, "User-Agent": "Go-http-client/1.1",
			"X-Api-Key": "k1", "X-Many": "two", "X-Forwarded-For": "198.51.100.7, 127.0.0.1", "X-Forwarded-Port": "8787",
			"X-Forwarded-Proto": "http", "X-Amzn-Trace-Id": trace,
		},
		"multiValueHeaders": map[string]any{
			"Accept-Encoding": many("gzip"), "Content-Type": many("application/json"), "Host": many(host), "User-Agent": many("Go-http-client/1.1"),
			"X-Api-Key": many("k1"), "X-Many": many("one", "two"), "X-Forwarded-For": many("198.51.100.7, 127.0.0.1"),
			"X-Forwarded-Port": many("8787"), "X-Forwarded-Proto": many("http"), "X-Amzn-Trace-Id": many(trace),
		},
		"queryStringParameters":           map[string]any{"q": "2", "plus": "a b", "email": "x+y@example.com"},
		"multiValueQueryStringParameters": map[string]any{"q": many("1", "2"), "plus": many("a b"), "email": many("x+y@example.com")},
		"pathParameters":                  map[string]any{"id": "a%2Fb", "part": "p%20q"},
		"stageVariables":                  map[string]any{"environment": "staging"},
		"requestContext":                  requestContext,
	}

	asked := a.last("authorizer").json
	resource := asked["requestContext"].(map[string]any)["resourceId"].(string)
	if len(resource) != 6 {
		t.Errorf("resourceId %q", resource)
	}
	requestContext["resourceId"] = resource
	want["type"] = "REQUEST"
	want["methodArn"] = arnPrefix + "staging/GET/things/a%2Fb/parts/p%20q/"
	if d := cmp.Diff(want, asked); d != "" {
		t.Errorf("authorizer event (-want +got):\n%s", d)
	}

	delete(want, "type")
	delete(want, "methodArn")
	want["body"], want["isBase64Encoded"] = `{"n":1}`, false
	ev := a.last("things").json
	latency := ev["requestContext"].(map[string]any)["authorizer"].(map[string]any)["integrationLatency"]
	if _, ok := latency.(float64); !ok {
		t.Errorf("integrationLatency %v, want a number", latency)
	}
	// "The returned values are all stringified" (api-gateway-lambda-authorizer-output.html).
	requestContext["authorizer"] = map[string]any{
		"principalId": "key_abc", "integrationLatency": latency,
		"keyId": "key_abc", "accountId": "acct_1", "environment": "production", "generation": "3", "limit": "100", "live": "true", "parent": "AbCd1234@7", "customers": "",
	}
	if d := cmp.Diff(want, ev); d != "" {
		t.Errorf("proxy event (-want +got):\n%s", d)
	}
}

func TestWhatIsEmptyIsNullInAProxyEvent(t *testing.T) {
	a := newAPI(t, nil)
	a.send("GET", "/open", "")
	ev := a.last("things").json
	for _, name := range []string{"queryStringParameters", "multiValueQueryStringParameters", "pathParameters", "body"} {
		if v, ok := ev[name]; !ok || v != nil {
			t.Errorf("%s is %v (there: %v), want null", name, v, ok)
		}
	}
	if _, ok := ev["requestContext"].(map[string]any)["authorizer"]; ok {
		t.Error("a public route's event has an authorizer context")
	}
	if a.calls("authorizer") != 0 {
		t.Error("the authorizer was asked about a public route")
	}
}

func TestTheEventDecodesIntoAWSsTypes(t *testing.T) {
	a := newAPI(t, nil)
	a.send("POST", "/things?q=1", "body", key)
	var proxy events.APIGatewayProxyRequest
	if err := json.Unmarshal([]byte(a.last("things").text), &proxy); err != nil {
		t.Fatal(err)
	}
	if proxy.Body != "body" || proxy.RequestContext.Stage != "production" || proxy.RequestContext.Authorizer["limit"] != "100" {
		t.Errorf("%+v", proxy)
	}
	var request events.APIGatewayCustomAuthorizerRequestTypeRequest
	if err := json.Unmarshal([]byte(a.last("authorizer").text), &request); err != nil {
		t.Fatal(err)
	}
	if request.MethodArn != arnPrefix+"production/POST/things" || request.Headers["X-Api-Key"] != "k1" {
		t.Errorf("%+v", request)
	}
}

// Paths as AWS was seen to pass them on (LocalStack's recorded snapshots of
// test_lambda_aws_proxy_integration).
func TestPathsKeepTheirSpelling(t *testing.T) {
	a := newAPI(t, nil)
	for _, tt := range []struct{ target, full, path, param string }{
		{"/staging/files/value", "/staging/files/value", "/files/value", "value"},
		{"/staging/files/value/", "/staging/files/value/", "/files/value/", "value"},
		{"//staging/files/value", "/staging/files/value", "/files/value", "value"},
		{"/staging//files/value", "/staging//files/value", "/files/value", "value"},
		{"/staging/files/user/test%2Balias@gmail.com/plus/test+alias@gmail.com", "/staging/files/user/test%2Balias@gmail.com/plus/test+alias@gmail.com",
			"/files/user/test%2Balias@gmail.com/plus/test+alias@gmail.com", "user/test%2Balias@gmail.com/plus/test+alias@gmail.com"},
		{"/files/value", "/files/value", "/files/value", "value"},
	} {
		t.Run(tt.target, func(t *testing.T) {
			if got := a.send("GET", tt.target, "", key); got.status != 200 {
				t.Fatal(got)
			}
			ev := a.last("things").json
			got := []any{ev["requestContext"].(map[string]any)["path"], ev["path"], ev["pathParameters"].(map[string]any)["path"]}
			if d := cmp.Diff([]any{tt.full, tt.path, tt.param}, got); d != "" {
				t.Error(d)
			}
		})
	}
}

// "REST APIs decode URL-encoded request parameters"; "The semicolon character is not
// supported for any request URL query string and results in the data being split"
// (api-gateway-known-issues.html).
func TestQueriesAreDecoded(t *testing.T) {
	a := newAPI(t, nil)
	for raw, want := range map[string]map[string]any{
		"a=1&b=%20&c":     {"a": []any{"1"}, "b": []any{" "}, "c": []any{""}},
		"a=1;b=2":         {"a": []any{"1"}, "b": []any{"2"}},
		"a=%zz":           {"a": []any{"%zz"}},
		"&&a=b=c&":        {"a": []any{"b=c"}},
		"x=k%C3%B6&x=%26": {"x": []any{"kö", "&"}},
	} {
		a.send("GET", "/open?"+raw, "")
		if d := cmp.Diff(want, a.last("things").json["multiValueQueryStringParameters"]); d != "" {
			t.Errorf("%s: %s", raw, d)
		}
	}
}

// The headers that are "Dropped" for Lambda in the table of api-gateway-known-issues.html.
func TestHopByHopHeadersDoNotReachFunctions(t *testing.T) {
	a := newAPI(t, nil)
	a.send("GET", "/open", "", "TE: trailers", "Max-Forwards: 3", "Proxy-Authenticate: Basic",
		"Server: x", "Upgrade: h2c", "WWW-Authenticate: Basic", "Content-MD5: abc", "Referer: https://page.example/", "X-Own: kept")
	got := a.last("things").json["headers"].(map[string]any)
	for _, name := range []string{"Te", "Max-Forwards", "Proxy-Authenticate", "Server", "Upgrade", "Www-Authenticate", "Content-Md5", "Content-Length", "Connection"} {
		if v, ok := got[name]; ok {
			t.Errorf("%s: %v", name, v)
		}
	}
	if got["X-Own"] != "kept" || got["Referer"] != "https://page.example/" {
		t.Errorf("headers %v", got)
	}
}

func TestBodiesAreTextUnlessTheirTypeIsBinary(t *testing.T) {
	for _, tt := range []struct {
		name, contentType, body, want string
		base64                        bool
		types                         []string
	}{
		{"text", "text/plain", "grün", "grün", false, nil},
		{"no UTF-8", "application/octet-stream", "a\xffb", "a\uFFFDb", false, nil},
		{"binary type", "image/png", "a\xffb", "Yf9i", true, []string{"image/*"}},
		{"binary type with parameter", "Image/PNG; q=1", "a\xffb", "Yf9i", true, []string{"image/png"}},
		{"all types are binary", "application/json", "{}", "e30=", true, []string{"*/*"}},
		{"another type", "application/json", "{}", "{}", false, []string{"image/png"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := newAPI(t, func(o *gateway.Options) { o.BinaryMediaTypes = tt.types })
			a.send("POST", "/open", tt.body, "Content-Type: "+tt.contentType)
			ev := a.last("things").json
			if ev["body"] != tt.want || ev["isBase64Encoded"] != tt.base64 {
				t.Errorf("body %q, base64 %v; want %q, %v", ev["body"], ev["isBase64Encoded"], tt.want, tt.base64)
			}
		})
	}
}

// Answers as AWS was seen to treat them (LocalStack's recorded snapshots of
// test_aws_proxy_response_payload_format_validation), and the table of headers of
// api-gateway-known-issues.html.
func TestProxyAnswers(t *testing.T) {
	header := func(lines ...string) http.Header {
		h := http.Header{}
		for i := 0; i < len(lines); i += 2 {
			h.Add(lines[i], lines[i+1])
		}
		return h
	}
	const text = "application/json"
	for _, tt := range []struct {
		name, output string
		status       int
		body         string
		header       http.Header // of those below
	}{
		{"status alone", `{"statusCode":200}`, 200, "", header("Content-Type", text)},
		{"nothing is mandatory", `{"headers":{"X-One":"v"}}`, 200, "", header("Content-Type", text, "X-One", "v")},
		{"status in a string", `{"statusCode":"201"}`, 201, "", header("Content-Type", text)},
		{"body and type", `{"statusCode":404,"headers":{"content-type":"text/plain"},"body":"no"}`, 404, "no", header("Content-Type", "text/plain")},
		{"boolean header", `{"headers":{"X-One":true}}`, 200, "", header("Content-Type", text, "X-One", "true")},
		{"no headers", `{"statusCode":200,"headers":null,"multiValueHeaders":null,"body":null}`, 200, "", header("Content-Type", text)},
		{"several values", `{"multiValueHeaders":{"X-One":["a","b"]}}`, 200, "", header("Content-Type", text, "X-One", "a", "X-One", "b")},
		{"both kinds are merged", `{"multiValueHeaders":{"x-oNE":["multi"]},"headers":{"X-One":"solo"}}`, 200, "",
			header("Content-Type", text, "X-One", "multi", "X-One", "solo")},
		{"the same pair counts once", `{"multiValueHeaders":{"X-One":["a"]},"headers":{"X-One":"a"}}`, 200, "", header("Content-Type", text, "X-One", "a")},
		{"base64 without binary types stays", `{"body":"dGVzdC1kYXRh","isBase64Encoded":true}`, 200, "dGVzdC1kYXRh", header("Content-Type", text)},
		{"renamed headers", `{"headers":{"WWW-Authenticate":"Basic","Date":"then","Server":"mine","Connection":"close","Content-Length":"99"},"body":"x"}`, 200, "x",
			header("Content-Type", text, "X-Amzn-Remapped-Www-Authenticate", "Basic", "X-Amzn-Remapped-Server", "mine")},
		{"removed headers", `{"headers":{"Transfer-Encoding":"chunked","Trailer":"X"}}`, 200, "", header("Content-Type", text)},
		{"no body with 204", `{"statusCode":204}`, 204, "", header("Content-Type", text)},

		{"another field", `{"statusCode":200,"wrongValue":"v"}`, 502, "", nil},
		{"no object", `"text"`, 502, "", nil},
		{"null", `null`, 502, "", nil},
		{"nothing", ``, 502, "", nil},
		{"two objects", `{} {}`, 502, "", nil},
		{"status that is none", `{"statusCode":"test"}`, 502, "", nil},
		{"status out of range", `{"statusCode":99}`, 502, "", nil},
		{"body that is no text", `{"statusCode":200,"body":{"a":1}}`, 502, "", nil},
		{"several values that are one", `{"multiValueHeaders":{"X-One":"a"}}`, 502, "", nil},
		{"header that is no text", `{"headers":{"X-One":{}}}`, 502, "", nil},
		{"header with a line break", `{"headers":{"X-One":"a\r\nSet-Cookie: b"}}`, 502, "", nil},
		{"header without a name", `{"headers":{"":"a"}}`, 502, "", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := newAPI(t, nil)
			a.things = answerWith(tt.output)
			got := a.send("GET", "/things", "", key)
			if got.status != tt.status {
				t.Fatalf("status %d, want %d", got.status, tt.status)
			}
			if tt.status == 502 {
				if got.code() != "internal_error" {
					t.Errorf("code %q, want internal_error", got.code())
				}
				return
			}
			if got.body != tt.body {
				t.Errorf("body %q, want %q", got.body, tt.body)
			}
			have := http.Header{}
			for _, name := range []string{"Content-Type", "X-One", "Www-Authenticate", "Server", "Connection", "Trailer", "X-Amzn-Remapped-Www-Authenticate", "X-Amzn-Remapped-Server"} {
				for _, v := range got.header.Values(name) {
					have.Add(name, v)
				}
			}
			if d := cmp.Diff(tt.header, have); d != "" {
				t.Errorf("headers (-want +got):\n%s", d)
			}
		})
	}
}

func TestABinaryAnswerIsDecodedForWhoAcceptsIt(t *testing.T) {
	a := newAPI(t, func(o *gateway.Options) { o.BinaryMediaTypes = []string{"image/png"} })
	a.things = answerWith(`{"body":"Yf9i","isBase64Encoded":true}`)
	// "API Gateway only honors the first Accept media type."
	for accept, want := range map[string]string{
		"image/png": "a\xffb", "image/png, */*": "a\xffb", "*/*, image/png": "Yf9i", "text/html": "Yf9i",
	} {
		if got := a.send("GET", "/things", "", key, "Accept: "+accept); got.body != want {
			t.Errorf("Accept %s: %q, want %q", accept, got.body, want)
		}
	}
	a.things = answerWith(`{"body":"not base64!","isBase64Encoded":true}`)
	if got := a.send("GET", "/things", "", key, "Accept: image/png"); got.status != 502 {
		t.Errorf("broken base64: %d, want 502", got.status)
	}
}
