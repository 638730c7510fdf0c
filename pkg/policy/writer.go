package policy

import "time"

// writer appends a policy document. Everything it writes is free of characters that JSON
// escapes: the base, customer ids and the table were checked for that.
type writer struct {
	buf   []byte
	start int       // of the document in buf
	until time.Time // of the condition; zero: none

	effect string // of the open statement; "" for none
	timed  bool   // the open statement has the condition
	some   bool   // a statement was written
	listed bool   // the open statement has a resource

	lead [len(`,"`) + maxBase]byte // what a resource begins with: comma, quote, base
	n    int                       // of lead
}

// init puts dst, to append to, and what does not change from one document to the next.
func (w *writer) init(dst []byte, base string, until time.Time) {
	w.buf, w.start, w.until = dst, len(dst), until
	w.n = copy(w.lead[:], `,"`)
	w.n += copy(w.lead[w.n:], base)
}

// long reports whether the document is too long.
func (w *writer) long() bool { return len(w.buf)-w.start > target }

func (w *writer) begin() {
	w.buf = w.buf[:w.start]
	w.effect, w.some = "", false
	w.buf = append(w.buf, `{"Version":"2012-10-17","Statement":[`...)
}

// statement opens one with that effect, bound to the time limit if timed (and if there is
// one), unless such a one is open.
func (w *writer) statement(effect string, timed bool) {
	timed = timed && !w.until.IsZero()
	if w.effect == effect && w.timed == timed {
		return
	}
	w.close()
	if w.some {
		w.buf = append(w.buf, ',')
	}
	w.buf = append(w.buf, `{"Effect":"`...)
	w.buf = append(w.buf, effect...)
	w.buf = append(w.buf, `","Action":"execute-api:Invoke","Resource":[`...)
	w.effect, w.timed, w.some, w.listed = effect, timed, true, false
}

// close ends the open statement.
func (w *writer) close() {
	if w.effect == "" {
		return
	}
	w.effect = ""
	if !w.timed {
		w.buf = append(w.buf, `]}`...)
		return
	}
	w.buf = append(w.buf, `],"Condition":{"DateLessThan":{"aws:CurrentTime":"`...)
	w.buf = appendTime(w.buf, w.until)
	w.buf = append(w.buf, `"}}}`...)
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
