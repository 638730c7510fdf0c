// Package logline is the form of the log lines that usage is counted by, its one home for
// those who write them and the one who reads them.
//
// There are two kinds. An [Access] line is a request as API Gateway saw it: the access
// log's format is made of [Fields]. An [Event] is what the access log cannot know: which
// key was refused and why. The authorizer and the guard's front write it into their own
// logs. CloudWatch Logs hands both to the function usage.
//
// What a client can choose freely (its user agent, and its request id: "clients can
// override this request ID", says API Gateway's list of variables, see [Field]) stands at
// the end of an access line and is read by its place, because API Gateway does not say
// that it escapes what it puts there: a quote in a user agent must neither make a line
// unreadable, so that its request is not counted, nor put words into another field.
package logline

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/verify"
)

// Access is one request as API Gateway saw it. What there was not is zero, and "-" in the
// line.
type Access struct {
	ExtendedRequestID  string // API Gateway's own; two lines with the same one are the same request
	RequestID          string // what the client was told; a client may choose it
	Time               time.Time
	Stage              string
	Method             string
	Route              string // the route's own path ("/v1/customers/{id}"); empty: no route
	Protocol           string
	Status             int
	ResponseLength     int // bytes of the body
	Latency            time.Duration
	IntegrationLatency time.Duration
	AuthorizerLatency  time.Duration
	KeyID              apikey.ID // empty: the authorizer let nobody through
	AccountID          string
	Environment        string    // of the key, also on the shared stage
	Generation         int64     // of the secret that was presented
	Parent             apikey.ID // of a session: the key that it was made with
	SourceIP           string
	UserAgent          string // at most MaxUserAgent bytes of it
	ResponseType       string // of a gateway response; empty: the function answered
}

// MaxUserAgent is how much of a user agent is kept, in bytes.
const MaxUserAgent = 256

// Field is a member of an access log's line: its name, and the $context variable that API
// Gateway puts in
// (https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-variables-for-access-logging.html).
type Field struct{ Name, Variable string }

// Fields are the members of a line, in order.
//
// No header but the user agent, no query and no path is among them, for a client may put a
// key there by mistake; resourcePath is the route's own. The last two are what clients
// choose, and of any length: where a line is cut off, nothing else is lost.
func Fields() []Field {
	return []Field{
		{"extendedRequestId", "extendedRequestId"},
		{"requestTimeEpoch", "requestTimeEpoch"},
		{"stage", "stage"},
		{"httpMethod", "httpMethod"},
		{"resourcePath", "resourcePath"},
		{"protocol", "protocol"},
		{"status", "status"},
		{"responseLength", "responseLength"},
		{"responseLatency", "responseLatency"},
		{"integrationLatency", "integrationLatency"},
		{"authorizerLatency", "authorizer.latency"},
		{"keyId", "authorizer." + verify.FieldKeyID},
		{"accountId", "authorizer." + verify.FieldAccountID},
		{"environment", "authorizer." + verify.FieldEnvironment},
		{"generation", "authorizer." + verify.FieldGeneration},
		{"parent", "authorizer." + verify.FieldParent},
		{"sourceIp", "identity.sourceIp"},
		{ResponseTypeField, "error.responseType"},
		{requestIDField, "requestId"},
		{userAgentField, "identity.userAgent"},
	}
}

// Names of fields that more than this file is about.
const (
	ResponseTypeField = "responseType" // which gateway response a client got; "-": none
	requestIDField    = "requestId"
	userAgentField    = "userAgent"
)

// Line is a as API Gateway writes it: every value in quotes, "-" for what there is not.
func (a Access) Line() string {
	values := []string{
		a.ExtendedRequestID, strconv.FormatInt(a.Time.UnixMilli(), 10), a.Stage, a.Method, a.Route, a.Protocol,
		strconv.Itoa(a.Status), strconv.Itoa(a.ResponseLength), milliseconds(a.Latency), milliseconds(a.IntegrationLatency),
		milliseconds(a.AuthorizerLatency), string(a.KeyID), a.AccountID, a.Environment, positive(a.Generation), string(a.Parent), a.SourceIP,
		a.ResponseType, a.RequestID, a.UserAgent,
	}
	members := make([]string, len(values))
	for i, f := range Fields() {
		if values[i] == "" {
			values[i] = absent
		}
		quoted, _ := json.Marshal(values[i]) // a string always has its JSON
		members[i] = `"` + f.Name + `":` + string(quoted)
	}
	return "{" + strings.Join(members, ",") + "}"
}

const absent = "-"

func milliseconds(d time.Duration) string {
	if d <= 0 {
		return absent
	}
	return strconv.FormatInt(d.Milliseconds(), 10)
}

func positive(n int64) string {
	if n <= 0 {
		return absent
	}
	return strconv.FormatInt(n, 10)
}

var errNoAccess = errors.New("the line is none of the access log's")

// ParseAccess reads a line. It is an error only if what is API Gateway's own part of it is
// incomplete or malformed; it quotes nothing of the line.
func ParseAccess(line string) (Access, error) {
	own, clients, ok := strings.Cut(line, `,"`+requestIDField+`":"`)
	if !ok {
		return Access{}, errNoAccess
	}
	var m map[string]string
	if json.Unmarshal([]byte(own+"}"), &m) != nil {
		return Access{}, errNoAccess
	}
	for name, v := range m {
		if v == absent {
			m[name] = ""
		}
	}
	parent, _, _ := strings.Cut(m["parent"], "@") // at which verdict is nothing to count by
	r := reader{m: m}
	a := Access{
		ExtendedRequestID: m["extendedRequestId"], Time: time.UnixMilli(r.number("requestTimeEpoch")).UTC(),
		Stage: m["stage"], Method: m["httpMethod"], Route: m["resourcePath"], Protocol: m["protocol"],
		Status: int(r.number("status")), ResponseLength: int(r.number("responseLength")),
		Latency: r.duration("responseLatency"), IntegrationLatency: r.duration("integrationLatency"),
		AuthorizerLatency: r.duration("authorizerLatency"),
		KeyID:             apikey.ID(m["keyId"]), AccountID: m["accountId"], Environment: m["environment"],
		Generation: r.number("generation"), Parent: apikey.ID(parent), SourceIP: m["sourceIp"], ResponseType: m[ResponseTypeField],
	}
	if r.bad || a.ExtendedRequestID == "" || a.Time.UnixMilli() <= 0 || a.Status < 100 || a.Status > 599 || (a.KeyID == "") != (a.AccountID == "") {
		return Access{}, errNoAccess
	}
	id, agent, _ := strings.Cut(clients, `","`+userAgentField+`":"`)
	a.RequestID = text(id, 128)
	a.UserAgent = text(strings.TrimSuffix(agent, `"}`), MaxUserAgent)
	return a, nil
}

// reader reads numbers until the first that is none.
type reader struct {
	m   map[string]string
	bad bool
}

func (r *reader) number(name string) int64 {
	if r.m[name] == "" {
		return 0
	}
	n, err := strconv.ParseInt(r.m[name], 10, 64)
	if err != nil || n < 0 || n > 1<<53 {
		r.bad = true
		return 0
	}
	return n
}

func (r *reader) duration(name string) time.Duration {
	return time.Duration(r.number(name)) * time.Millisecond
}

// text is what a client chose, fit to be shown: JSON's escapes undone if there are any,
// control characters and broken UTF-8 taken out, cut to most bytes.
func text(s string, most int) string {
	if s == absent {
		return ""
	}
	var unescaped string
	if json.Unmarshal([]byte(`"`+s+`"`), &unescaped) == nil {
		s = unescaped
	}
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == utf8.RuneError {
			return -1
		}
		return r
	}, s)
	for len(s) > most {
		_, size := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-size]
	}
	return s
}
