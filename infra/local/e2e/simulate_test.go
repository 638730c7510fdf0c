package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"
)

// TestSimulationsComeTrueThroughTheGateway asks what would become of requests, and makes
// them: with fresh keys, and again after a change that takes something away while their
// policies are cached. (Package simulate has the test with 10,000.)
func TestSimulationsComeTrueThroughTheGateway(t *testing.T) {
	w := shared(t)
	const keys = 60
	rng := rand.New(rand.NewPCG(6, 3))
	pick := func(from ...string) string { return from[rng.IntN(len(from))] }
	later := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	seen := map[string]int{}
	check := func(k issued, when string) {
		t.Helper()
		for range 3 {
			method, path := "GET", pick("/v1/customers", "/v1/customers/cus_1", "/v1/customers/cus_2/", "/v1/customers/cus_1/invoices", "/v1/licenses",
				"/v1/customers/..%2Fcus_1", "/v1//customers", "/v1/api-keys", "/v1/permissions/", "/v1/api-keys/self", "/nowhere", "/health")
			stage := pick("production", "production", "production", "staging")
			body := fmt.Sprintf(`{"method":%q,"path":%q,"environment":%q}`, method, path, stage)
			data := w.change(t, w.root, "POST", "/v1/api-keys/"+k.id+"/simulate", body).data(t)
			got := w.call(t, method, "/"+stage+path, xAPIKey(k.key), "")
			refused := got.status == http.StatusUnauthorized || got.status == http.StatusForbidden || got.status == http.StatusTooManyRequests ||
				got.status == http.StatusNotFound && data["route"] == nil
			if p, ok := data["policy"].(map[string]any); ok && p["written"] == false && p["effect"] != "allow" && got.status == http.StatusForbidden {
				seen["a policy from before denies it already"]++ // which the simulation says too
				continue
			}
			if got.status == http.StatusTooManyRequests && data["allowed"] == false && data["status"] != 429.0 {
				seen["a refusal for the limit, remembered"]++ // for a moment the guard may not look further
				continue
			}
			if want := int(data["status"].(float64)); refused != (data["allowed"] == false) || refused && got.status != want || !refused && want != 200 {
				text, _ := json.Marshal(data)
				t.Fatalf("%s, %s %s%s: %s, simulated %s", when, method, stage, path, got, text)
			}
			seen[data["reason"].(string)]++
		}
	}
	for range keys {
		k := w.create(t, w.root, fmt.Sprintf(`{"name":"Simulated","plan":"enterprise","permissions":%s,"customers":%s,"networks":%s,"notBefore":%s,"rateLimit":%s,"isActive":%s}`,
			pick(`["customers:read"]`, `["*"]`, `["*","api_keys:*"]`, `[]`), pick(`[]`, `["cus_1"]`),
			pick(`[]`, `["127.0.0.0/8"]`, `["::ffff:127.0.0.1","10.0.0.0/8"]`, `["10.0.0.0/8","::/0"]`),
			pick(`null`, `null`, `null`, `"2026-01-01T00:00:00Z"`, `"`+later+`"`), pick("1", "2", "1000", "1000"), pick("true", "true", "true", "false")))
		check(k, "fresh")
		w.change(t, w.root, "PATCH", "/v1/api-keys/"+k.id, pick(`{"networks":["10.0.0.0/8"]}`, `{"notBefore":"`+later+`"}`, `{"isActive":false}`, `{"permissions":[]}`, `{"customers":["cus_3"]}`))
		check(k, "changed")
	}
	t.Log(seen)
	for _, reason := range []string{"ok", "no_route", "inactive", "not_yet_valid", "wrong_environment", "other_network", "missing_permission", "other_customer"} {
		if seen[reason] == 0 {
			t.Errorf("no request met %s", reason)
		}
	}
}

func TestNoHeaderSaysWhereARequestComesFrom(t *testing.T) {
	w := shared(t)
	far := w.create(t, w.root, `{"name":"Far","permissions":["customers:read"],"networks":["10.0.0.0/8","2001:db8::/32"]}`)
	near := w.create(t, w.root, `{"name":"Near","permissions":["customers:read"],"networks":["127.0.0.0/8","::1"]}`)
	for _, name := range []string{"X-Forwarded-For", "X-Real-Ip", "Forwarded", "True-Client-Ip", "Cf-Connecting-Ip", "X-Client-Ip"} {
		h := xAPIKey(far.key)
		h[name] = []string{"10.1.2.3"}
		w.call(t, "GET", "/v1/customers", h, "").mustRefuse(t, http.StatusForbidden, "insufficient_scope")
		h = xAPIKey(near.key)
		h[name] = []string{"10.1.2.3"}
		if a := w.call(t, "GET", "/v1/customers", h, ""); a.status != http.StatusOK {
			t.Errorf("%s: %s from its own network, want 200", name, a)
		}
	}
	// The guard's answer, where the cached policy is from before, is the policy's but for the text.
	w.change(t, w.root, "PATCH", "/v1/api-keys/"+near.id, `{"networks":["10.0.0.0/8"]}`)
	a := w.call(t, "GET", "/v1/customers", xAPIKey(near.key), "")
	if a.mustRefuse(t, http.StatusForbidden, "insufficient_scope"); !w.policyWasCached(t, a) {
		t.Error("the policy was not cached: this shows nothing of the guard")
	}
}
