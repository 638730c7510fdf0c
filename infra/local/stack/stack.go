// Package stack puts the local gateway together: DynamoDB Local, the tables, the pepper
// ring, the bootstrap processes, the gateway in front, the streams, logs and schedules
// behind, and an account with a root key. `make run` is this package with a terminal around it; tests start it in
// their own process, with directories and limits of their own.
//
// The model: [Start] returns when a request with the root key has been answered, and
// [Stack.Close] ends everything that it started. What must survive is in one directory:
//
//	data/          DynamoDB's tables
//	peppers.json   the pepper ring, made at random once
//	root-key       a root key that works, for scripts
//	stream.json    how far the keys table's stream has been delivered to the function stream
//	flush.json     how far to the function flush
//	alerts.json    how far the alerts table's
//	access.log     one JSON line per request
//	metrics.log    what functions have measured
//	logs/          lines that the function usage has not counted yet
//
// Promises: all of it listens on loopback only, but DynamoDB Local, which has no such
// option (see package ddb). Each function gets the settings that it needs and nothing
// else. The root key and the peppers are in files of mode 0600 and in no log.
package stack

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"

	"github.com/keyreeve/keyreeve/infra/local/atomicfile"
	"github.com/keyreeve/keyreeve/infra/local/ddb"
	"github.com/keyreeve/keyreeve/infra/local/gateway"
	"github.com/keyreeve/keyreeve/infra/local/lambda"
	"github.com/keyreeve/keyreeve/infra/local/logs"
	"github.com/keyreeve/keyreeve/infra/local/management"
	"github.com/keyreeve/keyreeve/infra/local/secrets"
	"github.com/keyreeve/keyreeve/infra/local/stream"
	"github.com/keyreeve/keyreeve/pkg/config"
	"github.com/keyreeve/keyreeve/pkg/dynamo"
	"github.com/keyreeve/keyreeve/pkg/policy"
	"github.com/keyreeve/keyreeve/pkg/route"
)

// What is the same on every machine.
const (
	region       = "us-east-1"
	awsAccount   = "000000000000"
	pepperSecret = "keyreeve/peppers"

	metricsNamespace = "Keyreeve/Local"

	shared = "shared" // the stage that takes keys of every environment
)

// Options is what Start works with. The zero value of a field is its default.
type Options struct {
	Bootstrap string // path of the bootstrap binary; needed
	Dir       string // keeps what survives; default .local
	JarDir    string // keeps DynamoDB Local's jars; default .local of the repository

	Settings   []byte // of the deployment, in JSON: a preset's text; default: all defaults
	RoutesFile string // a user's route table; default: the sample's
	// LambdaDir has the functions that a user's route table names for upstreams: the program
	// NAME/bootstrap for …:function:NAME. LambdaEndpoint is Lambda itself, or what stands in
	// for it, and goes before LambdaDir.
	LambdaDir, LambdaEndpoint string
	Port                      int // of the gateway on loopback; 0 picks a free one

	// DynamoDB is the URL of one that runs already. By default one is started, with its
	// data in Dir, or InMemory.
	DynamoDB    string
	InMemory    bool
	TablePrefix string // of the tables' names; default "keyreeve-"
	WithoutTTL  bool   // tables without time to live, for tests with a clock of their own

	// AuthorizerTTL replaces the settings' authorizerCacheSeconds in the gateway; what the
	// functions say of it stays the settings'.
	AuthorizerTTL *time.Duration
	// AuthorizerTimeout is the function authorizer's; default config.AuthorizerTimeout.
	AuthorizerTimeout time.Duration
	// WithoutFlush leaves the gateway's cache of policies alone when a key changes.
	WithoutFlush       bool
	IntegrationTimeout time.Duration // default 29 s
	// Function may change a function before it is started: its timeout, processes,
	// environment.
	Function func(*lambda.Function)

	Log      io.Writer                     // what functions write, and complaints of the parts; default discards
	OnAccess func(e gateway.Entry)         // is told of each request, before its answer is sent
	Deliver  func(logs.Invoke) logs.Invoke // goes between the logs and the function usage, for tests of what can happen there
	Progress func(format string, a ...any) // is told what takes long
}

// Stack is a local gateway that runs.
type Stack struct {
	URL     string // of the gateway, without a slash at the end: http://localhost:8787
	Port    int
	RootKey string // that works
	NewRoot bool   // RootKey was made by this Start
	Stages  []string

	Gateway *gateway.Gateway
	Lambda  *lambda.Runtime
	// Management is API Gateway's own API, by which functions flush the cache.
	Management *management.Manager
	Settings   config.Settings
	Table      *route.Table
	// Config is a function's configuration, for stores that a test opens beside the
	// functions (dynamo.NewClient, dynamo.NewKeys).
	Config config.Config

	dir     string
	logs    *logs.Deliverer
	started chan struct{} // closed at the end of Start
	failed  chan error
	manager net.Listener   // of Management
	ends    []func() error // run by Close, last first
	once    sync.Once
	err     error
}

// Failed receives an error if a part that the gateway needs has ended by itself.
func (s *Stack) Failed() <-chan error { return s.failed }

// PeppersFile is where the pepper ring is kept.
func (s *Stack) PeppersFile() string { return filepath.Join(s.dir, "peppers.json") }

// RootKeyFile holds RootKey.
func (s *Stack) RootKeyFile() string { return filepath.Join(s.dir, "root-key") }

// AccessLogFile holds a line per request.
func (s *Stack) AccessLogFile() string { return filepath.Join(s.dir, "access.log") }

// Close ends what Start started and waits for it. A second call does nothing more.
func (s *Stack) Close() error {
	s.once.Do(func() {
		var errs []error
		for i := len(s.ends) - 1; i >= 0; i-- {
			errs = append(errs, s.ends[i]())
		}
		s.err = errors.Join(errs...)
	})
	return s.err
}

func (s *Stack) atEnd(f func() error) { s.ends = append(s.ends, f) }

// fail reports that a part has ended; the first report counts.
func (s *Stack) fail(err error) {
	select {
	case s.failed <- err:
	default:
	}
}

// Start starts a local gateway. ctx bounds the start, not the gateway's life. If it fails
// nothing is left running.
func Start(ctx context.Context, o Options) (*Stack, error) {
	if o.Dir == "" {
		o.Dir = ".local"
	}
	if o.TablePrefix == "" {
		o.TablePrefix = "keyreeve-"
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
	if o.Progress == nil {
		o.Progress = func(string, ...any) {}
	}
	s := &Stack{failed: make(chan error, 1), started: make(chan struct{})}
	if err := s.start(ctx, o); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Stack) start(ctx context.Context, o Options) error {
	var err error
	if s.dir, err = filepath.Abs(o.Dir); err != nil {
		return err
	}
	if err := s.configure(&o); err != nil {
		return err
	}
	// First of all the port: it is what is most likely taken.
	listeners, err := listen(o.Port)
	if err != nil {
		return err
	}
	for _, l := range listeners {
		s.atEnd(func() error { _ = l.Close(); return nil }) // the server may have closed it
	}
	s.Port = listeners[0].Addr().(*net.TCPAddr).Port
	s.URL = "http://localhost:" + strconv.Itoa(s.Port)

	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return err
	}
	if err := secrets.EnsurePeppers(s.PeppersFile()); err != nil {
		return fmt.Errorf("the pepper ring: %w", err)
	}
	if err := s.startDynamoDB(ctx, o); err != nil {
		return err
	}
	if err := s.startSecrets(); err != nil {
		return err
	}
	if err := s.listenManagement(); err != nil {
		return err
	}
	if err := s.startLambdas(o); err != nil {
		return err
	}
	if err := s.startFunctions(ctx, o); err != nil {
		return err
	}
	if err := s.serve(o, listeners); err != nil {
		return err
	}
	if err := s.ensureRootKey(ctx); err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(o.Log, nil))
	s.startStream(s.Config.KeysTable, streamFunction, "stream.json", log)
	s.startStream(s.Config.KeysTable, flushFunction, "flush.json", log)
	s.startStream(s.Config.AlertsTable, notifyFunction, "alerts.json", log)
	s.schedule(usageFunction, sweepFirst, sweepEvery, log)
	s.schedule(notifyFunction, notifyEvery, notifyEvery, log)
	close(s.started)
	return nil
}

// configure reads settings and routes, so that a mistake there is an error at once and
// not each function's.
func (s *Stack) configure(o *Options) error {
	if len(o.Settings) == 0 {
		o.Settings = []byte("{}")
	}
	var err error
	if s.Settings, err = config.ParseSettings(o.Settings); err != nil {
		return err
	}
	var compact bytes.Buffer // all of a function's environment may be 4 KB
	if err := json.Compact(&compact, o.Settings); err != nil {
		return err
	}
	o.Settings = compact.Bytes()
	var routes []byte
	if o.RoutesFile != "" {
		if o.RoutesFile, err = filepath.Abs(o.RoutesFile); err != nil {
			return err
		}
		if routes, err = os.ReadFile(o.RoutesFile); err != nil {
			return fmt.Errorf("the route table: %w", err)
		}
	}
	if s.Table, err = route.Load(routes); err != nil {
		return err
	}
	if _, err = policy.New(s.Table); err != nil { // sooner than when the authorizer's process ends over it
		return err
	}
	s.Stages = []string{"production", "staging", "development"}
	if s.Settings.SharedStage {
		s.Stages = append(s.Stages, shared)
	}
	s.Config = config.Config{
		Region: region, Settings: s.Settings, RoutesFile: o.RoutesFile, PepperSecret: pepperSecret,
		KeysTable: o.TablePrefix + "keys", MetersTable: o.TablePrefix + "meters", SampleTable: o.TablePrefix + "sample",
		UsageTable: o.TablePrefix + "usage", AlertsTable: o.TablePrefix + "alerts",
		RestAPIID: "local", AuthorizerTimeout: cmp.Or(o.AuthorizerTimeout, config.AuthorizerTimeout),
		AccessKeyID: newAccessKeyID(), SecretAccessKey: "local", SessionToken: "local",
		StoreTimeout: 20 * time.Second, // for the stack's own calls; functions have theirs
	}
	return nil
}

func (s *Stack) startDynamoDB(ctx context.Context, o Options) error {
	s.Config.DynamoDBEndpoint = o.DynamoDB
	if o.DynamoDB == "" {
		data := filepath.Join(s.dir, "data")
		if o.InMemory {
			data = ""
		}
		server, err := ddb.Start(ctx, ddb.Options{Dir: o.JarDir, DataDir: data, Log: slog.New(progress{o.Progress})})
		if err != nil {
			return err
		}
		s.atEnd(server.Stop)
		s.Config.DynamoDBEndpoint = server.Endpoint
		closing := make(chan struct{})
		s.atEnd(func() error { close(closing); return nil })
		go func() {
			select {
			case <-server.Done():
				s.fail(errors.New("DynamoDB Local has ended"))
			case <-closing:
			}
		}()
	}
	// A JVM that has just started takes a second to say that the tables are there. They are
	// kept where this mark is, and go with it.
	mark := filepath.Join(s.dir, "data", "tables")
	tables := ddb.Tables{
		Keys: s.Config.KeysTable, Meters: s.Config.MetersTable, Sample: s.Config.SampleTable,
		Usage: s.Config.UsageTable, Alerts: s.Config.AlertsTable, WithoutTTL: o.WithoutTTL,
	}
	names := fmt.Sprintf("%+v", tables)
	own := o.DynamoDB == "" && !o.InMemory && os.Getenv(ddb.EndpointVariable) == ""
	if text, err := os.ReadFile(mark); own && err == nil && string(text) == names {
		return nil
	}
	err := ddb.CreateTables(ctx, dynamo.NewClient(s.Config), tables)
	if err == nil && own {
		err = atomicfile.Write(mark, []byte(names))
	}
	return err
}

// startSecrets serves the pepper ring to the functions.
func (s *Stack) startSecrets() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("serving the pepper ring: %w", err)
	}
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: secrets.New(secrets.Options{
		Name: pepperSecret, File: s.PeppersFile(), AccessKeyID: s.Config.AccessKeyID, Region: region, AccountID: awsAccount,
	})}
	s.atEnd(server.Close)
	go s.watch("serving the pepper ring", func() error { return server.Serve(l) })
	s.Config.SecretsManagerEndpoint = "http://" + l.Addr().String()
	return nil
}

// listenManagement opens the port of API Gateway's own API, whose URL the functions are
// given. It is served when there is a gateway; calls until then wait.
func (s *Stack) listenManagement() (err error) {
	if s.manager, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return fmt.Errorf("serving API Gateway's own API: %w", err)
	}
	s.atEnd(func() error { _ = s.manager.Close(); return nil }) // the server may have closed it
	s.Config.APIGatewayEndpoint = "http://" + s.manager.Addr().String()
	return nil
}

func (s *Stack) serveManagement() {
	s.Management = management.New(management.Options{
		APIID: s.Config.RestAPIID, Stages: s.Stages, AccessKeyID: s.Config.AccessKeyID, Flush: s.Gateway.FlushAuthorizerCache,
	})
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: s.Management}
	s.atEnd(server.Close)
	go s.watch("serving API Gateway's own API", func() error { return server.Serve(s.manager) })
}

// watch runs a server and reports it if it ends by itself.
func (s *Stack) watch(what string, serve func() error) {
	if err := serve(); !errors.Is(err, http.ErrServerClosed) {
		s.fail(fmt.Errorf("%s: %w", what, err))
	}
}

func (s *Stack) serve(o Options, listeners []net.Listener) error {
	ttl := time.Duration(*s.Settings.AuthorizerCacheSeconds) * time.Second
	if o.AuthorizerTTL != nil {
		ttl = *o.AuthorizerTTL
	}
	log, err := openLog(s.AccessLogFile())
	if err != nil {
		return fmt.Errorf("the access log: %w", err)
	}
	s.atEnd(log.close)
	complaints := slog.New(slog.NewTextHandler(o.Log, nil))
	s.Gateway = gateway.New(gateway.Options{
		APIID: s.Config.RestAPIID,
		Table: s.Table, Stages: s.Stages, DefaultStage: s.DefaultStage(), Invoke: s.Lambda.Invoke,
		AuthorizerTTL: ttl, IntegrationTimeout: o.IntegrationTimeout, CORSOrigins: s.Settings.CORSOrigins,
		BinaryMediaTypes: s.Table.BinaryMediaTypes(), CompressFrom: s.Table.CompressFrom(),
		Region: region, AccountID: awsAccount, Port: strconv.Itoa(s.Port),
		AccessLog: func(e gateway.Entry) {
			if line, err := json.Marshal(e); err == nil {
				log.write(line)
			}
			s.took(e, complaints)
			if o.OnAccess != nil {
				o.OnAccess(e)
			}
		},
	})
	s.serveManagement()
	server := gateway.NewServer(s.Gateway)
	s.atEnd(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if server.Shutdown(ctx) != nil {
			_ = server.Close() // what is still under way has had its time
		}
		return nil
	})
	for _, l := range listeners {
		go s.watch("serving the API", func() error { return server.Serve(l) })
	}
	return nil
}

// DefaultStage is the stage of a request that names none.
func (s *Stack) DefaultStage() string {
	if s.Settings.SharedStage {
		return shared
	}
	return "production"
}

// startStream delivers a table's stream to a function, and remembers in a file how far.
// Nobody waits for it: what it cannot do is reported by Failed.
func (s *Stack) startStream(table, function, checkpoint string, log *slog.Logger) {
	running, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	s.atEnd(func() error { cancel(); <-done; return nil })
	go func() {
		defer close(done)
		if err := s.deliver(running, table, function, checkpoint, log); err != nil && running.Err() == nil {
			s.fail(fmt.Errorf("delivering the stream of table %s: %w", table, err))
		}
	}()
}

func (s *Stack) deliver(ctx context.Context, table, function, checkpoint string, log *slog.Logger) error {
	out, err := dynamo.NewClient(s.Config).DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: &table})
	if err != nil {
		return err
	}
	if out.Table.LatestStreamArn == nil {
		return errors.New("the table has no stream")
	}
	return stream.Run(ctx, stream.Options{
		Client: dynamodbstreams.New(dynamodbstreams.Options{
			Region: region, BaseEndpoint: &s.Config.DynamoDBEndpoint, Credentials: dynamo.Credentials(s.Config),
			HTTPClient: &http.Client{Timeout: 20 * time.Second}, Retryer: aws.NopRetryer{}, // Run repeats by itself
		}),
		StreamARN: *out.Table.LatestStreamArn, Region: region,
		Checkpoint: filepath.Join(s.dir, checkpoint), Log: log,
		Invoke: func(ctx context.Context, event []byte) ([]byte, error) {
			return s.Lambda.Invoke(ctx, function, event)
		},
	})
}

// Invoke calls a function directly, as `aws lambda invoke` does: the admin function has no
// route. event is any value that encodes to JSON; the answer is decoded into answer.
func (s *Stack) Invoke(ctx context.Context, function string, event, answer any) error {
	payload, err := json.Marshal(event)
	if err != nil {
		return err
	}
	out, err := s.Lambda.Invoke(ctx, function, payload)
	if err != nil {
		return fmt.Errorf("invoking function %s: %w", function, err)
	}
	return json.Unmarshal(out, answer)
}
