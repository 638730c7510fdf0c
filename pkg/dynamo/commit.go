package dynamo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/wait"
)

// commitAttempts is how often one transaction is sent when its answer was lost or it was
// turned away. Losing against another transaction is for the caller to repeat, who reads
// first.
const commitAttempts = 3

// fenceAttempts is how often the fence is tried; with the pauses between them 0.2 s, in
// which a transaction that is still at work comes to its end.
const fenceAttempts = 6

// Commit implements keys.Store: one TransactWriteItems.
//
// An answer can be lost after the change was made, or be late while it is still being
// made. Then the same transaction is sent again, under the same token, which DynamoDB
// applies once (ClientRequestToken). If no attempt brings an answer, Commit puts a fence:
// an item in the place of the change's audit row, on condition that there is none. Either
// the row is there, so the change was made; or the fence is, and since the transaction's
// own condition is that the place is empty, it will never be made, however late it runs.
// So only a store that answers neither leaves the outcome unknown.
func (k *Keys) Commit(ctx context.Context, c keys.Change) error {
	t := k.transaction(&c)
	attemptCtx, fenceCtx, cancel := k.budget(ctx)
	defer cancel()
	var (
		maybe bool // an attempt may have been applied
		last  error
	)
	for n := range commitAttempts {
		if n > 0 && pause(attemptCtx, n) != nil {
			break
		}
		if n == 0 && attemptCtx.Err() != nil {
			return unavailable(attemptCtx.Err(), "committing a change")
		}
		_, err := k.client.TransactWriteItems(attemptCtx, t.input, once)
		switch judge(err) {
		case applied:
			return nil
		case refused:
			return k.refusal(fenceCtx, t, err, maybe)
		case turned:
			if lost(err) && !maybe {
				return &keys.ConflictError{Retry: true}
			}
		case rejected:
			if !maybe {
				return unavailable(err, "committing a change")
			}
		case unknown:
			maybe = true
		}
		last = err
	}
	if !maybe {
		return unavailable(last, "committing a change")
	}
	return k.fence(fenceCtx, &c.Audit, last)
}

// budget divides the time of a Commit: attempts, and a rest for the fence, which is of no
// use when there is no time left for it.
func (k *Keys) budget(ctx context.Context) (attempts, fence context.Context, cancel func()) {
	total := k.cfg.Timeout + k.cfg.Timeout/2
	if deadline, ok := ctx.Deadline(); ok {
		total = min(total, time.Until(deadline))
	}
	fence, cancelFence := context.WithTimeout(ctx, total)
	attempts, cancelAttempts := context.WithTimeout(fence, total*2/3)
	return attempts, fence, func() { cancelAttempts(); cancelFence() }
}

// lost reports whether err is the loss against another transaction or write.
func lost(err error) bool {
	var canceled *types.TransactionCanceledException
	if !errors.As(err, &canceled) {
		return false
	}
	for _, r := range canceled.CancellationReasons {
		if code(r) == reasonConflict {
			return true
		}
	}
	return false
}

// refusal is the answer to a change whose conditions did not all hold.
func (k *Keys) refusal(ctx context.Context, t *transaction, err error, maybe bool) error {
	var canceled *types.TransactionCanceledException
	if !errors.As(err, &canceled) {
		return unavailable(err, "committing a change")
	}
	var conflict keys.ConflictError
	for i, r := range canceled.CancellationReasons {
		if code(r) != reasonCondition || i >= len(t.blame) || t.blame[i] == nil && i != t.audit {
			continue
		}
		if i == t.audit {
			return auditTaken(r.Item, err)
		}
		t.blame[i](&conflict, r.Item)
	}
	if conflict == (keys.ConflictError{}) {
		conflict.Retry = true // DynamoDB did not say which
	}
	if !maybe {
		return &conflict
	}
	// An attempt before this one may be what changed the items. It cannot be at work any
	// more, as its conditions do not hold either; so its audit row is there or never will be.
	done, lookErr := k.committed(ctx, &t.change.Audit)
	switch {
	case lookErr != nil:
		return fmt.Errorf("committing a change: %w: %w", keys.ErrOutcomeUnknown, lookErr)
	case done:
		return nil
	}
	return &conflict
}

// auditTaken says what it means that the place of the audit row is taken: the change was
// made, by an attempt whose answer was lost; or it was fenced off.
func auditTaken(found item, cause error) error {
	r := reader{item: found}
	if r.bool(attrVoid) {
		return unavailable(cause, "committing a change that was given up")
	}
	return nil
}

// committed looks for the change's audit row.
func (k *Keys) committed(ctx context.Context, e *keys.AuditEvent) (bool, error) {
	it, err := k.get(ctx, auditKey(e.AccountID, e.ID))
	if errors.Is(err, keys.ErrNotFound) {
		return false, nil
	}
	r := reader{item: it}
	return err == nil && !r.bool(attrVoid), err
}

// fence settles what became of a change: nil, it was made; keys.ErrUnavailable, it was not
// and never will be; keys.ErrOutcomeUnknown. cause is why it was not known.
func (k *Keys) fence(ctx context.Context, e *keys.AuditEvent, cause error) error {
	var last error
	for n := range fenceAttempts {
		if n > 0 && pause(ctx, n) != nil {
			break
		}
		_, err := k.client.PutItem(ctx, &dynamodb.PutItemInput{
			TableName: &k.cfg.Table, Item: fenceItem(e), ConditionExpression: aws.String(absent),
			ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
		}, once)
		var taken *types.ConditionalCheckFailedException
		switch {
		case err == nil:
			return unavailable(cause, "committing a change")
		case errors.As(err, &taken):
			return auditTaken(taken.Item, cause)
		case judge(err) == rejected:
			return fmt.Errorf("committing a change: %w: %w", keys.ErrOutcomeUnknown, errors.Join(cause, err))
		}
		last = err
	}
	return fmt.Errorf("committing a change: %w: %w", keys.ErrOutcomeUnknown, errors.Join(cause, last))
}

// pause waits before attempt n (1 or more): at random up to a bound that doubles, 20 ms
// at first.
func pause(ctx context.Context, n int) error {
	bound := min(20*time.Millisecond<<min(n-1, 8), longestBackoff)
	return wait.For(ctx, mathrand.N(bound))
}

// Conditions of items that must not be there.
const (
	absent        = "attribute_not_exists(pk)"
	absentOrEnded = absent + " OR expires <= :now"
)

// transaction is a change as TransactWriteItems takes it.
type transaction struct {
	change *keys.Change
	input  *dynamodb.TransactWriteItemsInput
	// blame writes into a conflict what the failed condition of each item means; found is
	// the item as it is stored.
	blame []func(c *keys.ConflictError, found item)
	audit int // index of the audit row
}

func (t *transaction) add(w types.TransactWriteItem, blame func(*keys.ConflictError, item)) {
	t.input.TransactItems = append(t.input.TransactItems, w)
	t.blame = append(t.blame, blame)
}

const allOld = types.ReturnValuesOnConditionCheckFailureAllOld

// put adds an item under a condition.
func (t *transaction) put(table string, it item, condition string, values item, blame func(*keys.ConflictError, item)) {
	p := &types.Put{TableName: &table, Item: it, ReturnValuesOnConditionCheckFailure: allOld}
	if condition != "" {
		p.ConditionExpression = &condition
	}
	if len(values) > 0 {
		p.ExpressionAttributeValues = values
	}
	t.add(types.TransactWriteItem{Put: p}, blame)
}

func (k *Keys) transaction(c *keys.Change) *transaction {
	t := &transaction{change: c, input: &dynamodb.TransactWriteItemsInput{ClientRequestToken: aws.String(rand.Text())}}
	written := map[apikey.ID]bool{}
	for i := range c.Keys {
		w := &c.Keys[i]
		written[w.New.ID] = true
		switch {
		case w.Was == 0:
			k.create(t, w)
		case c.Caller != nil && c.Caller.ID == w.New.ID:
			k.update(t, w, c.Caller)
		case c.Parent != nil && c.Parent.ID == w.New.ID:
			k.update(t, w, c.Parent)
		default:
			k.update(t, w, nil)
		}
	}
	for _, check := range []*keys.CallerCheck{c.Caller, c.Parent} {
		if check == nil || written[check.ID] {
			continue
		}
		t.add(types.TransactWriteItem{ConditionCheck: &types.ConditionCheck{
			TableName: &k.cfg.Table, Key: keyKey(check.ID),
			ConditionExpression:       aws.String(attrVerdict + " = :caller"),
			ExpressionAttributeValues: item{":caller": number(check.Verdict)},
		}}, blameCaller)
	}
	if w := c.Account; w != nil {
		condition, values := absent, item(nil)
		if w.Was != 0 {
			condition, values = attrVersion+" = :was", item{":was": number(w.Was)}
		}
		t.put(k.cfg.Table, accountItem(&w.New), condition, values, func(c *keys.ConflictError, _ item) { c.Account = true })
	}
	if r := c.Record; r != nil {
		t.put(k.cfg.Table, recordItem(r), absentOrEnded, item{":now": number(r.CreatedAt.UnixMilli())},
			func(c *keys.ConflictError, _ item) { c.Record = true })
	}
	t.audit = len(t.blame)
	t.put(k.cfg.Table, eventItem(auditKey(c.Audit.AccountID, c.Audit.ID), &c.Audit, k.cfg.Retention), absent, nil, nil)
	k.trail(t, &c.Audit)
	for i := range c.Trails {
		k.trail(t, &c.Trails[i])
	}
	return t
}

// trail adds an event to the trail of its key. The row needs no condition, since it is
// written with the account's and never without.
func (k *Keys) trail(t *transaction, e *keys.AuditEvent) {
	if e.KeyID != "" {
		t.put(k.cfg.Table, eventItem(trailKey(e.KeyID, e.ID), e, k.cfg.Retention), "", nil, nil)
	}
}

func blameCaller(c *keys.ConflictError, _ item) { c.Caller = true }

// blameKey names the first key that conflicts.
func blameKey(id apikey.ID) func(*keys.ConflictError, item) {
	return func(c *keys.ConflictError, _ item) {
		if c.Key == "" {
			c.Key = id
		}
	}
}

// create adds a new key: its item, its list row and its meter.
func (k *Keys) create(t *transaction, w *keys.KeyWrite) {
	it := keyKey(w.New.ID)
	putKey(it, &w.New)
	putSecrets(it, &w.New)
	putTTL(it, keyTTL(&w.New, k.cfg.Retention))
	blame := blameKey(w.New.ID)
	t.put(k.cfg.Table, it, absent, nil, blame)
	t.put(k.cfg.Table, k.row(&w.New), absent, nil, blame)
	t.put(k.cfg.Meters, newMeter(w.New.ID, w.New.Verdict, w.New.Active && !w.New.Deleted), missing, nil, blame)
}

func (k *Keys) row(key *keys.Key) item {
	it := rowKey(key.AccountID, key.Number)
	if key.Parent != "" {
		it = sessionKey(key.AccountID, key.Parent, key.ID)
	}
	putKey(it, key)
	putTTL(it, keyTTL(key, k.cfg.Retention))
	return it
}

// update adds the new state of a key, attribute by attribute: those that a re-digest may
// be changing at the same time are named only if the secret changes. The row needs no
// condition, since it is written with its key item and never without.
func (k *Keys) update(t *transaction, w *keys.KeyWrite, caller *keys.CallerCheck) {
	state := item{}
	putKey(state, &w.New)
	putTTL(state, keyTTL(&w.New, k.cfg.Retention))
	optional := rowAttributes[:len(rowAttributes):len(rowAttributes)]
	switch {
	case w.SecretChanged:
		putSecrets(state, &w.New)
		optional = append(optional, secretAttributes...)
	case w.New.Previous.Generation == 0: // what was stored of one goes; a re-digest never touches it
		optional = append(optional, previousAttributes...)
	}
	u := newExpression(state, optional)
	condition := "#" + attrVersion + " = :was"
	u.values[":was"] = number(w.Was)
	blame := blameKey(w.New.ID)
	if caller != nil {
		condition += " AND #" + attrVerdict + " = :caller"
		u.values[":caller"] = number(caller.Verdict)
		blame = blameSelf(w, caller)
	}
	t.add(types.TransactWriteItem{Update: &types.Update{
		TableName: &k.cfg.Table, Key: keyKey(w.New.ID),
		ConditionExpression: &condition, UpdateExpression: aws.String(u.String()),
		ExpressionAttributeNames: u.names, ExpressionAttributeValues: u.values,
		ReturnValuesOnConditionCheckFailure: allOld,
	}}, blame)
	t.put(k.cfg.Table, k.row(&w.New), "", nil, nil)
}

// blameSelf tells the two halves of the condition apart that a caller which changes
// itself is written under.
func blameSelf(w *keys.KeyWrite, caller *keys.CallerCheck) func(*keys.ConflictError, item) {
	return func(c *keys.ConflictError, found item) {
		r := reader{item: found}
		if len(found) == 0 || r.int(attrVerdict) != caller.Verdict {
			c.Caller = true
		}
		if len(found) == 0 || r.int(attrVersion) != w.Was {
			blameKey(w.New.ID)(c, found)
		}
	}
}

// expression is an update expression in the making. Every attribute goes by a placeholder
// of its own name, since half of the names are reserved words of DynamoDB.
type expression struct {
	set, remove []string
	names       map[string]string
	values      item
}

// newExpression sets what state has, and removes what it lacks of optional.
func newExpression(state item, optional []string) *expression {
	e := &expression{names: map[string]string{}, values: item{}}
	for name, v := range state {
		e.names["#"+name] = name
		e.values[":"+name] = v
		e.set = append(e.set, "#"+name+" = :"+name)
	}
	for _, name := range optional {
		if _, ok := state[name]; !ok {
			e.names["#"+name] = name
			e.remove = append(e.remove, "#"+name)
		}
	}
	return e
}

func (e *expression) String() string {
	s := "SET " + strings.Join(e.set, ", ")
	if len(e.remove) > 0 {
		s += " REMOVE " + strings.Join(e.remove, ", ")
	}
	return s
}
