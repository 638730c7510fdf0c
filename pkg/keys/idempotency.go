package keys

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
)

// Retry-safe create and regenerate.
//
// A create whose answer is lost leaves its caller with a key that exists and a secret
// that nobody has. So a request may carry an Idempotency-Key, and then the same caller's
// retry gets the same answer, secret included (draft-ietf-httpapi-idempotency-key-header).
// Deriving the secret from the request would be shorter, but then pepper and request
// would give the secret away for ever. It stays random, and the answer is kept, sealed so
// that only the caller who is asking again can have it opened:
//
//	name         HMAC(S, "name" ‖ account ‖ caller's key id ‖ route ‖ Idempotency-Key)
//	fingerprint  HMAC(S, "request" ‖ body)
//	box          AES-256-GCM(K, answer), associated data: name ‖ new key's id ‖ generation
//	S            HKDF(pepper; purpose), 32 bytes
//	K            HKDF(pepper ‖ caller's plaintext key ‖ Idempotency-Key; salt, purpose), 32 bytes
//
// with a salt of 32 random bytes per record, every part with its length in front, and the
// record in the transaction that makes the key: there is never one without the other.
//
// # What an attacker would need
//
// To open a box, all four of: the record (table, stream, backup or snapshot), the pepper
// (Secrets Manager), the caller's key in plaintext, and the Idempotency-Key. The caller's
// key is 154 random bits that exist nowhere on the server: what is stored of it is an HMAC
// (package apikey), and K cannot be computed from that. Hence:
//
//   - Table, pepper and every backup together open nothing. They confirm guesses of an
//     Idempotency-Key or a body (the name and the fingerprint are MACs over those), no
//     more; neither is a secret.
//   - Another caller, of the same account or not, gets another name: a create of its own.
//     Giving it the record would not help it: its own key goes into K.
//   - Who has the caller's key, live, can ask for the answer within 24 h, but could as
//     well make itself a key with the same rights. Once that key is revoked or
//     regenerated, the service refuses; the plaintext opens the box only for someone who
//     has the record and the pepper too, and only as long as backups keep the record.
//   - Who can write the table may swap records or point one at another key. The
//     associated data makes that a box that does not open.
//   - Process memory sees all four while the request runs, as it sees the secret itself.
//
// # What a retry gets
//
// The caller is read anew and must be live, allowed to manage keys, and still cover the
// key: a caller that was narrowed does not get a secret that holds more than it. The key
// must be live in the generation that the box holds. If it is not, or the caller's own
// key was regenerated so that the box does not open, it is ErrIdempotencyUnusable and
// never a second create. Another body is ErrIdempotencyMismatch. After 24 hours, by the
// record's own clock and not DynamoDB's late TTL, the record counts as absent.
//
// # Why there is never a second create
//
// Every attempt reads, in this order: the item that every competing request must write
// (the account for a create, the key for a regenerate), then the record. If an equal
// request commits before the first read, the record is found; if after it, the version
// that was read is gone and this attempt's commit fails, and the next attempt finds the
// record. The condition on the record itself says the same once more.
//
// That holds through a change of pepper too, although the name depends on it: a record is
// written under the current pepper and looked up under every pepper of the ring. What it
// takes is that a new pepper reaches every process before it becomes current, and that an
// old one stays for a day after: that is how peppers are rotated here.
type Idempotency struct {
	Key     string // the Idempotency-Key header, 1–255 visible ASCII characters; empty: not retry-safe
	Route   string // method and resource path, with path parameters filled in
	Request []byte // the request's body: the same key with another body is ErrIdempotencyMismatch
}

const (
	idempotencyLife   = 24 * time.Hour
	maxIdempotencyKey = 255
)

// sealedAnswer is what a box holds.
type sealedAnswer struct {
	Plaintext string
	Key       Key // as it went out: without digests
}

// validate checks the header's form, and that there is a credential to seal to.
func (i *Idempotency) validate(c *Caller) error {
	if len(i.Key) > maxIdempotencyKey || slices.ContainsFunc([]byte(i.Key), func(b byte) bool { return b < '!' || b > '~' }) {
		return invalid("Idempotency-Key", "must be 1 to 255 visible ASCII characters")
	}
	if c.Credential.IsZero() {
		return errors.New("a retry-safe request without its caller's credential")
	}
	return nil
}

// replay looks for the answer to an earlier, equal request; nil: there is none. current
// is the key as it is now, whose meter is to be settled again. The caller of replay has
// read before whatever such a request must write.
func (s *Service) replay(ctx context.Context, c *Caller, idem Idempotency, now time.Time) (answer *Issued, current []Key, err error) {
	if idem.Key == "" {
		return nil, nil, nil
	}
	if err := idem.validate(c); err != nil {
		return nil, nil, err
	}
	ring, err := s.cfg.Peppers.Ring(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, version := range ring.Versions() {
		name, fingerprint, err := idem.macs(ring, version, c)
		if err != nil {
			return nil, nil, err
		}
		record, err := s.cfg.Store.Idempotent(ctx, name)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		if !record.ExpiresAt.After(now) {
			continue
		}
		if subtle.ConstantTimeCompare(record.Fingerprint, fingerprint) != 1 {
			return nil, nil, ErrIdempotencyMismatch
		}
		return s.open(ctx, c, idem, ring, &record, now)
	}
	return nil, nil, nil
}

// open gives the answer in a record to the caller, if both still are what they were.
func (s *Service) open(ctx context.Context, c *Caller, idem Idempotency, ring *apikey.Ring, r *IdempotencyRecord, now time.Time) (*Issued, []Key, error) {
	if err := s.prove(ctx, c, permissionWrite); err != nil {
		return nil, nil, err
	}
	k, err := s.cfg.Store.Key(ctx, r.KeyID)
	if errors.Is(err, ErrNotFound) || err == nil && !c.sees(&k) {
		return nil, nil, ErrIdempotencyUnusable
	}
	if err != nil {
		return nil, nil, err
	}
	live, _ := k.GenerationLive(r.Generation, now)
	aead, err := idem.aead(ring, r.Pepper, c, r.Salt)
	if errors.Is(err, apikey.ErrUnknownPepper) || k.Deleted || k.ExpiredAt(now) || !live {
		return nil, nil, ErrIdempotencyUnusable
	}
	if err != nil {
		return nil, nil, err
	}
	if len(r.Box) < aead.NonceSize() {
		return nil, nil, ErrIdempotencyUnusable
	}
	text, err := aead.Open(nil, r.Box[:aead.NonceSize()], r.Box[aead.NonceSize():], r.associated())
	if err != nil {
		return nil, nil, ErrIdempotencyUnusable
	}
	var sealed sealedAnswer
	if err := json.Unmarshal(text, &sealed); err != nil {
		return nil, nil, ErrIdempotencyUnusable
	}
	plaintext, err := apikey.Parse(sealed.Plaintext)
	if err != nil || sealed.Key.Active && !k.Active {
		return nil, nil, ErrIdempotencyUnusable
	}
	if err := c.covers(&k); err != nil {
		return nil, nil, err
	}
	return &Issued{Key: sealed.Key, Plaintext: plaintext, Replayed: true}, []Key{k}, nil
}

// seal makes the record of an answer; nil if the request is not retry-safe.
func (s *Service) seal(ctx context.Context, c *Caller, idem Idempotency, answer Issued, now time.Time) (*IdempotencyRecord, error) {
	if idem.Key == "" {
		return nil, nil
	}
	ring, err := s.cfg.Peppers.Ring(ctx)
	if err != nil {
		return nil, err
	}
	r := &IdempotencyRecord{
		KeyID: answer.Key.ID, Generation: answer.Key.Generation, Pepper: ring.Current(), Salt: make([]byte, 32),
		CreatedAt: now, ExpiresAt: now.Add(idempotencyLife),
	}
	if r.Name, r.Fingerprint, err = idem.macs(ring, r.Pepper, c); err != nil {
		return nil, err
	}
	_, _ = rand.Read(r.Salt) // never fails: it ends the process instead (Go 1.24)
	aead, err := idem.aead(ring, r.Pepper, c, r.Salt)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(sealedAnswer{Plaintext: answer.Plaintext.Plaintext(), Key: answer.Key})
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, aead.NonceSize())
	_, _ = rand.Read(nonce)
	r.Box = aead.Seal(nonce, nonce, text, r.associated())
	clear(text)
	return r, nil
}

// macs are a record's name and fingerprint under the pepper of that version.
func (i *Idempotency) macs(ring *apikey.Ring, version string, c *Caller) (name string, fingerprint []byte, err error) {
	subkey, err := ring.Subkey(version, apikey.PurposeIdempotency, sha256.Size)
	if err != nil {
		return "", nil, err
	}
	n := mac(subkey, "name", c.AccountID, string(c.KeyID), i.Route, i.Key)
	return base64.RawURLEncoding.EncodeToString(n), mac(subkey, "request", string(i.Request)), nil
}

// aead is the cipher of a record.
func (i *Idempotency) aead(ring *apikey.Ring, version string, c *Caller, salt []byte) (cipher.AEAD, error) {
	key, err := ring.DeriveWith(version, []string{c.Credential.Plaintext(), i.Key}, salt, apikey.PurposeIdempotency, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// associated is what a box is bound to.
func (r *IdempotencyRecord) associated() []byte {
	return binary.BigEndian.AppendUint64(joined(r.Name, string(r.KeyID)), uint64(r.Generation))
}

// mac is HMAC-SHA256 over parts.
func mac(key []byte, parts ...string) []byte {
	h := hmac.New(sha256.New, key)
	_, _ = h.Write(joined(parts...))
	return h.Sum(nil)
}

// joined puts each part's length in front of it, so that no two lists give the same bytes.
func joined(parts ...string) (out []byte) {
	for _, p := range parts {
		out = binary.BigEndian.AppendUint32(out, uint32(len(p)))
		out = append(out, p...)
	}
	return out
}
