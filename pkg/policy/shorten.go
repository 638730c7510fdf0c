package policy

import "slices"

// plan is a policy in the making: resources by the statement they belong to, each without
// the base and with its closing quote.
type plan struct{ allow, timed, deny []string }

func add(list *[]string, resources ...string) {
	for _, r := range resources {
		if !slices.Contains(*list, r) {
			*list = append(*list, r)
		}
	}
}

// shorten writes the longest of the shorter policies that fits. It gives up, in turn, what
// the guard does not need, and at each step first tries to keep the networks on guarded
// routes, then to do without:
//
//  1. filled-in customers and Denies on guarded routes;
//  2. the ends of paths: every route below the same first segments becomes one wildcard,
//     with ever fewer segments, down to all paths of a method. A wildcard that would open
//     an unguarded route gets a Deny for that route; where a Deny would hit something
//     allowed, the routes under the wildcard keep their own resources instead.
//
// If nothing fits, there are too many resources that must be exact. Then the shortest plan
// without Denies is cut off and the number of resources left out is returned.
func (p *Policies) shorten(w *writer, allowed []bool, customers []string) (dropped int) {
	deepest := 0
	for i := range p.rows {
		deepest = max(deepest, len(p.rows[i].segments))
	}
	for depth := deepest; depth >= 0; depth-- {
		plan := p.plan(allowed, customers, depth, true)
		for _, w.spare = range w.spared() {
			if w.write(plan); !w.long() {
				return 0
			}
		}
	}
	rest := p.plan(allowed, customers, 0, false)
	fits := rest
	for {
		w.write(fits)
		if !w.long() {
			return len(rest.allow) + len(rest.timed) - len(fits.allow) - len(fits.timed)
		}
		// Each round leaves out one of ten, at least one: the routes that must be
		// exact first, as the guarded ones are mostly wildcards by now.
		if n := len(fits.timed); n > 0 {
			fits.timed = fits.timed[:n-1-n/10]
		} else {
			n = len(fits.allow)
			fits.allow = fits.allow[:n-1-n/10]
		}
	}
}

func (w *writer) write(p plan) {
	w.begin()
	for _, list := range []struct {
		effect    string
		timed     bool
		resources []string
	}{{"Allow", false, p.allow}, {"Allow", true, p.timed}, {"Deny", false, p.deny}} {
		if len(list.resources) > 0 {
			w.statement(list.effect, list.timed)
			for _, r := range list.resources {
				w.resource(r)
			}
		}
	}
	w.end()
}

// plan is the policy in which every allowed row deeper than depth segments is part of a
// wildcard after that many, where that is safe.
func (p *Policies) plan(allowed []bool, customers []string, depth int, deny bool) plan {
	var out plan
	for i := range p.rows {
		r := &p.rows[i]
		if !allowed[i] {
			continue
		}
		if len(r.segments) > depth {
			if denied, timed, ok := p.widen(allowed, customers, r, depth); ok && (deny || denied == nil) {
				wide := suffix(r.route.Method, r.segments[:depth]) + "/" + anySegment + quote
				if timed {
					add(&out.timed, wide)
				} else {
					add(&out.allow, wide)
				}
				add(&out.deny, denied...)
				continue
			}
		}
		list := &out.allow
		if r.timed() {
			list = &out.timed
		}
		if r.after == nil || len(customers) == 0 || !r.route.Unguarded && !p.opensConfined(r) {
			add(list, r.plain...)
			continue
		}
		for _, c := range customers {
			for _, e := range r.after {
				add(list, r.before+c+e)
			}
		}
	}
	return out
}

// opensConfined reports whether a row's wildcards open an unguarded route that names a
// customer. Whoever may use the row may use that route, but for its own customers alone.
func (p *Policies) opensConfined(r *row) bool {
	return slices.ContainsFunc(r.opens, func(i int) bool { return p.rows[i].after != nil })
}

// widen decides whether a row may become a wildcard after its first depth segments: which
// resources must then be denied, and whether the wildcard opens unguarded routes that the
// key may use, and so needs the time limit.
func (p *Policies) widen(allowed []bool, customers []string, r *row, depth int) (denied []string, timed, ok bool) {
	wide := append(pattern(r.segments[:depth], ""), element{kind: wild})
	for i := range p.rows {
		u := &p.rows[i]
		if !u.route.Unguarded || u.route.Method != r.route.Method || !overlap(wide, requests(u.segments, true)) {
			continue
		}
		confined := u.after != nil && len(customers) > 0
		switch {
		case allowed[i] && !confined:
			timed = true
		case allowed[i] || anyOf(allowed, u.covers):
			return nil, false, false
		default:
			denied = append(denied, u.plain...)
		}
	}
	return denied, timed, true
}
