package stack

import (
	"context"
	"log/slog"
	"os"
	"sync"
)

// maxLogBytes is how long a file of lines may be at a start; then it is put aside.
const maxLogBytes = 16 << 20

// lineFile appends lines to a file.
type lineFile struct {
	mu   sync.Mutex
	file *os.File
}

func openLog(name string) (*lineFile, error) {
	if info, err := os.Stat(name); err == nil && info.Size() > maxLogBytes {
		if err := os.Rename(name, name+".1"); err != nil {
			return nil, err
		}
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	return &lineFile{file: f}, nil
}

// write appends a line. A full disk must not stop the API.
func (l *lineFile) write(line []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = l.file.Write(append(line, '\n'))
}

func (l *lineFile) close() error { return l.file.Close() }

// progress is the slog.Handler that tells Options.Progress what package ddb is doing.
type progress struct{ say func(string, ...any) }

func (p progress) Enabled(context.Context, slog.Level) bool { return true }
func (p progress) WithAttrs([]slog.Attr) slog.Handler       { return p }
func (p progress) WithGroup(string) slog.Handler            { return p }

func (p progress) Handle(_ context.Context, r slog.Record) error {
	text := r.Message
	r.Attrs(func(a slog.Attr) bool {
		text += " (" + a.Key + ": " + a.Value.String() + ")"
		return true
	})
	p.say("%s", text)
	return nil
}
