package main

import (
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/keyreeve/keyreeve/authorizer"
	"github.com/keyreeve/keyreeve/functions/admin"
	keysfn "github.com/keyreeve/keyreeve/functions/keys"
	"github.com/keyreeve/keyreeve/functions/proxy"
	"github.com/keyreeve/keyreeve/functions/sample"
	"github.com/keyreeve/keyreeve/functions/stream"
	"github.com/keyreeve/keyreeve/pkg/dynamo"
	"github.com/keyreeve/keyreeve/pkg/guard"
)

// functions is the function table: the value of _HANDLER, which is also the name that the
// route table uses, and what makes the handler. Building one does no I/O.
var functions = map[string]func(*wiring) (lambda.Handler, error){
	"authorizer": func(w *wiring) (lambda.Handler, error) {
		return authorizer.New(authorizer.Config{Verifier: w.verifier(), Table: w.table, Log: w.log})
	},
	"keys": func(w *wiring) (lambda.Handler, error) {
		return w.behindGuard("keys", keysfn.New(keysfn.Config{
			Service: w.service(), Verifier: w.verifier(), Table: w.table, Settings: w.cfg.Settings, Log: w.log,
		})), nil
	},
	"sample": func(w *wiring) (lambda.Handler, error) {
		store := dynamo.NewSample(w.client, w.cfg.SampleTable, w.cfg.StoreTimeout)
		return w.behindGuard("sample", sample.New(sample.Config{Store: store})), nil
	},
	"stream": func(w *wiring) (lambda.Handler, error) { return stream.New(w.keyStore(), w.log), nil },
	"admin":  func(w *wiring) (lambda.Handler, error) { return admin.New(w.service(), w.ring, time.Now), nil },
}

func names() []string { return slices.Sorted(maps.Keys(functions)) }

func (w *wiring) behindGuard(function string, h http.Handler) lambda.Handler {
	return proxy.New(proxy.Config{
		Function: function, Table: w.table, Handler: h, Origins: w.cfg.Settings.CORSOrigins, Log: w.log,
		Guard: guard.New(guard.Config{Meters: w.meters(), Keys: w.keyStore(), Log: w.log}),
	})
}
