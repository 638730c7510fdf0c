package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/infra/local/logs"
	"github.com/keyreeve/keyreeve/pkg/apikey"
)

// What the counts must be is known from what was sent: whoever sends with a key, or with
// its id, notes what came back.

// holder has a key and notes what it did with it.
type holder struct {
	issued
	stage   string // "" or "/staging"
	expires bool   // on the way

	mu   sync.Mutex
	sent noted
}

// noted is what a key's counts and its part of the request log must be.
type noted struct {
	Status   map[string]int               // by class: "2xx", "4xx", …
	Requests map[string]int               // status by request id
	used     struct{ from, to time.Time } // when the newest request with a valid secret came, when the last one was answered
}

// note takes what came back of a request that names the key. valid: with its secret.
func (h *holder) note(a answer, came time.Time, valid bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.sent.Status == nil {
		h.sent.Status, h.sent.Requests = map[string]int{}, map[string]int{}
	}
	h.sent.Status[fmt.Sprintf("%dxx", a.status/100)]++
	h.sent.Requests[a.header.Get("X-Amzn-Requestid")] = a.status
	used := valid && a.status != http.StatusUnauthorized
	if used && came.After(h.sent.used.from) {
		h.sent.used.from = came
	}
	// A request that its key's end overtakes while the guard counts it is refused, and counts.
	if used || valid && h.expires {
		h.sent.used.to = time.Now()
	}
}

// secret is the one that is valid now.
func (h *holder) secret() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.key
}

// traffic is what many clients send with many keys.
type traffic struct {
	w       *world
	holders []*holder
	nobody  sync.Map // ids of requests that name no key
	failed  sync.Map // errors
}

// came is when the gateway took a request in.
func (w *world) came(a answer) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.UnixMilli(w.entries[a.header.Get("X-Amzn-Requestid")].RequestTimeEpoch)
}

func (r *traffic) send(method, path string, header http.Header) (answer, bool) {
	a, err := r.w.try(method, path, header, "")
	if err != nil {
		r.failed.Store(err.Error(), true)
		return a, false
	}
	return a, true
}

// one sends one request of those that a key's holder may come upon.
func (r *traffic) one(h *holder, rnd *rand.Rand) {
	key, valid, known := h.secret(), true, true
	method, path, stage := "GET", "/v1/customers", h.stage
	switch n := rnd.IntN(100); {
	case n < 60:
	case n < 68:
		path = "/v1/licenses" // no guard in front of it
	case n < 76:
		path = "/v1/customers/absent"
	case n < 80:
		path = "/v1/customers/absent/invoices" // forbidden to those that were narrowed
	case n < 86:
		method, path = "POST", "/v1/telemetry" // forbidden by the policy
	case n < 91:
		key, valid = forged(h.id), false
	case n < 94:
		stage, valid = "/development", false // where none of the keys is good
	case n < 96:
		path, known = "/nowhere", false
	case n < 98:
		key, known = "junk", false
	default:
		key, known = forged(string(apikey.NewID())), false
	}
	a, ok := r.send(method, stage+path, xAPIKey(key))
	switch {
	case !ok:
	case known:
		h.note(a, r.w.came(a), valid)
	default:
		r.nobody.Store(a.header.Get("X-Amzn-Requestid"), true)
	}
}

// forged is a well-formed key of that id with another secret.
func forged(id string) string {
	k, err := apikey.Generate("kr_live", apikey.ID(strings.TrimPrefix(id, "key_")))
	if err != nil {
		panic(err)
	}
	return k.Plaintext()
}

// clients is how many send at the same time.
const clients = 8

// send has n requests sent with many keys, some of which are limited, and some of which
// are revoked, regenerated, narrowed or expire on the way; and the gateway forgets its
// cached policies now and then.
func sendTraffic(t *testing.T, w *world, keys, n int) *traffic {
	t.Helper()
	r := &traffic{w: w}
	for i := range keys {
		body := map[string]any{
			"name": fmt.Sprint("Traffic ", i), "plan": "enterprise", "rateLimit": 100_000,
			"permissions": []string{"customers:read", "invoices:read", "licenses:manage"},
		}
		stage := ""
		switch i % 10 {
		case 0, 1:
			body["rateLimit"] = 20
		case 2:
			body["environment"], stage = "staging", "/staging"
		case 3:
			body["expirationTs"] = time.Now().Add(10 * time.Second).UTC().Format(time.RFC3339)
		}
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		r.holders = append(r.holders, &holder{issued: w.create(t, w.root, string(text)), stage: stage, expires: body["expirationTs"] != nil})
	}

	begun := time.Now()
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(5, uint64(c)))
			for range n / clients {
				r.one(r.holders[rnd.IntN(len(r.holders))], rnd)
			}
		})
	}
	wg.Go(func() { // half-way
		time.Sleep(2 * time.Second)
		for i, h := range r.holders {
			path := "/v1/api-keys/" + h.id
			switch i % 10 {
			case 4:
				w.change(t, w.root, "POST", path+"/revoke", "")
			case 5:
				fresh := w.issued(t, w.change(t, w.root, "POST", path+"/regenerate", ""))
				h.mu.Lock()
				h.key = fresh.key
				h.mu.Unlock()
			case 6:
				w.change(t, w.root, "PATCH", path, `{"permissions":["customers:read"]}`)
			}
		}
	})
	sending, stop := context.WithCancel(t.Context())
	var flusher sync.WaitGroup
	flusher.Go(func() {
		for sending.Err() == nil {
			select {
			case <-sending.Done():
			case <-time.After(time.Second):
				w.Gateway.FlushAuthorizerCache("")
			}
		}
	})
	wg.Wait()
	stop()
	flusher.Wait()
	t.Logf("%d requests with %d keys in %v", n, keys, time.Since(begun).Round(time.Millisecond))
	r.failed.Range(func(err, _ any) bool { t.Errorf("a request failed: %v", err); return true })
	return r
}

// usageView is what the test reads of GET /v1/api-keys/{id}/usage.
type usageView struct {
	Requests int
	Status   map[string]int
	LastUsed time.Time
	Drift    struct{ Difference int }
}

func (w *world) usage(t testing.TB, id string) usageView {
	t.Helper()
	var v struct{ Data usageView }
	a := w.change(t, w.root, "GET", "/v1/api-keys/"+id+"/usage", "")
	if err := json.Unmarshal(a.body, &v); err != nil {
		t.Fatal(err)
	}
	for class, n := range v.Data.Status {
		if n == 0 {
			delete(v.Data.Status, class)
		}
	}
	return v.Data
}

// logRow is what the test reads of a row of GET /v1/logs.
type logRow struct {
	RequestID, KeyID string
	Status           int
}

// statusesByKey is the status by request id, by key, of rows in which no request may be twice.
func statusesByKey(t testing.TB, rows []logRow) map[string]map[string]int {
	t.Helper()
	all := map[string]map[string]int{}
	for _, row := range rows {
		if all[row.KeyID] == nil {
			all[row.KeyID] = map[string]int{}
		}
		if _, twice := all[row.KeyID][row.RequestID]; twice {
			t.Errorf("request %s is in the log twice", row.RequestID)
		}
		all[row.KeyID][row.RequestID] = row.Status
	}
	return all
}

// requestLog reads the root key's account's log, all of it.
func (w *world) requestLog(t testing.TB) (rows []logRow) {
	t.Helper()
	for cursor := ""; ; {
		var page struct {
			Data []logRow
			Meta struct{ Next string }
		}
		a := w.change(t, w.root, "GET", "/v1/logs?limit=1000&cursor="+url.QueryEscape(cursor), "")
		if err := json.Unmarshal(a.body, &page); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, page.Data...)
		if cursor = page.Meta.Next; cursor == "" {
			return rows
		}
	}
}

// unsure is how far the guard may be off: where the store did not answer in time, it cannot
// know whether it counted, counts once more, and says so in its log.
func (h *holder) unsure(log string) int {
	return h.sent.Status["5xx"] + strings.Count(log, `"a count failed and is tried once more","keyId":"`+strings.TrimPrefix(h.id, "key_")+`"`)
}

// check compares what is counted with what was sent.
func (r *traffic) check(t *testing.T) {
	t.Helper()
	begun := time.Now()
	r.w.drain(t)
	t.Logf("the last lines were counted %v later", time.Since(begun).Round(time.Millisecond))

	log := r.w.log.String()
	statuses := map[int]int{}
	rows := r.w.requestLog(t)
	inLog := statusesByKey(t, rows)
	for _, row := range rows {
		if _, ok := r.nobody.Load(row.RequestID); ok {
			t.Errorf("a request that names no key is in the log with key %s", row.KeyID)
		}
	}
	for _, h := range r.holders {
		got := r.w.usage(t, h.id)
		total := 0
		for _, status := range h.sent.Requests {
			statuses[status]++
			total++
		}
		if d := cmp.Diff(h.sent.Status, got.Status); d != "" || got.Requests != total {
			t.Errorf("key %s: %d requests counted, %d sent; by status (-sent +counted):\n%s", h.id, got.Requests, total, d)
		}
		if n := got.Drift.Difference; n < 0 || n > h.unsure(log) {
			t.Errorf("key %s: drift %d, want 0", h.id, n)
		}
		// The later of the log's time, which is when the request came, and the guard's, which
		// is a moment later.
		if used := h.sent.used; got.LastUsed.Before(used.from) || got.LastUsed.After(used.to) {
			t.Errorf("key %s: last used %v, want %v to %v", h.id, got.LastUsed, used.from, used.to)
		}
		if d := cmp.Diff(h.sent.Requests, inLog[h.id]); d != "" {
			t.Errorf("key %s: the request log (-sent +log):\n%s", h.id, d)
		}
	}
	for _, want := range []int{200, 401, 403, 404, 429} {
		if statuses[want] < 20 {
			t.Errorf("statuses %v: too few of %d to mean anything", statuses, want)
		}
	}
	t.Logf("statuses %v", statuses)
}

// unguardedRoute is the sample's route table, with one route that has no guard.
func unguardedRoute(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repository, "pkg", "route", "routes.json"))
	if err != nil {
		t.Fatal(err)
	}
	guarded := []byte(`{"method": "GET", "path": "/v1/licenses", "permission"`)
	if bytes.Count(text, guarded) != 1 {
		t.Fatal("the sample's route table has no GET /v1/licenses as this test knows it")
	}
	text = bytes.Replace(text, guarded, []byte(`{"method": "GET", "path": "/v1/licenses", "unguarded": true, "permission"`), 1)
	file := filepath.Join(t.TempDir(), "routes.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestEveryRequestIsCountedOnce(t *testing.T) {
	w := start(t, options{settings: generous, routes: unguardedRoute(t)})
	sendTraffic(t, w, 50, 10_000).check(t)
	hits, asked := 0, w.Gateway.AuthorizerInvocations()
	w.mu.Lock()
	for _, e := range w.entries {
		if e.AuthorizerCached {
			hits++
		}
	}
	w.mu.Unlock()
	if hits < 1000 || asked < 200 {
		t.Errorf("%d requests by a cached policy, %d that asked the authorizer: want both", hits, asked)
	}
}

// trouble is what may happen between the logs and the function: each batch fails once,
// before or after it has worked, then comes three times, two of them at the same time; and
// each is late by a time of its own, so they come in another order.
func trouble(next logs.Invoke) logs.Invoke {
	var mu sync.Mutex
	seen := map[[sha256.Size]byte]bool{}
	return func(ctx context.Context, event []byte) error {
		time.Sleep(rand.N(400 * time.Millisecond))
		name := sha256.Sum256(event)
		mu.Lock()
		again := seen[name]
		seen[name] = true
		mu.Unlock()
		if !again {
			if name[0]%2 == 0 {
				_ = next(ctx, event)
			}
			return errors.New("this time it fails")
		}
		results := make(chan error, 2)
		for range 2 {
			go func() { results <- next(ctx, event) }()
		}
		return errors.Join(<-results, <-results, next(ctx, event))
	}
}

func TestBatchesThatFailRepeatAndOvertakeEachOtherCountOnce(t *testing.T) {
	w := start(t, options{settings: generous, routes: unguardedRoute(t), deliver: trouble, processes: 3})
	sendTraffic(t, w, 20, 2_000).check(t)
}

func TestAKilledFunctionLosesAndDoublesNothing(t *testing.T) {
	w := start(t, options{settings: generous, routes: unguardedRoute(t)})
	killing, stop := context.WithCancel(t.Context())
	kills := make(chan int)
	go func() {
		n := 0
		for killing.Err() == nil {
			for _, pid := range w.Lambda.PIDs("usage") {
				if syscall.Kill(pid, syscall.SIGKILL) == nil { // else it has gone
					n++
				}
			}
			select {
			case <-killing.Done():
			case <-time.After(100*time.Millisecond + rand.N(200*time.Millisecond)):
			}
		}
		kills <- n
	}()
	r := sendTraffic(t, w, 20, 2_000)
	stop()
	if n := <-kills; n < 10 {
		t.Errorf("the function was killed %d times, want more", n)
	} else {
		t.Logf("the function was killed %d times", n)
	}
	if failures := strings.Count(w.log.String(), "a batch failed and is sent again"); failures < 5 {
		t.Errorf("%d batches failed of it: the kills met too few", failures)
	}
	r.check(t)
}
