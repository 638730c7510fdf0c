package stream_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	streamtypes "github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"
	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/infra/local/ddb/ddbtest"
	"github.com/keyreeve/keyreeve/infra/local/stream"
)

func TestMain(m *testing.M) { ddbtest.Main(m) }

// table is an empty table with a stream, and what a Run of it has delivered.
type table struct {
	t       *testing.T
	db      *dynamodb.Client
	name    string
	options stream.Options

	mu   sync.Mutex
	seen []string // "INSERT a", …
	fail func(records []string) error
	// report is what the function answers, once, at a record.
	report map[string]string
}

func newTable(t *testing.T) *table {
	t.Helper()
	db, c := ddbtest.ForTest(t)
	out, err := db.DescribeTable(t.Context(), &dynamodb.DescribeTableInput{TableName: &c.KeysTable})
	if err != nil {
		t.Fatal(err)
	}
	tb := &table{t: t, db: db, name: c.KeysTable}
	tb.options = stream.Options{
		Client: dynamodbstreams.New(dynamodbstreams.Options{
			Region: c.Region, BaseEndpoint: &c.DynamoDBEndpoint,
			Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
				return aws.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey}, nil
			}),
		}),
		StreamARN: *out.Table.LatestStreamArn, Region: c.Region,
		PollEvery: 20 * time.Millisecond, RetryAfter: 10 * time.Millisecond, Invoke: tb.invoke,
	}
	return tb
}

func (tb *table) invoke(_ context.Context, payload []byte) ([]byte, error) {
	var ev events.DynamoDBEvent
	if err := json.Unmarshal(payload, &ev); err != nil {
		return nil, err
	}
	tb.mu.Lock()
	defer tb.mu.Unlock()
	var records []string
	for _, r := range ev.Records {
		records = append(records, r.EventName+" "+r.Change.Keys["pk"].String())
	}
	if tb.fail != nil {
		if err := tb.fail(records); err != nil {
			return nil, err
		}
	}
	for i, r := range ev.Records {
		if answer := tb.report[records[i]]; answer != "" {
			delete(tb.report, records[i])
			return []byte(strings.ReplaceAll(answer, "SEQUENCE", r.Change.SequenceNumber)), nil
		}
		tb.seen = append(tb.seen, records[i])
	}
	return []byte(`{"batchItemFailures":[]}`), nil
}

func (tb *table) put(pk, value string) {
	tb.t.Helper()
	_, err := tb.db.PutItem(tb.t.Context(), &dynamodb.PutItemInput{TableName: &tb.name, Item: map[string]types.AttributeValue{
		"pk": &types.AttributeValueMemberS{Value: pk}, "sk": &types.AttributeValueMemberS{Value: "s"},
		"value": &types.AttributeValueMemberS{Value: value},
	}})
	if err != nil {
		tb.t.Fatal(err)
	}
}

func (tb *table) remove(pk string) {
	tb.t.Helper()
	_, err := tb.db.DeleteItem(tb.t.Context(), &dynamodb.DeleteItemInput{TableName: &tb.name, Key: map[string]types.AttributeValue{
		"pk": &types.AttributeValueMemberS{Value: pk}, "sk": &types.AttributeValueMemberS{Value: "s"},
	}})
	if err != nil {
		tb.t.Fatal(err)
	}
}

// run starts a Run; stop ends it and reports its error.
func (tb *table) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- stream.Run(ctx, tb.options) }()
	return func() {
		tb.t.Helper()
		cancel()
		if err := <-done; err != nil {
			tb.t.Errorf("Run: %v", err)
		}
	}
}

func (tb *table) want(want ...string) {
	tb.t.Helper()
	var got []string
	for range 500 {
		tb.mu.Lock()
		got = append([]string(nil), tb.seen...)
		tb.mu.Unlock()
		if len(got) >= len(want) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if d := cmp.Diff(want, got); d != "" {
		tb.t.Fatalf("delivered (-want +got):\n%s", d)
	}
}

func TestChangesArriveInOrder(t *testing.T) {
	tb := newTable(t)
	tb.put("a", "1")
	defer tb.run()()
	tb.put("a", "2")
	tb.put("b", "1")
	tb.remove("a")
	tb.want("INSERT a", "MODIFY a", "INSERT b", "REMOVE a")
}

func TestBothImagesComeInLambdasShape(t *testing.T) {
	tb := newTable(t)
	got := make(chan events.DynamoDBEventRecord, 10)
	tb.options.Invoke = func(_ context.Context, payload []byte) ([]byte, error) {
		var ev events.DynamoDBEvent
		if err := json.Unmarshal(payload, &ev); err != nil {
			return nil, err
		}
		for _, r := range ev.Records {
			got <- r
		}
		return nil, nil
	}
	tb.put("a", "1")
	tb.put("a", "2")
	defer tb.run()()
	<-got
	r := <-got
	if r.EventSourceArn != tb.options.StreamARN || r.AWSRegion != "us-east-1" || r.EventSource != "aws:dynamodb" || r.EventID == "" {
		t.Errorf("record %+v", r)
	}
	if old, now := r.Change.OldImage["value"].String(), r.Change.NewImage["value"].String(); old != "1" || now != "2" {
		t.Errorf("images: old %q, new %q, want 1 and 2", old, now)
	}
	if r.Change.StreamViewType != "NEW_AND_OLD_IMAGES" || r.Change.SequenceNumber == "" || time.Since(r.Change.ApproximateCreationDateTime.Time) > time.Hour {
		t.Errorf("change %+v", r.Change)
	}
}

func TestEveryAttributeTypeKeepsItsValue(t *testing.T) {
	text, err := json.Marshal(stream.Event("us-east-1", "arn", []streamtypes.Record{{
		EventName:    streamtypes.OperationTypeRemove,
		UserIdentity: &streamtypes.Identity{Type: aws.String("Service"), PrincipalId: aws.String("dynamodb.amazonaws.com")},
		Dynamodb: &streamtypes.StreamRecord{OldImage: map[string]streamtypes.AttributeValue{
			"s":  &streamtypes.AttributeValueMemberS{Value: "text"},
			"n":  &streamtypes.AttributeValueMemberN{Value: "12.5"},
			"b":  &streamtypes.AttributeValueMemberB{Value: []byte{0, 255}},
			"t":  &streamtypes.AttributeValueMemberBOOL{Value: true},
			"z":  &streamtypes.AttributeValueMemberNULL{Value: true},
			"ss": &streamtypes.AttributeValueMemberSS{Value: []string{"x", "y"}},
			"ns": &streamtypes.AttributeValueMemberNS{Value: []string{"1"}},
			"bs": &streamtypes.AttributeValueMemberBS{Value: [][]byte{{1}}},
			"l":  &streamtypes.AttributeValueMemberL{Value: []streamtypes.AttributeValue{&streamtypes.AttributeValueMemberN{Value: "7"}}},
			"m": &streamtypes.AttributeValueMemberM{Value: map[string]streamtypes.AttributeValue{
				"in": &streamtypes.AttributeValueMemberS{Value: "side"},
			}},
		}},
	}}))
	if err != nil {
		t.Fatal(err)
	}
	var ev events.DynamoDBEvent
	if err := json.Unmarshal(text, &ev); err != nil {
		t.Fatal(err)
	}
	r := ev.Records[0]
	if r.UserIdentity == nil || r.UserIdentity.PrincipalID != "dynamodb.amazonaws.com" || r.Change.NewImage != nil {
		t.Errorf("record %+v", r)
	}
	v := r.Change.OldImage
	got := fmt.Sprint(v["s"].String(), v["n"].Number(), v["b"].Binary(), v["t"].Boolean(), v["z"].IsNull(), v["ss"].StringSet(),
		v["ns"].NumberSet(), v["bs"].BinarySet(), v["l"].List()[0].Number(), v["m"].Map()["in"].String())
	want := fmt.Sprint("text", "12.5", []byte{0, 255}, true, true, []string{"x", "y"}, []string{"1"}, [][]byte{{1}}, "7", "side")
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestAFailedBatchComesAgainBeforeAnythingElse(t *testing.T) {
	tb := newTable(t)
	failures := 3
	tb.fail = func([]string) error {
		if failures > 0 {
			failures--
			return errors.New("not yet")
		}
		return nil
	}
	defer tb.run()()
	for _, pk := range []string{"a", "b", "c", "d"} {
		tb.put(pk, "1")
	}
	tb.want("INSERT a", "INSERT b", "INSERT c", "INSERT d")
	if failures != 0 {
		t.Errorf("%d failures were not tried", failures)
	}
}

func TestABatchIsRepeatedFromTheRecordThatTheFunctionNames(t *testing.T) {
	const named = `{"batchItemFailures":[{"itemIdentifier":"SEQUENCE"}]}`
	for _, tt := range []struct {
		name, answer string
		want         []string
	}{
		{"a record of the batch", named, []string{"INSERT a", "INSERT b", "INSERT c"}},
		// "If the batch item failure's identifier is empty, null or a bad key", Lambda
		// treats the whole batch as failed.
		{"an unknown record", `{"batchItemFailures":[{"itemIdentifier":"1"}]}`, []string{"INSERT a", "INSERT a", "INSERT b", "INSERT c"}},
		{"no record", `{"batchItemFailures":[{"itemIdentifier":null}]}`, []string{"INSERT a", "INSERT a", "INSERT b", "INSERT c"}},
		{"no JSON", `oops`, []string{"INSERT a", "INSERT a", "INSERT b", "INSERT c"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tb := newTable(t)
			for _, pk := range []string{"a", "b", "c"} {
				tb.put(pk, "1")
			}
			tb.report = map[string]string{"INSERT b": tt.answer}
			defer tb.run()()
			tb.want(tt.want...)
		})
	}
}

func TestACheckpointIsWhereTheNextRunGoesOn(t *testing.T) {
	tb := newTable(t)
	tb.options.Checkpoint = filepath.Join(t.TempDir(), "stream.json")
	stop := tb.run()
	tb.put("a", "1")
	tb.want("INSERT a")
	stop()

	tb.put("b", "1") // while nobody reads
	stop = tb.run()
	tb.want("INSERT a", "INSERT b")
	stop()

	tb.options.Checkpoint = "" // the stream itself still holds all of it
	stop = tb.run()
	tb.want("INSERT a", "INSERT b", "INSERT a", "INSERT b")
	stop()
}

func TestABatchThatWasNotDeliveredIsNotInTheCheckpoint(t *testing.T) {
	tb := newTable(t)
	tb.options.Checkpoint = filepath.Join(t.TempDir(), "stream.json")
	tried := make(chan bool, 1000)
	tb.fail = func([]string) error { tried <- true; return errors.New("down") }
	stop := tb.run()
	tb.put("a", "1")
	<-tried
	stop()
	tb.fail = nil
	defer tb.run()()
	tb.want("INSERT a")
}

func TestAStreamThatIsNotThereEndsTheRun(t *testing.T) {
	tb := newTable(t)
	tb.options.StreamARN += "0"
	if err := stream.Run(t.Context(), tb.options); err == nil {
		t.Error("no error")
	}
}
