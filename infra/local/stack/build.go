package stack

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Build compiles the bootstrap binary of the module at root to the file out, as the
// Makefile does for Lambda: no cgo, no RPC mode, no paths, no symbols.
func Build(ctx context.Context, root, out string) error {
	out, err := filepath.Abs(out)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-tags", "lambda.norpc", "-ldflags", "-s -w", "-o", out, "./functions")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building bootstrap: %w\n%s", err, text)
	}
	return nil
}

// Preset reads a configuration: a name stands for infra/presets/NAME.json of the module at
// root, anything with a slash or a dot in it for a file.
func Preset(root, name string) ([]byte, error) {
	if name == "" {
		name = "default"
	}
	if strings.ContainsAny(name, "./\\") {
		return os.ReadFile(name)
	}
	dir := filepath.Join(root, "infra", "presets")
	text, err := os.ReadFile(filepath.Join(dir, name+".json"))
	if err != nil && os.IsNotExist(err) {
		files, _ := filepath.Glob(filepath.Join(dir, "*.json"))
		for i, f := range files {
			files[i] = strings.TrimSuffix(filepath.Base(f), ".json")
		}
		return nil, fmt.Errorf("there is no configuration %q: want one of %s, or the path of a file", name, strings.Join(files, ", "))
	}
	return text, err
}
