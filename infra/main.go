// Command cdk-app is Keyreeve as a CDK app: one stack with everything that serves API
// keys in an AWS account. `cdk deploy` runs it through cdk.json.
//
// The model: what a deployment chooses is the context of cdk.json (context.go), and
// everything else has its home in pkg: the routes in route, the layout of the tables in
// dynamo, API Gateway's own answers in httpapi, the functions' settings in config. Each
// file here makes one part of the stack out of these.
//
// Promises:
//
//   - API Gateway serves the route table's methods and OPTIONS, and nothing else.
//   - Each function has a role of its own, with the calls that it makes and no other. What
//     a role names by a wildcard has its reason beside it, in the template too.
//   - Tables and peppers outlive the stack, unless the context says "disposable".
//   - What nobody waits for (a line of a log, a record of a stream) and a function cannot do
//     ends in a queue, and an alarm says so.
//   - The same context makes the same template, so a second deploy finds nothing to do.
//   - A fault in the context is an error that names the field, before AWS is asked.
package main

import (
	"fmt"
	"os"
	"os/exec"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/jsii-runtime-go"
)

func main() {
	defer jsii.Close()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		jsii.Close()
		os.Exit(1)
	}
}

func run() error {
	app := newApp(nil)
	context, _ := app.Node().GetAllContext(nil).(map[string]any)
	d, err := parseContext(context, os.ReadFile)
	if err != nil {
		return err
	}
	if err := build(d.Arch); err != nil {
		return err
	}
	asset, remove, err := newAsset(bootstrap(d.Arch), d.RoutesJSON)
	if err != nil {
		return err
	}
	defer remove()
	newStack(app, d, asset)
	app.Synth(nil)
	return nil
}

// newApp makes an app with the feature flags that the stack counts on, whatever cdk.json
// says of others.
func newApp(props *awscdk.AppProps) awscdk.App {
	if props == nil {
		props = &awscdk.AppProps{}
	}
	props.AnalyticsReporting = jsii.Bool(false) // no resource in the template that is there for AWS's statistics
	app := awscdk.NewApp(props)
	// Without it a change of an authorizer makes no new deployment, so the stages would go
	// on with the old one.
	app.Node().SetContext(jsii.String("@aws-cdk/aws-apigateway:authorizerChangeDeploymentLogicalId"), true)
	return app
}

// build has make bring the binary for Lambda up to date: which one, only the context
// knows.
func build(arch string) error {
	cmd := exec.Command("make", "--silent", "--no-print-directory", bootstrap(arch))
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("making %s: %w", bootstrap(arch), err)
	}
	return nil
}
