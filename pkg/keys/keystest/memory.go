package keystest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/limit"
)

// Memory is a Store in memory. One mutex makes it serialisable. It keeps no clock:
// nothing in it expires by itself.
type Memory struct {
	mu       sync.Mutex
	keys     map[apikey.ID]keys.Key
	numbers  map[string]map[int64]apikey.ID // by account
	accounts map[string]keys.Account
	records  map[string]keys.IdempotencyRecord
	events   map[string][]keys.AuditEvent    // by account, in order of ID
	trails   map[apikey.ID][]keys.AuditEvent // by key, in order of ID
	meters   map[apikey.ID]memoryMeter
	hook     func(context.Context, Call) error
}

type memoryMeter struct {
	Meter
	keys.Usage
}

// Call is one call of a store as a hook sees it.
type Call struct {
	Op     string       // the method's name: "Key", "Commit", …
	Done   bool         // false: nothing has happened yet; true: it was applied, the caller does not know yet
	Key    apikey.ID    // of Key, Settle and Redigest
	Change *keys.Change // of Commit
}

// NewMemory returns an empty store.
func NewMemory() *Memory {
	return &Memory{
		keys:     map[apikey.ID]keys.Key{},
		numbers:  map[string]map[int64]apikey.ID{},
		accounts: map[string]keys.Account{},
		records:  map[string]keys.IdempotencyRecord{},
		events:   map[string][]keys.AuditEvent{},
		trails:   map[apikey.ID][]keys.AuditEvent{},
		meters:   map[apikey.ID]memoryMeter{},
	}
}

// OnCall sets a hook that runs before every call and, if that went well, after it. An
// error of the hook is what the caller gets: before, instead of the call; after, in spite
// of it. The hook may call the store itself. Nil takes it away.
func (m *Memory) OnCall(hook func(context.Context, Call) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hook = hook
}

// do runs f under the mutex, between the two runs of the hook.
func (m *Memory) do(ctx context.Context, call Call, f func() error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("memory store: %w: %w", keys.ErrUnavailable, err)
	}
	m.mu.Lock()
	hook := m.hook
	m.mu.Unlock()
	if hook != nil {
		if err := hook(ctx, call); err != nil {
			return err
		}
	}
	m.mu.Lock()
	err := f()
	m.mu.Unlock()
	if err != nil || hook == nil {
		return err
	}
	call.Done = true
	return hook(ctx, call)
}

// Key implements keys.Store.
func (m *Memory) Key(ctx context.Context, id apikey.ID) (k keys.Key, err error) {
	err = m.do(ctx, Call{Op: "Key", Key: id}, func() error {
		stored, ok := m.keys[id]
		if !ok {
			return fmt.Errorf("key %s: %w", id, keys.ErrNotFound)
		}
		k = cloneKey(stored)
		return nil
	})
	return k, err
}

// KeyByNumber implements keys.Store.
func (m *Memory) KeyByNumber(ctx context.Context, accountID string, number int64) (k keys.Key, err error) {
	err = m.do(ctx, Call{Op: "KeyByNumber"}, func() error {
		id, ok := m.numbers[accountID][number]
		if !ok {
			return fmt.Errorf("key %d: %w", number, keys.ErrNotFound)
		}
		k = row(m.keys[id])
		return nil
	})
	return k, err
}

// Keys implements keys.Store.
func (m *Memory) Keys(ctx context.Context, accountID string) (list []keys.Key, err error) {
	err = m.do(ctx, Call{Op: "Keys"}, func() error {
		numbers := m.numbers[accountID]
		for _, n := range slices.Sorted(maps.Keys(numbers)) {
			list = append(list, row(m.keys[numbers[n]]))
		}
		return nil
	})
	return list, err
}

// Account implements keys.Store.
func (m *Memory) Account(ctx context.Context, id string) (a keys.Account, err error) {
	err = m.do(ctx, Call{Op: "Account"}, func() error {
		var ok bool
		if a, ok = m.accounts[id]; !ok {
			return fmt.Errorf("account: %w", keys.ErrNotFound)
		}
		return nil
	})
	return a, err
}

// Idempotent implements keys.Store.
func (m *Memory) Idempotent(ctx context.Context, name string) (r keys.IdempotencyRecord, err error) {
	err = m.do(ctx, Call{Op: "Idempotent"}, func() error {
		stored, ok := m.records[name]
		if !ok {
			return fmt.Errorf("idempotency record: %w", keys.ErrNotFound)
		}
		r = cloneRecord(stored)
		return nil
	})
	return r, err
}

// KeysByID implements keys.Store.
func (m *Memory) KeysByID(ctx context.Context, ids []apikey.ID) (found map[apikey.ID]keys.Key, err error) {
	err = m.do(ctx, Call{Op: "KeysByID"}, func() error {
		found = map[apikey.ID]keys.Key{}
		for _, id := range ids {
			if k, ok := m.keys[id]; ok {
				found[id] = row(k)
			}
		}
		return nil
	})
	return found, err
}

// Sessions implements keys.Store.
func (m *Memory) Sessions(ctx context.Context, accountID string, parent apikey.ID) (list []keys.Key, err error) {
	err = m.do(ctx, Call{Op: "Sessions", Key: parent}, func() error {
		for _, k := range m.keys {
			if k.AccountID == accountID && k.Parent != "" && (parent == "" || k.Parent == parent) {
				list = append(list, row(k))
			}
		}
		return nil
	})
	return list, err
}

// AuditEvents implements keys.Store.
func (m *Memory) AuditEvents(ctx context.Context, r keys.AuditRange) (list []keys.AuditEvent, err error) {
	err = m.do(ctx, Call{Op: "AuditEvents"}, func() error {
		stored := m.events[r.AccountID]
		if r.KeyID != "" {
			stored = m.trails[r.KeyID]
		}
		for _, e := range slices.Backward(stored) {
			switch {
			case len(list) == r.Limit:
				return nil
			case e.AccountID != r.AccountID, e.ID < r.From, r.Before != "" && e.ID >= r.Before:
				continue
			}
			list = append(list, cloneEvent(e))
		}
		return nil
	})
	return list, err
}

// Commit implements keys.Store.
func (m *Memory) Commit(ctx context.Context, c keys.Change) error {
	return m.do(ctx, Call{Op: "Commit", Change: &c}, func() error {
		if n := len(c.Keys); n > keys.MaxKeysPerChange {
			return fmt.Errorf("memory store: %d keys in one change", n)
		}
		if conflict := m.conflict(c); conflict != nil {
			return conflict
		}
		m.apply(c)
		return nil
	})
}

// conflict checks every condition of a change; nil if all hold.
func (m *Memory) conflict(c keys.Change) error {
	var e keys.ConflictError
	for _, check := range []*keys.CallerCheck{c.Caller, c.Parent} {
		if check != nil {
			k, ok := m.keys[check.ID]
			e.Caller = e.Caller || !ok || k.Verdict != check.Verdict
		}
	}
	if w := c.Account; w != nil {
		a, ok := m.accounts[w.New.ID]
		e.Account = ok != (w.Was != 0) || a.Version != w.Was
	}
	for _, w := range c.Keys {
		k, ok := m.keys[w.New.ID]
		if e.Key == "" && (ok != (w.Was != 0) || k.Version != w.Was) {
			e.Key = w.New.ID
		}
	}
	if c.Record != nil {
		r, ok := m.records[c.Record.Name]
		e.Record = ok && r.ExpiresAt.After(c.Record.CreatedAt)
	}
	if e == (keys.ConflictError{}) {
		return nil
	}
	return &e
}

func (m *Memory) apply(c keys.Change) {
	if w := c.Account; w != nil {
		a := w.New
		a.CreatedAt = stored(a.CreatedAt)
		m.accounts[a.ID] = a
	}
	for _, w := range c.Keys {
		k := cloneKey(w.New)
		k.LastUsed, k.Requests, k.Used = time.Time{}, 0, keys.Used{}
		if old, ok := m.keys[k.ID]; ok && !w.SecretChanged {
			k.Secret.Digest, k.Secret.Pepper = old.Secret.Digest, old.Secret.Pepper
			if k.Previous.Generation != 0 {
				k.Previous.Digest, k.Previous.Pepper = old.Previous.Digest, old.Previous.Pepper
			}
		}
		m.keys[k.ID] = k
		if m.numbers[k.AccountID] == nil {
			m.numbers[k.AccountID] = map[int64]apikey.ID{}
		}
		if k.Parent == "" {
			m.numbers[k.AccountID][k.Number] = k.ID
		}
		if w.Was == 0 {
			m.meters[k.ID] = memoryMeter{Meter: Meter{Verdict: k.Verdict, Active: k.Active && !k.Deleted}}
		}
	}
	if c.Record != nil {
		m.records[c.Record.Name] = cloneRecord(*c.Record)
	}
	m.events[c.Audit.AccountID] = withEvent(m.events[c.Audit.AccountID], c.Audit)
	for _, e := range append(c.Trails, c.Audit) {
		m.trails[e.KeyID] = withEvent(m.trails[e.KeyID], e)
	}
}

func withEvent(list []keys.AuditEvent, e keys.AuditEvent) []keys.AuditEvent {
	list = append(list, cloneEvent(e))
	slices.SortStableFunc(list, func(a, b keys.AuditEvent) int { return strings.Compare(a.ID, b.ID) })
	return list
}

// Settle implements keys.Store.
func (m *Memory) Settle(ctx context.Context, id apikey.ID, verdict int64, active bool) error {
	return m.do(ctx, Call{Op: "Settle", Key: id}, func() error {
		if meter := m.meters[id]; meter.Verdict <= verdict {
			meter.Meter = Meter{Verdict: verdict, Active: active}
			m.meters[id] = meter
		}
		return nil
	})
}

// Usage implements keys.Store.
func (m *Memory) Usage(ctx context.Context, ids []apikey.ID) (use map[apikey.ID]keys.Usage, err error) {
	err = m.do(ctx, Call{Op: "Usage"}, func() error {
		use = map[apikey.ID]keys.Usage{}
		for _, id := range ids {
			if meter, ok := m.meters[id]; ok {
				use[id] = keys.Usage{LastUsed: meter.LastUsed, Requests: meter.Requests}
			}
		}
		return nil
	})
	return use, err
}

// Windows implements keys.Store.
func (m *Memory) Windows(ctx context.Context, ids []apikey.ID) (use map[apikey.ID]keys.Usage, err error) {
	err = m.do(ctx, Call{Op: "Windows"}, func() error {
		use = map[apikey.ID]keys.Usage{}
		for _, id := range ids {
			if meter, ok := m.meters[id]; ok {
				use[id] = meter.Usage
			}
		}
		return nil
	})
	return use, err
}

// Redigest implements verify.Store.
func (m *Memory) Redigest(ctx context.Context, id apikey.ID, was, now keys.Secret) error {
	return m.do(ctx, Call{Op: "Redigest", Key: id}, func() error {
		k, ok := m.keys[id]
		if ok && k.Secret.Digest.Equal(was.Digest) && k.Secret.Pepper == was.Pepper {
			k.Secret.Digest, k.Secret.Pepper = now.Digest, now.Pepper
			m.keys[id] = k
		}
		return nil
	})
}

// Meter implements Store.
func (m *Memory) Meter(_ context.Context, id apikey.ID) (Meter, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	meter, ok := m.meters[id]
	return meter.Meter, ok, nil
}

// Use implements Store.
func (m *Memory) Use(_ context.Context, id apikey.ID, at time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	meter, ok := m.meters[id]
	if !ok {
		return fmt.Errorf("meter of %s: %w", id, keys.ErrNotFound)
	}
	meter.Requests++
	meter.LastUsed = stored(at)
	k, w := m.keys[id], &meter.Windows
	w.Minute = w.Minute.Count(w.Minute.SlotAt(limit.Minute, at), 1)
	if k.Limits.Hour > 0 {
		w.Hour = w.Hour.Count(w.Hour.SlotAt(limit.Hour, at), 1)
	}
	if k.Limits.Day > 0 {
		w.Day = w.Day.Count(w.Day.SlotAt(limit.Day, at), 1)
	}
	if k.Quota.Requests > 0 {
		w.Month = w.Month.Count(w.Month.PeriodAt(at, k.Quota.RefillDay), 1)
	}
	m.meters[id] = meter
	return nil
}

// Forget drops a key and its meter, as a store does when a key's retention has ended.
func (m *Memory) Forget(id apikey.ID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if k, ok := m.keys[id]; ok {
		delete(m.numbers[k.AccountID], k.Number)
	}
	delete(m.keys, id)
	delete(m.meters, id)
}

// Dump writes out everything that the store holds, byte strings as they are, for Canary.
func (m *Memory) Dump() []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	var b bytes.Buffer
	for _, k := range m.keys {
		fmt.Fprintf(&b, "%+v\n%s %s\n", k, k.Secret.Digest[:], k.Previous.Digest[:])
	}
	for _, r := range m.records {
		fmt.Fprintf(&b, "%+v\n%s %s %s\n", r, r.Fingerprint, r.Salt, r.Box)
	}
	fmt.Fprintf(&b, "%+v\n%+v\n%+v\n", m.accounts, m.events, m.meters)
	return b.Bytes()
}

// stored is a time as a store keeps it: to the millisecond, in UTC.
func stored(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Millisecond)
}

func cloneKey(k keys.Key) keys.Key {
	k.Permissions, k.Customers, k.Networks = slices.Clone(k.Permissions), slices.Clone(k.Customers), slices.Clone(k.Networks)
	for _, t := range []*time.Time{&k.CreatedAt, &k.UpdatedAt, &k.VerdictAt, &k.RotatedAt, &k.NotBefore, &k.ExpiresAt, &k.DeletedAt, &k.Previous.Until} {
		*t = stored(*t)
	}
	k.Secret.Until = time.Time{}
	return k
}

// row is a key as a list reads it.
func row(k keys.Key) keys.Key {
	k = cloneKey(k)
	for _, s := range []*keys.Secret{&k.Secret, &k.Previous} {
		s.Digest, s.Pepper = apikey.Digest{}, ""
	}
	return k
}

func cloneRecord(r keys.IdempotencyRecord) keys.IdempotencyRecord {
	r.Fingerprint, r.Salt, r.Box = slices.Clone(r.Fingerprint), slices.Clone(r.Salt), slices.Clone(r.Box)
	r.CreatedAt, r.ExpiresAt = stored(r.CreatedAt), stored(r.ExpiresAt)
	return r
}

func cloneEvent(e keys.AuditEvent) keys.AuditEvent {
	e.Before, e.After = maps.Clone(e.Before), maps.Clone(e.After)
	e.At = stored(e.At)
	return e
}
