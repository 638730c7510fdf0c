package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
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

func throughput(ctx context.Context, dir string) error { return nil }
