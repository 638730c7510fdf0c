package dynamo_test

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/keyreeve/keyreeve/infra/local/ddb/ddbtest"
	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/dynamo"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/usage"
)

// TestPagesOfTheLogHoldEachRowOnce reads a log of 100 rows, many of them in the same
// millisecond, by any query, with pages that end for their limit and for what they may
// read. Whatever it is, the pages together are the rows that match, in order.
func TestPagesOfTheLogHoldEachRowOnce(t *testing.T) {
	c := ddbtest.ConfigWithoutStream(t)
	const account, n = "acme", 100
	rnd := rand.New(rand.NewPCG(1, 2))
	ids := []apikey.ID{"busykey1", "otherkey", "quietkey"}
	var (
		all  []usage.Request
		rows []usage.Row
	)
	for i := range n {
		r := oneRequest(account, ids[min(rnd.IntN(8)/5, rnd.IntN(3))], fmt.Sprintf("%08x-%d", rnd.Uint32(), i))
		r.Time = at.Add(time.Duration(rnd.IntN(60)) * time.Millisecond)
		r.Environment = keys.Environments()[rnd.IntN(len(keys.Environments()))]
		r.Status = []int{200, 201, 401, 404, 500}[rnd.IntN(5)]
		r.Method, r.Route = []string{"GET", "POST"}[rnd.IntN(2)], []string{"/v1/a", "/v1/b"}[rnd.IntN(2)]
		if r.Status == 401 {
			r.Refused = "expired"
		}
		all, rows = append(all, r), append(rows, usage.Row{Half: usage.AccessHalf, Request: r})
	}
	if _, err := usageOn(c, dynamo.UsageConfig{}).Record(t.Context(), "b", rows); err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(all, func(a, b usage.Request) int {
		return cmp.Or(b.Time.Compare(a.Time), strings.Compare(b.ID, a.ID))
	})
	pages, short, empty := 0, 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		maybe := func(label string) bool { return rapid.IntRange(0, 3).Draw(rt, label) == 0 }
		q := usage.Query{
			AccountID: account, Limit: rapid.SampledFrom([]int{4, 15, 1000}).Draw(rt, "limit"),
			From: at.Add(time.Duration(rapid.IntRange(-5, 60).Draw(rt, "from")) * 500 * time.Microsecond),
			To:   at.Add(time.Duration(rapid.IntRange(60, 130).Draw(rt, "to")) * 500 * time.Microsecond),
		}
		if maybe("by key") {
			q.KeyID = rapid.SampledFrom(ids).Draw(rt, "key")
		}
		if maybe("by environment") {
			q.Environments = keys.Environments()[:rapid.IntRange(1, 2).Draw(rt, "environments")]
		}
		if maybe("by status") {
			q.Status = rapid.SampledFrom([]int{200, 401, 302}).Draw(rt, "status")
		}
		if maybe("by class") {
			q.Class = rapid.IntRange(2, 5).Draw(rt, "class")
		}
		if maybe("by route") {
			q.Route = "/v1/a"
		}
		if maybe("by method") {
			q.Method = "POST"
		}
		q.Refused = maybe("refused")
		s := usageOn(c, dynamo.UsageConfig{RowsPerPage: rapid.SampledFrom([]int{1, 64, 10_000}).Draw(rt, "rows to read")})

		var want, got []string
		for _, r := range all {
			if (q.KeyID == "" || r.KeyID == q.KeyID) && (q.Environments == nil || slices.Contains(q.Environments, r.Environment)) &&
				(q.Status == 0 || r.Status == q.Status) && (q.Class == 0 || r.Status/100 == q.Class) &&
				(q.Route == "" || r.Route == q.Route) && (q.Method == "" || r.Method == q.Method) &&
				(!q.Refused || r.Refused != "") && !r.Time.Before(q.From) && r.Time.Before(q.To) {
				want = append(want, r.ID)
			}
		}
		for {
			page, err := s.Requests(t.Context(), q)
			if err != nil {
				rt.Fatal(err)
			}
			if len(page.Requests) > q.Limit {
				rt.Fatalf("a page of %d, the limit is %d", len(page.Requests), q.Limit)
			}
			for _, r := range page.Requests {
				got = append(got, r.ID)
			}
			pages++
			if page.Next == nil {
				break
			}
			switch {
			case len(page.Requests) == 0:
				empty++
			case len(page.Requests) < q.Limit:
				short++
			}
			if q.After != nil && !later(*page.Next, *q.After) {
				rt.Fatalf("the page after %v goes on after %v: no end of it", q.After, page.Next)
			}
			q.After = page.Next
		}
		if diff := gocmp.Diff(want, got); diff != "" {
			rt.Fatalf("%+v: pages together (-want +got):\n%s", q, diff)
		}
	})
	t.Logf("%d pages, of which %d were short and %d empty though not the last", pages, short, empty)
	if short == 0 || empty == 0 {
		t.Error("no page ended for what it may read")
	}
}

// later is whether a comes after b in the order of a log.
func later(a, b usage.Place) bool {
	return cmp.Or(b.Time.Compare(a.Time), strings.Compare(b.ID, a.ID)) > 0
}

// What one page costs is bounded, also where nothing matches.
func TestAPageOfTheLogReadsNoMoreThanItMay(t *testing.T) {
	c := ddbtest.ConfigWithoutStream(t)
	s := usageOn(c, dynamo.UsageConfig{})
	var rows []usage.Row
	for i := range 600 {
		r := oneRequest("acme", "k0000001", fmt.Sprint("id", i))
		r.Time = r.Time.Add(time.Duration(i) * time.Millisecond)
		rows = append(rows, usage.Row{Half: usage.AccessHalf, Request: r})
	}
	if _, err := s.Record(t.Context(), "b", rows); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		change func(*usage.Query)
		most   int // calls
	}{
		{"a key's newest", func(q *usage.Query) { q.KeyID, q.Limit = "k0000001", 20 }, 4},
		{"the account's newest", func(q *usage.Query) { q.Limit = 20 }, 20},
		{"nothing matches", func(q *usage.Query) { q.KeyID, q.Status = "k0000001", 999 }, 4},
		{"another key's", func(q *usage.Query) { q.KeyID = "k0000002" }, 4},
	} {
		w := &wire{}
		bounded := usageOn(c, dynamo.UsageConfig{RowsPerPage: 200}, w.option)
		w.reset(nil)
		q := everything("acme")
		tt.change(&q)
		if _, err := bounded.Requests(t.Context(), q); err != nil {
			t.Fatal(err)
		}
		if n := len(w.seen()); n > tt.most {
			t.Errorf("%s: %d calls, want at most %d", tt.name, n, tt.most)
		}
	}
}

// Reading fails whole when one shard does not answer: a log with holes would look right.
func TestAShardThatDoesNotAnswerIsNoHoleInTheLog(t *testing.T) {
	c := ddbtest.ConfigWithoutStream(t)
	w := &wire{}
	s := usageOn(c, dynamo.UsageConfig{}, w.option)
	w.reset(func(k call) fault {
		if in, ok := k.input.(*dynamodb.QueryInput); ok && strings.HasSuffix(str(in.ExpressionAttributeValues, ":pk"), "#3") {
			return denied
		}
		return fault{}
	})
	if page, err := s.Requests(t.Context(), everything("acme")); !errors.Is(err, keys.ErrUnavailable) {
		t.Errorf("Requests = %+v, %v, want ErrUnavailable", page, err)
	}
	if list, err := s.AccountDays(t.Context(), "acme", 3, 3); !errors.Is(err, keys.ErrUnavailable) {
		t.Errorf("AccountDays = %+v, %v, want ErrUnavailable", list, err)
	}
}
