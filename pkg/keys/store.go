package keys

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/limit"
)

// Store keeps keys, accounts, audit events and idempotency records. Reads are strongly
// consistent: what a Commit that returned nil wrote, every later read sees. It is safe
// for concurrent use. Errors are the sentinels below, wrapped with what was being done;
// no error text holds a secret. Times come back in UTC, to the millisecond.
//
// A store may drop a deleted or expired key when its retention ends, but never a primary
// one: the account's mark would point at nothing.
type Store interface {
	// Key reads one key by its public id; ErrNotFound. Secrets' digests included;
	// LastUsed and Requests are not filled in.
	Key(ctx context.Context, id apikey.ID) (Key, error)
	// KeyByNumber reads one key by its integer id; ErrNotFound. Without what a re-digest
	// changes: Digest and Pepper of its secrets are zero.
	KeyByNumber(ctx context.Context, accountID string, number int64) (Key, error)
	// Keys reads all keys of an account but its sessions, deleted ones included, in order of
	// Number, each as KeyByNumber reads it. An unknown account has none.
	Keys(ctx context.Context, accountID string) ([]Key, error)
	// Account reads an account; ErrNotFound.
	Account(ctx context.Context, id string) (Account, error)
	// Idempotent reads an idempotency record; ErrNotFound. The caller judges its age.
	Idempotent(ctx context.Context, name string) (IdempotencyRecord, error)
	// KeysByID reads keys by their public ids, sessions too, each as KeyByNumber reads it. An
	// id of no key has no entry.
	KeysByID(ctx context.Context, ids []apikey.ID) (map[apikey.ID]Key, error)
	// Sessions reads the sessions of one key, or of all keys of an account if parent is
	// empty: ended and expired ones too, until the store drops them, which it may from a
	// session's expiry on. Each is as KeyByNumber reads a key.
	Sessions(ctx context.Context, accountID string, parent apikey.ID) ([]Key, error)
	// AuditEvents reads events, newest first: fewer than r.Limit only if there are no more.
	AuditEvents(ctx context.Context, r AuditRange) ([]AuditEvent, error)

	// Commit applies a change whole or not at all, serialisably: *ConflictError says
	// which condition failed. When the outcome stays unknown after the store's own
	// look (the change's audit event tells), it is ErrOutcomeUnknown; when nothing can
	// have been applied, ErrUnavailable.
	Commit(ctx context.Context, c Change) error

	// Settle writes what a verdict depends on to the key's meter, outside every
	// transaction, unless the meter holds a newer verdict. It may be repeated.
	Settle(ctx context.Context, id apikey.ID, verdict int64, active bool) error
	// Usage reads the request count off the meters of these keys, and last used off those
	// or the log lines that were counted, whichever is later. A key without a meter has no
	// entry.
	Usage(ctx context.Context, ids []apikey.ID) (map[apikey.ID]Usage, error)
	// Windows is Usage with the windows of the limits, at the price of larger answers.
	Windows(ctx context.Context, ids []apikey.ID) (map[apikey.ID]Usage, error)
}

// Usage is what is known of a key's use.
type Usage struct {
	LastUsed time.Time
	Requests int64
	Windows  Windows // zero, unless they were asked for
}

// Windows are what a key's meter has counted for its limits, as of its last write. Of what
// processes hold in leases, all is counted already.
type Windows struct {
	Minute, Hour, Day limit.Window
	Month             limit.Month
}

// used is how much of k's limits is in use at now.
func (w *Windows) used(k *Key, now time.Time) (u Used) {
	u.Minute = w.Minute.Left(w.Minute.SlotAt(limit.Minute, now))
	if k.Limits.Hour > 0 {
		u.Hour = w.Hour.Left(w.Hour.SlotAt(limit.Hour, now))
	}
	if k.Limits.Day > 0 {
		u.Day = w.Day.Left(w.Day.SlotAt(limit.Day, now))
	}
	if k.Quota.Requests > 0 {
		u.Month = w.Month.Left(w.Month.PeriodAt(now, k.Quota.RefillDay))
	}
	return u
}

// AuditRange selects events for Store.AuditEvents. Zero fields do not restrict.
type AuditRange struct {
	AccountID string    // needed
	KeyID     apikey.ID // the trail of that key of the account
	From      string    // that id or later ones
	Before    string    // ids before this one
	Limit     int       // 1 or more
}

// MaxKeysPerChange bounds Change.Keys, so that a change fits into one transaction of any
// store (DynamoDB takes 100 items: three per key, and a few more).
const MaxKeysPerChange = 30

// Change is everything that one operation writes, and the conditions it writes under.
type Change struct {
	// Caller's key must still be at this verdict; nil for the admin function. If the
	// caller is itself among Keys, its condition is part of that write.
	Caller  *CallerCheck
	Parent  *CallerCheck // so too the key that a calling session was made with
	Account *AccountWrite
	Keys    []KeyWrite         // at most MaxKeysPerChange, one of them new at most
	Record  *IdempotencyRecord // condition: no record of that name, or one with ExpiresAt not after Record.CreatedAt
	// Audit is always there, and its ID identifies the change. It is in the account's list of
	// events and in the trail of the key that it names.
	Audit AuditEvent
	// Trails have Audit's ID and are of the other keys that are changed, one for each: they
	// are in that key's trail alone. A session has no trail.
	Trails []AuditEvent
}

// CallerCheck is the condition on the key item of a caller, or of its parent.
type CallerCheck struct {
	ID      apikey.ID
	Verdict int64
}

// AccountWrite puts the account's new state; the stored Version must be Was (0: the
// account must not exist). New.Version is Was+1.
type AccountWrite struct {
	New Account
	Was int64
}

// KeyWrite puts a key's new state; the stored Version must be Was (0: no key of that id
// may exist; its meter is made in the same transaction). New.Version is Was+1.
// Digest and Pepper of both secrets are written only if SecretChanged, so a change of
// anything else never undoes a re-digest that happens at the same time. Where New has no
// previous secret, what was stored of one goes.
type KeyWrite struct {
	New           Key
	Was           int64
	SecretChanged bool
}

// IdempotencyRecord is the trace of one retry-safe request; idempotency.go says what
// is in it and who can open it.
type IdempotencyRecord struct {
	Name        string // (account, caller's key, route, HMAC of the Idempotency-Key)
	Fingerprint []byte // keyed hash of the request
	KeyID       apikey.ID
	Generation  int64  // of KeyID's secret that the box holds
	Pepper      string // version in the ring that the derivations used
	Salt        []byte
	Box         []byte // AES-256-GCM nonce ‖ ciphertext
	CreatedAt   time.Time
	ExpiresAt   time.Time
}

// The sentinels of a Store and of the Service.
var (
	ErrNotFound       = errors.New("not found")
	ErrUnavailable    = errors.New("store unavailable")
	ErrOutcomeUnknown = errors.New("outcome unknown")
)

// ConflictError says which of a Change's conditions failed: all of them or some. Key is
// the first such key.
type ConflictError struct {
	Caller  bool      // the caller's key changed, or its parent
	Account bool      // the account item changed
	Record  bool      // the idempotency record exists
	Key     apikey.ID // this key changed, or exists already
	Retry   bool      // none of them: the transaction lost against another one; repeat it as it is
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("conflict: caller=%t account=%t record=%t key=%s retry=%t", e.Caller, e.Account, e.Record, e.Key, e.Retry)
}
