package alert

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/order"
	"github.com/keyreeve/keyreeve/pkg/usage"
)

// Failure spikes. A failure is a request that was answered 401 or 403. It counts for its
// key, for its source in the key's account, and, where the authorizer refused it, for its
// source in the installation.
//
// The rule is exact: any span of FailureSpan that has FailureThreshold failures raises,
// and none that has fewer does, however the failures come in batches. For that, failures
// are kept by spans that start at multiples of FailureSpan, each with its request's id, so
// that none counts twice, and its time; any five minutes are within two neighbours, which
// are looked at together. A span takes no more once it has the threshold by itself, which
// bounds what an attack makes this keep. The bound has a price at the edge of an hour: a
// spike that goes on over it with less than the threshold behind it has an alert in the
// hour before, and whether also in the one after depends on the order of the batches.
const (
	// FailureThreshold: a client with a wrong key that retries as clients do (a few times
	// with back-off) stays below it; guessing keys, or a fleet whose key was rotated
	// without it, passes it within seconds.
	FailureThreshold = 20
	FailureSpan      = 5 * time.Minute

	// MaxSources bounds the sources of one batch and account that are followed, those with
	// the most failures first: a flood from thousands of addresses is no one source's
	// doing, and must not cost a write for each.
	MaxSources = 100
)

// spate is the failures of one cause that a batch has in one span.
type spate struct {
	of       Alert // the alert that they may raise, without ID and Window
	cause    string
	window   time.Time
	failures []Failure
}

// spates sorts a batch's failures by cause and span.
func spates(f *usage.Facts) []spate {
	var keySpates, sourceSpates gathering
	for i := range f.Requests {
		r := &f.Requests[i]
		if !failed(r) {
			continue
		}
		keySpates.add(r, Alert{
			AccountID: r.AccountID, Environment: r.Environment, KeyID: r.Holder(), Kind: KeyFailures, Subject: string(r.Holder()),
			Text: shown(r.Holder()) + " was answered 401 or 403 " + often, Data: figures(),
		}, "key#"+string(r.Holder()))
		sourceSpates.addSource(r, r.AccountID) // the guard's refusals and the policy's; the authorizer's have no source yet
	}
	for i := range f.Joined {
		r := &f.Joined[i]
		if failed(r) {
			sourceSpates.addSource(r, r.AccountID)
			sourceSpates.addSource(r, Installation)
		}
	}
	for i := range f.Unknown {
		sourceSpates.addSource(&f.Unknown[i], Installation)
	}
	return append(keySpates.list(0), sourceSpates.list(MaxSources)...)
}

const often = "20 times or more within 5 minutes."

func figures() map[string]string {
	return map[string]string{"threshold": strconv.Itoa(FailureThreshold), "minutes": "5"}
}

func failed(r *usage.Request) bool { return r.Status == 401 || r.Status == 403 }

// gathering makes spates.
type gathering struct{ spates map[spateName]*spate }

type spateName struct {
	account, cause string
	window         int64
}

func (g *gathering) add(r *usage.Request, of Alert, cause string) {
	window := r.Time.UTC().Truncate(FailureSpan)
	name := spateName{of.AccountID, cause, window.UnixMilli()}
	s := g.spates[name]
	if s == nil {
		if g.spates == nil {
			g.spates = map[spateName]*spate{}
		}
		s = &spate{of: of, cause: cause, window: window}
		g.spates[name] = s
	}
	s.failures = append(s.failures, Failure{ID: r.ID, Time: r.Time.UTC().Truncate(time.Millisecond)})
}

func (g *gathering) addSource(r *usage.Request, account string) {
	source := Source(r.SourceIP)
	if source == "" || account == "" {
		return
	}
	g.add(r, Alert{
		AccountID: account, Kind: SourceFailures, Subject: source,
		Text: "Requests from " + source + " were answered 401 or 403 " + often, Data: figures(),
	}, "source#"+source)
}

// list is what was gathered, in a fixed order: of each account the causes with the most
// failures first, and no more than most of them; 0: all.
func (g *gathering) list(most int) []spate {
	list := make([]spate, 0, len(g.spates))
	for _, s := range g.spates {
		list = append(list, *s)
	}
	order.By(list, func(a, b spate) int {
		return cmp.Or(cmp.Compare(len(b.failures), len(a.failures)), cmp.Compare(a.of.AccountID, b.of.AccountID),
			cmp.Compare(a.cause, b.cause), a.window.Compare(b.window))
	})
	if most == 0 {
		return list
	}
	taken := map[string]int{}
	return slices.DeleteFunc(list, func(s spate) bool {
		taken[s.of.AccountID]++
		return taken[s.of.AccountID] > most
	})
}

// spikes are the hours in which a failure was at least the FailureThreshold-th of the
// FailureSpan that it ends, in order.
func spikes(failures []Failure) (hours []time.Time) {
	order.By(failures, func(a, b Failure) int { return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.ID, b.ID)) })
	failures = slices.Compact(failures)
	for last := FailureThreshold - 1; last < len(failures); last++ {
		first := last - FailureThreshold + 1
		hour := failures[last].Time.Truncate(time.Hour)
		if failures[last].Time.Sub(failures[first].Time) < FailureSpan && !slices.Contains(hours, hour) {
			hours = append(hours, hour)
		}
	}
	return hours
}

// shown is a key's id for people, at the start of a sentence.
func shown(id apikey.ID) string { return "Key " + keyIDPrefix + string(id) }
