package pepper_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/pepper"
)

// secrets stands in for Secrets Manager. Time inside a test is synctest's.
type secrets struct {
	mu      sync.Mutex
	text    string
	err     error
	took    time.Duration // of one fetch, unless its context ends before
	fetched int
	running int
	most    int // fetches at the same time
}

func (s *secrets) fetch(ctx context.Context) ([]byte, error) {
	s.mu.Lock()
	s.fetched++
	s.running++
	s.most = max(s.most, s.running)
	text, err, took := s.text, s.err, s.took
	s.mu.Unlock()
	select {
	case <-time.After(took):
	case <-ctx.Done():
		err = ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running--
	return []byte(text), err
}

func (s *secrets) set(f func()) { s.mu.Lock(); defer s.mu.Unlock(); f() }

// ring is the JSON of a ring of these versions, the first one current.
func ring(versions ...string) string {
	out := `{"current":"` + versions[0] + `"`
	for _, v := range versions {
		out += fmt.Sprintf(`,"%s":"%s"`, v, strings.Repeat(v, 20))
	}
	return out + "}"
}

// story runs a test on fake time against a ring with p1.
func story(t *testing.T, f func(t *testing.T, src *pepper.Source, sm *secrets)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		sm := &secrets{text: ring("p1")}
		f(t, pepper.New(sm.fetch, nil), sm)
	})
}

func (s *secrets) wantFetched(t *testing.T, want int, when string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fetched != want {
		t.Errorf("%s: %d fetches, want %d", when, s.fetched, want)
	}
}

func wantCurrent(t *testing.T, src *pepper.Source, want string) {
	t.Helper()
	r, err := src.Ring(t.Context())
	if err != nil {
		t.Fatalf("Ring: %v", err)
	}
	if r.Current() != want {
		t.Errorf("the current pepper is %s, want %s", r.Current(), want)
	}
}

func TestTheRingIsLoadedOnceAtFirstUse(t *testing.T) {
	story(t, func(t *testing.T, src *pepper.Source, sm *secrets) {
		sm.took = 50 * time.Millisecond
		sm.wantFetched(t, 0, "before the first use")
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if _, err := src.With(t.Context(), "p1"); err != nil {
					t.Errorf("With(p1): %v", err)
				}
			})
		}
		wg.Wait()
		time.Sleep(4 * time.Minute)
		wantCurrent(t, src, "p1")
		sm.wantFetched(t, 1, "after 50 concurrent first uses and one more")
	})
}

func TestAFailedLoadIsNotKept(t *testing.T) {
	story(t, func(t *testing.T, src *pepper.Source, sm *secrets) {
		gone := errors.New("secrets manager is away")
		for name, fault := range map[string]func(){
			"fetch": func() { sm.err = gone },
			"parse": func() { sm.err, sm.text = nil, `{"current":"p1"}` },
		} {
			sm.set(fault)
			r, err := src.Ring(t.Context())
			if err == nil || r != nil || !strings.HasPrefix(err.Error(), "loading the pepper ring: ") {
				t.Errorf("%s fails: ring %v, error %v; want an error that says what was being done", name, r, err)
			}
			if name == "fetch" && !errors.Is(err, gone) {
				t.Errorf("the error %v does not wrap its cause", err)
			}
			if r, err := src.With(t.Context(), "p1"); err == nil || r != nil || errors.Is(err, apikey.ErrUnknownPepper) {
				t.Errorf("%s fails: With = %v, %v; want the failure and not ErrUnknownPepper", name, r, err)
			}
		}
		sm.set(func() { sm.err, sm.text = nil, ring("p1") })
		wantCurrent(t, src, "p1")
		sm.wantFetched(t, 5, "after four failures")
	})
}

func TestAnUnknownVersionReloadsOnceAndThenRarely(t *testing.T) {
	story(t, func(t *testing.T, src *pepper.Source, sm *secrets) {
		flood := func() {
			t.Helper()
			var wg sync.WaitGroup
			for g := range 20 {
				wg.Go(func() {
					for i := range 50 {
						version := fmt.Sprintf("x%d", g*50+i)
						if r, err := src.With(t.Context(), version); !errors.Is(err, apikey.ErrUnknownPepper) || r != nil {
							t.Errorf("With of an unknown version = %v, %v; want ErrUnknownPepper", r, err)
						}
					}
				})
			}
			wg.Wait()
		}
		wantCurrent(t, src, "p1")
		flood()
		sm.wantFetched(t, 2, "a flood of unknown versions at once after the first load")
		time.Sleep(9 * time.Second)
		flood()
		sm.wantFetched(t, 2, "9 s later")
		time.Sleep(time.Second)
		flood()
		sm.wantFetched(t, 3, "10 s later")
		if sm.most != 1 {
			t.Errorf("%d fetches at the same time, want 1", sm.most)
		}
	})
}

func TestAFreshLoadIsNotRepeatedForAnUnknownVersion(t *testing.T) {
	story(t, func(t *testing.T, src *pepper.Source, sm *secrets) {
		if _, err := src.With(t.Context(), "p2"); !errors.Is(err, apikey.ErrUnknownPepper) {
			t.Errorf("With(p2): %v, want ErrUnknownPepper", err)
		}
		sm.wantFetched(t, 1, "an unknown version as the first use")
	})
}

func TestANewPepperIsFoundByItsFirstRecord(t *testing.T) {
	story(t, func(t *testing.T, src *pepper.Source, sm *secrets) {
		wantCurrent(t, src, "p1")
		sm.set(func() { sm.text = ring("p2", "p1") })
		r, err := src.With(t.Context(), "p2")
		if err != nil || !r.Has("p2") || !r.Has("p1") {
			t.Fatalf("With(p2) = %v, %v; want a ring with p1 and p2", r, err)
		}
		wantCurrent(t, src, "p2")
		sm.wantFetched(t, 2, "one reload")
	})
}

func TestPromotionReachesAProcessThatKnowsThePepperAlready(t *testing.T) {
	story(t, func(t *testing.T, src *pepper.Source, sm *secrets) {
		sm.text = ring("p1", "p2")
		wantCurrent(t, src, "p1")
		sm.set(func() { sm.text = ring("p2", "p1") })
		time.Sleep(5*time.Minute - time.Millisecond)
		wantCurrent(t, src, "p1")
		time.Sleep(time.Millisecond)
		wantCurrent(t, src, "p2")
		sm.wantFetched(t, 2, "one refresh")
	})
}

func TestAFailedReloadLeavesTheRingAndIsRetriedSoon(t *testing.T) {
	story(t, func(t *testing.T, src *pepper.Source, sm *secrets) {
		wantCurrent(t, src, "p1")
		gone := errors.New("secrets manager is away")
		sm.set(func() { sm.err = gone })
		if _, err := src.With(t.Context(), "p2"); !errors.Is(err, gone) {
			t.Errorf("With(p2) while fetching fails: %v, want the failure", err)
		}
		if _, err := src.With(t.Context(), "p2"); !errors.Is(err, apikey.ErrUnknownPepper) {
			t.Errorf("With(p2) at once after a failure: %v, want ErrUnknownPepper", err)
		}
		sm.wantFetched(t, 2, "at once after a failed reload")
		if _, err := src.With(t.Context(), "p1"); err != nil {
			t.Errorf("With(p1) after a failed reload: %v", err)
		}
		sm.set(func() { sm.err, sm.text = nil, ring("p2", "p1") })
		time.Sleep(time.Second)
		if _, err := src.With(t.Context(), "p2"); err != nil {
			t.Errorf("With(p2) a second after a failed reload: %v", err)
		}
	})
}

func TestAFailedRefreshIsNoFailureAndTakesASecondAtMost(t *testing.T) {
	story(t, func(t *testing.T, src *pepper.Source, sm *secrets) {
		wantCurrent(t, src, "p1")
		sm.set(func() { sm.took = time.Hour })
		time.Sleep(5 * time.Minute)
		start := time.Now()
		wantCurrent(t, src, "p1")
		if d := time.Since(start); d > time.Second {
			t.Errorf("a hanging refresh held a caller for %v", d)
		}
		sm.wantFetched(t, 2, "a refresh that hangs")
		time.Sleep(59 * time.Second)
		wantCurrent(t, src, "p1")
		sm.wantFetched(t, 2, "59 s after it")
		sm.set(func() { sm.took, sm.text = 0, ring("p2", "p1") })
		time.Sleep(time.Second)
		wantCurrent(t, src, "p2")
		sm.wantFetched(t, 3, "a minute after it")
	})
}

func TestNobodyElseWaitsForARefresh(t *testing.T) {
	story(t, func(t *testing.T, src *pepper.Source, sm *secrets) {
		wantCurrent(t, src, "p1")
		sm.set(func() { sm.took, sm.text = 800*time.Millisecond, ring("p2", "p1") })
		time.Sleep(5 * time.Minute)
		go func() { _, _ = src.Ring(context.Background()) }()
		synctest.Wait()
		start := time.Now()
		wantCurrent(t, src, "p1")
		if d := time.Since(start); d != 0 {
			t.Errorf("a caller waited %v for another one's refresh", d)
		}
		time.Sleep(time.Second)
		wantCurrent(t, src, "p2")
		sm.wantFetched(t, 2, "one refresh")
	})
}

func TestWaitingEndsWithTheCallersContext(t *testing.T) {
	story(t, func(t *testing.T, src *pepper.Source, sm *secrets) {
		sm.took = time.Hour
		first, stop := context.WithCancel(t.Context())
		go func() { _, _ = src.Ring(first) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		start := time.Now()
		if _, err := src.Ring(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 2*time.Second {
			t.Errorf("Ring behind a hanging load: %v after %v; want the deadline's end after 2 s", err, time.Since(start))
		}
		stop() // the one who loads gives up; the next one loads again
		synctest.Wait()
		sm.set(func() { sm.took = 0 })
		wantCurrent(t, src, "p1")
	})
}

// For the race detector: promotion, unknown versions and failures at the same time.
func TestConcurrentUse(t *testing.T) {
	story(t, func(t *testing.T, src *pepper.Source, sm *secrets) {
		sm.took = 10 * time.Millisecond
		k, err := apikey.Generate("mk", apikey.NewID())
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for g := range 16 {
			wg.Go(func() {
				for i := range 200 {
					r, err := src.With(t.Context(), []string{"p1", "p2", "px"}[(g+i)%3])
					switch {
					case err == nil:
						if _, err := r.Digest(r.Current(), k); err != nil {
							t.Errorf("Digest with the current pepper: %v", err)
						}
					case r != nil:
						t.Errorf("a ring together with the error %v", err)
					}
					time.Sleep(3 * time.Second)
				}
			})
		}
		for i := range 60 {
			time.Sleep(10 * time.Second)
			sm.set(func() {
				sm.err = nil
				if i%7 == 0 {
					sm.err = errors.New("away")
				}
				sm.text = [2]string{ring("p1", "p2"), ring("p2", "p1")}[i/30]
			})
		}
		wg.Wait()
		time.Sleep(10 * time.Minute)
		wantCurrent(t, src, "p2")
		if sm.most != 1 {
			t.Errorf("%d fetches at the same time, want 1", sm.most)
		}
	})
}
