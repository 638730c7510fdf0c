package gateway

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// answer is what goes back to the client.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a *answer) write(w http.ResponseWriter) {
	h := w.Header()
	for name, values := range a.header {
		h[name] = values
	}
	if a.status != http.StatusNoContent && a.status != http.StatusNotModified {
		h.Set("Content-Length", strconv.Itoa(len(a.body)))
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body) // an error means that the client has gone
}

// proxyOutput is the output of a Lambda proxy integration
// (https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html#api-gateway-simple-proxy-for-lambda-output-format).
// No field is mandatory, and another one makes it malformed (observed).
type proxyOutput struct {
	StatusCode        status                  `json:"statusCode"`
	Headers           map[string]headerText   `json:"headers"`
	MultiValueHeaders map[string][]headerText `json:"multiValueHeaders"`
	Body              *string                 `json:"body"`
	IsBase64Encoded   bool                    `json:"isBase64Encoded"`
}

// status is a number, or a number in a string (observed).
type status int

func (s *status) UnmarshalJSON(text []byte) error {
	n, err := strconv.Atoi(strings.Trim(string(text), `"`))
	if err != nil || n < 200 || n > 599 {
		return errors.New("statusCode is no HTTP status")
	}
	*s = status(n)
	return nil
}

// headerText is a string or a boolean (observed).
type headerText string

func (t *headerText) UnmarshalJSON(text []byte) error {
	switch string(text) {
	case "true", "false":
		*t = headerText(text)
		return nil
	}
	var s *string
	if err := json.Unmarshal(text, &s); err != nil || s == nil {
		return errors.New("a header's value is no string")
	}
	*t = headerText(*s)
	return nil
}

// Headers of a function's answer that are renamed to x-amzn-Remapped-…, and those that are
// thrown away (notes, table of headers).
var (
	remapped = []string{
		"Authorization", "Connection", "Content-Length", "Content-Md5", "Date", "Expect", "Max-Forwards",
		"Server", "User-Agent", "Www-Authenticate",
	}
	removed = []string{"Host", "Proxy-Authenticate", "Te", "Trailer", "Transfer-Encoding", "Upgrade"}
)

// proxyAnswer turns a function's output into an answer. The error says what is malformed
// and quotes nothing.
func (g *Gateway) proxyAnswer(c *call, payload []byte) (*answer, error) {
	out := proxyOutput{StatusCode: http.StatusOK}
	dec := json.NewDecoder(bytes.NewReader(payload))
	dec.DisallowUnknownFields()
	if bytes.Equal(bytes.TrimSpace(payload), []byte("null")) || dec.Decode(&out) != nil {
		return nil, errors.New("malformed proxy response")
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("malformed proxy response")
	}
	a := &answer{status: int(out.StatusCode), header: http.Header{}}
	for name, values := range out.MultiValueHeaders {
		for _, v := range values {
			if err := a.add(name, string(v)); err != nil {
				return nil, err
			}
		}
	}
	// "If you specify values for both headers and multiValueHeaders, API Gateway merges them
	// into a single list. If the same key-value pair is specified in both, only the values
	// from multiValueHeaders will appear in the merged list."
	for name, v := range out.Headers {
		if slices.Contains(a.header.Values(name), string(v)) {
			continue
		}
		if err := a.add(name, string(v)); err != nil {
			return nil, err
		}
	}
	for _, name := range removed {
		a.header.Del(name)
	}
	for _, name := range remapped {
		if values := a.header.Values(name); len(values) > 0 {
			a.header.Del(name)
			a.header["X-Amzn-Remapped-"+name] = values
		}
	}
	if a.header.Get("Content-Type") == "" {
		a.header.Set("Content-Type", "application/json") // notes: "By default, the content type is application/json"
	}
	if out.Body != nil {
		a.body = []byte(*out.Body)
	}
	// Without binary media types the encoded text itself is the body (observed).
	if out.IsBase64Encoded && g.binary(c.request.Header.Get("Accept")) {
		var err error
		if a.body, err = base64.StdEncoding.DecodeString(string(a.body)); err != nil {
			return nil, errors.New("the body is not in base64")
		}
	}
	return a, nil
}

func (a *answer) add(name, value string) error {
	if !isToken(name) || strings.ContainsAny(value, "\r\n\x00") {
		return fmt.Errorf("malformed header")
	}
	a.header.Add(name, value)
	return nil
}

// isToken reports whether name may be a header's name (RFC 9110 section 5.6.2).
func isToken(name string) bool {
	for i := range len(name) {
		c := name[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0) {
			return false
		}
	}
	return name != ""
}
