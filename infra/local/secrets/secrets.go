// Package secrets is as much of AWS Secrets Manager as the pepper ring needs: one secret,
// kept in a file, read and replaced over the service's own protocol (AWS JSON 1.1), so
// that a function's SDK client works unmodified with AWS_ENDPOINT_URL_SECRETS_MANAGER.
//
// The file holds the secret's value and nothing else; its mode is 0600. It is read for
// every request, so an edit by hand counts at once. A new value replaces it in one step
// (written beside it, then renamed).
//
// Who may read: a request must be signed with the one access key id that the functions
// were given (package sigv4), because a port on loopback is open to every user of the
// machine, while the file is not.
//
// Only the current version exists: a stage other than AWSCURRENT is not found.
package secrets

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/keyreeve/keyreeve/infra/local/atomicfile"
	"github.com/keyreeve/keyreeve/infra/local/ids"
	"github.com/keyreeve/keyreeve/infra/local/sigv4"
)

// maxSecretBytes is the service's own limit of a value
// (https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html).
const maxSecretBytes = 65_536

// stageCurrent is the label of the version in use.
const stageCurrent = "AWSCURRENT"

// Manager serves one secret. It is an http.Handler, safe for concurrent use.
type Manager struct {
	name, arn, file, accessKeyID string

	mu      sync.Mutex
	version string // of seen
	seen    string // the value that version names
}

// Options is what a Manager works with.
type Options struct {
	Name        string // of the secret; its ARN works too
	File        string // holds the value
	AccessKeyID string // that requests must be signed with
	Region      string
	AccountID   string
}

// New returns a Manager. The file must exist when the first request comes.
func New(o Options) *Manager {
	return &Manager{
		name: o.Name, file: o.File, accessKeyID: o.AccessKeyID,
		arn: fmt.Sprintf("arn:aws:secretsmanager:%s:%s:secret:%s-local0", o.Region, o.AccountID, o.Name),
	}
}

// fault is an error as the service answers it.
type fault struct{ kind, message string }

func (f *fault) Error() string { return f.kind + ": " + f.message }

var (
	notFound = &fault{"ResourceNotFoundException", "Secrets Manager can't find the specified secret."}
	denied   = &fault{"UnrecognizedClientException", "The security token included in the request is invalid."}
)

type request struct {
	SecretID           string `json:"SecretId"`
	VersionID          string `json:"VersionId"`
	VersionStage       string
	ClientRequestToken string
	SecretString       *string
	SecretBinary       *string
	VersionStages      []string
}

func (m *Manager) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer, err := m.serve(r)
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.Header().Set("x-amzn-RequestId", ids.UUID())
	var f *fault
	switch {
	case err == nil:
	case errors.As(err, &f):
		w.Header().Set("x-amzn-ErrorType", f.kind)
		w.WriteHeader(http.StatusBadRequest)
		answer = map[string]any{"__type": f.kind, "Message": f.message}
	default:
		w.Header().Set("x-amzn-ErrorType", "InternalServiceError")
		w.WriteHeader(http.StatusInternalServerError)
		answer = map[string]any{"__type": "InternalServiceError", "Message": err.Error()}
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func (m *Manager) serve(r *http.Request) (map[string]any, error) {
	if !sigv4.SignedBy(r, m.accessKeyID) {
		return nil, denied
	}
	operation, ok := strings.CutPrefix(r.Header.Get("X-Amz-Target"), "secretsmanager.")
	if r.Method != http.MethodPost || !ok {
		return nil, &fault{"UnknownOperationException", ""}
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, 2*maxSecretBytes))
	if err != nil {
		return nil, &fault{"InvalidRequestException", "The request is too long."}
	}
	var in request
	// The decoder's error would quote the body, and the body may be the secret.
	if json.Unmarshal(body, &in) != nil {
		return nil, &fault{"SerializationException", ""}
	}
	if in.SecretID != m.name && in.SecretID != m.arn {
		return nil, notFound
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch operation {
	case "GetSecretValue":
		return m.get(in)
	case "PutSecretValue":
		return m.put(in)
	case "DescribeSecret":
		return m.describe()
	}
	return nil, &fault{"UnknownOperationException", ""}
}

// current reads the file; m.mu is held. A value that has not been seen is a new version.
func (m *Manager) current() (value string, changed time.Time, err error) {
	text, err := os.ReadFile(m.file)
	if errors.Is(err, os.ErrNotExist) {
		return "", time.Time{}, notFound
	}
	if err != nil {
		return "", time.Time{}, fmt.Errorf("reading the secret's file: %w", err)
	}
	info, err := os.Stat(m.file)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("reading the secret's file: %w", err)
	}
	if string(text) != m.seen || m.version == "" {
		m.seen, m.version = string(text), ids.UUID()
	}
	return m.seen, info.ModTime(), nil
}

func (m *Manager) get(in request) (map[string]any, error) {
	value, changed, err := m.current()
	if err != nil {
		return nil, err
	}
	if in.VersionStage != "" && in.VersionStage != stageCurrent || in.VersionID != "" && in.VersionID != m.version {
		return nil, notFound
	}
	return map[string]any{
		"ARN": m.arn, "Name": m.name, "VersionId": m.version, "VersionStages": []string{stageCurrent},
		"SecretString": value, "CreatedDate": epoch(changed),
	}, nil
}

func (m *Manager) put(in request) (map[string]any, error) {
	switch {
	case in.SecretBinary != nil:
		return nil, &fault{"InvalidParameterException", "Only SecretString is supported here."}
	case in.SecretString == nil || *in.SecretString == "":
		return nil, &fault{"InvalidParameterException", "SecretString is missing."}
	case len(*in.SecretString) > maxSecretBytes:
		return nil, &fault{"InvalidParameterException", "SecretString is longer than 65536 bytes."}
	case len(in.VersionStages) > 1 || len(in.VersionStages) == 1 && in.VersionStages[0] != stageCurrent:
		return nil, &fault{"InvalidParameterException", "Only the stage AWSCURRENT is supported here."}
	}
	if err := atomicfile.Write(m.file, []byte(*in.SecretString)); err != nil {
		return nil, fmt.Errorf("writing the secret's file: %w", err)
	}
	m.seen, m.version = *in.SecretString, in.ClientRequestToken
	if m.version == "" {
		m.version = ids.UUID()
	}
	return map[string]any{
		"ARN": m.arn, "Name": m.name, "VersionId": m.version, "VersionStages": []string{stageCurrent},
	}, nil
}

func (m *Manager) describe() (map[string]any, error) {
	_, changed, err := m.current()
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"ARN": m.arn, "Name": m.name, "RotationEnabled": false,
		"CreatedDate": epoch(changed), "LastChangedDate": epoch(changed),
		"VersionIdsToStages": map[string][]string{m.version: {stageCurrent}},
	}, nil
}

// epoch is a time as the protocol writes it: seconds with a fraction.
func epoch(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
