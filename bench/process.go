package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"time"

	"github.com/keyreeve/keyreeve/bench/runtimeapi"
)

// subject is one bootstrap, one event, and what must come back.
type subject struct {
	name      string
	bootstrap string
	env       []string
	event     []byte
	refused   bool // the right answer is the error Unauthorized
}

// figures of a subject. Element i of each slice is of turn i, in which every subject had
// its turn.
type figures struct {
	starts, warm []time.Duration
	residentKB   int
}

const (
	startTurns = 40
	warmTurns  = 100
	warmCalls  = 50 // of one turn
	warmUp     = 300
)

// measure takes all subjects by turns.
func measure(subjects []subject) (map[string]*figures, error) {
	out := map[string]*figures{}
	for _, s := range subjects {
		out[s.name] = &figures{}
	}
	for range startTurns {
		for _, s := range subjects {
			p, err := runtimeapi.Start(s.bootstrap, s.env...)
			if err != nil {
				return nil, err
			}
			p.Stop()
			out[s.name].starts = append(out[s.name].starts, p.Started)
		}
	}

	processes := map[string]*runtimeapi.Process{}
	defer func() {
		for _, p := range processes {
			p.Stop()
		}
	}()
	for _, s := range subjects {
		p, err := runtimeapi.Start(s.bootstrap, s.env...)
		if err != nil {
			return nil, err
		}
		processes[s.name] = p
		for range warmUp {
			if _, err := invoke(p, s); err != nil {
				return nil, err
			}
		}
	}
	for range warmTurns {
		for _, s := range subjects {
			var calls []time.Duration
			for range warmCalls {
				took, err := invoke(processes[s.name], s)
				if err != nil {
					return nil, err
				}
				calls = append(calls, took)
			}
			out[s.name].warm = append(out[s.name].warm, median(calls))
		}
	}
	for _, s := range subjects {
		kb, err := processes[s.name].ResidentKB()
		if err != nil {
			return nil, err
		}
		out[s.name].residentKB = kb
	}
	return out, nil
}

func invoke(p *runtimeapi.Process, s subject) (time.Duration, error) {
	answer, took, err := p.Invoke(s.event)
	switch {
	case s.refused && err != nil && bytes.Contains(answer, []byte(`"Unauthorized"`)):
		return took, nil
	case !s.refused && err == nil && bytes.Contains(answer, []byte(`"Allow"`)):
		return took, nil
	}
	return 0, fmt.Errorf("%s: not the expected answer: %w", s.name, err)
}

// processes measures the authorizer against command hello, both real bootstraps driven
// over the Runtime API.
func processes(ctx context.Context, dir string) error {
	paths := map[string]string{}
	for _, b := range [][2]string{{"hello", "./bench/hello"}, {"stubbed", "./bench/stubbed"}, {"bootstrap", "./functions"}} {
		path, err := build(dir, b[0], b[1], flags...)
		if err != nil {
			return err
		}
		paths[b[0]] = path
	}
	back, err := newBackend(ctx, dir, paths["bootstrap"])
	if err != nil {
		return err
	}
	defer back.stop()
	sample, err := os.ReadFile("events/authorizer-x-api-key.json")
	if err != nil {
		return err
	}
	good := authorizerEvent(sample, back.rootKey)
	real := back.function("authorizer", back.replay)
	subjects := []subject{
		{name: "hello", bootstrap: paths["hello"], env: []string{"_HANDLER=hello"}, event: good},
		{name: "stubbed", bootstrap: paths["stubbed"], env: []string{"_HANDLER=authorizer", "BENCH_KEY=" + back.rootKey}, event: good},
		{name: "junk", bootstrap: paths["bootstrap"], env: real, event: authorizerEvent(sample, "junk"), refused: true},
		{name: "one GetItem", bootstrap: paths["bootstrap"], env: real, event: good},
	}
	f, err := measure(subjects)
	if err != nil {
		return err
	}
	hello := f["hello"]
	micro := func(d []time.Duration) string { return fmt.Sprintf("%.0f µs", float64(median(d).Nanoseconds())/1e3) }
	milli := func(d []time.Duration) string { return fmt.Sprintf("%.1f ms", float64(median(d).Nanoseconds())/1e6) }

	fmt.Printf("\nThe authorizer against a hello-world typed authorizer built with the same flags (1.00×)\n")
	fmt.Printf(" Start to the first request for an event, median of %d turns\n", startTurns)
	row("hello", milli(hello.starts), 1, 0)
	row("authorizer without its store (bench/stubbed)", milli(f["stubbed"].starts), ratio(f["stubbed"].starts, hello.starts), 0)
	row("bootstrap", milli(f["one GetItem"].starts), ratio(f["one GetItem"].starts, hello.starts), 2.0)
	fmt.Printf(" Warm round trip, median of %d turns of %d\n", warmTurns, warmCalls)
	row("hello", micro(hello.warm), 1, 0)
	row("good key, store stubbed", micro(f["stubbed"].warm), ratio(f["stubbed"].warm, hello.warm), 1.0)
	row("bootstrap, junk key (no read)", micro(f["junk"].warm), ratio(f["junk"].warm, hello.warm), 0)
	row("bootstrap, good key, one GetItem", micro(f["one GetItem"].warm), ratio(f["one GetItem"].warm, hello.warm), 2.2)
	fmt.Printf(" Resident memory after that\n")
	for _, s := range []struct {
		name   string
		target float64
	}{{"hello", 0}, {"stubbed", 0}, {"one GetItem", 1.7}} {
		row(s.name, fmt.Sprintf("%.1f MB", float64(f[s.name].residentKB)/1e3), float64(f[s.name].residentKB)/float64(hello.residentKB), s.target)
	}
	fmt.Printf(" Binary\n")
	least, err := megabytes(paths["hello"])
	if err != nil {
		return err
	}
	for _, name := range []string{"hello", "stubbed", "bootstrap"} {
		mb, err := megabytes(paths[name])
		if err != nil {
			return err
		}
		what := fmt.Sprintf("%.1f MB", mb)
		if name == "bootstrap" {
			what += map[bool]string{true: " > 12!", false: ""}[mb > 12]
		}
		row(name, what, mb/least, 0)
	}
	return nil
}
