package flush_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/flush"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

// cache notes the calls that it took.
type cache struct {
	mu      sync.Mutex
	begun   map[string][]time.Time // of calls that succeeded
	tried   int
	lasts   time.Duration // how long a call takes
	failing func(stage string, try int) error
}

func (c *cache) Flush(ctx context.Context, stage string) error {
	at := time.Now()
	c.mu.Lock()
	c.tried++
	try := c.tried
	c.mu.Unlock()
	select {
	case <-time.After(c.lasts):
	case <-ctx.Done():
		return ctx.Err()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failing != nil {
		if err := c.failing(stage, try); err != nil {
			return err
		}
	}
	if c.begun == nil {
		c.begun = map[string][]time.Time{}
	}
	c.begun[stage] = append(c.begun[stage], at)
	return nil
}

func throttled(times int) func(string, int) error {
	return func(_ string, try int) error {
		if try <= times {
			return flush.ErrThrottled
		}
		return nil
	}
}

func in(environments ...keys.Environment) (moved []keys.Key) {
	for _, e := range environments {
		moved = append(moved, keys.Key{Environment: e})
	}
	return moved
}

func TestAKeyTouchesItsEnvironmentsStageAndTheSharedOne(t *testing.T) {
	for _, tt := range []struct {
		shared bool
		of     []keys.Environment
		want   []string
	}{
		{false, []keys.Environment{keys.Production}, []string{"production"}},
		{true, []keys.Environment{keys.Production}, []string{"production", "shared"}},
		{true, []keys.Environment{keys.Staging, keys.Development, keys.Staging}, []string{"development", "shared", "staging"}},
		{true, nil, nil},
	} {
		got := flush.New(flush.Config{Shared: tt.shared}).StagesOf(tt.of)
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("stages of %v, shared %t (-want +got):\n%s", tt.of, tt.shared, d)
		}
	}
}

// Whoever asks gets a call that begins after that; and yet there is one a second at most.
func TestWhoAsksMeanwhileSharesACallThatBeginsAfterwards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cache{lasts: 50 * time.Millisecond}
		f := flush.New(flush.Config{Cache: c})
		var wg sync.WaitGroup
		for i := range 300 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 10 * time.Millisecond)
				asked := time.Now()
				if err := f.Flush(t.Context(), []string{"production"}); err != nil {
					t.Error(err)
				}
				c.mu.Lock()
				defer c.mu.Unlock()
				if newest := c.begun["production"]; newest[len(newest)-1].Before(asked) {
					t.Errorf("asked at %s, answered by a call from %s", asked, newest)
				}
			})
		}
		wg.Wait()
		calls := c.begun["production"]
		for i := 1; i < len(calls); i++ {
			if gap := calls[i].Sub(calls[i-1]); gap < flush.Every {
				t.Errorf("two calls within %s", gap)
			}
		}
		if len(calls) < 4 || len(calls) > 5 {
			t.Errorf("%d calls for 300 requests within 3 s, want 4 or 5", len(calls))
		}
	})
}

func TestStagesDoNotWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun, c := time.Now(), &cache{lasts: 50 * time.Millisecond}
		f := flush.New(flush.Config{Cache: c})
		for _, stages := range [][]string{{"production", "shared"}, {"staging"}, {"development"}} {
			if err := f.Flush(t.Context(), stages); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(begun); took > 200*time.Millisecond || len(c.begun) != 4 {
			t.Errorf("%d stages in %s", len(c.begun), took)
		}
	})
}

func TestAThrottledCallIsRepeatedLaterAndLaterWhileThereIsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var bounds []time.Duration
		random := func(n int64) int64 { bounds = append(bounds, time.Duration(n)); return n - 1 }
		c := &cache{failing: throttled(7)}
		if err := flush.New(flush.Config{Cache: c, Random: random}).Flush(t.Context(), []string{"production"}); err != nil {
			t.Fatal(err)
		}
		const ms = time.Millisecond
		want := []time.Duration{200 * ms, 400 * ms, 800 * ms, 1600 * ms, 3200 * ms, 5000 * ms, 5000 * ms}
		if d := cmp.Diff(want, bounds); d != "" || len(c.begun["production"]) != 1 {
			t.Errorf("%d calls succeeded; bounds of the waits (-want +got):\n%s", len(c.begun["production"]), d)
		}

		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		begun, c := time.Now(), &cache{failing: throttled(1 << 30)}
		err := flush.New(flush.Config{Cache: c}).Flush(ctx, []string{"production"})
		if took := time.Since(begun); !errors.Is(err, flush.ErrThrottled) || took > 3*time.Second {
			t.Errorf("throttled to the end: %v after %s", err, took)
		}
	})
}

func TestWhatFailsOtherwiseIsNotRepeatedAndNamesTheStage(t *testing.T) {
	boom := errors.New("access denied")
	c := &cache{failing: func(stage string, _ int) error {
		if stage == "shared" {
			return boom
		}
		return nil
	}}
	err := flush.New(flush.Config{Cache: c}).Flush(t.Context(), []string{"production", "shared"})
	if !errors.Is(err, boom) || !strings.Contains(err.Error(), "stage shared") || strings.Contains(err.Error(), "production") {
		t.Errorf("error %v", err)
	}
	if c.tried != 2 || len(c.begun["production"]) != 1 {
		t.Errorf("%d calls, and %d of production succeeded: the one stage must not depend on the other", c.tried, len(c.begun["production"]))
	}
}

func TestAChangesAnswerWaitsForASecondAtMostAndForNoTurn(t *testing.T) {
	for name, tt := range map[string]struct {
		cache  *cache
		before bool // another change just before
		calls  int  // of production, that succeed
		most   time.Duration
		logged string
	}{
		"good":             {&cache{lasts: 50 * time.Millisecond}, false, 1, 60 * time.Millisecond, ""},
		"just after one":   {&cache{}, true, 1, 0, "less than a second ago"},
		"throttled once":   {&cache{failing: throttled(1)}, false, 1, 300 * time.Millisecond, ""},
		"throttled always": {&cache{failing: throttled(1 << 30)}, false, 0, time.Second, "throttled"},
		"no answer":        {&cache{lasts: time.Hour}, false, 0, time.Second, "deadline"},
		"refused":          {&cache{failing: func(string, int) error { return errors.New("access denied") }}, false, 0, 0, "access denied"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				f := flush.New(flush.Config{Cache: tt.cache, Log: slog.New(slog.NewTextHandler(&log, nil))})
				if tt.before {
					f.AtOnce(t.Context(), in(keys.Production))
				}
				begun := time.Now()
				f.AtOnce(t.Context(), in(keys.Production, keys.Production))
				took := time.Since(begun)
				if n := len(tt.cache.begun["production"]); n != tt.calls || took > tt.most {
					t.Errorf("%d calls, %s; want %d, at most %s", n, took, tt.calls, tt.most)
				}
				if got := log.String(); !strings.Contains(got, tt.logged) || (tt.logged == "") != (got == "") {
					t.Errorf("log %q, want %q in it", got, tt.logged)
				}
			})
		})
	}
}

func TestWithoutACacheNothingIsFlushed(t *testing.T) {
	f := flush.New(flush.Config{Shared: true})
	f.AtOnce(t.Context(), in(keys.Production))
	if err := f.Flush(t.Context(), []string{"production"}); err != nil {
		t.Error(err)
	}
}

// The bound, by brute force: an authorizer that reads at any moment before the commit and
// answers at any moment before its time-out is believed until its answer is too old.
func TestNoAuthorizerThatReadBeforeTheChangeIsBelievedAfterTheBound(t *testing.T) {
	const timeout, kept = 10 * time.Second, 60 * time.Second
	committed := time.Date(2026, 1, 15, 10, 30, 0, 0, time.UTC)
	var believed []time.Time
	for before := range 200 {
		for lasts := range 100 {
			read := committed.Add(-time.Duration(before+1) * 100 * time.Millisecond)
			believed = append(believed, read.Add(time.Duration(lasts)*100*time.Millisecond).Add(kept))
		}
	}
	last := slices.MaxFunc(believed, time.Time.Compare)
	if bound := committed.Add(flush.Bound(timeout, kept)); !last.Before(bound) || bound.Sub(last) > 300*time.Millisecond {
		t.Errorf("bound %s, and one is believed until %s", bound, last)
	}
}
