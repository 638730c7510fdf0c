package e2e

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
)

const (
	trials      = 1000 // in all
	workers     = 2
	trialLimits = 1000 // requests a minute, of the keys in trials
)

// trial is one key whose verdict is about to change, while its policy is cached.
type trial struct {
	w       *world
	t       *testing.T
	manager string // makes the changes
	key     issued
	next    string // the secret that a regenerate has made, until the trial goes on with it
}

// account is a PATCH on the account face.
func (r *trial) account(body string) {
	r.t.Helper()
	path := fmt.Sprintf("/v1/account/api-keys/%d/", r.key.number)
	a := r.w.call(r.t, "PATCH", path, http.Header{"Authorization": {"Bearer " + r.manager}}, body)
	if a.status != http.StatusOK {
		r.t.Fatalf("PATCH %s = %s, want 200", path, a)
	}
}

func (r *trial) newKey() {
	r.t.Helper()
	r.key = r.w.create(r.t, r.manager, fmt.Sprintf(`{"name":"Trial","plan":"enterprise","rateLimit":%d,%s}`, trialLimits, confinedTo))
}

// use is one request on a guarded route. cached says whether API Gateway answered the
// question of the key by a cached policy.
func (r *trial) use() (a answer, cached bool) {
	r.t.Helper()
	a = r.w.call(r.t, "GET", "/v1/customers", xAPIKey(r.key.key), "")
	return a, r.w.policyWasCached(r.t, a)
}

// way is one change after which the next request must fail, and how to undo it.
type way struct {
	name   string
	change func(*trial)
	status int
	undo   func(*trial) // nil: the key is used up
	// newKey: each trial takes a key of its own. The guard checks only so many refusals of
	// one key in one slot against the key itself (so that a flood of forbidden requests
	// does not become a flood of reads), and may refuse a permission that is granted again
	// faster than a person could.
	newKey bool
}

const confinedTo = `"permissions":["customers:read","licenses:manage"]`

var ways = []way{
	{
		"revoke",
		func(r *trial) { r.w.change(r.t, r.manager, "POST", "/v1/api-keys/"+r.key.id+"/revoke", "") },
		http.StatusUnauthorized,
		func(r *trial) { r.w.change(r.t, r.manager, "POST", "/v1/api-keys/"+r.key.id+"/activate", "") },
		false,
	},
	{
		"deactivate",
		func(r *trial) { r.account(`{"is_active":false}`) },
		http.StatusUnauthorized,
		func(r *trial) { r.account(`{"is_active":true}`) },
		false,
	},
	{
		"regenerate",
		func(r *trial) {
			a := r.w.change(r.t, r.manager, "POST", "/v1/api-keys/"+r.key.id+"/regenerate", "")
			old := r.key.key
			r.key = r.w.issued(r.t, a)
			r.key.key, r.next = old, r.key.key
		},
		http.StatusUnauthorized,
		func(r *trial) { r.key.key = r.next },
		false,
	},
	{
		"narrow",
		func(r *trial) {
			r.w.change(r.t, r.manager, "PATCH", "/v1/api-keys/"+r.key.id, `{"permissions":["licenses:manage"]}`)
		},
		http.StatusForbidden,
		func(r *trial) { r.w.change(r.t, r.manager, "PATCH", "/v1/api-keys/"+r.key.id, `{`+confinedTo+`}`) },
		true,
	},
	{
		"delete",
		func(r *trial) { r.w.change(r.t, r.manager, "DELETE", "/v1/api-keys/"+r.key.id, "") },
		http.StatusUnauthorized,
		nil,
		true,
	},
}

// The promise of the guard: once the answer to a change has gone out, no request that the
// change forbids is let through, although the policy that allows it is still cached.
func TestAChangeIsInForceOnTheNextRequestAlthoughThePolicyIsCached(t *testing.T) {
	w := uncounted(t)
	var late, done atomic.Int64
	for _, how := range ways {
		t.Run(how.name, func(t *testing.T) {
			for i := range workers {
				// A manager of its own: each may make 1,000 requests a minute.
				manager := w.create(t, w.root, `{"name":"Manager","plan":"enterprise","rateLimit":1000,"permissions":["*","api_keys:*"]}`)
				t.Run(fmt.Sprint(i), func(t *testing.T) {
					t.Parallel()
					r := &trial{w: w, t: t, manager: manager.key}
					for range trials / len(ways) / workers {
						if t.Failed() {
							return
						}
						if !r.run(how) {
							late.Add(1)
						}
						done.Add(1)
					}
				})
			}
		})
	}
	if late.Load() != 0 || done.Load() != trials {
		t.Errorf("%d late accepts in %d trials, want 0 in %d", late.Load(), done.Load(), trials)
	}
	t.Logf("%d trials, %d late accepts", done.Load(), late.Load())
}

// run is one trial; it reports whether the change was in force at once.
func (r *trial) run(how way) bool {
	r.t.Helper()
	if r.key.key == "" || how.newKey {
		r.newKey()
	}
	// Until the policy is in the cache: the first request of a key puts it there.
	for range 2 {
		if a, _ := r.use(); a.status != http.StatusOK {
			r.t.Errorf("before the change = %s (%s; cached %t), want 200", a, a.message(), r.w.policyWasCached(r.t, a))
			return true
		}
	}
	how.change(r)
	a, cached := r.use()
	if !cached {
		r.t.Error("the request after the change was not decided by a cached policy, so the trial shows nothing")
	}
	if a.status != how.status {
		r.t.Errorf("the request after the change = %s, want %d", a, how.status)
	}
	if how.undo == nil {
		return a.status >= 400
	}
	how.undo(r)
	if a, _ := r.use(); a.status != http.StatusOK {
		r.t.Errorf("after the change was undone = %s (%s; cached %t), want 200", a, a.message(), r.w.policyWasCached(r.t, a))
	}
	return a.status >= 400
}
