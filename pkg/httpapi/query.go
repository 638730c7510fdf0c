package httpapi

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/keyreeve/keyreeve/pkg/order"
)

// readQuery refuses what the operation does not take: a parameter that is misspelt, or
// given twice, would otherwise be ignored, and with it perhaps a filter or a force.
func (c *call) readQuery(op *operation) error {
	q, err := url.ParseQuery(c.URL.RawQuery)
	if err != nil {
		return Problem{Status: http.StatusBadRequest, Code: "bad_request", Message: "The query string is malformed."}
	}
	var unknown, bad []FieldProblem
	for name, values := range q {
		i := slices.IndexFunc(op.query, func(p parameter) bool { return p.name == name })
		switch {
		case i < 0:
			unknown = append(unknown, FieldProblem{safeName(name), "is not a parameter of this request"})
		case len(values) > 1:
			bad = append(bad, FieldProblem{name, "is given more than once"})
		default:
			if message := op.query[i].check(values[0]); message != "" {
				bad = append(bad, FieldProblem{name, message})
			}
		}
	}
	if unknown != nil {
		sortFields(unknown)
		return Problem{Status: http.StatusBadRequest, Code: "unknown_parameter",
			Message: "The query string has a parameter that this request does not take.", Fields: unknown}
	}
	if bad != nil {
		sortFields(bad)
		return Invalid(bad...)
	}
	c.query = q
	return nil
}

// check says what is wrong with the value, if anything.
func (p *parameter) check(value string) string {
	switch {
	case p.enum != nil && !slices.Contains(p.enum, value):
		return "must be one of those documented"
	case p.form != nil && !p.form.MatchString(value):
		return p.expect
	case p.moment && !isMoment(value):
		return "must be a time in UTC such as 2026-11-22T10:00:00Z"
	case p.boolean && value != "true" && value != "false":
		return "must be true or false"
	case p.maximum > 0:
		if n, err := strconv.Atoi(value); err != nil || n < p.minimum || n > p.maximum {
			return "must be a whole number from " + strconv.Itoa(p.minimum) + " to " + strconv.Itoa(p.maximum)
		}
	case !utf8.ValidString(value):
		return "must be UTF-8"
	case p.maxLength > 0 && utf8.RuneCountInString(value) > p.maxLength:
		return "must be at most " + strconv.Itoa(p.maxLength) + " characters"
	}
	return ""
}

// momentForm is RFC 3339 in UTC, which is ISO 8601 too. An offset is not taken: a "+" in a
// query is a space.
var momentForm = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?Z$`)

func isMoment(value string) bool {
	_, err := time.Parse(time.RFC3339Nano, value)
	return err == nil && momentForm.MatchString(value)
}

// time is a parameter of that kind; zero: it is not there.
func (c *call) time(name string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, c.query.Get(name)) // checked with the other parameters
	if err != nil {
		return time.Time{}
	}
	return t.Truncate(time.Millisecond)
}

// number is a parameter that is a number; 0: it is not there.
func (c *call) number(name string) int {
	n, _ := strconv.Atoi(c.query.Get(name)) // checked with the other parameters
	return n
}

func (c *call) flag(name string) bool { return c.query.Get(name) == "true" }

// sortFields gives fields that come out of a map the same order every time.
func sortFields(f []FieldProblem) {
	order.By(f, func(a, b FieldProblem) int { return strings.Compare(a.Field, b.Field) })
}
