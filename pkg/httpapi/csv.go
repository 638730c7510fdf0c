package httpapi

import (
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// A sheet is a table for a spreadsheet: RFC 4180 with a header row.
//
// Names, user agents and the like are chosen by others, and a spreadsheet runs a cell that
// begins like a formula. So every text is in quotes, which keeps it in its cell whatever
// the spreadsheet takes for a separator, and one that begins like a formula gets an
// apostrophe in front, as OWASP recommends
// (https://owasp.org/www-community/attacks/CSV_Injection; ASVS 1.2.10).
type sheet struct {
	b     strings.Builder
	inRow bool
}

func newSheet(columns ...string) *sheet {
	s := &sheet{}
	for _, c := range columns {
		s.text(c)
	}
	s.end()
	return s
}

func (s *sheet) next() {
	if s.inRow {
		s.b.WriteByte(',')
	}
	s.inRow = true
}

func (s *sheet) end() {
	s.b.WriteString("\r\n")
	s.inRow = false
}

func (s *sheet) text(v string) {
	s.next()
	s.b.WriteByte('"')
	if isFormula(v) {
		s.b.WriteByte('\'')
	}
	s.b.WriteString(strings.ReplaceAll(v, `"`, `""`))
	s.b.WriteByte('"')
}

// number needs no quotes: it is digits.
func (s *sheet) number(n int64) {
	s.next()
	s.b.WriteString(strconv.FormatInt(n, 10))
}

func (s *sheet) time(t time.Time) { s.text(t.UTC().Format(instantForm)) }

// optional is a text, or an empty cell where there is none.
func (s *sheet) optional(v *string) {
	if v == nil {
		s.next()
		return
	}
	s.text(*v)
}

// optionalNumber is a number, or an empty cell where there is none.
func optionalNumber[T ~int | ~int64](s *sheet, v *T) {
	if v == nil {
		s.next()
		return
	}
	s.number(int64(*v))
}

// isFormula reports whether a spreadsheet may take v for a formula: it begins with one of
// OWASP's characters, or one follows what a spreadsheet may not show or pass over.
func isFormula(v string) bool {
	for _, r := range v {
		switch {
		case strings.ContainsRune("=+-@\t\r\n\x00＝＋－＠", r):
			return true
		case unicode.IsSpace(r), unicode.IsControl(r), unicode.Is(unicode.Cf, r):
			continue
		}
		return false
	}
	return false
}

// csvType is the media type of a sheet.
const csvType = "text/csv; charset=utf-8"

// download answers with the sheet as a file of that name.
func (s *sheet) download(name string, header http.Header) reply {
	h := http.Header{"Content-Type": {csvType}, "Content-Disposition": {`attachment; filename="` + name + `"`}}
	for k, v := range header {
		h[k] = v
	}
	return reply{status: http.StatusOK, header: h, body: []byte(s.b.String())}
}

var formatParameter = parameter{name: "format", enum: []string{"json", "csv"},
	text: "csv: the rows as a file for spreadsheets. A text that a spreadsheet would take for a formula has an apostrophe in front there. Default: json."}

func (c *call) wantsCSV() bool { return c.query.Get("format") == "csv" }

// following is the header that leads to the next page (RFC 8288), in every format the
// same; nil on the last page. It is relative to the page's own URL, so it holds whether a
// stage is part of that or not. It repeats the query's parameters, so it is only for
// operations that check each of them against a list or a form.
func (c *call) following(cursor string) http.Header {
	if cursor == "" {
		return nil
	}
	c.query.Set("cursor", cursor)
	return http.Header{"Link": {"<?" + c.query.Encode() + `>; rel="next"`}}
}
