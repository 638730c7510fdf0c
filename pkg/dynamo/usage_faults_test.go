package dynamo_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/infra/local/ddb/ddbtest"
	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/config"
	"github.com/keyreeve/keyreeve/pkg/dynamo"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/usage"
)

// usageScene is an account with three keys, in which one write is run under faults. What is
// in it has the same form in every scene, so that states can be compared.
type usageScene struct {
	clean   *dynamo.Usage
	account string
	ids     []apikey.ID
	prefix  string // of the requests' ids
}

func newUsageScene(c config.Config) *usageScene {
	s := &usageScene{clean: usageOn(c, dynamo.UsageConfig{}), account: "f-" + string(apikey.NewID()), prefix: string(apikey.NewID())}
	for range 3 {
		s.ids = append(s.ids, apikey.NewID())
	}
	slices.Sort(s.ids)
	return s
}

func (s *usageScene) batch() usage.Batch { return usage.Batch("b-" + s.prefix) }

// request is the nth, of one of the keys. What it holds beside ids must get into no error.
func (s *usageScene) request(n int) usage.Request {
	r := oneRequest(s.account, s.ids[n%len(s.ids)], fmt.Sprint(s.prefix, n))
	r.Time, r.Route, r.SourceIP, r.UserAgent = r.Time.Add(time.Duration(n)*time.Second), "/v1/CANARY", "198.51.100.77", "CANARY"
	return r
}

func (s *usageScene) profile(version int64) usage.Profile {
	return usage.Profile{
		KeyID: s.ids[0], AccountID: s.account, First: at, LastUsed: at.Add(time.Duration(version) * time.Hour), Version: version,
		Networks: map[string]time.Time{"198.51.100.77/24-CANARY": at}, Permissions: map[string]time.Time{}, Generations: map[int64]time.Time{},
	}
}

// usageState is all that a scene's store holds, without the names that differ from scene
// to scene.
type usageState struct {
	Requests []usage.Request
	Counts   map[int][]usage.Count // by index of the key
	Totals   map[int]usage.Totals
	Profiles map[int]usage.Profile
}

func (s *usageScene) state(t *testing.T, op *usageOperation) usageState {
	t.Helper()
	ctx := t.Context()
	var page usage.Page
	if op.rows {
		var err error
		if page, err = s.clean.Requests(ctx, everything(s.account)); err != nil || page.Next != nil {
			t.Fatal(err, page.Next)
		}
	}
	totals, err := s.clean.Totals(ctx, s.ids)
	if err != nil {
		t.Fatal(err)
	}
	profiles, err := s.clean.Profiles(ctx, s.ids)
	if err != nil {
		t.Fatal(err)
	}
	st := usageState{Counts: map[int][]usage.Count{}, Totals: map[int]usage.Totals{}, Profiles: map[int]usage.Profile{}}
	for _, r := range page.Requests {
		r.ID, r.RequestID = strings.TrimPrefix(r.ID, s.prefix), strings.Replace(r.RequestID, s.prefix, "", 1)
		r.KeyID, r.AccountID = apikey.ID(fmt.Sprint(slices.Index(s.ids, r.KeyID))), ""
		st.Requests = append(st.Requests, r)
	}
	for i, id := range s.ids {
		days, err := s.clean.Days(ctx, s.account, []apikey.ID{id}, usage.DayOf(at)-1, usage.DayOf(at)+1)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range days {
			c.AccountID, c.KeyID = "", ""
			st.Counts[i] = append(st.Counts[i], c)
		}
		if sum, ok := totals[id]; ok {
			st.Totals[i] = sum
		}
		if p, ok := profiles[id]; ok {
			p.KeyID, p.AccountID = "", ""
			st.Profiles[i] = p
		}
	}
	return st
}

// usageOperation is one write. It fails the test if a call that succeeds answers anything
// but what it should.
type usageOperation struct {
	name  string
	rows  bool // it writes rows
	setup func(ctx context.Context, s *usageScene) error
	run   func(ctx context.Context, s *usageScene, store usage.Store) error
	// repeated is what a repeat after an error may say beside success.
	repeated error
}

func usageOperations() []usageOperation {
	rows := func(s *usageScene) (list []usage.Row) {
		for n := range 3 {
			list = append(list, usage.Row{Half: usage.AccessHalf, Request: s.request(n)})
		}
		refusal := s.request(2)
		refusal.Refused, refusal.Generation = "rate_limited", 0
		return append(list, usage.Row{Half: usage.RefusalHalf, Request: refusal})
	}
	record := func(ctx context.Context, s *usageScene, store usage.Store) error {
		mine, err := store.Record(ctx, s.batch(), rows(s))
		if err == nil && !slices.Equal(mine, []bool{true, true, true, true}) {
			return fmt.Errorf("mine = %v, want all of them", mine)
		}
		return err
	}
	return []usageOperation{
		{name: "Record", rows: true, run: record},
		{name: "Count", run: func(ctx context.Context, s *usageScene, store usage.Store) error {
			var counts []usage.Count
			totals := map[apikey.ID]usage.Totals{}
			for i, id := range s.ids {
				c, sum := oneCount(s.account, id, int64(i+1))
				c.Hours[10].Generations = map[int64]int64{}
				for generation := range int64(100 * i) { // the last key's are more than one update takes
					c.Hours[10].Generations[generation+1] = 1
				}
				counts, totals[id] = append(counts, c), sum
			}
			return store.Count(ctx, s.batch(), counts, totals)
		}},
		{name: "Join", run: func(ctx context.Context, s *usageScene, store usage.Store) error {
			refusal := s.request(7)
			refusal.Refused = "expired"
			_, _, err := store.Join(ctx, usage.RefusalHalf, refusal)
			if err != nil {
				return err
			}
			joined, both, err := store.Join(ctx, usage.AccessHalf, s.request(7))
			if err == nil && (!both || cmp.Diff(refusal, joined) != "") {
				return fmt.Errorf("joined: %t, %s", both, cmp.Diff(refusal, joined))
			}
			return err
		}},
		{name: "Complete", rows: true,
			setup: func(ctx context.Context, s *usageScene) error {
				r := s.request(1)
				return second(s.clean.Record(ctx, s.batch(), []usage.Row{{Half: usage.RefusalHalf, Request: r}}))
			},
			run: func(ctx context.Context, s *usageScene, store usage.Store) error {
				return store.Complete(ctx, s.request(1))
			}},
		{name: "SaveProfile", repeated: usage.ErrStale,
			run: func(ctx context.Context, s *usageScene, store usage.Store) error {
				return store.SaveProfile(ctx, s.profile(0))
			}},
		{name: "SaveProfile over another", repeated: usage.ErrStale,
			setup: func(ctx context.Context, s *usageScene) error { return s.clean.SaveProfile(ctx, s.profile(0)) },
			run: func(ctx context.Context, s *usageScene, store usage.Store) error {
				return store.SaveProfile(ctx, s.profile(1))
			}},
	}
}

// TestNoFaultLosesOrDoublesACount runs every write with every fault at every call that it
// makes. One fault is not noticed at all; with one that stays the write ends in an error,
// and the same write again brings it to its end. Either way it is as if it had been done
// once.
func TestNoFaultLosesOrDoublesACount(t *testing.T) {
	c := ddbtest.ConfigWithoutStream(t)
	cases := 0
	for _, op := range usageOperations() {
		prepare := func(t *testing.T, patience time.Duration) (*usageScene, *dynamo.Usage, *wire) {
			t.Helper()
			s, w := newUsageScene(c), &wire{}
			if op.setup != nil {
				if err := op.setup(t.Context(), s); err != nil {
					t.Fatal(err)
				}
			}
			return s, usageOn(c, dynamo.UsageConfig{Patience: patience}, w.option), w
		}
		s, store, w := prepare(t, 0)
		if err := op.run(t.Context(), s, store); err != nil {
			t.Fatalf("%s without a fault: %v", op.name, err)
		}
		want, calls := s.state(t, &op), w.seen()
		t.Logf("%-26s %s", op.name, strings.Join(calls, " "))
		for i, name := range calls {
			for _, f := range append(allFaults(), denied) {
				cases++
				label := fmt.Sprintf("%s: %s at call %d, %s", op.name, f.name, i, name)

				s, store, w := prepare(t, time.Minute)
				w.reset(func(c call) fault { return onlyIf(c.n == i, f) })
				err := op.run(t.Context(), s, store)
				if f.name == denied.name {
					if !errors.Is(err, keys.ErrUnavailable) {
						t.Errorf("%s: %v, want ErrUnavailable", label, err)
					}
					w.reset(nil)
					err = op.run(t.Context(), s, store)
				}
				if err != nil {
					t.Errorf("%s: %v", label, err)
				}
				if diff := cmp.Diff(want, s.state(t, &op)); diff != "" {
					t.Errorf("%s: state differs from that without a fault (-want +got):\n%s", label, diff)
				}

				s, store, w = prepare(t, time.Nanosecond)
				w.reset(func(c call) fault { return onlyIf(c.n >= i, f) })
				err = op.run(t.Context(), s, store)
				if !errors.Is(err, keys.ErrUnavailable) {
					t.Errorf("%s and all after: %v, want ErrUnavailable", label, err)
				} else if strings.Contains(err.Error(), "CANARY") || strings.Contains(err.Error(), "198.51") || strings.Contains(err.Error(), s.prefix) {
					t.Errorf("%s and all after: the error quotes an item: %v", label, err)
				}
				w.reset(nil)
				for range 2 {
					if err := op.run(t.Context(), s, store); err != nil && (op.repeated == nil || !errors.Is(err, op.repeated)) {
						t.Errorf("%s and all after, the repeat: %v", label, err)
					}
				}
				if diff := cmp.Diff(want, s.state(t, &op)); diff != "" {
					t.Errorf("%s and all after: state after the repeats differs (-want +got):\n%s", label, diff)
				}
			}
		}
	}
	t.Logf("%d faults, once and for good", cases)
}

func onlyIf(yes bool, f fault) fault {
	if yes {
		return f
	}
	return fault{}
}

// A batch that ends between two of its parts goes on where it ended, at any of them.
func TestABatchInterruptedBetweenPartsIsCountedOnce(t *testing.T) {
	c := ddbtest.ConfigWithoutStream(t)
	const n, want = 250, 6 // of 49 keys: a day's item and totals for each, and the mark
	for _, stop := range []int{0, 1, 5, 6} {
		w := &wire{}
		s := usageOn(c, dynamo.UsageConfig{}, w.option)
		account, batch := "f-"+string(apikey.NewID()), usage.Batch(apikey.NewID())
		var (
			ids    []apikey.ID
			counts []usage.Count
			totals = map[apikey.ID]usage.Totals{}
		)
		for i := range n {
			id := apikey.NewID()
			count, sum := oneCount(account, id, int64(i+1))
			ids, counts, totals[id] = append(ids, id), append(counts, count), sum
		}
		parts, largest := 0, 0
		w.reset(func(c call) fault {
			in, ok := c.input.(*dynamodb.TransactWriteItemsInput)
			if !ok {
				return fault{}
			}
			if parts == stop {
				return denied
			}
			parts, largest = parts+1, max(largest, len(in.TransactItems))
			return fault{}
		})
		err := s.Count(t.Context(), batch, counts, totals)
		if stop < want && !errors.Is(err, keys.ErrUnavailable) || stop == want && err != nil {
			t.Fatalf("Count, stopped before part %d of %d = %v", stop, want, err)
		}
		if parts != stop || largest > 100 {
			t.Errorf("%d parts were applied, of %d items at most; want %d and 100", parts, largest, stop)
		}
		w.reset(nil)
		days := func() map[apikey.ID]usage.Totals { // what the days' counts add up to
			t.Helper()
			list, err := s.AccountDays(t.Context(), account, usage.DayOf(at), usage.DayOf(at))
			if err != nil {
				t.Fatal(err)
			}
			sums := map[apikey.ID]usage.Totals{}
			for _, c := range list {
				sums[c.KeyID] = usage.Totals{Requests: c.Hours[10].Requests, Admitted: c.Hours[10].Requests}
			}
			return sums
		}
		halfway, err := s.Totals(t.Context(), ids)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(halfway, days()); diff != "" {
			t.Errorf("after %d parts some keys have totals and no counts, or the reverse:\n%s", stop, diff)
		}
		if len(halfway) != min(n, stop*49) {
			t.Errorf("after %d parts %d keys are counted, want %d", stop, len(halfway), min(n, stop*49))
		}
		slices.Reverse(counts) // the order of the arguments divides nothing differently
		for range 2 {
			if err := s.Count(t.Context(), batch, counts, totals); err != nil {
				t.Fatal(err)
			}
		}
		whole, err := s.Totals(t.Context(), ids)
		if err != nil {
			t.Fatal(err)
		}
		for name, got := range map[string]map[apikey.ID]usage.Totals{"totals": whole, "days": days()} {
			if diff := cmp.Diff(totals, got); diff != "" {
				t.Errorf("stopped before part %d: %s (-want +got):\n%s", stop, name, diff)
			}
		}
	}
}

// Batches of the same keys are in each other's way all the time, and some answers are
// lost; every batch is delivered to two counters at once.
func TestBatchesOfTheSameKeysAllCountOnceThroughConflicts(t *testing.T) {
	const batches, counters = 20, 2
	c := ddbtest.ConfigWithoutStream(t)
	ids := []apikey.ID{apikey.NewID(), apikey.NewID(), apikey.NewID()}
	account := "f-" + string(apikey.NewID())
	var wg sync.WaitGroup
	var injected [counters]int
	for g := range counters {
		w, rnd := &wire{}, rand.New(rand.NewPCG(5, uint64(g)))
		w.reset(func(c call) fault {
			if c.op != transact {
				return fault{}
			}
			switch n := rnd.IntN(10); {
			case n < 4:
				injected[g]++
				return conflictFault
			case n < 6:
				injected[g]++
				return appliedThenError
			}
			return fault{}
		})
		s := usageOn(c, dynamo.UsageConfig{}, w.option)
		order := rnd.Perm(batches)
		wg.Go(func() {
			for _, b := range order {
				var counts []usage.Count
				totals := map[apikey.ID]usage.Totals{}
				for i, id := range ids {
					count, sum := oneCount(account, id, int64(b*10+i))
					counts, totals[id] = append(counts, count), sum
				}
				if err := s.Count(t.Context(), usage.Batch(fmt.Sprint(account, b)), counts, totals); err != nil {
					t.Errorf("counter %d, batch %d: %v", g, b, err)
				}
			}
		})
	}
	wg.Wait()
	s := usageOn(c, dynamo.UsageConfig{})
	got, err := s.Totals(t.Context(), ids)
	if err != nil {
		t.Fatal(err)
	}
	for i, id := range ids {
		want := int64(0)
		for b := range batches {
			want += int64(b*10 + i)
		}
		days, err := s.Days(t.Context(), account, []apikey.ID{id}, usage.DayOf(at), usage.DayOf(at))
		if err != nil || len(days) != 1 {
			t.Fatal(len(days), err)
		}
		if got[id].Requests != want || got[id].Admitted != want || days[0].Hours[10].Requests != want || days[0].Permissions["customers:read"] != want {
			t.Errorf("key %d: totals %+v, hour %+v, want %d", i, got[id], days[0].Hours[10], want)
		}
	}
	t.Logf("%d batches to each of %d counters, faults put in their way: %v", batches, counters, injected)
}

// Patience does not outlast the caller's, whose function is about to be ended.
func TestAPatientWriteEndsWithItsContext(t *testing.T) {
	c := ddbtest.ConfigWithoutStream(t)
	w := &wire{}
	s := usageOn(c, dynamo.UsageConfig{Patience: time.Hour}, w.option)
	w.reset(always(throttle, ""))
	scene := newUsageScene(c)
	for _, op := range usageOperations() {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		done := make(chan error, 1)
		go func() { done <- op.run(ctx, scene, s) }()
		select {
		case err := <-done:
			if !errors.Is(err, keys.ErrUnavailable) {
				t.Errorf("%s = %v, want ErrUnavailable", op.name, err)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("%s goes on without its context", op.name)
		}
		cancel()
	}
}
