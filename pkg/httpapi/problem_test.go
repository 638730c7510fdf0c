package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/guard"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/webhook"
)

func TestEveryErrorHasOneStatusAndCode(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		code   string
		retry  string
	}{
		{&keys.ValidationError{Fields: []keys.FieldError{{Field: "name", Message: "is needed"}}}, 400, "validation_failed", ""},
		{&keys.EscalationError{Field: "permissions"}, 403, "permission_escalation", ""},
		{keys.ErrNotFound, 404, "not_found", ""},
		{keys.ErrCallerGone, 401, "unauthorized", ""},
		{keys.ErrConflict, 409, "conflict", "1"},
		{&keys.ConflictError{Retry: true}, 409, "conflict", "1"},
		{keys.ErrPreconditionFailed, 412, "precondition_failed", ""},
		{keys.ErrPrimaryKey, 409, "primary_key", ""},
		{keys.ErrLastManager, 409, "last_manager", ""},
		{keys.ErrNotActive, 409, "key_not_active", ""},
		{keys.ErrKeyLimit, 409, "key_limit", ""},
		{keys.ErrSessionLimit, 409, "session_limit", ""},
		{webhook.ErrTooMany, 409, "too_many_webhooks", ""},
		{keys.ErrInvalidCursor, 400, "invalid_cursor", ""},
		{keys.ErrIdempotencyMismatch, 422, "idempotency_mismatch", ""},
		{keys.ErrIdempotencyInFlight, 409, "idempotency_in_flight", "1"},
		{keys.ErrIdempotencyUnusable, 409, "idempotency_unusable", ""},
		{keys.ErrAccountExists, 409, "account_exists", ""},
		{keys.ErrUnavailable, 503, "unavailable", "1"},
		{keys.ErrNotSettled, 503, "not_settled", "1"},
		{keys.ErrOutcomeUnknown, 503, "outcome_unknown", "1"},
		{errors.Join(keys.ErrUnavailable, keys.ErrOutcomeUnknown), 503, "outcome_unknown", "1"},
		{context.DeadlineExceeded, 503, "unavailable", "1"},
		{apikey.ErrUnknownPepper, 500, "internal_error", ""},
		{errors.New("disk on fire"), 500, "internal_error", ""},
		{&guard.UnauthorizedError{Reason: keys.ReasonExpired}, 401, "unauthorized", ""},
		{&guard.ScopeError{Permission: "customers:read"}, 403, "insufficient_scope", ""},
		{&guard.ScopeError{Customer: true}, 403, "insufficient_scope", ""},
		{&guard.LimitError{Limit: 100, RetryAfter: 1200 * time.Millisecond}, 429, "rate_limited", "2"},
		{&guard.LimitError{Limit: 100}, 429, "rate_limited", "1"},
		{ErrMissingContext, 500, "missing_context", ""},
		{ErrSeveralCredentials, 400, "multiple_credentials", ""},
		{ErrAmbiguousPath, 400, "ambiguous_path", ""},
		{ErrRequestTooLarge, 413, "body_too_large", ""},
		{ErrUpstreamTooLarge, 502, "upstream_too_large", ""},
		{ErrUpstreamTimeout, 504, "upstream_timeout", ""},
		{ErrUpstreamFailure, 502, "upstream_failure", ""},
		{NotFound(), 404, "not_found", ""},
	} {
		p := FromError(fmt.Errorf("carrying out: %w", c.err))
		if p.Status != c.status || p.Code != c.code || p.Header.Get("Retry-After") != c.retry {
			t.Errorf("FromError(%v) = %d %q, Retry-After %q; want %d %q, %q", c.err, p.Status, p.Code, p.Header.Get("Retry-After"), c.status, c.code, c.retry)
		}
		if p.Message == "" || strings.Contains(p.Message, "carrying out") || strings.Contains(p.Message, "fire") {
			t.Errorf("FromError(%v): message %q is empty or tells what is inside", c.err, p.Message)
		}
	}
}

func TestProblemsNameWhatIsWrong(t *testing.T) {
	if m := FromError(&guard.ScopeError{Permission: "customers:read"}).Message; !strings.Contains(m, "customers:read") {
		t.Errorf("message %q does not name the missing permission", m)
	}
	if m := FromError(keys.ErrPrimaryKey).Message; !strings.Contains(m, "Create a new key, set it as primary, then delete the old one.") {
		t.Errorf("message %q does not say the documented way out", m)
	}
	p := FromError(&keys.ValidationError{Fields: []keys.FieldError{{Field: "name", Message: "must be 1 to 100 characters"}}})
	want := []FieldProblem{{"name", "must be 1 to 100 characters"}}
	if d := cmp.Diff(want, p.Fields); d != "" {
		t.Errorf("fields (-want +got):\n%s", d)
	}
}

func TestAProblemsHeadersAreItsOwn(t *testing.T) {
	FromError(keys.ErrUnavailable).Header.Set("Retry-After", "99")
	if got := FromError(keys.ErrUnavailable).Header.Get("Retry-After"); got != "1" {
		t.Errorf("Retry-After is %q after another answer's was changed, want 1", got)
	}
}

func TestWriteGivesTheOneErrorShape(t *testing.T) {
	w := httptest.NewRecorder()
	Write(w, `id-1"`, Invalid(FieldProblem{"name", "is needed"}))
	want := `{"success":false,"error":{"code":"validation_failed","message":"The request is not valid: see fields.","requestId":"id-1\"","fields":[{"field":"name","message":"is needed"}]}}`
	if got := w.Body.String(); got != want {
		t.Errorf("body\n%s\nwant\n%s", got, want)
	}
	if w.Code != 400 || w.Header().Get("Content-Type") != "application/json" || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("status %d, header %v", w.Code, w.Header())
	}
	w = httptest.NewRecorder()
	Write(w, "id-\xff", NotFound())
	if !json.Valid(w.Body.Bytes()) {
		t.Errorf("a request id that is not UTF-8 breaks the body: %q", w.Body)
	}
}

func TestTheGuards401IsTheGateways(t *testing.T) {
	w := httptest.NewRecorder()
	Write(w, "req-1", FromError(&guard.UnauthorizedError{Reason: keys.ReasonInactive}))
	for _, g := range GatewayResponses([]string{"*"}) {
		if g.Type != "UNAUTHORIZED" {
			continue
		}
		if got := strings.ReplaceAll(g.Template, "$context.requestId", "req-1"); got != w.Body.String() || g.Status != w.Code {
			t.Errorf("gateway %d %s\nguard   %d %s", g.Status, got, w.Code, w.Body)
		}
		return
	}
	t.Fatal("no row UNAUTHORIZED")
}

func TestGatewayResponses(t *testing.T) {
	// The list of the API reference: API_GatewayResponse, responseType, valid values.
	types := strings.Split("DEFAULT_4XX DEFAULT_5XX RESOURCE_NOT_FOUND UNAUTHORIZED INVALID_API_KEY ACCESS_DENIED AUTHORIZER_FAILURE "+
		"AUTHORIZER_CONFIGURATION_ERROR INVALID_SIGNATURE EXPIRED_TOKEN MISSING_AUTHENTICATION_TOKEN INTEGRATION_FAILURE INTEGRATION_TIMEOUT "+
		"API_CONFIGURATION_ERROR UNSUPPORTED_MEDIA_TYPE BAD_REQUEST_PARAMETERS BAD_REQUEST_BODY REQUEST_TOO_LARGE THROTTLED QUOTA_EXCEEDED WAF_FILTERED", " ")
	status := map[string]int{
		"UNAUTHORIZED": 401, "ACCESS_DENIED": 403, "MISSING_AUTHENTICATION_TOKEN": 404, "AUTHORIZER_FAILURE": 500,
		"REQUEST_TOO_LARGE": 413, "UNSUPPORTED_MEDIA_TYPE": 415, "THROTTLED": 429, "INTEGRATION_TIMEOUT": 504,
		"DEFAULT_4XX": 0, "DEFAULT_5XX": 0,
	}
	var got []string
	for _, g := range GatewayResponses([]string{"https://app.example"}) {
		got = append(got, g.Type)
		if want, ok := status[g.Type]; ok && g.Status != want {
			t.Errorf("%s: status %d, want %d", g.Type, g.Status, want)
		}
		var body failure
		if err := json.Unmarshal([]byte(g.Template), &body); err != nil || body.Error.Code == "" || body.Error.Message == "" || body.Error.RequestID != "$context.requestId" {
			t.Errorf("%s: template %s: not the error shape (%v)", g.Type, g.Template, err)
		}
		if g.Header["Access-Control-Allow-Origin"] != "'https://app.example'" {
			t.Errorf("%s: a browser cannot read it: %v", g.Type, g.Header)
		}
		if _, ok := g.Header["WWW-Authenticate"]; ok != (g.Status == http.StatusUnauthorized) {
			t.Errorf("%s: status %d with headers %v", g.Type, g.Status, g.Header)
		}
		if g.Status == http.StatusTooManyRequests && g.Header["Retry-After"] != "'1'" {
			t.Errorf("%s: no Retry-After: %v", g.Type, g.Header)
		}
	}
	slices.Sort(types)
	slices.Sort(got)
	if d := cmp.Diff(types, got); d != "" {
		t.Errorf("response types (-AWS +ours):\n%s", d)
	}
	for _, g := range GatewayResponses([]string{"https://a.example", "https://b.example"}) {
		if g.Header["Access-Control-Allow-Origin"] != "method.request.header.Origin" || g.Header["Vary"] != "'Origin'" {
			t.Errorf("%s with two origins: %v", g.Type, g.Header)
		}
	}
	for _, g := range GatewayResponses(nil) {
		for name := range g.Header {
			if strings.HasPrefix(name, "Access-Control-") {
				t.Errorf("%s where no browser may call: %v", g.Type, g.Header)
			}
		}
	}
}
