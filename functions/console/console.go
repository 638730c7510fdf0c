// Package console serves the console at /console/: the files that the build makes of web/.
// It is a page that calls the public API of its own origin and stage; this package knows
// nothing of keys, reads no table and sees no credential.
//
// The model: dist/ is embedded, each file as gzip, and unpacked once when the process
// starts. index.html is asked for anew each time; everything else is named after its
// content by the build, so a name's bytes never change and may be kept for a year.
// API Gateway compresses what it sends, and not this package: it would have to take every
// body of the API for binary to pass compressed bytes on.
//
// Promises: a page of this origin runs no script, loads no style and talks to no server but
// this origin's (the Content-Security-Policy below), and no other site may frame it, open
// it with a handle on it, or read it; a name that is not embedded is a 404 whatever is in
// it; a binary that was built without the console says so with 503.
package console

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/keyreeve/keyreeve/functions/proxy"
	"github.com/keyreeve/keyreeve/pkg/httpapi"
)

//go:embed all:dist
var dist embed.FS

// Built is what the build has put into this binary, by file name.
func Built() map[string][]byte {
	files := map[string][]byte{}
	entries, _ := dist.ReadDir("dist") // what is embedded can be read
	for _, e := range entries {
		files[e.Name()], _ = dist.ReadFile("dist/" + e.Name())
	}
	return files
}

const (
	root  = "/console"
	index = "index.html"
)

// types of what the build makes. A file of another kind is a mistake of the build.
var types = map[string]string{
	"html": "text/html; charset=utf-8",
	"js":   "text/javascript; charset=utf-8",
	"css":  "text/css; charset=utf-8",
}

var errNotBuilt = httpapi.Problem{Status: http.StatusServiceUnavailable, Code: "console_not_built",
	Message: "This binary was built without the console: install Node.js with npm, run make build, and start or deploy again."}

type file struct {
	body      []byte
	mediaType string
	cache     string
	etag      string
}

// Handler is an http.Handler, safe for concurrent use.
type Handler struct{ files map[string]*file }

// New unpacks the files of a build: those that are named NAME.gz.
func New(built map[string][]byte) (*Handler, error) {
	h := &Handler{files: map[string]*file{}}
	for packed, text := range built {
		name, ok := strings.CutSuffix(packed, ".gz")
		if !ok {
			continue
		}
		f := &file{mediaType: types[name[strings.LastIndexByte(name, '.')+1:]], cache: "public, max-age=31536000, immutable"}
		if f.mediaType == "" {
			return nil, fmt.Errorf("console: %s: a file of a kind that is not served", name)
		}
		var err error
		if f.body, err = unpack(text); err != nil {
			return nil, fmt.Errorf("console: %s: %w", name, err)
		}
		if name == index {
			f.cache = "no-cache" // kept, but used only if the ETag is still ours
		}
		// Weak, because the bytes that arrive are compressed or not as the client likes, and a
		// strong one would have to differ (RFC 9110 section 8.8.1).
		sum := sha256.Sum256(f.body)
		f.etag = fmt.Sprintf(`W/"%x"`, sum[:8])
		h.files[name] = f
	}
	return h, nil
}

func unpack(text []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// policy is what a page of this origin may do. Everything is a file of its own: no script
// and no style stands in the page, and no code makes HTML of text (trusted-types 'none'
// turns an attempt into an error). data: is for images in the style sheet.
// The API is of the same origin, on every stage and custom domain.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; " +
	"require-trusted-types-for 'script'; trusted-types 'none'"

// headers of every answer, of errors too.
var headers = map[string]string{
	"Content-Security-Policy":      policy,
	"Cross-Origin-Opener-Policy":   "same-origin",
	"Cross-Origin-Resource-Policy": "same-origin",
	"Permissions-Policy":           "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), microphone=(), payment=(), usb=(), clipboard-read=(), clipboard-write=(self)",
	"Referrer-Policy":              "no-referrer",
	"X-Content-Type-Options":       "nosniff",
	"X-Frame-Options":              "DENY", // frame-ancestors for what does not know it
}

// ServeHTTP implements http.Handler for the routes /console and /console/{file}.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for name, value := range headers {
		w.Header().Set(name, value)
	}
	if _, built := h.files[index]; !built {
		refuse(w, r, errNotBuilt)
		return
	}
	name, directory := strings.TrimPrefix(r.URL.Path, root+"/"), endsInSlash(r)
	if r.URL.Path == root {
		if !directory {
			// The page's files are beside it, so it must be a directory. The reference goes from
			// where the browser is: no function knows the stage or base path that it sees.
			w.Header().Set("Cache-Control", "no-cache")
			w.Header().Set("Location", "console/")
			w.WriteHeader(http.StatusPermanentRedirect)
			return
		}
		name, directory = index, false
	}
	f, ok := h.files[name]
	if !ok || directory {
		refuse(w, r, httpapi.NotFound())
		return
	}
	f.serve(w, r)
}

// endsInSlash tells what the request's own path does not (package proxy).
func endsInSlash(r *http.Request) bool {
	arrival, _ := proxy.ArrivalOf(r.Context())
	return strings.HasSuffix(arrival.Path, "/")
}

func refuse(w http.ResponseWriter, r *http.Request, p httpapi.Problem) {
	httpapi.Write(w, r.Header.Get(httpapi.RequestIDHeader), p)
}

func (f *file) serve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", f.cache)
	w.Header().Set("ETag", f.etag)
	w.Header().Set("Vary", "Accept-Encoding") // API Gateway compresses, and does not add this
	if f.matches(strings.Join(r.Header.Values("If-None-Match"), ",")) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.Header().Set("Content-Type", f.mediaType)
	_, _ = w.Write(f.body)
}

// matches compares weakly (RFC 9110 section 13.1.2). Our ETag holds no comma.
func (f *file) matches(list string) bool {
	for _, etag := range strings.Split(list, ",") {
		etag = strings.TrimSpace(etag)
		if etag == "*" || strings.TrimPrefix(etag, "W/") == strings.TrimPrefix(f.etag, "W/") {
			return true
		}
	}
	return false
}
