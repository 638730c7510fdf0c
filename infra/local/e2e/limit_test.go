package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

// 50 clients call one key of 100 requests a minute as fast as they get answers. The
// admissions are judged by when each request was sent and when its answer came: one was
// admitted somewhere in between. At most 100 may lie wholly in any 60 seconds, so what
// counts as a breach is 101 requests all sent and answered within one span.
func TestAtMostTheLimitIsAdmittedInAnySixtySeconds(t *testing.T) {
	w := uncounted(t)
	const (
		clients = 50
		calls   = 200
		limit   = 100
	)
	k := w.create(t, w.root, fmt.Sprintf(`{"name":"Limited","plan":"pro","rateLimit":%d,"permissions":["customers:read"]}`, limit))

	var mu sync.Mutex
	var admitted []admission
	statuses := map[int]int{}
	var failures []error
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for range calls {
				sent := time.Now()
				a, err := w.try("GET", "/v1/customers", xAPIKey(k.key), "")
				answered := time.Now()
				mu.Lock()
				switch {
				case err != nil:
					failures = append(failures, err)
				case a.status == http.StatusOK:
					admitted = append(admitted, admission{sent, answered})
				}
				statuses[a.status]++
				mu.Unlock()
			}
		})
	}
	begin := time.Now()
	wg.Wait()
	t.Logf("%d calls in %v: %v", clients*calls, time.Since(begin).Round(time.Millisecond), statuses)

	if len(failures) > 0 {
		t.Fatalf("%d calls failed, the first: %v", len(failures), failures[0])
	}
	// A store that is too slow for the guard's patience refuses too, and is rare.
	if slow := statuses[503]; statuses[200]+statuses[429]+slow != clients*calls || slow > clients*calls/100 {
		t.Errorf("statuses = %v, want 200 and 429", statuses)
	}
	worst := mostInAMinute(admitted)
	if worst > limit {
		t.Errorf("%d admitted in one span of 60 s, want at most %d", worst, limit)
	}
	if len(admitted) < limit*9/10 {
		t.Errorf("%d admitted, want at least 90 %% of %d: the rest was free", len(admitted), limit)
	}
}

func TestAnAnswerSaysHowMuchIsLeft(t *testing.T) {
	w := shared(t)
	k := w.create(t, w.root, `{"name":"Three","rateLimit":3,"permissions":["customers:read"]}`)
	for _, want := range []struct {
		status    int
		remaining string
	}{{200, "2"}, {200, "1"}, {200, "0"}, {429, "0"}} {
		a := w.call(t, "GET", "/v1/customers", xAPIKey(k.key), "")
		if a.status != want.status || a.header.Get("X-RateLimit-Remaining") != want.remaining || a.header.Get("X-RateLimit-Limit") != "3" {
			t.Errorf("answer = %s, limit %s, remaining %s; want %d, 3, %s", a, a.header.Get("X-RateLimit-Limit"), a.header.Get("X-RateLimit-Remaining"), want.status, want.remaining)
		}
		for _, name := range []string{"RateLimit", "RateLimit-Policy", "X-RateLimit-Reset"} {
			if a.header.Get(name) == "" {
				t.Errorf("%d lacks %s", a.status, name)
			}
		}
		retry, err := strconv.Atoi(a.header.Get("Retry-After"))
		if refused := want.status == 429; refused != (err == nil) || refused && (retry < 1 || retry > 65) {
			t.Errorf("%d: Retry-After = %q", a.status, a.header.Get("Retry-After"))
		}
	}
}

// admission is a request that was let through: at some moment from when it was sent to when
// it was answered.
type admission struct{ sent, answered time.Time }

// mostInAMinute is how many of them were surely let through within some 60 seconds.
func mostInAMinute(admitted []admission) (worst int) {
	slices.SortFunc(admitted, func(a, b admission) int { return a.sent.Compare(b.sent) })
	for i, first := range admitted {
		n := 0
		for _, a := range admitted[i:] {
			if a.answered.Sub(first.sent) <= time.Minute {
				n++
			}
		}
		worst = max(worst, n)
	}
	return worst
}
