package guard

import "time"

// Rehearse is what Check decides of a call at now whose identity was read off its key just
// before, by the meter as it was found (the zero one: there is none), and counts nothing.
// at is the time of the request for all but the limits, which know of no other than now. A
// Pass tells what is left with this request not yet counted; what processes hold in leases
// is counted already. Its errors are Check's, less those of stores.
func Rehearse(c Call, m Meter, at, now time.Time) (Pass, error) {
	if c.Identity.KeyID == "" {
		return Pass{}, errNoIdentity
	}
	if err := judge(&c.Identity, &c, at); err != nil {
		return Pass{}, err
	}
	if no := m.refusal(&c.Identity, now); no != nil {
		return Pass{}, no
	}
	minute := m.all(&c.Identity, now)[0]
	return Pass{
		Identity: c.Identity, Limit: minute.Limit, Remaining: minute.Remaining, Reset: minute.Reset,
		Longer: m.standings(&c.Identity, now),
	}, nil
}
