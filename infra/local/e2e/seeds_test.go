package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
)

// presets are the configurations that make run is asked for by CONFIG, with what the
// documents' readers see of them.
var presets = []struct {
	config            string
	live, dev         string // prefixes of the canonical face
	accountProduction string
	accountSandbox    string
	sharedStage       bool // one host for every environment's keys
}{
	{"default", "kr_live", "kr_dev", "kr_live", "kr_dev", false},
	{"missinglettr", "ml_live", "ml_dev", "ml_prod", "ml_sand", true},
	{"momail", "mk", "mk", "mk", "mk", false},
}

const days = 24 * time.Hour

func TestTheDocumentsCodeWorksAsItStands(t *testing.T) {
	for _, p := range presets {
		t.Run(p.config, func(t *testing.T) {
			w := preset(t, p.config)
			t.Run("000 workspaces by Api-Key", func(t *testing.T) { seed000(t, w, p.live, p.dev, p.sharedStage) })
			t.Run("001 account face", func(t *testing.T) { seed001(t, w, p.accountProduction, p.accountSandbox) })
			t.Run("002 curl", func(t *testing.T) { seed002Curl(t, w, p.live) })
			t.Run("002 JavaScript", func(t *testing.T) { seed002JavaScript(t, w, p.live) })
			t.Run("002 Python", func(t *testing.T) { seed002Python(t, w, p.live) })
		})
	}
}

// seed000: two curl lines, one for a production key and one for a development key, each
// of which sees the workspaces of its own environment.
func seed000(t *testing.T, w *world, live, dev string, shared bool) {
	production := w.create(t, w.root, `{"name":"Production Key","environment":"production","permissions":["workspaces:read","workspaces:write"]}`)
	development := w.create(t, w.root, `{"name":"Development Key","environment":"development","permissions":["workspaces:read","workspaces:write"]}`)
	for _, k := range []struct{ key, prefix string }{{production.key, live}, {development.key, dev}} {
		if !strings.HasPrefix(k.key, k.prefix+"_") {
			t.Errorf("the key does not start with %s_", k.prefix)
		}
	}
	developmentStage := "/development"
	if shared {
		developmentStage = ""
	}
	for _, s := range []struct{ stage, key, name string }{{"", production.key, "Live"}, {developmentStage, development.key, "Dev"}} {
		a := w.call(t, "POST", s.stage+"/v1/workspaces/", http.Header{"Authorization": {"Api-Key " + s.key}}, `{"name":"`+s.name+`"}`)
		if a.status != http.StatusCreated {
			t.Fatalf("creating a workspace = %s, want 201", a)
		}
	}
	commands := snippets(t, "seed000.sh")
	for i, c := range []struct{ base, name string }{{w.url, "Live"}, {w.url + developmentStage, "Dev"}} {
		status, body := curl(t, fill(t, commands[i], c.base, "", map[string]string{
			"productionKey": production.key, "developmentKey": development.key,
		}))
		if status != http.StatusOK {
			t.Fatalf("curl %d = %d, want 200", i, status)
		}
		mustHave(t, "workspaces", body, shape{
			"success": exactly(true),
			"data":    listOf(shape{"workspaceId": text(`ws_\w+`), "name": exactly(c.name), "createdAt": milliseconds}.only()),
			"meta":    shape{"count": whole(1)}.only(),
		}, true)
	}
}

// row001 is one key of 001's list, and the answer of its PATCH.
func row001(production, sandbox string) shape {
	return shape{
		"id": whole(1), "name": text(`.+`), "key_type": oneOf("production", "sandbox"),
		"key_prefix": text(`[a-z][a-z0-9_]*_[0-9A-Za-z]{4}`),
		"is_active":  boolean, "is_primary": boolean, "created_at": seconds, "last_used": orNull(seconds),
	}
}

func seed001(t *testing.T, w *world, production, sandbox string) {
	bearer := func(key string) http.Header { return http.Header{"Authorization": {"Bearer " + key}} }
	list := func(key string) map[float64]map[string]any {
		a := w.call(t, "GET", "/v1/account/api-keys/", bearer(key), "")
		if a.status != http.StatusOK {
			t.Fatalf("list = %s, want 200", a)
		}
		body := mustHave(t, "list", a.body, shape{"api_keys": listOf(row001(production, sandbox).only())}, true)
		out := map[float64]map[string]any{}
		for _, row := range body["api_keys"].([]any) {
			out[row.(map[string]any)["id"].(float64)] = row.(map[string]any)
		}
		return out
	}
	created := func(name, kind, prefix string) shape {
		return shape{
			"id": whole(1), "name": exactly(name), "key_type": exactly(kind),
			"api_key": text(regexp.QuoteMeta(prefix) + `_[0-9A-Za-z]{8}_[0-9A-Za-z]{32}`),
			"message": exactly("Save this key securely. It will not be shown again."),
		}
	}
	commands := snippets(t, "seed001.sh")

	// Create: the documented command.
	status, body := curl(t, fill(t, commands[0], w.url, w.root, nil))
	if status != http.StatusCreated {
		t.Fatalf("create = %d, want 201", status)
	}
	pipeline := mustHave(t, "create", body, created("CI/CD Pipeline", "production", production), true)
	w.knows(pipeline["api_key"].(string))
	pipelineKey, pipelineID := pipeline["api_key"].(string), pipeline["id"].(float64)

	// The documented request body for a sandbox key.
	a := w.call(t, "POST", "/v1/account/api-keys/", bearer(w.root), `{"name": "Staging Environment", "key_type": "sandbox"}`)
	if a.status != http.StatusCreated {
		t.Fatalf("create sandbox = %s, want 201", a)
	}
	box := mustHave(t, "create sandbox", a.body, created("Staging Environment", "sandbox", sandbox), true)
	w.knows(box["api_key"].(string))

	// List, by the key just made: full access includes managing keys.
	rows := list(pipelineKey)
	id := strings.Split(strings.TrimPrefix(pipelineKey, production+"_"), "_")[0]
	for _, want := range []struct {
		id     float64
		fields shape
	}{
		{1, shape{"key_type": exactly("production"), "is_primary": exactly(true), "is_active": exactly(true), "last_used": seconds}},
		{pipelineID, shape{"name": exactly("CI/CD Pipeline"), "key_type": exactly("production"), "is_primary": exactly(false),
			"key_prefix": exactly(production + "_" + id[:4]), "created_at": near("2006-01-02T15:04:05Z", time.Now())}},
		{box["id"].(float64), shape{"name": exactly("Staging Environment"), "key_type": exactly("sandbox"), "is_active": exactly(true),
			"key_prefix": text(sandbox + `_[0-9A-Za-z]{4}`), "last_used": exactly(nil)}},
	} {
		if p := want.fields.problems(rows[want.id], false); p != nil {
			t.Errorf("row %v: %s", want.id, strings.Join(p, "; "))
		}
	}

	// Sandbox is limited: it manages no keys.
	stage := ""
	if a := w.call(t, "GET", stage+"/v1/account/api-keys/", bearer(box["api_key"].(string)), ""); a.status != 401 && a.status != 403 {
		t.Errorf("list by a sandbox key = %s, want 401 or 403", a)
	}

	// Deactivate: the documented command, on the key just made.
	values := map[string]string{"id": fmt.Sprint(pipelineID)}
	status, body = curl(t, fill(t, commands[1], w.url, w.root, values))
	if status != http.StatusOK {
		t.Fatalf("deactivate = %d, want 200", status)
	}
	row := row001(production, sandbox)
	row["id"], row["is_active"] = exactly(pipelineID), exactly(false)
	mustHave(t, "deactivate", body, row, true)
	if a := w.call(t, "GET", "/v1/account/api-keys/", bearer(pipelineKey), ""); a.status != http.StatusUnauthorized {
		t.Errorf("the deactivated key = %s, want 401", a)
	}
	// The other documented fields of the body.
	a = w.call(t, "PATCH", "/v1/account/api-keys/"+values["id"]+"/", bearer(w.root), `{"name": "Updated Key Name", "is_active": true}`)
	row["name"], row["is_active"] = exactly("Updated Key Name"), exactly(true)
	mustHave(t, "rename and activate", a.body, row, true)
	if a := w.call(t, "GET", "/v1/account/api-keys/", bearer(pipelineKey), ""); a.status != http.StatusOK {
		t.Errorf("the key activated again = %s, want 200", a)
	}

	// The primary key is not deleted; the documented way round works.
	a = w.call(t, "DELETE", "/v1/account/api-keys/1/", bearer(w.root), "")
	a.mustRefuse(t, http.StatusConflict, "primary_key")
	if !strings.HasPrefix(a.message(), "You cannot delete") || !strings.Contains(a.message(), "Create a new key, set it as primary, then delete the old one") {
		t.Errorf("message = %q", a.message())
	}
	a = w.call(t, "PATCH", "/v1/account/api-keys/"+values["id"]+"/", bearer(w.root), `{"is_primary": true}`)
	row["is_primary"] = exactly(true)
	mustHave(t, "set as primary", a.body, row, true)
	if rows := list(w.root); rows[1]["is_primary"] != false || rows[pipelineID]["is_primary"] != true {
		t.Error("the mark did not move")
	}
	// The root key stays for the tests after this one; the pipeline's is deleted instead.
	if a := w.call(t, "PATCH", "/v1/account/api-keys/1/", bearer(pipelineKey), `{"is_primary": true}`); a.status != http.StatusOK {
		t.Fatalf("marking key 1 again = %s, want 200", a)
	}

	// Delete: the documented command.
	status, body = curl(t, fill(t, commands[2], w.url, w.root, values))
	if status != http.StatusNoContent || len(body) != 0 {
		t.Fatalf("delete = %d and %d bytes, want 204 and none", status, len(body))
	}
	if a := w.call(t, "GET", "/v1/account/api-keys/", bearer(pipelineKey), ""); a.status != http.StatusUnauthorized {
		t.Errorf("the deleted key = %s, want 401", a)
	}
	if _, listed := list(w.root)[pipelineID]; listed {
		t.Error("the deleted key is still listed")
	}
}

// listed002, created002 are 002's documented fields. The product adds more beside them.
func listed002(prefix string) shape {
	return shape{
		"keyId": text(`key_[0-9A-Za-z]{8}`), "name": text(`.+`), "keyPrefix": text(`[a-z][a-z0-9_]*_[0-9A-Za-z]{3}\*{4}`),
		"plan": oneOf("free", "pro", "enterprise"), "rateLimit": whole(1), "lastUsed": orNull(milliseconds),
		"createdAt": milliseconds, "expirationTs": orNull(milliseconds),
		// and what this API says beyond the document
		"environment": oneOf("production", "staging", "development"), "status": oneOf("active", "inactive", "expired", "revoked"),
		"permissions": func(v any) string {
			if _, ok := v.([]any); !ok {
				return "is no list"
			}
			return ""
		},
		"customers": func(v any) string {
			if _, ok := v.([]any); !ok {
				return "is no list"
			}
			return ""
		},
		"isActive": boolean, "isPrimary": boolean, "version": whole(1), "rotatedAt": orNull(milliseconds),
	}
}

func created002(prefix string) shape {
	s := listed002(prefix)
	s["apiKey"] = text(regexp.QuoteMeta(prefix) + `_[0-9A-Za-z]{8}_[0-9A-Za-z]{32}`)
	s["name"], s["plan"], s["rateLimit"] = exactly("Production API"), exactly("free"), exactly(20.)
	s["keyPrefix"] = text(regexp.QuoteMeta(prefix) + `_[0-9A-Za-z]{3}\*{4}`)
	s["createdAt"] = near("2006-01-02T15:04:05.000Z", time.Now())
	s["expirationTs"] = near("2006-01-02T15:04:05.000Z", time.Now().Add(365*days))
	return shape{
		"success": exactly(true), "data": s.has(),
		"meta": shape{"warning": exactly("This API key will only be shown once. Please store it securely.")}.has(),
	}
}

// checkList002 checks an answer of the list and that it names the keys.
func checkList002(t *testing.T, body []byte, prefix string, ids ...string) {
	t.Helper()
	v := mustHave(t, "list", body, shape{
		"success": exactly(true), "data": listOf(listed002(prefix).has()), "meta": shape{"total": whole(1)}.has(),
	}, true)
	listed := map[string]bool{}
	for _, k := range v["data"].([]any) {
		k := k.(map[string]any)
		listed[k["keyId"].(string)] = true
		if _, shown := k["apiKey"]; shown {
			t.Error("the list shows a key")
		}
	}
	for _, id := range ids {
		if !listed[id] {
			t.Errorf("%s is not listed", id)
		}
	}
	if total := v["meta"].(map[string]any)["total"]; total != float64(len(listed)) {
		t.Errorf("meta.total = %v, want %d", total, len(listed))
	}
}

// checkCreated002 checks a create's answer and that the key works on its next request.
func checkCreated002(t *testing.T, w *world, body []byte, prefix string) {
	t.Helper()
	data := mustHave(t, "create", body, created002(prefix), true)["data"].(map[string]any)
	key := data["apiKey"].(string)
	w.knows(key)
	id := strings.Split(strings.TrimPrefix(key, prefix+"_"), "_")[0]
	if data["keyId"] != "key_"+id || data["keyPrefix"] != prefix+"_"+id[:3]+"****" {
		t.Errorf("keyId %v, keyPrefix %v: want them of id %s", data["keyId"], data["keyPrefix"], id)
	}
	if a := w.call(t, "GET", "/v1/api-keys/self", xAPIKey(key), ""); a.status != http.StatusOK {
		t.Errorf("the new key's first request = %s, want 200", a)
	}
}

// doomed is a key that the snippets delete.
func doomed(t *testing.T, w *world) issued {
	k := w.create(t, w.root, `{"name":"Doomed","permissions":["customers:read"]}`)
	if a := w.call(t, "GET", "/v1/customers", xAPIKey(k.key), ""); a.status != http.StatusOK {
		t.Fatalf("the key to delete = %s, want 200", a)
	}
	return k
}

func checkDeleted(t *testing.T, w *world, k issued) {
	t.Helper()
	if a := w.call(t, "GET", "/v1/customers", xAPIKey(k.key), ""); a.status != http.StatusUnauthorized {
		t.Errorf("the deleted key = %s, want 401", a)
	}
	a := w.call(t, "GET", "/v1/api-keys", xAPIKey(w.root), "")
	if strings.Contains(string(a.body), k.id) {
		t.Error("the deleted key is still listed")
	}
}

func seed002Curl(t *testing.T, w *world, prefix string) {
	k := doomed(t, w)
	commands := snippets(t, "seed002.sh")
	values := map[string]string{"keyId": k.id}
	status, body := curl(t, fill(t, commands[0], w.url, w.root, values))
	if status != http.StatusOK {
		t.Fatalf("list = %d, want 200", status)
	}
	checkList002(t, body, prefix, k.id)

	status, body = curl(t, fill(t, commands[1], w.url, w.root, values))
	if status != http.StatusCreated {
		t.Fatalf("create = %d, want 201", status)
	}
	checkCreated002(t, w, body, prefix)

	status, body = curl(t, fill(t, commands[2], w.url, w.root, values))
	if status != http.StatusOK {
		t.Fatalf("delete = %d, want 200", status)
	}
	mustHave(t, "delete", body, shape{
		"success": exactly(true), "data": shape{"keyId": exactly(k.id), "revoked": exactly(true)}.only(),
	}, false)
	checkDeleted(t, w, k)
}

func seed002JavaScript(t *testing.T, w *world, prefix string) {
	node := program(t, "node")
	k := doomed(t, w)
	// What a browser has and Node.js may not, and what tells the test how it went.
	const before = `
globalThis.localStorage = (() => {
  const m = new Map();
  return { setItem: (k, v) => m.set(k, String(v)), getItem: k => m.get(k) ?? null };
})();
`
	const after = `
console.log(JSON.stringify({ keys, newKey, apiKey, stored: localStorage.getItem('momail_api_key') }));
`
	code := before + fill(t, snippets(t, "seed002.mjs")[0], w.url, w.root, map[string]string{"keyId": k.id}) + after
	out := run(t, nil, node, script(t, "snippet.mjs", code))
	var got struct {
		Keys, NewKey   json.RawMessage
		APIKey, Stored string
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("the program printed no JSON (%d bytes)", len(out))
	}
	checkList002(t, got.Keys, prefix, k.id)
	checkCreated002(t, w, got.NewKey, prefix)
	if got.APIKey == "" || got.Stored != got.APIKey {
		t.Error("localStorage does not hold the new key")
	}
	checkDeleted(t, w, k)

	// The other snippet: the key comes from a .env file.
	env := script(t, ".env", "MOMAIL_API_KEY="+w.root+"\n")
	code = fill(t, snippets(t, "seed002_env.mjs")[0], w.url, w.root, nil) + "process.stdout.write(apiKey);\n"
	if out := run(t, nil, node, "--env-file="+env, script(t, "env.mjs", code)); out != w.root {
		t.Error("the program did not read the key from .env")
	}
}

func seed002Python(t *testing.T, w *world, prefix string) {
	interpreter := python(t)
	k := doomed(t, w)
	const after = `
import json
print(json.dumps({"keys": keys, "result": result, "apiKey": api_key}))
`
	code := fill(t, snippets(t, "seed002.py")[0], w.url, "", map[string]string{"keyId": k.id}) + after
	out := run(t, []string{"MOMAIL_API_KEY=" + w.root}, interpreter, script(t, "snippet.py", code))
	first, second, _ := strings.Cut(out, "\n")
	var got struct {
		Keys, Result json.RawMessage
		APIKey       string
	}
	if err := json.Unmarshal([]byte(second), &got); err != nil {
		t.Fatalf("the program printed no JSON (%d bytes)", len(out))
	}
	if first != "Save this key: "+got.APIKey {
		t.Error("the program did not print the new key")
	}
	if problem := listOf(listed002(prefix).has())(mustParse(t, got.Keys)); problem != "" {
		t.Errorf("list: %s", problem)
	}
	checkCreated002(t, w, got.Result, prefix)
	checkDeleted(t, w, k)
}

func mustParse(t *testing.T, text []byte) (v any) {
	t.Helper()
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	return v
}
