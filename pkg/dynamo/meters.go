package dynamo

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/guard"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/limit"
)

var _ guard.Meters = (*Meters)(nil)

// Meters is the guard's store, and the part of a keys.Store that concerns meters.
//
// Hit and Roll are one UpdateItem, attempted once: an attempt that was applied and then
// repeated, perhaps a slot later, would count one request twice, and at the time of the
// second (so the limit would be broken, see package limit). Settle may be repeated.
type Meters struct {
	client  *dynamodb.Client
	table   string
	timeout time.Duration
}

// NewMeters returns the store in that table. timeout bounds one call; 0: 2 s.
func NewMeters(client *dynamodb.Client, table string, timeout time.Duration) *Meters {
	return &Meters{client: client, table: table, timeout: cmp.Or(timeout, defaultTimeout)}
}

// past names the attribute of each position of limit.Window.Past.
var past = func() (names [limit.Slots]string) {
	for i := range names {
		names[i] = attrPastPrefix + strconv.Itoa(i)
	}
	return names
}()

// The two writes, each as one expression. An attribute that is set to what it is compared
// with has a value of its own, since :v is what the guard saw and :nv what it then read.
const (
	hitCondition  = "v = :v AND st = :st AND w = :w AND t < :limit"
	hitUpdate     = "SET v = :nv, st = :nst, u = u + :one, t = t + :one, n = n + :one, lu = :at"
	rollCondition = "v = :v AND st = :st AND w = :w"
	missing       = "attribute_not_exists(id)"
	// never is true of no item. It keeps a limit of 0 a refusal of the store, with the
	// meter as it is, where the window itself would let a request pass.
	never = "attribute_exists(id) AND attribute_not_exists(id)"
)

// Hit implements guard.Meters.
func (m *Meters) Hit(ctx context.Context, id apikey.ID, h guard.Hit) (guard.Meter, error) {
	return m.count(ctx, id, hitCondition, hitUpdate, item{
		":v": number(h.If.Verdict), ":st": boolean(h.If.Active), ":w": number(h.Slot), ":limit": number(h.Limit),
		":nv": number(h.Then.Verdict), ":nst": boolean(h.Then.Active), ":one": number(1), ":at": number(h.At.UnixMilli()),
	})
}

// Roll implements guard.Meters.
func (m *Meters) Roll(ctx context.Context, id apikey.ID, r guard.Roll) (guard.Meter, error) {
	values := item{
		":nv": number(r.Then.Verdict), ":nst": boolean(r.Then.Active), ":nw": number(r.To),
		":one": number(1), ":at": number(r.At.UnixMilli()),
	}
	update := "SET v = :nv, st = :nst, w = :nw, u = :one, lu = :at"
	condition := missing
	if r.Missing {
		update += ", t = :one, n = :one"
	} else {
		values[":v"], values[":st"], values[":w"] = number(r.If.Verdict), boolean(r.If.Active), number(r.From.Slot)
		condition = rollCondition
		var moved string
		if moved, condition = planned(r, condition, values); moved != "" {
			update += moved
		}
	}
	if r.Limit <= 0 && (r.Missing || r.To-r.From.Slot >= limit.Slots) {
		condition = "(" + condition + ") AND " + never
	}
	return m.count(ctx, id, condition, update, values)
}

// planned is what Window.Roll says, as an expression: the clauses that follow the update's
// first, and the condition with that on the limit.
func planned(r guard.Roll, condition string, values item) (update, _ string) {
	plan := r.From.Roll(r.To)
	update = ", n = n + :one"
	if plan.Whole {
		update += ", t = :one"
	} else {
		update += ", t = t + :d, " + past[plan.Moved] + " = u"
		values[":d"] = number(1 - plan.Expired)
		condition += " AND t < :limit"
		values[":limit"] = number(r.Limit + plan.Expired)
	}
	if len(plan.Clear) > 0 {
		gone := make([]string, len(plan.Clear))
		for i, at := range plan.Clear {
			gone[i] = past[at]
		}
		update += " REMOVE " + strings.Join(gone, ", ")
	}
	return update, condition
}

// count is the guard's write. The answer to a failed condition carries the meter.
func (m *Meters) count(ctx context.Context, id apikey.ID, condition, update string, values item) (guard.Meter, error) {
	ctx, cancel := context.WithTimeout(ctx, m.timeout)
	defer cancel()
	out, err := m.client.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName: &m.table, Key: meterKey(id),
		ConditionExpression: &condition, UpdateExpression: &update, ExpressionAttributeValues: values,
		ReturnValues:                        types.ReturnValueAllNew,
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	}, once)
	var refusal *types.ConditionalCheckFailedException
	if errors.As(err, &refusal) {
		found, err := readMeter(refusal.Item)
		if err != nil {
			return guard.Meter{}, unavailable(err, "reading the meter of %s", id)
		}
		return guard.Meter{}, &guard.Refused{Found: len(refusal.Item) > 0, Meter: found}
	}
	if err != nil {
		return guard.Meter{}, failed(err, "counting a request of %s", id)
	}
	after, err := readMeter(out.Attributes)
	if err != nil {
		return guard.Meter{}, unavailable(err, "reading the meter of %s", id)
	}
	return after, nil
}

func readMeter(it item) (guard.Meter, error) {
	r := reader{item: it}
	m := guard.Meter{
		State: guard.State{Verdict: r.int(attrMeterVerdict), Active: r.bool(attrMeterActive)},
		Window: limit.Window{
			Slot: r.int(attrSlot), Used: r.int(attrUsed), Total: r.int(attrTotal),
		},
		Requests: r.int(attrRequests),
		LastUsed: r.time(attrLastUsed),
	}
	for i, name := range past {
		m.Window.Past[i] = r.int(name)
	}
	return m, r.err
}

// newMeter is the meter of a key that has counted nothing.
func newMeter(id apikey.ID, verdict int64, active bool) item {
	it := meterKey(id)
	it[attrMeterVerdict], it[attrMeterActive] = number(verdict), boolean(active)
	for _, name := range []string{attrSlot, attrUsed, attrTotal, attrRequests} {
		it[name] = number(0) // the guard's write adds to them, so they must be there
	}
	return it
}

// Settle implements keys.Store.
func (m *Meters) Settle(ctx context.Context, id apikey.ID, verdict int64, active bool) error {
	ctx, cancel := context.WithTimeout(ctx, m.timeout)
	defer cancel()
	_, err := m.client.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName: &m.table, Key: meterKey(id),
		ConditionExpression: aws.String(missing + " OR v <= :v"),
		UpdateExpression: aws.String("SET v = :v, st = :st, w = if_not_exists(w, :zero), " +
			"u = if_not_exists(u, :zero), t = if_not_exists(t, :zero), n = if_not_exists(n, :zero)"),
		ExpressionAttributeValues: item{":v": number(verdict), ":st": boolean(active), ":zero": number(0)},
	})
	if err != nil && !isConditionFailed(err) { // a newer verdict is there already, and better
		return failed(err, "settling the meter of %s", id)
	}
	return nil
}

// usageAtOnce bounds the batches of one list that are read at the same time.
const usageAtOnce = 8

// usage reads meters, and the profiles beside them unless profiles, the table they are in,
// is empty. It reads with eventual consistency, at half the price: nothing is decided by
// it, and it is right within a second.
func (m *Meters) usage(ctx context.Context, ids []apikey.ID, profiles string) (map[apikey.ID]keys.Usage, error) {
	ctx, cancel := context.WithTimeout(ctx, m.timeout)
	defer cancel()
	ids = slices.Compact(slices.Sorted(slices.Values(ids))) // a batch with one key twice is refused whole
	size := batchGet
	if profiles != "" {
		size /= 2 // a key's meter and profile are read by one call
	}
	var (
		mu    sync.Mutex
		use   = make(map[apikey.ID]keys.Usage, len(ids))
		newer = map[apikey.ID]time.Time{} // last use by the profiles
	)
	err := inBatches(ctx, ids, size, usageAtOnce, func(ctx context.Context, some []apikey.ID) error {
		meters, seen := types.KeysAndAttributes{ProjectionExpression: aws.String("id, n, lu")},
			types.KeysAndAttributes{ProjectionExpression: aws.String("pk, lu")}
		for _, id := range some {
			meters.Keys = append(meters.Keys, meterKey(id))
			seen.Keys = append(seen.Keys, profileKey(id))
		}
		want := map[string]types.KeysAndAttributes{m.table: meters}
		if profiles != "" {
			want[profiles] = seen
		}
		items, err := getBatch(ctx, m.client, want)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		for _, it := range items[m.table] {
			r := reader{item: it}
			use[apikey.ID(r.text(MeterKey))] = keys.Usage{LastUsed: r.time(attrLastUsed), Requests: r.int(attrRequests)}
			err = errors.Join(err, r.err)
		}
		for _, it := range items[profiles] {
			r := reader{item: it}
			newer[idOfItem(&r)] = r.time(attrLastUsed)
			err = errors.Join(err, r.err)
		}
		return err
	})
	if err != nil {
		return nil, unavailable(err, "reading the use of %d keys", len(ids))
	}
	for id, at := range newer {
		if u, ok := use[id]; ok && at.After(u.LastUsed) {
			u.LastUsed = at
			use[id] = u
		}
	}
	return use, nil
}
