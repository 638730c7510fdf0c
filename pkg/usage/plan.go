package usage

import (
	"cmp"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/logline"
	"github.com/keyreeve/keyreeve/pkg/order"
	"github.com/keyreeve/keyreeve/pkg/route"
)

// plan is what a batch writes and says, made of its lines alone: the same at each attempt.
//
//	line                          row       counted as                       profile
//	access, with a key            access    a request; admitted, if a guard  all
//	                                        must have counted it
//	access, without a key, 401    -         -                                -
//	access, without a key         -         -                                -
//	refusal by the authorizer     refusal   a request that got 401           last refused
//	refusal by the guard          refusal   one admitted less                -
//	near limit                    -         -                                -
//
// The second and the fourth of one request are joined.
type plan struct {
	rows     []Row
	effects  []effect // of rows, by index
	joins    []Row    // lines that wait for their other half
	profiles map[apikey.ID]Profile
	facts    Facts // without Joined and Before; Unknown also holds what Joined will
	nobodys  int   // refusals whose key nobody knows
}

// Statuses that say something of the credential.
const (
	unauthorized = 401
	forbidden    = 403
)

// effect is what one row counts.
type effect struct {
	key         apikey.ID
	session     bool // has no totals
	account     string
	at          time.Time
	requests    int64 // 0 or 1
	admitted    int64
	statusClass int
	generation  int64  // 0: of none
	permission  string // empty: of none
}

// owner is whose a key is. It never changes.
type owner struct {
	account     string
	environment keys.Environment
	parent      apikey.ID // empty: the key is no session
}

// makePlan decides what becomes of a batch's lines. owners has the keys that events name;
// a key that is not in it is unknown.
func makePlan(table *route.Table, l lines, owners map[apikey.ID]owner) plan {
	p := plan{profiles: map[apikey.ID]Profile{}}
	for _, a := range l.access {
		switch {
		case a.KeyID != "":
			p.request(table, a)
		case a.Status == unauthorized:
			r := requestOf(table, a)
			p.joins = append(p.joins, Row{AccessHalf, r})
			p.facts.Unknown = append(p.facts.Unknown, r)
		}
	}
	for _, e := range l.events {
		o, known := owners[e.KeyID]
		switch {
		case known && e.What == logline.NearLimit:
			p.facts.Near = append(p.facts.Near, Near{e.KeyID, o.parent, o.account, o.environment, e.Time, e.Limit})
		case known && e.What == logline.Refused:
			p.refusal(e, o)
		case e.What == logline.Refused:
			p.nobodys++
		}
	}
	byTime := func(a, b Request) int {
		return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Refused, b.Refused))
	}
	order.By(p.facts.Requests, byTime)
	order.By(p.facts.Unknown, byTime)
	order.By(p.facts.Unguarded, byTime)
	order.By(p.facts.Near, func(a, b Near) int { return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.KeyID, b.KeyID)) })
	return p
}

// requestOf is what an access line says.
func requestOf(table *route.Table, a logline.Access) Request {
	rt, _ := table.Lookup(a.Method, a.Route)
	return Request{
		ID: a.ExtendedRequestID, RequestID: a.RequestID, Time: a.Time,
		KeyID: a.KeyID, AccountID: a.AccountID, Environment: keys.Environment(a.Environment), Generation: a.Generation, Parent: a.Parent,
		Method: a.Method, Route: a.Route, Permission: rt.Permission, Status: a.Status,
		Latency: a.Latency, SourceIP: a.SourceIP, UserAgent: a.UserAgent,
	}
}

// request takes an access line with a key: its secret was right, as far as the authorizer
// knew, perhaps out of its cache.
func (p *plan) request(table *route.Table, a logline.Access) {
	r := requestOf(table, a)
	e := effect{
		key: r.KeyID, session: r.Parent != "", account: r.AccountID, at: r.Time, requests: 1,
		statusClass: r.Status / 100, generation: r.Generation, permission: r.Permission,
	}
	if reachedGuard(table, a) {
		e.admitted = 1
	}
	p.add(Row{AccessHalf, r}, e)
	if rt, ok := table.Lookup(a.Method, a.Route); ok && rt.Unguarded && r.Status/100 >= 2 && r.Status/100 <= 3 {
		p.facts.Unguarded = append(p.facts.Unguarded, r)
	}

	known := Profile{KeyID: r.Holder(), AccountID: r.AccountID}
	if r.Parent == "" { // a session's secret is not its parent's
		known.Generations = map[int64]time.Time{r.Generation: r.Time}
	}
	switch {
	case r.Status == unauthorized && r.Parent != "": // it has ended, and its parent was not refused
		return
	case r.Status == unauthorized: // the guard knew better
		known.LastRefused = r.Time
	default:
		known.First, known.LastUsed = r.Time, r.Time
		if r.Permission != "" && r.Status != forbidden {
			known.Permissions = map[string]time.Time{r.Permission: r.Time}
		}
		if network := Network(r.SourceIP); network != "" {
			known.Networks = map[string]time.Time{network: r.Time}
		}
	}
	p.know(known)
}

// reachedGuard reports whether a guard must have seen the request: it was handed to a
// function, and a guard is in front of that. A route that is not in the table any more had
// one, as nearly all have: API Gateway lets a key through to nothing but routes.
func reachedGuard(table *route.Table, a logline.Access) bool {
	switch a.ResponseType {
	case "": // the function answered
	case "INTEGRATION_FAILURE", "INTEGRATION_TIMEOUT", "DEFAULT_5XX": // or failed to; the last: its answer was none
	default: // API Gateway refused by itself (supported-gateway-response-types.html)
		return false
	}
	rt, ok := table.Lookup(a.Method, a.Route)
	return !ok || !rt.Unguarded && !rt.Public
}

// refusal takes a line of the authorizer or the guard, of a key that is known.
func (p *plan) refusal(l logline.Event, o owner) {
	r := Request{
		ID: l.ID(), RequestID: l.RequestID, Time: l.Time,
		KeyID: l.KeyID, Parent: o.parent, AccountID: o.account, Environment: o.environment, Refused: l.Reason,
	}
	e := effect{key: r.KeyID, session: r.Parent != "", account: r.AccountID, at: r.Time}
	if l.By == logline.ByGuard { // the access line counts the request, as one that was admitted
		e.admitted = -1
	} else {
		r.Status = unauthorized
		e.requests, e.statusClass = 1, r.Status/100
		p.joins = append(p.joins, Row{RefusalHalf, r})
		if r.Parent == "" {
			p.know(Profile{KeyID: r.KeyID, AccountID: r.AccountID, LastRefused: r.Time})
		}
	}
	p.add(Row{RefusalHalf, r}, e)
}

func (p *plan) add(row Row, e effect) {
	p.rows, p.effects = append(p.rows, row), append(p.effects, e)
	p.facts.Requests = append(p.facts.Requests, row.Request)
}

func (p *plan) know(known Profile) { p.profiles[known.KeyID] = p.profiles[known.KeyID].Join(known) }

// count adds up what the rows count that are the batch's own. Its order is always the
// same.
func (p *plan) count(mine []bool) ([]Count, map[apikey.ID]Totals) {
	type place struct {
		key apikey.ID
		day Day
	}
	index := map[place]int{}
	var counts []Count
	totals := map[apikey.ID]Totals{}
	for i, e := range p.effects {
		if !mine[i] {
			continue
		}
		if !e.session {
			t := totals[e.key]
			t.Requests += e.requests
			t.Admitted += e.admitted
			totals[e.key] = t
		}
		if e.requests == 0 {
			continue
		}
		at := place{e.key, DayOf(e.at)}
		j, ok := index[at]
		if !ok {
			j = len(counts)
			index[at] = j
			counts = append(counts, Count{AccountID: e.account, KeyID: e.key, Day: at.day, Permissions: map[string]int64{}})
		}
		c := &counts[j]
		h := &c.Hours[e.at.UTC().Hour()]
		h.Requests += e.requests
		h.Status[e.statusClass] += e.requests
		if e.generation > 0 {
			if h.Generations == nil {
				h.Generations = map[int64]int64{}
			}
			h.Generations[e.generation] += e.requests
		}
		if e.permission != "" {
			c.Permissions[e.permission] += e.requests
		}
	}
	order.By(counts, func(a, b Count) int { return cmp.Or(cmp.Compare(a.KeyID, b.KeyID), cmp.Compare(a.Day, b.Day)) })
	return counts, totals
}
