package sample

import (
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/keyreeve/keyreeve/functions/sample/document"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

// answer is a request's success.
type answer struct {
	status int
	data   any
	meta   any // nil: {}
}

func (a answer) write(w http.ResponseWriter) {
	type envelope struct {
		Success bool `json:"success"`
		Data    any  `json:"data"`
		Meta    any  `json:"meta"`
	}
	if a.meta == nil {
		a.meta = struct{}{}
	}
	// Every type that gets here is ours and can be marshalled; a test answers each.
	text, err := json.Marshal(envelope{true, a.data, a.meta})
	if err != nil {
		panic(err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(a.status)
	_, _ = w.Write(text) // the client is gone: nobody left to tell
}

// pageMeta describes one page of a list. Lists are in order of id; the next page is the
// same request with after=<next>.
type pageMeta struct {
	Count int    `json:"count"`
	Next  string `json:"next,omitzero"` // empty: this was the last
}

const maxPage = 1000

// list answers a GET of a kind: show makes one element of data of a document.
func (a *api) list(c *call, k document.Kind, show func(document.Doc) (any, error)) (answer, error) {
	limit, after := maxPage, c.URL.Query().Get("after")
	if text := c.URL.Query().Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxPage {
			return answer{}, invalid("limit", "must be 1 to 1000")
		}
		limit = n
	}
	if after != "" && !keys.ValidID(after) {
		return answer{}, invalid("after", "must be an id")
	}
	docs, err := a.Store.List(c.Context(), c.scope, k, document.Filter{After: after, Customers: c.customers, Limit: limit + 1})
	if err != nil {
		return answer{}, err
	}
	meta := pageMeta{Count: min(len(docs), limit)}
	if len(docs) > limit {
		docs, meta.Next = docs[:limit], docs[limit-1].ID
	}
	data := make([]any, len(docs))
	for i, d := range docs {
		if data[i], err = show(d); err != nil {
			return answer{}, err
		}
	}
	return answer{http.StatusOK, data, meta}, nil
}

// asStored shows a document as it is.
func asStored(d document.Doc) (any, error) { return jsontext.Value(d.JSON), nil }

// create stores one new document and answers 201 with shown.
func (a *api) create(c *call, d document.Doc, stored, shown any) (answer, error) {
	var err error
	if d.JSON, err = json.Marshal(stored); err != nil {
		return answer{}, err
	}
	d.Version = 1
	if err := a.Store.Create(c.Context(), c.scope, []document.Doc{d}); err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusCreated, data: shown}, nil
}

// timestamp is a time as the API answers it: ISO 8601, UTC, milliseconds. It embeds no
// time.Time, whose MarshalJSON would win over the method below.
type timestamp time.Time

const timeLayout = "2006-01-02T15:04:05.000Z"

// MarshalText writes the time.
func (t timestamp) MarshalText() ([]byte, error) {
	return []byte(time.Time(t).UTC().Format(timeLayout)), nil
}

// UnmarshalText reads RFC 3339, which is more than MarshalText writes: clients send it too.
func (t *timestamp) UnmarshalText(b []byte) error {
	u, err := time.Parse(time.RFC3339, string(b))
	*t = timestamp(u.UTC().Truncate(time.Millisecond))
	return err
}

func invalid(field, message string) error {
	return &keys.ValidationError{Fields: []keys.FieldError{{Field: field, Message: message}}}
}
