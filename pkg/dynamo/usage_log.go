package dynamo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/keyreeve/keyreeve/pkg/usage"
)

// Requests implements usage.Store: a Query of each shard that may hold matching rows, newest
// first, a portion at a time, merged.
//
// A page ends when it is full, when the shards are, or when enough rows were read for it.
// Then the shards have been read to different depths, and only what is newer than the
// shallowest is known to be in order; the rest is read again for the next page.
func (u *Usage) Requests(ctx context.Context, q usage.Query) (usage.Page, error) {
	shards := u.shardsOf(&q)
	var (
		page usage.Page
		rows int
	)
	for {
		unread := slices.DeleteFunc(slices.Clone(shards), func(s *rowsOfShard) bool { return s.done || len(s.rows) > 0 })
		if len(unread) > 0 && rows < u.cfg.RowsPerPage {
			err := inBatches(ctx, unread, 1, rowShards, func(ctx context.Context, s []*rowsOfShard) error { return u.readOn(ctx, s[0]) })
			if err != nil {
				return usage.Page{}, unavailable(err, "reading the request log of account %s", q.AccountID)
			}
			for _, s := range unread {
				rows += s.lastRead
			}
			continue
		}
		depth := "" // of the shallowest shard: what is older than that may be missing
		for _, s := range unread {
			depth = max(depth, s.depth)
		}
		newest := newestOf(shards)
		switch {
		case newest != nil && newest.rows[0].place >= depth:
			page.Requests = append(page.Requests, newest.rows[0].request)
			newest.rows = newest.rows[1:]
			if len(page.Requests) < q.Limit {
				continue
			}
			if newestOf(shards) != nil || slices.ContainsFunc(shards, func(s *rowsOfShard) bool { return !s.done }) {
				last := page.Requests[len(page.Requests)-1]
				page.Next = &usage.Place{Time: last.Time, ID: last.ID}
			}
		case len(unread) > 0:
			next, err := readPlace(depth)
			if err != nil {
				return usage.Page{}, unavailable(err, "reading the request log of account %s", q.AccountID)
			}
			page.Next = &next
		}
		return page, nil
	}
}

// rowsOfShard is one shard of a request log, as far as it was read.
type rowsOfShard struct {
	query    *dynamodb.QueryInput
	after    string // the place that this page begins after; ""
	account  string
	rows     []placedRow // read, matching, and not given out yet; newest first
	depth    string      // the place that it was read to
	done     bool        // to its end
	lastRead int         // how many rows the last reading looked at
}

type placedRow struct {
	place   string
	request usage.Request
}

func newestOf(shards []*rowsOfShard) (newest *rowsOfShard) {
	for _, s := range shards {
		if len(s.rows) > 0 && (newest == nil || s.rows[0].place > newest.rows[0].place) {
			newest = s
		}
	}
	return newest
}

// shardsOf are the shards that a query is about.
func (u *Usage) shardsOf(q *usage.Query) []*rowsOfShard {
	n := rowShards
	if q.KeyID != "" {
		n = rowSpread
	}
	filter, names, values := rowFilter(q)
	// Sort keys have more behind the time, so they are greater than a time alone.
	low, high, after := rowTime(ceilMilli(q.From)), rowTime(ceilMilli(q.To)), ""
	if q.After != nil {
		after = rowPlace(q.After.Time.UnixMilli(), q.After.ID)
		high = min(high, after)
	}
	// A portion holds what a page needs of one shard if rows are spread evenly and all match,
	// and half as many again, since they are not. Two at least: the first may be q.After.
	portion := q.Limit*3/2/n + 8
	if filter != "" {
		portion = max(portion, filteredPortion)
	}
	portion = max(2, min(portion, u.cfg.RowsPerPage/n))
	shards := make([]*rowsOfShard, n)
	for i := range shards {
		shard := i
		if q.KeyID != "" {
			shard = rowShard(q.KeyID, i)
		}
		v := item{":pk": text(rowPartition(q.AccountID, shard)), ":low": text(low), ":high": text(high)}
		for name, value := range values {
			v[name] = value
		}
		shards[i] = &rowsOfShard{after: after, account: q.AccountID, done: low > high, query: &dynamodb.QueryInput{
			TableName: &u.cfg.Table, ScanIndexForward: aws.Bool(false), Limit: aws.Int32(int32(portion)),
			KeyConditionExpression:    aws.String(PartitionKey + " = :pk AND " + SortKey + " BETWEEN :low AND :high"),
			ExpressionAttributeValues: v,
		}}
		if filter != "" {
			shards[i].query.FilterExpression, shards[i].query.ExpressionAttributeNames = &filter, names
		}
	}
	return shards
}

// filteredPortion is how many rows of a shard are read at a time where few may match.
const filteredPortion = 250

// ceilMilli is the first millisecond that is not before t.
func ceilMilli(t time.Time) int64 { return t.Add(time.Millisecond - 1).UnixMilli() }

// rowFilter is what a query asks of a row beside its time, as an expression; "" is nothing.
func rowFilter(q *usage.Query) (filter string, names map[string]string, values item) {
	var conditions []string
	names, values = map[string]string{}, item{}
	is := func(name, condition string) {
		names["#"+name] = name
		conditions = append(conditions, "#"+name+" "+condition)
	}
	equals := func(name string, v types.AttributeValue) {
		values[":"+name] = v
		is(name, "= :"+name)
	}
	if q.KeyID != "" {
		equals(attrKey, text(string(q.KeyID)))
	}
	if len(q.Environments) > 0 {
		var in []string
		for i, env := range q.Environments {
			name := fmt.Sprint(":env", i)
			values[name] = text(string(env))
			in = append(in, name)
		}
		is(attrEnv, "IN ("+strings.Join(in, ", ")+")")
	}
	if q.Status != 0 {
		equals(attrRowStatus, number(int64(q.Status)))
	}
	if q.Class != 0 {
		values[":class"], values[":classEnd"] = number(int64(q.Class)*100), number(int64(q.Class)*100+99)
		is(attrRowStatus, "BETWEEN :class AND :classEnd")
	}
	if q.Route != "" {
		equals(attrRowRoute, text(q.Route))
	}
	if q.Method != "" {
		equals(attrRowMethod, text(q.Method))
	}
	if q.Refused {
		names["#"+attrRowRefused] = attrRowRefused
		conditions = append(conditions, "attribute_exists(#"+attrRowRefused+")")
	}
	return strings.Join(conditions, " AND "), names, values
}

// readOn reads the next portion of a shard.
func (u *Usage) readOn(ctx context.Context, s *rowsOfShard) error {
	var out *dynamodb.QueryOutput
	err := u.call(ctx, func(ctx context.Context) (err error) {
		out, err = u.client.Query(ctx, s.query)
		return err
	})
	if err != nil {
		return err
	}
	s.lastRead = int(out.ScannedCount)
	for _, it := range out.Items {
		r := reader{item: it}
		row := placedRow{place: r.text(SortKey), request: readRequest(&r)}
		place, err := readPlace(row.place)
		if r.err != nil || err != nil {
			return fmt.Errorf("a row is not readable: %w", errors.Join(r.err, err))
		}
		if row.place == s.after { // where the page before ended: BETWEEN has no open end
			continue
		}
		row.request.ID, row.request.Time, row.request.AccountID = place.ID, place.Time, s.account
		s.rows = append(s.rows, row)
	}
	if s.query.ExclusiveStartKey = out.LastEvaluatedKey; len(out.LastEvaluatedKey) == 0 {
		s.done = true
		return nil
	}
	r := reader{item: out.LastEvaluatedKey}
	s.depth = r.text(SortKey)
	return r.err
}
