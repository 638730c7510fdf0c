package keys

import (
	"context"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
)

// Delete ends a key for good; ErrPrimaryKey for the primary one. Deleting it again is
// ErrNotFound, but settles its meter once more.
//
// The account item is not part of it: whoever makes the key primary at the same time
// writes the key too, under the same version.
func (s *Service) Delete(ctx context.Context, c Caller, r Ref, cond Conditions) (k Key, err error) {
	gone := false
	err = s.change(ctx, "deleting a key", &c, func(now time.Time) (decision, error) {
		was, err := s.target(ctx, &c, r)
		if err != nil {
			return decision{}, err
		}
		if was.Deleted {
			gone = true
			return decision{settle: []Key{was}}, nil
		}
		if err := cond.check(&was); err != nil {
			return decision{}, err
		}
		if was.Primary {
			return decision{}, ErrPrimaryKey
		}
		if !cond.Force {
			if err := s.lastManager(ctx, &c, map[apikey.ID]bool{was.ID: true}, now); err != nil {
				return decision{}, err
			}
		}
		k = was
		k.Deleted, k.DeletedAt = true, now
		before, after := step(&was, &k, now)
		return decision{
			change: &Change{
				Keys:  []KeyWrite{{New: k, Was: was.Version}},
				Audit: s.event(&c, "key.delete", &k, before, after, now),
			},
			settle: []Key{k}, moved: []Key{k},
		}, nil
	})
	if err == nil && gone {
		err = ErrNotFound
	}
	if err != nil {
		return Key{}, err
	}
	return public(k), nil
}
