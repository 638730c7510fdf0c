package main

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"sync"
)

// replay stands in front of a DynamoDB. A GetItem that it has seen before it answers by
// itself, with the bytes of the first answer, so that what is timed is the client's side
// of one read and a loopback round trip, and not DynamoDB Local's Java. It speaks just
// enough HTTP for the SDK, for the same reason.
type replay struct {
	endpoint string // of the DynamoDB behind it

	mu   sync.Mutex
	seen map[string][]byte // whole answers, by the body of the request
}

// startReplay serves on loopback until the program ends, and returns its URL.
func startReplay(endpoint string) (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	p := &replay{endpoint: endpoint, seen: map[string][]byte{}}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go p.serve(conn)
		}
	}()
	return "http://" + listener.Addr().String(), nil
}

// serve answers one connection's requests until either side gives up.
func (p *replay) serve(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	for {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		answer, err := p.answer(r, body)
		if err != nil {
			return
		}
		if _, err := conn.Write(answer); err != nil {
			return
		}
	}
}

func (p *replay) answer(r *http.Request, body []byte) ([]byte, error) {
	read := r.Header.Get("X-Amz-Target") == "DynamoDB_20120810.GetItem"
	p.mu.Lock()
	answer, ok := p.seen[string(body)]
	p.mu.Unlock()
	if read && ok {
		return answer, nil
	}
	req, err := http.NewRequestWithContext(r.Context(), r.Method, p.endpoint, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header = r.Header.Clone()
	req.Header.Del("Accept-Encoding")
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	resp.Body, resp.ContentLength, resp.TransferEncoding = io.NopCloser(bytes.NewReader(text)), int64(len(text)), nil
	var out bytes.Buffer
	if err := resp.Write(&out); err != nil {
		return nil, err
	}
	if read && resp.StatusCode == http.StatusOK {
		p.mu.Lock()
		p.seen[string(body)] = out.Bytes()
		p.mu.Unlock()
	}
	return out.Bytes(), nil
}
