package usage

import (
	"context"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

// AccountUsage is what the keys that a caller sees did: one row of numbers for each.
type AccountUsage struct {
	Range    Range
	Keys     []KeyRow // in order of Key.Number; a deleted key only if it did anything
	Buckets  []int64  // requests of all of them
	Requests int64    // in all
}

// KeyRow is one key's row.
type KeyRow struct {
	Key      keys.Key // LastUsed and Requests are not filled in
	Buckets  []int64  // requests, one number for each bucket of the range
	Requests int64    // their sum
}

// Account reports the use of every key that the caller sees.
func (r *Reports) Account(ctx context.Context, c keys.Caller, q Range) (AccountUsage, error) {
	list, err := r.cfg.Keys.Visible(ctx, c)
	if err != nil {
		return AccountUsage{}, err
	}
	q, err = q.resolve(r.now(), accountBounds)
	if err != nil {
		return AccountUsage{}, err
	}
	from, to := q.days()
	counts, err := r.cfg.Store.AccountDays(ctx, c.AccountID, from, to)
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
