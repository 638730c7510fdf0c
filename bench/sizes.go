package main

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
)

// sizes says what each part of the binary's code and data is for: the symbols of an
// unstripped build, summed by module or by area of the standard library.
func sizes(ctx context.Context, dir string) error {
	path, err := build(dir, "bootstrap-symbols", "./functions", "-trimpath", "-tags", "lambda.norpc")
	if err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, "go", "tool", "nm", "-size", path).Output()
	if err != nil {
		return fmt.Errorf("go tool nm: %w", err)
	}
	sums := map[string]int{}
	lines := bufio.NewScanner(strings.NewReader(string(out)))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		f := strings.Fields(lines.Text()) // address size type name
		if len(f) < 4 {
			continue
		}
		n, err := strconv.Atoi(f[1])
		if err != nil || strings.ContainsAny(f[2], "BbU") { // bss takes no room in the file
			continue
		}
		sums[area(f[3])] += n
	}
	if err := lines.Err(); err != nil {
		return err
	}
	type sum struct {
		area  string
		bytes int
	}
	var all []sum
	for a, n := range sums {
		all = append(all, sum{a, n})
	}
	slices.SortFunc(all, func(a, b sum) int { return cmp.Compare(b.bytes, a.bytes) })
	fmt.Printf("\nWhat is in the binary (symbols, before headers and line tables)\n")
	for _, s := range all[:min(len(all), 16)] {
		fmt.Printf("  %6.2f MB  %s\n", float64(s.bytes)/1e6, s.area)
	}
	return nil
}

// area names whose a symbol is: a module, or the first element of a standard package.
func area(symbol string) string {
	for _, p := range []string{"type:", "go:", "runtime.", "runtime/"} {
		if strings.HasPrefix(symbol, p) {
			return "runtime and type data"
		}
	}
	symbol = strings.TrimPrefix(strings.TrimPrefix(symbol, "vendor/"), "_")
	parts := strings.SplitN(symbol, "/", 6)
	if !strings.Contains(parts[0], ".") || len(parts) == 1 {
		return "standard library: " + strings.SplitN(parts[0], ".", 2)[0]
	}
	n := 3
	if strings.HasPrefix(symbol, "github.com/aws/aws-sdk-go-v2/service/") {
		n = 5
	}
	area := strings.Join(parts[:min(n, len(parts))], "/")
	last := strings.LastIndexByte(area, '/')
	if dot := strings.IndexByte(area[last+1:], '.'); dot > 0 && last > len("github.com/") {
		area = area[:last+1+dot]
	}
	return area
}
