package usage

import (
	"context"
	"encoding/binary"
	"fmt"
	"strconv"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

// LogQuery selects rows of the request log. Zero fields do not filter.
type LogQuery struct {
	KeyID       apikey.ID
	Environment keys.Environment
	Status      int // one status, 100–599
	Class       int // 1–5: statuses of that hundred
	Route       string
	Method      string
	Refused     bool      // only those that the authorizer or the guard refused
	From, To    time.Time // From ≤ Time < To; From at most logReach ago
	Limit       int       // 1–1000; 0: 100
	Cursor      string    // Log.Next of the page before, with the same query but Limit
}

// Log is a page of the request log, newest first.
type Log struct {
	Requests []Request
	Next     string // empty: this was the last page; it may be there although there are few rows, or none
}

const (
	standardPage = 100
	maxPage      = 1000
	// logReach is how far back a query may begin: a day more than rows are kept, so that a
	// query that began at the oldest row can be paged to its end.
	logReach = RequestRetention + day
	// ahead is how far API Gateway's clock may be ahead of ours, so that the newest rows are
	// not left out.
	ahead = time.Minute
	// maxReads bounds the pages of the store that one page is made of, where a filter lets
	// little through.
	maxReads = 8
)

// Requests reads a page of the request log: of one key, or of all that the caller sees.
func (r *Reports) Requests(ctx context.Context, c keys.Caller, q LogQuery) (Log, error) {
	now := r.now()
	if err := c.Live(now); err != nil {
		return Log{}, err
	}
	if err := c.May(keys.PermissionRead); err != nil {
		return Log{}, err
	}
	if q.KeyID != "" {
		if _, err := r.cfg.Keys.Find(ctx, c, keys.Ref{ID: q.KeyID}); err != nil {
			return Log{}, err
		}
	}
	if err := q.validate(now); err != nil {
		return Log{}, err
	}
	sq, ok := q.store(&c, now)
	if !ok {
		return Log{}, nil
	}
	place, err := r.cfg.Keys.OpenCursor(ctx, c, q.scope(), q.Cursor)
	if err != nil {
		return Log{}, err
	}
	sq.After = openPlace(place)

	var log Log
	for range maxReads {
		page, err := r.cfg.Store.Requests(ctx, sq)
		if err != nil {
			return Log{}, err
		}
		log.Requests = append(log.Requests, page.Requests...)
		sq.Limit -= len(page.Requests)
		if sq.After = page.Next; sq.After == nil || sq.Limit <= 0 {
			break
		}
	}
	if sq.After != nil {
		log.Next, err = r.cfg.Keys.SealCursor(ctx, c, q.scope(), sq.After.bytes())
	}
	return log, err
}

func (q *LogQuery) validate(now time.Time) error {
	var f []keys.FieldError
	if q.Environment != "" && !q.Environment.Valid() {
		f = append(f, keys.FieldError{Field: "environment", Message: "must be production, staging or development"})
	}
	if q.Status != 0 && (q.Status < 100 || q.Status > 599) || q.Class != 0 && (q.Class < 1 || q.Class > 5) || q.Status != 0 && q.Class != 0 {
		f = append(f, keys.FieldError{Field: "status", Message: "must be 100 to 599, or 1xx to 5xx"})
	}
	if q.Limit < 0 || q.Limit > maxPage {
		f = append(f, keys.FieldError{Field: "limit", Message: fmt.Sprintf("must be 1 to %d", maxPage)})
	}
	switch {
	case !q.From.IsZero() && q.From.Before(now.Add(-logReach)):
		f = append(f, keys.FieldError{Field: "from", Message: fmt.Sprintf("must be at most %d days ago: requests are kept for %d days", logReach/day, RequestRetention/day)})
	case !q.From.IsZero() && !q.To.IsZero() && !q.From.Before(q.To):
		f = append(f, keys.FieldError{Field: "from", Message: "must be before to"})
	}
	if f != nil {
		return &keys.ValidationError{Fields: f}
	}
	return nil
}

// store is q as the store takes it; ok is false if it can find nothing.
func (q *LogQuery) store(c *keys.Caller, now time.Time) (sq Query, ok bool) {
	sq = Query{
		AccountID: c.AccountID, KeyID: q.KeyID, Environments: c.Environments(),
		Status: q.Status, Class: q.Class, Route: q.Route, Method: q.Method, Refused: q.Refused,
		From: q.From, To: q.To, Limit: q.Limit,
	}
	if q.Environment != "" {
		sq.Environments = nil
		if c.Sees(q.Environment) {
			sq.Environments = []keys.Environment{q.Environment}
		}
	}
	if sq.From.IsZero() {
		sq.From = now.Add(-logReach)
	}
	if sq.To.IsZero() || sq.To.After(now.Add(ahead)) {
		sq.To = now.Add(ahead)
	}
	if sq.Limit == 0 {
		sq.Limit = standardPage
	}
	// To the store, no environment would mean every one.
	return sq, len(sq.Environments) > 0 && sq.From.Before(sq.To)
}

// scope is the list that q's cursors are of: what was asked, not what now made of it.
func (q *LogQuery) scope() keys.Scope {
	millis := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return strconv.FormatInt(t.UnixMilli(), 10)
	}
	return keys.Scope{List: "requests", Filters: []string{
		string(q.KeyID), string(q.Environment), strconv.Itoa(q.Status), strconv.Itoa(q.Class), q.Route, q.Method,
		strconv.FormatBool(q.Refused), millis(q.From), millis(q.To),
	}}
}

// bytes is a place as its cursor holds it: time in milliseconds (8) ‖ id.
func (p *Place) bytes() []byte {
	return append(binary.BigEndian.AppendUint64(nil, uint64(p.Time.UnixMilli())), p.ID...)
}

func openPlace(b []byte) *Place {
	if b == nil {
		return nil
	}
	return &Place{Time: time.UnixMilli(int64(binary.BigEndian.Uint64(b))).UTC(), ID: string(b[8:])}
}
