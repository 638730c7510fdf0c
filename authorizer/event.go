package authorizer

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"sync"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/verify"
)

// event is what the authorizer needs of API Gateway's event (API Gateway Developer Guide,
// "Input to an API Gateway Lambda authorizer", REQUEST).
//
// It is read token by token: decoding into events.APIGatewayCustomAuthorizerRequestTypeRequest
// costs seven times as much, more than everything else that the authorizer does. Strictness
// comes free with it: duplicate names and invalid UTF-8 are errors, and names match in one
// spelling only, but for those of headers.
type event struct {
	methodARN   string
	environment string // stageVariables.environment
	requestID   string // requestContext.requestId

	// For the log of a refusal alone, so they cost a request that is admitted nothing, and
	// where they are absent, or not of their type, the request is judged all the same:
	// sam local sends null.
	extendedRequestID []byte // requestContext.extendedRequestId as in the payload, of which it is a part: quoted
	timeMillis        int64  // requestContext.requestTimeEpoch; Unix milliseconds

	multi  found // in multiValueHeaders
	single found // in headers, for gateways that send no others
}

// extended is the extended request id; empty: there is none.
func (ev *event) extended() string {
	text, err := jsontext.AppendUnquote(nil, ev.extendedRequestID)
	if err != nil {
		return ""
	}
	return string(text)
}

// found is the credentials in a set of headers.
type found struct {
	there         bool // there is such a set
	n             int  // values of X-API-Key and Authorization
	value         string
	authorization bool // value is Authorization's
}

// credential returns the one credential of the request, without its scheme.
func (ev *event) credential() (string, keys.Reason) {
	f := &ev.multi
	if !f.there {
		f = &ev.single
	}
	switch {
	case f.n == 0:
		return "", keys.ReasonNone
	case f.n > 1:
		return "", keys.ReasonSeveral
	case !f.authorization:
		return f.value, keys.OK
	}
	value, ok := verify.ParseAuthorization(f.value)
	if !ok {
		return "", keys.ReasonMalformed
	}
	return value, keys.OK
}

// Names of headers in lower case.
const (
	keyHeader           = "x-api-key"
	authorizationHeader = "authorization"
)

// reader reads one event. It is reused, as its decoder is most of an event's garbage.
type reader struct {
	dec jsontext.Decoder
	buf bytes.Buffer
	ev  event
	bad bool // something had not the type that it must have
}

var readers = sync.Pool{New: func() any { return new(reader) }}

// readEvent reads an event. The error tells where, and nothing of what is there.
func readEvent(payload []byte) (event, error) {
	r := readers.Get().(*reader)
	defer readers.Put(r)
	r.buf, r.ev, r.bad = *bytes.NewBuffer(payload), event{}, false
	r.dec.Reset(&r.buf)
	r.object(func(name []byte) {
		switch string(name) {
		case "methodArn":
			r.ev.methodARN = r.text()
		case "headers":
			r.headers(&r.ev.single, func(f *found, authorization bool) { f.add(r.text(), authorization) })
		case "multiValueHeaders":
			r.headers(&r.ev.multi, r.values)
		case "stageVariables":
			r.member("environment", &r.ev.environment)
		case "requestContext":
			r.requestContext(payload)
		default:
			r.skip()
		}
	})
	ev := r.ev
	r.ev = event{} // the pool keeps no credential
	if _, err := r.dec.ReadToken(); r.bad || err != io.EOF {
		return event{}, fmt.Errorf("the event is malformed at byte %d", r.dec.InputOffset())
	}
	return ev, nil
}

func (f *found) add(value string, authorization bool) {
	f.n++
	f.value, f.authorization = value, authorization
}

// object reads an object, or null for none, and has visit read the value of each member.
func (r *reader) object(visit func(name []byte)) (there bool) {
	switch t, err := r.dec.ReadToken(); {
	case err != nil || t.Kind() != 'n' && t.Kind() != '{':
		r.bad = true
	case t.Kind() == '{':
		for !r.bad && r.dec.PeekKind() == '"' {
			quoted, err := r.dec.ReadValue()
			if err != nil {
				r.bad = true
				return false
			}
			name := quoted[1 : len(quoted)-1]
			if bytes.IndexByte(name, '\\') >= 0 {
				name, _ = jsontext.AppendUnquote(nil, quoted) // the decoder has found it well-formed
			}
			visit(name)
		}
		if _, err := r.dec.ReadToken(); err != nil { // "}"
			r.bad = true
		}
		return true
	}
	return false
}

// member reads one string out of an object.
func (r *reader) member(want string, to *string) {
	r.object(func(name []byte) {
		if string(name) == want {
			*to = r.text()
			return
		}
		r.skip()
	})
}

// requestContext reads what identifies the request.
func (r *reader) requestContext(payload []byte) {
	r.object(func(name []byte) {
		switch string(name) {
		case "requestId":
			r.ev.requestID = r.text()
		case "extendedRequestId":
			if r.dec.PeekKind() != '"' {
				r.skip()
				return
			}
			// The decoder's own copy lives until its next step only.
			if v, err := r.dec.ReadValue(); err == nil {
				end := r.dec.InputOffset()
				r.ev.extendedRequestID = payload[end-int64(len(v)) : end]
			} else {
				r.bad = true
			}
		case "requestTimeEpoch":
			if r.dec.PeekKind() != '0' {
				r.skip()
				return
			}
			if v, err := r.dec.ReadValue(); err == nil {
				if r.ev.timeMillis, err = strconv.ParseInt(string(v), 10, 64); err != nil {
					r.ev.timeMillis = 0
				}
			} else {
				r.bad = true
			}
		default:
			r.skip()
		}
	})
}

// headers reads a set of headers and has add read the values of those that carry
// credentials.
func (r *reader) headers(f *found, add func(f *found, authorization bool)) {
	f.there = r.object(func(name []byte) {
		switch {
		case isHeader(name, keyHeader):
			add(f, false)
		case isHeader(name, authorizationHeader):
			add(f, true)
		default:
			r.skip()
		}
	})
}

// values reads an array of strings.
func (r *reader) values(f *found, authorization bool) {
	if t, err := r.dec.ReadToken(); err != nil || t.Kind() != '[' {
		r.bad = true
		return
	}
	for !r.bad && r.dec.PeekKind() == '"' {
		f.add(r.text(), authorization)
	}
	if t, err := r.dec.ReadToken(); err != nil || t.Kind() != ']' {
		r.bad = true
	}
}

func (r *reader) text() string {
	t, err := r.dec.ReadToken()
	if err != nil || t.Kind() != '"' {
		r.bad = true
		return ""
	}
	return t.String()
}

func (r *reader) skip() {
	if r.dec.SkipValue() != nil {
		r.bad = true
	}
}

// isHeader compares a name with one in lower case. Only ASCII letters fold:
// bytes.EqualFold would take a Kelvin sign for the K of Key.
func isHeader(name []byte, lower string) bool {
	if len(name) != len(lower) {
		return false
	}
	for i := 0; i < len(lower); i++ {
		c := name[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}
