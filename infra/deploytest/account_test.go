package deploytest

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"testing"
)

// printed is the command of the output CreateFirstAccount, as a shell takes it apart.
type printed struct{ function, payload, region string }

func (w *world) printedCommand(t *testing.T) printed {
	t.Helper()
	script := `aws() { printf '%s\n' "$@"; }; ` + w.outputs["CreateFirstAccount"]
	out, err := exec.CommandContext(t.Context(), "/bin/sh", "-c", script).Output()
	if err != nil {
		t.Fatal(err)
	}
	args := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if len(args) < 2 || args[0] != "lambda" || args[1] != "invoke" {
		t.Fatalf("the command = aws %q, want aws lambda invoke …", args)
	}
	var p printed
	f := flag.NewFlagSet("aws lambda invoke", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&p.function, "function-name", "", "")
	f.StringVar(&p.payload, "payload", "", "")
	f.StringVar(&p.region, "region", "", "")
	format := f.String("cli-binary-format", "", "")
	if err := f.Parse(args[2:]); err != nil || f.NArg() != 1 || *format != "raw-in-base64-out" || p.region != region {
		t.Fatalf("aws lambda invoke %q: %v; want region, function, payload, its format, and the file for the answer", args[2:], err)
	}
	return p
}

// rootAnswer is what the admin function answers.
type rootAnswer struct{ AccountID, KeyID, RootKey, ErrorMessage string }

func (w *world) admin(t *testing.T, payload string) (invocation, rootAnswer) {
	t.Helper()
	i := w.invoke(t, "", w.printedCommand(t).function, payload)
	var a rootAnswer
	if err := json.Unmarshal(i.answer, &a); err != nil || i.status != http.StatusOK {
		t.Fatalf("invoking the admin function = %d, %v", i.status, err)
	}
	return i, a
}

func firstAccount(t *testing.T, w *world) {
	p := w.printedCommand(t)
	i, first := w.admin(t, p.payload)
	if i.failed || first.RootKey == "" || first.AccountID != "first" {
		t.Fatalf("the command: account %q, error %q; want a root key of the account first", first.AccountID, first.ErrorMessage)
	}
	w.root = first.RootKey
	if a := w.call(t, "GET", "/v1/api-keys", xAPIKey(w.root), ""); a.status != http.StatusOK {
		t.Fatalf("the root key = %s, want 200", a)
	}
	i, second := w.admin(t, p.payload)
	if !i.failed || second.RootKey != "" || !strings.Contains(second.ErrorMessage, "exists") || strings.Contains(string(i.answer), w.root) {
		t.Errorf("the command again: error %q; want that the account exists, and no key", second.ErrorMessage)
	}
	i, another := w.admin(t, `{"action":"add-root-key","accountId":"first"}`)
	if i.failed || another.RootKey == "" || another.RootKey == w.root {
		t.Fatalf("add-root-key: error %q; want one more root key", another.ErrorMessage)
	}
	for _, key := range []string{w.root, another.RootKey} {
		if a := w.call(t, "GET", "/v1/api-keys", xAPIKey(key), ""); a.status != http.StatusOK {
			t.Errorf("a root key of two = %s, want 200", a)
		}
	}
	if !w.auth {
		return
	}
	if i := w.invoke(t, "AKIASTRANGER00000000", p.function, p.payload); i.status != http.StatusForbidden {
		t.Errorf("a stranger's call of the admin function = %d, want 403", i.status)
	}
}

// seed000: two commands for one host, one with a production key and one with a development
// key: the shared stage's, where the preset has it.
func seed000(t *testing.T, w *world) {
	for i, environment := range []string{"production", "development"} {
		k := w.create(t, fmt.Sprintf(`{"name":"Of the workspaces","environment":%q,"permissions":["workspaces:read"]}`, environment))
		status, body := w.curl(t, "shared", snippets(t, "seed000.sh")[i], "{{"+environment+"Key}}", k.key)
		if status != http.StatusOK || !strings.Contains(string(body), `"success":true`) {
			t.Errorf("the workspaces by a key of %s = %d, want 200", environment, status)
		}
	}
}

// seed001 takes the prefix that the account face's production keys are issued with.
func seed001(t *testing.T, w *world, prefix string) {
	commands := snippets(t, "seed001.sh")
	status, body := w.curl(t, "production", commands[0])
	var made struct {
		ID      json.Number
		KeyType string `json:"key_type"`
		APIKey  string `json:"api_key"`
		Message string
	}
	if err := json.Unmarshal(body, &made); err != nil || status != http.StatusCreated || !strings.HasPrefix(made.APIKey, prefix+"_") ||
		made.KeyType != "production" || made.Message != "Save this key securely. It will not be shown again." {
		t.Fatalf("create = %d, %v", status, err)
	}
	list := func() answer { return w.call(t, "GET", "/v1/account/api-keys/", bearer(made.APIKey), "") }
	if a := list(); a.status != http.StatusOK {
		t.Fatalf("the list by the new key = %s, want 200", a)
	}
	var row struct {
		ID       json.Number
		IsActive *bool `json:"is_active"`
	}
	status, body = w.curl(t, "production", commands[1], "{{id}}", made.ID.String())
	if err := json.Unmarshal(body, &row); err != nil || status != http.StatusOK || row.ID != made.ID || row.IsActive == nil || *row.IsActive {
		t.Errorf("deactivate = %d, %v; want 200 with the inactive row", status, err)
	}
	list().must(t, "the deactivated key", http.StatusUnauthorized, "unauthorized")
	if status, body = w.curl(t, "production", commands[2], "{{id}}", made.ID.String()); status != http.StatusNoContent || len(body) != 0 {
		t.Errorf("delete = %d and %d bytes, want 204 and none", status, len(body))
	}
	list().must(t, "the deleted key", http.StatusUnauthorized, "unauthorized")
}

func seed002(t *testing.T, w *world) {
	doomed := w.create(t, `{"name":"Doomed","permissions":["customers:read"]}`)
	commands := snippets(t, "seed002.sh")
	listed := func() (status int, ids map[string]bool) {
		status, body := w.curl(t, "production", commands[0])
		var v struct {
			Data []struct{ KeyID, KeyPrefix string }
			Meta struct{ Total int }
		}
		if err := json.Unmarshal(body, &v); err != nil || v.Meta.Total != len(v.Data) {
			t.Errorf("list = %d, %v; total %d of %d", status, err, v.Meta.Total, len(v.Data))
		}
		ids = map[string]bool{}
		for _, k := range v.Data {
			ids[k.KeyID] = true
		}
		return status, ids
	}
	if status, ids := listed(); status != http.StatusOK || !ids[doomed.id] {
		t.Errorf("list = %d, with the key: %t; want 200 with it", status, ids[doomed.id])
	}
	status, body := w.curl(t, "production", commands[1])
	if status != http.StatusCreated {
		t.Fatalf("create = %d, want 201", status)
	}
	k := issuedBy(t, answer{status: status, body: body})
	if a := w.call(t, "GET", "/v1/api-keys/self", xAPIKey(k.key), ""); a.status != http.StatusOK {
		t.Errorf("the new key = %s, want 200", a)
	}
	if status, _ = w.curl(t, "production", commands[2], "{{keyId}}", doomed.id); status != http.StatusOK {
		t.Errorf("delete = %d, want 200", status)
	}
	if _, ids := listed(); ids[doomed.id] || !ids[k.id] {
		t.Error("the list has the deleted key, or lacks the new one")
	}
	w.call(t, "GET", "/v1/customers", xAPIKey(doomed.key), "").must(t, "the deleted key", http.StatusUnauthorized, "unauthorized")
}
