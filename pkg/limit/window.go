// Package limit is the arithmetic of a strict sliding limit: never more than the limit in
// any 60-second span, however many processes count, as long as their clocks and the
// delay of a write together stay under one slot. The same holds for an hour and for a day;
// a month's quota is another, simpler thing ([Month]).
//
// The model: time is cut into slots of 2.5 s. A [Window] counts the requests of the
// newest slot and of the 25 before it, each old slot whole until it is out of reach. A
// request is counted in the slot that its process's clock shows, or in the newest one
// seen if that is later, so slots never go backwards; it may pass if what is left of the
// window is below the limit.
//
// Why 26 slots hold the promise. Let clocks be between e1 slow and e2 fast, and let d be
// the longest time from looking at the clock to letting the request through. Of two
// requests let through 60 s apart or less, the first is counted in the slot of its own
// time less e1 and d, or later; the second in the slot of its own time plus e2, or
// earlier. So they are at most ⌈(60 s + e1 + e2 + d) / 2.5 s⌉ slots apart, which is 25 if
// e1 + e2 + d stays under 2.5 s. All requests of any 60-second span are therefore in the
// window of the one that was counted last, and that one passed only because the window
// held no more than the limit.
//
// A request that is counted before it is asked for is no exception: it is let through only
// while its process's clock shows the slot that it was counted in, or an earlier one, and
// that is all that the argument needs.
//
// Other scales ([Scale]) have 26 slots as well, each a 24th of their span: 150 s for an
// hour, an hour for a day. Read with their span and slot, the argument asks that
// e1 + e2 + d stay under 150 s, or an hour. What holds for the minute holds there with room
// to spare, but 25 slots would not do: one millisecond of skew needs the 26th.
//
// What it costs: the window reaches back 62.5 s to 65 s, not 60. A client that always asks
// gets 60/65, 92 %, of its limit in the long run, and one that asks evenly at up to that
// rate is never refused (each second of disagreement between clocks takes another 1.5 %).
// So it does of an hour's and a day's, whose windows reach back 62.5 to 65 minutes and 25 to
// 26 hours; disagreement between clocks takes nothing there that anybody could measure.
//
// Everything here is a pure function of a stored window and a time. The package imports
// the standard library alone.
package limit

import "time"

// Window is the stored state of one limit of a key. The zero value has counted nothing.
//
// Total = Used + the sum of Past, always. While Slot stays the same, only Used and Total
// change; Past is fixed by the roll that led to Slot. So whoever once saw a window may
// plan its next roll, with no newer look, under the condition that Slot is unchanged.
type Window struct {
	Slot  int64        // number of the newest slot seen: Unix time divided by the scale's Slot
	Used  int64        // requests in Slot
	Total int64        // requests in Slot and in the 25 before it
	Past  [Slots]int64 // requests of older slots, slot n at n mod Slots; the entry of Slot itself is 0
}

// RollPlan is how a window moves on to a later slot. All of it follows from Slot and
// Past, so it stays right while requests are still being counted in Slot.
type RollPlan struct {
	To      int64 // the new slot
	Clear   []int // positions in Past that become 0, oldest slot first; those that are 0 already are left out
	Moved   int   // position in Past that takes Used as it is at the write; -1: Slot itself has expired
	Expired int64 // what Clear takes from Total
	Whole   bool  // Slot has expired with all before it: nothing is left, whatever Used and Total are by now
}

// Roll plans the move to slot to, which must be later than w.Slot. After it the new
// slot has counted nothing: Used is 0, and Total is less by Expired, or 0 if Whole.
func (w *Window) Roll(to int64) RollPlan { return roll(w.Slot, w.Past[:], to) }

// SlotAt returns the slot in which a request counts whose process's clock shows now: its
// own, or the newest seen if that is later, so that a slow clock never turns time back.
func (w *Window) SlotAt(s Scale, now time.Time) int64 { return max(s.SlotOf(now), w.Slot) }

// Left returns how many of the window's requests still count in slot to.
func (w *Window) Left(to int64) int64 { return left(w.Slot, w.Total, w.Past[:], to) }

// Admits reports whether one more request may pass in slot to. limit is in requests in
// any span.
func (w *Window) Admits(to, limit int64) bool { return w.Left(to) < limit }

// Count returns the window after n more requests in slot to. Slots before w.Slot count as
// w.Slot. It does not ask whether they may pass.
func (w Window) Count(to, n int64) Window {
	if to > w.Slot {
		p := w.Roll(to)
		w.Total = w.Left(to)
		for _, at := range p.Clear {
			w.Past[at] = 0
		}
		if !p.Whole {
			w.Past[p.Moved] = w.Used
		}
		w.Slot, w.Used = to, 0
	}
	w.Used += n
	w.Total += n
	return w
}

// The arithmetic proper, for any number of slots: the tests show with fewer that their
// checker can fail.

func roll(slot int64, past []int64, to int64) RollPlan {
	n := int64(len(past))
	p := RollPlan{To: to, Moved: position(slot, n), Whole: to-slot >= n}
	if p.Whole {
		p.Moved = -1
	}
	// Slot s enters, slot s-n leaves, and both have the same position.
	for s := slot + 1; s <= to && s < slot+n; s++ {
		at := position(s, n)
		if past[at] != 0 {
			p.Clear = append(p.Clear, at)
			p.Expired += past[at]
		}
	}
	return p
}

func left(slot, total int64, past []int64, to int64) int64 {
	n := int64(len(past))
	if to-slot >= n {
		return 0
	}
	for s := slot + 1; s <= to; s++ {
		total -= past[position(s, n)]
	}
	return total
}

// position of a slot in a ring of n, also for negative slots.
func position(slot, n int64) int { return int(slot - floorDiv(slot, n)*n) }

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
