package sample

import (
	"bytes"
	"errors"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/keyreeve/keyreeve/functions/sample/document"
	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/httpapi"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

var (
	errUnknownField = httpapi.Problem{Status: http.StatusBadRequest, Code: "unknown_field",
		Message: "The body holds a field that this route does not know."}
	errExists = httpapi.Problem{Status: http.StatusConflict, Code: "already_exists",
		Message: "There is one with this id already."}
	errChanged = httpapi.Problem{Status: http.StatusConflict, Code: "conflict",
		Message: "It was changed at the same time. Read it again and repeat the request."}
)

// decode reads the body strictly; names match by their exact spelling.
func (c *call) decode(v any) error {
	text, err := httpapi.ReadBody(c.Request)
	if err != nil || len(bytes.TrimSpace(text)) == 0 {
		return err // a blank body is an empty object: what is needed is then missing by name
	}
	err = json.Unmarshal(text, v, json.RejectUnknownMembers(true))
	var semantic *json.SemanticError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &semantic) && errors.Is(err, json.ErrUnknownName):
		p := errUnknownField
		p.Fields = []httpapi.FieldProblem{{Field: "(unknown)", Message: "is not a field of this request"}}
		// A name is repeated only if it cannot be a key in the wrong place.
		if name := semantic.JSONPointer.LastToken(); len(name) < apikey.SecretLen && keys.ValidID(name) {
			p.Fields[0].Field = name
		}
		return p
	case errors.As(err, &semantic):
		return invalid(fieldName(semantic.JSONPointer), "has the wrong type or form")
	}
	return err
}

// fieldName writes a pointer to a field of ours as people do: /events/0/name becomes
// events[0].name. Names that clients choose end at the field that holds them.
func fieldName(p jsontext.Pointer) string {
	var b strings.Builder
	for token := range p.Tokens() {
		switch {
		case strings.Trim(token, "0123456789") == "":
			b.WriteString("[" + token + "]")
		case b.Len() == 0:
			b.WriteString(token)
		default:
			b.WriteString("." + token)
		}
		if token == "attributes" {
			break
		}
	}
	return b.String()
}

// refuse answers a request that failed.
func refuse(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case errors.Is(err, document.ErrExists):
		err = errExists
	case errors.Is(err, document.ErrChanged):
		err = errChanged
	}
	httpapi.Write(w, r.Header.Get(httpapi.RequestIDHeader), httpapi.FromError(err))
}
