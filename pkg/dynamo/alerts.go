package dynamo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/keyreeve/keyreeve/pkg/alert"
	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

var _ alert.Store = (*Alerts)(nil)

// Alerts is the store of alerts and failures, in the alerts table. It is safe for
// concurrent use.
//
// Each of its writes is one conditional write, and the same when it is done twice: a write
// whose answer was lost is just done again. A condition that fails brings the item with it,
// so nothing is read first.
type Alerts struct {
	client  *dynamodb.Client
	table   string
	timeout time.Duration
}

// NewAlerts returns the store in that table. timeout bounds one call; 0: 2 s.
func NewAlerts(client *dynamodb.Client, table string, timeout time.Duration) *Alerts {
	return &Alerts{client: client, table: table, timeout: cmp.Or(timeout, defaultTimeout)}
}

func alertKey(accountID, id string) item { return primaryKey(accountPrefix+accountID, alertPrefix+id) }

// Raise implements alert.Store.
func (s *Alerts) Raise(ctx context.Context, a alert.Alert) (raised bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	_, err = s.client.PutItem(ctx, &dynamodb.PutItemInput{
		TableName: &s.table, Item: alertItem(&a), ConditionExpression: aws.String(absent),
	})
	if isConditionFailed(err) {
		return false, nil
	}
	if err != nil {
		return false, unavailable(err, "putting alert %s", a.ID)
	}
	return true, nil
}

// Note implements alert.Store.
func (s *Alerts) Note(ctx context.Context, accountID, id, name, value string) (kept string, err error) {
	it, err := s.update(ctx, &dynamodb.UpdateItemInput{
		Key: alertKey(accountID, id), ConditionExpression: aws.String(present),
		UpdateExpression:          aws.String("SET #data.#name = if_not_exists(#data.#name, :value)"),
		ExpressionAttributeNames:  map[string]string{"#data": attrData, "#name": name},
		ExpressionAttributeValues: item{":value": text(value)},
	})
	if err != nil {
		return "", readError(err, "adding to alert %s", id)
	}
	r := reader{item: it}
	kept = r.textMap(attrData)[name]
	if r.err != nil {
		return "", unavailable(r.err, "adding to alert %s", id)
	}
	return kept, nil
}

const present = "attribute_exists(pk)"

// update makes one conditional write, and returns the item as it is then, also where the
// condition failed; keys.ErrNotFound if there is none.
func (s *Alerts) update(ctx context.Context, in *dynamodb.UpdateItemInput) (item, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	in.TableName = &s.table
	in.ReturnValues = types.ReturnValueAllNew
	in.ReturnValuesOnConditionCheckFailure = allOld
	out, err := s.client.UpdateItem(ctx, in)
	var refusal *types.ConditionalCheckFailedException
	switch {
	case errors.As(err, &refusal) && len(refusal.Item) == 0:
		return nil, keys.ErrNotFound
	case errors.As(err, &refusal):
		return refusal.Item, nil
	case err != nil:
		return nil, err
	}
	return out.Attributes, nil
}

// Acknowledge implements alert.Store.
func (s *Alerts) Acknowledge(ctx context.Context, accountID, id string, by apikey.ID, at time.Time) (a alert.Alert, err error) {
	it, err := s.update(ctx, &dynamodb.UpdateItemInput{
		Key: alertKey(accountID, id), ConditionExpression: aws.String(present + " AND attribute_not_exists(" + attrAcknowledged + ")"),
		UpdateExpression:          aws.String("SET " + attrAcknowledged + " = :at, " + attrAcknowledgedBy + " = :by"),
		ExpressionAttributeValues: item{":at": number(at.UnixMilli()), ":by": text(string(by))},
	})
	if err == nil {
		a, err = readAlert(it)
	}
	if err != nil {
		return alert.Alert{}, readError(err, "acknowledging alert %s", id)
	}
	return a, nil
}

// Alert implements alert.Store.
func (s *Alerts) Alert(ctx context.Context, accountID, id string) (a alert.Alert, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	out, err := s.client.GetItem(ctx, &dynamodb.GetItemInput{
		TableName: &s.table, Key: alertKey(accountID, id), ConsistentRead: aws.Bool(true),
	})
	if err == nil && len(out.Item) == 0 {
		err = keys.ErrNotFound
	}
	if err == nil {
		a, err = readAlert(out.Item)
	}
	if err != nil {
		return alert.Alert{}, readError(err, "reading alert %s", id)
	}
	return a, nil
}

// What one page of a list reads: portions of at least alertsAtOnce, and no new one once it
// has seen alertsPerPage, whether they match or not; some 500 kB.
const (
	alertsAtOnce  = 100
	alertsPerPage = 1000
)

// Alerts implements alert.Store. It reads one alert more than it gives, to know whether
// there is another page.
func (s *Alerts) Alerts(ctx context.Context, q alert.Query) (page alert.Page, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	in := &dynamodb.QueryInput{
		TableName: &s.table, ConsistentRead: aws.Bool(true), ScanIndexForward: aws.Bool(false),
		KeyConditionExpression:    aws.String("pk = :pk AND begins_with(sk, :prefix)"),
		ExpressionAttributeValues: item{":pk": text(accountPrefix + q.AccountID), ":prefix": text(alertPrefix)},
		Limit:                     aws.Int32(int32(max(q.Limit+1, alertsAtOnce))),
	}
	if q.After != "" {
		in.ExclusiveStartKey = alertKey(q.AccountID, q.After)
	}
	for seen := 0; ; {
		out, err := s.client.Query(ctx, in)
		if err != nil {
			return alert.Page{}, unavailable(err, "listing the alerts of account %s", q.AccountID)
		}
		var last string
		for _, it := range out.Items {
			a, err := readAlert(it)
			if err != nil {
				return alert.Page{}, unavailable(err, "listing the alerts of account %s", q.AccountID)
			}
			seen, last = seen+1, a.ID
			if !q.Matches(&a) {
				continue
			}
			if len(page.Alerts) == q.Limit {
				page.Next = page.Alerts[q.Limit-1].ID
				return page, nil
			}
			page.Alerts = append(page.Alerts, a)
		}
		if in.ExclusiveStartKey = out.LastEvaluatedKey; len(in.ExclusiveStartKey) == 0 {
			return page, nil
		}
		if seen >= alertsPerPage {
			page.Next = last
			return page, nil
		}
	}
}

// failuresRetention is how long failures wait for others: for as long as a batch that
// failed is brought again, and some more.
const failuresRetention = 24 * time.Hour

func failuresKey(accountID, cause string, window time.Time) item {
	return primaryKey(failuresPrefix+accountID, cause+"#"+strconv.FormatInt(window.UnixMilli(), 10))
}

// Fail implements alert.Store. The neighbours are read after the write, consistently: of
// two writers at the same time, the one who writes last reads what the other wrote.
func (s *Alerts) Fail(ctx context.Context, accountID, cause string, window time.Time, failures []alert.Failure) ([]alert.Failure, error) {
	ids := make([]string, 0, alert.FailureThreshold)
	for _, f := range failures {
		if id := fmt.Sprintf("%d#%s", f.Time.UnixMilli(), f.ID); len(ids) < cap(ids) && !slices.Contains(ids, id) { // a set has nothing twice
			ids = append(ids, id)
		}
	}
	it, err := s.update(ctx, &dynamodb.UpdateItemInput{
		Key:                      failuresKey(accountID, cause, window),
		ConditionExpression:      aws.String("attribute_not_exists(#ids) OR size(#ids) < :full"),
		UpdateExpression:         aws.String("ADD #ids :ids SET #ttl = :ttl"),
		ExpressionAttributeNames: map[string]string{"#ids": attrFailed, "#ttl": TTLAttribute},
		ExpressionAttributeValues: item{
			":ids": &types.AttributeValueMemberSS{Value: ids}, ":full": number(alert.FailureThreshold),
			":ttl": number(window.Add(failuresRetention).Unix()),
		},
	})
	var known []alert.Failure
	if err == nil {
		known, err = readFailures(it)
	}
	if err == nil && len(known) < alert.FailureThreshold {
		var beside []alert.Failure
		beside, err = s.neighbours(ctx, accountID, cause, window)
		known = append(known, beside...)
	}
	if err != nil {
		return nil, unavailable(err, "keeping failures of account %s", accountID)
	}
	return known, nil
}

// neighbours reads the failures of the spans before and after.
func (s *Alerts) neighbours(ctx context.Context, accountID, cause string, window time.Time) (list []alert.Failure, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	found, err := getBatch(ctx, s.client, map[string]types.KeysAndAttributes{s.table: {
		Keys: []item{
			failuresKey(accountID, cause, window.Add(-alert.FailureSpan)),
			failuresKey(accountID, cause, window.Add(alert.FailureSpan)),
		},
		ConsistentRead: aws.Bool(true),
	}})
	if err != nil {
		return nil, err
	}
	for _, it := range found[s.table] {
		failures, err := readFailures(it)
		if err != nil {
			return nil, err
		}
		list = append(list, failures...)
	}
	return list, nil
}

func readFailures(it item) ([]alert.Failure, error) {
	set, ok := it[attrFailed].(*types.AttributeValueMemberSS)
	if !ok {
		return nil, fmt.Errorf("attribute %s has the wrong type", attrFailed)
	}
	list := make([]alert.Failure, len(set.Value))
	for i, s := range set.Value {
		at, id, _ := strings.Cut(s, "#")
		ms, err := strconv.ParseInt(at, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("attribute %s has a member without a time", attrFailed)
		}
		list[i] = alert.Failure{ID: id, Time: time.UnixMilli(ms).UTC()}
	}
	return list, nil
}

// alertItem always has its map of figures: Note writes into it.
func alertItem(a *alert.Alert) item {
	it := alertKey(a.AccountID, a.ID)
	putText(it, attrID, a.ID)
	putText(it, attrAccount, a.AccountID)
	putText(it, attrEnv, string(a.Environment))
	putText(it, attrKey, string(a.KeyID))
	putText(it, attrKind, string(a.Kind))
	putText(it, attrSeverity, string(a.Severity))
	putText(it, attrSubject, a.Subject)
	putTime(it, attrWindow, a.Window)
	putTime(it, attrAt, a.RaisedAt)
	putText(it, attrText, a.Text)
	it[attrData] = &types.AttributeValueMemberM{Value: item{}}
	putMap(it, attrData, a.Data)
	putTime(it, attrAcknowledged, a.AcknowledgedAt)
	putText(it, attrAcknowledgedBy, string(a.AcknowledgedBy))
	putTTL(it, a.RaisedAt.Add(alert.Retention))
	return it
}

func readAlert(it item) (alert.Alert, error) {
	r := reader{item: it}
	a := alert.Alert{
		ID: r.text(attrID), AccountID: r.text(attrAccount), Environment: keys.Environment(r.text(attrEnv)), KeyID: apikey.ID(r.text(attrKey)),
		Kind: alert.Kind(r.text(attrKind)), Severity: alert.Severity(r.text(attrSeverity)), Subject: r.text(attrSubject),
		Window: r.time(attrWindow), RaisedAt: r.time(attrAt), Text: r.text(attrText), Data: r.textMap(attrData),
		AcknowledgedAt: r.time(attrAcknowledged), AcknowledgedBy: apikey.ID(r.text(attrAcknowledgedBy)),
	}
	return a, r.err
}
