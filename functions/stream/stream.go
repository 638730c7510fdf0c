// Package stream is the function behind the keys table's stream. It repairs what a crash
// can leave behind: a change of a key commits first and is written to the key's meter
// next, and a process may end in between. This function repeats the meter write.
//
// The model: a record only says which key changed. What is written to the meter is read
// off the key item then and there, so duplicated, reordered and late records do no harm:
// each leaves the meter at the key's present verdict.
//
// It never writes keys. A record that fails is reported by itself
// (ReportBatchItemFailures,
// https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-batchfailurereporting.html).
package stream

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"

	"github.com/aws/aws-lambda-go/events"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/dynamo"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

// Store is what the function needs of a store.
type Store interface {
	// Key reads one key with strong consistency; keys.ErrNotFound.
	Key(ctx context.Context, id apikey.ID) (keys.Key, error)
	// Settle writes a verdict to the key's meter, unless that holds a newer one.
	Settle(ctx context.Context, id apikey.ID, verdict int64, active bool) error
}

// Stream is a Lambda handler.
type Stream struct {
	store Store
	log   *slog.Logger
}

// New returns a Stream.
func New(s Store, log *slog.Logger) *Stream { return &Stream{s, log} }

// Invoke implements lambda.Handler. The answer names the first record that failed: of a
// stream, Lambda repeats everything from there.
func (s *Stream) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	var ev events.DynamoDBEvent
	if err := json.Unmarshal(payload, &ev); err != nil {
		return nil, errors.New("the event is no DynamoDB stream event")
	}
	answer := events.DynamoDBEventResponse{BatchItemFailures: []events.DynamoDBBatchItemFailure{}}
	settled := map[apikey.ID]bool{} // once per batch: the newest state is read anyway
	for _, record := range ev.Records {
		pk, ok := record.Change.Keys[dynamo.PartitionKey]
		if !ok || pk.DataType() != events.DataTypeString {
			continue
		}
		id, ok := dynamo.StreamKeyID(pk.String())
		if !ok || settled[id] {
			continue
		}
		if err := s.settle(ctx, id); err != nil {
			s.log.Error("meter not repaired", "keyId", string(id), "error", err.Error())
			answer.BatchItemFailures = append(answer.BatchItemFailures,
				events.DynamoDBBatchItemFailure{ItemIdentifier: record.Change.SequenceNumber})
			break
		}
		settled[id] = true
	}
	return json.Marshal(answer)
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
