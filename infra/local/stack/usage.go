package stack

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/infra/local/gateway"
	"github.com/keyreeve/keyreeve/infra/local/logs"
	"github.com/keyreeve/keyreeve/pkg/logline"
)

// accessGroup is the log group of every stage's access log.
var accessGroup = logs.Group{Name: "keyreeve/access"}

// functionGroup is a function's log group, as Lambda names it, and the filter of what
// usage is to have of it.
func functionGroup(function string) logs.Group {
	return logs.Group{Name: "/aws/lambda/" + function, Filter: "events"}
}

// startLogs takes the lines that usage is counted by. They are delivered from when Start
// has come to its end: what an earlier run has left must not slow this one's start.
func (s *Stack) startLogs(o Options) error {
	invoke := func(ctx context.Context, event []byte) error {
		select {
		case <-s.started:
		case <-ctx.Done():
			return ctx.Err()
		}
		_, err := s.Lambda.Invoke(ctx, usageFunction, event)
		return err
	}
	if o.Deliver != nil {
		invoke = o.Deliver(invoke)
	}
	var err error
	s.logs, err = logs.Open(logs.Options{
		Dir: s.SpoolDir(), Invoke: invoke, Owner: awsAccount, Log: slog.New(slog.NewTextHandler(o.Log, nil)),
	})
	if err != nil {
		return fmt.Errorf("the spool of log lines: %w", err)
	}
	s.atEnd(s.logs.Close)
	return nil
}

// SpoolDir holds log lines that have not been counted yet.
func (s *Stack) SpoolDir() string { return filepath.Join(s.dir, "logs") }

// MetricsFile holds a line per measurement (package emf), from which CloudWatch would make
// metrics.
func (s *Stack) MetricsFile() string { return filepath.Join(s.dir, "metrics.log") }

// Drain returns when the function usage has processed every line that was logged before
// the call, and so every request that was answered before it is counted; or with ctx's
// error.
func (s *Stack) Drain(ctx context.Context) error { return s.logs.Drain(ctx) }

// took hands on what is known of a request. A line that cannot be kept must not stop the
// API; who counts is told.
func (s *Stack) took(e gateway.Entry, log *slog.Logger) {
	if err := s.logs.Write(accessGroup, e.Access().Line()); err != nil {
		log.Error("a request will not be counted", "error", err)
	}
}

// watched are the functions whose logs tell what the access log does not know: those that
// decide about requests.
func (s *Stack) watched() []string {
	return append([]string{authorizerFunction}, s.Table.Functions()...)
}

// functionLine takes a line that a function has written; false: it is nothing for people.
func (s *Stack) functionLine(watched []string, metrics *lineFile, log *slog.Logger) func(function, line string) bool {
	return func(function, line string) bool {
		if strings.HasPrefix(line, `{"_aws":`) { // CloudWatch's embedded metric format
			metrics.write([]byte(line))
			return false
		}
		// In AWS a pattern of the subscription filter chooses: { $.msg = "refused" || … }.
		if slices.Contains(watched, function) {
			if _, ok := logline.ParseEvent(line); ok {
				if err := s.logs.Write(functionGroup(function), line); err != nil {
					log.Error("a refusal will not be counted", "error", err)
				}
			}
		}
		return true
	}
}
