package apikey_test

import (
	"testing"

	"github.com/keyreeve/keyreeve/pkg/apikey"
)

func verifyInput(tb testing.TB) (text string, ring *apikey.Ring, want apikey.Digest, accepted apikey.Prefixes) {
	tb.Helper()
	ring, err := apikey.NewRing("p1", map[string]string{"p1": pepper1})
	if err != nil {
		tb.Fatal(err)
	}
	k := generate(tb, "kr_live")
	return k.Plaintext(), ring, digest(tb, ring, "p1", k), apikey.NewPrefixes([]string{"kr_live", "kr_stage", "kr_dev"})
}

func TestVerifyingAllocatesNothing(t *testing.T) {
	text, ring, want, accepted := verifyInput(t)
	junk := text[:len(text)-1] + "-"
	k, err := apikey.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]func(){
		"Parse":          func() { _, _ = apikey.Parse(text) },
		"Parse of junk":  func() { _, _ = apikey.Parse(junk) },
		"Prefixes.Parse": func() { _, _ = accepted.Parse(text) },
		"Equal":          func() { _ = want.Equal(want) },
		"ID and Prefix":  func() { _, _ = k.ID(), k.Prefix() },
	} {
		if n := testing.AllocsPerRun(1_000, f); n != 0 {
			t.Errorf("%s makes %v allocations, want 0", name, n)
		}
	}
	if raceEnabled {
		t.Skip("SKIPPED: Digest's allocations: under the race detector sync.Pool drops entries at random")
	}
	if n := testing.AllocsPerRun(1_000, func() { _, _ = ring.Digest("p1", k) }); n != 0 {
		t.Errorf("Digest makes %v allocations, want 0", n)
	}
}

func BenchmarkParse(b *testing.B) {
	text, _, _, accepted := verifyInput(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := accepted.Parse(text); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseJunk(b *testing.B) {
	text, _, _, accepted := verifyInput(b)
	junk := text[:len(text)-1] + "-"
	b.ReportAllocs()
	for b.Loop() {
		if _, err := accepted.Parse(junk); err == nil {
			b.Fatal("accepted")
		}
	}
}

func BenchmarkDigest(b *testing.B) {
	text, ring, _, accepted := verifyInput(b)
	k, err := accepted.Parse(text)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ring.Digest("p1", k); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCompare(b *testing.B) {
	_, _, want, _ := verifyInput(b)
	b.ReportAllocs()
	for b.Loop() {
		if !want.Equal(want) {
			b.Fatal("unequal")
		}
	}
}

// Parse with checksum and prefix, digest, compare: all that verifying costs besides I/O.
func BenchmarkVerify(b *testing.B) {
	text, ring, want, accepted := verifyInput(b)
	b.ReportAllocs()
	for b.Loop() {
		k, err := accepted.Parse(text)
		if err != nil {
			b.Fatal(err)
		}
		if d, err := ring.Digest("p1", k); err != nil || !d.Equal(want) {
			b.Fatal(err)
		}
	}
}

func BenchmarkGenerate(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := apikey.Generate("kr_live", apikey.NewID()); err != nil {
			b.Fatal(err)
		}
	}
}
