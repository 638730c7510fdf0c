package keys

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// How a change is made. An operation reads, decides purely, and commits once under the
// versions that it read. If it lost a race it starts over from the reading, after a wait
// that is random up to a bound that doubles (full jitter:
// aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter). Then the meters are
// settled, and what sessions the change has outdated are ended (sessions.go), then who keeps
// copies of verdicts is told ([Config].Changed), then the answer goes out; a crash in between
// is repaired by the stream function, and its meters and sessions also by repeating the
// request, which settles again although it has nothing left to write.
const (
	attempts    = 24
	firstWait   = 5 * time.Millisecond // 24 attempts wait 2.3 s on average, 4.6 s at most
	longestWait = 250 * time.Millisecond

	settleAttempts = 4
	settleAtOnce   = 16 // meters settled at the same time
)

// decision is what one attempt came to.
type decision struct {
	change *Change // nil: nothing is left to write
	settle []Key   // whose meters must say what these say, and whose outdated sessions must end
	moved  []Key   // of the change, those with a new verdict
	by     *Caller // who does it, where it is done without proving the caller; nil: the caller
}

// change carries an operation through its attempts, for a caller who must hold
// PermissionWrite. A nil caller is the admin function.
func (s *Service) change(ctx context.Context, what string, c *Caller, decide func(now time.Time) (decision, error)) error {
	return s.changeBy(ctx, what, c, permissionWrite, decide)
}

// changeBy is change for a caller who must hold another permission; empty: none.
func (s *Service) changeBy(ctx context.Context, what string, c *Caller, permission string, decide func(now time.Time) (decision, error)) error {
	err := s.attempt(ctx, c, permission, decide)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

func (s *Service) attempt(ctx context.Context, c *Caller, permission string, decide func(now time.Time) (decision, error)) error {
	var conflict *ConflictError
	for n := range attempts {
		if n > 0 {
			if err := s.wait(ctx, n); err != nil {
				return err
			}
		}
		now := s.now()
		if c != nil {
			if err := c.liveAt(now); err != nil {
				return err
			}
			if err := c.may(permission); err != nil {
				return err
			}
		}
		d, err := decide(now)
		if err != nil {
			return err
		}
		by := c
		if d.by != nil {
			by = d.by
		}
		if d.change == nil {
			return s.settleAll(ctx, by, d)
		}
		if c != nil {
			d.change.Caller = &CallerCheck{ID: c.KeyID, Verdict: c.Verdict}
			if c.Parent != "" {
				d.change.Parent = &CallerCheck{ID: c.Parent, Verdict: c.ParentVerdict}
			}
		}
		err = s.cfg.Store.Commit(ctx, *d.change)
		switch {
		case err == nil:
			return s.settleAll(ctx, by, d)
		case !errors.As(err, &conflict):
			return err
		case conflict.Caller && c != nil:
			if err := s.prove(ctx, c, permission); err != nil {
				return err
			}
		}
	}
	if conflict.Record {
		return ErrIdempotencyInFlight
	}
	return ErrConflict
}

// settleAll is what comes after the commit: the keys' meters first, since no session may
// keep a key from being stopped, then the end of their sessions that are not of the present
// verdict, then the news. A change that no verdict depends on, a new name for one, leaves
// sessions alone.
func (s *Service) settleAll(ctx context.Context, by *Caller, d decision) error {
	err := s.settle(ctx, d.settle)
	moved := d.moved
	if d.change == nil || len(moved) > 0 {
		ended, failed := s.endOutdated(ctx, by, d.settle)
		moved = append(moved, ended...)
		err = cmp.Or(err, failed)
	}
	if len(moved) > 0 {
		s.cfg.Changed(ctx, moved)
	}
	return err
}

// wait before attempt n, which is 1 or more.
func (s *Service) wait(ctx context.Context, n int) error {
	bound := longestWait
	if n < 8 {
		bound = min(bound, firstWait<<(n-1))
	}
	return s.cfg.Sleep(ctx, time.Duration(s.cfg.Random(int64(bound)))+1)
}

// settle brings the keys' meters up to date. Its failure is ErrNotSettled and nothing
// else: the change is made, so no error may say that it is not.
func (s *Service) settle(ctx context.Context, list []Key) error {
	var (
		wg     sync.WaitGroup
		failed = make(chan error, len(list))
		slots  = make(chan struct{}, settleAtOnce)
	)
	for _, k := range list {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := s.settleOne(ctx, &k); err != nil {
				failed <- err
			}
		})
	}
	wg.Wait()
	if len(failed) > 0 {
		return notSettled(<-failed)
	}
	return nil
}

// notSettled keeps the cause's text but not its kind.
func notSettled(err error) error { return fmt.Errorf("%w: %v", ErrNotSettled, err) }

func (s *Service) settleOne(ctx context.Context, k *Key) (err error) {
	for n := range settleAttempts {
		if n > 0 && s.wait(ctx, n+2) != nil {
			break
		}
		if err = s.cfg.Store.Settle(ctx, k.ID, k.Verdict, k.Active && !k.Deleted); err == nil {
			return nil
		}
	}
	return err
}

// step makes k, an edited copy of was, its next state. What differs goes to the audit
// event; nil maps: nothing does, and there is nothing to write.
func step(was *Key, k *Key, now time.Time) (before, after map[string]string) {
	before, after = difference(describe(was), describe(k))
	if len(before)+len(after) == 0 {
		return nil, nil
	}
	k.Version, k.UpdatedAt = was.Version+1, now
	if verdictDiffers(was, k) {
		k.Verdict, k.VerdictAt = was.Verdict+1, now
	}
	return before, after
}

// verdictDiffers reports whether verification or the guard could decide otherwise now.
func verdictDiffers(a, b *Key) bool {
	return a.Active != b.Active || a.Deleted != b.Deleted || a.RateLimit != b.RateLimit ||
		a.Limits != b.Limits || a.Quota != b.Quota ||
		a.Generation != b.Generation || !a.Previous.Until.Equal(b.Previous.Until) || !a.ExpiresAt.Equal(b.ExpiresAt) ||
		!a.NotBefore.Equal(b.NotBefore) || !slices.Equal(a.Permissions, b.Permissions) ||
		!slices.Equal(a.Customers, b.Customers) || !slices.Equal(a.Networks, b.Networks)
}

// event is the audit event of a change to a key. A nil caller is the admin function. Its id
// sorts by time, within a millisecond by the order in which this process drew it.
func (s *Service) event(c *Caller, action string, k *Key, before, after map[string]string, now time.Time) AuditEvent {
	e := AuditEvent{
		ID:        auditID(now, s.events.Add(1)),
		AccountID: k.AccountID, At: now, Action: action, KeyID: k.ID, Environment: k.Environment,
		Before: before, After: after,
	}
	if c != nil {
		e.Actor = c.Holder()
		if c.Parent != "" {
			e.Session = c.KeyID
		}
	}
	return e
}

// trail is e in the trail of k, another key that its change changes.
func (e *AuditEvent) trail(k *Key, before, after map[string]string) AuditEvent {
	t := *e
	t.KeyID, t.Environment, t.Before, t.After = k.ID, k.Environment, before, after
	return t
}

// describe is a key as audit events show it: all that a change can alter, and no secret.
func describe(k *Key) map[string]string {
	return map[string]string{
		"name":        k.Name,
		"environment": string(k.Environment),
		"permissions": strings.Join(k.Permissions, " "),
		"customers":   strings.Join(k.Customers, " "),
		"networks":    strings.Join(k.Networks, " "),
		"owner":       k.Owner,
		"plan":        k.Plan,
		"rateLimit":   strconv.Itoa(k.RateLimit),
		"limitNamed":  strconv.FormatBool(k.LimitNamed),
		"limits":      k.Limits.String(),
		"quota":       k.Quota.String(),
		"active":      strconv.FormatBool(k.Active),
		"primary":     strconv.FormatBool(k.Primary),
		"deleted":     strconv.FormatBool(k.Deleted),
		"canary":      strconv.FormatBool(k.Canary),
		"notBefore":   auditTime(k.NotBefore),
		"expiresAt":   auditTime(k.ExpiresAt),
		"generation":  strconv.FormatInt(k.Generation, 10),
		"graceUntil":  auditTime(k.Previous.Until),
	}
}

func auditTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z")
}

// difference keeps what differs. An empty value is left out on its side.
func difference(a, b map[string]string) (before, after map[string]string) {
	before, after = map[string]string{}, map[string]string{}
	for name := range b {
		if a[name] == b[name] {
			continue
		}
		if a[name] != "" {
			before[name] = a[name]
		}
		if b[name] != "" {
			after[name] = b[name]
		}
	}
	return before, after
}
