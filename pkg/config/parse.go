package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// ParseSettings reads settings in JSON over the defaults and validates them. It is
// strict: a misspelt field, one in capitals or one given twice would silently leave a
// default in force. The error lists every field at fault by its path and quotes no value.
func ParseSettings(text []byte) (Settings, error) {
	s := DefaultSettings()
	p := &parser{}
	if !json.Valid(text) {
		return Settings{}, errors.New("settings: not JSON")
	}
	p.object("", text, func(field, name string, value json.RawMessage) {
		switch name {
		case "prefixes":
			p.object(field, value, func(field, face string, value json.RawMessage) {
				if s.Prefixes[face] == nil {
					s.Prefixes[face] = map[string]Prefix{}
				}
				p.object(field, value, func(field, environment string, value json.RawMessage) {
					s.Prefixes[face][environment] = p.prefix(field, value, s.Prefixes[face][environment])
				})
			})
		case "plans":
			p.object(field, value, func(field, name string, value json.RawMessage) {
				s.Plans[name] = p.plan(field, value, s.Plans[name])
			})
		case "sharedStage":
			p.read(field, value, &s.SharedStage)
		case "defaultPlan":
			p.read(field, value, &s.DefaultPlan)
		case "developmentFactor":
			p.read(field, value, &s.DevelopmentFactor)
		case "retentionDays":
			p.read(field, value, &s.RetentionDays)
		case "authorizerCacheSeconds":
			p.read(field, value, s.AuthorizerCacheSeconds)
		case "corsOrigins":
			s.CORSOrigins = nil // else the elements would be read over the defaults'
			p.read(field, value, &s.CORSOrigins)
		case "webhookRetrySeconds":
			s.WebhookRetrySeconds = nil
			p.read(field, value, &s.WebhookRetrySeconds)
		default:
			p.fail(field, "unknown field")
		}
	})
	s.validate(p)
	if len(p.errs) > 0 {
		return Settings{}, errors.Join(p.errs...)
	}
	return s, nil
}

// parser collects what is wrong.
type parser struct {
	errs   []error
	failed map[string]bool
}

// fail records the first fault of a field: what follows from it is no news, and neither
// are the elements of a list that could not be read.
func (p *parser) fail(field, format string, a ...any) {
	if list, _, _ := strings.Cut(field, "["); p.failed[field] || p.failed[list] {
		return
	}
	if p.failed == nil {
		p.failed = map[string]bool{}
	}
	p.failed[field] = true
	if field != "" {
		field += ": "
	}
	p.errs = append(p.errs, fmt.Errorf("settings: %s%s", field, fmt.Sprintf(format, a...)))
}

func (p *parser) between(field string, n, least, most int) {
	if n < least || n > most {
		p.fail(field, "want %d to %d", least, most)
	}
}

// object calls member for each member of a JSON object, with its path.
func (p *parser) object(at string, text []byte, member func(field, name string, value json.RawMessage)) {
	dec := json.NewDecoder(bytes.NewReader(text))
	if t, _ := dec.Token(); t != json.Delim('{') {
		p.fail(at, "want an object")
		return
	}
	seen := map[string]bool{}
	for dec.More() {
		t, _ := dec.Token() // text is valid JSON
		name, _ := t.(string)
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			p.fail(at, "want an object")
			return
		}
		field := name
		if at != "" {
			field = at + "." + name
		}
		if seen[name] {
			p.fail(field, "is given twice")
			continue
		}
		seen[name] = true
		member(field, name, value)
	}
}

func (p *parser) prefix(field string, text []byte, out Prefix) Prefix {
	p.object(field, text, func(field, name string, value json.RawMessage) {
		switch name {
		case "issue":
			p.read(field, value, &out.Issue)
		case "accept":
			p.read(field, value, &out.Accept)
		default:
			p.fail(field, "unknown field")
		}
	})
	return out
}

func (p *parser) plan(field string, text []byte, out Plan) Plan {
	p.object(field, text, func(field, name string, value json.RawMessage) {
		switch name {
		case "rateLimit":
			p.read(field, value, &out.RateLimit)
		case "keys":
			p.read(field, value, &out.Keys)
		default:
			p.fail(field, "unknown field")
		}
	})
	return out
}

// read decodes one value. encoding/json would take null for anything.
func (p *parser) read(field string, value json.RawMessage, target any) {
	if string(value) != "null" && json.Unmarshal(value, target) == nil {
		return
	}
	want := "text"
	switch target.(type) {
	case *bool:
		want = "true or false"
	case *int:
		want = "a whole number"
	case *[]int:
		want = "an array of whole numbers"
	case *[]string:
		want = "an array of texts"
	}
	p.fail(field, "want %s", want)
}
