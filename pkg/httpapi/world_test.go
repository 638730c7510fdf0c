package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keyreeve/keyreeve/pkg/alert"
	"github.com/keyreeve/keyreeve/pkg/alert/alerttest"
	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/config"
	"github.com/keyreeve/keyreeve/pkg/guard"
	"github.com/keyreeve/keyreeve/pkg/guard/guardtest"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/keys/keystest"
	"github.com/keyreeve/keyreeve/pkg/route"
	"github.com/keyreeve/keyreeve/pkg/simulate"
	"github.com/keyreeve/keyreeve/pkg/usage"
	"github.com/keyreeve/keyreeve/pkg/usage/usagetest"
	"github.com/keyreeve/keyreeve/pkg/verify"
	"github.com/keyreeve/keyreeve/pkg/webhook"
	"github.com/keyreeve/keyreeve/pkg/webhook/webhooktest"
)

// world is the API on a memory store, with one account and its root key.
type world struct {
	t        *testing.T
	store    *keystest.Memory
	meters   *guardtest.Meters
	usage    *usagetest.Memory
	alerts   *alerttest.Memory
	webhooks *webhookStore
	service  *keys.Service
	handler  http.Handler
	log      *bytes.Buffer
	root     client
	ring     *apikey.Ring
	batches  int                        // of log lines
	windows  map[apikey.ID]keys.Windows // what meters have counted, in place of the memory store's

	mu  sync.Mutex
	now time.Time
}

// client calls the API with one key, as if the guard had just proved it.
type client struct {
	w   *world
	key apikey.Key
}

// metersOf reads meters as a store does that may fail.
type metersOf struct{ *guardtest.Meters }

func (m metersOf) Meter(_ context.Context, id apikey.ID) (guard.Meter, bool, error) {
	meter, found := m.Meters.Meter(id)
	return meter, found, nil
}

// webhookStore is a store that can be made to fail: every operation begins with one of these.
type webhookStore struct {
	webhook.Store
	down bool
}

func (s *webhookStore) Endpoints(ctx context.Context, accountID string) ([]webhook.Endpoint, error) {
	if s.down {
		return nil, keys.ErrUnavailable
	}
	return s.Store.Endpoints(ctx, accountID)
}

func (s *webhookStore) Endpoint(ctx context.Context, accountID, id string) (webhook.Endpoint, error) {
	if s.down {
		return webhook.Endpoint{}, keys.ErrUnavailable
	}
	return s.Store.Endpoint(ctx, accountID, id)
}

func (s *webhookStore) CreateEndpoint(ctx context.Context, e webhook.Endpoint) error {
	if s.down {
		return keys.ErrUnavailable
	}
	return s.Store.CreateEndpoint(ctx, e)
}

// windowed is the store with the world's windows.
type windowed struct {
	*keystest.Memory
	w *world
}

func (s windowed) Windows(ctx context.Context, ids []apikey.ID) (map[apikey.ID]keys.Usage, error) {
	use, err := s.Memory.Windows(ctx, ids)
	for id, u := range use {
		if m, ok := s.w.windows[id]; ok {
			u.Windows = m
			use[id] = u
		}
	}
	return use, err
}

// peppers is a ring that never changes.
type peppers struct{ ring *apikey.Ring }

func (p peppers) Ring(context.Context) (*apikey.Ring, error)         { return p.ring, nil }
func (p peppers) With(context.Context, string) (*apikey.Ring, error) { return p.ring, nil }

func newWorld(t *testing.T, preset string) *world {
	t.Helper()
	settings, err := config.ParseSettings([]byte(preset))
	if err != nil {
		t.Fatal(err)
	}
	table, err := route.Load(nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := apikey.NewRing("p1", map[string]string{"p1": strings.Repeat("pepper", 6)})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		t: t, store: keystest.NewMemory(), usage: usagetest.NewMemory(), alerts: alerttest.NewMemory(),
		webhooks: &webhookStore{Store: webhooktest.NewMemory()},
		windows:  map[apikey.ID]keys.Windows{},
		log:      &bytes.Buffer{}, ring: r, now: time.Date(2026, 1, 15, 10, 30, 0, 0, time.UTC),
	}
	w.service = keys.NewService(keys.Config{
		Store: windowed{w.store, w}, Peppers: peppers{r}, Settings: settings, Known: table.KnownPermission, Clock: w.clock,
		Sleep: func(context.Context, time.Duration) error { return nil },
	})
	prefixes := apikey.Prefixes{}
	for _, p := range settings.AcceptedPrefixes() {
		prefixes[p] = true
	}
	w.meters = guardtest.NewMeters()
	simulator, err := simulate.New(simulate.Config{Keys: w.service, Meters: metersOf{w.meters}, Table: table, Clock: w.clock})
	if err != nil {
		t.Fatal(err)
	}
	w.handler = New(Config{
		Service:   w.service,
		Verifier:  verify.New(verify.Config{Store: w.store, Peppers: peppers{r}, Prefixes: prefixes, Clock: w.clock}),
		Simulator: simulator,
		Usage:     usage.NewReports(usage.ReportsConfig{Store: w.usage, Keys: w.service, Table: table, Clock: w.clock}),
		Alerts:    alert.NewDesk(alert.DeskConfig{Store: w.alerts, Clock: w.clock}),
		Webhooks: webhook.NewManager(webhook.ManagerConfig{Store: w.webhooks, Peppers: peppers{r}, Clock: w.clock,
			Sender: webhook.NewSender(webhook.SenderConfig{Anywhere: true})}), // so that a test can receive
		Table: table, Settings: settings, Clock: w.clock,
		Log: slog.New(slog.NewTextHandler(w.log, nil)),
	})
	_, issued, err := w.service.CreateAccount(t.Context(), keys.CreateAccountInput{Name: "Acme"})
	if err != nil {
		t.Fatal(err)
	}
	w.root = client{w, issued.Plaintext}
	t.Cleanup(func() { noSecretIn(t, w.log.String(), w.root.key) })
	return w
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

// stranger is the root key of another account.
func (w *world) stranger() client {
	w.t.Helper()
	_, issued, err := w.service.CreateAccount(w.t.Context(), keys.CreateAccountInput{Name: "Other"})
	if err != nil {
		w.t.Fatal(err)
	}
	return client{w, issued.Plaintext}
}

// answer is what came back.
type answer struct {
	*httptest.ResponseRecorder
	t *testing.T
}

// do makes one request; headers are as in "If-Match: *".
func (c client) do(method, target, body string, headers ...string) answer {
	c.w.t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Header.Set(RequestIDHeader, "req-1")
	r.RemoteAddr = "192.0.2.1" // as the proxy has it, without a port
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Add(name, value)
	}
	caller := keys.Caller{Credential: c.key}
	k, err := c.w.store.Key(r.Context(), c.key.ID())
	if err != nil {
		c.w.t.Fatal(err)
	}
	caller.Identity = c.w.identify(&k, c.key)
	return c.w.serve(r.WithContext(guard.WithIdentity(r.Context(), caller)))
}

// identify says who holds the credential, a key's present secret or the one before.
func (w *world) identify(k *keys.Key, credential apikey.Key) keys.Identity {
	w.t.Helper()
	for _, s := range []keys.Secret{k.Secret, k.Previous} {
		digest, err := w.ring.Digest("p1", credential)
		if err != nil {
			w.t.Fatal(err)
		}
		if id, reason := keys.Identify(k, s.Generation, string(k.Environment), w.clock()); digest == s.Digest && reason == keys.OK {
			return id
		}
	}
	w.t.Fatal("the calling key does not work")
	return keys.Identity{}
}

func (w *world) serve(r *http.Request) answer {
	w.t.Helper()
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, r)
	a := answer{rec, w.t}
	w.documented(r, a)
	return a
}

// want checks the status and returns the answer.
func (a answer) want(status int) answer {
	a.t.Helper()
	if a.Code != status {
		a.t.Fatalf("status %d, want %d: %s", a.Code, status, redact(a.Body.String()))
	}
	return a
}

// refused checks status and code of a problem.
func (a answer) refused(status int, code string) failureDetail {
	a.t.Helper()
	var f failure
	if err := json.Unmarshal(a.Body.Bytes(), &f); err != nil || a.Code != status || f.Error.Code != code || f.Success {
		a.t.Fatalf("status %d: %s\nwant %d %s", a.Code, redact(a.Body.String()), status, code)
	}
	return f.Error
}

// object is the whole answer.
func (a answer) object() map[string]any {
	a.t.Helper()
	var v map[string]any
	if err := json.Unmarshal(a.Body.Bytes(), &v); err != nil {
		a.t.Fatalf("answer is no JSON object: %v", err)
	}
	return v
}

// data is the canonical envelope's.
func (a answer) data() map[string]any {
	a.t.Helper()
	d, ok := a.object()["data"].(map[string]any)
	if !ok {
		a.t.Fatalf("no data: %s", redact(a.Body.String()))
	}
	return d
}

// create makes a key on the canonical face and returns its data and a client with it.
func (c client) create(body string) (map[string]any, client) {
	c.w.t.Helper()
	data := c.do("POST", "/v1/api-keys", body).want(http.StatusCreated).data()
	return data, client{c.w, parseKey(c.w.t, data["apiKey"])}
}

func parseKey(t *testing.T, text any) apikey.Key {
	t.Helper()
	s, _ := text.(string)
	k, err := apikey.Parse(s)
	if err != nil {
		t.Fatal("the answer holds no key")
	}
	return k
}

var secretLike = regexp.MustCompile(`[0-9A-Za-z]{32}`)

// redact makes a text fit for a test's output.
func redact(s string) string { return secretLike.ReplaceAllString(s, "[SECRET]") }

// noSecretIn fails if any 12 characters of the key's secret are in the text.
func noSecretIn(t *testing.T, text string, k apikey.Key) {
	t.Helper()
	secret := k.Plaintext()[len(k.Plaintext())-apikey.SecretLen:]
	for i := 0; i+12 <= len(secret); i++ {
		if strings.Contains(text, secret[i:i+12]) {
			t.Error("a piece of a secret is where it must not be")
			return
		}
	}
}

// documented holds every exchange of the tests against the OpenAPI document: status,
// code, headers and body.
func (w *world) documented(r *http.Request, a answer) {
	w.t.Helper()
	h := w.handler.(*api)
	d, err := describe(h.operations, h.cfg.Table, &h.cfg.Settings)
	if err != nil {
		w.t.Fatal(err)
	}
	op, _ := h.match(r.Method, r.URL.EscapedPath())
	if op == nil {
		return
	}
	item := d.api.Paths[op.path]
	documented := map[string]*huma.Operation{"GET": item.Get, "POST": item.Post, "PATCH": item.Patch, "DELETE": item.Delete}[op.method]
	response := documented.Responses[strconv.Itoa(a.Code)]
	if response == nil {
		w.t.Errorf("%s %s: status %d is not documented", op.method, op.path, a.Code)
		return
	}
	if name, ok := strings.CutPrefix(response.Ref, "#/components/responses/"); ok {
		response = d.api.Components.Responses[name]
	}
	for name := range response.Headers {
		if name == "ETag" && a.Header().Get("ETag") == "" {
			w.t.Errorf("%s %s: the documented ETag is missing", op.method, op.path)
		}
	}
	for _, name := range []string{"ETag", "Idempotency-Replayed", "Retry-After", "WWW-Authenticate", "Link", "Content-Disposition"} {
		if response.Headers[name] == nil && a.Header().Get(name) != "" {
			w.t.Errorf("%s %s: header %s of a %d is not documented", op.method, op.path, name, a.Code)
		}
	}
	if !op.public && a.Header().Get("Cache-Control") != "no-store" {
		w.t.Errorf("%s %s: Cache-Control is %q", op.method, op.path, a.Header().Get("Cache-Control"))
	}
	if response.Content == nil {
		if a.Body.Len() > 0 || a.Header().Get("Content-Type") != "" {
			w.t.Errorf("%s %s: a %d has a body, which is not documented", op.method, op.path, a.Code)
		}
		return
	}
	if r.URL.Query().Get("format") == "csv" && a.Code < 400 {
		if got := a.Header().Get("Content-Type"); got != "text/csv; charset=utf-8" || response.Content["text/csv"] == nil {
			w.t.Errorf("%s %s: Content-Type %q of a sheet, documented %t", op.method, op.path, got, response.Content["text/csv"] != nil)
		}
		return
	}
	if got := a.Header().Get("Content-Type"); got != "application/json" {
		w.t.Errorf("%s %s: Content-Type %q", op.method, op.path, got)
	}
	var body any
	if err := json.Unmarshal(a.Body.Bytes(), &body); err != nil {
		w.t.Errorf("%s %s: body: %v", op.method, op.path, err)
		return
	}
	if a.Code >= 400 {
		code, _ := body.(map[string]any)["error"].(map[string]any)["code"].(string)
		if !regexp.MustCompile(`\b` + code + `\b`).MatchString(response.Description) {
			w.t.Errorf("%s %s: code %s of a %d is not documented", op.method, op.path, code, a.Code)
		}
	}
	res := &huma.ValidateResult{}
	schema := response.Content["application/json"].Schema
	schema.PrecomputeMessages()
	huma.Validate(d.registry, schema, huma.NewPathBuffer(nil, 0), huma.ModeReadFromServer, body, res)
	for _, e := range res.Errors {
		detail := e.(*huma.ErrorDetail)
		w.t.Errorf("%s %s: the body of a %d is not as documented: %s: %s", op.method, op.path, a.Code, detail.Location, detail.Message)
	}
}

func TestMain(m *testing.M) {
	huma.ValidateStrictCasing = true
	m.Run()
}
