package config_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/config"
)

// env is a whole environment with some variables changed; "" takes one away.
func env(changes map[string]string) func(string) string {
	vars := map[string]string{
		"_HANDLER": "keys", "AWS_REGION": "eu-central-1", "KEYS_TABLE": "k", "METERS_TABLE": "m", "PEPPER_SECRET": "p",
		"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "access-secret-value", "USAGE_TABLE": "u", "ALERTS_TABLE": "a",
	}
	for name, v := range changes {
		vars[name] = v
	}
	return func(name string) string { return vars[name] }
}

func TestAWholeEnvironment(t *testing.T) {
	got, err := config.Load(env(map[string]string{
		"_HANDLER": "sample", "SAMPLE_TABLE": "s", "ROUTES_FILE": "/var/task/routes.json", "AWS_SESSION_TOKEN": "token",
		"AWS_ENDPOINT_URL_DYNAMODB": "http://127.0.0.1:8000", "AWS_ENDPOINT_URL": "https://emulator.example",
		"AWS_ENDPOINT_URL_EVENTBRIDGE": "http://127.0.0.1:8001", "AWS_ENDPOINT_URL_LAMBDA": "http://127.0.0.1:8002", "EVENT_BUS": "alerts", "METRICS_NAMESPACE": "Mine", "WEBHOOKS_ANYWHERE": "true",
		"STORE_TIMEOUT": "750ms", "REST_API_ID": "a1b2c3", "AWS_ENDPOINT_URL_API_GATEWAY": "http://127.0.0.1:8003", "AUTHORIZER_TIMEOUT": "3s", "KEYREEVE_SETTINGS": `{"sharedStage": true}`,
	}))
	if err != nil {
		t.Fatal(err)
	}
	settings := config.DefaultSettings()
	settings.SharedStage = true
	want := config.Config{
		Function: "sample", Region: "eu-central-1", KeysTable: "k", MetersTable: "m", SampleTable: "s", PepperSecret: "p",
		Settings: settings, RoutesFile: "/var/task/routes.json",
		AccessKeyID: "id", SecretAccessKey: "access-secret-value", SessionToken: "token",
		DynamoDBEndpoint: "http://127.0.0.1:8000", SecretsManagerEndpoint: "https://emulator.example",
		EventBridgeEndpoint: "http://127.0.0.1:8001", LambdaEndpoint: "http://127.0.0.1:8002", EventBus: "alerts", MetricsNamespace: "Mine", WebhooksAnywhere: true,
		RestAPIID: "a1b2c3", APIGatewayEndpoint: "http://127.0.0.1:8003", AuthorizerTimeout: 3 * time.Second,
		StoreTimeout: 750 * time.Millisecond,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Load (-want +got)\n%s", diff)
	}
}

func TestDefaultsOfTheEnvironment(t *testing.T) {
	c, err := config.Load(env(nil))
	if err != nil {
		t.Fatal(err)
	}
	if c.StoreTimeout != 2*time.Second || c.DynamoDBEndpoint != "" || c.SecretsManagerEndpoint != "" || c.SampleTable != "" || c.RoutesFile != "" {
		t.Errorf("defaults: timeout %v, endpoints %q and %q", c.StoreTimeout, c.DynamoDBEndpoint, c.SecretsManagerEndpoint)
	}
	if c.RestAPIID != "" || c.APIGatewayEndpoint != "" || c.AuthorizerTimeout != config.AuthorizerTimeout {
		t.Errorf("defaults: API %q at %q, authorizer's time-out %s", c.RestAPIID, c.APIGatewayEndpoint, c.AuthorizerTimeout)
	}
	if c.EventBus != "" || c.EventBridgeEndpoint != "" || c.MetricsNamespace != "Keyreeve" || c.WebhooksAnywhere {
		t.Errorf("defaults: bus %q at %q, metrics %q, webhooks anywhere %t", c.EventBus, c.EventBridgeEndpoint, c.MetricsNamespace, c.WebhooksAnywhere)
	}
	if diff := cmp.Diff(config.DefaultSettings(), c.Settings); diff != "" {
		t.Errorf("settings without KEYREEVE_SETTINGS (-default +got)\n%s", diff)
	}
}

// A function is told of the tables that its role lets it touch, and asks for no other.
func TestEachFunctionNeedsItsOwnTables(t *testing.T) {
	type tables struct{ sample, usage, alerts string }
	for function, want := range map[string]tables{
		"authorizer": {}, "stream": {}, "admin": {},
		"sample": {sample: "s"},
		"keys":   {usage: "u", alerts: "a"},
		"usage":  {usage: "u", alerts: "a"},
		"notify": {alerts: "a"},
	} {
		c, err := config.Load(env(map[string]string{"_HANDLER": function, "SAMPLE_TABLE": "s"}))
		if got := (tables{c.SampleTable, c.UsageTable, c.AlertsTable}); err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", function, got, err, want)
		}
		var missing []string
		for name, needed := range map[string]string{"SAMPLE_TABLE": want.sample, "USAGE_TABLE": want.usage, "ALERTS_TABLE": want.alerts} {
			if needed != "" {
				missing = append(missing, "environment: "+name+": is not set")
			}
		}
		_, err = config.Load(env(map[string]string{"_HANDLER": function, "USAGE_TABLE": "", "ALERTS_TABLE": ""}))
		if len(missing) > 0 {
			wantErrors(t, function+" without tables", err, missing...)
		} else if err != nil {
			t.Errorf("%s without tables: %v", function, err)
		}
	}
}

// The console's files are in the binary.
func TestTheConsoleNeedsNoTableAndNoPepper(t *testing.T) {
	nothing := map[string]string{"_HANDLER": "console", "KEYS_TABLE": "", "METERS_TABLE": "", "PEPPER_SECRET": "", "USAGE_TABLE": "", "ALERTS_TABLE": ""}
	if _, err := config.Load(env(nothing)); err != nil {
		t.Errorf("without any: %v", err)
	}
	c, err := config.Load(env(map[string]string{"_HANDLER": "console"}))
	if err != nil || c.KeysTable+c.MetersTable+c.PepperSecret != "" {
		t.Errorf("it has taken %q, %q, %q (%v), which are not its own", c.KeysTable, c.MetersTable, c.PepperSecret, err)
	}
}

// Only the local gateway lifts the rule for webhooks, and by this one word.
func TestWebhooksGoAnywhereOnlyIfThatIsSaidExactly(t *testing.T) {
	for value, want := range map[string]bool{"": false, "true": true, "TRUE": false, "1": false, "yes": false, " true": false, "false": false} {
		c, err := config.Load(env(map[string]string{"WEBHOOKS_ANYWHERE": value}))
		if err != nil || c.WebhooksAnywhere != want {
			t.Errorf("WEBHOOKS_ANYWHERE=%q: %t, %v; want %t", value, c.WebhooksAnywhere, err, want)
		}
	}
}

func TestAllThatIsMissingOrWrongIsReportedTogether(t *testing.T) {
	_, err := config.Load(func(string) string { return "" })
	wantErrors(t, "an empty environment", err,
		"environment: _HANDLER: is not set", "environment: AWS_REGION: is not set", "environment: KEYS_TABLE: is not set",
		"environment: METERS_TABLE: is not set", "environment: PEPPER_SECRET: is not set",
		"environment: AWS_ACCESS_KEY_ID: is not set", "environment: AWS_SECRET_ACCESS_KEY: is not set")

	const value = "a-value-that-is-wrong"
	_, err = config.Load(env(map[string]string{
		"_HANDLER": "sample", "KEYS_TABLE": "", "STORE_TIMEOUT": value, "KEYREEVE_SETTINGS": `{"retentionDays": "` + value + `", "x": 1}`,
		"AWS_ENDPOINT_URL_DYNAMODB": value, "AWS_ENDPOINT_URL": "ftp://" + value,
	}))
	wantErrors(t, "many faults", err,
		"environment: KEYS_TABLE: is not set", "environment: SAMPLE_TABLE: is not set", "environment: STORE_TIMEOUT: want a positive duration",
		"environment: KEYREEVE_SETTINGS: settings: retentionDays: want a whole number", "settings: x: unknown field",
		"environment: AWS_ENDPOINT_URL_DYNAMODB: want a URL", "environment: AWS_ENDPOINT_URL: want a URL")
	if strings.Contains(err.Error(), value) {
		t.Errorf("the error quotes a value: %v", err)
	}
}

func TestEachVariableIsChecked(t *testing.T) {
	for _, name := range []string{"_HANDLER", "AWS_REGION", "KEYS_TABLE", "METERS_TABLE", "PEPPER_SECRET", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} {
		c, err := config.Load(env(map[string]string{name: ""}))
		wantErrors(t, "without "+name, err, "environment: "+name+": is not set")
		if diff := cmp.Diff(config.Config{}, c); diff != "" {
			t.Errorf("without %s: a configuration together with an error", name)
		}
	}
	for name, wrong := range map[string][]string{
		"STORE_TIMEOUT":                    {"2", "0s", "-1s", "soon"},
		"AUTHORIZER_TIMEOUT":               {"10", "0s", "-1s"},
		"AWS_ENDPOINT_URL_API_GATEWAY":     {"localhost:8000"},
		"AWS_ENDPOINT_URL_DYNAMODB":        {"localhost:8000", "http://", "://", "/path", "unix:///socket", "http://[::1"},
		"AWS_ENDPOINT_URL_SECRETS_MANAGER": {"localhost:8000"},
		"AWS_ENDPOINT_URL_EVENTBRIDGE":     {"localhost:8000"},
		"AWS_ENDPOINT_URL_LAMBDA":          {"localhost:8000"},
		"KEYREEVE_SETTINGS":                {"{", "[]", "null", `"x"`, `{} {}`},
	} {
		for _, v := range wrong {
			_, err := config.Load(env(map[string]string{name: v}))
			wantErrors(t, name+"="+v, err, "environment: "+name+": ")
		}
	}
	for _, v := range []string{"http://127.0.0.1:8000", "https://emulator.example/", "http://[::1]:8000"} {
		if _, err := config.Load(env(map[string]string{"AWS_ENDPOINT_URL_DYNAMODB": v})); err != nil {
			t.Errorf("AWS_ENDPOINT_URL_DYNAMODB=%s: %v", v, err)
		}
	}
}

// wantErrors asserts that err is exactly these, in any order.
func wantErrors(t *testing.T, name string, err error, want ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("%s: no error", name)
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%s: no error has %q:\n%v", name, w, err)
		}
	}
	if n := strings.Count(err.Error(), "\n") + 1; n != len(want) {
		t.Errorf("%s: %d errors, want %d:\n%v", name, n, len(want), err)
	}
}
