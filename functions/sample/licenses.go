package sample

import (
	"errors"

	"github.com/keyreeve/keyreeve/functions/sample/document"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

// License lets someone use a product. It may belong to a customer.
type License struct {
	LicenseID  string    `json:"licenseId"`
	Product    string    `json:"product"`
	Seats      int       `json:"seats"`
	CustomerID string    `json:"customerId,omitzero"`
	CreatedAt  timestamp `json:"createdAt"`
}

func (a *api) listLicenses(c *call) (answer, error) { return a.list(c, document.Licenses, asStored) }

func (a *api) createLicense(c *call) (answer, error) {
	var in struct {
		Product    string `json:"product"`
		Seats      *int   `json:"seats"`
		CustomerID string `json:"customerId"`
	}
	var f fields
	if err := c.decode(&in); err != nil {
		return answer{}, err
	}
	l := License{Product: in.Product, Seats: 1, CustomerID: in.CustomerID, CreatedAt: timestamp(c.now)}
	if in.Seats != nil {
		l.Seats = *in.Seats
	}
	f.text("product", l.Product, 1, 100)
	if l.Seats < 1 || l.Seats > 100_000 {
		f.bad("seats", "must be 1 to 100000")
	}
	if err := f.err(); err != nil {
		return answer{}, err
	}
	if !c.may(l.CustomerID) {
		return answer{}, errConfined
	}
	if l.CustomerID != "" {
		if err := a.customerExists(c, l.CustomerID); err != nil {
			return answer{}, err
		}
	}
	l.LicenseID = "lic_" + a.NewID()
	return a.create(c, document.Doc{Kind: document.Licenses, ID: l.LicenseID, Customer: l.CustomerID}, l, l)
}

// customerExists is a check for the client's sake. A customer that is deleted a moment
// later keeps its licences: they were sold.
func (a *api) customerExists(c *call, id string) error {
	err := error(keys.ErrNotFound)
	if keys.ValidID(id) {
		_, err = a.Store.Get(c.Context(), c.scope, document.Customers, id)
	}
	if errors.Is(err, keys.ErrNotFound) {
		return invalid("customerId", "names no customer")
	}
	return err
}
