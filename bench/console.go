package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/keyreeve/keyreeve/bench/runtimeapi"
	"github.com/keyreeve/keyreeve/functions/console"
)

// most is what the console may weigh, in bytes of gzip.
const most = 60_000

// consoleFigures says what the console weighs and how long its function takes to start:
// the server's half of make bench-console, whose other half is in a browser.
func consoleFigures(_ context.Context, dir string) error {
	fmt.Printf("\nThe console's files\n")
	built := console.Built()
	sum := 0
	for _, name := range slices.Sorted(maps.Keys(built)) {
		r, err := gzip.NewReader(bytes.NewReader(built[name]))
		if err != nil {
			continue // what says that the directory is for such files
		}
		text, err := io.ReadAll(r)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		sum += len(built[name])
		fmt.Printf("  %-32s %7d bytes of gzip, %7d unpacked\n", name, len(built[name]), len(text))
	}
	if sum == 0 {
		return errors.New("this build is without the console: run make build first")
	}
	verdict := fmt.Sprintf("target ≤ %d", most)
	if sum > most {
		verdict += "  OVER"
	}
	fmt.Printf("  %-32s %7d bytes of gzip, %s\n", "in all", sum, verdict)

	hello, err := build(dir, "hello", "./bench/hello", flags...)
	if err != nil {
		return err
	}
	bootstrap, err := build(dir, "bootstrap", "./functions", flags...)
	if err != nil {
		return err
	}
	event, err := os.ReadFile("events/console.json")
	if err != nil {
		return err
	}
	env := []string{"_HANDLER=console", "AWS_REGION=eu-central-1", "AWS_ACCESS_KEY_ID=bench", "AWS_SECRET_ACCESS_KEY=bench"}
	var least, starts, first []time.Duration
	for range startTurns {
		p, err := runtimeapi.Start(hello, "_HANDLER=hello")
		if err != nil {
			return err
		}
		p.Stop()
		least = append(least, p.Started)
		if p, err = runtimeapi.Start(bootstrap, env...); err != nil {
			return err
		}
		answer, took, err := p.Invoke(event)
		p.Stop()
		if err != nil || !bytes.Contains(answer, []byte(`"statusCode":200`)) {
			return fmt.Errorf("the function console did not answer with its page: %w", err)
		}
		starts, first = append(starts, p.Started), append(first, took)
	}
	milli := func(d []time.Duration) string { return fmt.Sprintf("%.1f ms", float64(median(d).Nanoseconds())/1e6) }
	fmt.Printf(" Start to the first request for an event, median of %d turns\n", startTurns)
	row("hello", milli(least), 1, 0)
	row("console", milli(starts), ratio(starts, least), 0)
	fmt.Printf(" Its first answer, the page: %s\n", milli(first))
	return nil
}
