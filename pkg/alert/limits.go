package alert

import (
	"fmt"
	"strconv"
	"time"

	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/logline"
	"github.com/keyreeve/keyreeve/pkg/usage"
)

// limits are the alerts of keys near their limit and over it. Both have an hour: who wants
// to act on them asks for a higher limit or slows a client down, and that takes longer
// than a window of the limit.
func limits(f *usage.Facts) (list []Alert) {
	for _, n := range f.Near {
		r := usage.Request{KeyID: n.KeyID, Parent: n.Parent, AccountID: n.AccountID, Environment: n.Environment}
		list = append(list, ofRequest(&r, NearLimit, hourOf(n.Time), fmt.Sprintf("has used 80 %% or more of its limit of %d requests a minute.", n.Limit),
			map[string]string{"limit": strconv.Itoa(n.Limit), "at": shownTime(n.Time)}))
	}
	for i := range f.Requests {
		if r := &f.Requests[i]; r.Refused == logline.ReasonLimit {
			list = append(list, ofRequest(r, OverLimit, hourOf(r.Time), "was refused requests, because it was over its limit.",
				map[string]string{"at": shownTime(r.Time)}))
		}
	}
	return list
}

func hourOf(t time.Time) time.Time { return t.UTC().Truncate(time.Hour) }

func dayOf(t time.Time) time.Time { return usage.DayOf(t).Start() }

// ofRequest is an alert about the key of a request, of a session about its parent, with the
// session's id in data.
func ofRequest(r *usage.Request, kind Kind, window time.Time, text string, data map[string]string) Alert {
	of := r.Holder()
	who := shown(of)
	if r.Parent != "" {
		who, data["sessionId"] = who+", by a session,", keyIDPrefix+string(r.KeyID)
	}
	return Alert{
		AccountID: r.AccountID, Environment: r.Environment, KeyID: of, Kind: kind, Subject: string(of),
		Window: window, Text: who + " " + text, Data: data,
	}
}

// ofKey is an alert about a key.
func ofKey(k *keys.Key, kind Kind, window time.Time, text string, data map[string]string) Alert {
	return Alert{
		AccountID: k.AccountID, Environment: k.Environment, KeyID: k.ID, Kind: kind, Subject: string(k.ID),
		Window: window, Text: shown(k.ID) + " " + text, Data: data,
	}
}
