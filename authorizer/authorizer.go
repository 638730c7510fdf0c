// Package authorizer is the Lambda authorizer in front of every route that needs a key:
// API Gateway's event in, an IAM policy and the caller's context out.
//
// The model: the event (a REQUEST authorizer's of a REST API) names the credential, the
// stage and the method. Package verify concludes whether the credential is good; package
// policy says what its holder may do on the whole stage, since API Gateway keeps the answer
// and asks it about other routes too.
//
// Promises:
//
//   - Exactly one credential in the whole request, or it is refused: parsers that disagree
//     about the second one are an attack. The query string is never looked at.
//   - Every fault of a credential has one and the same answer, the error "Unauthorized",
//     which API Gateway turns into 401. Never a policy that denies: it would be cached, and
//     a key that is created a moment later would stay locked out.
//   - Whatever else goes wrong, a panic included, is another error, which API Gateway turns
//     into 500 (AUTHORIZER_FAILURE) without calling the integration. In particular there is
//     no default stage.
//   - A refusal leaves one line in the log (logline.Event), with the request's ids and
//     time, the reason and the key's public id if there is one, and nothing that the client
//     sent besides. The access log does not know whose a refused request was; by this line
//     it is counted for its key.
package authorizer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/logline"
	"github.com/keyreeve/keyreeve/pkg/policy"
	"github.com/keyreeve/keyreeve/pkg/route"
	"github.com/keyreeve/keyreeve/pkg/verify"
)

// Verifier is what concludes: *verify.Verifier.
type Verifier interface {
	Verify(ctx context.Context, credential, stage string) (verify.Verdict, error)
}

// Config is what an Authorizer works with.
type Config struct {
	Verifier Verifier
	Table    *route.Table
	Log      *slog.Logger     // default discards
	Clock    func() time.Time // default time.Now; for the log alone
}

// Authorizer is a Lambda handler (lambda.Handler). It is safe for concurrent use.
type Authorizer struct {
	cfg      Config
	policies *policy.Policies
}

// New returns an Authorizer. The error is for a table that no exact policies can be
// written for (see [policy.New]).
func New(c Config) (*Authorizer, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	p, err := policy.New(c.Table)
	if err != nil {
		return nil, err
	}
	return &Authorizer{cfg: c, policies: p}, nil
}

var (
	// API Gateway compares the text, case included (API Gateway Developer Guide, "Use API
	// Gateway Lambda authorizers"), so it breaks Go's rule for error texts.
	errUnauthorized = errors.New("Unauthorized") //nolint:staticcheck

	// The cause goes to the log. This text goes to API Gateway, whose logs others read.
	errFailure = errors.New("authorizer failure")
)

// Invoke answers one event. The error is "Unauthorized" for a bad credential and any other
// text if nothing could be concluded.
func (a *Authorizer) Invoke(ctx context.Context, payload []byte) (answer []byte, err error) {
	var ev event
	defer func() {
		if p := recover(); p != nil {
			// The value may hold anything, a credential too; its type and the way here do not.
			a.cfg.Log.LogAttrs(ctx, slog.LevelError, "panic", slog.String("requestId", ev.requestID),
				slog.String("type", fmt.Sprintf("%T", p)), slog.String("stack", string(debug.Stack())))
			answer, err = nil, errFailure
		}
	}()
	if ev, err = readEvent(payload); err != nil {
		return nil, a.fail(ctx, &ev, err)
	}
	if ev.environment != keys.SharedStage && !keys.Environment(ev.environment).Valid() {
		return nil, a.fail(ctx, &ev, errors.New("stage variable environment names no stage of ours"))
	}
	base, err := policy.Base(ev.methodARN)
	if err != nil {
		return nil, a.fail(ctx, &ev, err)
	}
	credential, reason := ev.credential()
	if reason != keys.OK {
		return nil, a.refuse(ctx, &ev, "", reason)
	}
	v, err := a.cfg.Verifier.Verify(ctx, credential, ev.environment)
	if err != nil {
		return nil, a.fail(ctx, &ev, err)
	}
	if v.Reason != keys.OK {
		return nil, a.refuse(ctx, &ev, v.KeyID, v.Reason)
	}
	answer, dropped, err := a.answer(v.Identity, base)
	if err != nil {
		return nil, a.fail(ctx, &ev, err)
	}
	if dropped > 0 {
		a.cfg.Log.LogAttrs(ctx, slog.LevelWarn, "policy too long, some unguarded routes are denied",
			slog.String("requestId", ev.requestID), slog.String("keyId", string(v.KeyID)), slog.Int("resources", dropped))
	}
	return answer, nil
}

// answer writes what API Gateway expects (API Gateway Developer Guide, "Output from an API
// Gateway Lambda authorizer"). events.APIGatewayCustomAuthorizerResponse would not do: its
// statements have no Condition. There is no usageIdentifierKey, as usage plans count
// neither exactly nor by account.
func (a *Authorizer) answer(id keys.Identity, base string) (out []byte, dropped int, err error) {
	out = append(make([]byte, 0, 512), `{"principalId":"`...)
	out = append(out, id.KeyID...)
	out = append(out, `","context":`...)
	if out, err = verify.AppendContext(out, id); err != nil {
		return nil, 0, err
	}
	out = append(out, `,"policyDocument":`...)
	if out, dropped, err = a.policies.AppendDocument(out, id, base); err != nil {
		return nil, 0, err
	}
	return append(out, '}'), dropped, nil
}

func (a *Authorizer) refuse(ctx context.Context, ev *event, id apikey.ID, reason keys.Reason) error {
	at := time.UnixMilli(ev.timeMillis)
	if ev.timeMillis <= 0 { // an emulator's event: our clock shows a later time, by what the gateway took
		at = a.cfg.Clock()
	}
	logline.Event{
		What: logline.Refused, By: logline.ByAuthorizer, RequestID: ev.requestID, ExtendedRequestID: ev.extended(),
		Time: at, KeyID: id, Reason: string(reason),
	}.Log(ctx, a.cfg.Log)
	return errUnauthorized
}

func (a *Authorizer) fail(ctx context.Context, ev *event, cause error) error {
	a.cfg.Log.LogAttrs(ctx, slog.LevelError, "failed", slog.String("requestId", ev.requestID), slog.String("error", cause.Error()))
	return errFailure
}
