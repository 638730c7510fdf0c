package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Document is a policy as IAM reads it, ready to be evaluated many times. It holds the
// part of IAM's language that authorizers use (IAM User Guide, "IAM JSON policy element
// reference"): Effect, Action, Resource, and the conditions DateLessThan on
// aws:CurrentTime and IpAddress on aws:SourceIp. Anything else is an error, never
// ignored: an element that is skipped could be the one that denies.
type Document struct{ statements []statement }

type statement struct {
	Sid        string
	Effect     string
	Action     list
	Resource   list
	Condition  map[string]map[string]list
	conditions []condition
}

// condition holds if the environment's value satisfies it.
type condition struct {
	key  string
	test func(value string) (bool, error)
}

// The condition keys that a caller of Evaluate sets.
const (
	CurrentTime = "aws:CurrentTime" // RFC 3339
	SourceIP    = "aws:SourceIp"    // an IP address
)

// Decision is how a policy decides about one request.
type Decision struct {
	Allowed   bool
	Statement int    // index of the deciding statement; -1: none applies, which denies
	Effect    string // of it
	Resource  string // the resource in it that matches
}

// Parse reads a policy document and holds it to API Gateway's limits.
func Parse(doc []byte) (*Document, error) {
	if len(doc) > MaxDocument {
		return nil, fmt.Errorf("policy document: %d bytes, more than %d", len(doc), MaxDocument)
	}
	var raw struct {
		Version   string
		ID        string `json:"Id"`
		Statement statements
	}
	if err := json.Unmarshal(doc, &raw, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("policy document: %w", err)
	}
	if raw.Version != "2012-10-17" {
		return nil, errors.New("policy document: Version is not 2012-10-17")
	}
	if len(raw.Statement) == 0 {
		return nil, errors.New("policy document: no Statement")
	}
	for i := range raw.Statement {
		if err := raw.Statement[i].prepare(); err != nil {
			return nil, fmt.Errorf("policy document: statement %d: %w", i, err)
		}
	}
	return &Document{raw.Statement}, nil
}

func (s *statement) prepare() error {
	if s.Effect != "Allow" && s.Effect != "Deny" {
		return errors.New("Effect is neither Allow nor Deny")
	}
	if len(s.Action) == 0 || len(s.Resource) == 0 {
		return errors.New("no Action or no Resource")
	}
	for _, r := range s.Resource {
		if len(r) > MaxResource {
			return fmt.Errorf("a resource of %d characters, more than %d", len(r), MaxResource)
		}
		if strings.Contains(r, "${") {
			return errors.New("policy variables are not supported")
		}
		if r != "*" && (!strings.HasPrefix(r, "arn:") || strings.Count(r, ":") < 5) {
			return errors.New("a resource that is no ARN")
		}
	}
	for operator, keys := range s.Condition {
		for key, values := range keys {
			c, err := newCondition(operator, key, values)
			if err != nil {
				return err
			}
			s.conditions = append(s.conditions, c)
		}
	}
	return nil
}

func newCondition(operator, key string, values list) (condition, error) {
	if len(values) == 0 {
		return condition{}, fmt.Errorf("condition %s has no value", operator)
	}
	switch {
	case operator == "DateLessThan" && strings.EqualFold(key, CurrentTime):
		limits := make([]time.Time, len(values))
		for i, v := range values {
			var err error
			if limits[i], err = parseDate(v); err != nil {
				return condition{}, err
			}
		}
		return condition{CurrentTime, func(value string) (bool, error) {
			now, err := parseDate(value)
			for _, limit := range limits {
				if err == nil && now.Before(limit) {
					return true, nil
				}
			}
			return false, err
		}}, nil
	case operator == "IpAddress" && strings.EqualFold(key, SourceIP):
		ranges := make([]netip.Prefix, len(values))
		for i, v := range values {
			var err error
			if ranges[i], err = parseRange(v); err != nil {
				return condition{}, err
			}
		}
		return condition{SourceIP, func(value string) (bool, error) {
			ip, err := netip.ParseAddr(value)
			for _, r := range ranges {
				if err == nil && ip.Zone() == "" && r.Contains(ip.Unmap()) {
					return true, nil
				}
			}
			return false, err
		}}, nil
	}
	return condition{}, fmt.Errorf("condition %s on %s is not supported", operator, key)
}

// parseDate reads the two spellings of a date that IAM takes: ISO 8601 and Unix seconds.
func parseDate(s string) (time.Time, error) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return time.Unix(n, 0), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}, errors.New("a date is neither ISO 8601 nor Unix seconds")
	}
	return t, nil
}

func parseRange(s string) (netip.Prefix, error) {
	if ip, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(ip, ip.BitLen()), nil
	}
	r, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, errors.New("an address range is not in CIDR notation")
	}
	return r, nil
}

// Evaluate decides whether the action (execute-api:Invoke) on the resource (a method's
// ARN) is allowed in an environment, by IAM's rules: a statement applies if action,
// resource and every condition match; a Deny wins over every Allow; what nothing allows is
// denied. The error says that it could not be decided, which denies too: a condition's key
// is not in env, or its value there is malformed.
func (d *Document) Evaluate(action, resource string, env map[string]string) (Decision, error) {
	decision := Decision{Statement: -1}
	for i := range d.statements {
		s := &d.statements[i]
		matched, applies, err := s.applies(action, resource, env)
		if err != nil {
			return Decision{Statement: -1}, fmt.Errorf("policy document: statement %d: %w", i, err)
		}
		if !applies || decision.Statement >= 0 && (decision.Effect == "Deny" || s.Effect == "Allow") {
			continue
		}
		decision = Decision{Allowed: s.Effect == "Allow", Statement: i, Effect: s.Effect, Resource: matched}
	}
	return decision, nil
}

// Evaluate is [Parse] and [Document.Evaluate] in one.
func Evaluate(doc []byte, action, resource string, env map[string]string) (Decision, error) {
	d, err := Parse(doc)
	if err != nil {
		return Decision{Statement: -1}, err
	}
	return d.Evaluate(action, resource, env)
}

func (s *statement) applies(action, resource string, env map[string]string) (matched string, ok bool, err error) {
	for _, c := range s.conditions {
		value, there := env[c.key]
		if !there {
			return "", false, fmt.Errorf("the environment has no %s", c.key)
		}
		holds, err := c.test(value)
		if err != nil || !holds {
			return "", false, err
		}
	}
	acts := false
	for _, a := range s.Action {
		acts = acts || glob(strings.ToLower(a), strings.ToLower(action))
	}
	if !acts {
		return "", false, nil
	}
	for _, r := range s.Resource {
		if r == "*" || matchARN(r, resource) {
			return r, true, nil
		}
	}
	return "", false, nil
}

// matchARN matches the first five parts of an ARN each for itself and the sixth, which
// may hold colons, as one: a wildcard spans "/" but no part's end.
func matchARN(pattern, arn string) bool {
	for range 5 {
		p, restP, _ := strings.Cut(pattern, ":")
		a, restA, ok := strings.Cut(arn, ":")
		if !ok || !glob(p, a) {
			return false
		}
		pattern, arn = restP, restA
	}
	return glob(pattern, arn)
}

// glob matches "*" to any text, also none, and "?" to any one character.
func glob(pattern, s string) bool {
	star, retry := -1, 0 // pattern after the last "*", and where its next try starts in s
	p, i := 0, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			p++
			star, retry = p, i
		case p < len(pattern) && pattern[p] == '?':
			_, n := utf8.DecodeRuneInString(s[i:])
			p, i = p+1, i+n
		case p < len(pattern) && pattern[p] == s[i]:
			p, i = p+1, i+1
		case star >= 0:
			_, n := utf8.DecodeRuneInString(s[retry:])
			retry += n
			p, i = star, retry
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// list is a JSON string or an array of strings.
type list []string

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (l *list) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if d.PeekKind() == '"' {
		*l = list{""}
		return json.UnmarshalDecode(d, &(*l)[0])
	}
	return json.UnmarshalDecode(d, (*[]string)(l))
}

// statements is a JSON object or an array of objects.
type statements []statement

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (s *statements) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if d.PeekKind() == '{' {
		*s = make(statements, 1)
		return json.UnmarshalDecode(d, &(*s)[0])
	}
	return json.UnmarshalDecode(d, (*[]statement)(s))
}
