package proxy

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"github.com/keyreeve/keyreeve/pkg/guard"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/limit"
)

// setRateLimit tells a client where it stands with every limit: RateLimit and
// RateLimit-Policy as in the IETF draft "RateLimit header fields for HTTP"
// (draft-ietf-httpapi-ratelimit-headers-10, lists of one item for each policy; w, the
// window in seconds, is optional, and a month has no fixed length), and the X-RateLimit-…
// trio that most clients read, which has room for one: the limit that refuses, or the one
// that lets the fewest requests pass. Times are whole seconds from now, rounded up, so that
// waiting that long is always long enough.
func setRateLimit(h http.Header, pass guard.Pass, err error) {
	all := append([]guard.Standing{{
		Window: keys.WindowMinute, Limit: pass.Limit, Remaining: pass.Remaining, Reset: pass.Reset,
	}}, pass.Longer...)
	tightest := tightestOf(all)
	var refused *guard.LimitError
	switch {
	case errors.As(err, &refused):
		all = slices.Clone(refused.All)
		for i := range all {
			if all[i].Window == refused.Window {
				all[i].Remaining, all[i].Reset = 0, refused.RetryAfter
				tightest = all[i]
			}
		}
	case err != nil:
		return
	}
	var policies, standings []string
	for _, s := range all {
		policy := fmt.Sprintf("%q;q=%d", s.Window, s.Limit)
		if w := windowSeconds[s.Window]; w > 0 {
			policy += ";w=" + strconv.Itoa(w)
		}
		policies = append(policies, policy)
		standings = append(standings, fmt.Sprintf("%q;r=%d;t=%d", s.Window, s.Remaining, seconds(s.Reset)))
	}
	h.Set("RateLimit-Policy", strings.Join(policies, ", "))
	h.Set("RateLimit", strings.Join(standings, ", "))
	h.Set("X-RateLimit-Limit", strconv.Itoa(tightest.Limit))
	h.Set("X-RateLimit-Remaining", strconv.Itoa(tightest.Remaining))
	h.Set("X-RateLimit-Reset", strconv.FormatInt(seconds(tightest.Reset), 10))
}

var windowSeconds = map[string]int{
	keys.WindowMinute: int(limit.Minute.Span() / time.Second),
	keys.WindowHour:   int(limit.Hour.Span() / time.Second),
	keys.WindowDay:    int(limit.Day.Span() / time.Second),
}

// tightestOf is the standing that lets the fewest requests pass; of several, for longest.
func tightestOf(all []guard.Standing) guard.Standing {
	return slices.MinFunc(all, func(a, b guard.Standing) int {
		return cmp.Or(cmp.Compare(a.Remaining, b.Remaining), cmp.Compare(b.Reset, a.Reset))
	})
}

func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

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
