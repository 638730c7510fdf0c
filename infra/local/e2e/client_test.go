package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// answer is what came back of one request.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// problem is the common error shape.
type problem struct {
	Success bool
	Error   struct {
		Code, Message, RequestID string
		Fields                   []struct{ Field, Message string }
	}
}

func (a answer) problem() (p problem) {
	_ = json.Unmarshal(a.body, &p) // another shape leaves the code empty, which no test wants
	return p
}

func (a answer) code() string    { return a.problem().Error.Code }
func (a answer) message() string { return a.problem().Error.Message }

// String shows status and code; never the body, which may hold a key.
func (a answer) String() string { return strings.TrimSpace(fmt.Sprint(a.status, " ", a.code())) }

// mustRefuse fails the test unless a is that refusal, in the common error shape.
func (a answer) mustRefuse(t *testing.T, status int, code string) {
	t.Helper()
	p := a.problem()
	if a.status != status || p.Error.Code != code || p.Success || p.Error.Message == "" || p.Error.RequestID == "" {
		t.Errorf("answer = %s, want %d %s with a message and a request id", a, status, code)
	}
}

// data is the data member of an answer in the envelope.
func (a answer) data(t *testing.T) map[string]any {
	t.Helper()
	var v struct{ Data map[string]any }
	if err := json.Unmarshal(a.body, &v); err != nil || v.Data == nil {
		t.Fatalf("answer = %s: no data", a)
	}
	return v.Data
}

func xAPIKey(key string) http.Header { return http.Header{"X-Api-Key": {key}} }

// once sends a request to the gateway. path starts with a stage or, as on a custom domain,
// with the API's own path; it is sent as it is spelled.
func (w *world) once(t testing.TB, method, path string, header http.Header, body string) answer {
	t.Helper()
	a, err := w.try(method, path, header, body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, strings.SplitN(path, "?", 2)[0], err)
	}
	return a
}

// call is once for tests of something else than failures: it repeats what was refused
// because the store of a busy machine did not answer in time, which says that nothing was
// done and nothing was decided. How often that may be, end judges.
func (w *world) call(t testing.TB, method, path string, header http.Header, body string) (a answer) {
	t.Helper()
	for range 5 {
		if a = w.once(t, method, path, header, body); !a.overloaded() {
			break
		}
		w.repeated.Add(1)
	}
	w.calls.Add(1)
	return a
}

// overloaded reports whether the answer says that the store was too slow.
func (a answer) overloaded() bool {
	return a.status == http.StatusServiceUnavailable && a.code() == "unavailable" ||
		a.status == http.StatusInternalServerError && a.code() == "authorizer_failure"
}

// try is once for goroutines, which must not end a test.
func (w *world) try(method, path string, header http.Header, body string) (answer, error) {
	return w.tryBy(w.http, method, path, header, body)
}

func (w *world) tryBy(client *http.Client, method, path string, header http.Header, body string) (answer, error) {
	req, err := http.NewRequest(method, w.url+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	req.Header = header.Clone()
	if req.Header == nil {
		req.Header = http.Header{}
	}
	if body != "" && req.Header.Get("Content-Type") == "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	a := answer{resp.StatusCode, resp.Header, text}
	w.canary.heard(a)
	return a, err
}

// issued is a key just made.
type issued struct {
	id, key string
	number  int64
}

// create makes a key on the canonical face.
func (w *world) create(t testing.TB, by, body string) issued {
	t.Helper()
	a := w.call(t, "POST", "/v1/api-keys", xAPIKey(by), body)
	if a.status != http.StatusCreated {
		t.Fatalf("creating a key = %s, want 201", a)
	}
	return w.issued(t, a)
}

// issued reads the answer of a create or regenerate.
func (w *world) issued(t testing.TB, a answer) issued {
	t.Helper()
	var v struct {
		Data struct {
			KeyID, APIKey string
			Number        int64
		}
	}
	if err := json.Unmarshal(a.body, &v); err != nil || v.Data.APIKey == "" {
		t.Fatalf("answer = %s: holds no key", a)
	}
	w.knows(v.Data.APIKey)
	return issued{v.Data.KeyID, v.Data.APIKey, v.Data.Number}
}

// change is a request that must succeed.
func (w *world) change(t testing.TB, by, method, path, body string) answer {
	t.Helper()
	a := w.call(t, method, path, xAPIKey(by), body)
	if a.status < 200 || a.status > 299 {
		t.Fatalf("%s %s = %s, want success", method, path, a)
	}
	return a
}

// eventually waits for what happens in the background, which must be within d.
func eventually(t testing.TB, d time.Duration, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(d); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, d)
		}
	}
}
