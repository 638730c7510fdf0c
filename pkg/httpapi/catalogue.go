package httpapi

import (
	"net/http"
	"slices"
	"sort"
	"strings"

	"github.com/keyreeve/keyreeve/pkg/route"
)

// permissionView is a row of the catalogue.
type permissionView struct {
	Name     string `json:"name" example:"licenses:manage" doc:"As keys hold it: resource:action, resource:* or *."`
	Label    string `json:"label" example:"License Management" doc:"For people."`
	Wildcard bool   `json:"wildcard" doc:"It stands for several others."`
}

// catalogue lists what a key can hold: everything, then each resource as a whole and its
// actions. "*" never includes api_keys:…, which is always granted by name.
func catalogue(t *route.Table) []permissionView {
	out := []permissionView{{Name: "*", Label: t.Label("*"), Wildcard: true}}
	rows := slices.Clone(t.Permissions())
	sort.SliceStable(rows, func(i, j int) bool { return resource(rows[i].Name) < resource(rows[j].Name) })
	for i, p := range rows {
		if r := resource(p.Name); i == 0 || resource(rows[i-1].Name) != r {
			out = append(out, permissionView{Name: r + ":*", Label: t.Label(r + ":*"), Wildcard: true})
		}
		out = append(out, permissionView{Name: p.Name, Label: p.Label})
	}
	return out
}

type catalogueMeta struct {
	Total int `json:"total" minimum:"0" maximum:"10000"`
}

func resource(permission string) string {
	r, _, _ := strings.Cut(permission, ":")
	return r
}

func (a *api) permissions(*call) (reply, error) {
	rows := catalogue(a.cfg.Table)
	return ok(http.StatusOK, rows, catalogueMeta{Total: len(rows)}, nil), nil
}

// labels translates what a key holds for people. A permission that the catalogue has
// lost stands for itself.
func (a *api) labels(held []string) []string {
	out := make([]string, len(held))
	for i, p := range held {
		if out[i] = a.cfg.Table.Label(p); out[i] == "" {
			out[i] = p
		}
	}
	return out
}
