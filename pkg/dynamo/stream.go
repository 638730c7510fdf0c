package dynamo

import (
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

// StreamChange is what a record of the keys table's stream says of a key item.
type StreamChange struct {
	Sequence    string // of the record, by which it is reported as failed
	KeyID       apikey.ID
	Environment keys.Environment
	// Moved: the key's verdict is another now. What is new has none that anybody could have
	// kept, and what TTL has removed has had none for a retention.
	Moved bool
	// At is when the change was committed, or up to a second later: DynamoDB's clock, which
	// streams round down to seconds. Zero: the record does not say.
	At time.Time
}

// streamEvent is of Lambda's DynamoDB event what StreamChanges looks at
// (https://docs.aws.amazon.com/lambda/latest/dg/with-ddb.html).
type streamEvent struct {
	Records []struct {
		EventName string `json:"eventName"`
		Change    struct {
			At       float64 `json:"ApproximateCreationDateTime"` // Unix seconds
			Keys     streamImage
			NewImage streamImage
			OldImage streamImage
			Sequence string `json:"SequenceNumber"`
		} `json:"dynamodb"`
	}
}

// streamImage is an item in DynamoDB's JSON, without the values that are neither texts nor
// numbers.
type streamImage map[string]struct {
	S string
	N json.Number
}

// StreamChanges reads an event with records of the keys table's stream: those about key
// items, in their order. What is not the event of a stream with both images is an error.
func StreamChanges(event []byte) ([]StreamChange, error) {
	var e streamEvent
	if json.Unmarshal(event, &e) != nil { // whose error would quote the event
		return nil, errors.New("the event is no DynamoDB stream event")
	}
	var list []StreamChange
	for _, r := range e.Records {
		id, ok := StreamKeyID(r.Change.Keys[PartitionKey].S)
		if !ok {
			continue
		}
		was, is := r.Change.OldImage, r.Change.NewImage
		c := StreamChange{Sequence: r.Change.Sequence, KeyID: id, Environment: keys.Environment(is[attrEnv].S)}
		if r.Change.At > 0 {
			c.At = time.Unix(int64(r.Change.At)+1, 0)
		}
		if r.EventName == "MODIFY" {
			if was[attrVerdict].N == "" || is[attrVerdict].N == "" || !c.Environment.Valid() {
				return nil, errors.New("a record of the stream lacks an image of its key")
			}
			c.Moved = was[attrVerdict].N != is[attrVerdict].N
		}
		list = append(list, c)
	}
	return list, nil
}

// StreamKeyID returns the key whose item a record of the keys table's stream is about, by
// the record's partition key; ok is false for every other item, list rows included.
func StreamKeyID(partitionKey string) (id apikey.ID, ok bool) {
	text, found := strings.CutPrefix(partitionKey, keyPrefix)
	if !found {
		return "", false
	}
	id, err := apikey.ParseID(text)
	return id, err == nil
}
