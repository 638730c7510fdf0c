package alert

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
)

// id names the alert by its cause and window:
//
//	<window: Unix milliseconds, 12 hex digits>-<kind>-<16 hex digits>
//
// so that ids sort by window as text. The last part is of a hash over account, kind, key
// and subject: two causes of one account and window would have to be 2^32 for a chance to
// share one.
func (a *Alert) id() string {
	sum := sha256.Sum256([]byte(strings.Join([]string{a.AccountID, string(a.Kind), string(a.KeyID), a.Subject}, "\x00")))
	return fmt.Sprintf("%012x-%s-%s", a.Window.UnixMilli(), a.Kind, hex.EncodeToString(sum[:8]))
}

var idForm = regexp.MustCompile(`^[0-9a-f]{12}-[a-z0-9_]{1,32}-[0-9a-f]{16}$`)

// ValidID reports whether s has the form of an alert's id.
func ValidID(s string) bool { return idForm.MatchString(s) }
