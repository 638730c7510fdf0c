package dynamo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/verify"
)

var (
	_ keys.Store   = (*Keys)(nil)
	_ verify.Store = (*Keys)(nil)
)

// KeysConfig is what a Keys works with. Table and Meters are needed.
type KeysConfig struct {
	Table  string // the keys table
	Meters string // the meters table
	// UsageTable is where the profiles are, by which a key was last used where no guard
	// counts; empty: Usage goes by the meters alone.
	UsageTable string
	// Retention is how long a deleted or expired key and audit rows stay; 0: 90 days.
	Retention time.Duration
	// Timeout bounds one call, repeats included; 0: 2 s. Every call also keeps to its
	// context's deadline.
	Timeout time.Duration
}

// Keys is the store of keys, accounts, audit events and idempotency records. It is safe
// for concurrent use.
type Keys struct {
	client *dynamodb.Client
	cfg    KeysConfig
	meters *Meters
}

const defaultRetention = 90 * 24 * time.Hour

// NewKeys returns a store in those tables.
func NewKeys(client *dynamodb.Client, c KeysConfig) *Keys {
	c.Retention = cmp.Or(c.Retention, defaultRetention)
	c.Timeout = cmp.Or(c.Timeout, defaultTimeout)
	return &Keys{client: client, cfg: c, meters: NewMeters(client, c.Meters, c.Timeout)}
}

// get reads one item consistently; keys.ErrNotFound.
func (k *Keys) get(ctx context.Context, key item) (item, error) {
	ctx, cancel := context.WithTimeout(ctx, k.cfg.Timeout)
	defer cancel()
	out, err := k.client.GetItem(ctx, &dynamodb.GetItemInput{
		TableName: &k.cfg.Table, Key: key, ConsistentRead: aws.Bool(true),
	})
	if err != nil {
		return nil, err
	}
	if len(out.Item) == 0 {
		return nil, keys.ErrNotFound
	}
	return out.Item, nil
}

// read is get and decode.
func read[T any](ctx context.Context, k *Keys, key item, decode func(item) (T, error)) (value T, err error) {
	it, err := k.get(ctx, key)
	if err == nil {
		value, err = decode(it)
	}
	return value, err
}

// readError keeps keys.ErrNotFound apart from a store that does not answer, and from an
// item that cannot be read: neither may pass for an absent one.
func readError(err error, format string, a ...any) error {
	if errors.Is(err, keys.ErrNotFound) {
		return fmt.Errorf("%s: %w", fmt.Sprintf(format, a...), keys.ErrNotFound)
	}
	return unavailable(err, format, a...)
}

// Key implements keys.Store and verify.Store. It is the one read of the hot path.
func (k *Keys) Key(ctx context.Context, id apikey.ID) (keys.Key, error) {
	key, err := read(ctx, k, keyKey(id), readKey)
	if err != nil {
		return keys.Key{}, readError(err, "reading key %s", id)
	}
	return key, nil
}

// KeyByNumber implements keys.Store.
func (k *Keys) KeyByNumber(ctx context.Context, accountID string, number int64) (keys.Key, error) {
	key, err := read(ctx, k, rowKey(accountID, number), readKey)
	if err != nil {
		return keys.Key{}, readError(err, "reading key %d of account %s", number, accountID)
	}
	return key, nil
}

// Account implements keys.Store.
func (k *Keys) Account(ctx context.Context, id string) (keys.Account, error) {
	a, err := read(ctx, k, accountKey(id), readAccount)
	if err != nil {
		return keys.Account{}, readError(err, "reading account %s", id)
	}
	return a, nil
}

// Idempotent implements keys.Store.
func (k *Keys) Idempotent(ctx context.Context, name string) (keys.IdempotencyRecord, error) {
	r, err := read(ctx, k, recordKey(name), readRecord)
	if err != nil {
		return keys.IdempotencyRecord{}, readError(err, "reading an idempotency record")
	}
	return r, nil
}

// Keys implements keys.Store: one consistent query over the account's list rows, as many
// pages as there are (1 MB each, some 2,000 keys).
func (k *Keys) Keys(ctx context.Context, accountID string) ([]keys.Key, error) {
	list, err := k.rows(ctx, accountID, keyPrefix)
	if err != nil {
		return nil, unavailable(err, "listing the keys of account %s", accountID)
	}
	return list, nil
}

// Sessions implements keys.Store.
func (k *Keys) Sessions(ctx context.Context, accountID string, parent apikey.ID) ([]keys.Key, error) {
	prefix := sessionPrefix
	if parent != "" {
		prefix = sessionsOf(parent)
	}
	list, err := k.rows(ctx, accountID, prefix)
	if err != nil {
		return nil, unavailable(err, "listing sessions of account %s", accountID)
	}
	return list, nil
}

// rows reads the list rows of an account whose sort keys begin with prefix.
func (k *Keys) rows(ctx context.Context, accountID, prefix string) (list []keys.Key, err error) {
	return list, k.query(ctx, &dynamodb.QueryInput{
		KeyConditionExpression:    aws.String("pk = :pk AND begins_with(sk, :prefix)"),
		ExpressionAttributeValues: item{":pk": text(accountPrefix + accountID), ":prefix": text(prefix)},
	}, func(it item) (bool, error) {
		key, err := readKey(it)
		list = append(list, key)
		return true, err
	})
}

// AuditEvents implements keys.Store.
func (k *Keys) AuditEvents(ctx context.Context, r keys.AuditRange) ([]keys.AuditEvent, error) {
	from, before := auditPrefix+r.From, auditEnd
	if r.Before != "" {
		before = auditPrefix + r.Before
	}
	if r.Limit <= 0 || from >= before { // DynamoDB refuses a range whose end is before its beginning
		return nil, nil
	}
	partition := accountPrefix + r.AccountID
	if r.KeyID != "" {
		partition = trailPrefix + string(r.KeyID)
	}
	var list []keys.AuditEvent
	err := k.query(ctx, &dynamodb.QueryInput{
		KeyConditionExpression:    aws.String("pk = :pk AND sk BETWEEN :from AND :before"),
		ExpressionAttributeValues: item{":pk": text(partition), ":from": text(from), ":before": text(before)},
		ScanIndexForward:          aws.Bool(false),
		Limit:                     aws.Int32(int32(min(r.Limit, 1<<20)) + 1), // one may be the place itself
	}, func(it item) (bool, error) {
		row := reader{item: it}
		if row.text(SortKey) == before || row.bool(attrVoid) {
			return true, row.err
		}
		e, err := readEvent(it)
		if e.AccountID == r.AccountID {
			list = append(list, e)
		}
		return len(list) < r.Limit, err
	})
	if err != nil {
		return nil, unavailable(err, "reading the audit events of account %s", r.AccountID)
	}
	return list, nil
}

// query gives every item of a query of the keys table to each, until that says that it has
// enough.
func (k *Keys) query(ctx context.Context, in *dynamodb.QueryInput, each func(item) (more bool, err error)) error {
	ctx, cancel := context.WithTimeout(ctx, k.cfg.Timeout)
	defer cancel()
	in.TableName, in.ConsistentRead = &k.cfg.Table, aws.Bool(true)
	for {
		out, err := k.client.Query(ctx, in)
		if err != nil {
			return err
		}
		for _, it := range out.Items {
			if more, err := each(it); err != nil || !more {
				return err
			}
		}
		if in.ExclusiveStartKey = out.LastEvaluatedKey; len(in.ExclusiveStartKey) == 0 {
			return nil
		}
	}
}

// byIDAtOnce bounds the batches of KeysByID that are read at the same time.
const byIDAtOnce = 4

// KeysByID implements keys.Store. It asks for no digest, which no list has a use for.
func (k *Keys) KeysByID(ctx context.Context, ids []apikey.ID) (map[apikey.ID]keys.Key, error) {
	ctx, cancel := context.WithTimeout(ctx, k.cfg.Timeout)
	defer cancel()
	ids = slices.Compact(slices.Sorted(slices.Values(ids))) // a batch with one key twice is refused whole
	var (
		mu                sync.Mutex
		found             = make(map[apikey.ID]keys.Key, len(ids))
		expression, names = projectionOf(keyAttributes)
	)
	err := inBatches(ctx, ids, batchGet, byIDAtOnce, func(ctx context.Context, some []apikey.ID) error {
		want := types.KeysAndAttributes{
			ConsistentRead: aws.Bool(true), ProjectionExpression: expression, ExpressionAttributeNames: names,
		}
		for _, id := range some {
			want.Keys = append(want.Keys, keyKey(id))
		}
		items, err := getBatch(ctx, k.client, map[string]types.KeysAndAttributes{k.cfg.Table: want})
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		for _, it := range items[k.cfg.Table] {
			key, bad := readKey(it)
			found[key.ID] = key
			err = errors.Join(err, bad)
		}
		return err
	})
	if err != nil {
		return nil, unavailable(err, "reading %d keys", len(ids))
	}
	return found, nil
}

// Redigest implements verify.Store. It names no attribute but digest and pepper, so the
// authorizer's role can be held to these two (IAM's dynamodb:Attributes).
func (k *Keys) Redigest(ctx context.Context, id apikey.ID, was, now keys.Secret) error {
	ctx, cancel := context.WithTimeout(ctx, k.cfg.Timeout)
	defer cancel()
	_, err := k.client.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName: &k.cfg.Table, Key: keyKey(id),
		ConditionExpression: aws.String("digest = :wasDigest AND pepper = :wasPepper"),
		UpdateExpression:    aws.String("SET digest = :digest, pepper = :pepper"),
		ExpressionAttributeValues: item{
			":wasDigest": digest(was.Digest), ":wasPepper": text(was.Pepper),
			":digest": digest(now.Digest), ":pepper": text(now.Pepper),
		},
	})
	if err != nil && !isConditionFailed(err) { // another process has done it, or the secret is a new one
		return failed(err, "re-digesting key %s", id)
	}
	return nil
}

func digest(d apikey.Digest) *types.AttributeValueMemberB {
	return &types.AttributeValueMemberB{Value: d[:]}
}

// Settle implements keys.Store.
func (k *Keys) Settle(ctx context.Context, id apikey.ID, verdict int64, active bool) error {
	return k.meters.Settle(ctx, id, verdict, active)
}

// Usage implements keys.Store. Last used is the later of what the meter says, which is
// there at once, and the profile, which knows also of requests that no guard counts.
func (k *Keys) Usage(ctx context.Context, ids []apikey.ID) (map[apikey.ID]keys.Usage, error) {
	return k.meters.usage(ctx, ids, k.cfg.UsageTable, false)
}

// Windows implements keys.Store, by the same items.
func (k *Keys) Windows(ctx context.Context, ids []apikey.ID) (map[apikey.ID]keys.Usage, error) {
	return k.meters.usage(ctx, ids, k.cfg.UsageTable, true)
}
