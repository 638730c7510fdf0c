package httpapi

import (
	"net/http"
	"strings"

	"github.com/keyreeve/keyreeve/pkg/alert"
	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

// alertView is an alert as everybody outside sees it, with the names that the caller may
// know.
type alertView struct {
	alert.View
	KeyName            *string `json:"keyName" nullable:"true" doc:"The key's name now; null: not known, or no single key."`
	AcknowledgedByName *string `json:"acknowledgedByName" nullable:"true" doc:"The name now of the key that acknowledged it; null: not known, or nobody has."`
}

// viewAlerts shows alerts of the caller's.
func (a *api) viewAlerts(c *call, list ...alert.Alert) ([]alertView, error) {
	var ids []apikey.ID
	for i := range list {
		ids = append(ids, list[i].KeyID, list[i].AcknowledgedBy)
	}
	name, err := a.names(c, ids)
	data := make([]alertView, len(list))
	for i := range list {
		data[i] = alertView{list[i].View(), name(list[i].KeyID), name(list[i].AcknowledgedBy)}
	}
	return data, err
}

func (a *api) alerts(c *call) (reply, error) {
	f := alert.Filter{
		Environment: keys.Environment(c.query.Get("environment")), Kind: alert.Kind(c.query.Get("kind")),
		KeyID: apikey.ID(strings.TrimPrefix(c.query.Get("keyId"), idPrefix)), Limit: c.number("limit"),
	}
	status := c.query.Get("status")
	if status != "" {
		open := status == "open"
		f.Open = &open
	}
	of := keys.Scope{List: "alerts", Filters: []string{string(f.Environment), string(f.Kind), string(f.KeyID), status}}
	var err error
	if f.After, err = a.openPage(c, of); err != nil {
		return reply{}, err
	}
	page, err := a.cfg.Alerts.List(c.Context(), c.caller, f)
	if err != nil {
		return reply{}, err
	}
	data, err := a.viewAlerts(c, page.Alerts...)
	if err != nil {
		return reply{}, err
	}
	return a.page(c, data, of, page.Next)
}

func (a *api) acknowledge(c *call) (reply, error) {
	if _, err := c.readBody(&noFields{}); err != nil {
		return reply{}, err
	}
	one, err := a.cfg.Alerts.Acknowledge(c.Context(), c.caller, c.id)
	if err != nil {
		return reply{}, err
	}
	data, err := a.viewAlerts(c, one)
	if err != nil {
		return reply{}, err
	}
	return ok(http.StatusOK, data[0], nil, nil), nil
}

// openPage is the place that the request's cursor seals; empty: the list's beginning.
func (a *api) openPage(c *call, of keys.Scope) (string, error) {
	place, err := a.cfg.Service.OpenCursor(c.Context(), c.caller, of, c.query.Get("cursor"))
	return string(place), err
}

// page answers with a page of a list, which goes on after next if that is not empty.
func (a *api) page(c *call, data any, of keys.Scope, next string) (reply, error) {
	if next != "" {
		var err error
		if next, err = a.cfg.Service.SealCursor(c.Context(), c.caller, of, []byte(next)); err != nil {
			return reply{}, err
		}
	}
	return ok(http.StatusOK, data, pageMeta{next}, c.following(next)), nil
}

func alertKinds() []string {
	var list []string
	for _, k := range alert.Kinds() {
		list = append(list, string(k))
	}
	return list
}

func alertOperations() []operation {
	return []operation{
		{method: "GET", path: "/v1/alerts", serve: (*api).alerts, id: "listAlerts", tag: "Alerts",
			summary:     "List alerts",
			description: "What needs somebody, newest first: of the keys that the caller sees. Alerts about no single key are for production keys alone. There is one alert for a cause in a span of time, however often it happens.",
			query: []parameter{
				{name: "status", enum: []string{"open", "acknowledged"}, text: "open: only those that nobody has acknowledged."},
				{name: "kind", enum: alertKinds(), text: "Only of this kind."},
				keyIDParameter, environmentParameter("Only about keys of this environment."),
				{name: "limit", minimum: 1, maximum: 1000, text: "Alerts on one page. Default: 100."},
				cursorParameter,
			},
			status: http.StatusOK, answer: answerSchema{text: "The alerts.", data: of[[]alertView](), meta: of[pageMeta](), pages: true},
			problems: []string{"invalid_cursor"}},
		{method: "POST", path: "/v1/alerts/{id}/acknowledge", serve: (*api).acknowledge, id: "acknowledgeAlert", tag: "Alerts",
			summary: "Acknowledge an alert", description: "Notes who has looked at it, and when. One that is acknowledged already stays as it is.",
			body:   of[noFields](),
			status: http.StatusOK, answer: answerSchema{text: "The alert as it is now.", data: of[alertView]()},
			problems: []string{"not_found"}},
	}
}
