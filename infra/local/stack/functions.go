package stack

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/keyreeve/keyreeve/infra/local/lambda"
	"github.com/keyreeve/keyreeve/pkg/config"
	"github.com/keyreeve/keyreeve/pkg/route"
)

// Functions that no route names.
const (
	authorizerFunction = "authorizer"
	streamFunction     = "stream"
	adminFunction      = "admin"
	usageFunction      = "usage"
	notifyFunction     = "notify"
	flushFunction      = "flush"
)

// consoleFunction is what the console's routes name.
const consoleFunction = "console"

// integrationTime is what API Gateway gives a function that a route names.
const integrationTime = 29 * time.Second

// background are the functions that no request waits for: one process at most, and that
// with the first invocation.
var background = []string{streamFunction, flushFunction, adminFunction, usageFunction, notifyFunction}

// startFunctions starts a process of each function that requests wait for.
func (s *Stack) startFunctions(ctx context.Context, o Options) error {
	watched := s.watched()
	var functions []lambda.Function
	for _, name := range append(watched[:len(watched):len(watched)], background...) {
		f := lambda.Function{Name: name, Env: s.environment(name, o)}
		if slices.Contains(background, name) {
			f.Lazy, f.MaxProcesses = true, 1
		}
		switch name {
		case consoleFunction:
			// Few open a page, and each keeps what it has got: not every start needs a process.
			f.Lazy, f.MaxProcesses = true, 1
		case authorizerFunction:
			f.Timeout = s.Config.AuthorizerTimeout
		case streamFunction, flushFunction:
			f.Timeout = time.Minute
		case adminFunction:
			// It makes the first writes to a JVM that has just started, perhaps on a machine
			// that is busy with a build, and nobody waits for it but the start.
			f.Timeout = time.Minute
			f.Env["STORE_TIMEOUT"] = "20s"
		case usageFunction:
			f.Timeout = 5 * time.Minute // infra's; a batch has many writes
		case notifyFunction:
			f.Timeout = time.Minute
		case route.Forward:
			// Infra's. A process that waits for an upstream is busy and costs nothing else.
			f.Timeout, f.MaxProcesses = integrationTime, 32
		}
		if o.Function != nil {
			o.Function(&f)
		}
		functions = append(functions, f)
	}
	metrics, err := openLog(s.MetricsFile())
	if err != nil {
		return fmt.Errorf("the file of metrics: %w", err)
	}
	s.atEnd(metrics.close)
	s.Lambda, err = lambda.New(lambda.Options{
		Bootstrap: o.Bootstrap, Functions: functions, Region: region, AccountID: awsAccount,
		AccessKeyID: s.Config.AccessKeyID, Log: o.Log,
		OnLine: s.functionLine(watched, metrics, slog.New(slog.NewTextHandler(o.Log, nil))),
	})
	if err != nil {
		return err
	}
	s.atEnd(s.Lambda.Close)
	if err := s.startLogs(o); err != nil {
		return err
	}
	return s.Lambda.Start(ctx)
}

// environment is what infra would put into a function's configuration, and the endpoints
// that stand in for AWS's own.
func (s *Stack) environment(function string, o Options) map[string]string {
	if function == consoleFunction {
		return map[string]string{} // its files are in the binary
	}
	env := map[string]string{
		"KEYS_TABLE": s.Config.KeysTable, "METERS_TABLE": s.Config.MetersTable, "PEPPER_SECRET": s.Config.PepperSecret,
		"KEYREEVE_SETTINGS":                string(o.Settings),
		"AWS_ENDPOINT_URL_DYNAMODB":        s.Config.DynamoDBEndpoint,
		"AWS_ENDPOINT_URL_SECRETS_MANAGER": s.Config.SecretsManagerEndpoint,
		// DynamoDB Local shares two cores with everything else: what takes it two seconds
		// is no failure yet.
		"STORE_TIMEOUT": "5s",
	}
	if o.RoutesFile != "" {
		env["ROUTES_FILE"] = o.RoutesFile
	}
	if flushes := []string{"keys", streamFunction, flushFunction}; !o.WithoutFlush && slices.Contains(flushes, function) {
		env["REST_API_ID"], env["AWS_ENDPOINT_URL_API_GATEWAY"] = s.Config.RestAPIID, s.Config.APIGatewayEndpoint
	}
	if s.Config.AuthorizerTimeout != config.AuthorizerTimeout {
		env["AUTHORIZER_TIMEOUT"] = s.Config.AuthorizerTimeout.String()
	}
	switch function {
	case authorizerFunction, streamFunction, flushFunction, adminFunction:
	case "keys":
		env["USAGE_TABLE"], env["ALERTS_TABLE"] = s.Config.UsageTable, s.Config.AlertsTable
		env["WEBHOOKS_ANYWHERE"] = "true"
	case usageFunction:
		env["USAGE_TABLE"], env["ALERTS_TABLE"] = s.Config.UsageTable, s.Config.AlertsTable
		env["METRICS_NAMESPACE"] = metricsNamespace
	case notifyFunction:
		env["ALERTS_TABLE"] = s.Config.AlertsTable
		env["WEBHOOKS_ANYWHERE"] = "true"
		env["METRICS_NAMESPACE"] = metricsNamespace
	case route.Forward:
		if s.Config.LambdaEndpoint != "" {
			env["AWS_ENDPOINT_URL_LAMBDA"] = s.Config.LambdaEndpoint
		}
	default:
		env["SAMPLE_TABLE"] = s.Config.SampleTable
	}
	return env
}

// newAccessKeyID draws the id that this stack's functions sign with. It is all that lets a
// process of this machine read the peppers over HTTP (see package secrets).
func newAccessKeyID() string { return "LOCAL" + rand.Text() }
