package guard

import (
	"time"

	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/limit"
)

// denial is a refusal for a limit, remembered. No place becomes free before the wait that
// it came with is over, unless the limit changes, which is a new verdict: a context from
// before such a change must hear of it some time, so a denial holds to the end of the
// minute's slot, and where a longer limit refuses, for a minute at most.
type denial struct {
	verdict     int64
	limits      allowance
	window      string // the limit that refused
	limit       int
	from, until time.Time // by this process's clock
}

// allowance is all that limits a key's requests.
type allowance struct {
	minute int
	limits keys.Limits
	quota  keys.Quota
}

func allowanceOf(who *keys.Identity) allowance { return allowance{who.Limit, who.Limits, who.Quota} }

// denialFor is the longest that a refusal for a limit beyond the minute is remembered. It
// is also how long API Gateway caches a policy unless it is told otherwise.
const denialFor = time.Minute

// denial is how a refusal at now is remembered.
func (p *proof) denial(no *LimitError, now time.Time) denial {
	slot := limit.Minute.SlotOf(now)
	d := denial{
		verdict: p.who.Verdict, limits: allowanceOf(&p.who), window: no.Window, limit: no.Limit,
		from: limit.Minute.Start(slot), until: limit.Minute.Start(slot + 1),
	}
	if no.Window != keys.WindowMinute {
		d.until = now.Add(min(no.RetryAfter, denialFor))
	}
	return d
}

// isDenied reports whether a remembered refusal speaks for a request at now.
func (p *proof) isDenied(now time.Time) bool {
	d := &p.denied
	return d.verdict == p.who.Verdict && d.limits == allowanceOf(&p.who) && !now.Before(d.from) && now.Before(d.until)
}

// limitError is the answer out of memory.
func (p *proof) limitError(now time.Time) error {
	if no := p.meter.refusal(&p.who, now); no != nil {
		return no
	}
	// By another request's newer look there is room: then from the end of the denial on.
	d := &p.denied
	return &LimitError{Window: d.window, Limit: d.limit, RetryAfter: d.until.Sub(now), All: p.meter.all(&p.who, now)}
}

// refusal is what the limits say of one more request at now, or nil if all let it pass.
func (m *Meter) refusal(who *keys.Identity, now time.Time) *LimitError {
	var no LimitError
	worse := func(window string, most int, wait time.Duration) {
		if wait > no.RetryAfter {
			no.Window, no.Limit, no.RetryAfter = window, most, wait
		}
	}
	worse(keys.WindowMinute, who.Limit, m.Window.RetryAfter(limit.Minute, now, int64(who.Limit)))
	seen, l, q := m.longer(), who.Limits, who.Quota
	if l.Hour > 0 {
		worse(keys.WindowHour, l.Hour, seen.Hour.RetryAfter(limit.Hour, now, int64(l.Hour)))
	}
	if l.Day > 0 {
		worse(keys.WindowDay, l.Day, seen.Day.RetryAfter(limit.Day, now, int64(l.Day)))
	}
	if q.Requests > 0 {
		worse(keys.WindowMonth, q.Requests, seen.Month.RetryAfter(now, q.RefillDay, int64(q.Requests)))
	}
	if no.RetryAfter == 0 {
		return nil
	}
	no.All = m.all(who, now)
	return &no
}

// room is how many requests the window that has the least lets pass.
func (m *Meter) room(who *keys.Identity, now time.Time) int64 {
	room := m.Window.Remaining(limit.Minute, now, int64(who.Limit))
	for _, s := range m.standings(who, now) {
		room = min(room, int64(s.Remaining))
	}
	return room
}

// all is where the key stands with every limit, the minute's first.
func (m *Meter) all(who *keys.Identity, now time.Time) []Standing {
	return append([]Standing{standing(keys.WindowMinute, limit.Minute, &m.Window, who.Limit, now)}, m.standings(who, now)...)
}

// standings is where the key stands with its limits beyond the minute; nil without any.
func (m *Meter) standings(who *keys.Identity, now time.Time) (all []Standing) {
	seen, l, q := m.longer(), who.Limits, who.Quota
	if l.Hour > 0 {
		all = append(all, standing(keys.WindowHour, limit.Hour, &seen.Hour, l.Hour, now))
	}
	if l.Day > 0 {
		all = append(all, standing(keys.WindowDay, limit.Day, &seen.Day, l.Day, now))
	}
	if q.Requests > 0 {
		all = append(all, Standing{
			Window: keys.WindowMonth, Limit: q.Requests,
			Remaining: int(seen.Month.Remaining(now, q.RefillDay, int64(q.Requests))),
			Reset:     seen.Month.Reset(now, q.RefillDay),
		})
	}
	return all
}

func standing(window string, s limit.Scale, w *limit.Window, most int, now time.Time) Standing {
	return Standing{Window: window, Limit: most, Remaining: int(w.Remaining(s, now, int64(most))), Reset: w.Reset(s, now)}
}

// newerThan reports whether m is of a later write than other, of the same meter: every
// write counts, in the newest slot of the minute or in a later one.
func (m *Meter) newerThan(other *Meter) bool {
	if m.Window.Slot != other.Window.Slot {
		return m.Window.Slot > other.Window.Slot
	}
	return m.Window.Used > other.Window.Used
}
