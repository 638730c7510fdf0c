package sample

import (
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/keyreeve/keyreeve/functions/sample/document"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

// Customer is someone that the account sells to.
type Customer struct {
	CustomerID    string    `json:"customerId"`
	Name          string    `json:"name"`
	Email         string    `json:"email,omitzero"`
	MonthlyAmount int64     `json:"monthlyAmount"` // in the currency's smallest unit; 0: pays nothing
	Currency      string    `json:"currency"`      // ISO 4217
	CreatedAt     timestamp `json:"createdAt"`
	UpdatedAt     timestamp `json:"updatedAt"`
}

// Invoice asks a customer for one month's amount.
type Invoice struct {
	InvoiceID  string    `json:"invoiceId"`
	CustomerID string    `json:"customerId"`
	Amount     int64     `json:"amount"` // in the currency's smallest unit
	Currency   string    `json:"currency"`
	IssuedAt   timestamp `json:"issuedAt"`
	DueAt      timestamp `json:"dueAt"`
}

// customerDoc is what is stored: the invoices are on the customer's own document, so that
// one conditional write makes a customer with its first invoice, and one deletes both.
type customerDoc struct {
	Customer
	Invoices []Invoice `json:"invoices"`
}

const (
	maxAmount    = 100_000_000 // a million in a currency of two decimals
	dueAfterDays = 30
)

// customerInput is the body of POST and PUT. Customer's id may be chosen by POST alone.
type customerInput struct {
	CustomerID    *string `json:"customerId"`
	Name          string  `json:"name"`
	Email         string  `json:"email"`
	MonthlyAmount int64   `json:"monthlyAmount"`
	Currency      string  `json:"currency"`
}

func (in *customerInput) check(f *fields) {
	if in.Currency == "" {
		in.Currency = "USD"
	}
	if in.CustomerID != nil && !keys.ValidID(*in.CustomerID) {
		f.bad("customerId", "must be 1 to 64 of A-Z, a-z, 0-9, _ and -")
	}
	f.text("name", in.Name, 1, 100)
	f.text("email", in.Email, 0, 254)
	if in.Email != "" && !strings.Contains(in.Email, "@") {
		f.bad("email", "must hold an @")
	}
	if in.MonthlyAmount < 0 || in.MonthlyAmount > maxAmount {
		f.bad("monthlyAmount", "must be 0 to 100000000, in the currency's smallest unit")
	}
	if len(in.Currency) != 3 || strings.Trim(in.Currency, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
		f.bad("currency", "must be three capital letters")
	}
}

func (a *api) listCustomers(c *call) (answer, error) {
	return a.list(c, document.Customers, func(d document.Doc) (any, error) {
		doc, err := readCustomer(d)
		return doc.Customer, err
	})
}

// createCustomer makes a customer, and its first invoice if it pays anything.
func (a *api) createCustomer(c *call) (answer, error) {
	var in customerInput
	var f fields
	if err := c.decode(&in); err != nil {
		return answer{}, err
	}
	in.check(&f)
	if err := f.err(); err != nil {
		return answer{}, err
	}
	id := "cus_" + a.NewID()
	if in.CustomerID != nil {
		id = *in.CustomerID
	}
	if !c.may(id) {
		return answer{}, errConfined // an id drawn here is never one that the key is confined to
	}
	now := timestamp(c.now)
	doc := customerDoc{Customer: Customer{
		CustomerID: id, Name: in.Name, Email: in.Email,
		MonthlyAmount: in.MonthlyAmount, Currency: in.Currency, CreatedAt: now, UpdatedAt: now,
	}, Invoices: []Invoice{}}
	if in.MonthlyAmount > 0 {
		doc.Invoices = append(doc.Invoices, Invoice{
			InvoiceID: "inv_" + a.NewID(), CustomerID: id, Amount: in.MonthlyAmount, Currency: in.Currency,
			IssuedAt: now, DueAt: timestamp(c.now.AddDate(0, 0, dueAfterDays)),
		})
	}
	return a.create(c, document.Doc{Kind: document.Customers, ID: id, Customer: id}, doc, doc.Customer)
}

func (a *api) getCustomer(c *call, id string) (answer, error) {
	doc, _, err := a.customer(c, id)
	return answer{status: http.StatusOK, data: doc.Customer}, err
}

// putCustomer replaces what a client may set; a member left out takes its default. It
// issues no invoice: a new amount counts from the next one.
func (a *api) putCustomer(c *call, id string) (answer, error) {
	var in customerInput
	var f fields
	if err := c.decode(&in); err != nil {
		return answer{}, err
	}
	in.check(&f)
	if in.CustomerID != nil && *in.CustomerID != id {
		f.bad("customerId", "must be the one in the path, or absent")
	}
	if err := f.err(); err != nil {
		return answer{}, err
	}
	doc, d, err := a.customer(c, id)
	if err != nil {
		return answer{}, err
	}
	doc.Name, doc.Email, doc.MonthlyAmount, doc.Currency = in.Name, in.Email, in.MonthlyAmount, in.Currency
	doc.UpdatedAt = timestamp(c.now)
	if d.JSON, err = json.Marshal(doc); err != nil {
		return answer{}, err
	}
	d.Version++
	if err := a.Store.Replace(c.Context(), c.scope, d); err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusOK, data: doc.Customer}, nil
}

func (a *api) deleteCustomer(c *call, id string) (answer, error) {
	if err := a.Store.Delete(c.Context(), c.scope, document.Customers, id); err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusOK, data: struct {
		CustomerID string `json:"customerId"`
		Deleted    bool   `json:"deleted"`
	}{id, true}}, nil
}

func (a *api) listInvoices(c *call, id string) (answer, error) {
	doc, _, err := a.customer(c, id)
	return answer{http.StatusOK, doc.Invoices, pageMeta{Count: len(doc.Invoices)}}, err
}

func (a *api) customer(c *call, id string) (customerDoc, document.Doc, error) {
	d, err := a.Store.Get(c.Context(), c.scope, document.Customers, id)
	if err != nil {
		return customerDoc{}, document.Doc{}, err
	}
	doc, err := readCustomer(d)
	return doc, d, err
}

func readCustomer(d document.Doc) (doc customerDoc, err error) {
	err = json.Unmarshal(d.JSON, &doc)
	return doc, err
}
