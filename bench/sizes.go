package main

import (
	"cmp"
	"context"
	"debug/elf"
	"fmt"
	"slices"
	"strings"
)

// shownAreas is how many areas have a line of their own.
const shownAreas = 14

// sizes says what each part of the binary is for: symbols of an unstripped build, summed
// by module or by area of the standard library, and the sections that go with them. The
// binary is Lambda's, so ELF on every machine.
func sizes(_ context.Context, dir string) error {
	path, err := build(dir, "bootstrap-symbols", "./functions", "-trimpath", "-tags", "lambda.norpc")
	if err != nil {
		return err
	}
	file, err := elf.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	symbols, err := file.Symbols()
	if err != nil {
		return err
	}
	sums := map[string]int{}
	for _, s := range symbols {
		// What is only reserved in memory (NOBITS) takes no room in the file.
		if int(s.Section) < len(file.Sections) && file.Sections[s.Section].Type != elf.SHT_NOBITS {
			sums[area(s.Name)] += int(s.Size)
		}
	}
	fmt.Printf("\nWhat the binary's code and data are for\n")
	type sum struct {
		area  string
		bytes int
	}
	var all []sum
	for a, n := range sums {
		all = append(all, sum{a, n})
	}
	slices.SortFunc(all, func(a, b sum) int { return cmp.Compare(b.bytes, a.bytes) })
	say := func(what string, bytes int) { fmt.Printf("  %6.2f MB  %s\n", float64(bytes)/1e6, what) }
	rest, others := 0, all[min(len(all), shownAreas):]
	for _, s := range all[:len(all)-len(others)] {
		say(s.area, s.bytes)
	}
	for _, s := range others {
		rest += s.bytes
	}
	say(fmt.Sprintf("%d more", len(others)), rest)
	// The file's loaded sections are what is left of it once it is stripped.
	lines, loaded := 0, 0
	for _, s := range file.Sections {
		if s.Flags&elf.SHF_ALLOC != 0 && s.Type != elf.SHT_NOBITS {
			loaded += int(s.FileSize)
		}
		if s.Name == ".gopclntab" {
			lines = int(s.FileSize)
		}
	}
	say("line tables of all of it, which stack traces and the garbage collector need", lines)
	for _, n := range sums {
		loaded -= n
	}
	say("texts, and what else has no symbol", loaded-lines)
	return nil
}

// area names whose a symbol is: a module, or a top element of the standard library.
func area(symbol string) string {
	symbol = strings.TrimPrefix(symbol, "vendor/")
	if strings.HasPrefix(symbol, "type:") || strings.HasPrefix(symbol, "go:") {
		return "type data and static values of all of it"
	}
	path, _, _ := strings.Cut(symbol, "[") // type parameters
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		if dot := strings.IndexByte(path[i:], '.'); dot >= 0 {
			path = path[:i+dot]
		}
	} else {
		path, _, _ = strings.Cut(path, ".")
	}
	parts := strings.Split(path, "/")
	switch {
	case !strings.Contains(parts[0], "."):
		return "standard library: " + parts[0]
	case strings.HasPrefix(path, "github.com/aws/aws-sdk-go-v2/service/"):
		return strings.Join(parts[:5], "/")
	case strings.HasPrefix(path, "github.com/keyreeve/"):
		return "Keyreeve itself"
	}
	return strings.Join(parts[:min(3, len(parts))], "/")
}
