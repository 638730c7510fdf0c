package admin

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

type service struct{ key apikey.Key }

func (s *service) CreateAccount(_ context.Context, in keys.CreateAccountInput) (keys.Account, keys.Issued, error) {
	if in.ID == "taken" {
		return keys.Account{}, keys.Issued{}, keys.ErrAccountExists
	}
	issued, err := s.AddRootKey(context.Background(), in.ID)
	return keys.Account{ID: in.ID}, issued, err
}

func (s *service) AddRootKey(_ context.Context, account string) (keys.Issued, error) {
	return keys.Issued{Key: keys.Key{ID: s.key.ID(), AccountID: account}, Plaintext: s.key}, nil
}

func TestEachActionAnswersWithTheKeyOnce(t *testing.T) {
	key, err := apikey.Generate("kr_live", apikey.NewID())
	if err != nil {
		t.Fatal(err)
	}
	for _, event := range []string{
		`{"action":"create-account","accountId":"a1","name":"Main","plan":"pro"}`,
		`{"action":"add-root-key","accountId":"a1"}`,
	} {
		out, err := New(&service{key}).Invoke(t.Context(), []byte(event))
		if err != nil {
			t.Errorf("%s: %v", event, err)
			continue
		}
		var a Answer
		if err := json.Unmarshal(out, &a); err != nil {
			t.Fatal(err)
		}
		if a.AccountID != "a1" || a.KeyID != "key_"+string(key.ID()) || a.RootKey != key.Plaintext() {
			t.Errorf("%s: answered account %q, key %q", event, a.AccountID, a.KeyID)
		}
	}
}

func TestBadEventsAreErrorsThatQuoteNoValue(t *testing.T) {
	for _, event := range []string{
		``, `[]`, `{}`, `{"action":"drop-everything"}`, `{"action":"create-account"}{}`,
		`{"action":"create-account","accountId":"taken"}`, `{"action":"create-account","rootKey":"s3cret-value"}`,
		`{"action":"add-root-key","accountId":"a1","plan":"s3cret-value"}`, `{"action":7}`,
	} {
		out, err := New(&service{}).Invoke(t.Context(), []byte(event))
		if err == nil || out != nil {
			t.Errorf("%s: answered %s, %v; want an error", event, out, err)
		} else if strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: the error quotes a value: %v", event, err)
		}
	}
}
