// Package sigv4 tells whose requests to AWS's services these are. Signatures are not
// checked: an access key id that nobody else on the machine knows works as a token.
package sigv4

import (
	"crypto/subtle"
	"net/http"
	"strings"
)

// SignedBy reports whether a request names the access key id in a Signature Version 4
// Authorization header: AWS4-HMAC-SHA256 Credential=ID/20260102/region/service/aws4_request, …
func SignedBy(r *http.Request, accessKeyID string) bool {
	_, rest, ok := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	id, _, ok2 := strings.Cut(rest, "/")
	return ok && ok2 && subtle.ConstantTimeCompare([]byte(id), []byte(accessKeyID)) == 1
}
