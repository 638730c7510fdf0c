package alert_test

import (
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/logline"
	"github.com/keyreeve/keyreeve/pkg/usage"
)

const session = apikey.ID("SSSSSSSS")

// bySession makes a request one of a session of keyA.
func bySession(r *usage.Request) { r.KeyID, r.Parent = session, keyA }

// Who is told of a session finds nothing in any list of keys, so it is the parent that is
// named, once for all that was done with it.
func TestWhatASessionDoesIsToldOfItsKey(t *testing.T) {
	many := func(change ...func(*usage.Request)) (f usage.Facts) {
		for i := range 20 {
			r := request(start.Add(time.Duration(i)*time.Second), change...)
			if r.ID, r.Status = string(apikey.NewID()), 401; i%2 == 0 {
				r.KeyID, r.Parent = keyA, ""
			}
			f.Requests = append(f.Requests, r)
		}
		return f
	}
	for _, tt := range []struct {
		name  string
		facts usage.Facts
		want  string
	}{
		{"near its limit", usage.Facts{Near: []usage.Near{{KeyID: session, Parent: keyA, AccountID: account, Environment: keys.Production, Time: start, Limit: 20}}},
			"near_limit AAAAAAAA 03-10T12:00"},
		{"over its limit", usage.Facts{Requests: []usage.Request{request(start, bySession, func(r *usage.Request) { r.Refused = logline.ReasonLimit })}},
			"over_limit AAAAAAAA 03-10T12:00"},
		{"half of the failures", many(bySession), "key_failures AAAAAAAA 03-10T12:00"},
		{"from a network that its key does not know", usage.Facts{
			Requests: []usage.Request{request(start, bySession, func(r *usage.Request) { r.SourceIP = other })},
			Before: map[apikey.ID]usage.Profile{keyA: {KeyID: keyA, First: start.Add(-8 * 24 * time.Hour), Networks: map[string]time.Time{
				usage.Network(home): start.Add(-time.Hour)}}},
		}, "new_network 198.51.100.0/24 03-10T00:00"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.observe(tt.facts)
			w.observe(tt.facts)
			list := w.alerts(account)
			if len(list) == 0 || list[0].KeyID != keyA {
				t.Errorf("raised %+v, want one that names its key", list)
			}
			for _, got := range w.raised() {
				if got == tt.want {
					return
				}
			}
			t.Errorf("raised %v, want %s", w.raised(), tt.want)
		})
	}
}

// A session's item may go as soon as it has expired, and lines may come later than that: its
// absence is no sign that it was let in too late. That it had ended before is one.
func TestALateAcceptOfASessionIsToldOfWhileItsItemSaysSo(t *testing.T) {
	ended := ago(time.Hour, deleted, func(k *keys.Key) { k.ID, k.Parent = session, keyA })
	for name, tt := range map[string]struct {
		keys []keys.Key
		want []string
	}{
		"ended for long": {[]keys.Key{ended}, []string{"late_accept AAAAAAAA 03-10T12:00"}},
		"gone":           {nil, nil},
	} {
		w := newWorld(t)
		w.keys.list = tt.keys
		w.observe(usage.Facts{Unguarded: []usage.Request{request(start, bySession)}})
		w.want(tt.want...)
		for _, a := range w.alerts(account) {
			if a.Data["sessionId"] != "key_SSSSSSSS" || a.Text[:36] != "Key key_AAAAAAAA, by a session, was " {
				t.Errorf("%s: alert %+v, want one that says which session it was", name, a)
			}
		}
	}
}
