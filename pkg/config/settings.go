package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
)

// Settings is what a deployment chooses: the preset files in infra/presets hold it, and
// cdk.json's context. Zero fields take the defaults of [DefaultSettings].
type Settings struct {
	// Prefixes of key strings by face ("canonical", "account") and environment. A face
	// or environment that is missing takes the canonical one, then the default.
	Prefixes map[string]map[string]Prefix `json:"prefixes,omitempty"`
	// SharedStage switches the stage "shared" on, which takes keys of any environment.
	SharedStage bool `json:"sharedStage,omitempty"`
	// Plans by name: free, pro and enterprise must be there.
	Plans map[string]Plan `json:"plans,omitempty"`
	// DefaultPlan is a new key's plan when the request names none.
	DefaultPlan string `json:"defaultPlan,omitempty"`
	// DevelopmentFactor multiplies the plan's rate limit for development keys.
	DevelopmentFactor int `json:"developmentFactor,omitempty"`
	// RetentionDays is how long the history of a deleted or expired key stays.
	RetentionDays int `json:"retentionDays,omitempty"`
	// AuthorizerCacheSeconds is how long API Gateway may keep a policy (0–3600).
	AuthorizerCacheSeconds *int `json:"authorizerCacheSeconds,omitempty"`
	// CORSOrigins that browsers may call from; ["*"] by default.
	CORSOrigins []string `json:"corsOrigins,omitempty"`
}

// Prefix is the prefix that new keys get, and the retired ones that still work.
type Prefix struct {
	Issue  string   `json:"issue"`
	Accept []string `json:"accept,omitempty"`
}

// Plan is what a plan allows.
type Plan struct {
	RateLimit int `json:"rateLimit"` // requests in any 60 seconds
	Keys      int `json:"keys"`      // keys an account of this plan may have, at most 10,000
}

// Faces and environments that Prefixes is keyed by.
var (
	faces        = []string{"canonical", "account"}
	environments = []string{"production", "staging", "development"}
)

// DefaultSettings returns the settings of a deployment that chooses nothing.
func DefaultSettings() Settings {
	ttl := 60
	return Settings{
		Prefixes: map[string]map[string]Prefix{"canonical": {
			"production":  {Issue: "kr_live"},
			"staging":     {Issue: "kr_stage"},
			"development": {Issue: "kr_dev"},
		}},
		Plans: map[string]Plan{
			"free":       {RateLimit: 20, Keys: 100},
			"pro":        {RateLimit: 100, Keys: 1_000},
			"enterprise": {RateLimit: 1_000, Keys: 10_000},
		},
		DefaultPlan:            "free",
		DevelopmentFactor:      5,
		RetentionDays:          90,
		AuthorizerCacheSeconds: &ttl,
		CORSOrigins:            []string{"*"},
	}
}

// ParseSettings reads settings in JSON, fills in the defaults and validates. The error
// lists every field at fault.
func ParseSettings(text []byte) (Settings, error) {
	var s Settings
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&s); err != nil {
		return Settings{}, fmt.Errorf("settings: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return Settings{}, errors.New("settings: something follows the JSON object")
	}
	s.fill(DefaultSettings())
	return s, s.validate()
}

func (s *Settings) fill(d Settings) {
	if s.Prefixes == nil {
		s.Prefixes = map[string]map[string]Prefix{}
	}
	for face, envs := range d.Prefixes {
		if s.Prefixes[face] == nil {
			s.Prefixes[face] = map[string]Prefix{}
		}
		for env, p := range envs {
			if _, ok := s.Prefixes[face][env]; !ok {
				s.Prefixes[face][env] = p
			}
		}
	}
	if s.Plans == nil {
		s.Plans = d.Plans
	}
	if s.DefaultPlan == "" {
		s.DefaultPlan = d.DefaultPlan
	}
	if s.DevelopmentFactor == 0 {
		s.DevelopmentFactor = d.DevelopmentFactor
	}
	if s.RetentionDays == 0 {
		s.RetentionDays = d.RetentionDays
	}
	if s.AuthorizerCacheSeconds == nil {
		s.AuthorizerCacheSeconds = d.AuthorizerCacheSeconds
	}
	if s.CORSOrigins == nil {
		s.CORSOrigins = d.CORSOrigins
	}
}

func (s *Settings) validate() error {
	var errs []error
	bad := func(field, format string, a ...any) {
		errs = append(errs, fmt.Errorf("settings: %s: %s", field, fmt.Sprintf(format, a...)))
	}
	for _, face := range slices.Sorted(maps.Keys(s.Prefixes)) {
		if !slices.Contains(faces, face) {
			bad("prefixes."+face, "unknown face, want one of %v", faces)
		}
		for _, env := range slices.Sorted(maps.Keys(s.Prefixes[face])) {
			field := "prefixes." + face + "." + env
			if !slices.Contains(environments, env) {
				bad(field, "unknown environment, want one of %v", environments)
			}
			p := s.Prefixes[face][env]
			for _, v := range append([]string{p.Issue}, p.Accept...) {
				if !validPrefix(v) {
					bad(field, "%q is no prefix: want 1 to 32 of a-z, 0-9 and inner '_', starting with a letter", v)
				}
			}
		}
	}
	for _, name := range []string{"free", "pro", "enterprise"} {
		if _, ok := s.Plans[name]; !ok {
			bad("plans."+name, "missing")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Plans)) {
		p := s.Plans[name]
		if p.RateLimit < 1 || p.RateLimit > 1_000_000 {
			bad("plans."+name+".rateLimit", "want 1 to 1000000 requests a minute")
		}
		if p.Keys < 1 || p.Keys > 10_000 {
			bad("plans."+name+".keys", "want 1 to 10000")
		}
	}
	if _, ok := s.Plans[s.DefaultPlan]; !ok {
		bad("defaultPlan", "names no plan")
	}
	if s.DevelopmentFactor < 1 || s.DevelopmentFactor > 100 {
		bad("developmentFactor", "want 1 to 100")
	}
	if s.RetentionDays < 1 || s.RetentionDays > 3650 {
		bad("retentionDays", "want 1 to 3650")
	}
	if t := *s.AuthorizerCacheSeconds; t < 0 || t > 3600 {
		bad("authorizerCacheSeconds", "want 0 to 3600")
	}
	return errors.Join(errs...)
}

// validPrefix repeats apikey.ValidPrefix's rule, which this package may not import; a
// test of package functions holds the two together.
func validPrefix(p string) bool {
	if len(p) == 0 || len(p) > 32 || p[0] < 'a' || p[0] > 'z' || p[len(p)-1] == '_' {
		return false
	}
	for _, c := range []byte(p) {
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_') {
			return false
		}
	}
	return true
}

// PrefixFor is the prefix that a new key of that face and environment gets.
func (s *Settings) PrefixFor(face, environment string) string {
	if p, ok := s.Prefixes[face][environment]; ok {
		return p.Issue
	}
	return s.Prefixes["canonical"][environment].Issue
}

// AcceptedPrefixes lists every prefix that a key may have, issued or retired.
func (s *Settings) AcceptedPrefixes() []string {
	var out []string
	for _, envs := range s.Prefixes {
		for _, p := range envs {
			out = append(append(out, p.Issue), p.Accept...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
