package e2e

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// check judges one value of a JSON answer; "" is fine, anything else says what is wrong.
type check func(v any) string

// shape is the documented fields of a JSON object.
type shape map[string]check

// matches reports what of s does not hold for v. Fields that s does not name are an error
// only if exact.
func (s shape) problems(v any, exact bool) (out []string) {
	o, ok := v.(map[string]any)
	if !ok {
		return []string{fmt.Sprintf("is %T, want an object", v)}
	}
	for name, c := range s {
		if value, ok := o[name]; !ok {
			out = append(out, name+" is missing")
		} else if problem := c(value); problem != "" {
			out = append(out, name+" "+problem)
		}
	}
	for name := range o {
		if _, ok := s[name]; exact && !ok {
			out = append(out, name+" is not documented")
		}
	}
	slices.Sort(out)
	return out
}

// has is s as the check of a nested object that may have more fields.
func (s shape) has() check {
	return func(v any) string { return strings.Join(s.problems(v, false), "; ") }
}

// only is s as the check of a nested object that has these fields and no others.
func (s shape) only() check {
	return func(v any) string { return strings.Join(s.problems(v, true), "; ") }
}

// listOf checks every element, and that there is one.
func listOf(c check) check {
	return func(v any) string {
		list, ok := v.([]any)
		if !ok || len(list) == 0 {
			return fmt.Sprintf("is %T of %d elements, want a list that is not empty", v, len(list))
		}
		for i, e := range list {
			if problem := c(e); problem != "" {
				return fmt.Sprintf("[%d] %s", i, problem)
			}
		}
		return ""
	}
}

func exactly(want any) check {
	return func(v any) string {
		if v != want {
			return fmt.Sprintf("is not %v", want) // what it is stays unsaid: it may be a key
		}
		return ""
	}
}

func oneOf(want ...string) check {
	return func(v any) string {
		if s, ok := v.(string); !ok || !slices.Contains(want, s) {
			return fmt.Sprintf("is not one of %v", want)
		}
		return ""
	}
}

func text(pattern string) check {
	re := regexp.MustCompile("^(?:" + pattern + ")$")
	return func(v any) string {
		if s, ok := v.(string); !ok || !re.MatchString(s) {
			return "does not match " + pattern
		}
		return ""
	}
}

func boolean(v any) string {
	if _, ok := v.(bool); !ok {
		return fmt.Sprintf("is %T, want true or false", v)
	}
	return ""
}

// whole is a number without a fraction, least or more.
func whole(least float64) check {
	return func(v any) string {
		n, ok := v.(float64)
		if !ok || n != float64(int64(n)) || n < least {
			return fmt.Sprintf("is %T, want a whole number of at least %v", v, least)
		}
		return ""
	}
}

// milliseconds is a time as 002 writes it, seconds as 001 does; both are checked to be a
// time that exists.
func milliseconds(v any) string { return timeOf("2006-01-02T15:04:05.000Z")(v) }
func seconds(v any) string      { return timeOf("2006-01-02T15:04:05Z")(v) }

func timeOf(layout string) check {
	return func(v any) string {
		s, _ := v.(string)
		if t, err := time.Parse(layout, s); err != nil || t.Format(layout) != s {
			return "is not a time of the form " + layout
		}
		return ""
	}
}

func orNull(c check) check {
	return func(v any) string {
		if v == nil {
			return ""
		}
		return c(v)
	}
}

// near is a time of that layout within a minute of want.
func near(layout string, want time.Time) check {
	return func(v any) string {
		s, _ := v.(string)
		t, err := time.Parse(layout, s)
		if err != nil {
			return "is not a time of the form " + layout
		}
		if d := t.Sub(want).Abs(); d > time.Minute {
			return fmt.Sprintf("is %v off", d)
		}
		return ""
	}
}

// mustHave fails the test unless body is a JSON object of that shape.
func mustHave(t *testing.T, what string, body []byte, s shape, exact bool) map[string]any {
	t.Helper()
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		t.Fatalf("%s: the answer is no JSON (%d bytes)", what, len(body))
	}
	if p := s.problems(v, exact); p != nil {
		t.Fatalf("%s: %s", what, strings.Join(p, "; "))
	}
	return v.(map[string]any)
}
