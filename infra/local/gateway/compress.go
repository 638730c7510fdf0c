package gateway

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// compress compresses what an integration has answered, under API Gateway's conditions
// (https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-receive-response-with-compressed-payload.html):
// the API has a smallest size, the answer is no smaller and has no Content-Encoding, and
// the client names a coding that there is. Gateway responses stay as they are; that page is
// about integrations.
func (g *Gateway) compress(c *call, a *answer) {
	if g.o.CompressFrom <= 0 || len(a.body) < g.o.CompressFrom || a.header.Get("Content-Encoding") != "" {
		return
	}
	var out bytes.Buffer
	var w io.WriteCloser
	coding := preferred(c.request.Header)
	switch coding {
	case "gzip":
		w = gzip.NewWriter(&out)
	case "deflate":
		w = zlib.NewWriter(&out) // RFC 9110 section 8.4.1.2: in the zlib format
	default:
		return
	}
	_, _ = w.Write(a.body) // a Buffer takes everything
	_ = w.Close()
	a.body = out.Bytes()
	a.header.Set("Content-Encoding", coding)
}

// preferred is the coding that a client likes best, the first of several. "The
// highest-priority content encoding must be one supported by API Gateway. If it is not,
// compression is not applied" (api-gateway-enable-compression.html); so "br, gzip" gets
// none (github.com/awsdocs/amazon-api-gateway-developer-guide pull 32). Nor does "*", which
// is what a client says that says nothing.
func preferred(h http.Header) (coding string) {
	best := 0.0
	for part := range strings.SplitSeq(strings.Join(h.Values("Accept-Encoding"), ","), ",") {
		name, parameters, _ := strings.Cut(part, ";")
		q := 1.0
		if text, ok := strings.CutPrefix(strings.TrimSpace(parameters), "q="); ok {
			var err error
			if q, err = strconv.ParseFloat(text, 64); err != nil {
				q = 0
			}
		}
		if q > best {
			best, coding = q, strings.ToLower(strings.TrimSpace(name))
		}
	}
	return coding
}
