package main

import (
	"bytes"
	"io"
	"net/http"
	"sync"
)

// replay stands in front of a DynamoDB. It answers a GetItem that it has seen before by
// itself, with the bytes of the first answer, so that what is timed is the client's side
// of one read and a loopback round trip, and not DynamoDB Local's Java.
type replay struct {
	endpoint string // of the DynamoDB behind it

	mu   sync.Mutex
	seen map[string]recorded
}

type recorded struct {
	header http.Header
	body   []byte
}

func (p *replay) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, "reading the request", http.StatusBadGateway)
		return
	}
	read := r.Header.Get("X-Amz-Target") == "DynamoDB_20120810.GetItem"
	if read {
		p.mu.Lock()
		a, ok := p.seen[string(body)]
		p.mu.Unlock()
		if ok {
			a.write(w, http.StatusOK)
			return
		}
	}
	a, status, err := p.forward(r, body)
	if err != nil {
		http.Error(w, "DynamoDB does not answer", http.StatusBadGateway)
		return
	}
	if read && status == http.StatusOK {
		p.mu.Lock()
		p.seen[string(body)] = a
		p.mu.Unlock()
	}
	a.write(w, status)
}

func (p *replay) forward(r *http.Request, body []byte) (recorded, int, error) {
	req, err := http.NewRequestWithContext(r.Context(), r.Method, p.endpoint, bytes.NewReader(body))
	if err != nil {
		return recorded{}, 0, err
	}
	req.Header = r.Header.Clone()
	req.Header.Del("Accept-Encoding")
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return recorded{}, 0, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return recorded{resp.Header, answer}, resp.StatusCode, err
}

func (a recorded) write(w http.ResponseWriter, status int) {
	for name, values := range a.header {
		w.Header()[name] = values
	}
	w.WriteHeader(status)
	_, _ = w.Write(a.body)
}
