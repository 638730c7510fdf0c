package keys_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/pkg/keys"
)

func TestWhatACallerSeesIsTheSameEverywhere(t *testing.T) {
	w := listed(t) // 1 to 3 of production and staging, 4 to 6 of development, 6 deleted
	_, stranger := w.World.Account(t, "enterprise")
	staging := w.manager(keys.Staging, "api_keys:read")    // 7
	dev := w.manager(keys.Development, "api_keys:read")    // 8
	production := w.manager(keys.Production, "api_keys:*") // 9
	noManager := w.manager(keys.Production, "customers:*") // 10
	noAccount := keys.Caller{Identity: keys.Identity{Environment: keys.Production}}
	for _, c := range []struct {
		name   string
		caller keys.Caller
		sees   []keys.Environment
		keys   string
	}{
		{"root", w.root, keys.Environments(), "1 2 3 4 5 6 7 8 9 10"},
		{"production", production, keys.Environments(), "1 2 3 4 5 6 7 8 9 10"},
		{"staging", staging, []keys.Environment{keys.Staging}, "3 7"},
		{"development", dev, []keys.Environment{keys.Development}, "4 5 6 8"},
		{"stranger", stranger, keys.Environments(), "1"},
		{"no account", noAccount, nil, ""},
	} {
		same(t, c.name+": Environments", c.caller.Environments(), c.sees)
		list, err := w.Service.Visible(ctx, c.caller)
		if numbers(list) != c.keys || (err != nil) != (c.keys == "") {
			t.Errorf("%s: Visible = %q, %v, want %q", c.name, numbers(list), err, c.keys)
		}
		visible := map[int64]bool{}
		for _, k := range list {
			visible[k.Number] = true
		}
		for n := int64(1); n <= 11; n++ {
			k, err := w.Service.Find(ctx, c.caller, keys.Ref{Number: n})
			switch {
			case visible[n] && (err != nil || k.Number != n || k.AccountID != c.caller.AccountID):
				t.Errorf("%s: Find(%d) = %d, %v", c.name, n, k.Number, err)
			case !visible[n] && c.keys != "" && !errors.Is(err, keys.ErrNotFound):
				t.Errorf("%s: Find(%d) = %v, want it to be absent", c.name, n, err)
			}
		}
	}
	for _, read := range []func(keys.Caller) error{
		func(c keys.Caller) error { _, err := w.Service.Visible(ctx, c); return err },
		func(c keys.Caller) error { _, err := w.Service.Find(ctx, c, ref(c)); return err },
		func(c keys.Caller) error { return c.May(keys.PermissionRead) },
	} {
		escalates(t, "without api_keys:read", read(noManager), "permissions")
	}
	is(t, "Visible of nobody", func() error { _, err := w.Service.Visible(ctx, noAccount); return err }(), keys.ErrCallerGone)
	is(t, "Find of nobody", func() error { _, err := w.Service.Find(ctx, noAccount, ref(w.root)); return err }(), keys.ErrCallerGone)
}

func TestFindKnowsTheUseOfAKey(t *testing.T) {
	w := listed(t)
	k, err := w.Service.Find(ctx, w.root, keys.Ref{Number: 3})
	if err != nil || k.Requests != 2 || k.LastUsed.IsZero() {
		t.Errorf("Find = %d requests, last used %v, %v, want 2", k.Requests, k.LastUsed, err)
	}
	if k.Secret.Pepper != "" || k.Secret.Digest != (keys.Secret{}).Digest {
		t.Error("Find hands out what only verification needs")
	}
}

func TestACallerIsGoneWhenItsKeyOrGraceEnds(t *testing.T) {
	w := newWorld(t, "enterprise")
	now := w.Clock.Now()
	for _, c := range []struct {
		expires, grace time.Time
		want           error
	}{
		{time.Time{}, time.Time{}, nil},
		{now.Add(time.Millisecond), time.Time{}, nil},
		{now, time.Time{}, keys.ErrCallerGone},
		{time.Time{}, now.Add(time.Millisecond), nil},
		{time.Time{}, now, keys.ErrCallerGone},
	} {
		caller := w.root
		caller.ExpiresAt, caller.GraceUntil = c.expires, c.grace
		if err := caller.Live(now); !errors.Is(err, c.want) {
			t.Errorf("Live with expiry %v and grace %v = %v, want %v", c.expires, c.grace, err, c.want)
		}
		if _, err := w.Service.Visible(ctx, caller); !errors.Is(err, c.want) {
			t.Errorf("Visible with expiry %v and grace %v = %v, want %v", c.expires, c.grace, err, c.want)
		}
	}
}

func TestAnyListSealsItsOwnCursors(t *testing.T) {
	w := newWorld(t, "enterprise")
	_, stranger := w.World.Account(t, "enterprise")
	staging := w.manager(keys.Staging, "api_keys:read")
	rows := keys.Scope{List: "rows", Filters: []string{"a", "b"}}
	cursor, err := w.Service.SealCursor(ctx, w.root, rows, []byte("place"))
	if err != nil {
		t.Fatal(err)
	}
	open := func(c keys.Caller, of keys.Scope, cursor string) string {
		place, err := w.Service.OpenCursor(ctx, c, of, cursor)
		if err != nil {
			is(t, "OpenCursor", err, keys.ErrInvalidCursor)
			return "refused"
		}
		return fmt.Sprintf("%q %t", place, place == nil)
	}
	for _, c := range []struct {
		what   string
		caller keys.Caller
		of     keys.Scope
		cursor string
		want   string
	}{
		{"its own list", w.root, rows, cursor, `"place" false`},
		{"another manager who sees the same", w.manager(keys.Production, "api_keys:read"), rows, cursor, `"place" false`},
		{"no cursor", w.root, rows, "", `"" true`},
		{"another account", stranger, rows, cursor, "refused"},
		{"who sees less", staging, rows, cursor, "refused"},
		{"another list", w.root, keys.Scope{List: "alerts", Filters: rows.Filters}, cursor, "refused"},
		{"another filter", w.root, keys.Scope{List: "rows", Filters: []string{"a", "c"}}, cursor, "refused"},
		{"filters joined", w.root, keys.Scope{List: "rows", Filters: []string{"ab"}}, cursor, "refused"},
		{"filters moved", w.root, keys.Scope{List: "rows", Filters: []string{"", "a", "b"}}, cursor, "refused"},
		{"no filters", w.root, keys.Scope{List: "rows"}, cursor, "refused"},
	} {
		if got := open(c.caller, c.of, c.cursor); got != c.want {
			t.Errorf("%s: %s, want %s", c.what, got, c.want)
		}
	}
	if _, err := w.Service.List(ctx, w.root, keys.Query{Cursor: cursor}); !errors.Is(err, keys.ErrInvalidCursor) {
		t.Errorf("List with another list's cursor = %v, want %v", err, keys.ErrInvalidCursor)
	}
	empty, err := w.Service.SealCursor(ctx, w.root, rows, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := open(w.root, rows, empty); got != `"" false` {
		t.Errorf("a cursor with no place opens as %s: it is not the beginning", got)
	}
}
