// Package apikey is the key string: how one is made, read and digested.
//
// A key is
//
//		<prefix>_<id>_<secret>
//		kr_live _ 8fQ2mZ0a _ 26 random + 6 checksum
//
//	  - prefix is configuration: lower-case letters, digits and underscores, so
//	    that a person and a secret scanner can tell whose key it is.
//	  - id is 8 base62 characters. It is public: the look-up key and what lists show.
//	  - secret is 32 base62 characters: 26 from crypto/rand (62^26, 154 bits), then
//	    6 that encode the CRC-32 (IEEE) of everything before them, most significant
//	    digit first, left-padded with '0'.
//
// Parsing goes from the right, because a prefix may hold underscores: the last 32
// characters, an underscore, 8 characters, an underscore, and what is left is the
// prefix. The checksum is no defence (anyone can compute it). It refuses typing
// errors and random junk without I/O, and lets scanners tell a key from a look-alike.
//
// vectors.json beside this file holds good and bad keys with everything that can be
// computed of them. It is for other implementations too; a Python one made it
// (testdata/vectors.py) and this one is tested against it.
//
// Nothing here stores the plaintext: what is kept of a key is a [Digest], HMAC-SHA256
// under a pepper that lives elsewhere (see [Ring]), so that a copy of the table alone
// neither verifies nor guesses a key. A fast hash is right here, since the secret is
// 154 random bits and not a password (NIST SP 800-63B section 5.1.1.2 asks for a slow
// one for secrets that people choose).
//
// Promises: [Parse] and [Format] are inverse to each other on every valid key; no I/O; no
// allocation by Parse, [Ring.Digest] and [Digest.Equal]; and no piece of a [Key] is
// printed by any verb of fmt, by encoding/json or by log/slog, wherever the Key sits.
package apikey

import (
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"unsafe"
)

const (
	// IDLen is the length of a key's public id in characters.
	IDLen = 8
	// SecretLen is the length of the secret part, checksum included.
	SecretLen = randomLen + checksumLen
	// MaxPrefixLen bounds a prefix.
	MaxPrefixLen = 32
	// MaxLen is the length of the longest key there can be, in characters.
	MaxLen = MaxPrefixLen + tailLen

	randomLen   = 26
	checksumLen = 6
	tailLen     = 1 + IDLen + 1 + SecretLen // "_id_secret"
	alphabet    = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// ErrMalformed is returned for every string that is not a key: wrong length or
// alphabet, wrong place of an underscore, wrong checksum. It never quotes its input.
var ErrMalformed = errors.New("malformed API key")

var errPrefix = errors.New("invalid key prefix: want 1 to 32 of a-z, 0-9 and inner '_', starting with a letter")

// ID is the public identifier of a key: 8 base62 characters.
type ID string

// ParseID checks the form of an id.
func ParseID(s string) (ID, error) {
	if len(s) != IDLen || !isBase62(s) {
		return "", errors.New("malformed key id")
	}
	return ID(s), nil
}

// Key is a whole key in plaintext. The zero value is no key. It cannot be compared with
// == (that would leak time): use [Key.Equal], or better compare digests.
type Key struct {
	_ [0]func() // makes == a compile error

	// A pointer and a length instead of a string, because fmt calls no method on an
	// unexported field, nor for %p, and prints what it finds there: the address then,
	// where it would have been the text.
	text *byte
	n    int
}

const redacted = "[REDACTED]"

func newKey(s string) Key { return Key{text: unsafe.StringData(s), n: len(s)} }

// bytes is the text in place, not a copy: read only.
func (k Key) bytes() []byte { return unsafe.Slice(k.text, k.n) }

// Plaintext returns the key itself: for the one answer that shows it to its owner and
// for what is derived from it. Everything else that prints a Key prints "[REDACTED]".
func (k Key) Plaintext() string { return unsafe.String(k.text, k.n) }

// IsZero reports whether k holds no key.
func (k Key) IsZero() bool { return k.n == 0 }

// Equal compares in constant time; only the lengths show.
func (k Key) Equal(l Key) bool { return subtle.ConstantTimeCompare(k.bytes(), l.bytes()) == 1 }

// ID returns the public id part.
func (k Key) ID() ID {
	if k.IsZero() {
		return ""
	}
	return ID(k.Plaintext()[k.n-SecretLen-1-IDLen : k.n-SecretLen-1])
}

// Prefix returns the prefix part, without its underscore.
func (k Key) Prefix() string {
	if k.IsZero() {
		return ""
	}
	return k.Plaintext()[:k.n-tailLen]
}

// String returns "[REDACTED]".
func (k Key) String() string { return redacted }

// GoString returns "[REDACTED]", for %#v.
func (k Key) GoString() string { return redacted }

// Format writes "[REDACTED]" whatever the verb.
func (k Key) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// MarshalText gives "[REDACTED]" to encoding/json and everything else that asks.
func (k Key) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue gives "[REDACTED]" to log/slog.
func (k Key) LogValue() slog.Value { return slog.StringValue(redacted) }

// NewID draws a random id.
func NewID() ID { return ID(randomBase62(IDLen)) }

// Generate makes a new key with the given prefix and id. The error is for a prefix
// that [ValidPrefix] refuses.
func Generate(prefix string, id ID) (Key, error) {
	return Format(prefix, id, randomBase62(randomLen))
}

// Format assembles a key from its parts and appends the checksum; random is the 26
// characters before it. It is the inverse of [Parse].
func Format(prefix string, id ID, random string) (Key, error) {
	if !ValidPrefix(prefix) {
		return Key{}, errPrefix
	}
	if len(id) != IDLen || !isBase62(string(id)) || len(random) != randomLen || !isBase62(random) {
		return Key{}, ErrMalformed
	}
	body := prefix + "_" + string(id) + "_" + random
	sum := checksum(body)
	return newKey(body + string(sum[:])), nil
}

// Parse reads an untrusted string. It returns [ErrMalformed] unless every part has its
// form and the checksum is right. Whether the prefix is one of ours is the caller's
// question (see [Prefixes]). It does no I/O and allocates nothing.
func Parse(s string) (Key, error) {
	if len(s) <= tailLen || len(s) > MaxLen {
		return Key{}, ErrMalformed
	}
	p := len(s) - tailLen
	prefix, id, secret := s[:p], s[p+1:p+1+IDLen], s[len(s)-SecretLen:]
	if s[p] != '_' || s[p+1+IDLen] != '_' || !ValidPrefix(prefix) || !isBase62(id) || !isBase62(secret) {
		return Key{}, ErrMalformed
	}
	if sum := checksum(s[:len(s)-checksumLen]); string(sum[:]) != s[len(s)-checksumLen:] {
		return Key{}, ErrMalformed
	}
	return newKey(s), nil
}

// ValidPrefix reports whether p may be a key prefix: 1 to 32 characters of a-z, 0-9 and
// '_', starting with a letter and not ending with '_'.
func ValidPrefix(p string) bool {
	if len(p) == 0 || len(p) > MaxPrefixLen || p[0] < 'a' || p[0] > 'z' || p[len(p)-1] == '_' {
		return false
	}
	for i := 0; i < len(p); i++ {
		c := p[i]
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_') {
			return false
		}
	}
	return true
}

// Prefixes is the set of prefixes that a deployment accepts: those it issues and those
// it has retired. Changing a prefix therefore kills no key.
type Prefixes map[string]bool

// NewPrefixes makes the set of a list.
func NewPrefixes(list []string) Prefixes {
	p := make(Prefixes, len(list))
	for _, prefix := range list {
		p[prefix] = true
	}
	return p
}

// Parse is the package's Parse for keys of this deployment: a foreign prefix is
// [ErrMalformed] too.
func (p Prefixes) Parse(s string) (Key, error) {
	k, err := Parse(s)
	if err != nil {
		return Key{}, err
	}
	if !p[k.Prefix()] {
		return Key{}, ErrMalformed
	}
	return k, nil
}

// checksum encodes the CRC-32 of s. 62^5 < 2^32 < 62^6, so six digits hold it.
func checksum(s string) (digits [checksumLen]byte) {
	// Read in place: a []byte(s) escapes into the CRC's assembly and would be allocated.
	sum := crc32.ChecksumIEEE(unsafe.Slice(unsafe.StringData(s), len(s)))
	for i := checksumLen - 1; i >= 0; i-- {
		digits[i] = alphabet[sum%62]
		sum /= 62
	}
	return digits
}

func isBase62(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !(c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z') {
			return false
		}
	}
	return true
}

// randomBase62 draws n characters uniformly: bytes of 248 (4×62) and above are drawn again.
// crypto/rand.Read never fails (Go 1.24: it ends the process instead).
func randomBase62(n int) string {
	out := make([]byte, 0, n)
	var buf [64]byte
	for len(out) < n {
		_, _ = rand.Read(buf[:])
		for _, b := range buf {
			if b < 248 && len(out) < n {
				out = append(out, alphabet[b%62])
			}
		}
	}
	return string(out)
}
