package alert_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/alert"
	"github.com/keyreeve/keyreeve/pkg/alert/alerttest"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/logline"
	"github.com/keyreeve/keyreeve/pkg/usage"
)

func TestAKeyNearItsLimitIsToldOfOnceAnHour(t *testing.T) {
	w := newWorld(t)
	near := func(at time.Time) usage.Facts {
		return usage.Facts{Near: []usage.Near{{KeyID: keyA, AccountID: account, Environment: keys.Staging, Time: at, Limit: 20}}}
	}
	w.observe(near(start), near(start.Add(time.Minute)), near(start))
	w.want("near_limit AAAAAAAA 03-10T12:00")
	w.observe(near(start.Add(time.Hour)))
	w.want("near_limit AAAAAAAA 03-10T12:00", "near_limit AAAAAAAA 03-10T13:00")

	want := alert.Alert{
		AccountID: account, Environment: keys.Staging, KeyID: keyA, Kind: alert.NearLimit, Severity: alert.Info, Subject: string(keyA),
		Window: start.Truncate(time.Hour), RaisedAt: start,
		Text: "Key key_AAAAAAAA has used 80 % or more of its limit of 20 requests a minute.",
		Data: map[string]string{"limit": "20", "at": "2026-03-10T12:32:30.000Z"},
	}
	got := w.alerts(account)[0]
	want.ID = got.ID
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the alert (-want +got):\n%s", diff)
	}
	if !strings.HasPrefix(got.ID, fmt.Sprintf("%012x-near_limit-", start.Truncate(time.Hour).UnixMilli())) || !alert.ValidID(got.ID) {
		t.Errorf("ID %s, want the window's time and the kind in front", got.ID)
	}
}

func TestAKeyOverItsLimitIsToldOf(t *testing.T) {
	w := newWorld(t)
	w.observe(facts(request(start, status(429)), request(start, guardRefused(logline.ReasonPermission)), request(start, authorizerRefused(keys.ReasonInactive))))
	w.want()
	r := request(start, status(429))
	half := r
	guardRefused(logline.ReasonLimit)(&half)
	w.observe(facts(r, half))
	w.want("over_limit AAAAAAAA 03-10T12:00")
}

func TestTwentyFailuresOfAKeyWithinFiveMinutesAreASpike(t *testing.T) {
	const spike = "key_failures AAAAAAAA 03-10T12:00"
	wrong := authorizerRefused(keys.ReasonSecret)
	spread := func(n int, over time.Duration, change ...func(*usage.Request)) (list []usage.Request) {
		for i := range n { // the first at start, the last at start+over
			list = append(list, request(start.Add(over*time.Duration(i)/time.Duration(n-1)), change...))
		}
		return list
	}
	twice := func(list []usage.Request) []usage.Request { return slices.Concat(list, list) }
	halves := func(list []usage.Request) []usage.Request {
		for _, r := range list {
			guardRefused(logline.ReasonPermission)(&r)
			list = append(list, r)
		}
		return list
	}
	for _, tt := range []struct {
		name string
		list []usage.Request
		want []string
	}{
		{"19", requests(19, start, wrong), nil},
		{"20", requests(20, start, wrong), []string{spike}},
		{"20 of the guard", requests(20, start, status(401), from("")), []string{spike}},
		{"20 without the permission", requests(20, start, status(403), from("")), []string{spike}},
		{"19, each twice", twice(requests(19, start, wrong)), nil},
		{"19 of which both lines came", halves(requests(19, start, status(403))), nil},
		{"20 of other statuses", slices.Concat(requests(5, start, status(400)), requests(5, start, status(404)), requests(5, start, status(429)), requests(5, start, status(500))), nil},
		{"20 over all but 5 minutes, which are in two spans", spread(20, 5*time.Minute-time.Millisecond, wrong), []string{spike}},
		{"20 over 5 minutes", spread(20, 5*time.Minute, wrong), nil},
		{"38, never 20 within 5 minutes", spread(38, 10*time.Minute, wrong), nil},
		{"40 over 10 minutes", spread(40, 10*time.Minute, wrong), []string{spike}},
		{"19 and one of another key", append(requests(19, start, wrong), request(start, wrong, by(keyB))), nil},
		{"200 all at once", requests(200, start, wrong), []string{spike}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			whole := newWorld(t)
			whole.observe(facts(tt.list...))
			whole.want(tt.want...)
			single := newWorld(t)
			for _, i := range rand.Perm(len(tt.list)) { // a batch for each, in any order
				single.restart()
				single.observe(facts(tt.list[i]))
			}
			single.want(tt.want...)
		})
	}
}

func TestFailuresOfASourceAreCountedWhereverItsRequestsBelong(t *testing.T) {
	for _, tt := range []struct {
		name  string
		facts usage.Facts
		want  []string
	}{
		{"19 of the guard", facts(requests(19, start, status(403), from(other), by(keyA))...), nil},
		{"20 of the guard, of two keys", facts(slices.Concat(requests(10, start, status(403), from(other)), requests(10, start, status(401), from(other), by(keyB)))...),
			[]string{"source_failures 198.51.100.7 03-10T12:00"}},
		{"19 and a neighbour", facts(append(requests(19, start, status(403), from(other)), request(start, status(403), from("198.51.100.8"), by(keyB)))...), nil},
		{"19 that name no key", usage.Facts{Unknown: requests(19, start, unknown)}, nil},
		{"20 that name no key", usage.Facts{Unknown: requests(20, start, unknown, from(other))}, []string{"source_failures 198.51.100.7 03-10T12:00 *"}},
		{"20 that came together", usage.Facts{Joined: requests(20, start, status(401), from(other))},
			[]string{"source_failures 198.51.100.7 03-10T12:00", "source_failures 198.51.100.7 03-10T12:00 *"}},
		{"10 that name a key, 10 that name none", usage.Facts{Joined: requests(10, start, status(401), from(other)), Unknown: requests(10, start, unknown, from(other))},
			[]string{"source_failures 198.51.100.7 03-10T12:00 *"}},
		{"20 of an IPv6 /64", facts(slices.Concat(requests(10, start, status(403), from("2001:db8:1:2::a")), requests(10, start, status(403), from("2001:db8:1:2:ffff::"), by(keyB)))...),
			[]string{"source_failures 2001:db8:1:2::/64 03-10T12:00"}},
		{"20 of two IPv6 /64", facts(slices.Concat(requests(10, start, status(403), from("2001:db8:1:2::a")), requests(10, start, status(403), from("2001:db8:1:3::a"), by(keyB)))...), nil},
		{"an IPv4 address in either form", facts(slices.Concat(requests(10, start, status(403), from(other)), requests(10, start, status(403), from("::ffff:198.51.100.7"), by(keyB)))...),
			[]string{"source_failures 198.51.100.7 03-10T12:00"}},
		{"20 of no source", usage.Facts{Unknown: requests(20, start, unknown, from(""))}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.observe(tt.facts)
			got := slices.DeleteFunc(w.raised(), func(s string) bool { return strings.HasPrefix(s, "key_failures") })
			if diff := cmp.Diff(tt.want, got, cmp.Transformer("empty", func(l []string) string { return strings.Join(l, "\n") })); diff != "" {
				t.Errorf("raised (-want +got):\n%s", diff)
			}
		})
	}
}

// A request that the authorizer refused comes as two lines in either order. What is raised
// does not depend on it.
func TestSourcesAreToldOfTheSameWhicheverLineComesFirst(t *testing.T) {
	joined := requests(20, start, status(401), from(other))
	var access, refusals []usage.Request
	for _, r := range joined {
		a, f := r, r
		unknown(&a)
		authorizerRefused(keys.ReasonSecret)(&f)
		access, refusals = append(access, a), append(refusals, f)
	}
	want := []string{"key_failures AAAAAAAA 03-10T12:00", "source_failures 198.51.100.7 03-10T12:00", "source_failures 198.51.100.7 03-10T12:00 *"}
	for name, batches := range map[string][]usage.Facts{
		"access first":  {{Unknown: access}, {Requests: refusals, Joined: joined}},
		"refusal first": {{Requests: refusals}, {Joined: joined}},
		"together":      {{Requests: refusals, Joined: joined}},
		"half of each":  {{Unknown: access[:10], Requests: refusals[10:]}, {Joined: joined[10:]}, {Requests: refusals[:10], Joined: joined[:10]}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.observe(batches...)
			w.want(want...)
		})
	}
}

// spikeHours is the rule by brute force: the hours of failures that end five minutes with
// the threshold.
func spikeHours(times []time.Time) map[time.Time]bool {
	hours := map[time.Time]bool{}
	for _, end := range times {
		n := 0
		for _, t := range times {
			if !t.After(end) && end.Sub(t) < alert.FailureSpan {
				n++
			}
		}
		if n >= alert.FailureThreshold {
			hours[end.Truncate(time.Hour)] = true
		}
	}
	return hours
}

func TestSpikesAreFoundExactlyHoweverFailuresComeInBatches(t *testing.T) {
	raised, edges := 0, 0
	for seed := range uint64(400) {
		random := rand.New(rand.NewPCG(seed, 5))
		w := newWorld(t)
		var list []usage.Request
		var times []time.Time
		perSpan := map[time.Time]int{}
		for range 10 + random.IntN(140) {
			seconds := random.IntN(30*60) - 15*60 // to the edge of an hour
			if seed%4 == 0 {                      // much in the span before it, a little behind
				seconds = []int{-1 - random.IntN(5*60), random.IntN(4 * 60)}[random.IntN(8)/7]
			}
			at := start.Truncate(time.Hour).Add(time.Duration(seconds) * time.Second)
			list = append(list, request(at, authorizerRefused(keys.ReasonSecret)))
			times = append(times, at)
			perSpan[at.Truncate(alert.FailureSpan)]++
		}
		for batches := slices.Concat(list, list[:len(list)/2]); len(batches) > 0; {
			random.Shuffle(len(batches), func(i, j int) { batches[i], batches[j] = batches[j], batches[i] })
			n := 1 + random.IntN(len(batches))
			w.observe(facts(batches[:n]...))
			batches = batches[n:]
		}
		want, got := spikeHours(times), map[time.Time]bool{}
		for _, a := range w.alerts(account) {
			got[a.Window] = true
		}
		full := false
		for span, n := range perSpan {
			if n >= alert.FailureThreshold {
				full = true
				if hour := span.Truncate(time.Hour); !got[hour] {
					t.Errorf("seed %d: no alert for %s, of which one span alone is a spike", seed, hour)
				}
			}
		}
		for hour := range got {
			if !want[hour] {
				t.Errorf("seed %d: an alert for %s, which has no spike", seed, hour)
			}
		}
		switch {
		case full && len(got) < len(want):
			edges++ // the price of the bound, which failures.go states
		case len(got) != len(want):
			t.Errorf("seed %d: alerts for %v, want %v", seed, got, want)
		}
		raised += len(got)
	}
	if raised < 100 || raised > 700 {
		t.Errorf("%d alerts in 400 histories: too few or too many to show anything", raised)
	}
	t.Logf("%d alerts in 400 histories; %d times one at the edge of the hour was left out", raised, edges)
}

func TestAFloodFromThousandsOfSourcesCostsABoundedNumberOfWrites(t *testing.T) {
	w := newWorld(t)
	writes := 0
	w.store.OnCall(func(c alerttest.Call) error {
		if c.Op == "Fail" && !c.Done {
			writes++
		}
		return nil
	})
	f := usage.Facts{Unknown: requests(20, start, unknown, from(other))}
	for i := range 5000 {
		f.Unknown = append(f.Unknown, request(start, unknown, from(fmt.Sprintf("10.1.%d.%d", i/250, i%250))))
	}
	w.observe(f)
	if writes != alert.MaxSources {
		t.Errorf("%d writes, want %d", writes, alert.MaxSources)
	}
	w.want("source_failures 198.51.100.7 03-10T12:00 *") // the one that matters is among them
}

func TestANewNetworkIsToldOfOnce(t *testing.T) {
	since := start.Add(-alert.LearningTime)
	manyNetworks := func(n int) func(*usage.Profile) {
		return func(p *usage.Profile) {
			for i := range n {
				p.Networks[fmt.Sprintf("10.0.%d.0/24", i)] = start.Add(-time.Hour)
			}
		}
	}
	lastFromOther := func(ago time.Duration) func(*usage.Profile) {
		return func(p *usage.Profile) { p.Networks[usage.Network(other)] = start.Add(-ago) }
	}
	const told = "new_network 198.51.100.0/24 03-10T00:00"
	for _, tt := range []struct {
		name  string
		facts usage.Facts
		want  []string
	}{
		{"the network it is known from", known(facts(request(start)), since), nil},
		{"a neighbour in the same /24", known(facts(request(start, from("192.0.2.254"))), since), nil},
		{"the next /24", known(facts(request(start, from("192.0.3.10"))), since), []string{"new_network 192.0.3.0/24 03-10T00:00"}},
		{"an IPv6 /48", known(facts(request(start, from("2001:db8:7:1::1")), request(start, from("2001:db8:7:2::1"))), since), []string{"new_network 2001:db8:7::/48 03-10T00:00"}},
		{"in use for the learning time", known(facts(request(start, from(other))), since), []string{told}},
		{"in use for a millisecond less", known(facts(request(start, from(other))), since.Add(time.Millisecond)), nil},
		{"never used before", facts(request(start, from(other))), nil},
		{"refused with 403, but with the secret", known(facts(request(start, from(other), status(403))), since), []string{told}},
		{"with a dead secret", known(facts(request(start, from(other), status(401))), since), nil},
		{"refused by the authorizer", known(usage.Facts{Joined: []usage.Request{request(start, from(other), status(401))}}, since), nil},
		{"seen within the memory", known(facts(request(start, from(other))), since, lastFromOther(alert.NetworkMemory)), nil},
		{"seen before the memory", known(facts(request(start, from(other))), since, lastFromOther(alert.NetworkMemory+time.Millisecond)), []string{told}},
		{"a key of a crowd", known(facts(request(start, from(other))), since, func(p *usage.Profile) { p.Crowded = true }), nil},
		{"a key of many networks", known(facts(request(start, from(other))), since, manyNetworks(usage.MaxNetworks-1)), []string{told}},
		{"no address", known(facts(request(start, from("example"))), since), nil},
		{"a hundred requests", known(facts(requests(100, start, from(other))...), since), []string{told}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.observe(tt.facts, clone(tt.facts))
			w.want(tt.want...)
		})
	}
	t.Run("two keys", func(t *testing.T) {
		f := known(facts(request(start, from(other)), request(start, from(other), by(keyB))), since)
		f.Before[keyB] = f.Before[keyA]
		w := newWorld(t)
		w.observe(f, f)
		w.want(told, told)
	})
	t.Run("a batch that shows a crowd", func(t *testing.T) {
		var crowd []usage.Request
		for i := range 200 {
			crowd = append(crowd, request(start, from(fmt.Sprintf("10.2.%d.1", i))))
		}
		w := newWorld(t)
		w.observe(known(facts(crowd...), since))
		if n := len(w.alerts(account)); n != usage.MaxNetworks {
			t.Errorf("%d alerts, want %d", n, usage.MaxNetworks)
		}
	})
}

func TestACanaryIsToldOfAtOnceAndItsSourceWhenItIsKnown(t *testing.T) {
	use := func(at time.Time, ip string) (refusal, joined usage.Request) {
		joined = request(at, from(ip), status(401), func(r *usage.Request) { r.Refused = string(keys.ReasonCanary) })
		refusal = joined
		authorizerRefused(keys.ReasonCanary)(&refusal)
		return refusal, joined
	}
	refusal, joined := use(start, other)
	again, joinedAgain := use(start.Add(time.Minute), other)
	second, joinedSecond := use(start.Add(2*time.Minute), home)
	const first, source = "canary_used AAAAAAAA 03-10T12:00", "canary_used 192.0.2.10 03-10T12:00"
	split := func(refusals, joined []usage.Request) []usage.Facts {
		return []usage.Facts{facts(refusals...), {Joined: joined}}
	}
	for _, tt := range []struct {
		name    string
		batches []usage.Facts
		source  string
		want    []string
	}{
		{"a wrong secret of its", []usage.Facts{facts(request(start, authorizerRefused(keys.ReasonSecret)))}, "", nil},
		{"the source never comes", []usage.Facts{facts(refusal)}, "", []string{first}},
		{"the source comes later", split([]usage.Request{refusal}, []usage.Request{joined}), other, []string{first}},
		{"the source was there first", []usage.Facts{{Requests: []usage.Request{refusal}, Joined: []usage.Request{joined}}}, other, []string{first}},
		{"the retry of the refusal comes after the source", []usage.Facts{{Joined: []usage.Request{joined}}, facts(refusal)}, other, []string{first}},
		{"twice from one source", split([]usage.Request{refusal, again}, []usage.Request{joined, joinedAgain}), other, []string{first}},
		{"from a second source", split([]usage.Request{refusal, second}, []usage.Request{joined, joinedSecond}), other, []string{first, source}},
		{"from a second source, in one batch", []usage.Facts{{Requests: []usage.Request{refusal, second}, Joined: []usage.Request{joined, joinedSecond}}}, other, []string{first, source}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, restarts := range []bool{false, true} {
				w := newWorld(t)
				for range 2 {
					for _, f := range tt.batches {
						if restarts {
							w.restart()
						}
						w.observe(f)
					}
				}
				w.want(tt.want...)
				if list := w.alerts(account); len(list) > 0 {
					i := slices.IndexFunc(list, func(a alert.Alert) bool { return a.Subject == string(keyA) })
					if a := list[i]; a.Data["sourceIp"] != tt.source || a.Severity != alert.Critical || a.KeyID != keyA {
						t.Errorf("source %q, %s, key %s, want %q, critical", a.Data["sourceIp"], a.Severity, a.KeyID, tt.source)
					}
				}
			}
		})
	}
}
