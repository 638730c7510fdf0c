// Package config reads what a function is told by its environment, once, into a struct,
// and reports all that is missing or wrong together.
//
// The package imports the standard library alone.
package config

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"time"
)

// Config is a function's environment.
type Config struct {
	Function string // _HANDLER: the row of the function table
	Region   string // AWS_REGION

	// The tables and the secret of what is told of them: everything but the function console
	// needs the first two and the last.
	KeysTable    string // KEYS_TABLE
	MetersTable  string // METERS_TABLE
	SampleTable  string // SAMPLE_TABLE: needed by the function sample alone
	UsageTable   string // USAGE_TABLE: needed by the functions keys and usage
	AlertsTable  string // ALERTS_TABLE: needed by the functions keys, usage and notify
	PepperSecret string // PEPPER_SECRET: name or ARN of the ring in Secrets Manager

	Settings   Settings // KEYREEVE_SETTINGS, JSON; empty: the defaults
	RoutesFile string   // ROUTES_FILE: replaces the sample's routes; empty: the embedded ones

	// Credentials of the function's role, as Lambda sets them: AWS_ACCESS_KEY_ID,
	// AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN.
	AccessKeyID, SecretAccessKey, SessionToken string

	// Endpoints that replace AWS's own, for the local gateway and emulators:
	// AWS_ENDPOINT_URL_DYNAMODB, AWS_ENDPOINT_URL_SECRETS_MANAGER,
	// AWS_ENDPOINT_URL_EVENTBRIDGE, AWS_ENDPOINT_URL_LAMBDA, else AWS_ENDPOINT_URL.
	DynamoDBEndpoint, SecretsManagerEndpoint, EventBridgeEndpoint, LambdaEndpoint string

	// EventBus is the name of the EventBridge bus that alerts go to: EVENT_BUS; empty: to none.
	EventBus string
	// MetricsNamespace is where a function's metrics go: METRICS_NAMESPACE, "Keyreeve" by
	// default.
	MetricsNamespace string
	// WebhooksAnywhere lifts the rule that webhooks go to public addresses by HTTPS only:
	// WEBHOOKS_ANYWHERE=true. Only the local gateway sets it, whose users' receivers are on
	// their own machine.
	WebhooksAnywhere bool

	// RestAPIID names the REST API whose authorizers' caches are flushed when a key changes:
	// REST_API_ID; empty: nothing is flushed. APIGatewayEndpoint replaces the endpoint of the
	// call, as above: AWS_ENDPOINT_URL_API_GATEWAY.
	RestAPIID, APIGatewayEndpoint string
	// AuthorizerTimeout is how long the function authorizer may work: AUTHORIZER_TIMEOUT,
	// the default below.
	AuthorizerTimeout time.Duration

	// StoreTimeout bounds one call to DynamoDB, retries included: STORE_TIMEOUT, a Go
	// duration, 2s by default.
	StoreTimeout time.Duration
}

// AuthorizerTimeout is the function authorizer's where nothing else is said.
const AuthorizerTimeout = 10 * time.Second

// Load reads the environment through getenv (os.Getenv). The error lists every variable
// that is missing or wrong by its name and quotes no value.
func Load(getenv func(string) string) (Config, error) {
	l := &loader{getenv: getenv}
	c := Config{
		Function: l.need("_HANDLER"), Region: l.need("AWS_REGION"),
		RoutesFile:  getenv("ROUTES_FILE"),
		AccessKeyID: l.need("AWS_ACCESS_KEY_ID"), SecretAccessKey: l.need("AWS_SECRET_ACCESS_KEY"),
		SessionToken:           getenv("AWS_SESSION_TOKEN"),
		DynamoDBEndpoint:       l.endpoint("AWS_ENDPOINT_URL_DYNAMODB"),
		SecretsManagerEndpoint: l.endpoint("AWS_ENDPOINT_URL_SECRETS_MANAGER"),
		EventBridgeEndpoint:    l.endpoint("AWS_ENDPOINT_URL_EVENTBRIDGE"),
		LambdaEndpoint:         l.endpoint("AWS_ENDPOINT_URL_LAMBDA"),
		RestAPIID:              getenv("REST_API_ID"),
		APIGatewayEndpoint:     l.endpoint("AWS_ENDPOINT_URL_API_GATEWAY"),
		EventBus:               getenv("EVENT_BUS"),
		MetricsNamespace:       cmp.Or(getenv("METRICS_NAMESPACE"), "Keyreeve"),
		WebhooksAnywhere:       getenv("WEBHOOKS_ANYWHERE") == "true",
	}
	if c.Function != "console" { // which has files alone
		c.KeysTable, c.MetersTable, c.PepperSecret = l.need("KEYS_TABLE"), l.need("METERS_TABLE"), l.need("PEPPER_SECRET")
	}
	switch c.Function {
	case "sample":
		c.SampleTable = l.need("SAMPLE_TABLE")
	case "keys", "usage":
		c.UsageTable, c.AlertsTable = l.need("USAGE_TABLE"), l.need("ALERTS_TABLE")
	case "notify":
		c.AlertsTable = l.need("ALERTS_TABLE")
	}
	settings := getenv("KEYREEVE_SETTINGS")
	if settings == "" {
		settings = "{}"
	}
	var err error
	if c.Settings, err = ParseSettings([]byte(settings)); err != nil {
		l.errs = append(l.errs, fmt.Errorf("environment: KEYREEVE_SETTINGS: %w", err))
	}
	c.StoreTimeout = l.duration("STORE_TIMEOUT", 2*time.Second)
	c.AuthorizerTimeout = l.duration("AUTHORIZER_TIMEOUT", AuthorizerTimeout)
	if len(l.errs) > 0 {
		return Config{}, errors.Join(l.errs...)
	}
	return c, nil
}

type loader struct {
	getenv func(string) string
	errs   []error
	failed []string // names of variables
}

// fail records the first fault of a variable; AWS_ENDPOINT_URL is looked at for several
// services.
func (l *loader) fail(name, text string) {
	if slices.Contains(l.failed, name) {
		return
	}
	l.failed = append(l.failed, name)
	l.errs = append(l.errs, fmt.Errorf("environment: %s: %s", name, text))
}

func (l *loader) need(name string) string {
	v := l.getenv(name)
	if v == "" {
		l.fail(name, "is not set")
	}
	return v
}

// duration reads a time that is more than none.
func (l *loader) duration(name string, otherwise time.Duration) time.Duration {
	v := l.getenv(name)
	if v == "" {
		return otherwise
	}
	d, err := time.ParseDuration(v)
	if err != nil || d <= 0 {
		l.fail(name, "want a positive duration such as 2s")
	}
	return d
}

// endpoint reads what replaces one service's endpoint, or every service's
// (https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html).
func (l *loader) endpoint(name string) string {
	v := l.getenv(name)
	if v == "" {
		name = "AWS_ENDPOINT_URL"
		v = l.getenv(name)
	}
	if v == "" {
		return ""
	}
	if u, err := url.Parse(v); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		l.fail(name, "want a URL such as http://127.0.0.1:8000")
	}
	return v
}

// FromEnvironment is Load of the process's own environment.
func FromEnvironment() (Config, error) { return Load(os.Getenv) }
