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
// Count is one UpdateItem, attempted once: an attempt that was applied and then
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

// windowAttributes are what a window of a meter is stored as, and what a write calls its
// values.
type windowAttributes struct {
	slot, used, total string
	past              [limit.Slots]string // by position of limit.Window.Past
	at, to, left, add string              // values: the slot it is at, and comes to; what the total must be under, and grows by
}

var (
	minuteAttributes = newWindowAttributes("", attrPastPrefix)
	hourAttributes   = newWindowAttributes(attrHourPrefix, attrHourPrefix)
	dayAttributes    = newWindowAttributes(attrDayPrefix, attrDayPrefix)
)

func newWindowAttributes(prefix, past string) *windowAttributes {
	a := &windowAttributes{
		slot: prefix + attrSlot, used: prefix + attrUsed, total: prefix + attrTotal,
		at: ":" + prefix + "w", to: ":" + prefix + "nw", left: ":" + prefix + "limit", add: ":" + prefix + "d",
	}
	for i := range a.past {
		a.past[i] = past + strconv.Itoa(i)
	}
	return a
}

// The write as one expression. An attribute that is set to what it is compared with has a
// value of its own, since :v is what the guard saw and :nv what it then read. The write that
// most requests are, in the slot that the meter is at and for a key with the one limit, is
// put together beforehand.
const (
	hitCondition = "v = :v AND st = :st AND w = :w AND t < :limit"
	hitUpdate    = "SET v = :nv, st = :nst, lu = :at, n = n + :p, u = u + :n, t = t + :n"
	missing      = "attribute_not_exists(id)"
	// never is true of no item. It keeps a limit of 0 a refusal of the store, with the
	// meter as it is, where the window itself would let a request pass.
	never = " AND attribute_exists(id) AND attribute_not_exists(id)"
)

// Count implements guard.Meters.
func (m *Meters) Count(ctx context.Context, id apikey.ID, w guard.Write) (guard.Meter, error) {
	values := item{
		":nv": number(w.Then.Verdict), ":nst": boolean(w.Then.Active), ":at": number(w.At.UnixMilli()), ":n": number(w.N), ":p": number(w.Passed),
	}
	if !w.Missing {
		values[":v"], values[":st"] = number(w.If.Verdict), boolean(w.If.Active)
	}
	if !w.Rolls() && w.Hour.Limit == 0 && w.Day.Limit == 0 && w.Month.Limit == 0 {
		values[":w"], values[":limit"] = number(w.Minute.To), number(w.Minute.Limit-w.N+1)
		return m.count(ctx, id, hitCondition, hitUpdate, values)
	}
	x := countExpression{values: values, made: w.Missing, n: w.N}
	x.condition.WriteString(cond(w.Missing, missing, "v = :v AND st = :st"))
	x.set.WriteString("SET v = :nv, st = :nst, lu = :at, n = " + cond(w.Missing, ":p", "n + :p"))
	x.window(minuteAttributes, &w.Minute, true)
	if w.Hour.Limit > 0 {
		x.window(hourAttributes, &w.Hour, w.Hour.From.Slot != 0)
	}
	if w.Day.Limit > 0 {
		x.window(dayAttributes, &w.Day, w.Day.From.Slot != 0)
	}
	if w.Month.Limit > 0 {
		x.month(&w.Month)
	}
	if !w.Possible() {
		x.condition.WriteString(never)
	}
	return m.count(ctx, id, x.condition.String(), x.set.String()+x.remove.String(), values)
}

// State implements guard.Meters.
func (m *Meters) State(ctx context.Context, id apikey.ID) (guard.State, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, m.timeout)
	defer cancel()
	out, err := m.client.GetItem(ctx, &dynamodb.GetItemInput{
		TableName: &m.table, Key: meterKey(id), ConsistentRead: aws.Bool(true), ProjectionExpression: aws.String("v, st"),
	})
	if err != nil {
		return guard.State{}, false, unavailable(err, "reading the meter of %s", id)
	}
	r := reader{item: out.Item}
	s := guard.State{Verdict: r.int(attrMeterVerdict), Active: r.bool(attrMeterActive)}
	if r.err != nil {
		return guard.State{}, false, unavailable(r.err, "reading the meter of %s", id)
	}
	return s, len(out.Item) > 0, nil
}

func cond(is bool, yes, no string) string {
	if is {
		return yes
	}
	return no
}

// countExpression is a Write being put together.
type countExpression struct {
	condition, set, remove strings.Builder
	values                 item
	made                   bool  // there is no meter, and the write makes one
	n                      int64 // requests
}

// must adds to the condition.
func (x *countExpression) must(parts ...string) {
	for _, part := range parts {
		x.condition.WriteString(part)
	}
}

// stands adds the condition that an attribute is as it was seen: not there, or that value.
func (x *countExpression) stands(attribute, value string, there bool, seen int64) {
	switch {
	case x.made: // nothing is there
	case there:
		x.must(" AND ", attribute, " = ", value)
		x.values[value] = number(seen)
	default:
		x.must(" AND attribute_not_exists(", attribute, ")")
	}
}

// window adds what limit.Window.Roll says of one window, and the condition on its limit.
// there: it was seen.
func (x *countExpression) window(a *windowAttributes, c *guard.Count, there bool) {
	x.stands(a.slot, a.at, there, c.From.Slot)
	most := c.Limit - x.n + 1 // the total must be under it
	if c.To == c.From.Slot {
		x.must(" AND ", a.total, " < ", a.left)
		x.values[a.left] = number(most)
		x.set.WriteString(", " + a.used + " = " + a.used + " + :n, " + a.total + " = " + a.total + " + :n")
		return
	}
	plan := c.From.Roll(c.To)
	x.set.WriteString(", " + a.slot + " = " + a.to + ", " + a.used + " = :n, " + a.total + " = ")
	x.values[a.to] = number(c.To)
	if plan.Whole || x.made {
		x.set.WriteString(":n")
	} else {
		x.must(" AND ", a.total, " < ", a.left)
		x.set.WriteString(a.total + " + " + a.add + ", " + a.past[plan.Moved] + " = " + a.used)
		x.values[a.left], x.values[a.add] = number(most+plan.Expired), number(x.n-plan.Expired)
	}
	for _, at := range plan.Clear {
		x.remove.WriteString(cond(x.remove.Len() == 0, " REMOVE ", ", ") + a.past[at])
	}
}

// month adds the quota.
func (x *countExpression) month(c *guard.MonthCount) {
	x.stands(attrPeriod, ":mp", c.From != 0, c.From)
	if c.To == c.From {
		x.must(" AND ", attrPeriodUsed, " < :mlimit")
		x.values[":mlimit"] = number(c.Limit - x.n + 1)
		x.set.WriteString(", " + attrPeriodUsed + " = " + attrPeriodUsed + " + :n")
		return
	}
	x.set.WriteString(", " + attrPeriod + " = :nmp, " + attrPeriodUsed + " = :n")
	x.values[":nmp"] = number(c.To)
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
		State:    guard.State{Verdict: r.int(attrMeterVerdict), Active: r.bool(attrMeterActive)},
		Window:   r.window(minuteAttributes),
		Requests: r.int(attrRequests),
		LastUsed: r.time(attrLastUsed),
	}
	_, hour := it[hourAttributes.slot]
	_, day := it[dayAttributes.slot]
	_, month := it[attrPeriod]
	if hour || day || month {
		m.Longer = &guard.Longer{
			Hour: r.window(hourAttributes), Day: r.window(dayAttributes),
			Month: limit.Month{Began: r.int(attrPeriod), Used: r.int(attrPeriodUsed)},
		}
	}
	return m, r.err
}

// windows are all that the meter has; zero ones of limits that the key never had.
func (r *reader) windows() keys.Windows {
	return keys.Windows{
		Minute: r.window(minuteAttributes), Hour: r.window(hourAttributes), Day: r.window(dayAttributes),
		Month: limit.Month{Began: r.int(attrPeriod), Used: r.int(attrPeriodUsed)},
	}
}

func (r *reader) window(a *windowAttributes) (w limit.Window) {
	w.Slot, w.Used, w.Total = r.int(a.slot), r.int(a.used), r.int(a.total)
	for i, name := range a.past {
		w.Past[i] = r.int(name)
	}
	return w
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

// usage reads meters, with their windows or without, and the profiles beside them unless
// profiles, the table they are in, is empty. It reads with eventual consistency, at half the
// price: nothing is decided by it, and it is right within a second.
func (m *Meters) usage(ctx context.Context, ids []apikey.ID, profiles string, windows bool) (map[apikey.ID]keys.Usage, error) {
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
		if windows {
			meters.ProjectionExpression = nil
		}
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
			u := keys.Usage{LastUsed: r.time(attrLastUsed), Requests: r.int(attrRequests)}
			if windows {
				u.Windows = r.windows()
			}
			use[apikey.ID(r.text(MeterKey))] = u
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
