package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/config"
	"github.com/keyreeve/keyreeve/pkg/flush"
)

// flushed calls an API Gateway that answers so, and returns what it was sent.
func flushed(t *testing.T, status int, header http.Header) (got *http.Request, err error) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		for name, values := range header {
			w.Header()[name] = values
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(`{"message":"an echo of who knows what"}`))
	}))
	t.Cleanup(server.Close)
	err = newStageCache(config.Config{
		Region: "eu-central-1", AccessKeyID: "AKID", SecretAccessKey: "secret", SessionToken: "token",
		RestAPIID: "a1b2c3", APIGatewayEndpoint: server.URL + "/",
	}).Flush(t.Context(), "production")
	return got, err
}

func TestAFlushIsOneSignedCall(t *testing.T) {
	r, err := flushed(t, http.StatusAccepted, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := r.Method+" "+r.URL.String(), "DELETE /restapis/a1b2c3/stages/production/cache/authorizers"; got != want {
		t.Errorf("call %s, want %s", got, want)
	}
	authorization, signature, _ := strings.Cut(r.Header.Get("Authorization"), ", Signature=")
	want := "AWS4-HMAC-SHA256 Credential=AKID/" + r.Header.Get("X-Amz-Date")[:8] + "/eu-central-1/apigateway/aws4_request, SignedHeaders=accept;host;x-amz-date;x-amz-security-token"
	if diff := cmp.Diff(want, authorization); diff != "" || len(signature) != 64 || r.Header.Get("X-Amz-Security-Token") != "token" {
		t.Errorf("signature of %d characters; authorization (-want +got)\n%s", len(signature), diff)
	}
}

func TestWhatBecomesOfAFlush(t *testing.T) {
	for _, tt := range []struct {
		status    int
		header    http.Header
		throttled bool
		want      string
	}{
		{http.StatusTooManyRequests, http.Header{"X-Amzn-Errortype": {"TooManyRequestsException"}}, true, "throttled"},
		{http.StatusForbidden, http.Header{"X-Amzn-Errortype": {"AccessDeniedException:http://internal.amazon.com/"}}, false, "AccessDeniedException"},
		{http.StatusNotFound, http.Header{"X-Amzn-Errortype": {"NotFoundException"}}, false, "NotFoundException"},
		{http.StatusTemporaryRedirect, http.Header{"Location": {"http://127.0.0.1:1/"}}, false, "status 307"},
		{http.StatusServiceUnavailable, nil, false, "status 503"},
	} {
		_, err := flushed(t, tt.status, tt.header)
		if err == nil || errors.Is(err, flush.ErrThrottled) != tt.throttled || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "echo") {
			t.Errorf("%d: %v, want throttled %t, %s", tt.status, err, tt.throttled, tt.want)
		}
	}
}

func TestNothingIsFlushedWithoutARestAPI(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	broken := config.Config{Region: "eu-central-1", APIGatewayEndpoint: "http://127.0.0.1:1"}
	if err := (&wiring{cfg: broken}).flusher().Flush(ctx, []string{"production"}); err != nil {
		t.Errorf("without REST_API_ID: %v", err)
	}
	broken.RestAPIID = "a1b2c3"
	if err := (&wiring{cfg: broken}).flusher().Flush(ctx, []string{"production"}); err == nil {
		t.Error("with REST_API_ID: no call")
	}
}
