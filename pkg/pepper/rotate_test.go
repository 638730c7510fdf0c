package pepper

import (
	"slices"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/pkg/apikey"
)

const testPepper = "a pepper for tests, of no use elsewhere"

func TestRotationAddsThenPromotesAndKeepsWhatIsThere(t *testing.T) {
	for _, text := range []string{
		`{"current":"p9","p9":"` + testPepper + `"}`,
		`{"current":"p9","peppers":{"p9":"` + testPepper + `"}}`,
	} {
		key, err := apikey.Generate("kr_live", apikey.NewID())
		if err != nil {
			t.Fatal(err)
		}
		before := ring(t, []byte(text))
		digest, err := before.Digest("p9", key)
		if err != nil {
			t.Fatal(err)
		}

		added, version, err := Add([]byte(text))
		if err != nil || version != "p10" {
			t.Fatalf("Add = version %q, %v, want p10", version, err)
		}
		r := ring(t, added)
		if r.Current() != "p9" || !slices.Equal(r.Versions(), []string{"p10", "p9"}) {
			t.Errorf("after Add: %v, want p9 current and p10 beside it", r)
		}
		promoted, version, err := Promote(added)
		if err != nil || version != "p10" {
			t.Fatalf("Promote = version %q, %v, want p10", version, err)
		}
		r = ring(t, promoted)
		if r.Current() != "p10" {
			t.Errorf("after Promote: %v, want p10 current", r)
		}
		if same, err := r.Digest("p9", key); err != nil || !same.Equal(digest) {
			t.Errorf("the old pepper gives another digest after the rotation (%v)", err)
		}
		if fresh, err := r.Digest("p10", key); err != nil || fresh.Equal(digest) {
			t.Errorf("the new pepper gives the old digest (%v)", err)
		}
		again, version, err := Promote(promoted)
		if err != nil || version != "p10" || string(again) != string(promoted) {
			t.Errorf("a second Promote changed the ring (version %q, %v)", version, err)
		}
	}
}

func TestTwoRotationsDrawTwoPeppers(t *testing.T) {
	text := []byte(`{"current":"p1","p1":"` + testPepper + `"}`)
	a, _, err := Add(text)
	if err != nil {
		t.Fatal(err)
	}
	b, _, err := Add(text)
	if err != nil || string(a) == string(b) {
		t.Errorf("two calls drew the same pepper (%v)", err)
	}
}

func TestRotationRefusesWhatItCannotCountOrRead(t *testing.T) {
	for text, want := range map[string]string{
		`{"current":"old","old":"` + testPepper + `"}`: "does not end with a number",
		`{"current":"p1"}`: "current names no pepper",
		`nonsense`:         "not a JSON object",
	} {
		_, _, err := Add([]byte(text))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), testPepper[:12]) {
			t.Errorf("Add(%d bytes) = %v, want an error with %q", len(text), err, want)
		}
	}
}

func ring(t *testing.T, text []byte) *apikey.Ring {
	t.Helper()
	r, err := apikey.ParseRing(text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
