package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// Every function is killed in turn while keys are used and changed. What was answered must
// hold: what was not answered may have happened or not, and is repeated until it is
// answered. Times are the client's, so a request came somewhere between when it was sent
// and when its answer was there, and only what is certain by that is judged.

const (
	underFire     = 8 * time.Second  // of load and kills
	atMost        = 12 * time.Second // if a machine that is busy with other tests makes few kills in that
	killsInAll    = 25
	killsOfEach   = 2
	changesOfEach = 8
	narrowLimit   = 100
	killUsers     = 3  // goroutines that use keys
	killHammers   = 2  // goroutines that use the busy one
	largestLease  = 64 // requests, see pkg/guard/lease.go
	killOwners    = 3  // goroutines that change keys
	keysOfOwner   = 3
	longestRetry  = 30
)

// mortal are the functions that are killed.
var mortal = []string{"authorizer", "keys", "sample", "stream", "usage", "notify"}

// span is a time during which something was certain. No end: it still is.
type span struct{ from, to time.Time }

// holds reports whether from to to is wholly within the span.
func (s span) holds(from, to time.Time) bool {
	return from.After(s.from) && (s.to.IsZero() || to.Before(s.to))
}

// credential is one secret of a key.
type credential struct {
	key  string
	good span // from the answer that showed it, to when its replacement was asked for
	bad  span // from the answer that replaced it; without a beginning: it was not replaced
}

// use is one request with a key.
type use struct {
	secret         int // index of the credential; below 0: none of the key's
	sent, answered time.Time
	answer
}

// veteran is a key that lives through it.
type veteran struct {
	id, name string

	mu      sync.Mutex
	secrets []credential
	on, off []span // it was certainly active; certainly not
	uses    []use
}

func (v *veteran) note(u use) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.uses = append(v.uses, u)
}

// late says why an answer of success is one too late; "": it is not.
func (v *veteran) late(u use) string {
	switch {
	case u.secret < 0:
		return "with a wrong secret"
	case slices.ContainsFunc(v.off, func(s span) bool { return s.holds(u.sent, u.answered) }):
		return "after the key was revoked"
	case !v.secrets[u.secret].bad.from.IsZero() && v.secrets[u.secret].bad.holds(u.sent, u.answered):
		return "after the secret was replaced"
	}
	return ""
}

// valid reports whether the key and the secret were certainly good for all of a request.
func (v *veteran) valid(u use) bool {
	return u.secret >= 0 && v.secrets[u.secret].good.holds(u.sent, u.answered) &&
		slices.ContainsFunc(v.on, func(s span) bool { return s.holds(u.sent, u.answered) })
}

// battle is the load.
type battle struct {
	w   *world
	end time.Time

	mu                   sync.Mutex
	all                  []*veteran // that were acknowledged, managers included
	tried                map[string]bool
	canaries             int
	errs                 []error
	revokes, regenerates int // that were answered
	slow                 int // answers by which the store was too slow
	died                 map[string]int
}

func (b *battle) fail(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.errs = append(b.errs, fmt.Errorf(format, args...))
}

// request sends one request, and judges its status where that tells of a dead process.
func (b *battle) request(method, path string, header http.Header, body string) (a answer, sent, answered time.Time, ok bool) {
	sent = time.Now()
	a, err := b.w.try(method, path, header, body)
	answered = time.Now()
	if err != nil {
		b.fail("a request failed: %v", err)
		return a, sent, answered, false
	}
	b.w.issuedQuietly(a)
	b.w.mu.Lock()
	e := b.w.entries[a.header.Get("X-Amzn-Requestid")]
	b.w.mu.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case a.status == http.StatusBadGateway && e.Error == "function: Runtime.ExitError",
		a.status == http.StatusInternalServerError && e.Error == "authorizer: Runtime.ExitError":
		b.died[e.Error]++
	case a.overloaded() || a.code() == "not_settled":
		b.slow++
	case a.status >= 500:
		b.errs = append(b.errs, fmt.Errorf("%s %s = %s (%q): neither a dead process nor a slow store", method, e.ResourcePath, a, e.Error))
	}
	return a, sent, answered, true
}

// insist repeats a change of a key by its manager until it is answered, as a client does
// that does not know what became of it. sent is when it was asked for first.
func (b *battle) insist(by *veteran, method, path, idempotency, body string) (a answer, sent, answered time.Time, ok bool) {
	header := xAPIKey(by.secrets[0].key)
	if idempotency != "" {
		header.Set("Idempotency-Key", idempotency)
	}
	sent = time.Now()
	for range longestRetry {
		var begun time.Time
		if a, begun, answered, ok = b.request(method, path, header, body); !ok {
			return a, sent, answered, false
		}
		by.note(use{0, begun, answered, a})
		switch {
		case a.status < 300:
			return a, sent, answered, true
		case a.status < 500 && a.status != http.StatusConflict: // the first try may still be under way
			b.fail("%s %s = %s", method, path, a)
			return a, sent, answered, false
		}
		time.Sleep(rand.N(20 * time.Millisecond))
	}
	b.fail("%s %s: no answer in %d tries, the last: %s", method, path, longestRetry, a)
	return a, sent, answered, false
}

// use sends a request to a guarded route; secret is the index of one of the key's.
func (b *battle) use(v *veteran, secret int) (answer, bool) {
	v.mu.Lock()
	key := forged(v.id)
	if secret >= 0 {
		key = v.secrets[secret].key
	}
	v.mu.Unlock()
	a, sent, answered, ok := b.request("GET", "/v1/customers", xAPIKey(key), "")
	if ok {
		v.note(use{secret, sent, answered, a})
	}
	return a, ok
}

// create makes a key, whatever it takes; nil: in vain, which is noted.
func (b *battle) create(by *veteran, more string) *veteran {
	name := b.w.unique("Veteran")
	b.mu.Lock()
	b.tried[name] = true
	b.mu.Unlock()
	a, _, answered, ok := b.insist(by, "POST", "/v1/api-keys", "create-"+name, `{"name":"`+name+`",`+more+`}`)
	if !ok {
		return nil
	}
	var made struct {
		Data struct{ KeyID, APIKey string }
	}
	if err := json.Unmarshal(a.body, &made); err != nil || a.status != http.StatusCreated || made.Data.APIKey == "" {
		b.fail("creating %s = %s: no key", name, a)
		return nil
	}
	v := &veteran{id: made.Data.KeyID, name: name}
	if more != canaryKey { // which is never good
		v.on = []span{{from: answered}}
	}
	v.secrets = []credential{{key: made.Data.APIKey, good: span{from: answered}}}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all = append(b.all, v)
	return v
}

// revoke, and as the next request the one that must fail.
func (b *battle) revoke(by, v *veteran) {
	v.mu.Lock()
	v.on[len(v.on)-1].to = time.Now()
	v.mu.Unlock()
	if _, _, answered, ok := b.insist(by, "POST", "/v1/api-keys/"+v.id+"/revoke", "", ""); ok {
		v.mu.Lock()
		v.off = append(v.off, span{from: answered})
		newest := len(v.secrets) - 1
		v.mu.Unlock()
		b.use(v, newest)
		b.use(v, newest)
		b.mu.Lock()
		defer b.mu.Unlock()
		b.revokes++
	}
}

// activate what revoke has switched off.
func (b *battle) activate(by, v *veteran) {
	v.mu.Lock()
	v.off[len(v.off)-1].to = time.Now()
	newest := len(v.secrets) - 1
	v.mu.Unlock()
	if _, _, answered, ok := b.insist(by, "POST", "/v1/api-keys/"+v.id+"/activate", "", ""); ok {
		v.mu.Lock()
		v.on = append(v.on, span{from: answered})
		v.mu.Unlock()
		b.use(v, newest)
	}
}

// regenerate without a grace, and try the old secret and the new one.
func (b *battle) regenerate(by, v *veteran) {
	v.mu.Lock()
	old := len(v.secrets) - 1
	v.secrets[old].good.to = time.Now()
	v.mu.Unlock()
	a, _, answered, ok := b.insist(by, "POST", "/v1/api-keys/"+v.id+"/regenerate", b.w.unique("regenerate"), "")
	if !ok {
		return
	}
	var made struct{ Data struct{ APIKey string } }
	if err := json.Unmarshal(a.body, &made); err != nil || made.Data.APIKey == "" {
		b.fail("regenerating = %s: no key", a)
		return
	}
	v.mu.Lock()
	v.secrets[old].bad.from = answered
	v.secrets = append(v.secrets, credential{key: made.Data.APIKey, good: span{from: answered}})
	v.mu.Unlock()
	b.use(v, old)
	b.use(v, old+1)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.regenerates++
}

func (b *battle) over() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return time.Now().After(b.end) || len(b.errs) > 10
}

// own changes some keys again and again, and leaves some of them revoked.
func (b *battle) own(by *veteran, mine []*veteran, rnd *rand.Rand) {
	for i := 0; !b.over(); i++ {
		switch n := rnd.IntN(10); {
		case n < 2:
			if v := b.create(by, usable); v != nil {
				mine = append(mine, v)
				b.use(v, 0)
			}
		case n < 4: // nobody has used it before: the policy is in no cache
			if v := b.create(by, canaryKey); v != nil {
				b.sing(v)
			}
		case n < 6:
			b.regenerate(by, mine[rnd.IntN(len(mine))])
		default:
			v := mine[rnd.IntN(len(mine))]
			b.revoke(by, v)
			time.Sleep(rand.N(50 * time.Millisecond))
			if n == 9 && len(mine) > keysOfOwner { // for good
				mine = slices.DeleteFunc(mine, func(m *veteran) bool { return m == v })
				continue
			}
			b.activate(by, v)
		}
	}
}

const (
	usable    = `"plan":"enterprise","rateLimit":20000,"permissions":["customers:read"]`
	busyKey   = `"plan":"enterprise","rateLimit":100000,"permissions":["customers:read"]` // see pkg/guard/lease.go
	canaryKey = `"canary":true`
)

// sing uses a canary until its authorizer has lived to say no, which raises an alert.
func (b *battle) sing(v *veteran) {
	for range longestRetry {
		a, ok := b.use(v, 0)
		if !ok {
			return
		}
		if a.status == http.StatusUnauthorized {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.canaries++
			return
		}
	}
	b.fail("a canary was not answered")
}

// spend uses any key, with the newest secret more often than not.
func (b *battle) spend(rnd *rand.Rand) {
	for !b.over() {
		b.mu.Lock()
		v := b.all[rnd.IntN(len(b.all))]
		b.mu.Unlock()
		v.mu.Lock()
		secret := len(v.secrets) - 1
		good := len(v.on) > 0
		v.mu.Unlock()
		switch n := rnd.IntN(20); {
		case !good:
			continue // a canary is used as often as it is counted
		case n == 3:
			secret = -1
		case n < 8:
			secret = rnd.IntN(secret + 1)
		}
		b.use(v, secret)
		time.Sleep(rand.N(10 * time.Millisecond)) // a machine with two cores has more to do
	}
}

// hammer uses one key without a pause.
func (b *battle) hammer(v *veteran) {
	for !b.over() {
		v.mu.Lock()
		newest := len(v.secrets) - 1
		v.mu.Unlock()
		if a, _ := b.use(v, newest); a.status != http.StatusOK {
			time.Sleep(rand.N(50 * time.Millisecond))
		}
	}
}

// kill kills a process of each function in turn, until the battle's end, which it puts off
// until there were enough kills. It returns how many of each.
func (b *battle) kill() map[string]int {
	kills, sum := map[string]int{}, 0
	begun := time.Now()
	enough := func() bool {
		b.mu.Lock()
		// Both an authorizer's request and another function's have died.
		met := len(b.died) == 2 && b.revokes >= changesOfEach && b.regenerates >= changesOfEach
		b.mu.Unlock()
		return met && sum >= killsInAll && !slices.ContainsFunc(mortal, func(f string) bool { return kills[f] < killsOfEach })
	}
	for !b.over() {
		for _, i := range rand.Perm(len(mortal)) {
			if mortal[i] == "authorizer" { // so that it has something to do
				b.w.Gateway.FlushAuthorizerCache("")
				time.Sleep(rand.N(10 * time.Millisecond))
			}
			if pids := b.w.Lambda.PIDs(mortal[i]); len(pids) > 0 && syscall.Kill(pids[rand.IntN(len(pids))], syscall.SIGKILL) == nil {
				kills[mortal[i]]++
				sum++
			}
			time.Sleep(100*time.Millisecond + rand.N(200*time.Millisecond))
		}
		if !enough() && time.Since(begun) < atMost {
			b.mu.Lock()
			if soon := time.Now().Add(2 * time.Second); b.end.Before(soon) {
				b.end = soon
			}
			b.mu.Unlock()
		}
	}
	if !enough() {
		b.fail("kills %v, want %d of each function and %d in all, that meet authorizers, functions and %d changes of each kind", kills, killsOfEach, killsInAll, changesOfEach)
	}
	return kills
}

func TestKilledFunctionsLoseNothingThatWasAcknowledged(t *testing.T) {
	w := start(t, options{settings: generous, processes: 2})
	b := &battle{w: w, tried: map[string]bool{}, died: map[string]int{}}
	root := &veteran{secrets: []credential{{key: w.root}}}
	const manager = `"plan":"enterprise","rateLimit":20000,"permissions":["*","api_keys:*"]`
	managers, mine := make([]*veteran, killOwners), make([][]*veteran, killOwners)
	for i := range managers {
		managers[i] = b.create(root, manager)
		for range keysOfOwner {
			mine[i] = append(mine[i], b.create(root, usable))
		}
	}
	limited := b.create(root, fmt.Sprintf(`"plan":"pro","rateLimit":%d,"permissions":["customers:read"]`, narrowLimit))
	busy := b.create(root, busyKey)
	mine[0] = append(mine[0], busy)
	if len(b.errs) > 0 {
		t.Fatal(errors.Join(b.errs...))
	}

	begun := time.Now()
	b.end = begun.Add(underFire)
	var wg sync.WaitGroup
	for i := range managers {
		wg.Go(func() { b.own(managers[i], mine[i], rand.New(rand.NewPCG(6, uint64(i)))) })
	}
	for i := range killUsers {
		wg.Go(func() { b.spend(rand.New(rand.NewPCG(66, uint64(i)))) })
	}
	wg.Go(func() { b.hammer(limited) })
	for range killHammers {
		wg.Go(func() { b.hammer(busy) })
	}
	kills := b.kill()
	wg.Wait()
	t.Logf("killed %v in %v", kills, time.Since(begun).Round(time.Millisecond))

	for range 2 * narrowLimit { // until the limit has been met, whatever this machine can do
		if a, _ := b.use(limited, 0); a.status == http.StatusTooManyRequests {
			break
		}
	}
	b.settled(t, limited)
	fought := time.Since(begun)
	b.judged(t, limited)
	b.bounded(t, limited)
	rested := time.Now()
	w.drain(t)
	t.Logf("the last lines were counted %v later", time.Since(rested).Round(time.Millisecond))
	b.kept(t)
	b.counted(t, limited, busy, largestLease*(kills["sample"]+len(w.Lambda.PIDs("sample"))), fought)
	if got := w.alerts(t, w.root)["canary_used"]; got != b.canaries || b.canaries == 0 {
		t.Errorf("%d alerts of canaries, want one of each of %d", got, b.canaries)
	}
	for _, err := range b.errs {
		t.Error(err)
	}
}

// settled tries each key once more, now that nothing is killed: it is in the state that its
// last answered change has left it in.
func (b *battle) settled(t *testing.T, limited *veteran) {
	t.Helper()
	try := func(v *veteran) {
		newest := len(v.secrets) - 1
		want := http.StatusOK
		if len(v.on) == 0 || !v.on[len(v.on)-1].to.IsZero() {
			want = http.StatusUnauthorized
		}
		a, ok := b.use(v, newest)
		if a.overloaded() {
			a, ok = b.use(v, newest)
		}
		if ok && a.status != want && !(v == limited && a.status == http.StatusTooManyRequests) {
			t.Errorf("%s with its newest secret = %s, want %d", v.name, a, want)
		}
		if newest > 0 {
			if a, ok := b.use(v, newest-1); ok && a.status < 300 {
				t.Errorf("%s with the secret before = %s", v.name, a)
			}
		}
	}
	var wg sync.WaitGroup
	for at := range killUsers {
		wg.Go(func() {
			for i := at; i < len(b.all); i += killUsers {
				try(b.all[i])
			}
		})
	}
	wg.Wait()
}

// judged looks at each answer.
func (b *battle) judged(t *testing.T, limited *veteran) {
	t.Helper()
	statuses, revoked, replaced := map[int]int{}, 0, 0
	for _, v := range b.all {
		for _, u := range v.uses {
			statuses[u.status]++
			if slices.ContainsFunc(v.off, func(s span) bool { return s.holds(u.sent, u.answered) }) {
				revoked++
			} else if u.secret >= 0 && !v.secrets[u.secret].bad.from.IsZero() && v.secrets[u.secret].bad.holds(u.sent, u.answered) {
				replaced++
			}
			switch late := v.late(u); {
			case u.status < 300 && late != "":
				t.Errorf("%s: a late accept: %s %s", v.name, u.answer, late)
			case u.status == http.StatusTooManyRequests && v != limited:
				t.Errorf("%s: refused, %s, far below its limit", v.name, u.answer)
			case u.status == http.StatusUnauthorized && v.valid(u):
				t.Errorf("%s: refused, %s, although it was active and the secret its newest", v.name, u.answer)
			}
		}
	}
	for status := range statuses {
		if !slices.Contains([]int{200, 201, 401, 409, 429, 500, 502, 503}, status) {
			t.Errorf("statuses %v: what is %d?", statuses, status)
		}
	}
	total := 0
	for _, n := range statuses {
		total += n
	}
	t.Logf("%d requests with %d keys: %v; %d by a revoked key, %d by a replaced secret; died: %v; too slow: %d",
		total, len(b.all), statuses, revoked, replaced, b.died, b.slow)
	if revoked < 2*changesOfEach || replaced < changesOfEach || statuses[200] < 150 || statuses[429] == 0 {
		t.Error("too few requests to mean anything")
	}
	if b.slow > 5+total/100 {
		t.Errorf("the store was too slow %d times in %d", b.slow, total)
	}
}

// bounded looks for more than the limit in any 60 seconds (see limit_test.go).
func (b *battle) bounded(t *testing.T, v *veteran) {
	t.Helper()
	var admitted []admission
	for _, u := range v.uses {
		if u.status == http.StatusOK {
			admitted = append(admitted, admission{u.sent, u.answered})
		}
	}
	worst := mostInAMinute(admitted)
	// What died, or was counted in a process's last moment, is missing below the limit.
	if worst > narrowLimit || worst < narrowLimit/2 {
		t.Errorf("%d of %d admitted in one span of 60 s, want at most %d and at least half", worst, len(v.uses), narrowLimit)
	}
	t.Logf("%d of %d requests admitted by a limit of %d", worst, len(v.uses), narrowLimit)
}

// kept looks for each key in the list: each that was asked for is there once.
func (b *battle) kept(t *testing.T) {
	t.Helper()
	ids := map[string][]string{} // by name
	for cursor := ""; ; {
		var page struct {
			Data []struct{ KeyID, Name string }
			Meta struct{ Next string }
		}
		a := b.w.change(t, b.w.root, "GET", "/v1/api-keys?limit=100&cursor="+cursor, "")
		if err := json.Unmarshal(a.body, &page); err != nil {
			t.Fatal(err)
		}
		for _, k := range page.Data {
			ids[k.Name] = append(ids[k.Name], k.KeyID)
		}
		if cursor = page.Meta.Next; cursor == "" {
			break
		}
	}
	for _, v := range b.all {
		if d := cmp.Diff([]string{v.id}, ids[v.name]); d != "" {
			t.Errorf("the list's keys of the name %s (-acknowledged +listed):\n%s", v.name, d)
		}
	}
	for name := range b.tried {
		if len(ids[name]) > 1 {
			t.Errorf("%s was created %d times", name, len(ids[name]))
		}
	}
}

// counted compares the guard's counts with the answers, and the counts of usage with the
// access log.
//
// A process takes along, when it is killed, what it has let through of its last lease and
// has not added to the key's count. (The windows were debited before.) So the count of the
// one key that is leased may be behind by as much as leased; the logs know better.
func (b *battle) counted(t *testing.T, limited, busy *veteran, leased int, fought time.Duration) {
	t.Helper()
	log := b.w.log.String()
	logged := map[string]map[string]int{} // status by request id, by key
	b.w.mu.Lock()
	entries := maps.Clone(b.w.entries)
	b.w.mu.Unlock()
	for id, e := range entries {
		key := "key_" + e.KeyID
		if logged[key] == nil {
			logged[key] = map[string]int{}
		}
		logged[key][id] = e.Status
	}
	rows := statusesByKey(t, b.w.requestLog(t))
	admitted := 0
	for _, v := range b.all {
		// The access log knows the key of what the authorizer let through. Of what it
		// refused it has said so itself, perhaps with its last breath: then the client heard
		// of a failure, and the refusal counts or not.
		want, passed, dead := map[string]int{}, 0, map[string]bool{}
		maps.Copy(want, logged[v.id])
		for _, u := range v.uses {
			id := u.header.Get("X-Amzn-Requestid")
			switch {
			case u.status < 300:
				passed++
			case entries[id].KeyID != "":
			case u.status == http.StatusUnauthorized:
				want[id] = u.status
			default:
				dead[id] = true
			}
		}
		// What died in its function may have been counted or not, and is taken for counted. So
		// may what the store was too slow for, and is not.
		classes, more, less := map[string]int{}, 0, 0
		for _, status := range want {
			classes[fmt.Sprintf("%dxx", status/100)]++
			switch {
			case status == http.StatusBadGateway:
				less++
			case status >= 500:
				more += 2 // tried twice
			}
		}
		more += strings.Count(log, `"a count failed and is tried once more","keyId":"`+strings.TrimPrefix(v.id, "key_")+`"`)

		var view struct {
			Data struct {
				Requests int
				Status   map[string]int
				Drift    struct{ Counted, Guard, Difference int }
			}
		}
		if err := json.Unmarshal(b.w.change(t, b.w.root, "GET", "/v1/api-keys/"+v.id+"/usage", "").body, &view); err != nil {
			t.Fatal(err)
		}
		got := view.Data
		for id := range rows[v.id] {
			if dead[id] {
				classes["4xx"]++
				delete(rows[v.id], id)
			}
		}
		maps.DeleteFunc(got.Status, func(_ string, n int) bool { return n == 0 })
		if d := cmp.Diff(classes, got.Status, cmpopts.EquateEmpty()); d != "" {
			t.Errorf("%s: requests by status (-access log +counted):\n%s", v.name, d)
		}
		if d := cmp.Diff(want, rows[v.id], cmpopts.EquateEmpty()); d != "" {
			t.Errorf("%s: the request log (-access log +request log):\n%s", v.name, d)
		}
		if v == busy {
			t.Logf("of the busy key's %d requests %d passed, the guard's count is %d", len(v.uses), passed, got.Drift.Guard)
			less, passed = less+leased, passed-leased
		}
		if got.Drift.Guard < passed {
			t.Errorf("%s: the guard has counted %d requests, %d were let through", v.name, got.Drift.Guard, passed)
		}
		if n := got.Drift.Difference; n < -less || n > more {
			t.Errorf("%s: drift %d, want -%d to %d", v.name, n, less, more)
		}
		if v == limited && fought < time.Minute && got.Drift.Guard > narrowLimit {
			t.Errorf("the guard has counted %d requests in %v, want at most %d", got.Drift.Guard, fought, narrowLimit)
		}
		admitted += got.Drift.Guard
	}
	t.Logf("the guard has counted %d requests", admitted)
}
