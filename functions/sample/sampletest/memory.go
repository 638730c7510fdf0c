// Package sampletest is what every store of the sample API is held against: a suite of
// tests, and a store in memory that passes it.
package sampletest

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/keyreeve/keyreeve/functions/sample/document"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

var _ document.Store = (*Memory)(nil)

// Memory is a document.Store in memory. The zero value is empty and ready.
type Memory struct {
	mu   sync.Mutex
	docs map[place]document.Doc
}

type place struct {
	scope document.Scope
	kind  document.Kind
	id    string
}

// Create implements document.Store.
func (m *Memory) Create(_ context.Context, s document.Scope, docs []document.Doc) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, d := range docs {
		if _, ok := m.docs[place{s, d.Kind, d.ID}]; ok {
			return document.ErrExists
		}
	}
	if m.docs == nil {
		m.docs = map[place]document.Doc{}
	}
	for _, d := range docs {
		d.JSON = slices.Clone(d.JSON)
		m.docs[place{s, d.Kind, d.ID}] = d
	}
	return nil
}

// Get implements document.Store.
func (m *Memory) Get(_ context.Context, s document.Scope, k document.Kind, id string) (document.Doc, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, ok := m.docs[place{s, k, id}]
	if !ok {
		return document.Doc{}, keys.ErrNotFound
	}
	return d, nil
}

// Replace implements document.Store.
func (m *Memory) Replace(_ context.Context, s document.Scope, d document.Doc) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := place{s, d.Kind, d.ID}
	if was, ok := m.docs[p]; !ok || was.Version != d.Version-1 {
		return document.ErrChanged
	}
	d.JSON = slices.Clone(d.JSON)
	m.docs[p] = d
	return nil
}

// Delete implements document.Store.
func (m *Memory) Delete(_ context.Context, s document.Scope, k document.Kind, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := place{s, k, id}
	if _, ok := m.docs[p]; !ok {
		return keys.ErrNotFound
	}
	delete(m.docs, p)
	return nil
}

// List implements document.Store.
func (m *Memory) List(_ context.Context, s document.Scope, k document.Kind, f document.Filter) ([]document.Doc, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []document.Doc
	for p, d := range m.docs {
		if p.scope == s && p.kind == k && p.id > f.After &&
			(len(f.Customers) == 0 || slices.Contains(f.Customers, d.Customer)) {
			out = append(out, d)
		}
	}
	slices.SortFunc(out, func(a, b document.Doc) int { return strings.Compare(a.ID, b.ID) })
	return out[:min(len(out), f.Limit)], nil
}
