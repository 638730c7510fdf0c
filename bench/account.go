package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"

	"github.com/keyreeve/keyreeve/bench/runtimeapi"
	"github.com/keyreeve/keyreeve/infra/local/ddb"
	"github.com/keyreeve/keyreeve/infra/local/secrets"
	"github.com/keyreeve/keyreeve/pkg/config"
	"github.com/keyreeve/keyreeve/pkg/dynamo"
)

// backend is what a bootstrap needs: DynamoDB with one account, and a pepper ring.
type backend struct {
	env     []string // all but _HANDLER and the DynamoDB endpoint
	dynamo  string   // endpoint of DynamoDB Local
	replay  string   // endpoint of the replay in front of it
	rootKey string
	stop    func()
}

const accessKey = "bench"

func newBackend(ctx context.Context, dir, bootstrap string) (*backend, error) {
	server, err := ddb.Start(ctx, ddb.Options{})
	if err != nil {
		return nil, err
	}
	b := &backend{dynamo: server.Endpoint, stop: func() { _ = server.Stop() }}
	client := dynamo.NewClient(config.Config{Region: "us-east-1", AccessKeyID: accessKey, SecretAccessKey: accessKey, DynamoDBEndpoint: server.Endpoint})
	if err := ddb.CreateTables(ctx, client, ddb.Tables{Keys: "keys", Meters: "meters", Sample: "sample"}); err != nil {
		b.stop()
		return nil, err
	}
	file := filepath.Join(dir, "peppers.json")
	if err := secrets.EnsurePeppers(file); err != nil {
		b.stop()
		return nil, err
	}
	manager, err := serve(secrets.New(secrets.Options{Name: "peppers", File: file, AccessKeyID: accessKey, Region: "us-east-1", AccountID: "000000000000"}))
	if err == nil {
		b.replay, err = serve(&replay{endpoint: server.Endpoint, seen: map[string]recorded{}})
	}
	if err != nil {
		b.stop()
		return nil, err
	}
	b.env = []string{
		"AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=" + accessKey, "AWS_SECRET_ACCESS_KEY=" + accessKey,
		"KEYS_TABLE=keys", "METERS_TABLE=meters", "SAMPLE_TABLE=sample", "PEPPER_SECRET=peppers",
		"AWS_ENDPOINT_URL_SECRETS_MANAGER=" + manager,
	}
	if b.rootKey, err = createAccount(bootstrap, b.function("admin", b.dynamo)); err != nil {
		b.stop()
		return nil, err
	}
	return b, nil
}

// function is the environment of one function's process.
func (b *backend) function(name, dynamoDB string) []string {
	return append([]string{"_HANDLER=" + name, "AWS_ENDPOINT_URL_DYNAMODB=" + dynamoDB}, b.env...)
}

// createAccount asks the admin function, as make run does.
func createAccount(bootstrap string, env []string) (rootKey string, err error) {
	p, err := runtimeapi.Start(bootstrap, env...)
	if err != nil {
		return "", err
	}
	defer p.Stop()
	answer, _, err := p.Invoke([]byte(`{"action":"create-account"}`))
	if err != nil {
		return "", fmt.Errorf("creating the account: %w", err)
	}
	var out struct {
		RootKey string `json:"rootKey"`
	}
	if err := json.Unmarshal(answer, &out); err != nil || out.RootKey == "" {
		return "", fmt.Errorf("creating the account: the answer holds no key")
	}
	return out.RootKey, nil
}

// serve serves h on loopback until the program ends, and returns its URL.
func serve(h http.Handler) (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	go http.Serve(listener, h)
	return "http://" + listener.Addr().String(), nil
}

// authorizerEvent is the project's sample event with that key.
func authorizerEvent(sample []byte, key string) []byte {
	return []byte(strings.ReplaceAll(string(sample), "REPLACE-WITH-YOUR-KEY", key))
}
