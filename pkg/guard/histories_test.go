package guard_test

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/guard"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

// register is the plain reference of a key's limits: every request ever admitted, and for
// each new one a count of those that still matter. It shares no code and no shortcut with
// what it is held against.
type register struct{ admitted []entry }

// entry is one admitted request: the slot of each window that it was counted in, or -1 if
// the key had no such limit then.
type entry struct{ minute, hour, day, month int64 }

// allowed are the limits of a key; 0: none.
type allowed struct{ minute, hour, day, month, refillDay int }

// request says whether the limits admit a request at now, and which do not; if they do, it
// is entered.
func (r *register) request(a allowed, now time.Time) (refusing []string) {
	e := entry{minute: now.UnixMilli() / 2_500, hour: -1, day: -1, month: -1}
	for _, old := range r.admitted { // time does not go back
		e.minute = max(e.minute, old.minute)
	}
	within := func(name string, slot int64, most int, of func(entry) int64) {
		n := 0
		for _, old := range r.admitted {
			if s := of(old); s >= 0 && s > slot-26 {
				n++
			}
		}
		if n >= most {
			refusing = append(refusing, name)
		}
	}
	within("minute", e.minute, a.minute, func(e entry) int64 { return e.minute })
	if a.hour > 0 {
		e.hour = now.UnixMilli() / 150_000
		within("hour", e.hour, a.hour, func(e entry) int64 { return e.hour })
	}
	if a.day > 0 {
		e.day = now.UnixMilli() / 3_600_000
		within("day", e.day, a.day, func(e entry) int64 { return e.day })
	}
	if a.month > 0 {
		begin := time.Date(now.Year(), now.Month(), now.Day(), 0, 0, 0, 0, time.UTC)
		for begin.Day() != a.refillDay {
			begin = begin.AddDate(0, 0, -1)
		}
		e.month = begin.Unix()
		for _, old := range r.admitted { // a period that has begun goes on although the refill day has changed
			e.month = max(e.month, old.month)
		}
		n := 0
		for _, old := range r.admitted {
			if old.month == e.month {
				n++
			}
		}
		if n >= a.month {
			refusing = append(refusing, "month")
		}
	}
	if refusing == nil {
		r.admitted = append(r.admitted, e)
	}
	return refusing
}

func TestTenThousandHistoriesAreAdmittedAsThePlainModelSays(t *testing.T) {
	const histories = 10_000
	requests, admitted, changes, together := 0, 0, 0, 0
	refusedBy := map[string]int{}
	for seed := range uint64(histories) {
		random := rand.New(rand.NewPCG(seed, 6))
		w := newWorld(t)
		w.now = time.Date(2026, time.Month(1+random.IntN(12)), 1+random.IntN(28), 0, 0, 0, 0, time.UTC).
			Add(time.Duration(random.Int64N(int64(24 * time.Hour)))).Truncate(time.Millisecond)
		draw := func() (a allowed) {
			a = allowed{minute: 1 + random.IntN(6)}
			if random.IntN(4) > 0 {
				a.hour = 1 + random.IntN(12)
			}
			if random.IntN(3) == 0 {
				a.day = 1 + random.IntN(16)
			}
			if random.IntN(4) > 0 {
				a.month, a.refillDay = 1+random.IntN(20), 1+random.IntN(28)
			}
			return a
		}
		grant := func(a allowed) func(*keys.Key) {
			return func(k *keys.Key) {
				k.RateLimit, k.Limits = a.minute, keys.Limits{Hour: a.hour, Day: a.day}
				k.Quota = keys.Quota{Requests: a.month, RefillDay: a.refillDay}
			}
		}
		a := draw()
		id := w.create(grant(a))
		processes := []*guard.Guard{w.process(), w.process(), w.process()}
		var model register
		for range 20 + random.IntN(60) {
			switch n := random.IntN(100); {
			case n < 3: // a process is killed, and another takes its place
				processes[random.IntN(3)] = w.process()
			case n < 5:
				changes++
				a = draw()
				w.change(id, grant(a))
			case n < 40:
				w.advance([]time.Duration{
					time.Millisecond, time.Second, 2500 * time.Millisecond, 20 * time.Second, 65 * time.Second,
					150 * time.Second, 20 * time.Minute, 65 * time.Minute, 5 * time.Hour, 26 * time.Hour, 9 * 24 * time.Hour,
				}[random.IntN(11)] - time.Duration(random.IntN(3))*500*time.Microsecond)
			default:
				requests++
				before, _ := w.meters.Meter(id)
				want := model.request(a, w.clock())
				_, err := processes[random.IntN(3)].Check(w.ctx(), customers(w.context(id, 1)))
				var no *guard.LimitError
				switch {
				case want == nil && err == nil:
					admitted++
				case want != nil && errors.As(err, &no):
					for _, name := range want {
						refusedBy[name]++
					}
					if len(want) > 1 {
						together++
					}
					after, _ := w.meters.Meter(id)
					if diff := cmp.Diff(before, after); diff != "" {
						t.Fatalf("history %d: a refused request changed the meter (-before +after):\n%s", seed, diff)
					}
					named := false
					for _, name := range want {
						named = named || name == no.Window
					}
					if !named {
						t.Fatalf("history %d: refused for the %s, want one of %v", seed, no.Window, want)
					}
				default:
					t.Fatalf("history %d, request %d at %v, limits %+v: %v, but by the model refused by %v", seed, requests, w.clock(), a, err, want)
				}
			}
		}
		// The meter counts what the model has admitted.
		if m, _ := w.meters.Meter(id); m.Requests != int64(len(model.admitted)) {
			t.Fatalf("history %d: %d requests on the meter, %d by the model", seed, m.Requests, len(model.admitted))
		}
	}
	t.Logf("%d requests in %d histories with %d changes of limits: %d admitted, refused by %v, %d of them by several at once",
		requests, histories, changes, admitted, refusedBy, together)
	for _, name := range []string{"minute", "hour", "day", "month"} {
		if refusedBy[name] < histories {
			t.Errorf("the %s refused %d requests in %d histories: little is shown", name, refusedBy[name], histories)
		}
	}
}
