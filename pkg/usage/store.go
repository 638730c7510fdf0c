package usage

import (
	"context"
	"errors"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

// Batch names one delivery of log lines by what is in it: a repeated delivery has the same
// name, any other has another.
type Batch string

// Half is which of its two lines a request's row was put by.
type Half string

// The halves.
const (
	AccessHalf  Half = "access"
	RefusalHalf Half = "refusal"
)

// Row is one half of a request's row.
type Row struct {
	Half    Half
	Request Request // of a RefusalHalf: ID, RequestID, Time, KeyID, AccountID, Environment, Refused, and Status where the authorizer refused
}

// Store keeps what a Counter makes. It is safe for concurrent use, by several processes
// too. Errors are keys.ErrUnavailable, wrapped, but where it says otherwise; after one, the
// same call may be repeated. Package usagetest has a memory implementation and the suite
// that every one passes.
type Store interface {
	// Record puts the halves of rows, each unless it is there already. mine[i] reports
	// whether rows[i] belongs to batch: that call or an earlier one for the same batch put
	// it. The two halves of a request make one row, in any order.
	Record(ctx context.Context, batch Batch, rows []Row) (mine []bool, err error)

	// Count adds counts (at most one per key and day) and the totals to what is there, once
	// per batch: a call with a batch that was counted does nothing. It must always be called
	// with the same arguments for the same batch; after an error some keys may have been
	// counted and others not, and the next call counts those.
	Count(ctx context.Context, batch Batch, counts []Count, totals map[apikey.ID]Totals) error

	// Join leaves one of the two lines of a request that the authorizer refused, which find
	// each other by the request's ID, and returns what both know once both have come: at
	// least one of two calls at once finds the other, and a call that is repeated finds it
	// again. From the access line come Method, Route, Permission, Status, Latency, SourceIP
	// and UserAgent; from the refusal the rest. It waits for a day.
	Join(ctx context.Context, half Half, r Request) (joined Request, both bool, err error)
	// Complete fills in Method, Route, Permission, Status, Latency, SourceIP and UserAgent
	// of a row. It may be repeated; a row that is not there (any more) stays absent.
	Complete(ctx context.Context, r Request) error

	// Profiles reads the profiles of keys, strongly consistent; a key without one has no
	// entry.
	Profiles(ctx context.Context, ids []apikey.ID) (map[apikey.ID]Profile, error)
	// SaveProfile puts a profile if the stored one is still of p.Version, and makes it
	// p.Version+1; else ErrStale.
	SaveProfile(ctx context.Context, p Profile) error

	// Totals reads the totals of keys; a key without any has no entry.
	Totals(ctx context.Context, ids []apikey.ID) (map[apikey.ID]Totals, error)
	// Days reads the counts of these keys from one day to another, both included, oldest day
	// first; days without a request are left out. No key may be named twice.
	Days(ctx context.Context, accountID string, ids []apikey.ID, from, to Day) ([]Count, error)
	// AccountDays reads the counts of every key of an account in the same way, in no order;
	// of Hours only Requests is filled in, and no Permissions.
	AccountDays(ctx context.Context, accountID string, from, to Day) ([]Count, error)
	// Requests reads a page of the request log, newest first.
	Requests(ctx context.Context, q Query) (Page, error)
}

// ErrStale is SaveProfile's: another one was first.
var ErrStale = errors.New("the profile has changed")

// Query selects rows of an account's request log. Zero fields do not filter.
type Query struct {
	AccountID    string // needed
	KeyID        apikey.ID
	Environments []keys.Environment // any of them
	Status       int                // one status
	Class        int                // 1–5: statuses of that hundred
	Route        string
	Method       string
	Refused      bool      // only those that the authorizer or the guard refused
	From, To     time.Time // From ≤ Time < To; both are needed
	Limit        int       // rows on the page, 1–1000
	After        *Place    // where the page before ended
}

// Page is a page of the request log.
type Page struct {
	Requests []Request
	// Next is where the next page begins; nil: this was the last. A page may hold fewer rows
	// than Limit, or none, and still have a next one: a store reads only so much at a time.
	Next *Place
}

// Place is a place in the order of a request log: by time, newest first, and where times
// are the same by id, greatest first. It need not be that of a row.
type Place struct {
	Time time.Time // millisecond precision
	ID   string
}
