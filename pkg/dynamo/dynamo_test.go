package dynamo_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/keyreeve/keyreeve/infra/local/ddb/ddbtest"
	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/config"
	"github.com/keyreeve/keyreeve/pkg/dynamo"
	"github.com/keyreeve/keyreeve/pkg/guard"
	"github.com/keyreeve/keyreeve/pkg/keys/keystest"
	"github.com/keyreeve/keyreeve/pkg/limit"
)

// store is what keystest and guardtest need of the stores on fresh tables.
type store struct {
	*keyStore
	*meters
	raw *dynamodb.Client // without faults or counting
	cfg config.Config
}

type keyStore = dynamo.Keys // embedded by a name that is not its method's

// meters leaves Keys its own Settle and Usage.
type meters struct{ of *dynamo.Meters }

const retention = 30 * 24 * time.Hour

func newStore(t testing.TB, with ...func(*dynamodb.Options)) *store {
	t.Helper()
	c := ddbtest.ConfigWithoutStream(t)
	return storeOn(c, with...)
}

// storeOn returns the stores on tables that exist.
func storeOn(c config.Config, with ...func(*dynamodb.Options)) *store {
	client := dynamo.NewClient(c, with...)
	return &store{
		keyStore: dynamo.NewKeys(client, dynamo.KeysConfig{
			Table: c.KeysTable, Meters: c.MetersTable, Retention: retention, Timeout: c.StoreTimeout,
		}),
		meters: &meters{dynamo.NewMeters(client, c.MetersTable, c.StoreTimeout)},
		raw:    dynamo.NewClient(c),
		cfg:    c,
	}
}

type item = map[string]types.AttributeValue

func text(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }

// item reads an item as it is stored; nil if there is none.
func (s *store) item(t testing.TB, table string, key item) item {
	t.Helper()
	out, err := s.raw.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: &table, Key: key, ConsistentRead: aws.Bool(true)})
	if err != nil {
		t.Fatal(err)
	}
	return out.Item
}

// scan reads a whole table.
func (s *store) scan(t testing.TB, table string) []item {
	t.Helper()
	var all []item
	in := &dynamodb.ScanInput{TableName: &table, ConsistentRead: aws.Bool(true)}
	for {
		out, err := s.raw.Scan(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, out.Items...)
		if in.ExclusiveStartKey = out.LastEvaluatedKey; in.ExclusiveStartKey == nil {
			return all
		}
	}
}

// Meter implements keystest.Store: a count that no meter allows is refused with it.
func (s *store) Meter(ctx context.Context, id apikey.ID) (keystest.Meter, bool, error) {
	m, found, err := s.look(ctx, id)
	return keystest.Meter{Verdict: m.Verdict, Active: m.Active}, found, err
}

func (m *meters) look(ctx context.Context, id apikey.ID) (guard.Meter, bool, error) {
	_, err := m.of.Count(ctx, id, guard.Write{If: guard.State{Verdict: -1}, Then: guard.State{Verdict: -1}, N: 1, Passed: 1})
	if r, ok := err.(*guard.Refused); ok {
		return r.Meter, r.Found, nil
	}
	return guard.Meter{}, false, err
}

// Use implements keystest.Store.
func (s *store) Use(ctx context.Context, id apikey.ID, at time.Time) error {
	m, _, err := s.look(ctx, id)
	if err != nil {
		return err
	}
	w := guard.Write{If: m.State, Then: m.State, N: 1, Passed: 1, At: at}
	w.Minute = guard.Count{From: m.Window, To: m.Window.SlotAt(limit.Minute, at), Limit: 1 << 30}
	var longer guard.Longer
	if m.Longer != nil {
		longer = *m.Longer
	}
	k, err := s.Key(ctx, id)
	if err == nil && k.Limits.Hour > 0 {
		w.Hour = guard.Count{From: longer.Hour, To: longer.Hour.SlotAt(limit.Hour, at), Limit: 1 << 30}
	}
	if err == nil && k.Limits.Day > 0 {
		w.Day = guard.Count{From: longer.Day, To: longer.Day.SlotAt(limit.Day, at), Limit: 1 << 30}
	}
	if err == nil && k.Quota.Requests > 0 {
		w.Month = guard.MonthCount{From: longer.Month.Began, To: longer.Month.PeriodAt(at, k.Quota.RefillDay), Limit: 1 << 30}
	}
	_, err = s.of.Count(ctx, id, w)
	return err
}

// What an item holds, as text: str of a string, num of a number, truth of a boolean.

func str(it item, name string) string {
	v, _ := it[name].(*types.AttributeValueMemberS)
	if v == nil {
		return ""
	}
	return v.Value
}

func num(it item, name string) string {
	v, _ := it[name].(*types.AttributeValueMemberN)
	if v == nil {
		return ""
	}
	return v.Value
}

func truth(it item, name string) bool {
	v, _ := it[name].(*types.AttributeValueMemberBOOL)
	return v != nil && v.Value
}

// shown is what a key item and its list row have in common, as text.
func shown(it item) map[string]string {
	out := map[string]string{}
	for name, v := range it {
		switch name {
		case "pk", "sk", "digest", "pepper", "digest0", "pepper0":
		default:
			out[name] = string(appendValue(nil, v))
		}
	}
	return out
}

// dump writes items out, byte strings as they are.
func dump(items []item) (out []byte) {
	for _, it := range items {
		out = append(appendValue(out, &types.AttributeValueMemberM{Value: it}), '\n')
	}
	return out
}

func appendValue(out []byte, v types.AttributeValue) []byte {
	switch v := v.(type) {
	case *types.AttributeValueMemberS:
		return append(out, v.Value...)
	case *types.AttributeValueMemberN:
		return append(out, v.Value...)
	case *types.AttributeValueMemberB:
		return append(out, v.Value...)
	case *types.AttributeValueMemberBOOL:
		return fmt.Append(out, v.Value)
	case *types.AttributeValueMemberL:
		for _, e := range v.Value {
			out = append(appendValue(out, e), ' ')
		}
		return out
	case *types.AttributeValueMemberM:
		for name, e := range v.Value {
			out = append(appendValue(append(append(out, name...), '='), e), ' ')
		}
		return out
	}
	panic(fmt.Sprintf("the layout has no %T", v))
}

// put writes an item past the stores.
func (s *store) put(t testing.TB, table string, it item) error {
	t.Helper()
	_, err := s.raw.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &table, Item: it})
	return err
}
