// Command local is the program behind `make run`: Keyreeve on this machine, from the
// unmodified bootstrap binary, DynamoDB Local and a gateway that answers as API Gateway
// does. It prints curl lines to paste, a line for scripts, and runs until it is told to
// stop.
//
// The line for scripts is the last of the start, on standard output:
//
//	ready {"url":"http://localhost:8787","port":8787,"rootKeyFile":"/…/root-key",…}
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/keyreeve/keyreeve/infra/local/ddb"
	"github.com/keyreeve/keyreeve/infra/local/stack"
)

// defaultPort is where `make run` serves.
const defaultPort = 8787

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C does not wait for an orderly end
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "make run:", err)
		stop()
		os.Exit(1)
	}
}

// ready is the line for scripts.
type ready struct {
	URL           string   `json:"url"`
	Port          int      `json:"port"`
	PID           int      `json:"pid"`
	Config        string   `json:"config"`
	Stages        []string `json:"stages"`
	DefaultStage  string   `json:"defaultStage"`
	RootKeyFile   string   `json:"rootKeyFile"`
	AccessLogFile string   `json:"accessLogFile"`
	DynamoDB      string   `json:"dynamoDB"` // URL
	StartMillis   int64    `json:"startMillis"`
}

// run serves until ctx ends or a part fails.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("local", flag.ContinueOnError)
	flags.SetOutput(stderr)
	name := flags.String("config", "default", "a configuration: the name of one in infra/presets, or a file")
	port := flags.String("port", strconv.Itoa(defaultPort), "port on loopback; 0 picks a free one")
	routes := flags.String("routes", "", "a route table instead of the sample's")
	lambdas := flags.String("lambdas", "", "a directory with the functions that the route table names: NAME/bootstrap")
	dir := flags.String("dir", ".local", "where data, peppers and the root key are kept")
	bootstrap := flags.String("bootstrap", "dist/bootstrap", "the bootstrap binary")
	if err := flags.Parse(args); err != nil {
		return err
	}
	number, err := strconv.ParseUint(*port, 10, 16)
	if err != nil {
		return fmt.Errorf("PORT=%s: want a number from 0 to 65535", *port)
	}
	root, err := ddb.FindRoot()
	if err != nil {
		return err
	}
	settings, err := stack.Preset(root, *name)
	if err != nil {
		return err
	}

	begun := time.Now()
	s, err := stack.Start(ctx, stack.Options{
		Bootstrap: *bootstrap, Dir: *dir, Settings: settings, RoutesFile: *routes, Port: int(number), Log: stderr,
		LambdaDir: *lambdas, LambdaEndpoint: os.Getenv("AWS_ENDPOINT_URL_LAMBDA"),
		Progress: func(format string, a ...any) { fmt.Fprintf(stdout, format+"\n", a...) },
	})
	if err != nil {
		if ctx.Err() != nil {
			return nil // told to stop while it started
		}
		return err
	}
	greet(stdout, s)
	line, err := json.Marshal(ready{
		URL: s.URL, Port: s.Port, PID: os.Getpid(), Config: *name, Stages: s.Stages, DefaultStage: s.DefaultStage(),
		RootKeyFile: s.RootKeyFile(), AccessLogFile: s.AccessLogFile(), DynamoDB: s.Config.DynamoDBEndpoint, StartMillis: time.Since(begun).Milliseconds(),
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "ready %s\n", line)

	select {
	case <-ctx.Done():
		fmt.Fprintln(stdout, "stopping")
		err = nil
	case err = <-s.Failed():
	}
	if e := s.Close(); err == nil {
		err = e
	}
	return err
}
