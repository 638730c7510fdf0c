package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/flush"
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

// cache notes when stages were flushed. Its calls fail as often as failures says.
type cache struct {
	mu       sync.Mutex
	flushed  map[string][]time.Time
	failures int
	err      error
}

func (c *cache) Flush(_ context.Context, stage string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failures > 0 {
		c.failures--
		return c.err
	}
	if c.flushed == nil {
		c.flushed = map[string][]time.Time{}
	}
	c.flushed[stage] = append(c.flushed[stage], time.Now())
	return nil
}

// counts is how often each stage was flushed.
func (c *cache) counts() map[string]int {
	n := map[string]int{}
	for stage, times := range c.flushed {
		n[stage] = len(times)
	}
	return n
}

func run(t *testing.T, h lambda.Handler, records ...events.DynamoDBEventRecord) (failed []string) {
	t.Helper()
	payload, err := json.Marshal(events.DynamoDBEvent{Records: records})
	if err != nil {
		t.Fatal(err)
	}
	out, err := h.Invoke(t.Context(), payload)
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

func newStream(s *store, c *cache) *Stream {
	return New(s, flush.New(flush.Config{Cache: c, Shared: true}), slog.New(slog.DiscardHandler))
}

func newLater(c *cache, timeout time.Duration) *Later {
	return NewLater(flush.New(flush.Config{Cache: c, Shared: true}), timeout, slog.New(slog.DiscardHandler))
}

// record is one that changed nothing that a verdict depends on: from a verdict to the same.
func record(sequence, pk string) events.DynamoDBEventRecord {
	return modified(sequence, pk, keys.Production, 1, 1)
}

func modified(sequence, pk string, e keys.Environment, was, is int) events.DynamoDBEventRecord {
	image := func(verdict int) map[string]events.DynamoDBAttributeValue {
		return map[string]events.DynamoDBAttributeValue{
			"env": events.NewStringAttribute(string(e)), "verdict": events.NewNumberAttribute(strconv.Itoa(verdict)),
			"digest": events.NewBinaryAttribute([]byte{1}), "perms": events.NewListAttribute([]events.DynamoDBAttributeValue{events.NewStringAttribute("a:b")}),
		}
	}
	return events.DynamoDBEventRecord{EventName: "MODIFY", Change: events.DynamoDBStreamRecord{
		SequenceNumber: sequence, Keys: map[string]events.DynamoDBAttributeValue{"pk": events.NewStringAttribute(pk)},
		OldImage: image(was), NewImage: image(is),
		ApproximateCreationDateTime: events.SecondsEpochTime{Time: time.Now().Truncate(time.Second)},
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
	s, c := &store{keys: someKeys()}, &cache{}
	failed := run(t, newStream(s, c),
		record("1", "K#AAAAAAAA"), record("2", "A#acct_1"), record("3", "K#BBBBBBBB"), record("4", "K#AAAAAAAA"),
		record("5", "K#CCCCCCCC"), record("6", "K#GONE0000"), record("7", "I#name"), record("8", "K#not a key"))
	want := []string{"AAAAAAAA v7 true", "BBBBBBBB v3 false", "CCCCCCCC v9 false"}
	if d := cmp.Diff(want, s.settled); d != "" || failed != nil {
		t.Errorf("settled (-want +got):\n%s failed: %v", d, failed)
	}
	if len(c.flushed) > 0 {
		t.Errorf("no verdict was another, and yet %v was flushed", c.counts())
	}
}

func TestTheFirstFailureIsReportedAndRepeatingDoesTheRest(t *testing.T) {
	s := &store{keys: someKeys(), failing: "BBBBBBBB"}
	records := []events.DynamoDBEventRecord{record("1", "K#AAAAAAAA"), record("2", "K#BBBBBBBB"), record("3", "K#CCCCCCCC")}
	h := newStream(s, &cache{})
	if d := cmp.Diff([]string{"2"}, run(t, h, records...)); d != "" {
		t.Errorf("failed (-want +got):\n%s", d)
	}
	s.failing = ""
	if failed := run(t, h, records[1:]...); failed != nil {
		t.Errorf("the repeat failed: %v", failed)
	}
	want := []string{"AAAAAAAA v7 true", "BBBBBBBB v3 false", "CCCCCCCC v9 false"}
	if d := cmp.Diff(want, s.settled); d != "" {
		t.Errorf("settled (-want +got):\n%s", d)
	}
}

// A batch's flushes are one for each stage, and only what a change touches is flushed.
func TestABatchFlushesEachStageThatItTouchesOnce(t *testing.T) {
	is, gone := "MODIFY", "REMOVE"
	event := func(name string, r events.DynamoDBEventRecord) events.DynamoDBEventRecord {
		r.EventName = name
		switch name {
		case "INSERT":
			r.Change.OldImage = nil
		case gone:
			r.Change.NewImage = nil
		}
		return r
	}
	for name, tt := range map[string]struct {
		records []events.DynamoDBEventRecord
		want    map[string]int
	}{
		"a narrower verdict": {[]events.DynamoDBEventRecord{event(is, modified("1", "K#AAAAAAAA", keys.Staging, 1, 2))}, map[string]int{"staging": 1, "shared": 1}},
		"a rename":           {[]events.DynamoDBEventRecord{event(is, modified("1", "K#AAAAAAAA", keys.Staging, 2, 2))}, map[string]int{}},
		"a new key":          {[]events.DynamoDBEventRecord{event("INSERT", modified("1", "K#AAAAAAAA", keys.Staging, 0, 1))}, map[string]int{}},
		"one that TTL took":  {[]events.DynamoDBEventRecord{event(gone, modified("1", "K#AAAAAAAA", keys.Staging, 2, 0))}, map[string]int{}},
		"many of two environments": {[]events.DynamoDBEventRecord{
			modified("1", "K#AAAAAAAA", keys.Production, 1, 2), modified("2", "K#BBBBBBBB", keys.Development, 1, 2),
			modified("3", "K#AAAAAAAA", keys.Production, 2, 3), modified("4", "A#account", keys.Staging, 1, 2),
		}, map[string]int{"production": 1, "development": 1, "shared": 1}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				first, later := &cache{}, &cache{}
				failed := run(t, newStream(&store{keys: someKeys()}, first), tt.records...)
				failed = append(failed, run(t, newLater(later, 10*time.Second), tt.records...)...)
				if d := cmp.Diff([]map[string]int{tt.want, tt.want}, []map[string]int{first.counts(), later.counts()}); d != "" || failed != nil {
					t.Errorf("flushed at once, and later (-want +got):\n%s failed: %v", d, failed)
				}
			})
		})
	}
}

func TestAFlushThatFailsHasItsRecordsRepeatedAfterTheMetersAreDone(t *testing.T) {
	for name, boom := range map[string]error{"throttled to the end": flush.ErrThrottled, "denied": errors.New("access denied")} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, c := &store{keys: someKeys()}, &cache{failures: 1 << 30, err: boom}
				h := newStream(s, c)
				records := []events.DynamoDBEventRecord{
					record("1", "K#AAAAAAAA"), modified("2", "K#BBBBBBBB", keys.Production, 1, 2), modified("3", "K#CCCCCCCC", keys.Production, 1, 2),
				}
				begun := time.Now()
				if d := cmp.Diff([]string{"2"}, run(t, h, records...)); d != "" || len(s.settled) != 3 {
					t.Errorf("settled %v, failed (-want +got):\n%s", s.settled, d)
				}
				if took := time.Since(begun); took > 20*time.Second {
					t.Errorf("it kept the meters behind it waiting for %s", took)
				}
				c.failures = 2
				if boom != flush.ErrThrottled {
					c.failures = 0
				}
				if failed := run(t, h, records[1:]...); failed != nil || c.counts()["production"] != 1 {
					t.Errorf("repeated: failed %v, flushed %v", failed, c.counts())
				}
			})
		})
	}
}

// The one thing that the flushes before cannot do: an authorizer read the key just before
// its change, and its answer comes into the cache just before its time-out.
func TestTheLaterFlushBeginsWhenNoAuthorizerIsAtWorkThatReadBeforeTheChange(t *testing.T) {
	const timeout = 10 * time.Second
	for name, tt := range map[string]struct {
		age  time.Duration // of the newest record when the batch comes
		most time.Duration
	}{
		"just now":             {0, timeout + time.Second},
		"seconds ago":          {4 * time.Second, timeout - 2*time.Second},
		"long ago":             {time.Hour, 0},
		"by a clock far ahead": {-time.Hour, timeout},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				time.Sleep(300 * time.Millisecond) // so that streams' seconds round it
				begun, c := time.Now(), &cache{}
				committed := begun.Add(-tt.age)
				old, r := record("1", "K#AAAAAAAA"), modified("2", "K#BBBBBBBB", keys.Production, 1, 2)
				old.Change.ApproximateCreationDateTime.Time = committed.Add(-time.Hour)
				r.Change.ApproximateCreationDateTime.Time = committed.Truncate(time.Second)
				if failed := run(t, newLater(c, timeout), old, r); failed != nil {
					t.Fatalf("failed: %v", failed)
				}
				at := c.flushed["production"]
				if len(at) != 1 || at[0].Sub(begun) > tt.most {
					t.Fatalf("flushed at %v, after %v", at, at[0].Sub(begun))
				}
				if tt.age >= 0 && at[0].Before(committed.Add(timeout)) {
					t.Errorf("flushed %s after the commit, want %s at least", at[0].Sub(committed), timeout)
				}
			})
		})
	}
}

func TestTheLaterFlushGivesUpBeforeItsInvocationEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cache{failures: 1 << 30, err: flush.ErrThrottled}
		payload, err := json.Marshal(events.DynamoDBEvent{Records: []events.DynamoDBEventRecord{modified("2", "K#BBBBBBBB", keys.Production, 1, 2)}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		out, err := newLater(c, 10*time.Second).Invoke(ctx, payload)
		if want := `{"batchItemFailures":[{"itemIdentifier":"2"}]}`; err != nil || string(out) != want || ctx.Err() != nil {
			t.Errorf("answer %s, %v, context %v; want %s in time", out, err, ctx.Err(), want)
		}
	})
}

// Each record delivered three times, and each one's flush and meter failed once: the same
// state as of a delivery without a fault, and after each change a flush.
func TestDuplicatesAndFailuresLeaveTheSameState(t *testing.T) {
	for seed := range uint64(200) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 6))
			s, first, later := &store{keys: someKeys()}, &cache{err: flush.ErrThrottled}, &cache{err: errors.New("no answer")}
			handlers := []lambda.Handler{newStream(s, first), newLater(later, 10*time.Second)}
			ids := []apikey.ID{"AAAAAAAA", "BBBBBBBB", "CCCCCCCC"}
			environments := map[apikey.ID]keys.Environment{"AAAAAAAA": keys.Production, "BBBBBBBB": keys.Staging, "CCCCCCCC": keys.Production}
			changed := map[string]time.Time{} // by stage: its newest change
			var records []events.DynamoDBEventRecord
			for i := range 20 {
				id := ids[random.IntN(3)]
				was := random.IntN(5)
				is := was + random.IntN(2)
				records = append(records, modified(strconv.Itoa(i), "K#"+string(id), environments[id], was, is))
				if is != was {
					changed[string(environments[id])], changed[keys.SharedStage] = time.Now(), time.Now()
				}
				time.Sleep(time.Duration(random.IntN(300)) * time.Millisecond)
			}
			s.settled = nil
			for n, h := range handlers {
				c := []*cache{first, later}[n]
				for range 3 {
					left := records
					for len(left) > 0 {
						batch := left[:1+random.IntN(len(left))]
						if random.IntN(2) == 0 {
							s.failing = ids[random.IntN(3)]
						}
						c.failures = random.IntN(3)
						for len(batch) > 0 { // as Lambda does: from the first that failed
							failed := run(t, h, batch...)
							s.failing = ""
							if failed == nil {
								break
							}
							batch = batch[slices.IndexFunc(batch, func(r events.DynamoDBEventRecord) bool { return r.Change.SequenceNumber == failed[0] }):]
						}
						left = left[slices.IndexFunc(left, func(r events.DynamoDBEventRecord) bool {
							return r.Change.SequenceNumber == batch[len(batch)-1].Change.SequenceNumber
						})+1:]
					}
				}
				for stage, at := range changed {
					flushed := c.flushed[stage]
					wait := []time.Duration{0, 10 * time.Second}[n]
					if len(flushed) == 0 || flushed[len(flushed)-1].Before(at.Add(wait)) {
						t.Errorf("seed %d: stage %s changed at %s, flushed at %s", seed, stage, at, flushed)
					}
				}
				for stage, flushed := range c.flushed {
					if _, ok := changed[stage]; !ok {
						t.Errorf("seed %d: stage %s was flushed and no change touched it", seed, stage)
					}
					for i := 1; i < len(flushed); i++ {
						if gap := flushed[i].Sub(flushed[i-1]); gap < flush.Every {
							t.Errorf("seed %d: stage %s was flushed twice within %s", seed, stage, gap)
						}
					}
				}
			}
			for _, line := range s.settled { // whatever was written was the present verdict
				if !slices.Contains([]string{"AAAAAAAA v7 true", "BBBBBBBB v3 false", "CCCCCCCC v9 false"}, line) {
					t.Errorf("seed %d: settled %s", seed, line)
				}
			}
			for _, r := range records {
				id := apikey.ID(r.Change.Keys["pk"].String()[2:])
				k := s.keys[id]
				if want := fmt.Sprintf("%s v%d %t", id, k.Verdict, k.Active && !k.Deleted); !slices.Contains(s.settled, want) {
					t.Errorf("seed %d: key %s was not settled", seed, id)
				}
			}
		})
	}
}

func TestWhatIsNoStreamEventIsAnError(t *testing.T) {
	withoutImages := modified("1", "K#AAAAAAAA", keys.Production, 1, 2)
	withoutImages.Change.OldImage = nil
	keysOnly, err := json.Marshal(events.DynamoDBEvent{Records: []events.DynamoDBEventRecord{withoutImages}})
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range []lambda.Handler{newStream(&store{}, &cache{}), newLater(&cache{}, time.Second)} {
		for _, payload := range []string{`{"Records":{}}`, `{"Records":[{"dynamodb":{"Keys":{"pk":{"S":1}}}}]}`, string(keysOnly)} {
			if _, err := h.Invoke(t.Context(), []byte(payload)); err == nil {
				t.Errorf("%T took %s", h, payload)
			}
		}
	}
}
