package secrets

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/keyreeve/keyreeve/infra/local/atomicfile"
	"github.com/keyreeve/keyreeve/pkg/apikey"
)

// pepperBytes is the entropy of a pepper: as much as the HMAC-SHA256 that it keys.
const pepperBytes = 32

// EnsurePeppers makes the file of a pepper ring with one random pepper unless it is there
// already, and checks what is there. A file that does not parse is an error and is left
// alone: with another pepper no key of the tables would work.
func EnsurePeppers(file string) error {
	text, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		pepper := make([]byte, pepperBytes)
		_, _ = rand.Read(pepper) // never fails (crypto/rand)
		text, err = json.Marshal(map[string]any{
			"current": "p1",
			"peppers": map[string]string{"p1": base64.RawURLEncoding.EncodeToString(pepper)},
		})
		if err != nil {
			return err
		}
		return atomicfile.Write(file, text)
	}
	if err != nil {
		return err
	}
	if _, err := apikey.ParseRing(text); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}
