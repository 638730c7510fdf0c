package limit

import "time"

// Slot is the length of one slot, Slots how many count: the current one, 24 whole ones
// and one for clock skew and write delay, which together must stay under one slot.
const (
	Slot  = 2500 * time.Millisecond
	Slots = 26
	Span  = 60 * time.Second
)

// Window is the stored state of one key's limit.
type Window struct {
	Slot  int64        // number of the newest slot seen: Unix time divided by Slot
	Used  int64        // requests in Slot
	Total int64        // requests in Slot and in the 25 before it
	Past  [Slots]int64 // requests of older slots, slot n at n mod Slots; the entry of Slot itself is 0
}
