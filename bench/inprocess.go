package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
)

// inProcess runs the Go benchmarks of the hot path's packages.
func inProcess(ctx context.Context, _ string) error {
	fmt.Printf("\nIn process\n")
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", ".", "-benchmem", "-benchtime", "300ms",
		"./pkg/apikey", "./pkg/verify", "./pkg/policy", "./authorizer")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Run()
}
