// Package alert tells operators what needs them.
//
// The model: a rule looks at what a batch of log lines says ([Watcher.Observe]) or at the
// keys as they are ([Watcher.Sweep]) and raises an [Alert]. What raised it is one cause
// (kind and subject) in one window of time, and these make its id: whoever raises it again
// finds it there. So there is one alert per cause and window, also when a batch comes
// twice, and never a storm. An alert that is put into the store is delivered (package
// webhook) because it is there; raising does not wait for that.
//
// The rules, each in the file that applies it:
//
//	kind             cause                                                        window
//	near_limit       a key's window of 60 s was 80 % full                         hour
//	over_limit       a key was refused for its limit                              hour
//	key_failures     FailureThreshold or more 401s and 403s of one key within     hour
//	                 FailureSpan
//	source_failures  the same of one source (an IPv4 address, an IPv6 /64)        hour
//	new_network      a key that has been in use for LearningTime is used from a   day; and the profile
//	                 network (IPv4 /24, IPv6 /48) that it was not used from in    knows it then
//	                 NetworkMemory; not for a key of a crowd (usage.MaxNetworks)
//	unusual_volume   an hour of a key has VolumeMinimum requests or more,         day
//	                 VolumeFactor times the mean hour of its seven days before,
//	                 of which it must have been in use for one, and more than
//	                 VolumePeak times the busiest of them
//	expiring_7d      a live key expires within 7 days                             the expiry
//	expiring_1d      a live key expires within 1 day                              the expiry
//	unused_90d       a live key was not used for 90 days                          its last use
//	rotation_due     a live key's secret is 90 days old                           the secret
//	canary_used      the secret of a canary key was presented                     hour, and source
//	late_accept      an unguarded route let a key in when a change that forbids   hour
//	                 it had to be in force everywhere
//
// What a session did (package keys) is told of its parent, and counts with what that did: it
// is the parent's holder who can do something about it, and a session is gone by the time
// that somebody looks. The alert's data name the session.
//
// A window is shown as its start: of an hour or a day (UTC) its first moment; of an
// expiry, a last use or a secret the moment from which the rule held. So alerts that are
// ordered by their windows are ordered by when they came to be.
//
// The requests that the authorizer refused are also the installation's to watch, by
// source: who guesses keys does not keep to one account, and mostly names none. Those
// alerts have the account [Installation], which no caller of the API has; they are
// delivered to EventBridge alone.
//
// An alert is kept for [Retention] after it was raised. A key that is unused then, or that
// nobody has rotated, is told of again.
package alert

import (
	"context"
	"slices"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

// Kind is what an alert is about.
type Kind string

// The kinds.
const (
	NearLimit      Kind = "near_limit"
	OverLimit      Kind = "over_limit"
	KeyFailures    Kind = "key_failures"
	SourceFailures Kind = "source_failures"
	NewNetwork     Kind = "new_network"
	UnusualVolume  Kind = "unusual_volume"
	Expiring7Days  Kind = "expiring_7d"
	Expiring1Day   Kind = "expiring_1d"
	Unused90Days   Kind = "unused_90d"
	RotationDue    Kind = "rotation_due"
	CanaryUsed     Kind = "canary_used"
	LateAccept     Kind = "late_accept"
)

// Kinds lists them all, in the order of the table above.
func Kinds() []Kind {
	return []Kind{NearLimit, OverLimit, KeyFailures, SourceFailures, NewNetwork, UnusualVolume,
		Expiring7Days, Expiring1Day, Unused90Days, RotationDue, CanaryUsed, LateAccept}
}

// Severity says how soon somebody should look.
type Severity string

// The severities.
const (
	Info     Severity = "info"
	Warning  Severity = "warning"
	Critical Severity = "critical"
)

// severities: information is for planning, a warning for the same day, what is critical
// for now.
var severities = map[Kind]Severity{
	NearLimit: Info, OverLimit: Warning, KeyFailures: Warning, SourceFailures: Warning, NewNetwork: Warning, UnusualVolume: Warning,
	Expiring7Days: Info, Expiring1Day: Warning, Unused90Days: Info, RotationDue: Info, CanaryUsed: Critical, LateAccept: Critical,
}

// Installation is the account of alerts that are no tenant's. It is no valid account id
// (keys.ValidID).
const Installation = "*"

// Retention is how long an alert is kept after it was raised.
const Retention = 90 * 24 * time.Hour

// Alert is one cause in one window.
type Alert struct {
	ID          string // unique; made of window, kind, account, key and subject; sorts by Window; [A-Za-z0-9_-]
	AccountID   string
	Environment keys.Environment // of the key; empty: the alert is about no single key
	KeyID       apikey.ID        // empty: about no single key
	Kind        Kind
	Severity    Severity
	Subject     string // what with Kind and KeyID makes the cause: the key id again, a source, a network
	Window      time.Time
	RaisedAt    time.Time         // by the clock of who raised it
	Text        string            // a sentence for people; no secret, nothing that a client chose freely
	Data        map[string]string // the figures behind it: "limit", "sourceIp", "network", "requests", "baseline", "expiresAt", …

	AcknowledgedAt time.Time // zero: nobody has looked
	AcknowledgedBy apikey.ID
}

// Store keeps alerts. It is safe for concurrent use, by several processes too. Errors are
// keys.ErrUnavailable and keys.ErrNotFound, wrapped; after the former, the same call may be
// repeated. Package alerttest has a memory implementation and the suite that every one
// passes.
type Store interface {
	// Raise puts an alert unless there is one of its id; raised reports whether it did. A
	// store that had to ask twice may find what it has put itself, and say no.
	Raise(ctx context.Context, a Alert) (raised bool, err error)
	// Note puts a figure into the Data of an alert unless there is one of that name, and
	// returns the one that is there then; keys.ErrNotFound.
	Note(ctx context.Context, accountID, id, name, value string) (kept string, err error)
	// Alerts reads a page of an account's alerts, in descending order of ID: newest window
	// first. What a Raise that has returned put, a later call sees.
	Alerts(ctx context.Context, q Query) (Page, error)
	// Alert reads one; keys.ErrNotFound.
	Alert(ctx context.Context, accountID, id string) (Alert, error)
	// Acknowledge marks an alert, unless it is marked already, and returns it as it is then;
	// keys.ErrNotFound.
	Acknowledge(ctx context.Context, accountID, id string, by apikey.ID, at time.Time) (Alert, error)

	// Fail adds failures to those of a cause in the FailureSpan that begins at window, and
	// returns those that it knows then of this span, of the one before and of the one
	// after, in no order. One that is there already adds nothing. A span that has
	// FailureThreshold takes no more, and its neighbours may be left out then. Of two calls
	// at the same time at least one returns what both have added.
	Fail(ctx context.Context, accountID, cause string, window time.Time, failures []Failure) ([]Failure, error)
}

// Failure is a request that was refused.
type Failure struct {
	ID   string    // usage.Request.ID
	Time time.Time // to the millisecond
}

// Query selects alerts. Zero fields do not filter.
type Query struct {
	AccountID    string             // needed
	Environments []keys.Environment // any of them; "" is an alert about no single key
	Kind         Kind
	KeyID        apikey.ID
	Open         *bool  // true: not acknowledged; false: acknowledged
	Limit        int    // 1–1000
	After        string // id of the last alert of the page before
}

// Matches reports whether the filters let a through. It is for stores.
func (q *Query) Matches(a *Alert) bool {
	switch {
	case len(q.Environments) > 0 && !slices.Contains(q.Environments, a.Environment):
		return false
	case q.Kind != "" && a.Kind != q.Kind, q.KeyID != "" && a.KeyID != q.KeyID:
		return false
	}
	return q.Open == nil || *q.Open == a.AcknowledgedAt.IsZero()
}

// Page is a page of alerts.
type Page struct {
	Alerts []Alert
	Next   string // id to go on after; empty: this was the last page. It may be there although Alerts is short.
}
