package keystest

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

// stormGoroutines is how many requests of one round are under way at the same time.
const stormGoroutines = 64

// PrimaryStorm lets 64 callers at once, in each of rounds, make keys primary and delete
// keys, the same few keys of one account. Each answer must be success, a refusal that
// names the conflict (409: ErrConflict, ErrPrimaryKey, ErrNotActive), or ErrNotFound for
// a key that is deleted; and after each round exactly one key is primary.
func PrimaryStorm(t *testing.T, store keys.Store, rounds int) {
	t.Helper()
	// Waits are shortened: what is checked is that races end well, not how long they take.
	w := NewWorld(store, func(c *keys.Config) {
		c.Sleep = func(ctx context.Context, d time.Duration) error {
			time.Sleep(d / 20)
			return ctx.Err()
		}
	})
	ctx := t.Context()
	account, root := w.Account(t, "enterprise")
	create := func(name string) apikey.ID {
		everything := []string{"*", "api_keys:*"}
		out, err := w.Service.Create(ctx, root, keys.CreateInput{Name: name, Permissions: &everything}, keys.Idempotency{})
		if err != nil {
			t.Fatalf("Create: %v", err)
		}
		return out.Key.ID
	}

	outcomes := map[string]int{}
	var candidates []apikey.ID
	for round := range rounds {
		for len(candidates) < 6 {
			candidates = append(candidates, create("candidate"))
		}
		var (
			mu      sync.Mutex
			wg      sync.WaitGroup
			deleted = map[apikey.ID]bool{}
			missing = map[apikey.ID]bool{}
		)
		for g := range stormGoroutines {
			id := candidates[rand.IntN(len(candidates))]
			wg.Go(func() {
				op, ref := "make primary", keys.Ref{ID: id}
				var err error
				if yes := true; g%4 == 3 {
					op = "delete"
					_, err = w.Service.Delete(ctx, root, ref, keys.Conditions{})
				} else {
					_, err = w.Service.Update(ctx, root, ref, keys.Patch{Primary: &yes}, keys.Conditions{})
				}
				mu.Lock()
				defer mu.Unlock()
				k := kind(err)
				outcomes[op+" "+k]++
				switch k {
				case "ok":
					if op == "delete" {
						deleted[id] = true
					}
				case "not found":
					missing[id] = true
				case "conflict", "primary", "not active":
				default:
					t.Errorf("%s: %v, want success, a conflict or ErrNotFound", op, err)
				}
			})
		}
		wg.Wait()
		for id := range missing {
			if !deleted[id] {
				t.Errorf("round %d: key %s was not found, but nobody deleted it", round, id)
			}
		}
		candidates = checkPrimary(t, store, account.ID, root.KeyID, deleted)
		if t.Failed() {
			t.Fatalf("after round %d", round)
		}
	}
	t.Logf("%d rounds: %v", rounds, outcomes)
	for _, o := range []string{"make primary ok", "delete ok", "delete primary"} {
		if outcomes[o] == 0 {
			t.Errorf("the storm never came to %q", o)
		}
	}
}

// checkPrimary checks that the account has one primary key, by its keys and by itself,
// and that what was deleted is. It returns the keys that are left, but the root.
func checkPrimary(t *testing.T, store keys.Store, accountID string, root apikey.ID, deleted map[apikey.ID]bool) (left []apikey.ID) {
	t.Helper()
	a, err := store.Account(t.Context(), accountID)
	if err != nil {
		t.Fatalf("Account: %v", err)
	}
	list, err := store.Keys(t.Context(), accountID)
	if err != nil {
		t.Fatalf("Keys: %v", err)
	}
	primaries := 0
	for i, k := range list {
		if k.Number != int64(i+1) {
			t.Errorf("key %d of the list has number %d", i+1, k.Number)
		}
		item, err := store.Key(t.Context(), k.ID)
		if err != nil {
			t.Fatalf("Key: %v", err)
		}
		if item.Primary != k.Primary || item.Deleted != k.Deleted || item.Version != k.Version {
			t.Errorf("key %d and its row differ", k.Number)
		}
		if k.Primary {
			primaries++
			if k.Deleted || k.ID != a.Primary {
				t.Errorf("key %d is primary: deleted %t, the account's %t", k.Number, k.Deleted, k.ID == a.Primary)
			}
		}
		if deleted[k.ID] && !k.Deleted {
			t.Errorf("key %d is not deleted, although that was answered", k.Number)
		}
		if !k.Deleted && k.ID != root {
			left = append(left, k.ID)
		}
	}
	if primaries != 1 {
		t.Errorf("%d primary keys, want exactly one", primaries)
	}
	return left
}
