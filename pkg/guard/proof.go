package guard

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/limit"
)

// maxAttempts bounds the writes and reads under races with others; quiet, two writes
// and a read suffice. maxFailed is how many writes may fail, or come back too late.
const (
	maxAttempts = 10
	maxFailed   = 2
)

// proof is one request being decided.
type proof struct {
	guard *Guard
	call  Call

	who    keys.Identity // the best that is known of who asks
	fresh  bool          // who was read off the key in this proof
	doubt  bool          // who must be read before anything else
	denied denial        // remembered

	unleased bool  // the request is counted by itself
	owes     bool  // leased requests are yet to be reported
	rate     int64 // requests that this process was asked for in the slot before
	meter    Meter // as last seen, now or earlier
	met      bool  // meter was seen at all
	seen     bool  // meter was seen in this proof
	missing  bool  // there is none
}

func (p *proof) id() apikey.ID { return p.call.Identity.KeyID }

// recall starts from what the process remembers.
func (p *proof) recall() {
	ctx := &p.call.Identity
	p.guard.memory.with(p.id(), func(e *entry) {
		p.met, p.meter, p.denied, p.owes = e.met, e.meter, e.denied, e.unreported > 0
		if m, ok := e.meant(ctx.Verdict, ctx.Generation); ok {
			if p.doubt = m.dead; !m.dead {
				p.who = m.who
			}
		}
	})
	// A meter's verdict only grows, so the write would be refused for certain. This is
	// also how a meter that is ahead of its key (a table was restored) makes every
	// request read the key.
	p.doubt = p.doubt || p.met && p.meter.Verdict > p.who.Verdict
}

func (p *proof) run(ctx context.Context) (Pass, error) {
	g, failed, leased := p.guard, 0, p.leases()
	for range maxAttempts {
		if p.doubt {
			if err := p.read(ctx); err != nil {
				return Pass{}, err
			}
		}
		// Each attempt counts in the slot of its own time.
		start := g.cfg.Clock()
		if err := judge(&p.who, &p.call, start); err != nil {
			if p.fresh || !p.mayConfirm(start) {
				return Pass{}, err
			}
			p.doubt = true
			continue
		}
		if leased && p.draw(start) {
			leased = false
			if pass, decided, err := p.spend(ctx, start); decided {
				return pass, err
			}
			p.unleased = true
			continue
		}
		leased = false
		if p.isDenied(start) {
			return Pass{}, p.limitError(start)
		}

		within, cancel := context.WithTimeout(ctx, g.cfg.Budget)
		w := p.write(start)
		m, err := g.cfg.Meters.Count(within, p.id(), w)
		cancel()
		end := g.cfg.Clock()
		if err != nil {
			p.forgo(&w)
		}

		var refused *Refused
		switch {
		case errors.As(err, &refused):
			p.unleased = true // there may be room for one where there is none for many
			if again := p.refused(refused); again {
				continue
			}
			// The state was as expected, so it was a slot or a limit. The windows as found
			// tell: if all of them admit a request now, the next write does.
			no := p.meter.refusal(&p.who, end)
			if no == nil {
				continue
			}
			g.memory.with(p.id(), func(e *entry) { e.denied = p.denial(no, end) })
			if ahead := p.meter.Window.Slot - limit.Minute.SlotOf(end); ahead > 1 {
				g.cfg.Log.WarnContext(ctx, "another process's clock is ahead, or this one's behind", "keyId", p.id(), "by", time.Duration(ahead)*limit.Slot)
			}
			return Pass{}, no

		case err == nil && took(start, end) <= g.cfg.Budget:
			p.remember(m)
			p.keep(&w)
			return p.pass(&m, end)

		default:
			// Counted in a slot that may be over, or counted and the answer lost, or not
			// counted, or yet to be: it stands for no request of now. To count once more, in
			// the slot of then, is right in each case, since one count too many refuses
			// somebody and lets nobody pass. Stores are asked not to repeat a count (package
			// dynamo), and a connection that died while the process was frozen is no news.
			if err == nil {
				p.remember(m)
				err = fmt.Errorf("no answer within %v", g.cfg.Budget)
			}
			if failed++; failed == maxFailed || ctx.Err() != nil {
				return Pass{}, fmt.Errorf("counting a request of key %s: %w: %v", p.id(), keys.ErrUnavailable, err)
			}
			g.cfg.Log.WarnContext(ctx, "a count failed and is tried once more", "keyId", p.id(), "took", took(start, end), "error", err)
		}
	}
	return Pass{}, fmt.Errorf("counting a request of key %s: %w: its meter kept changing", p.id(), keys.ErrUnavailable)
}

// pass lets the request through that m counts, unless time has ended its credential.
func (p *proof) pass(m *Meter, end time.Time) (Pass, error) {
	// The count stands, but not one request passes after its credential's end.
	if reason := lapsed(&p.who, end); reason != keys.OK {
		return Pass{}, &UnauthorizedError{Reason: reason, Counted: true}
	}
	return Pass{
		Identity:  p.who,
		Limit:     p.who.Limit,
		Remaining: int(m.Window.Remaining(limit.Minute, end, int64(p.who.Limit))),
		Reset:     m.Window.Reset(limit.Minute, end),
		Longer:    m.standings(&p.who, end),
		Near:      p.near(m.Window.Total, end),
	}, nil
}

// took is how long something took, by the monotonic clock or the wall clock, whichever
// says more: the first stands still while a machine is suspended, the second may be set
// back.
func took(start, end time.Time) time.Duration {
	return max(end.Sub(start), end.Round(0).Sub(start.Round(0)))
}

// write is the one conditional write that counts the request.
func (p *proof) write(start time.Time) Write {
	before, after := p.states()
	seen, l, q := p.meter.longer(), p.who.Limits, p.who.Quota
	w := Write{
		If: before, Then: after, Missing: p.missing, N: 1, Passed: 1 + p.report(), At: start,
		Minute: p.plan(limit.Minute, &p.meter.Window, p.who.Limit, start),
	}
	if l.Hour > 0 {
		w.Hour = p.plan(limit.Hour, &seen.Hour, l.Hour, start)
	}
	if l.Day > 0 {
		w.Day = p.plan(limit.Day, &seen.Day, l.Day, start)
	}
	if q.Requests > 0 {
		w.Month = MonthCount{From: seen.Month.Began, To: seen.Month.PeriodAt(start, q.RefillDay), Limit: int64(q.Requests)}
		if !p.met && !p.missing {
			w.Month.From = w.Month.To
		}
	}
	if !p.fresh {
		w.N = p.batch(start)
	}
	return w
}

// plan is one window's part of the write. Without a meter to go by, the guess is that
// others keep it in the present slot.
func (p *proof) plan(s limit.Scale, seen *limit.Window, most int, now time.Time) Count {
	c := Count{From: *seen, To: seen.SlotAt(s, now), Limit: int64(most)}
	if !p.met && !p.missing {
		c.From.Slot = c.To
	}
	return c
}

// states returns the meter's state to expect and the one to leave.
func (p *proof) states() (before, after State) {
	key := State{Verdict: p.who.Verdict, Active: true}
	switch {
	case p.fresh && p.met && p.meter.Verdict > key.Verdict:
		// Ahead of its key, which was read after the meter was seen: the table of keys was
		// restored. The meter proves nothing then; the key was read, and decides.
		return p.meter.State, p.meter.State
	case p.fresh && p.seen && !p.missing:
		// Usually equal to key. Behind it, after a crash between the change and its mark on
		// the meter, the write repairs that. The condition still proves the read: any later
		// change that was answered has left a newer verdict.
		return p.meter.State, key
	}
	return key, key
}

// refused takes in the meter that refused a write. It reports whether the state of the
// meter was the reason, so that there is more to find out before anything is said.
func (p *proof) refused(r *Refused) (again bool) {
	before, _ := p.states()
	p.seen, p.met, p.missing, p.meter = true, r.Found, !r.Found, r.Meter
	p.guard.memory.with(p.id(), func(e *entry) { e.met, e.meter = r.Found, r.Meter })
	switch {
	case !r.Found:
		p.doubt = !p.fresh
		return p.doubt || p.who.Limit > 0
	case r.Meter.State != before:
		// A key read in this proof outweighs a meter that is not newer.
		p.doubt = !p.fresh || r.Meter.Verdict > p.who.Verdict
		return true
	}
	return false
}

// read decides afresh by the key as it is. The error says that the credential is dead or
// that nothing could be read.
func (p *proof) read(ctx context.Context) error {
	g, c := p.guard, &p.call.Identity
	within, cancel := context.WithTimeout(ctx, g.cfg.Budget)
	defer cancel()
	k, err := g.cfg.Keys.Key(within, p.id())
	reason := keys.ReasonUnknown
	switch {
	case err == nil:
		if p.who, reason = keys.Identify(&k, c.Generation, p.call.Stage, g.cfg.Clock()); reason == keys.OK && k.Parent != "" {
			if reason, err = p.upheld(within, &k); err != nil {
				return err
			}
		}
	case !errors.Is(err, keys.ErrNotFound):
		return fmt.Errorf("reading key %s: %w: %v", p.id(), keys.ErrUnavailable, err)
	}
	p.fresh, p.doubt = true, false
	g.memory.with(p.id(), func(e *entry) {
		e.mean(meaning{verdict: c.Verdict, generation: c.Generation, who: p.who, dead: reason != keys.OK})
	})
	if reason != keys.OK {
		return &UnauthorizedError{Reason: reason}
	}
	if p.seen && p.meter.Verdict > p.who.Verdict {
		g.cfg.Log.WarnContext(ctx, "the meter is ahead of its key: was a table restored?", "keyId", p.id(), "meter", p.meter.Verdict, "key", p.who.Verdict)
	}
	return nil
}

// upheld asks the key that a session was made with whether the session still lives.
func (p *proof) upheld(ctx context.Context, session *keys.Key) (keys.Reason, error) {
	parent, err := p.guard.cfg.Keys.Key(ctx, session.Parent)
	if err != nil && !errors.Is(err, keys.ErrNotFound) {
		return "", fmt.Errorf("reading the parent of session %s: %w: %v", p.id(), keys.ErrUnavailable, err)
	}
	if err != nil || !parent.Upholds(session, p.guard.cfg.Clock()) {
		p.who = keys.Identity{}
		return keys.ReasonSession, nil
	}
	return keys.OK, nil
}

// mayConfirm reports whether a refusal may still be checked against the key in this slot.
func (p *proof) mayConfirm(now time.Time) (may bool) {
	slot := limit.Minute.SlotOf(now)
	p.guard.memory.with(p.id(), func(e *entry) {
		if e.asked.slot != slot {
			e.asked = asked{slot: slot}
		}
		if may = e.asked.times < confirmsPerSlot; may {
			e.asked.times++
		}
	})
	return may
}

// near reports whether used requests of the limit are to be called near it, and remembers
// that they were. While there is plenty left it takes no lock.
func (p *proof) near(used int64, now time.Time) (tell bool) {
	if used*100 < int64(p.who.Limit)*80 {
		return false
	}
	p.guard.memory.with(p.id(), func(e *entry) {
		ago := now.Sub(e.near.at).Abs() // requests overtake each other, and clocks are set
		if tell = e.near.limit != p.who.Limit || ago >= limit.Span; tell {
			e.near = near{at: now, limit: p.who.Limit}
		}
	})
	return tell
}

// remember keeps the meter for the next request, unless a newer one is known already.
func (p *proof) remember(m Meter) {
	p.met, p.seen, p.missing, p.meter = true, true, false, m
	p.guard.memory.with(p.id(), func(e *entry) {
		if !e.met || m.newerThan(&e.meter) {
			e.met, e.meter = true, m
		}
	})
}
