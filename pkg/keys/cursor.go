package keys

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/keyreeve/keyreeve/pkg/apikey"
)

// A cursor is base64url without padding of
//
//	format (1 byte) ‖ n (1 byte) ‖ pepper version (n bytes) ‖ place ‖ MAC (32)
//
// place is where the page ended, in whatever form the list has for that. The MAC is keyed
// by a subkey of that pepper, and is over all that is before it and over what the list
// is of: its Scope, the account, the environments that the caller sees. So a cursor that
// was changed, or made for another list or a caller who sees other keys, is refused.
// It is not encrypted: what it holds was on the page it came with.
const (
	cursorFormat   = 1
	maxCursorChars = 2048
)

// Scope is the list that a cursor is of: one that goes by the same name, filters and order
// is the same list. How much of it is on a page is no part of it.
type Scope struct {
	List    string   // "keys", "requests", …
	Filters []string // everything else that decides which rows there are and in which order, always in the same places
}

// SealCursor is the cursor of a page of the caller's that ended at place.
func (s *Service) SealCursor(ctx context.Context, c Caller, of Scope, place []byte) (string, error) {
	ring, err := s.cfg.Peppers.Ring(ctx)
	if err != nil {
		return "", err
	}
	version := ring.Current()
	body := append([]byte{cursorFormat, byte(len(version))}, version...)
	body = append(body, place...)
	sum, err := cursorMAC(ring, version, &c, of, body)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(append(body, sum...)), nil
}

// OpenCursor is the place that a list goes on after; nil without a cursor: it starts at the
// beginning. ErrInvalidCursor if the cursor is not one of this list for this caller; a
// place that comes out is therefore one that SealCursor was given.
func (s *Service) OpenCursor(ctx context.Context, c Caller, of Scope, cursor string) (place []byte, err error) {
	if cursor == "" {
		return nil, nil
	}
	if len(cursor) > maxCursorChars {
		return nil, ErrInvalidCursor
	}
	// Of the texts that decode to the same bytes (line breaks, spare bits) only one is the
	// cursor.
	text, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || base64.RawURLEncoding.EncodeToString(text) != cursor {
		return nil, ErrInvalidCursor
	}
	if len(text) < 2 || text[0] != cursorFormat || len(text) < 2+int(text[1])+sha256.Size {
		return nil, ErrInvalidCursor
	}
	body, sum := text[:len(text)-sha256.Size], text[len(text)-sha256.Size:]
	version, place := string(body[2:2+int(text[1])]), body[2+int(text[1]):]
	ring, err := s.cfg.Peppers.With(ctx, version)
	if errors.Is(err, apikey.ErrUnknownPepper) {
		return nil, ErrInvalidCursor
	}
	if err != nil {
		return nil, err
	}
	want, err := cursorMAC(ring, version, &c, of, body)
	if err != nil {
		return nil, err
	}
	if !hmac.Equal(sum, want) {
		return nil, ErrInvalidCursor
	}
	return place, nil
}

func cursorMAC(ring *apikey.Ring, version string, c *Caller, of Scope, body []byte) ([]byte, error) {
	subkey, err := ring.Subkey(version, apikey.PurposeCursor, sha256.Size)
	if err != nil {
		return nil, err
	}
	parts := []string{of.List, c.AccountID}
	for _, e := range Environments() { // as many parts for every caller
		sees := ""
		if c.Sees(e) {
			sees = string(e)
		}
		parts = append(parts, sees)
	}
	return mac(subkey, slices.Concat(parts, of.Filters, []string{string(body)})...), nil
}

// scope is the list of keys that q asks for.
func (q *Query) scope() Scope {
	sort := q.Sort
	if sort == "" {
		sort = "number"
	}
	return Scope{"keys", []string{string(q.Environment), string(q.Status), q.Permission, q.Customer, q.Text, sort}}
}

// bytes is a key's place as its cursor holds it: value (8) ‖ number (8) ‖ text.
func (p place) bytes() []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(p.value))
	return append(binary.BigEndian.AppendUint64(b, uint64(p.number)), p.text...)
}

// openPlace opens the cursor of q; nil: the list starts at the beginning.
func (s *Service) openPlace(ctx context.Context, c *Caller, q *Query) (*place, error) {
	b, err := s.OpenCursor(ctx, *c, q.scope(), q.Cursor)
	if err != nil || b == nil {
		return nil, err
	}
	return &place{
		value:  int64(binary.BigEndian.Uint64(b)),
		number: int64(binary.BigEndian.Uint64(b[8:])),
		text:   string(b[16:]),
	}, nil
}
