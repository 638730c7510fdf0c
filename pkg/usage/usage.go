// Package usage counts requests by the log lines that API Gateway, the authorizer and the
// guard's front leave (package logline): what the cache of policies hides from the
// authorizer, the access log still shows.
//
// The model: CloudWatch Logs delivers batches of lines, each at least once, in any order,
// and a function may end in the middle of one. [Counter.Process] makes of each batch
//
//	rows      one per request, by API Gateway's own id for it: the request log
//	counts    per key and day: requests by hour, status class, secret generation, permission
//	totals    per key, for the comparison with the guard's own counter
//	profiles  per key: when it, each of its permissions and each secret was last used, and
//	          from which networks
//
// and hands the batch's [Facts] on, which package alert watches.
//
// Promises, whatever is delivered twice, out of order, or after a crash in the middle:
//
//   - Each request is counted once. A line belongs to the batch that first put its row
//     ([Store.Record]), also when the same line comes back in another batch; all that a
//     batch counts is committed with a mark of the batch ([Store.Count]). Nothing is
//     counted before all rows are put, so what a batch counts is the same at each attempt.
//   - Profiles are joins of a semilattice ([Profile.Join]), so order and repetition do not
//     matter. They are saved last, after the facts were watched, so that a repeated batch
//     is still compared with what was known before it.
//   - A refused credential has no key in the access log. The authorizer's line has one, is
//     counted by itself, and lends the row its key; the access line lends it method, route
//     and source. Whichever comes second joins the two ([Store.Join]).
//   - Nothing of a header but the user agent, of a body or of a query is kept.
//
// Where things are: delivery.go names and reads a batch, plan.go decides what becomes of
// its lines, counter.go carries that out, profile.go joins; the other way round, report*.go
// and advice.go read what was counted.
//
// A session (package keys) is counted as the key that it is: its rows are in the request
// log of the account and its counts are its own. It is in no list of keys, though, so no
// report has a row for it, and neither the sums of an account nor the counts of its parent
// hold what it did. What is known of its use goes into its parent's profile, as of the
// person who holds that: when it was used, from where, and what permissions it needed. It
// has no profile and no totals of its own, which would outlast it for ever.
//
// The second witness is the guard: its meter counts what it let through. [Totals.Admitted]
// is what it must have counted by the logs, and the difference is shown as drift. Of a key
// whose requests are leased, the meter may lack up to 63 for each process that has ended
// (package guard); the logs are right then.
package usage

import (
	"cmp"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

// Request is a row of the request log.
type Request struct {
	ID          string // API Gateway's own (extendedRequestId); unique
	RequestID   string // what the client was told
	Time        time.Time
	KeyID       apikey.ID
	AccountID   string
	Environment keys.Environment // of the key
	Generation  int64            // of the secret that was presented; 0: refused by the authorizer
	Parent      apikey.ID        // of a session: the key that it was made with

	Method     string // this and what follows: empty where the access log's line has not come yet
	Route      string
	Permission string // that the route asks for; empty: any live key may
	Status     int
	Latency    time.Duration
	SourceIP   string
	UserAgent  string

	Refused string // why the authorizer or the guard refused it (logline.Event.Reason); empty: neither did
}

// Holder is the key by which the request was made in the end: of a session its parent.
func (r *Request) Holder() apikey.ID { return cmp.Or(r.Parent, r.KeyID) }

// Retention of what is kept, by TTL. The counts last longer than a year, so that a month
// can be compared with the same one of the year before.
const (
	RequestRetention = 30 * 24 * time.Hour
	CountRetention   = 400 * 24 * time.Hour
)

// Count is what one key did on one day (UTC).
type Count struct {
	AccountID   string
	KeyID       apikey.ID
	Day         Day
	Hours       [24]Hour
	Permissions map[string]int64 // requests by the permission that their route asks for
}

// Hour is what one key did in one hour.
type Hour struct {
	Requests    int64 // all of them, refused ones too
	Status      [6]int64
	Generations map[int64]int64 // by the secret that was presented; refusals of the authorizer are in none
}

// Status classes, indices of Hour.Status: 1 is 1xx … 5 is 5xx; 0 is not used.

// Day is a UTC day: days since 1970-01-01.
type Day int64

// DayOf is the day that t is in.
func DayOf(t time.Time) Day { return Day(floorDiv(t.Unix(), 24*60*60)) }

// Start is the first moment of the day.
func (d Day) Start() time.Time { return time.Unix(int64(d)*24*60*60, 0).UTC() }

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// Totals of a key since it was made.
type Totals struct {
	Requests int64
	// Admitted is how many of them the guard must have counted: they reached a function
	// behind it and it refused none of them.
	Admitted int64
}

// Facts are what a batch says, for whoever watches. They are the same at each attempt to
// process the batch, or more: a request that the authorizer refused gets its source at the
// later of its two lines.
type Facts struct {
	// Requests have a key, in order of time. One that the authorizer refused has Refused and
	// Status, and no Method, Route and SourceIP. One that the guard refused is there once for
	// each line that the batch has of it: by the access line with all but Refused, and by the
	// guard's with Refused and neither Status, Method, Route nor SourceIP; both have its ID.
	Requests []Request
	// Joined are requests refused by the authorizer, now with all that is known of them.
	Joined []Request
	// Unknown were refused by the authorizer with 401, by the access log; their key is not
	// known, or not yet.
	Unknown []Request
	// Unguarded are those of Requests that an unguarded route answered with success, in order
	// of time: nobody but API Gateway, by a policy that it may have kept, has looked at the key.
	Unguarded []Request
	// Near are keys that came near their limit.
	Near []Near
	// Before are the profiles of the batch's holders ([Request.Holder]) as they were before
	// it; a key that had none has no entry.
	Before map[apikey.ID]Profile
}

// Near is a key that came near its limit.
type Near struct {
	KeyID       apikey.ID
	Parent      apikey.ID // as Request.Parent
	AccountID   string
	Environment keys.Environment
	Time        time.Time
	Limit       int // requests in any 60 seconds
}
