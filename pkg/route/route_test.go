package route_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/route"
)

func TestRoutesAreSortedAndTheCallersOwn(t *testing.T) {
	tab := route.Default()
	rs := tab.Routes()
	if len(rs) != 54 {
		t.Errorf("the default table has %d routes, want 54", len(rs))
	}
	if !slices.IsSortedFunc(rs, func(a, b route.Route) int { return strings.Compare(a.Path+" "+a.Method, b.Path+" "+b.Method) }) {
		t.Error("Routes() is not sorted by path and method")
	}
	rs[0].Permission = "changed"
	if tab.Routes()[0].Permission == "changed" {
		t.Error("a change of what Routes returned changes the table")
	}
	tab.Permissions()[0].Label = "changed"
	if tab.Permissions()[0].Label == "changed" {
		t.Error("a change of what Permissions returned changes the table")
	}
}

func TestLookupByResourcePath(t *testing.T) {
	tab := route.Default()
	for _, c := range []struct {
		method, resource, permission string
		ok                           bool
	}{
		{"GET", "/v1/customers/{customerId}", "customers:read", true},
		{"GET", "/v1/customers/{customerId}/", "customers:read", true},
		{"PUT", "/v1/customers/{customerId}", "customers:write", true},
		{"GET", "/v1/customers/{customerId}/invoices", "invoices:read", true},
		{"GET", "/v1/api-keys", "api_keys:read", true},
		{"PATCH", "/v1/customers/{customerId}", "", false},
		{"get", "/v1/customers", "", false},
		{"OPTIONS", "/v1/customers", "", false},
		{"GET", "/v1/customers/cus_1", "", false},
		{"GET", "/v1/customers/{id}", "", false},
		{"GET", "/v1/customers//", "", false},
		{"GET", "/v1/Customers", "", false},
		{"GET", "/v1", "", false},
		{"GET", "/", "", false},
		{"GET", "", "", false},
		{"", "/v1/customers", "", false},
	} {
		r, ok := tab.Lookup(c.method, c.resource)
		if ok != c.ok || r.Permission != c.permission || ok && r.Method != c.method {
			t.Errorf("Lookup(%q, %q) = %v, %t; want permission %q, %t", c.method, c.resource, r, ok, c.permission, c.ok)
		}
	}
}

func TestTheCatalogueHasManagementFirstAndLabelsForAll(t *testing.T) {
	tab := route.Default()
	want := []route.Permission{
		{Name: "api_keys:read", Label: "API Key Read"},
		{Name: "api_keys:write", Label: "API Key Management"},
		{Name: "workspaces:read", Label: "Workspace Read"},
		{Name: "workspaces:write", Label: "Workspace Write"},
		{Name: "customers:read", Label: "Customer Read"},
		{Name: "customers:write", Label: "Customer Write"},
		{Name: "invoices:read", Label: "Invoice Read"},
		{Name: "licenses:manage", Label: "License Management"},
		{Name: "telemetry:write", Label: "Telemetry Write"},
	}
	if diff := cmp.Diff(want, tab.Permissions()); diff != "" {
		t.Errorf("Permissions() (-want +got)\n%s", diff)
	}
	for p, label := range map[string]string{
		"licenses:manage": "License Management", "customers:read": "Customer Read", "telemetry:write": "Telemetry Write",
		"customers:*": "Customer Read, Customer Write", "api_keys:*": "API Key Read, API Key Management", "*": "Full Access",
	} {
		if got := tab.Label(p); got != label || !tab.KnownPermission(p) {
			t.Errorf("Label(%q) = %q, KnownPermission %t; want %q, true", p, got, tab.KnownPermission(p), label)
		}
	}
	for _, p := range []string{"", "customers", "customers:", ":", ":*", "*:*", "customers:**", "custom:*", "customers:delete", "Customers:read", "customers:read ", "* "} {
		if got := tab.Label(p); got != "" || tab.KnownPermission(p) {
			t.Errorf("Label(%q) = %q, KnownPermission %t; want none, false", p, got, tab.KnownPermission(p))
		}
	}
}

func TestFunctions(t *testing.T) {
	if diff := cmp.Diff([]string{"console", "keys", "sample"}, route.Default().Functions()); diff != "" {
		t.Errorf("Functions() (-want +got)\n%s", diff)
	}
}

func TestLookupAllocatesNothing(t *testing.T) {
	tab := route.Default()
	if n := testing.AllocsPerRun(1_000, func() {
		if _, ok := tab.Lookup("GET", "/v1/customers/{customerId}/invoices"); !ok {
			t.Fatal("not found")
		}
	}); n != 0 {
		t.Errorf("Lookup makes %v allocations, want 0", n)
	}
}

func BenchmarkLookup(b *testing.B) {
	tab := route.Default()
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := tab.Lookup("GET", "/v1/customers/{customerId}/invoices"); !ok {
			b.Fatal("not found")
		}
	}
}

func BenchmarkMatch(b *testing.B) {
	tab := route.Default()
	b.ReportAllocs()
	for b.Loop() {
		if _, _, found := tab.Match("GET", "/v1/customers/cus_1/invoices"); found != route.Matched {
			b.Fatal("not found")
		}
	}
}

// A cold start waits for this.
func BenchmarkLoad(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := route.Load(nil); err != nil {
			b.Fatal(err)
		}
	}
}
