package main

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/keyreeve/keyreeve/authorizer"
	"github.com/keyreeve/keyreeve/functions/admin"
	"github.com/keyreeve/keyreeve/functions/console"
	"github.com/keyreeve/keyreeve/functions/forward"
	keysfn "github.com/keyreeve/keyreeve/functions/keys"
	"github.com/keyreeve/keyreeve/functions/notify"
	"github.com/keyreeve/keyreeve/functions/proxy"
	"github.com/keyreeve/keyreeve/functions/sample"
	"github.com/keyreeve/keyreeve/functions/stream"
	usagefn "github.com/keyreeve/keyreeve/functions/usage"
	"github.com/keyreeve/keyreeve/pkg/alert"
	"github.com/keyreeve/keyreeve/pkg/dynamo"
	"github.com/keyreeve/keyreeve/pkg/emf"
	"github.com/keyreeve/keyreeve/pkg/flush"
	"github.com/keyreeve/keyreeve/pkg/guard"
	"github.com/keyreeve/keyreeve/pkg/simulate"
	"github.com/keyreeve/keyreeve/pkg/usage"
	"github.com/keyreeve/keyreeve/pkg/webhook"
)

// functions is the function table: the value of _HANDLER, which is also the name that the
// route table uses, and what makes the handler. Building one does no I/O.
var functions = map[string]func(*wiring) (lambda.Handler, error){
	"authorizer": func(w *wiring) (lambda.Handler, error) {
		return authorizer.New(authorizer.Config{Verifier: w.verifier(), Table: w.table, Log: w.log})
	},
	"keys": func(w *wiring) (lambda.Handler, error) {
		service := w.service()
		simulator, err := simulate.New(simulate.Config{Keys: service, Meters: w.meters(), Table: w.table, Region: w.cfg.Region})
		if err != nil {
			return nil, err
		}
		return w.behindGuard("keys", keysfn.New(keysfn.Config{
			Service: service, Verifier: w.verifier(), Simulator: simulator, Table: w.table, Settings: w.cfg.Settings, Log: w.log,
			AuthorizerTimeout: w.cfg.AuthorizerTimeout,
			Usage:             usage.NewReports(usage.ReportsConfig{Store: w.usage(), Keys: service, Table: w.table}),
			Alerts:            alert.NewDesk(alert.DeskConfig{Store: w.alerts()}),
			Webhooks:          webhook.NewManager(webhook.ManagerConfig{Store: w.webhooks(), Peppers: w.peppers, Sender: w.sender()}),
		})), nil
	},
	"sample": func(w *wiring) (lambda.Handler, error) {
		store := dynamo.NewSample(w.client, w.cfg.SampleTable, w.cfg.StoreTimeout)
		return w.behindGuard("sample", sample.New(sample.Config{Store: store})), nil
	},
	"forward": func(w *wiring) (lambda.Handler, error) {
		return w.behindGuard("forward", forward.New(forward.Config{Table: w.table, Invoker: newLambdas(w.cfg), Log: w.log})), nil
	},
	"console": func(w *wiring) (lambda.Handler, error) {
		files, err := console.New(console.Built())
		if err != nil {
			return nil, err
		}
		// Its routes are public, so there is no guard; and nothing of it is for other origins.
		return proxy.New(proxy.Config{Function: "console", Table: w.table, Handler: files, Log: w.log}), nil
	},
	"usage": func(w *wiring) (lambda.Handler, error) {
		store, directory := w.usage(), dynamo.NewDirectory(w.client, w.cfg.KeysTable, w.cfg.StoreTimeout)
		metrics := w.metrics()
		return usagefn.New(usagefn.Config{
			Counter: usage.New(usage.Config{Store: store, Table: w.table, Keys: directory, Log: w.log}),
			Watcher: alert.New(alert.Config{
				Store: w.alerts(), Usage: store, Keys: directory, Meters: w.keyStore(), Log: w.log,
				Bound: flush.Bound(w.cfg.AuthorizerTimeout, time.Duration(*w.cfg.Settings.AuthorizerCacheSeconds)*time.Second),
				Late: func(ctx context.Context, requests int) {
					if err := metrics.Put(nil, emf.Metric{Name: emf.LateAccepts, Unit: emf.Count, Value: float64(requests)}); err != nil {
						w.log.ErrorContext(ctx, "no metrics", "error", err.Error())
					}
				},
			}),
			Metrics: metrics, Log: w.log,
		}), nil
	},
	"notify": func(w *wiring) (lambda.Handler, error) {
		alerts := w.alerts()
		return notify.New(notify.Config{
			Notifier: webhook.NewNotifier(webhook.NotifierConfig{
				Store: w.webhooks(), Alerts: alerts, Peppers: w.peppers, Sender: w.sender(), Bus: w.bus(),
				Waits: w.cfg.Settings.WebhookWaits(), Log: w.log,
			}),
			Alerts: alerts, Metrics: w.metrics(), Log: w.log,
		}), nil
	},
	"stream": func(w *wiring) (lambda.Handler, error) { return stream.New(w.keyStore(), w.flusher(), w.log), nil },
	"flush": func(w *wiring) (lambda.Handler, error) {
		return stream.NewLater(w.flusher(), w.cfg.AuthorizerTimeout, w.log), nil
	},
	"admin": func(w *wiring) (lambda.Handler, error) { return admin.New(w.service(), w.ring, time.Now), nil },
}

func names() []string { return slices.Sorted(maps.Keys(functions)) }

func (w *wiring) behindGuard(function string, h http.Handler) lambda.Handler {
	return proxy.New(proxy.Config{
		Function: function, Table: w.table, Handler: h, Origins: w.cfg.Settings.CORSOrigins, Log: w.log,
		Guard: guard.New(guard.Config{Meters: w.meters(), Keys: w.keyStore(), Log: w.log}),
	})
}
