package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go/middleware"
	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/infra/local/ddb/ddbtest"
	"github.com/keyreeve/keyreeve/pkg/alert"
	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/dynamo"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/logline"
	"github.com/keyreeve/keyreeve/pkg/pepper"
	"github.com/keyreeve/keyreeve/pkg/route"
	"github.com/keyreeve/keyreeve/pkg/usage"
)

func TestMain(m *testing.M) { ddbtest.Main(m) }

// units are what DynamoDB says that calls have consumed.
type units struct{ Writes, Reads float64 }

// meter has every call say what it consumed, and adds it up. Of two calls DynamoDB Local
// says less than AWS takes
// (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/read-write-operations.html):
// two units for each item of up to 1 KB of a transaction, and for each item of up to 4 KB
// of a batch a whole one, or a half.
type meter struct {
	mu  sync.Mutex
	sum units
}

func (m *meter) options(o *dynamodb.Options) {
	o.APIOptions = append(o.APIOptions, func(s *middleware.Stack) error {
		return s.Initialize.Add(middleware.InitializeMiddlewareFunc("consumed", m.call), middleware.Before)
	})
}

func (m *meter) call(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
	write := true
	switch p := in.Parameters.(type) {
	case *dynamodb.UpdateItemInput:
		p.ReturnConsumedCapacity = types.ReturnConsumedCapacityTotal
	case *dynamodb.PutItemInput:
		p.ReturnConsumedCapacity = types.ReturnConsumedCapacityTotal
	case *dynamodb.TransactWriteItemsInput:
		m.mu.Lock()
		m.sum.Writes += 2 * float64(len(p.TransactItems))
		m.mu.Unlock()
	case *dynamodb.BatchGetItemInput:
		m.mu.Lock()
		for _, want := range p.RequestItems {
			unit := 0.5
			if aws.ToBool(want.ConsistentRead) {
				unit = 1
			}
			m.sum.Reads += unit * float64(len(want.Keys))
		}
		m.mu.Unlock()
	case *dynamodb.QueryInput:
		p.ReturnConsumedCapacity, write = types.ReturnConsumedCapacityTotal, false
	case *dynamodb.ScanInput:
		p.ReturnConsumedCapacity, write = types.ReturnConsumedCapacityTotal, false
	default:
		return middleware.InitializeOutput{}, middleware.Metadata{}, fmt.Errorf("%T is not measured", p)
	}
	out, md, err := next.HandleInitialize(ctx, in)
	var consumed []types.ConsumedCapacity
	one := func(c *types.ConsumedCapacity) {
		if c != nil {
			consumed = append(consumed, *c)
		}
	}
	switch r := out.Result.(type) {
	case *dynamodb.UpdateItemOutput:
		one(r.ConsumedCapacity)
	case *dynamodb.PutItemOutput:
		one(r.ConsumedCapacity)
	case *dynamodb.QueryOutput:
		one(r.ConsumedCapacity)
	case *dynamodb.ScanOutput:
		one(r.ConsumedCapacity)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range consumed {
		if write {
			m.sum.Writes += aws.ToFloat64(c.CapacityUnits)
		} else {
			m.sum.Reads += aws.ToFloat64(c.CapacityUnits)
		}
	}
	return out, md, err
}

// during returns what f's calls have consumed.
func (m *meter) during(f func()) units {
	m.mu.Lock()
	m.sum = units{}
	m.mu.Unlock()
	f()
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sum
}

// size is about what DynamoDB takes an item's size for
// (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html).
func size(v types.AttributeValue) (n int) {
	switch v := v.(type) {
	case *types.AttributeValueMemberS:
		return len(v.Value)
	case *types.AttributeValueMemberN:
		return (len(v.Value)+1)/2 + 1
	case *types.AttributeValueMemberB:
		return len(v.Value)
	case *types.AttributeValueMemberM:
		n = 3
		for name, member := range v.Value {
			n += len(name) + 1 + size(member)
		}
		return n
	}
	return 1
}

// What the bill says of counting is what it consumes, of tables that are in use: the
// totals, the profile and a day's counts of a key are there.
func TestCountingConsumesWhatTheBillSays(t *testing.T) {
	m := &meter{}
	c := ddbtest.ConfigWithoutStream(t)
	table, err := route.Load(nil)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 22, 0, 30, 0, 0, time.UTC)
	counter := usage.New(usage.Config{
		Store: dynamo.NewUsage(dynamo.NewClient(c, m.options), dynamo.UsageConfig{Table: c.UsageTable, Timeout: c.StoreTimeout}),
		Table: table, Clock: func() time.Time { return now },
	})
	const key = apikey.ID("a1b2c3d4")
	sent := 0
	process := func(lines int) units {
		t.Helper()
		d := usage.Delivery{LogGroup: "access", LogStream: "s"}
		for range lines {
			sent++
			a := logline.Access{
				ExtendedRequestID: fmt.Sprintf("request-%08d", sent), RequestID: "11111111-2222-3333-4444-555555555555", Time: now,
				Stage: "production", Method: "GET", Route: "/v1/customers", Protocol: "HTTP/1.1", Status: 200, ResponseLength: 1000,
				Latency: 20 * time.Millisecond, IntegrationLatency: 15 * time.Millisecond, AuthorizerLatency: time.Millisecond,
				KeyID: key, AccountID: "first", Environment: "production", Generation: 1, SourceIP: "203.0.113.7",
				UserAgent: "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/143.0.0.0 Safari/537.36",
			}
			d.Lines = append(d.Lines, usage.Line{ID: fmt.Sprint(sent), Timestamp: now, Text: a.Line()})
		}
		return m.during(func() {
			stats, err := counter.Process(t.Context(), d, func(context.Context, usage.Facts) error { return nil })
			if err != nil || stats.Counted != lines {
				t.Fatalf("%d lines counted of %d: %v", stats.Counted, lines, err)
			}
		})
	}
	for range 24 { // a key that has been in use all day
		process(1)
		now = now.Add(time.Hour)
	}
	now = now.Add(-time.Minute)               // still its last hour
	for _, lines := range []int{1, 20, 500} { // and the day's item has all of its hours
		now = now.Add(time.Second)
		got := process(lines)
		want := units{Writes: float64(lines)*rowWrites + countWrites, Reads: countReads}
		t.Logf("%d lines of one key: %.0f write units, %.2f a request; %.0f read units", lines, got.Writes, got.Writes/float64(lines), got.Reads)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%d lines (-bill +consumed)\n%s", lines, diff)
		}
	}
	all, err := dynamo.NewClient(c).Scan(t.Context(), &dynamodb.ScanInput{TableName: &c.UsageTable})
	if err != nil || len(all.Items) < 545 {
		t.Fatalf("%d items, %v", len(all.Items), err)
	}
	const overhead = 100 // that storage is billed with, of each item
	rows := 0
	for _, item := range all.Items {
		pk, _ := item[dynamo.PartitionKey].(*types.AttributeValueMemberS)
		n := size(&types.AttributeValueMemberM{Value: item})
		if n > 1024 {
			t.Errorf("an item %.2s of %d bytes: a write of it takes more units", pk.Value, n)
		}
		if strings.HasPrefix(pk.Value, "R#") {
			if rows++; n+overhead > rowBytes || n+overhead < rowBytes*8/10 {
				t.Fatalf("a row of %d bytes, and the bill says %d", n+overhead, rowBytes)
			}
		}
	}
	if rows != sent {
		t.Errorf("%d rows of %d requests", rows, sent)
	}
}

func TestASweepReadsWhatTheBillSays(t *testing.T) {
	m := &meter{}
	c := ddbtest.ConfigWithoutStream(t)
	table, err := route.Load(nil)
	if err != nil {
		t.Fatal(err)
	}
	config := dynamo.KeysConfig{Table: c.KeysTable, Meters: c.MetersTable, UsageTable: c.UsageTable, Timeout: c.StoreTimeout, Retention: 24 * time.Hour}
	peppers := pepper.New(func(context.Context) ([]byte, error) {
		return []byte(`{"current":"p1","peppers":{"p1":"a pepper of thirty-two characters"}}`), nil
	}, nil)
	service := keys.NewService(keys.Config{Store: dynamo.NewKeys(dynamo.NewClient(c), config), Peppers: peppers, Settings: c.Settings, Known: table.KnownPermission})
	const n = 200
	for i := range n {
		if _, _, err := service.CreateAccount(t.Context(), keys.CreateAccountInput{Name: fmt.Sprint("account ", i)}); err != nil {
			t.Fatal(err)
		}
	}
	client := dynamo.NewClient(c, m.options)
	watcher := alert.New(alert.Config{
		Store: dynamo.NewAlerts(client, c.AlertsTable, c.StoreTimeout),
		Usage: dynamo.NewUsage(client, dynamo.UsageConfig{Table: c.UsageTable, Timeout: c.StoreTimeout}),
		Keys:  dynamo.NewDirectory(client, c.KeysTable, c.StoreTimeout), Meters: dynamo.NewKeys(client, config),
	})
	got := m.during(func() {
		if swept, err := watcher.Sweep(t.Context()); err != nil || swept.Keys != n || swept.Raised != 0 {
			t.Fatalf("swept %+v, %v", swept, err)
		}
	})
	t.Logf("%d keys: %.2f read units a key", n, got.Reads/n)
	if got.Writes != 0 || got.Reads > n*keyReads || got.Reads < 0.7*n*keyReads {
		t.Errorf("%d keys: %+v, and the bill says %.1f reads of a key", n, got, keyReads)
	}
}

func TestALogLineIsAsLongAsTheBillSays(t *testing.T) {
	line := logline.Access{
		ExtendedRequestID: strings.Repeat("f", 16), RequestID: "11111111-2222-3333-4444-555555555555", Time: time.UnixMilli(1700000000000),
		Stage: "production", Method: "GET", Route: "/v1/customers/{customerId}", Protocol: "HTTP/1.1", Status: 200, ResponseLength: 1000,
		Latency: 20 * time.Millisecond, IntegrationLatency: 15 * time.Millisecond, AuthorizerLatency: time.Millisecond,
		KeyID: "a1b2c3d4", AccountID: "first", Environment: "production", Generation: 1, SourceIP: "203.0.113.7",
		UserAgent: "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/143.0.0.0 Safari/537.36",
	}.Line()
	const overhead = 26
	if got := len(line) + overhead; got > logLine || got < logLine*8/10 {
		t.Errorf("a line of a browser has %d bytes with CloudWatch's overhead, and the bill says %d", got, logLine)
	}
}
