package main

import (
	"fmt"
	"io"

	"github.com/keyreeve/keyreeve/infra/local/stack"
)

// greet prints what a newcomer needs: the key, and lines to paste.
func greet(w io.Writer, s *stack.Stack) {
	say := func(format string, a ...any) { fmt.Fprintf(w, format+"\n", a...) }
	say("")
	say("Keyreeve serves %s", s.URL)
	if s.NewRoot {
		say("  root key (new)  %s", s.RootKey)
	} else {
		say("  root key        %s", s.RootKey)
	}
	say("  also in         %s", s.RootKeyFile())
	say("  access log      %s", s.AccessLogFile())
	say("  stages          first segment of a path: %v; none means %s", s.Stages, s.DefaultStage())
	say("")
	for _, l := range lines(s) {
		say("# %s\n%s\n", l.what, l.command)
	}
	say("Ctrl-C stops it. The data stays.")
}

type line struct{ what, command string }

// lines are the commands of the two faces. A configuration that gives the account face
// prefixes of its own is for an API whose users know that face, so it comes first.
func lines(s *stack.Stack) []line {
	canonical := []line{
		{"List the keys", fmt.Sprintf("curl %s/v1/api-keys -H 'X-API-Key: %s'", s.URL, s.RootKey)},
		{"Create one", fmt.Sprintf("curl -X POST %s/v1/api-keys -H 'X-API-Key: %s' -H 'Content-Type: application/json' \\\n  -d '{\"name\": \"My first key\", \"expirationDays\": 365}'", s.URL, s.RootKey)},
		{"Call the sample API with it", fmt.Sprintf("curl %s/v1/customers -H 'X-API-Key: %s'", s.URL, s.RootKey)},
	}
	account := []line{
		{"List the keys, as the account face shows them", fmt.Sprintf("curl %s/v1/account/api-keys/ -H 'Authorization: Bearer %s'", s.URL, s.RootKey)},
		{"List the workspaces", fmt.Sprintf("curl %s/v1/workspaces/ -H 'Authorization: Api-Key %s'", s.URL, s.RootKey)},
	}
	if len(s.Settings.Prefixes["account"]) > 0 {
		return append(account, canonical...)
	}
	return append(canonical, account...)
}
