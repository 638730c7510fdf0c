// Package stream is the two functions that follow the keys table's stream.
//
// [Stream] does again what a crash, a throttle or too many changes at a time can leave
// undone when a key's change is committed: the key's meter, and the authorizers' caches of
// its stages (package flush). [Later] empties those caches once more, and waits before it;
// so it is a function of its own, or meters and first flushes would wait with it. More than
// these two must not read the stream
// (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Streams.html, "no more
// than two processes").
//
// The model: a record says which key changed, and whether its verdict did. What is written
// to the meter is read off the key item then and there, and a flush empties a whole stage,
// so duplicated, reordered and late records do no harm: each leaves the meter at the key's
// present verdict, and nothing in the cache that is older. Meters go first; a batch's
// flushes are one for each stage.
//
// Neither writes keys. A record that fails is reported by itself
// (ReportBatchItemFailures,
// https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-batchfailurereporting.html).
package stream

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/dynamo"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

// flushFor bounds what throttled flushes take: meters of the next batch wait behind them.
const flushFor = 20 * time.Second

// Store is what the function needs of a store.
type Store interface {
	// Key reads one key with strong consistency; keys.ErrNotFound.
	Key(ctx context.Context, id apikey.ID) (keys.Key, error)
	// Settle writes a verdict to the key's meter, unless that holds a newer one.
	Settle(ctx context.Context, id apikey.ID, verdict int64, active bool) error
}

// Flusher empties authorizers' caches; flush.Flusher is one.
type Flusher interface {
	StagesOf(environments []keys.Environment) []string
	Flush(ctx context.Context, stages []string) error
}

// Stream is a Lambda handler.
type Stream struct {
	store   Store
	flusher Flusher
	log     *slog.Logger
}

// New returns a Stream.
func New(s Store, f Flusher, log *slog.Logger) *Stream { return &Stream{s, f, log} }

// Invoke implements lambda.Handler. The answer names the first record that failed: of a
// stream, Lambda repeats everything from there.
func (s *Stream) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	changes, err := dynamo.StreamChanges(payload)
	if err != nil {
		return nil, err
	}
	failed := ""                    // sequence number
	settled := map[apikey.ID]bool{} // once per batch: the newest state is read anyway
	for i, c := range changes {
		if settled[c.KeyID] {
			continue
		}
		if err := s.settle(ctx, c.KeyID); err != nil {
			s.log.Error("meter not repaired", "keyId", string(c.KeyID), "error", err.Error())
			failed, changes = c.Sequence, changes[:i]
			break
		}
		settled[c.KeyID] = true
	}
	if first, err := s.flush(ctx, changes); err != nil {
		s.log.Error("not flushed", "error", err.Error())
		failed = first
	}
	return answer(failed)
}

func (s *Stream) settle(ctx context.Context, id apikey.ID) error {
	k, err := s.store.Key(ctx, id)
	if errors.Is(err, keys.ErrNotFound) { // TTL has removed it: without the item, the guard refuses its context
		return nil
	}
	if err != nil {
		return err
	}
	return s.store.Settle(ctx, id, k.Verdict, k.Active && !k.Deleted)
}

// flush empties what changes touch. first is the first of them: a repeat needs them all.
func (s *Stream) flush(ctx context.Context, changes []dynamo.StreamChange) (first string, err error) {
	changes = moved(changes)
	if len(changes) == 0 {
		return "", nil
	}
	ctx, cancel := context.WithTimeout(ctx, flushFor)
	defer cancel()
	return changes[0].Sequence, s.flusher.Flush(ctx, s.flusher.StagesOf(environments(changes)))
}

// moved are those of changes after which a key has another verdict.
func moved(changes []dynamo.StreamChange) []dynamo.StreamChange {
	return slices.DeleteFunc(slices.Clone(changes), func(c dynamo.StreamChange) bool { return !c.Moved })
}

func environments(changes []dynamo.StreamChange) []keys.Environment {
	list := make([]keys.Environment, len(changes))
	for i, c := range changes {
		list[i] = c.Environment
	}
	return list
}

// answer reports the record that everything is to be repeated from; empty: none.
func answer(failed string) ([]byte, error) {
	a := events.DynamoDBEventResponse{BatchItemFailures: []events.DynamoDBBatchItemFailure{}}
	if failed != "" {
		a.BatchItemFailures = append(a.BatchItemFailures, events.DynamoDBBatchItemFailure{ItemIdentifier: failed})
	}
	return json.Marshal(a)
}
