package keys

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/keyreeve/keyreeve/pkg/apikey"
)

// Query selects, orders and pages a list. Zero fields do not filter.
type Query struct {
	Environment Environment
	Status      Status // deleted keys are listed only for Revoked
	Permission  string // of the catalogue: keys that hold it, by name or by wildcard
	Customer    string // keys that are confined to customers of which this is one
	Text        string // part of name, owner, key id or mask, any case
	IDText      string // with Text: or the start of the key id, any case; what clients put before ids is not of it
	Sort        string // number (default), name, createdAt, expiresAt, lastUsed, environment, status; "-" in front: descending
	Limit       int    // 1–1000; 0: unpaged, the first 1000
	Cursor      string // Page.Next of the page before, with the same Query but Limit
}

// Page is one page of a list.
type Page struct {
	Keys  []Key
	Total int    // keys that match, on all pages
	Next  string // empty: this was the last
}

const maxPage = 1000

// List lists the account's keys that the caller may see. Paging goes by the place of the
// last key in the order, so a key that is neither added nor moved meanwhile is listed
// exactly once.
func (s *Service) List(ctx context.Context, c Caller, q Query) (Page, error) {
	now := s.now()
	if err := c.liveAt(now); err != nil {
		return Page{}, err
	}
	if err := c.may(permissionRead); err != nil {
		return Page{}, err
	}
	if err := q.validate(s.cfg.Known); err != nil {
		return Page{}, err
	}
	after, err := s.openPlace(ctx, &c, &q)
	if err != nil {
		return Page{}, err
	}
	list, err := s.cfg.Store.Keys(ctx, c.AccountID)
	if err != nil {
		return Page{}, err
	}
	text := fold(q.Text)
	list = slices.DeleteFunc(list, func(k Key) bool { return !c.sees(&k) || !q.matches(&k, text, now) })
	page := Page{Total: len(list)}

	key, descending := strings.CutPrefix(q.Sort, "-")
	if key == "lastUsed" { // the one order that needs the use of every key
		if err := s.joinUsage(ctx, list, now, s.cfg.Store.Usage); err != nil {
			return Page{}, err
		}
	}
	places := make([]place, len(list))
	order := make([]int, len(list))
	for i := range list {
		places[i], order[i] = placeOf(&list[i], key, now), i
	}
	compare := place.compare
	if descending {
		compare = func(a, b place) int { return b.compare(a) }
	}
	slices.SortFunc(order, func(a, b int) int { return compare(places[a], places[b]) })
	start := 0
	if after != nil {
		start, _ = slices.BinarySearchFunc(order, *after, func(i int, after place) int {
			if compare(places[i], after) > 0 {
				return 1
			}
			return -1
		})
	}
	limit := q.Limit
	if limit == 0 {
		limit = maxPage
	}
	order = order[start:]
	more := len(order) > limit
	order = order[:min(limit, len(order))]
	for _, i := range order {
		page.Keys = append(page.Keys, public(list[i]))
	}
	if err := s.joinUsage(ctx, page.Keys, now, s.cfg.Store.Windows); err != nil {
		return Page{}, err
	}
	if more {
		page.Next, err = s.SealCursor(ctx, c, q.scope(), places[order[len(order)-1]].bytes())
	}
	return page, err
}

func (q *Query) validate(known func(permission string) bool) error {
	var f faults
	if q.Environment != "" && !q.Environment.Valid() {
		f.add("environment", "must be production, staging or development")
	}
	if q.Status != "" && !slices.Contains(Statuses(), q.Status) {
		f.add("status", "must be active, scheduled, inactive, expired or revoked")
	}
	if q.Permission != "" && (!known(q.Permission) || strings.HasSuffix(q.Permission, "*")) {
		f.add("permission", "must be a known permission, and no wildcard")
	}
	if q.Customer != "" && !ValidID(q.Customer) {
		f.add("customer", mustBeID)
	}
	if q.Sort != "" && !slices.Contains(sortKeys, strings.TrimPrefix(q.Sort, "-")) {
		f.add("sort", "must be one of "+strings.Join(sortKeys, ", ")+", with '-' in front for descending")
	}
	if q.Limit < 0 || q.Limit > maxPage {
		f.add("limit", "must be 1 to 1000")
	}
	if utf8.RuneCountInString(q.Text) > maxNameChars { // nothing that is searched is longer
		f.add("text", fmt.Sprintf("must be at most %d characters", maxNameChars))
	}
	return f.err()
}

// matches reports whether a key is in the list. text is folded.
func (q *Query) matches(k *Key, text string, now time.Time) bool {
	status := k.Status(now)
	switch {
	case q.Environment != "" && k.Environment != q.Environment:
		return false
	case q.Status == "" && status == Revoked, q.Status != "" && status != q.Status:
		return false
	case q.Permission != "" && !Holds(k.Permissions, q.Permission):
		return false
	case q.Customer != "" && !slices.Contains(k.Customers, q.Customer):
		return false
	case text == "":
		return true
	}
	// A mask shows the start of the key and then perhaps asterisks.
	masked := strings.TrimRight(text, "*")
	return strings.Contains(fold(k.Name), text) || strings.Contains(fold(k.Owner), text) ||
		masked != "" && strings.Contains(fold(k.Secret.Prefix+"_"+string(k.ID)), masked) ||
		q.IDText != "" && strings.HasPrefix(fold(string(k.ID)), fold(q.IDText))
}

// fold makes texts that differ in case alone the same: each letter becomes the least of
// those that are one letter under Unicode's simple case folding.
func fold(s string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for o := unicode.SimpleFold(r); o != r; o = unicode.SimpleFold(o) {
			least = min(least, o)
		}
		return least
	}, s)
}

// sortKeys are what a list can be sorted by.
var sortKeys = []string{"number", "name", "createdAt", "expiresAt", "lastUsed", "environment", "status"}

// place is where a key stands in an order: by text, then value, then number.
type place struct {
	text   string
	value  int64
	number int64
}

func (p place) compare(o place) int {
	return cmp.Or(strings.Compare(p.text, o.text), cmp.Compare(p.value, o.value), cmp.Compare(p.number, o.number))
}

// placeOf is a key's place in an ascending order. A key that never expires comes last, one
// that was never used first; environments and statuses have the order of their
// declaration.
func placeOf(k *Key, sort string, now time.Time) place {
	p := place{number: k.Number}
	switch sort {
	case "name":
		p.text = fold(k.Name)
	case "createdAt":
		p.value = k.CreatedAt.UnixMilli()
	case "expiresAt":
		p.value = 1<<63 - 1
		if !k.ExpiresAt.IsZero() {
			p.value = k.ExpiresAt.UnixMilli()
		}
	case "lastUsed":
		p.value = -1 << 63
		if !k.LastUsed.IsZero() {
			p.value = k.LastUsed.UnixMilli()
		}
	case "environment":
		p.value = int64(slices.Index(Environments(), k.Environment))
	case "status":
		p.value = int64(slices.Index(Statuses(), k.Status(now)))
	}
	return p
}

// joinUsage fills in when the keys were used, how often, and how much of their limits is
// in use, by what read gives.
func (s *Service) joinUsage(ctx context.Context, list []Key, now time.Time,
	read func(context.Context, []apikey.ID) (map[apikey.ID]Usage, error)) error {
	if len(list) == 0 {
		return nil
	}
	ids := make([]apikey.ID, len(list))
	for i := range list {
		ids[i] = list[i].ID
	}
	use, err := read(ctx, ids)
	for i := range list {
		u := use[list[i].ID]
		list[i].LastUsed, list[i].Requests, list[i].Used = u.LastUsed, u.Requests, u.Windows.used(&list[i], now)
	}
	return err
}
