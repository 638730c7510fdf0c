package limit

import "time"

// RetryAfter returns how long after now the next request can pass if nobody else asks:
// the time to the earliest slot's edge at which less than limit is left, 0 if that is
// so already. It is never more than Slots times the scale's Slot, which is also the answer
// when limit is 0 or less and no wait would help.
func (w *Window) RetryAfter(s Scale, now time.Time, limit int64) time.Duration {
	at := w.SlotAt(s, now)
	if w.Admits(at, limit) {
		return 0
	}
	if limit <= 0 {
		return Slots * s.Slot()
	}
	// At w.Slot+Slots everything has expired, so the search ends there at the latest.
	for at++; !w.Admits(at, limit); at++ {
	}
	return min(s.Start(at).Sub(now), Slots*s.Slot())
}

// Remaining returns how many more requests can pass at now.
func (w *Window) Remaining(s Scale, now time.Time, limit int64) int64 {
	return max(0, limit-w.Left(w.SlotAt(s, now)))
}

// Reset returns how long after now the whole limit is free again if nobody asks.
func (w *Window) Reset(s Scale, now time.Time) time.Duration {
	newest := w.Slot
	if w.Total == 0 {
		return 0
	}
	if w.Used == 0 {
		for newest--; w.Past[position(newest, Slots)] == 0 && newest > w.Slot-Slots; newest-- {
		}
	}
	return max(0, min(s.Start(newest+Slots).Sub(now), Slots*s.Slot()))
}
