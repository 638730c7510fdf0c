package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/keyreeve/keyreeve/functions/sample"
	"github.com/keyreeve/keyreeve/infra/local/stack"
	"github.com/keyreeve/keyreeve/pkg/config"
	"github.com/keyreeve/keyreeve/pkg/dynamo"
	"github.com/keyreeve/keyreeve/pkg/guard"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

// target is one route as a client calls it.
type target struct {
	name, url string
	key       string
	turns     [][]time.Duration // latencies, by turn
	elapsed   time.Duration
}

const (
	loadClients = 4
	loadTurns   = 6
	loadTurn    = 2 * time.Second
)

// turn loads a target for a while, with a few clients that each wait for their answers.
func (t *target) turn(ctx context.Context, client *http.Client) error {
	var mu sync.Mutex
	var all []time.Duration
	var failed error
	begin := time.Now()
	var wg sync.WaitGroup
	for range loadClients {
		wg.Go(func() {
			var mine []time.Duration
			for time.Since(begin) < loadTurn && ctx.Err() == nil {
				took, err := t.once(ctx, client)
				if err != nil {
					mu.Lock()
					failed = err
					mu.Unlock()
					return
				}
				mine = append(mine, took)
			}
			mu.Lock()
			all = append(all, mine...)
			mu.Unlock()
		})
	}
	wg.Wait()
	t.elapsed += time.Since(begin)
	t.turns = append(t.turns, all)
	return failed
}

func (t *target) once(ctx context.Context, client *http.Client) (time.Duration, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.url, nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("X-API-Key", t.key)
	begin := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return 0, err
	}
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("%s answers %d", t.name, resp.StatusCode)
	}
	return time.Since(begin), nil
}

// unlimited is the default configuration with a limit that no run of this reaches.
const unlimited = `{"plans":{"free":{"rateLimit":20,"keys":100},"pro":{"rateLimit":100,"keys":1000},"enterprise":{"rateLimit":1000000,"keys":10000}}}`

// unguardedRoutes is the sample's list of customers without the guard in front.
const unguardedRoutes = `{
  "permissions": [{"name": "customers:read", "label": "Customer Read"}],
  "routes": [{"method": "GET", "path": "/v1/customers", "permission": "customers:read", "function": "sample", "unguarded": true}]
}`

// throughput loads GET /v1/customers through the local gateway, guarded and unguarded,
// beside the same handler and store behind plain net/http: one DynamoDB Local, one empty
// list, turn by turn.
func throughput(ctx context.Context, dir string) error {
	bootstrap, err := build(dir, "bootstrap", "./functions", flags...)
	if err != nil {
		return err
	}
	guarded, err := stack.Start(ctx, stack.Options{Bootstrap: bootstrap, Dir: filepath.Join(dir, "guarded"), Settings: []byte(unlimited), InMemory: true})
	if err != nil {
		return err
	}
	defer guarded.Close()
	routes := filepath.Join(dir, "unguarded.json")
	if err := os.WriteFile(routes, []byte(unguardedRoutes), 0o600); err != nil {
		return err
	}
	unguarded, err := stack.Start(ctx, stack.Options{
		Bootstrap: bootstrap, Dir: filepath.Join(dir, "unguarded"), Settings: []byte(unlimited), RoutesFile: routes,
		DynamoDB: guarded.Config.DynamoDBEndpoint, TablePrefix: "unguarded-",
	})
	if err != nil {
		return err
	}
	defer unguarded.Close()
	plain, err := plainServer(guarded.Config)
	if err != nil {
		return err
	}
	targets := []*target{
		{name: "plain net/http, SDK, DynamoDB Local", url: plain + "/v1/customers", key: "none"},
		{name: "local gateway, unguarded", url: unguarded.URL + "/v1/customers", key: unguarded.RootKey},
		{name: "local gateway, guarded", url: guarded.URL + "/v1/customers", key: guarded.RootKey},
		{name: "local gateway, a public route without store", url: guarded.URL + "/health", key: "none"},
	}
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: loadClients}}
	defer client.CloseIdleConnections()
	for _, t := range targets { // processes, connections, cached policies, JIT
		if err := t.turn(ctx, client); err != nil {
			return err
		}
		t.turns, t.elapsed = nil, 0
	}
	for range loadTurns {
		for _, t := range targets {
			if err := t.turn(ctx, client); err != nil {
				return err
			}
		}
	}

	fmt.Printf("\nGET /v1/customers, %d clients, %d turns of %v each\n", loadClients, loadTurns, loadTurn)
	fmt.Printf("  %-44s %10s %10s %10s %14s\n", "", "req/s", "p50", "p99", "p50 to plain")
	for _, t := range targets {
		all := slices.Concat(t.turns...)
		fmt.Printf("  %-44s %10.0f %10v %10v %13.2f×\n", t.name, float64(len(all))/t.elapsed.Seconds(),
			quantile(all, 0.5).Round(10*time.Microsecond), quantile(all, 0.99).Round(10*time.Microsecond), ratio(t.medians(), targets[0].medians()))
	}
	return nil
}

func (t *target) medians() (out []time.Duration) {
	for _, turn := range t.turns {
		out = append(out, median(turn))
	}
	return out
}

// plainServer is what a team writes first: the handler, the SDK, no key in sight.
func plainServer(c config.Config) (string, error) {
	handler := sample.New(sample.Config{Store: dynamo.NewSample(dynamo.NewClient(c), c.SampleTable, c.StoreTimeout)})
	who := keys.Caller{Identity: keys.Identity{AccountID: stack.AccountID, Environment: keys.Production}}
	return serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler.ServeHTTP(w, r.WithContext(guard.WithIdentity(r.Context(), who)))
	}))
}
