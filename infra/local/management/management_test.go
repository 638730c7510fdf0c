package management_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/infra/local/management"
)

// call is one request, signed by an access key id, and what the answer was.
func call(m *management.Manager, method, path, id string) (status int, kind string) {
	r := httptest.NewRequest(method, path, nil)
	if id != "" {
		r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+id+"/20260115/us-east-1/apigateway/aws4_request, SignedHeaders=host, Signature=00")
	}
	w := httptest.NewRecorder()
	m.ServeHTTP(w, r)
	return w.Code, w.Header().Get("x-amzn-ErrorType")
}

const path = "/restapis/local/stages/production/cache/authorizers"

func TestOnlyTheFunctionsFlushAStageThatThereIs(t *testing.T) {
	var flushed []string
	m := management.New(management.Options{
		APIID: "local", Stages: []string{"production", "shared"}, AccessKeyID: "RIGHT",
		Flush: func(stage string) { flushed = append(flushed, stage) },
	})
	for _, tt := range []struct {
		method, path, id string
		status           int
		kind             string
	}{
		{"DELETE", path, "RIGHT", 202, ""},
		{"DELETE", "/restapis/local/stages/shared/cache/authorizers", "RIGHT", 202, ""},
		{"DELETE", path, "", 403, "UnrecognizedClientException"},
		{"DELETE", path, "RIGH", 403, "UnrecognizedClientException"},
		{"DELETE", path, "RIGHTX", 403, "UnrecognizedClientException"},
		{"GET", path, "RIGHT", 403, "MissingAuthenticationTokenException"},
		{"DELETE", "/restapis/local/stages/production/cache/data", "RIGHT", 403, "MissingAuthenticationTokenException"},
		{"DELETE", "/restapis/other/stages/production/cache/authorizers", "RIGHT", 404, "NotFoundException"},
		{"DELETE", "/restapis/local/stages/staging/cache/authorizers", "RIGHT", 404, "NotFoundException"},
	} {
		if status, kind := call(m, tt.method, tt.path, tt.id); status != tt.status || kind != tt.kind {
			t.Errorf("%s %s by %q: %d %s, want %d %s", tt.method, tt.path, tt.id, status, kind, tt.status, tt.kind)
		}
	}
	if d := cmp.Diff([]string{"production", "shared"}, flushed); d != "" || m.Flushed("production") != 1 || m.Flushed("staging") != 0 {
		t.Errorf("counted %d of production; flushed (-want +got):\n%s", m.Flushed("production"), d)
	}
}

func TestTheAccountsThrottle(t *testing.T) {
	now := time.Date(2026, 1, 15, 10, 30, 0, 0, time.UTC)
	m := management.New(management.Options{
		APIID: "local", Stages: []string{"production"}, AccessKeyID: "RIGHT", Flush: func(string) {}, Clock: func() time.Time { return now },
	})
	taken := func(calls int) (n int) {
		for range calls {
			switch status, kind := call(m, http.MethodDelete, path, "RIGHT"); {
			case status == 202:
				n++
			case status != 429 || kind != "TooManyRequestsException":
				t.Fatalf("%d %s", status, kind)
			}
		}
		return n
	}
	if n := taken(100); n != 40 {
		t.Errorf("%d calls at once, want 40", n)
	}
	now = now.Add(time.Second)
	if n := taken(100); n != 10 {
		t.Errorf("%d calls a second later, want 10", n)
	}
	now = now.Add(time.Hour)
	m.Exhaust()
	if n := taken(100); n != 0 {
		t.Errorf("%d calls when others had made them all, want none", n)
	}
	if m.Flushed("production") != 50 {
		t.Errorf("%d flushes, want 50: one that is throttled does nothing", m.Flushed("production"))
	}
}
