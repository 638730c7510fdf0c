package config_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/config"
)

func parse(t testing.TB, text string) config.Settings {
	t.Helper()
	s, err := config.ParseSettings([]byte(text))
	if err != nil {
		t.Fatalf("ParseSettings(%s): %v", text, err)
	}
	return s
}

func TestWhatIsLeftOutKeepsItsDefault(t *testing.T) {
	if diff := cmp.Diff(config.DefaultSettings(), parse(t, `{}`)); diff != "" {
		t.Errorf("no settings (-default +got)\n%s", diff)
	}
	for text, change := range map[string]func(*config.Settings){
		`{"sharedStage": true}`:                      func(s *config.Settings) { s.SharedStage = true },
		`{"defaultPlan": "pro"}`:                     func(s *config.Settings) { s.DefaultPlan = "pro" },
		`{"developmentFactor": 1}`:                   func(s *config.Settings) { s.DevelopmentFactor = 1 },
		`{"retentionDays": 3650}`:                    func(s *config.Settings) { s.RetentionDays = 3650 },
		`{"authorizerCacheSeconds": 0}`:              func(s *config.Settings) { *s.AuthorizerCacheSeconds = 0 },
		`{"corsOrigins": []}`:                        func(s *config.Settings) { s.CORSOrigins = []string{} },
		`{"corsOrigins": ["https://a.example:444"]}`: func(s *config.Settings) { s.CORSOrigins = []string{"https://a.example:444"} },
		`{"webhookRetrySeconds": []}`:                func(s *config.Settings) { s.WebhookRetrySeconds = []int{} },
		`{"webhookRetrySeconds": [1, 86400]}`:        func(s *config.Settings) { s.WebhookRetrySeconds = []int{1, 86400} },
		`{"plans": {"pro": {"rateLimit": 250}}}`: func(s *config.Settings) {
			s.Plans["pro"] = config.Plan{RateLimit: 250, Keys: s.Plans["pro"].Keys}
		},
		`{"plans": {"gold": {"rateLimit": 5, "keys": 6}}, "defaultPlan": "gold"}`: func(s *config.Settings) {
			s.Plans["gold"], s.DefaultPlan = config.Plan{RateLimit: 5, Keys: 6}, "gold"
		},
		`{"prefixes": {"canonical": {"staging": {"issue": "st"}}}}`: func(s *config.Settings) {
			s.Prefixes["canonical"]["staging"] = config.Prefix{Issue: "st"}
		},
		`{"prefixes": {"canonical": {"staging": {"accept": ["old"]}}}}`: func(s *config.Settings) {
			s.Prefixes["canonical"]["staging"] = config.Prefix{Issue: "kr_stage", Accept: []string{"old"}}
		},
		`{"prefixes": {"account": {"production": {"issue": "ac"}}}}`: func(s *config.Settings) {
			s.Prefixes["account"] = map[string]config.Prefix{"production": {Issue: "ac"}}
		},
	} {
		want := config.DefaultSettings()
		change(&want)
		if diff := cmp.Diff(want, parse(t, text)); diff != "" {
			t.Errorf("%s (-want +got)\n%s", text, diff)
		}
	}
}

func TestDefaultsAreNotSharedBetweenSettings(t *testing.T) {
	parse(t, `{"plans": {"pro": {"rateLimit": 1}}, "prefixes": {"canonical": {"production": {"issue": "x"}}}, "authorizerCacheSeconds": 1, "corsOrigins": ["https://a.example"], "webhookRetrySeconds": [7]}`)
	if diff := cmp.Diff(parse(t, `{}`), config.DefaultSettings()); diff != "" {
		t.Error("settings change the defaults")
	}
	if d := config.DefaultSettings(); d.Plans["pro"].RateLimit != 100 || d.PrefixFor("canonical", "production") != "kr_live" || *d.AuthorizerCacheSeconds != 60 || d.CORSOrigins[0] != "*" || d.WebhookRetrySeconds[0] != 60 {
		t.Errorf("the defaults are %+v", d)
	}
}

func TestEveryFieldsErrorNamesTheField(t *testing.T) {
	const pasted = "kr_live_a1b2c3d4_0123456789abcdefghijklmnopqrstuv" // must not be quoted
	named := map[string]bool{}
	for text, want := range map[string]string{
		`{"prefixes": 1}`:                                                                   "prefixes: want an object",
		`{"prefixes": {"canonical": []}}`:                                                   "prefixes.canonical: want an object",
		`{"prefixes": {"canonical": {"production": "mk"}}}`:                                 "prefixes.canonical.production: want an object",
		`{"prefixes": {"snake": {}}}`:                                                       "prefixes.snake: unknown face, want one of [canonical account]",
		`{"prefixes": {"account": {"shared": {"issue": "mk"}}}}`:                            "prefixes.account.shared: unknown environment",
		`{"prefixes": {"account": {"production": {}}}}`:                                     "prefixes.account.production.issue: want 1 to 32",
		`{"prefixes": {"canonical": {"production": {"issue": "` + pasted + `"}}}}`:          "prefixes.canonical.production.issue: want 1 to 32",
		`{"prefixes": {"canonical": {"production": {"issue": ""}}}}`:                        "prefixes.canonical.production.issue: want 1 to 32",
		`{"prefixes": {"canonical": {"production": {"issue": 7}}}}`:                         "prefixes.canonical.production.issue: want text",
		`{"prefixes": {"canonical": {"production": {"accept": ["ok", "` + pasted + `"]}}}}`: "prefixes.canonical.production.accept[1]: want 1 to 32",
		`{"prefixes": {"canonical": {"production": {"accept": "ok"}}}}`:                     "prefixes.canonical.production.accept: want an array of texts",
		`{"prefixes": {"canonical": {"production": {"retired": ["ok"]}}}}`:                  "prefixes.canonical.production.retired: unknown field",
		`{"sharedStage": "` + pasted + `"}`:                                                 "sharedStage: want true or false",
		`{"sharedStage": null}`:                                                             "sharedStage: want true or false",
		`{"plans": []}`:                                                                     "plans: want an object",
		`{"plans": {"pro": 100}}`:                                                           "plans.pro: want an object",
		`{"plans": {"pro": {"rateLimit": 0}}}`:                                              "plans.pro.rateLimit: want 1 to 1000000",
		`{"plans": {"pro": {"rateLimit": 1000001}}}`:                                        "plans.pro.rateLimit: want 1 to 1000000",
		`{"plans": {"pro": {"rateLimit": 1.5}}}`:                                            "plans.pro.rateLimit: want a whole number",
		`{"plans": {"pro": {"rateLimit": "` + pasted + `"}}}`:                               "plans.pro.rateLimit: want a whole number",
		`{"plans": {"pro": {"rateLimit": 1e400}}}`:                                          "plans.pro.rateLimit: want a whole number",
		`{"plans": {"pro": {"keys": 10001}}}`:                                               "plans.pro.keys: want 1 to 10000",
		`{"plans": {"pro": {"keys": -1}}}`:                                                  "plans.pro.keys: want 1 to 10000",
		`{"plans": {"pro": {"burst": 1}}}`:                                                  "plans.pro.burst: unknown field",
		`{"defaultPlan": "` + pasted + `"}`:                                                 "defaultPlan: names no plan",
		`{"plans": {"` + pasted + `": {"keys": 1, "rateLimit": 1}}}`:                        "plans: a plan's name is",
		`{"plans": {"": {"keys": 1, "rateLimit": 1}}}`:                                      "plans: a plan's name is",
		`{"plans": {"gold": {"rateLimit": "` + pasted + `", "keys": 1}}}`:                   "plans.gold.rateLimit: want a whole number", // and not "want 1 to …" as well
		`{"defaultPlan": 1}`:                                                                "defaultPlan: want text",
		`{"developmentFactor": 0}`:                                                          "developmentFactor: want 1 to 100",
		`{"developmentFactor": 101}`:                                                        "developmentFactor: want 1 to 100",
		`{"retentionDays": 0}`:                                                              "retentionDays: want 1 to 3650",
		`{"retentionDays": 3651}`:                                                           "retentionDays: want 1 to 3650",
		`{"authorizerCacheSeconds": -1}`:                                                    "authorizerCacheSeconds: want 0 to 3600",
		`{"authorizerCacheSeconds": 3601}`:                                                  "authorizerCacheSeconds: want 0 to 3600",
		`{"authorizerCacheSeconds": null}`:                                                  "authorizerCacheSeconds: want a whole number",
		`{"corsOrigins": "*"}`:                                                              "corsOrigins: want an array of texts",
		`{"corsOrigins": ["*", "` + pasted + `"]}`:                                          `corsOrigins[1]: want "*" or an origin`,
		`{"corsOrigins": ["https://a.example/"]}`:                                           `corsOrigins[0]: want "*" or an origin`,
		`{"corsOrigins": ["https://a.example/path"]}`:                                       `corsOrigins[0]: want "*" or an origin`,
		`{"corsOrigins": ["a.example"]}`:                                                    `corsOrigins[0]: want "*" or an origin`,
		`{"corsOrigins": ["https://u@a.example"]}`:                                          `corsOrigins[0]: want "*" or an origin`,
		`{"corsOrigins": ["null"]}`:                                                         `corsOrigins[0]: want "*" or an origin`,
		`{"corsOrigins": [1, "*"]}`:                                                         "corsOrigins: want an array of texts",
		`{"corsOrigins": [null]}`:                                                           `corsOrigins[0]: want "*" or an origin`,
		`{"webhookRetrySeconds": 60}`:                                                       "webhookRetrySeconds: want an array of whole numbers",
		`{"webhookRetrySeconds": null}`:                                                     "webhookRetrySeconds: want an array of whole numbers",
		`{"webhookRetrySeconds": ["` + pasted + `"]}`:                                       "webhookRetrySeconds: want an array of whole numbers",
		`{"webhookRetrySeconds": [60, 1.5]}`:                                                "webhookRetrySeconds: want an array of whole numbers",
		`{"webhookRetrySeconds": [null]}`:                                                   "webhookRetrySeconds[0]: want 1 to 86400",
		`{"webhookRetrySeconds": [60, 0]}`:                                                  "webhookRetrySeconds[1]: want 1 to 86400",
		`{"webhookRetrySeconds": [86401]}`:                                                  "webhookRetrySeconds[0]: want 1 to 86400",
		`{"webhookRetrySeconds": [1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]}`:                "webhookRetrySeconds: want at most 19 waits",
		`{"SharedStage": true}`:                                                             "SharedStage: unknown field",
		`{"sharedStage": true, "sharedStage": false}`:                                       "sharedStage: is given twice",
		`{"plans": {"pro": {"keys": 1, "keys": 2}}}`:                                        "plans.pro.keys: is given twice",
		`{"plans": {}, "plans": {}}`:                                                        "plans: is given twice",
		`[]`:                                                                                "want an object",
		`{`:                                                                                 "not JSON",
		``:                                                                                  "not JSON",
	} {
		s, err := config.ParseSettings([]byte(text))
		wantErrors(t, text, err, "settings: "+want)
		if strings.Contains(err.Error(), pasted[17:29]) {
			t.Errorf("%s: the error quotes the value", text)
		}
		if diff := cmp.Diff(config.Settings{}, s); diff != "" {
			t.Errorf("%s: settings together with an error", text)
		}
		field, _, _ := strings.Cut(want, ":")
		field, _, _ = strings.Cut(field, ".")
		field, _, _ = strings.Cut(field, "[")
		named[field] = true
	}
	for i := range reflect.TypeFor[config.Settings]().NumField() {
		name, _, _ := strings.Cut(reflect.TypeFor[config.Settings]().Field(i).Tag.Get("json"), ",")
		if !named[name] {
			t.Errorf("no case shows an error of %s", name)
		}
	}
}

func TestSettingsFaultsAreReportedTogether(t *testing.T) {
	_, err := config.ParseSettings([]byte(`{"retentionDays": 0, "developmentFactor": "x", "unknown": 1, "plans": {"pro": {"keys": 0}}, "prefixes": {"account": {"staging": {"issue": "X"}}}}`))
	wantErrors(t, "five faults", err, "retentionDays", "developmentFactor", "unknown", "plans.pro.keys", "prefixes.account.staging.issue")
}

// config may not import apikey, so it has the rule of prefixes a second time.
func TestSettingsTakeExactlyTheValidPrefixes(t *testing.T) {
	candidates := []string{
		"", "a", "_", "a_", "_a", "a_b", "a__b", "1a", "a1", "mk", "kr_live", "Mk", "mK", "m-k", "m k", "mk ", "mé", "m\u00a0", "{", "`a", "a`", "a{", "a/", "a:", "a@", "a[", "A", "Z", "z", "0",
		strings.Repeat("a", 31), strings.Repeat("a", 32), strings.Repeat("a", 33), strings.Repeat("a", 31) + "_",
	}
	for c := rune(32); c < 128; c++ {
		candidates = append(candidates, string(c), "a"+string(c), string(c)+"a", "a"+string(c)+"a")
	}
	valid := 0
	for _, p := range candidates {
		quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(p)
		_, err := config.ParseSettings([]byte(`{"prefixes": {"canonical": {"production": {"issue": "` + quoted + `", "accept": ["` + quoted + `"]}}}}`))
		if want := apikey.ValidPrefix(p); (err == nil) != want {
			t.Errorf("prefix %q: apikey.ValidPrefix says %t, the settings say %v", p, want, err)
		}
		if err == nil {
			valid++
		}
	}
	if valid < 30 || valid > len(candidates)/2 {
		t.Errorf("%d of %d candidates are valid: too one-sided to mean anything", valid, len(candidates))
	}
}

func TestOnePrefixIsIssuedPerEnvironmentAndFaceAndRetiredOnesAreAccepted(t *testing.T) {
	s := parse(t, `{"prefixes": {
		"canonical": {"production": {"issue": "new_live", "accept": ["kr_live", "older"]}},
		"account": {"production": {"issue": "acc_prod", "accept": ["acc_old"]}}
	}}`)
	for _, c := range []struct{ face, environment, want string }{
		{"canonical", "production", "new_live"},
		{"canonical", "staging", "kr_stage"},
		{"canonical", "development", "kr_dev"},
		{"account", "production", "acc_prod"},
		{"account", "staging", "kr_stage"},
		{"account", "development", "kr_dev"},
	} {
		if got := s.PrefixFor(c.face, c.environment); got != c.want {
			t.Errorf("PrefixFor(%s, %s) = %q, want %q", c.face, c.environment, got, c.want)
		}
	}
	want := []string{"acc_old", "acc_prod", "kr_dev", "kr_live", "kr_stage", "new_live", "older"}
	if diff := cmp.Diff(want, s.AcceptedPrefixes()); diff != "" {
		t.Errorf("AcceptedPrefixes (-want +got)\n%s", diff)
	}
	// A key made under the prefix before is still one of ours, a foreign one is not.
	accepted := apikey.NewPrefixes(s.AcceptedPrefixes())
	for prefix, want := range map[string]bool{"kr_live": true, "older": true, "new_live": true, "acc_old": true, "foreign": false} {
		k, err := apikey.Generate(prefix, apikey.NewID())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := accepted.Parse(k.Plaintext()); (err == nil) != want {
			t.Errorf("a key with prefix %s: %v, want accepted %t", prefix, err, want)
		}
	}
}

func TestPresets(t *testing.T) {
	type prefixes [6]string // canonical production, staging, development; account the same
	for name, want := range map[string]struct {
		issued prefixes
		shared bool
	}{
		"default":      {issued: prefixes{"kr_live", "kr_stage", "kr_dev", "kr_live", "kr_stage", "kr_dev"}},
		"missinglettr": {issued: prefixes{"ml_live", "ml_stage", "ml_dev", "ml_prod", "ml_sand", "ml_sand"}, shared: true},
		"momail":       {issued: prefixes{"mk", "mk", "mk", "mk", "mk", "mk"}},
	} {
		s := parse(t, preset(t, name))
		var got prefixes
		for i, face := range []string{"canonical", "account"} {
			for j, environment := range []string{"production", "staging", "development"} {
				got[i*3+j] = s.PrefixFor(face, environment)
			}
		}
		if got != want.issued || s.SharedStage != want.shared {
			t.Errorf("%s: prefixes %v, shared stage %t; want %v, %t", name, got, s.SharedStage, want.issued, want.shared)
		}
		accepted := apikey.NewPrefixes(s.AcceptedPrefixes())
		for _, prefix := range got {
			if !accepted[prefix] {
				t.Errorf("%s issues %s and does not accept it", name, prefix)
			}
		}
	}
	files, err := filepath.Glob("../../infra/presets/*")
	if err != nil || len(files) != 3 {
		t.Errorf("infra/presets has %d files (error %v), this test knows 3", len(files), err)
	}
	// default.json spells the defaults out, for people to copy.
	if diff := cmp.Diff(config.DefaultSettings(), parse(t, preset(t, "default"))); diff != "" {
		t.Errorf("default.json (-defaults +file)\n%s", diff)
	}
	for i := range reflect.TypeFor[config.Settings]().NumField() {
		field, _, _ := strings.Cut(reflect.TypeFor[config.Settings]().Field(i).Tag.Get("json"), ",")
		if !strings.Contains(preset(t, "default"), `"`+field+`"`) {
			t.Errorf("default.json does not show %s", field)
		}
	}
}

func preset(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("../../infra/presets/" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func FuzzParseSettings(f *testing.F) {
	f.Add(`{}`)
	f.Add(`{"plans": {"pro": {"rateLimit": 1}}, "corsOrigins": ["*"]}`)
	f.Add(`{"prefixes": {"account": {"staging": {"issue": "a", "accept": ["b"]}}}}`)
	f.Add(`{"a":{"b":[1,null,"x"]}}`)
	f.Fuzz(func(t *testing.T, text string) {
		s, err := config.ParseSettings([]byte(text))
		if err != nil {
			return
		}
		for _, face := range []string{"canonical", "account"} {
			for _, environment := range []string{"production", "staging", "development"} {
				if p := s.PrefixFor(face, environment); !apikey.ValidPrefix(p) {
					t.Fatalf("accepted settings issue the prefix %q", p)
				}
			}
		}
		if p := s.Plans[s.DefaultPlan]; p.RateLimit < 1 || p.Keys < 1 || s.AuthorizerCacheSeconds == nil || s.DevelopmentFactor < 1 || s.RetentionDays < 1 {
			t.Fatalf("accepted settings lack something: %+v", s)
		}
	})
}

func BenchmarkParseSettings(b *testing.B) {
	text, err := os.ReadFile("../../infra/presets/default.json")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := config.ParseSettings(text); err != nil {
			b.Fatal(err)
		}
	}
}
