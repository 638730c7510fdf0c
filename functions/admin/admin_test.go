package admin

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

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
		out, err := New(&service{key}, nil, nil).Invoke(t.Context(), []byte(event))
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
		`{"action":"add-pepper","accountId":"s3cret-value"}`, `{"action":"promote-pepper","name":"s3cret-value"}`,
		`{"action":"add-pepper"}`,
	} {
		out, err := New(&service{}, &ring{}, time.Now).Invoke(t.Context(), []byte(event))
		if err == nil || out != nil {
			t.Errorf("%s: answered %s, %v; want an error", event, out, err)
		} else if strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: the error quotes a value: %v", event, err)
		}
	}
}

// ring is a secret in memory; without text it cannot be read.
type ring struct {
	text    []byte
	written time.Time
	writes  int
}

func (r *ring) Read(context.Context) ([]byte, time.Time, error) {
	if r.text == nil {
		return nil, time.Time{}, errors.New("no such secret")
	}
	return r.text, r.written, nil
}

func (r *ring) Write(_ context.Context, text []byte) error {
	r.text, r.writes = text, r.writes+1
	return nil
}

func TestAPepperIsPromotedOnlyWhenEveryProcessCanHaveIt(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	r := &ring{text: []byte(`{"current":"p1","p1":"a pepper for tests, of no use elsewhere"}`), written: now.AddDate(0, -1, 0)}
	a := New(&service{}, r, func() time.Time { return now })
	invoke := func(action string) (PepperAnswer, error) {
		out, err := a.Invoke(t.Context(), []byte(`{"action":"`+action+`"}`))
		var answer PepperAnswer
		if err == nil {
			if strings.Contains(string(out), "a pepper for") {
				t.Error("the answer holds a pepper")
			}
			err = json.Unmarshal(out, &answer)
		}
		return answer, err
	}
	if got, err := invoke("add-pepper"); err != nil || got.Version != "p2" || !got.PromoteAfter.Equal(now.Add(10*time.Minute)) {
		t.Fatalf("add-pepper = %+v, %v", got, err)
	}
	r.written = now
	now = now.Add(10*time.Minute - time.Second)
	if _, err := invoke("promote-pepper"); err == nil || !strings.Contains(err.Error(), "too early") || r.writes != 1 {
		t.Errorf("promote-pepper after 9:59 min = %v with %d writes, want a refusal", err, r.writes)
	}
	now = now.Add(time.Second)
	if got, err := invoke("promote-pepper"); err != nil || got.Version != "p2" || !strings.Contains(string(r.text), `"current":"p2"`) {
		t.Errorf("promote-pepper after 10 min = %+v, %v", got, err)
	}
	if got, err := invoke("promote-pepper"); err != nil || got.Version != "p2" || r.writes != 2 {
		t.Errorf("a second promote-pepper = %+v, %v, %d writes; want the same answer and no write", got, err, r.writes)
	}
}
