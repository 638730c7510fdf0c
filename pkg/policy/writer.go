package policy

import "time"

// writer appends a policy document. Everything it writes is free of characters that JSON
// escapes: the base, customer ids, networks and the table were checked for that.
type writer struct {
	buf   []byte
	start int       // of the document in buf
	until time.Time // of the condition on time; zero: none

	networks []string // of the condition on the source address; empty: none
	spare    bool     // that condition is left out where the guard decides

	effect   string // of the open statement; "" for none
	timed    bool   // the open statement has the condition on time
	confined bool   // and the one on the source address
	some     bool   // a statement was written
	listed   bool   // the open statement has a resource

	lead [len(`,"`) + maxBase]byte // what a resource begins with: comma, quote, base
	n    int                       // of lead
}

// init puts dst, to append to, and what does not change from one document to the next.
func (w *writer) init(dst []byte, base string, until time.Time, networks []string) {
	w.buf, w.start, w.until, w.networks = dst, len(dst), until, networks
	w.n = copy(w.lead[:], `,"`)
	w.n += copy(w.lead[w.n:], base)
}

// spared are the values of spare that make a difference, in the order to try them.
func (w *writer) spared() []bool {
	if len(w.networks) == 0 {
		return withNetworks[:1]
	}
	return withNetworks[:]
}

var withNetworks = [2]bool{false, true}

// long reports whether the document is too long.
func (w *writer) long() bool { return len(w.buf)-w.start > target }

func (w *writer) begin() {
	w.buf = w.buf[:w.start]
	w.effect, w.some = "", false
	w.buf = append(w.buf, `{"Version":"2012-10-17","Statement":[`...)
}

// statement opens one with that effect, unless such a one is open. Of an Allow, exact says
// that nobody decides after it: then it is bound to the time limit and to the networks, as
// far as there are any. The networks bind any other Allow too, unless they are spared there.
func (w *writer) statement(effect string, exact bool) {
	timed := exact && !w.until.IsZero()
	confined := effect == "Allow" && (exact || !w.spare) && len(w.networks) > 0
	if w.effect == effect && w.timed == timed && w.confined == confined {
		return
	}
	w.close()
	if w.some {
		w.buf = append(w.buf, ',')
	}
	w.buf = append(w.buf, `{"Effect":"`...)
	w.buf = append(w.buf, effect...)
	w.buf = append(w.buf, `","Action":"execute-api:Invoke","Resource":[`...)
	w.effect, w.timed, w.confined, w.some, w.listed = effect, timed, confined, true, false
}

// close ends the open statement.
func (w *writer) close() {
	if w.effect == "" {
		return
	}
	w.effect = ""
	w.buf = append(w.buf, ']')
	lead := `,"Condition":{`
	if w.timed {
		w.buf = append(append(w.buf, lead...), `"DateLessThan":{"aws:CurrentTime":"`...)
		w.buf = append(appendTime(w.buf, w.until), `"}`...)
		lead = `,`
	}
	if w.confined {
		w.buf = append(append(w.buf, lead...), `"IpAddress":{"aws:SourceIp":[`...)
		for i, n := range w.networks {
			if i > 0 {
				w.buf = append(w.buf, ',')
			}
			w.buf = append(append(append(w.buf, '"'), n...), '"')
		}
		w.buf = append(w.buf, `]}`...)
	}
	if w.timed || w.confined {
		w.buf = append(w.buf, '}')
	}
	w.buf = append(w.buf, '}')
}

// end ends the document. One without a statement is no valid policy, so a key that may
// use nothing gets a Deny of everything: it is known, and the next change of its
// permissions flushes the cache.
func (w *writer) end() {
	if !w.some {
		w.statement("Deny", false)
		w.resource("*" + quote)
	}
	w.close()
	w.buf = append(w.buf, `]}`...)
}

// resource adds one resource; ending is what follows the base, with the closing quote.
func (w *writer) resource(ending string) {
	w.next()
	w.buf = append(w.buf, ending...)
}

// filled adds one in parts: what is before a customer's id, the id, and the ending.
func (w *writer) filled(before, customer, ending string) {
	w.next()
	w.buf = append(w.buf, before...)
	w.buf = append(w.buf, customer...)
	w.buf = append(w.buf, ending...)
}

func (w *writer) next() {
	if w.listed {
		w.buf = append(w.buf, w.lead[:w.n]...)
		return
	}
	w.listed = true
	w.buf = append(w.buf, w.lead[1:w.n]...)
}

// appendTime writes t in UTC to the second, rounded down: a policy may end a fraction of
// a second early, never late.
func appendTime(dst []byte, t time.Time) []byte {
	return t.UTC().AppendFormat(dst, "2006-01-02T15:04:05Z")
}
