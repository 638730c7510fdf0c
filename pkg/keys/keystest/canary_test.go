package keystest

import (
	"encoding/base64"
	"encoding/hex"
	"testing"

	"github.com/keyreeve/keyreeve/pkg/apikey"
)

func TestCanaryFindsTwelveCharactersAndNoFewer(t *testing.T) {
	k, err := apikey.Generate("kr_live", apikey.NewID())
	if err != nil {
		t.Fatal(err)
	}
	var c Canary
	c.Saw(k)
	text := k.Plaintext()
	secret := text[len(text)-apikey.SecretLen:]
	for name, tt := range map[string]struct {
		text string
		want bool
	}{
		"nothing":               {"", false},
		"prefix and id":         {text[:len(text)-apikey.SecretLen], false},
		"11 characters":         {"." + secret[3:14] + ".", false}, // a dot is in no secret, so they stay 11
		"the first 12":          {"x" + secret[:12], true},
		"12 in the middle":      {secret[9:21] + "y", true},
		"the last 12":           {secret[20:], true},
		"the whole key":         {"key=" + text, true},
		"hex":                   {hex.EncodeToString([]byte(text)), true},
		"base64, any alignment": {base64.StdEncoding.EncodeToString([]byte("a" + text)), true},
		"base64, next":          {base64.StdEncoding.EncodeToString([]byte("ab" + text)), true},
		"base64, url":           {base64.RawURLEncoding.EncodeToString([]byte("abc" + text)), true},
	} {
		if at, _ := c.Find([]byte(tt.text)); (at >= 0) != tt.want {
			t.Errorf("%s: found %t, want %t", name, at >= 0, tt.want)
		}
	}
}
