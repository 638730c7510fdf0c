package dynamo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/order"
	"github.com/keyreeve/keyreeve/pkg/usage"
)

// What a transaction takes
// (docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html).
const (
	transactionItems = 100
	// updateAdds is how many counts one update adds to: an expression has at most 4 KB,
	// and each of them 12 bytes at most.
	updateAdds = 200
)

// markRetention is how long a mark tells that its counts were applied. What could not be
// delivered lies in a queue for 14 days at most, from where it may come back, fail again
// and lie there once more. It is longer than usage.RequestRetention, so that a batch whose
// rows are gone, and would be put anew, still finds its mark.
const markRetention = 60 * 24 * time.Hour

// Count implements usage.Store: transactions one after the other, each of which adds a part
// of the counts and puts the part's mark. Where the mark is there already, the part was
// applied.
func (u *Usage) Count(ctx context.Context, batch usage.Batch, counts []usage.Count, totals map[apikey.ID]usage.Totals) error {
	for i, part := range countParts(counts, totals) {
		if err := u.apply(ctx, markKey(batch, i), part); err != nil {
			return unavailable(err, "counting a batch, part %d", i)
		}
	}
	return nil
}

func (u *Usage) apply(ctx context.Context, mark item, part []addition) error {
	putTTL(mark, u.cfg.Clock().Add(markRetention))
	in := &dynamodb.TransactWriteItemsInput{TransactItems: []types.TransactWriteItem{
		{Put: &types.Put{TableName: &u.cfg.Table, Item: mark, ConditionExpression: aws.String(absent)}},
	}}
	for _, a := range part {
		in.TransactItems = append(in.TransactItems, types.TransactWriteItem{Update: a.update(u.cfg.Table)})
	}
	err := u.persist(ctx, func(ctx context.Context, opts ...func(*dynamodb.Options)) error {
		_, err := u.client.TransactWriteItems(ctx, in, opts...)
		return err
	})
	if judge(err) == refused { // by the only condition that there is
		return nil
	}
	return err
}

// addition is what is added to one item.
type addition struct {
	key  item
	adds map[string]int64 // by attribute
	ttl  time.Time        // zero: the item lasts
}

func (a addition) update(table string) *types.Update {
	up := &types.Update{TableName: &table, Key: a.key, ExpressionAttributeNames: map[string]string{}, ExpressionAttributeValues: item{}}
	var adds []string
	for i, name := range slices.Sorted(maps.Keys(a.adds)) {
		n := strconv.Itoa(i)
		up.ExpressionAttributeNames["#"+n], up.ExpressionAttributeValues[":"+n] = name, number(a.adds[name])
		adds = append(adds, "#"+n+" :"+n)
	}
	expression := "ADD " + strings.Join(adds, ",")
	if expires := (item{}); !a.ttl.IsZero() {
		putTTL(expires, a.ttl)
		up.ExpressionAttributeNames["#"+TTLAttribute] = TTLAttribute
		up.ExpressionAttributeValues[":"+TTLAttribute] = expires[TTLAttribute]
		expression = "SET #" + TTLAttribute + " = :" + TTLAttribute + " " + expression
	}
	up.UpdateExpression = &expression
	return up
}

// countParts divides what a batch counts into transactions, in the same way whenever it is
// given the same. What a key is given stays together where it fits, so that what is seen
// between two parts is few keys' counts without their totals.
//
// The division must stay as it is as long as marks last: part 2 of a batch that was begun
// by one version of this function is taken for part 2 by the next.
func countParts(counts []usage.Count, totals map[apikey.ID]usage.Totals) [][]addition {
	byKey := map[apikey.ID][]addition{}
	counts = slices.Clone(counts)
	order.By(counts, func(a, b usage.Count) int { return cmp.Compare(a.Day, b.Day) })
	for _, c := range counts {
		byKey[c.KeyID] = append(byKey[c.KeyID], dayAdditions(c)...)
	}
	for id, t := range totals {
		adds := map[string]int64{}
		addTo(adds, attrRequests, t.Requests)
		addTo(adds, attrAdmitted, t.Admitted)
		if len(adds) > 0 {
			byKey[id] = append(byKey[id], addition{key: totalsKey(id), adds: adds})
		}
	}
	var (
		parts [][]addition
		part  []addition
		has   = map[string]bool{} // items of part: a transaction takes each once
	)
	const room = transactionItems - 1 // the mark
	flush := func() {
		if len(part) > 0 {
			parts = append(parts, part)
		}
		part = nil
		clear(has)
	}
	for _, id := range slices.Sorted(maps.Keys(byKey)) {
		if len(part)+len(byKey[id]) > room {
			flush()
		}
		for _, a := range byKey[id] {
			name := keyName(a.key)
			if len(part) == room || has[name] {
				flush()
			}
			part, has[name] = append(part, a), true
		}
	}
	flush()
	return parts
}

// keyName is an item's key as one text.
func keyName(key item) string {
	r := reader{item: key}
	return r.text(PartitionKey) + " " + r.text(SortKey)
}

// addTo leaves out what is zero: no attribute is made for nothing.
func addTo(adds map[string]int64, name string, n int64) {
	if n != 0 {
		adds[name] = n
	}
}

// Names of a day's attributes.
const permissionCount = "p:"

func hourCount(hour int) string { return strconv.Itoa(hour) }

func classCount(hour, class int) string { return hourCount(hour) + "s" + strconv.Itoa(class) }

func generationCount(hour int, generation int64) string {
	return hourCount(hour) + "g" + strconv.FormatInt(generation, 10)
}

// dayAdditions is one addition, but for a batch that has hundreds of counts for one key and
// day, which is divided.
func dayAdditions(c usage.Count) []addition {
	all := map[string]int64{}
	for hour, h := range c.Hours {
		addTo(all, hourCount(hour), h.Requests)
		for class, n := range h.Status {
			addTo(all, classCount(hour, class), n)
		}
		for generation, n := range h.Generations {
			addTo(all, generationCount(hour, generation), n)
		}
	}
	for permission, n := range c.Permissions {
		addTo(all, permissionCount+permission, n)
	}
	var list []addition
	for names := range slices.Chunk(slices.Sorted(maps.Keys(all)), updateAdds) {
		a := addition{key: dayKey(c.AccountID, c.KeyID, c.Day), adds: map[string]int64{}, ttl: (c.Day + 1).Start().Add(usage.CountRetention)}
		for _, name := range names {
			a.adds[name] = all[name]
		}
		list = append(list, a)
	}
	return list
}

// readDay undoes dayAdditions.
func readDay(it item) (c usage.Count, err error) {
	r := reader{item: it}
	for name := range it {
		if permission, ok := strings.CutPrefix(name, permissionCount); ok {
			if c.Permissions == nil {
				c.Permissions = map[string]int64{}
			}
			c.Permissions[permission] = r.int(name)
			continue
		}
		digits := strings.IndexFunc(name, func(r rune) bool { return r < '0' || r > '9' })
		if digits == 0 { // none of the counts
			continue
		}
		hour, of, kind := name, "", byte(0)
		if digits > 0 {
			hour, kind, of = name[:digits], name[digits], name[digits+1:]
		}
		h, err := strconv.ParseUint(hour, 10, 8)
		if err != nil || h >= uint64(len(c.Hours)) {
			r.fail(name)
			continue
		}
		readHour(&r, &c.Hours[h], name, kind, of)
	}
	if r.err != nil {
		return usage.Count{}, errCounts // r.err names what is in the item
	}
	return c, nil
}

var errCounts = errors.New("a day's counts are malformed")

// readHour reads one count of an hour: of a kind, and of which one of that kind.
func readHour(r *reader, h *usage.Hour, name string, kind byte, of string) {
	n := r.int(name)
	switch kind {
	case 0:
		h.Requests = n
	case 's':
		class, err := strconv.ParseUint(of, 10, 8)
		if err != nil || class >= uint64(len(h.Status)) {
			r.fail(name)
			return
		}
		h.Status[class] = n
	case 'g':
		generation, err := strconv.ParseInt(of, 10, 64)
		if err != nil {
			r.fail(name)
			return
		}
		if h.Generations == nil {
			h.Generations = map[int64]int64{}
		}
		h.Generations[generation] = n
	default:
		r.fail(name)
	}
}

// Days implements usage.Store. Each day is an item of a partition of its own, so they are
// read by their keys.
func (u *Usage) Days(ctx context.Context, accountID string, ids []apikey.ID, from, to usage.Day) ([]usage.Count, error) {
	var want []item
	for _, id := range ids {
		for day := from; day <= to; day++ {
			want = append(want, dayKey(accountID, id, day))
		}
	}
	items, err := u.get(ctx, want, "", false)
	if err != nil {
		return nil, unavailable(err, "reading the counts of %d keys", len(ids))
	}
	counts := make([]usage.Count, len(items))
	for i, it := range items {
		if counts[i], err = readDay(it); err == nil {
			r := reader{item: it}
			counts[i].AccountID, counts[i].KeyID = accountID, apikey.ID(r.text(SortKey))
			counts[i].Day, err = dayOfItem(it)
		}
		if err != nil {
			return nil, unavailable(err, "reading the counts of %d keys", len(ids))
		}
	}
	order.By(counts, func(a, b usage.Count) int { return cmp.Compare(a.Day, b.Day) })
	return counts, nil
}

// dayOfItem reads the day off the partition key.
func dayOfItem(it item) (usage.Day, error) {
	r := reader{item: it}
	names := strings.Split(r.text(PartitionKey), "#") // C, account, day, shard
	if r.err != nil || len(names) != 4 {
		return 0, errCounts
	}
	day, err := strconv.ParseInt(names[2], 10, 64)
	if err != nil {
		return 0, errCounts
	}
	return usage.Day(day), nil
}

// queriesAtOnce bounds the partitions that AccountDays reads at the same time.
const queriesAtOnce = 16

// AccountDays implements usage.Store: a Query of each day's shards. It asks for the hours'
// attributes alone, which is less to send, though not less to pay: DynamoDB counts whole
// items.
func (u *Usage) AccountDays(ctx context.Context, accountID string, from, to usage.Day) ([]usage.Count, error) {
	type partition struct {
		day   usage.Day
		shard int
		found []usage.Count
	}
	var partitions []*partition
	for day := from; day <= to; day++ {
		for shard := range dayShards {
			partitions = append(partitions, &partition{day: day, shard: shard})
		}
	}
	names := map[string]string{}
	projection := SortKey
	for hour := range 24 {
		names["#"+hourCount(hour)] = hourCount(hour)
		projection += ",#" + hourCount(hour)
	}
	err := inBatches(ctx, partitions, 1, queriesAtOnce, func(ctx context.Context, one []*partition) error {
		p := one[0]
		in := &dynamodb.QueryInput{
			TableName: &u.cfg.Table, KeyConditionExpression: aws.String(PartitionKey + " = :pk"),
			ProjectionExpression: &projection, ExpressionAttributeNames: names,
			ExpressionAttributeValues: item{":pk": text(dayPartition(accountID, p.day, p.shard))},
		}
		return u.queryAll(ctx, in, func(it item) error {
			c, err := readDay(it)
			if err != nil {
				return err
			}
			r := reader{item: it}
			c.AccountID, c.KeyID, c.Day = accountID, apikey.ID(r.text(SortKey)), p.day
			p.found = append(p.found, c)
			return r.err
		})
	})
	if err != nil {
		return nil, unavailable(err, "reading the counts of account %s", accountID)
	}
	var counts []usage.Count
	for _, p := range partitions {
		counts = append(counts, p.found...)
	}
	return counts, nil
}

// queryAll gives every item of a Query to each.
func (u *Usage) queryAll(ctx context.Context, in *dynamodb.QueryInput, each func(item) error) error {
	for {
		var out *dynamodb.QueryOutput
		err := u.call(ctx, func(ctx context.Context) (err error) {
			out, err = u.client.Query(ctx, in)
			return err
		})
		if err != nil {
			return err
		}
		for _, it := range out.Items {
			if err := each(it); err != nil {
				return err
			}
		}
		if in.ExclusiveStartKey = out.LastEvaluatedKey; len(in.ExclusiveStartKey) == 0 {
			return nil
		}
	}
}

// get reads the items of these keys that there are, in no order; projection "" is all of
// each. No key may stand there twice.
func (u *Usage) get(ctx context.Context, want []item, projection string, consistent bool) ([]item, error) {
	var (
		found []item
		table = u.cfg.Table
		out   = make(chan []item, len(want)/batchGet+1)
	)
	err := inBatches(ctx, want, batchGet, usageAtOnce, func(ctx context.Context, some []item) error {
		ask := types.KeysAndAttributes{Keys: some, ConsistentRead: &consistent}
		if projection != "" {
			ask.ProjectionExpression = &projection
		}
		return u.call(ctx, func(ctx context.Context) error {
			items, err := getBatch(ctx, u.client, map[string]types.KeysAndAttributes{table: ask})
			if err != nil {
				return fmt.Errorf("%d items: %w", len(some), err)
			}
			out <- items[table]
			return nil
		})
	})
	close(out)
	for items := range out {
		found = append(found, items...)
	}
	return found, err
}
