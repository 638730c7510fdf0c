package dynamo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/keyreeve/keyreeve/functions/sample/document"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/order"
)

var _ document.Store = (*Sample)(nil)

// Sample is the sample API's store. One item is one document:
//
//	pk <account>#<environment>   sk <kind>#<id>   version, customer, json, ttl
//
// No part of a key may hold '#' (ids are [A-Za-z0-9_-]{1,64}), so no two scopes or
// documents ever share one.
type Sample struct {
	client  *dynamodb.Client
	table   string
	timeout time.Duration
}

// NewSample returns a store in that table. timeout bounds one call; 0: 2 s.
func NewSample(client *dynamodb.Client, table string, timeout time.Duration) *Sample {
	return &Sample{client: client, table: table, timeout: cmp.Or(timeout, defaultTimeout)}
}

// Attributes of a document beside its keys and TTL.
const (
	docVersion  = "version"
	docCustomer = "customer"
	docJSON     = "json"
)

func samplePK(s document.Scope) string           { return s.AccountID + "#" + string(s.Environment) }
func sampleSK(k document.Kind, id string) string { return string(k) + "#" + id }

func docKey(s document.Scope, k document.Kind, id string) item {
	return item{PartitionKey: text(samplePK(s)), SortKey: text(sampleSK(k, id))}
}

func docItem(s document.Scope, d document.Doc) item {
	it := docKey(s, d.Kind, d.ID)
	it[docVersion], it[docJSON] = number(d.Version), text(string(d.JSON))
	if d.Customer != "" {
		it[docCustomer] = text(d.Customer)
	}
	if !d.ExpiresAt.IsZero() {
		it[TTLAttribute] = number(d.ExpiresAt.Unix())
	}
	return it
}

func readDoc(k document.Kind, it item) (document.Doc, error) {
	sk, _ := it[SortKey].(*types.AttributeValueMemberS)
	version, _ := it[docVersion].(*types.AttributeValueMemberN)
	json, _ := it[docJSON].(*types.AttributeValueMemberS)
	if sk == nil || version == nil || json == nil {
		return document.Doc{}, errors.New("the sample's item lacks an attribute")
	}
	d := document.Doc{Kind: k, ID: sk.Value[len(k)+1:], JSON: []byte(json.Value)}
	var err error
	if d.Version, err = strconv.ParseInt(version.Value, 10, 64); err != nil {
		return document.Doc{}, errors.New("the sample's item has a version that is no integer")
	}
	if c, ok := it[docCustomer].(*types.AttributeValueMemberS); ok {
		d.Customer = c.Value
	}
	if ttl, ok := it[TTLAttribute].(*types.AttributeValueMemberN); ok {
		seconds, err := strconv.ParseInt(ttl.Value, 10, 64)
		if err != nil {
			return document.Doc{}, errors.New("the sample's item has a ttl that is no integer")
		}
		d.ExpiresAt = time.Unix(seconds, 0).UTC()
	}
	return d, nil
}

// Create implements document.Store. It is one transaction even for one document: its token
// makes the SDK's retry of a lost answer safe, where a second PutItem would find the
// first one's item and take it for somebody else's.
func (st *Sample) Create(ctx context.Context, s document.Scope, docs []document.Doc) error {
	ctx, cancel := context.WithTimeout(ctx, st.timeout)
	defer cancel()
	in := &dynamodb.TransactWriteItemsInput{}
	for _, d := range docs {
		in.TransactItems = append(in.TransactItems, types.TransactWriteItem{Put: &types.Put{
			TableName: &st.table, Item: docItem(s, d),
			ConditionExpression: aws.String("attribute_not_exists(" + PartitionKey + ")"),
		}})
	}
	_, err := st.client.TransactWriteItems(ctx, in)
	var canceled *types.TransactionCanceledException
	if errors.As(err, &canceled) {
		for _, r := range canceled.CancellationReasons {
			switch aws.ToString(r.Code) {
			case "ConditionalCheckFailed":
				return document.ErrExists
			case "TransactionConflict":
				err = keys.ErrConflict
			}
		}
	}
	return wrapSample("creating", err)
}

// Get implements document.Store.
func (st *Sample) Get(ctx context.Context, s document.Scope, k document.Kind, id string) (document.Doc, error) {
	ctx, cancel := context.WithTimeout(ctx, st.timeout)
	defer cancel()
	out, err := st.client.GetItem(ctx, &dynamodb.GetItemInput{
		TableName: &st.table, Key: docKey(s, k, id), ConsistentRead: aws.Bool(true),
	})
	if err != nil {
		return document.Doc{}, wrapSample("reading", err)
	}
	if out.Item == nil {
		return document.Doc{}, keys.ErrNotFound
	}
	return readDoc(k, out.Item)
}

// Replace implements document.Store.
func (st *Sample) Replace(ctx context.Context, s document.Scope, d document.Doc) error {
	ctx, cancel := context.WithTimeout(ctx, st.timeout)
	defer cancel()
	_, err := st.client.PutItem(ctx, &dynamodb.PutItemInput{
		TableName: &st.table, Item: docItem(s, d),
		ConditionExpression:       aws.String("#v = :was"),
		ExpressionAttributeNames:  map[string]string{"#v": docVersion},
		ExpressionAttributeValues: item{":was": number(d.Version - 1)},
	}, once)
	if isConditionFailed(err) {
		return document.ErrChanged
	}
	return wrapSample("replacing", err)
}

// Delete implements document.Store.
func (st *Sample) Delete(ctx context.Context, s document.Scope, k document.Kind, id string) error {
	ctx, cancel := context.WithTimeout(ctx, st.timeout)
	defer cancel()
	_, err := st.client.DeleteItem(ctx, &dynamodb.DeleteItemInput{
		TableName: &st.table, Key: docKey(s, k, id),
		ConditionExpression: aws.String("attribute_exists(" + PartitionKey + ")"),
	}, once)
	if isConditionFailed(err) {
		return keys.ErrNotFound
	}
	return wrapSample("deleting", err)
}

// List implements document.Store.
func (st *Sample) List(ctx context.Context, s document.Scope, k document.Kind, f document.Filter) ([]document.Doc, error) {
	ctx, cancel := context.WithTimeout(ctx, st.timeout)
	defer cancel()
	if k == document.Customers && len(f.Customers) > 0 {
		return st.someCustomers(ctx, s, f)
	}
	low := sampleSK(k, f.After)
	if f.After != "" {
		low += "\x00" // the next possible key: After itself is not wanted
	}
	in := &dynamodb.QueryInput{
		TableName: &st.table, ConsistentRead: aws.Bool(true),
		KeyConditionExpression: aws.String(PartitionKey + " = :pk AND " + SortKey + " BETWEEN :low AND :high"),
		ExpressionAttributeValues: item{
			":pk": text(samplePK(s)), ":low": text(low), ":high": text(sampleSK(k, "~")), // '~' sorts after every character of an id
		},
	}
	var out []document.Doc
	for {
		in.Limit = aws.Int32(int32(f.Limit - len(out)))
		page, err := st.client.Query(ctx, in)
		if err != nil {
			return nil, wrapSample("listing", err)
		}
		for _, it := range page.Items {
			d, err := readDoc(k, it)
			if err != nil {
				return nil, err
			}
			if len(f.Customers) == 0 || slices.Contains(f.Customers, d.Customer) {
				out = append(out, d)
			}
		}
		if in.ExclusiveStartKey = page.LastEvaluatedKey; in.ExclusiveStartKey == nil || len(out) == f.Limit {
			return out, nil
		}
	}
}

// someCustomers reads the customers that a key is confined to by their ids: the account
// may have many others, and a scan through them would be the confined key's to wait for.
func (st *Sample) someCustomers(ctx context.Context, s document.Scope, f document.Filter) ([]document.Doc, error) {
	ids := slices.Compact(slices.Sorted(slices.Values(f.Customers)))
	ids = slices.DeleteFunc(ids, func(id string) bool { return id <= f.After })
	var out []document.Doc
	for chunk := range slices.Chunk(ids, batchGet) {
		var want []item
		for _, id := range chunk {
			want = append(want, docKey(s, document.Customers, id))
		}
		for len(want) > 0 { // ctx ends it if DynamoDB keeps leaving some out
			page, err := st.client.BatchGetItem(ctx, &dynamodb.BatchGetItemInput{
				RequestItems: map[string]types.KeysAndAttributes{st.table: {Keys: want, ConsistentRead: aws.Bool(true)}},
			})
			if err != nil {
				return nil, wrapSample("listing", err)
			}
			for _, it := range page.Responses[st.table] {
				d, err := readDoc(document.Customers, it)
				if err != nil {
					return nil, err
				}
				out = append(out, d)
			}
			want = page.UnprocessedKeys[st.table].Keys
		}
		if len(out) >= f.Limit {
			break
		}
	}
	order.By(out, func(a, b document.Doc) int { return cmp.Compare(a.ID, b.ID) })
	return out[:min(len(out), f.Limit)], nil
}

// wrapSample says what was being done. Of a failed write it claims nothing about whether
// it was applied.
func wrapSample(doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s the sample's data: %w", doing, err)
}
