package authorizer

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

// runtimeAPI is Lambda's Runtime API, as far as one handler needs it: it hands out events
// and takes what is posted back.
type runtimeAPI struct {
	events chan []byte
	posted chan posted
}

// posted is one answer of the runtime, without what is the transport's.
type posted struct {
	path, contentType, cause string
	body                     []byte
}

func (r *runtimeAPI) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.Method == http.MethodGet {
		event := <-r.events
		w.Header().Set("Lambda-Runtime-Aws-Request-Id", "invocation-1")
		w.Header().Set("Lambda-Runtime-Deadline-Ms", "32503680000000") // in the year 3000
		_, _ = w.Write(event)
		return
	}
	body, _ := io.ReadAll(req.Body)
	r.posted <- posted{req.URL.Path, req.Header.Get("Content-Type"), req.Header.Get("Lambda-Runtime-Function-Xray-Error-Cause"), body}
	w.WriteHeader(http.StatusAccepted)
}

// TestRefusalsAreByteIdenticalOnTheWire runs the handler under the real runtime client and
// compares what API Gateway gets to see.
func TestRefusalsAreByteIdenticalOnTheWire(t *testing.T) {
	w := newWorld(t)
	api := &runtimeAPI{events: make(chan []byte), posted: make(chan posted)}
	// Neither the server nor the loop is stopped: lambda.Start ends its process then.
	server := httptest.NewServer(api)
	t.Setenv("AWS_LAMBDA_RUNTIME_API", strings.TrimPrefix(server.URL, "http://"))
	go lambda.Start(w.a)
	send := func(ev map[string]any) posted {
		api.events <- marshal(t, ev)
		return <-api.posted
	}

	good := w.key.Plaintext()
	const prefix = "/2018-06-01/runtime/invocation/invocation-1/"
	if got := send(request(xAPIKey(good))); got.path != prefix+"response" || !bytes.Contains(got.body, []byte(`"Allow"`)) {
		t.Fatalf("good key: posted %s to %s, want a policy", got.body, got.path)
	}
	want := posted{prefix + "error", "application/json", "", []byte(`{"errorMessage":"Unauthorized","errorType":"errorString"}`)}
	refusals := map[string]map[string]any{
		"none":         request(),
		"malformed":    request(xAPIKey("junk")),
		"unknown":      request(xAPIKey(w.generate(t, apikey.NewID()).Plaintext())),
		"wrong secret": request(authorization("Bearer " + w.generate(t, w.key.ID()).Plaintext())),
		"two":          request(xAPIKey(good), authorization("Bearer "+good)),
		"environment":  with(request(xAPIKey(good)), "stageVariables", map[string]any{"environment": "staging"}),
	}
	for what, ev := range refusals {
		got := send(ev)
		if want.cause == "" {
			want.cause = got.cause
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: posted %+v\nwant %+v\nbody %s", what, got, want, got.body)
		}
		w.noSecret(t, string(got.body)+got.cause)
	}
	for reason, change := range map[keys.Reason]func(*keys.Key){
		keys.ReasonCanary:   func(k *keys.Key) { k.Canary, k.Active = true, false },
		keys.ReasonInactive: func(k *keys.Key) { k.Active = false },
		keys.ReasonDeleted:  func(k *keys.Key) { k.Deleted = true },
		keys.ReasonExpired:  func(k *keys.Key) { k.ExpiresAt = now },
	} {
		was := w.stored
		w.put(change)
		if got := send(request(xAPIKey(good))); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: posted %+v\nwant %+v", reason, got, want)
		}
		w.stored = was
	}

	w.store.err = keys.ErrUnavailable
	got := send(request(xAPIKey(good)))
	if got.path != prefix+"error" || bytes.Contains(got.body, []byte("Unauthorized")) || !bytes.Contains(got.body, []byte(`"errorMessage":"authorizer failure"`)) {
		t.Errorf("store unavailable: posted %s to %s, want another error", got.body, got.path)
	}
}
