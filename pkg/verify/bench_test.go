package verify

import (
	"context"
	"testing"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

// constantStore answers every id with one key.
type constantStore struct{ key *keys.Key }

func (s constantStore) Key(context.Context, apikey.ID) (keys.Key, error) { return *s.key, nil }
func (s constantStore) Redigest(context.Context, apikey.ID, keys.Secret, keys.Secret) error {
	return nil
}

// constant is a verifier without any I/O, for time and allocations.
func constant(t testing.TB) (v *Verifier, good, wrong, junk string) {
	w := newWorld(t)
	v = New(Config{
		Store: constantStore{&w.stored}, Peppers: constantPeppers{w.peppers.ring},
		Prefixes: apikey.Prefixes{"kr_live": true},
	})
	good = w.key.Plaintext()
	return v, good, generate(t, w.key.ID()).Plaintext(), good[:len(good)-1] + "*"
}

// BenchmarkVerify is parse, checksum, digest and comparison around a store that costs nothing.
func BenchmarkVerify(b *testing.B) {
	v, good, wrong, junk := constant(b)
	ctx := context.Background()
	for _, c := range []struct{ name, credential string }{{"good", good}, {"wrong", wrong}, {"junk", junk}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(ctx, c.credential, "production"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkContext(b *testing.B) {
	id, buf := identity(), make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if buf, err = AppendContext(buf[:0], id); err != nil {
			b.Fatal(err)
		}
	}
}
