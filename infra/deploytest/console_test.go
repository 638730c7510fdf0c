package deploytest

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// consoleServed follows a browser: to the console by a stage's URL, and from there to the
// files that the page names, on every stage.
func consoleServed(t *testing.T, w *world) {
	stopping := *w.http
	stopping.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	following := w.http
	w.http = &stopping
	defer func() { w.http = following }()
	for _, stage := range []string{"production", "staging", "development"} {
		a := w.callOn(t, stage, "GET", "/console", nil, "")
		if a.code() == "console_not_built" {
			t.Skip("SKIPPED: this binary is without the console; make builds it with npm")
		}
		from := "https://api.example.com/" + stage + "/console"
		page, err := url.Parse(from)
		if err == nil {
			page, err = page.Parse(a.header.Get("Location"))
		}
		if err != nil || a.status != http.StatusPermanentRedirect || page.String() != from+"/" {
			t.Errorf("%s: /console = %s to %q, want 308 to where a browser finds %s/", stage, a, a.header.Get("Location"), from)
		}
		index := w.callOn(t, stage, "GET", "/console/", nil, "")
		if index.status != http.StatusOK || !strings.HasPrefix(index.header.Get("Content-Type"), "text/html") || index.header.Get("Cache-Control") != "no-cache" {
			t.Fatalf("%s: /console/ = %s, %q, %q", stage, index, index.header.Get("Content-Type"), index.header.Get("Cache-Control"))
		}
		files := regexp.MustCompile(`(?:src|href)="([a-z]+-[0-9a-f]+\.(?:js|css))"`).FindAllSubmatch(index.body, -1)
		if len(files) != 2 {
			t.Errorf("%s: the page names %d files, want a script and a style sheet:\n%s", stage, len(files), index.body)
		}
		answers := []answer{index}
		for _, f := range files {
			a := w.callOn(t, stage, "GET", "/console/"+string(f[1]), nil, "")
			if a.status != http.StatusOK || len(a.body) < 1000 || !strings.Contains(a.header.Get("Cache-Control"), "immutable") {
				t.Errorf("%s: %s = %s, %d bytes, Cache-Control %q", stage, f[1], a, len(a.body), a.header.Get("Cache-Control"))
			}
			answers = append(answers, a)
		}
		for _, a := range answers {
			if csp := a.header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'; script-src 'self'; ") || a.header.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("%s: Content-Security-Policy %q, X-Content-Type-Options %q", stage, csp, a.header.Get("X-Content-Type-Options"))
			}
		}
		if a := w.callOn(t, stage, "GET", "/console/", http.Header{"If-None-Match": {index.header.Get("ETag")}}, ""); a.status != http.StatusNotModified || len(a.body) != 0 {
			t.Errorf("%s: the page that a browser has = %s with %d bytes, want 304", stage, a, len(a.body))
		}
		w.callOn(t, stage, "GET", "/console/absent.js", nil, "").must(t, stage+": an absent file", http.StatusNotFound, "not_found")
	}
}

// sessionKept goes the way of somebody at the console: a session for a key, what the pages
// ask for by it, and its end. Each step is one that a role must allow.
func sessionKept(t *testing.T, w *world) {
	manager := w.create(t, `{"name":"Manager","permissions":["api_keys:*","customers:read"]}`)
	a := w.call(t, "POST", "/v1/sessions", xAPIKey(manager.key), "")
	if a.status != http.StatusCreated {
		t.Fatalf("POST /v1/sessions = %s, want 201", a)
	}
	session := issuedBy(t, a)
	for _, path := range []string{
		"/v1/account", "/v1/api-keys?permission=customers:read", "/v1/api-keys/customers", "/v1/api-keys/" + manager.id, "/v1/sessions",
		"/v1/usage?keyIds=" + manager.id, "/v1/logs", "/v1/alerts", "/v1/audit-events?keyId=" + manager.id, "/v1/permissions", "/v1/routes",
	} {
		if a := w.call(t, "GET", path, xAPIKey(session.key), ""); a.status != http.StatusOK {
			t.Errorf("GET %s by a session = %s, want 200", path, a)
		}
	}
	made := w.call(t, "POST", "/v1/api-keys", xAPIKey(session.key), `{"name":"By a session","permissions":["customers:read"]}`)
	if made.status != http.StatusCreated {
		t.Fatalf("a create by a session = %s, want 201", made)
	}
	trail := w.change(t, "GET", "/v1/audit-events?keyId="+issuedBy(t, made).id, "")
	var v struct {
		Data []struct{ Action, ActorKeyID, SessionID string }
	}
	if err := json.Unmarshal(trail.body, &v); err != nil || len(v.Data) != 1 || v.Data[0].ActorKeyID != manager.id || v.Data[0].SessionID != session.id {
		t.Errorf("the trail of a key that a session made: %v, %v; want one event of the manager by its session", v.Data, err)
	}
	if a := w.call(t, "DELETE", "/v1/sessions/self", xAPIKey(session.key), ""); a.status != http.StatusOK {
		t.Errorf("DELETE /v1/sessions/self = %s, want 200", a)
	}
	w.call(t, "GET", "/v1/api-keys", xAPIKey(session.key), "").must(t, "an ended session, behind its cached policy", http.StatusUnauthorized, "unauthorized")
	// And with its key.
	session = issuedBy(t, w.call(t, "POST", "/v1/sessions", xAPIKey(manager.key), ""))
	w.call(t, "GET", "/v1/api-keys", xAPIKey(session.key), "").must(t, "another session", http.StatusOK, "")
	w.change(t, "POST", "/v1/api-keys/"+manager.id+"/revoke", "")
	w.call(t, "GET", "/v1/api-keys", xAPIKey(session.key), "").must(t, "the session of a revoked key", http.StatusUnauthorized, "unauthorized")
}
