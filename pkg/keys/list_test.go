package keys_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/pkg/keys"
)

// listed is a world with keys of every kind; numbers are in the comments.
func listed(t *testing.T) *world {
	w := newWorld(t, "enterprise")
	none := &[]string{}
	w.Clock.Advance(time.Second)
	w.create(w.root, keys.CreateInput{Name: "banana", Permissions: none, ExpirationDays: new(10)}) // 2
	w.Clock.Advance(time.Second)
	w.create(w.root, keys.CreateInput{Name: "Äpfel", Owner: "Straße & Söhne", Permissions: none, Environment: new(keys.Staging)})     // 3
	w.create(w.root, keys.CreateInput{Name: "Cherry", Permissions: none, Environment: new(keys.Development), ExpirationDays: new(1)}) // 4
	off := w.create(w.root, keys.CreateInput{Name: "BANANA", Permissions: none, Environment: new(keys.Development)})                  // 5
	gone := w.create(w.root, keys.CreateInput{Name: "gone", Permissions: none, Environment: new(keys.Development)})                   // 6
	if _, _, err := w.Service.Revoke(ctx, w.root, ref(off), false, anyVersion); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Service.Delete(ctx, w.root, ref(gone), anyVersion); err != nil {
		t.Fatal(err)
	}
	w.Clock.Advance(24 * time.Hour) // 4 is expired
	for i, n := range []int64{3, 2, 3} {
		k, err := w.memory.KeyByNumber(ctx, w.root.AccountID, n)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.memory.Use(ctx, k.ID, w.Clock.Now().Add(time.Duration(i)*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func numbers(list []keys.Key) string {
	out := ""
	for _, k := range list {
		out += fmt.Sprint(" ", k.Number)
	}
	return strings.TrimPrefix(out, " ")
}

func TestListFiltersAndSorts(t *testing.T) {
	w := listed(t)
	for name, tt := range map[string]struct {
		q    keys.Query
		want string // numbers
	}{
		"everything but what is deleted": {keys.Query{}, "1 2 3 4 5"},
		"production":                     {keys.Query{Environment: keys.Production}, "1 2"},
		"development":                    {keys.Query{Environment: keys.Development}, "4 5"},
		"active":                         {keys.Query{Status: keys.Active}, "1 2 3"},
		"inactive":                       {keys.Query{Status: keys.Inactive}, "5"},
		"expired":                        {keys.Query{Status: keys.Expired}, "4"},
		"revoked":                        {keys.Query{Status: keys.Revoked}, "6"},
		"both":                           {keys.Query{Status: keys.Inactive, Environment: keys.Production}, ""},
		"part of a name, any case":       {keys.Query{Text: "aNaN"}, "2 5"},
		"beyond ASCII":                   {keys.Query{Text: "äPFEL"}, "3"},
		"owner":                          {keys.Query{Text: "SÖHNE"}, "3"},
		"a letter of its own fold":       {keys.Query{Text: "ſtra"}, "3"}, // the long s folds to s
		"mask":                           {keys.Query{Text: "KR_STAGE_"}, "3"},
		"mask with asterisks":            {keys.Query{Text: "kr_dev_****"}, "4 5"},
		"asterisks alone":                {keys.Query{Text: "****"}, ""},
		"nothing":                        {keys.Query{Text: "banana split"}, ""},
		"text and filter":                {keys.Query{Text: "banana", Environment: keys.Development}, "5"},
		"by number":                      {keys.Query{Sort: "number"}, "1 2 3 4 5"},
		"by number, down":                {keys.Query{Sort: "-number"}, "5 4 3 2 1"},
		"by name":                        {keys.Query{Sort: "name"}, "2 5 4 1 3"}, // banana, BANANA, Cherry, Root key, Äpfel
		"by name, down":                  {keys.Query{Sort: "-name"}, "3 1 4 5 2"},
		"by createdAt":                   {keys.Query{Sort: "-createdAt"}, "5 4 3 2 1"},
		"by expiresAt, never last":       {keys.Query{Sort: "expiresAt"}, "4 2 1 3 5"},
		"by lastUsed, never first":       {keys.Query{Sort: "lastUsed"}, "1 4 5 2 3"},
		"by lastUsed, down":              {keys.Query{Sort: "-lastUsed"}, "3 2 5 4 1"},
		"by environment":                 {keys.Query{Sort: "environment"}, "1 2 3 4 5"},
		"by environment, down":           {keys.Query{Sort: "-environment"}, "5 4 3 2 1"},
		"by status":                      {keys.Query{Sort: "status"}, "1 2 3 5 4"},
	} {
		t.Run(name, func(t *testing.T) {
			page, err := w.Service.List(ctx, w.root, tt.q)
			if err != nil {
				t.Fatal(err)
			}
			if got := numbers(page.Keys); got != tt.want || page.Total != len(page.Keys) || page.Next != "" {
				t.Errorf("List = %q, total %d, next %q, want %q", got, page.Total, page.Next, tt.want)
			}
			// The same in pages of any size, and each page has the use of its keys.
			for size := 1; size <= 4; size++ {
				q, got := tt.q, []keys.Key(nil)
				q.Limit = size
				for range 10 {
					page, err := w.Service.List(ctx, w.root, q)
					if err != nil || len(page.Keys) > size || page.Total != strings.Count(tt.want, " ")+min(len(tt.want), 1) {
						t.Fatalf("a page of %d, total %d, %v", len(page.Keys), page.Total, err)
					}
					got = append(got, page.Keys...)
					if q.Cursor = page.Next; q.Cursor == "" {
						break
					}
				}
				if numbers(got) != tt.want {
					t.Errorf("in pages of %d: %q, want %q", size, numbers(got), tt.want)
				}
				for _, k := range got {
					if want := map[int64]int64{2: 1, 3: 2}[k.Number]; k.Requests != want || (want > 0) == k.LastUsed.IsZero() {
						t.Errorf("key %d: %d requests, last used %v, want %d", k.Number, k.Requests, k.LastUsed, want)
					}
				}
			}
		})
	}
}

func TestListFindsAKeyByItsIdAndMask(t *testing.T) {
	w := listed(t)
	id := string(w.root.KeyID)
	for _, text := range []string{id, strings.ToLower(id), id[2:6], "kr_live_" + id[:3] + "****", "KR_LIVE_" + id[:4]} {
		page, err := w.Service.List(ctx, w.root, keys.Query{Text: text})
		if err != nil || !slices.ContainsFunc(page.Keys, func(k keys.Key) bool { return k.ID == w.root.KeyID }) {
			t.Errorf("%d keys, %v, want the root key among them", page.Total, err)
		}
	}
}

func TestACallerListsWhatItSees(t *testing.T) {
	w := listed(t)
	dev := w.manager(keys.Development, "api_keys:read") // 7
	for q, want := range map[keys.Query]string{
		{}:                             "4 5 7",
		{Environment: keys.Production}: "",
		{Status: keys.Revoked}:         "6",
		{Text: "banana"}:               "5",
		{Text: "root"}:                 "",
	} {
		page, err := w.Service.List(ctx, dev, q)
		if err != nil || numbers(page.Keys) != want || page.Total != len(page.Keys) {
			t.Errorf("List(%+v) = %q, total %d, %v, want %q", q, numbers(page.Keys), page.Total, err, want)
		}
	}
	_, err := w.Service.List(ctx, w.manager(keys.Production, "*"), keys.Query{})
	escalates(t, "List without api_keys:read", err, "permissions")
}

func TestBadQueriesNameTheirFields(t *testing.T) {
	w := newWorld(t, "enterprise")
	for q, want := range map[keys.Query]string{
		{Environment: "shared"}:          "environment",
		{Status: "deleted"}:              "status",
		{Sort: "owner"}:                  "sort",
		{Sort: "-"}:                      "sort",
		{Sort: "--name"}:                 "sort",
		{Limit: -1}:                      "limit",
		{Limit: 1001}:                    "limit",
		{Text: strings.Repeat("é", 101)}: "text",
		{Text: strings.Repeat("é", 100)}: "",
		{Limit: 1000}:                    "",
		{Status: "x", Environment: "x", Limit: 5000}: "environment status limit",
	} {
		_, err := w.Service.List(ctx, w.root, q)
		if got := invalidFields(t, err); got != want {
			t.Errorf("List(%+v): fields at fault %q, want %q", q, got, want)
		}
	}
}

func TestPagingIsStableWhileKeysComeAndGo(t *testing.T) {
	w := newWorld(t, "enterprise")
	var made []keys.Caller
	for i := range 9 { // numbers 2 to 10
		made = append(made, w.create(w.root, keys.CreateInput{Name: fmt.Sprintf("key %d", i), Permissions: &[]string{}}))
	}
	q := keys.Query{Sort: "name", Limit: 3, Text: "key "}
	var got []keys.Key
	for page := range 10 {
		p, err := w.Service.List(ctx, w.root, q)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, p.Keys...)
		if page == 0 {
			// The last key of the page goes, one before it comes, one after it comes.
			if _, err := w.Service.Delete(ctx, w.root, ref(made[2]), anyVersion); err != nil {
				t.Fatal(err)
			}
			w.create(w.root, keys.CreateInput{Name: "key 0 and a half"})
			w.create(w.root, keys.CreateInput{Name: "key 4 and a half"}) // 12
		}
		if q.Cursor = p.Next; q.Cursor == "" {
			break
		}
	}
	if want := "2 3 4 5 6 12 7 8 9 10"; numbers(got) != want {
		t.Errorf("all pages = %q, want %q: each key that stayed once, and the new one that lay ahead", numbers(got), want)
	}
}

func TestAnUnpagedListEndsAt1000(t *testing.T) {
	w := newWorld(t, "enterprise")
	for range 1004 {
		w.create(w.root, keys.CreateInput{Permissions: &[]string{}})
	}
	p, err := w.Service.List(ctx, w.root, keys.Query{})
	if err != nil || len(p.Keys) != 1000 || p.Total != 1005 || p.Next == "" {
		t.Fatalf("List = %d keys of %d, next %t, %v, want 1000 of 1005", len(p.Keys), p.Total, p.Next != "", err)
	}
	p, err = w.Service.List(ctx, w.root, keys.Query{Cursor: p.Next})
	if err != nil || numbers(p.Keys) != "1001 1002 1003 1004 1005" || p.Total != 1005 || p.Next != "" {
		t.Errorf("the next = %q of %d, %v", numbers(p.Keys), p.Total, err)
	}
}

func TestACursorIsGoodForItsOwnListAlone(t *testing.T) {
	w := listed(t)
	_, stranger := w.World.Account(t, "enterprise")
	for range 3 {
		w.create(stranger, keys.CreateInput{})
	}
	dev := w.manager(keys.Development, "api_keys:read")
	q := keys.Query{Sort: "name", Limit: 1, Text: "a"}
	page, err := w.Service.List(ctx, w.root, q)
	if err != nil || page.Next == "" {
		t.Fatalf("List: %v", err)
	}
	cursor := page.Next
	refuse := func(what string, c keys.Caller, q keys.Query) {
		t.Helper()
		_, err := w.Service.List(ctx, c, q)
		is(t, what, err, keys.ErrInvalidCursor)
	}
	ask := func(edit func(*keys.Query)) keys.Query {
		q := q
		q.Cursor = cursor
		edit(&q)
		return q
	}
	good := ask(func(q *keys.Query) { q.Limit = 2 })
	if _, err := w.Service.List(ctx, w.root, good); err != nil {
		t.Fatalf("with another limit: %v", err)
	}
	if other := w.manager(keys.Production, "api_keys:read"); true {
		if _, err := w.Service.List(ctx, other, good); err != nil {
			t.Errorf("by another caller who sees the same: %v", err)
		}
	}
	refuse("another account", stranger, good)
	refuse("a caller who sees less", dev, good)
	refuse("another order", w.root, ask(func(q *keys.Query) { q.Sort = "-name" }))
	refuse("no order", w.root, ask(func(q *keys.Query) { q.Sort = "" }))
	refuse("another text", w.root, ask(func(q *keys.Query) { q.Text = "b" }))
	refuse("an environment", w.root, ask(func(q *keys.Query) { q.Environment = keys.Production }))
	refuse("a status", w.root, ask(func(q *keys.Query) { q.Status = keys.Active }))
	for _, c := range []string{"x", "AAAA", "====", cursor + "A", cursor[1:], cursor[:len(cursor)-1], " " + cursor,
		strings.Repeat("A", 5000), "AQA", "AQ" + strings.Repeat("_", 200), cursor + "\n", cursor + "="} {
		refuse("a malformed cursor", w.root, ask(func(q *keys.Query) { q.Cursor = c }))
	}
	raw, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		t.Fatal(err)
	}
	for i := range raw { // one bit of each byte
		changed := slices.Clone(raw)
		changed[i] ^= 1 << (i % 8)
		refuse(fmt.Sprint("a changed byte ", i), w.root, ask(func(q *keys.Query) { q.Cursor = base64.RawURLEncoding.EncodeToString(changed) }))
	}

	// It outlives a change of pepper.
	w.Peppers.Rotate()
	if _, err := w.Service.List(ctx, w.root, good); err != nil {
		t.Errorf("after a change of pepper: %v", err)
	}
	var e *keys.ValidationError
	if _, err := w.Service.List(ctx, w.root, keys.Query{Sort: "nonsense", Cursor: "x"}); !errors.As(err, &e) {
		t.Errorf("bad order and cursor = %v, want the order to be named", err)
	}
}
