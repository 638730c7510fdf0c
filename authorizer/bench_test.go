package authorizer

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"testing"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"

	"github.com/keyreeve/keyreeve/pkg/route"
)

// benchEvent is the sample event as API Gateway sends it, without spaces.
func benchEvent(t testing.TB, key string) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, sample(t, "authorizer-x-api-key.json")); err != nil {
		t.Fatal(err)
	}
	return bytes.ReplaceAll(b.Bytes(), []byte(placeholder), []byte(key))
}

func quiet(t testing.TB, w *world) *Authorizer {
	t.Helper()
	a, err := New(Config{Verifier: w.a.cfg.Verifier, Table: route.Default(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// hello is the least that a typed authorizer does: decode, allow the one method, encode.
func hello(_ context.Context, ev events.APIGatewayCustomAuthorizerRequestTypeRequest) (events.APIGatewayCustomAuthorizerResponse, error) {
	return events.APIGatewayCustomAuthorizerResponse{
		PrincipalID: "hello",
		PolicyDocument: events.APIGatewayCustomAuthorizerPolicy{Version: "2012-10-17", Statement: []events.IAMPolicyStatement{{
			Action: []string{"execute-api:Invoke"}, Effect: "Allow", Resource: []string{ev.MethodArn},
		}}},
		Context: map[string]any{"key": "value"},
	}, nil
}

// BenchmarkInvoke compares the authorizer, its store stubbed, with a hello-world one.
func BenchmarkInvoke(b *testing.B) {
	w := newWorld(b)
	good := benchEvent(b, w.key.Plaintext())
	for _, c := range []struct {
		name    string
		handler lambda.Handler
		event   []byte
		refused bool
	}{
		{"hello world", lambda.NewHandler(hello), good, false},
		{"good key", quiet(b, w), good, false},
		{"junk", quiet(b, w), benchEvent(b, "junk"), true},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.handler.Invoke(context.Background(), c.event); (err != nil) != c.refused {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkReadEvent(b *testing.B) {
	payload := benchEvent(b, "junk")
	b.SetBytes(int64(len(payload)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := readEvent(payload); err != nil {
			b.Fatal(err)
		}
	}
}
