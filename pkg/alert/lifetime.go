package alert

import (
	"time"

	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/usage"
)

// What comes with time. Only live keys are told of: of one that is switched off or gone,
// nobody needs to know that it ends.
const (
	// The two notices of an expiry: a week is time to plan for, a day is the last call. A
	// key that is made for less than a week has the notices that are left.
	firstNotice = 7 * 24 * time.Hour
	lastNotice  = 24 * time.Hour
)

// lifetime are the alerts that are due of a key at now. lastUsed is by the guard and by
// the logs, zero: never.
func lifetime(k *keys.Key, lastUsed, now time.Time) (list []Alert) {
	if !k.Live(now) {
		return nil
	}
	if left := k.ExpiresAt.Sub(now); !k.ExpiresAt.IsZero() && left <= firstNotice {
		kind, notice := Expiring7Days, firstNotice
		if left <= lastNotice {
			kind, notice = Expiring1Day, lastNotice
		}
		list = append(list, ofKey(k, kind, k.ExpiresAt.Add(-notice), "expires at "+shownTime(k.ExpiresAt)+".",
			map[string]string{"expiresAt": shownTime(k.ExpiresAt)}))
	}
	if k.Canary { // it is there to be unused, and its secret to be found
		return list
	}
	idle, text, data := k.CreatedAt, "has not been used since it was made at ", map[string]string{"createdAt": shownTime(k.CreatedAt)}
	if lastUsed.After(k.CreatedAt) {
		idle, text, data = lastUsed, "was last used at ", map[string]string{"lastUsed": shownTime(lastUsed)}
	}
	if due := idle.Add(usage.UnusedAfter); !now.Before(due) {
		list = append(list, ofKey(k, Unused90Days, due, text+shownTime(idle)+".", data))
	}
	secret := k.CreatedAt
	if k.RotatedAt.After(secret) {
		secret = k.RotatedAt
	}
	if due := secret.Add(usage.RotationAfter); !now.Before(due) {
		list = append(list, ofKey(k, RotationDue, due, "has a secret from "+shownTime(secret)+"; it is time for a new one.",
			map[string]string{"secretSince": shownTime(secret)}))
	}
	return list
}
