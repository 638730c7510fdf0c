package dynamo

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/usage"
)

// recordAtOnce is how many rows one Record writes at the same time: enough for some
// thousand a second, and no more connections than the client keeps.
const recordAtOnce = 32

// Record implements usage.Store: one conditional UpdateItem per half of a row. BatchWriteItem
// would be fewer calls, at the same price, but it has no conditions.
func (u *Usage) Record(ctx context.Context, batch usage.Batch, rows []usage.Row) ([]bool, error) {
	mine := make([]bool, len(rows))
	which := make([]int, len(rows))
	for i := range which {
		which[i] = i
	}
	err := inBatches(ctx, which, 1, recordAtOnce, func(ctx context.Context, one []int) (err error) {
		i := one[0]
		mine[i], err = u.recordHalf(ctx, batch, &rows[i])
		return err
	})
	if err != nil {
		return nil, unavailable(err, "recording %d rows", len(rows))
	}
	return mine, nil
}

func (u *Usage) recordHalf(ctx context.Context, batch usage.Batch, row *usage.Row) (mine bool, err error) {
	r, owner := &row.Request, attrOfAccess
	state, weak := item{}, item{}
	putShared(state, r)
	if row.Half == usage.AccessHalf {
		putAccess(state, r)
		putInt(state, attrGen, r.Generation)
		putText(state, attrRowRefused, r.Refused)
	} else {
		// What both lines say is the access line's to say, in whatever order they come.
		owner, state, weak = attrOfRefusal, weak, state
		putInt(weak, attrRowStatus, int64(r.Status))
		putText(state, attrRowRefused, r.Refused)
	}
	state[owner] = text(string(batch))
	putTTL(state, r.Time.Add(usage.RequestRetention))

	e := newExpression(state, nil)
	for name, v := range weak {
		e.names["#"+name], e.values[":"+name] = name, v
		e.set = append(e.set, "#"+name+" = if_not_exists(#"+name+", :"+name+")")
	}
	err = u.persist(ctx, func(ctx context.Context, opts ...func(*dynamodb.Options)) error {
		_, err := u.client.UpdateItem(ctx, &dynamodb.UpdateItemInput{
			TableName: &u.cfg.Table, Key: requestKey(r),
			ConditionExpression: aws.String("attribute_not_exists(#" + owner + ") OR #" + owner + " = :" + owner),
			UpdateExpression:    aws.String(e.String()), ExpressionAttributeNames: e.names, ExpressionAttributeValues: e.values,
		}, opts...)
		return err
	})
	if isConditionFailed(err) {
		return false, nil
	}
	return err == nil, err
}

// putShared adds what both lines of a request say.
func putShared(it item, r *usage.Request) {
	putText(it, attrKey, string(r.KeyID))
	putText(it, attrParent, string(r.Parent))
	putText(it, attrEnv, string(r.Environment))
	putText(it, attrRowRequestID, r.RequestID)
}

// putAccess adds what only the access log's line says.
func putAccess(it item, r *usage.Request) {
	putText(it, attrRowMethod, r.Method)
	putText(it, attrRowRoute, r.Route)
	putText(it, attrRowPermission, r.Permission)
	putInt(it, attrRowStatus, int64(r.Status))
	putInt(it, attrRowLatency, r.Latency.Milliseconds())
	putText(it, attrRowSource, r.SourceIP)
	putText(it, attrRowAgent, r.UserAgent)
}

// readRequest reads a row, or a line that waits, but for what says where it is.
func readRequest(r *reader) usage.Request {
	return usage.Request{
		RequestID:   r.text(attrRowRequestID),
		KeyID:       apikey.ID(r.text(attrKey)),
		Environment: keys.Environment(r.text(attrEnv)),
		Generation:  r.int(attrGen),
		Parent:      apikey.ID(r.text(attrParent)),
		Method:      r.text(attrRowMethod),
		Route:       r.text(attrRowRoute),
		Permission:  r.text(attrRowPermission),
		Status:      int(r.int(attrRowStatus)),
		Latency:     time.Duration(r.int(attrRowLatency)) * time.Millisecond,
		SourceIP:    r.text(attrRowSource),
		UserAgent:   r.text(attrRowAgent),
		Refused:     r.text(attrRowRefused),
	}
}

// Complete implements usage.Store. A row that is gone, its retention over, stays gone.
func (u *Usage) Complete(ctx context.Context, r usage.Request) error {
	state := item{}
	putAccess(state, &r)
	if len(state) == 0 {
		return nil
	}
	e := newExpression(state, nil)
	err := u.persist(ctx, func(ctx context.Context, opts ...func(*dynamodb.Options)) error {
		_, err := u.client.UpdateItem(ctx, &dynamodb.UpdateItemInput{
			TableName: &u.cfg.Table, Key: requestKey(&r), ConditionExpression: aws.String("attribute_exists(" + PartitionKey + ")"),
			UpdateExpression: aws.String(e.String()), ExpressionAttributeNames: e.names, ExpressionAttributeValues: e.values,
		}, opts...)
		return err
	})
	if err != nil && !isConditionFailed(err) {
		return unavailable(err, "completing a row")
	}
	return nil
}

// joinRetention is how long a line waits for its other half. The two are written within
// seconds of each other; a delivery that failed is repeated for six hours
// (docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html).
const joinRetention = 24 * time.Hour

// Join implements usage.Store: one UpdateItem, which leaves this line and returns what is
// there then. The two lines set attributes of their own, so whichever is second, or is
// repeated, finds both.
func (u *Usage) Join(ctx context.Context, half usage.Half, r usage.Request) (joined usage.Request, both bool, err error) {
	state := item{}
	if half == usage.AccessHalf {
		putAccess(state, &r)
		putBool(state, attrHasAccess, true)
	} else {
		putShared(state, &r)
		putText(state, attrAccount, r.AccountID)
		putTime(state, attrAt, r.Time)
		putInt(state, attrGen, r.Generation)
		putText(state, attrRowRefused, r.Refused)
		putBool(state, attrHasRefusal, true)
	}
	putTTL(state, u.cfg.Clock().Add(joinRetention))
	e := newExpression(state, nil)
	var out *dynamodb.UpdateItemOutput
	err = u.persist(ctx, func(ctx context.Context, opts ...func(*dynamodb.Options)) (err error) {
		out, err = u.client.UpdateItem(ctx, &dynamodb.UpdateItemInput{
			TableName: &u.cfg.Table, Key: waitingKey(r.ID), ReturnValues: types.ReturnValueAllNew,
			UpdateExpression: aws.String(e.String()), ExpressionAttributeNames: e.names, ExpressionAttributeValues: e.values,
		}, opts...)
		return err
	})
	if err != nil {
		return usage.Request{}, false, unavailable(err, "joining the lines of a request")
	}
	read := reader{item: out.Attributes}
	both = read.bool(attrHasAccess) && read.bool(attrHasRefusal)
	joined = readRequest(&read)
	joined.ID, joined.AccountID, joined.Time = r.ID, read.text(attrAccount), read.time(attrAt)
	switch {
	case read.err != nil:
		return usage.Request{}, false, unavailable(read.err, "joining the lines of a request")
	case !both:
		return usage.Request{}, false, nil
	}
	return joined, true, nil
}
