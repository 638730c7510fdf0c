package gateway_test

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/infra/local/gateway"
	"github.com/keyreeve/keyreeve/infra/local/lambda"
)

// raw sends a request and takes the answer as it came.
func (a *api) raw(acceptEncoding ...string) (*http.Response, []byte) {
	a.t.Helper()
	req, err := http.NewRequestWithContext(a.t.Context(), "GET", a.url+"/open", nil)
	if err != nil {
		a.t.Fatal(err)
	}
	req.Header["Accept-Encoding"] = acceptEncoding // also with no value, where Go's client would name gzip
	res, err := (&http.Transport{DisableCompression: true}).RoundTrip(req)
	if err != nil {
		a.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	return res, body
}

func unpacked(t *testing.T, coding string, body []byte) string {
	t.Helper()
	var r io.Reader = bytes.NewReader(body)
	var err error
	switch coding {
	case "gzip":
		r, err = gzip.NewReader(r)
	case "deflate":
		r, err = zlib.NewReader(r)
	}
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestAnswersAreCompressedIfTheClientSaysHow(t *testing.T) {
	a := newAPI(t, func(o *gateway.Options) { o.CompressFrom = 1000 })
	text := strings.Repeat("é", 500)
	a.things = func(context.Context) ([]byte, error) {
		return json.Marshal(map[string]any{"statusCode": 200, "body": text, "headers": map[string]string{"ETag": `"1"`}})
	}
	for accept, want := range map[string]string{
		"gzip": "gzip", "GZIP": "gzip", "gzip, deflate, br, zstd": "gzip", "deflate": "deflate", "deflate, gzip": "deflate",
		"gzip;q=0.5, deflate": "deflate", "deflate;q=0.5,gzip;q=1.0": "gzip", "br;q=0.1, gzip;q=0.2": "gzip", "gzip;q=1.0, identity;q=0.5, *;q=0": "gzip",
		// The first of what the client likes best decides, and it must be one that there is.
		"br, gzip": "", "br;q=1.0, gzip;q=0.8": "", "zstd": "", "identity": "", "*": "", "": "", "gzip;q=0": "", "gzip;q=x": "", "identity, gzip": "",
	} {
		res, body := a.raw(accept)
		if got := res.Header.Get("Content-Encoding"); got != want || unpacked(t, got, body) != text {
			t.Errorf("Accept-Encoding %q: Content-Encoding %q with %d bytes, want %q and the text", accept, got, len(body), want)
		}
		if length, _ := strconv.Atoi(res.Header.Get("Content-Length")); length != len(body) || res.Header.Get("ETag") != `"1"` {
			t.Errorf("Accept-Encoding %q: Content-Length %d for %d bytes, ETag %s", accept, length, len(body), res.Header.Get("ETag"))
		}
	}
	if res, body := a.raw(); res.Header.Get("Content-Encoding") != "" || string(body) != text {
		t.Errorf("without Accept-Encoding: Content-Encoding %q", res.Header.Get("Content-Encoding"))
	}
	if res, _ := a.raw("br;q=0.5", "deflate"); res.Header.Get("Content-Encoding") != "deflate" {
		t.Errorf("with two headers: Content-Encoding %q, want deflate", res.Header.Get("Content-Encoding"))
	}
}

func TestWhatIsSmallOrCompressedAlreadyIsSentAsItIs(t *testing.T) {
	for name, c := range map[string]struct {
		from     int
		body     string
		base64   bool
		encoding string // that the function names
		want     string
	}{
		"one byte too small":      {1000, strings.Repeat("x", 999), false, "", ""},
		"just large enough":       {1000, strings.Repeat("x", 1000), false, "", "gzip"},
		"compressed already":      {1000, strings.Repeat("x", 2000), false, "br", "br"},
		"named as not compressed": {1000, strings.Repeat("x", 2000), false, "identity", "identity"},
		"bytes":                   {1000, strings.Repeat("\xff", 1000), true, "", "gzip"},
		"bytes, too few":          {1000, strings.Repeat("\xff", 999), true, "", ""}, // more than 1,000 in base64
		"compressing is off":      {0, strings.Repeat("x", 100_000), false, "", ""},
		"nothing":                 {1, "", false, "", ""},
	} {
		a := newAPI(t, func(o *gateway.Options) { o.CompressFrom, o.BinaryMediaTypes = c.from, []string{"*/*"} })
		a.things = func(context.Context) ([]byte, error) {
			out := map[string]any{"statusCode": 200, "body": c.body, "isBase64Encoded": c.base64, "headers": map[string]string{}}
			if c.base64 {
				out["body"] = base64.StdEncoding.EncodeToString([]byte(c.body))
			}
			if c.encoding != "" {
				out["headers"] = map[string]string{"content-encoding": c.encoding}
			}
			return json.Marshal(out)
		}
		res, body := a.raw("gzip")
		coding := res.Header.Get("Content-Encoding")
		if coding != c.want {
			t.Errorf("%s: Content-Encoding %q, want %q", name, coding, c.want)
		}
		if c.encoding != "" {
			coding = ""
		}
		if got := unpacked(t, coding, body); got != c.body {
			t.Errorf("%s: %d bytes, want the %d of the function", name, len(got), len(c.body))
		}
	}
	a := newAPI(t, func(o *gateway.Options) { o.CompressFrom = 1 })
	a.things = func(context.Context) ([]byte, error) { return nil, lambda.ErrRequestTooLarge }
	if res, body := a.raw("gzip"); res.StatusCode != 413 || res.Header.Get("Content-Encoding") != "" || !json.Valid(body) {
		t.Errorf("the gateway's own answer: %d, Content-Encoding %q", res.StatusCode, res.Header.Get("Content-Encoding"))
	}
}
