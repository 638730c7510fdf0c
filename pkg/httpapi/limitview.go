package httpapi

import (
	"cmp"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json"

	"github.com/keyreeve/keyreeve/pkg/keys"
)

// limitBody is one of a key's limits beside rateLimit in a request.
type limitBody struct {
	Window   string  `json:"window" enum:"hour,day" doc:"hour: any 3,600 seconds. day: any 86,400 seconds."`
	Requests integer `json:"requests" minimum:"1" maximum:"1000000000"`
}

// limitList is the limits of a request.
type limitList []limitBody

// UnmarshalJSON reads a list of limits and nothing that is not of one.
func (l *limitList) UnmarshalJSON(text []byte) error {
	return json.Unmarshal(text, (*[]limitBody)(l), json.RejectUnknownMembers(true))
}

func (limitList) expectation() string {
	return `must be a list such as [{"window":"hour","requests":1000}]`
}

func (l limitList) named() []keys.NamedLimit {
	list := make([]keys.NamedLimit, len(l))
	for i, one := range l {
		list[i] = keys.NamedLimit{Window: one.Window, Requests: int(one.Requests)}
	}
	return list
}

// limitView is the same in an answer.
type limitView struct {
	Window   string `json:"window" enum:"hour,day" doc:"hour: any 3,600 seconds. day: any 86,400 seconds."`
	Requests int    `json:"requests" minimum:"1" maximum:"1000000000"`
	Used     count  `json:"used" doc:"How many of them are in use now, as the limit counts them."`
}

func limitViews(k *keys.Key) []limitView {
	list := []limitView{}
	if k.Limits.Hour > 0 {
		list = append(list, limitView{keys.WindowHour, k.Limits.Hour, count(k.Used.Hour)})
	}
	if k.Limits.Day > 0 {
		list = append(list, limitView{keys.WindowDay, k.Limits.Day, count(k.Used.Day)})
	}
	return list
}

// quotaBody is a quota in a request.
type quotaBody struct {
	Requests  integer  `json:"requests" minimum:"1" maximum:"1000000000" doc:"Requests in a calendar month."`
	RefillDay *integer `json:"refillDay,omitempty" minimum:"1" maximum:"28" doc:"Day on which a month begins, at 00:00 UTC. Default: 1."`
}

// UnmarshalJSON reads a quota and nothing that is not of one.
func (q *quotaBody) UnmarshalJSON(text []byte) error {
	type plain quotaBody
	return json.Unmarshal(text, (*plain)(q), json.RejectUnknownMembers(true))
}

func (quotaBody) expectation() string {
	return `must be an object such as {"requests":10000,"refillDay":1}`
}

// quota is what a request asks for; nil: none.
func (q *quotaBody) quota() *keys.Quota {
	if q == nil {
		return nil
	}
	first := integer(1)
	return &keys.Quota{Requests: int(q.Requests), RefillDay: int(*cmp.Or(q.RefillDay, &first))}
}

// quotaView is a quota in an answer.
type quotaView struct {
	Requests  int   `json:"requests" minimum:"1" maximum:"1000000000"`
	RefillDay int   `json:"refillDay" minimum:"1" maximum:"28" doc:"The month begins on that day, at 00:00 UTC."`
	Used      count `json:"used" doc:"How many of them the present month has had."`
}

// Schema is that of the struct, in place: huma lets no reference be null.
func (quotaView) Schema(r huma.Registry) *huma.Schema {
	type plain quotaView
	return huma.SchemaFromType(r, of[plain]())
}

func viewQuota(k *keys.Key) *quotaView {
	if k.Quota == (keys.Quota{}) {
		return nil
	}
	return &quotaView{k.Quota.Requests, k.Quota.RefillDay, count(k.Used.Month)}
}
