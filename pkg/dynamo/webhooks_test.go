package dynamo_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/keyreeve/keyreeve/infra/local/ddb/ddbtest"
	"github.com/keyreeve/keyreeve/pkg/dynamo"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/webhook"
	"github.com/keyreeve/keyreeve/pkg/webhook/webhooktest"
)

func TestWebhookStore(t *testing.T) {
	c := ddbtest.ConfigWithoutStream(t)
	webhooktest.Suite(t, dynamo.NewWebhooks(dynamo.NewClient(c), c.AlertsTable, c.StoreTimeout))
}

// hooks are a store with a wire that faults are put on, and one without.
type hooks struct {
	*store
	*wire
	faulty, clean *dynamo.Webhooks
	now           time.Time
	n             int
}

func newHooks(t *testing.T, with ...func(*dynamodb.Options)) *hooks {
	t.Helper()
	h := &hooks{store: newStore(t), wire: &wire{}, now: time.Now().UTC().Truncate(time.Millisecond)}
	h.faulty = dynamo.NewWebhooks(dynamo.NewClient(h.cfg, append(with, h.option)...), h.cfg.AlertsTable, h.cfg.StoreTimeout)
	h.clean = dynamo.NewWebhooks(h.raw, h.cfg.AlertsTable, h.cfg.StoreTimeout)
	return h
}

func (h *hooks) delivery() webhook.Delivery {
	h.n++
	return webhook.Delivery{
		ID: webhooktest.DeliveryID(webhooktest.EndpointID(1), h.now, h.n), AccountID: "acct", EndpointID: webhooktest.EndpointID(1),
		AlertID: "a", State: webhook.Pending, NextAt: h.now, CreatedAt: h.now,
	}
}

func (h *hooks) endpoint() webhook.Endpoint {
	h.n++
	return webhook.Endpoint{
		ID: webhooktest.EndpointID(h.n), AccountID: fmt.Sprint("acct", h.n), Version: 1, URL: "https://x.example", Active: true,
		Pepper: "p1", Box: []byte{1}, CreatedAt: h.now, UpdatedAt: h.now,
	}
}

func (h *hooks) enqueued(t *testing.T) webhook.Delivery {
	t.Helper()
	d := h.delivery()
	if err := h.clean.Enqueue(context.Background(), d); err != nil {
		t.Fatal(err)
	}
	return d
}

func (h *hooks) taken(t *testing.T) webhook.Delivery {
	t.Helper()
	d, ok, err := h.clean.Take(context.Background(), refTo(h.enqueued(t)), h.now, time.Minute)
	if err != nil || !ok {
		t.Fatalf("Take = %t, %v", ok, err)
	}
	return d
}

func refTo(d webhook.Delivery) webhook.Ref {
	return webhook.Ref{AccountID: d.AccountID, ID: d.ID}
}

// Whatever becomes of an answer: a delivery and its entry in the queue agree afterwards,
// what succeeded has happened, and repeating it brings it to its end.
func TestNoFaultPartsADeliveryFromItsEntryInTheQueue(t *testing.T) {
	t.Parallel()
	h := newHooks(t)
	ctx := context.Background()
	ended := func(t *testing.T) webhook.Delivery {
		d := h.taken(t)
		d.State, d.Attempts = webhook.Dead, 3
		if err := h.clean.Finish(ctx, d); err != nil {
			t.Fatal(err)
		}
		return d
	}
	for _, op := range []struct {
		name  string
		setup func(*testing.T) webhook.Delivery
		run   func(*dynamo.Webhooks, webhook.Delivery) error
		want  webhook.Delivery // state, attempts and due time that it leads to
	}{
		{"enqueue", func(*testing.T) webhook.Delivery { return h.delivery() },
			func(w *dynamo.Webhooks, d webhook.Delivery) error { return w.Enqueue(ctx, d) },
			webhook.Delivery{State: webhook.Pending, NextAt: h.now}},
		{"take", h.enqueued, func(w *dynamo.Webhooks, d webhook.Delivery) error {
			_, _, err := w.Take(ctx, refTo(d), h.now, time.Minute)
			return err
		}, webhook.Delivery{State: webhook.Pending, NextAt: h.now.Add(time.Minute)}},
		{"finish as failed", h.taken, func(w *dynamo.Webhooks, d webhook.Delivery) error {
			d.Attempts, d.NextAt = 1, h.now.Add(time.Hour)
			return w.Finish(ctx, d)
		}, webhook.Delivery{State: webhook.Pending, Attempts: 1, NextAt: h.now.Add(time.Hour)}},
		{"finish as delivered", h.taken, func(w *dynamo.Webhooks, d webhook.Delivery) error {
			d.State, d.Attempts = webhook.Delivered, 1
			return w.Finish(ctx, d)
		}, webhook.Delivery{State: webhook.Delivered, Attempts: 1}},
		{"reopen", ended, func(w *dynamo.Webhooks, d webhook.Delivery) error {
			_, err := w.Reopen(ctx, refTo(d), h.now.Add(time.Second))
			return err
		}, webhook.Delivery{State: webhook.Pending, NextAt: h.now.Add(time.Second)}},
	} {
		for _, f := range allFaults() {
			for _, mode := range []string{"once", "always"} {
				if mode == "always" && !slices.ContainsFunc(lasting, f.same) {
					continue
				}
				t.Run(op.name+"/"+f.name+" "+mode, func(t *testing.T) {
					d := op.setup(t)
					switch mode {
					case "once":
						h.reset(firstOf(transact, f))
					case "always":
						h.reset(always(f, transact))
					}
					err := op.run(h.faulty, d)
					h.reset(nil)
					if mode == "once" && err != nil {
						t.Errorf("with one fault: %v", err)
					}
					if mode == "always" && err == nil {
						t.Error("no error, though no attempt was answered")
					}
					if err != nil && !errors.Is(err, keys.ErrUnavailable) && !errors.Is(err, keys.ErrConflict) && !errors.Is(err, keys.ErrOutcomeUnknown) {
						t.Errorf("%v, which says nothing a caller could act on", err)
					}
					h.agree(t, d)
					if err := op.run(h.clean, d); err != nil {
						t.Fatalf("the repeat, after %v: %v", err, err)
					}
					h.agree(t, d)
					got, err := h.clean.Delivery(ctx, refTo(d))
					if err != nil {
						t.Fatal(err)
					}
					is := webhook.Delivery{State: got.State, Attempts: got.Attempts, NextAt: got.NextAt}
					if diff := cmp.Diff(op.want, is); diff != "" {
						t.Errorf("in the end (-want +got)\n%s", diff)
					}
				})
			}
		}
	}
}

// agree checks that a delivery has the one entry in the queue that it should.
func (h *hooks) agree(t *testing.T, d webhook.Delivery) {
	t.Helper()
	var want, got []string
	is, err := h.clean.Delivery(context.Background(), refTo(d))
	if err != nil && !errors.Is(err, keys.ErrNotFound) {
		t.Fatal(err)
	}
	if err == nil && is.State == webhook.Pending {
		want = append(want, fmt.Sprintf("%013d#%s", is.NextAt.UnixMilli(), d.ID))
	}
	for _, it := range h.scan(t, h.cfg.AlertsTable) {
		if str(it, "pk") == "Q" && strings.HasSuffix(str(it, "sk"), d.ID) {
			got = append(got, str(it, "sk"))
		}
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("entries in the queue (-want +got)\n%s", diff)
	}
}

func TestNoFaultMiscountsWebhooks(t *testing.T) {
	t.Parallel()
	h := newHooks(t)
	ctx := context.Background()
	for _, f := range allFaults() {
		e := h.endpoint()
		h.reset(firstOf(transact, f))
		if err := h.faulty.CreateEndpoint(ctx, e); err != nil {
			t.Errorf("%s: CreateEndpoint = %v", f.name, err)
		}
		e.Version, e.URL = 2, "https://y.example"
		h.reset(firstOf(transact, f))
		if err := h.faulty.UpdateEndpoint(ctx, e); err != nil {
			t.Errorf("%s: UpdateEndpoint = %v", f.name, err)
		}
		h.counted(t, f, e, "1")
		h.reset(firstOf(transact, f))
		if err := h.faulty.DeleteEndpoint(ctx, e.AccountID, e.ID); err != nil {
			t.Errorf("%s: DeleteEndpoint = %v", f.name, err)
		}
		h.counted(t, f, e, "0")
		h.reset(nil)
	}
	h.reset(always(denied, ""))
	for name, err := range map[string]error{
		"CreateEndpoint": h.faulty.CreateEndpoint(ctx, h.endpoint()),
		"UpdateEndpoint": h.faulty.UpdateEndpoint(ctx, h.endpoint()),
		"DeleteEndpoint": h.faulty.DeleteEndpoint(ctx, "a", "b"),
		"Endpoints":      second(h.faulty.Endpoints(ctx, "a")),
		"Endpoint":       second(h.faulty.Endpoint(ctx, "a", "b")),
		"Due":            second(h.faulty.Due(ctx, h.now, 1)),
		"Delivery":       second(h.faulty.Delivery(ctx, webhook.Ref{AccountID: "a", ID: "b"})),
	} {
		if !errors.Is(err, keys.ErrUnavailable) {
			t.Errorf("%s, denied: %v, want ErrUnavailable", name, err)
		}
	}
}

func (h *hooks) counted(t *testing.T, f fault, e webhook.Endpoint, want string) {
	t.Helper()
	if got := num(h.item(t, h.cfg.AlertsTable, keyOf("A#"+e.AccountID, "W")), "count"); got != want {
		t.Errorf("%s: %s webhooks are counted, want %s", f.name, got, want)
	}
}

func TestADeliveryThatEndedGoesAMonthLaterAndAWaitingOneNever(t *testing.T) {
	h := newHooks(t)
	d := h.taken(t)
	key := keyOf("A#acct", "D#"+d.ID)
	if ttl := num(h.item(t, h.cfg.AlertsTable, key), "ttl"); ttl != "" {
		t.Errorf("ttl of a pending one: %s, want none", ttl)
	}
	end := h.now.Add(time.Hour)
	d.State, d.Attempts, d.Log = webhook.Delivered, 1, []webhook.Attempt{{At: end, Status: 200}}
	if err := h.clean.Finish(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprint((end.UnixMilli()+999)/1000 + 30*24*60*60)
	if ttl := num(h.item(t, h.cfg.AlertsTable, key), "ttl"); ttl != want {
		t.Errorf("ttl of a delivered one: %s, want %s", ttl, want)
	}
	if _, err := h.clean.Reopen(t.Context(), refTo(d), end); err != nil {
		t.Fatal(err)
	}
	if ttl := num(h.item(t, h.cfg.AlertsTable, key), "ttl"); ttl != "" {
		t.Errorf("ttl of a reopened one: %s, want none", ttl)
	}
}

func TestABrokenWebhookItemIsNotBelieved(t *testing.T) {
	h := newHooks(t)
	e := h.endpoint()
	d := h.enqueued(t)
	for name, it := range map[string]item{
		"a webhook without version": {"pk": text("A#" + e.AccountID), "sk": text("W#" + e.ID), "id": text(e.ID), "acct": text(e.AccountID)},
		"a webhook of wrong type":   {"pk": text("A#" + e.AccountID), "sk": text("W#" + e.ID), "id": text(e.ID), "version": text("1")},
	} {
		if err := h.put(t, h.cfg.AlertsTable, it); err != nil {
			t.Fatal(err)
		}
		if _, err := h.clean.Endpoint(t.Context(), e.AccountID, e.ID); !errors.Is(err, keys.ErrUnavailable) {
			t.Errorf("%s: %v, want ErrUnavailable", name, err)
		}
		if _, err := h.clean.Endpoints(t.Context(), e.AccountID); !errors.Is(err, keys.ErrUnavailable) {
			t.Errorf("%s in a list: %v, want ErrUnavailable", name, err)
		}
	}
	if err := h.put(t, h.cfg.AlertsTable, item{"pk": text("A#acct"), "sk": text("D#" + d.ID), "id": text(d.ID)}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := h.clean.Take(t.Context(), refTo(d), h.now, time.Minute); !errors.Is(err, keys.ErrUnavailable) {
		t.Errorf("Take of a broken delivery: %v, want ErrUnavailable", err)
	}
}

func TestTheStreamsAlertsAreToldFromAllElse(t *testing.T) {
	for _, tt := range []struct {
		pk, sk, want string
	}{
		{"A#acct", "A#id#of:an/alert", "acct id#of:an/alert true"},
		{"A#-", "A#x", "- x true"},
		{"A#acct", "W#x", "false"}, {"A#acct", "W", "false"}, {"A#acct", "D#x", "false"}, {"Q", "A#x", "false"},
		{"F#acct", "A#x", "false"}, {"A#", "A#x", "false"}, {"A#acct", "A#", "false"}, {"", "", "false"},
	} {
		account, id, ok := dynamo.StreamAlert(tt.pk, tt.sk)
		got := fmt.Sprint(ok)
		if ok {
			got = fmt.Sprint(account, " ", id, " ", ok)
		}
		if got != tt.want {
			t.Errorf("StreamAlert(%q, %q) = %s, want %s", tt.pk, tt.sk, got, tt.want)
		}
	}
}
