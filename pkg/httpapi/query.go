package httpapi

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
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

func (c *call) flag(name string) bool { return c.query.Get(name) == "true" }

// sortFields gives fields that come out of a map the same order every time.
func sortFields(f []FieldProblem) {
	slices.SortFunc(f, func(a, b FieldProblem) int { return strings.Compare(a.Field, b.Field) })
}
