package guardtest

import (
	"context"
	"errors"
	"math/rand/v2"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/guard"
	"github.com/keyreeve/keyreeve/pkg/limit"
)

// everywhere is a write of one request in slot 100 of the minute, 550 of the hour, 510
// of the day and period 7 of the month.
func everywhere() guard.Write {
	return guard.Write{
		If: on, Then: on, N: 1, Passed: 1, At: now,
		Minute: at(100, 1000), Hour: at(550, 1000), Day: at(510, 1000), Month: guard.MonthCount{From: 7, To: 7, Limit: 1000},
	}
}

// begun makes a meter that has counted two requests in the windows of everywhere.
func (p *probe) begun() guard.Meter {
	p.Helper()
	p.settle(on.Verdict, on.Active)
	w := everywhere()
	w.N, w.Passed = 2, 2
	w.Minute.From, w.Hour.From, w.Day.From, w.Month.From = limit.Window{}, limit.Window{}, limit.Window{}, 0
	m, err := p.count(w)
	if err != nil {
		p.Fatalf("the first count in four windows: %s", describe(err))
	}
	want := guard.Meter{
		State: on, Requests: 2, LastUsed: now, Window: limit.Window{Slot: 100, Used: 2, Total: 2},
		Longer: &guard.Longer{
			Hour: limit.Window{Slot: 550, Used: 2, Total: 2}, Day: limit.Window{Slot: 510, Used: 2, Total: 2},
			Month: limit.Month{Began: 7, Used: 2},
		},
	}
	if diff := cmp.Diff(want, m); diff != "" {
		p.Fatalf("meter after the first count in four windows (-want +got):\n%s", diff)
	}
	return m
}

// Whatever one window says no to, the others stay as they were: those that had room, and
// those that would have rolled.
func allOrNone(p *probe) {
	m := p.begun()
	if _, err := p.count(everywhere()); err != nil {
		p.Fatalf("a write that fits: %s", describe(err))
	}
	m = p.stored()
	for name, spoil := range map[string]func(w *guard.Write){
		"the minute is full":               func(w *guard.Write) { w.Minute.Limit = 3 },
		"the hour is full":                 func(w *guard.Write) { w.Hour.Limit = 3 },
		"the day is full":                  func(w *guard.Write) { w.Day.Limit = 3 },
		"the month is full":                func(w *guard.Write) { w.Month.Limit = 3 },
		"the minute is at another slot":    func(w *guard.Write) { w.Minute = at(101, 1000) },
		"the hour is at another slot":      func(w *guard.Write) { w.Hour = at(551, 1000) },
		"the day is at another slot":       func(w *guard.Write) { w.Day = at(509, 1000) },
		"the month is at another period":   func(w *guard.Write) { w.Month.From, w.Month.To = 8, 8 },
		"the hour was never counted":       func(w *guard.Write) { w.Hour.From = limit.Window{} },
		"the month was never counted":      func(w *guard.Write) { w.Month.From = 0 },
		"the verdict is another":           func(w *guard.Write) { w.If.Verdict++ },
		"the key is inactive":              func(w *guard.Write) { w.If.Active = false },
		"there is a meter":                 func(w *guard.Write) { w.Missing = true },
		"four are asked of three places":   func(w *guard.Write) { w.N, w.Hour.Limit = 4, 6 },
		"the hour rolls, and is full":      func(w *guard.Write) { w.Hour.From, w.Hour.To, w.Hour.Limit = m.Longer.Hour, 575, 3 },
		"the hour begins anew, and cannot": func(w *guard.Write) { w.N, w.Hour.From, w.Hour.To, w.Hour.Limit = 2, m.Longer.Hour, 1500, 1 },
		"the month begins anew, and cannot": func(w *guard.Write) {
			w.N, w.Month = 2, guard.MonthCount{From: 7, To: 8, Limit: 1}
		},
	} {
		for others, roll := range map[string]func(w *guard.Write){
			"": func(*guard.Write) {},
			", and the others would roll": func(w *guard.Write) {
				for _, c := range []struct {
					c    *guard.Count
					from limit.Window
				}{{&w.Minute, m.Window}, {&w.Hour, m.Longer.Hour}, {&w.Day, m.Longer.Day}} {
					if c.c.Limit == 1000 && c.c.From.Slot == c.from.Slot {
						c.c.From, c.c.To = c.from, c.from.Slot+30
					}
				}
				if w.Month.Limit == 1000 && w.Month.From == 7 {
					w.Month.To = 8
				}
			},
		} {
			w := everywhere()
			spoil(&w)
			roll(&w)
			p.refused(name+others, m)(p.count(w))
		}
	}
	w := everywhere()
	w.Minute.Limit, w.Hour.Limit, w.Day.Limit, w.Month.Limit = 4, 4, 4, 4
	if _, err := p.count(w); err != nil {
		p.Errorf("the last place in each of four windows: %s", describe(err))
	}
	p.refused("a fifth in windows of four", p.stored())(p.count(w))
}

// A window begins with the first write that has a limit for it, and is left alone while
// there is none.
func longerBegin(p *probe) {
	m := p.given()
	w := guard.Write{If: on, Then: on, N: 1, Passed: 1, At: now, Minute: at(100, 1000), Day: guard.Count{To: 510, Limit: 5}}
	m.Window, m.Requests = m.Window.Count(100, 1), 7
	m.Longer = &guard.Longer{Day: limit.Window{Slot: 510, Used: 1, Total: 1}}
	p.must(m)(p.count(w))
	p.refused("beginning it again", m)(p.count(w))

	w.Day, w.Hour = guard.Count{}, guard.Count{To: 550, Limit: 1}
	m.Window, m.Requests = m.Window.Count(100, 1), 8
	m.Longer = &guard.Longer{Day: m.Longer.Day, Hour: limit.Window{Slot: 550, Used: 1, Total: 1}}
	p.must(m)(p.count(w))

	w.Hour, w.Month = guard.Count{}, guard.MonthCount{To: 7, Limit: 1}
	m.Window, m.Requests = m.Window.Count(100, 1), 9
	m.Longer = &guard.Longer{Day: m.Longer.Day, Hour: m.Longer.Hour, Month: limit.Month{Began: 7, Used: 1}}
	p.must(m)(p.count(w))

	w.Month = guard.MonthCount{}
	m.Window, m.Requests = m.Window.Count(100, 1), 10
	p.must(m)(p.count(w))

	w.Day = at(510, 2)
	m.Window, m.Requests = m.Window.Count(100, 1), 11
	m.Longer = &guard.Longer{Day: m.Longer.Day.Count(510, 1), Hour: m.Longer.Hour, Month: m.Longer.Month}
	p.must(m)(p.count(w))
	p.refused("a third of two", m)(p.count(w))

	// And all at once with a meter that is made.
	p.id = apikey.NewID()
	w = guard.Write{
		Then: on, Missing: true, N: 2, Passed: 2, At: now, Minute: guard.Count{To: 100, Limit: 2}, Hour: guard.Count{To: 550, Limit: 2},
		Day: guard.Count{To: 510, Limit: 2}, Month: guard.MonthCount{To: 7, Limit: 1},
	}
	if _, err := p.count(w); !isRefused(err) {
		p.Errorf("two requests of a quota of one, and no meter: %s, want refused", describe(err))
	}
	w.Month.Limit = 2
	p.must(guard.Meter{
		State: on, Requests: 2, LastUsed: now, Window: limit.Window{Slot: 100, Used: 2, Total: 2},
		Longer: &guard.Longer{
			Hour: limit.Window{Slot: 550, Used: 2, Total: 2}, Day: limit.Window{Slot: 510, Used: 2, Total: 2},
			Month: limit.Month{Began: 7, Used: 2},
		},
	})(p.count(w))
}

// A random walk in all windows, each with gaps of its own; Used and Total are spoilt.
func followsLonger(p *probe) {
	random := rand.New(rand.NewPCG(3, 4))
	p.settle(on.Verdict, on.Active)
	want := guard.Meter{State: on, Longer: &guard.Longer{}}
	var slots [limit.Scales]int64
	for i := range slots {
		slots[i] = 1_000_000
	}
	period := int64(20_000)
	for range 200 {
		for i := range slots {
			if random.IntN(4) == 0 {
				slots[i] += random.Int64N(4)
			}
			if random.IntN(30) == 0 {
				slots[i] += 23 + random.Int64N(6)
			}
		}
		if random.IntN(20) == 0 {
			period += 28 + random.Int64N(4)
		}
		n := 1 + random.Int64N(3)
		w := guard.Write{If: on, Then: on, N: n, Passed: n, At: now, Minute: spoilt(want.Window, slots[limit.Minute])}
		longer := *want.Longer
		want.Window = want.Window.Count(slots[limit.Minute], n)
		want.Requests, want.LastUsed = want.Requests+n, now
		if random.IntN(5) > 0 {
			w.Hour = spoilt(longer.Hour, slots[limit.Hour])
			longer.Hour = longer.Hour.Count(slots[limit.Hour], n)
		}
		if random.IntN(5) > 0 {
			w.Day = spoilt(longer.Day, slots[limit.Day])
			longer.Day = longer.Day.Count(slots[limit.Day], n)
		}
		if random.IntN(5) > 0 {
			w.Month = guard.MonthCount{From: longer.Month.Began, To: period, Limit: 1 << 30}
			longer.Month = longer.Month.Count(period, n)
		}
		want.Longer = &longer
		got, err := p.count(w)
		if err != nil {
			p.Fatalf("%+v: %s", w, describe(err))
		}
		if got.Longer == nil {
			got.Longer = &guard.Longer{} // until one of them has counted
		}
		if diff := cmp.Diff(want, got); diff != "" {
			p.Fatalf("meter after the write (-want +got):\n%s", diff)
		}
	}
}

func spoilt(from limit.Window, to int64) guard.Count {
	from.Used, from.Total = 77, 7777
	return guard.Count{From: from, To: to, Limit: 1 << 30}
}

func severalAtOnce(p *probe) {
	p.begun()
	passed := p.parallel(8, func() (n int) {
		for range 6 {
			w := everywhere()
			w.N, w.Passed, w.Hour.Limit, w.Month.Limit = 7, 7, 101, 100 // 98 are free: 14 times 7
			_, err := p.count(w)
			var r *guard.Refused
			switch {
			case err == nil:
				n++
			case !errors.As(err, &r):
				p.Errorf("Count: %v", err)
			}
		}
		return n
	})
	m := p.stored()
	if passed != 14 || m.Longer.Month.Used != 100 || m.Longer.Hour.Total != 100 || m.Window.Total != 100 || m.Requests != 100 {
		p.Errorf("%d writes of 7 passed, meter %+v, longer %+v; want 14, and 100 counted everywhere", passed, m, m.Longer)
	}
}

func requestsPassed(p *probe) {
	m := p.begun()
	w := everywhere()
	w.N, w.Passed = 64, 1
	m.Requests += 1
	m.Window = m.Window.Count(100, 64)
	m.Longer = &guard.Longer{Hour: m.Longer.Hour.Count(550, 64), Day: m.Longer.Day.Count(510, 64), Month: m.Longer.Month.Count(7, 64)}
	p.must(m)(p.count(w))
	w.N, w.Passed = 1, 60
	w.Hour, w.Day, w.Month = guard.Count{}, guard.Count{}, guard.MonthCount{}
	m.Requests += 60
	m.Window = m.Window.Count(100, 1)
	p.must(m)(p.count(w))
}

func stateIsRead(p *probe) {
	ctx := context.Background()
	if s, found, err := p.State(ctx, p.id); found || err != nil || s != (guard.State{}) {
		p.Errorf("State without a meter: %+v, %t, %v", s, found, err)
	}
	p.given()
	for _, want := range []guard.State{{Verdict: 5, Active: true}, {Verdict: 6}, {Verdict: 7, Active: true}} {
		p.settle(want.Verdict, want.Active)
		if s, found, err := p.State(ctx, p.id); s != want || !found || err != nil {
			p.Errorf("State: %+v, %t, %v; want %+v", s, found, err, want)
		}
	}
	done, cancel := context.WithCancel(ctx)
	cancel()
	if _, _, err := p.State(done, p.id); err == nil {
		p.Error("State with a done context gave no error")
	}
}
