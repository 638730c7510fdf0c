// Package webhook delivers alerts: to the installation's EventBridge bus, from where a rule
// hands them to SNS, and to the webhooks that accounts have set up.
//
// The model: an [Endpoint] is a URL with a secret. For each alert and endpoint there is one
// [Delivery], which waits until it has succeeded or been given up: an attempt that fails
// puts it off by the next of the waits (config.Settings.WebhookRetrySeconds, give or take a
// tenth), and after the last one it is dead. What became of each attempt is in the
// delivery's log. [Manager] is what the API does with webhooks, [Notifier] what the
// function notify does with alerts, [Sender] the one way out.
//
// Promises:
//
//   - At least once, and once as far as anybody can tell: a delivery that succeeded is
//     never sent again of its own accord; one whose sender ended between the request and
//     the note of it is, with the same webhook-id, by which a receiver knows.
//   - Signed as Standard Webhooks does
//     (https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md):
//     webhook-id, webhook-timestamp, webhook-signature "v1,<base64 of HMAC-SHA256>" over
//     "id.timestamp.body". The secret ("whsec_…") is shown once, and stored sealed under
//     the pepper, so the table alone signs nothing.
//   - Only HTTPS, only to public addresses: the address is checked when the connection is
//     made, after the name was resolved, so a name that resolves differently the next time
//     (DNS rebinding) changes nothing. Redirects are not followed, and no proxy is used.
//     (CWE-918.)
//   - A receiver that answers 410 Gone wants no more: its webhook is switched off, as the
//     specification above asks.
//   - One receiver that hangs holds up its own deliveries and no others.
//   - No log, error or list holds a secret or what a receiver answered beyond its status.
package webhook

import (
	"context"
	"errors"
	"time"

	"github.com/keyreeve/keyreeve/pkg/alert"
	"github.com/keyreeve/keyreeve/pkg/apikey"
)

// Endpoint is where an account wants its alerts.
type Endpoint struct {
	ID          string // 16 base62 characters
	AccountID   string
	Version     int64 // +1 with every change, from 1
	URL         string
	Description string       // 0–100 characters
	Kinds       []alert.Kind // empty: every kind
	Active      bool
	Pepper      string // version that Box is sealed under
	Box         []byte // the signing secret, sealed
	CreatedBy   apikey.ID
	CreatedAt   time.Time
	UpdatedAt   time.Time
}

// State is where a delivery stands.
type State string

// The states.
const (
	Pending   State = "pending"
	Delivered State = "delivered"
	Dead      State = "dead" // given up
)

// Delivery is one alert on its way to one endpoint.
type Delivery struct {
	ID         string // the webhook-id header, see deliveryID; an endpoint's sort by time
	AccountID  string
	EndpointID string
	AlertID    string
	State      State
	Attempts   int
	NextAt     time.Time // of a pending one: when it is due
	CreatedAt  time.Time
	Log        []Attempt // newest last, at most MaxLog

	// Lease is until when whoever took it has it, and what Finish knows the taker by. Only
	// Take sets it.
	Lease time.Time
}

// Ref names a delivery.
type Ref struct{ AccountID, ID string }

// Attempt is one try.
type Attempt struct {
	At      time.Time
	Status  int           // what the receiver answered; 0: no answer
	Error   string        // why not, one of the Error… constants; empty: the status says it
	Latency time.Duration //
}

// MaxLog bounds the attempts that a delivery keeps.
const MaxLog = 20

// Retention is how long a delivery that has ended stays.
const Retention = 30 * 24 * time.Hour

// Store keeps endpoints and deliveries. It is safe for concurrent use, by several processes
// too. Errors are keys.ErrUnavailable, keys.ErrConflict, keys.ErrOutcomeUnknown and
// keys.ErrNotFound, wrapped; after one of the first two nothing was written, and after the
// third the same call may be repeated too, but a CreateEndpoint may have been made. Times
// have a precision of milliseconds. Package webhooktest has a memory implementation and the suite that every
// one passes.
type Store interface {
	Endpoints(ctx context.Context, accountID string) ([]Endpoint, error) // by CreatedAt
	Endpoint(ctx context.Context, accountID, id string) (Endpoint, error)
	// CreateEndpoint puts a new one; ErrTooMany past MaxEndpoints of an account.
	CreateEndpoint(ctx context.Context, e Endpoint) error
	// UpdateEndpoint puts one that is there at e.Version-1; ErrChanged if it is at another,
	// keys.ErrNotFound.
	UpdateEndpoint(ctx context.Context, e Endpoint) error
	// DeleteEndpoint removes one; keys.ErrNotFound. Its deliveries that wait die when they
	// are due.
	DeleteEndpoint(ctx context.Context, accountID, id string) error

	// Enqueue puts a pending delivery unless there is one of its ID, in any state.
	Enqueue(ctx context.Context, d Delivery) error
	// Take gives a pending delivery that is due to the caller until lease has passed, by
	// putting NextAt off: no other Take of it succeeds before. ok is false if somebody else
	// has it, it is not due, not pending or not there.
	Take(ctx context.Context, r Ref, now time.Time, lease time.Duration) (d Delivery, ok bool, err error)
	// Due lists pending deliveries that are due, oldest first, at most limit.
	Due(ctx context.Context, now time.Time, limit int) ([]Ref, error)
	// Finish puts what became of a delivery that was taken: its State, Attempts, NextAt and
	// Log. It ends the lease. A taker whose lease has ended and whose delivery was taken
	// again does nothing, unless it has delivered: then that is how it ends, whatever the
	// other one finds.
	Finish(ctx context.Context, d Delivery) error
	// Reopen makes a delivery that has ended pending again and due at now, with no attempts;
	// one that is pending stays as it is. keys.ErrNotFound.
	Reopen(ctx context.Context, r Ref, now time.Time) (Delivery, error)
	// Deliveries lists an endpoint's deliveries, newest first, at most limit; next goes on
	// after, and is empty on the last page.
	Deliveries(ctx context.Context, accountID, endpointID string, limit int, after string) (list []Delivery, next string, err error)
	// Delivery reads one; keys.ErrNotFound.
	Delivery(ctx context.Context, r Ref) (Delivery, error)
}

// MaxEndpoints is how many webhooks an account may have.
const MaxEndpoints = 20

// What Store answers besides.
var (
	ErrTooMany = errors.New("too many webhooks")                 // CreateEndpoint
	ErrChanged = errors.New("the webhook was changed meanwhile") // UpdateEndpoint
)

// Publisher puts alerts on the installation's event bus.
type Publisher interface {
	// Publish sends an alert. It may be repeated; whoever listens knows an alert by its id.
	Publish(ctx context.Context, a alert.Alert) error
}
