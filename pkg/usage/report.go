package usage

import (
	"fmt"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/route"
)

// ReportsConfig is what Reports work with. All fields are needed but Clock.
type ReportsConfig struct {
	Store Store
	Keys  *keys.Service
	Table *route.Table
	Clock func() time.Time // default time.Now
}

// Reports answers what was counted and logged, to those who may know it: a caller reads of
// the keys that it sees (package keys), deleted ones included, and needs
// keys.PermissionRead. A key that it does not see is keys.ErrNotFound, as an absent one.
// What is asked for wrongly is a *keys.ValidationError, which names fields as the HTTP face
// does. It is safe for concurrent use.
type Reports struct{ cfg ReportsConfig }

// NewReports returns Reports.
func NewReports(c ReportsConfig) *Reports {
	if c.Clock == nil {
		c.Clock = time.Now
	}
	return &Reports{c}
}

func (r *Reports) now() time.Time { return r.cfg.Clock().UTC().Truncate(time.Millisecond) }

// Granularity is the length of a bucket.
type Granularity string

// The granularities.
const (
	Hourly Granularity = "hour"
	Daily  Granularity = "day"
)

// Granularities lists them, the default first.
func Granularities() []Granularity { return []Granularity{Hourly, Daily} }

// Range is a span of time in buckets of UTC hours or days: From ≤ t < To.
//
// As a question it may leave everything out: Granularity is Hourly, To the end of the
// bucket that is now, From DefaultHours or DefaultDays before To. A From or To inside a
// bucket takes the whole bucket, and a To in the future is the end of the bucket that is
// now. Answers hold the range as it was read.
type Range struct {
	From, To    time.Time
	Granularity Granularity
}

// How much is read where a Range does not say.
const (
	DefaultHours = 36
	DefaultDays  = 30
)

// bounds are how many buckets one answer may have.
type bounds struct{ hours, days int }

var (
	// keyBounds: a month by hours, and by days as long as there are counts.
	keyBounds = bounds{hours: 31 * 24, days: int(CountRetention / day)}
	// accountBounds keep the answer for 10,000 keys, which is the largest plan's, below the
	// 6 MB that a Lambda function may answer with
	// (https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html), and its
	// reads, which are one item per key and day, within one request's time.
	accountBounds = bounds{hours: 48, days: 31}
)

const day = 24 * time.Hour

func (g Granularity) bucket() time.Duration {
	if g == Daily {
		return day
	}
	return time.Hour
}

// resolve fills in what was left out and checks the rest.
func (q Range) resolve(now time.Time, most bounds) (Range, error) {
	limit, standard := most.hours, DefaultHours
	switch q.Granularity {
	case "":
		q.Granularity = Hourly
	case Hourly:
	case Daily:
		limit, standard = most.days, DefaultDays
	default:
		return Range{}, invalid("granularity", "must be hour or day")
	}
	bucket := q.Granularity.bucket()
	end := now.Truncate(bucket).Add(bucket)
	if q.To.IsZero() || q.To.After(end) {
		q.To = end
	}
	q.To = ceil(q.To, bucket)
	if q.From.IsZero() {
		q.From = q.To.Add(-time.Duration(standard) * bucket)
	}
	q.From = q.From.UTC().Truncate(bucket)
	oldest := DayOf(now).Start().Add(day - CountRetention)
	switch {
	case q.From.Before(oldest):
		return Range{}, invalid("from", fmt.Sprintf("must be at most %d days ago: older counts are not kept", CountRetention/day-1))
	case !q.From.Before(q.To):
		return Range{}, invalid("from", "must be before to, and not in the future")
	case q.To.Sub(q.From) > time.Duration(limit)*bucket:
		return Range{}, invalid("from", fmt.Sprintf("must be at most %d %ss before to", limit, q.Granularity))
	}
	return q, nil
}

func ceil(t time.Time, bucket time.Duration) time.Time {
	start := t.UTC().Truncate(bucket)
	if start.Before(t) {
		start = start.Add(bucket)
	}
	return start
}

// Starts are the first moments of the buckets of an answer's range, in order.
func (q Range) Starts() []time.Time {
	bucket := q.Granularity.bucket()
	out := make([]time.Time, 0, q.To.Sub(q.From)/bucket)
	for t := q.From; t.Before(q.To); t = t.Add(bucket) {
		out = append(out, t)
	}
	return out
}

// days are the first and the last day that the range touches.
func (q Range) days() (from, to Day) { return DayOf(q.From), DayOf(q.To.Add(-1)) }

// index is the bucket of an hour of a day; ok is false where it is outside the range.
func (q Range) index(d Day, hour int) (i int, ok bool) {
	t := d.Start().Add(time.Duration(hour) * time.Hour)
	return int(t.Sub(q.From) / q.Granularity.bucket()), !t.Before(q.From) && t.Before(q.To)
}

// invalid is the error of one field. It never quotes the value.
func invalid(field, message string) error {
	return &keys.ValidationError{Fields: []keys.FieldError{{Field: field, Message: message}}}
}

func resourceOf(permission string) string {
	resource, _, _ := strings.Cut(permission, ":")
	return resource
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
