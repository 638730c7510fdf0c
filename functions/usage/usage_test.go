package usage

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/alert"
	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/emf"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/logline"
	"github.com/keyreeve/keyreeve/pkg/route"
	"github.com/keyreeve/keyreeve/pkg/usage"
	"github.com/keyreeve/keyreeve/pkg/usage/usagetest"
)

var now = time.Date(2026, 1, 15, 10, 30, 0, 0, time.UTC)

// world is the function with a real Counter, and a watcher that notes what it is told.
type world struct {
	*Usage
	t        *testing.T
	store    *usagetest.Memory
	out, log bytes.Buffer
	observed int
	sweeps   int
	fails    error // of the watcher
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, store: usagetest.NewMemory()}
	logger := slog.New(slog.NewTextHandler(&w.log, nil))
	w.Usage = New(Config{
		Counter: usage.New(usage.Config{Store: w.store, Table: route.Default(), Keys: nobody{}, Log: logger}),
		Watcher: w, Metrics: emf.New(&w.out, "Keyreeve", w.now), Clock: w.now, Log: logger,
	})
	return w
}

func (w *world) now() time.Time { return now }

type nobody struct{}

func (nobody) Key(context.Context, apikey.ID) (keys.Key, error) {
	return keys.Key{}, keys.ErrNotFound
}

func (w *world) Observe(_ context.Context, f usage.Facts) error {
	w.observed += len(f.Requests)
	return w.fails
}

func (w *world) Sweep(context.Context) (alert.Swept, error) {
	w.sweeps++
	return alert.Swept{Keys: 50, Raised: 2, Drift: 7}, w.fails
}

// requests is how many requests were counted.
func (w *world) requests() (n int64) {
	for _, t := range w.store.Tables().Totals {
		n += t.Requests
	}
	return n
}

func (w *world) invoke(payload string) (answer string, err error) {
	out, err := w.Invoke(w.t.Context(), []byte(payload))
	return string(out), err
}

// zip is what CloudWatch Logs makes of a message: gzip in base64, in an event.
func zip(message string) string {
	return `{"awslogs":{"data":"` + base64.StdEncoding.EncodeToString(gzipped(message)) + `"}}`
}

func gzipped(s string) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte(s)) // to a buffer
	_ = z.Close()
	return b.Bytes()
}

// delivered is an event with these lines.
func delivered(lines ...string) string {
	type event struct {
		ID        string `json:"id"`
		Timestamp int64  `json:"timestamp"`
		Message   string `json:"message"`
	}
	var list []event
	for i, l := range lines {
		list = append(list, event{fmt.Sprintf("%056d", i), now.UnixMilli(), l})
	}
	text, _ := json.Marshal(map[string]any{ // plain data always has its JSON
		"messageType": "DATA_MESSAGE", "owner": "123456789012", "logGroup": "access", "logStream": "s", "subscriptionFilters": []string{"usage"},
		"logEvents": list,
	})
	return zip(string(text))
}

// request is the line of the nth request, that many seconds ago.
func request(n int) string {
	return logline.Access{
		ExtendedRequestID: fmt.Sprintf("ext%d=", n), Time: now.Add(-time.Duration(n) * time.Second), Stage: "production", Method: "GET",
		Route: "/v1/customers", Status: 200, KeyID: "AbCd1234", AccountID: "acct_1", Environment: "production", Generation: 1,
	}.Line()
}

func line(members string) string {
	return `{"_aws":{"Timestamp":1768473000000,"CloudWatchMetrics":[{"Namespace":"Keyreeve","Dimensions":[[]],"Metrics":[` + members + "}\n"
}

func TestABatchIsCountedWatchedAndMeasured(t *testing.T) {
	w := newWorld(t)
	refusal := func(id apikey.ID) string {
		var b bytes.Buffer
		logline.Event{What: logline.Refused, By: logline.ByAuthorizer, ExtendedRequestID: "other", Time: now.Add(-time.Minute), KeyID: id}.
			Log(t.Context(), slog.New(slog.NewJSONHandler(&b, nil)))
		return b.String()
	}
	if answer, err := w.invoke(delivered(request(3), request(4), "not a line of ours", refusal("Nobodys0"))); err != nil || answer != "null" {
		t.Fatalf("%q, %v", answer, err)
	}
	if answer, err := w.invoke(delivered(request(4), request(5))); err != nil || answer != "null" {
		t.Fatalf("%q, %v", answer, err)
	}
	if w.requests() != 3 || w.observed != 4 {
		t.Errorf("%d requests counted, %d lines of requests watched; want 3 and 4", w.requests(), w.observed)
	}
	want := line(`{"Name":"LinesCounted","Unit":"Count"},{"Name":"LinesUnreadable","Unit":"Count"},{"Name":"Unattributed","Unit":"Count"},`+
		`{"Name":"Lag","Unit":"Milliseconds"}]}]},"LinesCounted":2,"LinesUnreadable":1,"Unattributed":1,"Lag":3000`) +
		line(`{"Name":"LinesCounted","Unit":"Count"},{"Name":"LinesDuplicate","Unit":"Count"},`+
			`{"Name":"Lag","Unit":"Milliseconds"}]}]},"LinesCounted":1,"LinesDuplicate":1,"Lag":4000`)
	if diff := cmp.Diff(want, w.out.String()); diff != "" {
		t.Errorf("metrics (-want +got)\n%s", diff)
	}
}

func TestABatchWithoutAReadableLineHasNoLag(t *testing.T) {
	w := newWorld(t)
	if _, err := w.invoke(delivered("nothing of ours")); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(w.out.String(), "Lag") || !strings.Contains(w.out.String(), `"LinesUnreadable":1`) {
		t.Errorf("metrics: %s", w.out.String())
	}
}

func TestTheScheduleSweeps(t *testing.T) {
	w := newWorld(t)
	const schedule = `{"version":"0","id":"1","detail-type":"Scheduled Event","source":"aws.events","account":"123456789012","time":"2026-01-15T10:30:00Z","region":"eu-central-1","resources":[],"detail":{}}`
	if answer, err := w.invoke(schedule); err != nil || answer != "null" {
		t.Fatalf("%q, %v", answer, err)
	}
	want := line(`{"Name":"AlertsRaised","Unit":"Count"},{"Name":"Drift","Unit":"Count"}]}]},"AlertsRaised":2,"Drift":7`)
	if diff := cmp.Diff(want, w.out.String()); diff != "" || w.sweeps != 1 {
		t.Errorf("%d sweeps; metrics (-want +got)\n%s", w.sweeps, diff)
	}
	w.fails = errors.New("no store")
	if _, err := w.invoke(schedule); err == nil {
		t.Error("a sweep that failed is answered as done")
	}
}

func TestAFailedBatchIsAnErrorAndCountedWhenItComesAgain(t *testing.T) {
	w := newWorld(t)
	w.fails = keys.ErrUnavailable
	batch := delivered(request(1), request(2))
	for range 2 {
		if _, err := w.invoke(batch); !errors.Is(err, keys.ErrUnavailable) {
			t.Errorf("error %v, want ErrUnavailable", err)
		}
	}
	if w.out.Len() > 0 {
		t.Errorf("metrics of a batch that is not done: %s", w.out.String())
	}
	w.fails = nil
	if _, err := w.invoke(batch); err != nil {
		t.Fatal(err)
	}
	if w.requests() != 2 {
		t.Errorf("%d requests, want 2", w.requests())
	}
}

// failed is a message of the queue: Lambda's record of an event that it gave up.
func failed(id, payload string) string {
	record, _ := json.Marshal(map[string]any{
		"version": "1.0", "timestamp": "2026-01-15T10:30:00.000Z",
		"requestContext": map[string]any{"requestId": "1", "functionArn": "arn:aws:lambda:eu-central-1:123456789012:function:usage:$LATEST", "condition": "RetriesExhausted", "approximateInvokeCount": 3},
		"requestPayload": json.RawMessage(payload), "responseContext": map[string]any{"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
	})
	return message(id, string(record))
}

func message(id, body string) string {
	text, _ := json.Marshal(map[string]any{"messageId": id, "receiptHandle": "h", "body": body, "eventSource": "aws:sqs", "attributes": map[string]string{"ApproximateReceiveCount": "1"}})
	return string(text)
}

func TestARedriveCountsWhatWasGivenUpAndKeepsWhatFailsAgain(t *testing.T) {
	w := newWorld(t)
	answer, err := w.invoke(`{"Records":[` + strings.Join([]string{
		failed("good", delivered(request(1))),
		failed("broken", zip(`{"messageType":"DATA_MESSAGE"`)),
		message("foreign", "hello"),
		message("empty", "{}"),
		failed("other event", `{"awslogs":null}`),
		failed("sweep", `{"source":"aws.events","detail-type":"Scheduled Event"}`),
		failed("again", delivered(request(1), request(2))),
	}, ",") + `]}`)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"batchItemFailures":[{"itemIdentifier":"broken"},{"itemIdentifier":"foreign"},{"itemIdentifier":"empty"},{"itemIdentifier":"other event"}]}`
	if diff := cmp.Diff(want, answer); diff != "" {
		t.Errorf("answer (-want +got)\n%s", diff)
	}
	if w.requests() != 2 || w.sweeps != 1 {
		t.Errorf("%d requests, %d sweeps; want 2 and 1", w.requests(), w.sweeps)
	}
	w.fails = keys.ErrUnavailable
	if answer, err := w.invoke(`{"Records":[` + failed("1", delivered(request(3))) + `]}`); err != nil || !strings.Contains(answer, `{"itemIdentifier":"1"}`) {
		t.Errorf("a message that could not be counted: %s, %v", answer, err)
	}
	w.fails = nil
	if answer, err := w.invoke(`{"Records":[` + failed("1", delivered(request(3))) + `]}`); err != nil || answer != `{"batchItemFailures":[]}` {
		t.Errorf("a message that could be counted: %s, %v", answer, err)
	}
	if w.requests() != 3 {
		t.Errorf("%d requests, want 3", w.requests())
	}
}

func TestAControlMessageIsNoBatch(t *testing.T) {
	w := newWorld(t)
	const control = `{"messageType":"CONTROL_MESSAGE","owner":"CloudwatchLogs","logGroup":"","logStream":"","subscriptionFilters":[],"logEvents":[{"id":"","timestamp":1,"message":"CWL CONTROL MESSAGE: Checking health of destination"}]}`
	if answer, err := w.invoke(zip(control)); err != nil || answer != "null" {
		t.Errorf("%q, %v", answer, err)
	}
	if w.out.Len() > 0 {
		t.Errorf("metrics: %s", w.out.String())
	}
}

func TestWhatCannotBeReadIsAnErrorThatQuotesNothing(t *testing.T) {
	const secret = "kr_live_AbCd1234SECRET"
	for name, payload := range map[string]string{
		"nothing":         "",
		"no JSON":         secret,
		"another event":   `{"httpMethod":"GET","path":"` + secret + `"}`,
		"another source":  `{"source":"aws.s3","detail-type":"Scheduled Event"}`,
		"no base64":       `{"awslogs":{"data":"` + secret + `!"}}`,
		"no gzip":         `{"awslogs":{"data":"` + base64.StdEncoding.EncodeToString([]byte(secret)) + `"}}`,
		"no data":         `{"awslogs":{}}`,
		"cut off":         `{"awslogs":{"data":"H4sIAAAAAAAA/w=="}}`,
		"no message":      zip(secret),
		"unknown type":    zip(`{"messageType":"` + secret + `"}`),
		"events of text":  zip(`{"messageType":"DATA_MESSAGE","logEvents":["` + secret + `"]}`),
		"an empty object": `{}`,
	} {
		w := newWorld(t)
		answer, err := w.invoke(payload)
		if err == nil {
			t.Errorf("%s: answered %q", name, answer)
			continue
		}
		if strings.Contains(err.Error()+w.log.String(), "SECRET") {
			t.Errorf("%s: the error or the log quotes it", name)
		}
	}
}

func TestAnEnvelopeThatWouldFillTheMemoryIsRefused(t *testing.T) {
	var data []byte
	part := gzipped(strings.Repeat(" ", 1<<20))
	for range maxEnvelope>>20 + 1 { // gzip may be made of parts (RFC 1952, section 2.2)
		data = append(data, part...)
	}
	bomb := `{"awslogs":{"data":"` + base64.StdEncoding.EncodeToString(data) + `"}}`
	if len(bomb) > 1<<20 {
		t.Fatalf("%d bytes, want it to pass as a delivery", len(bomb))
	}
	w := newWorld(t)
	if _, err := w.invoke(bomb); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("error %v", err)
	}
}

func TestMetricsThatCannotBeWrittenDoNotRepeatABatch(t *testing.T) {
	w := newWorld(t)
	w.cfg.Metrics = emf.New(&w.out, "", nil) // no namespace: nothing may be written
	if _, err := w.invoke(delivered(request(1))); err != nil {
		t.Errorf("the batch is counted, and yet: %v", err)
	}
	if !strings.Contains(w.log.String(), "no metrics") {
		t.Errorf("the log says nothing of it: %s", w.log.String())
	}
}
