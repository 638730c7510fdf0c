package proxy

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"github.com/keyreeve/keyreeve/pkg/guard"
	"github.com/keyreeve/keyreeve/pkg/limit"
)

// setRateLimit tells a client where it stands: RateLimit and RateLimit-Policy as in the
// IETF draft "RateLimit header fields for HTTP" (draft-ietf-httpapi-ratelimit-headers),
// and the X-RateLimit-… trio that most clients read. Times are whole seconds from now,
// rounded up, so that waiting that long is always long enough.
func setRateLimit(h http.Header, pass guard.Pass, err error) {
	quota, remaining, reset := pass.Limit, pass.Remaining, pass.Reset
	var refused *guard.LimitError
	switch {
	case errors.As(err, &refused):
		quota, remaining, reset = refused.Limit, 0, refused.RetryAfter
	case err != nil:
		return
	}
	seconds := int64((reset + time.Second - 1) / time.Second)
	h.Set("RateLimit-Policy", fmt.Sprintf(`"minute";q=%d;w=%d`, quota, int(limit.Span/time.Second)))
	h.Set("RateLimit", fmt.Sprintf(`"minute";r=%d;t=%d`, remaining, seconds))
	h.Set("X-RateLimit-Limit", strconv.Itoa(quota))
	h.Set("X-RateLimit-Remaining", strconv.Itoa(remaining))
	h.Set("X-RateLimit-Reset", strconv.FormatInt(seconds, 10))
}

// exposed lists the answer headers that a browser's script may read.
var exposed = strings.Join([]string{
	"Content-Disposition", "ETag", "Idempotency-Replayed", "Link", "RateLimit", "RateLimit-Policy", "Retry-After",
	"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "x-amzn-RequestId",
}, ", ")

// allowOrigin adds the CORS headers of an answer. API Gateway adds none to what a proxy
// integration returns. Keys travel in a header and there are no cookies, so "*" is safe.
// Who may call is the installation's to say, as the answer to OPTIONS is: what a forwarded
// answer says of it gives way, but for the headers that it exposes besides.
func (p *Proxy) allowOrigin(h http.Header, ev *events.APIGatewayProxyRequest) {
	if len(p.cfg.Origins) == 0 {
		return
	}
	h.Add("Access-Control-Expose-Headers", exposed)
	h.Del("Access-Control-Allow-Origin")
	if slices.Contains(p.cfg.Origins, "*") {
		h.Set("Access-Control-Allow-Origin", "*")
		return
	}
	h.Add("Vary", "Origin")
	if origins := headerValues(ev, "Origin"); len(origins) == 1 && slices.Contains(p.cfg.Origins, origins[0]) {
		h.Set("Access-Control-Allow-Origin", origins[0])
	}
}
