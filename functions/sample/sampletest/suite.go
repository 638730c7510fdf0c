package sampletest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/functions/sample/document"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

// Suite holds a store against document.Store's contract. Each call of fresh gives a scope
// that nothing was written to yet.
func Suite(t *testing.T, store document.Store, fresh func() document.Scope) {
	ctx := t.Context()
	doc := func(k document.Kind, id, customer string) document.Doc {
		return document.Doc{Kind: k, ID: id, Version: 1, Customer: customer, JSON: []byte(`{"id":"` + id + `"}`)}
	}
	create := func(t *testing.T, s document.Scope, docs ...document.Doc) {
		t.Helper()
		if err := store.Create(ctx, s, docs); err != nil {
			t.Fatalf("Create(%d documents): %v", len(docs), err)
		}
	}
	wantErr := func(t *testing.T, call string, got, want error) {
		t.Helper()
		if !errors.Is(got, want) {
			t.Errorf("%s = %v, want %v", call, got, want)
		}
	}

	t.Run("what was created is read whole", func(t *testing.T) {
		s := fresh()
		want := doc(document.Events, "ev_1", "cus_1")
		want.ExpiresAt = time.Date(2031, 2, 3, 4, 5, 6, 0, time.UTC)
		create(t, s, want)
		got, err := store.Get(ctx, s, document.Events, "ev_1")
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("Get (-want +got):\n%s", d)
		}
	})
	t.Run("scopes and kinds are apart", func(t *testing.T) {
		s := fresh()
		create(t, s, doc(document.Customers, "x", "x"))
		others := []document.Scope{fresh(), {AccountID: s.AccountID, Environment: keys.Staging}}
		for _, o := range others {
			_, err := store.Get(ctx, o, document.Customers, "x")
			wantErr(t, "Get in another scope", err, keys.ErrNotFound)
			wantErr(t, "Delete in another scope", store.Delete(ctx, o, document.Customers, "x"), keys.ErrNotFound)
			d := doc(document.Customers, "x", "x")
			d.Version = 2
			wantErr(t, "Replace in another scope", store.Replace(ctx, o, d), document.ErrChanged)
			list, err := store.List(ctx, o, document.Customers, document.Filter{Limit: 10})
			if len(list) != 0 || err != nil {
				t.Errorf("List in another scope = %d documents, %v; want none", len(list), err)
			}
			confined, err := store.List(ctx, o, document.Customers, document.Filter{Limit: 10, Customers: []string{"x"}})
			if len(confined) != 0 || err != nil {
				t.Errorf("List of customer x in another scope = %d documents, %v; want none", len(confined), err)
			}
		}
		_, err := store.Get(ctx, s, document.Licenses, "x")
		wantErr(t, "Get of another kind", err, keys.ErrNotFound)
	})
	t.Run("an account's name never runs into an environment", func(t *testing.T) {
		s := fresh()
		a := document.Scope{AccountID: s.AccountID, Environment: keys.Production}
		b := document.Scope{AccountID: s.AccountID + "-" + string(keys.Production), Environment: keys.Production}
		create(t, a, doc(document.Customers, "x", "x"))
		_, err := store.Get(ctx, b, document.Customers, "x")
		wantErr(t, "Get", err, keys.ErrNotFound)
	})
	t.Run("a create is whole or not at all", func(t *testing.T) {
		s := fresh()
		create(t, s, doc(document.Customers, "b", "b"))
		err := store.Create(ctx, s, []document.Doc{doc(document.Customers, "a", "a"), doc(document.Customers, "b", "b")})
		wantErr(t, "Create of one that exists", err, document.ErrExists)
		_, err = store.Get(ctx, s, document.Customers, "a")
		wantErr(t, "Get of the other", err, keys.ErrNotFound)

		var many []document.Doc
		for i := range document.MaxCreate {
			many = append(many, doc(document.Events, fmt.Sprintf("ev_%03d", i), ""))
		}
		create(t, s, many...)
		got, err := store.List(ctx, s, document.Events, document.Filter{Limit: document.MaxCreate + 1})
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(many, got); d != "" {
			t.Errorf("List (-want +got):\n%s", d)
		}
	})
	t.Run("replace needs the version before", func(t *testing.T) {
		s := fresh()
		d := doc(document.Customers, "x", "x")
		create(t, s, d)
		d.Version, d.JSON = 2, []byte(`{"n":2}`)
		if err := store.Replace(ctx, s, d); err != nil {
			t.Fatalf("Replace: %v", err)
		}
		wantErr(t, "Replace with the same version again", store.Replace(ctx, s, d), document.ErrChanged)
		got, err := store.Get(ctx, s, document.Customers, "x")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(d, got); diff != "" {
			t.Errorf("Get (-want +got):\n%s", diff)
		}
		gone := doc(document.Customers, "gone", "gone")
		wantErr(t, "Replace of nothing", store.Replace(ctx, s, gone), document.ErrChanged)
		_, err = store.Get(ctx, s, document.Customers, "gone")
		wantErr(t, "Get after it", err, keys.ErrNotFound)
	})
	t.Run("of replaces at the same time one wins", func(t *testing.T) {
		s := fresh()
		create(t, s, doc(document.Customers, "x", "x"))
		var wg sync.WaitGroup
		errs := make([]error, 8)
		for i := range errs {
			wg.Go(func() {
				d := doc(document.Customers, "x", "x")
				d.Version = 2
				errs[i] = store.Replace(ctx, s, d)
			})
		}
		wg.Wait()
		won := 0
		for _, err := range errs {
			if err == nil {
				won++
			} else {
				wantErr(t, "Replace", err, document.ErrChanged)
			}
		}
		if won != 1 {
			t.Errorf("%d replaces won, want 1", won)
		}
	})
	t.Run("a deleted document is gone and may come again", func(t *testing.T) {
		s := fresh()
		create(t, s, doc(document.Customers, "x", "x"))
		if err := store.Delete(ctx, s, document.Customers, "x"); err != nil {
			t.Fatalf("Delete: %v", err)
		}
		wantErr(t, "Delete again", store.Delete(ctx, s, document.Customers, "x"), keys.ErrNotFound)
		_, err := store.Get(ctx, s, document.Customers, "x")
		wantErr(t, "Get", err, keys.ErrNotFound)
		create(t, s, doc(document.Customers, "x", "x"))
	})
	t.Run("a list is in order, filtered and paged", func(t *testing.T) {
		s := fresh()
		// An underscore sorts between capital and small letters, a '-' before them all.
		for _, id := range []string{"b", "A", "a_1", "-", "a", "C"} {
			create(t, s, doc(document.Customers, id, id))
		}
		for _, c := range []struct{ id, customer string }{{"l1", "a"}, {"l2", ""}, {"l3", "b"}, {"l4", "a"}} {
			create(t, s, doc(document.Licenses, c.id, c.customer))
		}
		for _, c := range []struct {
			kind document.Kind
			f    document.Filter
			want []string
		}{
			{document.Customers, document.Filter{Limit: 10}, []string{"-", "A", "C", "a", "a_1", "b"}},
			{document.Customers, document.Filter{Limit: 2}, []string{"-", "A"}},
			{document.Customers, document.Filter{Limit: 3, After: "A"}, []string{"C", "a", "a_1"}},
			{document.Customers, document.Filter{Limit: 10, After: "b"}, nil},
			{document.Customers, document.Filter{Limit: 10, Customers: []string{"b", "a", "absent", "a"}}, []string{"a", "b"}},
			{document.Customers, document.Filter{Limit: 1, Customers: []string{"b", "a"}}, []string{"a"}},
			{document.Customers, document.Filter{Limit: 10, Customers: []string{"b", "a"}, After: "a"}, []string{"b"}},
			{document.Licenses, document.Filter{Limit: 10}, []string{"l1", "l2", "l3", "l4"}},
			{document.Licenses, document.Filter{Limit: 10, Customers: []string{"a"}}, []string{"l1", "l4"}},
			{document.Licenses, document.Filter{Limit: 1, Customers: []string{"a"}, After: "l1"}, []string{"l4"}},
			{document.Workspaces, document.Filter{Limit: 10}, nil},
		} {
			docs, err := store.List(ctx, s, c.kind, c.f)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, d := range docs {
				got = append(got, d.ID)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("List(%s, %+v) = %v, want %v", c.kind, c.f, got, c.want)
			}
		}
	})
}
