package webhook

import (
	"context"
	"encoding/base64"
	"net/netip"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
)

// NewSenderWhere is NewSender with another idea of what is public, so that a test has
// both kinds of addresses on its own machine.
func NewSenderWhere(c SenderConfig, public func(netip.Addr) bool) *Sender {
	return newSender(c, public)
}

// Send makes an attempt with a secret as its owner has it.
func (s *Sender) Send(ctx context.Context, url, id, body, secret string, now time.Time) Attempt {
	return s.send(ctx, url, message{id, []byte(body)}, secretFrom(secret), now)
}

// Sign is the signature of a message.
func Sign(secret, id, timestamp, body string) string {
	return signature(secretFrom(secret), id, timestamp, []byte(body))
}

func secretFrom(text string) signingSecret {
	b, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(text, secretPrefix))
	if err != nil {
		panic(err)
	}
	return secretOf(b)
}

// Open opens a sealed secret.
func Open(ring *apikey.Ring, e Endpoint) (string, error) {
	s, err := open(ring, &e)
	if err != nil {
		return "", err
	}
	return s.plaintext(), nil
}

// SecretValue is a secret as the package carries it about.
func SecretValue(text string) any { return secretFrom(text) }

var (
	DeliveryID = deliveryID
	EndpointOf = endpointOf
	CheckURL   = checkURL
)

const (
	Lease   = lease
	Reserve = reserve
)
