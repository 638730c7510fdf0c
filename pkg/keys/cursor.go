package keys

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"

	"github.com/keyreeve/keyreeve/pkg/apikey"
)

// A cursor is base64url without padding of
//
//	format (1 byte) ‖ n (1 byte) ‖ pepper version (n bytes) ‖ value (8) ‖ number (8) ‖ text ‖ MAC (32)
//
// value, number and text are the place of the last key that was listed. The MAC is keyed
// by a subkey of that pepper, and is over all that is before it and over what the list
// is of: account, the environments that the caller sees, filter and order. So a cursor
// that was changed, or made for another list or a caller who sees other keys, is refused.
// It is not encrypted: what it holds was on the page it came with.
const (
	cursorFormat   = 1
	maxCursorChars = 2048
)

func (s *Service) sealCursor(ctx context.Context, c *Caller, q *Query, p place) (string, error) {
	ring, err := s.cfg.Peppers.Ring(ctx)
	if err != nil {
		return "", err
	}
	version := ring.Current()
	body := append([]byte{cursorFormat, byte(len(version))}, version...)
	body = binary.BigEndian.AppendUint64(body, uint64(p.value))
	body = binary.BigEndian.AppendUint64(body, uint64(p.number))
	body = append(body, p.text...)
	sum, err := cursorMAC(ring, version, c, q, body)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(append(body, sum...)), nil
}

// openCursor is the place that a list goes on after; nil: it starts at the beginning.
func (s *Service) openCursor(ctx context.Context, c *Caller, q *Query) (*place, error) {
	if q.Cursor == "" {
		return nil, nil
	}
	if len(q.Cursor) > maxCursorChars {
		return nil, ErrInvalidCursor
	}
	// Of the texts that decode to the same bytes (line breaks, spare bits) only one is the
	// cursor.
	text, err := base64.RawURLEncoding.DecodeString(q.Cursor)
	if err != nil || base64.RawURLEncoding.EncodeToString(text) != q.Cursor {
		return nil, ErrInvalidCursor
	}
	if len(text) < 2 || text[0] != cursorFormat || len(text) < 2+int(text[1])+16+sha256.Size {
		return nil, ErrInvalidCursor
	}
	body, sum := text[:len(text)-sha256.Size], text[len(text)-sha256.Size:]
	version, rest := string(body[2:2+int(text[1])]), body[2+int(text[1]):]
	ring, err := s.cfg.Peppers.With(ctx, version)
	if errors.Is(err, apikey.ErrUnknownPepper) {
		return nil, ErrInvalidCursor
	}
	if err != nil {
		return nil, err
	}
	want, err := cursorMAC(ring, version, c, q, body)
	if err != nil {
		return nil, err
	}
	if !hmac.Equal(sum, want) {
		return nil, ErrInvalidCursor
	}
	return &place{
		value:  int64(binary.BigEndian.Uint64(rest)),
		number: int64(binary.BigEndian.Uint64(rest[8:])),
		text:   string(rest[16:]),
	}, nil
}

func cursorMAC(ring *apikey.Ring, version string, c *Caller, q *Query, body []byte) ([]byte, error) {
	subkey, err := ring.Subkey(version, apikey.PurposeCursor, sha256.Size)
	if err != nil {
		return nil, err
	}
	sees := string(c.Environment)
	if c.reaches(Development) && c.reaches(Staging) {
		sees = "all"
	}
	sort := q.Sort
	if sort == "" {
		sort = "number"
	}
	return mac(subkey, c.AccountID, sees, string(q.Environment), string(q.Status), q.Text, sort, string(body)), nil
}
