package httpapi

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/route"
)

func TestTheAccountIsShownAsFarAsTheCallerSees(t *testing.T) {
	w := newWorld(t, `{"authorizerCacheSeconds":300}`)
	_, staging := w.root.create(`{"name":"a","environment":"staging","permissions":["api_keys:read"]}`)
	gone, _ := w.root.create(`{"name":"b"}`)
	w.root.do("DELETE", "/v1/api-keys/"+gone["keyId"].(string), "").want(200)
	got := staging.do("GET", "/v1/account", "").want(200).data()
	want := map[string]any{
		"accountId": got["accountId"], "name": "Acme", "plan": "enterprise", "keyCount": 3.0, "keyLimit": 10000.0,
		"environments": []any{"staging"}, "cacheSeconds": 300.0, "defaultPlan": "free",
		"plans": []any{
			map[string]any{"name": "free", "rateLimit": 20.0, "developmentRateLimit": 100.0, "keys": 100.0}, map[string]any{"name": "pro", "rateLimit": 100.0, "developmentRateLimit": 500.0, "keys": 1000.0},
			map[string]any{"name": "enterprise", "rateLimit": 1000.0, "developmentRateLimit": 5000.0, "keys": 10000.0},
		},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if got := w.root.do("GET", "/v1/account", "").want(200).data()["environments"]; !cmp.Equal(got, []any{"production", "staging", "development"}) {
		t.Errorf("the root key sees %v", got)
	}
	w.root.do("GET", "/v1/account?plan=x", "").refused(400, "unknown_parameter")
}

func TestTheRoutesAreTheTable(t *testing.T) {
	w := newWorld(t, "{}")
	_, plain := w.root.create(`{"name":"a","permissions":[]}`)
	rows := plain.do("GET", "/v1/routes", "").want(200).object()["data"].([]any)
	var want []any
	for _, rt := range route.Default().Routes() {
		null := func(s string) any {
			if s == "" {
				return nil
			}
			return s
		}
		row := map[string]any{
			"method": rt.Method, "path": rt.Path, "permission": null(rt.Permission), "credential": string(rt.Credential),
			"customer": null(rt.Customer), "guarded": !rt.Public && !rt.Unguarded, "public": rt.Public,
		}
		if rt.Public {
			row["credential"] = "none"
		}
		want = append(want, row)
	}
	if d := cmp.Diff(want, rows); d != "" {
		t.Errorf("(-table +got):\n%s", d)
	}
	plain.do("GET", "/v1/routes?public=true", "").refused(400, "unknown_parameter")
}

func TestCustomersInUseAreThoseOfVisibleKeys(t *testing.T) {
	w := newWorld(t, "{}")
	_, staging := w.root.create(`{"name":"a","environment":"staging","permissions":["api_keys:*"],"customers":["cus_2","ACME"]}`)
	w.root.create(`{"name":"b","customers":["cus_1","cus_2"]}`)
	gone, _ := w.root.create(`{"name":"c","customers":["cus_3"]}`)
	w.root.do("DELETE", "/v1/api-keys/"+gone["keyId"].(string), "").want(200)
	for _, c := range []struct {
		caller      client
		query, want string
	}{
		{w.root, "", "ACME 1, cus_1 1, cus_2 2"},
		{staging, "", "ACME 1, cus_2 1"},
		{w.stranger(), "", ""},
		{w.root, "?search=CUS", "cus_1 1, cus_2 2"},
		{w.root, "?search=_2", "cus_2 2"},
		{w.root, "?search=cus&limit=1", "cus_1 1"},
		{w.root, "?search=nobody", ""},
	} {
		var got []string
		for _, r := range c.caller.do("GET", "/v1/api-keys/customers"+c.query, "").want(200).object()["data"].([]any) {
			row := r.(map[string]any)
			got = append(got, fmt.Sprint(row["customerId"], " ", row["keys"]))
		}
		if got := strings.Join(got, ", "); got != c.want {
			t.Errorf("%s: %s, want %s", c.query, got, c.want)
		}
	}
	w.root.do("GET", "/v1/api-keys/customers?limit=1001", "").refused(400, "validation_failed")
	w.root.do("GET", "/v1/api-keys/customers?search="+strings.Repeat("a", 65), "").refused(400, "validation_failed")
	w.root.do("GET", "/v1/api-keys/customers?environment=staging", "").refused(400, "unknown_parameter")
}

func TestKeysAreListedByWhatTheyMayUseAndForWhom(t *testing.T) {
	w := newWorld(t, "{}")
	for _, body := range []string{
		`"name":"all","permissions":["*"]`,
		`"name":"whole","permissions":["customers:*"],"customers":["cus_1","cus_2"]`,
		`"name":"exact","permissions":["customers:read"],"customers":["cus_2"]`,
		`"name":"other","permissions":["licenses:manage"],"environment":"staging"`,
		`"name":"nothing","permissions":[]`,
	} {
		w.root.create("{" + body + "}")
	}
	for query, want := range map[string]string{
		"permission=customers:read":                      "Root key all whole exact",
		"permission=customers:write":                     "Root key all whole",
		"permission=licenses:manage":                     "Root key all other",
		"permission=api_keys:read":                       "Root key",
		"customer=cus_2":                                 "whole exact",
		"customer=cus_1":                                 "whole",
		"customer=cus_3":                                 "",
		"customer=cus_2&permission=customers:read":       "whole exact",
		"permission=licenses:manage&environment=staging": "other",
	} {
		a := w.root.do("GET", "/v1/api-keys?"+query, "")
		if got := a.listed("name"); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
	for query, field := range map[string]string{
		"permission=customers:fly": "permission", "permission=*": "permission", "permission=customers:*": "permission", "permission=": "permission",
		"customer=": "customer", "customer=a/b": "customer", "customer=" + strings.Repeat("a", 65): "customer",
	} {
		if f := w.root.do("GET", "/v1/api-keys?"+query, "").refused(400, "validation_failed"); len(f.Fields) != 1 || f.Fields[0].Field != field {
			t.Errorf("%s: fields %v, want %s", query, f.Fields, field)
		}
	}
	// A cursor is of its filter.
	next := w.root.do("GET", "/v1/api-keys?limit=1&permission=customers:read", "").want(200).object()["meta"].(map[string]any)["next"].(string)
	w.root.do("GET", "/v1/api-keys?limit=1&permission=customers:write&cursor="+next, "").refused(400, "invalid_cursor")
	w.root.do("GET", "/v1/api-keys?limit=1&permission=customers:read&cursor="+next, "").want(200)
}

func TestEndGraceEndsIt(t *testing.T) {
	w := newWorld(t, "{}")
	_, k := w.root.create(`{"name":"a","permissions":["customers:read"]}`)
	regenerated := w.root.do("POST", k.path("/regenerate"), `{"graceSeconds":3600}`).want(200).data()
	if regenerated["previousSecretUntil"] == nil {
		t.Fatal("no grace")
	}
	w.root.do("PATCH", k.path(""), `{"endGrace":false}`).refused(400, "validation_failed")
	w.root.do("PATCH", k.path(""), `{"endGrace":null}`).refused(400, "validation_failed")
	w.root.do("PATCH", k.path(""), `{"endGrace":true}`, `If-Match: "1"`).refused(412, "precondition_failed")
	for range 2 { // again: there is none any more, and what was said stays true
		a := w.root.do("PATCH", k.path(""), `{"endGrace":true}`).want(200)
		if got := a.data()["previousSecretUntil"]; got != nil {
			t.Errorf("previousSecretUntil %v", got)
		}
		if d := cmp.Diff(map[string]any{"effective": atOnce}, a.object()["meta"]); d != "" {
			t.Errorf("meta (-want +got):\n%s", d)
		}
	}
	if got := w.root.do("GET", k.path(""), "").want(200).data()["version"]; got != 3.0 {
		t.Errorf("version %v, want 3", got)
	}
}
