// Package route is the one list of what the API serves: method, path, permission,
// credential header, function and guard of every route. The CDK app, the authorizer, the
// guard, the local gateway, the OpenAPI document and the tests all read it; a route that
// is not in it does not exist.
//
// It is data, so that a user protects an API of their own by editing a file:
// routes.json (schema: routes.schema.json) holds the replaceable part, the sample API;
// management.json holds the routes that are always there.
//
// The package imports the standard library alone.
package route

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
	Method     string     `json:"method"`               // an HTTP method, or ANY: every one but OPTIONS
	Path       string     `json:"path"`                 // resource path without trailing slash: /v1/customers/{customerId}
	Permission string     `json:"permission,omitempty"` // resource:action that the key must hold; empty: any live key
	Credential Credential `json:"credential,omitempty"` // default X-API-Key
	Function   string     `json:"function"`             // row of the function table: keys, sample, …
	Customer   string     `json:"customer,omitempty"`   // the path parameter that names a customer
	Unguarded  bool       `json:"unguarded,omitempty"`  // no guard in front of it: limits and revocation wait for the cache
	Public     bool       `json:"public,omitempty"`     // no key at all
}

// Permission is a row of the catalogue.
type Permission struct {
	Name  string `json:"name"`  // resource:action
	Label string `json:"label"` // for people: "License Management"
}
