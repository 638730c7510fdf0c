package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/keyreeve/keyreeve/pkg/guard"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/webhook"
)

// Problem is an error as HTTP shows it. Its body is
//
//	{"success":false,"error":{"code":"…","message":"…","requestId":"…","fields":[{"field":"…","message":"…"}]}}
//
// on every path, because API Gateway's own responses ([GatewayResponses]) cannot differ
// by path. Neither Message nor Fields ever quotes what the client sent: it may be a key.
//
// A Problem is an error too, so a handler may return one; [FromError] finds it.
type Problem struct {
	Status  int    // HTTP status
	Code    string // for programs: lower case, stable
	Message string // for people
	Fields  []FieldProblem
	Header  http.Header // more headers of the answer
}

// FieldProblem is one field at fault, by the name that the client used.
type FieldProblem struct {
	Field   string `json:"field"`
	Message string `json:"message"`
}

func (p Problem) Error() string { return p.Code }

// What the wiring in front of a handler may find wrong.
var (
	// ErrMissingContext says that the authorizer's context is absent: nobody proved who
	// calls, and there is no default.
	ErrMissingContext = errors.New("the request carries no authorizer context")
	// ErrSeveralCredentials says that more than one credential came, equal or not.
	ErrSeveralCredentials = errors.New("several credentials")
)

// What may go wrong between the forwarder and an upstream. Who wraps them says why: the
// client does not hear it.
var (
	// ErrAmbiguousPath says that the upstream may read the path as another route's.
	ErrAmbiguousPath = errors.New("the path may be read as another route's")
	// ErrRequestTooLarge says that the request is more than Lambda takes.
	ErrRequestTooLarge = errors.New("the request is too large for Lambda")
	// ErrUpstreamTooLarge says that the answer is more than Lambda takes.
	ErrUpstreamTooLarge = errors.New("the answer is too large for Lambda")
	// ErrUpstreamTimeout says that the whole answer did not come in time.
	ErrUpstreamTimeout = errors.New("the upstream did not answer in time")
	// ErrUpstreamFailure says that no whole answer came.
	ErrUpstreamFailure = errors.New("the upstream gave no usable answer")
)

// RequestIDHeader is the request header by which a handler learns API Gateway's id of
// the request. Whoever calls the handler sets it; a client's own value never gets here.
const RequestIDHeader = "X-Amzn-Requestid"

// retrySoon is for what is likely to be over in a moment.
func retrySoon() http.Header { return http.Header{"Retry-After": {"1"}} }

// Unauthorized is the one answer to every credential fault.
func Unauthorized() Problem {
	return Problem{Status: http.StatusUnauthorized, Code: "unauthorized",
		Message: "No valid API key: check that it is active, has not expired, and belongs to this environment."}
}

// NotFound is the answer to an absent route or thing, and to one that is someone else's.
func NotFound() Problem {
	return Problem{Status: http.StatusNotFound, Code: "not_found", Message: "There is no such resource."}
}

// Internal is the answer to a fault of ours.
func Internal() Problem {
	return Problem{Status: http.StatusInternalServerError, Code: "internal_error",
		Message: "Something went wrong on our side. Name the request id when you report it."}
}

// Invalid is the answer to a request whose fields are at fault.
func Invalid(fields ...FieldProblem) Problem {
	return Problem{Status: http.StatusBadRequest, Code: "validation_failed",
		Message: "The request is not valid: see fields.", Fields: fields}
}

// fixed are the errors that always give the same answer. The first match counts.
var fixed = []struct {
	err     error
	status  int
	code    string
	message string // empty: the error's own text
	header  http.Header
}{
	{ErrMissingContext, http.StatusInternalServerError, "missing_context",
		"The request reached the service without proof of who is calling.", nil},
	{ErrSeveralCredentials, http.StatusBadRequest, "multiple_credentials",
		"Send one credential: either X-API-Key or Authorization, once.", nil},
	{ErrAmbiguousPath, http.StatusBadRequest, "ambiguous_path",
		"The path can be read in more than one way: send it without dot segments, empty segments, needless escapes, or encoded slashes in one segment.", nil},
	{ErrRequestTooLarge, http.StatusRequestEntityTooLarge, "body_too_large",
		"The request is larger than the 6 MB that AWS Lambda takes.", nil},
	{ErrUpstreamTooLarge, http.StatusBadGateway, "upstream_too_large",
		"The answer is larger than the 6 MB that AWS Lambda takes. The request may have been carried out.", nil},
	{ErrUpstreamTimeout, http.StatusGatewayTimeout, "upstream_timeout",
		"The service behind this API did not answer in time. The request may have been carried out or not.", nil},
	{ErrUpstreamFailure, http.StatusBadGateway, "upstream_failure",
		"The service behind this API gave no usable answer. The request may have been carried out or not.", nil},
	{keys.ErrOutcomeUnknown, http.StatusServiceUnavailable, "outcome_unknown",
		"The change may have been made or not. Repeat it with the same Idempotency-Key, or read the key before you repeat it.", retrySoon()},
	{keys.ErrNotSettled, http.StatusServiceUnavailable, "not_settled",
		"The change is made, but it may not be in force everywhere yet. Repeat the request.", retrySoon()},
	{keys.ErrUnavailable, http.StatusServiceUnavailable, "unavailable",
		"The service cannot reach its data right now. Nothing was changed; repeat the request.", retrySoon()},
	{keys.ErrConflict, http.StatusConflict, "conflict",
		"Too many changes at the same time. Nothing was changed; repeat the request.", retrySoon()},
	{keys.ErrPreconditionFailed, http.StatusPreconditionFailed, "precondition_failed",
		"The key has changed since: it is not at the version that If-Match names.", nil},
	{keys.ErrPrimaryKey, http.StatusConflict, "primary_key",
		"You cannot delete or unmark your primary API key. Create a new key, set it as primary, then delete the old one.", nil},
	{keys.ErrLastManager, http.StatusConflict, "last_manager",
		"No other key could manage this account's keys afterwards. Repeat with force=true to do it all the same.", nil},
	{keys.ErrNotActive, http.StatusConflict, "key_not_active",
		"The key is not active: activate it first.", nil},
	{keys.ErrKeyLimit, http.StatusConflict, "key_limit",
		"The account's plan allows no more keys. Delete one first.", nil},
	{keys.ErrSessionLimit, http.StatusConflict, "session_limit",
		"Too many sessions were made with this key within 12 hours. Find out what makes them; regenerating the key ends them all and lets it make new ones.", nil},
	{webhook.ErrTooMany, http.StatusConflict, "too_many_webhooks",
		"An account may have " + strconv.Itoa(webhook.MaxEndpoints) + " webhooks. Delete one first.", nil},
	{keys.ErrInvalidCursor, http.StatusBadRequest, "invalid_cursor",
		"The cursor is not one of this list: start again without it.", nil},
	{keys.ErrIdempotencyMismatch, http.StatusUnprocessableEntity, "idempotency_mismatch",
		"This Idempotency-Key was used with another request.", nil},
	{keys.ErrIdempotencyInFlight, http.StatusConflict, "idempotency_in_flight",
		"A request with this Idempotency-Key is in progress.", retrySoon()},
	{keys.ErrIdempotencyUnusable, http.StatusConflict, "idempotency_unusable",
		"The answer to this Idempotency-Key cannot be given again. Nothing more was created.", nil},
	{keys.ErrAccountExists, http.StatusConflict, "account_exists",
		"There is an account with this id already.", nil},
	{context.DeadlineExceeded, http.StatusServiceUnavailable, "unavailable",
		"The service did not finish in time.", retrySoon()},
}

// within is the window of a limit, in words.
func within(window string) string {
	switch window {
	case keys.WindowHour:
		return "in any 3,600 seconds"
	case keys.WindowDay:
		return "in any 86,400 seconds"
	case keys.WindowMonth:
		return "a month"
	}
	return "in any 60 seconds"
}

// FromError is the one place where an error becomes HTTP. What it does not know is a
// fault of ours, and its text stays inside.
func FromError(err error) Problem {
	var (
		problem      Problem
		validation   *keys.ValidationError
		escalation   *keys.EscalationError
		conflict     *keys.ConflictError
		unauthorized *guard.UnauthorizedError
		scope        *guard.ScopeError
		limit        *guard.LimitError
	)
	switch {
	case errors.As(err, &problem):
		return problem
	case errors.As(err, &validation):
		fields := make([]FieldProblem, len(validation.Fields))
		for i, f := range validation.Fields {
			fields[i] = FieldProblem(f)
		}
		return Invalid(fields...)
	case errors.As(err, &escalation):
		return Problem{Status: http.StatusForbidden, Code: "permission_escalation",
			Message: "A key cannot grant more than it holds itself.",
			Fields:  []FieldProblem{{escalation.Field, "goes beyond what the calling key holds"}}}
	case errors.As(err, &unauthorized), errors.Is(err, keys.ErrCallerGone):
		return Unauthorized()
	case errors.As(err, &scope):
		return insufficientScope(scope)
	case errors.As(err, &limit):
		seconds := strconv.FormatInt(int64(max(limit.RetryAfter+time.Second-1, time.Second)/time.Second), 10)
		return Problem{Status: http.StatusTooManyRequests, Code: "rate_limited",
			Message: fmt.Sprintf("This key may make %d requests %s. Try again in %s s.", limit.Limit, within(limit.Window), seconds),
			Header:  http.Header{"Retry-After": {seconds}}}
	case errors.Is(err, keys.ErrNotFound):
		return NotFound()
	}
	for _, f := range fixed {
		if errors.Is(err, f.err) {
			return Problem{Status: f.status, Code: f.code, Message: f.message, Header: f.header.Clone()}
		}
	}
	if errors.As(err, &conflict) { // the service repeats these; one that gets here was repeated in vain
		return FromError(keys.ErrConflict)
	}
	return Internal()
}

func insufficientScope(e *guard.ScopeError) Problem {
	message := "This key is confined to other customers."
	switch {
	case e.Permission != "":
		message = "This key lacks the permission " + e.Permission + "."
	case e.Session:
		message = "A session calls the management API alone: use an API key here."
	case e.Network:
		message = "This key is confined to other networks than this request came from."
	}
	return Problem{Status: http.StatusForbidden, Code: "insufficient_scope", Message: message}
}

// failure is the body of a Problem. Order and spacing are the same wherever it is made,
// so that a guard's refusal is byte for byte the gateway's.
type failure struct {
	Success bool          `json:"success" enum:"false"`
	Error   failureDetail `json:"error"`
}

type failureDetail struct {
	Code      string         `json:"code" pattern:"^[a-z_]+$" doc:"What is wrong, for programs." example:"validation_failed"`
	Message   string         `json:"message" doc:"What is wrong, for people."`
	RequestID string         `json:"requestId" doc:"Name it when you report a problem."`
	Fields    []FieldProblem `json:"fields,omitzero" doc:"Which fields, headers or parameters are at fault."`
}

func (p Problem) body(requestID string) []byte {
	f := failure{Error: failureDetail{Code: p.Code, Message: p.Message, RequestID: requestID, Fields: p.Fields}}
	text, err := json.Marshal(&f)
	if err != nil { // a string that is not UTF-8: ours are constants or checked before
		f.Error.RequestID, f.Error.Fields = "", nil
		text, _ = json.Marshal(&f)
	}
	return text
}

// Write answers with p.
func Write(w http.ResponseWriter, requestID string, p Problem) {
	body := p.body(requestID)
	h := w.Header()
	for name, values := range p.Header {
		h[http.CanonicalHeaderKey(name)] = values
	}
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(p.Status)
	_, _ = w.Write(body)
}
