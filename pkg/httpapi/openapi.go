package httpapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keyreeve/keyreeve/pkg/config"
	"github.com/keyreeve/keyreeve/pkg/route"
)

// openAPI makes the OpenAPI 3.1 document: the operations of this package as they are
// served, and every other route of the table as far as the table knows it.
//
// Schemas come from the Go types that are decoded and encoded, through huma's registry.
// Nothing else of huma runs: its way of reading a request ignores letter case in names
// and null in optional fields, and its settings for that are the whole process's.
func openAPI(operations []operation, table *route.Table, settings *config.Settings) ([]byte, error) {
	d, err := describe(operations, table, settings)
	if err != nil {
		return nil, err
	}
	return json.Marshal(d.api)
}

// consoleFunction serves files for a browser, which are no part of the API.
const consoleFunction = "console"

func describe(operations []operation, table *route.Table, settings *config.Settings) (*document, error) {
	d := &document{
		registry: huma.NewMapRegistry("#/components/schemas/", schemaName),
		problems: problemsByCode(),
		rows:     map[string]route.Route{},
	}
	d.failure = d.registry.Schema(of[failure](), true, "")
	d.api = &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info: &huma.Info{
			Title:   "Keyreeve",
			Version: "1",
			Description: "API keys for the API behind this gateway.\n\n" +
				"Every path works with and without a trailing slash. Every error has the same shape. " +
				"A key works only in its own environment; on another it is an unknown key (401). " +
				"Bodies are strict JSON: an unknown field is an error.",
		},
		Components: &huma.Components{
			Schemas: d.registry, SecuritySchemes: securitySchemes(), Headers: headers(), Responses: map[string]*huma.Response{},
		},
	}
	for _, rt := range table.Routes() {
		d.rows[rt.Method+" "+rt.Path] = rt
	}
	for i := range operations {
		if err := d.own(&operations[i]); err != nil {
			return nil, err
		}
	}
	for _, rt := range table.Routes() {
		if rt.Function == consoleFunction {
			continue
		}
		if !slices.ContainsFunc(operations, func(o operation) bool { return o.method == rt.Method && o.path == rt.Path }) {
			d.other(rt)
		}
	}
	d.settle(catalogue(table), settings)
	return d, nil
}

type document struct {
	api      *huma.OpenAPI
	registry huma.Registry
	failure  *huma.Schema
	problems map[string]Problem
	rows     map[string]route.Route
}

// schemaName names a type's schema: keyView is Key, createKey is CreateKey.
func schemaName(t reflect.Type, hint string) string {
	return strings.TrimSuffix(huma.DefaultSchemaNamer(t, hint), "View")
}

func securitySchemes() map[string]*huma.SecurityScheme {
	return map[string]*huma.SecurityScheme{
		"apiKey":        {Type: "apiKey", In: "header", Name: "X-API-Key", Description: "The key."},
		"bearer":        {Type: "http", Scheme: "bearer", Description: "Authorization: Bearer, then the key."},
		"authorization": {Type: "apiKey", In: "header", Name: "Authorization", Description: "Authorization: Api-Key, then the key."},
	}
}

// security says which header carries the key; one of several alternatives is enough.
func security(rt route.Route) []map[string][]string {
	switch {
	case rt.Public:
		return []map[string][]string{{}}
	case rt.Credential == route.Authorization:
		return []map[string][]string{{"authorization": {}}, {"bearer": {}}}
	}
	return []map[string][]string{{"apiKey": {}}}
}

// Codes that any guarded route may answer, whether the function, the guard or the
// gateway gives them.
var (
	guardedCodes = []string{
		"bad_request", "multiple_credentials", "unauthorized", "insufficient_scope", "blocked", "rate_limited",
		"internal_error", "missing_context", "authorizer_failure", "integration_failure", "unavailable", "integration_timeout",
	}
	publicCodes = []string{"bad_request", "blocked", "rate_limited", "internal_error", "integration_failure", "integration_timeout"}
	// forwardCodes are what comes to these where an upstream serves the route.
	forwardCodes = []string{"ambiguous_path", "body_too_large", "upstream_failure", "upstream_too_large", "upstream_timeout"}
)

// problemsByCode lists every problem that a client may meet.
func problemsByCode() map[string]Problem {
	out := map[string]Problem{}
	for _, f := range fixed {
		if _, ok := out[f.code]; !ok {
			out[f.code] = Problem{Status: f.status, Message: f.message, Header: f.header}
		}
	}
	for _, g := range GatewayResponses(nil) {
		var body failure
		if json.Unmarshal([]byte(g.Template), &body) == nil && g.Status != 0 {
			out[body.Error.Code] = Problem{Status: g.Status, Message: body.Error.Message}
		}
	}
	for code, status := range map[string]int{
		"validation_failed": http.StatusBadRequest, "unknown_parameter": http.StatusBadRequest,
		"invalid_json": http.StatusBadRequest, "unknown_field": http.StatusBadRequest,
		"permission_escalation": http.StatusForbidden, "insufficient_scope": http.StatusForbidden,
		"rate_limited": http.StatusTooManyRequests,
	} {
		out[code] = Problem{Status: status}
	}
	return out
}

// own documents an operation of this package.
func (d *document) own(o *operation) error {
	rt, known := d.rows[o.method+" "+o.path]
	if !known {
		return fmt.Errorf("openapi: the route table has no %s %s", o.method, o.path)
	}
	op := d.operation(rt, o.id, o.tag, o.summary)
	op.Description = o.description
	codes := slices.Clone(o.problems)
	if o.public {
		codes = append(codes, publicCodes...)
	} else {
		codes = append(append(codes, guardedCodes...), "unknown_parameter")
	}
	for i := range o.query {
		op.Parameters = append(op.Parameters, o.query[i].document())
		codes = append(codes, "validation_failed")
	}
	if o.ifMatch {
		op.Parameters = append(op.Parameters, &huma.Param{Name: "If-Match", In: "header", Description: "Change the key only if it is at the version of this ETag.",
			Schema: &huma.Schema{Type: huma.TypeString, MinLength: new(1), MaxLength: new(100), Pattern: `^([*]|(W/)?"[!#-~]+")$`, Examples: []any{`"7"`}}})
		codes = append(codes, "validation_failed")
	}
	if o.idempotent {
		op.Parameters = append(op.Parameters, &huma.Param{Name: "Idempotency-Key", In: "header",
			Description: "Makes the request safe to repeat for 24 hours: the same key with the same body gives the same answer, the secret included.",
			Schema:      &huma.Schema{Type: huma.TypeString, MinLength: new(1), MaxLength: new(255), Pattern: `^[!-~]{1,255}$`}})
		codes = append(codes, "validation_failed", "idempotency_mismatch", "idempotency_in_flight", "idempotency_unusable")
	}
	if o.body != nil {
		op.RequestBody = &huma.RequestBody{Required: o.bodyNeeded, Content: jsonContent(d.registry.Schema(o.body, true, ""))}
		codes = append(codes, "validation_failed", "invalid_json", "unknown_field", "body_too_large", "unsupported_media_type")
	}
	answer := &huma.Response{Description: o.answer.text, Headers: map[string]*huma.Param{}}
	if s := d.answer(&o.answer); s != nil {
		answer.Content = jsonContent(s)
	}
	if o.answer.csv {
		answer.Content["text/csv"] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString,
			Description: "With format=csv: RFC 4180, UTF-8, with a header row."}}
		answer.Headers["Content-Disposition"] = headerRef("Content-Disposition")
	}
	if o.answer.pages {
		answer.Headers["Link"] = headerRef("Link")
	}
	if o.etag {
		answer.Headers["ETag"] = headerRef("ETag")
	}
	if o.idempotent {
		answer.Headers["Idempotency-Replayed"] = headerRef("Idempotency-Replayed")
	}
	if !rt.Public {
		rateLimitHeaders(answer)
	}
	op.Responses[strconv.Itoa(o.status)] = answer
	d.refusals(op, codes)
	d.api.AddOperation(op)
	return nil
}

// other documents a route of which only the table's row is known.
func (d *document) other(rt route.Route) {
	op := d.operation(rt, "", "API", rt.Method+" "+rt.Path)
	op.Responses["2XX"] = &huma.Response{Description: "The answer of the API behind the gateway."}
	op.Responses["4XX"] = &huma.Response{Description: "A refusal of the API behind the gateway."}
	codes := publicCodes
	if !rt.Public {
		codes = guardedCodes
		rateLimitHeaders(op.Responses["2XX"])
	}
	if rt.Function == route.Forward {
		codes = append(slices.Clone(codes), forwardCodes...)
	}
	d.refusals(op, codes)
	d.api.AddOperation(op)
}

func (d *document) operation(rt route.Route, id, tag, summary string) *huma.Operation {
	op := &huma.Operation{
		Method: rt.Method, Path: template(rt.Path), OperationID: id, Tags: []string{tag}, Summary: summary,
		Security: security(rt), Responses: map[string]*huma.Response{}, Extensions: map[string]any{},
	}
	if rt.Permission != "" {
		op.Extensions["x-required-permission"] = rt.Permission
	}
	for _, name := range pathParameters(rt.Path) {
		p := &huma.Param{Name: name, In: "path", Required: true, Schema: &huma.Schema{Type: huma.TypeString, MinLength: new(1)}}
		switch {
		case strings.HasPrefix(rt.Path, "/v1/api-keys/"):
			p.Schema = &huma.Schema{Type: huma.TypeString, Pattern: "^key_[0-9A-Za-z]{8}$"}
			p.Description = "keyId of the key."
		case strings.HasPrefix(rt.Path, "/v1/alerts/"):
			p.Schema.MaxLength = new(100)
			p.Description = "alertId of the alert."
		case strings.HasPrefix(rt.Path, "/v1/webhooks/"):
			p.Schema = &huma.Schema{Type: huma.TypeString, Pattern: "^[0-9A-Za-z]{16}$"}
			p.Description = "webhookId of the webhook."
		case strings.HasPrefix(rt.Path, "/v1/deliveries/"):
			p.Schema.MaxLength = new(100)
			p.Description = "deliveryId of the delivery."
		case strings.HasPrefix(rt.Path, "/v1/account/api-keys/"):
			p.Schema = &huma.Schema{Type: huma.TypeInteger, Format: "int64", Minimum: new(1.0), Maximum: new(9007199254740991.0)}
			p.Description = "id of the key."
		case name == rt.Customer:
			p.Schema.Pattern = "^[A-Za-z0-9_-]{1,64}$"
			p.Description = "A customer that the key covers."
		}
		op.Parameters = append(op.Parameters, p)
	}
	return op
}

// refusals adds an answer per status, naming the codes that it may carry.
func (d *document) refusals(op *huma.Operation, codes []string) {
	byStatus := map[int][]string{}
	for _, code := range codes {
		status := d.problems[code].Status
		byStatus[status] = append(byStatus[status], code)
	}
	for status, codes := range byStatus {
		slices.Sort(codes)
		op.Responses[strconv.Itoa(status)] = d.refusal(status, slices.Compact(codes))
	}
}

// refusal refers to the one response with that status and those codes.
func (d *document) refusal(status int, codes []string) *huma.Response {
	name := fmt.Sprintf("%d_%s", status, strings.Join(codes, "-"))
	if d.api.Components.Responses[name] == nil {
		r := &huma.Response{Description: "error.code: " + strings.Join(codes, ", ") + ".", Content: jsonContent(d.failure), Headers: map[string]*huma.Param{}}
		switch status {
		case http.StatusUnauthorized:
			r.Headers["WWW-Authenticate"] = headerRef("WWW-Authenticate")
		case http.StatusTooManyRequests:
			rateLimitHeaders(r)
			r.Headers["Retry-After"] = headerRef("Retry-After")
		case http.StatusServiceUnavailable, http.StatusInternalServerError, http.StatusConflict:
			r.Headers["Retry-After"] = headerRef("Retry-After")
		}
		d.api.Components.Responses[name] = r
	}
	return &huma.Response{Ref: "#/components/responses/" + name}
}

func (d *document) answer(a *answerSchema) *huma.Schema {
	switch {
	case a.anyObject:
		return &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}
	case a.bare != nil:
		return d.registry.Schema(a.bare, true, "")
	case a.data == nil:
		return nil
	}
	s := &huma.Schema{
		Type: huma.TypeObject, AdditionalProperties: false, Required: []string{"success", "data"},
		Properties: map[string]*huma.Schema{
			"success": {Type: huma.TypeBoolean, Enum: []any{true}},
			"data":    d.registry.Schema(a.data, true, ""),
		},
	}
	s.Properties["data"].Nullable = false
	if a.meta != nil {
		s.Properties["meta"] = d.registry.Schema(a.meta, true, "")
		if !a.someMeta {
			s.Required = append(s.Required, "meta")
		}
	}
	return s
}

// settle makes the schemas say what only this deployment knows, and what a Go type
// cannot: lists are never null, plans and permissions are the ones there are.
func (d *document) settle(permissions []permissionView, settings *config.Settings) {
	var plans, names []any
	for _, name := range slices.Sorted(maps.Keys(settings.Plans)) {
		plans = append(plans, name)
	}
	for _, p := range permissions {
		names = append(names, p.Name)
	}
	var kinds []any
	for _, k := range alertKinds() {
		kinds = append(kinds, k)
	}
	for name, schema := range d.registry.Map() {
		request := name == "CreateKey" || name == "PatchKey"
		for property, s := range schema.Properties {
			if s.Type == huma.TypeArray {
				s.Nullable = false
			}
			switch {
			case property == "kind":
				s.Enum = kinds
			case property == "kinds":
				s.Items.Enum = kinds
			case request && property == "plan":
				s.Enum = plans
			case request && property == "permissions":
				s.Items.Enum = names
			case request && property == "customers":
				s.Items.Pattern = "^[A-Za-z0-9_-]{1,64}$"
			}
		}
		if request { // days and a time together would be two expiries
			schema.Not = &huma.Schema{
				Required: []string{"expirationDays", "expirationTs"},
				Properties: map[string]*huma.Schema{
					"expirationDays": {Type: huma.TypeInteger, Minimum: new(1.0), Maximum: new(365.0)}, "expirationTs": {Type: huma.TypeString},
				},
			}
		}
		if strings.HasPrefix(name, "Patch") {
			schema.MinProperties = new(1)
		}
	}
}

func (p *parameter) document() *huma.Param {
	s := &huma.Schema{Type: huma.TypeString}
	switch {
	case p.boolean:
		s.Type = huma.TypeBoolean
	case p.maximum > 0:
		s.Type, s.Minimum, s.Maximum = huma.TypeInteger, new(float64(p.minimum)), new(float64(p.maximum))
	case p.moment:
		s.Format, s.Pattern, s.Examples = "date-time", momentForm.String(), []any{"2026-11-22T10:00:00Z"}
	case p.form != nil:
		s.Pattern = p.form.String()
	case p.maxLength > 0:
		s.MaxLength = new(p.maxLength)
	}
	for _, e := range p.enum {
		s.Enum = append(s.Enum, e)
	}
	return &huma.Param{Name: p.name, In: "query", Description: p.text, Schema: s}
}

func jsonContent(s *huma.Schema) map[string]*huma.MediaType {
	return map[string]*huma.MediaType{"application/json": {Schema: s}}
}

// headers describes the headers of answers, by name.
func headers() map[string]*huma.Header {
	text := func(about string, s *huma.Schema) *huma.Header { return &huma.Header{Description: about, Schema: s} }
	count := func(about string, minimum float64) *huma.Header {
		return text(about, &huma.Schema{Type: huma.TypeInteger, Minimum: new(minimum), Maximum: new(1_000_000_000.0)})
	}
	anything := &huma.Schema{Type: huma.TypeString}
	return map[string]*huma.Header{
		"ETag":                  text("The key's version, for If-Match.", &huma.Schema{Type: huma.TypeString, Pattern: `^"[1-9][0-9]*"$`}),
		"Content-Disposition":   text("With format=csv: a name for the file.", anything),
		"Link":                  text("Where the next page is, relative to this one, with rel=next (RFC 8288); absent on the last page.", anything),
		"Idempotency-Replayed":  text("true: the answer of an earlier request with this Idempotency-Key.", &huma.Schema{Type: huma.TypeString, Enum: []any{"true"}}),
		"RateLimit":             text("For each limit of the key: requests left (r), and seconds (t) until all of them are free again.", anything),
		"RateLimit-Policy":      text("For each limit of the key: requests (q) allowed in any w seconds; without w, in a calendar month.", anything),
		"X-RateLimit-Limit":     count("Requests allowed by the limit that lets the fewest pass now.", 0),
		"X-RateLimit-Remaining": count("Requests left of it.", 0),
		"X-RateLimit-Reset":     count("Seconds until all of them are free again.", 0),
		"Retry-After":           count("Seconds to wait.", 1),
		"WWW-Authenticate":      text("There when the gateway itself refuses.", anything),
	}
}

func headerRef(name string) *huma.Header { return &huma.Header{Ref: "#/components/headers/" + name} }

// rateLimitHeaders adds what the guard tells with every answer that it had a part in.
func rateLimitHeaders(r *huma.Response) {
	if r.Headers == nil {
		r.Headers = map[string]*huma.Header{}
	}
	for _, name := range []string{"RateLimit", "RateLimit-Policy", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"} {
		r.Headers[name] = headerRef(name)
	}
}

// template is the path as OpenAPI writes it, which knows no "{proxy+}".
func template(path string) string { return strings.ReplaceAll(path, "+}", "}") }

func pathParameters(path string) []string {
	var out []string
	for _, segment := range strings.Split(template(path), "/") {
		if strings.HasPrefix(segment, "{") && strings.HasSuffix(segment, "}") {
			out = append(out, segment[1:len(segment)-1])
		}
	}
	return out
}
