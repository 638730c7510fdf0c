package apikey_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/pkg/apikey"
)

// Whatever Parse accepts, Format makes again from its parts.
func FuzzParse(f *testing.F) {
	file, ring := readVectors(f)
	for _, v := range file.Vectors {
		f.Add(v.Key)
	}
	f.Add(strings.Repeat("_", 64))
	f.Add("\xff\xfe_\x00")
	f.Fuzz(func(t *testing.T, s string) {
		k, err := apikey.Parse(s)
		if err != nil {
			if !errors.Is(err, apikey.ErrMalformed) || err.Error() != apikey.ErrMalformed.Error() || !k.IsZero() {
				t.Fatalf("refusal is %q with zero key %t, want exactly ErrMalformed and the zero key", err, k.IsZero())
			}
			return
		}
		if k.Plaintext() != s || len(s) > apikey.MaxLen || !apikey.ValidPrefix(k.Prefix()) {
			t.Fatal("an accepted key is not the string that was parsed, or breaks a rule")
		}
		if _, err := apikey.ParseID(string(k.ID())); err != nil {
			t.Fatal("an accepted key has a malformed id")
		}
		again, err := apikey.Format(k.Prefix(), k.ID(), s[len(s)-apikey.SecretLen:len(s)-6])
		if err != nil || again.Plaintext() != s {
			t.Fatalf("Format of the parts: error %v, or another key", err)
		}
		if _, err := ring.Digest("t1", k); err != nil {
			t.Fatal(err)
		}
	})
}

// Whatever Format makes, Parse takes apart into the same pieces.
func FuzzFormat(f *testing.F) {
	file, _ := readVectors(f)
	for _, v := range file.Vectors {
		if v.Bad == "" {
			f.Add(v.Prefix, v.ID, v.Random)
		}
	}
	f.Add("", "", "")
	f.Add("a_", "a_b_c_d_", strings.Repeat("_", 26))
	f.Fuzz(func(t *testing.T, prefix, id, random string) {
		k, err := apikey.Format(prefix, apikey.ID(id), random)
		if err != nil {
			if !k.IsZero() {
				t.Fatal("a key together with an error")
			}
			return
		}
		got, err := apikey.Parse(k.Plaintext())
		if err != nil {
			t.Fatalf("Parse of what Format made: %v", err)
		}
		text := got.Plaintext()
		if got.Prefix() != prefix || string(got.ID()) != id || text[len(text)-apikey.SecretLen:len(text)-6] != random {
			t.Fatal("Parse of what Format made gives other parts")
		}
	})
}

func FuzzParseRing(f *testing.F) {
	long := strings.Repeat("p", 40)
	f.Add(`{"current":"p1","p1":"` + long + `"}`)
	f.Add(`{"current":"p1","peppers":{"p1":"` + long + `","p2":"` + long + `"}}`)
	f.Add(`{"current":null,"peppers":null}`)
	f.Add(`{"current":"p1","p1":1e999}`)
	f.Add(`[]`)
	f.Add(`{`)
	f.Fuzz(func(t *testing.T, text string) {
		r, err := apikey.ParseRing([]byte(text))
		if (r == nil) != (err != nil) {
			t.Fatalf("ring %t, error %v: want exactly one of the two", r != nil, err)
		}
		if err != nil {
			return
		}
		if !r.Has(r.Current()) {
			t.Fatal("a ring without its current pepper")
		}
		for _, v := range r.Versions() {
			if v == "" || len(v) > 16 || !r.Has(v) {
				t.Fatalf("a ring with the version %q", v)
			}
		}
	})
}
