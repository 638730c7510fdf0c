package proxy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/aws/aws-lambda-go/events"

	"github.com/keyreeve/keyreeve/pkg/route"
)

// event is API Gateway's proxy event, with the query in the order that the event has it in.
type event struct {
	events.APIGatewayProxyRequest
	MultiValueQuery parameters `json:"multiValueQueryStringParameters"`

	payload []byte
}

// parameters are the members of an object of lists, in order.
type parameters []parameter

type parameter struct {
	name   string
	values []string
}

// UnmarshalJSON implements json.Unmarshaler.
func (p *parameters) UnmarshalJSON(text []byte) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	if t, err := dec.Token(); err != nil || t == nil {
		return err
	} else if t != json.Delim('{') {
		return errors.New("want an object")
	}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return err
		}
		one := parameter{}
		one.name, _ = t.(string)
		if err := dec.Decode(&one.values); err != nil {
			return err
		}
		*p = append(*p, one)
	}
	return nil
}

// query is the query string. The event has names and values decoded, so their spelling is
// ours: "%20" for a space, which every server understands.
func (e *event) query() string {
	all := e.MultiValueQuery
	if all == nil {
		for _, name := range slices.Sorted(maps.Keys(e.QueryStringParameters)) {
			all = append(all, parameter{name, []string{e.QueryStringParameters[name]}})
		}
	}
	escape := func(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }
	var pairs []string
	for _, p := range all {
		for _, v := range p.values {
			pairs = append(pairs, escape(p.name)+"="+escape(v))
		}
	}
	return strings.Join(pairs, "&")
}

// Arrival is how a request came, for a handler that passes it on.
type Arrival struct {
	Route route.Route
	// Path is the route's path as the client spelled it: parameters escaped as they were
	// sent, a slash at the end if there was one. It has no stage and no base path.
	Path  string
	Event []byte // API Gateway's, as it came; not to be written to
}

type arrivalKey struct{}

// ArrivalOf is how the request came that a context belongs to; ok is false for a request
// that no Proxy has made.
func ArrivalOf(ctx context.Context) (a Arrival, ok bool) {
	a, ok = ctx.Value(arrivalKey{}).(Arrival)
	return a, ok
}

func withArrival(ctx context.Context, rt route.Route, e *event) (context.Context, error) {
	path, err := fill(rt.Path, e.PathParameters, func(raw string) string { return spelled(raw, "") })
	if err != nil {
		return nil, err
	}
	// API Gateway takes a path with a slash at the end for the same resource. No parameter
	// has that slash, a greedy one neither; the event's path has it
	// (github.com/floci-io/floci issue 1557, github.com/CodeGenieApp/serverless-express issue 391).
	if strings.HasSuffix(e.Path, "/") && path != "/" {
		path += "/"
	}
	return context.WithValue(ctx, arrivalKey{}, Arrival{Route: rt, Path: path, Event: e.payload}), nil
}

// fill puts the parameters of an event into a resource path: one of a single segment as
// escaped makes it, a greedy one as it stood in the path.
func fill(resource string, parameters map[string]string, escaped func(raw string) string) (string, error) {
	parts := strings.Split(resource, "/")
	for i, part := range parts {
		if !strings.HasPrefix(part, "{") {
			continue
		}
		name, greedy := strings.CutSuffix(strings.Trim(part, "{}"), "+")
		raw, ok := parameters[name]
		switch {
		case !ok:
			return "", fmt.Errorf("the event lacks a path parameter of %s", resource)
		case greedy:
			parts[i] = spelled(raw, "/")
		default:
			parts[i] = escaped(raw)
		}
	}
	return strings.Join(parts, "/"), nil
}

// spelled is a path parameter as it stood in the path: API Gateway hands on what was sent,
// escapes included (captures in github.com/hotsock/voker pull 8; HTTP APIs decode, REST APIs
// do not). What no path can hold was decoded by somebody on the way and is escaped, so that
// a parameter stays in its place whatever is in it. more lists characters that it may have
// besides those of a segment (RFC 3986 section 3.3).
func spelled(raw, more string) string {
	var out strings.Builder
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		switch {
		case c == '%' && i+2 < len(raw) && isHex(raw[i+1]) && isHex(raw[i+2]),
			c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9',
			strings.IndexByte("-._~!$&'()*+,;=:@", c) >= 0, strings.IndexByte(more, c) >= 0:
			out.WriteByte(c)
		default:
			fmt.Fprintf(&out, "%%%02X", c)
		}
	}
	return out.String()
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}
