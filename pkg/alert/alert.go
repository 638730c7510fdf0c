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
//	key_failures     FailureThreshold or more 401s and 403s of one key in 5 min   hour
//	source_failures  FailureThreshold or more 401s and 403s of one source in      hour
//	                 5 min
//	new_network      a key that has been in use for LearningTime is used from a   once per network, until
//	                 network (IPv4 /24, IPv6 /48) that it was not used from in    the profile forgets it
//	                 NetworkMemory; not for a key of a crowd (usage.MaxNetworks)
//	unusual_volume   an hour of a key has VolumeMinimum requests or more, and     day
//	                 VolumeFactor times the mean hour of its seven days before,
//	                 of which it must have been in use for one
//	expiring_7d      a key expires within 7 days                                  the expiry
//	expiring_1d      a key expires within 1 day                                   the expiry
//	unused_90d       a live key was not used for 90 days                          its last use
//	rotation_due     a live key's secret is older than 90 days                    the secret
//	canary_used      the secret of a canary key was presented                     hour and source
//
// Sources whose requests name no key of an account are the installation's: their alerts
// have the account [Installation], which no caller of the API has; they are delivered to
// EventBridge alone.
package alert

import (
	"context"
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
)

// Kinds lists them all, in the order of the table above.
func Kinds() []Kind {
	return []Kind{NearLimit, OverLimit, KeyFailures, SourceFailures, NewNetwork, UnusualVolume,
		Expiring7Days, Expiring1Day, Unused90Days, RotationDue, CanaryUsed}
}

// Severity says how soon somebody should look.
type Severity string

// The severities.
const (
	Info     Severity = "info"
	Warning  Severity = "warning"
	Critical Severity = "critical"
)

// Installation is the account of alerts that are no tenant's. It is no valid account id.
const Installation = "-"

// Alert is one cause in one window.
type Alert struct {
	ID          string // by account, unique; made of time, kind and subject; sorts by Window
	AccountID   string
	Environment keys.Environment // of the key; empty: the alert is about no single key
	KeyID       apikey.ID        // empty: about no single key
	Kind        Kind
	Severity    Severity
	Subject     string // what with Kind makes the cause: a key id, a source address, …
	Window      time.Time
	RaisedAt    time.Time         // by the clock of who raised it
	Text        string            // a sentence for people; no secret, nothing that a client chose freely
	Data        map[string]string // the figures behind it: "limit", "sourceIp", "network", "requests", "baseline", "expiresAt", …

	AcknowledgedAt time.Time // zero: nobody has looked
	AcknowledgedBy apikey.ID
}

// Store keeps alerts. It is safe for concurrent use. Errors are keys.ErrUnavailable and
// keys.ErrNotFound, wrapped.
type Store interface {
	// Raise puts an alert unless there is one of its id; raised reports whether it did.
	Raise(ctx context.Context, a Alert) (raised bool, err error)
	// Alerts reads a page of an account's alerts, newest window first.
	Alerts(ctx context.Context, q Query) (Page, error)
	// Alert reads one; keys.ErrNotFound.
	Alert(ctx context.Context, accountID, id string) (Alert, error)
	// Acknowledge marks an alert, unless it is marked already, and returns it as it is then;
	// keys.ErrNotFound.
	Acknowledge(ctx context.Context, accountID, id string, by apikey.ID, at time.Time) (Alert, error)

	// Fail adds the ids of failed requests to the set of a cause in its five minutes, and
	// returns how many it holds then, up to FailureThreshold: more are not kept. An id that
	// is there already adds nothing.
	Fail(ctx context.Context, accountID, cause string, window time.Time, ids []string) (int, error)
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

// Page is a page of alerts.
type Page struct {
	Alerts []Alert
	Next   string // id to go on after; empty: this was the last page. It may be there although Alerts is short.
}
