package alert_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/alert"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

func TestAViewHasEveryFieldAlsoWhereThereIsNothing(t *testing.T) {
	at := time.Date(2026, 1, 15, 11, 30, 0, 250e6, time.FixedZone("CET", 3600))
	for _, tt := range []struct {
		a    alert.Alert
		want string
	}{
		{alert.Alert{
			ID: "i1", AccountID: "acct", Environment: keys.Staging, KeyID: "AAAAAAAA", Kind: alert.OverLimit, Severity: alert.Warning,
			Subject: "AAAAAAAA", Window: at.Truncate(time.Hour), RaisedAt: at, Text: "a <b> & c", Data: map[string]string{"limit": "20"},
			AcknowledgedAt: at.Add(time.Minute), AcknowledgedBy: "BBBBBBBB",
		}, `{"alertId":"i1","kind":"over_limit","severity":"warning","environment":"staging","keyId":"key_AAAAAAAA",` +
			`"subject":"key_AAAAAAAA","window":"2026-01-15T10:00:00.000Z","raisedAt":"2026-01-15T10:30:00.250Z",` +
			`"text":"a \u003cb\u003e \u0026 c","data":{"limit":"20"},` +
			`"acknowledgedAt":"2026-01-15T10:31:00.250Z","acknowledgedBy":"key_BBBBBBBB"}`},
		{alert.Alert{
			ID: "i2", AccountID: "acct", Kind: alert.SourceFailures, Severity: alert.Critical, Subject: "198.51.100.7",
			Window: at.Truncate(time.Hour), RaisedAt: at, Text: "t",
		}, `{"alertId":"i2","kind":"source_failures","severity":"critical","environment":null,"keyId":null,` +
			`"subject":"198.51.100.7","window":"2026-01-15T10:00:00.000Z","raisedAt":"2026-01-15T10:30:00.250Z",` +
			`"text":"t","data":{},"acknowledgedAt":null,"acknowledgedBy":null}`},
	} {
		got, err := json.Marshal(tt.a.View())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, string(got)); diff != "" {
			t.Errorf("view of %s (-want +got)\n%s", tt.a.ID, diff)
		}
	}
}
