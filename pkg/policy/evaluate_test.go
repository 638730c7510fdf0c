package policy

import (
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// doc wraps statements.
func doc(statements string) string {
	return `{"Version":"2012-10-17","Statement":` + statements + `}`
}

func TestEvaluateFollowsIAM(t *testing.T) {
	const arn = "arn:aws:execute-api:eu-central-1:123456789012:api/prod/"
	env := map[string]string{CurrentTime: "2026-01-15T10:30:00Z", SourceIP: "203.0.113.7"}
	st := func(effect, resource, more string) string {
		return `{"Effect":"` + effect + `","Action":"execute-api:Invoke","Resource":"` + resource + `"` + more + `}`
	}
	none := Decision{Statement: -1}
	allowed := func(i int, resource string) Decision { return Decision{true, i, "Allow", resource} }
	denied := func(i int, resource string) Decision { return Decision{false, i, "Deny", resource} }
	for name, c := range map[string]struct {
		statements string
		request    string // after arn
		want       Decision
	}{
		"exact":                         {st("Allow", arn+"GET/a", ""), "GET/a", allowed(0, arn+"GET/a")},
		"nothing applies":               {st("Allow", arn+"GET/a", ""), "GET/b", none},
		"case matters in a resource":    {st("Allow", arn+"GET/a", ""), "GET/A", none},
		"star spans slashes":            {st("Allow", arn+"GET/a/*", ""), "GET/a/b/c", allowed(0, arn+"GET/a/*")},
		"star is also nothing":          {st("Allow", arn+"GET/a/*", ""), "GET/a/", allowed(0, arn+"GET/a/*")},
		"star in the middle":            {st("Allow", arn+"GET/*/z", ""), "GET/a/b/z", allowed(0, arn+"GET/*/z")},
		"question mark is one":          {st("Allow", arn+"GET/a?", ""), "GET/ab", allowed(0, arn+"GET/a?")},
		"question mark is not none":     {st("Allow", arn+"GET/a?", ""), "GET/a", none},
		"question mark is not two":      {st("Allow", arn+"GET/a?", ""), "GET/abc", none},
		"one character at least":        {st("Allow", arn+"GET/a/?*", ""), "GET/a/", none},
		"star in the request is text":   {st("Allow", arn+"GET/a", ""), "GET/*", none},
		"colon in the path":             {st("Allow", arn+"GET/*", ""), "GET/a:b", allowed(0, arn+"GET/*")},
		"any resource":                  {st("Allow", "*", ""), "GET/a", allowed(0, "*")},
		"no wildcard over an ARN's end": {st("Allow", "arn:aws:execute-api:*:api/prod/GET/a:", ""), "GET/a", none},
		"region by wildcard":            {st("Allow", "arn:aws:execute-api:*:*:*", ""), "GET/a", allowed(0, "arn:aws:execute-api:*:*:*")},
		"deny after allow":              {"[" + st("Allow", arn+"*", "") + "," + st("Deny", arn+"GET/a", "") + "]", "GET/a", denied(1, arn+"GET/a")},
		"deny before allow":             {"[" + st("Deny", arn+"GET/a", "") + "," + st("Allow", arn+"*", "") + "]", "GET/a", denied(0, arn+"GET/a")},
		"deny of something else":        {"[" + st("Deny", arn+"GET/a", "") + "," + st("Allow", arn+"*", "") + "]", "GET/b", allowed(1, arn+"*")},
		"second allow":                  {"[" + st("Allow", arn+"GET/x", "") + "," + st("Allow", arn+"GET/a", "") + "]", "GET/a", allowed(1, arn+"GET/a")},
		"before a date":                 {st("Allow", arn+"*", `,"Condition":{"DateLessThan":{"aws:CurrentTime":"2026-01-15T10:30:01Z"}}`), "GET/a", allowed(0, arn+"*")},
		"at a date":                     {st("Allow", arn+"*", `,"Condition":{"DateLessThan":{"aws:CurrentTime":"2026-01-15T10:30:00Z"}}`), "GET/a", none},
		"date in Unix seconds":          {st("Allow", arn+"*", `,"Condition":{"DateLessThan":{"AWS:currenttime":"1768473001"}}`), "GET/a", allowed(0, arn+"*")},
		"address in range":              {st("Allow", arn+"*", `,"Condition":{"IpAddress":{"aws:SourceIp":["10.0.0.0/8","203.0.113.0/24"]}}`), "GET/a", allowed(0, arn+"*")},
		"single address":                {st("Allow", arn+"*", `,"Condition":{"IpAddress":{"aws:SourceIp":"203.0.113.7"}}`), "GET/a", allowed(0, arn+"*")},
		"address out of range":          {st("Allow", arn+"*", `,"Condition":{"IpAddress":{"aws:SourceIp":"203.0.114.0/24"}}`), "GET/a", none},
		"all conditions must hold":      {st("Allow", arn+"*", `,"Condition":{"IpAddress":{"aws:SourceIp":"203.0.113.7"},"DateLessThan":{"aws:CurrentTime":"2026-01-01T00:00:00Z"}}`), "GET/a", none},
		"deny whose condition fails":    {"[" + st("Deny", arn+"*", `,"Condition":{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}`) + "," + st("Allow", arn+"*", "") + "]", "GET/a", allowed(1, arn+"*")},
		"action in any case":            {`{"Sid":"x","Effect":"Allow","Action":["s3:*","EXECUTE-API:*"],"Resource":["*"]}`, "GET/a", allowed(0, "*")},
		"other action":                  {`{"Effect":"Allow","Action":"execute-api:ManageConnections","Resource":"*"}`, "GET/a", none},
	} {
		got, err := Evaluate([]byte(doc(c.statements)), "execute-api:Invoke", arn+c.request, env)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

func TestWhatEvaluateDoesNotUnderstandIsAnErrorAndNoAllow(t *testing.T) {
	const ok = `"Effect":"Allow","Action":"execute-api:Invoke","Resource":"*"`
	for name, text := range map[string]string{
		"not JSON":             `{`,
		"empty":                ``,
		"null":                 `null`,
		"trailing data":        doc(`[{`+ok+`}]`) + `{}`,
		"no version":           `{"Statement":[{` + ok + `}]}`,
		"old version":          `{"Version":"2008-10-17","Statement":[{` + ok + `}]}`,
		"no statement":         `{"Version":"2012-10-17"}`,
		"empty statement list": doc(`[]`),
		"empty statement":      doc(`[{}]`),
		"unknown member":       `{"Version":"2012-10-17","Extra":1,"Statement":[{` + ok + `}]}`,
		"duplicate member":     doc(`[{` + ok + `,"Effect":"Deny"}]`),
		"lower-case member":    doc(`[{"effect":"Allow","Action":"execute-api:Invoke","Resource":"*"}]`),
		"unknown element":      doc(`[{` + ok + `,"Principal":"*"}]`),
		"NotResource":          doc(`[{"Effect":"Deny","Action":"execute-api:Invoke","NotResource":"*"}]`),
		"NotAction":            doc(`[{"Effect":"Allow","NotAction":"a:b","Resource":"*"}]`),
		"unknown effect":       doc(`[{"Effect":"allow","Action":"execute-api:Invoke","Resource":"*"}]`),
		"no action":            doc(`[{"Effect":"Allow","Resource":"*"}]`),
		"no resource":          doc(`[{"Effect":"Allow","Action":"execute-api:Invoke","Resource":[]}]`),
		"resource of numbers":  doc(`[{"Effect":"Allow","Action":"execute-api:Invoke","Resource":[1]}]`),
		"resource null":        doc(`[{"Effect":"Allow","Action":"execute-api:Invoke","Resource":null}]`),
		"resource no ARN":      doc(`[{"Effect":"Allow","Action":"execute-api:Invoke","Resource":"GET/a"}]`),
		"policy variable":      doc(`[{"Effect":"Allow","Action":"execute-api:Invoke","Resource":"arn:aws:execute-api:r:1:a/${aws:username}"}]`),
		"resource too long":    doc(`[{"Effect":"Allow","Action":"execute-api:Invoke","Resource":"arn:aws:execute-api:r:1:` + strings.Repeat("x", MaxResource) + `"}]`),
		"document too long":    doc(`[{` + ok + `}` + strings.Repeat(" ", MaxDocument) + `]`),
		"unknown operator":     doc(`[{` + ok + `,"Condition":{"StringEquals":{"aws:CurrentTime":"x"}}}]`),
		"operator's variant":   doc(`[{` + ok + `,"Condition":{"DateLessThanIfExists":{"aws:CurrentTime":"2030-01-01T00:00:00Z"}}}]`),
		"unknown key":          doc(`[{` + ok + `,"Condition":{"DateLessThan":{"aws:EpochTime":"2030-01-01T00:00:00Z"}}}]`),
		"no value":             doc(`[{` + ok + `,"Condition":{"DateLessThan":{"aws:CurrentTime":[]}}}]`),
		"malformed date":       doc(`[{` + ok + `,"Condition":{"DateLessThan":{"aws:CurrentTime":"tomorrow"}}}]`),
		"malformed range":      doc(`[{` + ok + `,"Condition":{"IpAddress":{"aws:SourceIp":"10.0.0.0/33"}}}]`),
	} {
		got, err := Evaluate([]byte(text), "execute-api:Invoke", "arn:aws:execute-api:r:1:a/prod/GET/a", map[string]string{CurrentTime: "2026-01-15T10:30:00Z", SourceIP: "10.0.0.1"})
		if err == nil || got != (Decision{Statement: -1}) {
			t.Errorf("%s: %+v, error %v; want no decision and an error", name, got, err)
		}
	}

	timed := doc(`[{` + ok + `},{` + ok + `,"Condition":{"DateLessThan":{"aws:CurrentTime":"2030-01-01T00:00:00Z"}}}]`)
	for name, env := range map[string]map[string]string{
		"key not in the environment": {SourceIP: "10.0.0.1"},
		"malformed time":             {CurrentTime: "now"},
	} {
		if got, err := Evaluate([]byte(timed), "execute-api:Invoke", "arn:aws:execute-api:r:1:a/prod/GET/a", env); err == nil || got.Allowed {
			t.Errorf("%s: %+v, error %v; want no allow and an error, though another statement allows", name, got, err)
		}
	}
}

// TestGlobMatchesAsARegexpWould compares with the standard library's engine.
func TestGlobMatchesAsARegexpWould(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pattern := rapid.StringMatching(`[ab/é*?]{0,8}`).Draw(t, "pattern")
		s := rapid.StringMatching(`[ab/é*]{0,10}`).Draw(t, "text")
		expr := strings.NewReplacer(`\*`, `.*`, `\?`, `.`).Replace(regexp.QuoteMeta(pattern))
		want := regexp.MustCompile(`(?s)^` + expr + `$`).MatchString(s)
		if got := glob(pattern, s); got != want {
			t.Errorf("glob(%q, %q) = %t, want %t", pattern, s, got, want)
		}
	})
}

// FuzzParse: whatever it takes, evaluating never panics, and nothing but an Allow of its
// own allows.
func FuzzParse(f *testing.F) {
	f.Add(doc(`[{"Effect":"Allow","Action":"execute-api:Invoke","Resource":"*"}]`), "arn:aws:execute-api:r:1:a/prod/GET/a")
	f.Add(doc(`{"Effect":"Deny","Action":["*"],"Resource":["arn:aws:execute-api:*:*:a/*/?*"],"Condition":{"IpAddress":{"aws:SourceIp":"::/0"}}}`), "arn:aws:execute-api:r:1:a/prod/GET/a")
	f.Fuzz(func(t *testing.T, text, resource string) {
		d, err := Evaluate([]byte(text), "execute-api:Invoke", resource, map[string]string{CurrentTime: "2026-01-15T10:30:00Z", SourceIP: "10.0.0.1"})
		if d.Allowed && (err != nil || d.Effect != "Allow" || !strings.Contains(text, "Allow")) {
			t.Errorf("allowed by %+v, error %v: %s", d, err, text)
		}
	})
}
