package limit

import "time"

// Scale is the span that a limit holds for, and with it the length of a slot. The
// arithmetic is the same for all of them; a stored Window does not know its own, so
// whoever keeps several keeps them apart.
type Scale int

// The scales. A slot of each begins where one of the smaller scales does too, so a window
// of a day that rolls never rolls alone.
const (
	Minute Scale = iota // any 60 seconds, in slots of 2.5 s
	Hour                // any 3,600 seconds, in slots of 150 s
	Day                 // any 86,400 seconds, in slots of an hour

	Scales = 3 // how many there are
)

// Slots is how many slots of a window count: the current one, 24 whole ones and one for
// clock skew and write delay, which together must stay under one slot.
const Slots = 26

// whole is how many slots a span is.
const whole = 24

// Slot and Span are the minute's, whose slot is the least that the clocks and the delays
// of a service must keep to.
const (
	Slot = 2500 * time.Millisecond
	Span = whole * Slot
)

var slotMillis = [Scales]int64{Minute: 2_500, Hour: 150_000, Day: 3_600_000}

// Slot is the length of one slot; it is a whole number of milliseconds.
func (s Scale) Slot() time.Duration { return time.Duration(slotMillis[s]) * time.Millisecond }

// Span is what the limit holds for.
func (s Scale) Span() time.Duration { return whole * s.Slot() }

// String is the name that people see: minute, hour, day.
func (s Scale) String() string { return [Scales]string{"minute", "hour", "day"}[s] }

// SlotOf returns the number of the slot that t is in.
func (s Scale) SlotOf(t time.Time) int64 { return floorDiv(t.UnixMilli(), slotMillis[s]) }

// Start returns the edge at which a slot begins.
func (s Scale) Start(slot int64) time.Time { return time.UnixMilli(slot * slotMillis[s]).UTC() }
