package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
)

func TestACreatedKeyWorksOnItsNextRequest(t *testing.T) {
	w := shared(t)
	for i := range 50 {
		k := w.create(t, w.root, fmt.Sprintf(`{"name":"New %d","permissions":["customers:read"]}`, i))
		if a := w.call(t, "GET", "/v1/customers", xAPIKey(k.key), ""); a.status != http.StatusOK {
			t.Errorf("the first request of key %d = %s, want 200", i, a)
		}
	}
}

// An unknown key is never remembered as one: the key made a moment later would stay blocked.
func TestAKeyRefusedBeforeItIsActiveWorksAfterwards(t *testing.T) {
	w := shared(t)
	k := w.create(t, w.root, `{"name":"Later","permissions":["customers:read"],"isActive":false}`)
	for range 3 {
		a := w.call(t, "GET", "/v1/customers", xAPIKey(k.key), "")
		a.mustRefuse(t, http.StatusUnauthorized, "unauthorized")
	}
	w.change(t, w.root, "POST", "/v1/api-keys/"+k.id+"/activate", "")
	if a := w.call(t, "GET", "/v1/customers", xAPIKey(k.key), ""); a.status != http.StatusOK {
		t.Errorf("after activating = %s, want 200", a)
	}
}

func TestAKeyWorksOnTheStageOfItsEnvironmentAlone(t *testing.T) {
	stages := []string{"production", "staging", "development"}
	for _, p := range presets {
		t.Run(p.config, func(t *testing.T) {
			w := preset(t, p.config)
			for _, environment := range stages {
				k := w.create(t, w.root, `{"name":"One environment","environment":"`+environment+`","permissions":["customers:read"]}`)
				for range 2 { // the second time whatever is cached decides
					for _, stage := range stages {
						want := http.StatusUnauthorized
						if stage == environment {
							want = http.StatusOK
						}
						if a := w.call(t, "GET", "/"+stage+"/v1/customers", xAPIKey(k.key), ""); a.status != want {
							t.Errorf("%s key on %s = %s, want %d", environment, stage, a, want)
						}
					}
				}
				// The shared stage takes every key where it is on, and is no stage elsewhere.
				want := http.StatusOK
				if !p.sharedStage {
					want = http.StatusNotFound
				}
				if a := w.call(t, "GET", "/shared/v1/customers", xAPIKey(k.key), ""); a.status != want {
					t.Errorf("%s key on shared = %s, want %d", environment, a, want)
				}
			}
		})
	}
}

func TestAScopedKeyReachesItsCustomersAlone(t *testing.T) {
	w := shared(t)
	admin := w.create(t, w.root, `{"name":"All customers","plan":"enterprise","permissions":["customers:*","invoices:read","licenses:manage","telemetry:write"]}`)
	ids := []string{w.unique("a"), w.unique("b"), w.unique("c")}
	for _, id := range ids {
		w.change(t, admin.key, "POST", "/v1/customers", `{"customerId":"`+id+`","name":"N","monthlyAmount":100}`)
	}
	mine, foreign, also := ids[0], ids[1], ids[2]
	k := w.create(t, w.root, `{"name":"Scoped","plan":"enterprise","permissions":["customers:*","invoices:read","licenses:manage","telemetry:write"],"customers":["`+mine+`","`+also+`"]}`)

	for range 2 { // the second time by the cached policy
		for _, c := range []struct {
			method, path, body string
			status             int
		}{
			{"GET", "/v1/customers/" + mine, "", 200},
			{"GET", "/v1/customers/" + mine + "/", "", 200},
			{"GET", "/v1/customers/" + also + "/invoices", "", 200},
			{"PUT", "/v1/customers/" + mine, `{"name":"M"}`, 200},
			{"GET", "/v1/customers/" + foreign, "", 403},
			{"GET", "/v1/customers/" + foreign + "/", "", 403},
			{"GET", "/v1/customers/" + foreign + "/invoices", "", 403},
			{"PUT", "/v1/customers/" + foreign, `{"name":"M"}`, 403},
			{"DELETE", "/v1/customers/" + foreign, "", 403},
			{"GET", "/v1/customers/" + w.unique("absent"), "", 403},
			{"POST", "/v1/customers", `{"customerId":"` + w.unique("new") + `","name":"N"}`, 403},
			{"POST", "/v1/licenses", `{"product":"P","customerId":"` + foreign + `"}`, 403},
			{"POST", "/v1/licenses", `{"product":"P","customerId":"` + mine + `"}`, 201},
			{"POST", "/v1/telemetry", `{"events":[{"name":"E","customerId":"` + foreign + `"}]}`, 403},
			{"POST", "/v1/telemetry", `{"events":[{"name":"E","customerId":"` + mine + `"}]}`, 202},
		} {
			if a := w.call(t, c.method, c.path, xAPIKey(k.key), c.body); a.status != c.status {
				t.Errorf("%s %s = %s, want %d", c.method, c.path, a, c.status)
			}
		}
	}
	var listed []string
	for _, v := range mustParse(t, w.call(t, "GET", "/v1/customers", xAPIKey(k.key), "").body).(map[string]any)["data"].([]any) {
		listed = append(listed, v.(map[string]any)["customerId"].(string))
	}
	slices.Sort(listed)
	if want := slices.Sorted(slices.Values([]string{mine, also})); !slices.Equal(listed, want) {
		t.Errorf("list = %v, want %v", listed, want)
	}
}

// Last use and count are there within seconds, and the calls that read them are counted too.
func TestLastUsedAndRequestCountShowWithinSeconds(t *testing.T) {
	w := shared(t)
	k := w.create(t, w.root, `{"name":"Counted","permissions":["customers:read"]}`)
	read := func() map[string]any { return w.change(t, w.root, "GET", "/v1/api-keys/"+k.id, "").data(t) }
	if d := read(); d["lastUsed"] != nil || d["requestCount"] != 0. {
		t.Errorf("before its first use: lastUsed %v, requestCount %v; want null and 0", d["lastUsed"], d["requestCount"])
	}
	for range 7 {
		w.change(t, k.key, "GET", "/v1/customers", "")
	}
	d := read()
	if problem := milliseconds(d["lastUsed"]); problem != "" || d["requestCount"] != 7. {
		t.Errorf("after 7 requests: lastUsed %s, requestCount %v; want a time and 7", problem, d["requestCount"])
	}
}
