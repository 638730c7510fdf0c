package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/keyreeve/keyreeve/infra/local/ddb"
	"github.com/keyreeve/keyreeve/pkg/config"
	"github.com/keyreeve/keyreeve/pkg/dynamo"
)

// database is a DynamoDB Local in memory, behind a proxy that counts calls and can be
// switched off.
type database struct {
	endpoint string // of the proxy
	server   *ddb.Server
	listener net.Listener
	down     atomic.Bool

	mu    sync.Mutex
	calls map[string]int // by operation and table
}

func startDatabase(ctx context.Context) (*database, error) {
	server, err := ddb.Start(ctx, ddb.Options{})
	if err != nil {
		return nil, err
	}
	target, err := url.Parse(server.Endpoint)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	d := &database{endpoint: "http://" + listener.Addr().String(), server: server, listener: listener, calls: map[string]int{}}
	proxy := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport: &http.Transport{MaxIdleConnsPerHost: 128},
		ErrorLog:  log.New(io.Discard, "", 0), // a client that gave up is that client's to report
	}
	go http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		var in struct{ TableName string }
		_ = json.Unmarshal(body, &in) // what is of no one table has none
		d.mu.Lock()
		d.calls[operation+" "+in.TableName]++
		d.mu.Unlock()
		if d.down.Load() {
			panic(http.ErrAbortHandler) // hangs up without a word
		}
		proxy.ServeHTTP(w, r)
	}))
	return d, nil
}

func (d *database) stop() error {
	_ = d.listener.Close()
	return d.server.Stop()
}

// count is how often an operation of one table has been called.
func (d *database) count(operation, table string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.calls[operation+" "+table]
}

// appendValue appends everything that a value holds, names and bytes as they are.
func appendValue(out []byte, v types.AttributeValue) []byte {
	switch v := v.(type) {
	case *types.AttributeValueMemberS:
		out = append(out, v.Value...)
	case *types.AttributeValueMemberN:
		out = append(out, v.Value...)
	case *types.AttributeValueMemberB:
		out = append(out, v.Value...)
	case *types.AttributeValueMemberL:
		for _, e := range v.Value {
			out = appendValue(out, e)
		}
	case *types.AttributeValueMemberM:
		for name, e := range v.Value {
			out = appendValue(append(append(out, name...), '='), e)
		}
	case *types.AttributeValueMemberSS:
		out = append(out, strings.Join(v.Value, "\n")...)
	case *types.AttributeValueMemberBOOL, *types.AttributeValueMemberNULL:
	default:
		panic(fmt.Sprintf("no case for %T", v))
	}
	return append(out, '\n')
}

// drop takes an item away, as DynamoDB does when its time is over.
func (d *database) drop(t testing.TB, table, pk, sk string) {
	t.Helper()
	client := dynamo.NewClient(config.Config{Region: "us-east-1", AccessKeyID: "drop", SecretAccessKey: "drop", DynamoDBEndpoint: d.server.Endpoint})
	out, err := client.DeleteItem(t.Context(), &dynamodb.DeleteItemInput{
		TableName: &table, ReturnValues: types.ReturnValueAllOld,
		Key: map[string]types.AttributeValue{
			dynamo.PartitionKey: &types.AttributeValueMemberS{Value: pk}, dynamo.SortKey: &types.AttributeValueMemberS{Value: sk},
		},
	})
	if err != nil || len(out.Attributes) == 0 {
		t.Fatalf("dropping an item: %v; there were %d attributes", err, len(out.Attributes))
	}
}

// dump reads every item of every table.
func (d *database) dump(ctx context.Context) ([]byte, error) {
	client := dynamo.NewClient(config.Config{Region: "us-east-1", AccessKeyID: "dump", SecretAccessKey: "dump", DynamoDBEndpoint: d.server.Endpoint})
	tables, err := client.ListTables(ctx, &dynamodb.ListTablesInput{})
	if err != nil {
		return nil, err
	}
	var out []byte
	for _, table := range tables.TableNames {
		pages := dynamodb.NewScanPaginator(client, &dynamodb.ScanInput{TableName: &table, Limit: aws.Int32(500)})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return nil, err
			}
			for _, item := range page.Items {
				out = appendValue(out, &types.AttributeValueMemberM{Value: item})
			}
		}
	}
	return out, nil
}

// hangUp makes the database unreachable until the test ends or back is called.
func (d *database) hangUp(t *testing.T) (back func()) {
	d.down.Store(true)
	back = sync.OnceFunc(func() { d.down.Store(false) })
	t.Cleanup(back)
	return back
}
