package route

import (
	"errors"
	"strings"
)

// maxPathLen in characters leaves room for the rest of the ARN and a filled-in customer
// within the 512 characters that API Gateway allows a resource of a policy.
const maxPathLen = 256

// segment is one piece of a resource path.
type segment struct {
	text   string // as written: "customers", "{customerId}", "{proxy+}"
	name   string // of a parameter, else empty
	greedy bool   // the parameter takes the whole rest of the path
}

var errPathForm = errors.New("want segments of letters, digits and . _ - : with a '/' before each and none at the end; " +
	"{name} stands for one segment, {name+} at the end for the rest; at most 256 characters")

// parsePath takes a resource path apart. The rules are API Gateway's ("path part" of
// https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-method-settings-method-request.html)
// and two more: "." and "..", which clients remove, are refused, and parameter names are
// identifiers.
func parsePath(path string) ([]segment, error) {
	if path == "/" {
		return nil, nil
	}
	rest, ok := strings.CutPrefix(path, "/")
	if !ok || len(path) > maxPathLen {
		return nil, errPathForm
	}
	var out []segment
	names := map[string]bool{}
	for _, text := range strings.Split(rest, "/") {
		s := segment{text: text}
		if len(out) > 0 && out[len(out)-1].greedy {
			return nil, errPathForm
		}
		if strings.HasPrefix(text, "{") && strings.HasSuffix(text, "}") {
			s.name, s.greedy = strings.CutSuffix(text[1:len(text)-1], "+")
			if !identifier(s.name) {
				return nil, errPathForm
			}
			if names[s.name] {
				return nil, errors.New("names a parameter twice")
			}
			names[s.name] = true
		} else if text == "" || text == "." || text == ".." || !only(text, "._-:") {
			return nil, errPathForm
		}
		out = append(out, s)
	}
	return out, nil
}

// identifier reports whether s is 1 to 32 letters, digits and '_', a letter first.
func identifier(s string) bool {
	return s != "" && len(s) <= 32 && isLetter(s[0]) && only(s, "_")
}

// only reports whether s has nothing but ASCII letters, digits and the characters of more.
func only(s, more string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; !isLetter(c) && (c < '0' || c > '9') && strings.IndexByte(more, c) < 0 {
			return false
		}
	}
	return true
}

func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }
