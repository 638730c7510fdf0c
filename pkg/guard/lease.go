package guard

import (
	"context"
	"time"

	"github.com/keyreeve/keyreeve/pkg/limit"
)

// Leases. A partition of the store takes 1,000 writes a second, so a key of which many more
// requests are allowed cannot be counted one by one. Of such a key a process counts several
// requests in one write, a lease, and serves them from memory.
//
// The limit holds as ever: what passes was counted before it passed. A lease dies with the
// slot of the minute that it was counted in, by this process's clock, so a request is never
// counted in an earlier slot than its own (package limit has the argument); what is left of
// it stays counted, and nobody has it.
//
// Revocation stays exact, since each leased request is let through only after a strongly
// consistent read of the meter's state, begun after the request: a change that was answered
// before is on the meter, and the read finds it. A partition takes 3,000 of those a second,
// at a fifth of the price of a write.
//
// The meter's Requests and LastUsed say what was let through, not what was leased: a leased
// request is added by this process's next write for the key. A process that ends without
// one leaves them behind: at most what its last lease held, 63. So much may the guard's
// count of such a key be below the log's for each process that has ended, and the usage
// answer's drift says so; the logs are right then.
const (
	// leasedFrom is the least limit of a key whose requests are leased, in requests a
	// minute: 500 a second, half of what a partition takes.
	leasedFrom = 30_000
	// A lease is what the process will likely need in a tenth of a slot, by what it was asked
	// in the slot before; no more than what the slot has time for; and never more than any
	// of these, or 2 % of the limit, or a sixteenth of what any window has left, so that
	// the last places are not lost in leases.
	leasesPerSlot = 10
	largestLease  = 64
	leastShare    = 50
	leastRoom     = 16
)

// lease is requests that were counted and have not come yet.
type lease struct {
	verdict int64
	limits  allowance
	slot    int64 // of the minute, that they were counted in
	left    int64
}

// pace is how often this process is asked for a key.
type pace struct {
	slot        int64 // by this process's clock
	now, before int64 // requests in that slot, and in the one before
}

func (p *pace) ask(slot int64) {
	if slot != p.slot {
		before := p.now
		if slot != p.slot+1 {
			before = 0
		}
		*p = pace{slot: slot, before: before}
	}
	p.now++
}

// leases reports whether requests of the key are leased at all.
func (p *proof) leases() bool { return !p.unleased && p.who.Limit >= leasedFrom }

// draw takes a request off the process's lease, if it holds one that is good at now. It is
// asked once for each request.
func (p *proof) draw(now time.Time) (drawn bool) {
	slot := limit.Minute.SlotOf(now)
	p.guard.memory.with(p.id(), func(e *entry) {
		e.pace.ask(slot)
		p.rate = e.pace.before
		l := &e.lease
		drawn = l.left > 0 && slot <= l.slot && l.verdict == p.who.Verdict && l.limits == allowanceOf(&p.who)
		if drawn {
			l.left--
		}
	})
	return drawn
}

// spend lets a request through that was taken off a lease, if the meter says that the key
// is as it was. If not, or if it cannot tell in time, the request is still undecided, and
// is counted by itself.
func (p *proof) spend(ctx context.Context, start time.Time) (pass Pass, decided bool, err error) {
	g := p.guard
	within, cancel := context.WithTimeout(ctx, g.cfg.Budget)
	state, found, err := g.cfg.Meters.State(within, p.id())
	cancel()
	end := g.cfg.Clock()
	switch {
	case err != nil || took(start, end) > g.cfg.Budget:
		g.cfg.Log.WarnContext(ctx, "a lease was not proved, and the request is counted by itself", "keyId", p.id(), "took", took(start, end), "error", err)
		return Pass{}, false, nil
	case !found || state != State{Verdict: p.who.Verdict, Active: true}:
		p.seen, p.met, p.missing = true, p.met && found, !found
		if !found {
			p.meter = Meter{}
		}
		p.meter.State = state
		p.doubt = !p.fresh || state.Verdict > p.who.Verdict
		g.memory.with(p.id(), func(e *entry) { e.lease = lease{} })
		return Pass{}, false, nil
	}
	g.memory.with(p.id(), func(e *entry) { e.unreported++ })
	pass, err = p.pass(&p.meter, end)
	return pass, true, err
}

// batch is how many requests the write of this one counts. While one write of the process
// is on its way for a lease, others count one by one: several leases at once would be more
// than is needed.
func (p *proof) batch(now time.Time) (n int64) {
	if !p.leases() || !p.met {
		return 1
	}
	left := limit.Minute.Start(limit.Minute.SlotOf(now) + 1).Sub(now)
	n = min(
		p.rate/leasesPerSlot, p.rate*int64(left)/int64(limit.Slot), largestLease,
		int64(p.who.Limit)/leastShare, p.meter.room(&p.who, now)/leastRoom,
	)
	if n <= 1 {
		return 1
	}
	p.guard.memory.with(p.id(), func(e *entry) {
		if until := e.leasing; now.Before(until) && until.Sub(now) <= p.guard.cfg.Budget {
			n = 1
		} else {
			e.leasing = now.Add(p.guard.cfg.Budget)
		}
	})
	return n
}

// report takes what leased requests this process has let through and the meter does not
// know of yet.
func (p *proof) report() (n int64) {
	if p.owes || p.leases() {
		p.guard.memory.with(p.id(), func(e *entry) { n, e.unreported = e.unreported, 0 })
	}
	return n
}

// forgo gives that back, after a write that was not applied as far as is known, and with it
// the turn to lease.
func (p *proof) forgo(w *Write) {
	if n := w.Passed - 1; n > 0 || w.N > 1 {
		p.owes = n > 0
		p.guard.memory.with(p.id(), func(e *entry) {
			if e.unreported += n; w.N > 1 {
				e.leasing = time.Time{}
			}
		})
	}
}

// keep remembers what a write counted beyond the request that made it.
func (p *proof) keep(w *Write) {
	if w.N == 1 {
		return
	}
	p.guard.memory.with(p.id(), func(e *entry) {
		l := lease{verdict: p.who.Verdict, limits: allowanceOf(&p.who), slot: w.Minute.To, left: w.N - 1}
		if was := e.lease; was.verdict == l.verdict && was.limits == l.limits && was.slot == l.slot {
			l.left += was.left
		}
		e.lease, e.leasing = l, time.Time{}
	})
}
