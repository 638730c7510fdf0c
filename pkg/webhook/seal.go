package webhook

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"

	"github.com/keyreeve/keyreeve/pkg/apikey"
)

// The signing secret must be had in plain to sign with, so unlike a key's it cannot be kept
// as a digest. It is sealed:
//
//	box   nonce (12, random) ‖ AES-256-GCM(S, secret), associated data: account ‖ endpoint id
//	S     HKDF(pepper; keyreeve/webhook/v1), 32 bytes
//
// each part of the associated data with its length in front. The table, its stream and its
// backups therefore sign nothing without the pepper, which is in Secrets Manager; and a box
// that somebody moves to another endpoint does not open. A random nonce is safe for 2^32
// boxes under one pepper (NIST SP 800-38D section 8.3), and there is one per webhook.

// signingSecret is a webhook's secret in plain. It prints redacted.
type signingSecret struct {
	// bytes is a func because that is what fmt cannot look into.
	bytes func() []byte
}

// secretLen is within the 24 to 64 bytes that Standard Webhooks wants.
const secretLen = 32

// secretPrefix tells people, and scanners for leaked secrets, what they have found.
const secretPrefix = "whsec_"

func newSecret() signingSecret {
	b := make([]byte, secretLen)
	_, _ = rand.Read(b) // never fails: it ends the process instead (Go 1.24)
	return secretOf(b)
}

func secretOf(b []byte) signingSecret { return signingSecret{func() []byte { return b }} }

// plaintext is the secret as its owner gets it, once.
func (s signingSecret) plaintext() string {
	return secretPrefix + base64.StdEncoding.EncodeToString(s.bytes())
}

// Format writes no part of the secret, whatever the verb.
func (s signingSecret) Format(f fmt.State, _ rune) {
	_, _ = f.Write([]byte(secretPrefix + "[redacted]"))
}

// LogValue gives the same to log/slog.
func (s signingSecret) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(s)) }

var errBox = errors.New("the webhook's secret does not open")

// seal puts a secret into e, under the ring's current pepper.
func seal(ring *apikey.Ring, e *Endpoint, s signingSecret) error {
	aead, err := cipherOf(ring, ring.Current())
	if err != nil {
		return err
	}
	nonce := make([]byte, aead.NonceSize())
	_, _ = rand.Read(nonce)
	e.Pepper, e.Box = ring.Current(), aead.Seal(nonce, nonce, s.bytes(), e.associated())
	return nil
}

// open is the inverse of seal: apikey.ErrUnknownPepper if the ring lacks the pepper, errBox
// for a box that is not e's.
func open(ring *apikey.Ring, e *Endpoint) (signingSecret, error) {
	aead, err := cipherOf(ring, e.Pepper)
	if err != nil {
		return signingSecret{}, err
	}
	if len(e.Box) < aead.NonceSize() {
		return signingSecret{}, errBox
	}
	b, err := aead.Open(nil, e.Box[:aead.NonceSize()], e.Box[aead.NonceSize():], e.associated())
	if err != nil {
		return signingSecret{}, errBox
	}
	return secretOf(b), nil
}

func cipherOf(ring *apikey.Ring, version string) (cipher.AEAD, error) {
	key, err := ring.Subkey(version, apikey.PurposeWebhook, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func (e *Endpoint) associated() (out []byte) {
	for _, part := range []string{e.AccountID, e.ID} {
		out = binary.BigEndian.AppendUint32(out, uint32(len(part)))
		out = append(out, part...)
	}
	return out
}
