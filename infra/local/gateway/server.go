package gateway

import (
	"net/http"
	"time"
)

// NewServer returns a server of h over HTTP/1.1 and HTTP/2, both without TLS: a client
// that wants HTTP/2 starts with it ("prior knowledge", RFC 9113 section 3.3).
func NewServer(h http.Handler) *http.Server {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	p.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:   h,
		Protocols: p,
		// Above the API's own limit, so that the answer is the API's: 431 in the error shape.
		MaxHeaderBytes:    64 << 10,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
	}
}
