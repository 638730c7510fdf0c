package httpapi

import (
	"net/http"
	"strings"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

// auditView is the trace of one change.
type auditView struct {
	EventID     string            `json:"eventId" doc:"Unique; sorts by time."`
	At          instant           `json:"at"`
	Action      string            `json:"action" example:"key.update"`
	KeyID       string            `json:"keyId" pattern:"^key_[0-9A-Za-z]{8}$" example:"key_8fQ2mZ0a" doc:"The key that was changed; of a session's making and end, the key that it is of."`
	KeyName     *string           `json:"keyName" nullable:"true" doc:"Its name now; null: not known."`
	Environment string            `json:"environment" enum:"production,staging,development" doc:"Of that key."`
	ActorKeyID  *string           `json:"actorKeyId" nullable:"true" doc:"The key that did it; null: an administrator."`
	ActorName   *string           `json:"actorName" nullable:"true" doc:"Its name now; null: not known, or not the caller's to see."`
	SessionID   *string           `json:"sessionId" nullable:"true" doc:"The session by which that key did it; null: by itself."`
	Before      map[string]string `json:"before" doc:"The fields that changed, as they were."`
	After       map[string]string `json:"after" doc:"And as they were then."`
}

func (a *api) auditEvents(c *call) (reply, error) {
	page, err := a.cfg.Service.AuditEvents(c.Context(), c.caller, keys.AuditQuery{
		KeyID:  apikey.ID(strings.TrimPrefix(c.query.Get("keyId"), idPrefix)), // checked with the other parameters
		Action: c.query.Get("action"), From: c.time("from"), To: c.time("to"), Limit: c.number("limit"), Cursor: c.query.Get("cursor"),
	})
	if err != nil {
		return reply{}, err
	}
	var ids []apikey.ID
	for i := range page.Events {
		ids = append(ids, page.Events[i].KeyID, page.Events[i].Actor)
	}
	name, err := a.names(c, ids)
	if err != nil {
		return reply{}, err
	}
	data := make([]auditView, len(page.Events))
	for i := range page.Events {
		e := &page.Events[i]
		data[i] = auditView{
			EventID: e.ID, At: instant(e.At), Action: e.Action, KeyID: keyID(e.KeyID), KeyName: name(e.KeyID), Environment: string(e.Environment),
			ActorKeyID: knownID(e.Actor), ActorName: name(e.Actor), SessionID: knownID(e.Session),
			Before: stated(e.Before), After: stated(e.After),
		}
	}
	return ok(http.StatusOK, data, pageMeta{page.Next}, c.following(page.Next)), nil
}

// stated is a map that is never null.
func stated(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

// names reads the names of keys as they are now; the function that comes back gives nil for
// one that is not known to the caller. Who may not read keys knows of none.
func (a *api) names(c *call, ids []apikey.ID) (of func(apikey.ID) *string, err error) {
	var names map[apikey.ID]string
	if c.caller.May(keys.PermissionRead) == nil {
		names, err = a.cfg.Service.Names(c.Context(), c.caller, ids)
	}
	return func(id apikey.ID) *string { return known(names[id]) }, err
}

func auditOperations() []operation {
	return []operation{
		{method: "GET", path: "/v1/audit-events", serve: (*api).auditEvents, id: "listAuditEvents", tag: "Audit",
			summary: "List who changed what",
			description: "Every change of a key that the caller sees, newest first. With keyId it is that key's trail: also the changes that it had with others, as when it lost the primary mark or was switched off with the key that created it. " +
				"A deleted key's trail stays until its retention ends. No event has a secret.",
			query: []parameter{
				keyIDParameter,
				{name: "action", enum: keys.Actions(), text: "Only of this kind."},
				{name: "from", moment: true, text: "Only from this time on, UTC."},
				{name: "to", moment: true, text: "Only before this time, UTC."},
				{name: "limit", minimum: 1, maximum: 1000, text: "Events on one page. Default: 100."},
				cursorParameter,
			},
			status: http.StatusOK, answer: answerSchema{text: "The events.", data: of[[]auditView](), meta: of[pageMeta](), pages: true},
			problems: []string{"not_found", "invalid_cursor"}},
	}
}
