package forward

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// What Lambda takes, in bytes of JSON.
const lambdaTakes = 6<<20 + 100

// Whether an answer fits is a question of its JSON: text with few escapes may be nearly
// 6 MB, anything else about 4.5.
func TestTheLargestAnswers(t *testing.T) {
	var body, length string
	w := to(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Set-Cookie", "a=b")
		w.Header().Set("Content-Encoding", "identity")
		w.Header().Set("Cache-Control", "max-age=60")
		if length != "" {
			w.Header().Set("Content-Length", length)
		}
		_, _ = io.WriteString(w, body)
	})
	body = "x"
	frame := w.get("/v1/x").size - 1 // what stands around the body
	text, escaped, binary := lambdaTakes-frame, (lambdaTakes-frame)/2, (lambdaTakes-frame-len(`,"isBase64Encoded":true`))/4*3-3
	for _, c := range []struct {
		what, piece string
		n           int
		fits        bool
	}{
		{"text", "x", text - 2, true}, // isBase64Encoded is always there; the frame's numbers may grow
		{"text", "x", text + 100, false},
		{"text in quotes", `"`, escaped - 2, true},
		{"text of line breaks and angle brackets", "<>\n", text / 4, true},
		{"control characters, six bytes each as text", "\x01", binary, true},
		{"binary", "\xff", binary, true},
		{"binary", "\xff", binary + 100, false},
		{"binary", "\xff", 6 << 20, false},
		{"binary", "\xff", 6<<20 + 1, false},
		{"text", "x", 7 << 20, false},
		{"text", "x", 40 << 20, false},
	} {
		for _, framing := range []string{"chunked", "with its length"} {
			name := fmt.Sprintf("%d times %s, %s", c.n, c.what, framing)
			body, length = strings.Repeat(c.piece, c.n), ""
			if framing != "chunked" {
				length = strconv.Itoa(len(body))
			}
			got := w.get("/v1/x")
			if got.size > lambdaTakes {
				t.Errorf("%s: the output has %d bytes, Lambda takes %d", name, got.size, lambdaTakes)
			}
			if c.fits {
				if got.status != 200 || got.body != body || got.header.Get("Set-Cookie") == "" {
					t.Errorf("%s: %d, %d bytes; want them back", name, got.status, len(got.body))
				}
				continue
			}
			w.wants(name, got, 502, "upstream_too_large", "too large for Lambda")
			if h := got.header; h.Get("Content-Encoding")+h.Get("Set-Cookie") != "" || h.Get("Content-Type") != "application/json" || h.Get("Cache-Control") != "no-store" || h.Get("X-Ratelimit-Limit") == "" {
				t.Errorf("%s: headers %v; want our own alone", name, h)
			}
		}
	}
}

// An answer without an end costs no more memory than the largest one.
func TestAnEndlessAnswerIsReadToTheLimit(t *testing.T) {
	var sent atomic.Int64
	gone := make(chan struct{})
	w := to(t, func(w http.ResponseWriter, _ *http.Request) {
		defer close(gone)
		piece := make([]byte, 64<<10)
		for {
			n, err := w.Write(piece)
			sent.Add(int64(n))
			if err != nil {
				return
			}
		}
	})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	w.wants("an endless answer", w.get("/v1/x"), 502, "upstream_too_large", "too large for Lambda")
	runtime.ReadMemStats(&after)
	select {
	case <-gone:
	case <-time.After(5 * time.Second):
		t.Fatal("the upstream still sends: the connection was left open")
	}
	// Buffers double as they grow, and sockets hold some.
	if n := sent.Load(); n > 2*maxAnswer {
		t.Errorf("%d bytes were taken in, want little more than %d", n, maxAnswer)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 12*maxAnswer {
		t.Errorf("%d bytes were allocated for at most %d", n, maxAnswer)
	}
}

func TestLargeRequestsArrive(t *testing.T) {
	var got int64
	w := to(t, func(_ http.ResponseWriter, r *http.Request) { got, _ = io.Copy(io.Discard, r.Body) })
	const most = (6<<20 - 4000) / 4 * 3 // what leaves room for the rest of the event
	if res := w.send(w.request("POST", "/v1/x", "", strings.Repeat("\xff", most))); res.status != 200 || got != most {
		t.Errorf("%v, %d bytes arrived, want %d", res, got, most)
	}
}

// The upstream's time is for its whole answer, however it spends it.
func TestSlowUpstreams(t *testing.T) {
	handlers := map[string]http.HandlerFunc{
		"says nothing": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, // the connection is not left open
		"stops after the header": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Answer", "hunter2")
			w.WriteHeader(200)
			w.(http.Flusher).Flush()
			<-r.Context().Done() // the connection is not left open
		},
		"drips": func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				_, _ = io.WriteString(w, "hunter2")
				w.(http.Flusher).Flush()
				time.Sleep(50 * time.Millisecond)
			}
		},
	}
	for name, h := range handlers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := to(t, h)
			begun := time.Now()
			got := w.send(w.request("GET", "/v1/x", "q=hunter2", "", "X-Note: hunter2"))
			w.wants(name, got, 504, "upstream_timeout", "the time is over")
			if took := time.Since(begun); took < 1900*time.Millisecond || took > 5*time.Second {
				t.Errorf("it took %v, want the row's 2 s", took)
			}
			// The function's own time may be shorter.
			ctx, cancel := context.WithTimeout(t.Context(), 800*time.Millisecond)
			defer cancel()
			begun = time.Now()
			w.wants(name, w.sendWithin(ctx, w.request("GET", "/v1/x", "", "")), 504, "upstream_timeout", "the time is over")
			if took := time.Since(begun); took > 790*time.Millisecond {
				t.Errorf("it took %v: no time was left to tell", took)
			}
		})
	}
}

func TestASlowAnswerInTimeIsWhole(t *testing.T) {
	w := to(t, func(w http.ResponseWriter, r *http.Request) {
		for i := range 10 {
			fmt.Fprint(w, i)
			w.(http.Flusher).Flush()
			time.Sleep(60 * time.Millisecond)
		}
	})
	if got := w.get("/v1/x"); got.status != 200 || got.body != "0123456789" {
		t.Errorf("%v", got)
	}
}
