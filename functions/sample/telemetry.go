package sample

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/keyreeve/keyreeve/functions/sample/document"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

// Event is one thing that happened, as a client reports it.
type Event struct {
	EventID    string                    `json:"eventId"`
	Name       string                    `json:"name"`
	CustomerID string                    `json:"customerId,omitzero"`
	At         timestamp                 `json:"at"`
	Attributes map[string]jsontext.Value `json:"attributes,omitempty"`
}

const (
	maxAttributes = 32
	// eventsKept is how long telemetry stays before DynamoDB's TTL may take it.
	eventsKept = 30 * 24 * time.Hour
)

// acceptEvents stores a batch, all or none, and answers 202: nobody has looked at it yet.
func (a *api) acceptEvents(c *call) (answer, error) {
	var in struct {
		Events []struct {
			Name       string                    `json:"name"`
			CustomerID string                    `json:"customerId"`
			At         *timestamp                `json:"at"`
			Attributes map[string]jsontext.Value `json:"attributes"`
		} `json:"events"`
	}
	var f fields
	if err := c.decode(&in); err != nil {
		return answer{}, err
	}
	if len(in.Events) < 1 || len(in.Events) > document.MaxCreate {
		f.bad("events", fmt.Sprintf("must be 1 to %d", document.MaxCreate))
		return answer{}, f.err()
	}
	docs := make([]document.Doc, len(in.Events))
	allowed := true
	for i, e := range in.Events {
		at := func(name string) string { return fmt.Sprintf("events[%d].%s", i, name) }
		ev := Event{EventID: "ev_" + a.NewID(), Name: e.Name, CustomerID: e.CustomerID, At: timestamp(c.now), Attributes: e.Attributes}
		if e.At != nil {
			ev.At = *e.At
		}
		f.text(at("name"), e.Name, 1, 100)
		if e.CustomerID != "" && !keys.ValidID(e.CustomerID) {
			f.bad(at("customerId"), "must be 1 to 64 of A-Z, a-z, 0-9, _ and -")
		}
		if len(e.Attributes) > maxAttributes {
			f.bad(at("attributes"), fmt.Sprintf("must be at most %d", maxAttributes))
		}
		for _, v := range e.Attributes {
			// Flat: a store of events is for counting, and nesting has no bottom. The name
			// is not said, since it came from the client like a value.
			if !scalar(v) {
				f.bad(at("attributes"), "must be strings, numbers of 64-bit floating point, booleans or null")
				break
			}
		}
		allowed = allowed && c.may(e.CustomerID)
		text, err := json.Marshal(ev, json.Deterministic(true))
		if err != nil {
			return answer{}, err
		}
		docs[i] = document.Doc{Kind: document.Events, ID: ev.EventID, Version: 1, Customer: e.CustomerID, JSON: text, ExpiresAt: c.now.Add(eventsKept)}
	}
	if err := f.err(); err != nil {
		return answer{}, err
	}
	if !allowed {
		return answer{}, errConfined
	}
	if err := a.Store.Create(c.Context(), c.scope, docs); err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusAccepted, data: struct {
		Accepted int `json:"accepted"`
	}{len(docs)}}, nil
}

// scalar reports whether v is no array or object, and no number too large for a float64.
func scalar(v jsontext.Value) bool {
	switch v.Kind() {
	case jsontext.KindBeginObject, jsontext.KindBeginArray:
		return false
	case jsontext.KindNumber:
		_, err := strconv.ParseFloat(string(v), 64)
		return err == nil
	}
	return true
}
