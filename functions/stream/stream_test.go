package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"github.com/aws/aws-lambda-go/events"
	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

// store holds keys and notes what is settled. failing is the key whose meter refuses.
type store struct {
	keys    map[apikey.ID]keys.Key
	settled []string
	failing apikey.ID
}

func (s *store) Key(_ context.Context, id apikey.ID) (keys.Key, error) {
	k, ok := s.keys[id]
	if !ok {
		return k, keys.ErrNotFound
	}
	return k, nil
}

func (s *store) Settle(_ context.Context, id apikey.ID, verdict int64, active bool) error {
	if id == s.failing {
		return errors.New("throttled")
	}
	s.settled = append(s.settled, fmt.Sprintf("%s v%d %t", id, verdict, active))
	return nil
}

func run(t *testing.T, s *store, records ...events.DynamoDBEventRecord) (failed []string) {
	t.Helper()
	payload, err := json.Marshal(events.DynamoDBEvent{Records: records})
	if err != nil {
		t.Fatal(err)
	}
	out, err := New(s, slog.New(slog.DiscardHandler)).Invoke(t.Context(), payload)
	if err != nil {
		t.Fatal(err)
	}
	var res events.DynamoDBEventResponse
	if err := json.Unmarshal(out, &res); err != nil {
		t.Fatal(err)
	}
	for _, f := range res.BatchItemFailures {
		failed = append(failed, f.ItemIdentifier)
	}
	return failed
}

func record(sequence, pk string) events.DynamoDBEventRecord {
	return events.DynamoDBEventRecord{Change: events.DynamoDBStreamRecord{
		SequenceNumber: sequence, Keys: map[string]events.DynamoDBAttributeValue{"pk": events.NewStringAttribute(pk)},
	}}
}

func someKeys() map[apikey.ID]keys.Key {
	return map[apikey.ID]keys.Key{
		"AAAAAAAA": {ID: "AAAAAAAA", Verdict: 7, Active: true},
		"BBBBBBBB": {ID: "BBBBBBBB", Verdict: 3},
		"CCCCCCCC": {ID: "CCCCCCCC", Verdict: 9, Active: true, Deleted: true},
	}
}

func TestEachChangedKeysMeterGetsItsPresentVerdictOnce(t *testing.T) {
	s := &store{keys: someKeys()}
	failed := run(t, s,
		record("1", "K#AAAAAAAA"), record("2", "A#acct_1"), record("3", "K#BBBBBBBB"), record("4", "K#AAAAAAAA"),
		record("5", "K#CCCCCCCC"), record("6", "K#GONE0000"), record("7", "I#name"), record("8", "K#not a key"))
	want := []string{"AAAAAAAA v7 true", "BBBBBBBB v3 false", "CCCCCCCC v9 false"}
	if d := cmp.Diff(want, s.settled); d != "" || failed != nil {
		t.Errorf("settled (-want +got):\n%s failed: %v", d, failed)
	}
}

func TestTheFirstFailureIsReportedAndRepeatingDoesTheRest(t *testing.T) {
	s := &store{keys: someKeys(), failing: "BBBBBBBB"}
	records := []events.DynamoDBEventRecord{record("1", "K#AAAAAAAA"), record("2", "K#BBBBBBBB"), record("3", "K#CCCCCCCC")}
	if d := cmp.Diff([]string{"2"}, run(t, s, records...)); d != "" {
		t.Errorf("failed (-want +got):\n%s", d)
	}
	s.failing = ""
	if failed := run(t, s, records[1:]...); failed != nil {
		t.Errorf("the repeat failed: %v", failed)
	}
	want := []string{"AAAAAAAA v7 true", "BBBBBBBB v3 false", "CCCCCCCC v9 false"}
	if d := cmp.Diff(want, s.settled); d != "" {
		t.Errorf("settled (-want +got):\n%s", d)
	}
}

func TestWhatIsNoStreamEventIsAnError(t *testing.T) {
	if _, err := New(&store{}, slog.New(slog.DiscardHandler)).Invoke(t.Context(), []byte(`{"Records":{}}`)); err == nil {
		t.Error("Invoke took an object for the list of records")
	}
}
