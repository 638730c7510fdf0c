package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/infra/local/atomicfile"
	"github.com/keyreeve/keyreeve/pkg/dynamo"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

// AccountID is the account that Start makes.
const AccountID = "local"

// Account is what the admin function answers.
type Account struct {
	AccountID string `json:"accountId"`
	KeyID     string `json:"keyId"`
	RootKey   string `json:"rootKey"`
}

// CreateAccount makes one more account, with a root key of its own. plan may be empty.
func (s *Stack) CreateAccount(ctx context.Context, name, plan string) (a Account, err error) {
	event := map[string]string{"action": "create-account", "name": name}
	if plan != "" {
		event["plan"] = plan
	}
	return a, s.Invoke(ctx, adminFunction, event, &a)
}

// ensureRootKey leaves a root key that works under this configuration in RootKey and in
// its file. A key that does not (the file is gone, the prefix was changed, the data was
// deleted) is left alone, and one more is made.
func (s *Stack) ensureRootKey(ctx context.Context) error {
	text, err := os.ReadFile(s.RootKeyFile())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("reading the root key: %w", err)
	}
	if key := strings.TrimSpace(string(text)); key != "" {
		works, err := s.works(ctx, key)
		if err != nil {
			return fmt.Errorf("trying the root key of %s: %w", s.RootKeyFile(), err)
		}
		if works {
			s.RootKey = key
			return nil
		}
	}
	store := dynamo.NewKeys(dynamo.NewClient(s.Config), dynamo.KeysConfig{
		Table: s.Config.KeysTable, Meters: s.Config.MetersTable, Timeout: s.Config.StoreTimeout,
		Retention: time.Duration(s.Settings.RetentionDays) * 24 * time.Hour,
	})
	event := map[string]string{"action": "add-root-key", "accountId": AccountID}
	switch _, err := store.Account(ctx, AccountID); {
	case errors.Is(err, keys.ErrNotFound):
		event = map[string]string{"action": "create-account", "accountId": AccountID, "name": "Local account"}
	case err != nil:
		return fmt.Errorf("reading the local account: %w", err)
	}
	var made Account
	if err := s.Invoke(ctx, adminFunction, event, &made); err != nil {
		return fmt.Errorf("making a root key: %w", err)
	}
	// The file first: a key that nobody has seen is the least loss.
	if err := atomicfile.Write(s.RootKeyFile(), []byte(made.RootKey+"\n")); err != nil {
		return fmt.Errorf("writing the root key: %w", err)
	}
	works, err := s.works(ctx, made.RootKey)
	if err == nil && !works {
		err = errors.New("it is refused")
	}
	if err != nil {
		return fmt.Errorf("trying the new root key: %w", err)
	}
	s.RootKey, s.NewRoot = made.RootKey, true
	return nil
}

// works asks the gateway itself whether key is a live production key. A 5xx says nothing
// about the key, and a DynamoDB Local that has just started may need a moment: it asks
// again.
func (s *Stack) works(ctx context.Context, key string) (ok bool, err error) {
	for range 5 {
		if ok, err = s.try(ctx, key); err == nil {
			return ok, nil
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-time.After(300 * time.Millisecond):
		}
	}
	return false, err
}

func (s *Stack) try(ctx context.Context, key string) (bool, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/production/v1/api-keys/self", nil)
	if err != nil {
		return false, err
	}
	req.Header.Set("X-API-Key", key)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return false, errors.New("the gateway does not answer")
	}
	defer func() { _ = res.Body.Close() }()
	_, _ = io.Copy(io.Discard, res.Body)
	switch res.StatusCode {
	case http.StatusOK, http.StatusTooManyRequests: // only a good key is limited
		return true, nil
	case http.StatusUnauthorized, http.StatusBadRequest:
		return false, nil
	}
	return false, fmt.Errorf("the gateway answers %s", res.Status)
}
