package keystest

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"sync"
	"testing"

	"github.com/keyreeve/keyreeve/pkg/apikey"
)

// canaryLen is how many characters of a secret in a row count as a leak: 12 of 62 are 71
// bits, so no chance match.
const canaryLen = 12

// Canary remembers secrets, and finds pieces of them where none may be. It is safe for
// concurrent use.
type Canary struct {
	mu     sync.Mutex
	pieces map[string]apikey.ID // every 12 characters in a row, plain, in hex and in base64
}

// Saw remembers the secret part of a key.
func (c *Canary) Saw(k apikey.Key) {
	text := k.Plaintext()
	if text == "" {
		return
	}
	secret := text[len(text)-apikey.SecretLen:]
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pieces == nil {
		c.pieces = map[string]apikey.ID{}
	}
	if _, known := c.pieces[secret[:canaryLen]]; known {
		return
	}
	for i := range len(secret) - canaryLen + 1 {
		piece := []byte(secret[i : i+canaryLen])
		c.pieces[string(piece)] = k.ID()
		c.pieces[hex.EncodeToString(piece)] = k.ID()
		// 12 bytes are 16 characters of base64. In a longer text one of three pieces in a
		// row starts where base64 starts a group, and shows as it does alone.
		c.pieces[base64.StdEncoding.EncodeToString(piece)] = k.ID()
	}
}

// Secrets is how many pieces the canary looks for.
func (c *Canary) Secrets() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.pieces) / (3 * (apikey.SecretLen - canaryLen + 1))
}

// Find is the offset of the first piece of a secret in text, and the id of its key; -1:
// there is none.
func (c *Canary) Find(text []byte) (offset int, id apikey.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	run := 0 // characters in a row that a piece may have, up to here
	for i, b := range text {
		if !isBase64(b) {
			run = 0
			continue
		}
		run++
		for _, n := range []int{canaryLen, canaryLen / 3 * 4, canaryLen * 2} {
			if run >= n {
				if id, ok := c.pieces[string(text[i+1-n:i+1])]; ok {
					return i + 1 - n, id
				}
			}
		}
	}
	return -1, ""
}

func isBase64(b byte) bool {
	return b >= '0' && b <= '9' || b >= 'A' && b <= 'Z' || b >= 'a' && b <= 'z' || b == '+' || b == '/'
}

// Check fails the test if text holds a piece of a secret. It says where and of which key,
// and shows nothing of it.
func (c *Canary) Check(t testing.TB, what string, text []byte) {
	t.Helper()
	if at, id := c.Find(text); at >= 0 {
		t.Errorf("%s: a piece of the secret of key %s at byte %d, line %d", what, id, at, 1+bytes.Count(text[:at], []byte("\n")))
	}
}
