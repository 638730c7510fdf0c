package deploytest

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/logline"
)

// accessLineID begins the extended ids of requests whose lines the flows write.
const accessLineID = "deploytest-"

// accessLine is the line that API Gateway would have written of a request that got an
// answer: the emulator writes none.
func accessLine(t *testing.T, key issued, method, route string, a answer) logline.Access {
	t.Helper()
	line := logline.Access{
		ExtendedRequestID: accessLineID + string(apikey.NewID()+apikey.NewID()), RequestID: a.header.Get("X-Amzn-Requestid"),
		Time: time.Now().UTC().Truncate(time.Millisecond), Stage: "production", Method: method, Route: route, Protocol: "HTTP/1.1",
		Status: a.status, Latency: 20 * time.Millisecond, SourceIP: "203.0.113.7", UserAgent: "deploytest",
		KeyID: idOf(t, key.key), AccountID: "first", Environment: "production", Generation: 1,
	}
	if a.status == http.StatusForbidden {
		line.ResponseType = "ACCESS_DENIED"
	}
	return line
}

// write puts lines into a log group, as the service does that writes the log.
func (e *emulator) write(t *testing.T, group string, lines ...string) {
	t.Helper()
	type event struct {
		Timestamp int64  `json:"timestamp"`
		Message   string `json:"message"`
	}
	call := func(action string, body any) (int, []byte) {
		t.Helper()
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		status, _, answer := e.ask(t, "", "logs", http.MethodPost, "/", map[string]string{
			"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "Logs_20140328." + action,
		}, string(text))
		return status, answer
	}
	const stream = "deploytest"
	if status, answer := call("CreateLogStream", map[string]string{"logGroupName": group, "logStreamName": stream}); status != http.StatusOK &&
		!strings.Contains(string(answer), "ResourceAlreadyExists") {
		t.Fatalf("CreateLogStream = %d\n%s", status, answer)
	}
	var events []event
	for _, l := range lines {
		events = append(events, event{time.Now().UnixMilli(), l})
	}
	if status, answer := call("PutLogEvents", map[string]any{"logGroupName": group, "logStreamName": stream, "logEvents": events}); status != http.StatusOK {
		t.Fatalf("PutLogEvents = %d\n%s", status, answer)
	}
}

// envelope is lines of a log group as CloudWatch Logs hands them to a subscriber.
func envelope(t *testing.T, group string, lines ...string) string {
	t.Helper()
	type event struct {
		ID        string `json:"id"`
		Timestamp int64  `json:"timestamp"`
		Message   string `json:"message"`
	}
	var events []event
	for i, l := range lines {
		events = append(events, event{fmt.Sprintf("%056d", i), time.Now().UnixMilli(), l})
	}
	text, err := json.Marshal(map[string]any{
		"messageType": "DATA_MESSAGE", "owner": awsAccount, "logGroup": group, "logStream": "deploytest",
		"subscriptionFilters": []string{"deploytest"}, "logEvents": events,
	})
	if err != nil {
		t.Fatal(err)
	}
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	if _, err := z.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(map[string]any{"awslogs": map[string]any{"data": zipped.Bytes()}})
	if err != nil {
		t.Fatal(err)
	}
	return string(payload)
}

// used is what GET /v1/api-keys/{id}/usage answers, in part.
type used struct {
	Requests int
	Status   map[string]int
	LastUsed *time.Time
	Drift    struct{ Counted, Guard, Difference int }
}

func (w *world) used(t *testing.T, k issued) used {
	t.Helper()
	var v struct{ Data used }
	a := w.change(t, "GET", "/v1/api-keys/"+k.id+"/usage", "")
	if err := json.Unmarshal(a.body, &v); err != nil {
		t.Fatal(err)
	}
	return v.Data
}

// becomes waits until a key's usage answer says so many requests, and gives it a moment to
// say more.
func (w *world) becomes(t *testing.T, k issued, requests int) used {
	t.Helper()
	var u used
	eventually(t, 30*time.Second, fmt.Sprintf("%d requests counted", requests), func() bool {
		u = w.used(t, k)
		return u.Requests >= requests
	})
	if u.Requests != requests {
		t.Errorf("%d requests are counted, want %d", u.Requests, requests)
	}
	return u
}

func countedRequests(t *testing.T, w *world) {
	k := w.create(t, readsCustomers)
	group := w.physicalID(t, "AccessLog")
	var lines []string
	var newest time.Time
	for _, c := range []struct {
		method string
		status int
	}{{"GET", 200}, {"GET", 200}, {"POST", 403}, {"GET", 200}} {
		a := w.call(t, c.method, "/v1/customers", xAPIKey(k.key), "")
		if a.status != c.status {
			t.Fatalf("%s = %s, want %d", c.method, a, c.status)
		}
		l := accessLine(t, k, c.method, "/v1/customers", a)
		newest = l.Time
		lines = append(lines, l.Line())
	}
	w.write(t, group, lines[:3]...)
	w.write(t, group, lines[3])
	u := w.becomes(t, k, 4)
	if u.Status["2xx"] != 3 || u.Status["4xx"] != 1 || u.LastUsed == nil || !u.LastUsed.Equal(newest) {
		t.Errorf("usage %+v, want three of 2xx, one of 4xx, last used %v", u, newest)
	}
	if u.Drift.Counted != 3 || u.Drift.Difference != 0 {
		t.Errorf("drift %+v, want three requests by both witnesses", u.Drift)
	}
	// The same lines in another batch, which the function answers when it has done with it.
	function := w.physicalID(t, "UsageFunction")
	if i := w.invoke(t, "", function, envelope(t, group, lines...)); i.status != http.StatusOK || i.failed {
		t.Fatalf("the lines again = %d, %s", i.status, i.answer)
	}
	if again := w.used(t, k); again.Requests != 4 || again.Drift.Difference != 0 {
		t.Errorf("after the lines came again: %+v", again)
	}
	var rows struct {
		Data []struct{ Method, Route, UserAgent string }
	}
	a := w.change(t, "GET", "/v1/api-keys/"+k.id+"/requests", "")
	if err := json.Unmarshal(a.body, &rows); err != nil || len(rows.Data) != 4 || rows.Data[0].Route != "/v1/customers" || rows.Data[0].UserAgent != "deploytest" {
		t.Errorf("the request log: %v, %+v; want four rows", err, rows.Data)
	}
}

// query makes a call of a service with the Query protocol.
func (e *emulator) query(t *testing.T, service, version, action string, values url.Values) []byte {
	t.Helper()
	values = url.Values(http.Header(values).Clone())
	values.Set("Action", action)
	values.Set("Version", version)
	status, _, body := e.ask(t, "", service, http.MethodPost, "/", map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, values.Encode())
	if status != http.StatusOK {
		t.Fatalf("%s = %d\n%s", action, status, body)
	}
	return body
}

// askSQS makes a call of SQS.
func (e *emulator) askSQS(t *testing.T, action string, request map[string]any) (int, []byte) {
	t.Helper()
	text, err := json.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	status, _, body := e.ask(t, "", "sqs", http.MethodPost, "/", map[string]string{
		"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "AmazonSQS." + action,
	}, string(text))
	return status, body
}

// sqs is askSQS of what must succeed.
func (e *emulator) sqs(t *testing.T, action string, request map[string]any, answer any) {
	t.Helper()
	status, body := e.askSQS(t, action, request)
	if status != http.StatusOK {
		t.Fatalf("%s = %d\n%s", action, status, body)
	}
	if err := json.Unmarshal(body, answer); err != nil {
		t.Fatalf("%s: %v", action, err)
	}
}

// waiting is how many messages a queue has.
func (e *emulator) waiting(t *testing.T, queue string) string {
	t.Helper()
	var v struct{ Attributes map[string]string }
	e.sqs(t, "GetQueueAttributes", map[string]any{"QueueUrl": queue, "AttributeNames": []string{"All"}}, &v)
	return v.Attributes["ApproximateNumberOfMessages"]
}

func tlsOnly(t *testing.T, w *world) {
	for _, name := range []string{"StreamGaveUp", "NotifyGaveUp"} {
		status, body := w.askSQS(t, "GetQueueAttributes", map[string]any{"QueueUrl": w.physicalID(t, name), "AttributeNames": []string{"All"}})
		if status != http.StatusForbidden {
			t.Errorf("a request without TLS to %s = %d, want 403\n%s", name, status, body)
		}
	}
}

// listen subscribes a queue to the topic of alerts and returns a function that takes the
// alerts that have come since.
func (w *world) listen(t *testing.T) func() []string {
	t.Helper()
	var made struct{ QueueURL string }
	w.sqs(t, "CreateQueue", map[string]any{"QueueName": "deploytest-" + string(apikey.NewID()), "Attributes": map[string]string{
		"Policy": `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"sns.amazonaws.com"},"Action":"sqs:SendMessage","Resource":"*"}]}`,
	}}, &made)
	var v struct{ Attributes map[string]string }
	w.sqs(t, "GetQueueAttributes", map[string]any{"QueueUrl": made.QueueURL, "AttributeNames": []string{"QueueArn"}}, &v)
	w.query(t, "sns", "2010-03-31", "Subscribe", url.Values{
		"TopicArn": {w.outputs["AlertTopicArn"]}, "Protocol": {"sqs"}, "Endpoint": {v.Attributes["QueueArn"]},
		"Attributes.entry.1.key": {"RawMessageDelivery"}, "Attributes.entry.1.value": {"true"},
	})
	return func() []string {
		var got struct{ Messages []struct{ Body string } }
		w.sqs(t, "ReceiveMessage", map[string]any{"QueueUrl": made.QueueURL, "MaxNumberOfMessages": 10, "VisibilityTimeout": 3600}, &got)
		var bodies []string
		for _, m := range got.Messages {
			bodies = append(bodies, m.Body)
		}
		return bodies
	}
}

// refusals are the lines that the authorizer has logged of a key.
func (w *world) refusals(t *testing.T, id apikey.ID) []string {
	t.Helper()
	var lines []string
	for _, m := range w.logged(t, w.physicalID(t, "AuthorizerFunctionLog")) {
		if e, ok := logline.ParseEvent(strings.TrimSpace(m)); ok && e.KeyID == id {
			lines = append(lines, m)
		}
	}
	return lines
}

const canary = `{"name":"Backup","canary":true}`

// trap presents a canary, and hands what the authorizer logs of it to the usage function,
// which the emulator's subscription does not (gaps).
func (w *world) trap(t *testing.T, k issued) {
	t.Helper()
	w.call(t, "GET", "/v1/customers", xAPIKey(k.key), "").must(t, "a canary", http.StatusUnauthorized, "unauthorized")
	var lines []string
	eventually(t, 10*time.Second, "the authorizer's line", func() bool {
		lines = w.refusals(t, idOf(t, k.key))
		return len(lines) == 1
	})
	payload := envelope(t, w.physicalID(t, "AuthorizerFunctionLog"), lines...)
	for range 2 { // CloudWatch Logs delivers at least once
		if i := w.invoke(t, "", w.physicalID(t, "UsageFunction"), payload); i.status != http.StatusOK || i.failed {
			t.Fatalf("the authorizer's line = %d, %s", i.status, i.answer)
		}
	}
}

// canaryUsed: from a decoy that somebody presents to the topic that people listen to.
func canaryUsed(t *testing.T, w *world) {
	alerts := w.listen(t)
	k := w.create(t, canary)
	w.trap(t, k)
	if u := w.used(t, k); u.Requests != 1 || u.Status["4xx"] != 1 {
		t.Errorf("usage %+v, want one request of 4xx", u)
	}
	var list struct {
		Data []struct{ ID, Kind, KeyID string }
	}
	a := w.change(t, "GET", "/v1/alerts?kind=canary_used", "")
	if err := json.Unmarshal(a.body, &list); err != nil || len(list.Data) != 1 || list.Data[0].KeyID != k.id {
		t.Fatalf("alerts: %v, %+v; want one of the canary", err, list.Data)
	}
	begin := time.Now()
	var got []string
	eventually(t, 30*time.Second, "the alert's way to the topic", func() bool {
		got = append(got, alerts()...)
		return len(got) > 0
	})
	t.Logf("at the topic after %v", time.Since(begin).Round(100*time.Millisecond))
	time.Sleep(time.Second) // a second one would come as quickly
	got = append(got, alerts()...)
	var event struct {
		Source string
		Detail struct{ ID, AccountID, KeyID string }
	}
	if err := json.Unmarshal([]byte(got[0]), &event); err != nil || len(got) != 1 || event.Source != "keyreeve" ||
		event.Detail.ID != list.Data[0].ID || event.Detail.AccountID != "first" || event.Detail.KeyID != k.id {
		t.Errorf("the topic got %d messages, %v, the first one %+v; want one of alert %s", len(got), err, event, list.Data[0].ID)
	}
	for _, what := range append(got, string(a.body)) {
		if strings.Contains(what, k.key[len(k.key)-20:]) {
			t.Error("an alert holds the canary's secret")
		}
	}
}

// webhookTried: the notify function opens a webhook's secret, attempts a delivery and notes
// what came of it; the receiver's name leads nowhere (RFC 6761 section 6.4).
func webhookTried(t *testing.T, w *world) {
	w.call(t, "POST", "/v1/webhooks", xAPIKey(w.root), `{"url":"https://127.0.0.1/alerts"}`).must(t, "a webhook on loopback", http.StatusBadRequest, "validation_failed")
	var hook struct {
		Data struct{ Webhook struct{ WebhookID string } }
	}
	a := w.change(t, "POST", "/v1/webhooks", `{"url":"https://receiver.invalid/alerts","kinds":["canary_used"]}`)
	if err := json.Unmarshal(a.body, &hook); err != nil || hook.Data.Webhook.WebhookID == "" {
		t.Fatalf("a webhook = %s, %v", a, err)
	}
	path := "/v1/webhooks/" + hook.Data.Webhook.WebhookID
	w.trap(t, w.create(t, canary))
	var list struct {
		Data []struct {
			State    string
			Attempts int
			Log      []struct {
				Succeeded bool
				Error     string
			}
		}
	}
	eventually(t, 30*time.Second, "the first attempt", func() bool {
		a = w.change(t, "GET", path+"/deliveries", "")
		if err := json.Unmarshal(a.body, &list); err != nil {
			t.Fatal(err)
		}
		return len(list.Data) > 0 && list.Data[0].Attempts > 0
	})
	if len(list.Data) != 1 || list.Data[0].State != "pending" || len(list.Data[0].Log) != 1 || list.Data[0].Log[0].Succeeded || list.Data[0].Log[0].Error == "" {
		t.Errorf("deliveries %+v, want one that failed and waits", list.Data)
	}
	w.change(t, "PATCH", path, `{"isActive":false}`)
	w.change(t, "DELETE", path, "")
}

// turns are what the schedules bring: the emulator's bring the same, at times that no test
// waits for.
func turns(t *testing.T, w *world) {
	for function, sample := range map[string]string{"UsageFunction": "usage-schedule.json", "NotifyFunction": "notify-schedule.json"} {
		event := string(mustRead(t, filepath.Join(tools.repository, "events", sample)))
		if i := w.invoke(t, "", w.physicalID(t, function), event); i.status != http.StatusOK || i.failed {
			t.Errorf("%s = %d, %s", sample, i.status, i.answer)
		}
	}
	swept := false
	for _, m := range w.logged(t, w.physicalID(t, "UsageFunctionLog")) {
		var line struct {
			Msg   string
			Drift *int
		}
		if json.Unmarshal([]byte(m), &line) == nil && line.Msg == "swept" && line.Drift != nil {
			swept = true
			if *line.Drift != 0 {
				t.Errorf("drift of %d", *line.Drift)
			}
		}
	}
	if !swept {
		t.Error("the usage function says nothing of the keys that it has looked at")
	}
}

// giveUp has the usage function fail for good at a batch with one request of a key: it
// must not be lost.
func (w *world) giveUp(t *testing.T, k issued) {
	t.Helper()
	line := accessLine(t, k, "GET", "/v1/customers", answer{status: http.StatusOK})
	status, _, _ := w.ask(t, "", "lambda", http.MethodPost, "/2015-03-31/functions/"+w.physicalID(t, "UsageFunction")+"/invocations",
		map[string]string{"X-Amz-Invocation-Type": "Event"}, envelope(t, w.physicalID(t, "AccessLog"), line.Line()))
	if status != http.StatusAccepted {
		t.Fatalf("invoking the usage function = %d, want 202", status)
	}
	queue := w.physicalID(t, "UsageGaveUp")
	eventually(t, time.Minute, "the batch in the queue", func() bool { return w.waiting(t, queue) == "1" })
}

// takeBack counts what the queue holds.
func (w *world) takeBack(t *testing.T, k issued) {
	t.Helper()
	if u := w.used(t, k); u.Requests != 0 {
		t.Errorf("%d requests are counted of a batch that was given up", u.Requests)
	}
	w.redrive(t, true)
	w.becomes(t, k, 1)
	queue := w.physicalID(t, "UsageGaveUp")
	eventually(t, 30*time.Second, "the empty queue", func() bool { return w.waiting(t, queue) == "0" })
	w.redrive(t, false)
}

// redrive does what the output RedriveUsage says, and its opposite.
func (w *world) redrive(t *testing.T, on bool) {
	t.Helper()
	_, after, found := strings.Cut(w.outputs["RedriveUsage"], "aws lambda update-event-source-mapping --region "+region+" --uuid ")
	id, flag, _ := strings.Cut(after, " ")
	if !found || id == "" || flag != "--enabled" {
		t.Fatalf("the command = %s", w.outputs["RedriveUsage"])
	}
	status, _, body := w.ask(t, "", "lambda", http.MethodPut, "/2015-03-31/event-source-mappings/"+id, nil, fmt.Sprintf(`{"Enabled":%t}`, on))
	if status/100 != 2 {
		t.Fatalf("UpdateEventSourceMapping = %d\n%s", status, body)
	}
}
