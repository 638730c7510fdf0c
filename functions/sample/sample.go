// Package sample is the API that Keyreeve protects out of the box: workspaces, customers
// with invoices, licences and telemetry. It is small but real, and it is the part to
// replace by an API of one's own (pkg/route/routes.json names its routes).
//
// The model: every document belongs to one account in one environment (its [document.Scope]), and
// may belong to one customer. A key that is confined to customers sees and touches what
// belongs to them and nothing else: lists leave the rest out, and writing it is a 403.
//
// Promises:
//
//   - Who is calling comes from the guard ([guard.Caller]) and from nowhere else. A
//     request without a caller is a 500: there is no default tenant.
//   - No answer tells whether something exists outside the caller's scope.
//   - A request is answered after its write is durable, and a later read sees it.
package sample

import (
	"crypto/rand"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/functions/sample/document"
	"github.com/keyreeve/keyreeve/pkg/guard"
	"github.com/keyreeve/keyreeve/pkg/httpapi"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

// Config is what the API works with.
type Config struct {
	Store document.Store
	Clock func() time.Time // default time.Now
	// NewID draws the part of an id after its prefix ("cus_"): unique, of
	// [A-Za-z0-9_-], at most 60 characters. Default: crypto/rand.Text.
	NewID func() string
}

type api struct{ Config }

// New returns the API. Paths are those of the route table, with or without a trailing slash.
func New(c Config) http.Handler {
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.NewID == nil {
		c.NewID = rand.Text
	}
	return &api{c}
}

// call is one request with who makes it.
type call struct {
	*http.Request
	scope     document.Scope
	customers []string // that the key is confined to; empty: it is not
	now       time.Time
}

// may reports whether the caller may touch what belongs to that customer (empty: to the
// account as a whole).
func (c *call) may(customer string) bool {
	return len(c.customers) == 0 || slices.Contains(c.customers, customer)
}

// errConfined is the refusal of what belongs to other customers than the caller's.
var errConfined = &guard.ScopeError{Customer: true}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	caller, ok := guard.Caller(r.Context())
	if !ok {
		refuse(w, r, httpapi.ErrMissingContext)
		return
	}
	reply, err := a.serve(&call{
		Request:   r,
		scope:     document.Scope{AccountID: caller.AccountID, Environment: caller.Environment},
		customers: caller.Customers,
		now:       a.Clock().UTC().Truncate(time.Millisecond),
	})
	if err != nil {
		refuse(w, r, err)
		return
	}
	reply.write(w)
}

// serve finds the route. It compares escaped segments, so that "%2F" never makes two of
// one: what the gateway took for a customer's id stays one here.
func (a *api) serve(c *call) (answer, error) {
	path := strings.TrimSuffix(strings.TrimPrefix(c.URL.EscapedPath(), "/v1/"), "/")
	segments := strings.Split(path, "/")
	route := c.Method + " " + segments[0]
	switch len(segments) {
	case 1:
		switch route {
		case "GET workspaces":
			return a.listWorkspaces(c)
		case "POST workspaces":
			return a.createWorkspace(c)
		case "GET customers":
			return a.listCustomers(c)
		case "POST customers":
			return a.createCustomer(c)
		case "GET licenses":
			return a.listLicenses(c)
		case "POST licenses":
			return a.createLicense(c)
		case "POST telemetry":
			return a.acceptEvents(c)
		}
	case 2, 3:
		id := segments[1]
		if segments[0] != "customers" || !keys.ValidID(id) {
			break
		}
		if !c.may(id) {
			return answer{}, errConfined // the guard has refused it already; this is the second lock
		}
		if len(segments) == 3 {
			route += "/" + segments[2]
		}
		switch route {
		case "GET customers":
			return a.getCustomer(c, id)
		case "PUT customers":
			return a.putCustomer(c, id)
		case "DELETE customers":
			return a.deleteCustomer(c, id)
		case "GET customers/invoices":
			return a.listInvoices(c, id)
		}
	}
	return answer{}, keys.ErrNotFound
}
