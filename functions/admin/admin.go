// Package admin is the function that makes accounts and root keys and rotates the pepper.
// It has no route: who may invoke it is IAM's decision (lambda:InvokeFunction), and
// `make run` calls it once at its first start.
//
// An event is {"action": …} and the action's fields:
//
//	create-account  accountId, name, plan: all optional. A second call for the same
//	                account is an error: it neither reveals nor replaces a root key.
//	add-root-key    accountId. Replaces no key.
//	add-pepper      Puts a new pepper into the ring, not in use yet.
//	promote-pepper  Uses the newest pepper from now on; refused for the first ten minutes
//	                after it was added, while warm processes may not have it. Keys move
//	                over when they are used, and go on working before that.
//
// The answer is [Answer] or [PepperAnswer]. An unknown action or field is an error, and so
// is everything else that did not happen whole.
package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/pepper"
)

// Event is what the function takes.
type Event struct {
	Action    string `json:"action"`
	AccountID string `json:"accountId,omitempty"`
	Name      string `json:"name,omitempty"`
	Plan      string `json:"plan,omitempty"`
}

// Answer is what the function returns. RootKey is shown this once.
type Answer struct {
	AccountID string `json:"accountId"`
	KeyID     string `json:"keyId"`
	RootKey   string `json:"rootKey"`
	Warning   string `json:"warning"`
}

// PepperAnswer is what the pepper's actions return. It holds no pepper.
type PepperAnswer struct {
	Version      string    `json:"version"`      // the pepper added or promoted
	PromoteAfter time.Time `json:"promoteAfter"` // from when on promote-pepper is accepted
}

// Ring is where the pepper ring is kept (Secrets Manager).
type Ring interface {
	// Read returns the ring's JSON and when it was last written.
	Read(ctx context.Context) (text []byte, written time.Time, err error)
	// Write replaces the ring's JSON.
	Write(ctx context.Context, text []byte) error
}

// Service is the part of keys.Service that the function needs.
type Service interface {
	CreateAccount(ctx context.Context, in keys.CreateAccountInput) (keys.Account, keys.Issued, error)
	AddRootKey(ctx context.Context, accountID string) (keys.Issued, error)
}

// Admin is a Lambda handler.
type Admin struct {
	service Service
	ring    Ring
	clock   func() time.Time
}

// New returns an Admin.
func New(s Service, r Ring, clock func() time.Time) *Admin { return &Admin{s, r, clock} }

// Invoke implements lambda.Handler.
func (a *Admin) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	var ev Event
	dec := json.NewDecoder(bytes.NewReader(payload))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&ev); err != nil {
		return nil, fmt.Errorf("invalid event: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("invalid event: something follows the JSON object")
	}
	if ev.Action != "create-account" && (ev.Name != "" || ev.Plan != "") {
		return nil, errors.New("only create-account takes name and plan")
	}
	var issued keys.Issued
	var err error
	switch ev.Action {
	case "create-account":
		_, issued, err = a.service.CreateAccount(ctx, keys.CreateAccountInput{ID: ev.AccountID, Name: ev.Name, Plan: ev.Plan})
	case "add-root-key":
		issued, err = a.service.AddRootKey(ctx, ev.AccountID)
	case "add-pepper", "promote-pepper":
		if ev.AccountID != "" {
			return nil, errors.New(ev.Action + " takes no accountId: the pepper is every account's")
		}
		return a.rotate(ctx, ev.Action)
	default:
		return nil, errors.New("unknown action: want create-account, add-root-key, add-pepper or promote-pepper")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ev.Action, err)
	}
	return json.Marshal(Answer{
		AccountID: issued.Key.AccountID, KeyID: "key_" + string(issued.Key.ID), RootKey: issued.Plaintext.Plaintext(),
		Warning: "This key is shown once. Store it safely.",
	})
}

// rotate carries out one step of a pepper's rotation.
func (a *Admin) rotate(ctx context.Context, action string) ([]byte, error) {
	text, written, err := a.ring.Read(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: reading the ring: %w", action, err)
	}
	change, ready := pepper.Add, a.clock().Add(pepper.PromoteAfter)
	if action == "promote-pepper" {
		change, ready = pepper.Promote, written.Add(pepper.PromoteAfter)
	}
	changed, version, err := change(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", action, err)
	}
	if !bytes.Equal(changed, text) {
		if action == "promote-pepper" && a.clock().Before(ready) {
			return nil, fmt.Errorf("promote-pepper: too early: not every process may have pepper %s before %s", version, ready.UTC().Format(time.RFC3339))
		}
		if err := a.ring.Write(ctx, changed); err != nil {
			return nil, fmt.Errorf("%s: writing the ring: %w", action, err)
		}
	}
	return json.Marshal(PepperAnswer{Version: version, PromoteAfter: ready.UTC()})
}
