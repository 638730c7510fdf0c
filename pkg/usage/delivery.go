package usage

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/logline"
	"github.com/keyreeve/keyreeve/pkg/order"
)

// Delivery is what CloudWatch Logs hands over at once: lines of one log stream.
type Delivery struct {
	LogGroup  string
	LogStream string
	Lines     []Line
}

// Line is an event of a log.
type Line struct {
	ID        string    // CloudWatch Logs' own, the same at each delivery
	Timestamp time.Time // when it was logged, by whoever did; zero: not known
	Text      string
}

// Batch names the delivery by the set of its lines. Their order is not part of the name,
// nor is a line that is there twice, because what a batch counts does not depend on
// either: a delivery that comes back in another order is the same batch, and it must not
// find a mark of its own missing. The text of a line is part of it although its id should
// be enough: were the ids of some log not unique, two deliveries that differ would pass for
// one, and the second would not be counted.
func (d Delivery) Batch() Batch {
	h := sha256.New()
	put := func(s string) {
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(s)))
		h.Write(size[:]) // so that no two lists of texts make the same bytes
		h.Write([]byte(s))
	}
	put(d.LogGroup)
	put(d.LogStream)
	for _, l := range d.set() {
		put(l.ID)
		put(l.Text)
	}
	return Batch(hex.EncodeToString(h.Sum(nil)))
}

// set is the delivery's lines in an order of their own, each once.
func (d Delivery) set() []Line {
	lines := slices.Clone(d.Lines)
	order.By(lines, func(a, b Line) int {
		return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Text, b.Text), a.Timestamp.Compare(b.Timestamp))
	})
	return slices.CompactFunc(lines, func(a, b Line) bool { return a.ID == b.ID && a.Text == b.Text })
}

// MaxSkew is how far the time of a request may be from when its line was logged. A request
// takes minutes at most, and clocks of AWS agree to far less; what is further away is no
// time of a request, and believed, it would be a key's last use for ever. It is held
// against the line's own timestamp, not the clock, so that a batch is judged alike however
// late it is processed.
const MaxSkew = 24 * time.Hour

// lines are a delivery, read.
type lines struct {
	access     []logline.Access
	events     []logline.Event
	newest     time.Time // time of the newest request
	unreadable int
}

// read reads the lines of a delivery. Each request has at most one line of a kind and
// writer: a second one, which API Gateway does not write, is dropped.
func (d Delivery) read() lines {
	var out lines
	type line struct {
		id   string
		by   logline.By // empty: an access line
		what logline.What
	}
	taken := map[line]bool{}
	take := func(l line, at time.Time) bool {
		if taken[l] {
			return false
		}
		taken[l] = true
		out.newest = later(out.newest, at)
		return true
	}
	for _, l := range d.set() {
		believable := func(t time.Time) bool { return l.Timestamp.IsZero() || t.Sub(l.Timestamp).Abs() <= MaxSkew }
		if a, err := logline.ParseAccess(l.Text); err == nil && believable(a.Time) && keyWhole(a) {
			if take(line{id: a.ExtendedRequestID}, a.Time) {
				out.access = append(out.access, a)
			}
		} else if e, ok := logline.ParseEvent(l.Text); ok && believable(e.Time) {
			if take(line{e.ID(), e.By, e.What}, e.Time) {
				out.events = append(out.events, e)
			}
		} else {
			out.unreadable++
		}
	}
	return out
}

// keyWhole reports whether a line has all that the authorizer's context says of a key, or
// nothing: package verify puts all of it there.
func keyWhole(a logline.Access) bool {
	if a.KeyID == "" {
		return a.AccountID == "" && a.Environment == "" && a.Generation == 0
	}
	_, err := apikey.ParseID(string(a.KeyID))
	return err == nil && keys.ValidID(a.AccountID) && keys.Environment(a.Environment).Valid() && a.Generation > 0
}
