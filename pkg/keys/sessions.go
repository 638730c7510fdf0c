package keys

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/order"
)

// A session is a key that another key, its parent, was exchanged for, so that a browser
// need not keep that one. It holds exactly what its parent held then, is in no list of keys
// and counts for no plan, and lives for sessionLife at most: never beyond its parent's
// expiry, or the end of the grace of the secret that was presented.
//
// It dies with what it was made of. It names the verdict that its parent was at (Key's
// ParentVerdict), and any change that moves that verdict on ends it, be it a revoke, a
// delete, a new secret, a permission more or less, another limit. Three things see to that:
//
//   - Whoever changes the parent ends its outdated sessions before the answer goes out, as
//     part of settling: once the change is committed no further session of the old verdict
//     can be (its making is conditional on that verdict), so looking until none is left
//     finds them all. Their meters follow, and then no guard lets one through.
//   - Verification reads the parent too, and refuses a session that it does not uphold
//     ([Key.Upholds]). So a crash before the first leaves a cached policy's time at most.
//   - What a session changes is conditional on its parent's verdict besides its own
//     ([Change].Parent), so it commits nothing once the parent's change is committed.
//
// It calls management routes alone (packages policy and guard see to that, by
// [Identity.Parent]): a stolen one reads nothing of the API that is protected. Its limits
// are what its parent's were, on a meter of its own, so the same holds for what the parent's
// limits protect: sessions do not multiply it.
//
// What a session does, its parent does: it is the Actor and the creator ([Identity.Holder]),
// and the audit event names the session beside it. A session makes no sessions, or it would
// be renewed for ever, and nothing changes one but its end.
const (
	sessionLife = 12 * time.Hour
	maxSessions = 20 // live ones of one key; one more ends the oldest
	// madeAtMost bounds those of one verdict that would still last, ended ones included: more
	// than people make in sessionLife, and what a program can make that a key of
	// PermissionRead has got to. Each leaves rows until it would have expired, and who changes
	// the key has to look through all of them.
	madeAtMost = 500

	// SessionSuffix stands behind its parent's name where a session is named.
	SessionSuffix = " (session)"
	// longestCached is how long API Gateway keeps a policy at most. What ended before has none
	// left that its guard could be asked with.
	longestCached = time.Hour

	actionSessionCreate = "session.create"
	actionSessionEnd    = "session.end"
)

// CreateSession makes a session of the caller's key, whoever may read keys. For a caller
// that is a session itself it is an *EscalationError. ErrSessionLimit: the key has made
// madeAtMost lately.
func (s *Service) CreateSession(ctx context.Context, c Caller) (out Issued, err error) {
	err = s.changeBy(ctx, "creating a session", &c, permissionRead, func(now time.Time) (decision, error) {
		if c.Parent != "" {
			return decision{}, &EscalationError{Field: "sessionOf"}
		}
		// The account before the sessions: every making of one writes it, so that none
		// happens between the count and the commit.
		account, _, err := s.account(ctx, c.AccountID)
		if err != nil {
			return decision{}, err
		}
		parent, err := s.own(ctx, &c, permissionRead)
		if err != nil {
			return decision{}, err
		}
		list, err := s.cfg.Store.Sessions(ctx, c.AccountID, parent.ID)
		if err != nil {
			return decision{}, err
		}
		if made(list, parent.Verdict, now) >= madeAtMost {
			return decision{}, ErrSessionLimit
		}
		k := sessionOf(&parent, &c, now)
		plaintext, err := s.mint(ctx, &k)
		if err != nil {
			return decision{}, err
		}
		next := account
		next.Version++
		change := &Change{
			Account: &AccountWrite{New: next, Was: account.Version},
			Keys:    []KeyWrite{{New: k, SecretChanged: true}},
		}
		after := map[string]string{"session": string(k.ID), "expiresAt": auditTime(k.ExpiresAt)}
		outlived := oldest(list, now, maxSessions-1)
		for i := range outlived {
			change.Keys = append(change.Keys, end(&outlived[i]))
		}
		if len(outlived) > 0 {
			after["ended"] = idsOf(outlived)
		}
		change.Audit = s.event(&c, actionSessionCreate, &parent, nil, after, now)
		out = Issued{Key: public(k), Plaintext: plaintext}
		return decision{change: change, settle: outlived, moved: outlived}, nil
	})
	if err != nil {
		return Issued{}, err
	}
	return out, nil
}

// sessionOf is a new session of a key that c presented.
func sessionOf(parent *Key, c *Caller, now time.Time) Key {
	k := Key{
		ID: apikey.NewID(), AccountID: parent.AccountID, Name: parent.Name, Environment: parent.Environment,
		Permissions: parent.Permissions, Customers: parent.Customers, Networks: parent.Networks, Owner: parent.Owner,
		Plan: parent.Plan, RateLimit: parent.RateLimit, LimitNamed: parent.LimitNamed, Limits: parent.Limits, Quota: parent.Quota,
		Active: true, Face: Canonical, CreatedBy: parent.ID, Parent: parent.ID, ParentVerdict: parent.Verdict,
		CreatedAt: now, UpdatedAt: now, VerdictAt: now, ExpiresAt: now.Add(sessionLife),
		Version: 1, Verdict: 1,
	}
	for _, end := range []time.Time{parent.ExpiresAt, c.GraceUntil} {
		if !end.IsZero() && end.Before(k.ExpiresAt) {
			k.ExpiresAt = end
		}
	}
	return k
}

// made counts the sessions of a verdict that have not expired, be they ended or not.
func made(list []Key, verdict int64, now time.Time) (n int) {
	for i := range list {
		if list[i].ParentVerdict == verdict && !list[i].ExpiredAt(now) {
			n++
		}
	}
	return n
}

// oldest are the live ones of list less the keep newest, in the state that ends them.
func oldest(list []Key, now time.Time, keep int) []Key {
	live := slices.DeleteFunc(slices.Clone(list), func(k Key) bool { return !k.Live(now) })
	order.By(live, func(a, b Key) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), strings.Compare(string(a.ID), string(b.ID)))
	})
	return ended(live[:max(0, len(live)-keep)], now)
}

// ended is each of list in the state that ends it.
func ended(list []Key, now time.Time) []Key {
	out := slices.Clone(list)
	for i := range out {
		was := out[i]
		out[i].Deleted, out[i].DeletedAt = true, now
		step(&was, &out[i], now)
	}
	return out
}

// end is the write of a session that ended made.
func end(k *Key) KeyWrite { return KeyWrite{New: *k, Was: k.Version - 1} }

// EndSession ends a session at once, which the id names. Of its own a caller needs no
// permission for that, of any other PermissionWrite. ErrNotFound if it is absent, of a key
// that the caller does not see, no session, or ended already; in the last case its meter is
// settled once more.
func (s *Service) EndSession(ctx context.Context, c Caller, id apikey.ID) (k Key, err error) {
	permission, gone := permissionWrite, false
	if id == c.KeyID {
		permission = ""
	}
	err = s.changeBy(ctx, "ending a session", &c, permission, func(now time.Time) (decision, error) {
		was, err := s.visible(ctx, &c, Ref{ID: id})
		if err != nil {
			return decision{}, err
		}
		if was.Parent == "" {
			return decision{}, ErrNotFound
		}
		if was.Deleted {
			gone = true
			return decision{settle: []Key{was}}, nil
		}
		list := ended([]Key{was}, now)
		k = list[0]
		return decision{change: s.ending(&c, list, now), settle: list, moved: list}, nil
	})
	if err == nil && gone {
		err = ErrNotFound
	}
	if err != nil {
		return Key{}, err
	}
	return public(k), nil
}

// ending is the change that ends sessions of one key, given as ended left them.
func (s *Service) ending(by *Caller, list []Key, now time.Time) *Change {
	parent := &Key{ID: list[0].Parent, AccountID: list[0].AccountID, Environment: list[0].Environment}
	change := &Change{Audit: s.event(by, actionSessionEnd, parent, map[string]string{"session": idsOf(list)}, nil, now)}
	for i := range list {
		change.Keys = append(change.Keys, end(&list[i]))
	}
	return change
}

// endOutdated ends those sessions of the keys that are not of the keys' verdict, and settles
// once more the meters of those that were ended lately, since whoever ended them may have
// broken off. list holds the keys as they were just committed or read. It returns what it
// ended. Its failure is ErrNotSettled.
//
// Nobody needs to be proved for it: such a session is dead already, and the caller may have
// been one of them.
func (s *Service) endOutdated(ctx context.Context, by *Caller, list []Key) (all []Key, err error) {
	list = slices.DeleteFunc(slices.Clone(list), func(k Key) bool { return k.Parent != "" })
	if len(list) == 0 {
		return nil, nil
	}
	account, only := list[0].AccountID, list[0].ID
	if len(list) > 1 {
		only = ""
	}
	verdicts := map[apikey.ID]int64{}
	for i := range list {
		verdicts[list[i].ID] = list[i].Verdict
	}
	for first := true; ; first = false {
		var batch []Key
		err := s.changeBy(ctx, "ending sessions", nil, "", func(now time.Time) (decision, error) {
			found, err := s.cfg.Store.Sessions(ctx, account, only)
			if err != nil {
				return decision{}, err
			}
			var over []Key
			batch = nil
			for _, k := range found {
				switch verdict, ok := verdicts[k.Parent]; {
				case !ok || k.ParentVerdict >= verdict || k.ExpiredAt(now):
				case k.Deleted:
					if first && now.Sub(k.DeletedAt) <= longestCached {
						over = append(over, k)
					}
				case len(batch) > 0 && batch[0].Parent != k.Parent || len(batch) == MaxKeysPerChange:
				default:
					batch = append(batch, k)
				}
			}
			if len(batch) == 0 {
				return decision{settle: over}, nil
			}
			batch = ended(batch, now)
			return decision{change: s.ending(by, batch, now), settle: append(over, batch...)}, nil
		})
		if err != nil {
			return all, notSettled(err)
		}
		if len(batch) == 0 {
			return all, nil
		}
		all = append(all, batch...)
	}
}

// Session is a live session as a list shows it.
type Session struct {
	Key               // with LastUsed
	ParentName string // as it is now
	Current    bool   // the caller's own
}

// Sessions lists the live sessions of the keys that the caller sees, newest first.
func (s *Service) Sessions(ctx context.Context, c Caller) ([]Session, error) {
	now := s.now()
	if err := c.liveAt(now); err != nil {
		return nil, err
	}
	if err := c.may(permissionRead); err != nil {
		return nil, err
	}
	found, err := s.cfg.Store.Sessions(ctx, c.AccountID, "")
	if err != nil {
		return nil, err
	}
	found = slices.DeleteFunc(found, func(k Key) bool { return !k.Live(now) || !c.sees(&k) })
	var ids []apikey.ID
	for _, k := range found {
		ids = append(ids, k.Parent)
	}
	parents, err := s.cfg.Store.KeysByID(ctx, ids)
	if err != nil {
		return nil, err
	}
	found = slices.DeleteFunc(found, func(k Key) bool {
		parent := parents[k.Parent]
		return !parent.Upholds(&k, now)
	})
	if err := s.joinUsage(ctx, found, now, s.cfg.Store.Usage); err != nil {
		return nil, err
	}
	order.By(found, func(a, b Key) int {
		return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), strings.Compare(string(a.ID), string(b.ID)))
	})
	out := make([]Session, len(found))
	for i, k := range found {
		out[i] = Session{Key: public(k), ParentName: parents[k.Parent].Name, Current: k.ID == c.KeyID}
	}
	return out, nil
}

func idsOf(list []Key) string {
	ids := make([]string, len(list))
	for i := range list {
		ids[i] = string(list[i].ID)
	}
	return strings.Join(ids, " ")
}
