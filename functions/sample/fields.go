package sample

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/keyreeve/keyreeve/pkg/keys"
)

// fields collects what is wrong with a body, so that one answer names it all.
type fields []keys.FieldError

func (f *fields) bad(field, message string) {
	*f = append(*f, keys.FieldError{Field: field, Message: message})
}

// text checks a text's length in characters; one that must be there must not be blank.
func (f *fields) text(field, s string, least, most int) {
	n := utf8.RuneCountInString(s)
	switch {
	case n < least || n > most:
		f.bad(field, fmt.Sprintf("must be %d to %d characters", least, most))
	case least > 0 && strings.TrimSpace(s) == "":
		f.bad(field, "must not be blank")
	}
}

func (f fields) err() error {
	if len(f) == 0 {
		return nil
	}
	return &keys.ValidationError{Fields: f}
}
