package keystest

import (
	"slices"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

// modelSession is a session as the model has it: its secret, the key it was made with, and
// how far that key had come.
type modelSession struct {
	secret  apikey.Key
	parent  *modelKey
	verdict int64
	expires time.Time
	ended   bool
}

// works reports whether a session is as good as its parent.
func (m *model) works(s *modelSession) bool {
	return !s.ended && m.now().Before(s.expires) && m.alive(s.parent) && s.parent.Verdict == s.verdict
}

// outdated ends the sessions of a key whose verdict has just moved.
func (m *model) outdated(k *modelKey) {
	any := false
	for _, s := range m.sessions {
		if s.parent == k && !s.ended && m.now().Before(s.expires) {
			s.ended, any = true, true
		}
	}
	if any {
		m.events++
		m.outcomes["sessions ended with their parent"]++
	}
}

// loginSession tries a session; nil: it was refused, rightly. What it may do is what its
// parent may, exactly.
func (m *model) loginSession(t *rapid.T, s *modelSession) *keys.Caller {
	t.Helper()
	got, reason, err := m.w.Login(m.ctx, s.secret)
	if err != nil {
		t.Fatalf("Login: %v", err)
	}
	if want := m.works(s); (reason == keys.OK) != want {
		t.Fatalf("a session of key %d at verdict %d, now %d: login %q, want it to work: %t", s.parent.Number, s.verdict, s.parent.Verdict, reason, want)
	}
	if reason != keys.OK {
		return nil
	}
	k := s.parent
	want := keys.Identity{
		KeyID: s.secret.ID(), AccountID: k.AccountID, Environment: k.Environment, Permissions: k.Permissions, Customers: k.Customers, Networks: k.Networks,
		Parent: k.ID, ParentVerdict: k.Verdict, Verdict: 1, Generation: 1, Limit: k.RateLimit, Limits: k.Limits, Quota: k.Quota, ExpiresAt: s.expires,
	}
	if diff := cmp.Diff(want, got.Identity, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("a session's identity (-want +got):\n%s", diff)
	}
	return &got
}

func (m *model) createSession(t *rapid.T) {
	c, who := m.caller(t)
	no := refusals{}
	if who.Parent != "" {
		no.add("escalation sessionOf")
	}
	if !reach(c.Permissions)["api_keys:read"] {
		no.add("escalation permissions")
	}
	out, err := m.w.Service.CreateSession(m.ctx, who)
	if !m.judge(t, "session", no, err) {
		return
	}
	s := &modelSession{secret: out.Plaintext, parent: c, verdict: c.Verdict, expires: m.now().Add(12 * time.Hour)}
	for _, end := range []time.Time{c.ExpiresAt, who.GraceUntil} {
		if !end.IsZero() && end.Before(s.expires) {
			s.expires = end
		}
	}
	if !out.Key.ExpiresAt.Equal(s.expires) {
		t.Fatalf("a session ends at %v, want %v", out.Key.ExpiresAt, s.expires)
	}
	m.w.Canary.Saw(out.Plaintext)
	m.sessions = append(m.sessions, s)
	m.events++
}

func (m *model) endSession(t *rapid.T) {
	c, who := m.caller(t)
	if len(m.sessions) == 0 {
		t.Skip("no session")
	}
	no := refusals{}
	s := rapid.SampledFrom(m.sessions).Draw(t, "session")
	if own := who.KeyID == s.secret.ID(); !own {
		mayWrite(no, c)
	}
	if s.ended || !canSee(c, s.parent) {
		no.add("not found")
	}
	_, err := m.w.Service.EndSession(m.ctx, who, s.secret.ID())
	if m.judge(t, "end session", no, err) {
		s.ended = true
		m.events++
	}
}

func (m *model) listSessions(t *rapid.T) {
	c, who := m.caller(t)
	no := refusals{}
	if !reach(c.Permissions)["api_keys:read"] {
		no.add("escalation permissions")
	}
	list, err := m.w.Service.Sessions(m.ctx, who)
	if !m.judge(t, "list sessions", no, err) {
		return
	}
	got := map[apikey.ID]string{}
	for _, s := range list {
		got[s.ID] = s.ParentName
	}
	want := map[apikey.ID]string{}
	for _, s := range m.sessions {
		if m.works(s) && canSee(c, s.parent) {
			want[s.secret.ID()] = s.parent.Name
		}
	}
	if diff := cmp.Diff(want, got); diff != "" || len(list) != len(got) {
		t.Fatalf("live sessions (-want +got):\n%s", diff)
	}
}

// checkSessions compares what the store holds of sessions with the model. One that is
// neither ended nor over is of its parent's verdict.
func (m *model) checkSessions(t *rapid.T) {
	list, err := m.store.Sessions(m.ctx, m.account.ID, "")
	if err != nil {
		t.Fatalf("Sessions: %v", err)
	}
	if len(list) != len(m.sessions) {
		t.Fatalf("%d sessions, want %d", len(list), len(m.sessions))
	}
	for _, s := range m.sessions {
		at := slices.IndexFunc(list, func(k keys.Key) bool { return k.ID == s.secret.ID() })
		if at < 0 {
			t.Fatalf("session %s is lost", s.secret.ID())
		}
		k := list[at]
		if k.Deleted != s.ended || k.Parent != s.parent.ID || k.ParentVerdict != s.verdict {
			t.Fatalf("session %s: ended %t, of %s at %d; want %t, %s, %d", k.ID, k.Deleted, k.Parent, k.ParentVerdict, s.ended, s.parent.ID, s.verdict)
		}
		if !k.Deleted && m.now().Before(k.ExpiresAt) && s.parent.Verdict != s.verdict {
			t.Fatalf("session %s outlives its parent's change", k.ID)
		}
		if meter, found, err := m.store.Meter(m.ctx, k.ID); err != nil || !found || meter != (Meter{k.Verdict, !s.ended}) {
			t.Fatalf("session %s: meter %+v, found %t, %v, want active %t", k.ID, meter, found, err, !s.ended)
		}
	}
}
