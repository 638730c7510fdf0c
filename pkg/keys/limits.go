package keys

import (
	"fmt"
	"strconv"
	"strings"
)

// The windows that a key's requests are limited in, by the names that people see.
const (
	WindowMinute = "minute" // RateLimit, in any 60 seconds; every key has that one
	WindowHour   = "hour"   // Limits.Hour
	WindowDay    = "day"    // Limits.Day
	WindowMonth  = "month"  // Quota
)

// Limits are a key's limits beside that of the minute; 0: none. Each only restricts
// further what RateLimit lets pass, so no plan bounds them, and whoever may change a key
// may lift them again.
type Limits struct {
	Hour int // requests in any 3,600 seconds
	Day  int // requests in any 86,400 seconds
}

// Quota is how many requests a key may make in a calendar month, which begins on RefillDay
// at 00:00 UTC. The zero Quota is none. It too only restricts further.
type Quota struct {
	Requests  int // 1 or more
	RefillDay int // 1 to 28
}

// MaxLimit is the most that a limit of an hour, a day or a month can be.
const MaxLimit = 1_000_000_000

// MaxRefillDay is the last day that every month has.
const MaxRefillDay = 28

// Valid reports whether these are limits that a key can have.
func (l Limits) Valid() bool {
	return l.Hour >= 0 && l.Hour <= MaxLimit && l.Day >= 0 && l.Day <= MaxLimit
}

// Valid reports whether this is a quota that a key can have, or none.
func (q Quota) Valid() bool {
	return q == Quota{} || q.Requests >= 1 && q.Requests <= MaxLimit && q.RefillDay >= 1 && q.RefillDay <= MaxRefillDay
}

// String is the one text of the limits, which audit events and the authorizer's context
// show: "hour=1000 day=5000"; empty: none.
func (l Limits) String() string {
	var parts []string
	for _, p := range []struct {
		name string
		most int
	}{{WindowHour, l.Hour}, {WindowDay, l.Day}} {
		if p.most > 0 {
			parts = append(parts, p.name+"="+strconv.Itoa(p.most))
		}
	}
	return strings.Join(parts, " ")
}

// String is the one text of the quota: "10000@1", requests and refill day; empty: none.
func (q Quota) String() string {
	if q == (Quota{}) {
		return ""
	}
	return strconv.Itoa(q.Requests) + "@" + strconv.Itoa(q.RefillDay)
}

// NamedLimit is one of the limits that a request asks for.
type NamedLimit struct {
	Window   string // WindowHour or WindowDay
	Requests int
}

// limits gives a key's limits as a request names them, at most one for each window.
func (f *faults) limits(list []NamedLimit) (l Limits) {
	for i, named := range list {
		at := fmt.Sprintf("limits[%d]", i)
		var most *int
		switch named.Window {
		case WindowHour:
			most = &l.Hour
		case WindowDay:
			most = &l.Day
		default:
			f.add(at+".window", "must be hour or day; the limit of the minute is rateLimit, that of the month quota")
			continue
		}
		switch {
		case *most != 0:
			f.add(at+".window", "must not be given twice")
		case named.Requests < 1 || named.Requests > MaxLimit:
			f.add(at+".requests", mostRequests)
		}
		*most = max(named.Requests, 1)
	}
	return l
}

// quota gives a key's quota as a request names it; nil: none.
func (f *faults) quota(q *Quota) Quota {
	if q == nil {
		return Quota{}
	}
	if q.Requests < 1 || q.Requests > MaxLimit {
		f.add("quota.requests", mostRequests)
	}
	if q.RefillDay < 1 || q.RefillDay > MaxRefillDay {
		f.add("quota.refillDay", fmt.Sprintf("must be 1 to %d", MaxRefillDay))
	}
	return *q
}

var mostRequests = fmt.Sprintf("must be 1 to %d", MaxLimit)
