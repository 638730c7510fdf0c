package guard

import (
	"context"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/limit"
)

// State is what the meter of a key says of its verdict, taken from the key item.
type State struct {
	Verdict int64 // keys.Key.Verdict that Active was taken from
	Active  bool
}

// Meter is what the meters table holds of one key: its state, and the counts of its
// requests.
type Meter struct {
	State
	Window   limit.Window // of the minute
	Longer   *Longer      // nil: it has counted for no longer limit. It is shared: not to be written to
	Requests int64        // in all
	LastUsed time.Time    // of the last request that was let through; millisecond precision
}

// Longer is what a meter counts for limits beyond the minute. A zero one has counted
// nothing, and one whose limit was taken away stays as it was.
type Longer struct {
	Hour, Day limit.Window
	Month     limit.Month
}

// longer is that of m, or a zero one.
func (m *Meter) longer() *Longer {
	if m.Longer != nil {
		return m.Longer
	}
	return &none
}

var none Longer

// Write asks to count requests in all windows of a key that have a limit, or in none.
type Write struct {
	If   State // condition: the meter's state is exactly this; not looked at if Missing
	Then State // is written with the count; differs from If only when the key was read just now and the meter lags behind it
	// Missing asks for a new meter instead: the condition is that there is none, and every
	// From is zero.
	Missing bool

	Minute    Count
	Hour, Day Count      // without a limit: the key has none, and the window is left alone
	Month     MonthCount // so too

	N      int64     // how many requests the windows count; 1 or more
	Passed int64     // how many are added to Requests: this one, and those of earlier leases that are not on the meter yet
	At     time.Time // becomes LastUsed
}

// Count is the part of one window in a Write: N more requests in slot To. It is planned
// from From alone; Used and Total are the stored ones, since requests may have been
// counted since From was read. In From's own slot:
//
//	Used  = Used + N
//	Total = Total + N
//
// and in a later one, by limit.Window.Roll:
//
//	Past[plan.Clear…] = 0
//	Past[plan.Moved]  = Used            unless Whole
//	Total             = Total + N - plan.Expired, or N if Whole
//	Used              = N
//	Slot              = To
type Count struct {
	From limit.Window // condition: the window's Slot is From.Slot. Slot and Past are used, Used and Total are not
	To   int64        // From.Slot or later
	// Limit is the condition that no more than it are counted after the write: Total as it
	// becomes is at most Limit. Of the minute it is always a limit, and 0 lets nothing pass.
	Limit int64
}

// MonthCount is the part of the quota in a Write: N more requests in period To.
type MonthCount struct {
	From  int64 // condition: Month.Began is this
	To    int64 // From or later; in a later one, Used starts from 0
	Limit int64 // condition: Used as it becomes is at most this; 0: the key has no quota
}

// Rolls reports whether the write moves a window on, or makes a meter.
func (w *Write) Rolls() bool {
	return w.Missing || w.Minute.rolls() || w.Hour.rolls() || w.Day.rolls() || w.Month.To > w.Month.From
}

func (c *Count) rolls() bool { return c.To > c.From.Slot }

// Possible reports whether the limits let N requests pass at all. A store that cannot say
// otherwise that what a window becomes is too much, because the window is made anew,
// refuses what is not.
func (w *Write) Possible() bool {
	return w.Minute.Limit >= w.N && (w.Hour.Limit == 0 || w.Hour.Limit >= w.N) &&
		(w.Day.Limit == 0 || w.Day.Limit >= w.N) && (w.Month.Limit == 0 || w.Month.Limit >= w.N)
}

// Meters is the guard's store. Count is one conditional write that is applied whole or
// not at all, serialisably with every other write to the meter, and is never repeated
// after an attempt that may have been applied. It adds Passed to Requests, sets State and
// LastUsed, and returns the meter as it is after that very write. A failed condition is
// *Refused, with the meter as the condition found it, and changes nothing of it: neither
// the windows that had room nor those whose slot was over. Every other error means that the
// outcome is unknown. Both return soon after ctx is done.
//
// State reads what the meter says now, strongly consistently: every write that was answered
// before it began is in what it finds. found is false if there is no meter.
//
// Package guardtest has a memory implementation and the suite that every one passes.
type Meters interface {
	Count(ctx context.Context, id apikey.ID, w Write) (Meter, error)
	State(ctx context.Context, id apikey.ID) (s State, found bool, err error)
}

// Refused is the error of a failed condition.
type Refused struct {
	Found bool // there is a meter
	Meter Meter
}

func (*Refused) Error() string { return "the meter refused the request" }
