package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/alert"
	"github.com/keyreeve/keyreeve/pkg/emf"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/keys/keystest"
	"github.com/keyreeve/keyreeve/pkg/webhook"
	"github.com/keyreeve/keyreeve/pkg/webhook/webhooktest"
)

// fake is a Notifier that takes so many alerts, and their store.
type fake struct {
	*webhooktest.Alerts
	got     []string
	most    int // alerts that are taken; then failure
	failure error
	reading string // id of the alert that cannot be read
	outcome webhook.Outcome
	ticks   int
}

func (f *fake) OnAlerts(_ context.Context, alerts []alert.Alert) (int, webhook.Outcome, error) {
	for i, a := range alerts {
		if f.failure != nil && i == f.most {
			return i, f.outcome, f.failure
		}
		f.got = append(f.got, a.AccountID+"/"+a.ID)
	}
	return len(alerts), f.outcome, nil
}

func (f *fake) OnTick(context.Context) (webhook.Outcome, error) {
	f.ticks++
	return f.outcome, f.failure
}

func (f *fake) Alert(ctx context.Context, account, id string) (alert.Alert, error) {
	if id == f.reading {
		return alert.Alert{}, fmt.Errorf("reading alert %s: %w", id, keys.ErrUnavailable)
	}
	return f.Alerts.Alert(ctx, account, id)
}

func newFake() *fake {
	return &fake{Alerts: webhooktest.NewAlerts(
		alert.Alert{AccountID: "acct", ID: "1"}, alert.Alert{AccountID: "acct", ID: "2"}, alert.Alert{AccountID: alert.Installation, ID: "3"})}
}

func (f *fake) invoke(t *testing.T, payload []byte) (answer, metrics, log string, err error) {
	t.Helper()
	var m, l bytes.Buffer
	out, err := New(Config{
		Notifier: f, Alerts: f, Log: slog.New(slog.NewJSONHandler(&l, nil)),
		Metrics: emf.New(&m, "Test", func() time.Time { return time.Unix(1768473000, 0) }),
	}).Invoke(t.Context(), payload)
	return string(out), m.String(), l.String(), err
}

func batch(t *testing.T, records ...events.DynamoDBEventRecord) []byte {
	t.Helper()
	for i := range records {
		records[i].Change.SequenceNumber = fmt.Sprint("s", i+1)
	}
	payload, err := json.Marshal(events.DynamoDBEvent{Records: records})
	if err != nil {
		t.Fatal(err)
	}
	return payload
}

func record(name, pk, sk string) events.DynamoDBEventRecord {
	return events.DynamoDBEventRecord{EventName: name, EventSource: "aws:dynamodb", Change: events.DynamoDBStreamRecord{
		Keys: map[string]events.DynamoDBAttributeValue{"pk": events.NewStringAttribute(pk), "sk": events.NewStringAttribute(sk)},
	}}
}

func TestNewAlertsAreDeliveredAndAllElseIsPassedOver(t *testing.T) {
	f := newFake()
	answer, metrics, log, err := f.invoke(t, batch(t,
		record("INSERT", "A#acct", "A#1"), record("MODIFY", "A#acct", "A#2"), record("REMOVE", "A#acct", "A#2"),
		record("INSERT", "A#acct", "W#hook"), record("INSERT", "A#acct", "D#delivery"), record("INSERT", "Q", "0001#d"),
		record("INSERT", "F#acct", "x#1"), record("INSERT", "A#acct", "A#gone"), record("INSERT", "A#"+alert.Installation, "A#3"),
		events.DynamoDBEventRecord{EventName: "INSERT"}, record("INSERT", "A#acct", "A#2")))
	if err != nil || answer != `{"batchItemFailures":[]}` || log != "" {
		t.Errorf("answer %s, %v, log %s", answer, err, log)
	}
	if diff := cmp.Diff([]string{"acct/1", alert.Installation + "/3", "acct/2"}, f.got); diff != "" {
		t.Errorf("alerts (-want +got)\n%s", diff)
	}
	if metrics != "" {
		t.Errorf("metrics of nothing: %s", metrics)
	}
}

func TestTheFirstRecordThatFailsIsReported(t *testing.T) {
	records := func() []byte {
		return batch(t, record("INSERT", "A#acct", "W#hook"), record("INSERT", "A#acct", "A#1"), record("INSERT", "A#acct", "A#2"))
	}
	for name, tt := range map[string]struct {
		set  func(*fake)
		want string
		got  []string
	}{
		"the second alert is not taken": {func(f *fake) { f.most, f.failure = 1, errors.New("the bus is away") }, "s3", []string{"acct/1"}},
		"no alert is taken":             {func(f *fake) { f.failure = errors.New("the bus is away") }, "s2", nil},
		"the second is not read":        {func(f *fake) { f.reading = "2" }, "s3", []string{"acct/1"}},
		"the first is not read":         {func(f *fake) { f.reading = "1" }, "s2", nil},
		"one not taken, the next not read": {func(f *fake) { f.reading, f.failure = "2", errors.New("the bus is away") },
			"s2", nil},
	} {
		f := newFake()
		tt.set(f)
		answer, _, log, err := f.invoke(t, records())
		if want := `{"batchItemFailures":[{"itemIdentifier":"` + tt.want + `"}]}`; answer != want || err != nil {
			t.Errorf("%s: answer %s, %v, want %s", name, answer, err, want)
		}
		if diff := cmp.Diff(tt.got, f.got); diff != "" {
			t.Errorf("%s: alerts taken (-want +got)\n%s", name, diff)
		}
		if !strings.Contains(log, "alerts not delivered") {
			t.Errorf("%s: log %q", name, log)
		}
	}
}

const tick = `{"version":"0","id":"x","detail-type":"Scheduled Event","source":"aws.events","detail":{}}`

func TestAScheduleIsATickAndLeavesMetricsOfWhatWasDone(t *testing.T) {
	f := newFake()
	f.outcome = webhook.Outcome{Published: 1, Delivered: 2, Failed: 3, Dead: 4}
	answer, metrics, _, err := f.invoke(t, []byte(tick))
	if answer != "null" || err != nil || f.ticks != 1 {
		t.Errorf("answer %s, %v after %d ticks", answer, err, f.ticks)
	}
	want := `{"_aws":{"Timestamp":1768473000000,"CloudWatchMetrics":[{"Namespace":"Test","Dimensions":[[]],"Metrics":[` +
		`{"Name":"AlertsPublished","Unit":"Count"},{"Name":"WebhooksDelivered","Unit":"Count"},` +
		`{"Name":"WebhooksFailed","Unit":"Count"},{"Name":"WebhooksDead","Unit":"Count"}]}]},` +
		`"AlertsPublished":1,"WebhooksDelivered":2,"WebhooksFailed":3,"WebhooksDead":4}` + "\n"
	if diff := cmp.Diff(want, metrics); diff != "" {
		t.Errorf("metrics (-want +got)\n%s", diff)
	}
	f.outcome = webhook.Outcome{Delivered: 1}
	if _, metrics, _, _ := f.invoke(t, []byte(tick)); strings.Contains(metrics, "Dead") || !strings.Contains(metrics, `"WebhooksDelivered":1`) {
		t.Errorf("metrics of one delivery: %s", metrics)
	}
	f.failure = keys.ErrUnavailable
	if _, _, log, err := f.invoke(t, []byte(tick)); !errors.Is(err, keys.ErrUnavailable) || !strings.Contains(log, "ERROR") {
		t.Errorf("a store that fails: %v, log %q", err, log)
	}
}

func TestWhatIsNeitherIsAnErrorThatQuotesNothing(t *testing.T) {
	for _, payload := range []string{``, `[]`, `{}`, `{"Records":[]}`, `{"Records":{}}`, `{"source":"other","detail-type":"Scheduled Event"}`, `{"source":"aws.events"}`, `hunter2`} {
		f := newFake()
		if _, _, _, err := f.invoke(t, []byte(payload)); err == nil || strings.Contains(err.Error(), "hunter2") || f.ticks > 0 {
			t.Errorf("%s: %v after %d ticks, want an error", payload, err, f.ticks)
		}
	}
}

// The function as it runs: an alert that is told three times, and ticks, to a receiver
// that fails twice.
func TestAReceiverThatFailsTwiceGetsItTheThirdTimeOnce(t *testing.T) {
	var requests, successes atomic.Int64
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if requests.Add(1) <= 2 {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		successes.Add(1)
	}))
	t.Cleanup(receiver.Close)
	clock, store, peppers := keystest.NewClock(), webhooktest.NewMemory(), keystest.NewPeppers()
	sender := webhook.NewSender(webhook.SenderConfig{Anywhere: true})
	alerts := webhooktest.NewAlerts(alert.Alert{AccountID: "acct", ID: "1", Kind: alert.OverLimit, RaisedAt: clock.Now()})
	manager := webhook.NewManager(webhook.ManagerConfig{Store: store, Peppers: peppers, Sender: sender, Clock: clock.Now})
	who := keys.Caller{Identity: keys.Identity{KeyID: "AAAAAAAA", AccountID: "acct", Environment: keys.Production, Permissions: []string{"api_keys:*"}}}
	if _, _, err := manager.Create(t.Context(), who, webhook.Input{URL: receiver.URL, Active: true}); err != nil {
		t.Fatal(err)
	}
	var metrics bytes.Buffer
	function := New(Config{
		Notifier: webhook.NewNotifier(webhook.NotifierConfig{
			Store: store, Alerts: alerts, Peppers: peppers, Sender: sender, Waits: []time.Duration{time.Minute, time.Minute}, Clock: clock.Now,
		}),
		Alerts: alerts, Metrics: emf.New(&metrics, "Test", clock.Now),
	})
	for range 3 {
		if out, err := function.Invoke(t.Context(), batch(t, record("INSERT", "A#acct", "A#1"))); err != nil || string(out) != `{"batchItemFailures":[]}` {
			t.Fatalf("stream: %s, %v", out, err)
		}
	}
	for range 10 {
		clock.Advance(time.Minute)
		if _, err := function.Invoke(t.Context(), []byte(tick)); err != nil {
			t.Fatal(err)
		}
	}
	if requests.Load() != 3 || successes.Load() != 1 {
		t.Errorf("%d requests, %d taken, want 3 and 1", requests.Load(), successes.Load())
	}
	if got := strings.Count(metrics.String(), `"WebhooksDelivered":1`); got != 1 {
		t.Errorf("%d lines tell of a delivery, want 1", got)
	}
}
