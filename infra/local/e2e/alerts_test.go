package e2e

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// alerts counts an account's alerts by their kind.
func (w *world) alerts(t testing.TB, root string) map[string]int {
	t.Helper()
	w.drain(t)
	var v struct {
		Data []struct{ Kind string }
	}
	if err := json.Unmarshal(w.change(t, root, "GET", "/v1/alerts", "").body, &v); err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	for _, a := range v.Data {
		kinds[a.Kind]++
	}
	return kinds
}

func wantAlerts(t testing.TB, what string, got, want map[string]int) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("alerts %s (-want +got):\n%s", what, d)
	}
}

func TestALimitRaisesItsAlertsOnce(t *testing.T) {
	w := start(t, options{})
	root := w.account(t)
	k := w.create(t, root, `{"name":"Ten","rateLimit":10,"permissions":["customers:read"]}`)
	statuses := map[int]int{}
	use := func(n int) {
		for range n {
			statuses[w.call(t, "GET", "/v1/customers", xAPIKey(k.key), "").status]++
		}
	}
	use(7)
	wantAlerts(t, "below 80 % of the limit", w.alerts(t, root), map[string]int{})
	use(1)
	wantAlerts(t, "at 80 %", w.alerts(t, root), map[string]int{"near_limit": 1})
	use(2)
	wantAlerts(t, "at the limit", w.alerts(t, root), map[string]int{"near_limit": 1})
	for range 3 {
		use(5)
		wantAlerts(t, "over it", w.alerts(t, root), map[string]int{"near_limit": 1, "over_limit": 1})
	}
	if d := cmp.Diff(map[int]int{200: 10, 429: 15}, statuses); d != "" {
		t.Errorf("statuses (-want +got):\n%s", d)
	}
}

func TestTwentyWrongSecretsRaiseAnAlertAndNineteenDoNot(t *testing.T) {
	w := start(t, options{})
	for n, want := range map[int]map[string]int{19: {}, 20: {"key_failures": 1, "source_failures": 1}, 45: {"key_failures": 1, "source_failures": 1}} {
		root := w.account(t)
		k := w.create(t, root, `{"name":"Guessed","permissions":["customers:read"]}`)
		for range n {
			a := w.call(t, "GET", "/v1/customers", xAPIKey(forged(k.id)), "")
			a.mustRefuse(t, http.StatusUnauthorized, "unauthorized")
		}
		wantAlerts(t, fmt.Sprintf("after %d wrong secrets", n), w.alerts(t, root), want)
	}
}

// receiver is a webhook's other end. It fails so many times before it takes a delivery.
type receiver struct {
	*httptest.Server
	fails int

	mu       sync.Mutex
	attempts map[string][]int // statuses, by webhook-id
	taken    []delivery
}

type delivery struct {
	id, timestamp, signature string
	body                     []byte
}

func newReceiver(t *testing.T, fails int) *receiver {
	t.Helper()
	r := &receiver{fails: fails, attempts: map[string][]int{}}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		d := delivery{req.Header.Get("webhook-id"), req.Header.Get("webhook-timestamp"), req.Header.Get("webhook-signature"), body}
		r.mu.Lock()
		defer r.mu.Unlock()
		status := http.StatusNoContent
		if len(r.attempts[d.id]) < r.fails {
			status = http.StatusInternalServerError
		} else {
			r.taken = append(r.taken, d)
		}
		r.attempts[d.id] = append(r.attempts[d.id], status)
		w.WriteHeader(status)
	}))
	t.Cleanup(r.Close)
	return r
}

// signedBy reports whether a delivery has the signature of Standard Webhooks, of now.
func (d delivery) signedBy(secret string) bool {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil || len(key) < 24 {
		return false
	}
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.%s", d.id, d.timestamp, d.body)
	at, err := strconv.ParseInt(d.timestamp, 10, 64)
	return err == nil && time.Since(time.Unix(at, 0)).Abs() < time.Minute &&
		d.signature == "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// webhook sets one up and returns its id and signing secret.
func (w *world) webhook(t *testing.T, root, url string) (id, secret string) {
	t.Helper()
	body, err := json.Marshal(map[string]string{"url": url})
	if err != nil {
		t.Fatal(err)
	}
	var v struct {
		Data struct {
			Webhook struct{ WebhookID string }
			Secret  string
		}
	}
	a := w.change(t, root, "POST", "/v1/webhooks", string(body))
	if err := json.Unmarshal(a.body, &v); err != nil || v.Data.Secret == "" || v.Data.Webhook.WebhookID == "" {
		t.Fatalf("a new webhook = %s: has no id or secret", a)
	}
	w.knows(v.Data.Secret)
	return v.Data.Webhook.WebhookID, v.Data.Secret
}

// A canary key that somebody presents is refused like any wrong one, and its owner hears of
// it: on the API, and by a signed message, also where the first two attempts failed.
func TestACanaryThatIsUsedIsToldToAWebhook(t *testing.T) {
	w := start(t, options{settings: map[string]any{"webhookRetrySeconds": []int{1, 1, 1}}})
	root := w.account(t)
	ready, failing := newReceiver(t, 0), newReceiver(t, 2)
	_, readySecret := w.webhook(t, root, ready.URL)
	failingID, failingSecret := w.webhook(t, root, failing.URL)
	canary := w.create(t, root, `{"name":"old backup","canary":true}`)
	plain := w.create(t, root, `{"name":"None","permissions":["customers:read"]}`)

	// Nothing of this is about the canary.
	w.change(t, plain.key, "GET", "/v1/customers", "")
	w.call(t, "GET", "/v1/customers", xAPIKey(forged(canary.id)), "")
	wantAlerts(t, "before anybody used it", w.alerts(t, root), map[string]int{})

	first := w.call(t, "GET", "/v1/customers", xAPIKey(canary.key), "")
	first.mustRefuse(t, http.StatusUnauthorized, "unauthorized")
	for range 3 {
		w.call(t, "GET", "/v1/customers", xAPIKey(canary.key), "")
	}
	wantAlerts(t, "once it was used", w.alerts(t, root), map[string]int{"canary_used": 1})

	receivers := []struct {
		name   string
		r      *receiver
		secret string
		want   []int // statuses of the attempts
	}{
		{"ready", ready, readySecret, []int{204}},
		{"failing", failing, failingSecret, []int{500, 500, 204}},
	}
	for _, c := range receivers {
		eventually(t, 20*time.Second, "the receiver that is "+c.name+" has it", func() bool {
			c.r.mu.Lock()
			defer c.r.mu.Unlock()
			return len(c.r.taken) > 0
		})
	}
	time.Sleep(3 * time.Second) // whatever would come twice has come
	for _, c := range receivers {
		c.r.mu.Lock()
		if len(c.r.taken) != 1 || len(c.r.attempts) != 1 {
			t.Errorf("%s: took %d of %d deliveries, want one of one", c.name, len(c.r.taken), len(c.r.attempts))
		}
		for _, d := range c.r.taken {
			if diff := cmp.Diff(c.want, c.r.attempts[d.id]); diff != "" {
				t.Errorf("%s: attempts (-want +got):\n%s", c.name, diff)
			}
			if !d.signedBy(c.secret) || d.signedBy(readySecret) && d.signedBy(failingSecret) {
				t.Errorf("%s: the delivery is not signed with its webhook's secret alone", c.name)
			}
			var body struct {
				Type string
				Data struct{ Kind, KeyID string }
			}
			if err := json.Unmarshal(d.body, &body); err != nil || body.Type != "alert.raised" || body.Data.Kind != "canary_used" || body.Data.KeyID != canary.id {
				t.Errorf("%s: the delivery is a %s of %s about %s", c.name, body.Type, body.Data.Kind, body.Data.KeyID)
			}
			w.canary.heard(answer{body: d.body, header: http.Header{}})
		}
		c.r.mu.Unlock()
	}

	var log struct {
		Data []struct {
			State    string
			Attempts int
			Log      []struct{ Status *int }
		}
	}
	a := w.change(t, root, "GET", "/v1/webhooks/"+failingID+"/deliveries", "")
	if err := json.Unmarshal(a.body, &log); err != nil {
		t.Fatal(err)
	}
	if len(log.Data) != 1 || log.Data[0].State != "delivered" || log.Data[0].Attempts != 3 || len(log.Data[0].Log) != 3 {
		t.Errorf("the delivery log: %+v; want one delivery with three attempts", log.Data)
	}
}
