// Package route is the one list of what the API serves: method, path, permission,
// credential header, function and guard of every route. The CDK app, the authorizer, the
// guard, the local gateway, the OpenAPI document and the tests all read it; a route that
// is not in it does not exist.
//
// It is data, so that a user protects an API of their own by editing a file:
// routes.json (schema: routes.schema.json) holds the replaceable part, the sample API;
// management.json holds the routes that are always there, and no file can change those.
// A row names a function of ours, or in its place an [Upstream] that runs elsewhere.
//
// Promises: a table that [Load] returns can be built in API Gateway; every permission
// that a route asks for is in the catalogue; and no unguarded route is opened by the IAM
// policy of another one (overlap.go). A [Table] is immutable and safe for concurrent use.
//
// The package imports the standard library alone.
package route

import (
	_ "embed"
	"slices"
	"strings"
	"sync"
)

// Credential is the header that carries the key on a route. API Gateway requires every
// identity source of an authorizer at once, so "either header" could not be cached: each
// route names its one.
type Credential string

// The credentials.
const (
	APIKeyHeader  Credential = "X-API-Key"
	Authorization Credential = "Authorization" // "Api-Key …" or "Bearer …"
)

// Route is one row of the table.
type Route struct {
	Method     string     `json:"method"`               // an HTTP method, or ANY: every one but OPTIONS that the path names no row for
	Path       string     `json:"path"`                 // resource path without trailing slash: /v1/customers/{customerId}
	Permission string     `json:"permission,omitempty"` // resource:action that the key must hold; empty: any live key
	Credential Credential `json:"credential,omitempty"` // default X-API-Key; empty on a public route
	Function   string     `json:"function,omitempty"`   // row of the function table: keys, sample, …; Forward where there is an upstream
	Upstream   Upstream   `json:"upstream,omitzero"`    // in place of a function
	Customer   string     `json:"customer,omitempty"`   // the path parameter that names a customer
	Unguarded  bool       `json:"unguarded,omitempty"`  // no guard in front of it: limits and revocation wait for the cache
	Public     bool       `json:"public,omitempty"`     // no key at all
	Management bool       `json:"-"`                    // of Keyreeve's own API: the only routes that a session may call
}

// Forward is the function of every row that has an upstream. Files do not name it.
const Forward = "forward"

// Upstream is what serves a route in place of a function of ours: a server by URL, or any
// Lambda function. The zero value is none.
type Upstream struct {
	URL    string `json:"url,omitempty"`    // http or https, host, perhaps a port and a base path: https://orders.example.com/base
	Lambda string `json:"lambda,omitempty"` // ARN, perhaps with a version or an alias
	// TimeoutSeconds is how long the whole answer may take, 1 to 28: API Gateway waits for
	// 29. Default 25.
	TimeoutSeconds int `json:"timeoutSeconds,omitempty"`
}

// Permission is a row of the catalogue.
type Permission struct {
	Name  string `json:"name"`  // resource:action
	Label string `json:"label"` // for people: "License Management"
}

// Methods lists what ANY stands for. OPTIONS is not among them: it belongs to preflight
// requests, which carry no credential (Fetch standard, section 4.8).
func Methods() []string { return []string{"DELETE", "GET", "HEAD", "PATCH", "POST", "PUT"} }

// Table is the whole list.
type Table struct {
	routes      []Route // sorted by path and method, without ANY
	permissions []Permission
	exact       map[key]int // index in routes
	known       map[string]bool
	root        *node
}

type key struct{ method, path string }

var (
	//go:embed management.json
	managementJSON []byte
	//go:embed routes.json
	sampleJSON []byte
)

var builtIn = sync.OnceValue(func() *Table {
	t, err := Load(nil)
	if err != nil {
		panic(err) // the embedded files are tested
	}
	return t
})

// Default is the table with the sample's routes.
func Default() *Table { return builtIn() }

// Routes returns all routes, sorted by path and then method: ANY is expanded and
// defaults are filled in. The slice is the caller's own.
func (t *Table) Routes() []Route { return slices.Clone(t.routes) }

// Lookup finds a route by method and resource path, as Lambda's event names it
// ("/v1/customers/{customerId}"), with or without a trailing slash.
func (t *Table) Lookup(method, resource string) (Route, bool) {
	if len(resource) > 1 {
		resource = strings.TrimSuffix(resource, "/")
	}
	i, ok := t.exact[key{method, resource}]
	if !ok {
		return Route{}, false
	}
	return t.routes[i], true
}

// Permissions returns the catalogue, in the order of the files: Keyreeve's own first.
// The slice is the caller's own.
func (t *Table) Permissions() []Permission { return slices.Clone(t.permissions) }

// KnownPermission reports whether p may be granted: a row of the catalogue, "*", or
// "resource:*" of a resource in the catalogue.
func (t *Table) KnownPermission(p string) bool { return t.known[p] }

// Label is what a person reads for a permission that may be granted: the catalogue's
// label, the joined labels of what "resource:*" covers, "Full Access" for "*". It is
// empty for any other.
func (t *Table) Label(p string) string {
	if p == "*" {
		return "Full Access"
	}
	resource, action, _ := strings.Cut(p, ":")
	var labels []string
	for _, c := range t.permissions {
		if c.Name == p || action == "*" && strings.HasPrefix(c.Name, resource+":") {
			labels = append(labels, c.Label)
		}
	}
	return strings.Join(labels, ", ")
}

// Lambdas lists the ARNs of the functions that are upstreams, sorted.
func (t *Table) Lambdas() []string {
	var out []string
	for _, r := range t.routes {
		if r.Upstream.Lambda != "" {
			out = append(out, r.Upstream.Lambda)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// BinaryMediaTypes are what API Gateway must take for binary: everything, if there is an
// upstream, since it is not known what that takes and answers, and whatever is no UTF-8 is
// lost in an API that knows of text alone. It is nil where every route is a function of
// ours, whose bodies are JSON.
func (t *Table) BinaryMediaTypes() []string {
	if slices.Contains(t.Functions(), Forward) {
		return []string{"*/*"}
	}
	return nil
}

// CompressFrom is the size in bytes from which API Gateway is to compress answers
// (minimumCompressionSize); 0: not at all. What is smaller fits into a packet or two.
//
// Where there is an upstream it compresses nothing. Nobody knows what that answers: a part
// of a file, an ETag that says "these bytes", an archive, and all of it would be changed on
// its way; and API Gateway takes compressed request bodies apart, too, with a setting like
// this one, while the upstream is told that they are compressed.
//
// Compression gives no secret away by an answer's length (CRIME, BREACH): nobody but the
// key's holder can have the answer made, since no browser adds a key by itself.
func (t *Table) CompressFrom() int {
	if t.BinaryMediaTypes() != nil {
		return 0
	}
	return 1024
}

// Functions lists the functions that serve routes, sorted.
func (t *Table) Functions() []string {
	var out []string
	for _, r := range t.routes {
		out = append(out, r.Function)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
