package main

import (
	"fmt"
	"io"
	"net/http"

	"github.com/keyreeve/keyreeve/infra/local/stack"
	"github.com/keyreeve/keyreeve/pkg/route"
)

// greet prints what a newcomer needs: the key, and lines to paste.
func greet(w io.Writer, s *stack.Stack) {
	say := func(format string, a ...any) { fmt.Fprintf(w, format+"\n", a...) }
	say("")
	say("Keyreeve serves %s", s.URL)
	if s.NewRoot {
		say("  root key (new)  %s", s.RootKey)
		say("  also in         %s", s.RootKeyFile())
	} else {
		say("  root key        in %s", s.RootKeyFile())
	}
	say("  console         %s/console/", s.URL)
	say("  access log      %s", s.AccessLogFile())
	say("  stages          first segment of a path: %v; none means %s", s.Stages, s.DefaultStage())
	say("")
	for _, l := range lines(s) {
		// A route table of one's own need not have the sample's routes.
		if _, _, found := s.Table.Match(http.MethodGet, l.path); found == route.Matched {
			say("# %s\n%s\n", l.what, l.command)
		}
	}
	say("Ctrl-C stops it. The data stays.")
}

type line struct{ what, path, command string }

// lines are the commands of the two faces. A configuration that gives the account face
// prefixes of its own is for an API whose users know that face, so it comes first.
//
// A key is shown in them when it is new. Later they take it from its file: a terminal's
// scrollback is no place for it.
func lines(s *stack.Stack) []line {
	key := "$(cat '" + s.RootKeyFile() + "')"
	if s.NewRoot {
		key = s.RootKey
	}
	canonical := []line{
		{"List the keys", "/v1/api-keys", fmt.Sprintf("curl %s/v1/api-keys -H \"X-API-Key: %s\"", s.URL, key)},
		{"Create one", "/v1/api-keys", fmt.Sprintf("curl -X POST %s/v1/api-keys -H \"X-API-Key: %s\" -H 'Content-Type: application/json' \\\n  -d '{\"name\": \"My first key\", \"expirationDays\": 365}'", s.URL, key)},
		{"Call the sample API with it", "/v1/customers", fmt.Sprintf("curl %s/v1/customers -H \"X-API-Key: %s\"", s.URL, key)},
	}
	account := []line{
		{"List the keys, as the account face shows them", "/v1/account/api-keys", fmt.Sprintf("curl %s/v1/account/api-keys/ -H \"Authorization: Bearer %s\"", s.URL, key)},
		{"List the workspaces", "/v1/workspaces", fmt.Sprintf("curl %s/v1/workspaces/ -H \"Authorization: Api-Key %s\"", s.URL, key)},
	}
	if len(s.Settings.Prefixes["account"]) > 0 {
		return append(account, canonical...)
	}
	return append(canonical, account...)
}
