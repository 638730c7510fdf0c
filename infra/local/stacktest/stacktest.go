// Package stacktest starts the local gateway in a test's own process: the bootstrap
// binary is built once, DynamoDB Local runs in memory and is shared by the tests of a
// process, and each stack has tables and a directory of its own.
//
// A package that uses it has this, so that DynamoDB Local ends with the tests:
//
//	func TestMain(m *testing.M) { ddbtest.Main(m) }
package stacktest

import (
	"bytes"
	"context"
	"crypto/rand"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/infra/local/ddb"
	"github.com/keyreeve/keyreeve/infra/local/ddb/ddbtest"
	"github.com/keyreeve/keyreeve/infra/local/gateway"
	"github.com/keyreeve/keyreeve/infra/local/stack"
)

const (
	buildTimeout = 5 * time.Minute
	startTimeout = time.Minute
)

var bootstrap = sync.OnceValues(func() (string, error) {
	root, err := ddb.FindRoot()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(root, ".local", "test")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	// One place for all packages, since go build leaves alone what is up to date; one at
	// a time, since it would not do so of what is half written.
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", err
	}
	defer func() { _ = lock.Close() }() // unlocks
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), buildTimeout)
	defer cancel()
	out := filepath.Join(dir, "bootstrap")
	return out, stack.Build(ctx, root, out)
})

// Bootstrap is the path of the bootstrap binary, built with the flags that ship.
func Bootstrap(t testing.TB) string {
	t.Helper()
	out, err := bootstrap()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Stack is a stack with what it wrote.
type Stack struct {
	*stack.Stack
	Log *Buffer // what the functions wrote

	mu      sync.Mutex
	entries []gateway.Entry
}

// Start starts a stack that ends with the test. What o does not set is set for tests: the
// binary, a directory that goes with the test, the shared DynamoDB Local with tables of
// this stack's own.
func Start(t testing.TB, o stack.Options) *Stack {
	t.Helper()
	if o.Bootstrap == "" {
		o.Bootstrap = Bootstrap(t)
	}
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	if o.DynamoDB == "" && !o.InMemory {
		o.DynamoDB = ddbtest.Endpoint(t)
	}
	if o.TablePrefix == "" {
		o.TablePrefix = rand.Text() + "-"
	}
	s := &Stack{Log: &Buffer{}}
	if o.Log == nil {
		o.Log = s.Log
	}
	told := o.OnAccess
	o.OnAccess = func(e gateway.Entry) {
		s.mu.Lock()
		s.entries = append(s.entries, e)
		s.mu.Unlock()
		if told != nil {
			told(e)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	var err error
	if s.Stack, err = stack.Start(ctx, o); err != nil {
		t.Fatalf("starting the local gateway: %v\n%s", err, s.Log)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing the local gateway: %v", err)
		}
	})
	return s
}

// AccessLog is the line of every request so far.
func (s *Stack) AccessLog() []gateway.Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]gateway.Entry(nil), s.entries...)
}

// Buffer is a bytes.Buffer for several goroutines.
type Buffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
