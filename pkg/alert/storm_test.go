package alert_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/alert"
	"github.com/keyreeve/keyreeve/pkg/alert/alerttest"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/logline"
	"github.com/keyreeve/keyreeve/pkg/usage"
)

// failing fails the calls of that name.
func failing(name string, err error) func(string) error {
	return func(call string) error {
		if call == name {
			return err
		}
		return nil
	}
}

// before fails calls of the store instead of doing them; after does them first.
func before(op string, err error) func(alerttest.Call) error {
	return func(c alerttest.Call) error {
		if c.Op == op && !c.Done {
			return err
		}
		return nil
	}
}

func after(op string, err error) func(alerttest.Call) error {
	return func(c alerttest.Call) error {
		if c.Op == op && c.Done {
			return err
		}
		return nil
	}
}

// trouble is batches that raise every kind that Observe knows, and what they raise.
func trouble(w *world) (batches []usage.Facts, want []string) {
	w.usage.add(keyA, start, 5000)
	since := start.Add(-30 * day)
	canary := request(start, from(other), status(401), by(keyB), func(r *usage.Request) { r.Refused = string(keys.ReasonCanary) })
	refused := canary
	authorizerRefused(keys.ReasonCanary)(&refused)
	limited := request(start, guardRefused(logline.ReasonLimit))
	for i := range 10 {
		at := start.Add(time.Duration(i) * time.Second)
		batches = append(batches,
			known(facts(requests(alert.VolumeLook, at)...), since),
			known(facts(request(at, from(other)), limited), since),
			usage.Facts{Near: []usage.Near{{KeyID: keyA, AccountID: account, Environment: keys.Production, Time: at, Limit: 20}}},
			facts(requests(2, at, status(403), from(home))...),
			usage.Facts{Unknown: requests(2, at, unknown, from(other))},
			facts(refused), usage.Facts{Joined: []usage.Request{canary}},
		)
	}
	return batches, []string{
		"canary_used BBBBBBBB 03-10T12:00",
		"key_failures AAAAAAAA 03-10T12:00",
		"near_limit AAAAAAAA 03-10T12:00",
		"new_network 198.51.100.0/24 03-10T00:00",
		"over_limit AAAAAAAA 03-10T12:00",
		"source_failures 192.0.2.10 03-10T12:00",
		"source_failures 198.51.100.7 03-10T12:00 *",
		"unusual_volume AAAAAAAA 03-10T00:00",
	}
}

// canarySource is the source that the one alert about a canary has.
func (w *world) canarySource() string {
	for _, a := range w.alerts(account) {
		if a.Kind == alert.CanaryUsed {
			return a.Data["sourceIp"]
		}
	}
	return ""
}

func TestOneAlertPerCauseAndWindowInWhateverOrderAndHoweverOften(t *testing.T) {
	for seed := range uint64(1000) {
		random := rand.New(rand.NewPCG(seed, 1))
		w := newWorld(t)
		batches, want := trouble(w)
		batches = append(batches, batches[:random.IntN(len(batches))]...)
		random.Shuffle(len(batches), func(i, j int) { batches[i], batches[j] = batches[j], batches[i] })
		for _, f := range batches {
			if random.IntN(5) == 0 {
				w.restart()
			}
			w.observe(f)
		}
		if got := w.raised(); !slices.Equal(got, want) || w.canarySource() != other {
			t.Fatalf("seed %d: the canary's source is %q, raised (-want +got):\n%s", seed, w.canarySource(), cmp.Diff(want, got))
		}
	}
}

func TestProcessesThatObserveAtTheSameTimeRaiseOnce(t *testing.T) {
	w := newWorld(t)
	batches, want := trouble(w)
	var wg sync.WaitGroup
	attempts := 0
	w.store.OnCall(func(c alerttest.Call) error { // under the store's mutex
		if c.Op == "Raise" && c.Done {
			attempts++
		}
		return nil
	})
	for p := range 8 {
		process := alert.New(alert.Config{Store: w.store, Usage: &counts{days: w.usage.days}, Clock: func() time.Time { return start }})
		wg.Go(func() {
			for i := range batches {
				if err := process.Observe(t.Context(), clone(batches[(i*11+p)%len(batches)])); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	w.want(want...)
	if attempts < 8*len(want) {
		t.Errorf("only %d attempts to raise: nobody met", attempts)
	}
}

// Each call of a store fails once, before and after it was done, in a process that ends
// there or in one that goes on: the batch comes again, and then all is told.
func TestABatchThatFailedRaisesTheRestWhenItComesAgain(t *testing.T) {
	boom := fmt.Errorf("boom: %w", keys.ErrUnavailable)
	faults := 0
	for n := 0; ; n++ {
		met := false
		for _, done := range []bool{false, true} {
			for _, ends := range []bool{false, true} {
				w := newWorld(t)
				batches, want := trouble(w)
				calls := 0
				w.store.OnCall(func(c alerttest.Call) error {
					if c.Done != done {
						return nil
					}
					calls++
					if calls == n+1 {
						met = true
						return boom
					}
					return nil
				})
				for _, f := range batches {
					if err := w.Observe(t.Context(), f); err != nil {
						if !errors.Is(err, keys.ErrUnavailable) {
							t.Fatalf("Observe = %v, want the store's error", err)
						}
						faults++
						if ends {
							w.restart()
						}
						w.observe(f)
					}
				}
				w.store.OnCall(nil)
				if got := w.raised(); !slices.Equal(got, want) || w.canarySource() != other {
					t.Errorf("call %d fails, done %t, process ends %t: the canary's source is %q, raised (-want +got):\n%s",
						n+1, done, ends, w.canarySource(), cmp.Diff(want, got))
				}
			}
		}
		if !met {
			break
		}
	}
	if faults < 100 {
		t.Errorf("%d faults, too few to show anything", faults)
	}
	t.Logf("%d faults", faults)
}

func TestACauseThatLastsCostsOneWriteInAProcess(t *testing.T) {
	w := newWorld(t)
	writes := map[string]int{}
	w.store.OnCall(func(c alerttest.Call) error {
		if !c.Done {
			writes[c.Op]++
		}
		return nil
	})
	for range 100 {
		w.observe(facts(request(start, guardRefused(logline.ReasonLimit))))
	}
	if writes["Raise"] != 1 {
		t.Errorf("%d writes, want 1", writes["Raise"])
	}
}

func TestIDsAreApartByEachPartOfTheCauseAndSortByWindow(t *testing.T) {
	w := newWorld(t)
	seen := map[string]string{}
	var last string
	for h := range 3 {
		at := start.Add(time.Duration(h) * time.Hour)
		for _, r := range []usage.Request{
			request(at, guardRefused(logline.ReasonLimit)),
			request(at, guardRefused(logline.ReasonLimit), by(keyB)),
			request(at, guardRefused(logline.ReasonLimit), func(r *usage.Request) { r.AccountID = alert.Installation }),
		} {
			w.observe(facts(r))
		}
		for _, of := range []string{account, alert.Installation} {
			for _, a := range w.alerts(of) {
				name := fmt.Sprint(a.AccountID, a.Subject, a.Window)
				if was, ok := seen[a.ID]; ok && was != name {
					t.Errorf("%s names %s and %s", a.ID, was, name)
				}
				seen[a.ID] = name
				if !alert.ValidID(a.ID) {
					t.Errorf("ID %q has not the form of one", a.ID)
				}
			}
		}
		newest := w.alerts(account)[2*h]
		if !newest.Window.Equal(at.Truncate(time.Hour)) || newest.ID <= last {
			t.Errorf("the newest of hour %d is %s of %s", h, newest.ID, newest.Window)
		}
		last = w.alerts(account)[2*h+1].ID
	}
	if len(seen) != 9 {
		t.Errorf("%d ids of 9 causes and windows", len(seen))
	}
}
