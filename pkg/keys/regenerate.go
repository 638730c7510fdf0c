package keys

import (
	"context"
	"time"
)

// Regenerate gives a key a new secret. The old one works for the grace (0–24 h), never
// beyond the key's own expiry; the one before that, if its grace still lasts, stops at
// once. Id, name, permissions and configuration stay, and an inactive key stays inactive.
// As a create's, the answer says nothing of use: the new secret was never used.
func (s *Service) Regenerate(ctx context.Context, c Caller, r Ref, grace time.Duration, idem Idempotency, cond Conditions) (out Issued, err error) {
	if grace < 0 || grace > maxGrace {
		return Issued{}, invalid("graceSeconds", "must be 0 to 86400")
	}
	err = s.change(ctx, "regenerating a key", &c, func(now time.Time) (decision, error) {
		// The key before the record: see replay.
		was, err := s.target(ctx, &c, r)
		if err != nil {
			return decision{}, err
		}
		if was.Deleted {
			return decision{}, ErrNotFound
		}
		if earlier, current, err := s.replay(ctx, &c, idem, now); err != nil || earlier != nil {
			if earlier != nil {
				out = *earlier
			}
			return decision{settle: current}, err
		}
		if err := cond.check(&was); err != nil {
			return decision{}, err
		}
		if err := c.covers(&was); err != nil {
			return decision{}, err
		}
		k := was
		k.RotatedAt, k.Previous = now, Secret{}
		if until := graceEnd(&was, grace, now); until.After(now) {
			k.Previous = was.Secret
			k.Previous.Until = until
		}
		plaintext, err := s.mint(ctx, &k)
		if err != nil {
			return decision{}, err
		}
		before, after := step(&was, &k, now)
		issued := Issued{Key: public(k), Plaintext: plaintext}
		change := &Change{
			Keys:  []KeyWrite{{New: k, Was: was.Version, SecretChanged: true}},
			Audit: s.event(&c, "key.regenerate", &k, before, after, now),
		}
		if change.Record, err = s.seal(ctx, &c, idem, issued, now); err != nil {
			return decision{}, err
		}
		out = issued
		return decision{change: change, settle: []Key{k}, moved: []Key{k}}, nil
	})
	if err != nil {
		return Issued{}, err
	}
	return out, nil
}

// graceEnd is when the present secret of k stops working if it is replaced now.
func graceEnd(k *Key, grace time.Duration, now time.Time) time.Time {
	until := now.Add(grace).Truncate(time.Millisecond)
	if !k.ExpiresAt.IsZero() && until.After(k.ExpiresAt) {
		return k.ExpiresAt
	}
	return until
}
