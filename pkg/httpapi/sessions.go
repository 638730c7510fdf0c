package httpapi

import (
	"net/http"

	"github.com/keyreeve/keyreeve/pkg/keys"
)

// sessionView is a session that is live. No answer but the one that makes it has its
// plaintext.
type sessionView struct {
	KeyID        string   `json:"keyId" pattern:"^key_[0-9A-Za-z]{8}$" example:"key_8fQ2mZ0a" doc:"Of the session."`
	SessionOf    string   `json:"sessionOf" pattern:"^key_[0-9A-Za-z]{8}$" example:"key_Xb91Pq7d" doc:"keyId of the key that it was made with."`
	KeyName      string   `json:"keyName" doc:"Name of that key."`
	Environment  string   `json:"environment" enum:"production,staging,development"`
	CreatedAt    instant  `json:"createdAt"`
	ExpirationTs instant  `json:"expirationTs" doc:"When it ends by itself."`
	LastUsed     *instant `json:"lastUsed" nullable:"true" doc:"null: never."`
	Current      bool     `json:"current" doc:"It is the one that asks."`
}

func (a *api) createSession(c *call) (reply, error) {
	if _, err := c.readBody(&noFields{}); err != nil {
		return reply{}, err
	}
	issued, err := a.cfg.Service.CreateSession(c.Context(), c.caller)
	if err != nil {
		return reply{}, err
	}
	return a.issued(http.StatusCreated, &issued, issuedMeta{shownOnce}, c.now), nil
}

func (a *api) sessions(c *call) (reply, error) {
	list, err := a.cfg.Service.Sessions(c.Context(), c.caller)
	if err != nil {
		return reply{}, err
	}
	data := make([]sessionView, len(list))
	for i := range list {
		k := &list[i]
		data[i] = sessionView{
			KeyID: keyID(k.ID), SessionOf: keyID(k.Parent), KeyName: k.ParentName, Environment: string(k.Environment),
			CreatedAt: instant(k.CreatedAt), ExpirationTs: instant(k.ExpiresAt), LastUsed: moment(k.LastUsed), Current: k.Current,
		}
	}
	return ok(http.StatusOK, data, catalogueMeta{Total: len(data)}, nil), nil
}

// endSession ends the caller's own session where the path names none.
func (a *api) endSession(c *call) (reply, error) {
	ref := keys.Ref{ID: c.caller.KeyID}
	if c.id != "" {
		var err error
		if ref, err = c.ref(); err != nil {
			return reply{}, err
		}
	}
	k, err := a.cfg.Service.EndSession(c.Context(), c.caller, ref.ID)
	if err != nil {
		return reply{}, err
	}
	return ok(http.StatusOK, deletedView{KeyID: keyID(k.ID), Revoked: true}, changeMeta{a.inForce()}, nil), nil
}

func sessionOperations() []operation {
	ended := answerSchema{text: "The session has ended.", data: of[deletedView](), meta: of[changeMeta]()}
	ending := []string{"not_found", "conflict", "outcome_unknown", "not_settled"}
	return []operation{
		{method: "POST", path: "/v1/sessions", serve: (*api).createSession, id: "createSession", tag: "Sessions",
			summary: "Exchange the calling key for a session",
			description: "A session is a key for a person at a screen: it holds what the calling key holds now, for 12 hours at most, stands in no list of keys, and calls the management API alone. " +
				"It ends with any change of what that key may do, also one that widens it, and when it is regenerated, revoked or deleted. " +
				"What it does is done in that key's name, and counts against the same limits on a count of its own. A session cannot make another. A key has 20 at most: the next one ends the oldest.",
			body: of[noFields](), status: http.StatusCreated, etag: true,
			answer:   answerSchema{text: "The session, with its plaintext.", data: of[issuedKeyView](), meta: of[issuedMeta]()},
			problems: []string{"permission_escalation", "session_limit", "conflict", "outcome_unknown", "not_settled"}},
		{method: "GET", path: "/v1/sessions", serve: (*api).sessions, id: "listSessions", tag: "Sessions",
			summary: "List the sessions that are live", description: "Of the keys that the caller sees, newest first.",
			status: http.StatusOK, answer: answerSchema{text: "The sessions.", data: of[[]sessionView](), meta: of[catalogueMeta]()}},
		{method: "DELETE", path: "/v1/sessions/self", serve: (*api).endSession, id: "endOwnSession", tag: "Sessions",
			summary: "End the calling session", description: "Its next request fails. A key that is no session gets 404.",
			status: http.StatusOK, answer: ended, problems: ending},
		{method: "DELETE", path: "/v1/sessions/{id}", serve: (*api).endSession, id: "endSession", tag: "Sessions",
			summary: "End a session", description: "Its next request fails.",
			status: http.StatusOK, answer: ended, problems: ending},
	}
}
