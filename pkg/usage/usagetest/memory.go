// Package usagetest has a usage.Store in memory and the suite that every store passes.
package usagetest

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/usage"
)

// Memory is a usage.Store in memory. Like DynamoDB it puts each row, and counts each key,
// by itself: a fault in the middle of a call leaves those before it done. It keeps no
// clock: nothing in it expires.
type Memory struct {
	mu       sync.Mutex
	rows     map[rowKey]*row
	counts   map[countKey]usage.Count
	totals   map[apikey.ID]usage.Totals
	marks    map[mark]bool
	waiting  map[string]*Waiting
	profiles map[apikey.ID]usage.Profile
	hook     func(context.Context, Call) error
}

var _ usage.Store = (*Memory)(nil)

type rowKey struct {
	account string
	time    int64
	id      string
}

type row struct {
	request usage.Request
	owner   map[usage.Half]usage.Batch
}

type countKey struct {
	id  apikey.ID
	day usage.Day
}

type mark struct {
	batch usage.Batch
	id    apikey.ID
}

// Waiting is what Join holds of one request.
type Waiting struct{ Access, Refusal *usage.Request }

// Call is one step of a call of the store as a hook sees it. Record takes one step for
// each row, Count one for each key, every other method one.
type Call struct {
	Op   string // the method's name: "Record", "Count", …
	Part int    // which step, from 0
	Done bool   // false: the step has not happened yet; true: it has, the caller does not know yet
}

// NewMemory returns an empty store.
func NewMemory() *Memory {
	return &Memory{
		rows: map[rowKey]*row{}, counts: map[countKey]usage.Count{}, totals: map[apikey.ID]usage.Totals{},
		marks: map[mark]bool{}, waiting: map[string]*Waiting{}, profiles: map[apikey.ID]usage.Profile{},
	}
}

// OnCall sets a hook that runs before every step and, if that went well, after it. An
// error of the hook is what the caller gets: before, instead of the step; after, in spite
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

// Record implements usage.Store.
func (m *Memory) Record(ctx context.Context, batch usage.Batch, rows []usage.Row) ([]bool, error) {
	mine := make([]bool, len(rows))
	for i, r := range rows {
		err := m.do(ctx, Call{Op: "Record", Part: i}, func() error {
			k := keyOf(r.Request)
			stored := m.rows[k]
			if stored == nil {
				stored = &row{owner: map[usage.Half]usage.Batch{}}
				m.rows[k] = stored
			}
			if _, taken := stored.owner[r.Half]; !taken {
				stored.owner[r.Half] = batch
				stored.request = merge(stored.request, r)
			}
			mine[i] = stored.owner[r.Half] == batch
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return mine, nil
}

// merge puts a half into what is there.
func merge(was usage.Request, r usage.Row) usage.Request {
	now := storedRequest(r.Request)
	switch r.Half {
	case usage.AccessHalf:
		now.Refused = was.Refused
	case usage.RefusalHalf:
		fill(&now, was)
		now.Generation = was.Generation
		if was.Status == 0 {
			now.Status = r.Request.Status
		}
	}
	return now
}

// fill puts into r what only the access log knows of a request.
func fill(r *usage.Request, access usage.Request) {
	r.Method, r.Route, r.Permission, r.Status = access.Method, access.Route, access.Permission, access.Status
	r.Latency, r.SourceIP, r.UserAgent = access.Latency, access.SourceIP, access.UserAgent
}

func keyOf(r usage.Request) rowKey { return rowKey{r.AccountID, r.Time.UnixMilli(), r.ID} }

// Count implements usage.Store.
func (m *Memory) Count(ctx context.Context, batch usage.Batch, counts []usage.Count, totals map[apikey.ID]usage.Totals) error {
	ids := slices.Collect(maps.Keys(totals))
	for _, c := range counts {
		ids = append(ids, c.KeyID)
	}
	slices.Sort(ids)
	for i, id := range slices.Compact(ids) {
		err := m.do(ctx, Call{Op: "Count", Part: i}, func() error {
			if m.marks[mark{batch, id}] {
				return nil
			}
			m.marks[mark{batch, id}] = true
			for _, c := range counts {
				if c.KeyID == id {
					m.add(c)
				}
			}
			if t := totals[id]; t != (usage.Totals{}) {
				sum := m.totals[id]
				sum.Requests += t.Requests
				sum.Admitted += t.Admitted
				m.totals[id] = sum
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (m *Memory) add(c usage.Count) {
	sum := cloneCount(m.counts[countKey{c.KeyID, c.Day}])
	sum.AccountID, sum.KeyID, sum.Day = c.AccountID, c.KeyID, c.Day
	for h := range c.Hours {
		sum.Hours[h].Requests += c.Hours[h].Requests
		for class, n := range c.Hours[h].Status {
			sum.Hours[h].Status[class] += n
		}
		for generation, n := range c.Hours[h].Generations {
			if sum.Hours[h].Generations == nil {
				sum.Hours[h].Generations = map[int64]int64{}
			}
			sum.Hours[h].Generations[generation] += n
		}
	}
	for permission, n := range c.Permissions {
		if sum.Permissions == nil {
			sum.Permissions = map[string]int64{}
		}
		sum.Permissions[permission] += n
	}
	m.counts[countKey{c.KeyID, c.Day}] = sum
}

// Join implements usage.Store.
func (m *Memory) Join(ctx context.Context, half usage.Half, r usage.Request) (joined usage.Request, both bool, err error) {
	err = m.do(ctx, Call{Op: "Join"}, func() error {
		w := m.waiting[r.ID]
		if w == nil {
			w = &Waiting{}
			m.waiting[r.ID] = w
		}
		left := storedRequest(r)
		if half == usage.AccessHalf {
			w.Access = &left
		} else {
			w.Refusal = &left
		}
		if both = w.Access != nil && w.Refusal != nil; both {
			joined = *w.Refusal
			fill(&joined, *w.Access)
		}
		return nil
	})
	return joined, both, err
}

// Complete implements usage.Store.
func (m *Memory) Complete(ctx context.Context, r usage.Request) error {
	return m.do(ctx, Call{Op: "Complete"}, func() error {
		if stored := m.rows[keyOf(r)]; stored != nil {
			fill(&stored.request, storedRequest(r))
		}
		return nil
	})
}

// Profiles implements usage.Store.
func (m *Memory) Profiles(ctx context.Context, ids []apikey.ID) (found map[apikey.ID]usage.Profile, err error) {
	err = m.do(ctx, Call{Op: "Profiles"}, func() error {
		found = map[apikey.ID]usage.Profile{}
		for _, id := range ids {
			if p, ok := m.profiles[id]; ok {
				found[id] = cloneProfile(p)
			}
		}
		return nil
	})
	return found, err
}

// SaveProfile implements usage.Store.
func (m *Memory) SaveProfile(ctx context.Context, p usage.Profile) error {
	return m.do(ctx, Call{Op: "SaveProfile"}, func() error {
		if m.profiles[p.KeyID].Version != p.Version {
			return fmt.Errorf("saving the profile of %s: %w", p.KeyID, usage.ErrStale)
		}
		p = cloneProfile(p)
		p.Version++
		m.profiles[p.KeyID] = p
		return nil
	})
}

// Totals implements usage.Store.
func (m *Memory) Totals(ctx context.Context, ids []apikey.ID) (found map[apikey.ID]usage.Totals, err error) {
	err = m.do(ctx, Call{Op: "Totals"}, func() error {
		found = map[apikey.ID]usage.Totals{}
		for _, id := range ids {
			if t, ok := m.totals[id]; ok {
				found[id] = t
			}
		}
		return nil
	})
	return found, err
}

// Days implements usage.Store.
func (m *Memory) Days(ctx context.Context, accountID string, ids []apikey.ID, from, to usage.Day) (list []usage.Count, err error) {
	err = m.do(ctx, Call{Op: "Days"}, func() error {
		for k, c := range m.counts {
			if slices.Contains(ids, k.id) && c.AccountID == accountID && from <= k.day && k.day <= to {
				list = append(list, cloneCount(c))
			}
		}
		slices.SortFunc(list, func(a, b usage.Count) int { return cmp.Compare(a.Day, b.Day) })
		return nil
	})
	return list, err
}

// AccountDays implements usage.Store.
func (m *Memory) AccountDays(ctx context.Context, accountID string, from, to usage.Day) (list []usage.Count, err error) {
	err = m.do(ctx, Call{Op: "AccountDays"}, func() error {
		for k, c := range m.counts {
			if c.AccountID != accountID || k.day < from || to < k.day {
				continue
			}
			short := usage.Count{AccountID: c.AccountID, KeyID: c.KeyID, Day: c.Day}
			for h := range c.Hours {
				short.Hours[h].Requests = c.Hours[h].Requests
			}
			list = append(list, short)
		}
		return nil
	})
	return list, err
}

// Requests implements usage.Store.
func (m *Memory) Requests(ctx context.Context, q usage.Query) (page usage.Page, err error) {
	err = m.do(ctx, Call{Op: "Requests"}, func() error {
		var list []usage.Request
		for _, stored := range m.rows {
			if r := stored.request; matches(q, r) && (q.After == nil || comparePlaces(place(r), *q.After) > 0) {
				list = append(list, r)
			}
		}
		slices.SortFunc(list, func(a, b usage.Request) int { return comparePlaces(place(a), place(b)) })
		if len(list) > q.Limit {
			list = list[:q.Limit]
			next := place(list[len(list)-1])
			page.Next = &next
		}
		page.Requests = list
		return nil
	})
	return page, err
}

func matches(q usage.Query, r usage.Request) bool {
	return r.AccountID == q.AccountID &&
		(q.KeyID == "" || r.KeyID == q.KeyID) &&
		(len(q.Environments) == 0 || slices.Contains(q.Environments, r.Environment)) &&
		(q.Status == 0 || r.Status == q.Status) &&
		(q.Class == 0 || r.Status/100 == q.Class) &&
		(q.Route == "" || r.Route == q.Route) &&
		(q.Method == "" || r.Method == q.Method) &&
		(!q.Refused || r.Refused != "") &&
		!r.Time.Before(q.From) && r.Time.Before(q.To)
}

func place(r usage.Request) usage.Place { return usage.Place{Time: r.Time, ID: r.ID} }

// comparePlaces says which of two rows comes first in a request log.
func comparePlaces(a, b usage.Place) int {
	if c := b.Time.Compare(a.Time); c != 0 {
		return c
	}
	return strings.Compare(b.ID, a.ID)
}

// Tables is all that a store holds but what depends on which batch came first: owners of
// rows, marks, and versions of profiles.
type Tables struct {
	Requests map[string]usage.Request // by id
	Counts   map[apikey.ID]map[usage.Day]usage.Count
	Totals   map[apikey.ID]usage.Totals
	Profiles map[apikey.ID]usage.Profile
	Waiting  map[string]Waiting // by the request's id
}

// Tables returns what the store holds.
func (m *Memory) Tables() Tables {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := Tables{
		Requests: map[string]usage.Request{}, Counts: map[apikey.ID]map[usage.Day]usage.Count{},
		Totals: maps.Clone(m.totals), Profiles: map[apikey.ID]usage.Profile{}, Waiting: map[string]Waiting{},
	}
	for _, r := range m.rows {
		t.Requests[r.request.ID] = r.request
	}
	for k, c := range m.counts {
		if t.Counts[k.id] == nil {
			t.Counts[k.id] = map[usage.Day]usage.Count{}
		}
		t.Counts[k.id][k.day] = cloneCount(c)
	}
	for id, p := range m.profiles {
		p = cloneProfile(p)
		p.Version = 0
		t.Profiles[id] = p
	}
	for id, w := range m.waiting {
		t.Waiting[id] = *w
	}
	return t
}

// stored is a time as a store keeps it: to the millisecond, in UTC.
func stored(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Millisecond)
}

func storedRequest(r usage.Request) usage.Request {
	r.Time, r.Latency = stored(r.Time), r.Latency.Truncate(time.Millisecond)
	return r
}

func cloneCount(c usage.Count) usage.Count {
	for h := range c.Hours {
		c.Hours[h].Generations = maps.Clone(c.Hours[h].Generations)
	}
	c.Permissions = maps.Clone(c.Permissions)
	return c
}

func cloneProfile(p usage.Profile) usage.Profile {
	p.First, p.LastUsed, p.LastRefused = stored(p.First), stored(p.LastUsed), stored(p.LastRefused)
	p.Permissions, p.Generations, p.Networks = cloneTimes(p.Permissions), cloneTimes(p.Generations), cloneTimes(p.Networks)
	return p
}

func cloneTimes[K comparable](m map[K]time.Time) map[K]time.Time {
	out := make(map[K]time.Time, len(m))
	for k, t := range m {
		out[k] = stored(t)
	}
	return out
}
