package pepper

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
)

// PromoteAfter is how long a ring must have held a new pepper before it may become the
// current one. By then every process that is in use has fetched it, and none that still
// writes digests under the old pepper meets one that it cannot check.
const PromoteAfter = refreshEvery + 5*time.Minute

// Add returns the ring's JSON with one more pepper, drawn at random, which is not current
// yet, and that pepper's version: the newest one's number and one more (p1, p2, … p10).
func Add(text []byte) (changed []byte, version string, err error) {
	ring, err := apikey.ParseRing(text)
	if err != nil {
		return nil, "", err
	}
	if version, err = next(newest(ring)); err != nil {
		return nil, "", err
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		return nil, "", errors.New("pepper ring: not a JSON object")
	}
	value, err := json.Marshal(rand.Text() + rand.Text()) // 260 bits
	if err != nil {
		return nil, "", err
	}
	if nested, ok := members["peppers"]; ok {
		var peppers map[string]json.RawMessage
		if err := json.Unmarshal(nested, &peppers); err != nil {
			return nil, "", errors.New(`pepper ring: member "peppers" is not an object`)
		}
		peppers[version] = value
		if members["peppers"], err = json.Marshal(peppers); err != nil {
			return nil, "", err
		}
	} else {
		members[version] = value
	}
	changed, err = json.Marshal(members)
	return changed, version, err
}

// Promote returns the ring's JSON with its newest pepper as the current one, and that
// pepper's version. A ring whose newest pepper is current already comes back as it is.
func Promote(text []byte) (changed []byte, version string, err error) {
	ring, err := apikey.ParseRing(text)
	if err != nil {
		return nil, "", err
	}
	if version = newest(ring); version == ring.Current() {
		return text, version, nil
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		return nil, "", errors.New("pepper ring: not a JSON object")
	}
	if members["current"], err = json.Marshal(version); err != nil {
		return nil, "", err
	}
	changed, err = json.Marshal(members)
	return changed, version, err
}

func newest(r *apikey.Ring) (version string) {
	for _, v := range r.Versions() {
		if apikey.LaterVersion(version, v) {
			version = v
		}
	}
	return version
}

// next counts the digits at the end of a version up by one.
func next(version string) (string, error) {
	stem := strings.TrimRight(version, "0123456789")
	n, err := strconv.ParseInt(version[len(stem):], 10, 64)
	if err != nil {
		return "", fmt.Errorf("pepper ring: version %q does not end with a number to count up", version)
	}
	return stem + strconv.FormatInt(n+1, 10), nil
}
