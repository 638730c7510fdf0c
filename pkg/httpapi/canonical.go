package httpapi

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

func (a *api) issued(status int, i *keys.Issued, meta any, now time.Time) reply {
	h := etag(&i.Key)
	if i.Replayed {
		h.Set("Idempotency-Replayed", "true")
	}
	return ok(status, issuedKeyView{a.view(&i.Key, now), i.Plaintext.Plaintext()}, meta, h)
}

// ref reads {id} of the canonical face. What is no id names nothing.
func (c *call) ref() (keys.Ref, error) {
	text, found := strings.CutPrefix(c.id, idPrefix)
	id, err := apikey.ParseID(text)
	if !found || err != nil {
		return keys.Ref{}, keys.ErrNotFound
	}
	return keys.Ref{ID: id}, nil
}

// idempotency reads the Idempotency-Key header of a request to the route with its
// parameters filled in.
func (c *call) idempotency(route string, body []byte) (keys.Idempotency, error) {
	switch values := c.Header.Values("Idempotency-Key"); {
	case len(values) == 0:
		return keys.Idempotency{}, nil
	case len(values) > 1:
		return keys.Idempotency{}, Invalid(FieldProblem{"Idempotency-Key", "is given more than once"})
	case values[0] == "":
		return keys.Idempotency{}, Invalid(FieldProblem{"Idempotency-Key", "must be 1 to 255 visible ASCII characters"})
	default:
		return keys.Idempotency{Key: values[0], Route: c.Method + " " + route, Request: body}, nil
	}
}

func (a *api) listKeys(c *call) (reply, error) {
	limit, _ := strconv.Atoi(c.query.Get("limit"))                               // checked with the other parameters; absent: 0, all
	sort := strings.Replace(c.query.Get("sort"), "expirationTs", "expiresAt", 1) // the service's word for it
	page, err := a.cfg.Service.List(c.Context(), c.caller, keys.Query{
		Environment: keys.Environment(c.query.Get("environment")),
		Status:      keys.Status(c.query.Get("status")),
		Permission:  c.query.Get("permission"),
		Customer:    c.query.Get("customer"),
		Text:        c.query.Get("search"),
		IDText:      idText(c.query.Get("search")),
		Sort:        sort,
		Limit:       limit,
		Cursor:      c.query.Get("cursor"),
	})
	if err != nil {
		return reply{}, err
	}
	data := make([]keyView, len(page.Keys))
	for i := range page.Keys {
		data[i] = a.view(&page.Keys[i], c.now)
	}
	return ok(http.StatusOK, data, listMeta{Total: page.Total, Next: page.Next}, nil), nil
}

// idText is what a search has of a key's id, if it begins as ids do here. Of "key" alone
// every id would be found.
func idText(search string) string {
	if n := len(idPrefix); len(search) > n && strings.EqualFold(search[:n], idPrefix) {
		return search[n:]
	}
	return ""
}

func (a *api) createKey(c *call) (reply, error) {
	var body createKey
	text, err := c.readBody(&body)
	if err != nil {
		return reply{}, err
	}
	idem, err := c.idempotency("/v1/api-keys", text)
	if err != nil {
		return reply{}, err
	}
	issued, err := a.cfg.Service.Create(c.Context(), c.caller, body.input(), idem)
	if err != nil {
		return reply{}, err
	}
	return a.issued(http.StatusCreated, &issued, issuedMeta{shownOnce}, c.now), nil
}

func (a *api) getKey(c *call) (reply, error) {
	ref, err := c.ref()
	if err != nil {
		return reply{}, err
	}
	k, err := a.cfg.Service.Get(c.Context(), c.caller, ref)
	return a.oneKey(c, &k, nil, err)
}

// oneKey answers with a key, or with the error of what gave it.
func (a *api) oneKey(c *call, k *keys.Key, meta any, err error) (reply, error) {
	if err != nil {
		return reply{}, err
	}
	return ok(http.StatusOK, a.view(k, c.now), meta, etag(k)), nil
}

func (a *api) updateKey(c *call) (reply, error) {
	ref, err := c.ref()
	if err != nil {
		return reply{}, err
	}
	var body patchKey
	if _, err := c.readBody(&body); err != nil {
		return reply{}, err
	}
	if body == (patchKey{}) {
		return reply{}, nothingToChange()
	}
	if body.EndGrace != nil && !*body.EndGrace {
		return reply{}, Invalid(FieldProblem{"endGrace", "must be true: a grace that was ended does not begin again"})
	}
	cond, err := c.conditions()
	if err != nil {
		return reply{}, err
	}
	k, err := a.cfg.Service.Update(c.Context(), c.caller, ref, body.patch(), cond)
	if k.VerdictAt.Equal(k.UpdatedAt) { // the last change was one of what the key may do
		return a.oneKey(c, &k, changeMeta{a.inForce()}, err)
	}
	return a.oneKey(c, &k, nil, err)
}

func nothingToChange() Problem {
	return Problem{Status: http.StatusBadRequest, Code: "validation_failed", Message: "The body names nothing to change."}
}

func (a *api) deleteKey(c *call) (reply, error) {
	ref, err := c.ref()
	if err != nil {
		return reply{}, err
	}
	cond, err := c.conditions()
	if err != nil {
		return reply{}, err
	}
	k, err := a.cfg.Service.Delete(c.Context(), c.caller, ref, cond)
	if err != nil {
		return reply{}, err
	}
	return ok(http.StatusOK, deletedView{KeyID: keyID(k.ID), Revoked: true}, changeMeta{a.inForce()}, nil), nil
}

func (a *api) revokeKey(c *call) (reply, error) {
	ref, cond, err := a.bodiless(c)
	if err != nil {
		return reply{}, err
	}
	descendants := c.flag("descendants")
	k, more, err := a.cfg.Service.Revoke(c.Context(), c.caller, ref, descendants, cond)
	meta := revokeMeta{Effective: a.inForce()}
	if descendants {
		meta.Descendants = &more
	}
	return a.oneKey(c, &k, meta, err)
}

func (a *api) activateKey(c *call) (reply, error) {
	ref, cond, err := a.bodiless(c)
	if err != nil {
		return reply{}, err
	}
	k, err := a.cfg.Service.Activate(c.Context(), c.caller, ref, cond)
	return a.oneKey(c, &k, changeMeta{a.inForce()}, err)
}

// bodiless reads a request that names a key and has nothing in its body.
func (a *api) bodiless(c *call) (ref keys.Ref, cond keys.Conditions, err error) {
	if ref, err = c.ref(); err != nil {
		return
	}
	if _, err = c.readBody(&noFields{}); err != nil {
		return
	}
	cond, err = c.conditions()
	return
}

func (a *api) regenerateKey(c *call) (reply, error) {
	ref, err := c.ref()
	if err != nil {
		return reply{}, err
	}
	var body regenerateKey
	text, err := c.readBody(&body)
	if err != nil {
		return reply{}, err
	}
	// Seconds that a Duration cannot hold are far beyond what the service allows.
	grace := time.Duration(min(max(body.GraceSeconds, -1), 1<<31)) * time.Second
	cond, err := c.conditions()
	if err != nil {
		return reply{}, err
	}
	idem, err := c.idempotency("/v1/api-keys/"+keyID(ref.ID)+"/regenerate", text)
	if err != nil {
		return reply{}, err
	}
	issued, err := a.cfg.Service.Regenerate(c.Context(), c.caller, ref, grace, idem, cond)
	if err != nil {
		return reply{}, err
	}
	return a.issued(http.StatusOK, &issued, regeneratedMeta{shownOnce, a.oldSecretGone(&issued.Key)}, c.now), nil
}
