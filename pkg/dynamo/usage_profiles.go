package dynamo

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/usage"
)

// Profiles implements usage.Store.
func (u *Usage) Profiles(ctx context.Context, ids []apikey.ID) (map[apikey.ID]usage.Profile, error) {
	items, err := u.get(ctx, keysOf(ids, profileKey), "", true)
	if err != nil {
		return nil, unavailable(err, "reading the profiles of %d keys", len(ids))
	}
	profiles := make(map[apikey.ID]usage.Profile, len(items))
	for _, it := range items {
		p, err := readProfile(it)
		if err != nil {
			return nil, unavailable(err, "reading the profiles of %d keys", len(ids))
		}
		profiles[p.KeyID] = p
	}
	return profiles, nil
}

// keysOf are the items' keys, each once: a BatchGetItem with one twice is refused whole.
func keysOf(ids []apikey.ID, key func(apikey.ID) item) []item {
	var want []item
	for _, id := range slices.Compact(slices.Sorted(slices.Values(ids))) {
		want = append(want, key(id))
	}
	return want
}

// SaveProfile implements usage.Store. If a repeat finds the very profile that it is to put,
// that was put by an attempt before, whose answer was lost.
func (u *Usage) SaveProfile(ctx context.Context, p usage.Profile) error {
	was := p.Version
	p.Version++
	it := profileItem(&p)
	in := &dynamodb.PutItemInput{
		TableName: &u.cfg.Table, Item: it, ConditionExpression: aws.String(absent),
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	}
	if was != 0 {
		in.ConditionExpression = aws.String("#" + attrVersion + " = :was")
		in.ExpressionAttributeNames = map[string]string{"#" + attrVersion: attrVersion}
		in.ExpressionAttributeValues = item{":was": number(was)}
	}
	attempts := 0
	err := u.persist(ctx, func(ctx context.Context, opts ...func(*dynamodb.Options)) error {
		attempts++
		_, err := u.client.PutItem(ctx, in, opts...)
		return err
	})
	var stale *types.ConditionalCheckFailedException
	switch {
	case attempts > 1 && errors.As(err, &stale) && reflect.DeepEqual(stale.Item, it):
		return nil
	case errors.As(err, &stale):
		return fmt.Errorf("saving the profile of key %s: %w", p.KeyID, usage.ErrStale)
	case err != nil:
		return unavailable(err, "saving the profile of key %s", p.KeyID)
	}
	return nil
}

func profileItem(p *usage.Profile) item {
	it := profileKey(p.KeyID)
	putText(it, attrAccount, p.AccountID)
	putTime(it, attrFirst, p.First)
	putTime(it, attrLastUsed, p.LastUsed)
	putTime(it, attrRefused, p.LastRefused)
	putTimes(it, attrPerms, p.Permissions)
	putTimes(it, attrNetworks, p.Networks)
	generations := make(map[string]time.Time, len(p.Generations))
	for generation, at := range p.Generations {
		generations[strconv.FormatInt(generation, 10)] = at
	}
	putTimes(it, attrGenerations, generations)
	putBool(it, attrCrowded, p.Crowded)
	putInt(it, attrVersion, p.Version)
	return it
}

func readProfile(it item) (usage.Profile, error) {
	r := reader{item: it}
	p := usage.Profile{
		KeyID:       idOfItem(&r),
		AccountID:   r.text(attrAccount),
		First:       r.time(attrFirst),
		LastUsed:    r.time(attrLastUsed),
		LastRefused: r.time(attrRefused),
		Permissions: r.times(attrPerms),
		Generations: map[int64]time.Time{},
		Networks:    r.times(attrNetworks),
		Crowded:     r.bool(attrCrowded),
		Version:     r.int(attrVersion),
	}
	for name, at := range r.times(attrGenerations) {
		generation, err := strconv.ParseInt(name, 10, 64)
		if err != nil {
			r.fail(attrGenerations)
		}
		p.Generations[generation] = at
	}
	return p, r.err
}

// idOfItem reads the key's id off the partition key of a profile or totals.
func idOfItem(r *reader) apikey.ID {
	return apikey.ID(strings.TrimPrefix(r.text(PartitionKey), keyPrefix))
}

// putTimes adds a map from names to times.
func putTimes(it item, name string, times map[string]time.Time) {
	if len(times) == 0 {
		return
	}
	values := make(item, len(times))
	for k, at := range times {
		values[k] = number(at.UnixMilli())
	}
	it[name] = &types.AttributeValueMemberM{Value: values}
}

// times reads what putTimes put; never nil.
func (r *reader) times(name string) map[string]time.Time {
	out := map[string]time.Time{}
	v, ok := r.item[name]
	if !ok {
		return out
	}
	m, ok := v.(*types.AttributeValueMemberM)
	if !ok {
		r.fail(name)
		return out
	}
	inner := reader{item: m.Value}
	for k := range maps.Keys(m.Value) {
		out[k] = inner.time(k)
	}
	if inner.err != nil {
		r.fail(name) // and not inner's error, which names what is in the item
	}
	return out
}

// Totals implements usage.Store. It reads with eventual consistency, at half the price:
// nothing is decided by it, and it is right within a second.
func (u *Usage) Totals(ctx context.Context, ids []apikey.ID) (map[apikey.ID]usage.Totals, error) {
	items, err := u.get(ctx, keysOf(ids, totalsKey), "", false)
	if err != nil {
		return nil, unavailable(err, "reading the totals of %d keys", len(ids))
	}
	totals := make(map[apikey.ID]usage.Totals, len(items))
	for _, it := range items {
		r := reader{item: it}
		totals[idOfItem(&r)] = usage.Totals{Requests: r.int(attrRequests), Admitted: r.int(attrAdmitted)}
		if r.err != nil {
			return nil, unavailable(r.err, "reading the totals of %d keys", len(ids))
		}
	}
	return totals, nil
}
