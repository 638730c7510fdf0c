package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
)

// pieceLen is how many characters of a key's secret part nobody may see anywhere.
const (
	pieceLen  = 12
	secretLen = 32
)

// canary remembers the secrets that a run hands out and everything that must not hold
// them.
type canary struct {
	mu     sync.Mutex
	pieces map[[pieceLen]byte]bool
	said   bytes.Buffer // answers that show no fresh key
	keys   int
}

// add takes a key's secret part, or a webhook's.
func (c *canary) add(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pieces == nil {
		c.pieces = map[[pieceLen]byte]bool{}
	}
	secret := key[len(key)-secretLen:]
	for i := range secretLen - pieceLen + 1 {
		c.pieces[[pieceLen]byte([]byte(secret[i:]))] = true
	}
	c.keys++
}

// heard takes an answer, unless it is one that shows a key, or a webhook's secret, to its
// owner.
func (c *canary) heard(a answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, member := range []string{`"apiKey"`, `"api_key"`, `"whsec_`} {
		if a.status < 300 && bytes.Contains(a.body, []byte(member)) {
			return
		}
	}
	c.said.Write(a.body)
	c.said.WriteByte('\n')
	for name, values := range a.header {
		c.said.WriteString(name + ": " + strings.Join(values, ", ") + "\n")
	}
}

// find counts the places of text that hold a piece of a secret.
func (c *canary) find(text []byte) (hits int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := 0; i+pieceLen <= len(text); i++ {
		if c.pieces[[pieceLen]byte(text[i:i+pieceLen])] {
			hits++
		}
	}
	return hits
}

// Places that may be empty: functions write only when something is wrong, and metrics only
// of what has happened; the spool holds what was not delivered in time. What passed through
// it is in the delivered lines.
var mayBeEmpty = []string{"the functions' log", "the metrics", "the spool"}

func (c *canary) answers() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bytes.Clone(c.said.Bytes())
}

// report searches places for pieces of keys and for whole peppers, and tells w what it has
// done; an error says where something was.
func (c *canary) report(w io.Writer, places map[string][]byte, ring []byte) error {
	var r struct{ Peppers map[string]string }
	if err := json.Unmarshal(ring, &r); err != nil || len(r.Peppers) == 0 {
		return fmt.Errorf("canary: the pepper ring could not be read: %v", err)
	}
	var errs []error
	searched := ""
	for _, place := range slices.Sorted(maps.Keys(places)) {
		text := places[place]
		if len(text) == 0 && !slices.Contains(mayBeEmpty, place) {
			errs = append(errs, fmt.Errorf("canary: %s is empty, so nothing was searched", place))
		}
		if n := c.find(text); n > 0 {
			errs = append(errs, fmt.Errorf("canary: %s holds %d pieces of secrets", place, n))
		}
		for _, pepper := range r.Peppers {
			if bytes.Contains(text, []byte(pepper)) {
				errs = append(errs, fmt.Errorf("canary: %s holds a pepper", place))
			}
		}
		searched += fmt.Sprintf(", %s (%d KB)", place, len(text)/1000)
	}
	fmt.Fprintf(w, "canary: %d keys%s: %d hits\n", c.keys, searched, len(errs))
	return errors.Join(errs...)
}

// A canary that does not sing is no canary.
func TestCanaryFindsAPieceOfASecret(t *testing.T) {
	c := &canary{}
	key := "kr_live_8fQ2mZ0a_abcdefghijklmnopqrstuvwxyzABCDEF"
	c.add(key)
	for text, want := range map[string]int{
		"a line with abcdefghijkl in it":  1,
		"a line with abcdefghijklm in it": 2,
		"uvwxyzABCDEF":                    1,
		"a line with abcdefghijk in it":   0,
		"kr_live_8fQ2mZ0a_":               0,
		key:                               21,
	} {
		if got := c.find([]byte(text)); got != want {
			t.Errorf("find(%q) = %d, want %d", text, got, want)
		}
	}
	ring := []byte(`{"current":"p1","peppers":{"p1":"pepper-of-the-test"}}`)
	if c.report(io.Discard, map[string][]byte{"x": []byte("nothing")}, ring) != nil {
		t.Error("report of a clean place is an error")
	}
	for _, text := range []string{"", "…uvwxyzABCDEF…", "pepper-of-the-test"} {
		if c.report(io.Discard, map[string][]byte{"x": []byte(text)}, ring) == nil {
			t.Errorf("report of %q is no error", text)
		}
	}
}
