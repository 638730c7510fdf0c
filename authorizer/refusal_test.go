package authorizer

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/logline"
)

// TestRefusalLineIsExactlyThis is of the line that a subscription filter matches by its
// msg, and that function usage counts by. The sample event has the shape of API Gateway's.
func TestRefusalLineIsExactlyThis(t *testing.T) {
	w := newWorld(t)
	w.key = w.generate(t, "EXAMPLE1")
	w.stored.ID, w.stored.Secret.Digest = w.key.ID(), w.digest(t, w.key)
	w.put(func(k *keys.Key) { k.Active = false })
	const head = `"level":"INFO","msg":"refused","by":"authorizer","requestId":"00000000-0000-4000-8000-000000000001",` +
		`"extendedRequestId":"EXAMPLE0FiAEXAMPLE=","requestTimeEpoch":1768473000000,`
	for credential, want := range map[string]string{
		w.key.Plaintext():                     head + `"keyId":"EXAMPLE1","reason":"inactive"}` + "\n",
		w.generate(t, "EXAMPLE1").Plaintext(): head + `"keyId":"EXAMPLE1","reason":"wrong_secret"}` + "\n",
		w.generate(t, "EXAMPLE2").Plaintext(): head + `"keyId":"EXAMPLE2","reason":"unknown_key"}` + "\n",
		"junk":                                head + `"reason":"malformed"}` + "\n",
	} {
		for _, name := range []string{"authorizer-x-api-key.json", "authorizer-authorization.json"} {
			w.log.Reset()
			if _, err := w.a.Invoke(t.Context(), bytes.ReplaceAll(sample(t, name), []byte(placeholder), []byte(credential))); err == nil {
				t.Fatalf("%s: admitted", name)
			}
			line := w.log.String()
			_, got, _ := strings.Cut(line, ",") // after the time of the log itself
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("%s (-want +got):\n%s", name, d)
			}
			if _, ok := logline.ParseEvent(line); !ok {
				t.Errorf("%s: the line is not read back", name)
			}
			w.noSecret(t, line)
		}
	}
}

// A gateway that is not API Gateway may leave these out; sam local sends null.
func TestRefusalIsLoggedWithoutExtendedIDOrTime(t *testing.T) {
	for what, context := range map[string]map[string]any{
		"absent":      {"requestId": "req-1"},
		"null":        {"requestId": "req-1", "extendedRequestId": nil, "requestTimeEpoch": nil},
		"other types": {"requestId": "req-1", "extendedRequestId": 7, "requestTimeEpoch": "1768473000000"},
		"not a time":  {"requestId": "req-1", "requestTimeEpoch": -5},
	} {
		w := newWorld(t)
		w.now = now.Add(time.Hour)
		if _, err := w.invoke(t, with(request(xAPIKey("junk")), "requestContext", context)); err == nil || err.Error() != "Unauthorized" {
			t.Errorf("%s: error %v, want Unauthorized", what, err)
		}
		e, ok := logline.ParseEvent(w.log.String())
		want := logline.Event{
			What: logline.Refused, By: logline.ByAuthorizer, RequestID: "req-1", Time: w.now, Reason: string(keys.ReasonMalformed),
		}
		if d := cmp.Diff(want, e); !ok || d != "" {
			t.Errorf("%s: read %t (-want +got):\n%s", what, ok, d)
		}
		if e.ID() != "req-1" {
			t.Errorf("%s: the event is of request %q", what, e.ID())
		}
		if _, err := w.invoke(t, with(request(xAPIKey(w.key.Plaintext())), "requestContext", context)); err != nil {
			t.Errorf("%s: a good key: %v", what, err)
		}
	}
}

func TestAnAdmittedRequestWritesNoLine(t *testing.T) {
	w := newWorld(t)
	if _, err := w.invoke(t, request(xAPIKey(w.key.Plaintext()))); err != nil || w.log.Len() > 0 {
		t.Errorf("error %v, log %s", err, w.log.String())
	}
	if _, err := w.invoke(t, request(xAPIKey(w.generate(t, apikey.NewID()).Plaintext()))); err == nil || strings.Count(w.log.String(), "\n") != 1 {
		t.Errorf("error %v, log %s; want one line for the refused one", err, w.log.String())
	}
}
