package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// session exchanges a key for a session.
func (w *world) session(t testing.TB, key string) issued {
	t.Helper()
	a := w.call(t, "POST", "/v1/sessions", xAPIKey(key), "")
	if a.status != http.StatusCreated {
		t.Fatalf("making a session = %s, want 201", a)
	}
	return w.issued(t, a)
}

// list is the data member of an answer that is a list.
func (a answer) list(t *testing.T) []map[string]any {
	t.Helper()
	var v struct{ Data []map[string]any }
	if err := json.Unmarshal(a.body, &v); err != nil || a.status != http.StatusOK {
		t.Fatalf("answer = %s: no list", a)
	}
	return v.Data
}

// column is what each row says under a name.
func column(rows []map[string]any, name string) (out []string) {
	for _, r := range rows {
		out = append(out, fmt.Sprint(r[name]))
	}
	return out
}

const manager = `{"name":"Console","plan":"enterprise","permissions":["customers:read","api_keys:*"]}`

func TestASessionDoesWhatItsKeyMayAndNoMore(t *testing.T) {
	w := shared(t)
	root := w.account(t)
	k := w.create(t, root, `{"name":"Console","environment":"staging","permissions":["customers:read","api_keys:*"],"customers":["cus_1"]}`)
	header := func(key string) http.Header { return xAPIKey(key) }
	made := w.call(t, "POST", "/staging/v1/sessions", header(k.key), "{}")
	if made.status != http.StatusCreated {
		t.Fatalf("making a session = %s, want 201", made)
	}
	s := w.issued(t, made)
	for range 2 { // the second time by the cached policy
		for _, c := range []struct {
			method, path, body, code string
			status                   int
		}{
			{"GET", "/staging/v1/permissions", "", "", 200},
			{"GET", "/staging/v1/customers", "", "insufficient_scope", 403}, // its key may, but that is no management
			{"GET", "/staging/v1/workspaces", "", "unauthorized", 401},      // wants another header
			{"GET", "/staging/v1/licenses", "", "insufficient_scope", 403},
			{"GET", "/v1/permissions", "", "unauthorized", 401}, // production
			{"GET", "/staging/v1/api-keys", "", "", 200},
			{"GET", "/staging/v1/api-keys/self", "", "", 200},
			{"POST", "/staging/v1/api-keys", `{"name":"Child","permissions":["licenses:manage"]}`, "permission_escalation", 403},
			{"POST", "/staging/v1/api-keys", `{"name":"Child","permissions":["customers:read"],"customers":["cus_2"]}`, "permission_escalation", 403},
			{"POST", "/staging/v1/api-keys", `{"name":"Child","environment":"production","permissions":["customers:read"]}`, "permission_escalation", 403},
			{"POST", "/staging/v1/sessions", "", "permission_escalation", 403},
			{"PATCH", "/staging/v1/api-keys/" + s.id, `{"permissions":["*"]}`, "not_found", 404},
			{"POST", "/staging/v1/api-keys/" + s.id + "/regenerate", "", "not_found", 404},
		} {
			a := w.call(t, c.method, c.path, header(s.key), c.body)
			if a.status != c.status || a.code() != c.code {
				t.Errorf("%s %s = %s, want %d %s", c.method, c.path, a, c.status, c.code)
			}
		}
	}
	child := w.issued(t, w.change(t, s.key, "POST", "/staging/v1/api-keys", `{"name":"Child","permissions":["customers:read"]}`))
	if by := w.change(t, root, "GET", "/v1/api-keys/"+child.id, "").data(t)["createdBy"]; by != k.id {
		t.Errorf("made by a session: createdBy %v, want its key's %s", by, k.id)
	}
	rows := w.call(t, "GET", "/v1/sessions", xAPIKey(root), "").list(t)
	if got := column(rows, "keyId"); !slices.Equal(got, []string{s.id}) || rows[0]["keyName"] != "Console" || rows[0]["lastUsed"] == nil {
		t.Errorf("sessions = %v", rows)
	}
	// Signed out, it is an unknown key on its very next request.
	a := w.call(t, "DELETE", "/staging/v1/sessions/self", header(s.key), "")
	if a.status != http.StatusOK || a.data(t)["keyId"] != s.id {
		t.Fatalf("signing out = %s, want 200", a)
	}
	for range 2 {
		a = w.call(t, "GET", "/staging/v1/permissions", header(s.key), "")
		if !w.policyWasCached(t, a) {
			t.Error("the request after signing out was not decided by a cached policy, so it shows nothing")
		}
		a.mustRefuse(t, http.StatusUnauthorized, "unauthorized")
	}
	if a := w.call(t, "GET", "/staging/v1/customers", header(k.key), ""); a.status != http.StatusOK {
		t.Errorf("its key, after signing out = %s, want 200", a)
	}
	if rows := w.call(t, "GET", "/v1/sessions", xAPIKey(root), "").list(t); len(rows) != 0 {
		t.Errorf("left: %v", rows)
	}
}

func TestWhoLacksThePermissionsHasNoSessionsAndEndsNone(t *testing.T) {
	w := shared(t)
	plain := w.create(t, w.root, `{"name":"Plain","permissions":["customers:read"]}`)
	reader := w.create(t, w.root, `{"name":"Reader","permissions":["api_keys:read"]}`)
	s := w.session(t, w.root)
	for _, c := range []struct{ method, path, by string }{
		{"POST", "/v1/sessions", plain.key}, {"GET", "/v1/sessions", plain.key}, {"GET", "/v1/audit-events", plain.key},
		{"GET", "/v1/account", plain.key}, {"GET", "/v1/api-keys/customers", plain.key}, {"DELETE", "/v1/sessions/" + s.id, reader.key},
	} {
		a := w.call(t, c.method, c.path, xAPIKey(c.by), "")
		a.mustRefuse(t, http.StatusForbidden, "insufficient_scope")
	}
	w.change(t, plain.key, "GET", "/v1/routes", "")
	a := w.call(t, "DELETE", "/v1/sessions/self", xAPIKey(plain.key), "") // no session
	a.mustRefuse(t, http.StatusNotFound, "not_found")
	foreign := w.call(t, "DELETE", "/v1/sessions/"+s.id, xAPIKey(w.account(t)), "")
	foreign.mustRefuse(t, http.StatusNotFound, "not_found")
	w.change(t, s.key, "GET", "/v1/api-keys/self", "")
	own := w.session(t, reader.key)
	w.change(t, own.key, "DELETE", "/v1/sessions/self", "")
	w.change(t, w.root, "DELETE", "/v1/sessions/"+s.id, "")
	gone := w.call(t, "GET", "/v1/api-keys/self", xAPIKey(s.key), "")
	gone.mustRefuse(t, http.StatusUnauthorized, "unauthorized")
}

// Whatever changes what a key may do ends its sessions before the answer goes out.
func TestASessionEndsWithAnyChangeOfItsKeyOnItsNextRequest(t *testing.T) {
	w := uncounted(t)
	const each = 5
	late := 0
	for _, how := range []struct {
		name, method, path, body string
		byItself                 bool // the session makes the change
	}{
		{"revoke", "POST", "/revoke", "", false},
		{"revoke of itself", "POST", "/revoke", "", true},
		{"regenerate", "POST", "/regenerate", "", false},
		{"regenerate with a grace", "POST", "/regenerate", `{"graceSeconds":3600}`, false},
		{"regenerate of itself", "POST", "/regenerate", "", true},
		{"narrowing", "PATCH", "", `{"permissions":["api_keys:*"]}`, false},
		{"narrowing of itself", "PATCH", "", `{"permissions":["api_keys:*"]}`, true},
		{"widening", "PATCH", "", `{"permissions":["customers:*","api_keys:*"]}`, false},
		{"another limit", "PATCH", "", `{"rateLimit":500}`, false},
		{"an expiry", "PATCH", "", `{"expirationDays":7}`, false},
		{"delete", "DELETE", "", "", false},
		{"delete of itself", "DELETE", "?force=true", "", true},
		{"the end of another's session", "SESSION", "", "", false},
	} {
		for range each {
			k := w.create(t, w.root, manager)
			s := w.session(t, k.key)
			other := w.session(t, k.key)
			for _, session := range []issued{s, s, other, other} { // until the policies are in the cache
				w.change(t, session.key, "GET", "/v1/permissions", "")
			}
			by := w.root
			if how.byItself {
				by = s.key
			}
			if how.method == "SESSION" {
				w.change(t, other.key, "DELETE", "/v1/sessions/"+s.id, "")
			} else {
				w.change(t, by, how.method, "/v1/api-keys/"+k.id+how.path, how.body)
			}
			for _, session := range []issued{s, other} {
				a := w.call(t, "GET", "/v1/permissions", xAPIKey(session.key), "")
				if !w.policyWasCached(t, a) {
					t.Errorf("%s: the next request was not decided by a cached policy, so it shows nothing", how.name)
				}
				want := http.StatusUnauthorized
				if how.method == "SESSION" && session == other {
					want = http.StatusOK
				}
				if a.status != want {
					t.Errorf("%s: the session's next request = %s, want %d", how.name, a, want)
					late++
				}
			}
		}
	}
	// What changes nothing of what the key may do leaves them.
	k := w.create(t, w.root, manager)
	s := w.session(t, k.key)
	w.change(t, w.root, "PATCH", "/v1/api-keys/"+k.id, `{"name":"Another name","owner":"ops"}`)
	w.change(t, s.key, "GET", "/v1/permissions", "")
	t.Logf("%d trials, %d late accepts", 13*each, late)
}

// A session in the middle of its work commits nothing once its key's revoke is answered.
func TestAfterItsKeysRevokeIsAnsweredASessionChangesNothing(t *testing.T) {
	w := uncounted(t)
	for round := range 6 {
		k := w.create(t, w.root, manager)
		s := w.session(t, k.key)
		prefix := w.unique("made")
		stop := make(chan struct{})
		var (
			wg   sync.WaitGroup
			mu   sync.Mutex
			late int
			over bool
		)
		for worker := range 4 {
			wg.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
					}
					mu.Lock()
					after := over
					mu.Unlock()
					a, err := w.try("POST", "/v1/api-keys", xAPIKey(s.key), fmt.Sprintf(`{"name":"%s-%d-%d","permissions":["customers:read"]}`, prefix, worker, i))
					if err == nil {
						w.issuedQuietly(a)
					}
					if err == nil && a.status == http.StatusCreated && after { // sent after the answer
						mu.Lock()
						late++
						mu.Unlock()
					}
				}
			})
		}
		time.Sleep(50 * time.Millisecond)
		w.change(t, w.root, "POST", "/v1/api-keys/"+k.id+"/revoke", "")
		mu.Lock()
		over = true
		mu.Unlock()
		// Whatever of it is there at all is there now.
		before := len(w.call(t, "GET", "/v1/api-keys?search="+prefix, xAPIKey(w.root), "").list(t))
		time.Sleep(100 * time.Millisecond)
		close(stop)
		wg.Wait()
		if after := len(w.call(t, "GET", "/v1/api-keys?search="+prefix, xAPIKey(w.root), "").list(t)); after != before || late > 0 {
			t.Errorf("round %d: %d keys at the revoke's answer, %d later, %d of them asked for after it", round, before, after, late)
		}
	}
}

// Old secrets after a rotation have until their grace ends, unless somebody ends it.
func TestEndGraceStopsTheOldSecretOnItsNextRequest(t *testing.T) {
	w := shared(t)
	for range 10 {
		k := w.create(t, w.root, `{"name":"Rotated","permissions":["customers:read"]}`)
		next := w.issued(t, w.change(t, w.root, "POST", "/v1/api-keys/"+k.id+"/regenerate", `{"graceSeconds":3600}`))
		for range 2 {
			w.change(t, k.key, "GET", "/v1/customers", "")
			w.change(t, next.key, "GET", "/v1/customers", "")
		}
		a := w.change(t, w.root, "PATCH", "/v1/api-keys/"+k.id, `{"endGrace":true}`)
		if !strings.Contains(string(a.body), `"guarded":"now"`) || a.data(t)["previousSecretUntil"] != nil {
			t.Error("the answer does not say that the grace is over, and from when on")
		}
		old := w.call(t, "GET", "/v1/customers", xAPIKey(k.key), "")
		if !w.policyWasCached(t, old) {
			t.Error("the request after endGrace was not decided by a cached policy, so it shows nothing")
		}
		old.mustRefuse(t, http.StatusUnauthorized, "unauthorized")
		w.change(t, next.key, "GET", "/v1/customers", "")
	}
}

// What a session does is in the log under its key's name, and in no key's row of counts.
func TestASessionsRequestsAreInTheLogAndInNoKeysCounts(t *testing.T) {
	w := shared(t)
	root := w.account(t)
	k := w.create(t, root, manager)
	s := w.session(t, k.key)
	for range 3 {
		w.change(t, s.key, "GET", "/v1/permissions", "")
	}
	w.change(t, k.key, "GET", "/v1/permissions", "")
	w.change(t, s.key, "DELETE", "/v1/sessions/self", "")
	w.change(t, root, "PATCH", "/v1/api-keys/"+k.id, `{"name":"Renamed"}`)
	w.drain(t)
	// As if its item had been dropped, which happens from its expiry on.
	w.db.drop(t, w.Config.KeysTable, "K#"+strings.TrimPrefix(s.id, "key_"), "K")
	rows := w.call(t, "GET", "/v1/logs?route=/v1/permissions", xAPIKey(root), "").list(t)
	names := column(rows, "keyName")
	slices.Sort(names)
	if want := []string{"Renamed", "Renamed (session)", "Renamed (session)", "Renamed (session)"}; !slices.Equal(names, want) {
		t.Errorf("names in the log = %v, want %v", names, want)
	}
	for _, query := range []string{"", "?keyIds=" + k.id + "," + s.id} {
		u := w.change(t, root, "GET", "/v1/usage"+query, "").data(t)
		sum := 0.
		for _, r := range u["keys"].([]any) {
			row := r.(map[string]any)
			sum += row["requests"].(float64)
			if row["keyId"] == s.id {
				t.Error("a session has a row of counts")
			}
			if row["keyId"] == k.id && row["requests"] != 2. { // the exchange and its own request
				t.Errorf("its key has %v requests, want 2", row["requests"])
			}
		}
		if u["requests"] != sum {
			t.Errorf("%q: %v requests in all, the rows hold %v", query, u["requests"], sum)
		}
	}
}
