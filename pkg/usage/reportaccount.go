package usage

import (
	"context"
	"fmt"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

// AccountUsage is what keys that a caller sees did: one row of numbers for each. The sums
// are of these rows. A session has none, and what it did is in nobody's.
type AccountUsage struct {
	Range    Range
	Keys     []KeyRow // in order of Key.Number; a deleted key only if it did anything
	Buckets  []int64  // requests of all of them together
	Requests int64    // in all
}

// KeyRow is one key's row.
type KeyRow struct {
	Key      keys.Key // LastUsed and Requests are not filled in
	Buckets  []int64  // requests, one number for each bucket of the range
	Requests int64    // their sum
}

// MaxNamed is how many keys Account can be asked for by name.
const MaxNamed = 100

// Account reports the use of every key that the caller sees; with only, of those that it
// names, reading no more than these. One that the caller does not see is as if it were not
// named.
func (r *Reports) Account(ctx context.Context, c keys.Caller, q Range, only ...apikey.ID) (AccountUsage, error) {
	var list []keys.Key
	var err error
	if len(only) == 0 {
		list, err = r.cfg.Keys.Visible(ctx, c)
	} else {
		list, err = r.cfg.Keys.Some(ctx, c, only[:min(len(only), MaxNamed)])
	}
	if err != nil {
		return AccountUsage{}, err
	}
	if q, err = q.resolve(r.now(), accountBounds); err != nil {
		return AccountUsage{}, err
	}
	if len(only) > MaxNamed {
		return AccountUsage{}, invalid("keyIds", fmt.Sprintf("must be at most %d", MaxNamed))
	}
	var counts []Count
	from, to := q.days()
	if len(only) == 0 {
		counts, err = r.cfg.Store.AccountDays(ctx, c.AccountID, from, to)
	} else {
		ids := make([]apikey.ID, len(list))
		for i := range list {
			ids[i] = list[i].ID
		}
		counts, err = r.cfg.Store.Days(ctx, c.AccountID, ids, from, to)
	}
	if err != nil {
		return AccountUsage{}, err
	}
	n := len(q.Starts())
	u := AccountUsage{Range: q, Buckets: make([]int64, n)}
	numbers := make([]int64, n*len(list))
	rows := make(map[apikey.ID]*KeyRow, len(list))
	all := make([]KeyRow, len(list))
	for i := range list {
		all[i] = KeyRow{Key: list[i], Buckets: numbers[i*n : (i+1)*n : (i+1)*n]}
		rows[list[i].ID] = &all[i]
	}
	for i := range counts {
		row := rows[counts[i].KeyID]
		if row == nil { // not for the caller to see
			continue
		}
		for hour := range counts[i].Hours {
			at, ok := q.index(counts[i].Day, hour)
			if !ok {
				continue
			}
			requests := counts[i].Hours[hour].Requests
			row.Buckets[at] += requests
			row.Requests += requests
			u.Buckets[at] += requests
			u.Requests += requests
		}
	}
	for i := range all {
		if !all[i].Key.Deleted || all[i].Requests > 0 {
			u.Keys = append(u.Keys, all[i])
		}
	}
	return u, nil
}
