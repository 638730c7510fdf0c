package dynamo_test

import (
	"errors"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/guard"
	"github.com/keyreeve/keyreeve/pkg/guard/guardtest"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/limit"
)

func TestMetersPassTheSuite(t *testing.T) {
	s := newStore(t)
	guardtest.Suite(t, func(*testing.T) guardtest.Store { return s.of })
}

func TestAMeterIsReadAsItWasLastWritten(t *testing.T) {
	s := newStore(t)
	id := apikey.NewID()
	if m, found, err := s.of.Meter(t.Context(), id); err != nil || found || !cmp.Equal(m, guard.Meter{}) {
		t.Errorf("of a key without a meter: %+v, %t, %v", m, found, err)
	}
	if err := s.Settle(t.Context(), id, 3, true); err != nil {
		t.Fatal(err)
	}
	on, now := guard.State{Verdict: 3, Active: true}, time.Now()
	want, err := s.of.Count(t.Context(), id, guard.Write{
		If: on, Then: on, Minute: guard.Count{To: limit.Minute.SlotOf(now), Limit: 1000}, N: 1, Passed: 1, At: now,
		Hour: guard.Count{To: limit.Hour.SlotOf(now), Limit: 10}, Month: guard.MonthCount{To: limit.PeriodOf(now, 1), Limit: 5},
	})
	if err != nil {
		t.Fatal(err)
	}
	got, found, err := s.of.Meter(t.Context(), id)
	if d := cmp.Diff(want, got); err != nil || !found || d != "" {
		t.Errorf("Meter = %t, %v (-written +read):\n%s", found, err, d)
	}
	if m, _, err := s.of.Meter(t.Context(), id); err != nil || m.Requests != 1 {
		t.Errorf("read twice: %d requests, %v: reading counts", m.Requests, err)
	}
}

// A request that was counted and is counted again a slot later is counted at the wrong
// time: so there is one attempt, whatever it met.
func TestACountIsAttemptedOnce(t *testing.T) {
	w := &wire{}
	s := newStore(t, w.option)
	id := apikey.NewID()
	if err := s.Settle(t.Context(), id, 1, true); err != nil {
		t.Fatal(err)
	}
	on, now := guard.State{Verdict: 1, Active: true}, time.Now()
	write := func(from limit.Window, to int64) guard.Write {
		return guard.Write{If: on, Then: on, Minute: guard.Count{From: from, To: to, Limit: 1000}, N: 1, Passed: 1, At: now}
	}
	m, err := s.of.Count(t.Context(), id, write(limit.Window{}, limit.Minute.SlotOf(now)))
	if err != nil {
		t.Fatal(err)
	}
	counted := m.Requests
	for _, f := range allFaults() {
		for name, later := range map[string]int64{"Count in the same slot": 0, "Count in the next": 1} {
			w.reset(always(f, ""))
			_, err := s.of.Count(t.Context(), id, write(m.Window, m.Window.Slot+later))
			if calls := short(w.seen()); calls != "U" {
				t.Errorf("%s with %s: calls %s, want one", name, f.name, calls)
			}
			want := keys.ErrOutcomeUnknown
			if f.name == throttle.name || f.name == conflictFault.name {
				want = keys.ErrUnavailable
			}
			var refused *guard.Refused
			if !errors.Is(err, want) || errors.As(err, &refused) {
				t.Errorf("%s with %s = %v, want %v", name, f.name, err, want)
			}
			if f.applied {
				counted++
			}
			w.reset(nil)
			if m, _, err = s.look(t.Context(), id); err != nil || m.Requests != counted {
				t.Errorf("%s with %s: %d requests counted, %v, want %d", name, f.name, m.Requests, err, counted)
			}
		}
	}
}

// A meter that cannot be read proves nothing, and must not pass for one that refuses.
func TestABrokenMeterIsAnError(t *testing.T) {
	s := newStore(t)
	id := apikey.NewID()
	it := item{"id": text(string(id)), "v": text("1"), "st": text("yes")}
	if err := s.put(t, s.cfg.MetersTable, it); err != nil {
		t.Fatal(err)
	}
	_, err := s.of.Count(t.Context(), id, guard.Write{If: guard.State{Verdict: 1, Active: true}, Minute: guard.Count{Limit: 10}, N: 1, Passed: 1, At: time.Now()})
	var refused *guard.Refused
	if !errors.Is(err, keys.ErrUnavailable) || errors.As(err, &refused) {
		t.Errorf("Count = %v, want ErrUnavailable", err)
	}
}

// An item of up to 1 KB is one unit of a write; the sizes are those of
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html,
// where a number is a byte for each two of its digits, and one more.
func TestAMeterIsWrittenForOneUnitWhateverItCounts(t *testing.T) {
	s := newStore(t)
	id := apikey.NewID()
	on, now := guard.State{Verdict: 123_456, Active: true}, time.Now()
	if err := s.Settle(t.Context(), id, on.Verdict, true); err != nil {
		t.Fatal(err)
	}
	var m guard.Meter
	var err error
	for i := range int64(limit.Slots) { // every position, each as large as a limit may be
		w := guard.Write{If: on, Then: on, N: keys.MaxLimit - 1, Passed: keys.MaxLimit - 1, At: now, Minute: guard.Count{From: m.Window, To: 710_000_000 + i, Limit: 1 << 50}}
		from := guard.Longer{}
		if m.Longer != nil {
			from = *m.Longer
		}
		w.Hour, w.Day = guard.Count{From: from.Hour, To: 12_000_000 + i, Limit: 1 << 50}, guard.Count{From: from.Day, To: 500_000 + i, Limit: 1 << 50}
		w.Month = guard.MonthCount{From: from.Month.Began, To: 20_000, Limit: 1 << 50}
		if m, err = s.of.Count(t.Context(), id, w); err != nil {
			t.Fatal(err)
		}
	}
	it, size := s.item(t, s.cfg.MetersTable, item{"id": text(string(id))}), 0
	for name, v := range it {
		size += len(name)
		switch v := v.(type) {
		case *types.AttributeValueMemberN:
			size += (len(v.Value)+1)/2 + 1
		case *types.AttributeValueMemberS:
			size += len(v.Value)
		default:
			size++
		}
	}
	t.Logf("%d attributes, %d bytes", len(it), size)
	if len(it) != 5+3*(3+limit.Slots-1)+2 || size > 1024 {
		t.Errorf("%d attributes and %d bytes, want all of them in 1,024", len(it), size)
	}
}
