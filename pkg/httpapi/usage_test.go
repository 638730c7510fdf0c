package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/usage"
	"github.com/keyreeve/keyreeve/pkg/usage/usagetest"
)

// did notes what a key did: requests of one status class and permission, ago.
func (w *world) did(c client, ago time.Duration, class int, requests int64, permission string) {
	w.t.Helper()
	k, err := w.store.Key(w.t.Context(), c.key.ID())
	if err != nil {
		w.t.Fatal(err)
	}
	at := w.clock().Add(-ago)
	n := usage.Count{AccountID: k.AccountID, KeyID: k.ID, Day: usage.DayOf(at), Permissions: map[string]int64{permission: requests}}
	h := &n.Hours[at.Hour()]
	h.Requests, h.Status[class] = requests, requests
	h.Generations = map[int64]int64{1: requests}
	w.batches++
	err = w.usage.Count(w.t.Context(), usage.Batch(strconv.Itoa(w.batches)), []usage.Count{n},
		map[apikey.ID]usage.Totals{k.ID: {Requests: requests, Admitted: requests}})
	if err != nil {
		w.t.Fatal(err)
	}
}

// profile notes when a key's permissions were used.
func (w *world) profile(c client, used map[string]time.Duration) {
	w.t.Helper()
	k, err := w.store.Key(w.t.Context(), c.key.ID())
	if err != nil {
		w.t.Fatal(err)
	}
	p := usage.Profile{KeyID: k.ID, AccountID: k.AccountID, Permissions: map[string]time.Time{}, Generations: map[int64]time.Time{1: w.clock()}}
	for name, ago := range used {
		at := w.clock().Add(-ago)
		p.Permissions[name] = at
		if p.First.IsZero() || at.Before(p.First) {
			p.First = at
		}
		if at.After(p.LastUsed) {
			p.LastUsed = at
		}
	}
	if err := w.usage.SaveProfile(w.t.Context(), p); err != nil {
		w.t.Fatal(err)
	}
}

// path is a path of the key's.
func (c client) path(rest string) string { return "/v1/api-keys/" + keyID(c.key.ID()) + rest }

// names are the keys that stand in a golden answer by name.
type names map[string]client

// golden compares an answer with JSON in which key ids are written as names.
func golden(t *testing.T, what string, a answer, want string, names names) {
	t.Helper()
	for name, c := range names {
		want = strings.ReplaceAll(want, `"`+name+`"`, `"`+keyID(c.key.ID())+`"`)
	}
	var w any
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(w, any(a.want(http.StatusOK).object())); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func TestAKeysUsageIsShownHourByHour(t *testing.T) {
	w := newWorld(t, "{}")
	_, k := w.root.create(`{"name":"a"}`)
	w.did(k, 0, 2, 5, "customers:read")
	w.did(k, 2*time.Hour, 4, 3, "customers:write")
	w.did(k, 9*time.Hour, 2, 100, "customers:read") // before the range, on the same day
	w.profile(k, map[string]time.Duration{"customers:read": time.Minute})
	for range 110 {
		if err := w.store.Use(t.Context(), k.key.ID(), w.clock().Add(-2*time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	got := w.root.do("GET", k.path("/usage?from=2026-01-15T08:00:00Z"), "")
	golden(t, "usage", got, `{"success":true,"data":{
		"keyId":"K","requests":8,"status":{"1xx":0,"2xx":5,"3xx":0,"4xx":3,"5xx":0},
		"buckets":[
			{"start":"2026-01-15T08:00:00.000Z","requests":3,"status":{"1xx":0,"2xx":0,"3xx":0,"4xx":3,"5xx":0},"generations":[{"generation":1,"requests":3}]},
			{"start":"2026-01-15T09:00:00.000Z","requests":0,"status":{"1xx":0,"2xx":0,"3xx":0,"4xx":0,"5xx":0},"generations":[]},
			{"start":"2026-01-15T10:00:00.000Z","requests":5,"status":{"1xx":0,"2xx":5,"3xx":0,"4xx":0,"5xx":0},"generations":[{"generation":1,"requests":5}]}],
		"permissions":[
			{"permission":"customers:read","requests":105,"lastUsed":"2026-01-15T10:29:00.000Z"},
			{"permission":"customers:write","requests":3,"lastUsed":null}],
		"permissionsFrom":"2026-01-15T00:00:00.000Z","permissionsTo":"2026-01-16T00:00:00.000Z",
		"secrets":[{"generation":1,"requests":8,"lastUsed":"2026-01-15T10:30:00.000Z","live":true,"until":null}],
		"firstUsed":"2026-01-15T10:29:00.000Z","lastUsed":"2026-01-15T10:29:00.000Z","lastRefused":null,
		"drift":{"counted":108,"guard":110,"difference":2}},
		"meta":{"from":"2026-01-15T08:00:00.000Z","to":"2026-01-15T11:00:00.000Z","granularity":"hour"}}`, names{"K": k})
	// What the answer says of its range asks for the same again.
	if again := w.root.do("GET", k.path("/usage?from=2026-01-15T08:00:00.000Z&to=2026-01-15T11:00:00.000Z&granularity=hour"), ""); again.Body.String() != got.Body.String() {
		t.Errorf("asked with what its meta says, the answer is another:\n%s", again.Body)
	}
	days := w.root.do("GET", k.path("/usage?granularity=day"), "").want(200)
	if n := len(days.data()["buckets"].([]any)); n != 30 || days.data()["requests"] != 108.0 {
		t.Errorf("%d days with %v requests, want 30 with 108", n, days.data()["requests"])
	}
	sheet := w.root.do("GET", k.path("/usage?from=2026-01-15T08:00:00Z&format=csv"), "").want(200)
	want := strings.Join([]string{
		`"start","requests","1xx","2xx","3xx","4xx","5xx"`, `"2026-01-15T08:00:00.000Z",3,0,0,0,3,0`,
		`"2026-01-15T09:00:00.000Z",0,0,0,0,0,0`, `"2026-01-15T10:00:00.000Z",5,0,5,0,0,0`, ``}, "\r\n")
	if got := sheet.Body.String(); got != want {
		t.Errorf("sheet\n%s\nwant\n%s", got, want)
	}
	if got, want := sheet.Header().Get("Content-Disposition"), `attachment; filename="usage-`+keyID(k.key.ID())+`.csv"`; got != want {
		t.Errorf("Content-Disposition %q, want %q", got, want)
	}
}

func TestADeletedKeysUsageStays(t *testing.T) {
	w := newWorld(t, "{}")
	_, k := w.root.create(`{"name":"a"}`)
	w.did(k, 0, 2, 5, "")
	w.root.do("DELETE", k.path(""), "").want(200)
	w.root.do("GET", k.path(""), "").refused(404, "not_found")
	if n := w.root.do("GET", k.path("/usage"), "").want(200).data()["requests"]; n != 5.0 {
		t.Errorf("%v requests, want 5", n)
	}
	if rows := w.root.do("GET", "/v1/usage", "").want(200).data()["keys"].([]any); len(rows) != 2 {
		t.Errorf("%d rows, want the root key's and the deleted one's", len(rows))
	}
}

func TestTheUsageOfNamedKeysIsOfThemAlone(t *testing.T) {
	w := newWorld(t, "{}")
	_, staging := w.root.create(`{"name":"a","environment":"staging","permissions":["api_keys:read"]}`)
	_, other := w.root.create(`{"name":"b"}`)
	_, gone := w.root.create(`{"name":"c"}`)
	_, session := w.root.session()
	stranger := w.stranger()
	for i, c := range []client{w.root, staging, other, gone, session, stranger} {
		w.did(c, 0, 2, int64(1)<<i, "")
	}
	w.root.do("DELETE", gone.path(""), "").want(200)
	id := func(list ...client) string {
		var ids []string
		for _, c := range list {
			ids = append(ids, keyID(c.key.ID()))
		}
		return strings.Join(ids, ",")
	}
	calls := map[string]int{}
	w.usage.OnCall(func(_ context.Context, c usagetest.Call) error {
		if !c.Done {
			calls[c.Op]++
		}
		return nil
	})
	for _, c := range []struct {
		what, ids, rows string
		caller          client
		requests        float64
	}{
		{"two", id(other, w.root), id(w.root, other), w.root, 5},
		{"one twice", id(other, other), id(other), w.root, 4},
		{"a deleted one", id(gone), id(gone), w.root, 8},
		{"a session", id(session, w.root), id(w.root), w.root, 1},
		{"one that nobody has", "key_00000000," + id(staging), id(staging), w.root, 2},
		{"another account's", id(stranger), "", w.root, 0},
		{"another environment's", id(w.root, staging), id(staging), staging, 2},
	} {
		d := c.caller.do("GET", "/v1/usage?keyIds="+c.ids, "").want(200).data()
		var rows []string
		sum := 0.0
		for _, r := range d["keys"].([]any) {
			rows = append(rows, r.(map[string]any)["keyId"].(string))
			sum += r.(map[string]any)["requests"].(float64)
		}
		if strings.Join(rows, ",") != c.rows || d["requests"] != c.requests || sum != c.requests {
			t.Errorf("%s: rows %v with %v requests in all and %v in sum, want %s with %v", c.what, rows, d["requests"], sum, c.rows, c.requests)
		}
	}
	if calls["AccountDays"] != 0 || calls["Days"] != 7 {
		t.Errorf("calls of the store: %v, want none that scans the account", calls)
	}
	// Of all keys too, a session's requests are in no row and in no sum.
	if d := w.root.do("GET", "/v1/usage", "").want(200).data(); d["requests"] != 15.0 || len(d["keys"].([]any)) != 4 {
		t.Errorf("in all %v requests of %d keys, want 15 of 4", d["requests"], len(d["keys"].([]any)))
	}
	many := strings.Repeat(","+id(other), 100)[1:]
	w.root.do("GET", "/v1/usage?keyIds="+many, "").want(200)
	for _, bad := range []string{many + "," + id(other), "", id(other) + ",", "key_x", "*"} {
		if f := w.root.do("GET", "/v1/usage?keyIds="+bad, "").refused(400, "validation_failed"); f.Fields[0].Field != "keyIds" {
			t.Errorf("%.30s: fields %v", bad, f.Fields)
		}
	}
	if csv := w.root.do("GET", "/v1/usage?format=csv&keyIds="+id(other), "").want(200).Body.String(); strings.Count(csv, "\r\n") != 2 {
		t.Errorf("a sheet of one key:\n%s", csv)
	}
}

func TestAnAccountsUsageIsOneRowForEachVisibleKey(t *testing.T) {
	w := newWorld(t, "{}")
	_, staging := w.root.create(`{"name":"a","environment":"staging","permissions":["api_keys:read"]}`)
	stranger := w.stranger()
	w.did(w.root, time.Hour, 2, 40, "")
	w.did(staging, 0, 2, 3, "")
	w.did(stranger, 0, 2, 900, "")
	const query = "/v1/usage?from=2026-01-15T09:00:00Z"
	const meta = `"meta":{"from":"2026-01-15T09:00:00.000Z","to":"2026-01-15T11:00:00.000Z","granularity":"hour"}}`
	const starts = `"starts":["2026-01-15T09:00:00.000Z","2026-01-15T10:00:00.000Z"],`
	names := names{"ROOT": w.root, "STAGING": staging, "STRANGER": stranger}
	golden(t, "root", w.root.do("GET", query, ""), `{"success":true,"data":{`+starts+`"requests":43,"buckets":[40,3],"keys":[
		{"keyId":"ROOT","keyName":"Root key","requests":40,"buckets":[40,0]},{"keyId":"STAGING","keyName":"a","requests":3,"buckets":[0,3]}]},`+meta, names)
	golden(t, "staging", staging.do("GET", query, ""), `{"success":true,"data":{`+starts+`"requests":3,"buckets":[0,3],"keys":[
		{"keyId":"STAGING","keyName":"a","requests":3,"buckets":[0,3]}]},`+meta, names)
	golden(t, "stranger", stranger.do("GET", query, ""), `{"success":true,"data":{`+starts+`"requests":900,"buckets":[0,900],"keys":[
		{"keyId":"STRANGER","keyName":"Root key","requests":900,"buckets":[0,900]}]},`+meta, names)
}

// A Lambda function may answer with 6 MB, of which what makes the body a JSON string is a
// part (https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html). The
// largest range and the largest plan need no more than two thirds of it.
func TestAnAccountsUsageFitsIntoALambdaAnswer(t *testing.T) {
	const most = 4 << 20
	start := time.Date(2026, 1, 13, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		what      string
		keys      int
		name      string
		perBucket int64 // requests
	}{
		{"5,000 keys at 27 requests a second each, with the longest names", 5000, strings.Repeat("😀", 100), 99_999},
		{"10,000 keys, each at 1,000 requests a minute", 10_000, "A key with a name of usual length", 60_000},
	} {
		u := usage.AccountUsage{Range: usage.Range{From: start, To: start.Add(48 * time.Hour), Granularity: usage.Hourly}, Buckets: make([]int64, 48)}
		starts := u.Range.Starts()
		for range c.keys {
			row := usage.KeyRow{Key: keys.Key{ID: apikey.NewID(), Name: c.name, Environment: keys.Development}, Requests: 48 * c.perBucket}
			for range starts {
				row.Buckets = append(row.Buckets, c.perBucket)
			}
			u.Keys = append(u.Keys, row)
		}
		body, err := encode(ok(200, viewAccount(&u, starts), metaOf(u.Range), nil).body)
		if err != nil {
			t.Fatal(err)
		}
		for form, size := range map[string]int{
			"JSON": lambdaSize(t, body),
			"CSV":  lambdaSize(t, accountSheet(&u, starts).download("x", nil).body.([]byte)),
		} {
			t.Logf("%s: %s %.2f MB", c.what, form, float64(size)/(1<<20))
			if size > most || size < len(starts)*c.keys {
				t.Errorf("%s: %s of %d bytes, want at most %d, and all the numbers", c.what, form, size, most)
			}
		}
	}
}

// lambdaSize is how large a body is in the answer of a function.
func lambdaSize(t *testing.T, body []byte) int {
	t.Helper()
	text, err := json.Marshal(map[string]string{"body": string(body)})
	if err != nil {
		t.Fatal(err)
	}
	return len(text)
}

func TestRangesAreStrictAndSayTheirBounds(t *testing.T) {
	w := newWorld(t, "{}")
	key, account := w.root.path("/usage"), "/v1/usage"
	log, all := w.root.path("/requests"), "/v1/logs"
	for _, c := range []struct{ path, query, code, field, message string }{
		{key, "from=2025-12-15T11:00:00Z", "", "", ""},
		{key, "from=2025-12-15T10:59:59Z", "validation_failed", "from", "must be at most 744 hours before to"},
		{key, "from=2024-12-12T00:00:00Z&granularity=day", "", "", ""},
		{key, "from=2024-12-11T23:59:59Z&granularity=day", "validation_failed", "from", "must be at most 399 days ago: older counts are not kept"},
		{key, "from=2026-01-15T11:00:00Z", "validation_failed", "from", "must be before to, and not in the future"},
		{key, "from=2026-01-15T10:00:00Z&to=2026-01-15T09:00:00Z", "validation_failed", "from", "must be before to, and not in the future"},
		{key, "granularity=week", "validation_failed", "granularity", "must be one of those documented"},
		{key, "limit=5", "unknown_parameter", "limit", "is not a parameter of this request"},
		{account, "from=2026-01-13T11:00:00Z", "", "", ""},
		{account, "from=2026-01-13T10:00:00Z", "validation_failed", "from", "must be at most 48 hours before to"},
		{account, "from=2025-12-15T00:00:00Z&granularity=day&format=csv", "validation_failed", "from", "must be at most 31 days before to"},
		{account, "format=xlsx", "validation_failed", "format", "must be one of those documented"},
		{log, "from=2025-12-15T10:30:00Z", "", "", ""},
		{log, "from=2025-12-15T10:29:59Z", "validation_failed", "from", "must be at most 31 days ago: requests are kept for 30 days"},
		{all, "from=2026-01-15T10:00:00Z&to=2026-01-15T10:00:00Z", "validation_failed", "from", "must be before to"},
		{log, "keyId=" + keyID(w.root.key.ID()), "unknown_parameter", "keyId", "is not a parameter of this request"},
		{all, "keyId=" + string(w.root.key.ID()), "validation_failed", "keyId", "must be the keyId of a key, such as key_8fQ2mZ0a"},
		{all, "keyId=" + keyID(w.root.key.ID()) + "%0A", "validation_failed", "keyId", "must be the keyId of a key, such as key_8fQ2mZ0a"},
		{all, "keyId=key_00000000", "not_found", "", ""},
		{all, "status=404", "", "", ""}, {all, "status=4xx", "", "", ""},
		{all, "status=4XX", "validation_failed", "status", "must be a status such as 404, or a class such as 4xx"},
		{all, "status=600", "validation_failed", "status", "must be a status such as 404, or a class such as 4xx"},
		{all, "status=40", "validation_failed", "status", "must be a status such as 404, or a class such as 4xx"},
		{all, "status=4xx&status=404", "validation_failed", "status", "is given more than once"},
		{all, "route=/v1/customers/%7BcustomerId%7D", "", "", ""},
		{all, "route=/v1/customers/cus_1", "validation_failed", "route", "must be the path of a route of this API"},
		{all, "method=OPTIONS", "validation_failed", "method", "must be one of those documented"},
		{all, "refused=1", "validation_failed", "refused", "must be true or false"},
		{all, "limit=0", "validation_failed", "limit", "must be a whole number from 1 to 1000"},
		{all, "limit=1001", "validation_failed", "limit", "must be a whole number from 1 to 1000"},
		{all, "cursor=AAAA", "invalid_cursor", "", ""},
		{all, "environment=shared", "validation_failed", "environment", "must be one of those documented"},
	} {
		a := w.root.do("GET", c.path+"?"+c.query, "")
		if c.code == "" {
			a.want(200)
			continue
		}
		var f failure
		if err := json.Unmarshal(a.Body.Bytes(), &f); err != nil || f.Error.Code != c.code || a.Code != map[bool]int{true: 404, false: 400}[c.code == "not_found"] {
			t.Errorf("%s?%s: %d %s, want %s", c.path, c.query, a.Code, a.Body, c.code)
			continue
		}
		var want []FieldProblem
		if c.field != "" {
			want = []FieldProblem{{c.field, c.message}}
		}
		if d := cmp.Diff(want, f.Error.Fields); d != "" {
			t.Errorf("%s?%s (-want +got):\n%s", c.path, c.query, d)
		}
	}
}

func TestTimesAreUTCAndISO8601(t *testing.T) {
	w := newWorld(t, "{}")
	for text, good := range map[string]bool{
		"2026-01-15T10:00:00Z": true, "2026-01-15T10:00:00.000Z": true, "2026-01-15T10:00:00.123456789Z": true,
		"2026-01-15": false, "2026-01-15T10:00Z": false, "2026-01-15%2010:00:00Z": false, "2026-01-15T10:00:00": false,
		"2026-01-15T10:00:00%2B00:00": false, "2026-01-15T10:00:00%2B01:00": false, "2026-01-15t10:00:00z": false,
		"2026-02-30T10:00:00Z": false, "2026-01-15T24:00:00Z": false, "2026-01-15T10:00:60Z": false, "2026-01-15T10:00:00,5Z": false,
		"1768471200": false, "now": false, "": false, "2026-01-15T10:00:00.Z": false, "2026-01-15T10:00:00Z%00": false,
	} {
		a := w.root.do("GET", "/v1/usage?from="+text, "")
		if good {
			a.want(200)
			continue
		}
		f := a.refused(400, "validation_failed")
		if d := cmp.Diff([]FieldProblem{{"from", "must be a time in UTC such as 2026-11-22T10:00:00Z"}}, f.Fields); d != "" {
			t.Errorf("from=%s (-want +got):\n%s", text, d)
		}
	}
}

// What is another account's, or of an environment that the caller does not see, answers
// with the same bytes as what is not there at all.
func TestWhatACallerDoesNotSeeAnswersAsAbsent(t *testing.T) {
	w := newWorld(t, "{}")
	_, production := w.root.create(`{"name":"a","permissions":["customers:read"]}`)
	_, staging := w.root.create(`{"name":"a","environment":"staging","permissions":["api_keys:*"]}`)
	stranger := w.stranger()
	w.did(production, 0, 2, 5, "")
	for _, rest := range []string{"/usage", "/usage?format=csv", "/usage?from=2001-01-01T00:00:00Z", "/requests", "/requests?format=csv", "/advice"} {
		absent := client{w, newKeyOf(t)}
		want := staging.do("GET", absent.path(rest), "").want(404)
		for _, of := range []client{production, stranger} {
			got := staging.do("GET", of.path(rest), "")
			if got.Code != want.Code || got.Body.String() != want.Body.String() || !cmp.Equal(got.Header(), want.Header()) {
				t.Errorf("%s: %d %s\nwant %d %s", rest, got.Code, got.Body, want.Code, want.Body)
			}
		}
		if got := stranger.do("GET", production.path(rest), ""); got.Body.String() != want.Body.String() {
			t.Errorf("%s by a stranger: %d %s", rest, got.Code, got.Body)
		}
	}
	want := staging.do("GET", "/v1/logs?keyId=key_00000000", "").want(404).Body.String()
	for _, of := range []client{production, stranger} {
		if got := staging.do("GET", "/v1/logs?keyId="+keyID(of.key.ID()), ""); got.Body.String() != want {
			t.Errorf("logs of a hidden key: %d %s", got.Code, got.Body)
		}
	}
}

// newKeyOf is a key that no store knows.
func newKeyOf(t *testing.T) apikey.Key {
	t.Helper()
	k, err := apikey.Generate("kr_live", apikey.NewID())
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestAdviceIsAppliedByItsOwnPatch(t *testing.T) {
	w := newWorld(t, "{}")
	_, k := w.root.create(`{"name":"a","permissions":["customers:*","invoices:read","licenses:manage"]}`)
	w.advance(100 * 24 * time.Hour) // to 2026-04-25
	w.profile(k, map[string]time.Duration{"customers:read": time.Hour, "invoices:read": 95 * 24 * time.Hour})
	advice := w.root.do("GET", k.path("/advice"), "")
	golden(t, "advice", advice, `{"success":true,"data":{
		"keyId":"K","recommendations":["narrow","rotate"],"conclusive":true,"observedSince":"2026-01-20T10:30:00.000Z",
		"keyUpdatedAt":"2026-01-15T10:30:00.000Z",
		"permissions":[
			{"permission":"customers:*","lastUsed":"2026-04-25T09:30:00.000Z","used":[{"permission":"customers:read","lastUsed":"2026-04-25T09:30:00.000Z"}]},
			{"permission":"invoices:read","lastUsed":"2026-01-20T10:30:00.000Z","used":[{"permission":"invoices:read","lastUsed":"2026-01-20T10:30:00.000Z"}]},
			{"permission":"licenses:manage","lastUsed":null,"used":[]}],
		"patch":{"permissions":["customers:read","invoices:read"]},
		"lastUsed":"2026-04-25T09:30:00.000Z","unused":false,"secretSince":"2026-01-15T10:30:00.000Z","rotationDue":true}}`, names{"K": k})
	var body struct {
		Data struct{ Patch json.RawMessage }
	}
	if err := json.Unmarshal(advice.Body.Bytes(), &body); err != nil {
		t.Fatal(err)
	}
	changed := w.root.do("PATCH", k.path(""), string(body.Data.Patch)).want(200).data()
	if d := cmp.Diff([]any{"customers:read", "invoices:read"}, changed["permissions"]); d != "" {
		t.Errorf("after the patch (-want +got):\n%s", d)
	}
	after := w.root.do("GET", k.path("/advice"), "").want(200).data()
	if _, ok := after["patch"]; ok || fmt.Sprint(after["recommendations"]) != "[rotate]" {
		t.Errorf("after the patch: %v, patch %v", after["recommendations"], after["patch"])
	}
}

func TestAKeyThatWasNeverUsedIsToBeRevoked(t *testing.T) {
	w := newWorld(t, "{}")
	_, k := w.root.create(`{"name":"a","permissions":["customers:*"]}`)
	w.advance(90 * 24 * time.Hour)
	d := w.root.do("GET", k.path("/advice"), "").want(200).data()
	if _, ok := d["patch"]; ok || fmt.Sprint(d["recommendations"]) != "[revoke]" || d["unused"] != true || d["conclusive"] != true || d["lastUsed"] != nil {
		t.Errorf("advice: %v", d)
	}
}
