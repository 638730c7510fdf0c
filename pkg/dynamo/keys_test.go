package dynamo_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/keys/keystest"
)

var _ keystest.Store = (*store)(nil)

func TestKeysPassTheSuite(t *testing.T) {
	shared := newStore(t)
	keystest.Suite(t, func(*testing.T) keystest.Store { return shared })
}

func TestLifecycleAgreesWithTheModelFor100Sequences(t *testing.T) {
	keystest.Model(t, newStore(t), 100)
}

func TestPrimaryStormLeavesExactlyOnePrimary(t *testing.T) {
	keystest.PrimaryStorm(t, newStore(t), 20) // 1,280 changes; the memory store has more rounds
}

func keyOf(pk, sk string) item { return item{"pk": text(pk), "sk": text(sk)} }

func TestTTLIsRetentionAfterTheEndAndNeverOnAPrimaryKey(t *testing.T) {
	c := newChange(t)
	c.wire.reset(nil)
	seconds := func(at time.Time) string { return fmt.Sprint(at.Unix()) }
	end := base.Truncate(time.Second).Add(time.Hour)
	for _, step := range []struct {
		name string
		edit func(k *keys.Key)
		want string // of key item and list row; empty: none
	}{
		{"primary, no end", func(k *keys.Key) {}, ""},
		{"primary with an end", func(k *keys.Key) { k.ExpiresAt = end }, ""},
		{"with an end", func(k *keys.Key) { k.Primary = false }, seconds(end.Add(retention))},
		{"a part of a second is rounded up", func(k *keys.Key) { k.ExpiresAt = end.Add(time.Millisecond) }, seconds(end.Add(retention + time.Second))},
		{"no end any more", func(k *keys.Key) { k.ExpiresAt = time.Time{} }, ""},
		{"inactive", func(k *keys.Key) { k.Active = false }, ""},
		{"deleted before its end", func(k *keys.Key) { k.Deleted, k.DeletedAt, k.ExpiresAt = true, end, end.Add(time.Hour) }, seconds(end.Add(retention))},
	} {
		k, err := c.Key(t.Context(), c.key.ID)
		if err != nil {
			t.Fatal(err)
		}
		w := keys.KeyWrite{New: k, Was: k.Version}
		w.New.Version++
		step.edit(&w.New)
		if err := c.Commit(t.Context(), keys.Change{Keys: []keys.KeyWrite{w}, Audit: c.event("test")}); err != nil {
			t.Fatal(err)
		}
		for what, key := range map[string]item{
			"key item": keyOf("K#"+string(c.key.ID), "K"), "list row": keyOf("A#"+c.account, "K#0000000001"),
		} {
			if got := num(c.item(t, c.cfg.KeysTable, key), "ttl"); got != step.want {
				t.Errorf("%s: ttl of the %s = %q, want %q", step.name, what, got, step.want)
			}
		}
	}

	// A session has no history of its own.
	session := c.key
	session.ID, session.Number, session.Parent, session.ParentVerdict = apikey.NewID(), 0, c.key.ID, 1
	session.ExpiresAt, session.Version, session.Primary = end, 1, false
	if err := c.Commit(t.Context(), keys.Change{Keys: []keys.KeyWrite{{New: session, SecretChanged: true}}, Audit: c.event("test")}); err != nil {
		t.Fatal(err)
	}
	for what, key := range map[string]item{
		"session": keyOf("K#"+string(session.ID), "K"), "session's row": keyOf("A#"+c.account, "S#"+string(c.key.ID)+"#"+string(session.ID)),
	} {
		if got := num(c.item(t, c.cfg.KeysTable, key), "ttl"); got != seconds(end) {
			t.Errorf("ttl of a %s = %q, want its end", what, got)
		}
	}

	record := keys.IdempotencyRecord{Name: "r-" + c.account, KeyID: c.key.ID, CreatedAt: base, ExpiresAt: end}
	event := c.event("test")
	event.At = end
	if err := c.Commit(t.Context(), keys.Change{Record: &record, Audit: event}); err != nil {
		t.Fatal(err)
	}
	if got := num(c.item(t, c.cfg.KeysTable, keyOf("I#"+record.Name, "I")), "ttl"); got != seconds(end.Add(time.Hour)) {
		t.Errorf("ttl of a record = %s, want an hour after its end", got)
	}
	if got := num(c.item(t, c.cfg.KeysTable, keyOf("A#"+c.account, "L#"+event.ID)), "ttl"); got != seconds(end.Add(retention)) {
		t.Errorf("ttl of an audit row = %s, want its time and the retention", got)
	}
	event.ID, event.KeyID = event.ID+"x", c.key.ID
	if err := c.Commit(t.Context(), keys.Change{Audit: event}); err != nil {
		t.Fatal(err)
	}
	if got := num(c.item(t, c.cfg.KeysTable, keyOf("T#"+string(c.key.ID), "L#"+event.ID)), "ttl"); got != seconds(end.Add(retention)) {
		t.Errorf("ttl of a row in a trail = %s, want its time and the retention", got)
	}
	if got := c.item(t, c.cfg.KeysTable, keyOf("A#"+c.account, "A"))["ttl"]; got != nil {
		t.Error("the account item has a ttl")
	}
}

// The authorizer's role may write digest and pepper and nothing else, so a re-digest must
// not even name another attribute.
func TestARedigestNamesTwoAttributesAndChangesNoOther(t *testing.T) {
	c := newChange(t)
	key := keyOf("K#"+string(c.key.ID), "K")
	before := c.item(t, c.cfg.KeysTable, key)
	var in *dynamodb.UpdateItemInput
	c.wire.reset(func(k call) fault { in, _ = k.input.(*dynamodb.UpdateItemInput); return fault{} })
	if err := c.Redigest(t.Context(), c.key.ID, c.key.Secret, keys.Secret{Digest: apikey.Digest{9}, Pepper: "p2"}); err != nil {
		t.Fatal(err)
	}
	if calls := short(c.wire.seen()); calls != "U" || in == nil {
		t.Fatalf("calls %q, want one UpdateItem", calls)
	}
	named := map[string]bool{}
	for _, word := range regexp.MustCompile(`:?\w+`).FindAllString(*in.ConditionExpression+" "+*in.UpdateExpression, -1) {
		if word != "SET" && word != "AND" && word[0] != ':' {
			named[word] = true
		}
	}
	if diff := cmp.Diff([]string{"digest", "pepper"}, slices.Sorted(maps.Keys(named))); diff != "" || len(in.ExpressionAttributeNames) > 0 {
		t.Errorf("attributes named (-want +got):\n%s", diff)
	}
	if in.ReturnValues != "" && in.ReturnValues != types.ReturnValueNone || in.ReturnValuesOnConditionCheckFailure == types.ReturnValuesOnConditionCheckFailureAllOld {
		t.Error("a re-digest asks for the item, which would need the right to read all of it")
	}
	after := c.item(t, c.cfg.KeysTable, key)
	for name := range after {
		same := string(appendValue(nil, after[name])) == string(appendValue(nil, before[name]))
		if changes := name == "digest" || name == "pepper"; same == changes {
			t.Errorf("attribute %s: the same is %t", name, same)
		}
	}
	if len(after) != len(before) {
		t.Errorf("%d attributes, before %d", len(after), len(before))
	}
}

// An item that somebody has broken must be neither believed nor taken for an absent one.
func TestABrokenItemIsAnErrorWhateverIsBroken(t *testing.T) {
	c := newChange(t)
	k := c.key
	k.ID, k.Number, k.Primary = apikey.NewID(), 2, true
	k.Permissions, k.Customers, k.Owner, k.LimitNamed, k.Deleted = []string{"a:b"}, []string{"c"}, "o", true, true
	k.Parent, k.ParentVerdict = c.key.ID, 3
	k.Face, k.CreatedBy, k.CreatedAt, k.UpdatedAt, k.VerdictAt, k.RotatedAt, k.ExpiresAt, k.DeletedAt = keys.Canonical, "createdX", base, base, base, base, base, base
	k.Previous = keys.Secret{Generation: 7, Prefix: "p", Until: base, Digest: apikey.Digest{2}, Pepper: "p0"}
	c.wire.reset(nil)
	if err := c.Commit(t.Context(), keys.Change{Keys: []keys.KeyWrite{{New: k, SecretChanged: true}}, Audit: c.event("key.create")}); err != nil {
		t.Fatal(err)
	}
	whole := c.item(t, c.cfg.KeysTable, keyOf("K#"+string(k.ID), "K"))
	if len(whole) < 30 {
		t.Fatalf("the item has %d attributes: not all are under test", len(whole))
	}
	put := func(it item) {
		t.Helper()
		if _, err := c.raw.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &c.cfg.KeysTable, Item: it}); err != nil {
			t.Fatal(err)
		}
	}
	read := func(what string) {
		t.Helper()
		if _, err := c.Key(t.Context(), k.ID); !errors.Is(err, keys.ErrUnavailable) || errors.Is(err, keys.ErrNotFound) {
			t.Errorf("Key with %s = %v, want ErrUnavailable", what, err)
		}
	}
	for name := range whole {
		if name == "pk" || name == "sk" || name == "ttl" { // the first two are its key, the third is for DynamoDB
			continue
		}
		broken := maps.Clone(whole)
		broken[name] = &types.AttributeValueMemberNULL{Value: true}
		put(broken)
		read(name + " of another type")
	}
	for name, value := range map[string]types.AttributeValue{
		"verdict": &types.AttributeValueMemberN{Value: "1.5"},
		"digest":  &types.AttributeValueMemberB{Value: []byte("short")},
		"perms":   &types.AttributeValueMemberL{Value: []types.AttributeValue{&types.AttributeValueMemberN{Value: "1"}}},
		"version": nil, "id": nil, "acct": nil,
	} {
		broken := maps.Clone(whole)
		if broken[name] = value; value == nil {
			delete(broken, name)
		}
		put(broken)
		read("a broken " + name)
	}
	put(whole)
	if got, err := c.Key(t.Context(), k.ID); err != nil || cmp.Diff(k, got) != "" {
		t.Errorf("Key of the whole item again: %v (-want +got):\n%s", err, cmp.Diff(k, got))
	}
}

func TestReadsAreRepeatedAndSayWhenTheStoreIsGone(t *testing.T) {
	c := newChange(t)
	reads := map[string]func(context.Context) error{
		"Key":         func(ctx context.Context) error { _, err := c.Key(ctx, c.key.ID); return err },
		"KeyByNumber": func(ctx context.Context) error { _, err := c.KeyByNumber(ctx, c.account, 1); return err },
		"Keys":        func(ctx context.Context) error { _, err := c.Keys(ctx, c.account); return err },
		"Account":     func(ctx context.Context) error { _, err := c.Account(ctx, c.account); return err },
		"AuditEvents": func(ctx context.Context) error {
			_, err := c.AuditEvents(ctx, keys.AuditRange{AccountID: c.account, Limit: 10})
			return err
		},
		"KeysByID": func(ctx context.Context) error { _, err := c.KeysByID(ctx, []apikey.ID{c.key.ID}); return err },
		"Sessions": func(ctx context.Context) error { _, err := c.Sessions(ctx, c.account, ""); return err },
		"Windows":  func(ctx context.Context) error { _, err := c.Windows(ctx, []apikey.ID{c.key.ID}); return err },
		"Usage":    func(ctx context.Context) error { _, err := c.Usage(ctx, []apikey.ID{c.key.ID}); return err },
		"Settle":   func(ctx context.Context) error { return c.Settle(ctx, c.key.ID, 1, true) },
	}
	for name, read := range reads {
		faults := []fault{failBefore} // the SDK waits before a repeat, so one is asked about all
		switch name {
		case "Key":
			faults = []fault{failBefore, serverError, throttle, timeout}
		case "Settle":
			faults = []fault{failBefore, appliedThenError, conflictFault}
		}
		for _, f := range faults {
			c.wire.reset(func(k call) fault {
				if k.n < 2 {
					return f
				}
				return fault{}
			})
			if err := read(t.Context()); err != nil || len(c.wire.seen()) != 3 {
				t.Errorf("%s with %s twice = %v after %d calls, want success after 3", name, f.name, err, len(c.wire.seen()))
			}
			c.wire.reset(always(f, ""))
			err := read(t.Context())
			if !errors.Is(err, keys.ErrUnavailable) && !errors.Is(err, keys.ErrOutcomeUnknown) || len(c.wire.seen()) != 3 {
				t.Errorf("%s with %s always = %v after %d calls, want a sentinel after 3", name, f.name, err, len(c.wire.seen()))
			}
		}
	}
	c.wire.reset(nil)
	record := func() error { _, err := c.Idempotent(t.Context(), "r"); return err }
	if err := record(); !errors.Is(err, keys.ErrNotFound) {
		t.Errorf("Idempotent = %v, want ErrNotFound", err)
	}
	c.wire.reset(always(denied, ""))
	if err := record(); !errors.Is(err, keys.ErrUnavailable) || errors.Is(err, keys.ErrNotFound) {
		t.Errorf("Idempotent, denied = %v, want ErrUnavailable", err)
	}
}

// A busy table leaves some keys of a batch out, with no error at all.
func TestUsageAsksAgainForWhatABatchLeftOut(t *testing.T) {
	c := newChange(t)
	ids := []apikey.ID{c.key.ID}
	for range 149 {
		id := apikey.NewID()
		if err := c.Settle(t.Context(), id, 1, true); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	lazy := &lazyBatches{most: 30}
	s := storeOn(c.cfg, func(o *dynamodb.Options) { lazy.HTTPClient = o.HTTPClient; o.HTTPClient = lazy })
	got, err := s.Usage(t.Context(), ids)
	if err != nil || len(got) != len(ids) {
		t.Errorf("Usage of %d keys = %d, %v", len(ids), len(got), err)
	}
	if n := lazy.calls.Load(); n < 5 {
		t.Errorf("%d calls: nothing was left out", n)
	}

	lazy.most = 0
	cfg := c.cfg
	cfg.StoreTimeout = 200 * time.Millisecond
	s = storeOn(cfg, func(o *dynamodb.Options) { lazy.HTTPClient = o.HTTPClient; o.HTTPClient = lazy })
	if _, err := s.Usage(t.Context(), ids); !errors.Is(err, keys.ErrUnavailable) || !strings.Contains(err.Error(), "left out") {
		t.Errorf("Usage of a table that leaves out all = %v, want ErrUnavailable", err)
	}
}

// DynamoDB Local reads consistently whatever it is asked, so what is asked is checked.
func TestEveryReadOfKeysIsConsistent(t *testing.T) {
	c := newChange(t)
	var asked []string
	c.wire.reset(func(k call) fault {
		switch in := k.input.(type) {
		case *dynamodb.GetItemInput:
			asked = append(asked, fmt.Sprint(k.op, " ", aws.ToBool(in.ConsistentRead)))
		case *dynamodb.QueryInput:
			asked = append(asked, fmt.Sprint(k.op, " ", aws.ToBool(in.ConsistentRead)))
		case *dynamodb.BatchGetItemInput:
			some := in.RequestItems[c.cfg.KeysTable]
			for _, name := range some.ExpressionAttributeNames {
				if strings.Contains(name, "digest") || strings.Contains(name, "pepper") {
					t.Errorf("%s asks for %s", k.op, name)
				}
			}
			asked = append(asked, fmt.Sprint(k.op, " ", aws.ToBool(some.ConsistentRead) && some.ProjectionExpression != nil))
		}
		return fault{}
	})
	_, _ = c.Key(t.Context(), c.key.ID)
	_, _ = c.KeyByNumber(t.Context(), c.account, 1)
	_, _ = c.Account(t.Context(), c.account)
	_, _ = c.Idempotent(t.Context(), "none")
	_, _ = c.Keys(t.Context(), c.account)
	_, _ = c.AuditEvents(t.Context(), keys.AuditRange{AccountID: c.account, Limit: 1})
	_, _ = c.Sessions(t.Context(), c.account, c.key.ID)
	_, _ = c.KeysByID(t.Context(), []apikey.ID{c.key.ID})
	want := []string{"GetItem true", "GetItem true", "GetItem true", "GetItem true", "Query true", "Query true", "Query true", "BatchGetItem true"}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Errorf("reads (-want +got):\n%s", diff)
	}
}
