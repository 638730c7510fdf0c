package dynamo

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/keyreeve/keyreeve/pkg/alert"
	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/order"
	"github.com/keyreeve/keyreeve/pkg/webhook"
)

var _ webhook.Store = (*Webhooks)(nil)

// Webhooks is the store of webhooks and deliveries, in the alerts table.
//
// A delivery that waits has an entry in the queue, a partition whose sort key begins with
// the time that it is due at, so that one Query finds what is due and nothing else. Entry
// and delivery are written in one transaction. Taking a delivery moves its entry to the
// lease's end: what is taken is out of the way, and comes back by itself.
type Webhooks struct {
	client  *dynamodb.Client
	table   string
	timeout time.Duration
}

// NewWebhooks returns the store in that table. timeout bounds one call; 0: 2 s.
func NewWebhooks(client *dynamodb.Client, table string, timeout time.Duration) *Webhooks {
	return &Webhooks{client: client, table: table, timeout: cmp.Or(timeout, defaultTimeout)}
}

func endpointKey(accountID, id string) item {
	return primaryKey(accountPrefix+accountID, webhookPrefix+id)
}

func webhookCountKey(accountID string) item {
	return primaryKey(accountPrefix+accountID, webhookCountSort)
}

func deliveryKey(r webhook.Ref) item {
	return primaryKey(accountPrefix+r.AccountID, deliveryPrefix+r.ID)
}

// queueKey is the key of a delivery's entry. Times of 13 digits, until the year 2286, sort
// as text.
func queueKey(due time.Time, id string) item {
	return primaryKey(queuePartition, fmt.Sprintf("%013d#%s", due.UnixMilli(), id))
}

// Endpoints implements webhook.Store.
func (w *Webhooks) Endpoints(ctx context.Context, accountID string) ([]webhook.Endpoint, error) {
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	var list []webhook.Endpoint
	in := w.query(accountPrefix+accountID, webhookPrefix)
	for {
		out, err := w.client.Query(ctx, in)
		if err != nil {
			return nil, unavailable(err, "listing the webhooks of account %s", accountID)
		}
		for _, it := range out.Items {
			e, err := readEndpoint(it)
			if err != nil {
				return nil, unavailable(err, "listing the webhooks of account %s", accountID)
			}
			list = append(list, e)
		}
		if in.ExclusiveStartKey = out.LastEvaluatedKey; len(in.ExclusiveStartKey) == 0 {
			break
		}
	}
	order.By(list, func(a, b webhook.Endpoint) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), strings.Compare(a.ID, b.ID))
	})
	return list, nil
}

// query reads what of a partition has the sort key's prefix.
func (w *Webhooks) query(pk, prefix string) *dynamodb.QueryInput {
	return &dynamodb.QueryInput{
		TableName: &w.table, ConsistentRead: aws.Bool(true),
		KeyConditionExpression:    aws.String("pk = :pk AND begins_with(sk, :prefix)"),
		ExpressionAttributeValues: item{":pk": text(pk), ":prefix": text(prefix)},
	}
}

// get reads one item consistently; keys.ErrNotFound.
func (w *Webhooks) get(ctx context.Context, key item) (item, error) {
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	out, err := w.client.GetItem(ctx, &dynamodb.GetItemInput{TableName: &w.table, Key: key, ConsistentRead: aws.Bool(true)})
	if err == nil && len(out.Item) == 0 {
		err = keys.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	return out.Item, nil
}

// Endpoint implements webhook.Store.
func (w *Webhooks) Endpoint(ctx context.Context, accountID, id string) (e webhook.Endpoint, err error) {
	it, err := w.get(ctx, endpointKey(accountID, id))
	if err == nil {
		e, err = readEndpoint(it)
	}
	if err != nil {
		return webhook.Endpoint{}, readError(err, "reading webhook %s", id)
	}
	return e, nil
}

// CreateEndpoint implements webhook.Store. The account's webhooks are counted in an item
// of their own: a count of the rows would let two creates at the same time both pass.
func (w *Webhooks) CreateEndpoint(ctx context.Context, e webhook.Endpoint) error {
	err := w.transact(ctx,
		types.TransactWriteItem{Put: &types.Put{
			TableName: &w.table, Item: endpointItem(&e), ConditionExpression: aws.String(absent),
		}},
		types.TransactWriteItem{Update: &types.Update{
			TableName: &w.table, Key: webhookCountKey(e.AccountID),
			ConditionExpression:       aws.String("attribute_not_exists(#n) OR #n < :max"),
			UpdateExpression:          aws.String("ADD #n :one"),
			ExpressionAttributeNames:  map[string]string{"#n": attrCount},
			ExpressionAttributeValues: item{":one": number(1), ":max": number(webhook.MaxEndpoints)},
		}})
	if judge(err) == refused {
		return webhook.ErrTooMany
	}
	return writeError(err, "creating a webhook of account %s", e.AccountID)
}

// UpdateEndpoint implements webhook.Store.
func (w *Webhooks) UpdateEndpoint(ctx context.Context, e webhook.Endpoint) error {
	err := w.transact(ctx, types.TransactWriteItem{Put: &types.Put{
		TableName: &w.table, Item: endpointItem(&e),
		ConditionExpression:       aws.String("#version = :was"),
		ExpressionAttributeNames:  map[string]string{"#version": attrVersion},
		ExpressionAttributeValues: item{":was": number(e.Version - 1)},
	}})
	if judge(err) != refused {
		return writeError(err, "changing webhook %s", e.ID)
	}
	if _, err := w.Endpoint(ctx, e.AccountID, e.ID); err != nil {
		return err
	}
	return webhook.ErrChanged
}

// DeleteEndpoint implements webhook.Store.
func (w *Webhooks) DeleteEndpoint(ctx context.Context, accountID, id string) error {
	err := w.transact(ctx,
		types.TransactWriteItem{Delete: &types.Delete{
			TableName: &w.table, Key: endpointKey(accountID, id), ConditionExpression: aws.String("attribute_exists(pk)"),
		}},
		types.TransactWriteItem{Update: &types.Update{
			TableName: &w.table, Key: webhookCountKey(accountID), UpdateExpression: aws.String("ADD #n :less"),
			ExpressionAttributeNames:  map[string]string{"#n": attrCount},
			ExpressionAttributeValues: item{":less": number(-1)},
		}})
	if judge(err) == refused {
		return fmt.Errorf("deleting webhook %s: %w", id, keys.ErrNotFound)
	}
	return writeError(err, "deleting webhook %s", id)
}

// Enqueue implements webhook.Store.
func (w *Webhooks) Enqueue(ctx context.Context, d webhook.Delivery) error {
	r := webhook.Ref{AccountID: d.AccountID, ID: d.ID}
	it := deliveryKey(r)
	putText(it, attrID, d.ID)
	putText(it, attrAccount, d.AccountID)
	putText(it, attrWebhook, d.EndpointID)
	putText(it, attrAlert, d.AlertID)
	putTime(it, attrCreated, d.CreatedAt)
	putProgress(it, &d)
	err := w.transact(ctx,
		types.TransactWriteItem{Put: &types.Put{TableName: &w.table, Item: it, ConditionExpression: aws.String(absent)}},
		w.putEntry(r, d.NextAt))
	if judge(err) == refused {
		return nil // it is there
	}
	return writeError(err, "enqueueing delivery %s", d.ID)
}

// putEntry is the write of a delivery's entry in the queue.
func (w *Webhooks) putEntry(r webhook.Ref, due time.Time) types.TransactWriteItem {
	it := queueKey(due, r.ID)
	putText(it, attrID, r.ID)
	putText(it, attrAccount, r.AccountID)
	return types.TransactWriteItem{Put: &types.Put{TableName: &w.table, Item: it}}
}

func (w *Webhooks) deleteEntry(r webhook.Ref, due time.Time) types.TransactWriteItem {
	return types.TransactWriteItem{Delete: &types.Delete{TableName: &w.table, Key: queueKey(due, r.ID)}}
}

// Due implements webhook.Store.
func (w *Webhooks) Due(ctx context.Context, now time.Time, limit int) ([]webhook.Ref, error) {
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	var due []webhook.Ref
	in := &dynamodb.QueryInput{
		TableName: &w.table, ConsistentRead: aws.Bool(true),
		KeyConditionExpression: aws.String("pk = :pk AND sk < :next"),
		ExpressionAttributeValues: item{
			":pk": text(queuePartition), ":next": text(fmt.Sprintf("%013d", now.UnixMilli()+1)),
		},
	}
	for len(due) < limit {
		in.Limit = aws.Int32(int32(limit - len(due)))
		out, err := w.client.Query(ctx, in)
		if err != nil {
			return nil, unavailable(err, "listing the deliveries that are due")
		}
		for _, it := range out.Items {
			r := reader{item: it}
			due = append(due, webhook.Ref{AccountID: r.text(attrAccount), ID: r.text(attrID)})
			if r.err != nil {
				return nil, unavailable(r.err, "listing the deliveries that are due")
			}
		}
		if in.ExclusiveStartKey = out.LastEvaluatedKey; len(in.ExclusiveStartKey) == 0 {
			break
		}
	}
	return due, nil
}

// Take implements webhook.Store.
func (w *Webhooks) Take(ctx context.Context, r webhook.Ref, now time.Time, lease time.Duration) (webhook.Delivery, bool, error) {
	d, err := w.Delivery(ctx, r)
	if errors.Is(err, keys.ErrNotFound) {
		return webhook.Delivery{}, false, nil
	}
	if err != nil {
		return webhook.Delivery{}, false, err
	}
	if d.State != webhook.Pending || d.NextAt.After(now) {
		return webhook.Delivery{}, false, nil
	}
	was := d.NextAt
	d.NextAt = now.Add(lease)
	err = w.move(ctx, &d, was)
	if judge(err) == refused {
		return webhook.Delivery{}, false, nil // somebody else was first
	}
	if err != nil {
		return webhook.Delivery{}, false, writeError(err, "taking delivery %s", r.ID)
	}
	d.Lease = d.NextAt
	return d, true, nil
}

// Finish implements webhook.Store.
func (w *Webhooks) Finish(ctx context.Context, d webhook.Delivery) error {
	err := w.move(ctx, &d, d.Lease)
	for range commitAttempts {
		if judge(err) != refused || d.State != webhook.Delivered {
			break
		}
		// Somebody else has it now, or it has ended. A success counts all the same.
		now, readErr := w.Delivery(ctx, webhook.Ref{AccountID: d.AccountID, ID: d.ID})
		if readErr != nil {
			return readErr
		}
		if now.State != webhook.Pending {
			return nil
		}
		err = w.move(ctx, &d, now.NextAt)
	}
	if judge(err) == refused && d.State != webhook.Delivered {
		return nil
	}
	return writeError(err, "finishing delivery %s", d.ID)
}

// move puts the progress of a pending delivery that is due at was, and its entry in the
// queue to where it belongs then.
func (w *Webhooks) move(ctx context.Context, d *webhook.Delivery, was time.Time) error {
	r := webhook.Ref{AccountID: d.AccountID, ID: d.ID}
	writes := []types.TransactWriteItem{w.progress(d, "#state = :was AND #next = :due", item{
		":was": text(string(webhook.Pending)), ":due": number(was.UnixMilli()),
	})}
	if stays := d.State == webhook.Pending; !stays || !d.NextAt.Equal(was) {
		writes = append(writes, w.deleteEntry(r, was))
		if stays {
			writes = append(writes, w.putEntry(r, d.NextAt))
		}
	}
	return w.transact(ctx, writes...)
}

// progress is the write of what changes of a delivery.
func (w *Webhooks) progress(d *webhook.Delivery, condition string, values item) types.TransactWriteItem {
	state := item{}
	putProgress(state, d)
	e := newExpression(state, []string{attrNext, attrAttempts, attrLog, TTLAttribute})
	e.names["#"+attrNext] = attrNext
	for name, v := range values {
		e.values[name] = v
	}
	return types.TransactWriteItem{Update: &types.Update{
		TableName: &w.table, Key: deliveryKey(webhook.Ref{AccountID: d.AccountID, ID: d.ID}),
		ConditionExpression: &condition, UpdateExpression: aws.String(e.String()),
		ExpressionAttributeNames: e.names, ExpressionAttributeValues: e.values,
	}}
}

// Reopen implements webhook.Store.
func (w *Webhooks) Reopen(ctx context.Context, r webhook.Ref, now time.Time) (webhook.Delivery, error) {
	for range commitAttempts {
		d, err := w.Delivery(ctx, r)
		if err != nil || d.State == webhook.Pending {
			return d, err
		}
		was := d.State
		d.State, d.Attempts, d.NextAt = webhook.Pending, 0, now
		err = w.transact(ctx, w.progress(&d, "#state = :was", item{":was": text(string(was))}), w.putEntry(r, now))
		if judge(err) == refused { // another one was first
			continue
		}
		if err != nil {
			return webhook.Delivery{}, writeError(err, "reopening delivery %s", r.ID)
		}
		return d, nil
	}
	return webhook.Delivery{}, fmt.Errorf("reopening delivery %s: %w", r.ID, keys.ErrConflict)
}

// Deliveries implements webhook.Store. It asks for one more than it gives, to know whether
// there is another page.
func (w *Webhooks) Deliveries(ctx context.Context, accountID, endpointID string, limit int, after string) (list []webhook.Delivery, next string, err error) {
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	in := w.query(accountPrefix+accountID, deliveryPrefix+endpointID+"_")
	in.ScanIndexForward = aws.Bool(false)
	if after != "" {
		in.ExclusiveStartKey = deliveryKey(webhook.Ref{AccountID: accountID, ID: after})
	}
	for len(list) <= limit {
		in.Limit = aws.Int32(int32(limit + 1 - len(list)))
		out, err := w.client.Query(ctx, in)
		if err != nil {
			return nil, "", unavailable(err, "listing the deliveries of webhook %s", endpointID)
		}
		for _, it := range out.Items {
			d, err := readDelivery(it)
			if err != nil {
				return nil, "", unavailable(err, "listing the deliveries of webhook %s", endpointID)
			}
			list = append(list, d)
		}
		if in.ExclusiveStartKey = out.LastEvaluatedKey; len(in.ExclusiveStartKey) == 0 {
			break
		}
	}
	if len(list) > limit {
		list = list[:limit]
		next = list[limit-1].ID
	}
	return list, next, nil
}

// Delivery implements webhook.Store.
func (w *Webhooks) Delivery(ctx context.Context, r webhook.Ref) (d webhook.Delivery, err error) {
	it, err := w.get(ctx, deliveryKey(r))
	if err == nil {
		d, err = readDelivery(it)
	}
	if err != nil {
		return webhook.Delivery{}, readError(err, "reading delivery %s", r.ID)
	}
	return d, nil
}

// webhookAttempts is how often one transaction is sent. Creates of one account meet on its
// count.
const webhookAttempts = 6

// transact sends a transaction until it is answered, under one token, with which DynamoDB
// applies it once however often it comes (ClientRequestToken): so an attempt that is
// refused was not made by an earlier one. The error is DynamoDB's own.
func (w *Webhooks) transact(ctx context.Context, writes ...types.TransactWriteItem) error {
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	in := &dynamodb.TransactWriteItemsInput{TransactItems: writes, ClientRequestToken: aws.String(rand.Text())}
	var maybe error // the answer of an attempt that may have been applied
	for n := 0; ; n++ {
		_, err := w.client.TransactWriteItems(ctx, in, once)
		switch judge(err) {
		case applied, refused, rejected:
			return err
		case unknown:
			maybe = err
		}
		if n+1 == webhookAttempts || pause(ctx, n+1) != nil {
			return cmp.Or(maybe, err)
		}
	}
}

// writeError wraps what transact answers, but for a refusal.
func writeError(err error, format string, a ...any) error {
	switch {
	case err == nil:
		return nil
	case judge(err) == refused, judge(err) == turned && lost(err):
		return fmt.Errorf("%s: %w: %w", fmt.Sprintf(format, a...), keys.ErrConflict, err)
	}
	return failed(err, format, a...)
}

func endpointItem(e *webhook.Endpoint) item {
	it := endpointKey(e.AccountID, e.ID)
	putText(it, attrID, e.ID)
	putText(it, attrAccount, e.AccountID)
	putInt(it, attrVersion, e.Version)
	putText(it, attrURL, e.URL)
	putText(it, attrDescription, e.Description)
	putList(it, attrKinds, textsOf(e.Kinds))
	putBool(it, attrActive, e.Active)
	putText(it, PepperAttribute, e.Pepper)
	putBytes(it, attrBox, e.Box)
	putText(it, attrBy, string(e.CreatedBy))
	putTime(it, attrCreated, e.CreatedAt)
	putTime(it, attrUpdated, e.UpdatedAt)
	return it
}

func readEndpoint(it item) (webhook.Endpoint, error) {
	r := reader{item: it}
	e := webhook.Endpoint{
		ID: r.text(attrID), AccountID: r.text(attrAccount), Version: r.int(attrVersion),
		URL: r.text(attrURL), Description: r.text(attrDescription), Kinds: textsAs[alert.Kind](r.list(attrKinds)),
		Active: r.bool(attrActive), Pepper: r.text(PepperAttribute), Box: r.bytes(attrBox),
		CreatedBy: apikey.ID(r.text(attrBy)), CreatedAt: r.time(attrCreated), UpdatedAt: r.time(attrUpdated),
	}
	if r.err == nil && (e.ID == "" || e.AccountID == "" || e.Version == 0) {
		return webhook.Endpoint{}, errors.New("the item is no whole webhook")
	}
	return e, r.err
}

// putProgress adds what changes of a delivery. One that has ended goes a month after its
// last attempt.
func putProgress(it item, d *webhook.Delivery) {
	putText(it, attrState, string(d.State))
	putInt(it, attrAttempts, int64(d.Attempts))
	last := d.CreatedAt
	if n := len(d.Log); n > 0 {
		last = d.Log[n-1].At
		log := make([]types.AttributeValue, n)
		for i, a := range d.Log {
			entry := item{}
			putTime(entry, attrAt, a.At)
			putInt(entry, attrAnswer, int64(a.Status))
			putText(entry, attrFault, a.Error)
			putInt(entry, attrTook, a.Latency.Milliseconds())
			log[i] = &types.AttributeValueMemberM{Value: entry}
		}
		it[attrLog] = &types.AttributeValueMemberL{Value: log}
	}
	if d.State == webhook.Pending {
		putTime(it, attrNext, d.NextAt)
	} else {
		putTTL(it, last.Add(webhook.Retention))
	}
}

func readDelivery(it item) (webhook.Delivery, error) {
	r := reader{item: it}
	d := webhook.Delivery{
		ID: r.text(attrID), AccountID: r.text(attrAccount), EndpointID: r.text(attrWebhook), AlertID: r.text(attrAlert),
		State: webhook.State(r.text(attrState)), Attempts: int(r.int(attrAttempts)),
		NextAt: r.time(attrNext), CreatedAt: r.time(attrCreated),
	}
	if log, ok := it[attrLog].(*types.AttributeValueMemberL); ok {
		for _, entry := range log.Value {
			m, ok := entry.(*types.AttributeValueMemberM)
			if !ok {
				r.fail(attrLog)
				break
			}
			a := reader{item: m.Value}
			d.Log = append(d.Log, webhook.Attempt{
				At: a.time(attrAt), Status: int(a.int(attrAnswer)), Error: a.text(attrFault),
				Latency: time.Duration(a.int(attrTook)) * time.Millisecond,
			})
			if a.err != nil {
				r.fail(attrLog)
			}
		}
	}
	if r.err == nil && (d.ID == "" || d.AccountID == "" || d.State == "") {
		return webhook.Delivery{}, errors.New("the item is no whole delivery")
	}
	return d, r.err
}

func textsOf[T ~string](list []T) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = string(s)
	}
	return out
}

func textsAs[T ~string](list []string) []T {
	if list == nil {
		return nil
	}
	out := make([]T, len(list))
	for i, s := range list {
		out[i] = T(s)
	}
	return out
}

// StreamAlert returns the alert whose item a record of the alerts table's stream is about,
// by the record's keys; ok is false for every other item.
func StreamAlert(partitionKey, sortKey string) (accountID, id string, ok bool) {
	accountID, isAccount := strings.CutPrefix(partitionKey, accountPrefix)
	id, isAlert := strings.CutPrefix(sortKey, alertPrefix)
	return accountID, id, isAccount && isAlert && accountID != "" && id != ""
}
