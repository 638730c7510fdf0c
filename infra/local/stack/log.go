package stack

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"sync"

	"github.com/keyreeve/keyreeve/infra/local/gateway"
)

// maxLogBytes is how long the access log may be at a start; then it is put aside.
const maxLogBytes = 16 << 20

// accessLog appends lines to a file.
type accessLog struct {
	mu   sync.Mutex
	file *os.File
}

func openLog(name string) (*accessLog, error) {
	if info, err := os.Stat(name); err == nil && info.Size() > maxLogBytes {
		if err := os.Rename(name, name+".1"); err != nil {
			return nil, err
		}
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	return &accessLog{file: f}, nil
}

// write appends an entry. A full disk must not stop the API.
func (l *accessLog) write(e gateway.Entry) {
	line, err := json.Marshal(e)
	if err != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = l.file.Write(append(line, '\n'))
}

func (l *accessLog) close() error { return l.file.Close() }

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
