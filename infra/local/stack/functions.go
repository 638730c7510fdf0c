package stack

import (
	"context"
	"crypto/rand"
	"slices"
	"time"

	"github.com/keyreeve/keyreeve/infra/local/lambda"
)

// Functions that no route names.
const (
	authorizerFunction = "authorizer"
	streamFunction     = "stream"
	adminFunction      = "admin"
)

// startFunctions starts a process of each function that requests wait for.
func (s *Stack) startFunctions(ctx context.Context, o Options) error {
	names := []string{authorizerFunction}
	for _, r := range s.Table.Routes() {
		if !slices.Contains(names, r.Function) {
			names = append(names, r.Function)
		}
	}
	var functions []lambda.Function
	for _, name := range append(names, streamFunction, adminFunction) {
		f := lambda.Function{Name: name, Env: s.environment(name, o)}
		if name == streamFunction || name == adminFunction {
			f.Lazy, f.MaxProcesses = true, 1
		}
		if name == adminFunction {
			// It makes the first writes to a JVM that has just started, perhaps on a machine
			// that is busy with a build, and nobody waits for it but the start.
			f.Timeout = time.Minute
			f.Env["STORE_TIMEOUT"] = "20s"
		}
		if o.Function != nil {
			o.Function(&f)
		}
		functions = append(functions, f)
	}
	var err error
	s.Lambda, err = lambda.New(lambda.Options{
		Bootstrap: o.Bootstrap, Functions: functions, Region: region, AccountID: awsAccount,
		AccessKeyID: s.Config.AccessKeyID, Log: o.Log,
	})
	if err != nil {
		return err
	}
	s.atEnd(s.Lambda.Close)
	return s.Lambda.Start(ctx)
}

// environment is what infra would put into a function's configuration, and the endpoints
// that stand in for AWS's own.
func (s *Stack) environment(function string, o Options) map[string]string {
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
	if !slices.Contains([]string{authorizerFunction, streamFunction, adminFunction, "keys"}, function) {
		env["SAMPLE_TABLE"] = s.Config.SampleTable
	}
	return env
}

// newAccessKeyID draws the id that this stack's functions sign with. It is all that lets a
// process of this machine read the peppers over HTTP (see package secrets).
func newAccessKeyID() string { return "LOCAL" + rand.Text() }
