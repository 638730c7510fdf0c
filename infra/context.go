package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/mail"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/pkg/config"
	"github.com/keyreeve/keyreeve/pkg/policy"
	"github.com/keyreeve/keyreeve/pkg/route"
)

// deployment is what the context of cdk.json says, checked, with the defaults filled in.
// The fields of config.Settings stand beside these in the context:
//
//	stackName         "Keyreeve"; another one makes another installation
//	arch              "arm64" or "x86_64", of the functions
//	preset            a name in infra/presets, or a file; what the context says besides wins
//	routes            a file with a route table; empty: the sample's
//	disposable        true: tables, peppers and log group go with the stack
//	domains           {"production": {"name", "certificateArn", "hostedZoneId"}}, by stage
//	throttle          {"production": {"rate", "burst"}}, by stage: requests a second
//	alarmEmail        who is told of alarms, which are about this installation; empty: nobody
//	alertEmail        who is told of alerts, which are about keys of any account; empty: nobody
//	logRetentionDays  of all logs
//	accountLogRole    false: another stack gives API Gateway its role for logs (see logs.go)
//	cliCredentials    true: deploy as whoever runs cdk, and not through the bootstrap's roles
type deployment struct {
	StackName        string
	Arch             string
	Disposable       bool
	Domains          map[string]domain
	Throttle         map[string]throttle
	AlarmEmail       string
	AlertEmail       string
	LogRetentionDays int
	AccountLogRole   bool
	CLICredentials   bool

	Settings config.Settings
	// SettingsJSON is what the context chooses of Settings: a function's KEYREEVE_SETTINGS.
	SettingsJSON string
	Table        *route.Table
	RoutesJSON   []byte // nil: the sample's routes
}

// domain is a stage's custom domain.
type domain struct {
	Name           string // api.example.com
	CertificateARN string // of a certificate in the region of the stack
	HostedZoneID   string // makes the DNS records too; empty: somebody else does
}

// throttle bounds a stage: a token bucket of Burst requests that fills at Rate a second.
type throttle struct{ Rate, Burst int }

// The stages, each an environment by its stage variable. The last one takes keys of every
// environment and is off by default.
const (
	production  = "production"
	staging     = "staging"
	development = "development"
	shared      = "shared"
)

func (d *deployment) stages() []string {
	s := []string{production, staging, development}
	if d.Settings.SharedStage {
		s = append(s, shared)
	}
	return s
}

// defaultThrottle keeps a flood on one stage from using up what the account may serve in
// all (10,000 requests a second unless AWS has raised it), and bounds what it costs.
func defaultThrottle(stage string) throttle {
	if stage == production || stage == shared {
		return throttle{Rate: 1000, Burst: 2000}
	}
	return throttle{Rate: 100, Burst: 200}
}

// maxSettings is the longest SettingsJSON in bytes. All of a function's environment may
// be 4 KB (https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html); the
// rest is for names and ARNs.
const maxSettings = 3 << 10

// logRetentions are the days that CloudWatch Logs takes (PutRetentionPolicy).
var logRetentions = []int{1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653}

var (
	stackNameForm   = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]{0,99}$`)
	hostForm        = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]$`)
	certificateForm = regexp.MustCompile(`^arn:aws[a-z-]*:acm:[a-z0-9-]+:[0-9]{12}:certificate/[A-Za-z0-9-]+$`)
	zoneForm        = regexp.MustCompile(`^[A-Z0-9]{1,32}$`)
	// ourName tells a field of ours from what the CDK and its command line put into the
	// context: those names hold ':', '@' or '-'.
	ourName = regexp.MustCompile(`^[A-Za-z0-9_]+$`)
)

// parseContext checks the context as the CDK hands it over, where `-c name=value` makes
// each value a string. read reads a file. The error lists every field at fault and quotes
// no value.
func parseContext(context map[string]any, read func(string) ([]byte, error)) (deployment, error) {
	p := &contextParser{values: map[string]json.RawMessage{}}
	for name, value := range context {
		if !ourName.MatchString(name) {
			continue
		}
		text, err := json.Marshal(value)
		if err != nil {
			p.fail(name, "not JSON")
			continue
		}
		p.values[name] = text
	}
	d := deployment{StackName: "Keyreeve", Arch: "arm64", LogRetentionDays: 30, AccountLogRole: true}
	p.text("stackName", &d.StackName)
	if !stackNameForm.MatchString(d.StackName) {
		p.fail("stackName", "want 1 to 100 of A-Z, a-z, 0-9 and '-', a letter first")
	}
	p.text("arch", &d.Arch)
	if d.Arch != "arm64" && d.Arch != "x86_64" {
		p.fail("arch", "want arm64 or x86_64")
	}
	p.value("disposable", &d.Disposable, "true or false")
	p.value("accountLogRole", &d.AccountLogRole, "true or false")
	p.value("cliCredentials", &d.CLICredentials, "true or false")
	p.email("alarmEmail", &d.AlarmEmail)
	p.email("alertEmail", &d.AlertEmail)
	p.value("logRetentionDays", &d.LogRetentionDays, "a whole number")
	if !slices.Contains(logRetentions, d.LogRetentionDays) {
		p.fail("logRetentionDays", "want one of %v, which are CloudWatch's", logRetentions)
	}
	p.settings(&d, read)
	p.stageFields(&d)
	p.routes(&d, read)
	for _, name := range slices.Sorted(maps.Keys(p.values)) {
		p.fail(name, "unknown field")
	}
	if len(p.errs) > 0 {
		return deployment{}, errors.Join(p.errs...)
	}
	return d, nil
}

// contextParser takes fields out of values until none is left.
type contextParser struct {
	values map[string]json.RawMessage
	errs   []error
	failed map[string]bool
}

// fail records the first fault of a field: what follows from it is no news.
func (p *contextParser) fail(field, format string, a ...any) {
	if p.failed[field] {
		return
	}
	if p.failed == nil {
		p.failed = map[string]bool{}
	}
	p.failed[field] = true
	p.errs = append(p.errs, fmt.Errorf("cdk.json: context: %s: %s", field, fmt.Sprintf(format, a...)))
}

func (p *contextParser) take(field string) (json.RawMessage, bool) {
	v, ok := p.values[field]
	delete(p.values, field)
	return v, ok
}

// text reads a string.
func (p *contextParser) text(field string, target *string) {
	if v, ok := p.take(field); ok {
		p.decode(field, v, target, "text")
	}
}

// email reads an address and nothing around it; empty: nobody's.
func (p *contextParser) email(field string, target *string) {
	p.text(field, target)
	if a, err := mail.ParseAddress(*target); *target != "" && (err != nil || a.Address != *target) {
		p.fail(field, "want an address such as ops@example.com")
	}
}

// value reads what is no string, and takes a string that holds it in JSON.
func (p *contextParser) value(field string, target any, want string) {
	if v, ok := p.take(field); ok {
		p.decode(field, unquote(v), target, want)
	}
}

// decode decodes one value. encoding/json would take null for anything.
func (p *contextParser) decode(field string, text []byte, target any, want string) {
	if string(text) == "null" || json.Unmarshal(text, target) != nil {
		p.fail(field, "want %s", want)
	}
}

// unquote is what a string holds if that is JSON, as `-c name=value` brings it, and else
// the value itself.
func unquote(text []byte) []byte {
	var s string
	if json.Unmarshal(text, &s) == nil && json.Valid([]byte(s)) {
		return []byte(s)
	}
	return text
}

// settingsFields are the fields of config.Settings that are no texts themselves.
var settingsFields = []string{
	"prefixes", "sharedStage", "plans", "developmentFactor", "retentionDays", "authorizerCacheSeconds", "corsOrigins",
	"webhookRetrySeconds",
}

// settings reads the preset and the fields that are config's, which checks them.
func (p *contextParser) settings(d *deployment, read func(string) ([]byte, error)) {
	chosen := map[string]json.RawMessage{}
	var preset string
	p.text("preset", &preset)
	if preset != "" {
		if !strings.ContainsAny(preset, "./\\") {
			preset = filepath.Join("infra", "presets", preset+".json")
		}
		if text, err := read(preset); err != nil {
			p.fail("preset", "want a name in infra/presets, or a file: %v", err)
		} else if _, err := config.ParseSettings(text); err != nil {
			p.fail("preset", "%v", err)
		} else {
			p.decode("preset", text, &chosen, "an object")
		}
	}
	for _, field := range settingsFields {
		if v, ok := p.take(field); ok {
			chosen[field] = unquote(v)
		}
	}
	if v, ok := p.take("defaultPlan"); ok {
		chosen["defaultPlan"] = v
	}
	text, err := json.Marshal(chosen) // sorted by name: the same choice is the same environment
	if err != nil {
		p.errs = append(p.errs, fmt.Errorf("cdk.json: context: %w", err))
		return
	}
	d.Settings, err = config.ParseSettings(text)
	for _, err := range list(err) {
		field, fault, _ := strings.Cut(strings.TrimPrefix(err.Error(), "settings: "), ": ")
		p.fail(field, "%s", fault)
	}
	if len(text) > maxSettings {
		longest := slices.MaxFunc(slices.Sorted(maps.Keys(chosen)), func(a, b string) int { return len(chosen[a]) - len(chosen[b]) })
		p.fail(longest, "the settings are %d bytes and a Lambda function's environment has room for %d; this field is the longest", len(text), maxSettings)
	}
	d.SettingsJSON = string(text)
}

// list takes joined errors apart.
func list(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	if err == nil {
		return nil
	}
	return []error{err}
}

// object calls member for each member of an object, sorted by name.
func (p *contextParser) object(field string, text []byte, member func(field, name string, value json.RawMessage)) {
	var values map[string]json.RawMessage
	if err := json.Unmarshal(text, &values); err != nil || values == nil {
		p.fail(field, "want an object")
		return
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		member(field+"."+name, name, values[name])
	}
}

// stageFields reads what is given by stage.
func (p *contextParser) stageFields(d *deployment) {
	byStage := func(field string, one func(field, stage string, value json.RawMessage)) {
		v, ok := p.take(field)
		if !ok {
			return
		}
		p.object(field, unquote(v), func(field, stage string, value json.RawMessage) {
			if !slices.Contains(d.stages(), stage) {
				p.fail(field, "there is no such stage, want one of %v", d.stages())
				return
			}
			one(field, stage, value)
		})
	}
	d.Throttle = map[string]throttle{}
	for _, s := range d.stages() {
		d.Throttle[s] = defaultThrottle(s)
	}
	byStage("throttle", func(field, stage string, value json.RawMessage) {
		t := d.Throttle[stage]
		p.object(field, value, func(field, name string, value json.RawMessage) {
			switch name {
			case "rate":
				p.limit(field, value, &t.Rate)
			case "burst":
				p.limit(field, value, &t.Burst)
			default:
				p.fail(field, "unknown field")
			}
		})
		d.Throttle[stage] = t
	})
	d.Domains = map[string]domain{}
	taken := map[string]string{}
	byStage("domains", func(field, stage string, value json.RawMessage) {
		var o domain
		p.object(field, value, func(field, name string, value json.RawMessage) {
			switch name {
			case "name":
				p.decode(field, value, &o.Name, "text")
			case "certificateArn":
				p.decode(field, value, &o.CertificateARN, "text")
			case "hostedZoneId":
				p.decode(field, value, &o.HostedZoneID, "text")
			default:
				p.fail(field, "unknown field")
			}
		})
		if !hostForm.MatchString(o.Name) || len(o.Name) > 253 {
			p.fail(field+".name", "want a host name in lower case such as api.example.com")
		}
		if taken[o.Name] != "" {
			p.fail(field+".name", "is the name of %s too: each stage needs its own", taken[o.Name])
		}
		taken[o.Name] = stage
		if !certificateForm.MatchString(o.CertificateARN) {
			p.fail(field+".certificateArn", "want the ARN of a certificate in ACM, of the stack's region")
		}
		if o.HostedZoneID != "" && !zoneForm.MatchString(o.HostedZoneID) {
			p.fail(field+".hostedZoneId", "want the id of a hosted zone in Route 53")
		}
		d.Domains[stage] = o
	})
}

func (p *contextParser) limit(field string, text []byte, target *int) {
	p.decode(field, text, target, "a whole number")
	if *target < 1 || *target > 100_000 {
		p.fail(field, "want 1 to 100000")
	}
}

// routes reads the route table, whose rows may name rows of the function table only. The
// table itself refuses those that are not for routes.
func (p *contextParser) routes(d *deployment, read func(string) ([]byte, error)) {
	var file string
	p.text("routes", &file)
	if file != "" {
		text, err := read(file)
		if err != nil {
			p.fail("routes", "want a file with a route table: %v", err)
			return
		}
		d.RoutesJSON = bytes.Clone(text)
	}
	var err error
	if d.Table, err = route.Load(d.RoutesJSON); err != nil {
		p.fail("routes", "%v", err)
		return
	}
	if _, err := policy.New(d.Table); err != nil { // sooner than at the authorizer's start
		p.fail("routes", "%v", err)
	}
	for _, f := range d.Table.Functions() {
		if !slices.ContainsFunc(functions, func(r function) bool { return r.name == f }) {
			p.fail("routes", "function %s is no row of the function table (infra/functions.go)", f)
		}
	}
}
