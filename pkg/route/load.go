package route

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
)

// reserved functions serve Keyreeve itself. A route to one of them could put what only
// IAM may invoke (admin) behind a public path.
var reserved = []string{"admin", "authorizer", "console", "flush", Forward, "keys", "notify", "stream", "usage"}

// Load makes the table of the management routes and those of a file in the form of
// routes.json; nil stands for the sample's. The error lists everything that is wrong,
// each with the row and the field.
func Load(file []byte) (*Table, error) {
	l := &loader{root: &node{}, resources: map[string]*node{}, known: map[string]bool{}}
	l.add(embedded(managementJSON), true)
	if file == nil {
		l.add(embedded(sampleJSON), false)
	} else {
		f, errs := decodeFile(file)
		for _, err := range errs {
			l.errs = append(l.errs, fmt.Errorf("route table: %w", err))
		}
		l.add(f, false)
	}
	l.checkRows()
	l.checkOverlaps()
	if len(l.errs) > 0 {
		return nil, errors.Join(l.errs...)
	}
	return l.table(), nil
}

// row is a Route while it is checked.
type row struct {
	Route
	label    string // names it in errors
	own      bool   // from management.json
	segments []segment
	methods  []string // that it serves, ANY expanded
}

type loader struct {
	rows        []row
	permissions []Permission
	known       map[string]bool
	roots       []string // the paths that management routes begin with
	root        *node
	resources   map[string]*node // those of root's tree that have routes, by path
	errs        []error
}

// fail records a fault. Values that were refused for their form are not quoted.
func (l *loader) fail(row, field, format string, a ...any) {
	if field != "" {
		row += ": " + field
	}
	l.errs = append(l.errs, fmt.Errorf("route table: %s: %s", row, fmt.Sprintf(format, a...)))
}

// embedded decodes a file that a test has held to decodeFile's rules: plainly, because
// every cold start waits for it (40 µs instead of 230).
func embedded(text []byte) (f file) {
	if err := json.Unmarshal(text, &f); err != nil {
		panic(err)
	}
	return f
}

// add takes the rows of one file, with what can be judged without the other rows.
func (l *loader) add(f file, own bool) {
	prefix := ""
	if own {
		prefix = "management "
	}
	for i, p := range f.Permissions {
		l.addPermission(fmt.Sprintf("%spermissions[%d]", prefix, i), p, own)
	}
	for i, r := range f.Routes {
		r.Management = own
		l.addRow(row{Route: r, label: fmt.Sprintf("%sroutes[%d]", prefix, i), own: own})
	}
}

func (l *loader) addPermission(label string, p Permission, own bool) {
	resource, action, _ := strings.Cut(p.Name, ":")
	switch {
	case !permissionWord(resource) || !permissionWord(action):
		l.fail(label, "name", "want resource:action, each 1 to 32 of a-z, 0-9 and '_', a letter first")
		return
	case !own && resource == "api_keys":
		l.fail(label, "name", "the permissions on api_keys are Keyreeve's own")
		return
	case l.known[p.Name]:
		l.fail(label, "name", "%s is in the catalogue already", p.Name)
		return
	}
	if strings.TrimSpace(p.Label) == "" || len(p.Label) > 100 {
		l.fail(label, "label", "want 1 to 100 characters for people to read")
	}
	l.permissions = append(l.permissions, p)
	l.known[p.Name], l.known[resource+":*"], l.known["*"] = true, true, true
}

func permissionWord(s string) bool { return identifier(s) && s == strings.ToLower(s) }

// addRow checks what a row says by itself and fills in its defaults. Rows that have no
// method or path to go on with are left out of the checks of rows against each other.
func (l *loader) addRow(r row) {
	failed := len(l.errs)
	switch {
	case r.Method == "ANY":
		r.methods = Methods()
	case slices.Contains(Methods(), r.Method):
		r.methods = []string{r.Method}
	case r.Method == "OPTIONS":
		l.fail(r.label, "method", "OPTIONS is answered on every path, it needs no row")
	default:
		l.fail(r.label, "method", "want ANY or one of %s", strings.Join(Methods(), ", "))
	}
	var err error
	if r.segments, err = parsePath(r.Path); err != nil {
		l.fail(r.label, "path", "%v", err)
	}
	usable := len(l.errs) == failed
	if usable {
		r.label += " (" + r.Method + " " + r.Path + ")"
	}
	switch {
	case r.Upstream != Upstream{}:
		l.checkUpstream(&r)
		r.Function = Forward
	case !identifier(strings.ReplaceAll(r.Function, "-", "_")) || r.Function != strings.ToLower(r.Function):
		l.fail(r.label, "function", "want 1 to 32 of a-z, 0-9, '_' and '-', a letter first")
	case !r.own && slices.Contains(reserved, r.Function):
		l.fail(r.label, "function", "%s is one of Keyreeve's own", r.Function)
	}
	switch r.Credential {
	case "":
		if !r.Public {
			r.Credential = APIKeyHeader
		}
	case APIKeyHeader, Authorization:
	default:
		l.fail(r.label, "credential", "want %s or %s", APIKeyHeader, Authorization)
	}
	if r.Customer != "" && !slices.ContainsFunc(r.segments, func(s segment) bool { return s.name == r.Customer && !s.greedy }) {
		l.fail(r.label, "customer", "names no parameter of the path that stands for one segment")
	}
	if r.Public {
		keyless := func(field string, set bool) {
			if set {
				l.fail(r.label, field, "a public route asks for no key, so it cannot have this")
			}
		}
		keyless("permission", r.Permission != "")
		keyless("credential", r.Credential != "")
		keyless("customer", r.Customer != "")
		keyless("unguarded", r.Unguarded)
	}
	if usable {
		l.rows = append(l.rows, r)
	}
}

// checkRows judges the rows together: permissions, duplicates, places in the tree.
func (l *loader) checkRows() {
	taken := map[key]string{}
	for i := range l.rows {
		r := &l.rows[i]
		if r.Permission != "" && (!l.known[r.Permission] || strings.HasSuffix(r.Permission, "*")) {
			l.fail(r.label, "permission", "names no row of the catalogue")
		}
		if r.own {
			l.roots = append(l.roots, staticRoot(r.segments))
		} else if j := slices.IndexFunc(l.roots, func(root string) bool { return r.Path == root || strings.HasPrefix(r.Path, root+"/") }); j >= 0 {
			l.fail(r.label, "path", "%s and everything below it is Keyreeve's own", l.roots[j])
			continue
		}
		if first, dup := taken[key{r.Method, r.Path}]; dup {
			l.fail(r.label, "method", "the same route as %s", first)
			continue
		}
		taken[key{r.Method, r.Path}] = r.label
		l.place(r)
	}
	// ANY stands for the methods that have no row of their own.
	for i := range l.rows {
		r := &l.rows[i]
		if r.Method == "ANY" {
			r.methods = slices.DeleteFunc(r.methods, func(m string) bool { return taken[key{m, r.Path}] != "" })
		}
	}
}

// staticRoot is the path up to its first parameter.
func staticRoot(path []segment) string {
	out := ""
	for _, s := range path {
		if s.name != "" {
			break
		}
		out += "/" + s.text
	}
	return out
}

// place makes the nodes of a row's path.
func (l *loader) place(r *row) {
	n, params := l.root, []string(nil)
	for _, s := range r.segments {
		var child *node
		if s.name == "" {
			child = n.static[s.text]
		} else {
			params = append(params, s.name)
			child = n.variable
		}
		switch {
		case child == nil:
			child = &node{segment: s, by: r.label, params: slices.Clone(params)}
			if s.name != "" {
				n.variable = child
			} else {
				if n.static == nil {
					n.static = map[string]*node{}
				}
				n.static[s.text] = child
			}
		case child.segment.text != s.text:
			l.fail(r.label, "path", "API Gateway allows one parameter in a place, and where this has %s, %s has %s", s.text, child.by, child.segment.text)
			return
		}
		n = child
	}
	n.routes = map[string]int{}
	l.resources[r.Path] = n
}

// table builds the Table of rows that have passed every check.
func (l *loader) table() *Table {
	t := &Table{permissions: l.permissions, known: l.known, exact: map[key]int{}, root: l.root}
	for _, r := range l.rows {
		for _, m := range r.methods {
			r.Method = m
			t.routes = append(t.routes, r.Route)
		}
	}
	sort.Slice(t.routes, func(i, j int) bool {
		a, b := &t.routes[i], &t.routes[j]
		return a.Path < b.Path || a.Path == b.Path && a.Method < b.Method
	})
	for i, r := range t.routes {
		t.exact[key{r.Method, r.Path}] = i
		l.resources[r.Path].routes[r.Method] = i
	}
	return t
}
