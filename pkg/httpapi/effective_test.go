package httpapi

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/keys/keystest"
)

// atOnce is what the answer to a change says at 10:30:00 with the default settings: the
// authorizer's time-out of 10 s and the 60 s that a policy is kept.
var atOnce = map[string]any{"guarded": "now", "unguardedBy": "2026-01-15T10:31:10.000Z"}

func TestEveryChangeOfWhatAKeyMayDoSaysFromWhenOn(t *testing.T) {
	w := newWorld(t, "{}")
	created, _ := w.root.create(`{"name":"a","permissions":["customers:read","licenses:manage"]}`)
	path := "/v1/api-keys/" + created["keyId"].(string)
	type from struct{ guarded, unguarded time.Duration } // from now
	bound := &from{0, 70 * time.Second}
	for _, tt := range []struct {
		method, target, body string
		want                 *from
	}{
		{"PATCH", path, `{"name":"b"}`, nil},
		{"PATCH", path, `{"permissions":["customers:read"]}`, bound},
		{"PATCH", path, `{"permissions":["customers:read","licenses:manage"],"name":"c"}`, bound},
		{"PATCH", path, `{"rateLimit":7}`, bound},
		{"PATCH", path, `{"expirationDays":7}`, bound},
		{"PATCH", path, `{"owner":"d"}`, nil},
		{"POST", path + "/revoke", "", bound},
		{"POST", path + "/revoke", "", bound}, // again: it is, and the time is true still
		{"POST", path + "/activate", "", bound},
		{"POST", path + "/regenerate", "", bound},
		{"POST", path + "/regenerate", `{"graceSeconds":30}`, &from{30 * time.Second, 70 * time.Second}},
		{"POST", path + "/regenerate", `{"graceSeconds":3600}`, &from{time.Hour, time.Hour}},
		{"DELETE", path, "", bound},
	} {
		w.advance(time.Second)
		var want any
		if tt.want != nil {
			guarded := "now"
			if tt.want.guarded > 0 {
				guarded = w.clock().Add(tt.want.guarded).Format(instantForm)
			}
			want = map[string]any{"guarded": guarded, "unguardedBy": w.clock().Add(tt.want.unguarded).Format(instantForm)}
		}
		meta, _ := w.root.do(tt.method, tt.target, tt.body).want(200).object()["meta"].(map[string]any)
		if d := cmp.Diff(want, meta["effective"]); d != "" {
			t.Errorf("%s %s %s (-want +got):\n%s", tt.method, tt.target[len(path):], tt.body, d)
		}
	}
}

// A change that took long to commit: the bound counts from its commit, not from when the
// request came.
func TestTheBoundIsNeverSoonerThanTrue(t *testing.T) {
	for _, kept := range []int{0, 60, 3600} {
		w := newWorld(t, fmt.Sprintf(`{"authorizerCacheSeconds":%d}`, kept))
		created, _ := w.root.create(`{"name":"a"}`)
		w.advance(400 * time.Microsecond)
		var committed time.Time
		w.store.OnCall(func(_ context.Context, c keystest.Call) error {
			if c.Op == "Commit" && !c.Done {
				w.advance(3 * time.Second)
				committed = w.clock()
			}
			return nil
		})
		meta := w.root.do("POST", "/v1/api-keys/"+created["keyId"].(string)+"/revoke", "").want(200).object()["meta"].(map[string]any)
		text, _ := meta["effective"].(map[string]any)["unguardedBy"].(string)
		by, err := time.Parse(time.RFC3339, text)
		believed := committed.Add(10*time.Second + time.Duration(kept)*time.Second) // the last policy from before it
		if err != nil || by.Before(believed) || by.Sub(believed) > time.Second {
			t.Errorf("kept %d s: unguarded by %s, %v; a policy from before it is believed until %s", kept, text, err, believed)
		}
	}
}
