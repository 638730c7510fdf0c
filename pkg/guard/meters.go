package guard

import (
	"context"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/limit"
)

// Meter is what the meters table holds of one key: what a verdict depends on, and the
// count of its requests.
type Meter struct {
	Verdict  int64 // keys.Key.Verdict that Active was taken from
	Active   bool
	Window   limit.Window
	Requests int64     // in all
	LastUsed time.Time // of the last request that was let through
}

// Hit asks to count one request in a slot that the meter is already at.
type Hit struct {
	Verdict int64 // condition: the meter is at this verdict, and active
	Slot    int64 // condition: Window.Slot is this
	Limit   int64 // condition: Window.Total < Limit
	At      time.Time
}

// Roll asks to move the meter on to a later slot and to count one request there.
type Roll struct {
	Verdict int64        // condition: the meter is at this verdict, and active
	From    limit.Window // condition: Window.Slot is From.Slot; older slots' counts are taken from here
	To      int64        // the new slot, > From.Slot
	Limit   int64        // condition: what is left of Window.Total after the roll < Limit
	At      time.Time
}

// Meters is the guard's store. Hit and Roll are one conditional write each, with no
// retry after an attempt that may have been applied. Both add 1 to Used, Total and
// Requests, set LastUsed, and return the meter as it is then. A failed condition is
// *Refused with the meter as found.
type Meters interface {
	Hit(ctx context.Context, id apikey.ID, h Hit) (Meter, error)
	Roll(ctx context.Context, id apikey.ID, r Roll) (Meter, error)
	// Settle writes (verdict, active), read off the key itself, to the meter, unless
	// the meter holds a newer verdict; it makes a missing meter.
	Settle(ctx context.Context, id apikey.ID, verdict int64, active bool) error
}

// Refused is the error of a failed condition.
type Refused struct {
	Found bool // there is a meter
	Meter Meter
}

func (*Refused) Error() string { return "the meter refused the request" }
