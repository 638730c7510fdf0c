package limit

import "time"

// Month is the stored state of a quota of requests for a calendar month, which begins at
// 00:00 UTC of its refill day, the same day of each month, 1 to 28. The zero value has
// counted nothing.
//
// A period is known by the day that it began on, so that a later one is a greater number
// whatever its refill day. A request is counted in the period that its process's clock
// shows, or in the newest one seen if that is later; of no period more than the quota is
// ever counted. Clocks that disagree move a refill by as much and no more. When the refill
// day changes, the period goes on until the next one begins by the new day: at once if that
// has come since the period began. Whoever may change the day may change the quota as well.
type Month struct {
	Began int64 // day on which the newest period seen began, from 1970-01-01
	Used  int64 // requests in it
}

// PeriodOf returns the period that t is in.
func PeriodOf(t time.Time, refillDay int) int64 {
	t = t.UTC()
	y, m, d := t.Date()
	if d < refillDay {
		m-- // Date takes a month of 0 for December
	}
	return dayOf(time.Date(y, m, refillDay, 0, 0, 0, 0, time.UTC))
}

func dayOf(t time.Time) int64 { return floorDiv(t.Unix(), secondsPerDay) }

const secondsPerDay = 24 * 60 * 60

// PeriodAt returns the period in which a request counts whose process's clock shows now.
func (m *Month) PeriodAt(now time.Time, refillDay int) int64 {
	return max(PeriodOf(now, refillDay), m.Began)
}

// Left returns how many of the counted requests still count in a period.
func (m *Month) Left(period int64) int64 {
	if period > m.Began {
		return 0
	}
	return m.Used
}

// Count returns the state after n more requests in a period. Periods before m.Began count
// as that one. It does not ask whether they may pass.
func (m Month) Count(period, n int64) Month {
	if period > m.Began {
		m = Month{Began: period}
	}
	m.Used += n
	return m
}

// Remaining returns how many more requests can pass at now.
func (m *Month) Remaining(now time.Time, refillDay int, quota int64) int64 {
	return max(0, quota-m.Left(m.PeriodAt(now, refillDay)))
}

// RetryAfter returns how long after now the next request can pass if nobody else asks: 0,
// or the time to the refill.
func (m *Month) RetryAfter(now time.Time, refillDay int, quota int64) time.Duration {
	if m.Left(m.PeriodAt(now, refillDay)) < quota {
		return 0
	}
	return m.refill(now, refillDay)
}

// Reset returns how long after now the whole quota is free again: the time to the refill,
// 0 if nothing counts.
func (m *Month) Reset(now time.Time, refillDay int) time.Duration {
	if m.Left(m.PeriodAt(now, refillDay)) == 0 {
		return 0
	}
	return m.refill(now, refillDay)
}

// refill is the time from now to the next beginning of a period, after now and after the
// beginning of the newest seen.
func (m *Month) refill(now time.Time, refillDay int) time.Duration {
	last := time.Unix(m.PeriodAt(now, refillDay)*secondsPerDay, 0).UTC()
	y, month, d := last.Date()
	if d >= refillDay {
		month++
	}
	return time.Date(y, month, refillDay, 0, 0, 0, 0, time.UTC).Sub(now)
}
