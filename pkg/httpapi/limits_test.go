package httpapi

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/limit"
)

func TestLimitsAndQuotaAreSetShownChangedAndTakenAway(t *testing.T) {
	w := newWorld(t, "{}")
	hour := func(n float64) map[string]any { return map[string]any{"window": "hour", "requests": n, "used": 0.0} }
	day := func(n float64) map[string]any { return map[string]any{"window": "day", "requests": n, "used": 0.0} }
	quota := func(n, day float64) map[string]any {
		return map[string]any{"requests": n, "refillDay": day, "used": 0.0}
	}
	created, _ := w.root.create(`{"name":"a","limits":[{"window":"day","requests":5000},{"requests":1e3,"window":"hour"}],"quota":{"requests":10000}}`)
	check := func(what string, got map[string]any, limits []any, quota any) {
		t.Helper()
		if d := cmp.Diff([]any{limits, quota}, []any{got["limits"], got["quota"]}); d != "" {
			t.Errorf("%s: limits and quota (-want +got):\n%s", what, d)
		}
	}
	check("create", created, []any{hour(1000), day(5000)}, quota(10000, 1))
	path := "/v1/api-keys/" + created["keyId"].(string)
	for _, step := range []struct {
		body   string
		limits []any
		quota  any
	}{
		{`{"name":"b"}`, []any{hour(1000), day(5000)}, quota(10000, 1)},
		{`{"limits":[{"window":"hour","requests":7}]}`, []any{hour(7)}, quota(10000, 1)},
		{`{"quota":{"requests":3,"refillDay":28}}`, []any{hour(7)}, quota(3, 28)},
		{`{"limits":[]}`, []any{}, quota(3, 28)},
		{`{"quota":null}`, []any{}, nil},
	} {
		check("PATCH "+step.body, w.root.do("PATCH", path, step.body).want(200).data(), step.limits, step.quota)
		check("GET after it", w.root.do("GET", path, "").want(200).data(), step.limits, step.quota)
	}
}

func TestLimitsAndQuotaAreRefusedByField(t *testing.T) {
	w := newWorld(t, "{}")
	for body, fields := range map[string][]string{
		`"limits":[{"window":"minute","requests":5}]`:                              {"limits[0].window"},
		`"limits":[{"window":"hour","requests":5},{"window":"hour","requests":5}]`: {"limits[1].window"},
		`"limits":[{"window":"hour"}]`:                                             {"limits[0].requests"},
		`"limits":[{"window":"hour","requests":1000000001}]`:                       {"limits[0].requests"},
		`"limits":[{"window":"hour","requests":5,"burst":9}]`:                      {"limits"},
		`"limits":[{"Window":"hour","requests":5}]`:                                {"limits"},
		`"limits":{"window":"hour","requests":5}`:                                  {"limits"},
		`"limits":["hour"]`:                                                        {"limits"},
		`"limits":null`:                                                            {"limits"},
		`"limits":[{"window":"hour","requests":1.5}]`:                              {"limits"},
		`"quota":{}`:                                  {"quota.requests"},
		`"quota":{"requests":5,"refillDay":29}`:       {"quota.refillDay"},
		`"quota":{"requests":0,"refillDay":0}`:        {"quota.requests", "quota.refillDay"},
		`"quota":{"requests":5,"window":"month"}`:     {"quota"},
		`"quota":[5]`:                                 {"quota"},
		`"quota":5`:                                   {"quota"},
		`"limits":[{"window":"week"}],"quota":[true]`: {"quota"},
	} {
		for method, path := range map[string]string{"POST": "/v1/api-keys", "PATCH": "/v1/api-keys/key_" + string(w.root.key.ID())} {
			f := w.root.do(method, path, `{"name":"x",`+body+`}`).refused(400, "validation_failed")
			var got []string
			for _, field := range f.Fields {
				got = append(got, trimPosition(field.Field))
			}
			if d := cmp.Diff(fields, got); d != "" {
				t.Errorf("%s %s: fields at fault (-want +got):\n%s", method, body, d)
			}
		}
	}
}

// trimPosition leaves a field that did not decode without the name of its faulty part.
func trimPosition(field string) string {
	for _, whole := range []string{"limits[", "quota["} {
		if len(field) > len(whole) && field[:len(whole)] == whole && field[len(field)-1] == ']' {
			return whole[:len(whole)-1]
		}
	}
	return field
}

// A key's self view shows what it may do, its limits included.
func TestTheHolderSeesItsLimits(t *testing.T) {
	w := newWorld(t, "{}")
	_, c := w.root.create(`{"name":"a","permissions":["customers:read"],"limits":[{"window":"day","requests":9}],"quota":{"requests":3,"refillDay":2}}`)
	var m keys.Windows
	m.Minute = m.Minute.Count(m.Minute.SlotAt(limit.Minute, w.clock()), 2)
	m.Hour = m.Hour.Count(m.Hour.SlotAt(limit.Hour, w.clock()), 99) // of no limit that it has
	m.Day = m.Day.Count(m.Day.SlotAt(limit.Day, w.clock()), 4)
	m.Month = m.Month.Count(m.Month.PeriodAt(w.clock(), 2), 3)
	w.windows[c.key.ID()] = m
	want := []any{2.0, []any{map[string]any{"window": "day", "requests": 9.0, "used": 4.0}}, map[string]any{"requests": 3.0, "refillDay": 2.0, "used": 3.0}}
	for who, got := range map[string]map[string]any{
		"the holder":  c.do("GET", "/v1/api-keys/self", "").want(200).data(),
		"its manager": w.root.do("GET", c.path(""), "").want(200).data(),
		"a list":      w.root.do("GET", "/v1/api-keys?search="+string(c.key.ID()), "").want(200).object()["data"].([]any)[0].(map[string]any),
	} {
		if d := cmp.Diff(want, []any{got["rateUsed"], got["limits"], got["quota"]}); d != "" {
			t.Errorf("use of limits and quota, for %s (-want +got):\n%s", who, d)
		}
	}
	w.advance(time.Minute + 5*time.Second)
	if got := c.do("GET", "/v1/api-keys/self", "").want(200).data()["rateUsed"]; got != 0.0 {
		t.Errorf("a minute later %v requests of the last 60 seconds, want none", got)
	}
}
