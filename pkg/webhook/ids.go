package webhook

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
)

// idLen is the length of an endpoint's id.
const idLen = 2 * apikey.IDLen

func newID() string { return string(apikey.NewID()) + string(apikey.NewID()) }

// validID reports whether s has the form of an endpoint's id.
func validID(s string) bool {
	if len(s) != idLen {
		return false
	}
	for i := 0; i < idLen; i += apikey.IDLen {
		if _, err := apikey.ParseID(s[i : i+apikey.IDLen]); err != nil {
			return false
		}
	}
	return true
}

// A delivery's id is
//
//	<endpoint>_<time it was raised, Unix milliseconds, 12 hexadecimal digits>_<digest, base64url, 22>
//
// with 128 bits of SHA-256 of the alert's id. So the same alert gives the same id however
// often it comes; an endpoint's ids sort by time; and nothing that a client chose, a source
// address for one, gets into the header webhook-id, which is signed and must hold no full
// stop ("Signature scheme" in the specification).
func deliveryID(endpoint string, raised time.Time, alertID string) string {
	sum := sha256.Sum256([]byte(alertID))
	return joinID(endpoint, raised, sum[:16])
}

// testID is an id of that form for an event that no alert is behind.
func testID(endpoint string, now time.Time) string {
	random := make([]byte, 16)
	_, _ = rand.Read(random) // never fails: it ends the process instead (Go 1.24)
	return joinID(endpoint, now, random)
}

func joinID(endpoint string, at time.Time, rest []byte) string {
	return fmt.Sprintf("%s_%012x_%s", endpoint, max(at.UnixMilli(), 0), base64.RawURLEncoding.EncodeToString(rest))
}

const (
	idTimeLen     = 12
	idDigestLen   = 22
	deliveryIDLen = idLen + 1 + idTimeLen + 1 + idDigestLen
)

// endpointOf is the endpoint that a delivery's id names; ok is false for what has not its
// form.
func endpointOf(id string) (endpoint string, ok bool) {
	if len(id) != deliveryIDLen {
		return "", false
	}
	endpoint, rest := id[:idLen], id[idLen:]
	if !validID(endpoint) || rest[0] != '_' || rest[1+idTimeLen] != '_' {
		return "", false
	}
	isNot := func(set string) func(rune) bool { return func(r rune) bool { return !strings.ContainsRune(set, r) } }
	const hex = "0123456789abcdef"
	if strings.ContainsFunc(rest[1:1+idTimeLen], isNot(hex)) {
		return "", false
	}
	_, err := base64.RawURLEncoding.DecodeString(rest[2+idTimeLen:])
	return endpoint, err == nil
}
