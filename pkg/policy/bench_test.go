package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/route"
)

// tenRoutes is a table of ten routes, all of which the bench's key may use.
func tenRoutes() []route.Route {
	return []route.Route{
		{Method: "GET", Path: "/v1/customers", Permission: "customers:read"},
		{Method: "POST", Path: "/v1/customers", Permission: "customers:write"},
		{Method: "GET", Path: "/v1/customers/{customerId}", Permission: "customers:read", Customer: "customerId"},
		{Method: "PUT", Path: "/v1/customers/{customerId}", Permission: "customers:write", Customer: "customerId"},
		{Method: "DELETE", Path: "/v1/customers/{customerId}", Permission: "customers:write", Customer: "customerId"},
		{Method: "GET", Path: "/v1/customers/{customerId}/invoices", Permission: "invoices:read", Customer: "customerId"},
		{Method: "GET", Path: "/v1/licenses", Permission: "licenses:manage"},
		{Method: "POST", Path: "/v1/licenses", Permission: "licenses:manage"},
		{Method: "GET", Path: "/v1/workspaces", Permission: "workspaces:read"},
		{Method: "POST", Path: "/v1/telemetry", Permission: "telemetry:write"},
	}
}

// statementJSON is a statement as encoding/json would be given it.
type statementJSON struct {
	Effect, Action string
	Resource       []string
}

type documentJSON struct {
	Version   string
	Statement []statementJSON
}

// BenchmarkTenRoutes compares writing by hand with encoding/json, for a key that may use ten
// routes, which make 17 resources. The package puts them into one statement, as that is
// shorter; the last case is the same with a statement for each route.
func BenchmarkTenRoutes(b *testing.B) {
	p := mustCompile(b, tenRoutes()...)
	id := keys.Identity{Permissions: []string{"*"}}
	want := document(b, p, id)
	b.Run("by hand", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if doc, _, err := p.AppendDocument(nil, id, base); err != nil || len(doc) != len(want) {
				b.Fatal(err)
			}
		}
	})
	b.Run("by hand into a buffer", func(b *testing.B) { // as the authorizer does
		buf := make([]byte, 0, MaxDocument)
		b.ReportAllocs()
		for b.Loop() {
			if doc, _, err := p.AppendDocument(buf[:0], id, base); err != nil || len(doc) != len(want) {
				b.Fatal(err)
			}
		}
	})
	b.Run("encoding_json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			d := documentJSON{Version: "2012-10-17", Statement: []statementJSON{{Effect: "Allow", Action: "execute-api:Invoke"}}}
			for i := range p.rows {
				r := &p.rows[i]
				if !keys.Holds(id.Permissions, r.route.Permission) {
					continue
				}
				for _, s := range r.plain {
					d.Statement[0].Resource = append(d.Statement[0].Resource, base+s[:len(s)-1])
				}
			}
			if got, err := json.Marshal(d); err != nil || !bytes.Equal(got, want) {
				b.Fatalf("%s\n%s\n%v", got, want, err)
			}
		}
	})
	b.Run("encoding_json ten statements", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			d := documentJSON{Version: "2012-10-17"}
			for i := range p.rows {
				r := &p.rows[i]
				if !keys.Holds(id.Permissions, r.route.Permission) {
					continue
				}
				s := statementJSON{Effect: "Allow", Action: "execute-api:Invoke"}
				for _, e := range r.plain {
					s.Resource = append(s.Resource, base+e[:len(e)-1])
				}
				d.Statement = append(d.Statement, s)
			}
			if _, err := json.Marshal(d); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkShipped is the table as it comes, for a confined key with an expiry.
func BenchmarkShipped(b *testing.B) {
	p := shipped(b)
	id := keys.Identity{Permissions: []string{"customers:*", "invoices:read"}, Customers: []string{"cus_1", "cus_2"}, ExpiresAt: now.Add(time.Hour)}
	buf := make([]byte, 0, MaxDocument)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := p.AppendDocument(buf[:0], id, base); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkShortened is a key of 50 customers: the exact policy is too long.
func BenchmarkShortened(b *testing.B) {
	p := shipped(b)
	id := keys.Identity{Permissions: []string{"*"}}
	for i := range 50 {
		id.Customers = append(id.Customers, fmt.Sprintf("customer_%d", i))
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := p.AppendDocument(nil, id, base); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkNew is part of a cold start.
func BenchmarkNew(b *testing.B) {
	table := route.Default()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := New(table); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEvaluate(b *testing.B) {
	doc := document(b, mustCompile(b, tenRoutes()...), keys.Identity{Permissions: []string{"*"}})
	d, err := Parse(doc)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if got, err := d.Evaluate("execute-api:Invoke", base+"POST/v1/telemetry", nil); err != nil || !got.Allowed {
			b.Fatal(got, err)
		}
	}
}

func TestAppendDocumentAllocatesNothingIntoARoomyBuffer(t *testing.T) {
	p := shipped(t)
	id := keys.Identity{Permissions: []string{"*", "api_keys:read"}, Customers: []string{"cus_1", "cus_2"}, ExpiresAt: now}
	buf := make([]byte, 0, 2*MaxDocument)
	if n := testing.AllocsPerRun(100, func() {
		if _, _, err := p.AppendDocument(buf[:0], id, base); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("AppendDocument allocates %v times, want 0", n)
	}
}
