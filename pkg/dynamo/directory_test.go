package dynamo_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/smithy-go/middleware"
	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/dynamo"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/keys/keystest"
)

func directoryOn(s *store, with ...func(*dynamodb.Options)) *dynamo.Directory {
	return dynamo.NewDirectory(dynamo.NewClient(s.cfg, with...), s.cfg.KeysTable, s.cfg.StoreTimeout)
}

// small makes scans go by seven items.
func small(o *dynamodb.Options) {
	o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
		return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("small", func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (
			middleware.InitializeOutput, middleware.Metadata, error) {
			if scan, ok := in.Parameters.(*dynamodb.ScanInput); ok {
				scan.Limit = aws.Int32(7)
			}
			return next.HandleInitialize(ctx, in)
		}), middleware.Before)
	})
}

// listed is what a directory gives of a key.
func listed(k keys.Key) keys.Key {
	return keys.Key{
		ID: k.ID, AccountID: k.AccountID, Environment: k.Environment, Active: k.Active, Deleted: k.Deleted, Canary: k.Canary,
		Permissions: k.Permissions, CreatedAt: k.CreatedAt, VerdictAt: k.VerdictAt, RotatedAt: k.RotatedAt,
		NotBefore: k.NotBefore, ExpiresAt: k.ExpiresAt, Version: k.Version, Generation: k.Generation,
		Parent:   k.Parent,
		Secret:   keys.Secret{Generation: k.Secret.Generation},
		Previous: keys.Secret{Generation: k.Previous.Generation, Until: k.Previous.Until},
	}
}

func TestADirectoryHasEveryKeyOnceAndNothingOfASecret(t *testing.T) {
	w := &wire{}
	s := newStore(t)
	world := keystest.NewWorld(s)
	want, sessions := map[apikey.ID]keys.Key{}, map[apikey.ID]keys.Key{}
	remember := func(k keys.Key, err error) {
		t.Helper()
		if err == nil {
			k, err = s.Key(t.Context(), k.ID)
		}
		if err != nil {
			t.Fatal(err)
		}
		want[k.ID] = listed(k)
	}
	days := 30
	for range 3 {
		_, root := world.Account(t, "enterprise")
		remember(s.Key(t.Context(), root.KeyID))
		for i := range 4 {
			k, err := world.Service.Create(t.Context(), root, keys.CreateInput{Name: fmt.Sprint("key ", i), ExpirationDays: &days, Canary: i == 3}, keys.Idempotency{Key: fmt.Sprint(i), Route: "POST /x"})
			remember(k.Key, err)
			switch i {
			case 0:
				k, _, err := world.Service.Revoke(t.Context(), root, keys.Ref{ID: k.Key.ID}, false, keys.Conditions{})
				remember(k, err)
			case 1:
				k, err := world.Service.Delete(t.Context(), root, keys.Ref{ID: k.Key.ID}, keys.Conditions{})
				remember(k, err)
			case 2:
				k, err := world.Service.Regenerate(t.Context(), root, keys.Ref{ID: k.Key.ID}, time.Hour, keys.Idempotency{}, keys.Conditions{})
				remember(k.Key, err)
			}
		}
		session, err := world.Service.CreateSession(t.Context(), root)
		if err != nil {
			t.Fatal(err)
		}
		sessions[session.Key.ID] = listed(session.Key)
	}
	// By small portions, so that there are pages; and every request is looked at.
	attributes := dynamo.DirectoryAttributes()
	scans := 0
	w.reset(func(c call) fault {
		var expression *string
		var names map[string]string
		switch in := c.input.(type) {
		case *dynamodb.ScanInput:
			scans++
			expression, names = in.ProjectionExpression, in.ExpressionAttributeNames
		case *dynamodb.GetItemInput:
			expression, names = in.ProjectionExpression, in.ExpressionAttributeNames
		default:
			t.Errorf("a directory makes a %s", c.op)
		}
		if expression == nil {
			t.Errorf("%s without a projection: it would get digests", c.op)
			return fault{}
		}
		for _, name := range names {
			if !slices.Contains(attributes, name) || strings.Contains(name, "digest") || strings.Contains(name, "pepper") {
				t.Errorf("%s asks for %s, which is not among DirectoryAttributes", c.op, name)
			}
		}
		return fault{}
	})
	d := directoryOn(s, small, w.option)
	got := map[apikey.ID]keys.Key{}
	for k, err := range d.All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if _, twice := got[k.ID]; twice {
			t.Errorf("key %s comes twice", k.ID)
		}
		got[k.ID] = k
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("All (-want +got):\n%s", diff)
	}
	if scans < 5 {
		t.Errorf("%d scans, too few to show pages", scans)
	}
	// Sessions are not among all keys, but found by who meets one in a log.
	maps.Copy(want, sessions)
	for id, k := range want {
		read, err := d.Key(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(k, read); diff != "" {
			t.Errorf("Key (-want +got):\n%s", diff)
		}
	}
	if _, err := d.Key(t.Context(), "00000000"); !errors.Is(err, keys.ErrNotFound) {
		t.Errorf("Key of an absent one = %v, want ErrNotFound", err)
	}
}

func TestADirectoryEndsWithTheErrorAndWithTheCaller(t *testing.T) {
	w := &wire{}
	s := newStore(t)
	world := keystest.NewWorld(s)
	for range 3 {
		world.Account(t, "free")
	}
	d := directoryOn(s, small, w.option)
	n := 0
	for range d.All(t.Context()) {
		n++
		break
	}
	if n != 1 {
		t.Errorf("%d keys after the caller has stopped", n)
	}
	w.reset(func(c call) fault {
		if c.n >= 1 {
			return denied
		}
		return fault{}
	})
	var last error
	for _, err := range d.All(t.Context()) {
		if last != nil {
			t.Error("it goes on after an error")
		}
		last = err
	}
	if !errors.Is(last, keys.ErrUnavailable) {
		t.Errorf("the last error = %v, want ErrUnavailable", last)
	}
	w.reset(nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range d.All(ctx) {
		if !errors.Is(err, keys.ErrUnavailable) {
			t.Errorf("with a cancelled context: %v, want ErrUnavailable", err)
		}
	}
	if err := s.put(t, s.cfg.KeysTable, item{"pk": text("K#CCCCCCCC"), "sk": text("K"), "id": text("CCCCCCCC")}); err != nil {
		t.Fatal(err)
	}
	failed := false
	for _, err := range d.All(t.Context()) {
		failed = failed || errors.Is(err, keys.ErrUnavailable)
	}
	if !failed {
		t.Error("an item that is no whole key passes for one")
	}
}
