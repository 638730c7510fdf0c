// Package admin is the function that makes accounts and root keys. It has no route: who
// may invoke it is IAM's decision (lambda:InvokeFunction), and `make run` calls it once
// at its first start.
//
// An event is {"action": …} and the action's fields; the answer is [Answer]. An unknown
// action or field is an error, and so is everything else that did not happen whole.
package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/keyreeve/keyreeve/pkg/keys"
)

// Event is what the function takes.
type Event struct {
	// Action is "create-account" (accountId, name, plan: all optional) or "add-root-key"
	// (accountId).
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

// Service is the part of keys.Service that the function needs.
type Service interface {
	CreateAccount(ctx context.Context, in keys.CreateAccountInput) (keys.Account, keys.Issued, error)
	AddRootKey(ctx context.Context, accountID string) (keys.Issued, error)
}

// Admin is a Lambda handler.
type Admin struct{ service Service }

// New returns an Admin.
func New(s Service) *Admin { return &Admin{s} }

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
	var issued keys.Issued
	var err error
	switch ev.Action {
	case "create-account":
		_, issued, err = a.service.CreateAccount(ctx, keys.CreateAccountInput{ID: ev.AccountID, Name: ev.Name, Plan: ev.Plan})
	case "add-root-key":
		if ev.Name != "" || ev.Plan != "" {
			return nil, errors.New("add-root-key takes accountId alone")
		}
		issued, err = a.service.AddRootKey(ctx, ev.AccountID)
	default:
		return nil, errors.New(`unknown action: want "create-account" or "add-root-key"`)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ev.Action, err)
	}
	return json.Marshal(Answer{
		AccountID: issued.Key.AccountID, KeyID: "key_" + string(issued.Key.ID), RootKey: issued.Plaintext.Plaintext(),
		Warning: "This key is shown once. Store it safely.",
	})
}
