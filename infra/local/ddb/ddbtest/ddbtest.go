// Package ddbtest gives tests a real DynamoDB Local: one in-memory server per test
// process, started at first use, and fresh tables for every test.
//
// A package that uses it has this, so that the server ends with the tests:
//
//	func TestMain(m *testing.M) { ddbtest.Main(m) }
package ddbtest

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/keyreeve/keyreeve/infra/local/ddb"
	"github.com/keyreeve/keyreeve/pkg/config"
	"github.com/keyreeve/keyreeve/pkg/dynamo"
)

// startTimeout covers the first fetch on a slow line.
const startTimeout = 5 * time.Minute

var (
	mu     sync.Mutex
	server *ddb.Server
)

// Main runs the tests and stops the server. It does not return.
func Main(m *testing.M) {
	code := m.Run()
	mu.Lock()
	defer mu.Unlock()
	if server != nil {
		if err := server.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "ddbtest:", err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

// Endpoint is the URL of this process's DynamoDB Local, which it starts if need be.
func Endpoint(t testing.TB) string {
	t.Helper()
	mu.Lock()
	defer mu.Unlock()
	if server == nil {
		ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
		defer cancel()
		s, err := ddb.Start(ctx, ddb.Options{})
		if err != nil {
			t.Fatal(err)
		}
		server = s
	}
	return server.Endpoint
}

// Config is the configuration of a function that uses this process's DynamoDB Local,
// with tables of its own that exist and are empty. TTL is off in them: a fake clock's past
// must not be swept.
func Config(t testing.TB) config.Config {
	t.Helper()
	return newTables(t, false)
}

// ConfigWithoutStream is Config for tests that write much and follow no stream, which is
// what makes DynamoDB Local slow.
func ConfigWithoutStream(t testing.TB) config.Config {
	t.Helper()
	return newTables(t, true)
}

func newTables(t testing.TB, withoutStream bool) config.Config {
	t.Helper()
	run := rand.Text()
	c := config.Config{
		Region: "us-east-1", AccessKeyID: "local", SecretAccessKey: "local",
		DynamoDBEndpoint: Endpoint(t),
		KeysTable:        "keys-" + run, MetersTable: "meters-" + run, SampleTable: "sample-" + run,
		UsageTable: "usage-" + run, AlertsTable: "alerts-" + run,
		Settings: config.DefaultSettings(),
		// A saturated machine is no fault of what is tested.
		StoreTimeout: 60 * time.Second,
	}
	err := ddb.CreateTables(t.Context(), dynamo.NewClient(c), ddb.Tables{
		Keys: c.KeysTable, Meters: c.MetersTable, Sample: c.SampleTable, Usage: c.UsageTable, Alerts: c.AlertsTable,
		WithoutTTL: true, WithoutStream: withoutStream,
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// ForTest is Config with a client made of it.
func ForTest(t testing.TB, with ...func(*dynamodb.Options)) (*dynamodb.Client, config.Config) {
	t.Helper()
	c := Config(t)
	return dynamo.NewClient(c, with...), c
}
