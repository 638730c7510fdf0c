package dynamo_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/infra/local/ddb/ddbtest"
	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/config"
	"github.com/keyreeve/keyreeve/pkg/dynamo"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/usage"
)

// keysWithProfiles is the store of keys of a function that has the usage table.
func keysWithProfiles(c config.Config, with ...func(*dynamodb.Options)) *dynamo.Keys {
	return dynamo.NewKeys(dynamo.NewClient(c, with...), dynamo.KeysConfig{
		Table: c.KeysTable, Meters: c.MetersTable, UsageTable: c.UsageTable, Timeout: c.StoreTimeout,
	})
}

func TestLastUsedIsTheLaterOfMeterAndProfile(t *testing.T) {
	c := ddbtest.ConfigWithoutStream(t)
	s, u := storeOn(c), usageOn(c, dynamo.UsageConfig{})
	hour := func(n int) time.Time { return at.Add(time.Duration(n) * time.Hour) }
	want, meters, all := map[apikey.ID]keys.Usage{}, map[apikey.ID]keys.Usage{}, []apikey.ID{}
	for _, tt := range []struct {
		meter, profile int // hours; 0: never used
		later          int
	}{{1, 2, 2}, {2, 1, 2}, {3, 3, 3}, {0, 4, 4}, {4, 0, 4}, {0, 0, 0}} {
		id := apikey.NewID()
		all = append(all, id)
		if err := s.Settle(t.Context(), id, 1, true); err != nil {
			t.Fatal(err)
		}
		var w keys.Usage
		if tt.meter > 0 {
			if err := s.Use(t.Context(), id, hour(tt.meter)); err != nil {
				t.Fatal(err)
			}
			w = keys.Usage{LastUsed: hour(tt.meter), Requests: 1}
		}
		meters[id] = w
		p := usage.Profile{KeyID: id, AccountID: "acme", LastRefused: hour(9)} // a refusal is no use
		if tt.profile > 0 {
			p.LastUsed = hour(tt.profile)
		}
		if err := u.SaveProfile(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		if tt.later > 0 {
			w.LastUsed = hour(tt.later)
		}
		want[id] = w
	}
	stranger := apikey.NewID() // without a meter it is no key
	if err := u.SaveProfile(t.Context(), usage.Profile{KeyID: stranger, LastUsed: hour(1)}); err != nil {
		t.Fatal(err)
	}
	got, err := keysWithProfiles(c).Usage(t.Context(), append(all, stranger))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Usage (-want +got):\n%s", diff)
	}
	if got, err = s.Usage(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(meters, got); diff != "" {
		t.Errorf("Usage without the usage table (-want +got):\n%s", diff)
	}
}

// A list of 5,000 keys, as many as an account has at most, is read 50 keys a call, and what
// a busy table leaves out of either half is asked for again.
func TestTheUseOf5000KeysIsReadAtOnce(t *testing.T) {
	const n, perCall = 5000, 50
	c := ddbtest.ConfigWithoutStream(t)
	raw := dynamo.NewClient(c)
	var (
		ids    []apikey.ID
		meters []types.WriteRequest
	)
	put := func(table string, list []types.WriteRequest) {
		t.Helper()
		out, err := raw.BatchWriteItem(t.Context(), &dynamodb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{table: list}})
		if err != nil || len(out.UnprocessedItems) > 0 {
			t.Fatal(err, len(out.UnprocessedItems))
		}
	}
	number := func(i int64) types.AttributeValue { return &types.AttributeValueMemberN{Value: fmt.Sprint(i)} }
	for i := range n {
		id := apikey.ID(fmt.Sprintf("k%07d", i))
		ids = append(ids, id)
		meters = append(meters, types.WriteRequest{PutRequest: &types.PutRequest{Item: item{"id": text(string(id)), "n": number(int64(i)), "lu": number(at.UnixMilli())}}})
		if len(meters) == 25 || i == n-1 {
			put(c.MetersTable, meters)
			meters = nil
		}
		if i%500 == 0 { // a profile here and there, an hour later
			put(c.UsageTable, []types.WriteRequest{{PutRequest: &types.PutRequest{Item: item{
				"pk": text("K#" + string(id)), "sk": text("P"), "lu": number(at.Add(time.Hour).UnixMilli()),
			}}}})
		}
	}
	check := func(got map[apikey.ID]keys.Usage, err error) {
		t.Helper()
		if err != nil || len(got) != n {
			t.Fatalf("Usage of %d keys = %d, %v", n, len(got), err)
		}
		for i, id := range ids {
			want := keys.Usage{LastUsed: at, Requests: int64(i)}
			if i%500 == 0 {
				want.LastUsed = at.Add(time.Hour)
			}
			if got[id] != want {
				t.Fatalf("Usage[%s] = %+v, want %+v", id, got[id], want)
			}
		}
	}
	count := &counting{}
	start := time.Now()
	check(keysWithProfiles(c, count.option).Usage(t.Context(), ids))
	calls := len(count.take())
	t.Logf("%d keys: %d calls, %v on this machine", n, calls, time.Since(start).Round(time.Millisecond))
	if calls != n/perCall {
		t.Errorf("%d calls, want %d", calls, n/perCall)
	}
	lazy := &lazyBatches{most: 20}
	check(keysWithProfiles(c, func(o *dynamodb.Options) { lazy.HTTPClient = o.HTTPClient; o.HTTPClient = lazy }).Usage(t.Context(), ids))

	w := &wire{}
	w.reset(func(k call) fault {
		if in, ok := k.input.(*dynamodb.BatchGetItemInput); ok && aws.ToBool(in.RequestItems[c.UsageTable].ConsistentRead) {
			t.Error("a consistent read, at twice the price")
		}
		return onlyIf(k.n > 3, denied)
	})
	if got, err := keysWithProfiles(c, w.option).Usage(t.Context(), ids); !errors.Is(err, keys.ErrUnavailable) || got != nil {
		t.Errorf("Usage with half of it denied = %d keys, %v, want ErrUnavailable", len(got), err)
	}
}
