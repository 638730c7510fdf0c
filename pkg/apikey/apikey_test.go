package apikey_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/pkg/apikey"
)

func generate(t testing.TB, prefix string) apikey.Key {
	t.Helper()
	k, err := apikey.Generate(prefix, apikey.NewID())
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestGeneratedKeyParsesBackToItself(t *testing.T) {
	for _, prefix := range []string{"k", "mk", "kr_live", "a_b_c", "x9", strings.Repeat("p", apikey.MaxPrefixLen)} {
		id := apikey.NewID()
		k, err := apikey.Generate(prefix, id)
		if err != nil {
			t.Fatalf("Generate(%q): %v", prefix, err)
		}
		got, err := apikey.Parse(k.Plaintext())
		if err != nil || !got.Equal(k) || got.Prefix() != prefix || got.ID() != id {
			t.Errorf("Parse of a generated key: prefix %q, id %q, error %v; want %q, %q", got.Prefix(), got.ID(), err, prefix, id)
		}
		if n := len(k.Plaintext()); n != len(prefix)+42 || n > apikey.MaxLen {
			t.Errorf("a key with prefix %q has %d characters", prefix, n)
		}
	}
}

func TestFormatRefusesPartsOfTheWrongForm(t *testing.T) {
	id, random := apikey.ID("a1b2c3d4"), strings.Repeat("r", 26)
	for name, f := range map[string]func() (apikey.Key, error){
		"no prefix":          func() (apikey.Key, error) { return apikey.Format("", id, random) },
		"upper-case prefix":  func() (apikey.Key, error) { return apikey.Format("MK", id, random) },
		"short id":           func() (apikey.Key, error) { return apikey.Format("mk", id[:7], random) },
		"underscore in id":   func() (apikey.Key, error) { return apikey.Format("mk", "a1b2_3d4", random) },
		"short random":       func() (apikey.Key, error) { return apikey.Format("mk", id, random[:25]) },
		"long random":        func() (apikey.Key, error) { return apikey.Format("mk", id, random+"r") },
		"hyphen in random":   func() (apikey.Key, error) { return apikey.Format("mk", id, "-"+random[1:]) },
		"Generate, no id":    func() (apikey.Key, error) { return apikey.Generate("mk", "") },
		"Generate, bad name": func() (apikey.Key, error) { return apikey.Generate("mk_", id) },
	} {
		k, err := f()
		if err == nil || !k.IsZero() {
			t.Errorf("%s: zero key %t, error %v; want the zero key and an error", name, k.IsZero(), err)
		}
	}
}

func TestValidPrefix(t *testing.T) {
	for p, want := range map[string]bool{
		"k": true, "mk": true, "kr_live": true, "ml_prod": true, "a__b": true, "a1_2": true,
		strings.Repeat("a", 32): true,
		"":                      false, "_": false, "_a": false, "a_": false, "1a": false, "Mk": false, "mK": false,
		"m k": false, "m-k": false, "mé": false, "mk\n": false, "mk\x00": false,
		strings.Repeat("a", 33): false,
	} {
		if got := apikey.ValidPrefix(p); got != want {
			t.Errorf("ValidPrefix(%q) = %t, want %t", p, got, want)
		}
	}
}

func TestRetiredPrefixesAreAcceptedAndForeignOnesAreNot(t *testing.T) {
	accepted := apikey.NewPrefixes([]string{"kr_live", "old_live"})
	for prefix, want := range map[string]bool{"kr_live": true, "old_live": true, "kr_dev": false, "live": false, "old": false} {
		k := generate(t, prefix)
		got, err := accepted.Parse(k.Plaintext())
		if ok := err == nil; ok != want || got.IsZero() == want {
			t.Errorf("Prefixes.Parse of a %s key: error %v, want accepted %t", prefix, err, want)
		}
		if !want && !errors.Is(err, apikey.ErrMalformed) {
			t.Errorf("Prefixes.Parse of a %s key: %v, want ErrMalformed", prefix, err)
		}
	}
	if _, err := accepted.Parse("kr_live_"); !errors.Is(err, apikey.ErrMalformed) {
		t.Errorf("Prefixes.Parse of junk: %v, want ErrMalformed", err)
	}
}

func TestParseID(t *testing.T) {
	for s, want := range map[string]bool{
		"a1B2c3D4": true, "00000000": true,
		"": false, "a1B2c3D": false, "a1B2c3D4e": false, "a1B2c3D_": false, "a1B2c3é": false, "key_abc1": false,
	} {
		id, err := apikey.ParseID(s)
		if ok := err == nil; ok != want || ok && string(id) != s {
			t.Errorf("ParseID(%q) = %q, %v; want valid %t", s, id, err, want)
		}
		if err != nil && s != "" && strings.Contains(err.Error(), s) {
			t.Errorf("ParseID(%q) quotes what it refuses", s)
		}
	}
}

func TestMasksAreThoseOfTheDocumentedAnswers(t *testing.T) {
	if got, want := apikey.Mask("mk", "a1b2c3d4"), "mk_a1b****"; got != want {
		t.Errorf("Mask = %q, want %q", got, want)
	}
	if got, want := apikey.AccountMask("ml_prod", "abc1wxyz"), "ml_prod_abc1"; got != want {
		t.Errorf("AccountMask = %q, want %q", got, want)
	}
	if got := apikey.Mask("mk", "") + apikey.AccountMask("mk", ""); got != "mk_****mk_" {
		t.Errorf("masks of no id = %q", got)
	}
}

func TestTheZeroKeyHasNoParts(t *testing.T) {
	var k apikey.Key
	if !k.IsZero() || k.ID() != "" || k.Prefix() != "" || k.Plaintext() != "" || !k.Equal(apikey.Key{}) {
		t.Error("the zero Key has parts")
	}
	if g := generate(t, "mk"); g.IsZero() || g.Equal(k) || k.Equal(g) {
		t.Error("a generated key equals the zero Key")
	}
}

func TestEqualComparesTheText(t *testing.T) {
	a := generate(t, "mk")
	same, err := apikey.Parse(strings.Clone(a.Plaintext()))
	if err != nil {
		t.Fatal(err)
	}
	if !a.Equal(same) {
		t.Error("two keys of the same text are not Equal")
	}
	if b := generate(t, "mk"); a.Equal(b) {
		t.Error("two different keys are Equal")
	}
}

// Chi-square over the 62 digits has a mean of 61 and a standard deviation of 11. A draw
// that took bytes modulo 62 without refusing any would come to about 1,400 here.
func TestRandomPartsAreUniform(t *testing.T) {
	const keys = 8_000
	var total int
	count := map[byte]int{}
	atPosition := map[int]map[byte]bool{}
	for range keys {
		k := generate(t, "mk").Plaintext()
		drawn := k[3:11] + k[12:len(k)-6]
		for i := range len(drawn) {
			count[drawn[i]]++
			total++
			if atPosition[i] == nil {
				atPosition[i] = map[byte]bool{}
			}
			atPosition[i][drawn[i]] = true
		}
	}
	expected := float64(total) / 62
	chi := 0.0
	for _, n := range count {
		d := float64(n) - expected
		chi += d * d / expected
	}
	if len(count) != 62 || chi > 61+8*11 {
		t.Errorf("%d characters: %d different ones, chi-square %.0f; want 62 and 61 ± 88", total, len(count), chi)
	}
	for i := range 34 {
		if n := len(atPosition[i]); n != 62 {
			t.Errorf("position %d takes %d different characters, want 62", i, n)
		}
	}
}

func TestIDsDoNotRepeat(t *testing.T) {
	seen := map[apikey.ID]bool{}
	for range 20_000 { // 62^8 ids: a repetition has a chance of 1 in a million
		id := apikey.NewID()
		if _, err := apikey.ParseID(string(id)); err != nil || seen[id] {
			t.Fatalf("NewID: repeated %t, error %v", seen[id], err)
		}
		seen[id] = true
	}
}
