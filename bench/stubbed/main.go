// Command stubbed is the authorizer with everything but its store: the one key that it
// knows, given by BENCH_KEY, is in memory. Beside command hello it shows what the code
// itself costs, without a read.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/keyreeve/keyreeve/authorizer"
	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/pepper"
	"github.com/keyreeve/keyreeve/pkg/route"
	"github.com/keyreeve/keyreeve/pkg/verify"
)

const ring = `{"current":"p1","peppers":{"p1":"a pepper of thirty-two characters"}}`

// one is a store of one key.
type one struct{ key keys.Key }

func (s *one) Key(_ context.Context, id apikey.ID) (keys.Key, error) {
	if id != s.key.ID {
		return keys.Key{}, keys.ErrNotFound
	}
	return s.key, nil
}

func (s *one) Redigest(context.Context, apikey.ID, keys.Secret, keys.Secret) error { return nil }

func main() {
	handler, err := start(os.Getenv("BENCH_KEY"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	lambda.Start(handler)
}

func start(text string) (lambda.Handler, error) {
	key, err := apikey.Parse(text)
	if err != nil {
		return nil, err
	}
	r, err := apikey.ParseRing([]byte(ring))
	if err != nil {
		return nil, err
	}
	digest, err := r.Digest("p1", key)
	if err != nil {
		return nil, err
	}
	table, err := route.Load(nil)
	if err != nil {
		return nil, err
	}
	store := &one{keys.Key{
		ID: key.ID(), Number: 1, AccountID: "acct", Name: keys.RootKeyName, Environment: keys.Production,
		Permissions: []string{"*", "api_keys:*"}, Plan: "enterprise", RateLimit: 1000, Active: true, Primary: true,
		CreatedAt: time.Now(), Version: 1, Verdict: 1, Generation: 1,
		Secret: keys.Secret{Generation: 1, Digest: digest, Pepper: "p1", Prefix: key.Prefix()},
	}}
	peppers := pepper.New(func(context.Context) ([]byte, error) { return []byte(ring), nil }, nil)
	return authorizer.New(authorizer.Config{
		Verifier: verify.New(verify.Config{Store: store, Peppers: peppers, Prefixes: apikey.Prefixes{key.Prefix(): true}}),
		Table:    table,
		Log:      slog.New(slog.NewJSONHandler(os.Stderr, nil)),
	})
}
