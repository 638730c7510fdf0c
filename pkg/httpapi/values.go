package httpapi

import (
	"errors"
	"math"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json"
)

// instant is a time as the canonical face writes it: UTC with milliseconds,
// "2024-01-15T10:30:00.000Z". It reads every RFC 3339 time.
type instant time.Time

const instantForm = "2006-01-02T15:04:05.000Z"

// moment is t for a field that may be null: nil for the zero time.
func moment(t time.Time) *instant {
	if t.IsZero() {
		return nil
	}
	i := instant(t)
	return &i
}

// MarshalJSON writes the canonical form.
func (i instant) MarshalJSON() ([]byte, error) {
	return []byte(time.Time(i).UTC().Format(`"` + instantForm + `"`)), nil
}

// UnmarshalJSON reads an RFC 3339 time and drops what is below a millisecond. Its errors
// do not quote the text.
func (i *instant) UnmarshalJSON(text []byte) error {
	var s string
	if err := json.Unmarshal(text, &s); err != nil {
		return errNotOne
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return errNotOne
	}
	*i = instant(t.UTC().Truncate(time.Millisecond))
	return nil
}

// Schema describes an instant.
func (instant) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Format: "date-time", Examples: []any{"2024-01-15T10:30:00.000Z"}}
}

func (instant) expectation() string {
	return "must be a date and time such as 2024-01-15T10:30:00.000Z"
}

var errNotOne = errors.New("not of that form")

// second is a time as the account face writes it: "2024-01-15T10:00:00Z".
type second time.Time

func atSecond(t time.Time) *second {
	if t.IsZero() {
		return nil
	}
	s := second(t)
	return &s
}

// MarshalJSON writes the account face's form.
func (s second) MarshalJSON() ([]byte, error) {
	return []byte(time.Time(s).UTC().Format(`"2006-01-02T15:04:05Z"`)), nil
}

// Schema describes a second.
func (second) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Format: "date-time", Examples: []any{"2024-01-15T10:00:00Z"}}
}

// count is how many of something there are.
type count int64

// Schema describes a count.
func (count) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeInteger, Format: "int64", Minimum: new(0.0), Maximum: new(9007199254740991.0)}
}

// integer is a whole number however JSON spells it: 30, 30.0 and 3e1 are the same number
// (RFC 8259 section 6), and Python writes the second.
type integer int64

// UnmarshalJSON reads a whole number of at most 2^53 either way, beyond which JSON's
// numbers are not exact.
func (n *integer) UnmarshalJSON(text []byte) error {
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
		return errNotOne
	}
	*n = integer(f)
	return nil
}

func (integer) expectation() string { return "must be a whole number" }

func (n *integer) int() *int {
	if n == nil {
		return nil
	}
	i := int(*n)
	return &i
}

// optional is a field of a request that may be left out, be null, or hold a value.
type optional[T any] struct {
	set   bool
	value *T // nil: null
}

// UnmarshalJSON reads null or a value.
func (o *optional[T]) UnmarshalJSON(text []byte) error {
	o.set = true
	if string(text) == "null" {
		o.value = nil
		return nil
	}
	o.value = new(T)
	return json.Unmarshal(text, o.value)
}

func (optional[T]) takesNull() {}

func (optional[T]) expectation() string {
	var v T
	return any(v).(interface{ expectation() string }).expectation() + ", or null"
}

// Schema is that of the value, or null.
func (optional[T]) Schema(r huma.Registry) *huma.Schema {
	s := r.Schema(of[T](), false, "")
	s.Nullable = true
	return s
}
