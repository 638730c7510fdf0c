package keys

import (
	"context"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
)

// Revoke switches a key off until it is activated. With descendants, also every key that
// it created, and those created by them; it then returns how many more were switched off.
//
// A revoke of a key that is off already changes nothing but settles its meter again, and
// its descendants', so that repeating it repairs one that broke off.
//
// The key itself goes first: from then on it creates nothing more, nor does a descendant
// once it is off, so looking again until none is left finds them all. Deleted keys are
// passed through; the line ends where a deleted key's retention has ended.
func (s *Service) Revoke(ctx context.Context, c Caller, r Ref, descendants bool, cond Conditions) (k Key, more int, err error) {
	off := false
	if !descendants {
		k, err = s.update(ctx, &c, r, Patch{Active: &off}, cond, "key.revoke", nil)
		return k, 0, err
	}
	k, err = s.update(ctx, &c, r, Patch{Active: &off}, cond, "key.revoke", func(k *Key) (map[apikey.ID]bool, error) {
		list, err := s.cfg.Store.Keys(ctx, c.AccountID)
		return family(list, k.ID), err
	})
	if err != nil {
		return Key{}, 0, err
	}
	more, err = s.revokeDescendants(ctx, &c, k.ID)
	if err != nil {
		return Key{}, more, err
	}
	return k, more, nil
}

// revokeDescendants switches off what the key created, some keys at a time, each time in
// one change with one audit event that names them. The caller, if it is one of them, goes
// last, and after it the rest goes without its check: it was proved when the first of
// them was committed, and by then its own key cannot be anything but off.
func (s *Service) revokeDescendants(ctx context.Context, c *Caller, root apikey.ID) (more int, err error) {
	authority := c
	if c.Holder() == root {
		authority = nil
	}
	var off []Key // found off already, before the first change
	for first := true; ; first = false {
		var batch []Key
		err := s.change(ctx, "revoking descendants", authority, func(now time.Time) (decision, error) {
			list, err := s.cfg.Store.Keys(ctx, c.AccountID)
			if err != nil {
				return decision{}, err
			}
			batch, off = nil, nil
			var change *Change
			if change, batch, off = s.revokeSome(c, list, root, now); change == nil && !first {
				return decision{}, nil
			}
			settle := batch
			if first {
				settle = append(off, batch...)
			}
			return decision{change: change, settle: settle, moved: batch, by: c}, nil
		})
		if err != nil {
			return more, err
		}
		if len(batch) == 0 {
			return more, nil
		}
		more += len(batch)
		for _, k := range batch {
			if k.ID == c.Holder() {
				authority = nil
			}
		}
	}
}

// revokeSome decides the next change: nil when every descendant is off. batch is what it
// switches off, off what is off already.
func (s *Service) revokeSome(c *Caller, list []Key, root apikey.ID, now time.Time) (change *Change, batch, off []Key) {
	members := family(list, root)
	var self, top *Key
	type difference struct{ before, after map[string]string }
	var differences []difference
	take := func(was *Key) {
		k := *was
		k.Active = false
		before, after := step(was, &k, now)
		batch, differences = append(batch, k), append(differences, difference{before, after})
	}
	left := 0
	for i := range list {
		switch k := &list[i]; {
		case k.ID == root:
			top = k
		case !members[k.ID] || k.Deleted:
		case !k.Active:
			off = append(off, *k)
		case k.ID == c.Holder():
			self = k
		case len(batch) == MaxKeysPerChange-1: // one place is kept for the caller
			left++
		default:
			take(k)
		}
	}
	if self != nil && left == 0 {
		take(self)
	}
	if len(batch) == 0 {
		return nil, nil, off
	}
	ids := ""
	for _, k := range batch {
		ids += " " + string(k.ID)
	}
	if top == nil { // its retention has just ended
		top = &Key{ID: root, AccountID: c.AccountID, Environment: c.Environment}
	}
	change = &Change{Audit: s.event(c, "key.revoke_descendants", top,
		map[string]string{"active": "true"}, map[string]string{"active": "false", "keys": ids[1:]}, now)}
	for i := range batch {
		k, d := &batch[i], &differences[i]
		change.Keys = append(change.Keys, KeyWrite{New: *k, Was: k.Version - 1})
		change.Trails = append(change.Trails, change.Audit.trail(k, d.before, with(d.after, "descendantOf", string(root))))
	}
	return change, batch, off
}

// family is a key and all that descends from it.
func family(list []Key, root apikey.ID) map[apikey.ID]bool {
	children := map[apikey.ID][]apikey.ID{}
	for _, k := range list {
		children[k.CreatedBy] = append(children[k.CreatedBy], k.ID)
	}
	members := map[apikey.ID]bool{root: true}
	for queue := []apikey.ID{root}; len(queue) > 0; queue = queue[1:] {
		for _, id := range children[queue[0]] {
			if !members[id] {
				members[id] = true
				queue = append(queue, id)
			}
		}
	}
	return members
}
