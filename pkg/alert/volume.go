package alert

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/order"
	"github.com/keyreeve/keyreeve/pkg/usage"
)

// Unusual volume. An hour (of the clock, UTC) of a key is unusual if it has
//
//   - VolumeMinimum requests or more: below ten a minute, a person who tries something out
//     is many times a quiet key's mean;
//   - and VolumeFactor times the mean hour, or more, of the seven days before it, the
//     hours before the key's first request left out: seven days hold every day of a week.
//     A key must have been in use for a day, or nothing can be said;
//   - and more than VolumePeak times the busiest of those hours: a job that runs once a
//     night is far above the mean each time. It also keeps a volume that was told of from
//     being told of every day that it lasts.
//
// A key that was idle for seven days has a mean of 0, so VolumeMinimum alone counts.
//
// The counts are in DynamoDB, and reading eight days for each key of each batch would cost
// more than counting it. So they are read when this process alone has seen VolumeLook
// requests of the hour, at most once in VolumePause, and for every key that was used
// lately by the hourly [Watcher.Sweep], which so finds what was spread over processes or
// came between two looks.
const (
	VolumeMinimum = 600
	VolumeFactor  = 10
	VolumePeak    = 2

	VolumeLook  = VolumeMinimum / 10
	VolumePause = time.Minute
)

const (
	baselineHours = 7 * 24
	leastHours    = 24
)

type keyHour struct {
	key  apikey.ID
	hour time.Time
}

// volume is what a process knows of a key's hour.
type volume struct {
	seen   int // requests in batches that this process had; more than there were if one came twice
	looked time.Time
}

// weigh looks at the hours of a batch that may be unusual.
func (w *Watcher) weigh(ctx context.Context, f *usage.Facts) error {
	batch := map[keyHour]int{}
	last := map[keyHour]*usage.Request{}
	for i := range f.Requests {
		at := keyHour{f.Requests[i].KeyID, hourOf(f.Requests[i].Time)}
		batch[at]++
		last[at] = &f.Requests[i]
	}
	for _, at := range w.due(batch) {
		r := last[at]
		k := keys.Key{ID: r.KeyID, AccountID: r.AccountID, Environment: r.Environment}
		if told := ofKey(&k, UnusualVolume, dayOf(at.hour), "", nil); w.knows(told.id()) {
			continue
		}
		if _, err := w.weighHours(ctx, &k, f.Before[at.key].First, at.hour); err != nil {
			return err
		}
		w.looked(at)
	}
	return nil
}

// due are those hours of a batch whose counts are worth reading now, in a fixed order.
func (w *Watcher) due(batch map[keyHour]int) []keyHour {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now()
	if len(w.volumes)+len(batch) > maxKnown {
		clear(w.volumes)
	}
	var due []keyHour
	for at, n := range batch {
		v := w.volumes[at]
		v.seen += n
		w.volumes[at] = v
		if v.seen >= VolumeLook && now.Sub(v.looked) >= VolumePause {
			due = append(due, at)
		}
	}
	order.By(due, func(a, b keyHour) int { return cmp.Or(a.hour.Compare(b.hour), cmp.Compare(a.key, b.key)) })
	return due
}

func (w *Watcher) looked(at keyHour) {
	w.mu.Lock()
	defer w.mu.Unlock()
	v := w.volumes[at]
	v.looked = w.now()
	w.volumes[at] = v
}

// weighHours reads the counts that hours of a key are compared by, and raises what is
// unusual. The hours are in order, and of one day or two.
func (w *Watcher) weighHours(ctx context.Context, k *keys.Key, first time.Time, hours ...time.Time) (raised int, err error) {
	if first.IsZero() || hours[len(hours)-1].Sub(hourOf(first)) < leastHours*time.Hour {
		return 0, nil
	}
	counts, err := w.cfg.Usage.Days(ctx, k.AccountID, []apikey.ID{k.ID},
		usage.DayOf(hours[0].Add(-baselineHours*time.Hour)), usage.DayOf(hours[len(hours)-1]))
	if err != nil {
		return 0, fmt.Errorf("reading the counts of key %s: %w", k.ID, err)
	}
	for _, hour := range hours {
		if a, ok := unusual(k, counts, first, hour); ok {
			yes, err := w.raise(ctx, a)
			if err != nil {
				return raised, err
			}
			if yes {
				raised++
			}
		}
	}
	return raised, nil
}

// unusual judges one hour of a key that was first used at first.
func unusual(k *keys.Key, counts []usage.Count, first, hour time.Time) (a Alert, ok bool) {
	inUse := min(baselineHours, int64(hour.Sub(hourOf(first))/time.Hour))
	if inUse < leastHours {
		return Alert{}, false
	}
	var requests, sum, busiest int64
	for i := range counts {
		for h := range counts[i].Hours {
			n := counts[i].Hours[h].Requests
			switch ago := int64(hour.Sub(counts[i].Day.Start().Add(time.Duration(h)*time.Hour)) / time.Hour); {
			case ago == 0:
				requests += n
			case ago > 0 && ago <= inUse:
				sum += n
				busiest = max(busiest, n)
			}
		}
	}
	if requests < VolumeMinimum || requests*inUse < VolumeFactor*sum || requests <= VolumePeak*busiest {
		return Alert{}, false
	}
	mean := strconv.FormatFloat(float64(sum)/float64(inUse), 'f', 1, 64)
	return ofKey(k, UnusualVolume, dayOf(hour),
		fmt.Sprintf("had %d requests or more within an hour; the mean of the days before is %s.", requests, mean),
		map[string]string{"requests": strconv.FormatInt(requests, 10), "baseline": mean,
			"busiest": strconv.FormatInt(busiest, 10), "hour": shownTime(hour)}), true
}
