package dynamo_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/keyreeve/keyreeve/infra/local/ddb/ddbtest"
	"github.com/keyreeve/keyreeve/pkg/alert"
	"github.com/keyreeve/keyreeve/pkg/alert/alerttest"
	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/config"
	"github.com/keyreeve/keyreeve/pkg/dynamo"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

func alertsOn(c config.Config, with ...func(*dynamodb.Options)) *dynamo.Alerts {
	return dynamo.NewAlerts(dynamo.NewClient(c, with...), c.AlertsTable, c.StoreTimeout)
}

func TestAlertsPassTheSuite(t *testing.T) {
	c := ddbtest.ConfigWithoutStream(t)
	alerttest.Suite(t, func(*testing.T) alert.Store { return alertsOn(c) })
}

// oneAlert is an alert with every field that one is raised with, the nth oldest.
func oneAlert(account string, n int) alert.Alert {
	window := at.Truncate(time.Hour).Add(time.Duration(n) * time.Hour)
	return alert.Alert{
		ID: fmt.Sprintf("%012x-over_limit-%016x", window.UnixMilli(), n), AccountID: account, Environment: keys.Staging, KeyID: "AAAAAAAA",
		Kind: alert.OverLimit, Severity: alert.Warning, Subject: "AAAAAAAA", Window: window, RaisedAt: at, Text: "A sentence.",
		Data: map[string]string{"limit": "20"},
	}
}

func TestAlertItemsAreAsDrawn(t *testing.T) {
	s := newStore(t)
	alerts := alertsOn(s.cfg)
	a := oneAlert("acct", 0)
	if _, err := alerts.Raise(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if _, err := alerts.Acknowledge(t.Context(), "acct", a.ID, "BBBBBBBB", at.Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	window := at.Truncate(alert.FailureSpan)
	if _, err := alerts.Fail(t.Context(), "acct", "source#2001:db8::/64", window, []alert.Failure{{ID: "a#b", Time: at}}); err != nil {
		t.Fatal(err)
	}
	n := func(t time.Time) types.AttributeValue {
		return &types.AttributeValueMemberN{Value: fmt.Sprint(t.UnixMilli())}
	}
	seconds := func(t time.Time) types.AttributeValue {
		return &types.AttributeValueMemberN{Value: fmt.Sprint(t.Unix())}
	}
	want := []item{
		{
			"pk": text("A#acct"), "sk": text("A#" + a.ID), "id": text(a.ID), "acct": text("acct"), "env": text("staging"), "key": text("AAAAAAAA"),
			"kind": text("over_limit"), "severity": text("warning"), "subject": text("AAAAAAAA"), "window": n(a.Window), "at": n(at),
			"text": text("A sentence."), "data": &types.AttributeValueMemberM{Value: item{"limit": text("20")}},
			"acked": n(at.Add(time.Second)), "ackedBy": text("BBBBBBBB"), "ttl": seconds(at.Add(90*24*time.Hour + time.Second)),
		},
		{
			"pk": text("F#acct"), "sk": text(fmt.Sprintf("source#2001:db8::/64#%d", window.UnixMilli())),
			"ids": &types.AttributeValueMemberSS{Value: []string{fmt.Sprintf("%d#a#b", at.UnixMilli())}}, "ttl": seconds(window.Add(24 * time.Hour)),
		},
	}
	got := s.scan(t, s.cfg.AlertsTable)
	slices.SortFunc(got, func(a, b item) int { return strings.Compare(str(a, "pk"), str(b, "pk")) })
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(types.AttributeValueMemberS{}, types.AttributeValueMemberN{},
		types.AttributeValueMemberM{}, types.AttributeValueMemberSS{})); diff != "" {
		t.Errorf("items (-want +got):\n%s", diff)
	}
	if accountID, id, ok := dynamo.StreamAlert(str(got[0], "pk"), str(got[0], "sk")); !ok || accountID != "acct" || id != a.ID {
		t.Errorf("StreamAlert of the item = %s, %s, %t", accountID, id, ok)
	}
	if _, _, ok := dynamo.StreamAlert(str(got[1], "pk"), str(got[1], "sk")); ok {
		t.Error("StreamAlert takes failures for an alert")
	}
}

// TestAlertsEndUpTheSameUnderFaults runs every write with every fault at every call that it
// makes, once and for as long as it tries; then again without. What it answers is true, an
// error says that it may be repeated, and after the repeat all is as if nothing had been.
func TestAlertsEndUpTheSameUnderFaults(t *testing.T) {
	c := ddbtest.ConfigWithoutStream(t)
	window := at.Truncate(alert.FailureSpan)
	failures := func(from, to int) (list []alert.Failure) {
		for i := from; i < to; i++ {
			list = append(list, alert.Failure{ID: fmt.Sprintf("CANARY%d", i), Time: window.Add(time.Duration(i) * time.Second)})
		}
		return list
	}
	operations := []struct {
		name  string
		calls string
		run   func(s *dynamo.Alerts, account string) (string, error)
		// mayDiffer: what a repeat of an attempt that was applied may answer instead
		mayDiffer string
	}{
		{"raise", "PutItem", func(s *dynamo.Alerts, account string) (string, error) {
			raised, err := s.Raise(t.Context(), oneAlert(account, 1))
			return fmt.Sprint(raised), err
		}, "false"},
		{"note", "UpdateItem", func(s *dynamo.Alerts, account string) (string, error) {
			return s.Note(t.Context(), account, oneAlert(account, 0).ID, "sourceIp", "CANARY")
		}, ""},
		{"acknowledge", "UpdateItem", func(s *dynamo.Alerts, account string) (string, error) {
			a, err := s.Acknowledge(t.Context(), account, oneAlert(account, 0).ID, "BBBBBBBB", at)
			return string(a.AcknowledgedBy), err
		}, ""},
		{"fail, few", "UpdateItem BatchGetItem", func(s *dynamo.Alerts, account string) (string, error) {
			known, err := s.Fail(t.Context(), account, "key#AAAAAAAA", window, failures(0, 3))
			return fmt.Sprint(len(known)), err
		}, ""},
		{"fail, many", "UpdateItem", func(s *dynamo.Alerts, account string) (string, error) {
			known, err := s.Fail(t.Context(), account, "key#AAAAAAAA", window, failures(0, 100))
			return fmt.Sprint(len(known)), err
		}, ""},
		{"list", "Query", func(s *dynamo.Alerts, account string) (string, error) {
			page, err := s.Alerts(t.Context(), alert.Query{AccountID: account, Limit: 10})
			return fmt.Sprint(len(page.Alerts)), err
		}, ""},
		{"read", "GetItem", func(s *dynamo.Alerts, account string) (string, error) {
			a, err := s.Alert(t.Context(), account, oneAlert(account, 0).ID)
			return a.ID, err
		}, ""},
	}
	clean := alertsOn(c)
	scene := func(t *testing.T) string {
		account := "f-" + string(apikey.NewID())
		if _, err := clean.Raise(t.Context(), oneAlert(account, 0)); err != nil {
			t.Fatal(err)
		}
		return account
	}
	state := func(t *testing.T, account string) string {
		page, err := clean.Alerts(t.Context(), alert.Query{AccountID: account, Limit: 10})
		if err != nil {
			t.Fatal(err)
		}
		known, err := clean.Fail(t.Context(), account, "key#AAAAAAAA", window, failures(0, 1))
		if err != nil {
			t.Fatal(err)
		}
		return strings.ReplaceAll(fmt.Sprintf("%v, %d failures", page, len(known)), account, "acct")
	}
	w := &wire{}
	faulty := alertsOn(c, w.option, func(o *dynamodb.Options) { // what is waited between two attempts shows nothing here
		o.Retryer = retry.NewStandard(func(o *retry.StandardOptions) { o.MaxBackoff = time.Millisecond })
	})
	cases := 0
	for _, op := range operations {
		account := scene(t)
		w.reset(nil)
		answer, err := op.run(faulty, account)
		calls := w.seen()
		if err != nil || strings.Join(calls, " ") != op.calls {
			t.Fatalf("%s without a fault: %v, calls %v, want %s", op.name, err, calls, op.calls)
		}
		want := state(t, account)
		for i, name := range calls {
			for _, f := range faultsFor(name) {
				for mode, meets := range map[string]func(call) bool{
					"once":      func(c call) bool { return c.n == i },
					"from then": func(c call) bool { return c.n >= i && c.op == name },
				} {
					cases++
					what := fmt.Sprintf("%s: %s of %s, %s", op.name, f.name, name, mode)
					account := scene(t)
					w.reset(func(c call) fault {
						if meets(c) {
							return f
						}
						return fault{}
					})
					got, err := op.run(faulty, account)
					w.reset(nil)
					switch {
					case err == nil && mode == "from then" && !f.applied: // where it was applied, the next attempt finds it
						t.Errorf("%s: no error", what)
					case err == nil && got != answer && (op.mayDiffer == "" || got != op.mayDiffer):
						t.Errorf("%s: answered %s, want %s", what, got, answer)
					case err != nil && !errors.Is(err, keys.ErrUnavailable):
						t.Errorf("%s: %v, want ErrUnavailable", what, err)
					case err != nil && strings.Contains(err.Error(), "CANARY"):
						t.Errorf("%s: the error says what an item holds: %v", what, err)
					}
					if _, err := op.run(clean, account); err != nil {
						t.Errorf("%s: the repeat: %v", what, err)
					}
					if now := state(t, account); now != want {
						t.Errorf("%s: after the repeat\n%s\nwant\n%s", what, now, want)
					}
				}
			}
		}
	}
	t.Logf("%d faults", cases)
}

func TestABrokenItemIsNoAlert(t *testing.T) {
	s := newStore(t)
	alerts := alertsOn(s.cfg)
	a := oneAlert("acct", 0)
	if err := s.put(t, s.cfg.AlertsTable, item{"pk": text("A#acct"), "sk": text("A#" + a.ID), "id": text(a.ID), "acct": text("acct"), "window": text("CANARY")}); err != nil {
		t.Fatal(err)
	}
	window := at.Truncate(alert.FailureSpan)
	if err := s.put(t, s.cfg.AlertsTable, item{"pk": text("F#acct"), "sk": text(fmt.Sprintf("key#A#%d", window.UnixMilli())),
		"ids": &types.AttributeValueMemberSS{Value: []string{"CANARY"}}}); err != nil {
		t.Fatal(err)
	}
	_, read := alerts.Alert(t.Context(), "acct", a.ID)
	_, list := alerts.Alerts(t.Context(), alert.Query{AccountID: "acct", Limit: 10})
	_, acknowledge := alerts.Acknowledge(t.Context(), "acct", a.ID, "BBBBBBBB", at)
	_, fail := alerts.Fail(t.Context(), "acct", "key#A", window, []alert.Failure{{ID: "x", Time: at}})
	for call, err := range map[string]error{"Alert": read, "Alerts": list, "Acknowledge": acknowledge, "Fail": fail} {
		if !errors.Is(err, keys.ErrUnavailable) || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%s of a broken item = %v, want ErrUnavailable without what is in it", call, err)
		}
	}
}

// A list of few that match among many that do not must not read them all for one page.
func TestAPageOfAlertsReadsABoundedNumber(t *testing.T) {
	c := &counting{}
	s := newStore(t)
	alerts := alertsOn(s.cfg, c.option)
	const n = 2300
	for from := 0; from < n; from += 25 {
		var writes []types.WriteRequest
		for i := from; i < min(from+25, n); i++ {
			a := oneAlert("acct", i)
			writes = append(writes, types.WriteRequest{PutRequest: &types.PutRequest{Item: item{
				"pk": text("A#acct"), "sk": text("A#" + a.ID), "id": text(a.ID), "acct": text("acct"), "kind": text(map[bool]string{true: "near_limit", false: "over_limit"}[i == 5])}}})
		}
		if _, err := s.raw.BatchWriteItem(t.Context(), &dynamodb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{s.cfg.AlertsTable: writes}}); err != nil {
			t.Fatal(err)
		}
	}
	c.take()
	q := alert.Query{AccountID: "acct", Kind: alert.NearLimit, Limit: 10}
	var found []string
	pages := 0
	for ; pages < 10; pages++ {
		page, err := alerts.Alerts(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if queries := len(c.take()); queries > 10 {
			t.Errorf("page %d took %d queries, want at most 10", pages+1, queries)
		}
		for _, a := range page.Alerts {
			found = append(found, a.ID)
		}
		if q.After = page.Next; q.After == "" {
			break
		}
	}
	if diff := cmp.Diff([]string{oneAlert("acct", 5).ID}, found); diff != "" || pages != 2 {
		t.Errorf("found on %d pages (-want +got):\n%s", pages+1, diff)
	}
}
