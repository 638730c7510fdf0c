package dynamo_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/config"
	"github.com/keyreeve/keyreeve/pkg/dynamo"
	"github.com/keyreeve/keyreeve/pkg/guard"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/limit"
	"github.com/keyreeve/keyreeve/pkg/route"
)

// callerTask is the environment variable that makes this test's program a caller: a process
// of its own that asks a guard as fast as it can and tells on its standard output of each
// request that passed.
const callerTask = "KEYREEVE_TEST_CALLER"

// caller is what such a process is to do.
type caller struct {
	Config  config.Config
	Key     apikey.ID
	Limit   int
	AtOnce  int
	Seconds float64
}

// meterCalls counts what a guard asks of its meters.
type meterCalls struct {
	guard.Meters
	counts, looks atomic.Int64
}

func (c *meterCalls) Count(ctx context.Context, id apikey.ID, w guard.Write) (guard.Meter, error) {
	c.counts.Add(1)
	return c.Meters.Count(ctx, id, w)
}

func (c *meterCalls) State(ctx context.Context, id apikey.ID) (guard.State, bool, error) {
	c.looks.Add(1)
	return c.Meters.State(ctx, id)
}

// unreadKeys has none to read: a caller whose key has changed comes to an end with it.
type unreadKeys struct{}

func (unreadKeys) Key(context.Context, apikey.ID) (keys.Key, error) {
	return keys.Key{}, errors.New("the callers' keys are in no table")
}

// run asks until the time is over, and gives told the start of each request that passed.
func (c *caller) run(m guard.Meters, told func(start time.Time)) {
	g := guard.New(guard.Config{Meters: m, Keys: unreadKeys{}})
	call := guard.Call{
		Route: route.Route{Method: "GET", Path: "/v1/api-keys/self"}, Stage: string(keys.Production),
		Identity: keys.Identity{
			KeyID: c.Key, AccountID: "acc_1", Environment: keys.Production, Verdict: 1, Generation: 1, Limit: c.Limit,
		},
	}
	end := time.Now().Add(time.Duration(c.Seconds * float64(time.Second)))
	var all sync.WaitGroup
	for range c.AtOnce {
		all.Go(func() {
			for time.Now().Before(end) {
				start := time.Now()
				if _, err := g.Check(context.Background(), call); err == nil {
					told(start)
				} else {
					time.Sleep(5 * time.Millisecond)
				}
			}
		})
	}
	all.Wait()
}

func beCaller(task string) {
	var c caller
	if err := json.Unmarshal([]byte(task), &c); err != nil {
		panic(err)
	}
	m := &meterCalls{Meters: dynamo.NewMeters(dynamo.NewClient(c.Config), c.Config.MetersTable, c.Config.StoreTimeout)}
	c.run(m, func(start time.Time) { fmt.Printf("pass %d\n", start.UnixMicro()) })
	fmt.Printf("calls %d %d\n", m.counts.Load(), m.looks.Load())
}

// crowd is processes that call with one key.
type crowd struct {
	all   []*exec.Cmd
	read  sync.WaitGroup
	mu    sync.Mutex
	start []time.Time // of requests that passed
	looks int64
}

func startCrowd(t *testing.T, n int, c caller) *crowd {
	t.Helper()
	task, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	w := &crowd{}
	for range n {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), callerTask+"="+string(task))
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		w.all = append(w.all, cmd)
		w.read.Go(func() {
			for lines := bufio.NewScanner(out); lines.Scan(); {
				var micro, counts, looks int64
				w.mu.Lock()
				if _, err := fmt.Sscanf(lines.Text(), "pass %d", &micro); err == nil {
					w.start = append(w.start, time.UnixMicro(micro))
				} else if _, err := fmt.Sscanf(lines.Text(), "calls %d %d", &counts, &looks); err == nil {
					w.looks += looks
				}
				w.mu.Unlock()
			}
		})
	}
	return w
}

// kill ends one process without a word to it.
func (w *crowd) kill(t *testing.T, i int) {
	t.Helper()
	if err := w.all[i].Process.Kill(); err != nil {
		t.Error(err)
	}
}

func (w *crowd) wait() {
	w.read.Wait()
	for _, cmd := range w.all {
		_ = cmd.Wait() // one of them was killed
	}
}

func TestEightProcessesKeepTheLimitAlsoWhenOneIsKilled(t *testing.T) {
	const processes, atOnce = 8, 3
	s := newStore(t)
	for _, c := range []struct {
		name  string
		limit int
		free  int64 // of it; the rest is used up at the start
		end   bool  // the key is revoked on the way
	}{
		{"100 a minute", 100, 100, false},
		{"60,000 a minute, 2,000 of them left", 60_000, 2_000, false},
		{"60,000 a minute, and the key is revoked", 60_000, 60_000, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			id, on := apikey.NewID(), guard.State{Verdict: 1, Active: true}
			if err := s.Settle(t.Context(), id, 1, true); err != nil {
				t.Fatal(err)
			}
			var used int64
			if used = int64(c.limit) - c.free; used > 0 {
				now := time.Now()
				_, err := s.of.Count(t.Context(), id, guard.Write{
					If: on, Then: on, Minute: guard.Count{To: limit.Minute.SlotOf(now), Limit: int64(c.limit)}, N: used, Passed: used, At: now,
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			begin := time.Now()
			w := startCrowd(t, processes, caller{Config: s.cfg, Key: id, Limit: c.limit, AtOnce: atOnce, Seconds: 6})
			time.Sleep(4 * time.Second)
			w.kill(t, 0)
			var revoked time.Time
			if c.end {
				time.Sleep(700 * time.Millisecond)
				if err := s.Settle(t.Context(), id, 2, false); err != nil {
					t.Fatal(err)
				}
				revoked = time.Now()
			}
			w.wait()
			took, late := time.Since(begin), 0
			for _, start := range w.start {
				if c.end && start.After(revoked) {
					late++
				}
			}
			m, _, err := s.look(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			passed := int64(len(w.start))
			t.Logf("%d processes in %v: %d passed, %d of them after a read, %d late; the meter has %d of them, and counted %d",
				processes, took.Round(time.Second), passed, w.looks, late, m.Requests-used, m.Window.Total-used)
			if took > limit.Span-limit.Slot {
				t.Fatalf("it took %v, so that more than the limit may pass", took)
			}
			if passed > c.free || passed == 0 || m.Window.Total > int64(c.limit) {
				t.Errorf("%d passed and %d are counted, want at most %d", passed, m.Window.Total-used, c.free)
			}
			if c.limit == 100 && passed < 100-atOnce {
				t.Errorf("%d passed, want all 100 but what the killed process had under way", passed)
			}
			if late > 0 {
				t.Errorf("%d requests passed that began after the key was revoked", late)
			}
			if c.limit == 60_000 && w.looks == 0 {
				t.Error("nothing was leased")
			}
			// What the meter lacks is the leases of processes that have ended, what it has beyond is
			// what the killed one, or one at its end, could not tell.
			if behind := passed - (m.Requests - used); behind > 63*processes || behind < -atOnce*processes {
				t.Errorf("%d passed, %d on the meter", passed, m.Requests-used)
			}
		})
	}
}

// Requests a second, one process and DynamoDB Local: what it shows is that leases trade
// writes for reads. TestLeasesServeMoreThanAPartitionCanCount of package guard has what
// that is worth where a partition's throughput is the bound.
func TestRequestsASecondWithAndWithoutLeases(t *testing.T) {
	s := newStore(t)
	line := []string{}
	for _, c := range []struct {
		name  string
		limit int
	}{{"without", 29_999}, {"with leases", 100_000_000}} {
		id := apikey.NewID()
		if err := s.Settle(t.Context(), id, 1, true); err != nil {
			t.Fatal(err)
		}
		m := &meterCalls{Meters: s.of}
		var passed atomic.Int64
		const seconds = 4
		(&caller{Key: id, Limit: c.limit, AtOnce: 4, Seconds: seconds}).run(m, func(time.Time) { passed.Add(1) })
		line = append(line, fmt.Sprintf("%s: %.0f a second (%d writes, %d reads)", c.name, float64(passed.Load())/seconds, m.counts.Load(), m.looks.Load()))
		if leased := m.looks.Load() > 0; leased != (c.limit >= 30_000) {
			t.Errorf("%s: %d reads", c.name, m.looks.Load())
		}
	}
	t.Log(strings.Join(line, "; "))
}
