package dynamo_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/keys/keystest"
)

// change is an account with one key, and the change that renames it: on a store whose
// wire the test holds.
type change struct {
	*store
	wire    *wire
	account string
	key     keys.Key
	rename  keys.Change
}

func newChange(t *testing.T) *change {
	t.Helper()
	w := &wire{}
	return newChangeOn(t, newStore(t, w.option), w)
}

func newChangeOn(t *testing.T, s *store, w *wire) *change {
	t.Helper()
	c := &change{store: s, wire: w, account: "t-" + string(apikey.NewID())}
	c.key = keys.Key{
		ID: apikey.NewID(), Number: 1, AccountID: c.account, Name: "old", Environment: keys.Production,
		Plan: "free", RateLimit: 1, Active: true, Primary: true, Version: 1, Verdict: 1, Generation: 1,
		Secret: keys.Secret{Generation: 1, Digest: apikey.Digest{1}, Pepper: "p1", Prefix: "kr_live"},
	}
	err := s.Commit(t.Context(), keys.Change{
		Account: &keys.AccountWrite{New: keys.Account{ID: c.account, Primary: c.key.ID, NextNumber: 2, Version: 1}},
		Keys:    []keys.KeyWrite{{New: c.key, SecretChanged: true}},
		Audit:   c.event("key.create"),
	})
	if err != nil {
		t.Fatal(err)
	}
	c.rename = keys.Change{
		Caller: &keys.CallerCheck{ID: c.key.ID, Verdict: 1}, Keys: []keys.KeyWrite{c.write("new")}, Audit: c.event("key.update"),
	}
	return c
}

var base = time.Now().UTC().Truncate(time.Millisecond)

func (c *change) event(action string) keys.AuditEvent {
	return keys.AuditEvent{
		ID: fmt.Sprintf("%016x%s", time.Now().UnixNano(), apikey.NewID()), AccountID: c.account, At: base, Action: action,
	}
}

func (c *change) write(name string) keys.KeyWrite {
	w := keys.KeyWrite{New: c.key, Was: c.key.Version}
	w.New.Name = name
	w.New.Version++
	return w
}

// is checks the key's name by item and by row, and the actions of the audit events.
func (c *change) is(t *testing.T, name string, actions ...string) {
	t.Helper()
	c.wire.reset(nil)
	k, err := c.Key(t.Context(), c.key.ID)
	if err != nil {
		t.Fatal(err)
	}
	row, err := c.KeyByNumber(t.Context(), c.account, 1)
	if err != nil {
		t.Fatal(err)
	}
	events, err := keystest.Events(t.Context(), c, c.account)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range events {
		got = append(got, e.Action)
	}
	if k.Name != name || row.Name != name {
		t.Errorf("the key's item says %q, its row %q, want %q", k.Name, row.Name, name)
	}
	if diff := cmp.Diff(actions, got); diff != "" {
		t.Errorf("audit events (-want +got):\n%s", diff)
	}
}

const transact = "TransactWriteItems"

func TestACommitSaysWhatBecameOfItThoughAnswersAreLost(t *testing.T) {
	s := newStore(t)
	refusedByKey := fault{name: "refused", err: func(c call) error {
		return cancelled(c.input.(*dynamodb.TransactWriteItemsInput), func(i int) string {
			if i == 0 {
				return "ConditionalCheckFailed"
			}
			return "None"
		})
	}}
	dial := fault{name: "no connection", err: func(call) error {
		return &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("refused")}
	}}
	inProgress := fault{name: "in progress", err: func(call) error {
		return status(400, &types.TransactionInProgressException{})
	}}
	for name, tt := range map[string]struct {
		inject  func(call) fault
		want    error  // nil: success
		made    bool   // the change is in the store
		attempt string // the calls, in short
	}{
		"nothing is lost":                        {nil, nil, true, "T"},
		"lost once, before":                      {firstOf(transact, failBefore), nil, true, "TT"},
		"lost once, after":                       {firstOf(transact, appliedThenError), nil, true, "TT"},
		"timed out once, before":                 {firstOf(transact, timeout), nil, true, "TT"},
		"timed out once, after":                  {firstOf(transact, appliedThenLate), nil, true, "TT"},
		"500 twice, after":                       {firstOf(transact, appliedThen500, serverError), nil, true, "TTT"},
		"in progress, then done":                 {firstOf(transact, appliedThenLate, inProgress), nil, true, "TTT"},
		"throttled twice":                        {firstOf(transact, throttle, throttle), nil, true, "TTT"},
		"throttled for good":                     {always(throttle, transact), keys.ErrUnavailable, false, "TTT"},
		"no connection":                          {always(dial, ""), keys.ErrUnavailable, false, "TTT"},
		"denied":                                 {always(denied, ""), keys.ErrUnavailable, false, "T"},
		"never made, no answer":                  {always(timeout, transact), keys.ErrUnavailable, false, "TTTP"},
		"made at first, no answer":               {firstOf(transact, appliedThenLate, timeout, timeout), nil, true, "TTTP"},
		"made at last, no answer":                {firstOf(transact, timeout, timeout, appliedThenError), nil, true, "TTTP"},
		"no answer, nor to the first fence":      {either(always(timeout, transact), firstOf("PutItem", failBefore)), keys.ErrUnavailable, false, "TTTPP"},
		"no answer, the fence is put unheard":    {either(always(timeout, transact), firstOf("PutItem", appliedThenError)), keys.ErrUnavailable, false, "TTTPP"},
		"no answer, the fence meets the change":  {either(always(timeout, transact), firstOf("PutItem", conflictFault)), keys.ErrUnavailable, false, "TTTPP"},
		"nothing answers":                        {always(timeout, ""), keys.ErrOutcomeUnknown, false, "TTTPPPPPP"},
		"made, then nothing answers":             {either(firstOf(transact, appliedThenLate), always(timeout, "")), keys.ErrOutcomeUnknown, true, "TTTPPPPPP"},
		"no answer, and no fence may be put":     {either(always(timeout, transact), always(denied, "PutItem")), keys.ErrOutcomeUnknown, false, "TTTP"},
		"made unheard, then its version is gone": {firstOf(transact, appliedThenError, refusedByKey), nil, true, "TTG"},
		"made unheard, then no look either":      {either(firstOf(transact, appliedThenError, refusedByKey), always(timeout, "GetItem")), keys.ErrOutcomeUnknown, true, "TTGGG"},
		"not made, then its version is gone":     {firstOf(transact, failBefore, refusedByKey), &keys.ConflictError{}, false, "TTG"},
		"made unheard, then a lost race":         {firstOf(transact, appliedThenError, conflictFault), nil, true, "TTT"},
		"a lost race":                            {firstOf(transact, conflictFault), &keys.ConflictError{Retry: true}, false, "T"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := &wire{}
			c := newChangeOn(t, storeOn(s.cfg, w.option), w)
			w.reset(tt.inject)
			err := c.Commit(t.Context(), c.rename)
			var got, want *keys.ConflictError
			switch {
			case errors.As(tt.want, &want):
				if !errors.As(err, &got) || got.Retry != want.Retry {
					t.Errorf("Commit = %v, want a conflict, retry %t", err, want.Retry)
				}
			case !errors.Is(err, tt.want) || tt.want == nil && err != nil:
				t.Errorf("Commit = %v, want %v", err, tt.want)
			}
			if errors.Is(err, keys.ErrUnavailable) && errors.Is(err, keys.ErrOutcomeUnknown) {
				t.Errorf("Commit = %v, which claims both", err)
			}
			if calls := short(w.seen()); calls != tt.attempt {
				t.Errorf("calls %s, want %s", calls, tt.attempt)
			}
			if tt.made {
				c.is(t, "new", "key.create", "key.update")
			} else {
				c.is(t, "old", "key.create")
			}
		})
	}
}

// either injects what the first of two has for a call.
func either(a, b func(call) fault) func(call) fault {
	return func(c call) fault {
		if f := a(c); f.err != nil {
			return f
		}
		return b(c)
	}
}

// short writes operations by their first letters.
func short(calls []string) string {
	var b strings.Builder
	for _, c := range calls {
		b.WriteByte(c[0])
	}
	return b.String()
}

// The fence's point: a request that was still on its way when Commit gave up must not be
// applied when it arrives.
func TestAChangeThatWasGivenUpIsNeverMade(t *testing.T) {
	c := newChange(t)
	var late *dynamodb.TransactWriteItemsInput
	c.wire.reset(func(k call) fault {
		if in, ok := k.input.(*dynamodb.TransactWriteItemsInput); ok {
			late = in
			return timeout
		}
		return fault{}
	})
	if err := c.Commit(t.Context(), c.rename); !errors.Is(err, keys.ErrUnavailable) {
		t.Fatalf("Commit = %v, want ErrUnavailable", err)
	}
	if _, err := c.raw.TransactWriteItems(t.Context(), late); err == nil {
		t.Error("the transaction that came late was applied")
	}
	c.is(t, "old", "key.create")

	// Nor by a second Commit of the same change; a new one of the same content is free.
	if err := c.Commit(t.Context(), c.rename); !errors.Is(err, keys.ErrUnavailable) {
		t.Errorf("Commit of a change that was given up = %v, want ErrUnavailable", err)
	}
	c.is(t, "old", "key.create")
	c.rename.Audit = c.event("key.update")
	if err := c.Commit(t.Context(), c.rename); err != nil {
		t.Errorf("Commit of a new change = %v", err)
	}
	c.is(t, "new", "key.create", "key.update")
}

func TestTheSameChangeIsMadeOnce(t *testing.T) {
	c := newChange(t)
	for range 3 {
		if err := c.Commit(t.Context(), c.rename); err != nil {
			t.Fatal(err)
		}
	}
	c.is(t, "new", "key.create", "key.update")
	if k, _ := c.Key(t.Context(), c.key.ID); k.Version != 2 {
		t.Errorf("version %d after one change, want 2", k.Version)
	}
}

func TestACommitKeepsToItsDeadline(t *testing.T) {
	c := newChange(t)
	silent := newSilentServer(t)
	cfg := c.cfg
	cfg.DynamoDBEndpoint = silent
	cfg.StoreTimeout = 300 * time.Millisecond
	s := storeOn(cfg)
	for name, tt := range map[string]struct {
		deadline time.Duration // of the context
		most     time.Duration // by when it must be back
	}{
		"its own":       {time.Hour, 450 * time.Millisecond},
		"its context's": {100 * time.Millisecond, 100 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), tt.deadline)
			defer cancel()
			start := time.Now()
			err := s.Commit(ctx, c.rename)
			took := time.Since(start)
			if !errors.Is(err, keys.ErrOutcomeUnknown) {
				t.Errorf("Commit = %v, want ErrOutcomeUnknown", err)
			}
			if took < tt.most*9/10 || took > tt.most+2*time.Second {
				t.Errorf("Commit took %v, want about %v", took, tt.most)
			}
		})
	}
	// A read may be repeated freely, and says that it knows nothing.
	start := time.Now()
	_, err := s.Key(t.Context(), c.key.ID)
	if took := time.Since(start); !errors.Is(err, keys.ErrUnavailable) || took > cfg.StoreTimeout+2*time.Second {
		t.Errorf("Key = %v after %v, want ErrUnavailable within %v", err, took, cfg.StoreTimeout)
	}
}

// newSilentServer accepts connections and never answers.
func newSilentServer(t *testing.T) (url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = conn.Close() })
		}
	}()
	return "http://" + l.Addr().String()
}

func TestNothingIsSentOnceTheContextIsDone(t *testing.T) {
	c := newChange(t)
	c.wire.reset(nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Commit(ctx, c.rename); !errors.Is(err, keys.ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("Commit = %v, want ErrUnavailable and the context's error", err)
	}
	if calls := c.wire.seen(); len(calls) != 0 {
		t.Errorf("calls %v, want none", calls)
	}
}

// No transaction may touch a meter but the one that makes it: on an item that takes a
// thousand writes a second a transaction keeps losing.
func TestNoTransactionButTheFirstTouchesAMeter(t *testing.T) {
	c := newChange(t)
	refused := 0
	c.wire.reset(func(k call) fault {
		if in, ok := k.input.(*dynamodb.TransactWriteItemsInput); ok && touches(in, c.cfg.MetersTable) {
			refused++
			return conflictFault
		}
		return fault{}
	})
	fresh := c.key
	fresh.ID, fresh.Number, fresh.Primary = apikey.NewID(), 2, false
	err := c.Commit(t.Context(), keys.Change{Keys: []keys.KeyWrite{{New: fresh, SecretChanged: true}}, Audit: c.event("key.create")})
	var lost *keys.ConflictError
	if !errors.As(err, &lost) || !lost.Retry || refused != 1 {
		t.Fatalf("a create under the injection = %v, %d refused: the test itself is broken", err, refused)
	}
	for name, edit := range map[string]func(*keys.KeyWrite){
		"rename":     func(w *keys.KeyWrite) { w.New.Name = "n" },
		"revoke":     func(w *keys.KeyWrite) { w.New.Active, w.New.Verdict = false, w.New.Verdict+1 },
		"regenerate": func(w *keys.KeyWrite) { w.New.Generation, w.SecretChanged = w.New.Generation+1, true },
		"delete":     func(w *keys.KeyWrite) { w.New.Deleted, w.New.DeletedAt = true, base },
	} {
		k, err := c.Key(t.Context(), c.key.ID)
		if err != nil {
			t.Fatal(err)
		}
		w := keys.KeyWrite{New: k, Was: k.Version}
		w.New.Version++
		edit(&w)
		if err := c.Commit(t.Context(), keys.Change{Keys: []keys.KeyWrite{w}, Audit: c.event(name)}); err != nil {
			t.Errorf("%s = %v, want it done at the first try", name, err)
		}
	}
	if refused != 1 {
		t.Errorf("%d transactions touched a meter after its making", refused-1)
	}
}

func touches(in *dynamodb.TransactWriteItemsInput, table string) bool {
	for _, w := range in.TransactItems {
		switch {
		case w.Put != nil && *w.Put.TableName == table,
			w.Update != nil && *w.Update.TableName == table,
			w.Delete != nil && *w.Delete.TableName == table,
			w.ConditionCheck != nil && *w.ConditionCheck.TableName == table:
			return true
		}
	}
	return false
}

func TestAFenceIsNoAuditEvent(t *testing.T) {
	c := newChange(t)
	for range 3 {
		c.wire.reset(always(timeout, transact))
		c.rename.Audit = c.event("given up")
		if err := c.Commit(t.Context(), c.rename); !errors.Is(err, keys.ErrUnavailable) {
			t.Fatalf("Commit = %v, want ErrUnavailable", err)
		}
	}
	c.wire.reset(nil)
	c.rename.Audit = c.event("key.update")
	if err := c.Commit(t.Context(), c.rename); err != nil {
		t.Fatal(err)
	}
	events, err := c.AuditEvents(t.Context(), keys.AuditRange{AccountID: c.account, Limit: 2}) // the fences lie between the two
	if err != nil {
		t.Fatal(err)
	}
	want := []keys.AuditEvent{{Action: "key.update"}, {Action: "key.create"}}
	if diff := cmp.Diff(want, events, cmpopts.IgnoreFields(keys.AuditEvent{}, "ID", "AccountID", "At")); diff != "" {
		t.Errorf("audit events (-want +got):\n%s", diff)
	}
}
