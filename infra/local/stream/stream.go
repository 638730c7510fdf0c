// Package stream delivers a DynamoDB table's stream to a function, as Lambda's event
// source mapping does (https://docs.aws.amazon.com/lambda/latest/dg/with-ddb.html).
//
// The model: [Run] reads every shard from its oldest record, parents before children, four
// times a second, and calls the function with batches in the shape of Lambda's DynamoDB
// event. A batch that fails is sent again until it succeeds: from the first record that the
// function names in its answer (ReportBatchItemFailures), or else unchanged. Nothing behind
// it in its shard is delivered before.
//
// Promises: each record is delivered at least once, and those of one item in the order of
// its changes. With a checkpoint file a later Run goes on where the last one stopped, and
// so what was written just before a crash is delivered after the restart.
package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"

	"github.com/keyreeve/keyreeve/infra/local/atomicfile"
)

// Options is what Run works with.
type Options struct {
	Client    *dynamodbstreams.Client
	StreamARN string
	Region    string
	// Invoke calls the function with an event and returns its answer. An error means: all
	// of it again.
	Invoke func(ctx context.Context, event []byte) ([]byte, error)
	// Checkpoint is the file that remembers what has been delivered. Empty: all that the
	// stream holds is delivered at each Run.
	Checkpoint string
	PollEvery  time.Duration // default 250 ms, Lambda's base rate
	BatchSize  int32         // default 100 records
	RetryAfter time.Duration // wait after a first failure, doubled up to 100 times that; default 100 ms
	Log        *slog.Logger  // default discards
}

// shardsEvery is how often the list of shards is read although none has ended.
const shardsEvery = time.Minute

// position is how far a shard has been delivered.
type position struct {
	Sequence string `json:"sequence,omitempty"` // of the last record delivered
	Done     bool   `json:"done,omitempty"`     // the shard has ended and all of it was delivered
}

type checkpoint struct {
	Stream string              `json:"stream"`
	Shards map[string]position `json:"shards"`
}

type reader struct {
	o         Options
	at        map[string]position // by shard id
	iterators map[string]string   // by shard id
}

// Run delivers until ctx ends, and then returns nil. Any other return is a fault that
// retrying would not cure: a stream or a checkpoint that cannot be read at all.
func Run(ctx context.Context, o Options) error {
	if o.PollEvery == 0 {
		o.PollEvery = 250 * time.Millisecond
	}
	if o.BatchSize == 0 {
		o.BatchSize = 100
	}
	if o.RetryAfter == 0 {
		o.RetryAfter = 100 * time.Millisecond
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	r := &reader{o: o, at: map[string]position{}, iterators: map[string]string{}}
	if err := r.load(); err != nil {
		return err
	}
	var shards []types.Shard
	var listed time.Time
	for {
		if time.Since(listed) > shardsEvery {
			var err error
			if shards, err = r.shards(ctx); err != nil {
				if ctx.Err() != nil {
					return nil
				}
				var gone *types.ResourceNotFoundException
				if errors.As(err, &gone) {
					return fmt.Errorf("reading the stream's shards: %w", err)
				}
				o.Log.Warn("stream: reading the shards failed", "error", err)
			} else {
				listed = time.Now()
			}
		}
		more, ended := r.pass(ctx, shards)
		if ended {
			listed = time.Time{}
		}
		if more || ended {
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(o.PollEvery):
		}
	}
}

// pass reads each shard once. more: some had records; ended: one has come to its end.
func (r *reader) pass(ctx context.Context, shards []types.Shard) (more, ended bool) {
	listed := map[string]bool{}
	for _, s := range shards {
		listed[*s.ShardId] = true
	}
	for _, s := range shards {
		id := *s.ShardId
		if r.at[id].Done || ctx.Err() != nil {
			continue
		}
		// A child waits for its parent, so that an item's changes stay in order. A parent
		// that is no longer listed has been trimmed.
		if p := s.ParentShardId; p != nil && listed[*p] && !r.at[*p].Done {
			continue
		}
		n, end, err := r.read(ctx, id)
		if err != nil && ctx.Err() == nil {
			r.o.Log.Warn("stream: reading a shard failed", "error", err)
		}
		more = more || n > 0
		ended = ended || end
	}
	return more, ended
}

// read delivers the next records of a shard.
func (r *reader) read(ctx context.Context, id string) (n int, ended bool, err error) {
	if r.iterators[id] == "" {
		if err := r.iterate(ctx, id); err != nil {
			return 0, false, err
		}
	}
	iterator := r.iterators[id]
	out, err := r.o.Client.GetRecords(ctx, &dynamodbstreams.GetRecordsInput{ShardIterator: &iterator, Limit: &r.o.BatchSize})
	if err != nil {
		// Whatever it was (iterators expire after 15 minutes): a new one, from the last
		// record delivered.
		delete(r.iterators, id)
		return 0, false, err
	}
	if len(out.Records) > 0 {
		if err := r.deliver(ctx, out.Records); err != nil {
			delete(r.iterators, id)
			return 0, false, err
		}
		r.at[id] = position{Sequence: *out.Records[len(out.Records)-1].Dynamodb.SequenceNumber}
	}
	if out.NextShardIterator == nil {
		r.at[id] = position{Sequence: r.at[id].Sequence, Done: true}
		delete(r.iterators, id)
		ended = true
	} else {
		r.iterators[id] = *out.NextShardIterator
	}
	if ended || len(out.Records) > 0 {
		if err := r.save(); err != nil {
			r.o.Log.Warn("stream: writing the checkpoint failed", "error", err)
		}
	}
	return len(out.Records), ended, nil
}

// iterate opens a shard after the last record delivered, or at its oldest.
func (r *reader) iterate(ctx context.Context, id string) error {
	in := &dynamodbstreams.GetShardIteratorInput{
		StreamArn: &r.o.StreamARN, ShardId: &id, ShardIteratorType: types.ShardIteratorTypeTrimHorizon,
	}
	if seq := r.at[id].Sequence; seq != "" {
		in.ShardIteratorType, in.SequenceNumber = types.ShardIteratorTypeAfterSequenceNumber, &seq
	}
	out, err := r.o.Client.GetShardIterator(ctx, in)
	var trimmed *types.TrimmedDataAccessException
	if errors.As(err, &trimmed) {
		in.ShardIteratorType, in.SequenceNumber = types.ShardIteratorTypeTrimHorizon, nil
		out, err = r.o.Client.GetShardIterator(ctx, in)
	}
	if err != nil {
		return err
	}
	r.iterators[id] = *out.ShardIterator
	return nil
}

// deliver calls the function until all records have succeeded or ctx ends.
func (r *reader) deliver(ctx context.Context, records []types.Record) error {
	wait := r.o.RetryAfter
	for attempt := 1; ; attempt++ {
		event, err := json.Marshal(Event(r.o.Region, r.o.StreamARN, records))
		if err != nil {
			return fmt.Errorf("encoding the event: %w", err)
		}
		answer, err := r.o.Invoke(ctx, event)
		left := records
		if err == nil {
			if left = failed(records, answer); len(left) == 0 {
				return nil
			}
			err = errors.New("the function reports records that failed")
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		r.o.Log.Warn("stream: the function failed; records are sent again", "attempt", attempt, "records", len(left), "of", len(records), "error", err)
		if len(left) < len(records) {
			wait = r.o.RetryAfter // it moves on
		}
		records = left
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		wait = min(2*wait, 100*r.o.RetryAfter)
	}
}

// failed is what of a batch is to be repeated: everything from the first record that the
// answer names, and all of it where the answer names something else
// (https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-batchfailurereporting.html,
// "Success and failure conditions").
func failed(records []types.Record, answer []byte) []types.Record {
	var report struct {
		Failures []struct {
			ID *string `json:"itemIdentifier"`
		} `json:"batchItemFailures"`
	}
	if len(answer) > 0 && json.Unmarshal(answer, &report) != nil {
		return records
	}
	from := len(records)
	for _, f := range report.Failures {
		i := slices.IndexFunc(records, func(r types.Record) bool { return f.ID != nil && *f.ID == *r.Dynamodb.SequenceNumber })
		from = min(from, max(i, 0))
	}
	return records[from:]
}

func (r *reader) shards(ctx context.Context) ([]types.Shard, error) {
	var out []types.Shard
	in := &dynamodbstreams.DescribeStreamInput{StreamArn: &r.o.StreamARN}
	for {
		page, err := r.o.Client.DescribeStream(ctx, in)
		if err != nil {
			return nil, err
		}
		out = append(out, page.StreamDescription.Shards...)
		if in.ExclusiveStartShardId = page.StreamDescription.LastEvaluatedShardId; in.ExclusiveStartShardId == nil {
			break
		}
	}
	kept := map[string]position{}
	for _, s := range out {
		if at, ok := r.at[*s.ShardId]; ok {
			kept[*s.ShardId] = at
		}
	}
	r.at = kept // what is no longer listed has been trimmed
	return out, nil
}

func (r *reader) load() error {
	if r.o.Checkpoint == "" {
		return nil
	}
	text, err := os.ReadFile(r.o.Checkpoint)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the stream's checkpoint: %w", err)
	}
	var c checkpoint
	if err := json.Unmarshal(text, &c); err != nil {
		return fmt.Errorf("reading the stream's checkpoint: %w", err)
	}
	if c.Stream == r.o.StreamARN && c.Shards != nil { // else: of a table that is gone
		r.at = c.Shards
	}
	return nil
}

func (r *reader) save() error {
	if r.o.Checkpoint == "" {
		return nil
	}
	text, err := json.Marshal(checkpoint{Stream: r.o.StreamARN, Shards: r.at})
	if err != nil {
		return err
	}
	return atomicfile.Write(r.o.Checkpoint, text)
}
