package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/functions/forward"
	"github.com/keyreeve/keyreeve/pkg/config"
)

const orders = "arn:aws:lambda:eu-west-3:123456789012:function:orders"

// lambdaEndpoint answers invocations and keeps the last one.
type lambdaEndpoint struct {
	url     string
	request *http.Request
	body    string
	answer  func(w http.ResponseWriter)
}

func newLambdaEndpoint(t *testing.T) *lambdaEndpoint {
	e := &lambdaEndpoint{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		e.request, e.body = r, string(body)
		e.answer(w)
	}))
	t.Cleanup(server.Close)
	e.url = server.URL
	return e
}

func (e *lambdaEndpoint) lambdas() *lambdas {
	return newLambdas(config.Config{Region: "us-east-1", LambdaEndpoint: e.url + "/", AccessKeyID: "AKID", SecretAccessKey: "wJalrXUtnFEMI", SessionToken: "session"})
}

func TestInvokeIsOneSignedRequest(t *testing.T) {
	e := newLambdaEndpoint(t)
	e.answer = func(w http.ResponseWriter) { _, _ = io.WriteString(w, `{"statusCode":200}`) }
	for arn, path := range map[string]string{
		orders:              "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aeu-west-3%3A123456789012%3Afunction%3Aorders/invocations",
		orders + ":$LATEST": "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aeu-west-3%3A123456789012%3Afunction%3Aorders%3A%24LATEST/invocations",
	} {
		out, failed, err := e.lambdas().Invoke(t.Context(), arn, []byte(`{"a":1}`))
		if string(out) != `{"statusCode":200}` || failed || err != nil || e.body != `{"a":1}` {
			t.Errorf("Invoke = %s, %t, %v for %s", out, failed, err, e.body)
		}
		if e.request.Method != "POST" || e.request.RequestURI != path || e.request.Header.Get("X-Amz-Invocation-Type") != "RequestResponse" {
			t.Errorf("request %s %s %v", e.request.Method, e.request.RequestURI, e.request.Header)
		}
		if got, want := e.request.Header.Get("Authorization"), signature(e.request, e.body, "eu-west-3"); got != want {
			t.Errorf("Authorization\n%s, want\n%s", got, want)
		}
	}
}

// signature is Signature Version 4 for Lambda, by its description
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html):
// the path is encoded once more for everything but S3.
func signature(r *http.Request, body, region string) string {
	hash := func(s string) string { sum := sha256.Sum256([]byte(s)); return hex.EncodeToString(sum[:]) }
	mac := func(key []byte, s string) []byte {
		m := hmac.New(sha256.New, key)
		m.Write([]byte(s))
		return m.Sum(nil)
	}
	_, list, _ := strings.Cut(r.Header.Get("Authorization"), "SignedHeaders=")
	list, _, _ = strings.Cut(list, ",")
	canonical := "POST\n" + strings.ReplaceAll(r.RequestURI, "%", "%25") + "\n\n"
	for name := range strings.SplitSeq(list, ";") {
		value := r.Header.Get(name)
		if name == "host" {
			value = r.Host
		}
		canonical += name + ":" + value + "\n"
	}
	canonical += "\n" + list + "\n" + hash(body)
	at := r.Header.Get("X-Amz-Date")
	scope := at[:8] + "/" + region + "/lambda/aws4_request"
	key := mac(mac(mac(mac([]byte("AWS4wJalrXUtnFEMI"), at[:8]), region), "lambda"), "aws4_request")
	return "AWS4-HMAC-SHA256 Credential=AKID/" + scope + ", SignedHeaders=" + list +
		", Signature=" + hex.EncodeToString(mac(key, "AWS4-HMAC-SHA256\n"+at+"\n"+scope+"\n"+hash(canonical)))
}

func TestInvokeTellsWhatBecameOfTheFunction(t *testing.T) {
	e := newLambdaEndpoint(t)
	e.answer = func(w http.ResponseWriter) {
		w.Header().Set("X-Amz-Function-Error", "Unhandled")
		_, _ = io.WriteString(w, `{"errorType":"KeyError"}`)
	}
	if out, failed, err := e.lambdas().Invoke(t.Context(), orders, nil); string(out) != `{"errorType":"KeyError"}` || !failed || err != nil {
		t.Errorf("a function that failed: %s, %t, %v", out, failed, err)
	}
	for code, want := range map[string]string{
		"AccessDeniedException": "AccessDeniedException", "TooManyRequestsException:http://internal": "TooManyRequestsException",
		"": "status 429", "a\tb c": "status 429", strings.Repeat("x", 65): "status 429",
	} {
		e.answer = func(w http.ResponseWriter) {
			w.Header().Set("X-Amzn-Errortype", code)
			w.WriteHeader(429)
			_, _ = io.WriteString(w, `{"statusCode":200}`)
		}
		var refused *forward.InvokeError
		if out, failed, err := e.lambdas().Invoke(t.Context(), orders, nil); !errors.As(err, &refused) || refused.Code != want || out != nil || failed {
			t.Errorf("refused with %q: %s, %t, %v; want %s", code, out, failed, err, want)
		}
	}
	for status, location := range map[int]string{307: "https://elsewhere.example/", 200: ""} {
		e.answer = func(w http.ResponseWriter) {
			w.Header().Set("Location", location)
			w.WriteHeader(status)
			if status == 200 {
				_, _ = io.WriteString(w, strings.Repeat("x", maxOutput+1000))
			}
		}
		out, _, err := e.lambdas().Invoke(t.Context(), orders, nil)
		if len(out) > maxOutput || (err == nil) != (status == 200) {
			t.Errorf("status %d: %d bytes, %v", status, len(out), err)
		}
	}
}
