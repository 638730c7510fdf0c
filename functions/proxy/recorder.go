package proxy

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"unicode/utf8"

	"github.com/aws/aws-lambda-go/events"
)

// maxAnswer is what Lambda takes for an answer, in bytes of JSON: "6 MB", which is 6 MiB and
// 100 bytes by its own error message
// (https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html).
const maxAnswer = 6<<20 + 100

// recorder is the http.ResponseWriter of one answer.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
	own    http.Header // what the proxy has set, once a handler may have added to it
}

func (r *recorder) Header() http.Header { return r.header }

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
}

func (r *recorder) Write(b []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	return r.body.Write(b)
}

// handOver remembers what is the proxy's, before a handler writes.
func (r *recorder) handOver() { r.own = r.header.Clone() }

// reset forgets what a handler wrote; what the proxy set stays.
func (r *recorder) reset() {
	r.status = 0
	r.body.Reset()
	if r.own != nil {
		r.header = r.own.Clone()
	}
}

// encode makes the output of a Lambda proxy integration. A body that is UTF-8 is text
// there, unless the escapes that JSON needs make it larger than base64 and too large.
func (r *recorder) encode() ([]byte, error) {
	r.WriteHeader(http.StatusOK)
	out := events.APIGatewayProxyResponse{StatusCode: r.status, MultiValueHeaders: r.header}
	if utf8.Valid(r.body.Bytes()) {
		out.Body = r.body.String()
		if text, err := encode(&out); err != nil || len(text) <= maxAnswer {
			return text, err
		}
	}
	out.Body, out.IsBase64Encoded = base64.StdEncoding.EncodeToString(r.body.Bytes()), true
	return encode(&out)
}

// encode is json.Marshal without the escapes for JSON inside HTML, which would make six
// bytes of each "<".
func encode(out *events.APIGatewayProxyResponse) ([]byte, error) {
	var buffer bytes.Buffer
	e := json.NewEncoder(&buffer)
	e.SetEscapeHTML(false)
	err := e.Encode(out)
	return bytes.TrimSuffix(buffer.Bytes(), []byte("\n")), err
}
