package alert_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/alert"
	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/usage"
)

const day = 24 * time.Hour

func TestSweepTellsWhatComesWithTime(t *testing.T) {
	at := func(now time.Time) string { return now.Format("01-02T15:04") }
	left := func(d time.Duration) func(*world, *keys.Key) {
		return func(_ *world, k *keys.Key) { k.ExpiresAt = start.Add(d) }
	}
	made := func(ago time.Duration) func(*world, *keys.Key) {
		return func(_ *world, k *keys.Key) { k.CreatedAt = start.Add(-ago); k.RotatedAt = start }
	}
	usedBy := func(meter, logs time.Duration) func(*world, *keys.Key) { // ago
		return func(w *world, k *keys.Key) {
			made(300*day)(w, k)
			w.meter[k.ID] = keys.Usage{LastUsed: start.Add(-meter)}
			w.usage.profiles = map[apikey.ID]usage.Profile{k.ID: {KeyID: k.ID, AccountID: account, LastUsed: start.Add(-logs)}}
		}
	}
	rotated := func(ago time.Duration) func(*world, *keys.Key) {
		return func(w *world, k *keys.Key) { usedBy(day, day)(w, k); k.RotatedAt = start.Add(-ago) }
	}
	with := func(f func(*world, *keys.Key), change func(*keys.Key)) func(*world, *keys.Key) {
		return func(w *world, k *keys.Key) { f(w, k); change(k) }
	}
	canary := func(k *keys.Key) { k.Canary = true }
	inactive := func(k *keys.Key) { k.Active = false }
	deleted := func(k *keys.Key) { k.Deleted = true }
	expired := func(k *keys.Key) { k.ExpiresAt = start }
	for _, tt := range []struct {
		name  string
		setup func(*world, *keys.Key)
		want  string
	}{
		{"a new key", made(0), ""},
		{"7 d and 1 ms left", left(7*day + time.Millisecond), ""},
		{"7 d left", left(7 * day), "expiring_7d AAAAAAAA " + at(start)},
		{"1 d and 1 ms left", left(day + time.Millisecond), "expiring_7d AAAAAAAA " + at(start.Add(day-7*day))},
		{"1 d left", left(day), "expiring_1d AAAAAAAA " + at(start)},
		{"1 ms left", left(time.Millisecond), "expiring_1d AAAAAAAA " + at(start.Add(-day))},
		{"expired", left(0), ""},
		{"expires, inactive", with(left(day), inactive), ""},
		{"expires, deleted", with(left(day), deleted), ""},
		{"expires, canary", with(left(day), canary), "expiring_1d AAAAAAAA " + at(start)},
		{"never used, made 1 ms less than 90 d ago", made(90*day - time.Millisecond), ""},
		{"never used, made 90 d ago", made(90 * day), "unused_90d AAAAAAAA " + at(start)},
		{"used 1 ms less than 90 d ago", usedBy(90*day-time.Millisecond, 200*day), ""},
		{"used 1 ms less than 90 d ago, by the logs", usedBy(200*day, 90*day-time.Millisecond), ""},
		{"used 90 d ago", usedBy(90*day, 100*day), "unused_90d AAAAAAAA " + at(start)},
		{"used 100 d ago, by the logs", usedBy(110*day, 100*day), "unused_90d AAAAAAAA " + at(start.Add(-10*day))},
		{"unused, canary", with(usedBy(100*day, 100*day), canary), ""},
		{"unused, inactive", with(usedBy(100*day, 100*day), inactive), ""},
		{"unused, deleted", with(usedBy(100*day, 100*day), deleted), ""},
		{"unused, expired", with(usedBy(100*day, 100*day), expired), ""},
		{"a secret of 1 ms less than 90 d", rotated(90*day - time.Millisecond), ""},
		{"a secret of 90 d", rotated(90 * day), "rotation_due AAAAAAAA " + at(start)},
		{"a secret of 90 d, canary", with(rotated(90*day), canary), ""},
		{"a secret of 90 d, inactive", with(rotated(90*day), inactive), ""},
		{"never rotated", with(rotated(0), func(k *keys.Key) { k.RotatedAt = time.Time{}; k.CreatedAt = start.Add(-90 * day) }), "rotation_due AAAAAAAA " + at(start)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			k := keys.Key{ID: keyA, AccountID: account, Environment: keys.Staging, Active: true, CreatedAt: start.Add(-day)}
			tt.setup(w, &k)
			w.keys.list = []keys.Key{k}
			var want []string
			if tt.want != "" {
				want = []string{tt.want}
			}
			if got := w.sweep(); got.Raised != len(want) || got.Keys != 1 {
				t.Errorf("Sweep = %+v, want %d raised of 1 key", got, len(want))
			}
			w.restart()
			if got := w.sweep(); got.Raised != 0 {
				t.Errorf("Sweep again = %+v, want nothing raised", got)
			}
			w.want(want...)
			for _, a := range w.alerts(account) {
				if a.Environment != keys.Staging || a.KeyID != keyA {
					t.Errorf("alert of %s, %s", a.Environment, a.KeyID)
				}
			}
		})
	}
}

func TestAnAlertOfAKeyIsRaisedAnewWhenItsCauseIsAnother(t *testing.T) {
	w := newWorld(t)
	k := keys.Key{ID: keyA, AccountID: account, Active: true, CreatedAt: start.Add(-day), ExpiresAt: start.Add(5 * day)}
	sweep := func(want int) {
		t.Helper()
		w.keys.list = []keys.Key{k}
		if got := w.sweep(); got.Raised != want {
			t.Errorf("Sweep at %s = %+v, want %d raised", w.now, got, want)
		}
	}
	sweep(1) // expiring_7d
	w.now = w.now.Add(day)
	sweep(0)
	k.ExpiresAt = k.ExpiresAt.Add(day)
	sweep(1) // expiring_7d of the new expiry
	w.now = k.ExpiresAt.Add(-day)
	sweep(1) // expiring_1d
	k.ExpiresAt = time.Time{}
	w.now = start.Add(89 * day)
	sweep(2) // unused_90d, rotation_due
	w.meter[keyA] = keys.Usage{LastUsed: w.now}
	k.RotatedAt = w.now
	w.now = w.now.Add(90*day - time.Millisecond)
	sweep(0)
	w.now = w.now.Add(time.Millisecond)
	sweep(2)
}

func TestDriftIsTheLargestThatLinesUnderWayDoNotExplain(t *testing.T) {
	const settled = alert.DriftSettles + time.Millisecond
	for _, tt := range []struct {
		name      string
		used      time.Duration // ago, by the guard
		n, logged int64
		want      int64
	}{
		{"none", settled, 100, 100, 0},
		{"more by the guard", settled, 103, 100, 3},
		{"more by the logs", settled, 100, 104, 4},
		{"lines may be under way", alert.DriftSettles, 103, 100, 0},
	} {
		w := newWorld(t)
		w.keys.list = []keys.Key{{ID: keyB, AccountID: account, CreatedAt: start}, {ID: keyA, AccountID: account, CreatedAt: start, Deleted: true}}
		w.meter[keyA] = keys.Usage{LastUsed: start.Add(-tt.used), Requests: tt.n}
		w.meter[keyB] = keys.Usage{LastUsed: start.Add(-day), Requests: 2}
		w.usage.totals = map[apikey.ID]usage.Totals{keyA: {Requests: 1000, Admitted: tt.logged}, keyB: {Admitted: 2}}
		if diff := cmp.Diff(alert.Swept{Keys: 2, Drift: tt.want}, w.sweep()); diff != "" {
			t.Errorf("%s: Sweep (-want +got):\n%s", tt.name, diff)
		}
	}
	w := newWorld(t)
	w.keys.list = []keys.Key{{ID: keyA, AccountID: account, CreatedAt: start}}
	w.usage.totals = map[apikey.ID]usage.Totals{keyA: {Admitted: 7}} // and no meter
	if got := w.sweep().Drift; got != 7 {
		t.Errorf("drift of a key whose guard counted nothing = %d, want 7", got)
	}
}

func TestSweepReadsTheUseOfManyKeysTogether(t *testing.T) {
	w := newWorld(t)
	for i := range 250 {
		w.keys.list = append(w.keys.list, keys.Key{ID: apikey.ID(fmt.Sprintf("%08d", i)), AccountID: account, Active: true, CreatedAt: start, ExpiresAt: start.Add(day)})
	}
	if got := w.sweep(); got.Keys != 250 || got.Raised != 250 {
		t.Errorf("Sweep = %+v, want 250 keys, 250 raised", got)
	}
	if n := len(w.usage.calls); n != 6 {
		t.Errorf("%d reads of profiles and totals, want 6", n)
	}
}

func TestASweepThatFailsIsRepeatedWithoutLoss(t *testing.T) {
	boom := errors.New("boom")
	for name, fail := range map[string]func(*world){
		"reading the keys":     func(w *world) { w.keys.err = boom },
		"reading the profiles": func(w *world) { w.usage.fault = failing("Profiles", boom) },
		"reading the totals":   func(w *world) { w.usage.fault = failing("Totals", boom) },
		"reading the counts":   func(w *world) { w.usage.fault = failing("Days", boom) },
		"raising":              func(w *world) { w.store.OnCall(before("Raise", boom)) },
		"after raising":        func(w *world) { w.store.OnCall(after("Raise", boom)) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.keys.list = []keys.Key{{ID: keyA, AccountID: account, Active: true, CreatedAt: start, ExpiresAt: start.Add(day)}}
			w.usage.add(keyA, start, 5000)
			w.usage.profiles = map[apikey.ID]usage.Profile{keyA: {KeyID: keyA, AccountID: account, First: start.Add(-8 * day), LastUsed: start}}
			fail(w)
			if _, err := w.Sweep(t.Context()); !errors.Is(err, boom) {
				t.Fatalf("Sweep = %v, want the fault", err)
			}
			w.keys.err, w.usage.fault = nil, nil
			w.store.OnCall(nil)
			w.sweep()
			w.want("expiring_1d AAAAAAAA 03-10T12:32", "unusual_volume AAAAAAAA 03-10T00:00")
		})
	}
}
