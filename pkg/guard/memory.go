package guard

import (
	"container/list"
	"sync"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

// memory is what a process remembers of the keys it has served: the last meter, so that
// the next write fits at once; what contexts older than the key turned out to mean;
// refusals; and when it said that the limit is near. It is bounded, and forgets the key that was unused for longest. Nothing in it
// lets a request pass: that takes a write whose condition holds, so a memory that is out
// of date, or was lost, costs calls and no promise.
type memory struct {
	mu    sync.Mutex
	most  int
	order *list.List // of *entry, last used first
	of    map[apikey.ID]*list.Element
}

// entry is what is remembered of one key.
type entry struct {
	id      apikey.ID
	met     bool // meter was seen
	meter   Meter
	denied  denial
	asked   asked
	lease   lease
	leasing time.Time // a write of this process is on its way for a lease, until then at most
	pace    pace
	near    near
	meaning [contextsPerKey]meaning
	next    int // of meaning to be replaced

	unreported int64 // requests let through on leases that the meter does not know of
}

// contextsPerKey bounds the contexts of one key that are remembered. Two generations of
// a secret, each before and after a change, are what a cache of policies really holds.
const contextsPerKey = 4

// meaning is what a context that is older than its key turned out to be. It is found by
// verdict and generation: by the verdict alone, an old secret would inherit what the new
// one may do.
type meaning struct {
	verdict, generation int64 // of the context; generations start at 1, 0 means an unused place
	who                 keys.Identity
	dead                bool // refused, when last looked at
}

// near is the last time that it was said that a limit is near.
type near struct {
	at    time.Time
	limit int // that it was said of
}

// asked bounds the reads of a key that only confirm a refusal.
type asked struct {
	slot  int64
	times int
}

// confirmsPerSlot is how many refusals per key and slot are checked against the key
// itself. It is more than a person who has just granted a permission and tries needs, and
// bounds what a flood of forbidden requests costs.
const confirmsPerSlot = 8

func newMemory(most int) *memory {
	return &memory{most: most, order: list.New(), of: map[apikey.ID]*list.Element{}}
}

// with calls f on the entry of a key, new or not.
func (m *memory) with(id apikey.ID, f func(*entry)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, ok := m.of[id]
	if ok {
		m.order.MoveToFront(at)
	} else {
		if m.order.Len() >= m.most {
			last := m.order.Back()
			delete(m.of, last.Value.(*entry).id)
			m.order.Remove(last)
		}
		at = m.order.PushFront(&entry{id: id})
		m.of[id] = at
	}
	f(at.Value.(*entry))
}

// meant returns what is remembered of a context.
func (e *entry) meant(verdict, generation int64) (m meaning, ok bool) {
	for _, m := range e.meaning {
		if m.generation == generation && m.verdict == verdict {
			return m, true
		}
	}
	return meaning{}, false
}

// mean remembers what a context turned out to be.
func (e *entry) mean(m meaning) {
	for i := range e.meaning {
		if e.meaning[i].generation == m.generation && e.meaning[i].verdict == m.verdict {
			e.meaning[i] = m
			return
		}
	}
	e.meaning[e.next] = m
	e.next = (e.next + 1) % contextsPerKey
}
