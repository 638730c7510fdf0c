package logline

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/keyreeve/keyreeve/pkg/apikey"
)

// eventLine is the line that Log writes.
func eventLine(t testing.TB, e Event, more ...slog.Attr) string {
	var out bytes.Buffer
	e.Log(t.Context(), slog.New(slog.NewJSONHandler(&out, nil)), more...)
	return out.String()
}

func TestGoldenEventLine(t *testing.T) {
	line := eventLine(t, Event{
		What: Refused, By: ByAuthorizer, RequestID: "r-1", ExtendedRequestID: "JKJaXmPLvHcESHA=", Time: time.UnixMilli(1_768_473_000_123),
		KeyID: "AbCd1234", Reason: "expired",
	})
	_, line, _ = strings.Cut(line, `,"level"`)
	const want = `:"INFO","msg":"refused","by":"authorizer","requestId":"r-1","extendedRequestId":"JKJaXmPLvHcESHA=",` +
		`"requestTimeEpoch":1768473000123,"keyId":"AbCd1234","reason":"expired"}` + "\n"
	if diff := cmp.Diff(want, line); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestAnEventReadsBackAsItWas(t *testing.T) {
	word := rapid.String().Filter(func(s string) bool { return s == strings.ToValidUTF8(s, "") })
	rapid.Check(t, func(r *rapid.T) {
		e := Event{
			What: rapid.SampledFrom([]What{Refused, NearLimit}).Draw(r, "what"), By: rapid.SampledFrom([]By{ByAuthorizer, ByGuard}).Draw(r, "by"),
			RequestID: word.Draw(r, "request"), ExtendedRequestID: word.Draw(r, "extended"),
			Time:   time.UnixMilli(rapid.Int64Range(1, 1<<42).Draw(r, "time")).UTC(),
			KeyID:  apikey.ID(rapid.StringMatching(`([A-Za-z0-9]{8})?`).Draw(r, "key")),
			Reason: word.Draw(r, "reason"), Limit: rapid.IntRange(0, 1_000_000).Draw(r, "limit"),
		}
		got, ok := ParseEvent(eventLine(t, e, slog.String("permission", "customers:read"), slog.Int("status", 403)))
		if !ok {
			r.Fatal("not an event")
		}
		if diff := cmp.Diff(e, got); diff != "" {
			r.Fatalf("(-want +got)\n%s", diff)
		}
	})
}

func TestWhatConcludesNothingIsAnErrorInTheLog(t *testing.T) {
	for reason, want := range map[string]string{
		ReasonUnavailable: "ERROR", ReasonContext: "ERROR", ReasonLimit: "INFO", ReasonPermission: "INFO", "expired": "INFO",
	} {
		if line := eventLine(t, Event{What: Refused, By: ByGuard, Time: time.UnixMilli(1), Reason: reason}); !strings.Contains(line, `"level":"`+want+`"`) {
			t.Errorf("%s: want level %s: %s", reason, want, line)
		}
	}
}

func TestOtherLinesAreNoEvents(t *testing.T) {
	for name, line := range map[string]string{
		"nothing":         "",
		"text":            "START RequestId: 1 Version: $LATEST",
		"other message":   `{"msg":"failed","by":"guard","requestTimeEpoch":1}`,
		"no writer":       `{"msg":"refused","requestTimeEpoch":1}`,
		"other writer":    `{"msg":"refused","by":"client","requestTimeEpoch":1}`,
		"no time":         `{"msg":"refused","by":"guard"}`,
		"time as text":    `{"msg":"refused","by":"guard","requestTimeEpoch":"1"}`,
		"malformed key":   `{"msg":"refused","by":"guard","requestTimeEpoch":1,"keyId":"a key"}`,
		"a list":          `[]`,
		"two objects":     `{"msg":"refused","by":"guard","requestTimeEpoch":1}{}`,
		"an access line":  request().Line(),
		"cut off":         `{"msg":"refused","by":"guard","requestTimeEpoch":1`,
		"plaintext as id": `{"msg":"refused","by":"guard","requestTimeEpoch":1,"keyId":"kr_live_AbCd1234"}`,
	} {
		if e, ok := ParseEvent(line); ok {
			t.Errorf("%s: %+v", name, e)
		}
	}
}

func TestAnEventIsOfTheRequestThatTheAccessLineIsOf(t *testing.T) {
	if id := (Event{RequestID: "chosen", ExtendedRequestID: "own"}).ID(); id != "own" {
		t.Errorf("ID() = %s, want own", id)
	}
	if id := (Event{RequestID: "chosen"}).ID(); id != "chosen" {
		t.Errorf("ID() without an extended one = %s, want chosen", id)
	}
}

func FuzzParseEvent(f *testing.F) {
	f.Add(`{"time":"2026-01-15T10:30:00Z","level":"INFO","msg":"refused","by":"authorizer","requestId":"r","extendedRequestId":"x","requestTimeEpoch":1,"keyId":"AbCd1234","reason":"expired"}`)
	f.Add(`{"msg":"near limit","by":"guard","requestTimeEpoch":1,"limit":-5}`)
	f.Add(request().Line())
	f.Fuzz(func(t *testing.T, line string) {
		e, ok := ParseEvent(line)
		if !ok {
			return
		}
		if _, err := apikey.ParseID(string(e.KeyID)); e.KeyID != "" && err != nil {
			t.Fatalf("key id %q", e.KeyID)
		}
		if _, err := ParseAccess(line); err == nil {
			t.Fatal("the line is of both kinds")
		}
		if e.Limit < 0 {
			e.Limit = 0 // Log leaves it out
		}
		if again, ok := ParseEvent(eventLine(t, e)); !ok || again != e {
			t.Fatalf("%+v reads back as %+v, %t", e, again, ok)
		}
	})
}
