package alert_test

import (
	"errors"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/pkg/alert"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/usage"
)

// ago is a live key whose verdict was moved some time before start.
func ago(d time.Duration, change ...func(*keys.Key)) keys.Key {
	k := keys.Key{
		ID: keyA, AccountID: account, Environment: keys.Production, Active: true, Permissions: []string{"customers:read"},
		Generation: 1, Secret: keys.Secret{Generation: 1}, VerdictAt: start.Add(-d),
	}
	for _, f := range change {
		f(&k)
	}
	return k
}

func off(k *keys.Key)     { k.Active = false }
func deleted(k *keys.Key) { k.Deleted = true }
func expires(d time.Duration) func(*keys.Key) {
	return func(k *keys.Key) { k.ExpiresAt = start.Add(d) }
}

// replaced: the secret of generation 1, with a grace that ends then.
func replaced(graceEnds time.Duration) func(*keys.Key) {
	return func(k *keys.Key) {
		k.Generation, k.Secret.Generation = 2, 2
		k.Previous = keys.Secret{Generation: 1, Until: start.Add(graceEnds)}
	}
}

func TestAnAcceptAfterTheTimeThatWasPromisedIsToldOf(t *testing.T) {
	const slack = 5 * time.Second // as late.go has it
	late := []string{"late_accept AAAAAAAA 03-10T12:00"}
	permission := func(p string) func(*usage.Request) { return func(r *usage.Request) { r.Permission = p } }
	for _, tt := range []struct {
		name    string
		key     keys.Key
		request usage.Request
		want    []string
	}{
		{"a live key", ago(time.Hour), request(start), nil},
		{"off for long", ago(time.Hour, off), request(start), late},
		{"off just longer than the bound", ago(bound+slack, off), request(start), late},
		{"off just shorter", ago(bound+slack-time.Millisecond, off), request(start), nil},
		{"off since", ago(-time.Second, off), request(start), nil},
		{"deleted for long", ago(time.Hour, deleted), request(start), late},
		{"expired for long, changed before", ago(time.Hour, expires(-2*time.Minute)), request(start), late},
		{"expired just now, changed long before", ago(time.Hour, expires(-bound)), request(start), nil},
		{"expires later", ago(time.Hour, expires(time.Minute)), request(start), nil},
		{"by a secret that was replaced", ago(time.Hour, replaced(-time.Hour)), request(start), late},
		{"by one whose grace lasts", ago(time.Hour, replaced(time.Minute)), request(start), nil},
		{"by one whose grace has just ended", ago(time.Hour, replaced(-time.Minute)), request(start), nil},
		{"without its permission", ago(time.Hour), request(start, permission("licenses:manage")), late},
		{"with its permission", ago(time.Hour), request(start, permission("customers:read")), nil},
		{"of a key that is gone", ago(time.Hour, func(k *keys.Key) { k.ID = keyB }), request(start), late},
		{"of a key that does not know when", ago(time.Hour, off, func(k *keys.Key) { k.VerdictAt = time.Time{} }), request(start), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.keys.list = []keys.Key{tt.key}
			f := usage.Facts{Unguarded: []usage.Request{tt.request, tt.request}}
			w.observe(f)
			w.want(tt.want...)
			if told := 2 * len(tt.want); w.late != told {
				t.Errorf("%d late accepts told of, want %d", w.late, told)
			}
			for _, a := range w.alerts(account) {
				if a.Severity != alert.Critical || a.KeyID != keyA {
					t.Errorf("alert %+v", a)
				}
			}
		})
	}
}

// A guarded route's answers say nothing here: the guard has looked at the key itself.
func TestOnlyUnguardedRoutesAreLookedAt(t *testing.T) {
	w := newWorld(t)
	w.keys.list = []keys.Key{ago(time.Hour, off)}
	w.observe(facts(request(start)))
	if w.want(); w.keys.looks != 0 {
		t.Errorf("%d looks at keys", w.keys.looks)
	}
}

// One look serves all requests from before it, and none from after: the key may have been
// switched on again meanwhile.
func TestAKeyIsReadOnceForManyRequestsAndNeverTooEarly(t *testing.T) {
	w := newWorld(t)
	w.now = start.Add(time.Minute)
	w.keys.list = []keys.Key{ago(time.Hour, off)}
	for i := range 50 {
		w.observe(usage.Facts{Unguarded: []usage.Request{request(start.Add(time.Duration(-i) * time.Second))}})
	}
	if w.keys.looks != 1 || w.late != 50 {
		t.Errorf("%d looks, %d late accepts; want 1, 50", w.keys.looks, w.late)
	}
	w.keys.list = []keys.Key{ago(-2 * time.Minute)} // switched on
	w.now = start.Add(3 * time.Minute)
	w.observe(usage.Facts{Unguarded: []usage.Request{request(start.Add(150 * time.Second))}})
	if w.keys.looks != 2 || w.late != 50 {
		t.Errorf("after it was switched on: %d looks, %d late accepts; want 2, 50", w.keys.looks, w.late)
	}
}

func TestABatchWhoseKeyCannotBeReadFailsAndSaysNothing(t *testing.T) {
	w := newWorld(t)
	w.keys.err = keys.ErrUnavailable
	err := w.Observe(t.Context(), usage.Facts{Unguarded: []usage.Request{request(start)}})
	if w.want(); !errors.Is(err, keys.ErrUnavailable) || w.late != 0 {
		t.Errorf("%v, %d late accepts", err, w.late)
	}
}
