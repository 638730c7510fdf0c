package keys

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/keyreeve/keyreeve/pkg/apikey"
)

// Bounds of a request's fields. API Gateway hands permissions and customers on to every
// handler in the authorizer's context, beside an 8 KB policy, so their sum is bounded too.
const (
	maxNameChars    = 100
	maxPermissions  = 50
	maxCustomers    = 100
	maxCustomersSum = 2048 // characters of all customers, separators included
	maxExpiryDays   = 365
	maxExpiry       = maxExpiryDays * 24 * time.Hour
	maxGrace        = 24 * time.Hour
)

// faults collects the fields at fault. Messages never hold what the client sent.
type faults struct{ list []FieldError }

func (f *faults) add(field, message string) {
	f.list = append(f.list, FieldError{Field: field, Message: message})
}

func (f *faults) err() error {
	if len(f.list) == 0 {
		return nil
	}
	return &ValidationError{Fields: f.list}
}

// invalid is the error of one field.
func invalid(field, message string) error {
	return &ValidationError{Fields: []FieldError{{Field: field, Message: message}}}
}

func (f *faults) name(field, name string) {
	switch n := utf8.RuneCountInString(name); {
	case !utf8.ValidString(name):
		f.add(field, "must be valid UTF-8")
	case n < 1 || n > maxNameChars:
		f.add(field, fmt.Sprintf("must be 1 to %d characters", maxNameChars))
	case isBlank(name):
		f.add(field, "must not be blank")
	default:
		f.text(field, name)
	}
}

func (f *faults) owner(owner string) {
	switch {
	case !utf8.ValidString(owner):
		f.add("owner", "must be valid UTF-8")
	case utf8.RuneCountInString(owner) > maxNameChars:
		f.add("owner", fmt.Sprintf("must be at most %d characters", maxNameChars))
	default:
		f.text("owner", owner)
	}
}

// text refuses what would garble a log or a terminal, and a key that was pasted into the
// wrong field: names are listed, searched and audited.
func (f *faults) text(field, s string) {
	switch {
	case strings.ContainsFunc(s, unicode.IsControl):
		f.add(field, "must not hold control characters")
	case slices.ContainsFunc(strings.Fields(s), func(word string) bool { _, err := apikey.Parse(word); return err == nil }):
		f.add(field, "must not hold an API key")
	}
}

// isBlank reports whether nothing of s can be seen: spaces, and format characters such
// as the zero-width ones.
func isBlank(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return unicode.IsGraphic(r) && !unicode.IsSpace(r) })
}

// permissions gives them as a key holds them: sorted, each once.
func (f *faults) permissions(list []string, known func(string) bool) []string {
	if len(list) > maxPermissions {
		f.add("permissions", fmt.Sprintf("must be at most %d", maxPermissions))
		return nil
	}
	for i, p := range list {
		if !known(p) {
			f.add(fmt.Sprintf("permissions[%d]", i), "must be a known permission")
		}
	}
	return sorted(list)
}

func (f *faults) customers(list []string) []string {
	if len(list) > maxCustomers {
		f.add("customers", fmt.Sprintf("must be at most %d", maxCustomers))
		return nil
	}
	sum := 0
	for i, c := range list {
		if !ValidID(c) {
			f.add(fmt.Sprintf("customers[%d]", i), mustBeID)
		}
		sum += len(c) + 1
	}
	if sum > maxCustomersSum {
		f.add("customers", fmt.Sprintf("must be at most %d characters in all", maxCustomersSum))
	}
	return sorted(list)
}

var mustBeID = fmt.Sprintf("must be 1 to %d of A-Z, a-z, 0-9, '_' and '-'", MaxIDLen)

func sorted(list []string) []string {
	list = slices.Clone(list)
	slices.Sort(list)
	return slices.Compact(list)
}

// expiry is the time at which a key ends that was asked for by days or by time; zero:
// never. Both are nil where neither was asked for.
func (f *faults) expiry(days *int, at *time.Time, now time.Time) time.Time {
	switch {
	case days != nil && at != nil:
		f.add("expirationTs", notBoth)
	case days != nil:
		if *days < 1 || *days > maxExpiryDays {
			f.add("expirationDays", fmt.Sprintf("must be 1 to %d", maxExpiryDays))
			return time.Time{}
		}
		return now.Add(time.Duration(*days) * 24 * time.Hour)
	case at != nil:
		end := at.UTC().Truncate(time.Millisecond)
		if !end.After(now) || end.After(now.Add(maxExpiry)) {
			f.add("expirationTs", fmt.Sprintf("must be in the future and at most %d days ahead", maxExpiryDays))
		}
		return end
	}
	return time.Time{}
}

// notBefore is the time from which a key works that was asked for; zero: at once. One that
// has passed is as good as none, and is taken, so that what was read can be written back.
func (f *faults) notBefore(at *time.Time, now time.Time) time.Time {
	if at == nil {
		return time.Time{}
	}
	start := at.UTC().Truncate(time.Millisecond)
	if start.UnixMilli() <= 0 || start.After(now.Add(maxExpiry)) {
		f.add("notBefore", fmt.Sprintf("must be after 1970 and at most %d days ahead", maxExpiryDays))
	}
	return start
}

// lifetime refuses a key whose end comes before its start; field is what was asked for.
func (f *faults) lifetime(k *Key, field string) {
	if !k.ExpiresAt.IsZero() && !k.NotBefore.Before(k.ExpiresAt) {
		f.add(field, "must leave the key a time between its start and its expiry")
	}
}

// canary refuses what a canary key cannot have: it is for nothing but to be noticed, and
// to take a permission in silence would let its maker think that it grants one.
func (f *faults) canary(permissions, customers, networks, notBefore, plan, rateLimit, limits, quota, primary bool) {
	for _, named := range []struct {
		is    bool
		field string
	}{
		{permissions, "permissions"}, {customers, "customers"}, {networks, "networks"}, {notBefore, "notBefore"},
		{plan, "plan"}, {rateLimit, "rateLimit"}, {limits, "limits"}, {quota, "quota"},
	} {
		if named.is {
			f.add(named.field, "cannot be given for a canary key")
		}
	}
	if primary {
		f.add("isPrimary", "cannot be true for a canary key")
	}
}

const notBoth = "must not be given together with expirationDays"

func (f *faults) rateLimit(n int) {
	if n < 1 {
		f.add("rateLimit", "must be 1 or more")
	}
}
