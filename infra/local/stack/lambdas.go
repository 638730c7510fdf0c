package stack

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/infra/local/lambda"
)

// invocations is the path of Lambda's Invoke
// (https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html).
const invocations = "/2015-03-31/functions/{name}/invocations"

// startLambdas finds the functions of others that the route table names for upstreams. They
// run where Options.LambdaEndpoint says, or here: each from its directory in LambdaDir, over
// the Runtime API, as Lambda runs what is deployed with a bootstrap of its own. Nothing here
// ever asks AWS.
func (s *Stack) startLambdas(o Options) error {
	arns := s.Table.Lambdas()
	if s.Config.LambdaEndpoint = o.LambdaEndpoint; len(arns) == 0 || o.LambdaEndpoint != "" {
		return nil
	}
	run := map[string]*lambda.Runtime{} // by the function's name
	for _, arn := range arns {
		name := functionName(arn)
		if run[name] != nil {
			continue // another version
		}
		if o.LambdaDir == "" {
			o.Progress("there is no code for function %s here: make run takes LAMBDAS=, a directory with %s/bootstrap, or AWS_ENDPOINT_URL_LAMBDA from the environment", name, name)
			continue
		}
		code, err := filepath.Abs(filepath.Join(o.LambdaDir, name, "bootstrap"))
		if err != nil {
			return err
		}
		if at, err := os.Stat(code); err != nil || at.IsDir() || at.Mode()&0o111 == 0 {
			return fmt.Errorf("the route table names the function %s: want its program in %s", arn, code)
		}
		r, err := lambda.New(lambda.Options{
			Bootstrap: code, Region: region, AccountID: awsAccount, AccessKeyID: "LOCAL", Log: o.Log,
			Functions: []lambda.Function{{Name: name, Timeout: integrationTime, Lazy: true}},
		})
		if err != nil {
			return err
		}
		s.atEnd(r.Close)
		run[name] = r
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("serving the functions of upstreams: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+invocations, func(w http.ResponseWriter, r *http.Request) {
		invoke(w, r, run[functionName(r.PathValue("name"))], slog.New(slog.NewTextHandler(o.Log, nil)))
	})
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: mux}
	s.atEnd(server.Close)
	go s.watch("serving the functions of upstreams", func() error { return server.Serve(l) })
	s.Config.LambdaEndpoint = "http://" + l.Addr().String()
	return nil
}

// functionName is the name in a function's ARN.
func functionName(arn string) string {
	if parts := strings.Split(arn, ":"); len(parts) > 6 {
		return parts[6]
	}
	return arn
}

// invoke answers one Invoke.
func invoke(w http.ResponseWriter, r *http.Request, run *lambda.Runtime, log *slog.Logger) {
	name := functionName(r.PathValue("name"))
	refuse := func(status int, code string) {
		w.Header().Set("X-Amzn-Errortype", code)
		w.WriteHeader(status)
	}
	if run == nil {
		refuse(http.StatusNotFound, "ResourceNotFoundException")
		return
	}
	event, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 10<<20))
	if err != nil {
		refuse(http.StatusRequestEntityTooLarge, "RequestTooLargeException")
		return
	}
	output, err := run.Invoke(r.Context(), name, event)
	var failed *lambda.FunctionError
	switch {
	case errors.As(err, &failed):
		w.Header().Set("X-Amz-Function-Error", "Unhandled")
		output, _ = json.Marshal(map[string]string{"errorType": failed.Type, "errorMessage": failed.Message})
	case errors.Is(err, lambda.ErrRequestTooLarge):
		refuse(http.StatusRequestEntityTooLarge, "RequestTooLargeException")
		return
	case err != nil:
		log.Error("a function of an upstream cannot run", "function", name, "error", err)
		refuse(http.StatusInternalServerError, "ServiceException")
		return
	}
	_, _ = w.Write(output) // an error means that the caller has gone
}
