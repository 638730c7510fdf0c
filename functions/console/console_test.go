package console_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/events"
	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/functions/console"
	"github.com/keyreeve/keyreeve/functions/proxy"
	"github.com/keyreeve/keyreeve/pkg/route"
)

type files = map[string][]byte

func packed(t testing.TB, text string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

const (
	page   = "<!doctype html>\n<p>é</p>\n"
	script = "console.log(1)"
	style  = "p{color:red}"
)

func build(t testing.TB) files {
	return files{
		"README": []byte("placeholder"), "index.html.gz": packed(t, page),
		"app-ABC123.js.gz": packed(t, script), "app-DEF456.css.gz": packed(t, style),
	}
}

// answer is the function's whole answer to a request as API Gateway brings it.
type answer struct {
	status int
	header http.Header
	body   string
}

func get(t testing.TB, built files, path string, header http.Header) answer {
	t.Helper()
	h, err := console.New(built)
	if err != nil {
		t.Fatal(err)
	}
	p := proxy.New(proxy.Config{Function: "console", Table: route.Default(), Handler: h})
	event := events.APIGatewayProxyRequest{
		HTTPMethod: "GET", Resource: "/console", Path: path, MultiValueHeaders: header,
		RequestContext: events.APIGatewayProxyRequestContext{RequestID: "r-1", Stage: "production", Path: "/production" + path},
	}
	if file := strings.TrimSuffix(strings.TrimPrefix(path, "/console/"), "/"); file != "" && file != "/console" {
		event.Resource, event.PathParameters = "/console/{file}", map[string]string{"file": file}
	}
	text, err := json.Marshal(event)
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.Invoke(context.Background(), text)
	if err != nil {
		t.Fatal(err)
	}
	var res events.APIGatewayProxyResponse
	if err := json.Unmarshal(out, &res); err != nil {
		t.Fatal(err)
	}
	if res.IsBase64Encoded {
		t.Errorf("%s: the body is in base64: an API without binary media types would send that text", path)
	}
	return answer{res.StatusCode, http.Header(res.MultiValueHeaders), res.Body}
}

func errorCode(t *testing.T, a answer) string {
	t.Helper()
	var v struct {
		Success bool
		Error   struct{ Code, Message, RequestID string }
	}
	if err := json.Unmarshal([]byte(a.body), &v); err != nil || v.Success || v.Error.RequestID != "r-1" {
		t.Errorf("%q is not the common error shape: %v", a.body, err)
	}
	return v.Error.Code
}

func TestTheConsoleIsADirectoryWhereverTheAPIIs(t *testing.T) {
	a := get(t, build(t), "/console", nil)
	if a.status != http.StatusPermanentRedirect || a.header.Get("Location") != "console/" || a.body != "" {
		t.Errorf("/console = %d to %q, want 308 to a relative console/", a.status, a.header.Get("Location"))
	}
	if a := get(t, build(t), "/console/", nil); a.status != 200 || a.body != page {
		t.Errorf("/console/ = %d %q", a.status, a.body)
	}
}

func TestFilesAreServedUnpackedWithTheirTypes(t *testing.T) {
	year := "public, max-age=31536000, immutable"
	for path, want := range map[string]struct{ body, mediaType, cache string }{
		"/console/":                 {page, "text/html; charset=utf-8", "no-cache"},
		"/console/index.html":       {page, "text/html; charset=utf-8", "no-cache"},
		"/console/app-ABC123.js":    {script, "text/javascript; charset=utf-8", year},
		"/console/app-DEF456.css":   {style, "text/css; charset=utf-8", year},
		"/console/app-%44EF456.css": {style, "text/css; charset=utf-8", year},
	} {
		a := get(t, build(t), path, nil)
		got := struct{ body, mediaType, cache string }{a.body, a.header.Get("Content-Type"), a.header.Get("Cache-Control")}
		if a.status != 200 || got != want {
			t.Errorf("%s = %d %+v, want 200 %+v", path, a.status, got, want)
		}
		if a.header.Get("Content-Encoding") != "" || a.header.Get("Vary") != "Accept-Encoding" {
			t.Errorf("%s: Content-Encoding %q, Vary %q: compressing is API Gateway's", path, a.header.Get("Content-Encoding"), a.header.Get("Vary"))
		}
	}
}

func TestWhatIsNotEmbeddedIsNotFound(t *testing.T) {
	for _, path := range []string{
		"/console/app-000000.js", "/console/README", "/console/index.html.gz", "/console/app-ABC123.js.gz", "/console/App-ABC123.js",
		"/console/app-ABC123.js/", "/console/..", "/console/..%2F..%2Fetc%2Fpasswd", "/console/%2e%2e", "/console/.", "/console/dist%2Findex.html",
		"/console/%00", "/console/%zz", "/console/index.html%20",
	} {
		a := get(t, build(t), path, nil)
		if code := errorCode(t, a); a.status != 404 || code != "not_found" || a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s = %d %s, Cache-Control %q; want 404 not_found, no-store", path, a.status, code, a.header.Get("Cache-Control"))
		}
	}
}

func TestAKeptFileIsNotSentAgainUntilItChanges(t *testing.T) {
	for _, path := range []string{"/console/", "/console/app-ABC123.js"} {
		first := get(t, build(t), path, nil)
		etag := first.header.Get("ETag")
		if !regexp.MustCompile(`^W/"[0-9a-f]{16}"$`).MatchString(etag) {
			t.Fatalf("%s: ETag %q, want a weak one", path, etag)
		}
		for _, names := range []string{etag, strings.TrimPrefix(etag, "W/"), `"x", ` + etag + `, "y"`, "*"} {
			a := get(t, build(t), path, http.Header{"if-none-match": {names}})
			if a.status != 304 || a.body != "" || a.header.Get("ETag") != etag || a.header.Get("Cache-Control") != first.header.Get("Cache-Control") {
				t.Errorf("%s, If-None-Match %s = %d with %d bytes, ETag %s", path, names, a.status, len(a.body), a.header.Get("ETag"))
			}
		}
		for _, names := range []string{`"x"`, "", etag[:len(etag)-2] + `"`, strings.Trim(etag, `W/"`)} {
			if a := get(t, build(t), path, http.Header{"If-None-Match": {names}}); a.status != 200 {
				t.Errorf("%s, If-None-Match %s = %d, want 200", path, names, a.status)
			}
		}
	}
	changed := build(t)
	changed["index.html.gz"] = packed(t, page+" ")
	old := get(t, build(t), "/console/", nil).header.Get("ETag")
	if a := get(t, changed, "/console/", http.Header{"If-None-Match": {old}}); a.status != 200 || a.header.Get("ETag") == old {
		t.Errorf("another page with the old ETag = %d, ETag %s", a.status, a.header.Get("ETag"))
	}
}

func TestABuildWithoutTheConsoleSaysSo(t *testing.T) {
	for _, built := range []files{
		files{"README": []byte("placeholder")},
		files{"app-ABC123.js.gz": packed(t, script)},
	} {
		for _, path := range []string{"/console", "/console/", "/console/app-ABC123.js"} {
			a := get(t, built, path, nil)
			if code := errorCode(t, a); a.status != 503 || code != "console_not_built" || !strings.Contains(a.body, "make build") {
				t.Errorf("%s = %d %s %s, want 503 with what to do", path, a.status, code, a.body)
			}
		}
	}
}

// The policy, directive by directive: who loosens it has to do so here too.
func TestEveryAnswerConfinesThePage(t *testing.T) {
	policy := []string{
		"default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data:", "connect-src 'self'",
		"object-src 'none'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
		"require-trusted-types-for 'script'", "trusted-types 'none'",
	}
	for name, a := range map[string]answer{
		"page":      get(t, build(t), "/console/", nil),
		"script":    get(t, build(t), "/console/app-ABC123.js", nil),
		"redirect":  get(t, build(t), "/console", nil),
		"kept":      get(t, build(t), "/console/", http.Header{"If-None-Match": {"*"}}),
		"not found": get(t, build(t), "/console/x.js", nil),
		"not built": get(t, files{}, "/console/", nil),
	} {
		if diff := cmp.Diff(policy, strings.Split(a.header.Get("Content-Security-Policy"), "; ")); diff != "" {
			t.Errorf("%s: Content-Security-Policy (-want +got)\n%s", name, diff)
		}
		for header, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY",
			"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
			"Access-Control-Allow-Origin": "", "Set-Cookie": "",
		} {
			if got := a.header.Get(header); got != want {
				t.Errorf("%s: %s %q, want %q", name, header, got, want)
			}
		}
		for _, feature := range []string{"camera=()", "microphone=()", "geolocation=()", "clipboard-read=()", "clipboard-write=(self)"} {
			if !strings.Contains(a.header.Get("Permissions-Policy"), feature) {
				t.Errorf("%s: Permissions-Policy without %s", name, feature)
			}
		}
	}
}

func TestAMistakeOfTheBuildStopsTheStart(t *testing.T) {
	for name, f := range (files{
		"app.js.map.gz": packed(t, "{}"), "LICENSE.gz": packed(t, "x"), "index.html.gz": []byte("no gzip"), "cut.js.gz": packed(t, script)[:20],
	}) {
		if _, err := console.New(files{name: f}); err == nil || !strings.Contains(err.Error(), strings.TrimSuffix(name, ".gz")) {
			t.Errorf("%s: error %v, want one that names the file", name, err)
		}
	}
}

// What make build has put into this tree, if it has.
func TestTheFilesOfThisBuild(t *testing.T) {
	if _, ok := console.Built()["index.html.gz"]; !ok {
		t.Skip("SKIPPED: the console is not built here; make build builds it")
	}
	const most = 60_000 // bytes of gzip; the binary has no room for more
	size := 0
	index := get(t, console.Built(), "/console/", nil)
	for packed, text := range console.Built() {
		name, ok := strings.CutSuffix(packed, ".gz")
		if !ok {
			continue
		}
		size += len(text)
		if name == "index.html" {
			continue
		}
		if !regexp.MustCompile(`^[a-z]+-[0-9a-f]{12}\.(js|css)$`).MatchString(name) {
			t.Errorf("%s is kept for a year and is not named after its content", name)
		}
		if strings.Count(index.body, `"`+name+`"`) != 1 {
			t.Errorf("the page does not name %s once:\n%s", name, index.body)
		}
		if a := get(t, console.Built(), "/console/"+name, nil); a.status != 200 || len(a.body) == 0 || strings.Contains(a.body, "sourceMappingURL") {
			t.Errorf("%s = %d, %d bytes", name, a.status, len(a.body))
		}
	}
	if size > most {
		t.Errorf("the console is %d bytes of gzip, want at most %d", size, most)
	}
	// What the policy would refuse.
	for _, bad := range []string{`<style`, ` style=`, `<base`, `javascript:`, `onload=`, `onclick=`, `http://`, `https://`} {
		if strings.Contains(index.body, bad) {
			t.Errorf("the page has %s, which its policy forbids or which is another origin's", bad)
		}
	}
	if regexp.MustCompile(`<script[^>]*>[^<]`).MatchString(index.body) {
		t.Error("a script stands in the page")
	}
	t.Logf("%d bytes of gzip", size)
}
