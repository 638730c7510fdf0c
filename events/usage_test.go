package events_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	usagefn "github.com/keyreeve/keyreeve/functions/usage"
	"github.com/keyreeve/keyreeve/pkg/alert"
	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/emf"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/route"
	"github.com/keyreeve/keyreeve/pkg/usage"
	"github.com/keyreeve/keyreeve/pkg/usage/usagetest"
)

// usageEvents are the events of the function usage, and what comes of each alone: what it
// answers, what is in the request log then, and the names of the metrics.
//
// The log lines are gzip in base64, as CloudWatch Logs sends them; to read them:
// jq -r .awslogs.data events/usage-access-log.json | base64 -d | gunzip
var usageEvents = map[string]struct {
	answer  string
	log     []string
	metrics string
}{
	"usage-access-log.json": {"null", []string{
		"EXAMPLE-1= GET /v1/customers 200", "EXAMPLE-2= PUT /v1/customers/{customerId} 404",
	}, "LinesCounted=2"},
	"usage-authorizer-log.json": {"null", []string{
		"EXAMPLE-3=   401 expired",
	}, "LinesCounted=1"},
	"usage-redrive.json": {`{"batchItemFailures":[]}`, []string{
		"EXAMPLE-3=   401 expired",
	}, "LinesCounted=1"},
	"usage-schedule.json": {"null", nil, ""},
}

// data is what CloudWatch Logs compresses, in an event or in an event within one.
var data = regexp.MustCompile(`(data\\?": ?\\?")([0-9A-Za-z+/]+=*)`)

// opened is an event with what is compressed in it in the open.
func opened(t *testing.T, event []byte) []byte {
	t.Helper()
	return data.ReplaceAllFunc(event, func(m []byte) []byte {
		zipped, err := base64.StdEncoding.DecodeString(string(data.FindSubmatch(m)[2]))
		if err != nil {
			t.Fatal(err)
		}
		z, err := gzip.NewReader(bytes.NewReader(zipped))
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(z)
		if err != nil {
			t.Fatal(err)
		}
		return text
	})
}

// exampleKey is the key of the placeholder.
type exampleKey struct{}

func (exampleKey) Key(_ context.Context, id apikey.ID) (keys.Key, error) {
	if id != idPlaceholder {
		return keys.Key{}, keys.ErrNotFound
	}
	return keys.Key{ID: id, AccountID: account, Environment: keys.Production}, nil
}

type watcher struct{}

func (watcher) Observe(context.Context, usage.Facts) error { return nil }
func (watcher) Sweep(context.Context) (alert.Swept, error) { return alert.Swept{Keys: 1}, nil }

// usageWorld is the function usage on a store in memory.
type usageWorld struct {
	*usagefn.Usage
	store   *usagetest.Memory
	metrics bytes.Buffer
}

func newUsageWorld() *usageWorld {
	w := &usageWorld{store: usagetest.NewMemory()}
	w.Usage = usagefn.New(usagefn.Config{
		Counter: usage.New(usage.Config{Store: w.store, Table: route.Default(), Keys: exampleKey{}}),
		Watcher: watcher{}, Metrics: emf.New(&w.metrics, "Keyreeve", nil),
	})
	return w
}

func (w *usageWorld) invoke(t *testing.T, name string) string {
	t.Helper()
	out, err := w.Invoke(t.Context(), read(t, name))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return string(out)
}

// log is the request log, oldest first.
func (w *usageWorld) log(t *testing.T) (list []string) {
	t.Helper()
	page, err := w.store.Requests(t.Context(), usage.Query{
		AccountID: account, From: time.Date(2026, 1, 15, 0, 0, 0, 0, time.UTC), To: time.Date(2026, 1, 16, 0, 0, 0, 0, time.UTC), Limit: 10,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range page.Requests {
		line := fmt.Sprintf("%s %s %s %d %s", r.ID, r.Method, r.Route, r.Status, r.Refused)
		list = append([]string{strings.TrimSpace(line)}, list...)
	}
	return list
}

var metric = regexp.MustCompile(`"(\w+)":(\d+)[,}]`)

func TestUsageTakesItsEvents(t *testing.T) {
	for name, want := range usageEvents {
		w := newUsageWorld()
		if got := w.invoke(t, name); got != want.answer {
			t.Errorf("%s: answered %s, want %s", name, got, want.answer)
		}
		if diff := cmp.Diff(want.log, w.log(t)); diff != "" {
			t.Errorf("%s: request log (-want +got)\n%s", name, diff)
		}
		var metrics []string
		for _, m := range metric.FindAllStringSubmatch(w.metrics.String(), -1) {
			if m[1] != "Timestamp" && m[1] != emf.Lag { // these go by the clock
				metrics = append(metrics, m[1]+"="+m[2])
			}
		}
		if diff := cmp.Diff(want.metrics, strings.Join(metrics, " ")); diff != "" {
			t.Errorf("%s: metrics (-want +got)\n%s", name, diff)
		}
	}
}

func TestUsageEventsAreOfTheSameRequests(t *testing.T) {
	w := newUsageWorld()
	for _, name := range []string{"usage-access-log.json", "usage-authorizer-log.json", "usage-redrive.json"} {
		w.invoke(t, name)
	}
	want := []string{"EXAMPLE-1= GET /v1/customers 200", "EXAMPLE-2= PUT /v1/customers/{customerId} 404", "EXAMPLE-3= GET /v1/customers 401 expired"}
	if diff := cmp.Diff(want, w.log(t)); diff != "" {
		t.Errorf("request log (-want +got)\n%s", diff)
	}
	if got := w.store.Tables().Totals[idPlaceholder]; got != (usage.Totals{Requests: 3, Admitted: 2}) {
		t.Errorf("totals %+v, want 3 requests, 2 admitted", got)
	}
}
