package verify

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

// The fields of the authorizer context: $context.authorizer.<field> in access logs and
// mapping templates, requestContext.authorizer.<field> in a function's event. This is
// their one home.
//
// Every field is always there, is a string and is never empty, so what is missing or
// empty is a fault and has no meaning of its own. Strings, because API Gateway turns
// numbers and booleans into strings anyway while other gateways do not, and because no
// reader then depends on how somebody prints a large number.
const (
	FieldKeyID       = "keyId"       // public id of the key
	FieldAccountID   = "accountId"   //
	FieldEnvironment = "environment" // the key's own, also on the shared stage
	FieldPermissions = "permissions" // separated by single spaces; "-": none
	FieldCustomers   = "customers"   // separated by single spaces; "*": every customer
	FieldNetworks    = "networks"    // in CIDR notation, separated by single spaces; "*": anywhere
	FieldParent      = "parent"      // public id and Verdict of the key that a session was made with: "Ab12Cd34@7"; "-": no session
	FieldVersion     = "version"     // keys.Key.Verdict, the version that the guard proves
	FieldGeneration  = "generation"  // of the secret that was presented
	FieldLimit       = "limit"       // requests in any 60 seconds
	FieldLimits      = "limits"      // the longer ones and the quota: "hour=1000 day=5000 month=10000@1"; "-": none
	FieldExpiresAt   = "expiresAt"   // Unix milliseconds; 0: never
	FieldGraceUntil  = "graceUntil"  // Unix milliseconds; 0: the secret is the live one
)

const (
	noPermission  = "-"
	noLimits      = "-"
	noParent      = "-"
	everyCustomer = "*"
	anywhere      = "*"
)

// AppendContext appends the authorizer context of id, a JSON object, to dst. The error
// says which field cannot be carried, without its value: such an identity comes from a
// damaged item, and nothing may be concluded from it.
func AppendContext(dst []byte, id keys.Identity) ([]byte, error) {
	if err := check(&id); err != nil {
		return dst, err
	}
	dst = appendString(append(dst, '{'), FieldKeyID, string(id.KeyID))
	dst = appendString(append(dst, ','), FieldAccountID, id.AccountID)
	dst = appendString(append(dst, ','), FieldEnvironment, string(id.Environment))
	dst = appendList(append(dst, ','), FieldPermissions, id.Permissions, noPermission)
	dst = appendList(append(dst, ','), FieldCustomers, id.Customers, everyCustomer)
	dst = appendList(append(dst, ','), FieldNetworks, id.Networks, anywhere)
	dst = appendString(append(dst, ','), FieldParent, parentText(&id))
	dst = appendInt(append(dst, ','), FieldVersion, id.Verdict)
	dst = appendInt(append(dst, ','), FieldGeneration, id.Generation)
	dst = appendInt(append(dst, ','), FieldLimit, int64(id.Limit))
	dst = appendString(append(dst, ','), FieldLimits, limitsText(id.Limits, id.Quota))
	dst = appendInt(append(dst, ','), FieldExpiresAt, unixMilli(id.ExpiresAt))
	dst = appendInt(append(dst, ','), FieldGraceUntil, unixMilli(id.GraceUntil))
	return append(dst, '}'), nil
}

// FromContext reads an authorizer context back: what a function's event holds in
// requestContext.authorizer. It takes strings, as API Gateway delivers every value, and
// numbers, as a local gateway may. Members of other names are ignored (API Gateway adds
// principalId and integrationLatency). The error names the first field that is absent or
// malformed, without its value; the caller must answer 500, never fall back on a tenant.
func FromContext(m map[string]any) (keys.Identity, error) {
	r := reader{m: m}
	id := keys.Identity{
		KeyID:       apikey.ID(r.text(FieldKeyID)),
		AccountID:   r.text(FieldAccountID),
		Environment: keys.Environment(r.text(FieldEnvironment)),
		Permissions: r.list(FieldPermissions, noPermission),
		Customers:   r.list(FieldCustomers, everyCustomer),
		Networks:    r.list(FieldNetworks, anywhere),
		Verdict:     r.int(FieldVersion),
		Generation:  r.int(FieldGeneration),
		Limit:       int(r.int(FieldLimit)),
		ExpiresAt:   r.time(FieldExpiresAt),
		GraceUntil:  r.time(FieldGraceUntil),
	}
	id.Limits, id.Quota = r.limits()
	id.Parent, id.ParentVerdict = r.parent()
	if r.err == nil {
		r.err = check(&id)
	}
	if r.err != nil {
		return keys.Identity{}, r.err
	}
	return id, nil
}

// check holds an identity to what the context can carry unambiguously.
func check(id *keys.Identity) error {
	if _, err := apikey.ParseID(string(id.KeyID)); err != nil {
		return malformed(FieldKeyID)
	}
	if !keys.ValidID(id.AccountID) {
		return malformed(FieldAccountID)
	}
	if !id.Environment.Valid() {
		return malformed(FieldEnvironment)
	}
	for _, p := range id.Permissions {
		if !isPermission(p) {
			return malformed(FieldPermissions)
		}
	}
	for _, c := range id.Customers {
		if !keys.ValidID(c) {
			return malformed(FieldCustomers)
		}
	}
	for _, n := range id.Networks {
		if !keys.ValidNetwork(n) {
			return malformed(FieldNetworks)
		}
	}
	if id.Parent != "" || id.ParentVerdict != 0 {
		if _, err := apikey.ParseID(string(id.Parent)); err != nil || id.ParentVerdict < 1 || id.Parent == id.KeyID {
			return malformed(FieldParent)
		}
	}
	switch {
	case id.Verdict < 0:
		return malformed(FieldVersion)
	case id.Generation < 1:
		return malformed(FieldGeneration)
	case id.Limit < 0:
		return malformed(FieldLimit)
	case !id.Limits.Valid() || !id.Quota.Valid():
		return malformed(FieldLimits)
	case !id.ExpiresAt.IsZero() && unixMilli(id.ExpiresAt) < 1:
		return malformed(FieldExpiresAt) // or it would read as "never"
	case !id.GraceUntil.IsZero() && unixMilli(id.GraceUntil) < 1:
		return malformed(FieldGraceUntil)
	}
	return nil
}

func malformed(field string) error {
	return fmt.Errorf("authorizer context: %s is malformed", field)
}

// isPermission reports whether s is made of what permissions are made of. What may be
// granted at all is the catalogue's question.
func isPermission(s string) bool {
	if s == "" || s == noPermission {
		return false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// The values that pass check need no JSON escapes.

func appendString(dst []byte, field, value string) []byte {
	dst = append(append(dst, '"'), field...)
	dst = append(append(dst, `":"`...), value...)
	return append(dst, '"')
}

func appendInt(dst []byte, field string, n int64) []byte {
	dst = append(append(dst, '"'), field...)
	dst = strconv.AppendInt(append(dst, `":"`...), n, 10)
	return append(dst, '"')
}

func appendList(dst []byte, field string, values []string, none string) []byte {
	if len(values) == 0 {
		return appendString(dst, field, none)
	}
	dst = append(append(dst, '"'), field...)
	dst = append(append(dst, `":"`...), values[0]...)
	for _, v := range values[1:] {
		dst = append(append(dst, ' '), v...)
	}
	return append(dst, '"')
}

func unixMilli(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// reader reads fields until the first that is absent or malformed.
type reader struct {
	m   map[string]any
	err error
}

func (r *reader) text(field string) string {
	switch v := r.m[field].(type) {
	case string:
		return v // an empty one is refused by check
	case nil:
		r.fail(field, "missing")
	default:
		r.fail(field, "malformed")
	}
	return ""
}

func (r *reader) list(field, none string) []string {
	v := r.text(field)
	if v == none {
		return nil
	}
	return strings.Split(v, " ") // so is an empty part
}

// limitsText is FieldLimits of a key's limits.
func limitsText(l keys.Limits, q keys.Quota) string {
	text := l.String()
	if q != (keys.Quota{}) {
		text = strings.TrimLeft(text+" "+keys.WindowMonth+"="+q.String(), " ")
	}
	return cmp.Or(text, noLimits)
}

// limits reads FieldLimits. There is one text for each set of limits, so what does not come
// out again as it went in is malformed, whatever is wrong with it.
func (r *reader) limits() (l keys.Limits, q keys.Quota) {
	text := r.text(FieldLimits)
	for part := range strings.SplitSeq(text, " ") {
		window, most, _ := strings.Cut(part, "=")
		switch window {
		case keys.WindowHour:
			l.Hour = atoi(most)
		case keys.WindowDay:
			l.Day = atoi(most)
		case keys.WindowMonth:
			requests, day, _ := strings.Cut(most, "@")
			q = keys.Quota{Requests: atoi(requests), RefillDay: atoi(day)}
		}
	}
	if limitsText(l, q) != text {
		r.fail(FieldLimits, "malformed")
	}
	return l, q
}

// parentText is FieldParent.
func parentText(id *keys.Identity) string {
	if id.Parent == "" {
		return noParent
	}
	return string(id.Parent) + "@" + strconv.FormatInt(id.ParentVerdict, 10)
}

// parent reads FieldParent. What does not come out again as it went in is malformed.
func (r *reader) parent() (parent apikey.ID, verdict int64) {
	text := r.text(FieldParent)
	if text == noParent {
		return "", 0
	}
	name, at, _ := strings.Cut(text, "@")
	id := keys.Identity{Parent: apikey.ID(name)}
	id.ParentVerdict, _ = strconv.ParseInt(at, 10, 64)
	if name == "" || id.ParentVerdict < 1 || id.ParentVerdict > maxInt || parentText(&id) != text {
		r.fail(FieldParent, "malformed")
	}
	return id.Parent, id.ParentVerdict
}

// atoi is the number that s spells, or one that no limit can be.
func atoi(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return -1
	}
	return n
}

// maxInt is the largest integer that a JSON number surely carries (RFC 8259 section 6).
const maxInt = 1<<53 - 1

func (r *reader) int(field string) int64 {
	var n int64
	var err error
	switch v := r.m[field].(type) {
	case float64:
		if n = int64(v); float64(n) != v {
			err = strconv.ErrSyntax
		}
	case int64:
		n = v
	case int:
		n = int64(v)
	case json.Number:
		n, err = strconv.ParseInt(v.String(), 10, 64)
	default:
		n, err = strconv.ParseInt(r.text(field), 10, 64)
	}
	if err != nil || n < 0 || n > maxInt {
		r.fail(field, "malformed")
	}
	return n
}

func (r *reader) time(field string) time.Time {
	if n := r.int(field); n != 0 {
		return time.UnixMilli(n).UTC()
	}
	return time.Time{}
}

func (r *reader) fail(field, how string) {
	if r.err == nil {
		r.err = errors.New("authorizer context: " + field + " is " + how)
	}
}
