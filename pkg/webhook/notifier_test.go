package webhook_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/alert"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/keys/keystest"
	"github.com/keyreeve/keyreeve/pkg/webhook"
	"github.com/keyreeve/keyreeve/pkg/webhook/webhooktest"
)

var ctx = context.Background()

// world is a Manager and Notifiers on one store, with a clock and peppers that a test
// moves. Receivers are real servers on loopback.
type world struct {
	Store   webhook.Store
	Alerts  *webhooktest.Alerts
	Peppers *keystest.Peppers
	Clock   *keystest.Clock
	Manager *webhook.Manager
	Bus     *bus
	Log     *lockedBuffer
	random  func(int64) int64
}

// waits are a Notifier's in these tests: three, so four attempts.
var waits = []time.Duration{time.Minute, 5 * time.Minute, time.Hour}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{
		Store: webhooktest.NewMemory(), Alerts: webhooktest.NewAlerts(), Peppers: keystest.NewPeppers(), Clock: keystest.NewClock(),
		Bus: &bus{}, Log: &lockedBuffer{}, random: func(n int64) int64 { return n / 2 }, // no jitter
	}
	w.Manager = webhook.NewManager(webhook.ManagerConfig{Store: w.Store, Peppers: w.Peppers, Sender: w.sender(strict(t)), Clock: w.Clock.Now})
	return w
}

// strict reports whether a test is about which URLs are taken; the others' receivers are
// on this machine.
func strict(t *testing.T) bool {
	return strings.HasPrefix(t.Name(), "TestWhatIsWrong") || strings.HasPrefix(t.Name(), "TestOnlyProduction")
}

func (w *world) sender(strict bool) *webhook.Sender {
	return webhook.NewSender(webhook.SenderConfig{Anywhere: !strict, Timeout: 2 * time.Second})
}

// notifier is one process of the function, on a store that may be w's with something in
// between.
func (w *world) notifier(store webhook.Store) *webhook.Notifier {
	return webhook.NewNotifier(webhook.NotifierConfig{
		Store: store, Alerts: w.Alerts, Peppers: w.Peppers, Sender: w.sender(false), Bus: w.Bus, Waits: waits,
		Log: slog.New(slog.NewJSONHandler(w.Log, nil)), Clock: w.Clock.Now, Random: func(n int64) int64 { return w.random(n) },
	})
}

func (w *world) create(t *testing.T, in webhook.Input) (webhook.Endpoint, string) {
	t.Helper()
	e, secret, err := w.Manager.Create(ctx, manager(), in)
	if err != nil {
		t.Fatal(err)
	}
	return e, secret
}

// alert is one that was raised now.
func (w *world) alert(id string) alert.Alert {
	a := alert.Alert{
		ID: id, AccountID: "acct", Environment: keys.Staging, KeyID: "AAAAAAAA", Kind: alert.OverLimit, Severity: alert.Warning,
		Subject: "AAAAAAAA", Window: w.Clock.Now().Truncate(time.Hour), RaisedAt: w.Clock.Now(), Text: "Key key_AAAAAAAA was refused.",
		Data: map[string]string{"limit": "20"},
	}
	w.Alerts.Put(a)
	return a
}

// raise gives a new alert to a Notifier.
func (w *world) raise(t *testing.T, id string) webhook.Outcome {
	t.Helper()
	taken, o, err := w.notifier(w.Store).OnAlerts(ctx, []alert.Alert{w.alert(id)})
	if taken != 1 || err != nil {
		t.Fatalf("OnAlerts = %d, %v", taken, err)
	}
	return o
}

func (w *world) tick(t *testing.T) webhook.Outcome {
	t.Helper()
	o, err := w.notifier(w.Store).OnTick(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// delivery is the newest one of a webhook.
func (w *world) delivery(t *testing.T, endpoint string) webhook.Delivery {
	t.Helper()
	list, _, err := w.Store.Deliveries(ctx, "acct", endpoint, 1, "")
	if err != nil || len(list) != 1 {
		t.Fatalf("Deliveries = %d, %v, want one", len(list), err)
	}
	return list[0]
}

// bus is an event bus.
type bus struct {
	mu   sync.Mutex
	got  []string
	fail error
}

func (b *bus) Publish(_ context.Context, a alert.Alert) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail == nil {
		b.got = append(b.got, a.AccountID+"/"+a.ID)
	}
	return b.fail
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// receiver is a webhook's other end. It answers with the statuses it was given, one after
// the other, and then with 204.
type receiver struct {
	*httptest.Server
	mu       sync.Mutex
	statuses []int
	got      []message
	hold     func() // called before each answer
}

type message struct{ id, timestamp, signature, body string }

func newReceiver(t *testing.T, statuses ...int) *receiver {
	t.Helper()
	r := &receiver{statuses: statuses}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(q.Body)
	if err != nil {
		return
	}
	r.mu.Lock()
	r.got = append(r.got, message{q.Header.Get("webhook-id"), q.Header.Get("webhook-timestamp"), q.Header.Get("webhook-signature"), string(body)})
	status := http.StatusNoContent
	if len(r.statuses) > 0 {
		status, r.statuses = r.statuses[0], r.statuses[1:]
	}
	hold := r.hold
	r.mu.Unlock()
	if hold != nil {
		hold()
	}
	w.WriteHeader(status)
	if status != http.StatusNoContent {
		fmt.Fprint(w, "what a receiver says stays with the receiver")
	}
}

func (r *receiver) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.got)
}

func (r *receiver) message(i int) message {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i >= len(r.got) {
		return message{}
	}
	return r.got[i]
}

// took returns the i-th message after it has verified it as a receiver does.
func (r *receiver) took(t *testing.T, i int, secret string) message {
	t.Helper()
	m := r.message(i)
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.%s", m.id, m.timestamp, m.body)
	if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); m.signature != want || m.id == "" {
		t.Errorf("message %d (id %q) is not signed with the secret that was shown", i, m.id)
	}
	return m
}

func wantOutcome(t *testing.T, what string, got, want webhook.Outcome) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got)\n%s", what, diff)
	}
}

func TestAReceiverThatFailsTwiceGetsItTheThirdTimeOnce(t *testing.T) {
	w := newWorld(t)
	r := newReceiver(t, http.StatusInternalServerError, http.StatusServiceUnavailable)
	e, secret := w.create(t, webhook.Input{URL: r.URL, Active: true})
	start := w.Clock.Now()
	wantOutcome(t, "raised", w.raise(t, "a"), webhook.Outcome{Published: 1, Failed: 1})

	w.Clock.Advance(waits[0] - time.Millisecond)
	wantOutcome(t, "a tick too early", w.tick(t), webhook.Outcome{})
	w.Clock.Advance(time.Millisecond)
	wantOutcome(t, "after the first wait", w.tick(t), webhook.Outcome{Failed: 1})
	w.Clock.Advance(waits[1] - time.Millisecond)
	wantOutcome(t, "a tick too early", w.tick(t), webhook.Outcome{})
	w.Clock.Advance(time.Millisecond)
	wantOutcome(t, "after the second wait", w.tick(t), webhook.Outcome{Delivered: 1})
	for range 3 {
		w.Clock.Advance(24 * time.Hour)
		wantOutcome(t, "later", w.tick(t), webhook.Outcome{})
	}
	if r.count() != 3 {
		t.Fatalf("%d requests, want 3", r.count())
	}
	first := r.took(t, 0, secret)
	for i := range 3 {
		m := r.took(t, i, secret)
		if m.id != first.id || m.body != first.body {
			t.Errorf("attempt %d is of another message: %+v", i, m)
		}
	}
	if a, b := first.timestamp, r.message(2).timestamp; a != fmt.Sprint(start.Unix()) || b != fmt.Sprint(start.Add(waits[0]+waits[1]).Unix()) {
		t.Errorf("timestamps %s and %s, want each attempt's own", a, b)
	}
	d := w.delivery(t, e.ID)
	var log []string
	for _, a := range d.Log {
		log = append(log, fmt.Sprint(a.At.Sub(start), " ", a.Status, a.Error))
	}
	if diff := cmp.Diff([]string{"0s 500", "1m0s 503", "6m0s 204"}, log); diff != "" || d.State != webhook.Delivered || d.Attempts != 3 {
		t.Errorf("%s after %d attempts, log (-want +got)\n%s", d.State, d.Attempts, diff)
	}
}

func TestAnAlertThatComesThreeTimesIsDeliveredOnce(t *testing.T) {
	w := newWorld(t)
	r := newReceiver(t)
	w.create(t, webhook.Input{URL: r.URL, Active: true})
	a := w.alert("a")
	var total webhook.Outcome
	for range 3 {
		_, o, err := w.notifier(w.Store).OnAlerts(ctx, []alert.Alert{a})
		if err != nil {
			t.Fatal(err)
		}
		total.Published += o.Published
		total.Delivered += o.Delivered
		w.Clock.Advance(time.Minute)
	}
	if _, o, err := w.notifier(w.Store).OnAlerts(ctx, []alert.Alert{a, a, a}); err != nil || o.Delivered != 0 {
		t.Errorf("three in one batch: %+v, %v", o, err)
	}
	wantOutcome(t, "in all", total, webhook.Outcome{Published: 3, Delivered: 1})
	if r.count() != 1 {
		t.Errorf("%d requests, want 1", r.count())
	}
}

func TestTwoTicksAtOnceSendOnce(t *testing.T) {
	w := newWorld(t)
	r := newReceiver(t, http.StatusInternalServerError)
	w.create(t, webhook.Input{URL: r.URL, Active: true})
	w.raise(t, "a")
	w.Clock.Advance(waits[0])
	r.mu.Lock()
	r.hold = func() { time.Sleep(200 * time.Millisecond) } // the others find it taken meanwhile
	r.mu.Unlock()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var total webhook.Outcome
	for range 4 {
		wg.Go(func() {
			o, err := w.notifier(w.Store).OnTick(ctx)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			total.Delivered += o.Delivered
			mu.Unlock()
		})
	}
	wg.Wait()
	if r.count() != 2 || total.Delivered != 1 {
		t.Errorf("%d requests, %d delivered, want one more request and 1", r.count(), total.Delivered)
	}
}

// crashing is a store whose writers of notes end before they write.
type crashing struct{ webhook.Store }

var errCrash = errors.New("the process has ended")

func (crashing) Finish(context.Context, webhook.Delivery) error { return errCrash }

func TestACrashBetweenSendingAndNotingSendsAgainUnderTheSameID(t *testing.T) {
	w := newWorld(t)
	r := newReceiver(t)
	e, secret := w.create(t, webhook.Input{URL: r.URL, Active: true})
	if _, o, err := w.notifier(crashing{w.Store}).OnAlerts(ctx, []alert.Alert{w.alert("a")}); err != nil {
		t.Fatalf("OnAlerts = %+v, %v", o, err)
	}
	w.Clock.Advance(webhook.Lease - time.Millisecond)
	wantOutcome(t, "while the lease lasts", w.tick(t), webhook.Outcome{})
	w.Clock.Advance(time.Millisecond)
	wantOutcome(t, "when it has ended", w.tick(t), webhook.Outcome{Delivered: 1})
	w.Clock.Advance(24 * time.Hour)
	wantOutcome(t, "later", w.tick(t), webhook.Outcome{})
	if r.count() != 2 || r.took(t, 0, secret).id != r.took(t, 1, secret).id {
		t.Errorf("%d requests of ids %s and %s, want 2 of one", r.count(), r.message(0).id, r.message(1).id)
	}
	if d := w.delivery(t, e.ID); d.State != webhook.Delivered || d.Attempts != 1 {
		t.Errorf("%s after %d noted attempts", d.State, d.Attempts)
	}
}

func TestAfterTheLastAttemptADeliveryIsDeadAndSomebodyIsTold(t *testing.T) {
	w := newWorld(t)
	r := newReceiver(t, 500, 404, 301, 418, 500, 200)
	e, secret := w.create(t, webhook.Input{URL: r.URL + "/path?token=of-the-receiver", Active: true})
	w.raise(t, "a")
	for i, wait := range waits {
		w.Clock.Advance(wait)
		want := webhook.Outcome{Failed: 1}
		if i == len(waits)-1 {
			want.Dead = 1
		}
		wantOutcome(t, fmt.Sprint("attempt ", i+2), w.tick(t), want)
	}
	w.Clock.Advance(24 * time.Hour)
	wantOutcome(t, "later", w.tick(t), webhook.Outcome{})
	d := w.delivery(t, e.ID)
	if r.count() != 4 || d.State != webhook.Dead || d.Attempts != 4 || len(d.Log) != 4 {
		t.Errorf("%d requests, %s after %d attempts, %d in the log", r.count(), d.State, d.Attempts, len(d.Log))
	}
	log := w.Log.String()
	for _, want := range []string{`"level":"ERROR"`, "webhook delivery given up", e.ID, d.ID, `"alertId":"a"`, `"status":418`} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %s: %s", want, log)
		}
	}
	for _, secretive := range []string{"token", "127.0.0.1", "stays with the receiver"} {
		if strings.Contains(log, secretive) || strings.Contains(fmt.Sprintf("%+v", d), secretive) {
			t.Errorf("the log or the delivery holds %q", secretive)
		}
	}
	wantNoPiece(t, "the log", log+fmt.Sprintf("%+v", d), secret)

	reopened, err := w.Manager.Redeliver(ctx, manager(), d.ID)
	if err != nil || reopened.State != webhook.Pending || reopened.Attempts != 0 {
		t.Fatalf("Redeliver = %+v, %v", reopened, err)
	}
	wantOutcome(t, "redelivered, and failed", w.tick(t), webhook.Outcome{Failed: 1})
	w.Clock.Advance(waits[0])
	wantOutcome(t, "after the first wait again", w.tick(t), webhook.Outcome{Delivered: 1})
	if r.took(t, 5, secret).id != r.took(t, 0, secret).id {
		t.Error("a redelivery has another id")
	}
	if _, err := w.Manager.Redeliver(ctx, manager(), d.ID); err != nil { // a delivered one too
		t.Fatal(err)
	}
	wantOutcome(t, "once more", w.tick(t), webhook.Outcome{Delivered: 1})
}

func TestTheLogOfADeliveryIsBounded(t *testing.T) {
	w := newWorld(t)
	r := newReceiver(t, slicesOf(500, 40)...)
	e, _ := w.create(t, webhook.Input{URL: r.URL, Active: true})
	w.raise(t, "a")
	for range 30 {
		w.Clock.Advance(24 * time.Hour)
		w.tick(t)
		if d := w.delivery(t, e.ID); d.State == webhook.Dead {
			if _, err := w.Manager.Redeliver(ctx, manager(), d.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	if d := w.delivery(t, e.ID); len(d.Log) != webhook.MaxLog || !d.Log[webhook.MaxLog-1].At.Equal(w.Clock.Now()) {
		t.Errorf("the log has %d entries, want the newest %d", len(d.Log), webhook.MaxLog)
	}
}

func slicesOf(v, n int) (out []int) {
	for range n {
		out = append(out, v)
	}
	return out
}

func TestAWaitIsGivenOrTakenATenth(t *testing.T) {
	for name, tt := range map[string]struct {
		random func(int64) int64
		want   time.Duration
	}{
		"shortest": {func(int64) int64 { return 0 }, 54 * time.Second},
		"middle":   {func(n int64) int64 { return n / 2 }, time.Minute},
		"longest":  {func(n int64) int64 { return n - 1 }, 66 * time.Second},
	} {
		w := newWorld(t)
		w.random = tt.random
		e, _ := w.create(t, webhook.Input{URL: newReceiver(t, 500).URL, Active: true})
		w.raise(t, "a")
		if got := w.delivery(t, e.ID).NextAt.Sub(w.Clock.Now()); got != tt.want {
			t.Errorf("%s: the first wait is %v, want %v", name, got, tt.want)
		}
	}
}

func TestADeliveryThatNobodyWaitsForIsDropped(t *testing.T) {
	off := false
	for name, tt := range map[string]struct {
		meanwhile func(*testing.T, *world, webhook.Endpoint)
		want      string
	}{
		"deleted": {func(t *testing.T, w *world, e webhook.Endpoint) {
			if err := w.Manager.Delete(ctx, manager(), e.ID); err != nil {
				t.Fatal(err)
			}
		}, webhook.ErrorDeleted},
		"switched off": {func(t *testing.T, w *world, e webhook.Endpoint) {
			if _, err := w.Manager.Update(ctx, manager(), e.ID, webhook.Patch{Active: &off}); err != nil {
				t.Fatal(err)
			}
		}, webhook.ErrorOff},
		"the alert has gone": {func(t *testing.T, w *world, _ webhook.Endpoint) { w.Alerts = webhooktest.NewAlerts() }, webhook.ErrorAlertGone},
	} {
		w := newWorld(t)
		r := newReceiver(t, 500)
		e, _ := w.create(t, webhook.Input{URL: r.URL, Active: true})
		w.raise(t, "a")
		tt.meanwhile(t, w, e)
		w.Clock.Advance(waits[0])
		wantOutcome(t, name, w.tick(t), webhook.Outcome{})
		d := w.delivery(t, e.ID)
		if last := d.Log[len(d.Log)-1]; d.State != webhook.Dead || d.Attempts != 1 || last.Error != tt.want || r.count() != 1 {
			t.Errorf("%s: %s after %d attempts and %d requests, because of %q", name, d.State, d.Attempts, r.count(), last.Error)
		}
		if strings.Contains(w.Log.String(), "ERROR") {
			t.Errorf("%s: an error is logged for what somebody wanted: %s", name, w.Log)
		}
	}
}

func TestAReceiverThatIsGoneIsSwitchedOff(t *testing.T) {
	w := newWorld(t)
	r := newReceiver(t, http.StatusGone)
	e, _ := w.create(t, webhook.Input{URL: r.URL, Active: true})
	wantOutcome(t, "gone", w.raise(t, "a"), webhook.Outcome{Published: 1, Failed: 1, Dead: 1})
	if got, err := w.Manager.Get(ctx, manager(), e.ID); err != nil || got.Active || got.Version != 2 {
		t.Errorf("the webhook is at version %d, active %t, %v, want it off", got.Version, got.Active, err)
	}
	wantOutcome(t, "the next alert", w.raise(t, "b"), webhook.Outcome{Published: 1})
	if r.count() != 1 {
		t.Errorf("%d requests, want 1", r.count())
	}
}

func TestAWebhookThatWasMovedIsNotSwitchedOffByItsOldReceiver(t *testing.T) {
	w := newWorld(t)
	r := newReceiver(t, http.StatusGone)
	e, _ := w.create(t, webhook.Input{URL: r.URL, Active: true})
	r.hold = func() {
		url := r.URL + "/new"
		if _, err := w.Manager.Update(ctx, manager(), e.ID, webhook.Patch{URL: &url}); err != nil {
			t.Error(err)
		}
	}
	w.raise(t, "a")
	if got, err := w.Manager.Get(ctx, manager(), e.ID); err != nil || !got.Active || !strings.HasSuffix(got.URL, "/new") {
		t.Errorf("the webhook is active %t at %d characters, %v, want it as its owner left it", got.Active, len(got.URL), err)
	}
}

func TestAlertsGoToThoseWhoWantTheirKind(t *testing.T) {
	w := newWorld(t)
	all, limits, canaries, off := newReceiver(t), newReceiver(t), newReceiver(t), newReceiver(t)
	w.create(t, webhook.Input{URL: all.URL, Active: true})
	w.create(t, webhook.Input{URL: limits.URL, Active: true, Kinds: []alert.Kind{alert.NearLimit, alert.OverLimit}})
	w.create(t, webhook.Input{URL: canaries.URL, Active: true, Kinds: []alert.Kind{alert.CanaryUsed}})
	w.create(t, webhook.Input{URL: off.URL})
	foreign := newReceiver(t)
	if _, _, err := w.Manager.Create(ctx, caller("other", keys.Production, "api_keys:*"), webhook.Input{URL: foreign.URL, Active: true}); err != nil {
		t.Fatal(err)
	}
	over, canary := w.alert("over"), w.alert("canary")
	canary.Kind = alert.CanaryUsed
	nobodys := w.alert("nobodys")
	nobodys.AccountID, nobodys.Kind = alert.Installation, alert.SourceFailures
	taken, o, err := w.notifier(w.Store).OnAlerts(ctx, []alert.Alert{over, canary, nobodys})
	if taken != 3 || err != nil {
		t.Fatalf("OnAlerts = %d, %v", taken, err)
	}
	wantOutcome(t, "in all", o, webhook.Outcome{Published: 3, Delivered: 4})
	got := []int{all.count(), limits.count(), canaries.count(), off.count(), foreign.count()}
	if diff := cmp.Diff([]int{2, 1, 1, 0, 0}, got); diff != "" {
		t.Errorf("requests at all, limits, canaries, off, another account's (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff([]string{"acct/over", "acct/canary", alert.Installation + "/nobodys"}, w.Bus.got); diff != "" {
		t.Errorf("on the bus (-want +got)\n%s", diff)
	}
}

func TestTheBodyIsTheAlertAsItWasRaised(t *testing.T) {
	w := newWorld(t)
	r := newReceiver(t, 500)
	_, secret := w.create(t, webhook.Input{URL: r.URL, Active: true})
	w.raise(t, "a")
	a, err := w.Alerts.Alert(ctx, "acct", "a")
	if err != nil {
		t.Fatal(err)
	}
	a.AcknowledgedAt, a.AcknowledgedBy = w.Clock.Now(), "BBBBBBBB" // between two attempts
	w.Alerts.Put(a)
	w.Clock.Advance(waits[0])
	w.tick(t)
	raised, window := a.RaisedAt.Format("2006-01-02T15:04:05.000Z"), a.Window.Format("2006-01-02T15:04:05.000Z")
	want := `{"type":"alert.raised","timestamp":"` + raised + `","data":{"alertId":"a","kind":"over_limit","severity":"warning",` +
		`"environment":"staging","keyId":"key_AAAAAAAA","subject":"key_AAAAAAAA","window":"` + window + `","raisedAt":"` + raised + `",` +
		`"text":"Key key_AAAAAAAA was refused.","data":{"limit":"20"},"acknowledgedAt":null,"acknowledgedBy":null}}`
	for i := range 2 {
		if diff := cmp.Diff(want, r.took(t, i, secret).body); diff != "" {
			t.Errorf("body of attempt %d (-want +got)\n%s", i, diff)
		}
	}
}

func TestABusThatFailsHoldsUpTheAlertAndNotItsWebhooks(t *testing.T) {
	w := newWorld(t)
	r := newReceiver(t)
	w.create(t, webhook.Input{URL: r.URL, Active: true})
	w.Bus.fail = errors.New("the bus is away")
	batch := []alert.Alert{w.alert("a"), w.alert("b")}
	taken, o, err := w.notifier(w.Store).OnAlerts(ctx, batch)
	if taken != 0 || !errors.Is(err, w.Bus.fail) {
		t.Errorf("OnAlerts = %d, %v, want none and the bus's error", taken, err)
	}
	wantOutcome(t, "without the bus", o, webhook.Outcome{Delivered: 1})
	w.Bus.fail = nil
	taken, o, err = w.notifier(w.Store).OnAlerts(ctx, batch)
	if taken != 2 || err != nil {
		t.Errorf("OnAlerts again = %d, %v", taken, err)
	}
	wantOutcome(t, "again", o, webhook.Outcome{Published: 2, Delivered: 1})
	if r.count() != 2 {
		t.Errorf("%d requests, want one for each alert", r.count())
	}
}

// failing is a store of which one operation fails.
type failing struct {
	webhook.Store
	op string
}

func (f failing) err(op string) error {
	if f.op == op {
		return fmt.Errorf("%s: %w", op, keys.ErrUnavailable)
	}
	return nil
}

func (f failing) Endpoints(ctx context.Context, a string) ([]webhook.Endpoint, error) {
	if err := f.err("endpoints"); err != nil {
		return nil, err
	}
	return f.Store.Endpoints(ctx, a)
}

func (f failing) Endpoint(ctx context.Context, a, id string) (webhook.Endpoint, error) {
	if err := f.err("endpoint"); err != nil {
		return webhook.Endpoint{}, err
	}
	return f.Store.Endpoint(ctx, a, id)
}

func (f failing) Enqueue(ctx context.Context, d webhook.Delivery) error {
	if err := f.err("enqueue"); err != nil {
		return err
	}
	return f.Store.Enqueue(ctx, d)
}

func (f failing) Take(ctx context.Context, r webhook.Ref, now time.Time, lease time.Duration) (webhook.Delivery, bool, error) {
	if err := f.err("take"); err != nil {
		return webhook.Delivery{}, false, err
	}
	return f.Store.Take(ctx, r, now, lease)
}

func (f failing) Due(ctx context.Context, now time.Time, limit int) ([]webhook.Ref, error) {
	if err := f.err("due"); err != nil {
		return nil, err
	}
	return f.Store.Due(ctx, now, limit)
}

func TestAStoreThatFailsLosesNothing(t *testing.T) {
	for op, held := range map[string]bool{"endpoints": true, "enqueue": true, "take": false, "endpoint": false, "due": false} {
		w := newWorld(t)
		r := newReceiver(t)
		w.create(t, webhook.Input{URL: r.URL, Active: true})
		batch := []alert.Alert{w.alert("a")}
		faulty := w.notifier(failing{w.Store, op})
		taken, _, err := faulty.OnAlerts(ctx, batch)
		if held != (err != nil) || held != (taken == 0) || err != nil && !errors.Is(err, keys.ErrUnavailable) {
			t.Errorf("%s fails: OnAlerts = %d, %v", op, taken, err)
		}
		if _, err := faulty.OnTick(ctx); (err != nil) != (op == "due") {
			t.Errorf("%s fails: OnTick = %v", op, err)
		}
		if held {
			if _, _, err := w.notifier(w.Store).OnAlerts(ctx, batch); err != nil {
				t.Error(err)
			}
		}
		w.Clock.Advance(webhook.Lease)
		w.tick(t)
		if r.count() != 1 {
			t.Errorf("%s failed: %d requests in the end, want 1", op, r.count())
		}
	}
}

func TestAReceiverThatHangsHoldsUpItsOwnAlone(t *testing.T) {
	w := newWorld(t)
	hangs, quick := newReceiver(t), newReceiver(t)
	release := make(chan struct{})
	hangs.hold = func() { <-release }
	t.Cleanup(func() { close(release) }) // before the server closes
	slow, _ := w.create(t, webhook.Input{URL: hangs.URL, Active: true})
	w.create(t, webhook.Input{URL: quick.URL, Active: true})
	var batch []alert.Alert
	for i := range 6 {
		batch = append(batch, w.alert(fmt.Sprint("a", i)))
	}
	start := time.Now()
	_, o, err := w.notifier(w.Store).OnAlerts(ctx, batch)
	if err != nil {
		t.Fatal(err)
	}
	wantOutcome(t, "six alerts", o, webhook.Outcome{Published: 6, Delivered: 6, Failed: 6})
	if d := time.Since(start); d > 4*time.Second { // one time-out of 2 s, not six
		t.Errorf("it took %v", d)
	}
	if hangs.count() != 1 || quick.count() != 6 {
		t.Errorf("%d requests where it hangs, %d elsewhere, want 1 and 6", hangs.count(), quick.count())
	}
	list, _, err := w.Store.Deliveries(ctx, "acct", slow.ID, 100, "")
	if err != nil {
		t.Fatal(err)
	}
	why := map[string]int{}
	for _, d := range list {
		why[fmt.Sprint(d.State, " ", d.Attempts, " ", d.Log[0].Error)]++
	}
	if diff := cmp.Diff(map[string]int{"pending 1 " + webhook.ErrorTimeout: 1, "pending 1 " + webhook.ErrorHeldUp: 5}, why); diff != "" {
		t.Errorf("deliveries where it hangs (-want +got)\n%s", diff)
	}
}

func TestNothingIsBegunThatThereIsNoTimeFor(t *testing.T) {
	w := newWorld(t)
	r := newReceiver(t)
	w.create(t, webhook.Input{URL: r.URL, Active: true})
	short, cancel := context.WithTimeout(ctx, webhook.Reserve-time.Second)
	defer cancel()
	taken, o, err := w.notifier(w.Store).OnAlerts(short, []alert.Alert{w.alert("a")})
	if taken != 1 || err != nil || r.count() != 0 {
		t.Errorf("OnAlerts = %d, %v, with %d requests, want the alert safe and none", taken, err, r.count())
	}
	wantOutcome(t, "without time", o, webhook.Outcome{Published: 1})
	long, cancel := context.WithTimeout(ctx, webhook.Reserve+time.Minute)
	defer cancel()
	if o, err := w.notifier(w.Store).OnTick(long); err != nil || o.Delivered != 1 {
		t.Errorf("the next tick: %+v, %v, want it delivered", o, err)
	}
}

func TestWhatWasSealedBeforeARotationIsStillSigned(t *testing.T) {
	w := newWorld(t)
	r := newReceiver(t)
	_, secret := w.create(t, webhook.Input{URL: r.URL, Active: true})
	w.Peppers.Rotate()
	w.raise(t, "a")
	r.took(t, 0, secret)
}

func TestASecretThatDoesNotOpenSendsNothing(t *testing.T) {
	w := newWorld(t)
	r := newReceiver(t)
	e, _ := w.create(t, webhook.Input{URL: r.URL, Active: true})
	other, _ := w.create(t, webhook.Input{URL: publicURL})
	theirs, err := w.Store.Endpoint(ctx, "acct", other.ID)
	if err != nil {
		t.Fatal(err)
	}
	swapped, err := w.Store.Endpoint(ctx, "acct", e.ID)
	if err != nil {
		t.Fatal(err)
	}
	swapped.Box, swapped.Version = theirs.Box, swapped.Version+1 // somebody who can write the table
	if err := w.Store.UpdateEndpoint(ctx, swapped); err != nil {
		t.Fatal(err)
	}
	wantOutcome(t, "raised", w.raise(t, "a"), webhook.Outcome{Published: 1, Failed: 1})
	d := w.delivery(t, e.ID)
	if r.count() != 0 || d.State != webhook.Pending || d.Log[0].Error != webhook.ErrorSecret {
		t.Errorf("%d requests, %s because of %q", r.count(), d.State, d.Log[0].Error)
	}
	if _, err := w.Manager.Test(ctx, manager(), e.ID); err == nil || r.count() != 0 {
		t.Errorf("Test = %v with %d requests, want an error and none", err, r.count())
	}
}
