package httpapi

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/keyreeve/keyreeve/pkg/keys"
)

// etag is the header with the key's version. It names what a change may be conditional
// on; last used and request count go on without a new version.
func etag(k *keys.Key) http.Header {
	return http.Header{"Etag": {`"` + strconv.FormatInt(k.Version, 10) + `"`}}
}

// noVersion is one that no key is ever at.
const noVersion = -1

// conditions reads If-Match and force.
//
// If-Match is compared strongly (RFC 9110 section 13.1.1): a weak tag, or one that is
// no version of ours, matches nothing and gives 412. "*" holds for every key that
// exists. What is no entity tag at all, or more than one, is refused with 400.
func (c *call) conditions() (keys.Conditions, error) {
	cond := keys.Conditions{Force: c.flag("force")}
	values := c.Header.Values("If-Match")
	if len(values) == 0 || len(values) == 1 && values[0] == "*" {
		return cond, nil
	}
	tag, weak := strings.CutPrefix(values[0], "W/")
	if len(values) > 1 || len(tag) < 2 || tag[0] != '"' || tag[len(tag)-1] != '"' || strings.ContainsAny(tag[1:len(tag)-1], "\" \t") {
		return cond, Invalid(FieldProblem{"If-Match", `must be * or one ETag, such as "7"`})
	}
	text := tag[1 : len(tag)-1]
	version, err := strconv.ParseInt(text, 10, 64)
	if weak || err != nil || version < 1 || strconv.FormatInt(version, 10) != text {
		version = noVersion
	}
	cond.IfMatch = version
	return cond, nil
}
