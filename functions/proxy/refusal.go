package proxy

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/guard"
	"github.com/keyreeve/keyreeve/pkg/httpapi"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/logline"
	"github.com/keyreeve/keyreeve/pkg/route"
	"github.com/keyreeve/keyreeve/pkg/verify"
)

// The log's "refused" lines are one side of a balance. The usage function takes every
// request of a guarded route that reached a function, less those lines, for what the guard
// has counted, and shows the difference to the guard's own count as drift
// (usage.Totals.Admitted). So a request behind the guard leaves such a line if, and only
// if, the guard has not counted it; and so does one of a route that is in no table any
// more, which the usage function takes for a guarded one.
//
// Whether a count that failed was applied nobody knows: it is taken for not applied. That
// is the drift that remains, and it is one that somebody should see.

// admission is how far a request has come on its way to the handler.
type admission struct {
	route   route.Route
	guarded bool // the guard is to count it
	counted bool // and has
}

// logRefusal says why a request does not reach the handler.
func (p *Proxy) logRefusal(ctx context.Context, ev *events.APIGatewayProxyRequest, a *admission, reason string, more ...slog.Attr) {
	more = append(more, slog.String("method", a.route.Method), slog.String("route", a.route.Path))
	if !a.guarded || a.counted {
		level := slog.LevelInfo
		if reason == logline.ReasonContext {
			level = slog.LevelError
		}
		more = append(more, slog.String("requestId", ev.RequestContext.RequestID), slog.String("reason", reason))
		p.cfg.Log.LogAttrs(ctx, level, "refused beside the guard's count", more...)
		return
	}
	e := p.event(ev, logline.Refused)
	e.Reason = reason
	e.Log(ctx, p.cfg.Log, more...)
}

// event is a line about the request, with the key that the access log will name too.
func (p *Proxy) event(ev *events.APIGatewayProxyRequest, what logline.What) logline.Event {
	rc := &ev.RequestContext
	e := logline.Event{
		What: what, By: logline.ByGuard, RequestID: rc.RequestID, ExtendedRequestID: rc.ExtendedRequestID,
		Time: time.UnixMilli(rc.RequestTimeEpoch), KeyID: keyOf(rc.Authorizer),
	}
	if rc.RequestTimeEpoch <= 0 { // an emulator's event: our clock shows a later time, by what came before us
		e.Time = p.cfg.Clock()
	}
	return e
}

// keyOf is the key that an authorizer context names, also one that is malformed besides:
// the access log, which takes the context as it is, names it as well. Without an account
// there it is nobody's.
func keyOf(authorizer map[string]any) apikey.ID {
	text, _ := authorizer[verify.FieldKeyID].(string)
	account, _ := authorizer[verify.FieldAccountID].(string)
	id, err := apikey.ParseID(text)
	if err != nil || account == "" {
		return ""
	}
	return id
}

// reasonOf is an error of admit as the log names it; more is what it says besides.
func reasonOf(err error) (reason string, more []slog.Attr) {
	switch reason := guard.Reason(err); {
	case reason != "":
		return reason, nil
	case errors.Is(err, httpapi.ErrSeveralCredentials):
		return string(keys.ReasonSeveral), nil
	case errors.Is(err, httpapi.ErrMissingContext):
		return logline.ReasonContext, nil
	}
	return logline.ReasonUnavailable, []slog.Attr{slog.String("error", err.Error())}
}
