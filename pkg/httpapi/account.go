package httpapi

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

// Key types of the account face. Sandbox is every environment but production.
const (
	production = "production"
	sandbox    = "sandbox"
)

// savedOnce goes with a new key on the account face.
const savedOnce = "Save this key securely. It will not be shown again."

// accountKeyView is a key as the account face shows it: these fields and no others.
type accountKeyView struct {
	ID        int64   `json:"id" minimum:"1" maximum:"9007199254740991"`
	Name      string  `json:"name" minLength:"1" maxLength:"100"`
	KeyType   string  `json:"key_type" enum:"production,sandbox" doc:"sandbox: any environment but production."`
	KeyPrefix string  `json:"key_prefix" example:"ml_prod_abc1"`
	IsActive  bool    `json:"is_active"`
	IsPrimary bool    `json:"is_primary"`
	CreatedAt second  `json:"created_at"`
	LastUsed  *second `json:"last_used" nullable:"true" doc:"null: never."`
}

type accountKeyListView struct {
	APIKeys []accountKeyView `json:"api_keys"`
}

type accountIssuedKeyView struct {
	ID      int64  `json:"id" minimum:"1" maximum:"9007199254740991"`
	Name    string `json:"name" minLength:"1" maxLength:"100"`
	KeyType string `json:"key_type" enum:"production,sandbox"`
	APIKey  string `json:"api_key" maxLength:"128" doc:"The key itself. It is shown in this answer and never again."`
	Message string `json:"message" example:"Save this key securely. It will not be shown again."`
}

type createAccountKey struct {
	Name    string  `json:"name" minLength:"1" maxLength:"100" pattern:"^[^\\x00-\\x1f\\x7f-\\x9f]*[^\\x00-\\x20\\x7f-\\xa0][^\\x00-\\x1f\\x7f-\\x9f]*$" example:"CI/CD Pipeline"`
	KeyType *string `json:"key_type" nullable:"false" enum:"production,sandbox" doc:"production: holds all that the calling key holds. sandbox: a development key that cannot manage keys."`
}

type patchAccountKey struct {
	Name      *string `json:"name,omitempty" minLength:"1" maxLength:"100" pattern:"^[^\\x00-\\x1f\\x7f-\\x9f]*[^\\x00-\\x20\\x7f-\\xa0][^\\x00-\\x1f\\x7f-\\x9f]*$"`
	IsActive  *bool   `json:"is_active,omitempty" doc:"false switches the key off until it is true again."`
	IsPrimary *bool   `json:"is_primary,omitempty" doc:"true takes the mark from the present primary key."`
}

func keyType(e keys.Environment) string {
	if e == keys.Production {
		return production
	}
	return sandbox
}

func accountView(k *keys.Key) accountKeyView {
	return accountKeyView{
		ID: k.Number, Name: k.Name, KeyType: keyType(k.Environment), KeyPrefix: apikey.AccountMask(k.Secret.Prefix, k.ID),
		IsActive: k.Active, IsPrimary: k.Primary, CreatedAt: second(k.CreatedAt), LastUsed: atSecond(k.LastUsed),
	}
}

// accountRef reads {id} of the account face: an integer as the face itself writes it.
func (c *call) accountRef() (keys.Ref, error) {
	n, err := strconv.ParseInt(c.id, 10, 64)
	if err != nil || n < 1 || strconv.FormatInt(n, 10) != c.id {
		return keys.Ref{}, keys.ErrNotFound
	}
	return keys.Ref{Number: n}, nil
}

// accountNames are the fields that this face calls otherwise than the service does.
var accountNames = map[string]string{"environment": "key_type", "isActive": "is_active", "isPrimary": "is_primary"}

// inAccountWords names the fields at fault as the client of this face knows them.
func inAccountWords(err error) error {
	var validation *keys.ValidationError
	var escalation *keys.EscalationError
	switch {
	case errors.As(err, &validation):
		out := &keys.ValidationError{Fields: make([]keys.FieldError, len(validation.Fields))}
		for i, f := range validation.Fields {
			if name, ok := accountNames[f.Field]; ok {
				f.Field = name
			}
			out.Fields[i] = f
		}
		return out
	case errors.As(err, &escalation):
		if name, ok := accountNames[escalation.Field]; ok {
			return &keys.EscalationError{Field: name}
		}
	}
	return err
}

func (a *api) listAccountKeys(c *call) (reply, error) {
	page, err := a.cfg.Service.List(c.Context(), c.caller, keys.Query{})
	if err != nil {
		return reply{}, err
	}
	list := accountKeyListView{APIKeys: make([]accountKeyView, len(page.Keys))}
	for i := range page.Keys {
		list.APIKeys[i] = accountView(&page.Keys[i])
	}
	return reply{status: http.StatusOK, body: list}, nil
}

func (a *api) createAccountKey(c *call) (reply, error) {
	var body createAccountKey
	text, err := c.readBody(&body)
	if err != nil {
		return reply{}, err
	}
	in := keys.CreateInput{Name: body.Name, Face: keys.AccountFace}
	var environment keys.Environment
	switch {
	case body.KeyType == nil:
		return reply{}, Invalid(FieldProblem{"key_type", "is needed: production or sandbox"})
	case *body.KeyType == production:
		// "Full access": the way to replace a primary key must not end in a key that
		// cannot manage keys.
		environment, in.FullAccess = keys.Production, true
	case *body.KeyType == sandbox:
		environment = keys.Development
	default:
		return reply{}, Invalid(FieldProblem{"key_type", "must be production or sandbox"})
	}
	in.Environment = &environment
	idem, err := c.idempotency("/v1/account/api-keys", text)
	if err != nil {
		return reply{}, err
	}
	issued, err := a.cfg.Service.Create(c.Context(), c.caller, in, idem)
	if err != nil {
		return reply{}, inAccountWords(err)
	}
	h := etag(&issued.Key)
	if issued.Replayed {
		h.Set("Idempotency-Replayed", "true")
	}
	return reply{status: http.StatusCreated, header: h, body: accountIssuedKeyView{
		ID: issued.Key.Number, Name: issued.Key.Name, KeyType: keyType(issued.Key.Environment),
		APIKey: issued.Plaintext.Plaintext(), Message: savedOnce,
	}}, nil
}

func (a *api) updateAccountKey(c *call) (reply, error) {
	ref, err := c.accountRef()
	if err != nil {
		return reply{}, err
	}
	var body patchAccountKey
	if _, err := c.readBody(&body); err != nil {
		return reply{}, err
	}
	if body == (patchAccountKey{}) {
		return reply{}, nothingToChange()
	}
	cond, err := c.conditions()
	if err != nil {
		return reply{}, err
	}
	k, err := a.cfg.Service.Update(c.Context(), c.caller, ref,
		keys.Patch{Name: body.Name, Active: body.IsActive, Primary: body.IsPrimary}, cond)
	if err != nil {
		return reply{}, inAccountWords(err)
	}
	return reply{status: http.StatusOK, header: etag(&k), body: accountView(&k)}, nil
}

func (a *api) deleteAccountKey(c *call) (reply, error) {
	ref, err := c.accountRef()
	if err != nil {
		return reply{}, err
	}
	cond, err := c.conditions()
	if err != nil {
		return reply{}, err
	}
	if _, err := a.cfg.Service.Delete(c.Context(), c.caller, ref, cond); err != nil {
		return reply{}, err
	}
	return reply{status: http.StatusNoContent}, nil
}

func accountOperations() []operation {
	return []operation{
		{method: "GET", path: "/v1/account/api-keys", serve: (*api).listAccountKeys, id: "listAccountKeys", tag: "Account",
			summary: "List all API keys", description: "The first 1,000 keys of the caller's account that are not deleted.",
			status: http.StatusOK, answer: answerSchema{text: "The keys.", bare: of[accountKeyListView]()}},
		{method: "POST", path: "/v1/account/api-keys", serve: (*api).createAccountKey, id: "createAccountKey", tag: "Account",
			summary: "Create a new API key", body: of[createAccountKey](), bodyNeeded: true, idempotent: true,
			status: http.StatusCreated, etag: true, answer: answerSchema{text: "The key, with its plaintext.", bare: of[accountIssuedKeyView]()},
			problems: []string{"permission_escalation", "key_limit", "conflict", "outcome_unknown", "not_settled"}},
		{method: "PATCH", path: "/v1/account/api-keys/{id}", serve: (*api).updateAccountKey, id: "updateAccountKey", tag: "Account",
			summary: "Update an API key", body: of[patchAccountKey](), bodyNeeded: true, ifMatch: true, query: []parameter{forceParameter},
			status: http.StatusOK, etag: true, answer: answerSchema{text: "The key as it is now.", bare: of[accountKeyView]()},
			problems: []string{"not_found", "permission_escalation", "primary_key", "key_not_active", "last_manager", "precondition_failed", "conflict", "outcome_unknown", "not_settled"}},
		{method: "DELETE", path: "/v1/account/api-keys/{id}", serve: (*api).deleteAccountKey, id: "deleteAccountKey", tag: "Account",
			summary: "Delete an API key", description: "Its next request fails. It cannot be undone. The primary key cannot be deleted: create a new key, set it as primary, then delete the old one.",
			ifMatch: true, query: []parameter{forceParameter},
			status: http.StatusNoContent, answer: answerSchema{text: "The key is deleted."},
			problems: []string{"not_found", "primary_key", "last_manager", "precondition_failed", "conflict", "outcome_unknown", "not_settled"}},
	}
}
