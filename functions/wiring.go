package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/config"
	"github.com/keyreeve/keyreeve/pkg/dynamo"
	"github.com/keyreeve/keyreeve/pkg/emf"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/pepper"
	"github.com/keyreeve/keyreeve/pkg/route"
	"github.com/keyreeve/keyreeve/pkg/verify"
	"github.com/keyreeve/keyreeve/pkg/webhook"
)

// wiring makes the parts of one function out of its configuration, by hand: what a
// function does not use is not made.
type wiring struct {
	cfg     config.Config
	log     *slog.Logger
	table   *route.Table
	client  *dynamodb.Client
	ring    *ring
	peppers *pepper.Source
}

func newWiring(cfg config.Config) (*wiring, error) {
	w := &wiring{
		cfg:    cfg,
		log:    slog.New(slog.NewJSONHandler(os.Stderr, nil)),
		client: dynamo.NewClient(cfg),
		ring:   newRing(cfg),
	}
	w.peppers = pepper.New(func(ctx context.Context) ([]byte, error) {
		text, _, err := w.ring.Read(ctx)
		return text, err
	}, time.Now)
	var sampleRoutes []byte
	var err error
	if cfg.RoutesFile != "" {
		if sampleRoutes, err = os.ReadFile(cfg.RoutesFile); err != nil {
			return nil, fmt.Errorf("environment: ROUTES_FILE: %w", err)
		}
	}
	if w.table, err = route.Load(sampleRoutes); err != nil {
		return nil, fmt.Errorf("environment: ROUTES_FILE: %w", err)
	}
	return w, nil
}

func (w *wiring) keyStore() *dynamo.Keys {
	return dynamo.NewKeys(w.client, dynamo.KeysConfig{
		Table: w.cfg.KeysTable, Meters: w.cfg.MetersTable, UsageTable: w.cfg.UsageTable, Timeout: w.cfg.StoreTimeout,
		Retention: time.Duration(w.cfg.Settings.RetentionDays) * 24 * time.Hour,
	})
}

func (w *wiring) meters() *dynamo.Meters {
	return dynamo.NewMeters(w.client, w.cfg.MetersTable, w.cfg.StoreTimeout)
}

func (w *wiring) usage() *dynamo.Usage {
	return dynamo.NewUsage(w.client, dynamo.UsageConfig{Table: w.cfg.UsageTable, Timeout: w.cfg.StoreTimeout})
}

func (w *wiring) alerts() *dynamo.Alerts {
	return dynamo.NewAlerts(w.client, w.cfg.AlertsTable, w.cfg.StoreTimeout)
}

func (w *wiring) webhooks() *dynamo.Webhooks {
	return dynamo.NewWebhooks(w.client, w.cfg.AlertsTable, w.cfg.StoreTimeout)
}

func (w *wiring) sender() *webhook.Sender {
	return webhook.NewSender(webhook.SenderConfig{Anywhere: w.cfg.WebhooksAnywhere})
}

// metrics writes to the log, where CloudWatch finds the lines that are metrics.
func (w *wiring) metrics() *emf.Writer { return emf.New(os.Stdout, w.cfg.MetricsNamespace, time.Now) }

func (w *wiring) service() *keys.Service {
	return keys.NewService(keys.Config{
		Store: w.keyStore(), Peppers: w.peppers, Settings: w.cfg.Settings, Known: w.table.KnownPermission,
		Changed: w.flusher().AtOnce,
	})
}

func (w *wiring) verifier() *verify.Verifier {
	return verify.New(verify.Config{
		Store: w.keyStore(), Peppers: w.peppers, Prefixes: apikey.NewPrefixes(w.cfg.Settings.AcceptedPrefixes()),
	})
}
