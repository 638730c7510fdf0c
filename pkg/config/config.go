// Package config reads what a function is told by its environment, once, into a struct,
// and reports all that is missing or wrong together.
//
// The package imports the standard library alone.
package config

import (
	"errors"
	"fmt"
	"os"
	"time"
)

// Config is a function's environment.
type Config struct {
	Function string // _HANDLER: the row of the function table
	Region   string // AWS_REGION

	KeysTable    string // KEYS_TABLE
	MetersTable  string // METERS_TABLE
	SampleTable  string // SAMPLE_TABLE
	PepperSecret string // PEPPER_SECRET: name or ARN of the ring in Secrets Manager

	Settings   Settings // KEYREEVE_SETTINGS, JSON; empty: the defaults
	RoutesFile string   // ROUTES_FILE: replaces the sample's routes; empty: the embedded ones

	// Credentials of the function's role, as Lambda sets them: AWS_ACCESS_KEY_ID,
	// AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN.
	AccessKeyID, SecretAccessKey, SessionToken string

	// Endpoints that replace AWS's own, for the local gateway and emulators:
	// AWS_ENDPOINT_URL_DYNAMODB, AWS_ENDPOINT_URL_SECRETS_MANAGER, else AWS_ENDPOINT_URL.
	DynamoDBEndpoint, SecretsManagerEndpoint string

	// StoreTimeout bounds one call to DynamoDB, retries included: STORE_TIMEOUT, a Go
	// duration, 2s by default.
	StoreTimeout time.Duration
}

// Load reads the environment through getenv (os.Getenv).
func Load(getenv func(string) string) (Config, error) {
	var errs []error
	need := func(name string) string {
		v := getenv(name)
		if v == "" {
			errs = append(errs, fmt.Errorf("environment: %s is not set", name))
		}
		return v
	}
	first := func(names ...string) string {
		for _, n := range names {
			if v := getenv(n); v != "" {
				return v
			}
		}
		return ""
	}
	c := Config{
		Function: need("_HANDLER"), Region: need("AWS_REGION"),
		KeysTable: need("KEYS_TABLE"), MetersTable: need("METERS_TABLE"),
		SampleTable: getenv("SAMPLE_TABLE"), PepperSecret: need("PEPPER_SECRET"),
		RoutesFile:  getenv("ROUTES_FILE"),
		AccessKeyID: getenv("AWS_ACCESS_KEY_ID"), SecretAccessKey: getenv("AWS_SECRET_ACCESS_KEY"),
		SessionToken:           getenv("AWS_SESSION_TOKEN"),
		DynamoDBEndpoint:       first("AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL"),
		SecretsManagerEndpoint: first("AWS_ENDPOINT_URL_SECRETS_MANAGER", "AWS_ENDPOINT_URL"),
		StoreTimeout:           2 * time.Second,
	}
	settings := getenv("KEYREEVE_SETTINGS")
	if settings == "" {
		settings = "{}"
	}
	var err error
	if c.Settings, err = ParseSettings([]byte(settings)); err != nil {
		errs = append(errs, fmt.Errorf("environment: KEYREEVE_SETTINGS: %w", err))
	}
	if v := getenv("STORE_TIMEOUT"); v != "" {
		if c.StoreTimeout, err = time.ParseDuration(v); err != nil || c.StoreTimeout <= 0 {
			errs = append(errs, errors.New("environment: STORE_TIMEOUT: want a positive duration such as 2s"))
		}
	}
	return c, errors.Join(errs...)
}

// FromEnvironment is Load of the process's own environment.
func FromEnvironment() (Config, error) { return Load(os.Getenv) }
