package guardtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/guard"
	"github.com/keyreeve/keyreeve/pkg/limit"
)

// Store is what the suite needs: the guard's store, and the one other writer of meters.
type Store interface {
	guard.Meters
	// Settle is keys.Store's.
	Settle(ctx context.Context, id apikey.ID, verdict int64, active bool) error
}

// Suite is what every guard.Meters must pass. open returns a store that need not be
// empty; each test draws its own key ids.
func Suite(t *testing.T, open func(t *testing.T) Store) {
	for name, test := range map[string]func(*probe){
		"AMissingMeterIsReported":            missingIsReported,
		"AMissingMeterIsMadeOnce":            missingIsMadeOnce,
		"SettleMakesAMeterThatCounts":        settleMakes,
		"SettleNeverReplacesANewerVerdict":   settleOrder,
		"EveryConditionRefusesAndChangesNot": conditions,
		"TheLimitIsTheLastThatPasses":        limitEdge,
		"TheStateIsWrittenWithTheCount":      stateIsWritten,
		"CountsFollowTheWindow":              followsWindow,
		"HitsInParallelStopAtTheLimit":       parallelHits,
		"OneRollOfManyWins":                  parallelRolls,
		"NoCountIsLostAcrossARoll":           hitsDuringRolls,
		"ADoneContextIsNoRefusal":            doneContext,
		"AllWindowsCountOrNone":              allOrNone,
		"LongerWindowsBeginWithTheirLimit":   longerBegin,
		"LongerCountsFollowTheirWindows":     followsLonger,
		"SeveralAtOnceCountWholeOrNot":       severalAtOnce,
		"RequestsAreWhatPassed":              requestsPassed,
		"StateIsWhatWasWrittenLast":          stateIsRead,
	} {
		t.Run(name, func(t *testing.T) {
			test(&probe{T: t, Store: open(t), id: apikey.NewID()})
		})
	}
}

var (
	on  = guard.State{Verdict: 3, Active: true}
	now = time.Date(2026, 5, 4, 3, 2, 1, 123e6, time.UTC)
)

// probe is one test's store and key.
type probe struct {
	*testing.T
	Store
	id apikey.ID
}

// hit is a Write of one request in the slot that the meter is at, in the minute alone.
type hit struct {
	If, Then    guard.State
	Slot, Limit int64
	At          time.Time
}

func (h hit) write() guard.Write {
	return guard.Write{If: h.If, Then: h.Then, N: 1, Passed: 1, At: h.At, Minute: at(h.Slot, h.Limit)}
}

// at is a window's part of a write that counts in the slot that it is at.
func at(slot, most int64) guard.Count {
	return guard.Count{From: limit.Window{Slot: slot}, To: slot, Limit: most}
}

// roll is a Write of one request that moves the minute's window on, or makes a meter.
type roll struct {
	If, Then  guard.State
	From      limit.Window
	To, Limit int64
	Missing   bool
	At        time.Time
}

func (r roll) write() guard.Write {
	return guard.Write{
		If: r.If, Then: r.Then, Missing: r.Missing, N: 1, Passed: 1, At: r.At,
		Minute: guard.Count{From: r.From, To: r.To, Limit: r.Limit},
	}
}

func (p *probe) hit(h hit) (guard.Meter, error)   { return p.count(h.write()) }
func (p *probe) roll(r roll) (guard.Meter, error) { return p.count(r.write()) }

func (p *probe) count(w guard.Write) (guard.Meter, error) {
	return p.Count(context.Background(), p.id, w)
}

func (p *probe) settle(verdict int64, active bool) {
	p.Helper()
	if err := p.Settle(context.Background(), p.id, verdict, active); err != nil {
		p.Fatalf("Settle(%d, %t): %v", verdict, active, err)
	}
}

// must fails the test unless the write was let through and left the meter as wanted.
func (p *probe) must(want guard.Meter) func(guard.Meter, error) {
	return func(got guard.Meter, err error) {
		p.Helper()
		if err != nil {
			p.Fatalf("refused: %v, want it let through", describe(err))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			p.Fatalf("meter after the write (-want +got):\n%s", diff)
		}
	}
}

// stored reads the meter: a Hit that no meter allows is refused with it.
func (p *probe) stored() guard.Meter {
	p.Helper()
	_, err := p.hit(hit{If: guard.State{Verdict: -1}, Then: guard.State{Verdict: -1}, Limit: 1 << 40, At: now})
	var r *guard.Refused
	if !errors.As(err, &r) || !r.Found {
		p.Fatalf("Hit under an impossible condition: %v, want it refused with the meter", describe(err))
	}
	return r.Meter
}

func (p *probe) refused(what string, want guard.Meter) func(guard.Meter, error) {
	return func(_ guard.Meter, err error) {
		p.Helper()
		var r *guard.Refused
		if !errors.As(err, &r) {
			p.Fatalf("%s: %v, want *Refused", what, describe(err))
		}
		if diff := cmp.Diff(&guard.Refused{Found: true, Meter: want}, r); diff != "" {
			p.Errorf("%s (-want +got):\n%s", what, diff)
		}
		if diff := cmp.Diff(want, p.stored()); diff != "" {
			p.Errorf("%s changed the meter (-want +got):\n%s", what, diff)
		}
	}
}

func describe(err error) string {
	var r *guard.Refused
	if errors.As(err, &r) {
		return fmt.Sprintf("refused, found %t: %+v", r.Found, r.Meter)
	}
	return fmt.Sprint(err)
}

// given makes a meter that has counted 2 in slot 100, 3 in slot 99 and 1 in slot 80,
// and returns it.
func (p *probe) given() guard.Meter {
	p.Helper()
	p.settle(on.Verdict, on.Active)
	var m guard.Meter
	for _, slot := range []int64{80, 99, 99, 99, 100, 100} {
		var err error
		if m.Window.Slot == slot {
			m, err = p.hit(hit{If: on, Then: on, Slot: slot, Limit: 100, At: now})
		} else {
			m, err = p.roll(roll{If: on, Then: on, From: m.Window, To: slot, Limit: 100, At: now})
		}
		if err != nil {
			p.Fatalf("counting in slot %d: %s", slot, describe(err))
		}
	}
	want := guard.Meter{State: on, Requests: 6, LastUsed: now, Window: limit.Window{Slot: 100, Used: 2, Total: 6}}
	want.Window.Past[80%limit.Slots], want.Window.Past[99%limit.Slots] = 1, 3
	if diff := cmp.Diff(want, m); diff != "" {
		p.Fatalf("meter after six requests (-want +got):\n%s", diff)
	}
	return m
}

func missingIsReported(p *probe) {
	for name, try := range map[string]func() (guard.Meter, error){
		"Hit":  func() (guard.Meter, error) { return p.hit(hit{Limit: 10, At: now}) },
		"Roll": func() (guard.Meter, error) { return p.roll(roll{To: 7, Limit: 10, At: now}) },
	} {
		_, err := try()
		var r *guard.Refused
		if !errors.As(err, &r) || r.Found {
			p.Errorf("%s without a meter: %s, want refused, not found", name, describe(err))
		}
	}
}

func missingIsMadeOnce(p *probe) {
	if _, err := p.roll(roll{Missing: true, Then: on, To: 100, Limit: 0, At: now}); !isRefused(err) {
		p.Errorf("Roll of a missing meter at limit 0: %s, want refused", describe(err))
	}
	want := guard.Meter{State: on, Window: limit.Window{Slot: 100, Used: 1, Total: 1}, Requests: 1, LastUsed: now}
	p.must(want)(p.roll(roll{Missing: true, Then: on, To: 100, Limit: 10, At: now}))
	p.refused("making it again", want)(p.roll(roll{Missing: true, Then: on, To: 101, Limit: 10, At: now}))
}

func settleMakes(p *probe) {
	p.settle(on.Verdict, on.Active)
	if diff := cmp.Diff(guard.Meter{State: on}, p.stored()); diff != "" {
		p.Fatalf("meter made by Settle (-want +got):\n%s", diff)
	}
	want := guard.Meter{State: on, Window: limit.Window{Slot: 100, Used: 1, Total: 1}, Requests: 1, LastUsed: now}
	p.must(want)(p.roll(roll{If: on, Then: on, To: 100, Limit: 1, At: now}))
}

func settleOrder(p *probe) {
	m := p.given()
	for _, c := range []struct {
		verdict int64
		active  bool
		want    guard.State
	}{
		{2, false, guard.State{Verdict: 3, Active: true}},
		{3, false, guard.State{Verdict: 3}},
		{3, true, guard.State{Verdict: 3, Active: true}},
		{5, false, guard.State{Verdict: 5}},
		{4, true, guard.State{Verdict: 5}},
		{0, true, guard.State{Verdict: 5}},
		{6, true, guard.State{Verdict: 6, Active: true}},
	} {
		p.settle(c.verdict, c.active)
		m.State = c.want
		if diff := cmp.Diff(m, p.stored()); diff != "" {
			p.Errorf("after Settle(%d, %t) (-want +got):\n%s", c.verdict, c.active, diff)
		}
	}
}

func conditions(p *probe) {
	m := p.given()
	off := guard.State{Verdict: 3}
	newer, older := guard.State{Verdict: 4, Active: true}, guard.State{Verdict: 2, Active: true}
	later, earlier := m.Window, m.Window
	later.Slot, earlier.Slot = 101, 99
	for name, h := range map[string]hit{
		"Hit at a newer verdict":  {If: newer, Then: newer, Slot: 100, Limit: 100},
		"Hit at an older verdict": {If: older, Then: older, Slot: 100, Limit: 100},
		"Hit on an inactive one":  {If: off, Then: on, Slot: 100, Limit: 100},
		"Hit in a later slot":     {If: on, Then: on, Slot: 101, Limit: 100},
		"Hit in an earlier slot":  {If: on, Then: on, Slot: 99, Limit: 100},
		"Hit at the limit":        {If: on, Then: on, Slot: 100, Limit: 6},
		"Hit over the limit":      {If: on, Then: on, Slot: 100, Limit: 1},
		"Hit at limit 0":          {If: on, Then: on, Slot: 100, Limit: 0},
	} {
		h.At = now.Add(time.Hour)
		p.refused(name, m)(p.hit(h))
	}
	for name, r := range map[string]roll{
		"Roll at a newer verdict":        {If: newer, Then: newer, From: m.Window, To: 101, Limit: 100},
		"Roll at an older verdict":       {If: older, Then: older, From: m.Window, To: 101, Limit: 100},
		"Roll on an inactive one":        {If: off, Then: on, From: m.Window, To: 101, Limit: 100},
		"Roll from a later slot":         {If: on, Then: on, From: later, To: 102, Limit: 100},
		"Roll from an earlier slot":      {If: on, Then: on, From: earlier, To: 101, Limit: 100},
		"Roll at the limit":              {If: on, Then: on, From: m.Window, To: 105, Limit: 6},
		"Roll at the limit, one expired": {If: on, Then: on, From: m.Window, To: 106, Limit: 5},
		"Roll of all at limit 0":         {If: on, Then: on, From: m.Window, To: 200, Limit: 0},
	} {
		r.At = now.Add(time.Hour)
		p.refused(name, m)(p.roll(r))
	}
}

func limitEdge(p *probe) {
	m := p.given()
	m.Requests, m.Window = 7, m.Window.Count(100, 1)
	p.must(m)(p.hit(hit{If: on, Then: on, Slot: 100, Limit: 7, At: now}))
	p.refused("Hit with 7 of 7 used", m)(p.hit(hit{If: on, Then: on, Slot: 100, Limit: 7, At: now}))
	p.refused("Roll with 7 of 7 left", m)(p.roll(roll{If: on, Then: on, From: m.Window, To: 105, Limit: 7, At: now}))
	from := m.Window
	m.Requests, m.Window = 8, m.Window.Count(106, 1) // slot 80, one request, expires
	p.must(m)(p.roll(roll{If: on, Then: on, From: from, To: 106, Limit: 7, At: now}))
	from = m.Window
	m.Requests, m.Window = 9, m.Window.Count(500, 1)
	p.must(m)(p.roll(roll{If: on, Then: on, From: from, To: 500, Limit: 1, At: now}))
}

func stateIsWritten(p *probe) {
	m := p.given()
	next := guard.State{Verdict: 4, Active: true}
	m.State, m.Requests, m.Window = next, m.Requests+1, m.Window.Count(100, 1)
	p.must(m)(p.hit(hit{If: on, Then: next, Slot: 100, Limit: 100, At: now}))

	p.settle(5, false)
	off := guard.State{Verdict: 5}
	m.State, m.Requests, m.Window = off, m.Requests+1, m.Window.Count(100, 1)
	p.must(m)(p.hit(hit{If: off, Then: off, Slot: 100, Limit: 100, At: now}))

	from, last := m.Window, guard.State{Verdict: 6, Active: true}
	at := now.Add(1500 * time.Millisecond)
	m.State, m.Requests, m.Window, m.LastUsed = last, m.Requests+1, m.Window.Count(103, 1), at
	p.must(m)(p.roll(roll{If: off, Then: last, From: from, To: 103, Limit: 100, At: at}))
}

// A random walk beside the model, with every kind of gap: inside the window, at its
// ends and beyond. Used and Total of From are spoilt, since a store must not use them.
func followsWindow(p *probe) {
	random := rand.New(rand.NewPCG(1, 2))
	p.settle(on.Verdict, on.Active)
	want := guard.Meter{State: on}
	slot := int64(710_000_000)
	for step := range 300 {
		if random.IntN(3) == 0 {
			slot += random.Int64N(4)
		}
		if random.IntN(25) == 0 {
			slot += 23 + random.Int64N(6)
		}
		from := want.Window
		want.Window = want.Window.Count(slot, 1)
		want.Requests++
		want.LastUsed = now.Add(time.Duration(step) * 7 * time.Millisecond)
		if from.Slot == slot {
			p.must(want)(p.hit(hit{If: on, Then: on, Slot: slot, Limit: 1000, At: want.LastUsed}))
			continue
		}
		from.Used, from.Total = 77, 7777
		p.must(want)(p.roll(roll{If: on, Then: on, From: from, To: slot, Limit: 1000, At: want.LastUsed}))
	}
}

func parallelHits(p *probe) {
	p.given()
	const most, workers, each = 40, 8, 10
	passed := p.parallel(workers, func() (n int) {
		for range each {
			_, err := p.hit(hit{If: on, Then: on, Slot: 100, Limit: most, At: now})
			switch {
			case err == nil:
				n++
			case !isRefused(err):
				p.Errorf("Hit: %v", err)
			}
		}
		return n
	})
	if m := p.stored(); passed != most-6 || m.Window.Total != most || m.Requests != most {
		p.Errorf("%d hits passed, meter %+v; want %d, and %d in all", passed, m, most-6, most)
	}
}

func parallelRolls(p *probe) {
	m := p.given()
	passed := p.parallel(8, func() int {
		_, err := p.roll(roll{If: on, Then: on, From: m.Window, To: 103, Limit: 100, At: now})
		if err != nil && !isRefused(err) {
			p.Errorf("Roll: %v", err)
		}
		if err != nil {
			return 0
		}
		return 1
	})
	m.Requests, m.Window = 7, m.Window.Count(103, 1)
	if diff := cmp.Diff(m, p.stored()); passed != 1 || diff != "" {
		p.Errorf("%d of 8 equal rolls won, want 1; meter (-want +got):\n%s", passed, diff)
	}
}

func hitsDuringRolls(p *probe) {
	start := p.given()
	passed := p.parallel(4, func() (n int) {
		m := start
		for range 40 {
			var err error
			if n%10 == 9 {
				m, err = p.roll(roll{If: on, Then: on, From: m.Window, To: m.Window.Slot + 1, Limit: 1000, At: now})
			} else {
				m, err = p.hit(hit{If: on, Then: on, Slot: m.Window.Slot, Limit: 1000, At: now})
			}
			var r *guard.Refused
			switch {
			case errors.As(err, &r):
				m = r.Meter
			case err != nil:
				p.Errorf("counting: %v", err)
				return n
			default:
				n++
			}
		}
		return n
	})
	m := p.stored()
	sum := m.Window.Used
	for _, n := range m.Window.Past {
		sum += n
	}
	if m.Requests != int64(passed)+6 || m.Window.Total != sum {
		p.Errorf("%d counted after 6, and the window sums to %d; meter %+v", passed, sum, m)
	}
	if m.Window.Slot < 106 && m.Window.Total != m.Requests {
		p.Errorf("nothing has expired, but Total is not Requests: %+v", m)
	}
}

func doneContext(p *probe) {
	m := p.given()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := p.Count(ctx, p.id, hit{If: on, Then: on, Slot: 100, Limit: 100, At: now}.write()); err == nil || isRefused(err) {
		p.Errorf("Hit with a done context: %v, want an error that is no refusal", describe(err))
	}
	if _, err := p.Count(ctx, p.id, roll{If: on, Then: on, From: m.Window, To: 101, Limit: 100, At: now}.write()); err == nil || isRefused(err) {
		p.Errorf("Roll with a done context: %v, want an error that is no refusal", describe(err))
	}
}

// parallel runs f in n goroutines and returns the sum.
func (p *probe) parallel(n int, f func() int) int {
	sums := make([]int, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { sums[i] = f() })
	}
	all.Wait()
	total := 0
	for _, s := range sums {
		total += s
	}
	return total
}

func isRefused(err error) bool {
	var r *guard.Refused
	return errors.As(err, &r)
}
