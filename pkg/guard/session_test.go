package guard_test

import (
	"testing"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/guard"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/route"
)

// session makes a key and a session of it.
func (w *world) session() (parent, session apikey.ID) {
	parent = w.create()
	return parent, w.create(func(k *keys.Key) { k.Parent, k.ParentVerdict = parent, 1 })
}

// manage is a request to a management route that any key may call.
func manage(who keys.Identity) guard.Call {
	return guard.Call{Route: route.Route{Method: "GET", Path: "/v1/permissions", Management: true}, Stage: "production", Identity: who}
}

// The same whether the context says that it is a session, or the key does, read afresh.
func TestASessionCallsManagementRoutesAlone(t *testing.T) {
	w := newWorld(t)
	_, session := w.session()
	who := w.context(session, 1)
	w.try(w.process(), customers(who), "403 session")
	w.try(w.process(), manage(who), "pass")
	stale := who
	stale.Parent, stale.ParentVerdict, stale.Verdict = "", 0, 0
	w.try(w.process(), customers(stale), "403 session")
}

func TestASessionCostsWhatAnyKeyDoesInASlotThatItsProcessHasSeen(t *testing.T) {
	w := newWorld(t)
	parent, session := w.session()
	g, c := w.process(), manage(w.context(session, 1))
	pass := w.try(g, c, "pass")
	if pass.Identity.Parent != parent || pass.Identity.Holder() != parent {
		t.Errorf("the identity is of a session of %q, want %s", pass.Identity.Parent, parent)
	}
	w.spent()
	w.try(g, c, "pass")
	if got := w.spent(); got != (calls{Hits: 1}) {
		t.Errorf("calls %+v, want one hit", got)
	}
}

// Whoever changes the parent ends its sessions and settles their meters before the answer.
func TestAnEndedSessionPassesNoMoreWhateverItsContextSays(t *testing.T) {
	w := newWorld(t)
	_, session := w.session()
	warm, c := w.process(), manage(w.context(session, 1))
	w.try(warm, c, "pass")
	w.change(session, remove)
	w.try(warm, c, "401 revoked")
	w.try(w.process(), c, "401 revoked")
}

// Where the guard decides afresh by the session itself, it asks the parent too.
func TestASessionThatIsReadIsJudgedByItsParent(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(w *world, parent apikey.ID)
		want   string
	}{
		"as it was":        {func(*world, apikey.ID) {}, "pass"},
		"revoked":          {func(w *world, id apikey.ID) { w.crash(id, revoke) }, "401 session_ended"},
		"narrowed":         {func(w *world, id apikey.ID) { w.change(id, narrow) }, "401 session_ended"},
		"revoked and back": {func(w *world, id apikey.ID) { w.change(id, revoke); w.change(id, activate) }, "401 session_ended"},
		"deleted":          {func(w *world, id apikey.ID) { w.change(id, remove) }, "401 session_ended"},
		"gone":             {func(w *world, id apikey.ID) { delete(w.keys, id) }, "401 session_ended"},
		"not to be read": {func(w *world, _ apikey.ID) {
			reads := 0
			w.fault = func(call string) error {
				if call == "Key" {
					if reads++; reads == 2 {
						return keys.ErrUnavailable
					}
				}
				return nil
			}
		}, "503"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			parent := w.create()
			session := keys.Key{
				ID: apikey.NewID(), AccountID: "acc_1", Environment: keys.Production, Permissions: []string{"*"}, RateLimit: 100, Active: true,
				Verdict: 1, Generation: 1, Secret: keys.Secret{Generation: 1}, Parent: parent, ParentVerdict: 1,
			}
			w.keys[session.ID] = session // it has no meter, so the key decides
			c := manage(w.context(session.ID, 1))
			tt.change(w, parent)
			g := w.process()
			w.try(g, c, tt.want)
			if got := w.spent(); got.Reads != 2 {
				t.Errorf("%d reads, want the session and its parent", got.Reads)
			}
			w.fault = nil
			if tt.want == "503" {
				tt.want = "pass"
			}
			w.try(g, c, tt.want)
		})
	}
}
