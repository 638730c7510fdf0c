package keys

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
)

// AuditEvent is the trace of one change. It holds no secret and no digest.
type AuditEvent struct {
	ID          string // unique, sorts by time
	AccountID   string
	At          time.Time
	Actor       apikey.ID   // the caller's key, of a session its parent; empty: the admin function
	Session     apikey.ID   // the session that the actor called by; empty: by no session
	Action      string      // one of Actions
	KeyID       apikey.ID   // what was changed; of a session's making and end, its parent
	Environment Environment // of that key
	Before      map[string]string
	After       map[string]string
}

// Actions lists what an AuditEvent.Action can be, in alphabetical order.
func Actions() []string {
	return []string{
		"account.create", "key.activate", "key.create", "key.delete", "key.regenerate", "key.revoke",
		"key.revoke_descendants", "key.update", actionSessionCreate, actionSessionEnd,
	}
}

// AuditQuery selects and pages audit events. Zero fields do not filter.
type AuditQuery struct {
	KeyID  apikey.ID // events of which this key's trail consists
	Action string
	From   time.Time // at this time or later
	To     time.Time // before this time
	Limit  int       // 1–1000; 0: 100
	Cursor string    // AuditPage.Next of the page before, with the same query but Limit
}

// AuditPage is one page of audit events.
type AuditPage struct {
	Events []AuditEvent // newest first
	Next   string       // empty: this was the last
}

const (
	defaultAuditPage = 100
	// auditLook bounds the events that are read for one page of a filtered list: some 1 MB.
	// A page that comes to it is shorter than it could be, and has a Next all the same.
	auditLook = 2000
)

// AuditEvents lists the account's events, newest first: those of keys in the environments
// that the caller sees. With KeyID it is that key's trail, every event that changed the key,
// also as one of several; then before and after are those of this key. Deleted keys have
// their trail until retention ends. ErrNotFound for a key that the caller does not see. An
// event of the list of all is of the environment of the key that it names, however many
// others it changed.
//
// Paging goes by the place of the last event, so none is listed twice.
func (s *Service) AuditEvents(ctx context.Context, c Caller, q AuditQuery) (AuditPage, error) {
	if err := c.liveAt(s.now()); err != nil {
		return AuditPage{}, err
	}
	if err := c.may(permissionRead); err != nil {
		return AuditPage{}, err
	}
	if err := q.validate(); err != nil {
		return AuditPage{}, err
	}
	place, err := s.OpenCursor(ctx, c, q.scope(), q.Cursor)
	if err != nil {
		return AuditPage{}, err
	}
	if q.KeyID != "" {
		if _, err := s.target(ctx, &c, Ref{ID: q.KeyID}); err != nil {
			return AuditPage{}, err
		}
	}
	limit := q.Limit
	if limit == 0 {
		limit = defaultAuditPage
	}
	var page AuditPage
	r := AuditRange{AccountID: c.AccountID, KeyID: q.KeyID, From: auditPlace(q.From), Before: auditPlace(q.To)}
	if place != nil {
		r.Before = string(place) // which is before To already
	}
	for looked := 0; looked < auditLook; {
		// One more than there is room for tells whether there is a next page.
		if r.Limit = limit - len(page.Events) + 1; q.Action != "" || c.Environment != Production {
			r.Limit = max(r.Limit, auditLook/8) // few of them may be for this page
		}
		events, err := s.cfg.Store.AuditEvents(ctx, r)
		if err != nil {
			return AuditPage{}, err
		}
		for i := range events {
			e := &events[i]
			if !c.seesEvent(e) || q.Action != "" && e.Action != q.Action {
				continue
			}
			if len(page.Events) == limit {
				page.Next, err = s.SealCursor(ctx, c, q.scope(), []byte(page.Events[limit-1].ID))
				return page, err
			}
			page.Events = append(page.Events, *e)
		}
		if len(events) < r.Limit {
			return page, nil
		}
		looked += len(events)
		r.Before = events[len(events)-1].ID
	}
	page.Next, err = s.SealCursor(ctx, c, q.scope(), []byte(r.Before))
	return page, err
}

// seesEvent reports whether an event is of an environment that the caller sees.
func (c *Caller) seesEvent(e *AuditEvent) bool {
	return e.AccountID == c.AccountID && c.Sees(e.Environment)
}

func (q *AuditQuery) validate() error {
	var f faults
	if q.Action != "" && !slices.Contains(Actions(), q.Action) {
		f.add("action", "must be one of "+strings.Join(Actions(), ", "))
	}
	if !q.From.IsZero() && !q.To.IsZero() && !q.From.Before(q.To) {
		f.add("to", "must be after from")
	}
	if q.Limit < 0 || q.Limit > maxPage {
		f.add("limit", fmt.Sprintf("must be 1 to %d", maxPage))
	}
	return f.err()
}

func (q *AuditQuery) scope() Scope {
	return Scope{"audit", []string{string(q.KeyID), q.Action, auditTime(q.From), auditTime(q.To)}}
}

// auditID is the id of an event: by time, within a millisecond by n, and unique.
func auditID(at time.Time, n uint32) string {
	return fmt.Sprintf("%s%08x%s", auditPlace(at), n, apikey.NewID())
}

// auditPlace is before the ids of all events at t or later, and after those of any earlier
// one; empty for the zero time.
func auditPlace(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return fmt.Sprintf("%012x", max(0, t.Add(time.Millisecond-1).UnixMilli()))
}
