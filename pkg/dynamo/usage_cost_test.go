package dynamo_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/keyreeve/keyreeve/infra/local/ddb/ddbtest"
	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/dynamo"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/logline"
	"github.com/keyreeve/keyreeve/pkg/route"
	"github.com/keyreeve/keyreeve/pkg/usage"
)

// written is what goes into the usage table, by what it is. An item of a transaction costs
// twice a write by itself.
type written struct {
	rows, days, totals, marks, profiles int
}

func (w written) writes() int { return w.rows + w.days + w.totals + w.marks + w.profiles }

func (w written) units() int { return w.rows + w.profiles + 2*(w.days+w.totals+w.marks) }

func (w *written) add(t *testing.T, c call) {
	t.Helper()
	prefix := func(key item) string {
		kind, _, _ := strings.Cut(str(key, "pk"), "#")
		return kind
	}
	switch in := c.input.(type) {
	case *dynamodb.UpdateItemInput:
		if prefix(in.Key) != "R" {
			t.Errorf("a write to %s#… by itself", prefix(in.Key))
		}
		w.rows++
	case *dynamodb.PutItemInput:
		w.profiles++
	case *dynamodb.TransactWriteItemsInput:
		for _, it := range in.TransactItems {
			switch {
			case it.Put != nil:
				w.marks++
			case prefix(it.Update.Key) == "C":
				w.days++
			default:
				w.totals++
			}
		}
	}
}

// noKeys is asked for nothing, as no key was refused.
type noKeys struct{}

func (noKeys) Key(context.Context, apikey.ID) (keys.Key, error) {
	return keys.Key{}, keys.ErrUnavailable
}

// TestCountsCostOneWritePerKeyAndDayAndBatch holds what a batch writes: a row per line, and
// for each key that is in it one write to its counts of the day, so never more than one per
// hour, one to its totals and one to its profile; and a mark for every 49 keys.
// It prints the figures.
func TestCountsCostOneWritePerKeyAndDayAndBatch(t *testing.T) {
	c := ddbtest.ConfigWithoutStream(t)
	for _, tt := range []struct {
		lines, keys int
		over        time.Duration // from the first line to the last
		days        int
	}{
		{1, 1, 0, 1},
		{100, 1, time.Minute, 1},
		{100, 50, time.Minute, 1},
		{1000, 1, time.Minute, 1},
		{1000, 50, time.Minute, 1},
		{200, 50, 6 * time.Hour, 1}, // hours of one day cost nothing more
		{200, 50, 20 * time.Hour, 2},
	} {
		w, got := &wire{}, written{}
		s := usageOn(c, dynamo.UsageConfig{}, w.option)
		calls := make(chan call, 3*tt.lines+1000)
		w.reset(func(c call) fault {
			calls <- c
			return fault{}
		})
		counter := usage.New(usage.Config{Store: s, Table: route.Default(), Keys: noKeys{}})
		d := usage.Delivery{LogGroup: "access", LogStream: string(apikey.NewID())}
		ids := make([]apikey.ID, tt.keys)
		for i := range ids {
			ids[i] = apikey.NewID()
		}
		for i := range tt.lines {
			r := oneRequest("acme", ids[i%tt.keys], string(apikey.NewID()))
			a := logline.Access{
				ExtendedRequestID: r.ID, RequestID: r.RequestID, Stage: "staging", Method: r.Method, Route: r.Route, Status: r.Status,
				Time:  at.Add(tt.over / time.Duration(max(1, tt.lines-1)) * time.Duration(i)),
				KeyID: r.KeyID, AccountID: r.AccountID, Environment: string(r.Environment), Generation: r.Generation,
				SourceIP: r.SourceIP, UserAgent: r.UserAgent,
			}
			d.Lines = append(d.Lines, usage.Line{ID: fmt.Sprint(i), Text: a.Line()})
		}
		stats, err := counter.Process(t.Context(), d, func(context.Context, usage.Facts) error { return nil })
		if err != nil || stats.Counted != tt.lines {
			t.Fatalf("Process = %+v, %v, want %d counted", stats, err, tt.lines)
		}
		close(calls)
		for c := range calls {
			got.add(t, c)
		}
		perPart := 99 / (tt.days + 1) // keys
		want := written{
			rows: tt.lines, days: tt.keys * tt.days, totals: tt.keys, profiles: tt.keys, marks: (tt.keys + perPart - 1) / perPart,
		}
		t.Logf("%4d lines of %2d keys over %8v: %.3f writes a line (%.3f units), of which counts %.3f: %+v", tt.lines, tt.keys, tt.over,
			float64(got.writes())/float64(tt.lines), float64(got.units())/float64(tt.lines), float64(got.writes()-got.rows)/float64(tt.lines), got)
		if got != want {
			t.Errorf("%d lines of %d keys over %v: wrote %+v, want %+v", tt.lines, tt.keys, tt.over, got, want)
		}
	}
}
