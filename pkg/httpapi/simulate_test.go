package httpapi

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/simulate"
)

// wouldBe asks what would become of a request with a key.
func (c client) wouldBe(keyID any, body string) map[string]any {
	c.w.t.Helper()
	return c.do("POST", "/v1/api-keys/"+keyID.(string)+"/simulate", body).want(http.StatusOK).data()
}

func TestASimulationSaysWhatDecidesAndWhatAPolicySays(t *testing.T) {
	w := newWorld(t, "{}")
	created, _ := w.root.create(`{"name":"a","permissions":["customers:read"],"customers":["cus_1"],"networks":["192.0.2.0/24","2001:db8::/32"],"rateLimit":7}`)
	got := w.root.wouldBe(created["keyId"], `{"method":"GET","path":"/v1/customers/cus_1"}`)
	want := map[string]any{
		"allowed": true, "status": 200.0, "reason": "ok", "rule": "permissions", "decidedBy": "guard", "guarded": true,
		"route":      map[string]any{"method": "GET", "path": "/v1/customers/{customerId}", "credential": "X-API-Key"},
		"permission": "customers:read", "environment": "production", "at": "2026-01-15T10:30:00.000Z",
		"policy": map[string]any{"effect": "allow", "statement": 0.0, "resource": "GET/v1/customers/cus_1", "written": true},
		"guard":  map[string]any{"verdict": "ok", "limit": 7.0, "remaining": 7.0, "retryAfterSeconds": 0.0},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("allowed (-want +got):\n%s", d)
	}
	for _, step := range []struct{ change, body, want string }{
		{``, `{"method":"GET","path":"/v1/customers/cus_1/","sourceIp":"2001:db8::7"}`, "200 ok permissions guard, policy allow true"},
		{``, `{"method":"GET","path":"/v1/customers/cus_1","sourceIp":"::ffff:192.0.2.77"}`, "200 ok permissions guard, policy allow true"},
		{``, `{"method":"GET","path":"/v1/customers/cus_1","sourceIp":"198.51.100.1"}`, "403 other_network networks policy, policy implicit_deny true"},
		{``, `{"method":"GET","path":"/v1/customers/cus_2"}`, "403 other_customer customers policy, policy implicit_deny true"},
		{``, `{"method":"GET","path":"/v1/licenses"}`, "403 missing_permission permissions policy, policy implicit_deny true"},
		{``, `{"method":"DELETE","path":"/v1/licenses/x/y/z"}`, "404 no_route route gateway"},
		{``, `{"method":"GET","path":"/v1/customers/..%2Fcus_1"}`, "403 other_customer customers policy, policy implicit_deny true"},
		{``, `{"method":"GET","path":"/health"}`, "200 ok route gateway"},
		{``, `{"method":"GET","path":"/v1/customers/cus_1","environment":"staging"}`, "401 wrong_environment environment authorizer"},
		{`{"expirationTs":"2026-01-16T00:00:00Z"}`, `{"method":"GET","path":"/v1/customers/cus_1","at":"2026-01-15T23:59:59.999Z"}`, "200 ok permissions guard, policy allow true"},
		{``, `{"method":"GET","path":"/v1/customers/cus_1","at":"2026-01-16T00:00:00Z"}`, "401 expired expirationTs authorizer, policy allow false"},
		{`{"notBefore":"2026-01-15T12:00:00Z"}`, `{"method":"GET","path":"/v1/customers/cus_1","at":null}`, "401 not_yet_valid notBefore authorizer, policy allow false"},
		{``, `{"method":"GET","path":"/v1/customers/cus_1","at":"2026-01-15T12:00:00Z"}`, "200 ok permissions guard, policy allow true"},
		{`{"notBefore":null,"isActive":false}`, `{"method":"GET","path":"/v1/customers/cus_1"}`, "401 inactive isActive authorizer, policy allow false"},
	} {
		if step.change != "" {
			w.root.do("PATCH", "/v1/api-keys/"+created["keyId"].(string), step.change).want(200)
		}
		v := w.root.wouldBe(created["keyId"], step.body)
		text, _ := json.Marshal(v["status"])
		got := strings.Join([]string{string(text), v["reason"].(string), v["rule"].(string), v["decidedBy"].(string)}, " ")
		if p, ok := v["policy"].(map[string]any); ok {
			written, _ := json.Marshal(p["written"])
			got += ", policy " + p["effect"].(string) + " " + string(written)
		}
		if got != step.want || v["allowed"] != (v["reason"] == "ok") {
			t.Errorf("%s: %s, allowed %v, want %s", step.body, got, v["allowed"], step.want)
		}
	}
	w.root.do("DELETE", "/v1/api-keys/"+created["keyId"].(string), "").want(200)
	if v := w.root.wouldBe(created["keyId"], `{"method":"GET","path":"/v1/customers/cus_1"}`); v["reason"] != "revoked" || v["rule"] != "deleted" {
		t.Errorf("a deleted key: %v", v)
	}
	canary, _ := w.root.create(`{"name":"decoy","canary":true}`)
	if v := w.root.wouldBe(canary["keyId"], `{"method":"GET","path":"/v1/permissions"}`); v["reason"] != "canary" || v["policy"] != nil || strings.Contains(w.log.String(), "refused") {
		t.Errorf("a canary: %v; it raises no alert, as nobody presented it", v)
	}
}

func TestASimulationIsForWhoMayReadTheKey(t *testing.T) {
	w := newWorld(t, "{}")
	created, _ := w.root.create(`{"name":"a","permissions":["customers:read"]}`)
	const body = `{"method":"GET","path":"/v1/customers"}`
	path := "/v1/api-keys/" + created["keyId"].(string) + "/simulate"
	w.stranger().do("POST", path, body).refused(404, "not_found")
	_, staging := w.root.create(`{"name":"b","environment":"staging","permissions":["api_keys:read"]}`)
	staging.do("POST", path, body).refused(404, "not_found")
	_, reader := w.root.create(`{"name":"c","permissions":["api_keys:read"]}`)
	reader.do("POST", path, body).want(200)
}

func TestARequestThatCannotBeIsNotSimulated(t *testing.T) {
	w := newWorld(t, "{}")
	path := "/v1/api-keys/key_" + string(w.root.key.ID()) + "/simulate"
	for body, fields := range map[string]string{
		`{}`:                              "method path",
		`{"method":"OPTIONS","path":"/"}`: "method",
		`{"method":"get","path":"/"}`:     "method",
		`{"method":"GET","path":"v1"}`:    "path",
		`{"method":"GET","path":"/a?b"}`:  "path",
		`{"method":"GET","path":"/%zz"}`:  "path",
		`{"method":"GET","path":"/` + strings.Repeat("a", 1400) + `"}`:      "path",
		`{"method":"GET","path":"/","sourceIp":"203.0.113.0/24"}`:           "sourceIp",
		`{"method":"GET","path":"/","sourceIp":""}`:                         "sourceIp",
		`{"method":"GET","path":"/","sourceIp":"fe80::1%eth0"}`:             "sourceIp",
		`{"method":"GET","path":"/","sourceIp":"010.0.0.1"}`:                "sourceIp",
		`{"method":"GET","path":"/","environment":"shared","sourceIp":"x"}`: "sourceIp environment",
		`{"method":"GET","path":"/","environment":""}`:                      "environment",
		`{"method":"GET","path":"/","at":"tomorrow"}`:                       "at",
	} {
		var names []string
		for _, f := range w.root.do("POST", path, body).refused(400, "validation_failed").Fields {
			names = append(names, f.Field)
		}
		if got := strings.Join(names, " "); got != fields {
			t.Errorf("%s: fields %q at fault, want %q", body, got, fields)
		}
	}
	w.root.do("POST", path, `{"method":"GET","path":"/","apiKey":"x"}`).refused(400, "unknown_field")
}

func TestTheDocumentNamesEveryRuleOfASimulation(t *testing.T) {
	field, _ := of[simulationView]().FieldByName("Rule")
	documented := strings.Split(field.Tag.Get("enum"), ",")
	var rules []string
	for _, r := range simulate.Rules() {
		rules = append(rules, string(r))
	}
	if diff := cmp.Diff(rules, documented); diff != "" {
		t.Errorf("rules (-simulated +documented)\n%s", diff)
	}
}
