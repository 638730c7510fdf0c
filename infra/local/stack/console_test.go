package stack_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/infra/local/stack"
	"github.com/keyreeve/keyreeve/infra/local/stacktest"
)

// fetch is a browser's request, without following redirects or unpacking what comes.
func fetch(t *testing.T, s *stacktest.Stack, path string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", s.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept-Encoding", "gzip, deflate, br, zstd")
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, body
}

func TestTheConsoleIsServedOnEveryStageByOneProcess(t *testing.T) {
	s := stacktest.Start(t, stack.Options{})
	if pids := s.Lambda.PIDs("console"); len(pids) != 0 {
		t.Errorf("processes %v before anybody has asked", pids)
	}
	if _, body := fetch(t, s, "/console/"); code(body) == "console_not_built" {
		t.Skip("SKIPPED: the console is not built here; make build builds it")
	}
	for _, stage := range []string{"", "/production", "/staging", "/development"} {
		res, body := fetch(t, s, stage+"/console")
		if to, err := res.Location(); err != nil || res.StatusCode != 308 || to.String() != s.URL+stage+"/console/" || len(body) != 0 {
			t.Errorf("%s/console = %d to %v, %v", stage, res.StatusCode, to, err)
		}
		res, page := fetch(t, s, stage+"/console/")
		if res.StatusCode != 200 || !strings.HasPrefix(res.Header.Get("Content-Security-Policy"), "default-src 'none'; ") {
			t.Errorf("%s/console/ = %d, policy %q", stage, res.StatusCode, res.Header.Get("Content-Security-Policy"))
		}
		script := regexp.MustCompile(`main-[0-9a-f]+\.js`).Find(page)
		res, packed := fetch(t, s, stage+"/console/"+string(script))
		r, err := gzip.NewReader(bytes.NewReader(packed))
		if err != nil || res.Header.Get("Content-Encoding") != "gzip" {
			t.Fatalf("%s = %d, %s, %v; want it compressed", script, res.StatusCode, res.Header.Get("Content-Encoding"), err)
		}
		if text, err := io.ReadAll(r); err != nil || len(text) < 2*len(packed) {
			t.Errorf("%s: %d bytes of %d, %v", script, len(packed), len(text), err)
		}
	}
	if pids := s.Lambda.PIDs("console"); len(pids) != 1 {
		t.Errorf("processes %v, want one", pids)
	}
}

func TestAnswersAreNotCompressedBesideAnUpstream(t *testing.T) {
	for name, c := range map[string]struct {
		routes string
		want   string
	}{
		"without": {"", "gzip"},
		"with":    {ownTable(t, `{"method": "GET", "path": "/v1/x", "public": true, "upstream": {"url": "http://127.0.0.1:1"}}`), ""},
	} {
		s := stacktest.Start(t, stack.Options{RoutesFile: c.routes})
		if res, _ := fetch(t, s, "/openapi.json"); res.StatusCode != 200 || res.Header.Get("Content-Encoding") != c.want {
			t.Errorf("%s: %d, Content-Encoding %q, want %q", name, res.StatusCode, res.Header.Get("Content-Encoding"), c.want)
		}
	}
}
