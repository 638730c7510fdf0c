package alert

import (
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/usage"
)

// New networks. A server's key comes from few networks; when it comes from another one,
// either the server was moved or the key was.
const (
	// LearningTime: within a week, a service has shown where its nights, its week-end and
	// its fail-over run. Before that every network is new.
	LearningTime = 7 * 24 * time.Hour
	// NetworkMemory: what was not seen for a quarter is told of again; addresses change
	// hands.
	NetworkMemory = 90 * 24 * time.Hour
)

// newNetworks are the alerts of requests from networks that their keys' profiles did not
// know. A key of a crowd of devices raises none; one that a batch shows to be such, no
// more than the profile has places.
func newNetworks(f *usage.Facts) (list []Alert) {
	told := map[apikey.ID]map[string]bool{}
	for i := range f.Requests {
		r := &f.Requests[i]
		network := usage.Network(r.SourceIP)
		if network == "" || r.Status == 401 { // refused by the authorizer, or with a dead secret
			continue
		}
		of := r.Holder()
		if before, ok := f.Before[of]; !ok || !isNew(&before, network, r.Time) || told[of][network] || len(told[of]) >= usage.MaxNetworks {
			continue
		}
		if told[of] == nil {
			told[of] = map[string]bool{}
		}
		told[of][network] = true
		a := ofRequest(r, NewNetwork, dayOf(r.Time), "was used from "+network+", where it was not used from before.",
			map[string]string{"network": network, sourceIP: address(r.SourceIP), "at": shownTime(r.Time)})
		a.Subject = network
		list = append(list, a)
	}
	return list
}

// isNew reports whether a network says something of a key with that profile.
func isNew(p *usage.Profile, network string, at time.Time) bool {
	if p.Crowded || p.First.IsZero() || at.Sub(p.First) < LearningTime {
		return false
	}
	last, known := p.Networks[network]
	return !known || at.Sub(last) > NetworkMemory
}
