// Package ddb gets, starts and stops DynamoDB Local, and creates Keyreeve's tables in it.
//
// The model: [Start] takes the first of these that there is,
//
//  1. an endpoint that is running already: DYNAMODB_ENDPOINT (nothing is started);
//  2. Java 17 or newer: the jars are fetched once with Maven into
//     .local/dynamodb-local-<version>, by the pom.xml that pins the version;
//  3. Docker with a working engine: amazon/dynamodb-local of the same version;
//  4. on Debian and its kin, as root: Java and Maven are installed with apt-get, then 2;
//
// and otherwise fails with an error that says what to install.
//
// Promises: a fetch that broke off is never taken for a whole one, and processes that
// fetch at the same time wait for each other; what was started ends with [Server.Stop],
// and also when the process that started it is killed.
//
// DynamoDB Local has no option for the address it binds: it listens on every interface
// of the machine, on a port that the kernel picks. Docker's is bound to 127.0.0.1.
package ddb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// EndpointVariable names the environment variable with the URL of a DynamoDB to use
// instead of starting one.
const EndpointVariable = "DYNAMODB_ENDPOINT"

const (
	readyTimeout = 60 * time.Second // a cold JVM on a busy two-core machine needs 5 s
	stopTimeout  = 5 * time.Second  // from asking to killing
	startTries   = 3                // another process may take the picked port first
)

// Options of [Start].
type Options struct {
	// Dir is where the jars are kept: .local of the repository by default.
	Dir string
	// DataDir keeps the tables on disk, for one server at a time. Empty: in memory.
	DataDir string
	// Log is told what takes long or changes the machine; discarded by default.
	Log *slog.Logger
}

// Server is a DynamoDB that answers.
type Server struct {
	// Endpoint is its URL, such as http://127.0.0.1:34567.
	Endpoint string

	once    sync.Once
	stop    func() error
	stopErr error
	done    <-chan struct{}
	pid     int
}

// Stop ends what Start started and waits for its end. A second call does nothing more.
func (s *Server) Stop() error {
	s.once.Do(func() {
		if s.stop != nil {
			s.stopErr = s.stop()
		}
	})
	return s.stopErr
}

// Done is closed when the server that Start started has ended; never for a server that
// was running already.
func (s *Server) Done() <-chan struct{} { return s.done }

// Start returns a DynamoDB that answers. ctx bounds the start, not the server's life.
func Start(ctx context.Context, o Options) (*Server, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if endpoint := os.Getenv(EndpointVariable); endpoint != "" {
		return external(ctx, endpoint)
	}
	if o.Dir == "" {
		root, err := FindRoot()
		if err != nil {
			return nil, err
		}
		o.Dir = filepath.Join(root, ".local")
	}
	if err := makeDir(&o.Dir, 0o755); err != nil {
		return nil, err
	}
	if o.DataDir != "" {
		if err := makeDir(&o.DataDir, 0o700); err != nil {
			return nil, err
		}
	}
	unlock := func() {}
	if o.DataDir != "" {
		// Two servers on one file would each answer from a cache of its own.
		var err error
		if unlock, err = tryLock(filepath.Join(o.DataDir, "lock")); err != nil {
			return nil, fmt.Errorf("DynamoDB Local: %s is in use by another server: %w", o.DataDir, err)
		}
	}
	s, err := launch(ctx, o)
	if err != nil {
		unlock()
		return nil, err
	}
	inner := s.stop
	s.stop = func() error {
		defer unlock()
		return inner()
	}
	return s, nil
}

// makeDir makes a directory and its name absolute: the server works in another one.
func makeDir(dir *string, mode os.FileMode) (err error) {
	if *dir, err = filepath.Abs(*dir); err == nil {
		err = os.MkdirAll(*dir, mode)
	}
	if err != nil {
		return fmt.Errorf("DynamoDB Local: %w", err)
	}
	return nil
}

// launch picks the way and starts a server, on another port if the first was taken.
func launch(ctx context.Context, o Options) (*Server, error) {
	way, err := choose(ctx, o)
	if err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		s, err := start(ctx, way)
		if err == nil || try == startTries || ctx.Err() != nil {
			return s, err
		}
	}
}

// A runner starts DynamoDB Local on a port and returns its process.
type runner func(port int) (*process, error)

func start(ctx context.Context, run runner) (*Server, error) {
	port, err := freePort()
	if err != nil {
		return nil, fmt.Errorf("DynamoDB Local: %w", err)
	}
	p, err := run(port)
	if err != nil {
		return nil, fmt.Errorf("DynamoDB Local: %w", err)
	}
	s := &Server{Endpoint: "http://127.0.0.1:" + strconv.Itoa(port), stop: p.stop, done: p.done, pid: p.cmd.Process.Pid}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	if err := ready(ctx, s.Endpoint, p.done); err != nil {
		_ = p.stop()
		return nil, fmt.Errorf("DynamoDB Local did not become ready: %w\n%s", err, p.output())
	}
	return s, nil
}

func external(ctx context.Context, endpoint string) (*Server, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := ready(ctx, endpoint, nil); err != nil {
		return nil, fmt.Errorf("%s=%s does not answer: %w", EndpointVariable, endpoint, err)
	}
	return &Server{Endpoint: endpoint}, nil
}

var errEnded = errors.New("the process has ended")

// ready waits until something speaks HTTP at endpoint. DynamoDB answers an unsigned GET
// with 400, which is answer enough.
func ready(ctx context.Context, endpoint string, ended <-chan struct{}) error {
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	var last error
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint, nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err == nil {
			_ = resp.Body.Close()
			select {
			case <-ended: // then the answer came from whoever took the port
				return errEnded
			default:
				return nil
			}
		}
		last = err
		select {
		case <-ended:
			return errEnded
		case <-ctx.Done():
			return errors.Join(ctx.Err(), last)
		case <-time.After(25 * time.Millisecond):
		}
	}
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// FindRoot is the directory of the go.mod above the working directory: where .local is.
func FindRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no go.mod above the working directory: not inside Keyreeve's repository")
		}
		dir = parent
	}
}
