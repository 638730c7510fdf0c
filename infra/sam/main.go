// Command sam is what the functions need around them under `sam local`: DynamoDB Local
// with the tables, the pepper secret, and the template of `cdk synth` in a form in which
// SAM can be told where both are. It prints the commands to paste and runs until it is
// told to stop; the data is in memory and ends with it.
//
// Beside the template it writes
//
//	sam.template.json  the template with the changes that template.go lists
//	sam.env.json       the values for `sam local … --env-vars`
//
// Containers reach this machine under the name that -host gives. With Docker Desktop that
// leads to loopback, which is where the secret is served by default; with Docker on Linux
// it leads to the bridge, and -listen takes the bridge's address. Reading the secret takes
// a request that is signed with the AWS_ACCESS_KEY_ID of this program's environment, which
// must be the one that sam is started with.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/keyreeve/keyreeve/infra/local/ddb"
	"github.com/keyreeve/keyreeve/infra/local/secrets"
	"github.com/keyreeve/keyreeve/pkg/config"
	"github.com/keyreeve/keyreeve/pkg/dynamo"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C does not wait for an orderly end
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "infra/sam:", err)
		stop()
		os.Exit(1)
	}
}

// Names in the place of what CloudFormation would make up.
const (
	keysTable    = "keyreeve-keys"
	metersTable  = "keyreeve-meters"
	sampleTable  = "keyreeve-sample"
	usageTable   = "keyreeve-usage"
	alertsTable  = "keyreeve-alerts"
	pepperSecret = "keyreeve/peppers"
	awsAccount   = "123456789012" // SAM's own stand-in for AWS::AccountId
)

// run serves until ctx ends or a part fails.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	flags := flag.NewFlagSet("sam", flag.ContinueOnError)
	flags.SetOutput(stderr)
	template := flags.String("template", "cdk.out/Keyreeve.template.json", "what cdk synth wrote")
	stage := flags.String("stage", "production", "the stage that SAM serves: it knows one alone")
	listen := flags.String("listen", "127.0.0.1", "address of this machine that serves the pepper secret")
	host := flags.String("host", "host.docker.internal", "name of this machine in a container")
	prepare := flags.Bool("prepare", false, "end when all is ready: fetches what will be needed")
	if err := flags.Parse(args); err != nil {
		return err
	}
	id, region := os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_REGION")
	if id == "" || region == "" {
		return errors.New("AWS_ACCESS_KEY_ID and AWS_REGION must be set, to what sam is started with; any value will do")
	}
	dir, err := os.MkdirTemp("", "keyreeve-sam-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	db, err := ddb.Start(ctx, ddb.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Stop()) }()
	client := dynamo.NewClient(config.Config{
		Region: region, AccessKeyID: id, SecretAccessKey: id, DynamoDBEndpoint: db.Endpoint, StoreTimeout: 20 * time.Second,
	})
	if err := ddb.CreateTables(ctx, client, ddb.Tables{
		Keys: keysTable, Meters: metersTable, Sample: sampleTable, Usage: usageTable, Alerts: alertsTable,
	}); err != nil {
		return err
	}

	peppers := filepath.Join(dir, "peppers.json")
	if err := secrets.EnsurePeppers(peppers); err != nil {
		return err
	}
	l, err := net.Listen("tcp", net.JoinHostPort(*listen, "0"))
	if err != nil {
		return err
	}
	server := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: secrets.New(secrets.Options{
		Name: pepperSecret, File: peppers, AccessKeyID: id, Region: region, AccountID: awsAccount,
	})}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	defer server.Close()

	files, err := write(*template, *stage, environment{
		"KEYS_TABLE": keysTable, "METERS_TABLE": metersTable, "SAMPLE_TABLE": sampleTable,
		"USAGE_TABLE": usageTable, "ALERTS_TABLE": alertsTable, "PEPPER_SECRET": pepperSecret,
		"EVENT_BUS":                        "", // alerts go to none: there is no EventBridge
		"REST_API_ID":                      "", // nothing is flushed: SAM keeps no policies
		"AWS_ENDPOINT_URL_DYNAMODB":        seenFromContainer(db.Endpoint, *host),
		"AWS_ENDPOINT_URL_SECRETS_MANAGER": seenFromContainer("http://"+l.Addr().String(), *host),
		// What takes DynamoDB Local two seconds on a busy machine is no failure yet.
		"STORE_TIMEOUT": "5s",
	})
	if err != nil {
		return err
	}
	if *prepare {
		return nil
	}
	fmt.Fprintf(stdout, `DynamoDB Local, its tables and the pepper secret are ready. In another terminal, with the same AWS_… variables:

  sam local invoke admin -t %[1]s --env-vars %[2]s -e events/admin-create-account.json
  sam local start-api    -t %[1]s --env-vars %[2]s

ready %[1]s %[2]s
`, files.template, files.env)
	select {
	case <-ctx.Done():
		return nil
	case <-db.Done():
		return errors.New("DynamoDB Local has ended")
	case err := <-served:
		return err
	}
}

// seenFromContainer is a URL of this machine with the name that containers know it by.
func seenFromContainer(endpoint, host string) string {
	port := endpoint[strings.LastIndexByte(endpoint, ':')+1:]
	return "http://" + net.JoinHostPort(host, port)
}
