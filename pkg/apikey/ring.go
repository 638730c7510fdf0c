package apikey

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"log/slog"
	"slices"
	"sync"
)

// Digest is what is stored of a key: HMAC-SHA256 of the whole key string under the
// digest subkey of one pepper.
type Digest [sha256.Size]byte

// Equal compares in constant time.
func (d Digest) Equal(e Digest) bool { return subtle.ConstantTimeCompare(d[:], e[:]) == 1 }

// Purpose names what a subkey is for. Each purpose has a subkey of its own, so that
// nothing computed for one says anything about another.
type Purpose string

// The purposes in use. The strings are part of the stored format: never change one.
const (
	PurposeDigest      Purpose = "keyreeve/digest/v1"
	PurposeCursor      Purpose = "keyreeve/cursor/v1"
	PurposeIdempotency Purpose = "keyreeve/idempotency/v1"
	PurposeWebhook     Purpose = "keyreeve/webhook/v1"
)

// ErrUnknownPepper says that the ring does not hold the pepper version asked for: the
// ring is older than the record. Reload it once; if it stays unknown, that is a fault of
// the installation (500), never of the credential (401).
var ErrUnknownPepper = errors.New("unknown pepper version")

// Ring is the versioned set of peppers. It is immutable and safe for concurrent use.
// In Secrets Manager it is JSON:
//
//	{"current":"p2","peppers":{"p1":"<32 or more characters>","p2":"…"}}
//
// or, as CloudFormation's GenerateSecretString can make it, with each pepper a member of
// its own: {"current":"p1","p1":"…"}. New digests use current. Old ones stay until no key
// needs them.
//
// A version is 1 to 16 of A-Z, a-z, 0-9, '.', '_' and '-': too short for a pepper, so
// that the errors may name versions even when somebody swapped the two.
type Ring struct {
	current string
	peppers map[string]*pepper
}

type pepper struct {
	// secret returns a new copy. It is a func because that is what fmt cannot look into:
	// it follows pointers for some verbs, and calls no method on an unexported field.
	secret func() []byte
	macs   sync.Pool // of *mac, keyed with the digest subkey: re-used, so that a digest allocates nothing
}

type mac struct {
	hash.Hash
	out Digest
}

const (
	minPepperLen  = 32 // 32 characters of GenerateSecretString carry 190 bits
	maxVersionLen = 16
)

// ParseRing reads the JSON form. It refuses a version that is given twice: whichever won,
// the digests made with the other would fail. Errors name the version at fault, never a
// value.
func ParseRing(text []byte) (*Ring, error) {
	var current *string
	peppers := map[string]string{}
	add := func(version string, raw json.RawMessage) error {
		if !validVersion(version) {
			return errVersion
		}
		if _, twice := peppers[version]; twice {
			return fmt.Errorf("pepper ring: version %q is given twice", version)
		}
		var p string
		if err := json.Unmarshal(raw, &p); err != nil {
			return fmt.Errorf("pepper ring: pepper %q is not a string", version)
		}
		peppers[version] = p
		return nil
	}
	err := members(text, func(name string, raw json.RawMessage) error {
		switch {
		case name == "current" && current != nil:
			return errors.New("pepper ring: current is given twice")
		case name == "current":
			if err := json.Unmarshal(raw, &current); err != nil {
				return errors.New("pepper ring: current is not a string")
			}
			return nil
		case name == "peppers":
			return members(raw, add)
		}
		return add(name, raw)
	})
	switch {
	case err != nil:
		return nil, err
	case current == nil:
		return nil, errors.New("pepper ring: current is missing")
	}
	return NewRing(*current, peppers)
}

// members calls visit for each member of a JSON object, in order; encoding/json would
// keep the last of two equal names and say nothing.
func members(text []byte, visit func(name string, value json.RawMessage) error) error {
	notObject := errors.New("pepper ring: not a JSON object")
	if !json.Valid(text) {
		return notObject
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return notObject
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return notObject
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return notObject
		}
		if err := visit(name.(string), value); err != nil {
			return err
		}
	}
	return nil
}

var errVersion = errors.New("pepper ring: a version is 1 to 16 of A-Z, a-z, 0-9, '.', '_' and '-'")

func validVersion(v string) bool {
	for i := 0; i < len(v); i++ {
		if c := v[i]; c != '.' && c != '_' && c != '-' && !isBase62(v[i:i+1]) {
			return false
		}
	}
	return v != "" && len(v) <= maxVersionLen
}

// LaterVersion reports whether version b of a pepper was made after version a. Versions are
// named in rising order, shorter names first: p1 … p9, p10, or dates.
func LaterVersion(a, b string) bool { return len(a) < len(b) || len(a) == len(b) && a < b }

// NewRing makes a ring of peppers by version. It copies its input.
func NewRing(current string, peppers map[string]string) (*Ring, error) {
	r := &Ring{current: current, peppers: make(map[string]*pepper, len(peppers))}
	for version, p := range peppers {
		if !validVersion(version) {
			return nil, errVersion
		}
		if len(p) < minPepperLen {
			return nil, fmt.Errorf("pepper ring: pepper %q is shorter than %d characters", version, minPepperLen)
		}
		sub, err := hkdf.Key(sha256.New, []byte(p), nil, string(PurposeDigest), sha256.Size)
		if err != nil {
			return nil, fmt.Errorf("pepper ring: deriving a subkey: %w", err)
		}
		pp := &pepper{secret: func() []byte { return []byte(p) }}
		pp.macs.New = func() any { return &mac{Hash: hmac.New(sha256.New, sub)} }
		r.peppers[version] = pp
	}
	if r.peppers[current] == nil {
		return nil, errors.New("pepper ring: current names no pepper of the ring")
	}
	return r, nil
}

// Current is the version that new digests use.
func (r *Ring) Current() string { return r.current }

// Has reports whether the ring holds that version.
func (r *Ring) Has(version string) bool { return r.peppers[version] != nil }

// Versions lists the versions in the ring, sorted.
func (r *Ring) Versions() []string {
	out := make([]string, 0, len(r.peppers))
	for v := range r.peppers {
		out = append(out, v)
	}
	slices.Sort(out)
	return out
}

// Digest computes the digest of k under the pepper of that version, or
// [ErrUnknownPepper]. It allocates nothing.
func (r *Ring) Digest(version string, k Key) (Digest, error) {
	p := r.peppers[version]
	if p == nil {
		return Digest{}, ErrUnknownPepper
	}
	m := p.macs.Get().(*mac)
	m.Reset()
	_, _ = m.Write(k.bytes())
	m.Sum(m.out[:0])
	out := m.out
	p.macs.Put(m)
	return out, nil
}

// Subkey derives n bytes for a purpose from the pepper of that version by HKDF-SHA256
// (RFC 5869) without salt, the purpose as info. The subkey of PurposeDigest is not to be
// had: it stays behind [Ring.Digest].
func (r *Ring) Subkey(version string, purpose Purpose, n int) ([]byte, error) {
	return r.derive(version, nil, nil, purpose, n)
}

// DeriveWith is Subkey with more secret input after the pepper and a random salt, for
// what must not be computable from the pepper alone. The parts of more are joined with
// their lengths in front, so that no two lists of parts give the same input.
func (r *Ring) DeriveWith(version string, more []string, salt []byte, purpose Purpose, n int) ([]byte, error) {
	var ikm []byte
	for _, m := range more {
		ikm = append(ikm, byte(len(m)>>24), byte(len(m)>>16), byte(len(m)>>8), byte(len(m)))
		ikm = append(ikm, m...)
	}
	return r.derive(version, ikm, salt, purpose, n)
}

func (r *Ring) derive(version string, more, salt []byte, purpose Purpose, n int) ([]byte, error) {
	p := r.peppers[version]
	switch {
	case p == nil:
		return nil, ErrUnknownPepper
	case purpose == PurposeDigest:
		return nil, errors.New("the digest subkey stays in the ring")
	}
	return hkdf.Key(sha256.New, append(p.secret(), more...), salt, string(purpose), n)
}

// String names the versions and no pepper.
func (r *Ring) String() string {
	return fmt.Sprintf("pepper ring %v, current %s", r.Versions(), r.current)
}

// GoString is String, for %#v.
func (r *Ring) GoString() string { return r.String() }

// Format writes String whatever the verb.
func (r *Ring) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(r.String())) }

// LogValue gives String to log/slog.
func (r *Ring) LogValue() slog.Value { return slog.StringValue(r.String()) }
