// Command bootstrap is every Lambda function of Keyreeve in one binary. Which one a
// process is, Lambda's _HANDLER says (see functions.go); everything else it is told by
// its environment (package config).
package main

import (
	"fmt"
	"os"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/keyreeve/keyreeve/pkg/config"
)

func main() {
	handler, err := start()
	if err != nil {
		// Lambda reports the exit as an init error; no request was taken.
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	lambda.Start(handler)
}

func start() (lambda.Handler, error) {
	cfg, err := config.FromEnvironment()
	if err != nil {
		return nil, err
	}
	build, ok := functions[cfg.Function]
	if !ok {
		return nil, fmt.Errorf("environment: _HANDLER names no function of this binary; there are %v", names())
	}
	w, err := newWiring(cfg)
	if err != nil {
		return nil, err
	}
	return build(w)
}
