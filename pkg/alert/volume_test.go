package alert_test

import (
	"slices"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/pkg/alert"
	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/usage"
)

// TestUnusualVolume holds the rule, by Observe and by Sweep: both must judge the same.
func TestUnusualVolume(t *testing.T) {
	hour := start.Truncate(time.Hour)
	const told = "unusual_volume AAAAAAAA 03-10T00:00"
	week := hour.Add(-7 * 24 * time.Hour)
	steady := func(n int64) func(*counts) { // in each hour of the seven days before
		return func(c *counts) {
			for at := week; at.Before(hour); at = at.Add(time.Hour) {
				c.add(keyA, at, n)
			}
		}
	}
	nightly := func(n int64) func(*counts) {
		return func(c *counts) {
			for day := 1; day <= 7; day++ {
				c.add(keyA, hour.Add(-time.Duration(day*24-3)*time.Hour), n)
			}
		}
	}
	for _, tt := range []struct {
		name     string
		baseline func(*counts)
		first    time.Time
		requests int64
		want     bool
	}{
		{"10 times the mean", steady(100), week, 1000, true},
		{"9.9 times the mean", steady(100), week, 990, false},
		{"one less than 10 times", steady(100), week, 999, false},
		{"10 times of little", steady(60), week, 600, true},
		{"100 times, but fewer than the minimum", steady(5), week, alert.VolumeMinimum - 1, false},
		{"100 times, and the minimum", steady(5), week, alert.VolumeMinimum, true},
		{"idle for seven days", func(c *counts) { c.add(keyA, week.Add(-time.Hour), 100_000) }, week.Add(-time.Hour), alert.VolumeMinimum, true},
		{"busy just before the seven days", func(c *counts) { c.add(keyA, week.Add(-time.Hour), 100_000); steady(100)(c) }, week.Add(-time.Hour), 1000, true},
		{"busy in the first of the seven days' hours", func(c *counts) { c.add(keyA, week, 100_000); steady(100)(c) }, week, 1000, false},
		{"busy in the hour after", func(c *counts) { c.add(keyA, hour.Add(time.Hour), 100_000); steady(100)(c) }, week, 1000, true},
		{"a job that runs every night, as always", nightly(5000), week, 5000, false},
		{"twice the job", nightly(5000), week, 10_000, false},
		{"more than twice", nightly(5000), week, 10_001, true},
		{"in use for a day", func(c *counts) { c.add(keyA, hour.Add(-time.Hour), 10) }, hour.Add(-24 * time.Hour), 5000, true},
		{"in use for 23 hours", func(c *counts) { c.add(keyA, hour.Add(-time.Hour), 10) }, hour.Add(-23 * time.Hour), 5000, false},
		{"in use for two days, whose mean counts", func(c *counts) { c.add(keyA, hour.Add(-48*time.Hour), 480); c.add(keyA, hour.Add(-time.Hour), 4320) }, hour.Add(-48 * time.Hour), 9000, true},
		{"in use for two days, a little less", func(c *counts) {
			for h := 1; h <= 48; h++ {
				c.add(keyA, hour.Add(-time.Duration(h)*time.Hour), 100)
			}
		}, hour.Add(-48 * time.Hour), 999, false},
		{"never used with a valid secret", steady(1), time.Time{}, 5000, false},
		{"another key's", func(c *counts) { c.add(keyB, hour, 100_000); steady(100)(c) }, week, 990, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var want []string
			if tt.want {
				want = []string{told}
			}
			observing := newWorld(t)
			tt.baseline(observing.usage)
			observing.usage.add(keyA, start, tt.requests)
			f := known(facts(requests(alert.VolumeLook, start)...), tt.first)
			observing.observe(f, f)
			observing.want(want...)

			for _, late := range []time.Duration{0, time.Hour} { // the hour that is, and the one before
				sweeping := newWorld(t)
				sweeping.usage.days = observing.usage.days
				p := f.Before[keyA]
				p.LastUsed = start
				sweeping.usage.profiles = map[apikey.ID]usage.Profile{keyA: p}
				sweeping.keys.list = []keys.Key{{ID: keyA, AccountID: account, Environment: keys.Production, Active: true, CreatedAt: start}}
				sweeping.now = start.Add(late)
				if late > 0 && tt.name == "busy in the hour after" {
					continue
				}
				sweeping.sweep()
				sweeping.sweep()
				sweeping.want(want...)
			}
		})
	}
}

func TestAWeekBeforeDoesNotReachAcrossDays(t *testing.T) {
	w := newWorld(t)
	w.usage.add(keyA, start.Add(-25*time.Hour), 1)
	w.usage.add(keyA, start, 5000)
	f := known(facts(requests(alert.VolumeLook, start)...), start.Add(-30*24*time.Hour))
	w.observe(f)
	tomorrow := start.Add(24 * time.Hour)
	w.usage.add(keyA, tomorrow, 20_000)
	w.observe(known(facts(requests(alert.VolumeLook, tomorrow)...), start.Add(-30*24*time.Hour)))
	w.want("unusual_volume AAAAAAAA 03-10T00:00", "unusual_volume AAAAAAAA 03-11T00:00")
}

func TestCountsAreReadOnlyWhenItMayMatter(t *testing.T) {
	w := newWorld(t)
	days := func() (n int) {
		for _, c := range w.usage.calls {
			if c == "Days" {
				n++
			}
		}
		return n
	}
	see := func(n int) {
		w.observe(known(facts(requests(n, start)...), start.Add(-30*24*time.Hour)))
	}
	for _, step := range []struct {
		name  string
		after time.Duration
		see   int
		want  int
	}{
		{"few requests", 0, alert.VolumeLook - 1, 0},
		{"one more", 0, 1, 1},
		{"at once", 0, 1000, 1},
		{"a minute less a moment later", alert.VolumePause - time.Millisecond, 1000, 1},
		{"a minute later", time.Millisecond, 1, 2},
	} {
		w.now = w.now.Add(step.after)
		see(step.see)
		if got := days(); got != step.want {
			t.Errorf("%s: counts read %d times, want %d", step.name, got, step.want)
		}
	}
	w.usage.add(keyA, start, 5000)
	w.now = w.now.Add(alert.VolumePause)
	see(1)
	w.now = w.now.Add(alert.VolumePause)
	see(1)
	if got := days(); got != 3 {
		t.Errorf("counts read %d times, want 3: what was told of needs no look", got)
	}
	if !slices.Equal(w.raised(), []string{"unusual_volume AAAAAAAA 03-10T00:00"}) {
		t.Errorf("raised %v", w.raised())
	}
}
