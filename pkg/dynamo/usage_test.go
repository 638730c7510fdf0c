package dynamo_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/infra/local/ddb/ddbtest"
	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/config"
	"github.com/keyreeve/keyreeve/pkg/dynamo"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/usage"
	"github.com/keyreeve/keyreeve/pkg/usage/usagetest"
)

// usageOn returns the store in a table that exists.
func usageOn(c config.Config, u dynamo.UsageConfig, with ...func(*dynamodb.Options)) *dynamo.Usage {
	u.Table, u.Timeout = c.UsageTable, c.StoreTimeout
	return dynamo.NewUsage(dynamo.NewClient(c, with...), u)
}

func TestUsagePassesTheSuite(t *testing.T) {
	c := ddbtest.ConfigWithoutStream(t)
	usagetest.Suite(t, func(*testing.T) usage.Store { return usageOn(c, dynamo.UsageConfig{}) })
}

// at is a moment that the tests' requests are near: 22 November 2025, 10:20 UTC.
var at = time.UnixMilli(1_763_806_800_123).UTC()

// oneRequest is a request with every field set but Refused.
func oneRequest(account string, id apikey.ID, requestID string) usage.Request {
	return usage.Request{
		ID: requestID, RequestID: "r-" + requestID, Time: at, KeyID: id, AccountID: account, Environment: keys.Staging,
		Generation: 3, Parent: "p0000001", Method: "GET", Route: "/v1/customers", Permission: "customers:read", Status: 200,
		Latency: 12 * time.Millisecond, SourceIP: "203.0.113.9", UserAgent: "curl/8",
	}
}

// oneCount is n requests of a key on the day of at, and their totals.
func oneCount(account string, id apikey.ID, n int64) (usage.Count, usage.Totals) {
	c := usage.Count{AccountID: account, KeyID: id, Day: usage.DayOf(at), Permissions: map[string]int64{"customers:read": n}}
	c.Hours[10] = usage.Hour{Requests: n, Status: [6]int64{2: n}, Generations: map[int64]int64{3: n}}
	return c, usage.Totals{Requests: n, Admitted: n}
}

// TestUsageItemsAreAsDrawn holds where things are and what they are called: items outlive
// the program that put them, and a count by another rule would be lost or doubled.
func TestUsageItemsAreAsDrawn(t *testing.T) {
	c := ddbtest.ConfigWithoutStream(t)
	now := at.Add(time.Hour)
	s := usageOn(c, dynamo.UsageConfig{Clock: func() time.Time { return now }})
	const account, id = "acme", apikey.ID("a0000001")
	guarded, denied := oneRequest(account, id, "Jk_-="), oneRequest(account, id, "Jk_-=2")
	refusal := func(r usage.Request, why string) usage.Row {
		return usage.Row{Half: usage.RefusalHalf, Request: usage.Request{
			ID: r.ID, RequestID: r.RequestID, Time: r.Time, KeyID: r.KeyID, AccountID: r.AccountID, Environment: r.Environment, Refused: why,
		}}
	}
	unauthorized := refusal(denied, "expired")
	unauthorized.Request.Status = 401
	count, totals := oneCount(account, id, 4)
	profile := usage.Profile{
		KeyID: id, AccountID: account, First: at, LastUsed: at, LastRefused: at, Crowded: true,
		Permissions: map[string]time.Time{"customers:read": at}, Generations: map[int64]time.Time{3: at}, Networks: map[string]time.Time{"203.0.113.0/24": at},
	}
	for name, err := range map[string]error{
		"Record":      second(s.Record(t.Context(), "b1", []usage.Row{{Half: usage.AccessHalf, Request: guarded}, refusal(guarded, "rate_limited"), unauthorized})),
		"Count":       s.Count(t.Context(), "b1", []usage.Count{count}, map[apikey.ID]usage.Totals{id: totals}),
		"Join":        third(s.Join(t.Context(), usage.AccessHalf, denied)),
		"Join again":  third(s.Join(t.Context(), usage.RefusalHalf, unauthorized.Request)),
		"SaveProfile": s.SaveProfile(t.Context(), profile),
	} {
		if err != nil {
			t.Fatal(name, err)
		}
	}
	got := map[string]string{}
	for _, it := range (&store{raw: dynamo.NewClient(c)}).scan(t, c.UsageTable) {
		key := str(it, "pk") + " " + str(it, "sk")
		delete(it, "pk")
		delete(it, "sk")
		var attrs []string
		for _, name := range slices.Sorted(maps.Keys(it)) {
			attrs = append(attrs, name+"="+strings.TrimSpace(string(appendValue(nil, it[name]))))
		}
		got[key] = strings.Join(attrs, " ")
	}
	want := map[string]string{
		"R#acme#14 019aab13e8fb#Jk_-=": "ba=b1 br=b1 env=staging gen=3 ip=203.0.113.9 key=a0000001 met=GET ms=12 parent=p0000001 path=/v1/customers" +
			" perm=customers:read rid=r-Jk_-= st=200 ttl=1766398801 ua=curl/8 why=rate_limited",
		"R#acme#0 019aab13e8fb#Jk_-=2": "br=b1 env=staging key=a0000001 rid=r-Jk_-=2 st=401 ttl=1766398801 why=expired",
		"C#acme#20414#2 a0000001":      "10=4 10g3=4 10s2=4 p:customers:read=4 ttl=1798416000",
		"K#a0000001 T":                 "a=4 n=4",
		"K#a0000001 P": "acct=acme crowded=true first=1763806800123 gens=3=1763806800123 lu=1763806800123" +
			" nets=203.0.113.0/24=1763806800123 perms=customers:read=1763806800123 refused=1763806800123 version=1",
		"J#Jk_-=2 J": "acct=acme at=1763806800123 env=staging ha=true hr=true ip=203.0.113.9 key=a0000001 met=GET ms=12" +
			" path=/v1/customers perm=customers:read rid=r-Jk_-=2 st=200 ttl=1763896801 ua=curl/8 why=expired",
		"B#b1 0": "ttl=1768994401",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("items (-want +got):\n%s", diff)
	}
}

func second[A any](_ A, err error) error { return err }

func third[A, B any](_ A, _ B, err error) error { return err }

// The two lines of a request may tell it differently: a client's own request id is cut in
// the one and not in the other. Then the access log's is kept, whichever was first.
func TestWhereTheHalvesDifferTheAccessLineIsRight(t *testing.T) {
	s := usageOn(ddbtest.ConfigWithoutStream(t), dynamo.UsageConfig{})
	for _, order := range [][]usage.Half{{usage.AccessHalf, usage.RefusalHalf}, {usage.RefusalHalf, usage.AccessHalf}} {
		account := "f-" + string(apikey.NewID())
		want := oneRequest(account, "k0000001", "x")
		other := want
		other.RequestID, other.Status, other.Environment = "r-x, and more", 401, keys.Production
		for _, half := range order {
			r := want
			if half == usage.RefusalHalf {
				r = other
				r.Refused = "revoked"
			}
			if _, err := s.Record(t.Context(), usage.Batch(half), []usage.Row{{Half: half, Request: r}}); err != nil {
				t.Fatal(err)
			}
		}
		page, err := s.Requests(t.Context(), everything(account))
		if err != nil {
			t.Fatal(err)
		}
		want.Refused = "revoked"
		if diff := cmp.Diff([]usage.Request{want}, page.Requests); diff != "" {
			t.Errorf("%v: row (-want +got):\n%s", order, diff)
		}
	}
}

// A broken item must not pass for an absent one, nor be believed in part, and what it
// holds must not get into logs by an error.
func TestABrokenItemOfUsageIsAnErrorThatQuotesNothing(t *testing.T) {
	c := ddbtest.ConfigWithoutStream(t)
	s, raw := usageOn(c, dynamo.UsageConfig{}), &store{raw: dynamo.NewClient(c)}
	const account, id = "acme", apikey.ID("a0000001")
	day := usage.DayOf(at)
	for _, tt := range []struct {
		name string
		item item
		read func() error
	}{
		{"profile", item{"pk": text("K#a0000001"), "sk": text("P"), "lu": text("CANARY")},
			func() error { return second(s.Profiles(t.Context(), []apikey.ID{id})) }},
		{"generation", item{"pk": text("K#a0000001"), "sk": text("P"), "gens": mapOf("CANARY", "1")},
			func() error { return second(s.Profiles(t.Context(), []apikey.ID{id})) }},
		{"time of a network", item{"pk": text("K#a0000001"), "sk": text("P"), "nets": mapOf("CANARY", "1.5")},
			func() error { return second(s.Profiles(t.Context(), []apikey.ID{id})) }},
		{"totals", item{"pk": text("K#a0000001"), "sk": text("T"), "n": text("CANARY")},
			func() error { return second(s.Totals(t.Context(), []apikey.ID{id})) }},
		{"permission's count", item{"pk": text("C#acme#20414#2"), "sk": text("a0000001"), "p:CANARY": text("1")},
			func() error { return second(s.Days(t.Context(), account, []apikey.ID{id}, day, day)) }},
		{"hour", item{"pk": text("C#acme#20414#2"), "sk": text("a0000001"), "24": text("1")},
			func() error { return second(s.Days(t.Context(), account, []apikey.ID{id}, day, day)) }},
		{"kind of count", item{"pk": text("C#acme#20414#2"), "sk": text("a0000001"), "1CANARY": text("1")},
			func() error { return second(s.Days(t.Context(), account, []apikey.ID{id}, day, day)) }},
		{"hour of a list", item{"pk": text("C#acme#20414#2"), "sk": text("a0000001"), "7": text("CANARY")},
			func() error { return second(s.AccountDays(t.Context(), account, day, day)) }},
		{"place of a row", item{"pk": text("R#acme#0"), "sk": text("019aab13e8fbCANARY")},
			func() error { return second(s.Requests(t.Context(), everything(account))) }},
		{"status of a row", item{"pk": text("R#acme#0"), "sk": text("019aab13e8fb#x"), "st": text("CANARY")},
			func() error { return second(s.Requests(t.Context(), everything(account))) }},
		{"waiting line", item{"pk": text("J#x"), "sk": text("J"), "ha": text("CANARY")},
			func() error { return third(s.Join(t.Context(), usage.RefusalHalf, oneRequest(account, id, "x"))) }},
	} {
		if err := raw.put(t, c.UsageTable, tt.item); err != nil {
			t.Fatal(err)
		}
		err := tt.read()
		if !errors.Is(err, keys.ErrUnavailable) || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%s: %v, want ErrUnavailable that quotes nothing", tt.name, err)
		}
		if _, err := raw.raw.DeleteItem(t.Context(), &dynamodb.DeleteItemInput{TableName: &c.UsageTable, Key: item{"pk": tt.item["pk"], "sk": tt.item["sk"]}}); err != nil {
			t.Fatal(err)
		}
	}
}

// everything is all of an account's log around at, on one page.
func everything(account string) usage.Query {
	return usage.Query{AccountID: account, From: at.Add(-24 * time.Hour), To: at.Add(24 * time.Hour), Limit: 1000}
}

// A busy table leaves some items of a batch out, with no error at all.
func TestUsageAsksAgainForItemsThatABatchLeftOut(t *testing.T) {
	c := ddbtest.ConfigWithoutStream(t)
	s := usageOn(c, dynamo.UsageConfig{})
	ids, totals := []apikey.ID{}, map[apikey.ID]usage.Totals{}
	for i := range 130 {
		id := apikey.ID(fmt.Sprintf("k%07d", i))
		ids, totals[id] = append(ids, id), usage.Totals{Requests: int64(i + 1)}
	}
	if err := s.Count(t.Context(), "b", nil, totals); err != nil {
		t.Fatal(err)
	}
	lazy := &lazyBatches{most: 30}
	busy := usageOn(c, dynamo.UsageConfig{}, func(o *dynamodb.Options) { lazy.HTTPClient = o.HTTPClient; o.HTTPClient = lazy })
	got, err := busy.Totals(t.Context(), append(ids, ids[0]))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(totals, got); diff != "" {
		t.Errorf("Totals (-want +got):\n%s", diff)
	}
	if n := lazy.calls.Load(); n < 5 {
		t.Errorf("%d calls: nothing was left out", n)
	}
}

// Profiles decide what is saved over them, so they are read consistently; DynamoDB Local
// reads so whatever it is asked, so what is asked is checked.
func TestProfilesAreReadConsistently(t *testing.T) {
	w := &wire{}
	s := usageOn(ddbtest.ConfigWithoutStream(t), dynamo.UsageConfig{}, w.option)
	asked := map[bool]int{}
	w.reset(func(k call) fault {
		if in, ok := k.input.(*dynamodb.BatchGetItemInput); ok {
			for _, table := range in.RequestItems {
				asked[*table.ConsistentRead]++
			}
		}
		return fault{}
	})
	if _, err := s.Profiles(t.Context(), []apikey.ID{"k0000001"}); err != nil || asked[true] != 1 || asked[false] != 0 {
		t.Errorf("Profiles: %v; consistent or not: %v, want one call that is", err, asked)
	}
}

// mapOf is a map attribute with one number.
func mapOf(name, number string) types.AttributeValue {
	return &types.AttributeValueMemberM{Value: item{name: &types.AttributeValueMemberN{Value: number}}}
}
