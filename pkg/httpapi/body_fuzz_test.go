package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/keys"
)

// Whatever is accepted means the same to a second reader: encoding/json takes it too, and
// finds the same values.
func FuzzDecodeIsUnambiguous(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"name":"a"}`, `{"name":"a","name":"b"}`, `{"Name":"a"}`, `{"name":null}`, `{"name":"a"}{}`,
		`{"name":"\ud800"}`, `{"permissions":["*",null]}`, `{"expirationDays":3e1,"expirationTs":null}`,
		`{"expirationTs":"2026-01-01T00:00:00+01:00"}`, `{"rateLimit":1e400}`, `{"isActive":true,"isPrimary":false}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var got, second createKey
		if err := decode(data, &got); err != nil {
			var p Problem
			if !errors.As(err, &p) || p.Status != 400 {
				t.Fatalf("decode(%q) = %v, want a 400", data, err)
			}
			return
		}
		if !utf8.Valid(data) {
			t.Fatalf("decode(%q) accepts what is not UTF-8", data)
		}
		dec := json.NewDecoder(bytes.NewReader(data))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&second); err != nil {
			t.Fatalf("decode(%q) accepts what encoding/json refuses: %v", data, err)
		}
		if d := cmp.Diff(got.input(), second.input()); d != "" {
			t.Fatalf("decode(%q) and encoding/json differ:\n%s", data, d)
		}
	})
}

func FuzzIfMatchIsReadOrRefused(f *testing.F) {
	for _, s := range []string{`"1"`, `W/"1"`, `*`, `"`, ``, `""`, `"1", "2"`, "\"\xff\""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		c := &call{Request: &http.Request{Header: http.Header{"If-Match": {value}}}}
		cond, err := c.conditions()
		switch {
		case err != nil:
			if p := FromError(err); p.Status != 400 {
				t.Fatalf("If-Match %q: %v", value, err)
			}
		case cond.IfMatch == 0 && value != "*":
			t.Fatalf("If-Match %q holds for every key", value)
		case cond.IfMatch > 0 && value != etag(&keys.Key{Version: cond.IfMatch}).Get("ETag"):
			t.Fatalf("If-Match %q is taken for version %d", value, cond.IfMatch)
		}
	})
}
