package dynamo_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
)

// counting is a transport that counts the requests that go out, by operation.
type counting struct {
	dynamodb.HTTPClient
	mu    sync.Mutex
	calls []string
}

func (c *counting) option(o *dynamodb.Options) { c.HTTPClient, o.HTTPClient = o.HTTPClient, c }

func (c *counting) Do(r *http.Request) (*http.Response, error) {
	_, op, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	c.mu.Lock()
	c.calls = append(c.calls, op)
	c.mu.Unlock()
	return c.HTTPClient.Do(r)
}

// take is what went out since the last take.
func (c *counting) take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	calls := c.calls
	c.calls = nil
	return calls
}

// lazyBatches plays a busy table: of every BatchGetItem it serves the first keys and
// gives the others back as unprocessed.
type lazyBatches struct {
	dynamodb.HTTPClient
	most  int
	calls atomic.Int64
}

func (l *lazyBatches) Do(r *http.Request) (*http.Response, error) {
	if !strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".BatchGetItem") {
		return l.HTTPClient.Do(r)
	}
	l.calls.Add(1)
	var in struct{ RequestItems map[string]map[string]any }
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		return nil, err
	}
	left := map[string]map[string]any{}
	for table, want := range in.RequestItems {
		list, _ := want["Keys"].([]any)
		n := min(l.most, len(list))
		if n < len(list) {
			left[table] = map[string]any{"Keys": list[n:], "ProjectionExpression": want["ProjectionExpression"]}
		}
		want["Keys"] = list[:n]
	}
	out := map[string]any{"Responses": map[string]any{}}
	if l.most > 0 {
		body, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		r = r.Clone(r.Context())
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		resp, err := l.HTTPClient.Do(r)
		if err != nil || resp.StatusCode != http.StatusOK {
			return resp, err
		}
		defer resp.Body.Close()
		if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
			return nil, err
		}
	}
	out["UnprocessedKeys"] = left
	body, err := json.Marshal(out)
	if err != nil {
		return nil, err
	}
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/x-amz-json-1.0"}},
		Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)), Request: r,
	}, nil
}
