package limit

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func utc(s string) time.Time {
	t, err := time.Parse("2006-01-02T15:04:05.999999999", s)
	if err != nil {
		panic(err)
	}
	return t
}

func TestAPeriodBeginsOnItsRefillDayAtMidnightUTC(t *testing.T) {
	for _, c := range []struct {
		at        string
		refillDay int
		want      string
	}{
		{"2026-05-01T00:00:00", 1, "2026-05-01"},
		{"2026-04-30T23:59:59.999999999", 1, "2026-04-01"},
		{"2026-05-31T12:00:00", 1, "2026-05-01"},
		{"2026-05-14T23:59:59", 15, "2026-04-15"},
		{"2026-05-15T00:00:00", 15, "2026-05-15"},
		{"2026-01-03T00:00:00", 28, "2025-12-28"},
		{"2026-02-28T00:00:00", 28, "2026-02-28"},
		{"2026-03-01T00:00:00", 28, "2026-02-28"},
		{"2024-02-29T00:00:00", 28, "2024-02-28"},
		{"1969-12-31T00:00:00", 5, "1969-12-05"},
	} {
		want := dayOf(utc(c.want + "T00:00:00"))
		if got := PeriodOf(utc(c.at), c.refillDay); got != want {
			t.Errorf("PeriodOf(%s, %d) = %d, want %d, %s", c.at, c.refillDay, got, want, c.want)
		}
		local := utc(c.at).In(time.FixedZone("elsewhere", 14*60*60))
		if got := PeriodOf(local, c.refillDay); got != want {
			t.Errorf("PeriodOf(%v, %d) = %d, want %d", local, c.refillDay, got, want)
		}
	}
}

func TestAQuotaIsRefilledOnTheDotAndNotBefore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		day, quota := rapid.IntRange(1, 28).Draw(t, "refill day"), rapid.Int64Range(1, 5).Draw(t, "quota")
		start := utc("2023-01-01T00:00:00").Add(time.Duration(rapid.Int64Range(0, int64(4*365*24*time.Hour)).Draw(t, "start")))
		m := Month{}.Count(PeriodOf(start, day), quota)
		now := start.Add(time.Duration(rapid.Int64Range(0, int64(40*24*time.Hour)).Draw(t, "later")))
		wait := m.RetryAfter(now, day, quota)
		full := PeriodOf(now, day) == PeriodOf(start, day)
		if full != (wait > 0) || full != (m.Remaining(now, day, quota) == 0) || m.Reset(now, day) != wait {
			t.Fatalf("at %v, filled at %v: wait %v, remaining %d, reset %v", now, start, wait, m.Remaining(now, day, quota), m.Reset(now, day))
		}
		end := now.Add(wait)
		if m.RetryAfter(end, day, quota) != 0 {
			t.Fatalf("RetryAfter = %v, but nothing is free then", wait)
		}
		if wait > 0 && (m.RetryAfter(end.Add(-1), day, quota) != 1 || end.Day() != day || end.Hour()+end.Minute()+end.Second()+end.Nanosecond() != 0) {
			t.Fatalf("RetryAfter ends at %v, want the first instant of day %d", end, day)
		}
	})
}

func TestAChangeOfTheRefillDayEndsThePeriodWhenTheNewDayComes(t *testing.T) {
	for _, c := range []struct {
		name     string
		from, to int
		changed  string
		refills  string // when the first request passes after the quota was used up just before the change
	}{
		{"to a later day of the same month", 1, 15, "2026-11-10", "2026-11-15"},
		{"to a day that has passed in this period", 15, 1, "2026-11-20", "2026-12-01"},
		{"to a day that has passed since the period began", 15, 1, "2026-11-10", "2026-11-10"},
		{"to tomorrow", 1, 11, "2026-11-10", "2026-11-11"},
	} {
		changed, refills := utc(c.changed+"T00:00:00"), utc(c.refills+"T00:00:00")
		m := Month{}.Count(PeriodOf(changed, c.from), 7)
		if got := changed.Add(m.RetryAfter(changed, c.to, 7)); !got.Equal(refills) {
			t.Errorf("%s: free again at %v, want %v", c.name, got, refills)
		}
	}
}

func TestASlowClockDoesNotTurnAMonthBack(t *testing.T) {
	refill := utc("2026-05-01T00:00:00")
	m := Month{}.Count(PeriodOf(refill, 1), 3)
	slow := refill.Add(-time.Second)
	if got := m.Count(m.PeriodAt(slow, 1), 1); got != (Month{Began: m.Began, Used: 4}) {
		t.Errorf("counted by a slow clock: %+v", got)
	}
	if got := m.Count(PeriodOf(slow, 1), 1); got != (Month{Began: m.Began, Used: 4}) {
		t.Errorf("counted in an earlier period: %+v", got)
	}
	if got, want := m.RetryAfter(slow, 1, 3), utc("2026-06-01T00:00:00").Sub(slow); got != want {
		t.Errorf("RetryAfter by a slow clock = %v, want %v", got, want)
	}
}
