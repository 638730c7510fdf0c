package config

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"time"
)

// Settings is what a deployment chooses: the preset files in infra/presets hold it, and
// cdk.json's context. What the JSON leaves out keeps the value of [DefaultSettings], down
// to a single environment's prefix or a single plan's field.
type Settings struct {
	// Prefixes of key strings by face ("canonical", "account") and environment. The
	// account face uses the canonical prefix where it has none of its own. To change a
	// prefix without killing a key, move the old one to the accepted ones.
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
	// CORSOrigins that browsers may call from; ["*"] by default, [] for none.
	CORSOrigins []string `json:"corsOrigins,omitzero"`
	// WebhookRetrySeconds are the waits before each further attempt to deliver an alert to a
	// webhook; after the last attempt it is given up. At most 19 of them.
	WebhookRetrySeconds []int `json:"webhookRetrySeconds,omitzero"`
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
		WebhookRetrySeconds:    []int{60, 300, 1800, 7200, 21600, 43200},
	}
}

func (s *Settings) validate(p *parser) {
	for _, face := range slices.Sorted(maps.Keys(s.Prefixes)) {
		if !slices.Contains(faces, face) {
			p.fail("prefixes."+face, "unknown face, want one of %v", faces)
			continue
		}
		for _, env := range slices.Sorted(maps.Keys(s.Prefixes[face])) {
			field := "prefixes." + face + "." + env
			if !slices.Contains(environments, env) {
				p.fail(field, "unknown environment, want one of %v", environments)
				continue
			}
			const form = "want 1 to 32 of a-z, 0-9 and inner '_', starting with a letter"
			if !validPrefix(s.Prefixes[face][env].Issue) {
				p.fail(field+".issue", form)
			}
			for i, prefix := range s.Prefixes[face][env].Accept {
				if !validPrefix(prefix) {
					p.fail(fmt.Sprintf("%s.accept[%d]", field, i), form)
				}
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Plans)) {
		if !validPrefix(name) {
			p.fail("plans", "a plan's name is 1 to 32 of a-z, 0-9 and inner '_', starting with a letter")
			continue
		}
		plan := s.Plans[name]
		p.between("plans."+name+".rateLimit", plan.RateLimit, 1, 1_000_000)
		p.between("plans."+name+".keys", plan.Keys, 1, 10_000)
	}
	if _, ok := s.Plans[s.DefaultPlan]; !ok {
		p.fail("defaultPlan", "names no plan")
	}
	p.between("developmentFactor", s.DevelopmentFactor, 1, 100)
	p.between("retentionDays", s.RetentionDays, 1, 3650)
	p.between("authorizerCacheSeconds", *s.AuthorizerCacheSeconds, 0, 3600) // API Gateway's bounds of authorizerResultTtlInSeconds
	if len(s.WebhookRetrySeconds) > 19 {
		p.fail("webhookRetrySeconds", "want at most 19 waits")
	}
	for i, seconds := range s.WebhookRetrySeconds {
		p.between(fmt.Sprintf("webhookRetrySeconds[%d]", i), seconds, 1, 86400)
	}
	for i, origin := range s.CORSOrigins {
		if origin != "*" && !validOrigin(origin) {
			p.fail(fmt.Sprintf("corsOrigins[%d]", i), `want "*" or an origin such as https://app.example.com`)
		}
	}
}

// validOrigin reports whether o is an origin as browsers send it (RFC 6454 section 6.2):
// scheme, host and port, nothing else.
func validOrigin(o string) bool {
	u, err := url.Parse(o)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && o == u.Scheme+"://"+u.Host
}

// validPrefix repeats apikey.ValidPrefix's rule, for this package may import nothing but
// the standard library; a test holds the two together.
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

// WebhookWaits is WebhookRetrySeconds as durations.
func (s *Settings) WebhookWaits() []time.Duration {
	waits := make([]time.Duration, len(s.WebhookRetrySeconds))
	for i, seconds := range s.WebhookRetrySeconds {
		waits[i] = time.Duration(seconds) * time.Second
	}
	return waits
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
