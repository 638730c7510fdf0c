package httpapi

import (
	"net/http"
	"reflect"
	"regexp"
	"slices"
)

// operation is one row: how a route is served, and what the OpenAPI document says of it.
// Permission and credential are the route table's.
type operation struct {
	method, path string
	serve        func(*api, *call) (reply, error)
	public       bool

	id, tag, summary, description string

	query      []parameter  // those that are taken; any other is refused
	idempotent bool         // takes Idempotency-Key
	ifMatch    bool         // takes If-Match
	body       reflect.Type // of the request; nil: none is read
	bodyNeeded bool

	status   int
	answer   answerSchema
	etag     bool     // answers with ETag
	problems []string // codes beyond those that every guarded route may answer
}

// answerSchema describes a successful answer: the types in the canonical envelope, or a
// bare type.
type answerSchema struct {
	text      string
	data      reflect.Type // in {"success":true,"data":…}
	meta      reflect.Type // in "meta"; nil: none
	someMeta  bool         // "meta" is not always there
	bare      reflect.Type // without an envelope
	anyObject bool         // some other document
	csv       bool         // also as a sheet, where format=csv is asked
	pages     bool         // the Link header leads to the next page
}

// parameter is a query parameter.
type parameter struct {
	name, text string
	enum       []string
	minimum    int
	maximum    int // 0: it is no number
	boolean    bool
	moment     bool // a time in UTC
	maxLength  int
	form       *regexp.Regexp // what it looks like
	expect     string         // of one with a form: what to say to any other
}

func of[T any]() reflect.Type { return reflect.TypeFor[T]() }

// operations is the list. A test holds it against the management rows of the route table.
func operations() []operation {
	return slices.Concat(canonicalOperations(), sessionOperations(), auditOperations(), usageOperations(), logOperations(), alertOperations(), webhookOperations(), accountOperations(), publicOperations())
}

// envelope is the canonical face's answer.
type envelope struct {
	Success bool `json:"success"`
	Data    any  `json:"data"`
	Meta    any  `json:"meta,omitzero"`
}

func ok(status int, data, meta any, header http.Header) reply {
	return reply{status: status, header: header, body: envelope{Success: true, Data: data, Meta: meta}}
}
