package httpapi

import (
	"net/http"

	"github.com/keyreeve/keyreeve/pkg/alert"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/webhook"
)

// webhookView is where an account wants its alerts. Its signing secret is in no list.
type webhookView struct {
	WebhookID   string       `json:"webhookId" pattern:"^[0-9A-Za-z]{16}$" example:"8fQ2mZ0aX91bPq7d"`
	URL         string       `json:"url" maxLength:"2048" example:"https://example.com/alerts"`
	Description string       `json:"description" maxLength:"100"`
	Kinds       []alert.Kind `json:"kinds" doc:"Kinds of alerts that are sent; empty: every one."`
	IsActive    bool         `json:"isActive" doc:"false: nothing is sent."`
	CreatedBy   string       `json:"createdBy" pattern:"^key_[0-9A-Za-z]{8}$" example:"key_8fQ2mZ0a"`
	CreatedAt   instant      `json:"createdAt"`
	UpdatedAt   instant      `json:"updatedAt"`
}

func viewWebhook(e *webhook.Endpoint) webhookView {
	return webhookView{
		WebhookID: e.ID, URL: e.URL, Description: e.Description, Kinds: e.Kinds, IsActive: e.Active,
		CreatedBy: keyID(e.CreatedBy), CreatedAt: instant(e.CreatedAt), UpdatedAt: instant(e.UpdatedAt),
	}
}

// newWebhookView is a webhook just made: the one time that its secret is shown.
type newWebhookView struct {
	Webhook webhookView `json:"webhook"`
	Secret  string      `json:"secret" doc:"Signs what is sent, as Standard Webhooks says: HMAC-SHA256 over webhook-id, webhook-timestamp and body. It is shown in this answer and never again."`
}

// secretShownOnce goes with the answer that holds a webhook's secret.
const secretShownOnce = "This signing secret will only be shown once. Please store it securely."

type webhooksMeta struct {
	Total int `json:"total" minimum:"0" maximum:"10000"`
}

type createWebhook struct {
	URL         string        `json:"url" minLength:"1" maxLength:"2048" doc:"https, to a public address. Redirects are not followed." example:"https://example.com/alerts"`
	Description *string       `json:"description,omitempty" maxLength:"100" pattern:"^[^\\x00-\\x1f\\x7f-\\x9f]*$"`
	Kinds       *[]alert.Kind `json:"kinds,omitempty" maxItems:"100" doc:"Kinds of alerts to send. Default, and if empty: every one."`
	IsActive    *bool         `json:"isActive,omitempty" doc:"Default: true."`
}

type patchWebhook struct {
	URL         *string       `json:"url,omitempty" minLength:"1" maxLength:"2048"`
	Description *string       `json:"description,omitempty" maxLength:"100" pattern:"^[^\\x00-\\x1f\\x7f-\\x9f]*$"`
	Kinds       *[]alert.Kind `json:"kinds,omitempty" maxItems:"100" doc:"Empty: every one."`
	IsActive    *bool         `json:"isActive,omitempty" doc:"false: nothing is sent, and what waits is given up when it is due."`
}

type deletedWebhookView struct {
	WebhookID string `json:"webhookId" pattern:"^[0-9A-Za-z]{16}$" example:"8fQ2mZ0aX91bPq7d"`
	Deleted   bool   `json:"deleted" enum:"true"`
}

// attemptView is one try to send something.
type attemptView struct {
	At        instant `json:"at"`
	Succeeded bool    `json:"succeeded" doc:"The receiver answered 2xx."`
	Status    *int    `json:"status" nullable:"true" minimum:"100" maximum:"999" doc:"What the receiver answered; null: nothing. No more of its answer is kept."`
	Error     *string `json:"error" nullable:"true" doc:"Why there was no answer." example:"timeout"`
	LatencyMs int64   `json:"latencyMs" minimum:"0" maximum:"9007199254740991"`
}

func viewAttempt(t *webhook.Attempt) attemptView {
	return attemptView{
		At: instant(t.At), Succeeded: t.Status/100 == 2, Status: known(t.Status), Error: known(t.Error), LatencyMs: t.Latency.Milliseconds(),
	}
}

// deliveryView is one alert on its way to one webhook.
type deliveryView struct {
	DeliveryID string        `json:"deliveryId" doc:"The webhook-id header of every attempt, by which a receiver knows what came twice."`
	WebhookID  string        `json:"webhookId" pattern:"^[0-9A-Za-z]{16}$" example:"8fQ2mZ0aX91bPq7d"`
	AlertID    string        `json:"alertId"`
	State      string        `json:"state" enum:"pending,delivered,dead" doc:"dead: given up."`
	Attempts   count         `json:"attempts"`
	NextAt     *instant      `json:"nextAt" nullable:"true" doc:"When a pending one is tried next; null: it is not pending."`
	CreatedAt  instant       `json:"createdAt"`
	Log        []attemptView `json:"log" doc:"The last 20 attempts, newest last."`
}

func viewDelivery(d *webhook.Delivery) deliveryView {
	v := deliveryView{
		DeliveryID: d.ID, WebhookID: d.EndpointID, AlertID: d.AlertID, State: string(d.State), Attempts: count(d.Attempts),
		CreatedAt: instant(d.CreatedAt),
	}
	if d.State == webhook.Pending {
		v.NextAt = moment(d.NextAt)
	}
	for i := range d.Log {
		v.Log = append(v.Log, viewAttempt(&d.Log[i]))
	}
	return v
}

func (a *api) webhooks(c *call) (reply, error) {
	list, err := a.cfg.Webhooks.List(c.Context(), c.caller)
	if err != nil {
		return reply{}, err
	}
	data := make([]webhookView, len(list))
	for i := range list {
		data[i] = viewWebhook(&list[i])
	}
	return ok(http.StatusOK, data, webhooksMeta{len(data)}, nil), nil
}

func (a *api) createWebhook(c *call) (reply, error) {
	var body createWebhook
	if _, err := c.readBody(&body); err != nil {
		return reply{}, err
	}
	in := webhook.Input{URL: body.URL, Active: body.IsActive == nil || *body.IsActive}
	if body.Description != nil {
		in.Description = *body.Description
	}
	if body.Kinds != nil {
		in.Kinds = *body.Kinds
	}
	e, secret, err := a.cfg.Webhooks.Create(c.Context(), c.caller, in)
	if err != nil {
		return reply{}, err
	}
	return ok(http.StatusCreated, newWebhookView{viewWebhook(&e), secret}, issuedMeta{secretShownOnce}, nil), nil
}

func (a *api) getWebhook(c *call) (reply, error) {
	e, err := a.cfg.Webhooks.Get(c.Context(), c.caller, c.id)
	return oneWebhook(&e, err)
}

func oneWebhook(e *webhook.Endpoint, err error) (reply, error) {
	if err != nil {
		return reply{}, err
	}
	return ok(http.StatusOK, viewWebhook(e), nil, nil), nil
}

func (a *api) updateWebhook(c *call) (reply, error) {
	var body patchWebhook
	if _, err := c.readBody(&body); err != nil {
		return reply{}, err
	}
	if body == (patchWebhook{}) {
		return reply{}, nothingToChange()
	}
	e, err := a.cfg.Webhooks.Update(c.Context(), c.caller, c.id, webhook.Patch{
		URL: body.URL, Description: body.Description, Kinds: body.Kinds, Active: body.IsActive,
	})
	return oneWebhook(&e, err)
}

func (a *api) deleteWebhook(c *call) (reply, error) {
	if err := a.cfg.Webhooks.Delete(c.Context(), c.caller, c.id); err != nil {
		return reply{}, err
	}
	return ok(http.StatusOK, deletedWebhookView{WebhookID: c.id, Deleted: true}, nil, nil), nil
}

func (a *api) testWebhook(c *call) (reply, error) {
	if _, err := c.readBody(&noFields{}); err != nil {
		return reply{}, err
	}
	t, err := a.cfg.Webhooks.Test(c.Context(), c.caller, c.id)
	if err != nil {
		return reply{}, err
	}
	return ok(http.StatusOK, viewAttempt(&t), nil, nil), nil
}

func (a *api) deliveries(c *call) (reply, error) {
	of := keys.Scope{List: "deliveries", Filters: []string{c.id}}
	after, err := a.openPage(c, of)
	if err != nil {
		return reply{}, err
	}
	list, next, err := a.cfg.Webhooks.Deliveries(c.Context(), c.caller, c.id, c.number("limit"), after)
	if err != nil {
		return reply{}, err
	}
	data := make([]deliveryView, len(list))
	for i := range list {
		data[i] = viewDelivery(&list[i])
	}
	return a.page(c, data, of, next)
}

func (a *api) redeliver(c *call) (reply, error) {
	if _, err := c.readBody(&noFields{}); err != nil {
		return reply{}, err
	}
	d, err := a.cfg.Webhooks.Redeliver(c.Context(), c.caller, c.id)
	if err != nil {
		return reply{}, err
	}
	return ok(http.StatusOK, viewDelivery(&d), nil, nil), nil
}

func webhookOperations() []operation {
	one := func(text string) answerSchema { return answerSchema{text: text, data: of[webhookView]()} }
	reading := []string{"not_found"}
	return []operation{
		{method: "GET", path: "/v1/webhooks", serve: (*api).webhooks, id: "listWebhooks", tag: "Webhooks",
			summary: "List webhooks", description: "A webhook hears of every key of the account, so only production keys see webhooks; to any other there are none.",
			status: http.StatusOK, answer: answerSchema{text: "The webhooks, oldest first.", data: of[[]webhookView](), meta: of[webhooksMeta]()}},
		{method: "POST", path: "/v1/webhooks", serve: (*api).createWebhook, id: "createWebhook", tag: "Webhooks",
			summary: "Create a webhook", description: "Alerts are sent to it from now on. The answer holds the signing secret, which is never shown again.",
			body: of[createWebhook](), bodyNeeded: true,
			status: http.StatusCreated, answer: answerSchema{text: "The webhook, with its signing secret.", data: of[newWebhookView](), meta: of[issuedMeta]()},
			problems: []string{"permission_escalation", "too_many_webhooks", "conflict"}},
		{method: "GET", path: "/v1/webhooks/{id}", serve: (*api).getWebhook, id: "getWebhook", tag: "Webhooks",
			summary: "Show a webhook", status: http.StatusOK, answer: one("The webhook."), problems: reading},
		{method: "PATCH", path: "/v1/webhooks/{id}", serve: (*api).updateWebhook, id: "updateWebhook", tag: "Webhooks",
			summary: "Change a webhook", description: "Its signing secret stays.", body: of[patchWebhook](), bodyNeeded: true,
			status: http.StatusOK, answer: one("The webhook as it is now."), problems: []string{"not_found", "conflict"}},
		{method: "DELETE", path: "/v1/webhooks/{id}", serve: (*api).deleteWebhook, id: "deleteWebhook", tag: "Webhooks",
			summary: "Delete a webhook", description: "What is on its way to it is given up.",
			status: http.StatusOK, answer: answerSchema{text: "The webhook is deleted.", data: of[deletedWebhookView]()}, problems: []string{"not_found", "conflict"}},
		{method: "POST", path: "/v1/webhooks/{id}/test", serve: (*api).testWebhook, id: "testWebhook", tag: "Webhooks",
			summary: "Try a webhook", description: "Sends one event of type test at once, also to a webhook that is switched off, and says what came of it. It is neither repeated nor logged.",
			body:   of[noFields](),
			status: http.StatusOK, answer: answerSchema{text: "What came of it.", data: of[attemptView]()}, problems: reading},
		{method: "GET", path: "/v1/webhooks/{id}/deliveries", serve: (*api).deliveries, id: "listDeliveries", tag: "Webhooks",
			summary: "List what was sent to a webhook", description: "And what is to be sent, with the log of the attempts, newest first. What has ended stays for 30 days.",
			query: []parameter{
				{name: "limit", minimum: 1, maximum: webhook.MaxPage, text: "Deliveries on one page. Default: 50."}, cursorParameter,
			},
			status: http.StatusOK, answer: answerSchema{text: "The deliveries.", data: of[[]deliveryView](), meta: of[pageMeta](), pages: true},
			problems: []string{"not_found", "invalid_cursor"}},
		{method: "POST", path: "/v1/deliveries/{id}/redeliver", serve: (*api).redeliver, id: "redeliver", tag: "Webhooks",
			summary: "Send a delivery again", description: "One that was delivered or given up is pending again and due at once, with all its attempts before it. One that is pending stays as it is.",
			body:   of[noFields](),
			status: http.StatusOK, answer: answerSchema{text: "The delivery as it is now.", data: of[deliveryView]()}, problems: []string{"not_found", "conflict"}},
	}
}
