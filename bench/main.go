// Command bench measures what Keyreeve costs and prints it beside what it is measured
// against, each ratio from one interleaved run:
//
//	go run ./bench             everything
//	go run ./bench -part process,size,inprocess,gateway
//	make bench-console         the console: its files here, its pages in Chromium
//
// It needs DynamoDB Local, which it gets and starts as the tests do. Every load goes to
// loopback and is bounded. The figures are the machine's; the ratios are the result. A
// ratio over its target is marked, and is no failure: nothing here is a timed test.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
)

func main() {
	parts := flag.String("part", "process,size,inprocess,gateway", "what to measure")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := bench(ctx, strings.Split(*parts, ",")); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func bench(ctx context.Context, parts []string) error {
	dir, err := os.MkdirTemp("", "keyreeve-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	fmt.Printf("%s %s/%s, %d cores\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	measures := map[string]func(context.Context, string) error{
		"process": processes, "size": sizes, "inprocess": inProcess, "gateway": throughput, "console": consoleFigures,
	}
	for _, name := range parts {
		f, ok := measures[name]
		if !ok {
			return fmt.Errorf("unknown part %q", name)
		}
		if err := f(ctx, dir); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// row prints one line of a table: a value, its ratio to the unit, and the target.
func row(what, value string, ratio, target float64) {
	verdict := ""
	if target > 0 {
		verdict = fmt.Sprintf("target ≤ %.1f×", target)
		if ratio > target {
			verdict += "  OVER"
		}
	}
	fmt.Printf("  %-44s %14s %8.2f×  %s\n", what, value, ratio, verdict)
}
