// Package webhooktest has what tests of webhooks need: a store in memory, and the suite
// that every webhook.Store passes.
package webhooktest

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/keyreeve/keyreeve/pkg/alert"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/webhook"
)

var _ webhook.Store = (*Memory)(nil)

// Memory is a webhook.Store in memory.
type Memory struct {
	mu         sync.Mutex
	endpoints  map[[2]string]webhook.Endpoint // by account and id
	deliveries map[webhook.Ref]webhook.Delivery
}

// NewMemory returns an empty store.
func NewMemory() *Memory {
	return &Memory{endpoints: map[[2]string]webhook.Endpoint{}, deliveries: map[webhook.Ref]webhook.Delivery{}}
}

// Endpoints implements webhook.Store.
func (m *Memory) Endpoints(_ context.Context, accountID string) ([]webhook.Endpoint, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []webhook.Endpoint
	for at, e := range m.endpoints {
		if at[0] == accountID {
			list = append(list, copyOf(e))
		}
	}
	slices.SortFunc(list, func(a, b webhook.Endpoint) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), strings.Compare(a.ID, b.ID))
	})
	return list, nil
}

// Endpoint implements webhook.Store.
func (m *Memory) Endpoint(_ context.Context, accountID, id string) (webhook.Endpoint, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.endpoints[[2]string{accountID, id}]
	if !ok {
		return webhook.Endpoint{}, keys.ErrNotFound
	}
	return copyOf(e), nil
}

// CreateEndpoint implements webhook.Store.
func (m *Memory) CreateEndpoint(_ context.Context, e webhook.Endpoint) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for at := range m.endpoints {
		if at[0] == e.AccountID {
			n++
		}
	}
	if n >= webhook.MaxEndpoints {
		return webhook.ErrTooMany
	}
	m.endpoints[[2]string{e.AccountID, e.ID}] = copyOf(e)
	return nil
}

// UpdateEndpoint implements webhook.Store.
func (m *Memory) UpdateEndpoint(_ context.Context, e webhook.Endpoint) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	was, ok := m.endpoints[[2]string{e.AccountID, e.ID}]
	switch {
	case !ok:
		return keys.ErrNotFound
	case was.Version != e.Version-1:
		return webhook.ErrChanged
	}
	m.endpoints[[2]string{e.AccountID, e.ID}] = copyOf(e)
	return nil
}

// DeleteEndpoint implements webhook.Store.
func (m *Memory) DeleteEndpoint(_ context.Context, accountID, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.endpoints[[2]string{accountID, id}]; !ok {
		return keys.ErrNotFound
	}
	delete(m.endpoints, [2]string{accountID, id})
	return nil
}

// Enqueue implements webhook.Store.
func (m *Memory) Enqueue(_ context.Context, d webhook.Delivery) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.deliveries[refOf(d)]; !ok {
		m.deliveries[refOf(d)] = stored(d)
	}
	return nil
}

// Take implements webhook.Store.
func (m *Memory) Take(_ context.Context, r webhook.Ref, now time.Time, lease time.Duration) (webhook.Delivery, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, ok := m.deliveries[r]
	if !ok || d.State != webhook.Pending || d.NextAt.After(now) {
		return webhook.Delivery{}, false, nil
	}
	d.NextAt = now.Add(lease)
	m.deliveries[r] = d
	d = stored(d)
	d.Lease = d.NextAt
	return d, true, nil
}

// Due implements webhook.Store.
func (m *Memory) Due(_ context.Context, now time.Time, limit int) ([]webhook.Ref, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var due []webhook.Delivery
	for _, d := range m.deliveries {
		if d.State == webhook.Pending && !d.NextAt.After(now) {
			due = append(due, d)
		}
	}
	slices.SortFunc(due, func(a, b webhook.Delivery) int {
		return cmp.Or(a.NextAt.Compare(b.NextAt), strings.Compare(a.ID, b.ID), strings.Compare(a.AccountID, b.AccountID))
	})
	var refs []webhook.Ref
	for _, d := range due[:min(limit, len(due))] {
		refs = append(refs, refOf(d))
	}
	return refs, nil
}

// Finish implements webhook.Store.
func (m *Memory) Finish(_ context.Context, d webhook.Delivery) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	was, ok := m.deliveries[refOf(d)]
	if !ok || was.State != webhook.Pending || !was.NextAt.Equal(d.Lease) && d.State != webhook.Delivered {
		return nil
	}
	m.deliveries[refOf(d)] = stored(d)
	return nil
}

// Reopen implements webhook.Store.
func (m *Memory) Reopen(_ context.Context, r webhook.Ref, now time.Time) (webhook.Delivery, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, ok := m.deliveries[r]
	if !ok {
		return webhook.Delivery{}, keys.ErrNotFound
	}
	if d.State != webhook.Pending {
		d.State, d.Attempts, d.NextAt = webhook.Pending, 0, now
		m.deliveries[r] = d
	}
	return stored(d), nil
}

// Deliveries implements webhook.Store.
func (m *Memory) Deliveries(_ context.Context, accountID, endpointID string, limit int, after string) ([]webhook.Delivery, string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []webhook.Delivery
	for r, d := range m.deliveries {
		if r.AccountID == accountID && d.EndpointID == endpointID && (after == "" || d.ID < after) {
			list = append(list, stored(d))
		}
	}
	slices.SortFunc(list, func(a, b webhook.Delivery) int { return strings.Compare(b.ID, a.ID) })
	if len(list) <= limit {
		return list, "", nil
	}
	return list[:limit], list[limit-1].ID, nil
}

// Delivery implements webhook.Store.
func (m *Memory) Delivery(_ context.Context, r webhook.Ref) (webhook.Delivery, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, ok := m.deliveries[r]
	if !ok {
		return webhook.Delivery{}, keys.ErrNotFound
	}
	return stored(d), nil
}

func refOf(d webhook.Delivery) webhook.Ref {
	return webhook.Ref{AccountID: d.AccountID, ID: d.ID}
}

// stored is d as a store keeps it and gives it back, sharing nothing with d.
func stored(d webhook.Delivery) webhook.Delivery {
	d.Lease = time.Time{}
	if d.State != webhook.Pending {
		d.NextAt = time.Time{}
	}
	d.Log = slices.Clone(d.Log)
	return d
}

func copyOf(e webhook.Endpoint) webhook.Endpoint {
	e.Kinds, e.Box = slices.Clone(e.Kinds), slices.Clone(e.Box)
	return e
}

// Alerts are alerts in memory, for what a Notifier needs of their store.
type Alerts struct {
	mu   sync.Mutex
	byID map[[2]string]alert.Alert
}

var _ webhook.Alerts = (*Alerts)(nil)

// NewAlerts returns them.
func NewAlerts(list ...alert.Alert) *Alerts {
	a := &Alerts{byID: map[[2]string]alert.Alert{}}
	for _, one := range list {
		a.Put(one)
	}
	return a
}

// Put adds an alert, or replaces it.
func (a *Alerts) Put(one alert.Alert) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.byID[[2]string{one.AccountID, one.ID}] = one
}

// Alert implements webhook.Alerts.
func (a *Alerts) Alert(_ context.Context, accountID, id string) (alert.Alert, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	one, ok := a.byID[[2]string{accountID, id}]
	if !ok {
		return alert.Alert{}, keys.ErrNotFound
	}
	return one, nil
}
