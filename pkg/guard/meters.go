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

// Meter is what the meters table holds of one key: its state, and the count of its
// requests.
type Meter struct {
	State
	Window   limit.Window
	Requests int64     // in all
	LastUsed time.Time // of the last request that was let through; millisecond precision
}

// Hit asks to count one request in the slot that the meter is at.
type Hit struct {
	If    State     // condition: the meter's state is exactly this
	Then  State     // is written with the count; differs from If only when the key was read just now and the meter lags behind it
	Slot  int64     // condition: Window.Slot is this
	Limit int64     // condition: Window.Total < Limit
	At    time.Time // becomes LastUsed
}

// Roll asks to move the meter on to a later slot and to count one request there.
// Window.Roll plans the write from From alone; Used and Total are the stored ones, since
// requests may have been counted since From was read:
//
//	Past[plan.Clear…] = 0
//	Past[plan.Moved]  = Used            unless Whole
//	Total             = Total + 1 - plan.Expired, or 1 if Whole
//	Used              = 1
//	Slot              = To
type Roll struct {
	If   State // as in Hit; not looked at if Missing
	Then State
	From limit.Window // condition: Window.Slot is From.Slot; Slot and Past are used, Used and Total are not
	To   int64        // the new slot, > From.Slot
	// Limit is the condition that what is left of Window.Total after the roll is
	// below it: Total < Limit + plan.Expired, or 0 < Limit if Whole.
	Limit int64
	// Missing asks for a new meter instead: the condition is that there is none (and 0 <
	// Limit), and From is the zero Window.
	Missing bool
	At      time.Time // becomes LastUsed
}

// Meters is the guard's store. Each call is one conditional write that is applied whole
// or not at all, serialisably with every other write to the meter, and is never repeated
// after an attempt that may have been applied. Both add 1 to Used, Total and Requests,
// set State and LastUsed, and return the meter as it is after that very write. A failed
// condition is *Refused, with the meter as the condition found it; every other error
// means that the outcome is unknown. They return soon after ctx is done.
//
// Package guardtest has a memory implementation and the suite that every one passes.
type Meters interface {
	Hit(ctx context.Context, id apikey.ID, h Hit) (Meter, error)
	Roll(ctx context.Context, id apikey.ID, r Roll) (Meter, error)
}

// Refused is the error of a failed condition.
type Refused struct {
	Found bool // there is a meter
	Meter Meter
}

func (*Refused) Error() string { return "the meter refused the request" }
