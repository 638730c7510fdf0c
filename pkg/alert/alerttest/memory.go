package alerttest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/keyreeve/keyreeve/pkg/alert"
	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

var _ alert.Store = (*Memory)(nil)

// Memory is an alert.Store in memory. It keeps no clock: nothing in it expires.
type Memory struct {
	mu       sync.Mutex
	alerts   map[string]map[string]alert.Alert // by account and id
	failures map[span]map[alert.Failure]bool
	hook     func(Call) error
}

type span struct {
	account, cause string
	window         int64
}

// Call is one call of a store as a hook sees it.
type Call struct {
	Op   string // the method's name
	Done bool   // false: nothing has happened yet; true: it was applied, the caller does not know yet
}

// NewMemory returns an empty store.
func NewMemory() *Memory {
	return &Memory{alerts: map[string]map[string]alert.Alert{}, failures: map[span]map[alert.Failure]bool{}}
}

// OnCall sets a hook that runs before every call and, if that went well, after it. An
// error of the hook is what the caller gets: before, instead of the call; after, in spite
// of it. Nil takes it away.
func (m *Memory) OnCall(hook func(Call) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hook = hook
}

// do runs f under the mutex, between the two runs of the hook.
func (m *Memory) do(ctx context.Context, op string, f func() error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("memory store: %w: %w", keys.ErrUnavailable, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.hook != nil {
		if err := m.hook(Call{Op: op}); err != nil {
			return err
		}
	}
	err := f()
	if err != nil || m.hook == nil {
		return err
	}
	return m.hook(Call{Op: op, Done: true})
}

// Raise implements alert.Store.
func (m *Memory) Raise(ctx context.Context, a alert.Alert) (raised bool, err error) {
	err = m.do(ctx, "Raise", func() error {
		if _, ok := m.alerts[a.AccountID][a.ID]; ok {
			return nil
		}
		if m.alerts[a.AccountID] == nil {
			m.alerts[a.AccountID] = map[string]alert.Alert{}
		}
		m.alerts[a.AccountID][a.ID] = clone(a)
		raised = true
		return nil
	})
	return raised, err
}

// Note implements alert.Store.
func (m *Memory) Note(ctx context.Context, accountID, id, name, value string) (kept string, err error) {
	err = m.do(ctx, "Note", func() error {
		a, err := m.find(accountID, id)
		if err != nil {
			return err
		}
		if _, ok := a.Data[name]; !ok {
			a = clone(a)
			if a.Data == nil {
				a.Data = map[string]string{}
			}
			a.Data[name] = value
			m.alerts[accountID][id] = a
		}
		kept = a.Data[name]
		return nil
	})
	return kept, err
}

func (m *Memory) find(accountID, id string) (alert.Alert, error) {
	a, ok := m.alerts[accountID][id]
	if !ok {
		return alert.Alert{}, fmt.Errorf("alert: %w", keys.ErrNotFound)
	}
	return a, nil
}

// Alerts implements alert.Store.
func (m *Memory) Alerts(ctx context.Context, q alert.Query) (page alert.Page, err error) {
	err = m.do(ctx, "Alerts", func() error {
		ids := slices.SortedFunc(maps.Keys(m.alerts[q.AccountID]), func(a, b string) int { return strings.Compare(b, a) })
		for _, id := range ids {
			a := m.alerts[q.AccountID][id]
			if q.After != "" && id >= q.After || !q.Matches(&a) {
				continue
			}
			if len(page.Alerts) == q.Limit {
				page.Next = page.Alerts[q.Limit-1].ID
				return nil
			}
			page.Alerts = append(page.Alerts, clone(a))
		}
		return nil
	})
	return page, err
}

// Alert implements alert.Store.
func (m *Memory) Alert(ctx context.Context, accountID, id string) (a alert.Alert, err error) {
	err = m.do(ctx, "Alert", func() error {
		stored, err := m.find(accountID, id)
		a = clone(stored)
		return err
	})
	return a, err
}

// Acknowledge implements alert.Store.
func (m *Memory) Acknowledge(ctx context.Context, accountID, id string, by apikey.ID, at time.Time) (a alert.Alert, err error) {
	err = m.do(ctx, "Acknowledge", func() error {
		stored, err := m.find(accountID, id)
		if err != nil {
			return err
		}
		if stored.AcknowledgedAt.IsZero() {
			stored.AcknowledgedAt, stored.AcknowledgedBy = inStore(at), by
			m.alerts[accountID][id] = stored
		}
		a = clone(stored)
		return nil
	})
	return a, err
}

// Fail implements alert.Store.
func (m *Memory) Fail(ctx context.Context, accountID, cause string, window time.Time, failures []alert.Failure) (known []alert.Failure, err error) {
	err = m.do(ctx, "Fail", func() error {
		at := func(n int) span {
			return span{accountID, cause, window.Add(time.Duration(n) * alert.FailureSpan).UnixMilli()}
		}
		set := m.failures[at(0)]
		if set == nil {
			set = map[alert.Failure]bool{}
			m.failures[at(0)] = set
		}
		for _, f := range failures {
			if len(set) < alert.FailureThreshold {
				set[alert.Failure{ID: f.ID, Time: inStore(f.Time)}] = true
			}
		}
		for n := -1; n <= 1; n++ {
			known = slices.AppendSeq(known, maps.Keys(m.failures[at(n)]))
		}
		return nil
	})
	return known, err
}

// inStore is a time as a store keeps it: to the millisecond, in UTC.
func inStore(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Millisecond)
}

func clone(a alert.Alert) alert.Alert {
	a.Data = maps.Clone(a.Data)
	for _, t := range []*time.Time{&a.Window, &a.RaisedAt, &a.AcknowledgedAt} {
		*t = inStore(*t)
	}
	return a
}
