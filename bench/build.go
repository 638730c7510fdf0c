package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// flags of every binary here: the Makefile's for dist/bootstrap.
var flags = []string{"-trimpath", "-tags", "lambda.norpc", "-ldflags", "-s -w"}

// build compiles a package of this module into dir, as the Makefile does for Lambda but
// for this machine.
func build(dir, name, pkg string, flags ...string) (string, error) {
	out := filepath.Join(dir, name)
	args := append(append([]string{"build"}, flags...), "-o", out, pkg)
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, text)
	}
	return out, nil
}

func megabytes(path string) (float64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return float64(info.Size()) / 1e6, nil
}
