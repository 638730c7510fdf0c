package httpapi

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// maxDepth is how deep arrays and objects of a body may nest.
const maxDepth = 32

// ReadBody returns the request's body, one well-formed JSON object in UTF-8, no name twice
// in an object, at most 64 KiB and 32 levels deep; or a blank one as it came. Any other is
// a [Problem]: 400 invalid_json, 413 or 415.
func ReadBody(r *http.Request) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r.Body, maxBodyBytes+1))
	if err != nil {
		return nil, Problem{Status: http.StatusBadRequest, Code: "bad_request", Message: "The body could not be read."}
	}
	if len(data) > maxBodyBytes {
		return nil, tooLarge()
	}
	if isBlank(data) {
		return data, nil
	}
	if !isJSON(r.Header) {
		return nil, unsupportedMedia()
	}
	return data, wellFormed(data)
}

func isBlank(data []byte) bool { return len(bytes.TrimSpace(data)) == 0 }

// readBody reads the request's body into the struct that into points to, and returns it
// as it came. A blank body is an empty object: what is needed is then missing by name.
//
// Every member is decoded by itself, so that all fields at fault are named together. Names
// are compared exactly; null is refused where the field's type does not take it.
func (c *call) readBody(into any) ([]byte, error) {
	data, err := ReadBody(c.Request)
	if err != nil || isBlank(data) {
		return data, err
	}
	return data, decode(data, into)
}

// isJSON reports whether a body may be read as JSON: application/json in UTF-8, or no
// word about it at all, and no content coding.
func isJSON(h http.Header) bool {
	if e := h.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return false
	}
	values := h.Values("Content-Type")
	if len(values) == 0 {
		return true
	}
	kind, params, err := mime.ParseMediaType(values[0])
	charset, named := params["charset"]
	return len(values) == 1 && err == nil && kind == "application/json" && (!named || strings.EqualFold(charset, "utf-8"))
}

func badJSON(message string) Problem {
	return Problem{Status: http.StatusBadRequest, Code: "invalid_json", Message: message}
}

// decode reads data, which is well-formed, into the struct that into points to.
func decode(data []byte, into any) error {
	target := reflect.ValueOf(into).Elem()
	fields := make(map[string]reflect.Value, target.NumField())
	for i := range target.NumField() {
		name, _, _ := strings.Cut(target.Type().Field(i).Tag.Get("json"), ",")
		fields[name] = target.Field(i)
	}
	var unknown, bad []FieldProblem
	dec := jsontext.NewDecoder(bytes.NewReader(data))
	_, _ = dec.ReadToken() // the opening brace
	for dec.PeekKind() != '}' {
		token, err := dec.ReadToken()
		if err != nil {
			return badJSON("The body is not valid JSON.") // wellFormed has read it all before
		}
		name := token.String()
		value, err := dec.ReadValue()
		if err != nil {
			return badJSON("The body is not valid JSON.")
		}
		field, known := fields[name]
		switch {
		case !known && folds(name, fields):
			p := badJSON("The body names a field in another letter case.")
			p.Fields = []FieldProblem{{safeName(name), "is spelled otherwise"}}
			return p
		case !known:
			unknown = append(unknown, FieldProblem{safeName(name), "is not a field of this request"})
		case value.Kind() == 'n' && !takesNull(field):
			bad = append(bad, FieldProblem{name, expectation(field.Type()) + ", not null"})
		default:
			if err := json.Unmarshal(value, field.Addr().Interface()); err != nil {
				bad = append(bad, FieldProblem{name + position(err), expectation(field.Type())})
			}
		}
	}
	if unknown != nil {
		return Problem{Status: http.StatusBadRequest, Code: "unknown_field",
			Message: "The body has a field that this request does not take.", Fields: unknown}
	}
	if bad != nil {
		return Invalid(bad...)
	}
	return nil
}

// folds reports whether name is a field's but for letter case (ſ is an s). Readers that
// fold case, encoding/json among them, would take it for the field.
func folds(name string, fields map[string]reflect.Value) bool {
	for known := range fields {
		if strings.EqualFold(name, known) {
			return true
		}
	}
	return false
}

// wellFormed checks that data is one JSON object in UTF-8 (RFC 8259), no name twice in
// an object (RFC 7493 section 2.3), nothing after it, not too deep. Two readers of a text
// that is anything else may see two different requests.
func wellFormed(data []byte) error {
	dec := jsontext.NewDecoder(bytes.NewReader(data))
	if dec.PeekKind() != '{' {
		return badJSON("The body must be one JSON object.")
	}
	for {
		_, err := dec.ReadToken()
		switch {
		case errors.Is(err, io.EOF) && dec.StackDepth() == 0:
			return nil
		case errors.Is(err, jsontext.ErrDuplicateName):
			p := badJSON("The body names a field twice.")
			var at *jsontext.SyntacticError
			if errors.As(err, &at) {
				p.Fields = []FieldProblem{{safeName(at.JSONPointer.LastToken()), "is there twice"}}
			}
			return p
		case err != nil:
			return badJSON("The body is not valid JSON.")
		case dec.StackDepth() > maxDepth:
			return badJSON("The body nests deeper than " + strconv.Itoa(maxDepth) + " levels.")
		case dec.StackDepth() == 0 && dec.PeekKind() != 0:
			return badJSON("Something follows the JSON object.")
		}
	}
}

// nullable is implemented by the types of fields that may be null.
type nullable interface{ takesNull() }

func takesNull(field reflect.Value) bool {
	_, ok := field.Interface().(nullable)
	return ok
}

// expectation says what a field's type takes.
func expectation(t reflect.Type) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if e, ok := reflect.Zero(t).Interface().(interface{ expectation() string }); ok {
		return e.expectation()
	}
	switch t.Kind() {
	case reflect.Bool:
		return "must be true or false"
	case reflect.Slice:
		return "must be a list of strings"
	}
	return "must be a string"
}

// position names the element of a list at fault: "[2]".
func position(err error) string {
	var at *json.SemanticError
	if errors.As(err, &at) {
		if n := at.JSONPointer.LastToken(); n != "" {
			return "[" + n + "]"
		}
	}
	return ""
}

// safeName is a name that a client chose, if it may be repeated to it: short, and made of
// what names are made of. A key that ends up as a name is longer than that.
func safeName(name string) string {
	if name == "" || utf8.RuneCountInString(name) > 24 {
		return "(unknown)"
	}
	for _, r := range name {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("_-.$[]", r) {
			return "(unknown)"
		}
	}
	return name
}
