package webhook_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/pkg/webhook"
)

// The vector that the specification's own libraries are tested with
// (https://github.com/standard-webhooks/standard-webhooks/tree/main/libraries).
const (
	vectorSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	vectorID     = "msg_p5jXN8AQM9LWM0D4loKWxJek"
	vectorTime   = 1614265330
	vectorBody   = `{"test": 2432232314}`
	vectorWant   = "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
)

func TestTheSignatureIsStandardWebhooks(t *testing.T) {
	if got := webhook.Sign(vectorSecret, vectorID, fmt.Sprint(vectorTime), vectorBody); got != vectorWant {
		t.Errorf("signature %s, want %s", got, vectorWant)
	}
	for name, got := range map[string]string{
		"another id":     webhook.Sign(vectorSecret, vectorID+"x", fmt.Sprint(vectorTime), vectorBody),
		"another time":   webhook.Sign(vectorSecret, vectorID, fmt.Sprint(vectorTime+1), vectorBody),
		"another body":   webhook.Sign(vectorSecret, vectorID, fmt.Sprint(vectorTime), vectorBody+" "),
		"another secret": webhook.Sign("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSx", vectorID, fmt.Sprint(vectorTime), vectorBody),
	} {
		if got == vectorWant {
			t.Errorf("%s gives the same signature", name)
		}
	}
}

func TestASecretPrintsRedacted(t *testing.T) {
	s := webhook.SecretValue(vectorSecret)
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, verb+" "+verb+"\n", s, &s)
	}
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "secret", s)
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "secret", s)
	if text, err := json.Marshal(s); err == nil {
		out.Write(text)
	}
	wantNoPiece(t, "printing a secret", out.String(), vectorSecret)
}

// wantNoPiece fails if text holds twelve characters of the secret.
func wantNoPiece(t *testing.T, what, text, secret string) {
	t.Helper()
	secret = strings.TrimPrefix(secret, "whsec_")
	const piece = 12
	for i := range len(secret) - piece + 1 {
		if strings.Contains(text, secret[i:i+piece]) {
			t.Errorf("%s holds a piece of the secret", what)
			return
		}
	}
}

func TestADeliverysIDIsTheAlertsAndSafeToSign(t *testing.T) {
	const endpoint = "0123456789abcdef"
	at := time.Date(2026, 1, 15, 10, 0, 0, 0, time.UTC)
	id := webhook.DeliveryID(endpoint, at, "key_failures/2001:db8::1.5/…")
	if again := webhook.DeliveryID(endpoint, at, "key_failures/2001:db8::1.5/…"); again != id {
		t.Errorf("the same alert gave %s and %s", id, again)
	}
	for _, other := range []string{
		webhook.DeliveryID("0123456789abcdeg", at, "key_failures/2001:db8::1.5/…"),
		webhook.DeliveryID(endpoint, at, "key_failures/2001:db8::1.5/"),
	} {
		if other == id {
			t.Errorf("another alert or endpoint gave %s too", id)
		}
	}
	if strings.ContainsFunc(id, func(r rune) bool {
		return r != '_' && r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}) {
		t.Errorf("%q holds more than letters, digits, '_' and '-'", id)
	}
	var ids []string
	for i := range 50 {
		ids = append(ids, webhook.DeliveryID(endpoint, at.Add(time.Duration(i*i*i)*time.Hour), fmt.Sprint(i)))
	}
	if !slices.IsSorted(ids) {
		t.Errorf("ids do not sort by time: %v", ids)
	}
	for _, tt := range []struct {
		id string
		ok bool
	}{
		{id, true}, {"", false}, {id[1:], false}, {id + "x", false}, {strings.Replace(id, "_", "-", 1), false},
		{endpoint + "_" + strings.Repeat("g", 12) + id[29:], false}, {strings.Replace(id, "0", "/", 1), false},
		{id[:len(id)-1] + "!", false},
	} {
		got, ok := webhook.EndpointOf(tt.id)
		if ok != tt.ok || ok && got != endpoint {
			t.Errorf("the endpoint of %q = %q, %t, want %t", tt.id, got, ok, tt.ok)
		}
	}
}
