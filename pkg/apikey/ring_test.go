package apikey_test

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/apikey"
)

const (
	pepper1 = "first-pepper-of-the-tests-0123456789abcdef"
	pepper2 = "second-pepper-of-the-tests-0123456789abcde"
)

func parseRing(t testing.TB, text string) *apikey.Ring {
	t.Helper()
	r, err := apikey.ParseRing([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func digest(t testing.TB, r *apikey.Ring, version string, k apikey.Key) apikey.Digest {
	t.Helper()
	d, err := r.Digest(version, k)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestFlatAndNestedRingsAreTheSame(t *testing.T) {
	k := generate(t, "mk")
	nested := parseRing(t, `{"current":"p2","peppers":{"p1":"`+pepper1+`","p2":"`+pepper2+`"}}`)
	want := digest(t, nested, "p2", k)
	for name, text := range map[string]string{
		"flat":              `{"current":"p2","p1":"` + pepper1 + `","p2":"` + pepper2 + `"}`,
		"one of each":       `{"peppers":{"p1":"` + pepper1 + `"},"p2":"` + pepper2 + `","current":"p2"}`,
		"peppers in halves": `{"peppers":{"p1":"` + pepper1 + `"},"peppers":{"p2":"` + pepper2 + `"},"current":"p2"}`,
	} {
		r := parseRing(t, text)
		if diff := cmp.Diff([]string{"p1", "p2"}, r.Versions()); diff != "" || r.Current() != "p2" {
			t.Errorf("%s: current %s, versions (-want +got)\n%s", name, r.Current(), diff)
		}
		if !digest(t, r, "p2", k).Equal(want) {
			t.Errorf("%s: another digest than the nested form's", name)
		}
	}
}

func TestRingErrorsNameTheFaultAndQuoteNoValue(t *testing.T) {
	for text, want := range map[string]string{
		``:                  "not a JSON object",
		`[]`:                "not a JSON object",
		`"` + pepper1:       "not a JSON object",
		`"` + pepper1 + `"`: "not a JSON object",
		`{"current":"p1","p1":"` + pepper1 + `"} {}`:                                    "not a JSON object",
		`{"current":"p1","p1":"` + pepper1 + `",}`:                                      "not a JSON object",
		`{"p1":"` + pepper1 + `"}`:                                                      "current is missing",
		`{"current":"` + pepper1 + `","p1":"` + pepper1 + `"}`:                          "current names no pepper",
		`{"current":"p2","p1":"` + pepper1 + `"}`:                                       "current names no pepper",
		`{"current":["` + pepper1 + `"]}`:                                               "current is not a string",
		`{"current":"p1","current":"p2","p1":"` + pepper1 + `","p2":"` + pepper2 + `"}`: "current is given twice",
		`{"current":"p1","p1":"` + pepper1 + `","p1":"` + pepper2 + `"}`:                `version "p1" is given twice`,
		`{"current":"p1","p1":"` + pepper1 + `","peppers":{"p1":"` + pepper2 + `"}}`:    `version "p1" is given twice`,
		`{"current":"p1","peppers":{"p1":"` + pepper1 + `"},"p1":"` + pepper2 + `"}`:    `version "p1" is given twice`,
		`{"current":"p1","p1":{"x":"` + pepper1 + `"}}`:                                 `pepper "p1" is not a string`,
		`{"current":"p1","peppers":"` + pepper1 + `"}`:                                  "not a JSON object",
		`{"current":"p1","p1":"` + pepper1[:31] + `"}`:                                  `pepper "p1" is shorter than 32`,
		`{"current":"p1","p1":null}`:                                                    `pepper "p1" is shorter than 32`,
		`{"current":"p1","` + pepper1 + `":"p1"}`:                                       "a version is 1 to 16",
		`{"current":"p1","p1":"` + pepper1 + `","peppers":{"` + pepper2 + `":1}}`:       "a version is 1 to 16",
		`{"current":"p1","p1":"` + pepper1 + `","":"` + pepper2 + `"}`:                  "a version is 1 to 16",
		`{"current":"p1","p1":"` + pepper1 + `","p 2":"` + pepper2 + `"}`:               "a version is 1 to 16",
		`{"current":"p1","p1":"` + pepper1 + `","aaaabbbbccccdddde":"` + pepper2 + `"}`: "a version is 1 to 16",
	} {
		_, err := apikey.ParseRing([]byte(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error with %q, got %v", want, err)
		}
		if err != nil && (leaks(err.Error(), pepper1) || leaks(err.Error(), pepper2)) {
			t.Errorf("the error with %q quotes a pepper", want)
		}
	}
	if _, err := apikey.NewRing("a version", map[string]string{"a version": pepper1}); err == nil {
		t.Error("NewRing takes a version that ParseRing refuses")
	}
}

func TestDigestDependsOnEveryPartOfTheKeyAndOnThePepper(t *testing.T) {
	r := parseRing(t, `{"current":"p2","p1":"`+pepper1+`","p2":"`+pepper2+`"}`)
	format := func(prefix string, id apikey.ID, random string) apikey.Key {
		k, err := apikey.Format(prefix, id, random)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	random := strings.Repeat("r", 25)
	base := format("mk", "a1b2c3d4", random+"0")
	d := digest(t, r, "p1", base)
	for name, other := range map[string]apikey.Digest{
		"pepper":                digest(t, r, "p2", base),
		"prefix":                digest(t, r, "p1", format("ml", "a1b2c3d4", random+"0")),
		"id":                    digest(t, r, "p1", format("mk", "a1b2c3d5", random+"0")),
		"last random character": digest(t, r, "p1", format("mk", "a1b2c3d4", random+"1")),
	} {
		if d.Equal(other) {
			t.Errorf("another %s gives the same digest", name)
		}
	}
	if !d.Equal(digest(t, r, "p1", base)) {
		t.Error("the same key gives another digest the second time")
	}
}

func TestSubkeysDifferByPurposeVersionAndInput(t *testing.T) {
	r := parseRing(t, `{"current":"p2","p1":"`+pepper1+`","p2":"`+pepper2+`"}`)
	subkey := func(version string, p apikey.Purpose) []byte {
		k, err := r.Subkey(version, p, 32)
		if err != nil || len(k) != 32 {
			t.Fatalf("Subkey(%s, %s): %d bytes, %v", version, p, len(k), err)
		}
		return k
	}
	derived := func(more []string, salt string) []byte {
		k, err := r.DeriveWith("p1", more, []byte(salt), apikey.PurposeIdempotency, 32)
		if err != nil || len(k) != 32 {
			t.Fatalf("DeriveWith(%d parts): %d bytes, %v", len(more), len(k), err)
		}
		return k
	}
	all := map[string][]byte{
		"cursor":                subkey("p1", apikey.PurposeCursor),
		"cursor, p2":            subkey("p2", apikey.PurposeCursor),
		"idempotency":           subkey("p1", apikey.PurposeIdempotency),
		"webhook":               subkey("p1", apikey.PurposeWebhook),
		"with a part":           derived([]string{"ab"}, ""),
		"with an empty part":    derived([]string{""}, ""),
		"with two parts":        derived([]string{"a", "b"}, ""),
		"with two, empty first": derived([]string{"", "ab"}, ""),
		"with two, empty last":  derived([]string{"ab", ""}, ""),
		"with a salt":           derived([]string{"ab"}, "salt"),
		"with another salt":     derived([]string{"ab"}, "tlas"),
	}
	for a, ka := range all {
		for b, kb := range all {
			if a < b && bytes.Equal(ka, kb) {
				t.Errorf("the subkeys %s and %s are equal", a, b)
			}
		}
	}
}

func TestTheDigestSubkeyDoesNotLeaveTheRing(t *testing.T) {
	r := parseRing(t, `{"current":"p1","p1":"`+pepper1+`"}`)
	if k, err := r.Subkey("p1", apikey.PurposeDigest, 32); err == nil || k != nil {
		t.Errorf("Subkey(PurposeDigest): %d bytes, error %v; want an error", len(k), err)
	}
	if k, err := r.DeriveWith("p1", []string{"x"}, nil, apikey.PurposeDigest, 32); err == nil || k != nil {
		t.Errorf("DeriveWith(PurposeDigest): %d bytes, error %v; want an error", len(k), err)
	}
}

func TestUnknownPepperIsItsOwnError(t *testing.T) {
	r := parseRing(t, `{"current":"p1","p1":"`+pepper1+`"}`)
	_, err := r.Digest("p2", generate(t, "mk"))
	_, err2 := r.Subkey("p2", apikey.PurposeCursor, 32)
	_, err3 := r.DeriveWith("p2", nil, nil, apikey.PurposeCursor, 32)
	for _, err := range []error{err, err2, err3} {
		if !errors.Is(err, apikey.ErrUnknownPepper) {
			t.Errorf("got %v, want ErrUnknownPepper", err)
		}
	}
	if r.Has("p2") || !r.Has("p1") {
		t.Errorf("Has(p2) = %t, Has(p1) = %t", r.Has("p2"), r.Has("p1"))
	}
}

func TestARingIsSafeForConcurrentUse(t *testing.T) {
	r := parseRing(t, `{"current":"p2","p1":"`+pepper1+`","p2":"`+pepper2+`"}`)
	type sample struct {
		key     apikey.Key
		version string
		want    apikey.Digest
	}
	var samples []sample
	for range 16 {
		for _, v := range r.Versions() {
			k := generate(t, "mk")
			samples = append(samples, sample{k, v, digest(t, r, v, k)})
		}
	}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 2_000 {
				s := samples[(i+g*5)%len(samples)]
				if d, err := r.Digest(s.version, s.key); err != nil || !d.Equal(s.want) {
					t.Errorf("goroutine %d: error %v, or another digest than alone", g, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestNewRingCopiesItsInput(t *testing.T) {
	in := map[string]string{"p1": pepper1}
	r, err := apikey.NewRing("p1", in)
	if err != nil {
		t.Fatal(err)
	}
	in["p2"] = pepper2
	delete(in, "p1")
	if r.Has("p2") || !r.Has("p1") {
		t.Error("the ring follows changes of the map it was made from")
	}
}

func TestDigestsThatDifferInOneBitAreNotEqual(t *testing.T) {
	d := digest(t, parseRing(t, `{"current":"p1","p1":"`+pepper1+`"}`), "p1", generate(t, "mk"))
	for i := range d {
		for bit := range 8 {
			e := d
			e[i] ^= 1 << bit
			if d.Equal(e) {
				t.Errorf("digests that differ in bit %d of byte %d are Equal", bit, i)
			}
		}
	}
}

func TestPepperVersionsAreOrderedAsPeopleCount(t *testing.T) {
	for _, pair := range [][2]string{{"p1", "p2"}, {"p9", "p10"}, {"2026-01", "2026-02"}} {
		if a, b := pair[0], pair[1]; !apikey.LaterVersion(a, b) || apikey.LaterVersion(b, a) || apikey.LaterVersion(a, a) {
			t.Errorf("LaterVersion(%q, %q) = %t, LaterVersion(%q, %q) = %t; want true and false", a, b, apikey.LaterVersion(a, b), b, a, apikey.LaterVersion(b, a))
		}
	}
}
