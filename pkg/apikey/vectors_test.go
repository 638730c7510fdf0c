package apikey_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/apikey"
)

// vector is one key of vectors.json. Bad names the fault; a good key has the rest.
type vector struct {
	Prefix, Name, Key    string
	ID, Random, Checksum string
	Pepper, Digest       string
	Mask, AccountMask    string
	Bad                  string
}

type vectorFile struct {
	About   string
	Ring    json.RawMessage
	Subkeys []subkeyVector
	Derived []subkeyVector
	Vectors []vector
}

type subkeyVector struct {
	Pepper, Purpose, Salt, Subkey string
	Bytes                         int
	More                          []string
}

func readVectors(t testing.TB) (vectorFile, *apikey.Ring) {
	t.Helper()
	text, err := os.ReadFile("vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var f vectorFile
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&f); err != nil {
		t.Fatalf("vectors.json: %v", err)
	}
	ring, err := apikey.ParseRing(f.Ring)
	if err != nil {
		t.Fatal(err)
	}
	return f, ring
}

func TestGoodVectorsParseToTheirPartsAndDigest(t *testing.T) {
	f, ring := readVectors(t)
	for _, v := range f.Vectors {
		if v.Bad != "" {
			continue
		}
		k, err := apikey.Parse(v.Key)
		if err != nil {
			t.Errorf("%s, %s: Parse: %v", v.Prefix, v.Name, err)
			continue
		}
		d, err := ring.Digest(v.Pepper, k)
		if err != nil {
			t.Errorf("%s, %s: Digest: %v", v.Prefix, v.Name, err)
		}
		plain := k.Plaintext()
		got := vector{
			Prefix: k.Prefix(), Name: v.Name, Key: plain,
			ID: string(k.ID()), Random: plain[len(plain)-apikey.SecretLen : len(plain)-6], Checksum: plain[len(plain)-6:],
			Pepper: v.Pepper, Digest: hex.EncodeToString(d[:]),
			Mask: apikey.Mask(k.Prefix(), k.ID()), AccountMask: apikey.AccountMask(k.Prefix(), k.ID()),
		}
		if diff := cmp.Diff(v, got); diff != "" {
			t.Errorf("%s, %s: (-vector +got)\n%s", v.Prefix, v.Name, diff)
		}
		again, err := apikey.Format(v.Prefix, apikey.ID(v.ID), v.Random)
		if err != nil || !again.Equal(k) {
			t.Errorf("%s, %s: Format of the parts (error %v) is not the key", v.Prefix, v.Name, err)
		}
	}
}

func TestBadVectorsAreMalformed(t *testing.T) {
	f, _ := readVectors(t)
	for _, v := range f.Vectors {
		if v.Bad == "" {
			continue
		}
		if k, err := apikey.Parse(v.Key); !errors.Is(err, apikey.ErrMalformed) || !k.IsZero() {
			t.Errorf("%s, %s (%s): Parse = zero key %t, error %v; want the zero key, ErrMalformed", v.Prefix, v.Name, v.Bad, k.IsZero(), err)
		}
	}
}

// The file promises others this much for each prefix.
func TestEveryPrefixHasItsVectors(t *testing.T) {
	f, _ := readVectors(t)
	count := map[string]map[string]int{}
	for _, v := range f.Vectors {
		if count[v.Prefix] == nil {
			count[v.Prefix] = map[string]int{}
		}
		count[v.Prefix]["all"]++
		count[v.Prefix][v.Bad]++
	}
	for _, prefix := range []string{"kr_live", "kr_stage", "kr_dev", "ml_live", "ml_dev", "ml_prod", "ml_sand", "mk"} {
		c := count[prefix]
		if c["all"] < 30 {
			t.Errorf("%s has %d vectors, want 30 or more", prefix, c["all"])
		}
		for _, kind := range []string{"", "length", "separator", "prefix", "id", "secret", "checksum"} {
			if c[kind] < 3 {
				t.Errorf("%s has %d vectors of kind %q, want 3 or more", prefix, c[kind], kind)
			}
		}
	}
}

func TestSubkeyVectors(t *testing.T) {
	f, ring := readVectors(t)
	check := func(v subkeyVector, got []byte, err error) {
		t.Helper()
		if err != nil || hex.EncodeToString(got) != v.Subkey {
			t.Errorf("%s, %s, %d bytes, salt %q: error %v, or another subkey than the vector's", v.Pepper, v.Purpose, v.Bytes, v.Salt, err)
		}
	}
	for _, v := range f.Subkeys {
		got, err := ring.Subkey(v.Pepper, apikey.Purpose(v.Purpose), v.Bytes)
		check(v, got, err)
	}
	for _, v := range f.Derived {
		salt, err := hex.DecodeString(v.Salt)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ring.DeriveWith(v.Pepper, v.More, salt, apikey.Purpose(v.Purpose), v.Bytes)
		check(v, got, err)
	}
	if len(f.Subkeys) == 0 || len(f.Derived) == 0 {
		t.Error("vectors.json has no subkeys")
	}
}

func TestVectorsAreWhatTheIndependentImplementationMakes(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("SKIPPED: python3 is not installed, so testdata/vectors.py was not run again")
	}
	script, err := os.ReadFile("testdata/vectors.py") // here, so that go test sees it change
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, "-")
	cmd.Stdin = bytes.NewReader(script)
	made, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	kept, err := os.ReadFile("vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(made, kept) {
		t.Error("vectors.json differs from the output of testdata/vectors.py")
	}
}
