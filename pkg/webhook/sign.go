package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/keyreeve/keyreeve/pkg/alert"
)

// message is what is sent. Its headers say when the attempt is, and so are new each time.
type message struct {
	id   string // webhook-id
	body []byte
}

// payload is the body, in the form that Standard Webhooks proposes.
type payload struct {
	Type      string `json:"type"`      // "alert.raised" or "test"
	Timestamp string `json:"timestamp"` // when it happened
	Data      any    `json:"data"`
}

// Types of events.
const (
	alertRaised = "alert.raised"
	testEvent   = "test"
)

// alertMessage says that an alert was raised: as it was then, so that an acknowledgement
// between two attempts does not make two bodies of one id. Only a figure that was not
// known yet (alert.Store's Note) may come in with a later attempt.
func alertMessage(id string, a alert.Alert) (message, error) {
	a.AcknowledgedAt, a.AcknowledgedBy = time.Time{}, ""
	view := a.View()
	body, err := json.Marshal(payload{alertRaised, view.RaisedAt, view})
	return message{id, body}, err
}

// testMessage is what somebody who sets a webhook up asks for.
func testMessage(id, endpoint string, now time.Time) (message, error) {
	body, err := json.Marshal(payload{testEvent, now.UTC().Format("2006-01-02T15:04:05.000Z"), map[string]string{"webhookId": endpoint}})
	return message{id, body}, err
}

// Headers of a message. Standard Webhooks writes them in lower case, which is how HTTP/2
// sends them in any case.
const (
	headerID        = "Webhook-Id"
	headerTimestamp = "Webhook-Timestamp"
	headerSignature = "Webhook-Signature"
)

// sign puts the headers on that tell a receiver who sent the message, and when.
func (m *message) sign(h http.Header, s signingSecret, now time.Time) {
	seconds := strconv.FormatInt(now.Unix(), 10)
	h.Set(headerID, m.id)
	h.Set(headerTimestamp, seconds)
	h.Set(headerSignature, "v1,"+signature(s, m.id, seconds, m.body))
}

// signature is the base64 of HMAC-SHA256 over "id.timestamp.body".
func signature(s signingSecret, id, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, s.bytes())
	_, _ = mac.Write([]byte(id + "." + timestamp + "."))
	_, _ = mac.Write(body)
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
