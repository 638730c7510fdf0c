package lambda

import (
	"bytes"
	"io"
	"sync"
)

// lineLog lets many processes write to one writer without mixing their lines.
type lineLog struct {
	mu sync.Mutex
	w  io.Writer
}

// maxLineBytes is when a line is passed on although its end has not come.
const maxLineBytes = 64 << 10

// lineWriter passes on whole lines, each after a prefix.
type lineWriter struct {
	log    *lineLog
	prefix string
	mu     sync.Mutex
	buf    []byte
}

func (l *lineLog) with(prefix string) *lineWriter { return &lineWriter{log: l, prefix: prefix} }

func (w *lineWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf = append(w.buf, b...)
	for {
		i := bytes.IndexByte(w.buf, '\n')
		if i < 0 && len(w.buf) < maxLineBytes {
			return len(b), nil
		}
		if i < 0 {
			i = len(w.buf) - 1
		}
		w.line(w.buf[:i+1])
		w.buf = append(w.buf[:0], w.buf[i+1:]...)
	}
}

// flush passes on what has come of a last line.
func (w *lineWriter) flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.buf) > 0 {
		w.line(w.buf)
		w.buf = nil
	}
}

func (w *lineWriter) line(text []byte) {
	out := append([]byte(w.prefix), bytes.TrimRight(text, "\r\n")...)
	w.log.mu.Lock()
	defer w.log.mu.Unlock()
	// A log that cannot be written must not stop the function.
	_, _ = w.log.w.Write(append(out, '\n'))
}
