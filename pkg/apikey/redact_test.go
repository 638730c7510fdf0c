package apikey_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/template"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/apikey"
)

// pieces holds, by secret, what leaks looks for. No test here runs in parallel.
var pieces = map[string][]string{}

// leaks reports whether out holds 12 neighbouring characters of secret, as they are or
// as fmt and encoding/json would show bytes: in hex, base64, decimal or code points.
func leaks(out, secret string) bool {
	if pieces[secret] == nil {
		for i := 0; i+12 <= len(secret); i++ {
			piece := secret[i : i+12]
			var decimal, octal, codePoints []string
			for _, c := range []byte(piece) {
				decimal = append(decimal, strconv.Itoa(int(c)))
				octal = append(octal, strconv.FormatInt(int64(c), 8))
				codePoints = append(codePoints, fmt.Sprintf("%U", c))
			}
			pieces[secret] = append(pieces[secret],
				piece, hex.EncodeToString([]byte(piece)), strings.ToUpper(hex.EncodeToString([]byte(piece))),
				base64.StdEncoding.EncodeToString([]byte(piece)), fmt.Sprintf("% x", piece), fmt.Sprintf("% X", piece),
				strings.Join(decimal, " "), strings.Join(decimal, ","), strings.Join(octal, " "), strings.Join(codePoints, " "))
		}
	}
	return slices.ContainsFunc(pieces[secret], func(p string) bool { return strings.Contains(out, p) })
}

func TestTheLeakCheckFindsLeaks(t *testing.T) {
	secret := generate(t, "mk").Plaintext()
	for _, format := range []string{"%s", "%q", "%x", "%X", "% x", "%v"} {
		if !leaks(fmt.Sprintf(format, secret), secret) {
			t.Errorf("%s of the secret itself goes unnoticed", format)
		}
	}
	for _, format := range []string{"%d", "%v", "%o", "%U"} {
		if !leaks(fmt.Sprintf(format, []byte(secret)), secret) {
			t.Errorf("%s of the secret's bytes goes unnoticed", format)
		}
	}
	if leaks("nothing here", secret) {
		t.Error("a leak where there is none")
	}
}

type exported struct {
	Name string
	Key  apikey.Key
}

type unexported struct {
	name string
	key  apikey.Key
	in   struct{ keys []apikey.Key }
	any  any
}

// shapes puts a Key wherever a Go value can hold one.
func shapes(k apikey.Key) map[string]any {
	u := unexported{name: "n", key: k, any: k}
	u.in.keys = []apikey.Key{k}
	var e error = keyError{k}
	return map[string]any{
		"key": k, "pointer": &k, "slice": []apikey.Key{k}, "array": [1]apikey.Key{k},
		"map":              map[string]apikey.Key{"k": k},
		"map of pointers":  map[string]*apikey.Key{"k": &k},
		"map of any":       map[string]any{"k": k, "p": &k},
		"struct":           exported{"n", k},
		"struct pointer":   &exported{"n", k},
		"hidden":           u,
		"hidden pointer":   &u,
		"slice of hidden":  []unexported{u},
		"slice of any":     []any{k, &k, u, &u},
		"map of hidden":    map[int]unexported{1: u},
		"error":            e,
		"wrapped error":    fmt.Errorf("doing: %w", e),
		"joined error":     errors.Join(e, e),
		"pointer to slice": &[]apikey.Key{k},
		"bound method":     k.Plaintext,
	}
}

type keyError struct{ key apikey.Key }

func (e keyError) Error() string { return fmt.Sprintf("key %v refused", e.key) }

func TestNoVerbOfFmtPrintsAKey(t *testing.T) {
	k := generate(t, "kr_live")
	for name, v := range shapes(k) {
		for _, verb := range []string{
			"%v", "%+v", "%#v", "%s", "%+s", "%#s", "%q", "%+q", "%#q", "%x", "%X", "% x", "% X", "%#x", "%d", "%+d", "%o", "%O", "%b",
			"%c", "%U", "%#U", "%t", "%e", "%f", "%g", "%G", "%p", "%#p", "%T", "%w", "%z", "%!", "%100v", "%-100s", "%.3s", "%06d", "%*d", "%[3]v", "no verb",
		} {
			if out := fmt.Sprintf(verb, v); leaks(out, k.Plaintext()) {
				t.Errorf("Sprintf(%q) of %s prints a piece of the key", verb, name)
			}
		}
		var print bytes.Buffer
		log.New(&print, "", 0).Print(v)
		fmt.Fprintln(&print, v, v)
		if leaks(print.String(), k.Plaintext()) {
			t.Errorf("Print of %s prints a piece of the key", name)
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		if got := fmt.Sprintf(verb, k); got != "[REDACTED]" {
			t.Errorf("Sprintf(%q) of a key has %d characters, want [REDACTED]", verb, len(got))
		}
	}
}

func TestNoEncoderPrintsAKey(t *testing.T) {
	k := generate(t, "kr_live")
	for name, v := range shapes(k) {
		text, err := json.Marshal(v)
		if leaks(string(text), k.Plaintext()) || err != nil && leaks(err.Error(), k.Plaintext()) {
			t.Errorf("json.Marshal of %s prints a piece of the key", name)
		}
		text, err = xml.Marshal(v)
		if leaks(string(text), k.Plaintext()) || err != nil && leaks(err.Error(), k.Plaintext()) {
			t.Errorf("xml.Marshal of %s prints a piece of the key", name)
		}
	}
	text, err := json.Marshal(exported{"n", k})
	if want := `{"Name":"n","Key":"[REDACTED]"}`; err != nil || string(text) != want {
		t.Errorf("json.Marshal of a struct: error %v, %d bytes; want %s", err, len(text), want)
	}
	// Nor does reading into one quote it.
	into := new(exported)
	if err := json.Unmarshal([]byte(`{"Key":"`+k.Plaintext()+`"}`), into); err == nil || leaks(err.Error(), k.Plaintext()) {
		t.Error("json.Unmarshal into a Key: want an error that quotes nothing")
	}
}

func TestNoLoggerPrintsAKey(t *testing.T) {
	k := generate(t, "kr_live")
	for name, v := range shapes(k) {
		var out bytes.Buffer
		for _, h := range []slog.Handler{
			slog.NewTextHandler(&out, nil),
			slog.NewJSONHandler(&out, nil),
			slog.NewTextHandler(&out, nil).WithAttrs([]slog.Attr{slog.Any("with", v)}),
			slog.NewJSONHandler(&out, nil).WithGroup("g"),
		} {
			l := slog.New(h)
			l.Info("message", "value", v, slog.Group("group", "value", v))
			l.With("more", v).Error("message", slog.Any("value", v))
		}
		if leaks(out.String(), k.Plaintext()) {
			t.Errorf("slog of %s prints a piece of the key", name)
		}
	}
	var out bytes.Buffer
	slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "key", k)
	if !strings.Contains(out.String(), `"key":"[REDACTED]"`) {
		t.Error("slog of a key does not say [REDACTED]")
	}
}

func TestTemplatesComparisonsAndPanicsPrintNoKey(t *testing.T) {
	k, other := generate(t, "kr_live"), generate(t, "kr_live")
	var out bytes.Buffer
	if err := template.Must(template.New("").Parse(`{{.}} {{printf "%s %p" . .}}`)).Execute(&out, k); err != nil {
		t.Fatal(err)
	}
	out.WriteString(cmp.Diff(exported{"a", k}, exported{"b", other}))
	func() {
		defer func() { fmt.Fprint(&out, recover()) }()
		panic(k)
	}()
	if out.Len() == 0 || leaks(out.String(), k.Plaintext()) || leaks(out.String(), other.Plaintext()) {
		t.Error("a template, cmp.Diff or a panic prints a piece of the key")
	}
}

func TestNothingPrintsAPepper(t *testing.T) {
	secret := "a-pepper-that-must-never-be-shown-anywhere"
	r, err := apikey.NewRing("p1", map[string]string{"p1": secret})
	if err != nil {
		t.Fatal(err)
	}
	type holder struct {
		Ring *apikey.Ring
		ring *apikey.Ring
	}
	for name, v := range map[string]any{
		"ring": r, "struct": holder{r, r}, "pointer": &holder{r, r}, "map": map[string]any{"r": r, "h": holder{r, r}}, "slice": []*apikey.Ring{r},
		"pointer to pointer": &r, "value": *r,
	} {
		var out bytes.Buffer
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%p"} {
			fmt.Fprintf(&out, verb, v)
		}
		text, _ := json.Marshal(v) // an error would be printed below
		out.Write(text)
		slog.New(slog.NewTextHandler(&out, nil)).Info("m", "v", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "v", v)
		if leaks(out.String(), secret) {
			t.Errorf("printing %s shows a piece of a pepper", name)
		}
	}
	if got, want := fmt.Sprint(r), "pepper ring [p1], current p1"; got != want {
		t.Errorf("Sprint(ring) = %q, want %q", got, want)
	}
}
