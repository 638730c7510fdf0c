package logline

import (
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
)

// Event is what the authorizer or the guard's front knows of a request and the access log
// does not. It holds the key's public id and the reason, and nothing else of a credential.
type Event struct {
	What              What
	By                By
	RequestID         string
	ExtendedRequestID string    // empty: the event had none, and RequestID has to do
	Time              time.Time // when API Gateway took the request in (requestTimeEpoch)
	KeyID             apikey.ID // empty: what was presented had not the form of a key
	Reason            string    // of a refusal: a keys.Reason, or one of those below
	Limit             int       // of NearLimit: requests in any 60 seconds
}

// What has happened; the log's "msg", by which a subscription filter tells these lines
// from all others.
type What string

// The events.
const (
	Refused   What = "refused"
	NearLimit What = "near limit" // a request made its key's window 80 % full, the first one in this window that this process saw
)

// By is who refused. An authorizer's refusal has no key in the access log, a guard's has.
type By string

// The writers.
const (
	ByAuthorizer By = "authorizer"
	ByGuard      By = "guard"
)

// Reasons of the guard beside those of package keys.
const (
	ReasonPermission  = "missing_permission"
	ReasonCustomer    = "other_customer"
	ReasonNetwork     = "other_network"
	ReasonManagement  = "management_only" // a session on another route than the management API's
	ReasonLimit       = "rate_limited"
	ReasonContext     = "missing_context"
	ReasonUnavailable = "unavailable"    // a store did not answer, or the front itself failed
	ReasonFunction    = "other_function" // the route is not this function's
)

// Log writes e with level INFO, or ERROR where nothing could be concluded. more is for
// people; no reader of lines looks at it.
func (e Event) Log(ctx context.Context, log *slog.Logger, more ...slog.Attr) {
	level := slog.LevelInfo
	if e.Reason == ReasonUnavailable || e.Reason == ReasonContext {
		level = slog.LevelError
	}
	attrs := append(make([]slog.Attr, 0, 8+len(more)),
		slog.String("by", string(e.By)), slog.String("requestId", e.RequestID), slog.String("extendedRequestId", e.ExtendedRequestID),
		slog.Int64("requestTimeEpoch", e.Time.UnixMilli()))
	if e.KeyID != "" {
		attrs = append(attrs, slog.String("keyId", string(e.KeyID)))
	}
	if e.Reason != "" {
		attrs = append(attrs, slog.String("reason", e.Reason))
	}
	if e.Limit > 0 {
		attrs = append(attrs, slog.Int("limit", e.Limit))
	}
	log.LogAttrs(ctx, level, string(e.What), append(attrs, more...)...)
}

// ParseEvent reads a line that Log wrote; ok is false for every other.
func ParseEvent(line string) (e Event, ok bool) {
	var l struct {
		Msg               string `json:"msg"`
		By                string `json:"by"`
		RequestID         string `json:"requestId"`
		ExtendedRequestID string `json:"extendedRequestId"`
		RequestTimeEpoch  int64  `json:"requestTimeEpoch"`
		KeyID             string `json:"keyId"`
		Reason            string `json:"reason"`
		Limit             int    `json:"limit"`
	}
	if json.Unmarshal([]byte(line), &l) != nil {
		return Event{}, false
	}
	e = Event{
		What: What(l.Msg), By: By(l.By), RequestID: l.RequestID, ExtendedRequestID: l.ExtendedRequestID,
		Time: time.UnixMilli(l.RequestTimeEpoch).UTC(), Reason: l.Reason, Limit: l.Limit,
	}
	if e.What != Refused && e.What != NearLimit || e.By != ByAuthorizer && e.By != ByGuard || l.RequestTimeEpoch <= 0 {
		return Event{}, false
	}
	if l.KeyID != "" {
		id, err := apikey.ParseID(l.KeyID)
		if err != nil {
			return Event{}, false
		}
		e.KeyID = id
	}
	return e, true
}

// ID names the request that the event is of, as Access.ExtendedRequestID does.
func (e Event) ID() string {
	if e.ExtendedRequestID != "" {
		return e.ExtendedRequestID
	}
	return e.RequestID
}
