package route

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// file is the form of routes.json and management.json.
type file struct {
	Permissions []Permission
	Routes      []Route
}

// decodeFile reads a file strictly: encoding/json alone would take "PUBLIC" for "public"
// and keep the last of two, which in a table of who may do what is no trifle. Members are
// therefore taken one by one. It goes on after a fault, so that all are found at once.
func decodeFile(text []byte) (f file, errs []error) {
	fail := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	if !json.Valid(text) {
		fail("not JSON, see line %d", faultyLine(text))
		return f, errs
	}
	object := func(at string, text []byte, targets map[string]any) {
		seen := map[string]bool{}
		err := members(text, func(name string, value json.RawMessage) {
			target, ok := targets[name]
			switch {
			case !ok:
				fail("%sunknown field %q", at, name)
			case seen[name]:
				fail("%sfield %q is given twice", at, name)
			case string(value) == "null" || json.Unmarshal(value, target) != nil:
				fail("%sfield %q: want %s", at, name, kind(target))
			}
			seen[name] = true
		})
		if err != nil {
			fail("%swant an object", at)
		}
	}
	var schema string
	var permissions, routes []json.RawMessage
	object("", text, map[string]any{"$schema": &schema, "permissions": &permissions, "routes": &routes})
	if routes == nil && len(errs) == 0 {
		fail("field \"routes\" is missing")
	}
	for i, raw := range permissions {
		var p Permission
		object(fmt.Sprintf("permissions[%d]: ", i), raw, map[string]any{"name": &p.Name, "label": &p.Label})
		f.Permissions = append(f.Permissions, p)
	}
	for i, raw := range routes {
		var r Route
		var upstream json.RawMessage
		at := fmt.Sprintf("routes[%d]: ", i)
		object(at, raw, map[string]any{
			"method": &r.Method, "path": &r.Path, "permission": &r.Permission, "credential": &r.Credential,
			"function": &r.Function, "upstream": &upstream,
			"customer": &r.Customer, "unguarded": &r.Unguarded, "public": &r.Public,
		})
		if upstream != nil {
			u := &r.Upstream
			u.TimeoutSeconds = defaultTimeoutSeconds // also what tells {} from no upstream
			object(at+"upstream: ", upstream, map[string]any{"url": &u.URL, "lambda": &u.Lambda, "timeoutSeconds": &u.TimeoutSeconds})
		}
		f.Routes = append(f.Routes, r)
	}
	return f, errs
}

// faultyLine is the line of the first syntax error, from 1.
func faultyLine(text []byte) int {
	var syntax *json.SyntaxError
	if !errors.As(json.Unmarshal(text, new(any)), &syntax) {
		return 1
	}
	return 1 + bytes.Count(text[:min(int(syntax.Offset), len(text))], []byte("\n"))
}

// kind says in words what a target takes.
func kind(target any) string {
	switch target.(type) {
	case *bool:
		return "true or false"
	case *int:
		return "a whole number"
	case *json.RawMessage:
		return "an object"
	case *[]json.RawMessage:
		return "an array"
	}
	return "a string"
}

// members calls visit for each member of a JSON object, in order.
func members(text []byte, visit func(name string, value json.RawMessage)) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return errors.New("not an object")
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return err
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return err
		}
		visit(name.(string), value)
	}
	return nil
}
