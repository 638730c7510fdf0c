// Package policy writes the IAM policy that the authorizer answers, and evaluates such
// policies for the local gateway and for tests (evaluate.go).
//
// The model: API Gateway keeps one policy per credential and asks it about every request,
// so the policy covers all routes that the key may use on the stage, not just the one
// that was asked for first. A route becomes one resource, or two where a trailing slash
// makes a difference:
//
//	arn:aws:execute-api:eu-central-1:123456789012:abcdef1234/production/GET/v1/customers/?*
//	└────────────────────── the base, from methodArn ──────────────────┘└ from the table ─┘
//
// IAM's wildcards know no "/", and a Deny that is meant for one route can hit another one
// that is allowed. So a policy is never trusted to be exact on a guarded route: the guard
// decides there, by the matched route, and the policy must only not stand in its way. On
// an unguarded route nobody else decides, so there the policy is exact.
//
// Promises, for every table and every identity:
//
//   - What the key may use is allowed, with and without a trailing slash.
//   - On an unguarded route nothing else is, nor anything from the second on at which the
//     key expires or its old secret's grace ends. (On guarded ones the guard answers that
//     with 401, where the policy could only say 403.) This holds whether or not AWS
//     decodes "%2F" in the ARN that it checks, which it does not say.
//   - Of a key that is confined to networks, nothing is allowed from elsewhere: every Allow
//     has the condition IpAddress on aws:SourceIp, the address that API Gateway saw. (Where
//     that would make the document too long, only those of unguarded routes have it. That
//     authorizers' policies may have it: github.com/aws/aws-lambda-go issue 458.)
//   - On a guarded route a wildcard's surplus is denied again, unless the Deny would also
//     hit what is allowed. The segment of a confined key's customer is filled in.
//   - Of a session, management routes alone are allowed; and of unguarded routes, what a
//     management route's wildcard matches, if the session's key may use that one.
//   - "*" and "?" come from the route table alone.
//   - No resource exceeds [MaxResource], no document [MaxDocument]. What is too long gets
//     shorter at the guarded routes' expense: no networks there, then wildcards, with a Deny
//     on unguarded routes that they would open. If that does not help, resources are left out, so
//     denied, and counted: an unguarded route for a key of fifty customers or so, or a
//     table with as many unguarded routes of different permissions.
package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/route"
)

const (
	// MaxResource is the length of a resource in a policy, in characters (API Gateway
	// Developer Guide, "Output from an API Gateway Lambda authorizer").
	MaxResource = 512
	// MaxDocument is the size of a policy document in bytes.
	MaxDocument = 8 << 10

	// target leaves room for a gateway that counts its own spelling of the document.
	target = 8000
	// maxBase bounds "arn:…/stage/", in characters. Together with a path of 256 characters
	// (route.Load) and a customer's id (keys.MaxIDLen) it stays under MaxResource.
	maxBase = 160
)

// Policies writes the policies of one route table. It is immutable and safe for
// concurrent use.
type Policies struct {
	rows        []row
	permissions []string // that the rows name, each once
	contested   []int    // rows that other rows' patterns match
	size        int      // of all resources after the base, in bytes
}

// New prepares a route table. Public routes have no authorizer and get no policy. That no
// unguarded route is opened by another's wildcard is [route.Load]'s promise. The error
// names unguarded routes whose customer stands between two other parameters, where no
// policy can be exact.
func New(t *route.Table) (*Policies, error) { return compile(t.Routes()) }

func compile(routes []route.Route) (*Policies, error) {
	p := &Policies{}
	var errs []error
	for _, r := range routes {
		if r.Public {
			continue
		}
		row := newRow(r)
		if r.Unguarded && r.Customer != "" && !row.confinable() {
			errs = append(errs, fmt.Errorf("policy: %s %s is unguarded, but between two parameters a policy cannot hold {%s} to one customer", r.Method, r.Path, r.Customer))
		}
		row.permission = -1
		if r.Permission != "" {
			if row.permission = slices.Index(p.permissions, r.Permission); row.permission < 0 {
				row.permission = len(p.permissions)
				p.permissions = append(p.permissions, r.Permission)
			}
		}
		for _, s := range row.plain {
			p.size += len(s)
		}
		p.rows = append(p.rows, row)
	}
	if errs != nil {
		return nil, errors.Join(errs...)
	}
	for i := range p.rows {
		for j := range p.rows {
			if i != j {
				p.relate(i, j)
			}
		}
		if p.rows[i].grantedBy != nil {
			p.contested = append(p.contested, i)
		}
	}
	for i := range p.rows {
		for j := range p.rows {
			if i != j && p.rows[i].isWithin(&p.rows[j]) {
				p.rows[i].within = append(p.rows[i].within, j)
			}
		}
	}
	return p, nil
}

// isWithin reports whether b's resource ends in a wildcard that matches whatever a's
// resources match, under the same condition. No two rows have the same resource
// (route.Load), so none is within another that is within it.
func (a *row) isWithin(b *row) bool {
	prefix, wild := strings.CutSuffix(b.plain[0], anySegment+quote)
	if !wild || a.timed() != b.timed() {
		return false
	}
	for _, e := range a.plain {
		rest, under := strings.CutPrefix(e, prefix)
		if !under || rest == quote { // the wildcard takes one character at least
			return false
		}
	}
	return true
}

// relate notes what row j's pattern has to do with row i's requests.
func (p *Policies) relate(i, j int) {
	a, b := &p.rows[i], &p.rows[j]
	if a.route.Method != b.route.Method {
		return
	}
	asked := requests(a.segments, a.route.Unguarded)
	if !overlap(pattern(b.segments, ""), asked) {
		return
	}
	b.covers = append(b.covers, i)
	if a.route.Unguarded {
		b.opens = append(b.opens, i)
		return
	}
	a.grantedBy = append(a.grantedBy, j)
	if b.route.Customer == "" || overlap(pattern(b.segments, b.route.Customer), asked) {
		a.grantedByScoped = append(a.grantedByScoped, j)
	}
}

// Base returns the part of a method's ARN that all resources of its stage begin with,
// from "arn:" to the slash after the stage. The error says that the text is no such ARN;
// it is never the client's doing.
func Base(methodARN string) (string, error) {
	rest, n := methodARN, 0
	for range 5 { // arn : partition : execute-api : region : account :
		i := strings.IndexByte(rest, ':')
		if i < 0 {
			return "", errBase
		}
		rest, n = rest[i+1:], n+i+1
	}
	for range 2 { // API / stage /
		i := strings.IndexByte(rest, '/')
		if i < 1 {
			return "", errBase
		}
		rest, n = rest[i+1:], n+i+1
	}
	base := methodARN[:n]
	if n > maxBase || !strings.HasPrefix(base, "arn:") || !strings.Contains(base, ":execute-api:") {
		return "", errBase
	}
	for i := 0; i < n; i++ {
		c := base[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte(":/_-", c) >= 0) {
			return "", errBase
		}
	}
	return base, nil
}

var errBase = errors.New("policy: methodArn is not the ARN of a method")

// AppendDocument appends the policy document of a live key to dst, for the stage that base
// names (see [Base]). dropped counts resources that there was no room for; they are denied.
// The error is for a customer id that no customer can have and for a malformed network: such
// an identity comes from a damaged item.
func (p *Policies) AppendDocument(dst []byte, id keys.Identity, base string) (doc []byte, dropped int, err error) {
	for _, c := range id.Customers {
		if !keys.ValidID(c) {
			return dst, 0, errors.New("policy: the key is confined to a malformed customer id")
		}
	}
	for _, n := range id.Networks {
		if !keys.ValidNetwork(n) {
			return dst, 0, errors.New("policy: the key is confined to a malformed network")
		}
	}
	var space [256]bool
	allowed := space[:]
	if len(p.rows) > len(space) {
		allowed = make([]bool, len(p.rows))
	}
	p.allow(allowed, &id)

	size := p.size + 2*len(p.rows)*(len(base)+len(`,""`)) + 256
	var w writer
	w.init(slices.Grow(dst, min(size, target+MaxResource)), base, until(&id), id.Networks)
	for _, w.spare = range w.spared() {
		w.begin()
		p.exact(&w, allowed, id.Customers)
		w.end()
		if !w.long() {
			return w.buf, 0, nil
		}
	}
	dropped = p.shorten(&w, allowed, id.Customers)
	return w.buf, dropped, nil
}

// allow marks the rows that an identity's permissions open. A session's open management
// routes alone.
func (p *Policies) allow(allowed []bool, id *keys.Identity) {
	var space [64]bool
	held := space[:]
	if len(p.permissions) > len(space) {
		held = make([]bool, len(p.permissions))
	}
	for i, name := range p.permissions {
		held[i] = keys.Holds(id.Permissions, name)
	}
	for i := range p.rows {
		n := p.rows[i].permission
		allowed[i] = (n < 0 || held[n]) && (id.Parent == "" || p.rows[i].route.Management)
	}
}

// exact writes the usual policy: each allowed row's resources, unless another's wildcard
// matches them anyway, and a Deny where they match what is not allowed. It stops when the
// document is too long.
func (p *Policies) exact(w *writer, allowed []bool, customers []string) {
	for _, timed := range [2]bool{false, true} {
		for i := range p.rows {
			r := &p.rows[i]
			if !allowed[i] || r.timed() != timed || p.redundant(r, allowed, customers) {
				continue
			}
			w.statement("Allow", timed)
			if r.after == nil || len(customers) == 0 {
				for _, e := range r.plain {
					w.resource(e)
				}
				continue
			}
			for _, c := range customers {
				for _, e := range r.after {
					w.filled(r.before, c, e)
				}
				if w.long() {
					return
				}
			}
		}
	}
	for _, i := range p.contested {
		r := &p.rows[i]
		granted := r.grantedBy
		if len(customers) > 0 {
			granted = r.grantedByScoped
		}
		if !allowed[i] && anyOf(allowed, granted) && !anyOf(allowed, r.covers) {
			w.statement("Deny", false)
			for _, e := range r.plain {
				w.resource(e)
			}
		}
	}
}

// redundant reports whether another row's wildcard says all that this row's resources would.
func (p *Policies) redundant(r *row, allowed []bool, customers []string) bool {
	for _, i := range r.within {
		if allowed[i] && (p.rows[i].after == nil || len(customers) == 0) {
			return true
		}
	}
	return false
}

// timed reports whether the resources of a row open an unguarded route, its own or
// another that whoever may use this one may use too, and so need the time limit.
func (r *row) timed() bool { return r.route.Unguarded || r.opens != nil }

func anyOf(set []bool, members []int) bool {
	for _, i := range members {
		if set[i] {
			return true
		}
	}
	return false
}

// until is when the credential stops for good, if that is known: the zero time if not.
func until(id *keys.Identity) time.Time {
	if id.ExpiresAt.IsZero() || !id.GraceUntil.IsZero() && id.GraceUntil.Before(id.ExpiresAt) {
		return id.GraceUntil
	}
	return id.ExpiresAt
}
