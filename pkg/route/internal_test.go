package route

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The embedded files are decoded plainly: they must be what the strict decoder, which
// users' files meet, makes of them.
func TestEmbeddedFilesPassTheStrictDecoder(t *testing.T) {
	for name, text := range map[string][]byte{"management.json": managementJSON, "routes.json": sampleJSON} {
		strict, errs := decodeFile(text)
		if len(errs) > 0 {
			t.Errorf("%s: %v", name, errs)
		}
		if diff := cmp.Diff(strict, embedded(text)); diff != "" {
			t.Errorf("%s: (-strict +plain)\n%s", name, diff)
		}
	}
	viaFile, err := Load(sampleJSON)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Default().Routes(), viaFile.Routes()); diff != "" {
		t.Errorf("the sample's routes as a file differ from the embedded ones (-embedded +file)\n%s", diff)
	}
}

// Nobody's file can forward a management route, and neither can ours.
func TestManagementRoutesAreNotForwarded(t *testing.T) {
	l := &loader{root: &node{}, resources: map[string]*node{}, known: map[string]bool{}}
	l.add(file{Routes: []Route{{Method: "GET", Path: "/v1/x", Upstream: Upstream{URL: "https://a.example", TimeoutSeconds: 5}}}}, true)
	if len(l.errs) != 1 || !strings.Contains(l.errs[0].Error(), "management routes are served here") {
		t.Errorf("errors %v, want one about the upstream", l.errs)
	}
}

// fits reports whether s matches a pattern of literals, oneChar and anyText.
func fits(p []byte, s string) bool {
	if len(p) == 0 {
		return s == ""
	}
	if p[0] == anyText {
		return fits(p[1:], s) || s != "" && fits(p, s[1:])
	}
	return s != "" && (p[0] == oneChar || p[0] == s[0]) && fits(p[1:], s[1:])
}

// Two patterns of at most 4 symbols that have a text in common have one of at most 8
// characters, so trying them all decides.
func TestIntersectAgreesWithTryingEveryText(t *testing.T) {
	var texts []string
	for level := []string{""}; len(level[0]) <= 8; {
		texts = append(texts, level...)
		var next []string
		for _, s := range level {
			next = append(next, s+"a", s+"/")
		}
		level = next
	}
	rnd := rand.New(rand.NewPCG(5, 6))
	draw := func() []byte {
		p := make([]byte, rnd.IntN(5))
		for i := range p {
			p[i] = []byte{'a', '/', oneChar, anyText}[rnd.IntN(4)]
		}
		return p
	}
	yes := 0
	for range 1_000 {
		a, b := draw(), draw()
		want := false
		for _, s := range texts {
			if fits(a, s) && fits(b, s) {
				want = true
				break
			}
		}
		if got := intersect(a, b); got != want {
			t.Fatalf("intersect(%q, %q) = %t, want %t", a, b, got, want)
		}
		if want {
			yes++
		}
	}
	if yes < 100 || yes > 900 {
		t.Errorf("%d of 1,000 pairs have a text in common: too one-sided to mean anything", yes)
	}
}
