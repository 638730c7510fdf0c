package httpapi

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/usage"
)

// rangeMeta is the span that an answer is of.
type rangeMeta struct {
	From        instant `json:"from" doc:"Start of the first bucket."`
	To          instant `json:"to" doc:"End of the last bucket; exclusive."`
	Granularity string  `json:"granularity" enum:"hour,day"`
}

// keyUsageView is what one key did.
type keyUsageView struct {
	KeyID           string              `json:"keyId" pattern:"^key_[0-9A-Za-z]{8}$" example:"key_8fQ2mZ0a"`
	Requests        count               `json:"requests" doc:"All requests of the range, refused ones too."`
	Status          statusView          `json:"status" doc:"The same, by status."`
	Buckets         []bucketView        `json:"buckets" doc:"One for every hour or day of the range, in order; zeros where there was no request."`
	Permissions     []permissionUseView `json:"permissions" doc:"What the requests' routes ask for. Counted by UTC day: of permissionsFrom to permissionsTo, the days that the range touches."`
	PermissionsFrom instant             `json:"permissionsFrom"`
	PermissionsTo   instant             `json:"permissionsTo"`
	Secrets         []secretUseView     `json:"secrets" doc:"Which of the key's secrets are in use, newest first: after a rotation, who still uses the old one."`
	FirstUsed       *instant            `json:"firstUsed" nullable:"true" doc:"The oldest request that was logged; null: none."`
	LastUsed        *instant            `json:"lastUsed" nullable:"true" doc:"The newest request with a valid secret; null: never."`
	LastRefused     *instant            `json:"lastRefused" nullable:"true" doc:"The newest request that was answered 401; null: never."`
	Drift           driftView           `json:"drift" doc:"The logs and the guard's own counter compared, over the key's whole life."`
}

// statusView counts requests by the class of their status.
type statusView struct {
	Informational count `json:"1xx"`
	Successful    count `json:"2xx"`
	Redirected    count `json:"3xx"`
	ClientError   count `json:"4xx"`
	ServerError   count `json:"5xx"`
}

func statuses(s [6]int64) statusView {
	return statusView{count(s[1]), count(s[2]), count(s[3]), count(s[4]), count(s[5])}
}

type bucketView struct {
	Start       instant          `json:"start"`
	Requests    count            `json:"requests"`
	Status      statusView       `json:"status"`
	Generations []generationView `json:"generations" doc:"By the secret that was presented, oldest first; requests that were refused for their secret are in none."`
}

type generationView struct {
	Generation count `json:"generation" doc:"1 is the key's first secret."`
	Requests   count `json:"requests"`
}

type permissionUseView struct {
	Permission string   `json:"permission" example:"customers:read"`
	Requests   count    `json:"requests"`
	LastUsed   *instant `json:"lastUsed" nullable:"true" doc:"When it was last used and not refused; null: never."`
}

type secretUseView struct {
	Generation count    `json:"generation" doc:"1 is the key's first secret."`
	Requests   count    `json:"requests" doc:"In the range."`
	LastUsed   *instant `json:"lastUsed" nullable:"true" doc:"null: never."`
	Live       bool     `json:"live" doc:"It is the key's present secret."`
	Until      *instant `json:"until" nullable:"true" doc:"Until when the secret before the present one still works; null: no such grace."`
}

type driftView struct {
	Counted    count `json:"counted" doc:"Requests that the guard must have let through by the logs."`
	Guard      count `json:"guard" doc:"Requests that it did let through by its own counter."`
	Difference int64 `json:"difference" minimum:"-9007199254740991" maximum:"9007199254740991" doc:"guard less counted. Logs come up to some minutes late; a difference that stays says that something was lost. Of a key with a rateLimit of 30,000 or more, the guard's counter may lack up to 63 requests for each process that has ended."`
}

// span reads from, to and granularity.
func (c *call) span() usage.Range {
	return usage.Range{From: c.time("from"), To: c.time("to"), Granularity: usage.Granularity(c.query.Get("granularity"))}
}

func metaOf(r usage.Range) rangeMeta {
	return rangeMeta{instant(r.From), instant(r.To), string(r.Granularity)}
}

func (a *api) keyUsage(c *call) (reply, error) {
	ref, err := c.ref()
	if err != nil {
		return reply{}, err
	}
	u, err := a.cfg.Usage.Key(c.Context(), c.caller, ref, c.span())
	if err != nil {
		return reply{}, err
	}
	if c.wantsCSV() {
		s := newSheet("start", "requests", "1xx", "2xx", "3xx", "4xx", "5xx")
		for _, b := range u.Buckets {
			s.time(b.Start)
			s.number(b.Requests)
			for _, n := range b.Status[1:] {
				s.number(n)
			}
			s.end()
		}
		return s.download("usage-"+keyID(u.Key.ID)+".csv", nil), nil
	}
	v := keyUsageView{
		KeyID: keyID(u.Key.ID), Requests: count(u.Total.Requests), Status: statuses(u.Total.Status),
		Buckets: make([]bucketView, len(u.Buckets)), PermissionsFrom: instant(u.PermissionsFrom), PermissionsTo: instant(u.PermissionsTo),
		FirstUsed: moment(u.FirstUsed), LastUsed: moment(u.LastUsed), LastRefused: moment(u.LastRefused),
		Drift: driftView{count(u.Drift.Counted), count(u.Drift.Guard), u.Drift.Difference},
	}
	for i, b := range u.Buckets {
		v.Buckets[i] = bucketView{instant(b.Start), count(b.Requests), statuses(b.Status), generations(b.Generations)}
	}
	for _, p := range u.Permissions {
		v.Permissions = append(v.Permissions, permissionUseView{p.Permission, count(p.Requests), moment(p.LastUsed)})
	}
	for _, s := range u.Secrets {
		v.Secrets = append(v.Secrets, secretUseView{count(s.Generation), count(s.Requests), moment(s.LastUsed), s.Live, moment(s.Until)})
	}
	return ok(http.StatusOK, v, metaOf(u.Range), nil), nil
}

func generations(m map[int64]int64) []generationView {
	var list []generationView
	for _, g := range slices.Sorted(maps.Keys(m)) {
		list = append(list, generationView{count(g), count(m[g])})
	}
	return list
}

// accountUsageView is a row of numbers for each key, for lists with a sparkline.
type accountUsageView struct {
	Starts   []instant    `json:"starts" doc:"Start of each bucket of the range, in order."`
	Requests count        `json:"requests" doc:"All requests of the keys below."`
	Buckets  []count      `json:"buckets" doc:"The same, one number for each bucket."`
	Keys     []keyRowView `json:"keys" doc:"One row for each key that the caller sees, or for each of keyIds; deleted ones if they did anything in the range. Sessions have none."`
}

type keyRowView struct {
	KeyID    string  `json:"keyId" pattern:"^key_[0-9A-Za-z]{8}$" example:"key_8fQ2mZ0a"`
	KeyName  string  `json:"keyName" doc:"As it is called now."`
	Requests count   `json:"requests"`
	Buckets  []count `json:"buckets" doc:"One number for each bucket of the range, zeros too."`
}

func (a *api) accountUsage(c *call) (reply, error) {
	var only []apikey.ID
	if named := c.query.Get("keyIds"); named != "" { // checked with the other parameters
		for id := range strings.SplitSeq(named, ",") {
			only = append(only, apikey.ID(strings.TrimPrefix(id, idPrefix)))
		}
	}
	u, err := a.cfg.Usage.Account(c.Context(), c.caller, c.span(), only...)
	if err != nil {
		return reply{}, err
	}
	starts := u.Range.Starts()
	if c.wantsCSV() {
		return accountSheet(&u, starts).download("usage.csv", nil), nil
	}
	return ok(http.StatusOK, viewAccount(&u, starts), metaOf(u.Range), nil), nil
}

func viewAccount(u *usage.AccountUsage, starts []time.Time) accountUsageView {
	v := accountUsageView{Requests: count(u.Requests), Buckets: counts(u.Buckets), Keys: make([]keyRowView, len(u.Keys))}
	for _, t := range starts {
		v.Starts = append(v.Starts, instant(t))
	}
	for i := range u.Keys {
		k := &u.Keys[i]
		v.Keys[i] = keyRowView{keyID(k.Key.ID), k.Key.Name, count(k.Requests), counts(k.Buckets)}
	}
	return v
}

// accountSheet has a row for each key and a column for each bucket.
func accountSheet(u *usage.AccountUsage, starts []time.Time) *sheet {
	columns := []string{"keyId", "name", "environment", "requests"}
	for _, t := range starts {
		columns = append(columns, t.UTC().Format(instantForm))
	}
	s := newSheet(columns...)
	for i := range u.Keys {
		k := &u.Keys[i]
		s.text(keyID(k.Key.ID))
		s.text(k.Key.Name)
		s.text(string(k.Key.Environment))
		s.number(k.Requests)
		for _, n := range k.Buckets {
			s.number(n)
		}
		s.end()
	}
	return s
}

func counts(list []int64) []count {
	out := make([]count, len(list))
	for i, n := range list {
		out[i] = count(n)
	}
	return out
}

// adviceView is what a key could do without.
type adviceView struct {
	KeyID           string       `json:"keyId" pattern:"^key_[0-9A-Za-z]{8}$" example:"key_8fQ2mZ0a"`
	Recommendations []string     `json:"recommendations" enum:"revoke,narrow,rotate" doc:"What to do, most urgent first; empty: nothing."`
	Conclusive      bool         `json:"conclusive" doc:"The key has been observed for 90 days, so what was not used is likely not needed. A permission that it was given since counts as not used too: compare keyUpdatedAt."`
	ObservedSince   *instant     `json:"observedSince" nullable:"true" doc:"The oldest request that was logged; of a key that was never used, when it was made; null: it was used before there were logs, and not since."`
	KeyUpdatedAt    *instant     `json:"keyUpdatedAt" nullable:"true" doc:"When the key was last changed."`
	Permissions     []heldView   `json:"permissions" doc:"What the key holds, and when it was last used."`
	Patch           *advicePatch `json:"patch,omitzero" doc:"The body of a PATCH of this key that takes away what was not used. Absent: nothing can be taken away, or the key was never used."`
	LastUsed        *instant     `json:"lastUsed" nullable:"true" doc:"null: never."`
	Unused          bool         `json:"unused" doc:"The key is active and was neither used nor made within 90 days."`
	SecretSince     instant      `json:"secretSince" doc:"Since when the key has its present secret."`
	RotationDue     bool         `json:"rotationDue" doc:"The key is active and its secret is older than 90 days."`
}

type heldView struct {
	Permission string     `json:"permission" example:"customers:*"`
	LastUsed   *instant   `json:"lastUsed" nullable:"true" doc:"null: nothing of it was ever used."`
	Used       []usedView `json:"used" doc:"What of it was used; of a wildcard, perhaps several."`
}

type usedView struct {
	Permission string  `json:"permission" example:"customers:read"`
	LastUsed   instant `json:"lastUsed"`
}

type advicePatch struct {
	Permissions []string `json:"permissions"`
}

func (a *api) advice(c *call) (reply, error) {
	ref, err := c.ref()
	if err != nil {
		return reply{}, err
	}
	d, err := a.cfg.Usage.Advice(c.Context(), c.caller, ref)
	if err != nil {
		return reply{}, err
	}
	v := adviceView{
		KeyID: keyID(d.Key.ID), Conclusive: d.Conclusive, ObservedSince: moment(d.ObservedSince), KeyUpdatedAt: moment(d.Key.UpdatedAt),
		LastUsed: moment(d.LastUsed), Unused: d.Unused, SecretSince: instant(d.SecretSince), RotationDue: d.RotationDue,
	}
	for _, r := range []struct {
		name string
		due  bool
	}{{"revoke", d.Revoke}, {"narrow", d.Narrower != nil}, {"rotate", d.RotationDue && !d.Revoke}} {
		if r.due {
			v.Recommendations = append(v.Recommendations, r.name)
		}
	}
	if d.Narrower != nil {
		v.Patch = &advicePatch{d.Narrower}
	}
	for _, h := range d.Held {
		held := heldView{Permission: h.Permission, LastUsed: moment(h.LastUsed)}
		for _, u := range h.Used {
			held.Used = append(held.Used, usedView{u.Permission, instant(u.LastUsed)})
		}
		v.Permissions = append(v.Permissions, held)
	}
	return ok(http.StatusOK, v, nil, nil), nil
}

func usageOperations() []operation {
	granularity := parameter{name: "granularity", text: "Length of a bucket. Default: hour."}
	for _, g := range usage.Granularities() {
		granularity.enum = append(granularity.enum, string(g))
	}
	span := func(bounds string) []parameter {
		return []parameter{
			{name: "from", moment: true, text: "Start, UTC; the whole bucket that it is in. Default: 36 hours or 30 days before to. " + bounds},
			{name: "to", moment: true, text: "End, UTC, exclusive; the whole bucket that it is in. Default, and where it is in the future: the end of the present hour or day."},
			granularity, formatParameter,
		}
	}
	reading := []string{"not_found"}
	return []operation{
		{method: "GET", path: "/v1/api-keys/{id}/usage", serve: (*api).keyUsage, id: "getKeyUsage", tag: "Usage",
			summary:     "Count an API key's requests",
			description: "Every request is counted, also those that a cached policy let through or refused, some minutes after it was made. A deleted key's counts stay until their retention ends.",
			query:       span("At most 31 days of hours, or 400 days."),
			status:      http.StatusOK, answer: answerSchema{text: "What the key did.", data: of[keyUsageView](), meta: of[rangeMeta](), csv: true},
			problems: reading},
		{method: "GET", path: "/v1/usage", serve: (*api).accountUsage, id: "getUsage", tag: "Usage",
			summary:     "Count the requests of every API key",
			description: "One row of numbers for each key that the caller sees, for a list with sparklines.",
			query: append(span("At most 48 hours, or 31 days."), parameter{name: "keyIds", form: keyIDsForm, expect: "must be the keyIds of keys, with commas between them",
				text: fmt.Sprintf("Only these keys, %d at most, by keyId with commas between them. One that the caller does not see is left out.", usage.MaxNamed)}),
			status: http.StatusOK, answer: answerSchema{text: "What the keys did.", data: of[accountUsageView](), meta: of[rangeMeta](), csv: true}},
		{method: "GET", path: "/v1/api-keys/{id}/advice", serve: (*api).advice, id: "getKeyAdvice", tag: "Usage",
			summary:     "Say what an API key could do without",
			description: "When each of its permissions was last used, the narrower set that would have been enough, whether the key is used at all and whether its secret is old. patch is a body for PATCH /v1/api-keys/{id} as it is.",
			status:      http.StatusOK, answer: answerSchema{text: "The advice.", data: of[adviceView]()},
			problems: reading},
	}
}
