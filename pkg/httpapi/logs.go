package httpapi

import (
	"cmp"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/route"
	"github.com/keyreeve/keyreeve/pkg/usage"
)

// requestView is a row of the request log.
type requestView struct {
	ID          string  `json:"id" doc:"API Gateway's own id of the request; unique."`
	RequestID   string  `json:"requestId" doc:"What the client was told."`
	Time        instant `json:"time" doc:"When API Gateway took the request in."`
	KeyID       string  `json:"keyId" pattern:"^key_[0-9A-Za-z]{8}$" example:"key_8fQ2mZ0a"`
	KeyName     *string `json:"keyName" nullable:"true" doc:"The key's name now, of a session that of its key and (session); null: not known." example:"Main Website Integration"`
	Environment string  `json:"environment" enum:"production,staging,development" doc:"Of the key."`
	Generation  *count  `json:"generation" nullable:"true" doc:"Which of the key's secrets was presented, from 1; null: it was refused before that mattered."`
	Method      *string `json:"method" nullable:"true" doc:"null here and below: not known, or not yet." example:"GET"`
	Route       *string `json:"route" nullable:"true" doc:"The route's own path; what the client put in its place is not kept." example:"/v1/customers/{customerId}"`
	Permission  *string `json:"permission" nullable:"true" doc:"What the route asks for; null: any live key may." example:"customers:read"`
	Status      *int    `json:"status" nullable:"true" minimum:"100" maximum:"599"`
	LatencyMs   *int64  `json:"latencyMs" nullable:"true" minimum:"0" maximum:"9007199254740991"`
	SourceIP    *string `json:"sourceIp" nullable:"true" example:"192.0.2.1"`
	UserAgent   *string `json:"userAgent" nullable:"true" doc:"As the client chose it, 256 bytes at most."`
	Refused     *string `json:"refused" nullable:"true" doc:"Why the authorizer or the guard refused it; null: neither did." example:"rate_limited"`
}

func viewRequest(r *usage.Request, name *string) requestView {
	v := requestView{
		ID: r.ID, RequestID: r.RequestID, Time: instant(r.Time), KeyID: keyID(r.KeyID), KeyName: name, Environment: string(r.Environment),
		Generation: known(count(r.Generation)), Method: known(r.Method), Route: known(r.Route), Permission: known(r.Permission),
		Status: known(r.Status), SourceIP: known(r.SourceIP), UserAgent: known(r.UserAgent), Refused: known(r.Refused),
	}
	if r.Method != "" { // the access log's line has come, and 0 ms is a latency
		ms := r.Latency.Milliseconds()
		v.LatencyMs = &ms
	}
	return v
}

// known is v for a field that is null where there is nothing to say.
func known[T comparable](v T) *T {
	var nothing T
	if v == nothing {
		return nil
	}
	return &v
}

type pageMeta struct {
	Next string `json:"next,omitempty" doc:"Cursor of the next page; absent on the last one. A page may be short, or empty, and have a next one."`
}

func (a *api) keyRequests(c *call) (reply, error) {
	ref, err := c.ref()
	if err != nil {
		return reply{}, err
	}
	return a.requests(c, ref.ID)
}

func (a *api) logs(c *call) (reply, error) {
	id := strings.TrimPrefix(c.query.Get("keyId"), idPrefix) // checked with the other parameters
	return a.requests(c, apikey.ID(id))
}

func (a *api) requests(c *call, id apikey.ID) (reply, error) {
	path := c.query.Get("route")
	if path != "" && !slices.ContainsFunc(a.cfg.Table.Routes(), func(r route.Route) bool { return r.Path == path }) {
		return reply{}, Invalid(FieldProblem{"route", "must be the path of a route of this API"})
	}
	q := usage.LogQuery{
		KeyID: id, Environment: keys.Environment(c.query.Get("environment")), Route: path, Method: c.query.Get("method"),
		Refused: c.flag("refused"), From: c.time("from"), To: c.time("to"), Limit: c.number("limit"), Cursor: c.query.Get("cursor"),
	}
	if class, is := strings.CutSuffix(c.query.Get("status"), "xx"); is {
		q.Class, _ = strconv.Atoi(class)
	} else {
		q.Status, _ = strconv.Atoi(class)
	}
	log, err := a.cfg.Usage.Requests(c.Context(), c.caller, q)
	if err != nil {
		return reply{}, err
	}
	ids := make([]apikey.ID, len(log.Requests))
	for i := range log.Requests { // a session is gone sooner than its rows
		ids[i] = cmp.Or(log.Requests[i].Parent, log.Requests[i].KeyID)
	}
	name, err := a.names(c, ids)
	if err != nil {
		return reply{}, err
	}
	data := make([]requestView, len(log.Requests))
	for i := range log.Requests {
		of := name(ids[i])
		if of != nil && log.Requests[i].Parent != "" {
			of = known(*of + keys.SessionSuffix)
		}
		data[i] = viewRequest(&log.Requests[i], of)
	}
	if c.wantsCSV() {
		return requestSheet(data).download("requests.csv", c.following(log.Next)), nil
	}
	return ok(http.StatusOK, data, pageMeta{log.Next}, c.following(log.Next)), nil
}

func requestSheet(rows []requestView) *sheet {
	s := newSheet("time", "keyId", "environment", "generation", "method", "route", "permission", "status", "latencyMs",
		"sourceIp", "userAgent", "refused", "requestId", "id", "keyName")
	for i := range rows {
		r := &rows[i]
		s.time(time.Time(r.Time))
		s.text(r.KeyID)
		s.text(r.Environment)
		optionalNumber(s, r.Generation)
		s.optional(r.Method)
		s.optional(r.Route)
		s.optional(r.Permission)
		optionalNumber(s, r.Status)
		optionalNumber(s, r.LatencyMs)
		s.optional(r.SourceIP)
		s.optional(r.UserAgent)
		s.optional(r.Refused)
		s.text(r.RequestID)
		s.text(r.ID)
		s.optional(r.KeyName)
		s.end()
	}
	return s
}

var (
	keyIDForm      = regexp.MustCompile(`^key_[0-9A-Za-z]{8}$`)
	keyIDsForm     = regexp.MustCompile(`^key_[0-9A-Za-z]{8}(,key_[0-9A-Za-z]{8})*$`)
	permissionForm = regexp.MustCompile(`^[a-z0-9_]+:[a-z0-9_]+$`)
	customerForm   = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	statusForm     = regexp.MustCompile(`^([1-5][0-9]{2}|[1-5]xx)$`)
)

var (
	keyIDParameter  = parameter{name: "keyId", form: keyIDForm, expect: "must be the keyId of a key, such as key_8fQ2mZ0a", text: "Only of this key."}
	cursorParameter = parameter{name: "cursor", maxLength: 1000, text: "meta.next of the page before, with the same other parameters (limit may change). The Link header holds the whole query."}
)

func environmentParameter(text string) parameter {
	p := parameter{name: "environment", text: text}
	for _, e := range keys.Environments() {
		p.enum = append(p.enum, string(e))
	}
	return p
}

func logOperations() []operation {
	filters := []parameter{
		{name: "status", form: statusForm, expect: "must be a status such as 404, or a class such as 4xx", text: "Only with this status, or of this class: 404, 4xx."},
		{name: "route", maxLength: 512, text: "Only of this route: its own path, such as /v1/customers/{customerId}."},
		{name: "method", enum: route.Methods(), text: "Only with this method."},
		{name: "refused", boolean: true, text: "true: only what the authorizer or the guard refused."},
		{name: "from", moment: true, text: "Only from this time on, UTC; at most 31 days ago. Requests are kept for 30 days."},
		{name: "to", moment: true, text: "Only before this time, UTC."},
		{name: "limit", minimum: 1, maximum: 1000, text: "Rows on one page. Default: 100."},
		cursorParameter, formatParameter,
	}
	answer := answerSchema{text: "The requests, newest first.", data: of[[]requestView](), meta: of[pageMeta](), csv: true, pages: true}
	const about = "One row for each request of a key: no header but the user agent, no body, no query. Rows come some minutes late and stay for 30 days."
	return []operation{
		{method: "GET", path: "/v1/api-keys/{id}/requests", serve: (*api).keyRequests, id: "listKeyRequests", tag: "Usage",
			summary: "List an API key's requests", description: about, query: filters,
			status: http.StatusOK, answer: answer, problems: []string{"not_found", "invalid_cursor"}},
		{method: "GET", path: "/v1/logs", serve: (*api).logs, id: "listRequests", tag: "Usage",
			summary: "List the requests of every API key", description: about + " Of the keys that the caller sees.",
			query:  append([]parameter{keyIDParameter, environmentParameter("Only of keys of this environment.")}, filters...),
			status: http.StatusOK, answer: answer, problems: []string{"not_found", "invalid_cursor"}},
	}
}
