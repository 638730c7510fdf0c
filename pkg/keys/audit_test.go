package keys_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

// audit reads all pages of a query.
func (w *world) audit(c keys.Caller, q keys.AuditQuery) (all []keys.AuditEvent) {
	w.Helper()
	for pages := 0; ; pages++ {
		page, err := w.Service.AuditEvents(ctx, c, q)
		if err != nil {
			w.Fatalf("AuditEvents: %v", err)
		}
		if q.Limit > 0 && len(page.Events) > q.Limit {
			w.Fatalf("a page of %d, limit %d", len(page.Events), q.Limit)
		}
		all = append(all, page.Events...)
		if page.Next == "" {
			return all
		}
		if pages > 1000 {
			w.Fatal("the list does not end")
		}
		q.Cursor = page.Next
	}
}

func TestEventsComeNewestFirstAndEachOnceWhateverThePage(t *testing.T) {
	w := newWorld(t, "enterprise")
	for range 25 {
		w.create(w.root, keys.CreateInput{})
		w.Clock.Advance(time.Second)
	}
	want := w.events()
	slices.Reverse(want)
	for _, limit := range []int{1, 2, 7, 25, 26, 27, 1000, 0} {
		same(t, fmt.Sprintf("all pages of %d", limit), w.audit(w.root, keys.AuditQuery{Limit: limit}), want)
	}
	// Events that come meanwhile move nothing.
	page, err := w.Service.AuditEvents(ctx, w.root, keys.AuditQuery{Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	w.create(w.root, keys.CreateInput{})
	same(t, "the rest after a new event", w.audit(w.root, keys.AuditQuery{Cursor: page.Next}), want[10:])
}

func TestEventsAreFilteredByActionKeyAndTime(t *testing.T) {
	w := newWorld(t, "enterprise")
	target := w.manager(keys.Production)
	var at []time.Time
	for i := range 6 {
		w.Clock.Advance(time.Minute)
		at = append(at, w.Clock.Now())
		var err error
		switch i % 3 {
		case 0:
			_, _, err = w.Service.Revoke(ctx, w.root, ref(target), false, anyVersion)
		case 1:
			_, err = w.Service.Activate(ctx, w.root, ref(target), anyVersion)
		case 2:
			w.create(w.root, keys.CreateInput{})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	actions := func(q keys.AuditQuery) (out []string) {
		for _, e := range w.audit(w.root, q) {
			out = append(out, e.Action)
		}
		return out
	}
	for _, limit := range []int{0, 1, 2} {
		q := func(q keys.AuditQuery) keys.AuditQuery { q.Limit = limit; return q }
		same(t, "by action", actions(q(keys.AuditQuery{Action: "key.revoke"})), []string{"key.revoke", "key.revoke"})
		same(t, "by key", actions(q(keys.AuditQuery{KeyID: target.KeyID})), []string{"key.activate", "key.revoke", "key.activate", "key.revoke", "key.create"})
		same(t, "by key and action", actions(q(keys.AuditQuery{KeyID: target.KeyID, Action: "key.create"})), []string{"key.create"})
		same(t, "from", actions(q(keys.AuditQuery{From: at[4]})), []string{"key.create", "key.activate"})
		same(t, "from a moment later", actions(q(keys.AuditQuery{From: at[4].Add(1)})), []string{"key.create"})
		same(t, "to", actions(q(keys.AuditQuery{From: at[3], To: at[5]})), []string{"key.activate", "key.revoke"})
		same(t, "to a moment later", actions(q(keys.AuditQuery{From: at[3], To: at[5].Add(1)})), []string{"key.create", "key.activate", "key.revoke"})
		same(t, "of another time", actions(q(keys.AuditQuery{From: at[5].Add(time.Hour)})), []string{})
		same(t, "before all", actions(q(keys.AuditQuery{To: time.UnixMilli(1)})), []string{})
	}
	for field, q := range map[string]keys.AuditQuery{
		"action": {Action: "key.explode"}, "limit": {Limit: 1001}, "to": {From: at[1], To: at[1]},
	} {
		_, err := w.Service.AuditEvents(ctx, w.root, q)
		same(t, "fields at fault", invalidFields(t, err), field)
	}
	page, err := w.Service.AuditEvents(ctx, w.root, keys.AuditQuery{Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	for name, q := range map[string]keys.AuditQuery{
		"another filter": {Action: "key.create", Cursor: page.Next}, "another key": {KeyID: target.KeyID, Cursor: page.Next},
		"another time": {From: at[0], Cursor: page.Next}, "a broken one": {Cursor: page.Next[1:]},
	} {
		_, err := w.Service.AuditEvents(ctx, w.root, q)
		is(t, name, err, keys.ErrInvalidCursor)
	}
	_, err = w.Service.AuditEvents(ctx, w.manager(keys.Production, "customers:read"), keys.AuditQuery{})
	escalates(t, "AuditEvents without a permission", err, "permissions")
}

func TestAManagerSeesTheEventsOfItsEnvironmentsAlone(t *testing.T) {
	w := newWorld(t, "enterprise")
	staging := w.manager(keys.Staging, "api_keys:*")
	hidden := w.manager(keys.Production)
	w.create(staging, keys.CreateInput{})
	w.manager(keys.Development)
	_, foreign := w.Account(t, "enterprise")
	var seen []keys.Environment
	for _, limit := range []int{1, 0} {
		seen = nil
		for _, e := range w.audit(staging, keys.AuditQuery{Limit: limit}) {
			seen = append(seen, e.Environment)
		}
		same(t, "staging sees", seen, []keys.Environment{keys.Staging, keys.Staging})
	}
	for name, c := range map[string]keys.Caller{"staging": staging, "another account": foreign} {
		_, err := w.Service.AuditEvents(ctx, c, keys.AuditQuery{KeyID: hidden.KeyID})
		is(t, "the trail of a production key for "+name, err, keys.ErrNotFound)
	}
	same(t, "the other account sees", len(w.audit(foreign, keys.AuditQuery{})), 1)
	page, err := w.Service.AuditEvents(ctx, w.root, keys.AuditQuery{Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Service.AuditEvents(ctx, staging, keys.AuditQuery{Cursor: page.Next})
	is(t, "a cursor of somebody who sees more", err, keys.ErrInvalidCursor)
}

func TestAKeysTrailHasEveryEventThatChangedItAndWhatItChanged(t *testing.T) {
	w := newWorld(t, "enterprise")
	parent := w.manager(keys.Production, "*", "api_keys:*")
	stagingKey := keys.Staging
	child := w.create(parent, keys.CreateInput{Environment: &stagingKey, Permissions: &[]string{"customers:read"}})
	if _, err := w.Service.Update(ctx, w.root, ref(parent), keys.Patch{Primary: new(true)}, anyVersion); err != nil {
		t.Fatal(err)
	}
	trail := func(id apikey.ID) keys.AuditEvent { return w.audit(w.root, keys.AuditQuery{KeyID: id})[0] }
	lost := trail(w.root.KeyID)
	same(t, "the loss of the mark", lost, keys.AuditEvent{
		ID: lost.ID, AccountID: lost.AccountID, At: w.Clock.Now(), Actor: w.root.KeyID, Action: "key.update", KeyID: w.root.KeyID, Environment: keys.Production,
		Before: map[string]string{"primary": "true", "primaryKey": string(w.root.KeyID)},
		After:  map[string]string{"primary": "false", "primaryKey": string(parent.KeyID)},
	})
	if e := trail(parent.KeyID); e.ID != lost.ID || e.KeyID != parent.KeyID {
		t.Errorf("the two trails of one change: %+v and %+v", e, lost)
	}
	made := w.create(w.root, keys.CreateInput{Primary: new(true)})
	if e := trail(parent.KeyID); e.Action != "key.create" || e.KeyID != parent.KeyID || e.After["primaryKey"] != string(made.KeyID) {
		t.Errorf("the loss of the mark to a new key: %+v", e)
	}
	if _, _, err := w.Service.Revoke(ctx, w.root, ref(parent), true, anyVersion); err != nil {
		t.Fatal(err)
	}
	e := trail(child.KeyID)
	same(t, "a descendant's event", e, keys.AuditEvent{
		ID: e.ID, AccountID: e.AccountID, At: w.Clock.Now(), Actor: w.root.KeyID, Action: "key.revoke_descendants", KeyID: child.KeyID, Environment: keys.Staging,
		Before: map[string]string{"active": "true"}, After: map[string]string{"active": "false", "descendantOf": string(parent.KeyID)},
	})
	if e := trail(parent.KeyID); e.Action != "key.revoke_descendants" || e.After["keys"] != string(child.KeyID) {
		t.Errorf("the root's event: %+v", e)
	}
	if _, err := w.Service.Delete(ctx, w.root, ref(child), anyVersion); err != nil {
		t.Fatal(err)
	}
	if e := trail(child.KeyID); e.Action != "key.delete" {
		t.Errorf("the trail of a deleted key ends with %+v", e)
	}
	// The account's list has each change once.
	ids := map[string]bool{}
	for _, e := range w.audit(w.root, keys.AuditQuery{}) {
		if ids[e.ID] {
			t.Errorf("event %s is listed twice", e.ID)
		}
		ids[e.ID] = true
	}
	session := w.session(w.root)
	if e := trail(w.root.KeyID); e.Action != "session.create" || e.After["session"] != string(session.KeyID) || e.Session != "" {
		t.Errorf("the making of a session in its parent's trail: %+v", e)
	}
	for _, e := range w.events() {
		if !slices.Contains(keys.Actions(), e.Action) {
			t.Errorf("action %s is not in Actions", e.Action)
		}
	}
}
