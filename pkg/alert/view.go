package alert

import (
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
)

// View is an alert as everybody outside sees it: the API's answers, the events on the bus
// and the bodies of webhooks. What may be null is there all the same.
type View struct {
	AlertID        string            `json:"alertId" doc:"Unique in the account."`
	Kind           Kind              `json:"kind" doc:"What the alert is about."`
	Severity       Severity          `json:"severity" enum:"info,warning,critical" doc:"How soon somebody should look."`
	Environment    *string           `json:"environment" nullable:"true" doc:"Environment of the key; null: the alert is about no single key."`
	KeyID          *string           `json:"keyId" nullable:"true" doc:"null: the alert is about no single key." example:"key_8fQ2mZ0a"`
	Subject        string            `json:"subject" doc:"What, together with kind, makes the cause: a key, a source address."`
	Window         string            `json:"window" format:"date-time" doc:"Start of the span in which the cause raises no second alert."`
	RaisedAt       string            `json:"raisedAt" format:"date-time"`
	Text           string            `json:"text" doc:"The same, for people."`
	Data           map[string]string `json:"data" doc:"The figures behind it."`
	AcknowledgedAt *string           `json:"acknowledgedAt" nullable:"true" format:"date-time" doc:"null: nobody has looked yet."`
	AcknowledgedBy *string           `json:"acknowledgedBy" nullable:"true" doc:"keyId of who acknowledged it."`
}

// keyIDPrefix goes before a key's id as on the canonical face.
const keyIDPrefix = "key_"

// View shows the alert.
func (a *Alert) View() View {
	v := View{
		AlertID: a.ID, Kind: a.Kind, Severity: a.Severity, KeyID: shownKey(a.KeyID), Subject: a.Subject,
		Window: shownTime(a.Window), RaisedAt: shownTime(a.RaisedAt), Text: a.Text, Data: a.Data,
		AcknowledgedBy: shownKey(a.AcknowledgedBy),
	}
	if a.Environment != "" {
		environment := string(a.Environment)
		v.Environment = &environment
	}
	if v.KeyID != nil && a.Subject == string(a.KeyID) {
		v.Subject = *v.KeyID
	}
	if v.Data == nil {
		v.Data = map[string]string{}
	}
	if !a.AcknowledgedAt.IsZero() {
		at := shownTime(a.AcknowledgedAt)
		v.AcknowledgedAt = &at
	}
	return v
}

func shownKey(id apikey.ID) *string {
	if id == "" {
		return nil
	}
	shown := keyIDPrefix + string(id)
	return &shown
}

// shownTime writes a time as the canonical face does: UTC, with milliseconds.
func shownTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }
