package alert

import (
	"context"
	"errors"
	"fmt"

	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/usage"
)

// Canary keys. Whoever presents the secret of one has taken it from where it was laid out,
// so that is told at once, although the authorizer's line does not know the source. The
// source comes with the access log's line, before or after or never. There is one alert
// for a key and hour, into which the first source that is known goes, and one more for
// each further source: as many as there are sources, in whatever order the lines come.

// sourceIP is where an alert's Data has the address that a request came from.
const sourceIP = "sourceIp"

// canaryUse is a request with the secret of a canary key. Of one request there may be two
// in a batch: without its source and with it.
type canaryUse struct{ usage.Request }

// canaryUses are in order, and those that have a source come first: then the alert has it
// when it is raised, and so when it is delivered.
func canaryUses(f *usage.Facts) (uses []canaryUse) {
	var without []canaryUse
	for _, list := range [][]usage.Request{f.Joined, f.Requests} {
		for _, r := range list {
			switch {
			case r.Refused != string(keys.ReasonCanary):
			case Source(r.SourceIP) == "":
				without = append(without, canaryUse{r})
			default:
				uses = append(uses, canaryUse{r})
			}
		}
	}
	return append(uses, without...)
}

// alert is what a use raises.
func (u *canaryUse) alert() Alert {
	data := map[string]string{"at": shownTime(u.Time)}
	if ip := address(u.SourceIP); ip != "" {
		data[sourceIP] = ip
	}
	return ofRequest(&u.Request, CanaryUsed, hourOf(u.Time), "is a canary, and somebody has used it.", data)
}

// tell raises the alert of a key and hour, or adds the source to it, or raises the
// source's own.
func (w *Watcher) tell(ctx context.Context, u canaryUse) error {
	a := u.alert()
	raised, err := w.raise(ctx, a)
	source := Source(u.SourceIP)
	if err != nil || raised || source == "" {
		return err
	}
	name := a.id() + " " + source
	if w.knows(name) {
		return nil
	}
	kept, err := w.cfg.Store.Note(ctx, a.AccountID, a.id(), sourceIP, address(u.SourceIP))
	if errors.Is(err, keys.ErrNotFound) {
		return nil // its retention has ended since, and with it what it was about
	}
	if err != nil {
		return fmt.Errorf("adding the source to a %s: %w", a.Kind, err)
	}
	if Source(kept) != source {
		a.Subject = source
		a.Text = shown(u.KeyID) + " is a canary, and somebody has used it from " + source + " too."
		if _, err := w.raise(ctx, a); err != nil {
			return err
		}
	}
	w.learn(name)
	return nil
}
